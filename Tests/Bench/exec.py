#!/usr/bin/python3
"""Measures what `codex32 exec` costs beside nsenter(1) into the same container, by paired medians.

At each level both run the same `true` in a container that sleeps; each round runs each once, in alternating order, so
that a slow moment of the machine falls on both. As root what is measured runs with a real-time priority, so that other
work on a busy machine does not count: each side changes between its processes, and would wait for a turn each time.
The ratio is the median of the rounds' own ratios. The status is 1 when it is above --most at any level.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time


def milliseconds(words):
    began = time.perf_counter_ns()
    pid = os.posix_spawn(words[0], words, {"PATH": "/usr/bin:/bin"})
    status = os.waitstatus_to_exitcode(os.wait4(pid, 0)[1])
    assert status == 0, (words, status)
    return (time.perf_counter_ns() - began) / 1e6


def namespace(kind, pid):
    return os.readlink(f"/proc/{pid}/ns/{kind}")


def measure(binary, storage, level, rounds):
    """One level: a container, and both ways into it in turn."""

    def codex32(verb, *words):
        line = [binary, verb, "--root", storage, *words]
        done = subprocess.run(line, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL, check=False)
        if done.returncode:
            raise SystemExit(f"exec.py: {verb}: {done.stderr}")
        return done.stdout

    words = ["--name", "bench", "--isolation", level, "-q", "-w", "/"]
    if level == "strict" and not os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        words += ["--waive", "cgroup"]
    codex32("run", "-d", *words, "--image", "template:busybox", "--", "sleep", "100000")
    is_root = os.geteuid() == 0
    try:
        pid = json.loads(codex32("inspect", "bench"))[0]["state"]["process"]["pid"]
        # What codex32 joins: an ordinary user may not join those of the host a second time, which -a would try. Nor can
        # groups be dropped in a namespace that denies it.
        kinds = {"user": "-U", "mnt": "-m", "uts": "-u", "ipc": "-i", "net": "-n", "pid": "-p", "cgroup": "-C", "time": "-T"}
        others = [flag for kind, flag in kinds.items() if namespace(kind, "self") != namespace(kind, pid)]
        nsenter = ["/usr/bin/nsenter", "-t", str(pid), *others] + ([] if is_root else ["--preserve-credentials"])
        rows = {
            "codex32": [binary, "exec", "--root", storage, "bench", "true"],
            "nsenter": [*nsenter, "--", "/bin/true"],
        }
        if is_root:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
        for line in list(rows.values()) * 5:
            milliseconds(line)
        times = {name: [] for name in rows}
        for number in range(rounds):
            for name in sorted(rows, reverse=number % 2 == 1):
                times[name].append(milliseconds(rows[name]))
    finally:
        if is_root:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        codex32("remove", "-f", "bench")
    ratio = statistics.median(a / b for a, b in zip(times["codex32"], times["nsenter"], strict=True))
    medians = {name: round(statistics.median(values), 3) for name, values in times.items()}
    return {"isolation": level, "milliseconds": medians, "ratio": round(ratio, 3)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codex32", default=".build/release/codex32")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--isolation", action="append", choices=["minimal", "standard", "strict"], help="default: each")
    parser.add_argument("--most", type=float, default=2.0)
    parser.add_argument("--out", metavar="FILE", help="write the results there as JSON")
    given = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory(prefix="codex32-bench.") as storage:
        for level in given.isolation or ["minimal", "standard", "strict"]:
            row = measure(os.path.abspath(given.codex32), storage, level, given.rounds)
            results.append(row)
            times = row["milliseconds"]
            print(f"  exec at {level:8}: {times['codex32']:6.2f} ms   nsenter {times['nsenter']:6.2f} ms"
                  f"   {row['ratio']:.2f} times", flush=True)  # fmt: skip
    if given.out:
        pathlib.Path(given.out).write_text(json.dumps(results, indent=2) + "\n")
    above = [row["isolation"] for row in results if row["ratio"] > given.most]
    if above:
        print(f"exec.py: above {given.most} times nsenter: {', '.join(above)}", file=sys.stderr)
    return 1 if above else 0


sys.exit(main())
