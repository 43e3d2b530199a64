#!/usr/bin/python3
"""Writes start-order.txt: the functions that a start of codex32 runs, in the order of their first call.

The linker puts them beside each other (Makefile), so that a start touches a few pages of the program
instead of some in every corner of it: that is a third of its memory, and many page faults. What the child of a start runs comes first and
together: it is forked without the pages of the program, and finds each of them anew. A name that a
later version of the program has no more is passed over by the linker, and costs only the place.

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
# The levels, and who starts them: root, or anybody else. What comes first stands closest together. Of strict's waivers
# the first is taken that is enough here: what is waived is not run.
STARTS = ((["strict"], 0), (["strict"], 65534), (["standard"], 0), (["minimal"], 0))
WAIVERS = ([], ["--waive", "cgroup"], ["--waive", "landlock"], ["--waive", "cgroup,landlock"])
# The verbs of an OCI runtime's short life, as containerd and Podman call them.
VERBS = (["create", "--bundle", "BUNDLE", "order"], ["start", "order"], ["state", "order"], ["delete", "--force", "order"])


def functions(program):
    """Addresses in order, and the names that each of them has."""
    names = {}
    for line in subprocess.run(["nm", "--numeric-sort", program], check=True, capture_output=True, text=True).stdout.splitlines():
        address, kind, name = (line.split() + ["", ""])[:3]
        if kind in tuple("tTwWiV"):
            names.setdefault(int(address, 16), []).append(name)
    return sorted(names), names


def note(steps, addresses, orders, what):
    """Adds the functions that were run, of the forks and of the program itself, behind those that are known."""
    for line in steps.splitlines():
        address = int(line.lstrip("-"), 16)
        place = bisect.bisect_right(addresses, address) - 1
        if place >= 0 and address < addresses[-1] + 65536:
            orders[0 if line.startswith("-") else 1].setdefault(addresses[place])
    print(f"{what}: {' and '.join(str(len(order)) for order in orders)} functions", file=sys.stderr)


def make_bundle(program, scratch, root):
    """Of codex32's own template, without what this machine may lack."""
    subprocess.run([program, "oci", "spec"], check=True, cwd=scratch)
    path = pathlib.Path(scratch, "config.json")
    config = json.loads(path.read_text())
    config["process"].update(terminal=False, args=["/bin/true"])
    config["root"] = {"path": str(root), "readonly": True}
    config["mounts"] = [mount for mount in config["mounts"] if mount["type"] != "cgroup"]
    config["linux"].pop("resources", None)
    path.write_text(json.dumps(config))
    return scratch


def main():
    program = os.path.realpath(sys.argv[1])
    addresses, names = functions(program)
    # The child's functions, and the others; what an OCI runtime needs beyond a `run` comes behind that.
    orders, later = ({}, {}), ({}, {})
    with tempfile.TemporaryDirectory(prefix="codex32-order.") as scratch:
        touched = os.path.join(scratch, "touched")
        subprocess.run(["cc", "-O2", "-o", touched, HERE / "touched.c"], check=True)
        root = pathlib.Path(scratch, "rootfs")
        for name in ("bin", "dev", "etc", "proc", "root", "sys", "tmp"):
            (root / name).mkdir(parents=True)
        shutil.copy(shutil.which("busybox"), root / "bin/true")
        os.chmod(scratch, 0o755)
        for level, user in STARTS:
            home = os.path.join(scratch, f"home-{user}")
            os.makedirs(home, exist_ok=True)
            os.chown(home, user, user)
            environment = {"PATH": "/usr/bin:/bin", "HOME": home, "CODEX32_STORAGE_DIR": os.path.join(home, "storage")}
            start = {"env": environment, "user": user, "group": user, "extra_groups": [], "cwd": home}
            # Once before, for what only the first start of all does.
            for waiver in WAIVERS:
                words = [program, "run", "--isolation", *level, *waiver, str(root), "/bin/true"]
                if subprocess.run(words, **start, stderr=subprocess.DEVNULL).returncode == 0:
                    break
            steps = subprocess.run([touched, *words], **start, check=True, stdout=subprocess.PIPE, text=True)
            note(steps.stdout, addresses, orders, f"{' '.join(level)}, uid {user}")
        bundle = make_bundle(program, scratch, root)
        environment = {"PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": scratch}
        for verb in VERBS:
            words = [program, "oci", *(bundle if word == "BUNDLE" else word for word in verb)]
            steps = subprocess.run(
                [touched, *words], check=True, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
            )
            note(steps.stdout, addresses, later, verb[0])
    # What both run stands between what only one of them does: each then touches its own and that, and nothing of the other's.
    shared = [address for address in orders[1] if address in later[1]]
    own = [address for address in orders[1] if address not in later[1]]
    lines = [name for address in dict.fromkeys([*orders[0], *own, *shared, *later[0], *later[1]]) for name in names[address]]
    (HERE / "start-order.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
