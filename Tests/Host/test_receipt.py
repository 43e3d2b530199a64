"""The receipt says what is in force, so it is compared with what somebody else reads of the running program."""

import ctypes
import json
import os
import pathlib

import pytest
from conftest import wait_until

NAMESPACES = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"]
SEPARATE = {
    "minimal": {"pid", "mnt", "uts"},
    "standard": {"pid", "mnt", "uts", "ipc", "net", "cgroup", "user"},
    "strict": {"pid", "mnt", "uts", "ipc", "net", "cgroup", "user", "time"},
}
CAPABILITY_NAMES = [
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
]  # fmt: skip
LIMITS = {
    "cpu": "Max cpu time", "fsize": "Max file size", "data": "Max data size", "stack": "Max stack size",
    "core": "Max core file size", "rss": "Max resident set", "nproc": "Max processes", "nofile": "Max open files",
    "memlock": "Max locked memory", "as": "Max address space", "locks": "Max file locks",
    "sigpending": "Max pending signals", "msgqueue": "Max msgqueue size", "nice": "Max nice priority",
    "rtprio": "Max realtime priority", "rttime": "Max realtime timeout",
}  # fmt: skip


def octal(text):
    """mountinfo writes blanks and backslashes as octal numbers."""
    return text.encode().decode("unicode_escape") if "\\" in text else text


def read_mounts(pid):
    mounts = []
    for line in pathlib.Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
        left, right = line.split(" - ", 1)
        fields, kind = left.split(" "), right.split(" ")
        mounts.append({
            "target": octal(fields[4]), "type": kind[0], "source": octal(kind[1]),
            "options": fields[5].split(","), "superOptions": kind[2].split(","),
        })  # fmt: skip
    return mounts


def bare(names):
    return {name.upper().removeprefix("CAP_") for name in names}


def filter_length(pid):
    """How many instructions the kernel itself counts in the process's filter (ptrace(2), PTRACE_SECCOMP_GET_FILTER)."""
    attach, detach, get = 16, 17, 0x420C
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.restype = ctypes.c_long
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
    assert libc.ptrace(attach, pid, None, None) == 0, os.strerror(ctypes.get_errno())
    try:
        os.waitpid(pid, 0x40000000)  # __WALL
        count = libc.ptrace(get, pid, None, None)
        assert count > 0, os.strerror(ctypes.get_errno())
    finally:
        libc.ptrace(detach, pid, None, None)
    return count


@pytest.fixture
def running(caller, level, folder):
    """A program that runs, its pid on the machine, and its receipt."""
    shared = folder / "with blank"
    shared.mkdir()
    caller.own(shared)
    file = folder / "receipt.json"
    options = ["--receipt", file, "-v", f"{shared}:/mnt/a b:ro", "--ulimit", "nofile=321:654"]
    with caller.running(*options, level=level, image="template:busybox", command=["sleep", "1000"]) as process:
        pid = caller.record(process)["pid"]

        def whole():
            try:
                return json.loads(file.read_text())
            except (OSError, ValueError):
                return None

        receipt = wait_until(whole, "the receipt")
        # From here on the program itself is looked at, not what codex32 still prepares.
        wait_until(lambda: b"sleep" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes(), "the program")
        yield pid, receipt


def test_receipt(running, level):
    """All of it in one test, for each part needs the same running program. A soft comparison: all differences show."""
    pid, receipt = running
    status = dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
    wrong = {}

    def same(what, said, seen):
        if said != seen:
            wrong[what] = (said, seen)

    same("isolation", receipt["isolation"], level)
    for name in NAMESPACES:
        inode, host = (os.stat(f"/proc/{who}/ns/{name}").st_ino for who in (pid, "self"))
        expected = {"inode": inode, "host": host, "separate": inode != host}
        same(f"namespace {name}", receipt["namespaces"][name], expected)
    separate = {name for name, value in receipt["namespaces"].items() if value["separate"]}
    if not SEPARATE[level] <= separate:
        wrong["separate namespaces"] = separate

    for name in ("uidMap", "gidMap"):
        lines = pathlib.Path(f"/proc/{pid}/{name[:3]}_map").read_text().splitlines()
        seen = [dict(zip(("inside", "outside", "count"), map(int, line.split()))) for line in lines]
        same(name, receipt[name], seen)

    sets = {"effective": "CapEff", "permitted": "CapPrm", "inheritable": "CapInh", "bounding": "CapBnd", "ambient": "CapAmb"}
    for name, field in sets.items():
        mask = int(status[field], 16)
        seen = {known for bit, known in enumerate(CAPABILITY_NAMES) if mask >> bit & 1}
        same(f"capabilities {name}", bare(receipt["capabilities"][name]), seen)

    same("no_new_privs", receipt["noNewPrivileges"], status["NoNewPrivs"] == "1")
    same("seccomp mode", receipt["seccomp"]["mode"], int(status["Seccomp"]))
    same("seccomp filters", receipt["seccomp"]["filters"], int(status["Seccomp_filters"]))

    same("seccomp instructions", receipt["seccomp"]["instructions"], filter_length(pid))

    same("mounts", receipt["mounts"], read_mounts(pid))
    limits = pathlib.Path(f"/proc/{pid}/limits").read_text().splitlines()
    for name, title in LIMITS.items():
        words = next(line for line in limits if line.startswith(title))[len(title) :].split()
        same(f"limit {name}", receipt["resourceLimits"][name], {"soft": words[0], "hard": words[1]})
    same("limit that was asked for", receipt["resourceLimits"]["nofile"], {"soft": "321", "hard": "654"})

    if receipt["cgroup"]:
        place = pathlib.Path(receipt["cgroup"].pop("path"))
        own = next(line[3:] for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines() if line.startswith("0::"))
        same("cgroup", str(place), "/sys/fs/cgroup" + own)
        for name, said in receipt["cgroup"].items():
            same(f"cgroup {name}", said, (place / name).read_text().strip())

    known = {"schema", "id", "isolation", "namespaces", "uidMap", "gidMap", "capabilities", "noNewPrivileges", "seccomp",
             "landlock", "mounts", "resourceLimits", "cgroup", "substitutes", "notInForce"}  # fmt: skip
    same("fields, each looked at in this file", set(receipt), known)
    assert receipt["schema"] == 1 and len(receipt["id"]) == 16
    # What stands in for a missing limit is a limit that is there.
    if "cgroup-pids" in receipt["substitutes"]:
        same("the substitute for pids.max", receipt["resourceLimits"]["nproc"]["hard"], "512")

    # The kernel tells nobody of a process's Landlock domain; but the ABI can be asked for.
    abi = ctypes.CDLL(None).syscall(444, None, 0, 1)
    if level == "strict" and abi > 0:
        same("landlock", (receipt["landlock"]["abi"], receipt["landlock"]["purpose"]), (abi, "files"))
    assert wrong == {}


def test_what_is_not_in_force_is_named(caller, level, folder):
    """A waived or missing item is in the receipt: never silently absent."""
    file = folder / "receipt.json"
    assert caller.sh(":", "--receipt", file, level=level).returncode == 0
    receipt = json.loads(file.read_text())
    missing = {notice["item"]: notice for notice in receipt["notInForce"]}
    if receipt["cgroup"] is None and level != "minimal":
        assert "cgroup-memory" in missing
        assert all(notice["why"] and notice["hint"] for notice in missing.values())
        if level == "strict":
            assert missing["cgroup-memory"]["waived"] is True


def test_receipt_of_a_short_program(caller, level, folder):
    """Complete although the program ended before anybody could have looked."""
    file = folder / "receipt.json"
    assert caller.run("--receipt", file, level=level, command=["true"]).returncode == 0
    receipt = json.loads(file.read_text())
    nothing = {name for name, value in receipt.items() if value is None}
    assert nothing <= {"cgroup", "landlock"}
    assert receipt["capabilities"]["effective"] is not None and receipt["seccomp"]["mode"] == 2
