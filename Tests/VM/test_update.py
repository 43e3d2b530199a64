"""Stats and update on a kernel with cgroup v2: what codex32 says beside the cgroup's files, read from outside.

Runs inside the machine of run-in-vm, as root.
"""

import contextlib
import json
import os
import time

import pytest
from machine import DISK, Store, in_machine, wait_until

pytestmark = in_machine


@pytest.fixture(params=["root", "codex"])
def store(request):
    made = Store(request.param, "update")
    yield made
    for name in made("list", "-q").stdout.split():
        made("remove", "-f", "-v", name, ok=False)
    assert made("list", "-q").stdout == ""


def stats(store, name):
    return json.loads(store("stats", "--no-stream", "--format", "json", name).stdout)


def start(store, name, *options, script="while :; do :; done"):
    store("run", "-d", "-q", "--name", name, *options, "--image", "template:busybox", "--", "sh", "-c", script)


def test_update_is_in_force_at_once(store):
    start(store, "live", "-m", "128m", "--pids-limit", "100")
    group = store.cgroup("live")
    assert (group / "memory.max").read_text() == f"{128 << 20}\n"
    shown = store("update", "--format", "json", "-m", "96m", "--cpus", "0.25", "--pids-limit", "40", "--cpu-weight", "50", "live")
    inforce = json.loads(shown.stdout)[0]["inForce"]
    wanted = {"memory.max": str(96 << 20), "cpu.max": "25000 100000", "pids.max": "40", "cpu.weight": "50"}
    for file, text in wanted.items():
        assert (group / file).read_text() == text + "\n"
        assert inforce[file] == text
    # And it is still so after the next start.
    store("restart", "-t", "0", "live")
    assert (store.cgroup("live") / "pids.max").read_text() == "40\n"


def test_update_takes_limits_away(store):
    start(store, "freed", "-m", "128m", "--cpus", "0.5", "--cpuset", "0")
    group = store.cgroup("freed")
    assert (group / "pids.max").read_text() == "512\n"
    has_cpuset = (group / "cpuset.cpus").exists()
    words = ["-m", "none", "--memory-swap", "none", "--cpus", "none", "--pids-limit", "none"]
    words += ["--cpuset", "none"] if has_cpuset else []
    inforce = json.loads(store("update", "--format", "json", *words, "freed").stdout)[0]["inForce"]
    wanted = {"memory.max": "max", "memory.swap.max": "max", "cpu.max": "max 100000", "pids.max": "max"}
    # A cgroup with processes in it may not lose its set: it has all CPUs of the one above.
    wanted |= {"cpuset.cpus": (group.parent / "cpuset.cpus.effective").read_text().strip()} if has_cpuset else {}
    for file, text in wanted.items():
        assert (group / file).read_text() == text + "\n"
        assert inforce[file] == text
    # The level's defaults do not come back with the next start, and a limit can be set again.
    store("restart", "-t", "0", "freed")
    group = store.cgroup("freed")
    assert (group / "pids.max").read_text() == (group / "memory.max").read_text() == "max\n"
    store("update", "-m", "64m", "freed")
    assert (group / "memory.max").read_text() == f"{64 << 20}\n"


def test_update_of_io_limits_is_read_back(store):
    disk = DISK.stat().st_dev
    device = f"{os.major(disk)}:{os.minor(disk)}"
    start(store, "disk", "--io-limit", f"{DISK}:rbps=10m,wiops=100", script="sleep 1000")
    group = store.cgroup("disk")
    if not (group / "io.max").exists():
        pytest.skip("no io controller here")
    line = lambda: dict(word.split("=") for word in (group / "io.max").read_text().split() if "=" in word)  # noqa: E731
    assert (group / "io.max").read_text().startswith(device + " ")
    assert line() == {"rbps": str(10 << 20), "wbps": "max", "riops": "max", "wiops": "100"}
    shown = store("update", "--format", "json", "--io-limit", f"{DISK}:wbps=5m,wiops=none", "disk").stdout
    assert line() == {"rbps": str(10 << 20), "wbps": str(5 << 20), "riops": "max", "wiops": "max"}
    assert json.loads(shown)[0]["inForce"]["io.max"] == (group / "io.max").read_text().strip()
    store("update", "--io-limit", f"{DISK}:rbps=none,wbps=none", "disk")
    assert line() == {}


def test_update_puts_former_limits_back(store):
    start(store, "whole", "-m", "128m", "--pids-limit", "100", "--cpus", "0.5")
    group = store.cgroup("whole")
    files = ["memory.max", "memory.swap.max", "cpu.max", "cpu.weight", "pids.max", "cpuset.cpus"]
    texts = lambda: {file: (group / file).read_text() for file in files if (group / file).exists()}  # noqa: E731
    before, record = texts(), store.record("whole")["configuration"]
    # No machine has this CPU; memory, cpu and pids are written before it.
    done = store("update", "-m", "64m", "--cpus", "0.1", "--pids-limit", "9", "--cpuset", "65000", "whole", ok=False)
    assert done.returncode == 125 and "cpuset.cpus" in done.stderr and "stay as they were" in done.stderr
    assert texts() == before
    assert store.record("whole")["configuration"] == record


def test_stats_are_the_cgroups(store):
    start(store, "seen", "-m", "128m", "--pids-limit", "100", "--cpus", "0.5", script="sleep 1000 & while :; do :; done")
    group = store.cgroup("seen")
    wait_until(lambda: (group / "pids.current").read_text() == "2\n", "its sleep")
    row = stats(store, "seen")
    assert (row["from"], row["memoryFrom"]) == ("cgroup", "cgroup")
    assert (row["memoryLimitBytes"], row["pidsLimit"]) == (128 << 20, 100)
    assert row["pids"] == int((group / "pids.current").read_text()) == 2
    assert 0 < row["memoryBytes"] < 128 << 20 and row["cpuPercent"] is not None
    used = int((group / "cpu.stat").read_text().split()[1]) / 1e6
    assert 0 < row["cpuSeconds"] <= used
    end = time.monotonic() + 120
    while stats(store, "seen")["cpuPercent"] == 0 and time.monotonic() < end:
        pass
    with contextlib.suppress(FileNotFoundError):
        assert (row["readBytes"] is not None) == ((group / "io.stat").read_text() is not None)
