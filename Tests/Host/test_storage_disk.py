"""`create --storage-limit`, `run -d --storage-limit`: a disk of that size, which fills up in the machine's place, is there at
the next start, and is nobody's mount when its users have ended, however they did."""

import json
import os
import pathlib
import shutil
import subprocess
import tarfile

import pytest
from adoption import kill_supervisor
from conftest import BUSYBOX, PATIENCE, alive, wait_until
from containers import root_store, store  # noqa: F401
from layouts import Layout
from test_images import STACK

SIZE = 16 << 20
MKFS = shutil.which("mkfs.ext4", path="/usr/sbin:/sbin")

needs_disks = pytest.mark.skipif(
    os.geteuid() != 0 or MKFS is None or not os.path.exists("/dev/loop-control"),
    reason="needs root, mkfs.ext4 (e2fsprogs) and /dev/loop-control; the VM tier has them",
)


def attached(store):
    """The loop devices whose file lies in this store."""
    found = []
    for file in pathlib.Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            if file.read_text().startswith(str(store.path)):
                found.append(file.parts[3])
        except OSError:
            pass  # taken away meanwhile
    return found


def settled(store):
    """Nothing is attached, nothing was ever mounted here, and every disk is whole."""
    wait_until(lambda: attached(store) == [], "the end of the loop devices")
    for disk in store.path.glob("layers/*/disk"):
        subprocess.run(["e2fsck", "-f", "-n", str(disk)], check=True, capture_output=True, timeout=PATIENCE)


def said(store, name):
    return store.logs(name).decode()


def load(store):
    """An image of several layers, stack:1."""
    layout = Layout()
    layout.image(STACK, "stack:1")
    words = [str(store.caller.binary), "image", "load", "--root", str(store.path), str(layout.folder(store.place / "layout"))]
    subprocess.run(words, check=True, capture_output=True, timeout=PATIENCE)


def disk(store, name):
    return store.path / "layers" / store.record(name)["id"] / "disk"


def create(store, script, *options, image=BUSYBOX, name="bot", level="standard", size="16m"):
    words = ["-q", "--isolation", level, "--name", name, "--storage-limit", size, *options]
    store.ok("create", *words, "--image", image, "--", "/bin/sh", "-c", script)
    return name


def run_once(store, name):
    store.ok("start", "-q", name)
    assert store.ok("wait", name).strip() == "0", said(store, name)
    return said(store, name)


@needs_disks
@pytest.mark.parametrize(
    "image, level", [("template:busybox", "standard"), ("stack:1", "standard"), ("script", "standard"), ("template:busybox", "minimal")]
)
def test_full_for_the_program_and_kept_for_the_next_start(root_store, image, level):
    store = root_store
    if image == "stack:1":
        load(store)
    script = """
        if test -e /kept; then cat /kept; ls /; exit; fi
        busybox dd if=/dev/zero of=/big bs=64k count=512 2>&1 | busybox tail -n 4; stat -c %s /big
        busybox rm /big && echo hello > /kept && busybox sync && echo synced
        until test -e /go; do sleep 0.1; done; echo wrote
    """
    if image == "script":
        # An assembled root: what is in it is the file system's own root.
        image = store.place / "bot.sh"
        image.write_text(f"#!/bin/sh\n{script.replace('busybox ', '')}")
        image.chmod(0o755)
        store.ok("create", "-q", "--name", "bot", "--storage-limit", "16m", str(image))
    else:
        create(store, script, image=image, level=level)
    store.ok("start", "-q", "bot")
    wait_until(lambda: "synced" in said(store, "bot") or store.state("bot") == "exited", "the program's word")
    file = disk(store, "bot")
    status = file.stat()
    assert (status.st_size, status.st_uid, status.st_mode & 0o777) == (SIZE, 0, 0o600)
    # What was removed is given back (not at an unmount: hence the wait inside), and nothing of it lies elsewhere in the store.
    wait_until(lambda: file.stat().st_blocks * 512 < 8 << 20, "the holes in the file")
    store.ok("exec", "bot", "/bin/sh", "-c", ": > /go")
    store.ok("wait", "bot")
    first = said(store, "bot")
    assert "No space left on device" in first and first.endswith("synced\nwrote\n"), first
    assert (8 << 20) < int(first.splitlines()[-3]) <= SIZE, first
    assert sum(each.lstat().st_blocks * 512 for each in store.path.rglob("*")) < 64 << 20
    receipt = json.loads(store.ok("inspect", "--receipt", "bot"))
    receipt = receipt[0] if isinstance(receipt, list) else receipt
    assert receipt["storage"]["kind"] == "ext4" and receipt["storage"]["limitBytes"] == SIZE
    assert SIZE // 2 < receipt["storage"]["capacityBytes"] <= SIZE
    assert store.record("bot")["configuration"]["storageKind"] == "ext4"
    settled(store)
    second = run_once(store, "bot").removeprefix(first)
    assert second.startswith("hello\n") and "lost+found" not in second, second
    settled(store)
    store.ok("remove", "bot")
    assert not file.exists() and os.listdir(store.path / "layers") == []


@needs_disks
def test_every_verb_on_its_files_running_and_stopped(root_store):
    store = root_store
    load(store)
    # `run -d` makes one too.
    store.ok(
        "run", "-d", "-q", "--name", "bot", "--storage-limit", "16m", "--image", "stack:1", "--", "/bin/sh", "-c",
        "echo one > /one; rm /data/kept; echo ready; while :; do sleep 1; done",
    )  # fmt: skip
    wait_until(lambda: "ready" in said(store, "bot"), "the program's word")
    (loop,) = attached(store)
    # Nobody but the container has it mounted.
    assert loop not in pathlib.Path("/proc/self/mountinfo").read_text()
    (store.place / "given").write_text("given")
    for state in ("running", "exited"):
        assert store.state("bot") == state
        if state == "running":
            assert store.ok("exec", "bot", "cat", "/one") == "one\n"
        assert {"A /one", "D /data/kept"} <= set(store.ok("diff", "bot").splitlines())
        store.ok("cp", store.place / "given", f"bot:/given-{state}")
        store.ok("cp", f"bot:/given-{state}", store.place / f"back-{state}")
        assert (store.place / f"back-{state}").read_text() == "given"
        store.ok("export", "-o", store.place / f"{state}.tar", "bot")
        with tarfile.open(store.place / f"{state}.tar") as archive:
            names = {name.removeprefix("./") for name in archive.getnames()}
        assert {"one", f"given-{state}"} <= names and "data/kept" not in names
        store.ok("commit", "bot", f"made-{state}:1")
        out = store.ok("run", "-q", "--image", f"made-{state}:1", "--", "/bin/sh", "-c", "cat /one")
        assert out == "one\n"
        before = disk(store, "bot").stat().st_blocks * 512
        usage = {row["type"]: row for row in json.loads(store.ok("system", "df", "--format", "json"))}
        on_disk = min(before, disk(store, "bot").stat().st_blocks * 512)  # what is in memory still is written meanwhile
        assert on_disk > 0 and usage["containers"]["bytes"] >= on_disk
        if state == "running":
            assert attached(store) == [loop], "two file systems on one file would ruin it"
            store.ok("stop", "-t", "1", "bot")
            settled(store)
        else:
            settled(store)


@needs_disks
def test_the_plan_says_so(root_store):
    words = ["--dry-run", "--format", "json", "--storage-limit", "16m", BUSYBOX, "true"]
    for verb, type in (["create", "ext4"], ["run", None]):
        sources = json.loads(root_store.ok(verb, *words))["sources"]
        assert [each["type"] for each in sources if each["type"] != "bind"] == ([type] if type else [])


@needs_disks
def test_kill_9_leaves_no_loop_device(root_store):
    store = root_store
    create(store, "test -e /one && echo again; echo one > /one; busybox sync; echo ready; exec sleep 100000")
    store.ok("start", "-q", "bot")
    wait_until(lambda: "ready" in said(store, "bot"), "the program's word")
    assert len(attached(store)) == 1
    pid = store.pid("bot")
    kill_supervisor(store, store.record("bot")["id"])
    wait_until(lambda: not alive(pid), "the end of the program")
    settled(store)
    assert store.state("bot") == "exited"
    # A look at what does not run has it mounted too, for as long as it lives.
    looking = store.popen("export", "bot", stdout=subprocess.PIPE)
    looking.stdout.read(1)
    wait_until(lambda: len(attached(store)) == 1, "the file system of the look")
    looking.kill()
    looking.stdout.close()
    looking.wait(PATIENCE)
    settled(store)
    store.ok("start", "-q", "bot")
    wait_until(lambda: said(store, "bot").endswith("again\nready\n"), "the second start")
    # Removed while it runs.
    store.ok("remove", "-f", "bot")
    settled(store)


@needs_disks
def test_an_adopted_program_keeps_its_disk(root_store):
    store = root_store
    create(store, "echo one > /one; echo ready; exec sleep 100000", "--orphan", "adopt")
    store.ok("start", "-q", "bot")
    wait_until(lambda: "ready" in said(store, "bot"), "the program's word")
    (loop,) = attached(store)
    pid = store.pid("bot")
    kill_supervisor(store, store.record("bot")["id"])
    assert store.ok("exec", "bot", "cat", "/one") == "one\n" and "A /one" in store.ok("diff", "bot").splitlines()
    assert store.pid("bot") == pid and attached(store) == [loop]
    store.ok("stop", "-t", "1", "bot")
    settled(store)


@needs_disks
def test_half_made_is_made_again(root_store):
    store = root_store
    create(store, "echo fine")
    half = store.path / "layers" / f".{store.record('bot')['id']}.new"
    half.mkdir(parents=True, mode=0o700)
    (half / "disk").write_bytes(b"\0" * 4096)
    assert run_once(store, "bot") == "fine\n"
    assert not half.exists()
    # Without its disk it would have no limit: it does not start.
    disk(store, "bot").unlink()
    assert "cannot open the layer" in store.fails("start", "bot")
    # What is no file system any more is an error in words.
    with open(disk(store, "bot"), "wb") as file:
        file.truncate(SIZE)
    why = store.fails("start", "bot")
    assert "cannot mount the disk" in why and "hint: e2fsck" in why, why
    assert "cannot mount the disk" in store.fails("diff", "bot")
    wait_until(lambda: attached(store) == [], "the end of the loop devices")


@needs_disks
@pytest.mark.parametrize("path, why, hint", [(MKFS, "mkfs.ext4, which is not installed", "e2fsprogs"), ("/dev", "/dev/loop-control", "modprobe loop")])
def test_what_the_machine_lacks_is_told_at_create(root_store, path, why, hint):
    store = root_store
    hide = f"mount --bind /dev/null {path}" if path == MKFS else "mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3"
    words = store.words("create", "--name", "bot", "--storage-limit", "16m", BUSYBOX, "true")
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", f'{hide} && exec "$@"', "sh", *words], env=store.caller.environment(), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 125 and why in done.stderr and f"hint: {'apt-get install ' if path == MKFS else ''}{hint}" in done.stderr, done.stderr
    assert store.ids() == []


def test_it_is_a_limit_or_an_error(store):
    if store.caller.name == "user":
        for verb in (["create"], ["run", "-d"]):
            why = store.fails(*verb, "--storage-limit", "16m", BUSYBOX, "true")
            assert "only the machine's root may mount one" in why and "hint: sudo codex32; --rm" in why
    else:
        assert "4m or more" in store.fails("create", "--storage-limit", "1m", BUSYBOX, "true")
    for words in (["--read-only"], ["--isolation", "strict", "--waive", "cgroup"]):
        assert "the root cannot be written at all" in store.fails("create", "--storage-limit", "16m", *words, BUSYBOX, "true")
    assert store.ids() == []
