#!/usr/bin/python3
"""Measures what one start of a sandbox costs: codex32 beside a C floor, bubblewrap, crun, runc and firejail.

Time is the wall time of the whole process: from before posix_spawn to after wait4, output to
/dev/null. Every row is warmed up first, then each round runs each row once, in a shuffled order (the
same one every time), so that a slow moment of the machine, or a neighbour whose network namespace
the kernel is still taking down, falls on all rows alike. Compare medians within one run only.

Memory is measured in runs of its own, with a payload that sleeps. wait4's ru_maxrss is of no use for
it: Linux counts what a process had before its exec (execve keeps the high-water mark of the old
image), which here is Python's 15 MB. VmHWM in /proc/PID/status belongs to one address space: it starts
anew at exec and holds no child, not even a forked copy. So, read every few milliseconds:
  launcher  VmHWM of the process we start: what codex32 itself takes.
  largest   the greatest VmHWM among it and its descendants without the payload, such as `runc init`.

What a runtime keeps of its running containers lies in memory, in a folder of /dev/shm, as it does in
every ordinary installation: /run and $XDG_RUNTIME_DIR are tmpfs. Images and layers lie on the disk.

As root everything is measured twice: as root, and as the ordinary user --user. A tool that is absent
is a row that says so. The status is 0, or 1 when codex32 itself failed.
"""

import argparse
import ctypes
import json
import os
import platform
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

# Anybody's: one in root's home would lack, as the ordinary user, what it loads later (wait4's result is of a module).
PYTHON = "/usr/bin/python3"
WARM_UP = 3
MEMORY_RUNS = 3
PARALLEL_RUNS = 3
LEVELS = ("minimal", "standard", "strict")
TRUE = ["/bin/true"]
SLEEP = ["/bin/busybox", "sleep", "0.2"]
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NULL = os.open(os.devnull, os.O_RDWR)
HAS_CGROUP2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")


class Late(Exception):
    """A run took longer than its alarm."""


def ring(signum, frame):
    raise Late


# --- one run ------------------------------------------------------------------------------------


def spawn(argv, environment, errors=NULL):
    actions = [(os.POSIX_SPAWN_DUP2, NULL, 0), (os.POSIX_SPAWN_DUP2, NULL, 1), (os.POSIX_SPAWN_DUP2, errors, 2)]
    return os.posix_spawn(argv[0], argv, environment, file_actions=actions)


def finish(pids, seconds):
    """Waits for all of them and returns their statuses; what is not done in time is killed."""
    left, statuses = set(pids), []
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        for pid in pids:
            statuses.append(os.waitstatus_to_exitcode(os.wait4(pid, 0)[1]))
            left.discard(pid)
    except Late:
        for pid in left:
            os.kill(pid, signal.SIGKILL)
            os.wait4(pid, 0)
            statuses.append(124)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return statuses


def timed(argv, environment):
    """Milliseconds and exit status of one run."""
    start = time.perf_counter()
    status = finish([spawn(argv, environment)], 60)[0]
    return (time.perf_counter() - start) * 1000, status


def complaint(argv, environment):
    """None when the command succeeds; else what it said last."""
    with tempfile.TemporaryFile() as errors:
        try:
            status = finish([spawn(argv, environment, errors.fileno())], 60)[0]
        except OSError as error:
            return f"{argv[0]}: {error.strerror}"
        if status == 0:
            return None
        errors.seek(0)
        lines = errors.read().decode(errors="replace").strip().splitlines()
        # A hint follows the error in codex32's output: the error is what to show.
        lines = [line for line in lines if not line.startswith("hint:")]
        return f"status {status}: {lines[-1][:160]}" if lines else f"status {status}"


def high_water(pid):
    """Name and VmHWM in KiB of a process; nothing for one that is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/status") as status:
            fields = dict(line.split(":", 1) for line in status)
        return fields["Name"].strip(), int(fields["VmHWM"].split()[0])
    except (OSError, KeyError):
        return None, 0


def descendants(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            children = file.read().split()
    except OSError:
        return []
    return children + [below for child in children for below in descendants(child)]


def memory(argv, environment):
    """Peaks in KiB of the launcher, and of the largest process but the payload, while the payload sleeps."""
    launcher = helper = 0
    pid, deadline = spawn(argv, environment), time.monotonic() + 30
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        launcher = max(launcher, high_water(pid)[1])
        for child in descendants(pid):
            name, peak = high_water(child)
            if name != "busybox":
                helper = max(helper, peak)
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)
    return launcher, max(launcher, helper)


# --- the rows -----------------------------------------------------------------------------------


class Row:
    """One line of the table: how to start a program in one kind of sandbox."""

    def __init__(self, name, tool, command, note="", parallel=False):
        self.name, self.tool, self.command, self.note, self.parallel = name, tool, command, note, parallel
        self.problem = None if tool and os.path.isfile(tool) else "not installed"
        self.samples, self.failures = [], 0
        self.launcher = self.largest = None
        self.together = []

    def argv(self, program):
        return self.command(program)


def make_floor(scratch):
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "floor.c")
    binary = os.path.join(scratch, "floor")
    compiler = shutil.which("cc", path=PATH) or sys.exit("bench: no C compiler: apt-get install gcc libc6-dev")
    subprocess.run([compiler, "-std=gnu11", "-O2", "-static", "-o", binary, source], check=True)
    return binary


def make_rootfs(scratch):
    """The least image: a static busybox, its names in use here, and empty folders."""
    busybox = shutil.which("busybox", path=PATH) or sys.exit("bench: no busybox: apt-get install busybox-static")
    rootfs = os.path.join(scratch, "rootfs")
    for name in ("bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "var"):
        os.makedirs(os.path.join(rootfs, name), 0o755)
    shutil.copy(busybox, os.path.join(rootfs, "bin/busybox"))
    for name in ("true", "sleep", "sh"):
        os.symlink("busybox", os.path.join(rootfs, "bin", name))
    return rootfs


def make_bundles(scratch, rootfs, tool, uid):
    """OCI bundles for both programs, from the runtime's own template; the folder of each by its name."""
    bundles = {}
    for name, program in (("true", TRUE), ("sleep", SLEEP)):
        folder = os.path.join(scratch, f"bundle-{uid}-{name}")
        os.mkdir(folder, 0o755)
        subprocess.run([tool, "spec"] + (["--rootless"] if uid else []), cwd=folder, check=True)
        path = os.path.join(folder, "config.json")
        with open(path) as file:
            config = json.load(file)
        config["process"]["terminal"] = False
        config["process"]["args"] = program
        config["root"] = {"path": rootfs, "readonly": True}
        if uid:
            # The template maps the caller's id, which is root here; and group 5, devpts's owner, is not mapped.
            config["linux"]["uidMappings"] = [{"containerID": 0, "hostID": uid, "size": 1}]
            config["linux"]["gidMappings"] = [{"containerID": 0, "hostID": uid, "size": 1}]
            for mount in config["mounts"]:
                mount["options"] = [option for option in mount.get("options", []) if option != "gid=5"]
        with open(path, "w") as file:
            json.dump(config, file)
        os.chmod(path, 0o644)
        bundles[name] = folder
    return bundles


def make_rows(options, uid, bundles, running):
    count = iter(range(10**9))
    rootfs = options.rootfs

    def bundle(program):
        return bundles["true" if program is TRUE else "sleep"]

    def fresh_name():
        return f"codex32-bench-{os.getpid()}-{next(count)}"

    def oci(tool, *flags):
        return lambda program: [tool, *flags, "run", "--bundle", bundle(program), fresh_name()]

    def codex32(level, waiver):
        return lambda program: [options.codex32, "run", "--isolation", level, *waiver, rootfs, *program]

    bwrap, crun, runc, firejail = (shutil.which(name, path=PATH) for name in ("bwrap", "crun", "runc", "firejail"))
    rows = [Row("C floor", options.floor, lambda p: [options.floor, rootfs, *p], "user namespace + 5", parallel=True)]
    if uid == 0:
        rows.append(Row("C floor --five", options.floor, lambda p: [options.floor, "--five", rootfs, *p], "5 namespaces"))
    for level in LEVELS:
        row = Row(f"codex32 {level}", options.codex32, None, parallel=level == "strict")
        row.waivers = [[], ["--waive", "cgroup"]] if HAS_CGROUP2 else [["--waive", "cgroup"], []]
        row.make = lambda waiver, level=level: codex32(level, waiver)
        row.command = row.make(row.waivers[0])
        rows.append(row)
    rows.append(
        Row(
            "bubblewrap",
            bwrap,
            lambda p: [bwrap, "--unshare-all", "--ro-bind", rootfs, "/", "--proc", "/proc", "--dev", "/dev",
                       "--die-with-parent", *p],
            parallel=True,
        )
    )
    crun_flags = ("--root", os.path.join(running, "crun"), "--cgroup-manager=disabled")
    rows.append(Row("crun", crun, oci(crun, *crun_flags), "no cgroup, no seccomp", parallel=True))
    note = "no seccomp" if HAS_CGROUP2 else "cgroup v1, no seccomp"
    rows.append(Row("runc", runc, oci(runc, "--root", os.path.join(running, "runc")), "no seccomp" if uid else note))
    rows.append(
        Row("firejail", firejail, lambda p: [firejail, "--quiet", "--noprofile", "--net=none", *p], "the host's root")
    )
    return rows


def probe(row, environment):
    """Finds out whether the row works here, and for codex32 whether the cgroup has to be waived."""
    if row.problem:
        return
    row.problem = complaint(row.argv(TRUE), environment)
    if row.problem and row.name.startswith("codex32"):
        row.command = row.make(row.waivers[1])
        second = complaint(row.argv(TRUE), environment)
        if second is None:
            row.problem = None
        else:
            row.command = row.make(row.waivers[0])
    if not row.problem and "--waive" in row.argv(TRUE):
        row.note = "--waive cgroup"


def hide_hybrid_cgroup():
    """For crun, which refuses to start beside a cgroup v2 with controllers on a v1 host, even when told
    to leave cgroups alone: unmounts that one in a mount namespace of this process and its children."""
    unified = "/sys/fs/cgroup/unified"
    try:
        with open(unified + "/cgroup.controllers") as file:
            if not file.read().strip():
                return
    except OSError:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    clone_newns, ms_rec, ms_private, mnt_detach = 0x20000, 0x4000, 0x40000, 2
    if libc.unshare(clone_newns) or libc.mount(None, b"/", None, ms_rec | ms_private, None):
        raise OSError(ctypes.get_errno(), "a private mount namespace")
    if libc.umount2(unified.encode(), mnt_detach):
        raise OSError(ctypes.get_errno(), unified)


# --- a session: all rows as one user ------------------------------------------------------------


def measure(options, uid, bundles, state, running):
    environment = {
        "PATH": PATH,
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "HOME": os.path.join(state, "home"),
        "XDG_RUNTIME_DIR": running,
        "XDG_DATA_HOME": os.path.join(state, "data"),
        "CODEX32_STORAGE_DIR": os.path.join(state, "codex32"),
    }
    os.chdir(state)
    signal.signal(signal.SIGALRM, ring)
    rows = make_rows(options, uid, bundles, running)
    for row in rows:
        probe(row, environment)
    working = [row for row in rows if not row.problem]

    order = random.Random(32)
    for turn in range(-WARM_UP, options.runs):
        order.shuffle(working)
        for row in working:
            milliseconds, status = timed(row.argv(TRUE), environment)
            if status:
                row.failures += 1
            elif turn >= 0:
                row.samples.append(milliseconds)

    for row in working:
        peaks = [memory(row.argv(SLEEP), environment) for _ in range(MEMORY_RUNS)]
        # 0: never seen alive, so not known.
        row.launcher, row.largest = (max(values) or None for values in zip(*peaks))

    for _ in range(PARALLEL_RUNS):
        for row in working:
            if row.parallel and options.parallel:
                start = time.perf_counter()
                pids = [spawn(row.argv(TRUE), environment) for _ in range(options.parallel)]
                row.failures += sum(status != 0 for status in finish(pids, 120))
                row.together.append((time.perf_counter() - start) * 1000)
    return [result(row) for row in rows]


def result(row):
    problem = row.problem
    if not problem and row.failures:
        problem = f"{row.failures} runs failed"
    command = None
    if row.tool and os.path.isfile(row.tool):
        command = row.argv(TRUE)
    times = sorted(row.samples)
    return {
        "name": row.name,
        "command": command,
        "note": row.note,
        "problem": problem,
        "milliseconds": None if not times else {
            "median": statistics.median(times),
            "p10": times[len(times) // 10],
            "p90": times[len(times) * 9 // 10],
            "samples": [round(sample, 3) for sample in row.samples],
        },
        "launcherPeakKiB": row.launcher,
        "largestPeakKiB": row.largest,
        "parallelMilliseconds": statistics.median(row.together) if row.together else None,
    }


def session(options, scratch, uid, bundles):
    """Measures in a process of its own, which becomes the user first, and returns its results."""
    state = os.path.join(scratch, f"user-{uid}")
    running = os.path.join(options.memory, f"user-{uid}")
    for folder in (state, running, *(os.path.join(state, name) for name in ("home", "data", "codex32"))):
        os.mkdir(folder, 0o700)
        if os.geteuid() == 0:
            os.chown(folder, uid, uid)
    # CODEX32_STORAGE_DIR moves both: what runs goes to memory again.
    os.symlink(running, os.path.join(state, "codex32/run"))
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(read_end)
            if os.geteuid() == 0:
                hide_hybrid_cgroup()
            if os.geteuid() == 0 and uid:
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
            with os.fdopen(write_end, "w") as pipe:
                json.dump(measure(options, uid, bundles, state, running), pipe)
            code = 0
        except Exception as error:  # the parent reports it: this process must not return from here
            print(f"bench: as user {uid}: {error!r}", file=sys.stderr)
        finally:
            os._exit(code)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    rows = json.loads(text) if text else []
    medians = {row["name"]: row["milliseconds"]["median"] for row in rows if row["milliseconds"]}
    for row in rows:
        for key, base in (("timesFloor", "C floor"), ("timesFive", "C floor --five")):
            known = row["name"] in medians and base in medians
            row[key] = medians[row["name"]] / medians[base] if known else None
    return {"uid": uid, "rows": rows}


# --- output -------------------------------------------------------------------------------------


def shown(value, form="{:.2f}"):
    return "-" if value is None else form.format(value)


def print_table(header, lines):
    widths = [max(len(line[i]) for line in [header, *lines]) for i in range(len(header))]
    for line in [header, *lines]:
        # The first and the last column are words, the others numbers.
        cells = [cell.rjust(width) for cell, width in zip(line, widths)]
        cells[0], cells[-1] = line[0].ljust(widths[0]), line[-1]
        print("  ".join(cells).rstrip())


def print_session(outcome, parallel):
    rows = outcome["rows"]
    print(f"\nas {'root' if outcome['uid'] == 0 else 'user ' + str(outcome['uid'])}")
    lines = []
    for row in rows:
        times = row["milliseconds"] or {}
        lines.append([
            row["name"], *(shown(times.get(key)) for key in ("median", "p10", "p90")),
            shown(row["timesFloor"]), shown(row["timesFive"]),
            shown(row["launcherPeakKiB"], "{}"), shown(row["largestPeakKiB"], "{}"),
            row["problem"] or row["note"],
        ])
    print_table(["", "median ms", "p10", "p90", "x floor", "x five", "launcher KiB", "largest KiB", ""], lines)
    together = [row for row in rows if row["parallelMilliseconds"]]
    if together:
        print(f"\n{parallel} in parallel, as {'root' if outcome['uid'] == 0 else 'user ' + str(outcome['uid'])}")
        print_table(["", "total ms", "ms each", ""], [
            [row["name"], shown(row["parallelMilliseconds"], "{:.0f}"),
             shown(row["parallelMilliseconds"] / parallel), row["problem"] or ""] for row in together
        ])


def remove(scratch):
    """Removes what was made here, unless a mount below it would be emptied with it."""
    with open("/proc/self/mountinfo") as mounts:
        below = [line.split()[4] for line in mounts if line.split()[4].startswith(scratch + "/")]
    if below:
        print(f"bench: {scratch} is kept: still mounted: {', '.join(below)}", file=sys.stderr)
    else:
        shutil.rmtree(scratch, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codex32", required=True, metavar="PATH")
    parser.add_argument("--floor", metavar="PATH", help="floor.c of this folder, compiled (compiled for this run)")
    parser.add_argument("--rootfs", metavar="DIR", help="a root with /bin/busybox, /bin/true, /proc, /dev (made of busybox)")
    parser.add_argument("--runs", type=int, default=60, metavar="N", help="runs of each row (60)")
    parser.add_argument("--parallel", type=int, default=100, metavar="N", help="simultaneous starts, 0 for none (100)")
    parser.add_argument("--user", type=int, default=1001, metavar="UID", help="the ordinary user, when root (1001)")
    parser.add_argument("--out", metavar="FILE", help="write the results there as JSON")
    options = parser.parse_args()
    if os.path.realpath(sys.executable) != os.path.realpath(PYTHON):
        os.execv(PYTHON, [PYTHON, *sys.argv])
    if options.runs < 1 or options.parallel < 0 or options.user < 1:
        parser.error("--runs and --user are at least 1, --parallel at least 0")
    machine = {
        "kernel": platform.release(),
        "cpus": os.cpu_count(),
        "cgroup": 2 if HAS_CGROUP2 else 1,
        "loadAverage": os.getloadavg()[0],
    }
    os.umask(0o022)
    # Every user passes through it; the folders inside are their own.
    scratch = tempfile.mkdtemp(prefix="codex32-bench.")
    options.memory = tempfile.mkdtemp(prefix="codex32-bench.", dir="/dev/shm")
    for folder in (scratch, options.memory):
        os.chmod(folder, 0o711)
    uids = [0, options.user] if os.geteuid() == 0 else [os.geteuid()]
    outcomes = []
    try:
        options.floor = options.floor or make_floor(scratch)
        options.rootfs = options.rootfs or make_rootfs(scratch)
        for name in ("codex32", "floor", "rootfs"):
            setattr(options, name, os.path.realpath(getattr(options, name)))
        if not os.path.exists(os.path.join(options.rootfs, "bin/busybox")):
            parser.error(f"{options.rootfs}: no /bin/busybox in it")
        for uid in uids:
            runtime = shutil.which("runc", path=PATH) or shutil.which("crun", path=PATH)
            bundles = make_bundles(scratch, options.rootfs, runtime, uid) if runtime else {"true": "", "sleep": ""}
            outcomes.append(session(options, scratch, uid, bundles))
    finally:
        remove(scratch)
        remove(options.memory)

    print(f"{options.runs} runs of each, Linux {machine['kernel']}, {machine['cpus']} CPUs, "
          f"cgroup v{machine['cgroup']}, load {machine['loadAverage']:.1f} before")
    for outcome in outcomes:
        print_session(outcome, options.parallel)
    if options.out:
        with open(options.out, "w") as file:
            json.dump({"schema": 1, "runs": options.runs, "parallel": options.parallel, "machine": machine,
                       "sessions": outcomes}, file, indent=1)
            file.write("\n")

    ours = [row for outcome in outcomes for row in outcome["rows"] if row["name"].startswith("codex32")]
    sys.exit(1 if any(row["problem"] for row in ours) or len(ours) < len(LEVELS) * len(uids) else 0)


if __name__ == "__main__":
    main()
