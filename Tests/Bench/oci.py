#!/usr/bin/python3
"""Measures `codex32 oci`'s create, start and delete of a `true` beside crun's and runc's, by paired medians.

All take the same bundle: without seccomp, and then with Podman's list of system calls (containers-common), as its
containers have it. codex32 keeps what it compiled of such a list: only the first of the three containers with which
each begins, whose times and memory are not counted, finds it not yet there. Where the machine lacks cgroup v2 the others' cgroups are off too (runc has
no way to: it uses those of v1). Each round runs each once, in alternating order. A sample is the sum of the three
commands; the program's own time between start and delete is not in it. As root all is as little disturbed by
others as nice(1) can make it; a real-time priority is refused by runc's cgroups of version 1. Memory is the largest resident set of any process, the container's first
one included. The status is 1 when codex32 is not faster than crun, takes more than a quarter of runc's time, or is
larger than crun.
"""

import argparse
import ctypes
import importlib.machinery
import importlib.util
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

import bench

PR_SET_CHILD_SUBREAPER = 36
VERBS = ("create", "start", "delete")
LOADER = importlib.machinery.SourceFileLoader("in_bundle", str(pathlib.Path(__file__).with_name("in-bundle")))
IN_BUNDLE = importlib.util.module_from_spec(importlib.util.spec_from_loader(LOADER.name, LOADER))
LOADER.exec_module(IN_BUNDLE)


class Runtime:
    def __init__(self, name, line, peak, folder):
        self.name, self.line, self.peak, self.folder = name, line, peak, folder
        self.pid_file = folder / f"{name}.pid"
        self.forget()

    def forget(self):
        self.times = {verb: [] for verb in VERBS}
        self.sums, self.largest = [], 0

    def call(self, verb, *words):
        """Milliseconds of one command, by a program that is small."""
        reader, writer = os.pipe()
        actions = [(os.POSIX_SPAWN_DUP2, writer, 3)] + [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1)]
        line = [self.peak, *self.line, verb, *words]
        pid = os.posix_spawn(line[0], line, {"PATH": bench.PATH, "XDG_RUNTIME_DIR": str(self.folder)}, file_actions=actions)
        os.close(writer)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        text = os.read(reader, 100).split()
        os.close(reader)
        if status:
            raise SystemExit(f"oci.py: {' '.join(line[1:])}: status {status}")
        self.largest = max(self.largest, int(text[1]))
        return int(text[0]) / 1e6

    def once(self, name):
        sample = [self.call("create", "--bundle", str(self.folder), "--pid-file", str(self.pid_file), name)]
        sample.append(self.call("start", name))
        # The container's process came to this one when its parent ended.
        _, status, usage = os.wait4(int(self.pid_file.read_text()), 0)
        assert status == 0, (self.name, status)
        self.largest = max(self.largest, usage.ru_maxrss)
        sample.append(self.call("delete", name))
        for verb, value in zip(VERBS, sample, strict=True):
            self.times[verb].append(value)
        self.sums.append(sum(sample))


def make_bundle(binary, folder):
    rootfs = bench.make_rootfs(str(folder))
    subprocess.run([binary, "oci", "spec", *(["--rootless"] if os.geteuid() else [])], cwd=folder, check=True)
    config = json.loads((folder / "config.json").read_text())
    config["ociVersion"] = "1.0.2"  # crun 1.8 knows no 1.3
    config["process"] |= {"terminal": False, "args": ["/bin/true"]}
    config["root"] = {"path": rootfs, "readonly": True}
    if not bench.HAS_CGROUP2:
        # runc would mount what there is of version 1 where the bundle asks for cgroups.
        config["mounts"] = [mount for mount in config["mounts"] if mount["type"] != "cgroup"]
        config["linux"]["namespaces"] = [each for each in config["linux"]["namespaces"] if each["type"] != "cgroup"]
        config["linux"].pop("resources", None)
    (folder / "config.json").write_text(json.dumps(config))


def measure(kind, rows, rounds, failed):
    """A row for each runtime; what is not as it should be is added to what failed."""
    for number in range(-3, rounds):
        if number == 0:
            for row in rows:
                row.forget()
        for row in rows[:: -1 if number % 2 else 1]:
            row.once(f"codex32-bench-{os.getpid()}-{kind}-{number + 3}")
    ours, most, results = rows[0], {"crun": 1.0, "runc": 0.25}, []
    print(f" {kind}")
    for row in rows:
        median = round(statistics.median(row.sums), 3)
        verbs = {verb: round(statistics.median(values), 3) for verb, values in row.times.items()}
        ratio = round(statistics.median(a / b for a, b in zip(ours.sums, row.sums, strict=True)), 3)
        results.append({"bundle": kind, "runtime": row.name, "milliseconds": median, "verbs": verbs, "ratio": ratio, "kib": row.largest})
        parts = "  ".join(f"{verb} {value:.2f}" for verb, value in verbs.items())
        print(f"  {row.name:8} {median:7.2f} ms  ({parts})   codex32 takes {ratio:.2f} times that   {row.largest / 1024:.1f} MiB")
        if ratio > most.get(row.name, 1.0):
            failed.append(f"{ratio} times {row.name}'s time ({kind})")
        if row.name == "crun" and ours.largest > row.largest:
            failed.append(f"{ours.largest} KiB of memory, and crun {row.largest} ({kind})")
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codex32", default=".build/release/codex32")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--out", metavar="FILE", help="write the results there as JSON")
    given = parser.parse_args()
    binary = os.path.abspath(given.codex32)
    bench.hide_hybrid_cgroup()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with tempfile.TemporaryDirectory(prefix="codex32-bench.") as scratch:
        folder = pathlib.Path(scratch)
        peak = str(folder / "peak")
        source = pathlib.Path(__file__).with_name("peak.c")
        subprocess.run(["cc", "-std=gnu11", "-O2", "-static", "-o", peak, source], check=True)
        make_bundle(binary, folder)
        off = [] if bench.HAS_CGROUP2 else ["--cgroup-manager", "disabled"]
        lines = {"codex32": [binary, "oci", *off]}
        for name, flags in (("crun", off), ("runc", [])):
            if tool := shutil.which(name, path=bench.PATH):
                lines[name] = [tool, *flags]
        rows = [Runtime(name, [*line, "--root", str(folder / f"states-{name}")], peak, folder) for name, line in lines.items()]
        if os.geteuid() == 0:
            os.setpriority(os.PRIO_PROCESS, 0, -20)
        results, failed = [], []
        for kind in ("plain", "filtered"):
            if kind == "filtered":
                config = json.loads((folder / "config.json").read_text())
                config["linux"]["seccomp"] = IN_BUNDLE.profile(config["process"]["capabilities"]["bounding"])
                (folder / "config.json").write_text(json.dumps(config))
            results += measure(kind, rows, given.rounds, failed)
    if given.out:
        pathlib.Path(given.out).write_text(json.dumps(results, indent=2) + "\n")
    if failed:
        print(f"oci.py: codex32 takes {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


sys.exit(main())
