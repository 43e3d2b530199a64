"""`image build`: an image of another one, files and commands, as the kernel and others' tools see it."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import tarfile
import time

import pytest
from conftest import BUSYBOX, HAS_CGROUP2, LEVELS, PATIENCE, processes_with, wait_until
from layouts import Layout, base, folder, layer, link, member
from test_images import STACK, shop  # noqa: F401
from test_images_umoci import seen

LEVEL = ["--isolation", "strict"] + ([] if HAS_CGROUP2 else ["--waive", "cgroup"])


def files(shop, name="bots", **contents):
    """A folder of the caller's own with files in it."""
    place = shop.home / name
    place.mkdir()
    for file, text in contents.items():
        (place / file).write_text(text)
    shop.caller.own(place)
    return place


def build(shop, *words, source=BUSYBOX, **more):
    return shop.image("build", "--from", source, *words, **more)


def config(shop, name):
    return json.loads(shop.image("inspect", name))[0]["config"]


def layers(shop, name):
    return [each["diffID"] for each in json.loads(shop.image("inspect", name))[0]["layers"]]


def names_in(shop, name, number):
    """The members of an image's layer, as they stand in the archive."""
    with tarfile.open(shop.store / "blobs" / layers(shop, name)[number].removeprefix("sha256:")) as tar:
        return {entry.name: entry for entry in tar}


def nothing_left(shop, manifests=0):
    """Neither images without a name nor what only they would have; no layer of a run."""
    assert len(os.listdir(shop.store / "manifests")) == manifests
    assert os.listdir(shop.store / "ingest") == []
    if not manifests:
        assert os.listdir(shop.store / "blobs") == [] and os.listdir(shop.store / "layers") == []
    assert shop.caller.entries() == set()


@pytest.fixture
def stack(shop):
    layout = Layout()
    layout.image(STACK, "stack:1", config={"Cmd": ["true"], "Env": ["A=old", "PATH=/bin"], "Labels": {"a": "1", "b": "1"}})
    shop.load(layout)
    shop.image("prune", "-f")
    return "stack:1"


def test_files_and_commands(shop):
    bots = files(shop, **{"bot.sh": "#!/bin/sh\nid -u\ncat /made\n", "data": "d"})
    (bots / "bot.sh").chmod(0o751)
    (bots / "data").chmod(0o600)
    out = build(shop, "--copy", f"{bots}:/bots", "--run", "echo made by $(id -u) > /made; rm /etc/group", "--cmd", "/bots/bot.sh", "-t", "me/bot:1", "-t", "other")
    assert out == "me/bot:1\nother:latest\n"
    assert shop.names() == ["me/bot:1", "other:latest"]
    done = shop.caller.run(level="standard", image="me/bot:1")
    assert (done.returncode, done.stdout) == (0, "0\nmade by 0\n"), done.stderr
    out = shop.sh("me/bot:1", "stat -c '%a %u:%g' /bots/bot.sh /bots/data /made; test ! -e /etc/group && ls /etc")
    assert out == "751 0:0\n600 0:0\n644 0:0\npasswd\n"
    # What the command deleted is a whiteout; what codex32 mounted is no part of the layer.
    changed = names_in(shop, "me/bot:1", 2)
    assert set(changed) == {"./etc", "./etc/.wh.group", "./made"} and (changed["./made"].uid, changed["./made"].gid) == (0, 0)
    nothing_left(shop, manifests=1)
    shop.whole()


@pytest.mark.parametrize("level", LEVELS[1:])
def test_a_command_runs_in_a_sandbox(shop, level):
    inside = "id -u; grep -c . /proc/net/dev; grep -E 'Seccomp:|NoNewPrivs|CapEff' /proc/self/status; ls -d /home/* " + str(shop.home)
    words = LEVEL if level == "strict" else ["--isolation", level]
    done = shop.call("image build", *words, "--from", BUSYBOX, "--run", f"({inside}) > /seen 2>&1; touch {shop.home}/x; hostname > /name; true")
    assert done.returncode == 0, done.stderr
    out = shop.sh(done.stdout.strip(), "cat /seen")
    assert "Seccomp:\t2" in out and "NoNewPrivs:\t1" in out and out.startswith("0\n3\n"), out
    assert f"{shop.home}: No such file" in out and not (shop.home / "x").exists()
    if level == "strict":
        assert "CapEff:\t0000000000000000" in out
    # Two headers and "lo": no network.
    assert shop.sh(done.stdout.strip(), "cat /name") == "codex32\n"


def test_steps_in_their_order(shop):
    one = files(shop, one="1")
    script = 'echo "$A $(pwd) $(id -u)" >> /log; cat /one >> /log || echo none >> /log'
    build(
        shop, "--run", script, "-e", "A=first", "--copy", f"{one}:/", "--run", script, "-e", "A=x=y", "-w", "/deep/er",
        "--run", "chmod 666 /log; " + script, "-u", "nobody", "--run", script, "-t", "order",
    )  # fmt: skip
    assert shop.sh("order", "cat /log; stat -c %a /deep/er").split("\n") == [" / 0", "none", "first / 0", "1x=y /deep/er 0", "1x=y /deep/er 65534", "1755", ""]
    made = config(shop, "order")
    assert made["config"] == {"Cmd": ["/bin/sh"], "Env": ["A=x=y"], "WorkingDir": "/deep/er", "User": "nobody"}
    assert [step["created_by"].split()[0] for step in made["history"]] == ["FROM", "RUN", "ENV", "COPY", "RUN", "ENV", "WORKDIR", "RUN", "USER", "RUN"]
    assert [step.get("empty_layer", False) for step in made["history"]].count(False) == len(layers(shop, "order")) == 6


def test_the_base_is_shared(shop, stack):
    before = layers(shop, stack)
    build(shop, "--run", "rm -r /data; mkdir /data; echo n > /data/new; echo k >> /swap/y; mv /private /moved", "-t", "built", source=stack)
    assert layers(shop, "built")[:3] == before and len(layers(shop, "built")) == 4
    assert len(os.listdir(shop.store / "layers")) == 4
    out = shop.sh("built", "cd /; ls data swap moved; cat swap/y data/new; test ! -e private")
    assert out == "data:\nnew\n\nmoved:\ninside\n\nswap:\ny\nyk\nn\n"
    changed = names_in(shop, "built", 3)
    assert "./data/.wh..wh..opq" in changed and "./.wh.private" in changed
    made = config(shop, "built")
    assert [step["created_by"] for step in made["history"]][:3] == ["step 0", "step 1", "step 2"]
    shop.image("remove", stack)
    assert shop.sh("built", "cat /swap/y") == "yk\n"
    shop.whole()


@pytest.mark.parametrize("caller", ["root"], indirect=True)
def test_others_read_it(shop, stack):
    """umoci unpacks what codex32 built to what codex32 mounts of it, owners and all; skopeo copies it."""
    script = "rm -r /data; mkdir -m 750 /data; echo n > /data/new; ln /data/new /data/again; chown 5:6 /data/new; ln -s new /data/l; rm /swap/y; chown 3 /old; mkfifo /pipe; chmod 4755 /bin/cat || true"
    build(shop, "--run", script, "--copy", f"{files(shop, a='1')}:/old/deep", "-t", "built:1", source=stack)
    shop.image("save", "-o", shop.home / "out.tar", "built:1")
    subprocess.run(["skopeo", "copy", "-q", f"oci-archive:{shop.home}/out.tar", f"oci:{shop.home}/oci:one"], check=True, capture_output=True, timeout=PATIENCE)
    bundle = shop.home / "bundle"
    subprocess.run(["umoci", "unpack", "--image", f"{shop.home}/oci:one", str(bundle)], check=True, capture_output=True, timeout=PATIENCE)
    mounted = pathlib.Path(shop.image("mount", "built:1").strip())
    try:
        ours, theirs = seen(mounted), seen(bundle / "rootfs")
    finally:
        shop.image("unmount", "built:1")
    assert ours == theirs
    assert ours[0]["data/new"]["owner"] == (5, 6) and ours[0]["data/new"]["links"] == 2 and "swap/y" not in ours[0]


def test_dockers_rules_for_the_config(shop, stack):
    build(shop, "-e", "A=new", "-e", "B=b c", "--label", "b=2", "--label", "c=3", "--entrypoint", "echo hi", "-t", "one", source=stack)
    made = config(shop, "one")["config"]
    # An entrypoint takes the base's command away, and not the build's own.
    assert made == {"Env": ["A=new", "PATH=/bin", "B=b c"], "Labels": {"a": "1", "b": "2", "c": "3"}, "Entrypoint": ["echo", "hi"]}
    assert layers(shop, "one") == layers(shop, stack)
    build(shop, "--cmd", '["a b", "$c"]', "--entrypoint", "echo", "-t", "two", source="one")
    assert shop.caller.run(level="standard", image="two").stdout == "a b $c\n"
    # Nothing but a name: the same image.
    assert build(shop, "-t", "three", source="two") == "three:latest\n"
    assert shop.image("inspect", "--format", "{{.id}}", "two", "three").split()[0::2] == shop.image("inspect", "--format", "{{.id}}", "two", "three").split()[1::2]
    nothing_left(shop, manifests=3)


def test_the_same_again(shop):
    bots = files(shop, a="1")
    words = ["--copy", f"{bots}:/bots", "--run", "cat /bots/a > /b", "-t", "again"]
    build(shop, *words)
    first = layers(shop, "again")
    build(shop, *words)
    # The base and the files are the same layers; what a command wrote has its own times.
    assert layers(shop, "again")[:2] == first[:2]
    assert shop.sh("again", "cat /b") == "1"
    shop.image("prune", "-f")
    nothing_left(shop, manifests=1)


@pytest.mark.parametrize("base", ["stack:1", BUSYBOX])
def test_a_command_that_fails(shop, stack, base):
    before = {part: set(os.listdir(shop.store / part)) for part in ("manifests", "blobs", "layers")}
    done = shop.call("image build", "--from", base, "--run", "echo told; echo x > /x", "--run", "echo why >&2; exit 3", "-t", "never")
    assert done.returncode == 125 and done.stdout == ""
    lines = done.stderr.splitlines()
    assert "told" in lines and "why" in lines
    assert "codex32: cannot build the image: step 2, RUN echo why >&2; exit 3, ended with status 3" in lines and lines[-1].startswith("hint: ")
    assert {part: set(os.listdir(shop.store / part)) for part in before} == before
    assert shop.names() == ["stack:1"] and shop.caller.entries() == set()


def test_quiet(shop):
    done = shop.call("image build", "-q", "--from", BUSYBOX, "--run", "echo out; echo err >&2", "-t", "q")
    assert done.returncode == 0 and done.stdout == "q:latest\n"
    assert done.stderr.splitlines()[-1:] == ["err"] and "step" not in done.stderr and "out" not in done.stderr.splitlines()


def test_a_folder_as_the_base(shop, image):
    (image / "etc/secret").write_text("s")
    (image / "etc/secret").chmod(0o640)
    shop.caller.own(image)
    build(shop, "--run", "cat /etc/secret > /copy", "-t", "folder", source=image)
    assert shop.sh("folder", "cat /copy; stat -c '%a %u' /etc/secret") == "s640 0\n"
    assert not (image / "copy").exists()


# Where files go


def test_where_files_go(shop):
    layout = Layout()
    layout.image([base(folder("real", mode=0o750), folder("real/in"), link("to", "/real"), link("up", "../../../real/in"), link("new", "fresh/far"), member("real/file", b"old"), link("alias", "to/file"), link("real/l", "/etc/passwd"))], "places:1")
    shop.load(layout)
    src = files(shop, a="a", l="l")
    (src / "sub").mkdir(0o700)
    (src / "sub/b").write_text("b")
    (src / "link").symlink_to("/etc/passwd")
    shop.caller.own(src)
    outside = shop.home / "outside"
    outside.symlink_to(src / "a")
    shop.caller.own(outside)
    words = [f"{src}:/to", f"{src}/a:/up", f"{src}/a:/up/other", f"{src}/a:/x/y/z", f"{src}/a:/w/", f"{outside}:/real/followed", f"{src}/a:/alias", f"{src}/sub:/new"]
    build(shop, *(word for each in words for word in ("--copy", each)), "-t", "there", source="places:1")
    out = shop.sh(
        "there",
        "cd /; cat real/a real/in/a real/in/other x/y/z w/a real/followed real/file fresh/far/b; echo; for l in to up alias real/link; do readlink $l; done; "
        "stat -c '%a %F' real real/sub real/l fresh fresh/far x; cat real/l; echo; readlink /new",
    )
    assert out.split("\n") == [
        "aaaaaaab", "/real", "../../../real/in", "to/file", "/etc/passwd", "750 directory", "700 directory", "644 regular file",
        "755 directory", "700 directory", "755 directory", "l", "fresh/far", "",
    ]  # fmt: skip
    shop.whole()


REFUSED = {
    "a folder over a link": ("{src}:/", {"lib": None}, "in the image it is a link"),
    "a folder over a file": ("{src}:/etc", {"passwd": None}, "in the image it is a file, and here a folder"),
    "a file over a folder": ("{src}:/", {"etc": ""}, "in the image it is a folder, and here none"),
    "a folder to a file": ("{src}:/etc/passwd", {}, "there it is a file"),
    "below a file": ("{src}:/etc/passwd/x", {}, "passwd on its way is a file"),
    "a circle": ("{src}:/circle/x", {}, "lead in a circle"),
    "a whiteout": ("{src}:/", {".wh.etc": ""}, "means that another file is gone"),
    "to a whiteout": ("{src}:/.wh.etc", {}, "means that another file is gone"),
    "no source": ("{src}/none:/x", {}, "no such file"),
    "a file and a slash": ("{src}/f:/etc/passwd/", {"f": ""}, "it is no folder"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_files_that_cannot_go_there(shop, case):
    words, contents, why = REFUSED[case]
    layout = Layout()
    layout.image([base(link("lib", "etc"), link("circle", "circle"))], "places:1")
    shop.load(layout)
    shop.image("prune", "-f")
    src = files(shop)
    for name, text in contents.items():
        (src / name).mkdir() if text is None else (src / name).write_text(text)
        (src / name / "x").write_text("x") if text is None else None
    shop.caller.own(src)
    build(shop, "--copy", words.format(src=src), "-t", "never", source="places:1", fails=why)
    nothing_left(shop, manifests=1)


def test_a_command_cannot_forge_a_whiteout(shop):
    build(shop, "--run", "echo > /etc/.wh.passwd", fails="means that another file is gone")
    nothing_left(shop)


@pytest.mark.parametrize("caller", ["root"], indirect=True)
def test_special_files(shop):
    src = files(shop, a="a")
    os.mknod(src / "null", 0o666 | 0o020000, os.makedev(1, 3))
    os.mknod(src / "gone", 0o666 | 0o020000, os.makedev(0, 0))
    os.mkfifo(src / "pipe")
    build(shop, "--copy", f"{src}:/bin", "-t", "special")
    assert shop.sh("special", "cat /bin/a; test -p /bin/pipe && test ! -e /bin/null && ls /bin/sh") == "a/bin/sh\n"


# What is not understood


BAD = {
    "no base": ["--run", "true"],
    "an unknown image": ["--from", "none/such:1"],
    "an assembled template": ["--from", "template:host"],
    "a script": ["--from", "/bin/ls"],
    "a word": ["--from", BUSYBOX, "word"],
    "no colon": ["--from", BUSYBOX, "--copy", "x"],
    "no destination": ["--from", BUSYBOX, "--copy", "/etc:etc"],
    "no source": ["--from", BUSYBOX, "--copy", ":/etc"],
    "dots": ["--from", BUSYBOX, "--copy", "/etc:/../etc"],
    "no command": ["--from", BUSYBOX, "--run", ""],
    "a variable without a value": ["--from", BUSYBOX, "--env", "A"],
    "a relative folder": ["--from", BUSYBOX, "--workdir", "x"],
    "users": ["--from", BUSYBOX, "--user", "a:b:c"],
    "an unknown user": ["--from", BUSYBOX, "--user", "nosuch", "--run", "true"],
    "shell signs": ["--from", BUSYBOX, "--cmd", "echo 'a b'"],
    "no words": ["--from", BUSYBOX, "--cmd", " "],
    "broken JSON": ["--from", BUSYBOX, "--entrypoint", '["a"'],
    "numbers": ["--from", BUSYBOX, "--cmd", "[1]"],
    "a label": ["--from", BUSYBOX, "--label", "=x"],
    "a name": ["--from", BUSYBOX, "-t", "Upper"],
    "a level": ["--from", BUSYBOX, "--isolation", "minimal"],
    "a size": ["--from", BUSYBOX, "--max-size", "1k"],
    "a network": ["--from", BUSYBOX, "--network", "bridge"],
    "an option": ["--from", BUSYBOX, "--dockerfile", "x"],
    "a shell that there is not": ["--from", "stack:1", "--run", "rm /bin/sh", "--run", "true"],
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_not_understood(shop, stack, case):
    done = shop.call("image build", *BAD[case], "-q")
    lines = done.stderr.splitlines()
    assert done.returncode == 125 and done.stdout == "", done.stderr
    assert len(lines) == 2 and lines[0].startswith("codex32: ") and lines[1].startswith("hint: "), done.stderr
    nothing_left(shop, manifests=1)


def test_no_more_layers_than_an_image_may_have(shop):
    layout = Layout()
    layout.image([base(), *(layer(member(f"file{n}", str(n).encode())) for n in range(98))], "deep:1")
    shop.load(layout)
    build(shop, "--run", "rm /file0", "-t", "full", source="deep:1")
    assert shop.sh("full", "test ! -e /file0 && cat /file97") == "97"
    build(shop, "--run", "true", source="full", fails="more than 100 layers")
    nothing_left(shop, manifests=2)


def test_help(shop):
    done = shop.call("image build", "--help")
    assert done.returncode == 0 and all(option in done.stdout for option in ("--from IMAGE", "--copy SRC:DST", "--run COMMAND", "--isolation", "--network", "-t, --tag"))
    assert "build --from" in shop.call("image", "--help").stdout


# Whatever happens meanwhile


def words_of(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def under_way(shop, token):
    """A build whose command waits."""
    words = [*shop.caller.become(), str(shop.caller.binary), "image", "build", "--root", str(shop.caller.storage), "--from", BUSYBOX]
    words += ["--run", "echo 1 > /one", "--run", f"echo 2 > /two; {token}=1 sleep 100000", "-t", "never"]
    process = subprocess.Popen(words, env=shop.caller.environment(), cwd=shop.home, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until(lambda: b"sleep\x00100000\x00" in map(words_of, processes_with(f"{token}=1")), "the command")
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_build(shop, number):
    token = f"BUILD{os.getpid()}{number}{shop.caller.name}"
    process = under_way(shop, token)
    process.send_signal(number)
    out, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == 125 and out == b"" and f"ended with status {128 + number}".encode() in error, error
    nothing_left(shop)


def test_a_killed_build(shop, stack):
    token = f"BUILD{os.getpid()}9{shop.caller.name}"
    process = under_way(shop, token)
    # What it has made is held: a prune meanwhile leaves it alone, and waits for nothing.
    shop.image("prune", "-f")
    assert len(os.listdir(shop.store / "manifests")) == 3
    process.kill()
    process.communicate(timeout=PATIENCE)
    wait_until(lambda: not processes_with(f"{token}=1"), "the end of the command")
    assert shop.call("system recover").returncode == 0
    assert shop.caller.entries() == set()
    # What it held is let go of a moment after its last process has no environment any more.
    wait_until(lambda: shop.image("prune", "-f") is not None and len(os.listdir(shop.store / "manifests")) == 1, "nothing of the build")
    nothing_left(shop, manifests=1)
    build(shop, "--run", "true", "-t", "after")
    shop.whole()


def test_whenever_it_is_killed(shop, stack):
    """The store is whole, and what is left has an owner: nothing of it after the next prune."""
    bots = files(shop, a="1")
    words = [*shop.caller.become(), str(shop.caller.binary), "image", "build", "-q", "--root", str(shop.caller.storage), "--from", stack]
    words += ["--copy", f"{bots}:/bots", "--run", "cat /bots/a > /b", "--run", "rm -r /data", "-t", "built"]
    for pause in (0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5):
        process = subprocess.Popen(words, env=shop.caller.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(pause)
        process.kill()
        process.wait(PATIENCE)
        if "built:latest" in shop.names():
            assert shop.sh("built", "cat /b; test ! -e /data") == "1"
            shop.image("remove", "built")
        wait_until(lambda: not processes_with(str(bots)), "the end of what it started")
        for half in (shop.caller.storage / "run/containers").glob(".*.new"):
            os.utime(half, (0, 0))  # one that is half made has a minute to become whole

        def pruned():
            # What the build held it holds until the last of its processes, which end with it, has ended: also when
            # nobody can see any more whose it was.
            assert shop.call("system recover").returncode == 0
            shop.image("prune", "-f")
            return len(os.listdir(shop.store / "manifests")) == 1 and shop.caller.entries() == set()

        wait_until(pruned, "nothing of the build")
        nothing_left(shop, manifests=1)
    subprocess.run(words, env=shop.caller.environment(), check=True, capture_output=True, timeout=PATIENCE)
    assert shop.sh("built", "cat /b; test ! -e /data") == "1"
    shop.whole()


def test_builds_and_prunes_at_once(shop, stack):
    bots = files(shop, a="1")
    words = [*shop.caller.become(), str(shop.caller.binary), "image", "build", "-q", "--root", str(shop.caller.storage), "--from"]
    steps = ["--copy", f"{bots}:/bots", "--run", "cat /bots/a > /b", "--run", "sleep 1; cat /b > /c"]
    more = {"env": shop.caller.environment(), "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    running = [subprocess.Popen([*words, source, *steps, "-t", f"built:{number}"], **more) for number, source in enumerate([stack, stack, BUSYBOX, BUSYBOX])]
    while any(process.poll() is None for process in running):
        shop.image("prune", "-f")
    for number, process in enumerate(running):
        out, error = process.communicate(timeout=PATIENCE)
        assert (process.returncode, out) == (0, f"built:{number}\n".encode()), error
        assert shop.sh(f"built:{number}", "cat /c") == "1"
    assert layers(shop, "built:0")[:4] == layers(shop, "built:1")[:4] and layers(shop, "built:2")[:2] == layers(shop, "built:3")[:2]
    nothing_left(shop, manifests=5)
    shop.whole()


def test_one_id_alone(shop):
    """Where the command has no other id than the caller's."""
    out = build(shop, "-q", "--userns", "single", "--run", "echo x > /x; rm /etc/group; chown 5 /x 2> /dev/null || echo no > /no").strip()
    assert shop.sh(out, "cat /x /no; stat -c %u /x; ls /etc") == "x\nno\n0\npasswd\n"


def test_the_images_own_shell_and_volumes(shop):
    layout = Layout()
    layout.image([base(folder("vol"), member("bin/own", b"#!/bin/sh\nexec sh -c \"echo own > /who; $1\"\n", mode=0o755))], "shell:1", config={"Shell": ["/bin/own"], "Volumes": {"/vol": {}}, "OnBuild": ["RUN x"]})
    shop.load(layout)
    done = shop.call("image build", "--from", "shell:1", "--run", "echo v > /vol/v", "-t", "own")
    assert done.returncode == 0 and "note: the ONBUILD lines of shell:1 are not carried out" in done.stderr
    assert shop.sh("own", "cat /who /vol/v") == "own\nv\n"


@pytest.mark.parametrize("caller", ["root"], indirect=True)
def test_the_network_of_the_machine(shop):
    resolver = pathlib.Path("/etc/resolv.conf")
    build(shop, "--network", "host", "--run", "grep -c : /proc/net/dev > /lines; cat /etc/resolv.conf > /names 2> /dev/null; true", "-t", "net")
    lines = pathlib.Path("/proc/net/dev").read_text().count(":\u0020")
    out = shop.sh("net", "cat /lines; cat /names; test ! -e /etc/resolv.conf")
    assert out == f"{lines}\n" + (resolver.read_text() if resolver.is_file() else "")
    assert set(names_in(shop, "net", 1)) <= {"./lines", "./names", "./etc"}
