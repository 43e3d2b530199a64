"""Namespaces of a bundle's that are there already, clocks, labels, and the home folder that nobody gave."""

import contextlib
import os
import pathlib
import shutil
import subprocess

import pytest

from bundles import bundle  # noqa: F401
from conftest import PATIENCE


@pytest.fixture
def other(bundle):
    """A process in namespaces of its own, made as the bundle's caller."""
    words = ["unshare", "--user", "--map-root-user", "--net", "--uts", "--ipc", "--time", "--fork", "--kill-child", "sleep", "1000"]
    process = subprocess.Popen([*bundle.caller.become(), *words], env=bundle.caller.environment(), stdin=subprocess.DEVNULL)
    found = None
    while not found:
        assert process.poll() is None
        for path in pathlib.Path(f"/proc/{process.pid}/task/{process.pid}").glob("children"):
            with contextlib.suppress(OSError):
                found = next((pid for pid in path.read_text().split() if pathlib.Path(f"/proc/{pid}/comm").read_text() == "sleep\n"), None)
    yield int(found)
    os.kill(int(found), 9)
    process.wait(PATIENCE)


def by_path(bundle, pid, *kinds):
    if "user" in kinds:
        # Group 5 has no number in its map.
        for mount in bundle.config["mounts"]:
            mount["options"] = [option for option in mount.get("options", []) if option != "gid=5"]
    files = {"network": "net", "mount": "mnt"}
    spaces = [each for each in bundle.config["linux"]["namespaces"] if each["type"] not in kinds]
    bundle.config["linux"]["namespaces"] = spaces + [{"type": kind, "path": f"/proc/{pid}/ns/{files.get(kind, kind)}"} for kind in kinds]


def namespaces(bundle, *kinds):
    """As the program sees them, and then as a second one does."""
    script = "for kind in user net uts ipc time pid mnt; do readlink /proc/self/ns/$kind; done; id -u; cat /proc/self/uid_map"
    bundle.process["args"] = ["sh", "-c", f"{script}; sleep 1000"]
    bundle.start()
    first = ""
    while first.count("\n") < 9:
        first = bundle.output()
        assert bundle.state()["status"] == "running"
    second = bundle.exec("one", "sh", "-c", script)
    assert second.returncode == 0, second.stderr
    assert first == second.stdout
    return dict(line[:-1].split(":[") for line in first.splitlines() if "[" in line), first.splitlines()[7:]


def inode(pid, kind):
    return os.readlink(f"/proc/{pid}/ns/{kind}").split("[")[1][:-1]


def test_a_user_namespace_by_path(bundle, other):
    """What is new belongs to it, and what is joined is joined from within."""
    by_path(bundle, other, "user")
    bundle.config["linux"].pop("uidMappings", None)
    bundle.config["linux"].pop("gidMappings", None)
    found, rest = namespaces(bundle)
    assert found["user"] == inode(other, "user")
    for kind in ("net", "uts", "ipc", "pid", "mnt"):
        assert found[kind] not in (inode(other, kind), inode("self", kind)), kind
    assert rest[0] == "0"
    assert rest[1].split()[0] == "0"
    # The container's first process is the first of its pid namespace, and ends all of it.
    assert bundle.exec("one", "sh", "-c", "test $(readlink /proc/1/exe) = /bin/busybox").returncode == 0
    assert bundle("kill", "one", "KILL").returncode == 0
    bundle.stopped()


def test_user_and_others_by_path(bundle, other):
    by_path(bundle, other, "user", "network", "uts", "ipc", "time")
    bundle.config.pop("hostname", None)
    bundle.config["linux"].pop("uidMappings", None)
    bundle.config["linux"].pop("gidMappings", None)
    found, _ = namespaces(bundle)
    for kind in ("user", "net", "uts", "ipc", "time"):
        assert found[kind] == inode(other, kind), kind


def test_a_network_of_the_host_and_a_user_namespace_of_its_own(bundle):
    """A pod's network is often the host's to give, and root joins it before it gives its rights up."""
    if bundle.caller.name != "root":
        pytest.skip("an ordinary user has no namespaces of the host's")
    process = subprocess.Popen(["unshare", "--net", "sleep", "1000"])
    try:
        while pathlib.Path(f"/proc/{process.pid}/comm").read_text() != "sleep\n":
            pass
        by_path(bundle, process.pid, "network")
        # A sysfs shows a network namespace, and is made only by those to whom that belongs.
        bundle.config["mounts"] = [mount for mount in bundle.config["mounts"] if mount["type"] != "sysfs"]
        bundle.config["linux"]["maskedPaths"] = bundle.config["linux"]["readonlyPaths"] = []
        bundle.config["linux"]["namespaces"].append({"type": "user"})
        for name in ("uidMappings", "gidMappings"):
            bundle.config["linux"][name] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        shutil.chown(bundle.rootfs, 100000, 100000)
        found, rest = namespaces(bundle)
        assert found["net"] == inode(process.pid, "net")
        assert rest[1].split() == ["0", "100000", "65536"]
    finally:
        process.kill()
        process.wait()


def test_namespaces_that_cannot_be_had(bundle):
    for kind, words in (("mount", "that codex32 itself is in"), ("pid", "takes a cgroup")):
        kept = list(bundle.config["linux"]["namespaces"])
        by_path(bundle, "self", kind)
        result = bundle("run", "one")
        assert result.returncode == 1 and words in result.stderr, result.stderr
        bundle.config["linux"]["namespaces"] = kept
    kept = list(bundle.config["linux"]["namespaces"])
    bundle.config["linux"]["namespaces"] = [each for each in kept if each["type"] != "pid"]
    result = bundle("run", "one")
    assert result.returncode == 1 and "or none, takes a cgroup" in result.stderr, result.stderr
    bundle.config["linux"]["namespaces"] = kept
    by_path(bundle, "self", "network")
    bundle.config["linux"]["namespaces"][-1]["path"] = "/nowhere"
    result = bundle("run", "one")
    assert result.returncode == 1 and "cannot open the net namespace /nowhere" in result.stderr
    bundle.config["linux"]["namespaces"][-1]["path"] = "/etc/passwd"
    result = bundle("run", "one")
    assert result.returncode == 1 and "net namespace" in result.stderr, result.stderr


def test_clocks(bundle):
    offsets = {"boottime": {"secs": 1000000}, "monotonic": {"secs": 2000000, "nanosecs": 5}}
    bundle.config["linux"]["timeOffsets"] = offsets
    bundle.sh("true")
    result = bundle("run", "one")
    assert result.returncode == 1 and "linux.timeOffsets" in result.stderr
    bundle.config["linux"]["namespaces"].append({"type": "time"})
    bundle.sh("cat /proc/uptime; cat /proc/self/timens_offsets; exec sleep 1000")
    bundle.start()
    while bundle.output().count("\n") < 3:
        assert bundle.state()["status"] == "running"
    host = float(pathlib.Path("/proc/uptime").read_text().split()[0])
    assert float(bundle.output().split()[0]) - host > 1000000 - 1000
    assert bundle.output().split("\n", 1)[1].split() == ["monotonic", "2000000", "5", "boottime", "1000000", "0"]
    result = bundle.exec("one", "cat", "/proc/uptime")
    assert float(result.stdout.split()[0]) > 1000000
    bundle.config["linux"]["timeOffsets"] = {"realtime": {"secs": 1}}
    result = bundle("run", "two")
    assert result.returncode == 1 and "timeOffsets" in result.stderr


def test_labels_without_their_module_are_refused(bundle):
    bundle.sh("true")
    if not pathlib.Path("/sys/module/apparmor/parameters/enabled").exists():
        bundle.process["apparmorProfile"] = "some"
        result = bundle("run", "one")
        assert result.returncode == 1 and "process.apparmorProfile: AppArmor is not enabled" in result.stderr
    bundle.process["apparmorProfile"] = "unconfined"
    assert bundle("run", "one").returncode == 0
    if pathlib.Path("/sys/fs/selinux/enforce").exists():
        pytest.skip("SELinux is enabled here")
    for where, name in ((bundle.process, "selinuxLabel"), (bundle.config["linux"], "mountLabel")):
        where[name] = "a:b:c:d"
        result = bundle("run", "one")
        assert result.returncode == 1 and f"{name}: SELinux is not enabled" in result.stderr and "hint:" in result.stderr
        del where[name]


def test_shares_of_caches_are_refused_by_name(bundle):
    bundle.sh("true")
    for given in ({}, {"closID": "one", "l3CacheSchema": "L3:0=f"}):
        bundle.config["linux"]["intelRdt"] = given
        result = bundle("run", "one")
        assert result.returncode == 1 and "cannot use linux.intelRdt" in result.stderr and "resctrl" in result.stderr
    bundle.config["linux"]["intelRdt"] = {"l2": "x"}
    assert "linux.intelRdt.l2: is not known" in bundle("run", "one").stderr


def test_home_is_that_of_the_container_s_own_users(bundle):
    (bundle.rootfs / "etc").mkdir(exist_ok=True)
    (bundle.rootfs / "etc/passwd").write_text("root:x:0:0::/the/root:/bin/sh\nother:x:7:7::/other:/bin/sh\n")
    bundle.process["env"] = ["PATH=/bin"]
    bundle.sh("echo $HOME")
    assert bundle("run", "one").stdout == "/the/root\n"
    (bundle.folder / "passwd").write_text("root:x:0:0::/mounted:/bin/sh\n")
    bundle.config["mounts"].append({"destination": "/etc/passwd", "type": "bind", "source": str(bundle.folder / "passwd"), "options": ["bind"]})
    assert bundle("run", "one").stdout == "/mounted\n"
    bundle.sleeping()
    assert bundle.exec("--env", "A=1", "one", "sh", "-c", "echo $HOME").stdout == "/mounted\n"
    assert bundle.exec("--env", "HOME=/given", "one", "sh", "-c", "echo $HOME").stdout == "/given\n"
    bundle("delete", "--force", "one")
    bundle.sh("echo $HOME")
    # A link out of the image leads to the image's own file, and what is no user's is "/".
    bundle.config["mounts"].pop()
    (bundle.rootfs / "etc/passwd").unlink()
    (bundle.rootfs / "etc/passwd").symlink_to("../../../../../../../../../etc/passwd")
    assert bundle("run", "one").stdout == "/\n"
    bundle.process["env"].append("HOME=/mine")
    assert bundle("run", "one").stdout == "/mine\n"


def test_checkpoint_where_it_cannot_be(bundle):
    """Without CRIU, without root, or of a container without a cgroup; Tests/VM has those that can be."""
    bundle.sleeping()
    has_criu = shutil.which("criu", path="/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin")
    assert bundle("checkpoint", "--help").returncode == (0 if has_criu else 1)
    for words in (["checkpoint", "one"], ["restore", "--detach", "two"]):
        result = bundle(*words)
        reason = "CRIU" if not has_criu or bundle.caller.name != "root" else "cgroup of its own"
        assert result.returncode == 1 and f"cannot {words[0]} " in result.stderr and reason in result.stderr, result.stderr
    assert bundle.state()["status"] == "running" and bundle.left() == ["one"]
