"""A storage folder on a file system that fails on demand (fusefault.c): one change after the other, once or from then on,
with EIO or ENOSPC, whichever process makes it: the command, the supervisor, a helper. Unlike with fault.c the kernel itself
is told of the error, as by a disk: also where a page is written back, and where what was written is looked at again.
"""

import contextlib
import errno
import mmap
import os
import random
import signal
import struct
import subprocess

import pytest
from conftest import PATIENCE, processes_with, wait_until
from faults import SUPERVISED, Store
from test_faults_disk import refused

SEED = int(os.environ.get("CODEX32_FAULT_SEED", "20261124"))
POINTS = int(os.environ.get("CODEX32_FAULT_POINTS", "12"))

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="no /dev/fuse here")


class Disk:
    """A folder seen through fusefault."""

    def __init__(self, program, folder):
        self.mount = folder / "disk"
        below, self.file = folder / "below", folder / "control"
        for each in (self.mount, below):
            each.mkdir()
        below.chmod(0o777)
        self.file.write_bytes(bytes(4096))
        with open(self.file, "r+b") as file:
            self.control = mmap.mmap(file.fileno(), 4096)
        self.server = subprocess.Popen([program, below, self.mount, self.file], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        wait_until(lambda: os.path.ismount(self.mount) or self.server.poll() is not None, "the mount")
        assert self.server.poll() is None, self.server.stderr.read()

    def fail(self, after, error, lasts):
        """The change with this number fails, and those after it too."""
        struct.pack_into("4i", self.control, 0, after, error, lasts, 0)

    def heal(self):
        """No more failures. Returns how many changes there were since the last one."""
        changes = struct.unpack_from("4i", self.control)[3]
        struct.pack_into("4i", self.control, 0, 0, 0, 0, 0)
        return changes

    def end(self):
        subprocess.run(["umount", "-l", self.mount], check=True, timeout=PATIENCE)
        try:
            self.server.wait(10)
        except subprocess.TimeoutExpired:
            self.server.send_signal(signal.SIGKILL)
            self.server.wait(PATIENCE)
        self.server.stderr.close()
        self.control.close()


@pytest.fixture
def disk(folder, compile_c):
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    made = Disk(compile_c("fusefault.c"), folder)
    try:
        yield made
    finally:
        # A test that failed leaves nothing either.
        for pid in set(processes_with(str(made.mount))) - {made.server.pid}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        made.end()


def ended(verb, done):
    """How a verb ended: it worked, or said why not."""
    assert done.returncode in (0, 125), (verb, done.stderr)
    if done.returncode:
        refused(done)
    return done.returncode


def lives(store):
    """A whole life, verb by verb, each of which works or says why not. Returns how each ended."""
    # Strict: its root is read-only, for an overlay's changes cannot lie on FUSE (overlayfs(5)).
    made = store.do("create", *store.made("bot", "--isolation", "strict", *WAIVE))
    id = made.stdout.strip() or "bot"
    statuses = [ended("create", made)]
    for verb, *words in (
        ["start", "-q"], ["exec", id, "true"], ["rename", id, "b2"], ["update", "--restart", "on-failure"], ["stop", "-t", "0"],
        ["start", "-q"], ["remove", "-f"],
    ):  # fmt: skip
        done = store.do(verb, *words, *([] if id in words else [id]))
        statuses.append(ended(verb, done))
        # Told truly, though it may not be possible to write it down.
        rows = list(store.rows().values())
        # Where nothing can be removed either, a create that failed may have made it all the same.
        if verb in ("start", "stop") and done.returncode == 0:
            assert [row["state"] in SUPERVISED for row in rows] == [verb == "start"], (rows, done.stderr)
    return statuses


WAIVE = [] if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else ["--waive", "cgroup"]


def test_each_change_fails(caller, fault, disk):
    print(f"seed {SEED}")
    place = disk.mount / "store"
    place.mkdir()
    caller.own(place)
    store = Store(caller, fault, place)
    store.create("warm", "--isolation", "strict", *WAIVE)  # and with it the template
    store.clear()
    disk.heal()
    assert lives(store) == [0] * 8
    count = disk.heal()
    assert count > 50
    chosen = random.Random(f"{SEED} fuse {caller.name}")
    failed = 0
    for number in sorted(chosen.sample(range(1, count + 1), POINTS)):
        error, lasts = chosen.choice([errno.EIO, errno.ENOSPC]), chosen.choice([0, 1])
        disk.fail(number, error, lasts)
        try:
            failed += any(lives(store))
            disk.heal()
            store.in_order()
            store.clear(recovers=True)
        except BaseException as problem:
            problem.add_note(f"{caller}: change {number} of {count} met {os.strerror(error)}, lasts: {lasts} (seed {SEED})")
            raise
        finally:
            disk.heal()
    # Some changes matter to nobody: a note, a cache, an event. Most do.
    assert failed >= POINTS // 3, failed


def test_a_stop_that_cannot_be_written_down(caller, fault, disk):
    """The restart policy would undo it: whoever asked for the stop is told, and asks again when there is a disk."""
    place = disk.mount / "store"
    place.mkdir()
    caller.own(place)
    store = Store(caller, fault, place)
    store.create("bot", "--isolation", "strict", *WAIVE, "--restart", "on-failure")
    assert store.do("start", "-q", "bot").returncode == 0
    disk.heal()
    disk.fail(1, errno.EIO, 1)
    done = store.do("stop", "-t", "0", "bot")
    assert done.returncode == 125 and "cannot keep bot stopped" in done.stderr, done
    refused(done)
    disk.heal()
    assert store.do("stop", "-t", "0", "bot").returncode == 0
    assert [row["state"] for row in store.rows().values()] == ["exited"]
    store.clear()
