"""What test_oci_systemd.py runs beside a systemd of its own: the systemd driver's scopes, by systemd's word and the kernel's."""

import json
import subprocess
from pathlib import Path

import pytest
from bundles import Bundle, says
from machine import CGROUPS, wait_until


def show(unit, *names):
    text = subprocess.run(
        ["systemctl", "show", unit, *[f"-p{name}" for name in names]], capture_output=True, text=True, check=True
    ).stdout
    return dict(line.split("=", 1) for line in text.splitlines())


@pytest.fixture
def bundle():
    made = Bundle("systemd")
    plain = made.line
    made.line = lambda *words: [*plain(), "--systemd-cgroup", *map(str, words)]
    made.config["linux"]["namespaces"].append({"type": "cgroup"})
    made.config["linux"]["cgroupsPath"] = "a-b.slice:codex32:one"
    made.sh("cat /proc/self/cgroup; exec sleep 1000")
    yield made
    made.close()


def test_scope_has_the_limits_and_systemd_knows_them(bundle):
    bundle.resources |= {
        "memory": {"limit": 64 << 20, "swap": 80 << 20}, "pids": {"limit": 20},
        "cpu": {"quota": 50000, "period": 100000, "shares": 2000, "cpus": "0"},
        "unified": {"memory.high": "48M", "cgroup.max.depth": "5"},
    }  # fmt: skip
    bundle.start("one")
    group = CGROUPS / "a.slice/a-b.slice/codex32-one.scope"
    # Its cgroup namespace begins there, although it was moved.
    wait_until(lambda: bundle.output == "0::/\n", "the program's word")
    assert f"{bundle.state('one')['pid']}\n" in (group / "cgroup.procs").read_text()
    wanted = {
        "memory.max": str(64 << 20), "memory.swap.max": str(16 << 20), "memory.high": str(48 << 20), "pids.max": "20",
        "cpu.max": "50000 100000", "cpu.weight": "170", "cpuset.cpus": "0", "cgroup.max.depth": "5",
    }  # fmt: skip
    assert says(group, *wanted) == wanted
    known = {
        "Slice": "a-b.slice", "Delegate": "yes", "MemoryMax": str(64 << 20), "MemorySwapMax": str(16 << 20),
        "MemoryHigh": str(48 << 20), "TasksMax": "20", "CPUQuotaPerSecUSec": "500ms", "CPUWeight": "170",
        "AllowedCPUs": "0",
    }  # fmt: skip
    assert show("codex32-one.scope", *known) == known
    bundle("update", "--memory", "32m", "--memory-swap", "32m", "--pids-limit", "9", "one", ok=True)
    # What systemd sets again when it reads everything anew is the same.
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    assert says(group, "memory.max", "pids.max") == {"memory.max": str(32 << 20), "pids.max": "9"}
    assert show("codex32-one.scope", "MemoryMax", "TasksMax") == {"MemoryMax": str(32 << 20), "TasksMax": "9"}
    bundle("pause", "one", ok=True)
    assert bundle.state("one")["status"] == "paused"
    assert json.loads(bundle("events", "--stats", "one", ok=True).stdout)["data"]["pids"]["limit"] == 9
    bundle("delete", "--force", "one", ok=True)
    assert not group.exists()
    assert show("codex32-one.scope", "LoadState", "ActiveState") == {"LoadState": "not-found", "ActiveState": "inactive"}


def test_a_name_that_is_taken_is_not_touched(bundle):
    bundle.start("one")
    done = bundle("create", "two")
    assert done.returncode == 1 and "cannot make the scope codex32-one.scope" in done.stderr
    assert bundle.state("one")["status"] == "running"
    # Ended from outside, the container has ended, and its deletion is no error.
    subprocess.run(["systemctl", "kill", "-s", "KILL", "codex32-one.scope"], check=True)
    wait_until(lambda: bundle.state("one")["status"] == "stopped", "the end")
    bundle("delete", "one", ok=True)
    assert not (CGROUPS / "a.slice/a-b.slice/codex32-one.scope").exists()


def test_paths_that_are_no_scopes_are_refused(bundle):
    for path in ("/a/b", "a:b", "a:b:c", "a.slice:b:", "../a.slice:b:c", "a.slice:b/c:d", ".slice:b:c"):
        bundle.config["linux"]["cgroupsPath"] = path
        done = bundle("create", "one")
        assert done.returncode == 1 and "linux.cgroupsPath" in done.stderr, path
    del bundle.config["linux"]["cgroupsPath"]
    bundle.start("two")
    assert show("codex32-two.scope", "Slice") == {"Slice": "system.slice"}
    assert Path("/sys/fs/cgroup/system.slice/codex32-two.scope").is_dir()
