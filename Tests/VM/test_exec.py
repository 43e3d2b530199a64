"""exec, health and top on a kernel with cgroup v2 and Landlock: the cgroup, the freezer, the limits.

Runs inside the machine of run-in-vm, as test_limits.py does.
"""

import contextlib
import json
import signal
import subprocess
import time
import uuid
from pathlib import Path

import pytest
from machine import DISK, Store, in_machine, wait_until

pytestmark = in_machine


class Box:
    def __init__(self, who):
        self.store = Store(who, "store-exec")
        self.name = f"box-{uuid.uuid4().hex[:12]}"
        self.line = self.store.line

    def verb(self, verb, *words):
        return self.store(verb, *words, ok=False)

    def record(self):
        return self.store.record(self.name)

    @property
    def cgroup(self):
        return self.store.cgroup(self.name)

    def processes(self):
        return {int(word) for word in (self.cgroup / "cgroup.procs").read_text().split()}


@contextlib.contextmanager
def detached(who, *options, level="strict"):
    box = Box(who)
    made = box.verb("run", "-d", "-q", "--isolation", level, "--name", box.name, "-w", "/", *options, "--image", "template:busybox", "--", "sleep", "10000")
    assert made.returncode == 0, made.stderr
    try:
        yield box
    finally:
        box.verb("unpause", box.name)
        gone = box.verb("remove", "-f", box.name)
        assert gone.returncode == 0, gone.stderr


@pytest.fixture(params=["root", "codex"])
def who(request):
    return request.param


@pytest.mark.parametrize("level", ["standard", "strict"])
def test_born_in_the_cgroup(who, level):
    with detached(who, level=level) as box:
        before = box.processes()
        client = subprocess.Popen(box.line("exec", box.name, "sleep", "777"), cwd=DISK)
        wait_until(lambda: len(box.processes()) == len(before) + 1, "the program in the cgroup")
        # It is codex32's child until it has executed its own.
        wanted = {"sleep 10000", "sleep 777"}
        top = lambda: json.loads(box.verb("top", "--format", "json", box.name).stdout)  # noqa: E731
        wait_until(lambda: {line["command"] for line in top()} == wanted, "the program in the child's place")
        assert {line["pid"] for line in top()} == box.processes()
        assert box.verb("exec", box.name, "cat", "/proc/self/cgroup").stdout == "0::/\n"
        client.send_signal(signal.SIGKILL)
        client.wait(60)
        wait_until(lambda: box.processes() == before, "the end of the program with its client")


def test_born_in_the_cgroup_of_a_foreground_run(who):
    """It has a second program's cgroup, and with it the limits, from the entry of the run alone."""
    box = Box(who)
    words = ["-q", "--isolation", "strict", "--name", box.name, "-m", "32m", "--image", "template:busybox", "--", "sleep", "10000"]
    with subprocess.Popen(box.line("run", *words), cwd=DISK, stderr=subprocess.PIPE) as runner:
        try:
            wait_until(lambda: box.verb("exec", box.name, "true").returncode == 0, "the run")
            assert box.verb("exec", box.name, "cat", "/proc/self/cgroup").stdout == "0::/\n"
            eaten = box.verb("exec", box.name, "sh", "-c", "x=0123456789abcdef; while :; do x=$x$x; done")
            assert eaten.returncode == 137
            # The whole sandbox ends with what one of its programs took too much of.
            assert runner.wait(300) == 137
        finally:
            if runner.poll() is None:
                runner.kill()


def test_same_limits(who):
    """A second program eats from the same plate: its memory and its processes are the container's."""
    with detached(who, "-m", "32m", "--pids-limit", "12") as box:
        eaten = box.verb("exec", box.name, "sh", "-c", "x=0123456789abcdef; while :; do x=$x$x; done")
        assert eaten.returncode == 137
        wait_until(lambda: box.record()["state"]["status"] == "exited", "the whole container's end")
        assert box.record()["state"]["verdict"]["reason"] == "oom"
    with detached(who, "--pids-limit", "8") as box:
        assert box.verb("exec", "-d", box.name, "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do sleep 9999 & done; wait").returncode == 0
        # The shell ends with the first one that it cannot start. One more is free, and two are needed to enter.

        def comms():
            with contextlib.suppress(OSError):
                return [Path(f"/proc/{pid}/comm").read_text() for pid in box.processes()]

        wait_until(lambda: comms() == ["sleep\n"] * 7, "seven processes, and no shell that forks")
        full = box.verb("exec", box.name, "true")
        assert full.returncode == 125 and "as many processes as it may have" in full.stderr, full.stderr


def test_paused(who):
    options = ["--health-cmd", "true", "--health-interval", "100ms"]
    with detached(who, *options) as box:
        wait_until(lambda: box.record()["health"] == "healthy", "healthy")
        assert box.verb("pause", box.name).returncode == 0
        refused = box.verb("exec", box.name, "true")
        assert refused.returncode == 125
        assert refused.stderr == f"codex32: cannot run a program in {box.name}: it is paused\nhint: codex32 unpause {box.name}\n"
        last = wait_until(lambda: (box.record()["healthChecks"]["log"] or [None])[-1], "a check")
        time.sleep(2)  # twenty intervals
        assert box.record()["healthChecks"]["log"][-1] == last, "what is frozen is not checked"
        assert box.verb("health", box.name).returncode == 125
        assert box.verb("unpause", box.name).returncode == 0
        wait_until(lambda: box.record()["healthChecks"]["log"][-1] != last, "checks again")
        assert box.record()["health"] == "healthy"


def test_nothing_stays(who):
    with detached(who) as box:
        before = box.processes(), sorted(path.name for path in box.cgroup.parent.iterdir() if path.is_dir())
        for _ in range(50):
            assert box.verb("exec", box.name, "true").returncode == 0
        after = box.processes(), sorted(path.name for path in box.cgroup.parent.iterdir() if path.is_dir())
        assert after == before
