"""kill -9 of supervisors on a kernel with cgroup v2: the cgroup goes with the program, at the next list at the latest.

Runs inside the machine of run-in-vm, as root; see test_limits.py.
"""

import json
import os
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
CODEX32 = str(Path(os.environ.get("CODEX32") or HERE.parents[1] / ".build/release/codex32").absolute())
DISK = Path("/mnt/disk")
CGROUPS = Path("/sys/fs/cgroup")

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not (CGROUPS / "user.codex/session").is_dir() or not DISK.is_mount(),
    reason="for the machine of Tests/VM/run-in-vm",
)


class Store:
    def __init__(self, who):
        self.prefix = [str(HERE / "as-user")] if who == "codex" else []
        self.path = DISK / f"recovery-{who}-{time.monotonic_ns()}"
        self.path.mkdir()
        os.chown(self.path, *((1001, 1001) if who == "codex" else (0, 0)))

    def do(self, verb, *words):
        command = [*self.prefix, CODEX32, verb, "--root", str(self.path), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=DISK, check=False)
        assert done.returncode == 0, (verb, done.stderr)
        return done.stdout

    def record(self, id):
        return json.loads((self.path / "containers" / id / "container.json").read_text())

    def kill_supervisor(self, id):
        pid = self.record(id)["supervisor"]["pid"]
        # Held by its descriptor, which becomes readable with its end: a look into /proc may meet it half gone.
        process = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(process, signal.SIGKILL)
            assert select.select([process], [], [], 60)[0], "it does not end"
        finally:
            os.close(process)


@pytest.mark.parametrize("who", ["root", "codex"])
@pytest.mark.parametrize("paused", [False, True])
def test_cgroup_goes_with_a_killed_supervisor(who, paused):
    store = Store(who)
    id = store.do("create", "--name", "bot", "template:busybox", "--", "sh", "-c", "sleep 1000 & sleep 1000").strip()
    store.do("start", "-q", id)
    cgroup = Path(store.record(id)["cgroup"])
    assert cgroup.is_dir() and (cgroup / "cgroup.procs").read_text()
    if paused:
        store.do("pause", id)
    store.kill_supervisor(id)
    (row,) = json.loads(store.do("list", "-a", "--format", "json"))
    assert (row["state"], row["exitStatus"]) == ("exited", 137)
    assert not cgroup.exists()
    assert store.do("system", "recover") == "all is in order\n"
    # And the place is free for the next start.
    store.do("start", "-q", id)
    assert cgroup.is_dir()
    store.do("remove", "-f", id)
    assert not cgroup.exists()


@pytest.mark.parametrize("who", ["root", "codex"])
def test_cgroup_goes_with_a_supervisor_killed_in_its_start(who):
    """At moments spread over a start: made or not, the cgroup has no program and no owner, and goes."""
    store = Store(who)
    id = store.do("create", "--name", "bot", "template:busybox", "--", "sleep", "1000").strip()
    store.do("start", "-q", id)
    place = Path(store.record(id)["cgroup"])
    store.do("stop", "-t", "0", id)
    runtime = store.path / "run/supervised" / id
    marks = [runtime, runtime / "control", place, runtime / "process"]
    for mark in marks * 3:
        command = [*store.prefix, CODEX32, "start", "-q", "--root", str(store.path), id]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=DISK) as client:
            while not mark.exists() and client.poll() is None:
                time.sleep(0.001)  # the machine has one processor, and this is not to be what it is busy with
            for entry in Path("/proc").glob("[0-9]*"):
                try:
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                    if words[1:2] == [b"supervise"] and id.encode() in words:
                        os.kill(int(entry.name), signal.SIGKILL)
                except OSError:
                    continue
            client.wait(300)
        (row,) = json.loads(store.do("list", "-a", "--format", "json"))
        if row["state"] == "running":
            store.kill_supervisor(id)  # it was faster than the search for it
        assert json.loads(store.do("list", "-a", "--format", "json"))[0]["state"] == "exited"
        store.do("system", "recover")
        assert not place.exists()
        assert store.do("system", "recover") == "all is in order\n"
    store.do("remove", id)


@pytest.mark.parametrize("who", ["root", "codex"])
def test_restarted_in_a_cgroup_of_its_own(who):
    """With a restart policy the program of a killed supervisor is followed by another, and its cgroup by another."""
    store = Store(who)
    id = store.do("create", "--name", "bot", "--restart", "always", "template:busybox", "--", "sleep", "1000").strip()
    store.do("start", "-q", id)
    place = Path(store.record(id)["cgroup"])
    for _ in range(3):
        former = (place / "cgroup.procs").read_text().split()
        store.kill_supervisor(id)
        (row,) = json.loads(store.do("list", "-a", "--format", "json"))
        assert row["state"] in ("restarting", "running")
        while store.record(id)["state"]["status"] != "running":
            time.sleep(0.05)
        now = (place / "cgroup.procs").read_text().split()
        assert now and not set(now) & set(former)
    store.do("stop", "-t", "0", id)
    assert not place.exists()
    store.do("remove", id)


@pytest.mark.parametrize("who", ["root", "codex"])
def test_adopted_with_its_cgroup(who):
    """Another supervisor finds the cgroup again: figures, live limits, freezing, and an end of all that is in it."""
    store = Store(who)
    script = "sleep 1000 & i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done"
    words = ["--name", "bot", "--orphan", "adopt", "-m", "64m", "template:busybox", "--", "sh", "-c", script]
    id = store.do("create", *words).strip()
    store.do("start", "-q", id)
    before = store.record(id)
    cgroup = Path(before["cgroup"])
    members = set((cgroup / "cgroup.procs").read_text().split())
    for _ in range(3):
        store.kill_supervisor(id)
        (row,) = json.loads(store.do("list", "-a", "--format", "json"))
        assert row["state"] == "running"
    now = store.record(id)
    assert (now["cgroup"], now["state"]) == (before["cgroup"], before["state"])
    assert str(now["state"]["process"]["pid"]) in members & set((cgroup / "cgroup.procs").read_text().split())
    (figures,) = [json.loads(line) for line in store.do("stats", "--no-stream", "--format", "json", id).splitlines()]
    assert figures["memoryLimitBytes"] == 64 << 20 and figures["memoryBytes"] > 0
    store.do("update", "-m", "48m", id)
    assert (cgroup / "memory.max").read_text().strip() == str(48 << 20)
    # Frozen it stays, under a supervisor that has yet to come.
    store.do("pause", id)
    store.kill_supervisor(id)
    assert store.do("system", "recover") == "bot was paused without a supervisor, and is adopted\n"
    assert "frozen 1" in (cgroup / "cgroup.events").read_text()
    store.do("unpause", id)
    assert store.do("exec", id, "echo", "inside") == "inside\n"
    assert (cgroup / "memory.max").read_text().strip() == str(48 << 20)
    log = [int(line) for line in store.do("logs", id).split()]
    assert log == list(range(1, len(log) + 1))
    store.do("stop", "-t", "0", id)
    assert not cgroup.exists()
    verdict = store.record(id)["state"]["verdict"]
    assert verdict["peakMemoryBytes"] > 0 and verdict["cpuUserSeconds"] is not None and verdict["oomKills"] == 0
    store.do("remove", id)


def test_oom_of_an_adopted_program():
    """Its status nobody could wait for; what its cgroup counted tells it all the same."""
    store = Store("root")
    script = "until test -e /tmp/go; do sleep 0.1; done; tail /dev/zero"
    words = ["--name", "bot", "--orphan", "adopt", "-m", "32m", "template:busybox", "--", "sh", "-c", script]
    id = store.do("create", *words).strip()
    store.do("start", "-q", id)
    store.kill_supervisor(id)
    store.do("exec", "-d", id, "touch", "/tmp/go")
    assert store.do("wait", id) == "137\n"
    verdict = store.record(id)["state"]["verdict"]
    assert verdict["reason"] == "oom" and verdict["oomKills"] > 0
    store.do("remove", id)


def test_cpu_time_of_an_adopted_program():
    """What it used before counts too."""
    store = Store("root")
    words = ["--name", "bot", "--orphan", "adopt", "--cpu-time", "15s", "template:busybox", "--", "sh", "-c", "while :; do :; done"]
    id = store.do("create", *words).strip()
    store.do("start", "-q", id)
    store.kill_supervisor(id)
    store.do("list")
    assert store.do("wait", id) in {"143\n", "137\n"}
    verdict = store.record(id)["state"]["verdict"]
    assert verdict["reason"] == "cpu-time" and verdict["cpuUserSeconds"] + verdict["cpuSystemSeconds"] >= 10
    store.do("remove", id)
