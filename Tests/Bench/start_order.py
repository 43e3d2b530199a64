#!/usr/bin/python3
"""Writes start-order.txt: the functions that a start of codex32 runs, in the order of their first call, and after
them those that only the OCI runtime's create, start and delete run.

The linker puts them beside each other (Makefile), so that a start touches a few pages of the program
instead of some in every corner of it: that is a third of its memory, and many page faults. A name that
a later version of the program has no more is passed over by the linker, and costs only the place.

    start_order.py PROGRAM      an unstripped codex32; x86_64 only, and as root for all of it
"""

import bisect
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
LEVELS = (["strict", "--waive", "cgroup,landlock"], ["standard"], ["minimal"])


def functions(program):
    """Addresses in order, and the names that each of them has."""
    names = {}
    for line in subprocess.run(["nm", "--numeric-sort", program], check=True, capture_output=True, text=True).stdout.splitlines():
        address, kind, name = (line.split() + ["", ""])[:3]
        if kind in tuple("tTwWiV"):
            names.setdefault(int(address, 16), []).append(name)
    return sorted(names), names


def make_bundle(program, folder):
    """Without what a machine with cgroups of version 1 refuses."""
    subprocess.run([program, "oci", "spec"], cwd=folder, check=True)
    config = json.loads((folder / "config.json").read_text())
    config["process"] |= {"terminal": False, "args": ["/bin/true"]}
    (folder / "config.json").write_text(json.dumps(config))


def main():
    program = os.path.realpath(sys.argv[1])
    addresses, names = functions(program)
    order = {}
    with tempfile.TemporaryDirectory(prefix="codex32-order.") as scratch:
        touched = os.path.join(scratch, "touched")
        subprocess.run(["cc", "-O2", "-o", touched, HERE / "touched.c"], check=True)
        root = pathlib.Path(scratch, "rootfs")
        for name in ("bin", "dev", "etc", "proc", "root", "sys", "tmp"):
            (root / name).mkdir(parents=True)
        shutil.copy(shutil.which("busybox"), root / "bin/true")
        environment = {"PATH": "/usr/bin:/bin", "HOME": scratch, "CODEX32_STORAGE_DIR": os.path.join(scratch, "storage")}
        lines = []
        for level in LEVELS:
            words = [program, "run", "--isolation", *level, str(root), "/bin/true"]
            # Once before, for what only the first start of all does.
            subprocess.run(words, check=True, env=environment)
            lines.append((" ".join(level), words))
        runtime = [program, "oci", "--cgroup-manager", "disabled", "--root", os.path.join(scratch, "states")]
        make_bundle(program, pathlib.Path(scratch))
        for verb, *options in (("create", "--bundle", scratch), ("start",), ("state",), ("delete", "--force")):
            lines.append((f"oci {verb}", [*runtime, verb, *options, "order"]))
        for name, words in lines:
            steps = subprocess.run([touched, *words], check=True, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
            for line in steps.stdout.split():
                # What the program itself prints is there too.
                try:
                    address = int(line, 16)
                except ValueError:
                    continue
                place = bisect.bisect_right(addresses, address) - 1
                if place >= 0 and address < addresses[-1] + 65536:
                    order.setdefault(addresses[place])
            print(f"{name}: {len(order)} functions", file=sys.stderr)
    lines = [name for address in order for name in names[address]]
    (HERE / "start-order.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
