"""Templates made of Debian's packages: built once, resumed, and gone without a trace when that fails.

Root builds template:debian and the ordinary user template:python, from the package servers of this machine's
own apt: one small build for each.
"""

import json
import os
import subprocess

import pytest
from conftest import PATIENCE, own_accounts, processes_with, wait_until

TEMPLATE = {"root": "debian", "user": "python"}


@pytest.fixture(scope="module")
def packages(place):
    """The machine must reach Debian's servers, as its apt does."""
    target = place / "reachable"
    url = "http://deb.debian.org/debian/dists/bookworm/Release"
    helper = subprocess.run(["/usr/lib/apt/apt-helper", "download-file", url, str(target)], capture_output=True, timeout=PATIENCE, check=False)
    if helper.returncode != 0:
        pytest.skip("this machine reaches no package server of Debian's")


@pytest.fixture(scope="module", params=["root", "user"])
def store(request, callers):
    """A caller with an empty storage of this module's own."""
    caller = callers[request.param]
    folder = caller.folder("templates")
    yield caller.with_storage(folder / "storage")
    subprocess.run(["rm", "-rf", str(folder)], check=True, timeout=PATIENCE)


def half_made(caller):
    folder = caller.storage / "templates"
    return [name for name in os.listdir(folder) if not name.endswith((".lock", ".log"))] if folder.exists() else []


def test_offline(store):
    """One clear line, and nothing half-made."""
    name = TEMPLATE[store.name]
    done = store.run(level="standard", image=f"template:{name}", command=["true"], env={"http_proxy": "http://127.0.0.1:9"})
    assert done.returncode == 125
    first, second = done.stderr.splitlines()
    assert first.startswith(f"codex32: cannot build the template {name}: ") and "127.0.0.1:9" in first
    assert second.startswith("hint: ")
    assert half_made(store) == []
    wait_until(lambda: processes_with(str(store.storage)) == [], "the end of all that ran")


@pytest.fixture(scope="module")
def resumed(store, packages):
    """The template, built by a second try after the first was killed while it fetched."""
    name = TEMPLATE[store.name]
    words = [word for word in store.words(level="standard", image=f"template:{name}", command=["true"]) if word != "-q"]
    cache = store.storage / "cache/debian-bookworm"
    process = subprocess.Popen(words, env=store.environment(), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: process.poll() is not None or len(list(cache.glob("*.deb"))) >= 5, "some packages")
        assert process.poll() is None, "it ended before it could be killed"
    finally:
        process.kill()
        process.wait(PATIENCE)
    wait_until(lambda: not processes_with(str(store.storage)), "the end of all that it had started")
    fetched = {path.name: path.stat().st_ino for path in cache.glob("*.deb")}
    left = half_made(store)
    return name, left, fetched, store.execute(words, timeout=4 * PATIENCE)


def test_goes_on_after_a_kill(store, resumed):
    name, left, fetched, done = resumed
    assert done.returncode == 0, done.stderr
    assert left == [f".{name}.partial"], "the killed one was in the middle"
    assert half_made(store) == [name]
    now = {path.name: path.stat().st_ino for path in (store.storage / "cache/debian-bookworm").glob("*.deb")}
    assert len(fetched) >= 5 and fetched.items() <= now.items(), "what was fetched is not fetched again"
    for stage in ("downloading", "installing", "built template"):
        assert any(stage in line for line in done.stderr.splitlines()), done.stderr


def test_an_image_is_built_of_it(store, resumed):
    """Debian's own files become its first layer once; a second image shares it."""
    call = lambda *words: store.execute([*store.become(), str(store.binary), "image", words[0], "--root", str(store.storage), *words[1:]])  # noqa: E731
    layers = lambda name: [layer["diffID"] for layer in json.loads(call("inspect", name).stdout)[0]["layers"]]  # noqa: E731
    words = ["build", "-q", "--from", f"template:{resumed[0]}", "--run", "dpkg-query -W -f '${Status}' bash > /made"]
    done = call(*words, "--cmd", json.dumps(["sh", "-c", "stat -c '%U %a' /made /etc/shadow; cat /made"]), "-t", "made:1")
    assert done.returncode == 0, done.stderr
    ran = store.run(level="standard", image="made:1")
    assert (ran.returncode, ran.stdout) == (0, "root 644\nroot 640\ninstall ok installed"), ran.stderr
    assert call(*words, "--env", "A=b", "-t", "made:2").returncode == 0
    assert layers("made:1")[0] == layers("made:2")[0] and len(os.listdir(store.storage / "images/layers")) <= 3
    assert call("remove", "made:1", "made:2").returncode == 0
    assert os.listdir(store.storage / "images/layers") == []


@pytest.mark.parametrize("level", ["minimal", "standard", "strict"])
def test_runs(store, resumed, level):
    image = f"template:{resumed[0]}"
    done = store.run(level=level, image=image, command=["sh", "-c", ". /etc/os-release; echo $ID-$VERSION_ID; id -u"])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "debian-12"
    if resumed[0] == "python":
        script = "import sqlite3, ssl, ctypes; print(sum(range(10)))"
        done = store.run(level=level, image=image, command=["python3", "-c", script])
        assert (done.returncode, done.stdout) == (0, "45\n"), done.stderr
    assert half_made(store) == [resumed[0]]


def test_owners_are_debians(store, resumed):
    """Files belong, inside, to whom Debian gave them: also where those are subordinate ids outside."""
    image = f"template:{resumed[0]}"
    command = ["stat", "-c", "%U:%G:%a", "/etc/shadow", "/usr/bin/passwd", "/var/mail"]
    done = store.run(level="standard", image=image, command=command)
    assert done.stdout.split() == ["root:shadow:640", "root:root:4755", "root:mail:2775"], done.stderr
    done = store.run("-u", "www-data", level="standard", image=image, command=["id", "-un"])
    assert (done.returncode, done.stdout) == (0, "www-data\n"), done.stderr


def test_nothing_of_the_building_is_in_it(store, resumed):
    image = f"template:{resumed[0]}"
    script = "ls /var/cache/apt/archives /etc/apt/apt.conf.d /etc/dpkg/dpkg.cfg.d; grep -h ^deb /etc/apt/sources.list"
    done = store.run(level="standard", image=image, command=["sh", "-c", script])
    assert ".deb\n" not in done.stdout and "99mmdebstrap" not in done.stdout
    assert "bookworm main" in done.stdout and "bookworm-security main" in done.stdout


def test_program_that_changes_its_user(store, resumed):
    """apt and its kind do: what they wrote in the layer goes with it."""
    image = f"template:{resumed[0]}"
    script = "install -d -o www-data -m 0 /var/x /var/x/y && setpriv --reuid 33 --clear-groups touch /tmp/z && stat -c %u /var/x"
    done = store.run(level="standard", image=image, command=["sh", "-c", script])
    assert (done.returncode, done.stdout) == (0, "33\n"), done.stderr
    assert store.entries() == set()


def test_no_subordinate_ids(callers, without_subordinates):
    caller = callers["user"].with_storage(without_subordinates)
    done = caller.run(level="standard", image="template:debian", command=["true"])
    assert done.returncode == 125
    assert done.stderr.splitlines()[0].startswith("codex32: cannot build the template debian: ")
    assert "usermod --add-subuids" in done.stderr
    assert half_made(caller) == []


def exchange(file, text):
    """In one step: others read it meanwhile."""
    with open(f"{file}.codex32", "w") as opened:
        opened.write(text)
    os.chmod(opened.name, 0o644)
    os.replace(opened.name, file)


@pytest.fixture
def without_subordinates(callers):
    """The ordinary user's entries of /etc/subuid are gone for a while."""
    caller = callers["user"]
    folder = caller.folder("nosub")
    name = caller.account.pw_name

    def rename(old, new):
        """They stay taken all the while, or the other worker's useradd might give them to its own user."""
        with own_accounts():
            for file in ("/etc/subuid", "/etc/subgid"):
                with open(file) as opened:
                    lines = opened.readlines()
                exchange(file, "".join(line.replace(f"{old}:", f"{new}:", 1) if line.startswith(f"{old}:") else line for line in lines))

    rename(name, "codex32-nobody")
    yield folder / "storage"
    rename("codex32-nobody", name)
    subprocess.run(["rm", "-rf", str(folder)], check=True, timeout=PATIENCE)
