"""`codex32 selftest`: that the levels work here, and `--attack`: that they hold, with every attack shown to be alive.

The matrix is made once for each caller and looked at by several tests: it runs some five hundred sandboxes.
"""

import json
import os
import shutil
import signal
import subprocess

import pytest
from conftest import CGROUP, HAS_CGROUP2, LEVELS, ORDINARY, PATIENCE, USERS, processes_with, wait_until

WAIVE = [] if HAS_CGROUP2 else ["--waive", "cgroup"]


def selftest(caller, *options, waive=True, **more):
    words = [*caller.become(), caller.binary, "selftest", *(WAIVE if waive else []), *options]
    return caller.execute([*map(str, words), "--root", str(caller.storage)], **more)


@pytest.fixture(scope="module")
def matrices(callers):
    """By caller: the exit status, and what was found."""
    if not shutil.which("busybox"):
        pytest.skip("busybox is not installed")
    made = {}
    for name in USERS:
        # Some five hundred sandboxes, one after another: each of them has its own patience.
        done = selftest(callers[name], "--attack", "--format", "json", timeout=6 * PATIENCE)
        assert done.returncode in (0, 1), done.stderr
        made[name] = done.returncode, json.loads(done.stdout)
    return made


@pytest.fixture
def matrix(matrices, caller):
    status, document = matrices[caller.name]
    assert document["schema"] == 1
    (found,) = document["callers"]
    return status, found


def test_every_promise_is_kept(matrix):
    status, found = matrix
    open_cells = {
        f"{attack['attack']} at {level}": cell
        for attack in found["attacks"]
        for level, cell in attack["levels"].items()
        if cell["promised"] and cell["outcome"] not in ("stopped", "impossible")
    }
    assert open_cells == {}
    assert (status, found["kept"], found["absent"]) == (0, True, [])


def test_every_attack_is_alive(matrix):
    """Each control succeeds, but where the machine lacks what the attack needs, or only root could do it."""
    _, found = matrix
    dead = {each["attack"]: each["control"] for each in found["attacks"] if each["control"]["outcome"] in ("stopped", "failed")}
    assert dead == {}
    for each in found["attacks"]:
        if each["control"]["outcome"] is None:
            assert found["caller"] == "user", each
        if each["control"]["outcome"] in ("impossible", None):
            assert each["control"]["detail"], each
    alive = sum(each["control"]["outcome"] == "succeeded" for each in found["attacks"])
    assert alive >= (130 if found["caller"] == "root" else 95)


def test_the_matrix_is_whole(matrix, caller):
    _, found = matrix
    listed = json.loads(selftest(caller, "--list", "--format", "json", waive=False).stdout)["attacks"]
    assert [each["attack"] for each in found["attacks"]] == [each["attack"] for each in listed]
    assert len(listed) >= 150
    for each in found["attacks"]:
        assert sorted(each["levels"]) == sorted(LEVELS)
        assert each["flaw"] and each["success"]
        assert all(cell["detail"] or cell["outcome"] == "succeeded" for cell in each["levels"].values()), each


@pytest.mark.usefixtures("matrices")
def test_nothing_is_left(caller):
    assert [name for name in os.listdir(caller.storage) if name.startswith("selftest.")] == []
    # By its place: another worker's attacks are not meant.
    wait_until(lambda: processes_with(f"{caller.storage}/selftest.") == [], "the end of all")


def test_levels_work(caller):
    done = selftest(caller)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "FAILED" not in done.stdout and done.stdout.count(" ok ") > 10


def test_levels_work_as_json(caller):
    done = selftest(caller, "--format", "json", "--level", "standard")
    (found,) = json.loads(done.stdout)["callers"]
    assert found["caller"] == caller.name
    (checks,) = found["levels"].values()
    assert len(checks) > 4 and all(check["ok"] and check["why"] is None for check in checks)


def test_table(caller):
    done = selftest(caller, "--attack", "--only", "unshare-user,plain-path", "--level", "minimal,standard")
    assert (done.returncode, done.stderr) == (0, "")
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line}
    assert "stopped (unshare: EPERM)" in lines["unshare-user"] and lines["unshare-user"].endswith("succeeds")
    assert "open, not promised" in lines["unshare-user"]
    assert "2 stopped" in lines["standard:"] and "keeps 2 of 2 promises" in lines["standard:"]
    assert "strict:" not in lines


def test_dead_attack_is_noticed(callers):
    """Root without the right to set the clock: nothing is wrong with the sandbox, and the attack proves nothing."""
    caller = callers["root"]
    words = ["setpriv", "--bounding-set=-sys_time", "--", caller.binary, "selftest", "--attack", "--only", "set-clock", "--level", "minimal"]
    done = caller.execute([*map(str, words), "--root", str(caller.storage)])
    assert done.returncode == 1
    assert "DEAD" in done.stdout and "set-clock: its control stopped: adjtimex: EPERM" in done.stdout


def test_beside_another_selftest(caller):
    """Whose processes come first in /proc: that an attack read another secret does not make it dead, nor harmless."""
    words = [*caller.become(), "env", "ATTACK_SECRET=of-another", "sleep", "100000"]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL) as other:
        try:
            wait_until(lambda: other.pid in processes_with("ATTACK_SECRET=of-another"), "the other one")
            done = selftest(caller, "--attack", "--only", "read-environments", "--format", "json")
        finally:
            other.kill()
    (found,) = json.loads(done.stdout)["callers"]
    (attack,) = found["attacks"]
    assert done.returncode == 0 and attack["control"]["outcome"] == "succeeded", attack


def test_as_another_user(callers):
    caller = callers["root"]
    done = selftest(caller, "--attack", "--only", "unshare-user", "--user", ORDINARY, "--format", "json")
    assert done.returncode == 0, done.stderr
    assert [each["caller"] for each in json.loads(done.stdout)["callers"]] == ["root", "user"]
    done = selftest(caller, "--attack", "--only", "unshare-user", "--user", ORDINARY)
    assert "ESCAPE AS ROOT" in done.stdout and "ESCAPE AS USER" in done.stdout


@pytest.mark.skipif((CGROUP / "cgroup.controllers").exists(), reason="strict starts without a waiver here")
def test_level_that_does_not_start(caller):
    """It cannot be shown to hold, so the status is 1; what helps is said."""
    done = selftest(caller, "--attack", "--only", "unshare-user", waive=False)
    assert done.returncode == 1
    assert "strict does not start here: " in done.stdout and "--waive cgroup" in done.stdout


@pytest.mark.parametrize(
    "options, hint",
    [
        (["--only", "unshare"], "unshare-user"), (["--only", "unshare-user"], "--attack"), (["--attack", "--only", ","], "--list"),
        (["--level", "none"], "minimal, standard, strict"), (["--waive", "user-namespace"], "cgroup"), (["--attak"], "--attack"),
        (["--user", "nobody-of-that-name"], ""), (["--format", "xml"], ""), (["more"], "--help"),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_bad_input(caller, options, hint):
    words = [*caller.become(), caller.binary, "selftest", *options]
    done = caller.execute([*map(str, words)])
    assert (done.returncode, done.stdout) == (125, ""), done.stderr
    first, second = done.stderr.splitlines()
    assert first.startswith("codex32: ") and second.startswith("hint: ") and hint in second


def test_another_user_is_roots_to_become(callers):
    done = selftest(callers["user"], "--user", "root")
    assert done.returncode == 125 and "only root" in done.stderr


def test_killed_in_the_middle(caller):
    """The next one takes away what it left."""
    words = [*caller.become(), str(caller.binary), "selftest", "--attack", *WAIVE, "--root", str(caller.storage)]
    process = subprocess.Popen(words, env=caller.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=caller.home)

    def left():
        return [name for name in os.listdir(caller.storage) if name.startswith("selftest.")]

    wait_until(lambda: caller.storage.exists() and left() and processes_with(f"ATTACK_SOCKET_PATH={caller.storage}"), "an attack")
    process.send_signal(signal.SIGKILL)
    process.wait(PATIENCE)
    wait_until(lambda: not processes_with(f"ATTACK_SOCKET_PATH={caller.storage}"), "the end of what it started")
    assert left() != []
    assert selftest(caller, "--attack", "--only", "unshare-user", "--level", "minimal").returncode == 0
    assert left() == []


def test_calls(caller):
    """What each level lets through, beside others, and why: of one level, group by group."""
    shown = selftest(caller, "--calls", waive=False).stdout
    for line in ("codex32 strict ", "Docker's default profile ", "bubblewrap ", "gVisor, on the host "):
        assert line in shown
    assert "\nstrict lets these through:\n\n" in shown and "(with certain arguments)" in shown
    document = json.loads(selftest(caller, "--calls", "--level", "standard", "--format", "json", waive=False).stdout)
    assert document["level"] == "standard" and document["levels"]["strict"] < document["levels"]["standard"] < document["levels"]["minimal"]
    assert [each["name"] for each in document["others"]] == ["Docker's default profile", "bubblewrap", "gVisor, on the host"]
    assert all(group["why"] and group["calls"] for group in document["groups"])
    allowed = {call for group in document["groups"] if group["allowed"] for call in group["calls"]}
    assert len(allowed) == document["levels"]["standard"]
    done = selftest(caller, "--calls", "--level", "standard,strict", waive=False)
    assert done.returncode == 125 and "\nhint: " in done.stderr


def test_its_programs_are_not_for_people(caller):
    done = caller.execute([*caller.become(), str(caller.binary), "attack-program"])
    assert done.returncode == 125 and "codex32 selftest" in done.stderr
    assert "attack-program" not in caller.execute([str(caller.binary), "--help"]).stdout
