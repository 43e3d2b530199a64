"""The OCI runtime's cgroups: limits, devices, pause, update and figures, beside what the kernel's files say.

Runs inside the machine of run-in-vm, as root and as the ordinary user with a delegated cgroup.
"""

import contextlib
import json
import os
import signal
import subprocess

import pytest
from bundles import Bundle, says
from machine import CGROUPS, in_machine, second_processor, wait_until  # noqa: F401 (a fixture)

pytestmark = in_machine


@pytest.fixture
def bundle(request):
    made = Bundle("limits")
    yield made
    made.close()
    group = CGROUPS / "codex32-test"
    if group.exists():
        group.rmdir()  # nothing may be left below it


def test_limits_are_there_before_the_program(bundle):
    disk = os.stat("/mnt/disk").st_dev
    device = f"{os.major(disk)}:{os.minor(disk)}"
    bundle.resources |= {
        "memory": {"limit": 64 << 20, "swap": 96 << 20, "reservation": 16 << 20},
        "cpu": {"shares": 2000, "quota": 20000, "period": 50000, "burst": 1000, "cpus": "0", "mems": "0"},
        "pids": {"limit": 20},
        "blockIO": {
            "throttleReadBpsDevice": [{"major": os.major(disk), "minor": os.minor(disk), "rate": 1 << 20}],
            "throttleWriteIOPSDevice": [{"major": os.major(disk), "minor": os.minor(disk), "rate": 99}],
        },
        "hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}],
        "unified": {"memory.high": "48M", "cgroup.max.descendants": "3"},
    }
    bundle.sh("exec sleep 1000")
    bundle.create("one")
    group = bundle.cgroup("one")
    assert group == CGROUPS / "codex32-test/limits"
    wanted = {
        "memory.max": str(64 << 20), "memory.swap.max": str(32 << 20), "memory.low": str(16 << 20),
        "memory.high": str(48 << 20), "cpu.weight": "170", "cpu.max": "20000 50000", "cpu.max.burst": "1000",
        "cpuset.cpus": "0", "cpuset.mems": "0", "pids.max": "20", "hugetlb.2MB.max": str(4 << 20),
        "hugetlb.2MB.rsvd.max": str(4 << 20), "cgroup.max.descendants": "3",
        "io.max": f"{device} rbps={1 << 20} wbps=max riops=max wiops=99",
    }  # fmt: skip
    assert says(group, *wanted) == wanted
    bundle("start", "one", ok=True)
    bundle("kill", "one", "KILL", ok=True)
    wait_until(lambda: bundle.state("one")["status"] == "stopped", "the end")
    bundle("delete", "one", ok=True)
    assert not group.exists()


def test_memory_limit_ends_what_takes_more(bundle):
    bundle.resources["memory"] = {"limit": 32 << 20, "swap": 32 << 20}
    bundle.sh("head -c 100000000 /dev/zero | sort > /dev/null; echo after; cat /no-such")
    (bundle.folder / "rootfs/bin/sort").symlink_to("busybox")
    done = bundle("run", "one")
    assert "after" in done.stdout  # what took too much was ended, and not its shell
    bundle.resources["unified"] = {"memory.oom.group": "1"}
    assert bundle("run", "one").returncode == 137


def test_pids_limit_holds(bundle):
    bundle.resources["pids"] = {"limit": 4}
    bundle.sh("for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; echo $?")
    done = bundle("run", "one")
    assert "can't fork" in done.stderr, done.stderr


def test_without_limits_there_is_a_cgroup_all_the_same(bundle):
    del bundle.config["linux"]["cgroupsPath"]
    bundle.sh("exec sleep 1000")
    bundle.start("plain")
    group = bundle.cgroup("plain")
    assert group == CGROUPS / "codex32/plain"
    bundle("delete", "--force", "plain", ok=True)
    assert not group.exists()


@pytest.mark.parametrize(
    "resources, words",
    [
        ({"unified": {"cgroup.procs": "1"}}, "linux.resources.unified.cgroup.procs"),
        ({"unified": {"../memory.max": "1"}}, "linux.resources.unified"),
        ({"unified": {"memory.max": "many"}}, "memory.max"),
        ({"memory": {"swap": 1 << 20}}, "linux.resources.memory.swap"),
        ({"memory": {"limit": 2 << 20, "swap": 1 << 20}}, "linux.resources.memory.swap"),
        ({"memory": {"swappiness": 10}}, "linux.resources.memory.swappiness"),
        ({"memory": {"disableOOMKiller": True}}, "linux.resources.memory.disableOOMKiller"),
        ({"memory": {"kernel": 1 << 20}}, "linux.resources.memory.kernel"),
        ({"cpu": {"realtimeRuntime": 1000}}, "linux.resources.cpu.realtimeRuntime"),
        ({"cpu": {"cpus": "0-"}}, "linux.resources.cpu.cpus"),
        ({"cpu": {"cpus": "4000"}}, "cpuset.cpus"),
        ({"network": {"classID": 1}}, "linux.resources.network"),
        ({"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]}, "hugetlb.3MB.max"),
        ({"hugepageLimits": [{"pageSize": "../x", "limit": 1}]}, "pageSize"),
        ({"rdma": {"mlx5_0": {"hcaHandles": 1}}}, "rdma.max"),
        ({"devices": [{"allow": True, "type": "x"}]}, "linux.resources.devices[0].type"),
        ({"devices": [{"allow": True, "major": 1 << 40}]}, "linux.resources.devices[0].major"),
        ({"pids": {"limit": 1, "unknown": 2}}, "linux.resources.pids.unknown"),
    ],
)
def test_what_cannot_hold_is_refused_by_name(bundle, resources, words):
    bundle.resources |= resources
    done = bundle("create", "one")
    assert done.returncode == 1 and words in done.stderr, done.stderr
    assert bundle.left() == []
    assert not (CGROUPS / "codex32-test/limits").exists()


@pytest.mark.parametrize("path", ["/", "/../x", "/a/../../b", "..", "/a\nb"])
def test_hostile_paths_are_refused(bundle, path):
    bundle.config["linux"]["cgroupsPath"] = path
    done = bundle("create", "one")
    assert done.returncode == 1 and "linux.cgroupsPath" in done.stderr


def test_a_cgroup_of_others_is_not_taken(bundle):
    bundle.sh("exec sleep 1000")
    bundle.start("one")
    done = bundle("create", "two")
    assert done.returncode == 1 and "container's cgroup is not empty" in done.stderr
    # And what failed has ended nothing of the first.
    assert bundle.state("one")["status"] == "running"
    bundle("delete", "--force", "two", ok=True)
    assert bundle.state("one")["status"] == "running"


def test_relative_path_begins_beside_the_caller(bundle):
    bundle.config["linux"]["cgroupsPath"] = "codex32-test/relative"
    bundle.sh("exec sleep 1000")
    bundle.start("one")
    assert bundle.cgroup("one") == CGROUPS / "codex32-test/relative"


# MARK: devices

TRY = """
try() { if "$@" 2> /dev/null; then echo "$* yes"; else echo "$* no"; fi; }
try mknod /n b 254 0
try mknod /k c 1 11
try dd if=/dev/null of=/dev/null count=1
try dd if=/dev/zero of=/dev/null count=1
"""


def devices(bundle, rules, script=TRY):
    bundle.capabilities("CAP_MKNOD", "CAP_DAC_OVERRIDE")
    bundle.resources["devices"] = rules
    bundle.sh(script)
    done = bundle("run", "one")
    assert done.returncode == 0, done.stderr
    return [line.split()[-1] for line in done.stdout.splitlines()]


def test_what_no_rule_allows_is_refused(bundle):
    """No rules are no way to the disks; the devices that every container has can be used."""
    for rules in ([], [{"allow": False, "access": "rwm"}]):
        assert devices(bundle, rules) == ["no", "no", "yes", "yes"]


def test_the_last_rule_decides_for_each_access(bundle):
    everything = [{"allow": True, "access": "rwm"}]
    assert devices(bundle, everything) == ["yes", "yes", "yes", "yes"]
    for name in ("n", "k"):
        (bundle.folder / "rootfs" / name).unlink()
    script = """
try() { if "$@" 2> /dev/null; then echo yes; else echo no; fi; }
mknod /z c 1 5
try dd if=/z of=/dev/null count=1
try dd if=/dev/null of=/z
try sh -c ': <> /z'
"""
    zero = {"type": "c", "major": 1, "minor": 5}
    cases = [
        ([{"allow": False, **zero, "access": "w"}], ["yes", "no", "no"]),
        ([{"allow": False, **zero, "access": "rw"}, {"allow": True, **zero, "access": "r"}], ["yes", "no", "no"]),
        ([{"allow": False, "type": "c", "major": 1, "access": "rw"}], ["no", "no", "no"]),
        ([{"allow": False, "type": "b", "access": "rw"}], ["yes", "yes", "yes"]),
        ([{"allow": False, **zero, "access": "rw"}, {"allow": True, **zero, "access": "r"},
          {"allow": True, **zero, "access": "w"}], ["yes", "yes", "yes"]),
    ]  # fmt: skip
    for rules, wanted in cases:
        # dd to the null of the same major is no part of the question.
        null = [{"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rw"}]
        assert devices(bundle, everything + rules + null, script) == wanted, rules
        (bundle.folder / "rootfs/z").unlink()


def test_rules_hold_for_what_is_bound_in(bundle):
    """A device of the host's that is mounted is no more than its rule says."""
    bundle.config["mounts"].append({"destination": "/disk", "type": "bind", "source": "/dev/vda", "options": ["bind"]})
    script = "if dd if=/disk of=/dev/null count=1 2> /dev/null; then echo yes; else echo no; fi"
    assert devices(bundle, [], script) == ["no"]
    disk = os.stat("/dev/vda").st_rdev
    rule = {"allow": True, "type": "b", "major": os.major(disk), "minor": os.minor(disk), "access": "r"}
    assert devices(bundle, [rule], script) == ["yes"]


def test_rules_are_exchanged_while_it_runs(bundle):
    """In one step, and what runs already is asked by the new ones; exec'd programs are too."""
    bundle.config["mounts"].append({"destination": "/disk", "type": "bind", "source": "/dev/vda", "options": ["bind"]})
    bundle.sh("while :; do if head -c 1 /disk > /dev/null 2>&1; then now=yes; else now=no; fi; echo $now > /dev/shm/now; sleep 0.05; done")
    disk = os.stat("/dev/vda").st_rdev
    rule = {"type": "b", "major": os.major(disk), "minor": os.minor(disk)}
    bundle.resources["devices"] = [{"allow": False, "access": "rwm"}]
    bundle.start("one")
    look = ["exec", "one", "sh", "-c", "cat /dev/shm/now"]
    try_it = ["exec", "one", "sh", "-c", "head -c 1 /disk > /dev/null"]
    wait_until(lambda: bundle(*look).stdout == "no\n", "its first word")
    assert bundle(*try_it).returncode != 0
    for _ in range(2):
        bundle("update", "-r", "-", "one", ok=True, input=json.dumps({"devices": [{"allow": True, **rule, "access": "r"}]}))
        wait_until(lambda: bundle(*look).stdout == "yes\n", "the new rules")
        bundle(*try_it, ok=True)
        assert bundle("exec", "one", "sh", "-c", ": >> /disk").returncode != 0
        # Without rules it stays as it is.
        bundle("update", "--pids-limit", "100", "one", ok=True)
        bundle(*try_it, ok=True)
        bundle("update", "-r", "-", "one", ok=True, input=json.dumps({"devices": bundle.resources["devices"]}))
        wait_until(lambda: bundle(*look).stdout == "no\n", "the first rules")
        assert bundle(*try_it).returncode != 0
    # All or nothing, in both orders of what goes wrong.
    both = {"devices": [{"allow": True}], "pids": {"limit": 50}, "cpu": {"cpus": "4000"}}
    wrong = bundle("update", "-r", "-", "one", input=json.dumps(both))
    assert wrong.returncode == 1 and "cpuset.cpus" in wrong.stderr
    assert bundle(*try_it).returncode != 0
    assert says(bundle.cgroup("one"), "pids.max") == {"pids.max": "100"}


# MARK: pause, resume, update, events


def test_pause_and_resume(bundle):
    bundle.sh("while :; do echo x; sleep 0.02; done")
    bundle.start("one")
    wait_until(lambda: bundle.output, "output")
    bundle("pause", "one", ok=True)
    assert bundle.state("one")["status"] == "paused"
    assert says(bundle.cgroup("one"), "cgroup.freeze") == {"cgroup.freeze": "1"}
    length = len(bundle.output)
    again = bundle("pause", "one")
    assert again.returncode == 1 and "is paused, not running" in again.stderr
    assert len(bundle.output) == length
    bundle("resume", "one", ok=True)
    assert bundle.state("one")["status"] == "running"
    wait_until(lambda: len(bundle.output) > length, "more output")
    assert "is running, not paused" in bundle("resume", "one").stderr
    bundle("pause", "one", ok=True)
    bundle("kill", "--all", "one", "KILL", ok=True)
    wait_until(lambda: bundle.state("one")["status"] == "stopped", "the end of a paused one")
    assert "container not running" in bundle("pause", "one").stderr


def test_update_by_options(bundle, second_processor):
    bundle.resources["memory"] = {"limit": 64 << 20}
    bundle.sh("exec sleep 1000")
    bundle.start("one")
    group = bundle.cgroup("one")
    bundle("update", "--memory", "48m", "--memory-swap", "64m", "--memory-reservation", "8m", "--cpu-quota", "10000",
           "--cpu-share", "512", "--cpuset-cpus", "0-1", "--pids-limit", "33", "one", ok=True)  # fmt: skip
    wanted = {
        "memory.max": str(48 << 20), "memory.swap.max": str(16 << 20), "memory.low": str(8 << 20),
        "cpu.max": "10000 100000", "cpu.weight": "59", "cpuset.cpus": "0-1", "pids.max": "33",
    }  # fmt: skip
    assert says(group, *wanted) == wanted
    bundle("update", "--cpu-period", "50000", "--cpu-burst", "500", "--memory-swap", "48m", "one", ok=True)
    assert says(group, "cpu.max", "cpu.max.burst", "memory.swap.max") == {
        "cpu.max": "10000 50000", "cpu.max.burst": "500", "memory.swap.max": "0"}  # fmt: skip
    bundle("update", "--cpu-idle", "1", "one", ok=True)
    assert says(group, "cpu.idle") == {"cpu.idle": "1"}
    bundle("update", "--cpu-idle", "0", "--cpu-share", "1024", "one", ok=True)
    bundle("update", "--memory", "-1", "--cpu-burst", "0", "--cpu-quota", "-1", "--pids-limit", "-1", "one", ok=True)
    assert says(group, "memory.max", "memory.swap.max", "cpu.max", "pids.max", "cpu.weight") == {
        "memory.max": "max", "memory.swap.max": "max", "cpu.max": "max 50000", "pids.max": "max", "cpu.weight": "100"}  # fmt: skip


def test_update_from_a_file_takes_all_or_nothing(bundle):
    bundle.resources |= {"pids": {"limit": 50}, "devices": [{"allow": False, "access": "rwm"}]}
    bundle.sh("exec sleep 1000")
    bundle.start("one")
    group = bundle.cgroup("one")
    same = {"pids": {"limit": 40}, "devices": bundle.resources["devices"]}
    bundle("update", "--resources", "-", "one", ok=True, input=json.dumps(same))
    assert says(group, "pids.max") == {"pids.max": "40"}
    wrong = bundle("update", "-r", "-", "one", input=json.dumps({"pids": {"limit": 9}, "cpu": {"cpus": "4000"}}))
    assert wrong.returncode == 1 and "cpuset.cpus" in wrong.stderr
    wrong = bundle("update", "-r", "-", "one", input=json.dumps({"devices": [{"allow": 1}], "pids": {"limit": 9}}))
    assert wrong.returncode == 1 and "linux.resources.devices" in wrong.stderr
    limit = {"memory": {"limit": 4096, "checkBeforeUpdate": True}, "pids": {"limit": 9}}
    wrong = bundle("update", "-r", "-", "one", input=json.dumps(limit))
    assert wrong.returncode == 1 and "are in use" in wrong.stderr
    for text in ("", "{", "[]", '{"pids":{"limit":"7"}}', '{"cgroup":1}'):
        assert bundle("update", "-r", "-", "one", input=text).returncode == 1
    assert "no limit is given" in bundle("update", "one").stderr
    assert says(group, "pids.max") == {"pids.max": "40"}


def test_figures_are_those_of_the_kernel(bundle, second_processor):
    bundle.resources |= {"memory": {"limit": 64 << 20, "swap": 80 << 20}, "pids": {"limit": 20}}
    bundle.sh("i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); done; exec sleep 1000")
    bundle.start("one")
    group = bundle.cgroup("one")
    wait_until(lambda: "usage_usec 0\n" not in (group / "cpu.stat").read_text(), "time used")
    event = json.loads(bundle("events", "--stats", "one", ok=True).stdout)
    assert (event["type"], event["id"]) == ("stats", "one")
    data = event["data"]
    assert data["pids"] == {"current": 1, "limit": 20}
    assert data["memory"]["usage"]["limit"] == 64 << 20 and data["memory"]["swap"]["limit"] == 80 << 20
    assert 0 < data["memory"]["usage"]["usage"] <= 64 << 20 and "anon" in data["memory"]["raw"]
    usage = data["cpu"]["usage"]
    assert usage["total"] > 0 and usage["total"] % 1000 == 0 and usage["user"] + usage["kernel"] <= usage["total"] + 2000
    assert data["cpuset"]["cpus"] == [0, 1]
    process = subprocess.Popen(
        bundle.line("events", "--interval", "100ms", "one"), stdout=subprocess.PIPE, text=True, cwd=bundle.folder
    )
    assert all(json.loads(process.stdout.readline())["type"] == "stats" for _ in range(2))
    bundle("kill", "one", "KILL", ok=True)
    process.communicate(timeout=120)
    assert process.returncode == 0


# MARK: ends


def test_force_leaves_no_cgroup_however_deep(bundle):
    bundle.sh("exec sleep 1000")
    bundle.start("one")
    group = bundle.cgroup("one")
    at = group
    for number in range(300):
        at = at / f"{number}"
        at.mkdir()
    for number in range(50):
        (group / f"wide{number}").mkdir()
    bundle("delete", "--force", "one", ok=True)
    assert not group.exists()


def test_a_killed_create_leaves_what_delete_finds(bundle):
    """The state names the cgroup before there is one."""
    bundle.sh("exec sleep 1000")
    bundle.create("one")
    group, pid = bundle.cgroup("one"), bundle.state("one")["pid"]
    # As if create had been killed right after its child was born: the state knows no process.
    state = bundle.folder / "states/one/state.json"
    content = json.loads(state.read_text())
    for name in ("pid", "startTime", "boot"):
        content[name] = None
    state.write_text(json.dumps(content))
    bundle("delete", "--force", "one", ok=True)
    assert not group.exists()

    def is_gone():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
            return False
        return True

    wait_until(is_gone, "its end, and that pid 1 knows of it")


def test_ordinary_user_in_its_own_cgroup(request):
    bundle = Bundle("user", "codex")
    try:
        bundle.config["linux"]["namespaces"] = [
            {"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "user", "cgroup")]  # fmt: skip
        for name in ("uidMappings", "gidMappings"):
            bundle.config["linux"][name] = [{"containerID": 0, "hostID": 1001, "size": 1}]
        for mount in bundle.config["mounts"]:
            mount["options"] = [option for option in mount["options"] if option != "gid=5"]
        bundle.resources |= {"memory": {"limit": 64 << 20}, "pids": {"limit": 20}}
        bundle.resources["devices"] = [{"allow": False, "access": "rwm"}]
        bundle.sh("exec sleep 1000")
        bundle.start("one")
        group = bundle.cgroup("one")
        assert str(group).startswith(str(CGROUPS / "user.codex"))
        assert says(group, "memory.max", "pids.max") == {"memory.max": str(64 << 20), "pids.max": "20"}
        bundle("pause", "one", ok=True)
        bundle("resume", "one", ok=True)
        bundle("update", "--pids-limit", "10", "one", ok=True)
        assert says(group, "pids.max") == {"pids.max": "10"}
        # The rules that it began with are taken, as callers send them with every limit; others cannot be put in force.
        rules = {"devices": bundle.resources["devices"], "pids": {"limit": 9}}
        (bundle.folder / "rules").write_text(json.dumps(rules))
        bundle("update", "-r", bundle.folder / "rules", "one", ok=True)
        rules = {"devices": [{"allow": True}], "pids": {"limit": 8}}
        (bundle.folder / "rules").write_text(json.dumps(rules))
        wrong = bundle("update", "-r", bundle.folder / "rules", "one")
        assert wrong.returncode == 1 and "linux.resources.devices" in wrong.stderr and "CAP_SYS_ADMIN" in wrong.stderr
        assert says(group, "pids.max") == {"pids.max": "9"}
        bundle("delete", "--force", "one", ok=True)
        assert not group.exists()
    finally:
        bundle.close()
