"""The corpus of `codex32 selftest --attack` by way of bundles: `oci create` and `start`, and `oci exec`.

Each with what Docker writes into a config.json, and the same with codex32.isolation=strict on top. The tool that writes the
bundles is Tests/Bench/in-bundle, which runs runc in the same way; the judging is the selftest's own.
"""

import json
import os
import shutil

import pytest
from conftest import HAS_CGROUP2, PATIENCE, REPO, processes_with, wait_until

WAIVE = [] if HAS_CGROUP2 else ["--waive", "cgroup"]

# Not to be tried by way of a bundle, and why.
NOT_BY_A_BUNDLE = {
    "escape-sequence": "these are options of codex32's own",
    "flood": "what a container writes is its caller's to limit: it has the caller's own streams",
    "memory-of-init": "no pid 1 of codex32's is there",
    # Limits of cgroup v2, which Tests/VM/test_oci_limits.py looks at.
    "fork-many": "it needs a cgroup", "futexes": "it needs a cgroup", "memory": "it needs a cgroup",
}  # fmt: skip

# What a level of codex32's promises and such a bundle does not have, and why. By what is asked for:
OPEN = {
    "docker": {
        "setuid-program": "Docker asks for no_new_privs only where it is told to",
        "new-privileges": "the same",
        "inodes": "a tmpfs is as Docker asks for it",
        "inotify-instances": "counted for the user that the container's root is outside, or for the whole namespace: Docker limits none",
        "inotify-watches": "the same",
        "ptys": "Docker's devpts has no limit",
        "make-device": "root may make device nodes, and only a device cgroup keeps them shut: Tests/VM/test_oci_limits.py",
    },
    "strict": {
        "inotify-instances": "root without a user namespace has the count of the machine's root (threat model)",
        "inotify-watches": "the same",
    },
}
# What those two do not name where the caller is an ordinary user.
CLOSED_FOR_A_USER = {("docker", "make-device"), ("strict", "inotify-instances"), ("strict", "inotify-watches")}


@pytest.fixture(scope="module")
def tools(place):
    folder = place / "in-bundle"
    folder.mkdir()
    for verb in ("create", "exec"):
        for more in ("", "-strict"):
            shutil.copy(REPO / "Tests/Bench/in-bundle", folder / f"in-bundle-codex32-{verb}{more}")
    # The list that is modelled on Docker's, in Docker's format: Docker's own is inside of dockerd, see Tests/VM/test_daemons.py.
    shutil.copy(REPO / "Sources/Sandbox/Profiles/standard.json", folder / "profile.json")
    return folder


def selftest(caller, *options):
    words = [*caller.become(), caller.binary, "selftest", *options, "--format", "json", "--root", caller.storage]
    return caller.execute([*map(str, words)], timeout=6 * PATIENCE)


def bundles():
    return sorted(name for name in os.listdir("/tmp") if name.startswith("codex32-bundle."))


# Root by each way with each kind of walls, and a user by each way and with each kind.
WAYS = [("root", verb, walls) for verb in ("create", "exec") for walls in ("docker", "strict")] + [("user", "exec", "docker"), ("user", "create", "strict")]


@pytest.fixture(scope="module", params=WAYS, ids="-".join)
def tried(request, callers, tools):
    """By attack: what came of it, and the levels that promise to stop it."""
    name, verb, walls = request.param
    caller = callers[name]
    listed = {each["attack"]: each for each in json.loads(selftest(caller, "--list").stdout)["attacks"]}
    assert set(NOT_BY_A_BUNDLE) <= set(listed) and set(OPEN[walls]) <= set(listed)
    names = ",".join(name for name in listed if name not in NOT_BY_A_BUNDLE)
    tool = tools / f"in-bundle-codex32-{verb}{'-strict' if walls == 'strict' else ''}"
    before = bundles()
    done = selftest(caller, "--attack", *WAIVE, "--tool", tool, "--only", names)
    assert done.returncode in (0, 1), done.stderr
    (made,) = json.loads(done.stdout)["callers"]
    assert made["absent"] == []
    level = "strict" if walls == "strict" else "standard"
    promised = {name for name, each in listed.items() if level in each["promised"]}
    opened = {name for name in OPEN[walls] if (walls, name) not in CLOSED_FOR_A_USER or caller.name == "root"}
    assert bundles() == before
    # Of this test: another may try attacks of its own at the same time.
    wait_until(lambda: processes_with(str(caller.storage)) == [], "the end of all that was tried")
    return {each["attack"]: each for each in made["attacks"]}, promised, opened, walls


def test_what_is_promised_is_kept(tried):
    found, promised, opened, _ = tried
    met = {name: each["levels"]["strict"] for name, each in found.items() if name in promised}
    assert len(met) > 95
    had = {name: cell for name, cell in met.items() if cell["outcome"] not in ("stopped", "impossible") and name not in opened}
    assert had == {}
    # What is said to be open is so: else it is to be taken out of the list.
    assert {name for name in opened if met.get(name, {}).get("outcome") == "stopped"} == set()


def test_each_is_alive(tried):
    """By its control, outside or in such a bundle that is weakened."""
    found, _, _, walls = tried
    dead = {name: each["control"] for name, each in found.items() if each["control"]["outcome"] in ("stopped", "failed")}
    if walls == "strict":
        # Its control asks strict for a capability, which the annotation does not give.
        assert dead.pop("capabilities")["outcome"] == "stopped"
    assert dead == {}
