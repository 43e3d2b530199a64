"""`codex32 selftest`, and its whole matrix of attacks, on a kernel with cgroup v2, Landlock and AppArmor: with no waiver.

Runs inside the machine of run-in-vm, as test_limits.py does. Outside, Tests/Host/test_selftest.py looks at the same more
closely, but there strict has to waive what the machine does not have.
"""

import json
import subprocess

import pytest
from machine import CODEX32, DISK, Store, in_machine

pytestmark = in_machine

LEVELS = ["minimal", "standard", "strict"]
# What this kernel has for nobody, so that no wall is needed for it.
ABSENT = {"release-agent", "huge-arguments"}  # cgroup v2 has no such thing, and Linux takes 6 MiB at most from anybody


@pytest.fixture(scope="module", autouse=True)
def _what_attacks_need():
    """What the machine has not by itself: another one to reach, binfmt_misc, and perf events for all."""
    for line in (
        "ip link add attacked type veth peer name attacker", "ip address add 192.0.2.2/24 dev attacked", "ip link set attacked up",
        "ip link set attacker up", "modprobe binfmt_misc", "mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc",
        "sysctl -q kernel.perf_event_paranoid=2",
    ):  # fmt: skip
        subprocess.run(line.split(), check=True)
    yield
    for line in ("umount /proc/sys/fs/binfmt_misc", "ip link delete attacked"):
        subprocess.run(line.split(), check=True)


@pytest.fixture(params=["root", "codex"])
def who(request):
    return request.param


def selftest(who, *words):
    """Its exit status, and what it found of the one caller."""
    store = Store(who, "store-selftest")
    # Some five hundred sandboxes of an emulated machine: a bound for what hangs, not for what is slow.
    done = subprocess.run(
        store.line("selftest", "--format", "json", *words), capture_output=True, text=True, timeout=1800, stdin=subprocess.DEVNULL,
        cwd=DISK, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    (found,) = json.loads(done.stdout)["callers"]
    assert found["caller"] == ("root" if who == "root" else "user")
    assert [path.name for path in store.folder.iterdir() if path.name.startswith("selftest.")] == []
    return done.returncode, found


def test_levels_work(who):
    status, found = selftest(who)
    wrong = {f"{level}: {check['check']}": check["why"] for level, checks in found["levels"].items() for check in checks if not check["ok"]}
    assert wrong == {}
    assert sorted(found["levels"]) == LEVELS and all(len(checks) > 5 for checks in found["levels"].values())
    assert status == 0


def test_no_priority_of_the_callers(who):
    """A user who may run real-time programs, as for audio, gives that to no sandbox: its CPU limit would not count."""
    store = Store(who, "store-selftest")

    def outcomes(*words):
        # Raised by root, before it becomes the user.
        line = ["prlimit", "--rtprio=95", "--nice=40", "--", *store.prefix, *words, "attack-program", "try", "realtime", "high-priority"]
        done = subprocess.run(line, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=600, cwd=DISK, check=False)
        return {name: outcome for name, outcome, _ in (text.split("\t") for text in done.stdout.splitlines())}, done

    outside, done = outcomes(CODEX32)
    assert outside == {"realtime": "succeeded", "high-priority": "succeeded"}, done
    for level in ("standard", "strict"):
        options = ["--isolation", level, "-v", f"{CODEX32}:/attack:ro", "--image", "template:busybox"]
        inside, done = outcomes(CODEX32, "run", "--root", str(store.folder), "-q", *options, "--", "/attack")
        assert inside == {"realtime": "stopped", "high-priority": "stopped"}, done


def test_every_attack(who):
    """What a level promises to stop is stopped, and each attack is shown to be alive by its control."""
    status, found = selftest(who, "--attack")
    listed = json.loads(Store(who, "store-selftest")("selftest", "--list", "--format", "json").stdout)["attacks"]
    attacks = {each["attack"]: each for each in found["attacks"]}
    assert list(attacks) == [each["attack"] for each in listed]
    assert found["absent"] == [] and all(sorted(each["levels"]) == LEVELS for each in attacks.values())

    dead = {name: each["control"] for name, each in attacks.items() if each["control"]["outcome"] in ("stopped", "failed")}
    assert dead == {}
    unproven = {name: each["control"]["detail"] for name, each in attacks.items() if each["control"]["outcome"] == "impossible"}
    assert set(unproven) <= ABSENT, unproven
    # What only root can do outside has no control for another.
    assert all(each["control"]["outcome"] is not None or who == "codex" for each in attacks.values())

    held = {
        f"{name} at {level}": cell
        for name, each in attacks.items()
        for level, cell in each["levels"].items()
        if cell["promised"] and cell["outcome"] != "stopped" and not (name in unproven and cell["outcome"] == "impossible")
    }
    assert held == {}
    assert (status, found["kept"]) == (0, True)
