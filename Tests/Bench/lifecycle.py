#!/usr/bin/python3
"""Measures what many detached containers cost: their starts, `list`, their memory, and their end.

For each number of containers, all of `sleep`:
  parallel   starts a second, so many `codex32 start` at a time as the machine has processors, times four.
  n-th       milliseconds of one `start` when so many run already: the median of a few that are stopped again.
             Rounds over all numbers are not possible, so the machine's own unrest is in these. The quick ones are
             those that it left alone: the third quickest of them says whether the cost is flat.
  floor      the same of the C floor (floor.c) in turn with them: what the kernel itself takes longer for with so many
             processes, namespaces and mounts, for everybody. Flat is what grows no more than that: the start's
             ratio to the floor, beside the same ratio at the first number.
  list       milliseconds of `codex32 list`, median.
  memory     what the machine has less available with all of them, and the proportional set size (PSS) of the
             supervisors beyond the shared program file: what each takes of its own. Only root may look at that.
The status is 1 when a start fails, something is left at the end, a supervisor takes more than 1 MiB of its own, 200
take more than 300 MB or are listed in more than 50 ms, or the n-th start is not flat within 20 % beside the floor.
"""

import argparse
import concurrent.futures
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
import time


class Shop:
    def __init__(self, binary, root):
        self.binary, self.root = binary, root

    def call(self, verb, *words):
        done = subprocess.run(
            [self.binary, verb, "--root", self.root, *words], capture_output=True, text=True, stdin=subprocess.DEVNULL,
            check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise SystemExit(f"lifecycle.py: {verb} {' '.join(words[:3])}: {done.returncode}: {done.stderr}")
        return done.stdout

    def timed(self, verb, *words):
        began = time.monotonic()
        self.call(verb, *words)
        return (time.monotonic() - began) * 1000

    def create(self):
        return self.call("create", "-q", "--image", "template:busybox", "--", "sleep", "100000").strip()

    def clear(self):
        ids = self.call("list", "-a", "-q").split()
        for at in range(0, len(ids), 50):
            self.call("remove", "-f", *ids[at : at + 50])

    def supervisors(self):
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                with contextlib.suppress(OSError):
                    line = pathlib.Path(f"/proc/{entry}/cmdline").read_bytes()
                    if b"\0supervise\0" in line and str(self.root).encode() in line:
                        found.append(int(entry))
        return found


def available():
    return int(re.search(r"MemAvailable:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text())[1])


def own_memory(pid):
    """None: the caller may not know, for a supervisor is closed to everybody but root (prctl(2), PR_SET_DUMPABLE)."""
    if os.geteuid():
        return None
    return int(re.search(r"Pss_Anon:\s+(\d+)", pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text())[1])


def make_floor(folder):
    """The command that starts it, in the least root: to its ids the folder is another's, and must be open to them."""
    os.chmod(folder, 0o711)
    root = pathlib.Path(folder) / "rootfs"
    for name in ("bin", "proc"):
        (root / name).mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or sys.exit("lifecycle.py: no busybox: apt-get install busybox-static"), root / "bin/true")
    for place in (root, root / "bin", root / "proc", root / "bin/true"):
        place.chmod(0o755)
    binary = pathlib.Path(folder) / "floor"
    subprocess.run(["cc", "-std=gnu11", "-O2", "-static", "-o", binary, pathlib.Path(__file__).with_name("floor.c")], check=True)
    return [binary, root, "/bin/true"]


def milliseconds(words):
    began = time.monotonic()
    subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    return (time.monotonic() - began) * 1000


def measure(shop, count, probe, pool, floor):
    """One number of containers, from nothing to nothing."""
    ids = [shop.create() for _ in range(count)]
    before = available()
    began = time.monotonic()
    list(pool.map(lambda name: shop.call("start", "-q", name), ids))
    seconds = time.monotonic() - began
    time.sleep(0.5)
    rows = json.loads(shop.call("list", "--format", "json"))
    running = sum(row["state"] == "running" for row in rows)
    memory = before - available()
    supervisors = shop.supervisors()
    own = [size for pid in supervisors if (size := own_memory(pid)) is not None]
    listing = statistics.median(shop.timed("list") for _ in range(15))
    starts, floors = [], []
    for _ in range(31):
        starts.append(shop.timed("start", "-q", probe))
        shop.call("stop", "-t", "0", probe)
        floors.append(milliseconds(floor))
    for at in range(0, count, 50):
        shop.call("remove", "-f", *ids[at : at + 50])
    left = shop.supervisors()
    return {
        "count": count, "running": running, "starts_per_s": round(count / seconds, 1),
        "nth_start_ms": round(statistics.median(starts), 2), "nth_start_quick_ms": round(sorted(starts)[2], 2), "floor_quick_ms": round(sorted(floors)[2], 2), "list_ms": round(listing, 2), "memory_kb": memory,
        "own_kb_largest": max(own, default=None), "own_kb_median": statistics.median(own) if own else None, "left": len(left),
    }  # fmt: skip


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--codex32", default=".build/release/codex32")
    options.add_argument("--counts", default="1,50,200,1000")
    options.add_argument("--out")
    chosen = options.parse_args()
    results, failed = [], []
    with tempfile.TemporaryDirectory(prefix="codex32-bench.") as folder, contextlib.ExitStack() as clean:
        shop = Shop(os.path.abspath(chosen.codex32), pathlib.Path(folder) / "storage")
        clean.callback(shop.clear)  # also of a failure, and before the folder goes
        probe = shop.create()
        shop.timed("start", "-q", probe)
        shop.call("stop", "-t", "0", probe)
        floor = make_floor(folder)
        with concurrent.futures.ThreadPoolExecutor((os.cpu_count() or 1) * 4) as pool:
            for count in map(int, chosen.counts.split(",")):
                row = measure(shop, count, probe, pool, floor)
                results.append(row)
                for name in ("nth_start", "floor"):
                    row[f"{name}_growth"] = round(row[f"{name}_quick_ms"] / results[0][f"{name}_quick_ms"], 3)
                row["ratio"] = round(row["nth_start_growth"] / row["floor_growth"], 3)
                print(f"  {count:5} containers: {row['starts_per_s']:7.1f} starts/s   the next start {row['nth_start_ms']:7.2f} ms (quick {row['nth_start_quick_ms']:.2f},"
                      f" {row['nth_start_growth']:.2f} times the first; the floor {row['floor_growth']:.2f} times: {row['ratio']:.2f})"
                      f"   list {row['list_ms']:7.2f} ms   memory {row['memory_kb'] / 1024:6.1f} MiB"
                      f"   a supervisor's own {row['own_kb_median'] or '-'} kB", flush=True)  # fmt: skip
                if row["running"] != count or row["left"]:
                    failed.append(f"{row['running']} of {count} ran, {row['left']} supervisors were left")
                if (row["own_kb_largest"] or 0) > 1024:
                    failed.append(f"a supervisor takes {row['own_kb_largest']} kB of its own")
                if count == 200 and (row["list_ms"] > 50 or row["memory_kb"] > 300_000):
                    failed.append(f"200 containers: list {row['list_ms']} ms, memory {row['memory_kb']} kB")
                if row["ratio"] > 1.2:
                    failed.append(f"the start after {count} grew {row['ratio']:.2f} times as much as the floor")
        shop.call("remove", "-f", probe)
    if chosen.out:
        pathlib.Path(chosen.out).write_text(json.dumps(results, indent=2) + "\n")
    for text in failed:
        print(f"lifecycle.py: {text}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
