#!/usr/bin/python3
"""The corpus of `codex32 selftest --attack`, side by side: codex32's levels, bubblewrap, runc as Docker runs it, firejail.

Only attacks that need nothing of codex32's own (no option, image or race) are tried in the others, and an attack counts
only where its control succeeded. A sandbox is not worse for every line: some are what a tool does not mean to stop,
as bubblewrap has no filter of its own unless it is given one. The table says what happens with usual options.
As root everything is done twice: as root, and as the ordinary user --user. A tool that is absent is a column that says so.
"""

import argparse
import json
import os
import pathlib
import pwd
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
TOOLS = {"bubblewrap": ("bwrap", "in-bubblewrap"), "runc": ("runc", "in-bundle-runc-create"), "firejail": ("firejail", "in-firejail")}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MARKS = {"stopped": "stopped", "succeeded": "OPEN", "impossible": "-", "failed": "?"}


def selftest(prefix, binary, root, *options, home):
    waive = [] if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else ["--waive", "cgroup"]
    words = [*prefix, binary, "selftest", "--attack", "--format", "json", "--root", root, *waive, *options]
    done = subprocess.run(
        list(map(str, words)), capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, env={"PATH": PATH, "HOME": home, "LANG": "C.UTF-8"}
    )
    if done.returncode not in (0, 1):
        sys.exit(f"attacks.py: selftest failed: {done.stderr}")
    (caller,) = json.loads(done.stdout)["callers"]
    return caller


def columns(name, prefix, binary, root, home, place):
    """By column: by attack, what came of it. And the attacks that are alive here and go into the comparison."""
    made = {}
    own = selftest(prefix, binary, root, home=home)
    alive = [each["attack"] for each in own["attacks"] if each["control"]["outcome"] in ("succeeded", None)]
    for level in ("minimal", "standard", "strict"):
        made[level] = {each["attack"]: each["levels"].get(level, {}).get("outcome") for each in own["attacks"]}
    compared = set()
    for tool, (program, wrapper) in TOOLS.items():
        if not shutil.which(program, path=PATH):
            made[tool] = "not installed"
            continue
        found = selftest(prefix, binary, root, "--tool", place / wrapper, home=home)
        if found["absent"]:
            made[tool] = "does not start here: " + found["absent"][0]["why"].splitlines()[0]
            continue
        made[tool] = {each["attack"]: each["levels"]["strict"]["outcome"] for each in found["attacks"]}
        compared |= set(made[tool])
    return made, [attack for attack in alive if attack in compared]


def table(name, made, attacks):
    lines = [f"attack, as {name}", *made]
    rows = [lines]
    for attack in attacks:
        rows.append([attack] + [MARKS.get(made[each].get(attack), "") if isinstance(made[each], dict) else "" for each in made])
    total = ["**stopped**"]
    for each in made.values():
        total.append(each if isinstance(each, str) else f"**{sum(each.get(attack) == 'stopped' for attack in attacks)} of {len(attacks)}**")
    rows.append(total)
    head, *rest = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([head, "|---" * len(lines) + "|", *rest])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codex32", default=".build/release/codex32")
    parser.add_argument("--user", default="codex32test", help="the ordinary user")
    parser.add_argument("--profile", help="Docker's own seccomp profile for runc (moby/profiles, seccomp/default.json); else Podman's is used")
    parser.add_argument("--out", help="write the figures as JSON")
    given = parser.parse_args()
    figures = {}
    place = pathlib.Path(tempfile.mkdtemp(prefix="codex32-attacks."))
    place.chmod(0o755)
    try:
        # Under the name that says whose profile it is.
        TOOLS[f"runc, {'Docker' if given.profile else 'Podman'}'s profile"] = TOOLS.pop("runc")
        for _, wrapper in TOOLS.values():
            # in-bundle is told by its name how it is to run things.
            shutil.copy(HERE / ("in-bundle" if wrapper.startswith("in-bundle") else wrapper), place / wrapper)
        if given.profile:
            shutil.copy(given.profile, place / "profile.json")
            (place / "profile.json").chmod(0o644)
        shutil.copy(given.codex32, place / "codex32")
        (place / "codex32").chmod(0o755)
        callers = {"root": ([], "/root")} if os.geteuid() == 0 else {"user": ([], os.environ["HOME"])}
        if os.geteuid() == 0:
            try:
                account = pwd.getpwnam(given.user)
                callers["user"] = (["setpriv", "--reuid", str(account.pw_uid), "--regid", str(account.pw_gid), "--init-groups", "--inh-caps=-all", "--"], account.pw_dir)
            except KeyError:
                print(f"no user {given.user}: only root is measured", file=sys.stderr)
        for name, (prefix, home) in callers.items():
            root = place / f"storage-{name}"
            root.mkdir()
            if prefix:
                os.chown(root, account.pw_uid, account.pw_gid)
            made, attacks = columns(name, prefix, place / "codex32", root, home, place)
            figures[name] = {"attacks": attacks, "columns": made}
            print(table(name, made, attacks), end="\n\n", flush=True)
    finally:
        subprocess.run(["rm", "-rf", place], check=False)
    if given.out:
        pathlib.Path(given.out).write_text(json.dumps({"schema": 1, "callers": figures}, indent=1))


main()
