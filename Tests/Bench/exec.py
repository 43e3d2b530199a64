#!/usr/bin/python3
"""Measures what `codex32 exec` costs beside nsenter(1) into the same container, by paired medians.

Both run the same `true` in a container that sleeps; each round runs each once, in alternating order, so that a slow
moment of the machine falls on both. What is measured runs with a real-time priority, so that other work on a busy machine
does not count: each side changes between its processes, and would wait for a turn each time. The ratio is the median of the
rounds' own ratios. The status is 1 when it is above --most.
"""

import argparse
import json
import os
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codex32", default=".build/release/codex32")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--isolation", default="standard")
    parser.add_argument("--most", type=float, default=2.0)
    given = parser.parse_args()
    binary = os.path.abspath(given.codex32)
    with tempfile.TemporaryDirectory(prefix="codex32-bench.") as storage:

        def codex32(verb, *words):
            line = [binary, verb, "--root", storage, *words]
            return subprocess.run(line, check=True, capture_output=True, text=True, timeout=300).stdout

        words = ["--name", "bench", "--isolation", given.isolation, "-q", "-w", "/"]
        if given.isolation == "strict" and not os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
            words += ["--waive", "cgroup"]
        codex32("run", "-d", *words, "--image", "template:busybox", "--", "sleep", "100000")
        try:
            pid = json.loads(codex32("inspect", "bench"))[0]["state"]["process"]["pid"]
            rows = {
                "codex32": [binary, "exec", "--root", storage, "bench", "true"],
                "nsenter": ["/usr/bin/nsenter", "-t", str(pid), "-a", "--", "/bin/true"],
            }
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
            for line in list(rows.values()) * 5:
                milliseconds(line)
            times = {name: [] for name in rows}
            for number in range(given.rounds):
                for name in sorted(rows, reverse=number % 2 == 1):
                    times[name].append(milliseconds(rows[name]))
        finally:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
            codex32("remove", "-f", "bench")
    ratio = statistics.median(a / b for a, b in zip(times["codex32"], times["nsenter"], strict=True))
    medians = {name: round(statistics.median(values), 3) for name, values in times.items()}
    print(json.dumps({"isolation": given.isolation, "milliseconds": medians, "ratio": round(ratio, 3)}))
    return 0 if ratio <= given.most else 1


sys.exit(main())
