#!/usr/bin/python3
"""Measures how fast a supervisor takes a program's output into its log: codex32 beside conmon, the one of Podman.

The same static program writes the same bytes, in blocks of 64 KiB, and times itself: from before its first
write to after its last. Under codex32 it runs in a container (json lines, 10 MiB x 3); under conmon it is what
a runtime would have left behind: a script in the runtime's place starts it with the pipes that conmon made and
ends (k8s-file, 10 MiB). Rounds alternate. Compare medians within one run only.

Also shown: the most disk that a log took, and the largest memory of the supervisor while it wrote.
The status is 1 when codex32 is slower, or takes more than 30 MiB of disk or 1 MiB of memory of its own.
"""

import argparse
import contextlib
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).parent
BOUND = 10 << 20


class Watch(threading.Thread):
    """Looks at a log's folder and at the process that writes it."""

    def __init__(self, folder, find):
        super().__init__(daemon=True)
        self.folder, self.find, self.disk, self.own, self.peak, self.over = folder, find, 0, 0, 0, False
        self.start()

    def run(self):
        pid = None
        while not self.over:
            pid = pid or self.find()
            sizes = {}
            with contextlib.suppress(OSError):
                for name in os.listdir(self.folder):
                    with contextlib.suppress(OSError):
                        status = os.stat(self.folder / name)
                        sizes[status.st_ino] = status.st_size
            self.disk = max(self.disk, sum(sizes.values()))
            if self.disk == 0:
                time.sleep(0.002)
                continue  # still being started: planning takes more, and gives it back
            with contextlib.suppress(OSError, TypeError, AttributeError):
                rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
                self.own = max(self.own, int(re.search(r"Pss_Anon:\s+(\d+)", rollup)[1]))
                self.peak = int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1])
            time.sleep(0.02)

    def end(self):
        self.over = True
        self.join()
        return {"disk": self.disk, "own_kb": self.own, "peak_kb": self.peak}


def process_with(*words):
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                line = pathlib.Path(f"/proc/{entry}/cmdline").read_bytes()
                if all(word.encode() in line for word in words):
                    return int(entry)
    return None


def wait_for(path, seconds=600):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if path.exists() and path.read_text().endswith("\n"):
            return int(path.read_text())
        time.sleep(0.01)
    raise SystemExit(f"logs.py: {path} never came")


def codex32(binary, place, flood, count, length):
    out = place / "out"
    out.mkdir()
    root = place / "storage"
    call = lambda *words: subprocess.run([binary, words[0], "--root", root, *words[1:]], check=True, capture_output=True, text=True)  # noqa: E731
    name = call("create", "-q", "-v", f"{flood}:/flood:ro", "-v", f"{out}:/out", "--image", "template:busybox", "--",
                "/flood", str(count), str(length), "/out/time").stdout.strip()  # fmt: skip
    watch = Watch(root / "containers" / name / "log", lambda: process_with("supervise", name))
    try:
        call("start", "-q", name)
        took = wait_for(out / "time")
        call("wait", name)
    finally:
        seen = watch.end()
        call("remove", "-f", name)
        shutil.rmtree(out)
    return took, seen


def conmon(place, flood, count, length):
    folder = place / "conmon"
    (folder / "log").mkdir(parents=True)
    runtime = folder / "runtime"
    runtime.write_text(
        f'#!/bin/sh\nwhile [ $# -gt 0 ]; do [ "$1" = --pid-file ] && file=$2; shift; done\n'
        f'[ -n "$file" ] || exit 0\n{flood} {count} {length} {folder}/time &\necho $! > "$file"\n'
    )
    runtime.chmod(0o755)
    (folder / "config.json").write_text("{}")
    identity = f"bench{os.getpid()}"
    watch = Watch(folder / "log", lambda: process_with("conmon", identity))
    try:
        subprocess.run(
            ["conmon", "-c", identity, "-u", identity, "-n", identity, "-r", runtime, "-b", folder, "-p", folder / "pid",
             "--exit-dir", folder, "-l", f"k8s-file:{folder}/log/ctr.log", "--log-size-max", str(BOUND),
             "--socket-dir-path", folder, "--full-attach"], check=True, capture_output=True,
        )  # fmt: skip
        took = wait_for(folder / "time")
        end = time.monotonic() + 30
        while not (folder / identity).exists() and time.monotonic() < end:
            time.sleep(0.01)
    finally:
        seen = watch.end()
        shutil.rmtree(folder)
    return took, seen


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--codex32", default=".build/release/codex32")
    options.add_argument("--bytes", type=int, default=1 << 30)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--out")
    chosen = options.parse_args()
    results, failed = [], []
    with tempfile.TemporaryDirectory(prefix="codex32-bench.") as folder:
        place = pathlib.Path(folder)
        place.chmod(0o755)
        flood = place / "flood"
        subprocess.run(["gcc", "-static", "-O2", "-o", flood, HERE / "flood.c"], check=True)
        binary = os.path.abspath(chosen.codex32)
        have_conmon = shutil.which("conmon") is not None
        for length in (80, 1000):
            rows = {"codex32": []} | ({"conmon": []} if have_conmon else {})
            seen = {}
            for _ in range(chosen.rounds):
                for name in rows:
                    if name == "conmon":
                        took, watched = conmon(place, flood, chosen.bytes, length)
                    else:
                        took, watched = codex32(binary, place, flood, chosen.bytes, length)
                    rows[name].append(chosen.bytes / took * 1000)
                    seen[name] = {key: max(value, seen.get(name, {}).get(key, 0)) for key, value in watched.items()}
            for name, speeds in rows.items():
                row = {"name": name, "line": length, "MB_per_s": round(statistics.median(speeds), 1), **seen[name]}
                results.append(row)
                print(f"  {name:8} lines of {length:4}: {row['MB_per_s']:8.1f} MB/s   disk {row['disk'] / 1048576:5.1f} MiB"
                      f"   own memory {row['own_kb']} kB   peak {row['peak_kb']} kB")  # fmt: skip
            if have_conmon:
                ratio = statistics.median(rows["codex32"]) / statistics.median(rows["conmon"])
                results.append({"name": "ratio", "line": length, "codex32_to_conmon": round(ratio, 2)})
                print(f"  codex32 takes {ratio:.2f} times as much a second as conmon")
                if ratio < 1:
                    failed.append(f"slower than conmon with lines of {length}")
            if seen["codex32"]["disk"] > 3 * BOUND or seen["codex32"]["own_kb"] > 1024:
                failed.append(f"more disk or memory than its bounds: {seen['codex32']}")
    if not have_conmon:
        print("  conmon is not installed: apt-get install conmon")
    if chosen.out:
        pathlib.Path(chosen.out).write_text(json.dumps(results, indent=2) + "\n")
    for text in failed:
        print(f"logs.py: {text}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
