#!/usr/bin/python3
"""Measures what images cost: unpacking one beside tar(1), and starting one of ten layers beside a folder.

Unpacking: 10,000 files, 100 MB together, as a layer of an OCI layout whose blob is in the store already, so that
`image load` has only to unpack it, and `tar -x` of the same blob. In memory (/dev/shm), where no disk's slow moment
falls on one of them: what codex32 does beyond tar, a sum and a walk by descriptor, weighs the most there. With
--disk FOLDER also there, where tar is followed by `sync -f`, for a layer has its name only once it is on the disk.
Of zstd the ratio is shown and not judged: tar has zstd(1) on another processor meanwhile, and codex32 does all of it in
one process.

Starting: `codex32 run` of busybox's `true`, of an image of ten layers and of a folder with the same files.

Each round runs both in turn, in alternating order; as root with a real-time priority, so that other work on a busy machine
does not count. A ratio, or a difference, is the median of the rounds' own. The status is 1 when unpacking takes more than
--most times tar's time, or a start of ten layers more than --layers milliseconds longer than a folder's.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import pathlib
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
FORMS = {"plain": ("", []), "gzip": ("+gzip", ["-z"]), "zstd": ("+zstd", ["--zstd"])}
APPLETS = ("sh", "true", "cat", "ls")


def tar(members):
    """A tar of (name, contents) pairs; None: a folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as made:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.mtime, info.mode = 1_000_000_000, 0o755
            if data is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(data, str):
                info.type, info.linkname = tarfile.SYMTYPE, data
            else:
                info.size = len(data)
            made.addfile(info, io.BytesIO(data) if isinstance(data, bytes) else None)
    return buffer.getvalue()


def many():
    """Half of each file is noise, as in programs; the rest are zeros: it can be compressed to about half."""
    source = random.Random(1)
    for folder in range(100):
        yield f"d{folder}", None
        for file in range(100):
            yield f"d{folder}/f{file}", source.randbytes(5243) + bytes(5243)


def compress(data, form):
    if form == "gzip":
        return gzip.compress(data, 1, mtime=0)
    if form == "zstd":
        return subprocess.run(["zstd", "-q", "-1", "-c"], input=data, capture_output=True, check=True).stdout
    return data


def layout(folder, layers, form="plain"):
    """Writes an OCI layout of one image; returns the paths of its layers."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)

    def blob(data, kind):
        text = hashlib.sha256(data).hexdigest()
        (blobs / text).write_bytes(data)
        return {"mediaType": kind, "digest": f"sha256:{text}", "size": len(data)}

    kind = "application/vnd.oci.image"
    described = [blob(compress(data, form), f"{kind}.layer.v1.tar{FORMS[form][0]}") for data in layers]
    diffs = [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in layers]
    config = {"os": "linux", "architecture": ARCHITECTURE, "config": {}, "rootfs": {"type": "layers", "diff_ids": diffs}}
    manifest = {
        "schemaVersion": 2, "mediaType": f"{kind}.manifest.v1+json",
        "config": blob(json.dumps(config).encode(), f"{kind}.config.v1+json"), "layers": described,
    }  # fmt: skip
    index = {"schemaVersion": 2, "manifests": [blob(json.dumps(manifest).encode(), manifest["mediaType"])]}
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return [blobs / each["digest"][7:] for each in described]


def milliseconds(*commands):
    began = time.perf_counter_ns()
    for words in commands:
        pid = os.posix_spawnp(words[0], list(map(str, words)), {"PATH": "/usr/bin:/bin", "HOME": "/root"}, file_actions=[(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)])
        status = os.waitstatus_to_exitcode(os.wait4(pid, 0)[1])
        if status:
            raise SystemExit(f"images.py: {words}: {status}")
    return (time.perf_counter_ns() - began) / 1e6


def hurry(on):
    if os.geteuid() == 0:
        os.sched_setscheduler(0, os.SCHED_FIFO if on else os.SCHED_OTHER, os.sched_param(10 if on else 0))


def unpacking(binary, parent, data, form, rounds, on_disk):
    with tempfile.TemporaryDirectory(prefix="codex32-bench.", dir=parent) as name:
        place = pathlib.Path(name)
        (blob,) = layout(place / "layout", [data], form)
        root, target = place / "storage", place / "tar"
        load = [binary, "image", "load", "-q", "--name", "big:1", "--root", root, place / "layout"]
        subprocess.run(load, check=True, capture_output=True)
        times = {"codex32": [], "tar": []}
        for number in range(rounds + 1):
            for who in sorted(times, reverse=number % 2 == 1):
                # What takes the last one's files away is no part of it.
                for path in [target, *(root / "images/layers").iterdir()]:
                    shutil.rmtree(path, ignore_errors=True)
                target.mkdir()
                os.sync()
                sync = [["sync", "-f", target]] if on_disk else []
                commands = [load] if who == "codex32" else [["tar", "-x", *FORMS[form][1], "-f", blob, "-C", target], *sync]
                hurry(True)
                took = milliseconds(*commands)
                hurry(False)
                if number > 0:  # the first round warms up
                    times[who].append(took)
    ratio = statistics.median(a / b for a, b in zip(times["codex32"], times["tar"], strict=True))
    row = {"what": f"unpack, {form}", "where": "disk" if on_disk else "memory"}
    return row | {"milliseconds": {who: round(statistics.median(all), 1) for who, all in times.items()}, "ratio": round(ratio, 3)}


def starting(binary, rounds, level):
    folders = [(name, None) for name in ("bin", "dev", "etc", "proc", "sys", "tmp", "run", "var")]
    busybox = [("bin/busybox", pathlib.Path(shutil.which("busybox")).read_bytes()), *((f"bin/{name}", "busybox") for name in APPLETS)]
    layers = [tar([*folders, *busybox]), *(tar([(f"etc/file{n}", b"x" * 100), ("var", None), (f"var/d{n}", None)]) for n in range(9))]
    with tempfile.TemporaryDirectory(prefix="codex32-bench.") as name:
        place = pathlib.Path(name)
        layout(place / "layout", layers)
        subprocess.run([binary, "image", "load", "--root", place / "s", "--name", "ten:1", place / "layout"], check=True, capture_output=True)
        (place / "folder").mkdir()
        for data in layers:
            with tarfile.open(fileobj=io.BytesIO(data)) as each:
                each.extraction_filter = lambda member, _: member  # Debian 12's Python has no other way to say so
                each.extractall(place / "folder")
        words = [binary, "run", "--root", place / "s", "-q", "--isolation", level]
        if level == "strict" and not os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
            words += ["--waive", "cgroup"]
        rows = {"layers": [*words, "--image", "ten:1", "--", "/bin/true"], "folder": [*words, "--image", place / "folder", "--", "/bin/true"]}
        times = {who: [] for who in rows}
        hurry(True)
        for number in range(-5, rounds):
            for who in sorted(rows, reverse=number % 2 == 1):
                took = milliseconds(rows[who])
                if number >= 0:
                    times[who].append(took)
        hurry(False)
    more = statistics.median(a - b for a, b in zip(times["layers"], times["folder"], strict=True))
    medians = {who: round(statistics.median(all), 3) for who, all in times.items()}
    return {"what": "start", "isolation": level, "milliseconds": medians, "more": round(more, 3)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codex32", default=".build/release/codex32")
    parser.add_argument("--rounds", type=int, default=10, help="of unpacking; a start is twenty times as often")
    parser.add_argument("--disk", metavar="FOLDER", help="unpack there too")
    parser.add_argument("--most", type=float, default=1.1)
    parser.add_argument("--layers", type=float, default=1.0)
    parser.add_argument("--out", metavar="FILE", help="write the results there as JSON")
    given = parser.parse_args()
    binary = os.path.abspath(given.codex32)
    results, above = [], []
    data = tar(many())
    places = [("/dev/shm", False)] + ([(given.disk, True)] if given.disk else [])
    for parent, on_disk in places:
        for form in FORMS:
            row = unpacking(binary, parent, data, form, given.rounds, on_disk)
            results.append(row)
            times = row["milliseconds"]
            print(f"  unpack {form:5} in {row['where']:6}: {times['codex32']:7.1f} ms   tar {times['tar']:7.1f} ms   {row['ratio']:.2f} times", flush=True)
            if row["ratio"] > given.most and not on_disk and form != "zstd":
                above.append(row["what"])
    for level in ("minimal", "standard", "strict"):
        row = starting(binary, given.rounds * 20, level)
        results.append(row)
        times = row["milliseconds"]
        print(f"  start at {level:8}: ten layers {times['layers']:6.2f} ms   folder {times['folder']:6.2f} ms   {row['more']:+.2f} ms", flush=True)
        if row["more"] > given.layers:
            above.append(f"start at {level}")
    if given.out:
        pathlib.Path(given.out).write_text(json.dumps(results, indent=2) + "\n")
    if above:
        print(f"images.py: above {given.most} times tar, or {given.layers} ms: {', '.join(above)}", file=sys.stderr)
    return 1 if above else 0


sys.exit(main())
