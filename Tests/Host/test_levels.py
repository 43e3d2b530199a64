"""What each level takes from the program, tried from inside by a program that would succeed outside."""

import errno
import os
import pathlib
import socket

import pytest
from conftest import CGROUP, PATIENCE

STATUS = "cat /proc/self/status"

# Docker's default set, which standard gives inside the sandbox's own user namespace.
DOCKER_CAPABILITIES = 0xA80425FB

REFUSED_AT_STRICT = [
    "unshare_user", "unshare_mount", "clone_user", "clone3_user", "setns", "mount", "umount", "fsopen", "open_tree",
    "pivot_root", "chroot", "ptrace", "process_vm", "bpf", "keyctl", "add_key", "io_uring", "userfaultfd", "perf",
    "packet", "vsock", "alg", "netlink_netfilter", "netlink_uevent", "netlink_audit", "open_by_handle", "sethostname",
    "reboot", "kexec", "init_module", "swapon", "settime", "unshare_i386", "unshare_x32",
]  # fmt: skip
REFUSED_AT_STANDARD = [
    "unshare_user", "unshare_mount", "mount", "fsopen", "open_tree", "pivot_root", "bpf", "keyctl", "add_key", "io_uring",
    "userfaultfd", "perf", "open_by_handle", "reboot", "kexec", "init_module", "swapon", "settime",
]  # fmt: skip
REFUSED_AT_MINIMAL = ["reboot", "kexec", "init_module", "swapon"]


def status_of(text):
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def tried(caller, level, probe, *names, options=()):
    """What the probe met, name by name: an errno, or "signal N"."""
    options = ["-v", f"{probe}:/probe:ro", *options]
    done = caller.run(*options, level=level, command=["/probe/probe", *names])
    assert done.returncode == 0, (done.returncode, done.stderr)
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


def test_status(caller, level):
    """The restrictions that the kernel itself reports."""
    seen = status_of(caller.sh(STATUS, level=level).stdout)
    assert (seen["Seccomp"], seen["NoNewPrivs"]) == ("2", "1")
    assert (int(seen["CapInh"], 16), int(seen["CapAmb"], 16)) == (0, 0)
    sets = [int(seen[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")]
    if level == "strict":
        assert sets == [0, 0, 0]
    elif level == "standard":
        assert sets == [DOCKER_CAPABILITIES] * 3
    elif caller.name == "user":
        assert sets[:2] == [0, 0], "the caller's: an ordinary user has none"


@pytest.mark.parametrize(
    "level, refused",
    [("minimal", REFUSED_AT_MINIMAL), ("standard", REFUSED_AT_STANDARD), ("strict", REFUSED_AT_STRICT)],
    ids=["minimal", "standard", "strict"],
)
def test_refused_calls(caller, level, refused, probe):
    """EPERM or ENOSYS, or the kernel's end of a process that came by a foreign architecture's door."""
    met = tried(caller, level, probe, *refused)
    names = [name for name in refused if name in met]  # the foreign doors exist on x86_64 only
    assert len(names) >= len(refused) - 2
    accepted = {str(errno.EPERM), str(errno.ENOSYS), "signal 31", "signal 11"}
    assert {name: met[name] for name in names if met[name] not in accepted} == {}


def test_capability_by_name(callers, level):
    """A capability that is asked for is there, and only that one more; one taken away is gone."""
    seen = status_of(callers["root"].sh(STATUS, "--cap-drop", "ALL", "--cap-add", "NET_ADMIN", level=level).stdout)
    assert int(seen["CapEff"], 16) == 1 << 12
    assert int(seen["CapBnd"], 16) == 1 << 12


def test_root_read_only_at_strict(caller):
    done = caller.sh("for f in /x /etc/x /bin/x /dev/x /proc/x /run/x; do echo > $f && echo written $f; done; :")
    assert done.stdout == ""
    mounts = caller.sh("cat /proc/mounts").stdout.splitlines()
    root = next(line.split() for line in mounts if line.split()[1] == "/")
    assert "ro" in root[3].split(",")


def test_writable_places_at_strict(caller):
    """Only /tmp and /dev/shm: nosuid, nodev, noexec, and of a limited size."""
    done = caller.sh("echo a > /tmp/a && echo b > /dev/shm/b && cat /tmp/a /dev/shm/b")
    assert (done.returncode, done.stdout) == (0, "a\nb\n")
    for line in caller.sh("cat /proc/mounts").stdout.splitlines():
        _, target, kind, options = line.split()[:4]
        if target in ("/tmp", "/dev/shm"):
            assert {"nosuid", "nodev", "noexec"} <= set(options.split(",")) and "size=65536k" in options
    assert caller.sh("cp /bin/busybox /tmp/true && /tmp/true").returncode == 126
    full = caller.sh("dd if=/dev/zero of=/tmp/big bs=1M count=70", "--tmpfs", "/tmp:size=1m")
    assert "No space left" in full.stderr


@pytest.mark.parametrize("level", ["minimal", "standard"])
def test_changes_go_to_an_overlay(caller, level, image):
    """The root can be written, and the folder that was given never changes."""
    before = {path: path.lstat().st_mtime_ns for path in image.rglob("*")}
    done = caller.sh("echo x > /new && touch /bin/new && cat /new", level=level, image=image)
    assert (done.returncode, done.stdout) == (0, "x\n"), done.stderr
    assert {path: path.lstat().st_mtime_ns for path in image.rglob("*")} == before


@pytest.mark.parametrize("level", ["minimal", "standard"])
def test_read_only_when_asked(caller, level, image):
    done = caller.sh("touch /new", "--read-only", level=level, image=image)
    assert done.returncode != 0


def test_host_files_are_invisible(caller, level, folder):
    """Neither by their path nor by a way up."""
    (folder / "sentinel").write_text("of the host")
    (folder / "sentinel").chmod(0o644)
    done = caller.sh(f"cat {folder}/sentinel ../../..{folder}/sentinel /proc/1/root{folder}/sentinel", level=level)
    assert done.returncode != 0
    assert "of the host" not in done.stdout


def test_script_sees_no_homes(caller, folder):
    """The template for scripts shows the machine's programs, and none of its people's files."""
    (folder / "sentinel").write_text("of the host")
    script = folder / "look.sh"
    script.write_text(f"#!/bin/sh\nls -A /home /root\ncat {folder}/sentinel /etc/shadow\n:\n")
    script.chmod(0o755)
    caller.own(folder)
    done = caller.run(image=script)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "/home:\n\n/root:\n"


def test_volumes(caller, level, folder):
    """rw writes with the caller as the owner, ro refuses, and neither obeys a setuid bit."""
    for name in ("rw", "ro"):
        (folder / name).mkdir()
    caller.own(folder)
    done = caller.sh(
        "echo in > /rw/file && echo no > /ro/file; cat /rw/file",
        "-v", f"{folder}/rw:/rw:rw", "-v", f"{folder}/ro:/ro:ro", level=level,
    )  # fmt: skip
    assert done.stdout == "in\n", done.stderr
    written = folder / "rw/file"
    assert (written.read_text(), written.stat().st_uid) == ("in\n", caller.account.pw_uid)
    assert list((folder / "ro").iterdir()) == []


@pytest.mark.parametrize("level", ["standard", "strict"])
def test_network_unreachable(caller, level):
    """No interface but loopback, and the host's own listeners are not there."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        done = caller.sh(f"cat /proc/net/dev; nc -w 5 127.0.0.1 {port} </dev/null && echo CONNECTED; :", level=level)
        assert "CONNECTED" not in done.stdout
        interfaces = [line.split(":")[0].strip() for line in done.stdout.splitlines() if ":" in line]
        assert set(interfaces) <= {"lo"}
        done = caller.sh("nc -w 5 192.0.2.1 80 </dev/null", level=level)
        assert done.returncode != 0


def test_minimal_shares_the_network(caller):
    """The other half of the test above: there the listener is reachable."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(PATIENCE)
        command = ["nc", "127.0.0.1", listener.getsockname()[1]]
        with caller.running(level="minimal", command=command):
            listener.accept()[0].close()


@pytest.mark.parametrize("level", ["standard", "strict"])
def test_other_processes_are_invisible(caller, level):
    done = caller.sh("ls /proc", level=level)
    assert {name for name in done.stdout.split() if name.isdigit()} <= {"1", "2", "3"}


@pytest.mark.parametrize("level", ["standard", "strict"])
def test_masked_paths(caller, level):
    """What tells about the machine reads as nothing."""
    paths = ["/proc/keys", "/proc/timer_list", "/proc/interrupts", "/proc/kcore", "/sys/firmware", "/proc/acpi"]
    if level == "strict":
        paths += ["/proc/kallsyms", "/proc/modules", "/proc/cmdline", "/proc/diskstats", "/proc/partitions"]
        assert pathlib.Path("/proc/cmdline").read_text()  # there is something to hide
    for path in paths:
        done = caller.sh(f"if [ -d {path} ]; then ls -A {path}; elif [ -e {path} ]; then head -c 64 {path}; fi", level=level)
        assert done.stdout == "", path
    done = caller.sh("echo x > /proc/sys/kernel/hostname || echo x > /proc/sysrq-trigger", level=level)
    assert done.returncode != 0


def test_no_sys_at_strict(caller):
    assert caller.sh("ls -A /sys").stdout == ""


def test_device_nodes(caller, level):
    """A fixed, small set, each the real device; no new one can be made and used."""
    script = 'for d in null zero full random urandom tty; do stat -c "%n %t:%T" /dev/$d; done'
    expected = "null 1:3, zero 1:5, full 1:7, random 1:8, urandom 1:9, tty 5:0"
    assert caller.sh(script, level=level).stdout.split() == f"/dev/{expected.replace(', ', ' /dev/')}".split()
    done = caller.sh("mknod /tmp/disk b 1 0 && head -c 1 /tmp/disk && echo READ", level=level)
    assert "READ" not in done.stdout


def test_waiver_is_by_name(caller):
    """Strict starts only with everything in force: what the machine lacks is named, with a hint."""
    if (CGROUP / "cgroup.controllers").exists():
        done = caller.sh("exit 5", waive=False)
        assert done.returncode == 5, done.stderr
        return
    done = caller.sh("exit 5", waive=False)
    first, hint = done.stderr.splitlines()[:2]
    assert done.returncode == 125
    assert "cgroup" in first and "--waive cgroup" in hint


def test_require(caller, level):
    """What is in force passes; what is not fails before the program starts."""
    assert caller.sh("exit 5", "--require", "seccomp,no-new-privileges,pid-namespace", level=level).returncode == 5
    if level == "minimal":
        done = caller.sh("exit 5", "--require", "network-namespace", level=level)
        assert (done.returncode, done.stdout) == (125, "")
        assert done.stderr.startswith("codex32: ")


def test_level_from_environment(caller):
    """The variable chooses when no option does."""
    variables = {"CODEX32_ISOLATION_LEVEL": "minimal"}
    seen = caller.sh("readlink /proc/self/ns/net", level=None, env=variables).stdout.strip()
    assert seen == os.readlink("/proc/self/ns/net")
    done = caller.sh("readlink /proc/self/ns/net", level=None)
    assert done.stdout.strip() != os.readlink("/proc/self/ns/net")
