"""Where the storage folder is on a file system that overlayfs cannot write to, a container's root is a copy of its image:
here on an overlay, as in another engine's container."""

import json
import os
import signal
import subprocess
import time

import pytest
from conftest import PATIENCE, wait_until
from containers import Store
from layouts import Layout, base, folder, hard, layer, member

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount an overlay")


STACK = [
    base(folder("data"), member("data/kept", b"1"), member("data/gone", b"2"), folder("old"), member("old/a", b"a")),
    layer(member("data/new", b"new", mode=0o600), hard("data/second", "data/new")),
    layer(folder("data"), member("data/gone", b"back"), member("bin/tool", b"#!/bin/sh\necho tool\n", mode=0o4755)),
]


@pytest.fixture
def nested(caller, place, request):
    """The caller's store on an overlay, with an image of several layers in it."""
    home = place / f"nested.{caller.name}.{abs(hash(request.node.name))}"
    for name in ("lower", "upper", "work", "top"):
        (home / name).mkdir(parents=True)
    top = home / "top"
    options = f"lowerdir={home}/lower,upperdir={home}/upper,workdir={home}/work"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(top)], check=True, timeout=PATIENCE)
    try:
        caller.own(top)
        layout = Layout()
        layout.image(STACK, "stack:1")
        path = layout.folder(top / "layout")
        subprocess.run(["chmod", "-R", "a+rX", str(home)], check=True, timeout=PATIENCE)
        store = Store(caller, top)
        words = [*caller.become(), str(caller.binary), "image", "load", "--root", str(store.path), str(path)]
        subprocess.run(words, check=True, capture_output=True, timeout=PATIENCE)
        yield store
        for identity in store.ids():
            store.call("rm", "-f", identity)
    finally:
        # A supervisor that is about to end may hold it for a moment.
        wait_until(lambda: subprocess.run(["umount", str(top)], capture_output=True, check=False).returncode == 0, "the store's unmount")
        subprocess.run(["rm", "-rf", "--one-file-system", str(home)], check=True, timeout=PATIENCE)


NOTE = "codex32: note: the image is copied: the storage folder is on overlayfs, to which no overlay can write\n"
LOOK = "ls /data /old; cat /data/gone /data/kept; stat -c %a /bin/tool"


@pytest.mark.parametrize("level", ["minimal", "standard"])
def test_run(nested, level):
    receipt = nested.place / "receipt.json"
    receipt.touch()
    nested.caller.own(receipt)
    script = f"{LOOK}; echo new > /data/new; echo more >> /data/kept; cat /data/new /data/kept; rm /data/second; id -u"
    words = ["--isolation", level, "--receipt", receipt, "--image", "stack:1", "--", "sh", "-c", script]
    done = nested.call("run", *words)
    assert done.returncode == 0 and NOTE in done.stderr, done.stderr
    mode = "4755" if nested.caller.name == "root" else "755"
    user = os.getuid() if nested.caller.name == "root" or level != "minimal" else nested.caller.account.pw_uid
    assert done.stdout == f"/data:\ngone\nkept\nnew\nsecond\n\n/old:\na\nback1{mode}\nnew\n1more\n{user}\n"
    assert json.loads(receipt.read_text())["storage"] == {"kind": "copy"}
    assert os.listdir(nested.path / "layers") == []
    # The image is as it was, for the next one and for all others.
    assert nested.ok("run", "-q", *words[4:-1], LOOK) == f"/data:\ngone\nkept\nnew\nsecond\n\n/old:\na\nback1{mode}\n"


def test_strict_needs_none(nested):
    """Its root cannot be written, so that nothing has to be copied."""
    waiver = [] if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else ["--waive", "cgroup"]
    done = nested.call("run", "--isolation", "strict", *waiver, "--image", "stack:1", "--", "sh", "-c", "cat /data/kept; touch /data/x")
    assert "copied" not in done.stderr and done.stdout == "1" and "Read-only" in done.stderr, done


def test_what_a_container_keeps(nested):
    script = "if test -e /again; then cat /again; ls /data; exit; fi; echo it is > /again; rm -r /data; mkdir /data; echo x > /data/own"
    made = nested.call("create", "--name", "bot", "--image", "stack:1", "--", "sh", "-c", script)
    assert made.returncode == 0 and NOTE in made.stderr, made.stderr
    for _ in range(2):
        nested.ok("start", "-q", "bot")
        assert nested.ok("wait", "bot").strip() == "0"
    assert nested.logs("bot") == b"it is\nown\n"
    nested.ok("cp", "bot:/data/own", str(nested.place / "taken:1"))
    assert (nested.place / "taken:1").read_text() == "x\n"
    assert nested.ok("diff", "bot") == "A /again\nC /data\nD /data/gone\nD /data/kept\nD /data/new\nA /data/own\nD /data/second\n"
    identity = nested.record("bot")["id"]
    nested.ok("remove", "bot")
    assert not (nested.path / "layers" / identity).exists()


def test_a_copy_that_was_killed_is_made_anew(nested):
    """At any moment: the next start has the whole image."""
    nested.ok("create", "-q", "--name", "bot", "--image", "stack:1", "--", "sh", "-c", LOOK)
    layer = nested.path / "layers" / nested.record("bot")["id"]
    seen = set()
    for delay in range(12):
        client = nested.popen("start", "-q", "bot")
        time.sleep(delay * 0.003)
        for pid in [client.pid, nested.supervisor(layer.name)]:
            if pid:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        client.communicate(timeout=PATIENCE)
        seen.add((layer / "whole").exists())
        nested.call("stop", "-t", "0", "bot")
        wait_until(lambda: nested.state("bot") != "running", "its end")
    before = nested.logs("bot")
    nested.ok("start", "-q", "bot")
    assert nested.ok("wait", "bot").strip() == "0"
    said = nested.logs("bot").removeprefix(before).decode()
    assert said.startswith("/data:\ngone\nkept\nnew\nsecond\n\n/old:\na\nback1"), said


MOVED = [base(*[entry for name in ("app", "next") for entry in (folder(f"opt/{name}"), folder(f"opt/{name}/lib"), member(f"opt/{name}/lib/x", name.encode().ljust(4)), member(f"opt/{name}/lib/{name}", b"own"))])]


def test_a_folder_in_the_place_of_another(nested):
    """What is in it has changed nothing of itself."""
    load(nested, MOVED, "moved:1")
    script = "mv /opt/app /opt/old && mv /opt/next /opt/app && rm -rf /opt/old"
    words = [*nested.caller.become(), str(nested.caller.binary), "image", "build", "--root", str(nested.path), "--from", "moved:1", "-t", "made:1", "--run", script]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    look = "ls /opt /opt/app/lib; cat /opt/app/lib/x"
    assert nested.call("run", "-q", "--image", "made:1", "--", "sh", "-c", look).stdout == "/opt:\napp\n\n/opt/app/lib:\nnext\nx\nnext"


CHANGES = """
echo more >> /data/kept; rm /data/gone; chmod 700 /data/new; ln -s kept /data/link; mv /old /moved
mkdir -p /opt/a/b; echo deep > /opt/a/b/file; rm /bin/tool; mkdir /bin/tool; echo in > /bin/tool/side; touch -d @1000000000 /data/second
"""
TOLD = {
    "C /bin", "C /bin/tool", "A /bin/tool/side", "C /data", "D /data/gone", "C /data/kept", "A /data/link", "C /data/new", "C /data/second",
    "A /moved", "A /moved/a", "D /old", "A /opt", "A /opt/a", "A /opt/a/b", "A /opt/a/b/file",
}  # fmt: skip


def test_what_was_changed_is_told_apart(nested):
    """By the time of the last change, whatever else was set."""
    nested.ok("create", "-q", "--name", "bot", "--image", "stack:1", "--", "sh", "-c", CHANGES)
    assert nested.ok("diff", "bot") == ""
    nested.ok("start", "-q", "bot")
    assert nested.ok("wait", "bot").strip() == "0"
    assert set(nested.ok("diff", "bot").splitlines()) == TOLD
    # What changes its contents alone, and keeps its size and its time.
    nested.ok("create", "-q", "--name", "sly", "--image", "stack:1", "--", "sh", "-c", "printf 9 > /data/kept; touch -r /data/gone /data/kept /data")
    nested.ok("start", "-q", "sly")
    assert nested.ok("wait", "sly").strip() == "0"
    assert nested.ok("diff", "sly") == "C /data\nC /data/kept\n"


def test_builds_run_commands(nested):
    """A layer of what they changed, which is as small as that."""
    def build(name, *words):
        words = [*nested.caller.become(), str(nested.caller.binary), "image", "build", "--root", str(nested.path), "--from", "stack:1", "-t", name, *words]
        done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=PATIENCE, cwd=nested.place, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, done.stderr

    build("made:1", "--run", CHANGES, "--copy", "layout/oci-layout:/data/copied", "--run", "echo twice >> /data/kept")
    look = "cat /data/kept; ls /data /moved; ls -d /old; stat -c %a /data/new; readlink /data/link; cat /opt/a/b/file /bin/tool/side; stat -c %Y /data/second"
    done = nested.call("run", "-q", "--image", "made:1", "--", "sh", "-c", look)
    expected = "1more\ntwice\n/data:\ncopied\nkept\nlink\nnew\nsecond\n\n/moved:\na\n700\nkept\ndeep\nin\n1000000000\n"
    assert done.stdout == expected, (done.stdout, done.stderr)
    layers = json.loads(nested.ok("image", "inspect", "made:1"))[0]["layers"]
    sizes = [layer["bytes"] for layer in layers]
    assert len(sizes) == len(STACK) + 3 and sizes[-1] < 8192, layers
    # Nothing but what was changed: as a layer of an overlay has it.
    blob = nested.path / "images/blobs" / layers[len(STACK)]["digest"].removeprefix("sha256:")
    names = set(subprocess.run(["tar", "-tf", str(blob)], check=True, capture_output=True, text=True).stdout.split())
    assert names == {
        "./bin/", "./bin/tool/", "./bin/tool/side", "./data/", "./data/.wh.gone", "./data/kept", "./data/link", "./data/new", "./data/second",
        "./moved/", "./moved/a", "./.wh.old", "./opt/", "./opt/a/", "./opt/a/b/", "./opt/a/b/file",
    }, names  # fmt: skip
    assert os.listdir(nested.path / "layers") == []


def load(store, layers, name):
    layout = Layout()
    layout.image(layers, name)
    path = layout.folder(store.place / f"layout.{name[:-2]}")
    subprocess.run(["chmod", "-R", "a+rX", str(path)], check=True, timeout=PATIENCE)
    words = [*store.caller.become(), str(store.caller.binary), "image", "load", "--root", str(store.path), str(path)]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stderr


# Whiteouts of a file, a folder and in a folder; opaque folders, the root too; what comes back; names of one file.
TAKEN = [
    base(
        folder("data"), member("data/kept", b"1"), member("data/gone", b"2"), folder("old"), member("old/a", b"a"), folder("all"),
        member("all/x", b"x"), folder("again"), member("again/was", b"w"), member("one", b"1"), hard("two", "one"), hard("twin", "all/x"), member("left", b"l"), hard("right", "left"),
    ),
    layer(member("data/.wh.gone"), member(".wh.old"), folder("all"), member("all/.wh..wh..opq"), member("all/y", b"y"), member(".wh.again"), folder("again"), member("again/is", b"i")),
    layer(member("top", b"t"), member("data/.wh.kept"), hard("three", "one")),
    layer(member("above", b"a")),
]


def test_whiteouts(nested):
    """Nobody can make one on an overlay: the layer is kept merged with those below, and all is as the image has it."""
    said = load(nested, TAKEN, "taken:1")
    assert said.count("merged with those below") == 2, said
    look = "ls -d /data/* /old /all/* /again/* /top /above /three 2>/dev/null; test /one -ef /three && test /left -ef /right && stat -c %h /one /left /twin"
    expected = "/above\n/again/is\n/all/y\n/three\n/top\n2\n2\n1\n"
    for level in ("minimal", "standard", "strict"):
        waiver = [] if level != "strict" or os.path.exists("/sys/fs/cgroup/cgroup.controllers") else ["--waive", "cgroup"]
        assert nested.ok("run", "-q", "--isolation", level, *waiver, "--image", "taken:1", "--", "sh", "-c", look) == expected, level
    # The layers that lie on top of one that was merged are not.
    merged = os.listdir(nested.path / "images/merged")
    assert len(merged) == 2 and set(merged) < set(os.listdir(nested.path / "images/layers"))
    assert not list((nested.path / "images/layers").glob(f"{merged[0]}/**/.wh.*"))
    # What is built on it is too.
    words = [*nested.caller.become(), str(nested.caller.binary), "image", "build", "--root", str(nested.path), "--from", "taken:1", "-t", "made:1"]
    words += ["--copy", "layout/oci-layout:/data/copied"]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=PATIENCE, cwd=nested.place)
    assert done.returncode == 0, done.stderr
    assert nested.call("run", "-q", "--image", "made:1", "--", "ls", "/data", "/all", "/old").stdout == "/all:\ny\n\n/data:\ncopied\n"
    # With the image its layers go, and what was said of them.
    nested.ok("image", "remove", "made:1")
    nested.ok("image", "remove", "taken:1")
    assert os.listdir(nested.path / "images/merged") == []


def test_an_opaque_root(nested):
    load(nested, [base(member("gone", b"x"), folder("etc"), member("etc/old", b"o")), base(member(".wh..wh..opq"), folder("etc"), member("etc/new", b"n"))], "opaque:1")
    assert nested.call("run", "-q", "--image", "opaque:1", "--", "ls", "/etc", "/gone").stdout == "/etc:\ngroup\nnew\npasswd\n"


def test_a_merge_that_was_killed_is_made_anew(nested):
    """At any moment: what has a layer's name is whole."""
    files = [member(f"data/{index}", b"x" * 3000) for index in range(800)]
    layout = Layout()
    layout.image([base(folder("data"), *files), layer(member("data/.wh.7"))], "many:1")
    path = layout.folder(nested.place / "layout.many")
    subprocess.run(["chmod", "-R", "a+rX", str(path)], check=True, timeout=PATIENCE)
    words = [*nested.caller.become(), str(nested.caller.binary), "image", "load", "--root", str(nested.path), str(path)]
    killed = 0
    for step in range(14):
        client = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.02 + step * 0.02)
        client.kill()
        killed += client.wait(PATIENCE) != 0
        if len(os.listdir(nested.path / "images/merged") if (nested.path / "images/merged").exists() else []) == 1:
            break
    assert killed
    subprocess.run(words, check=True, capture_output=True, timeout=PATIENCE)
    assert nested.ok("run", "-q", "--image", "many:1", "--", "sh", "-c", "ls /data | wc -l; test -e /data/7 || echo gone") == "799\ngone\n"
    # Nothing of it is left.
    assert [name for name in os.listdir(nested.path / "images/ingest") if not name.endswith(".lock")] == []


def test_files_that_their_own_owner_cannot_read(nested):
    """As distributions have it of their shadow file, and of sudo."""
    load(nested, [base(member("etc/shadow", b"root:*", mode=0), member("bin/sudo", b"#!", mode=0o4111)), layer(member("top", b"t"))], "closed:1")
    look = "stat -c '%a %s' /etc/shadow /bin/sudo; cat /top"
    done = nested.call("run", "-q", "--image", "closed:1", "--", "sh", "-c", look)
    mode = "4111" if nested.caller.name == "root" else "111"
    assert done.stdout == f"0 6\n{mode} 2\nt", done


@pytest.mark.parametrize("image", ["/", "."])
def test_a_folder_with_the_store_in_it_is_not_copied(nested, image):
    """The copy would be copied too."""
    image = image.replace(".", str(nested.place))
    why = nested.call("run", "-q", "--image", image, "--", "true")
    assert why.returncode == 125 and "cannot copy the image" in why.stderr, why.stderr
    assert os.listdir(nested.path / "layers") == []


def test_a_script_needs_none(nested):
    """Its root is put together in the layer itself: what it changes is kept, and told apart."""
    script = nested.place / "bot.sh"
    script.write_text("#!/bin/sh\nif test -e /kept; then cat /kept; else echo hello > /kept; fi\n")
    script.chmod(0o755)
    made = nested.call("create", "--name", "bot", str(script))
    assert made.returncode == 0 and "copied" not in made.stderr, made.stderr
    for _ in range(2):
        nested.ok("start", "-q", "bot")
        assert nested.ok("wait", "bot").strip() == "0"
    assert nested.logs("bot") == b"hello\n"
    assert nested.ok("diff", "bot") == "A /kept\n"
