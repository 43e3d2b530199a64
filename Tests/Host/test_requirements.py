"""A script with a requirements.txt beside it: its packages are installed once, in a sandbox, and every later start finds
them ready. The packages are made by hand; template:python is the real one, of Debian's packages."""

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest
from conftest import HAS_CGROUP2, LEVELS, PATIENCE, processes_with, wait_until
from test_images import Shop
from test_templates import packages  # noqa: F401
from wheels import Index, source, wheel

BOT = "import json, os, sys, {0}\nprint(json.dumps([{0}.SEEN, sys.argv, os.getcwd(), sorted(os.listdir('/app'))]))\n"


@pytest.fixture(scope="module", params=["root", "user"])
def shop(request, callers, place, packages):  # noqa: F811
    """A store that has template:python and its image, as the first script made them."""
    caller = callers[request.param]
    home = pathlib.Path(place) / f"requirements.{caller.name}"
    home.mkdir(mode=0o755)
    caller.own(home)
    shop = Shop(caller.with_storage(home / "storage"), home)
    shop.wheels = home / "wheels"
    shop.wheels.mkdir()
    # By its folder alone: nothing of this machine's own configuration of pip.
    shop.local = {"PIP_CONFIG_FILE": "/dev/null", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(shop.wheels)}
    wheel(shop.wheels, "warm", body="SEEN = 1\n")
    done = run(shop, bot(shop, "warm", "warm"))
    assert done.returncode == 0 and "packing template:python" in done.stderr, done.stderr
    yield shop
    for line in shop.call("list", "-a", "--format", "{{.ID}}").stdout.split():
        shop.call("rm", "-f", line)
    subprocess.run(["rm", "-rf", "--one-file-system", str(home)], check=True, timeout=PATIENCE)


def bot(shop, name, requirements=None, body=None, **files):
    """A script in a folder of its own, of which others see nothing."""
    folder = shop.home / f"bot-{name}"
    folder.mkdir(mode=0o755, exist_ok=True)
    script = folder / "bot.py"
    script.write_text(BOT.format(name) if body is None else body)
    if requirements is not None:
        (folder / "requirements.txt").write_text(requirements)
    for file, text in files.items():
        (folder / file).write_text(text)
    shop.caller.own(folder)
    return script


def run(shop, script, *options, env=None, level="standard", command=(), **more):
    words = [*shop.caller.become(), str(shop.caller.binary), "run", "--root", str(shop.caller.storage), "--isolation", level]
    if level == "strict" and not HAS_CGROUP2:
        words += ["--waive", "cgroup"]
    words += [*map(str, options), "--image", str(script), *(["--", *command] if command else [])]
    return shop.caller.execute(words, env=shop.local | (env or {}), **more)


def fine(shop, script, *options, **more):
    done = run(shop, script, *options, **more)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def ready(shop):
    with contextlib.suppress(FileNotFoundError):
        return {name for name in os.listdir(shop.store / "ready") if name.startswith("requirements-")}
    return set()


def left(shop):
    """What the store has, but for locks, which a prune takes away."""
    parts = ("names", "manifests", "blobs", "layers", "ready", "ingest")
    return {f"{part}/{name}" for part in parts for name in os.listdir(shop.store / part) if not name.endswith(".lock")} | shop.caller.entries()


def installs(done):
    return "installing the packages" in done.stderr


@pytest.fixture
def index(shop):
    with Index(shop.wheels) as index:
        yield index


def test_the_second_start_finds_them(shop):
    """The first one fetches and installs; then neither the index nor pip is needed, at any level."""
    wheel(shop.wheels, "second", body="SEEN = 2\n", requires=["needed"])
    wheel(shop.wheels, "needed")
    script = bot(shop, "second", "second  # whatever version\n", data="not for it")
    with Index(shop.wheels) as index:
        env = {"PIP_CONFIG_FILE": "/dev/null", "PIP_NO_INDEX": "", "PIP_FIND_LINKS": "", "PIP_INDEX_URL": index.url}
        done = run(shop, script, env=env, command=["a", "-b"])
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == [2, ["/app/bot.py", "a", "-b"], "/app", ["bot.py"]]
        assert f"installing the packages of {script.parent}/requirements.txt from {index.url}" in done.stderr
        assert "pip runs in a sandbox at standard, with this machine's network" in done.stderr
        assert any(path.startswith("/files/needed-") for path in index.asked)
    before = left(shop)
    for level in LEVELS:
        done = run(shop, script, env=env, level=level)
        assert done.returncode == 0 and json.loads(done.stdout) == [2, ["/app/bot.py"], "/app", ["bot.py"]], done.stderr
        assert not installs(done) and "packing" not in done.stderr
    # From anywhere, and under another name of the same folder.
    words = [*shop.caller.become(), "sh", "-c", f"cd {script.parent} && exec {shop.caller.binary} run -q --root {shop.caller.storage} ./bot.py"]
    done = shop.caller.execute(words, env=shop.local | env)
    assert done.returncode == 0 and json.loads(done.stdout)[0] == 2, done.stderr
    assert left(shop) == before


def test_where_no_overlay_can_be_written_to(shop):
    """A store on an overlay itself, as in another engine's container: what pip changed is told apart from a copy."""
    home = shop.home / "nested"
    for name in ("lower", "upper", "work", "top"):
        (home / name).mkdir(parents=True)
    options = f"lowerdir={home}/lower,upperdir={home}/upper,workdir={home}/work"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(home / "top")], check=True, timeout=PATIENCE)
    try:
        # The template as it is, to be packed anew.
        storage = home / "top/storage"
        storage.mkdir()
        subprocess.run(["cp", "-a", str(shop.caller.storage / "templates"), str(storage)], check=True, timeout=PATIENCE)
        shop.caller.own(home / "top")
        shop.caller.own(storage)
        nested = Shop(shop.caller.with_storage(storage), shop.home)
        nested.wheels, nested.local = shop.wheels, shop.local
        wheel(shop.wheels, "copied", body="SEEN = 9\n")
        script = bot(nested, "copied", "copied\n")
        first, second = run(nested, script), run(nested, script)
        assert first.returncode == 0 and installs(first) and json.loads(first.stdout)[0] == 9, first.stderr
        assert second.returncode == 0 and not installs(second) and json.loads(second.stdout)[0] == 9, second.stderr
        # Its layer has the package, and nothing of the base.
        sizes = [layer["bytes"] for layer in json.loads(nested.image("inspect", digest_of(nested, script)))[0]["layers"]]
        assert len(sizes) == 2 and sizes[1] < 1 << 20 < sizes[0], sizes
        assert os.listdir(storage / "layers") == []
    finally:
        subprocess.run(["umount", str(home / "top")], check=True, timeout=PATIENCE)


def test_every_input_counts(shop):
    """A layer for each: the bytes of the file, the folder of packages, the options of pip."""
    path = wheel(shop.wheels, "counted", body="SEEN = 1\n")
    script = bot(shop, "counted", "counted\n")
    assert fine(shop, script)[0] == 1
    made = ready(shop)
    (script.parent / "requirements.txt").write_text("counted \n")
    fine(shop, script)
    assert len(ready(shop)) == len(made) + 1
    fine(shop, script, env={"PIP_PRE": "1"})
    assert len(ready(shop)) == len(made) + 2
    # The same version with other bytes: another file stands there.
    path = wheel(shop.wheels, "counted", body="SEEN = 'new'\n")
    os.utime(path, ns=(1, 1))
    assert fine(shop, script)[0] == "new" and len(ready(shop)) == len(made) + 3
    # How long pip waits decides nothing.
    done = run(shop, script, env={"PIP_DEFAULT_TIMEOUT": "77"})
    assert done.returncode == 0 and not installs(done) and len(ready(shop)) == len(made) + 3


def test_the_users_own_configuration(shop, index):
    """pip's files are read as pip reads them, and variables come before them."""
    wheel(shop.wheels, "configured", body="SEEN = 'c'\n")
    script = bot(shop, "configured", "configured")
    config = shop.home / "config"
    (config / "pip").mkdir(parents=True)
    (config / "pip/pip.conf").write_text(f"[global]\nindex-url = http://127.0.0.1:9/simple\nfind-links =\ntarget = /nowhere\n[install]\nindex_url: {index.url}\n")
    env = {"PIP_CONFIG_FILE": "", "PIP_NO_INDEX": "", "PIP_FIND_LINKS": "", "XDG_CONFIG_HOME": str(config)}
    assert fine(shop, script, env=env)[0] == "c"
    made = ready(shop)
    assert any(path.startswith("/files/configured") for path in index.asked)
    done = run(shop, script, env=env | {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0"})
    assert done.returncode == 125 and installs(done) and ready(shop) == made
    (config / "pip/pip.conf").write_text("[global]\nconstraint = /etc/limits\n")
    done = run(shop, script, env=env)
    assert done.returncode == 125 and "sets constraint, which cannot be followed" in done.stderr and "PIP_CONFIG_FILE=/dev/null" in done.stderr


def test_what_cannot_be_satisfied(shop):
    wheel(shop.wheels, "satisfied", body="SEEN = 1\n")
    script = bot(shop, "satisfied", "satisfied==9")
    fine(shop, bot(shop, "satisfied", "satisfied"))
    (script.parent / "requirements.txt").write_text("satisfied==9")
    before = left(shop)
    done = run(shop, script)
    assert done.returncode == 125 and done.stdout == ""
    assert "No matching distribution found for satisfied==9" in done.stderr
    assert f"codex32: cannot install the packages of {script.parent}/requirements.txt: pip ended with status 1\nhint: pip's own words stand above" in done.stderr
    assert left(shop) == before
    done = run(shop, script, "-q")
    assert done.returncode == 125 and done.stderr.startswith("ERROR: ") and "No matching" in done.stderr, done.stderr
    assert left(shop) == before
    # A hash that is not that of what came.
    (script.parent / "requirements.txt").write_text("satisfied==1.0 --hash=sha256:" + "0" * 64)
    done = run(shop, script)
    assert done.returncode == 125 and "DO NOT MATCH THE HASHES" in done.stderr and left(shop) == before


@pytest.mark.parametrize("level", ["standard", "strict"])
def test_what_a_package_runs_is_kept_in(shop, level):
    """Its build is nobody's whom a person knows: it sees neither the caller's files nor, of a folder, the network."""
    name = f"hostile_{level}"
    (shop.home / "secret").write_text("s")
    hostile = f"""
import os, pathlib
seen = {{}}
for line in open("/proc/self/status").read().splitlines():
    key, value = line.split(":", 1)
    if key in ("Seccomp", "NoNewPrivs", "CapEff"):
        seen[key] = value.strip()
seen["secret"] = os.path.exists({str(shop.home / "secret")!r})
seen["home"] = os.listdir("/home")
seen["network"] = open("/proc/net/dev").read().count(":")
seen["app"] = os.path.exists("/app/bot.py")
seen["writes"] = []
for path in ("/run/codex32-packages-0/x", "/proc/sysrq-trigger", "/sys/kernel/x"):
    try:
        open(path, "w")
        seen["writes"].append(path)
    except OSError:
        pass
pathlib.Path("/etc/rc.hostile").write_text("left in the layer, as its own")
"""
    source(shop.wheels, name, hostile)
    script = bot(shop, name, name)
    done = run(shop, script, level=level)
    assert done.returncode == 0 and f"pip runs in a sandbox at {level}, without a network" in done.stderr, done.stderr
    found = json.loads(done.stdout)[0]
    assert found["Seccomp"] == "2" and found["NoNewPrivs"] == "1"
    assert level == "standard" or found["CapEff"] == "0" * 16
    assert not found["secret"] and found["home"] == [] and found["network"] == 1 and not found["app"] and found["writes"] == []
    assert not os.path.exists("/etc/rc.hostile") and not os.path.exists(shop.wheels / "x")


HOSTILE = {
    "another file": ("-r /etc/passwd\n", "line 1: -r names a file"),
    "a folder": ("\n./local\n", "line 2: ./local is a file"),
    "an address of a file": ("x @ file:///etc/passwd", "is a file"),
    "a variable": ("x @ https://h/${HOME}", "a variable is filled in nowhere"),
    "an option": ("six --global-option=--help", "is not taken behind a package"),
    "control characters": ("six\x1b[2J", "line 1 has a control character"),
    "a long line": ("a" * 70000, "more than 64 KiB"),
    "a large file": ("# comment\n" * 60000, "more than 512 KiB"),
}


@pytest.mark.parametrize("which", HOSTILE)
def test_hostile_requirements(shop, which):
    text, why = HOSTILE[which]
    script = bot(shop, "refused", text)
    before = left(shop)
    done = run(shop, script)
    first, second = done.stderr.splitlines()
    assert done.returncode == 125 and first.startswith(f"codex32: cannot use {script.parent}/requirements.txt: ") and why in first, done.stderr
    assert second == "hint: --requirements ignore runs the script without it"
    assert left(shop) == before


@pytest.mark.parametrize("which", ["fifo", "folder", "device", "link out", "link above", "unreadable", "bytes"])
def test_what_is_no_requirements_file(shop, which):
    script = bot(shop, "nofile")
    path = script.parent / "requirements.txt"
    why = "it is no regular file"
    if which == "fifo":
        os.mkfifo(path)
    elif which == "folder":
        path.mkdir()
    elif which == "device":
        os.mknod(path, 0o20666, os.makedev(1, 3))
    elif which == "link out":
        path.symlink_to("/etc/passwd")
        why = "it is a link that leads out of its folder"
    elif which == "link above":
        path.symlink_to("../secret")
        why = "it is a link that leads out of its folder"
    elif which == "unreadable":
        path.write_text("six")
        path.chmod(0)
        why = "ermission denied"
        if shop.caller.name == "root":
            path.unlink()
            pytest.skip("root reads everything")
    else:
        path.write_bytes(b"six\n\xff\xfe\n")
        why = "it is no UTF-8 text"
    shop.caller.own(path) if not path.is_symlink() else None
    done = run(shop, script)
    (path.rmdir if which == "folder" else path.unlink)()
    assert done.returncode == 125 and why in done.stderr and "hint: " in done.stderr, done.stderr


def test_a_link_in_its_folder(shop):
    wheel(shop.wheels, "linked", body="SEEN = 'l'\n")
    script = bot(shop, "linked", **{"pinned.txt": "linked==1.0\n"})
    (script.parent / "requirements.txt").symlink_to("pinned.txt")
    assert fine(shop, script)[0] == "l"


def test_somebody_elses_file(shop):
    """In /tmp another could put it beside the script."""
    script = bot(shop, "others", "six")
    os.chown(script.parent / "requirements.txt", 12345, 12345)
    done = run(shop, script)
    assert done.returncode == 125 and "it belongs to the user 12345, who is neither you nor the script's owner" in done.stderr


def test_who_needs_none(shop):
    """No file, one of comments, another language, an option: over this machine's own programs, as ever."""
    says = "import sys; print('host')"
    for script, options in [
        (bot(shop, "without", body=says), []), (bot(shop, "comments", "# nothing\n\n", body=says), []),
        (bot(shop, "ignoring", "nosuch", body=says), ["--requirements", "ignore"]),
    ]:  # fmt: skip
        done = run(shop, script, *options)
        assert (done.returncode, done.stdout) == (0, "host\n") and not installs(done), done.stderr
    other = bot(shop, "shell", "nosuch", body="#!/bin/sh\necho host\n")
    other = other.rename(other.with_suffix(".sh"))
    assert run(shop, other).stdout == "host\n"
    done = run(shop, other, "--requirements", "maybe")
    assert done.returncode == 125 and "must be use, refresh or ignore" in done.stderr


def test_it_costs_the_others_one_call(shop):
    """A script without one: one look, and nothing of pip's is read."""
    if shop.caller.name == "user":
        pytest.skip("what is called is the same")
    script = bot(shop, "traced", body="print('host')")
    trace = shop.home / "trace"
    words = ["strace", "-o", str(trace), "-e", "trace=%file", str(shop.caller.binary), "run", "--root", str(shop.caller.storage), str(script)]
    shop.caller.execute(words, env=shop.local)
    looks = [line for line in trace.read_text().splitlines() if "requirements.txt" in line]
    assert len(looks) == 1 and "openat(" in looks[0] and "ENOENT" in looks[0], looks
    told = trace.read_text().replace(str(shop.home), "")  # in which a random name stands
    assert "pip" not in told and "/images/" not in told


def test_first_starts_at_once(shop, index):
    wheel(shop.wheels, "once", body="SEEN = 'o'\n")
    script = bot(shop, "once", "once")
    env = {"PIP_NO_INDEX": "", "PIP_FIND_LINKS": "", "PIP_INDEX_URL": index.url}
    words = [*shop.caller.become(), str(shop.caller.binary), "run", "--root", str(shop.caller.storage), str(script)]
    more = {"env": shop.caller.environment(shop.local | env), "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(words, **more) for _ in range(4)]
    ends = [(*process.communicate(timeout=PATIENCE), process.returncode) for process in running]
    assert all(status == 0 and json.loads(out)[0] == "o" for out, _, status in ends), ends
    assert sum("installing the packages" in error for _, error, _ in ends) == 1, ends
    assert len([path for path in index.asked if path.startswith("/files/")]) == 1


def test_whenever_it_is_killed(shop):
    """The store is whole, and the next start has all or begins anew."""
    source(shop.wheels, "killed", "import time; time.sleep(0.5); seen = 'k'")
    script = bot(shop, "killed", "killed")
    words = [*shop.caller.become(), str(shop.caller.binary), "run", "-q", "--root", str(shop.caller.storage), str(script)]
    for number, pause in enumerate((0, 0.01, 0.03, 0.1, 0.3, 0.7, 1.2, 1.6, 2.0, 2.4)):
        (script.parent / "requirements.txt").write_text(f"killed # {number}")
        process = subprocess.Popen(words, env=shop.caller.environment(shop.local), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(pause)
        process.kill()
        process.wait(PATIENCE)
        wait_until(lambda: not processes_with(str(script)), "the end of what it started")
        for entry in ready(shop):
            digest = (shop.store / "ready" / entry).read_text().splitlines()[0]
            assert (shop.store / "manifests" / digest.removeprefix("sha256:")).exists()
    for half in (shop.caller.storage / "run/containers").glob(".*.new"):
        os.utime(half, (0, 0))  # one that is half made has a minute to become whole
    assert shop.call("system recover").returncode == 0
    assert fine(shop, script)[0] == "k"
    shop.whole()
    assert shop.caller.entries() == set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_one(shop, number):
    name = f"waits{os.getpid()}{int(number)}{shop.caller.name}"
    source(shop.wheels, name, "import time; time.sleep(100000)")
    script = bot(shop, name, name)
    before = left(shop)
    words = [*shop.caller.become(), str(shop.caller.binary), "run", "--root", str(shop.caller.storage), str(script)]
    process = subprocess.Popen(words, env=shop.caller.environment(shop.local), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        # pip says to what builds a package where that is.
        wait_until(lambda: processes_with(f"/{name}_"), "the package's build")
        process.send_signal(number)
        out, error = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.wait(PATIENCE)
    # pip has the signal too, and so has what it waits for: where that one's end comes first, pip tells it in its own way.
    said = re.search(rb"pip ended with status (\d+)", error)
    assert process.returncode == 125 and out == b"" and said and int(said[1]) in (128 + number, 1), error
    assert left(shop) == before


def digest_of(shop, script):
    done = run(shop, script, "--dry-run", "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["image"]["digest"]


def test_what_containers_use_stays(shop):
    """A container has its packages from when it was made; a prune takes away what nobody needs."""
    wheel(shop.wheels, "lasting", body="SEEN = 1\n")
    script = bot(shop, "lasting", "lasting", body="import lasting, os\nprint(lasting.SEEN, os.getcwd(), flush=True)\nos.read(0, 1)\nimport time\ntime.sleep(100000)\n")
    image = f"bot-lasting/{script.name}"
    done = shop.caller.execute(
        [*shop.caller.become(), "sh", "-c", f"cd {shop.home} && exec {shop.caller.binary} create -q --root {shop.caller.storage} --name keeper {image}"], env=shop.local
    )
    assert done.returncode == 0, done.stderr
    digest = digest_of(shop, script)
    assert json.loads(shop.call("inspect", "keeper").stdout)[0]["labels"]["codex32.requirements.network"] == "none"
    assert json.loads(shop.call("inspect", "keeper").stdout)[0]["configuration"]["imageDigest"] == digest
    (script.parent / "requirements.txt").write_text("nosuch\n")
    assert shop.call("start", "keeper").returncode == 0
    wait_until(lambda: shop.call("logs", "keeper").stdout == "1 /app\n", "its words")
    inside = shop.call("exec", "keeper", "python3", "-c", "import lasting, os; print(lasting.SEEN, os.getcwd(), open('/app/bot.py').readline().strip())")
    assert inside.stdout == "1 /app import lasting, os\n", inside.stderr
    shop.image("remove", digest, fails="the container keeper uses it")
    shop.image("prune", "-a", "-f")
    assert ready(shop) == set()
    assert shop.call("restart", "-t", "1", "keeper").returncode == 0
    wait_until(lambda: shop.call("logs", "keeper").stdout == "1 /app\n" * 2, "its words again")
    assert shop.call("rm", "-f", "keeper").returncode == 0
    assert digest in shop.image("prune", "-f")
    shop.whole()


def test_a_prune_keeps_what_is_needed_now_and_then(shop):
    wheel(shop.wheels, "pruned", body="SEEN = 1\n")
    script = bot(shop, "pruned", "pruned")
    fine(shop, script)
    digest = digest_of(shop, script)
    (entry,) = [name for name in ready(shop) if (shop.store / "ready" / name).read_text().startswith(digest)]
    rows = shop.image("list", "--format", "{{.Repository}} {{.Tag}} {{.ID}}").splitlines()
    assert f"<requirements> {entry.removeprefix('requirements-')[:12]} {digest.removeprefix('sha256:')[:12]}" in rows
    day = 86400
    os.utime(shop.store / "ready" / entry, (0, time.time() - 29 * day))
    shop.image("prune", "-f")
    assert entry in ready(shop)
    # A start says that it was needed.
    fine(shop, script)
    assert os.stat(shop.store / "ready" / entry).st_mtime > time.time() - 2 * day
    os.utime(shop.store / "ready" / entry, (0, time.time() - 31 * day))
    assert digest in shop.image("prune", "-f") and entry not in ready(shop)
    done = run(shop, script)
    assert done.returncode == 0 and installs(done)
    digest = digest_of(shop, script)
    shop.image("tag", digest, "kept:1")
    shop.image("remove", "kept:1")
    assert not installs(run(shop, script))
    assert f"removed {digest}" in shop.image("remove", digest)
    assert installs(run(shop, script))


def test_refresh_and_plans(shop):
    wheel(shop.wheels, "fresh", "1.0", body="SEEN = 1\n")
    script = bot(shop, "fresh", "fresh")
    done = run(shop, script, "--dry-run")
    assert done.returncode == 125 and "are not installed, and --dry-run starts nothing" in done.stderr and "hint: codex32 create installs them" in done.stderr
    with Index(shop.wheels) as index:
        env = {"PIP_NO_INDEX": "", "PIP_FIND_LINKS": "", "PIP_INDEX_URL": index.url}
        assert fine(shop, script, env=env)[0] == 1
        wheel(shop.wheels, "fresh", "2.0", body="SEEN = 2\n")
        assert fine(shop, script, env=env)[0] == 1
        assert fine(shop, script, "--requirements", "refresh", env=env)[0] == 2
        assert fine(shop, script, env=env)[0] == 2
    done = run(shop, script, "--dry-run", env=env)
    assert done.returncode == 0 and f"image       {script}: sha256:" in done.stdout


def test_strict_takes_no_network_unasked(shop, index):
    """Whoever wrote the script wrote the file: at strict it alone opens no way to the machine's network."""
    wheel(shop.wheels, "unasked", body="SEEN = 'u'\n")
    script = bot(shop, "unasked", "unasked")
    env = {"PIP_NO_INDEX": "", "PIP_FIND_LINKS": "", "PIP_INDEX_URL": index.url}
    before = left(shop)
    done = run(shop, script, env=env, level="strict")
    assert done.returncode == 125 and done.stdout == "" and index.asked == [], done
    assert "strict takes none unasked" in done.stderr and "\nhint: --requirements use " in done.stderr
    assert left(shop) == before
    # Asked for; and from then on they are there.
    assert fine(shop, script, "--requirements", "use", env=env, level="strict")[0] == "u"
    assert index.asked and fine(shop, script, env=env, level="strict")[0] == "u"


def test_a_step_of_a_build(shop):
    wheel(shop.wheels, "step", body="SEEN = 'step'\n")
    script = bot(shop, "step", "step\n")
    command = json.dumps(["python3", "-c", "import step; print(step.SEEN)"])
    words = ["--from", "template:python", "--requirements", script.parent / "requirements.txt", "--cmd", command]
    shop.image("build", *words, "-t", "step:1", env=shop.local)
    done = shop.caller.run(level="standard", image="step:1")
    assert (done.returncode, done.stdout) == (0, "step\n"), done.stderr
    assert "pip install -r" in shop.image("history", "step:1")
    shop.image("build", "--from", "template:busybox", "--requirements", script.parent / "requirements.txt", env=shop.local, fails="the image needs python3 and pip")
    shop.image("build", "--from", "template:python", "--requirements", script.parent / "nosuch", env=shop.local, fails="cannot use")
    shop.image("remove", "step:1")
    shop.whole()


def test_without_a_template(shop):
    """Where template:python cannot be made: one clear line, and the way around it."""
    script = bot(shop, "bare", "anything")
    caller = shop.caller.with_storage(shop.home / "bare-storage")
    words = [*caller.become(), str(caller.binary), "run", "--root", str(caller.storage), str(script)]
    done = caller.execute(words, env=shop.local | {"http_proxy": "http://127.0.0.1:9"})
    assert done.returncode == 125 and "cannot build the template python" in done.stderr
    assert done.stderr.rstrip().endswith("; --requirements ignore runs the script over this machine's own Python")
    assert not (caller.storage / "images/ready").exists() or [n for n in os.listdir(caller.storage / "images/ready") if not n.startswith(".")] == []
