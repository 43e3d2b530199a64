"""Labels of SELinux, by a kernel that has it: run-suite starts a machine for this, as a kernel has SELinux or AppArmor.

The policy is this file's own: it has four labels and forbids nothing. What is looked at is which label the kernel has for what.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
from bundles import Bundle
from machine import CGROUPS, DISK, in_machine, wait_until

pytestmark = in_machine
SELINUX = Path("/sys/fs/selinux")
# In the kernel's order (security/selinux/include/initial_sid_to_string.h).
SIDS = (
    "kernel security unlabeled fs file file_labels init any_socket port netif netmsg node igmp_packet icmp_socket tcp_socket sysctl_modprobe"
    " sysctl sysctl_fs sysctl_kernel sysctl_net sysctl_net_unix sysctl_vm sysctl_dev kmod policy scmp_packet devnull"
).split()
CLASSES = {"process": "transition dyntransition", "filesystem": "associate", "file": "read", "dir": "read", "chr_file": "read"}
BASE = "base_u:base_r:base_t"


def policy():
    lines = [f"class {name}" for name in CLASSES] + [f"sid {name}" for name in SIDS]
    lines += [f"class {name} {{ {right} }}" for name, right in CLASSES.items()]
    lines += [f"type {name};" for name in ("base_t", "box_t", "boxfile_t", "other_t")]
    lines += ["role base_r;", "role base_r types { base_t box_t boxfile_t other_t };", "allow base_t box_t : process { transition };"]
    lines += ["user base_u roles { base_r };"] + [f"sid {name} {BASE}" for name in SIDS]
    lines += [f"fs_use_xattr ext4 {BASE};"]
    lines += [f"fs_use_trans {name} {BASE};" for name in ("tmpfs", "devtmpfs", "devpts", "mqueue", "shm")]
    lines += [f"fs_use_task {name} {BASE};" for name in ("pipefs", "sockfs")]
    lines += [f"genfscon {name} / {BASE}" for name in ("proc", "sysfs", "selinuxfs", "cgroup2")]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module", autouse=True)
def selinux():
    assert "selinux" in Path("/sys/kernel/security/lsm").read_text().split(",")
    subprocess.run(["mount", "-t", "selinuxfs", "selinuxfs", SELINUX], check=True)
    (DISK / "policy.conf").write_text(policy())
    subprocess.run(["checkpolicy", "-U", "allow", "-o", DISK / "policy", DISK / "policy.conf"], check=True)
    (SELINUX / "load").write_bytes((DISK / "policy").read_bytes())


@pytest.fixture
def bundle():
    made = Bundle("selinux")
    made.config["process"]["selinuxLabel"] = "base_u:base_r:box_t"
    made.config["linux"]["mountLabel"] = "base_u:base_r:boxfile_t"
    (made.folder / "rootfs/own").mkdir()
    made.config["mounts"].append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]})
    made.config["linux"]["namespaces"].append({"type": "cgroup"})
    made.sh("cat /proc/self/attr/current; echo; exec sleep 1000")
    yield made
    made.close()
    assert not (CGROUPS / "codex32-test/selinux").exists()


def labels(bundle, *paths):
    pid = bundle.state("one")["pid"]
    read = lambda path: os.getxattr(f"/proc/{pid}/root{path}", "security.selinux").decode().rstrip("\0")  # noqa: E731
    return {path: read(path).rsplit(":", 1)[1] for path in paths}


def test_the_program_and_its_mounts_have_their_labels(bundle):
    # Podman's way to ask for it, which is not overridden.
    bundle.config["mounts"].append(
        {"destination": "/own", "type": "tmpfs", "source": "tmpfs", "options": ['context="base_u:base_r:other_t"', "size=1m"]}
    )
    bundle.start("one")
    wait_until(lambda: "box_t" in bundle.output, "its label")
    assert labels(bundle, "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/own", "/proc", "/sys", "/sys/fs/cgroup") == {
        "/dev": "boxfile_t", "/dev/pts": "boxfile_t", "/dev/shm": "boxfile_t", "/dev/mqueue": "boxfile_t", "/own": "other_t",
        "/proc": "base_t", "/sys": "base_t", "/sys/fs/cgroup": "base_t",
    }  # fmt: skip
    # A program that exec adds has the container's label too.
    assert "box_t" in bundle("exec", "one", "cat", "/proc/self/attr/current", ok=True).stdout


def test_labels_that_the_policy_does_not_have_are_errors(bundle):
    bundle.config["linux"]["mountLabel"] = "base_u:base_r:nonesuch_t"
    done = bundle("create", "one")
    assert done.returncode == 1 and "cannot mount tmpfs" in done.stderr, done.stderr
    for mount in bundle.config["mounts"]:
        mount["options"] = [*mount.get("options", []), *(["context=base_u:base_r:other_t"] if mount["type"] in ("tmpfs", "devpts") else [])]
    done = bundle("create", "one")
    assert done.returncode == 1 and "cannot use linux.mountLabel" in done.stderr, done.stderr
    bundle.config["linux"]["mountLabel"] = json.loads("null")
    bundle.config["process"]["selinuxLabel"] = "base_u:base_r:nonesuch_t"
    done = bundle("create", "one")
    assert done.returncode == 1 and "process.selinuxLabel" in done.stderr, done.stderr
