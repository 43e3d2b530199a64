"""`codex32 oci run`, `ps` and `kill --all`: who is in a container, and how it ends."""

import json
import os
import subprocess

import pytest

from bundles import bundle  # noqa: F401
from conftest import PATIENCE, alive, wait_until


def test_run_detached_returns_when_the_program_has_begun(bundle):
    bundle.process["args"] = ["sleep", "100000"]
    with open(bundle.folder / "out", "w") as out:
        assert bundle("run", "-d", "--pid-file", "pid", "one", stdout=out, stderr=out).returncode == 0
    state = bundle.state()
    assert state["status"] == "running" and state["pid"] == int((bundle.folder / "pid").read_text())


def test_run_in_the_foreground_serves_the_terminal(bundle):
    bundle.process["terminal"] = True
    bundle.sh("tty; exit 6")
    result = bundle("run", "one")
    assert (result.returncode, result.stdout) == (6, "/dev/pts/0\n"), result.stderr
    assert bundle.left() == []
    refused = bundle("create", "one")
    assert refused.returncode == 1 and "--console-socket is missing" in refused.stderr


def test_run_in_the_foreground_passes_signals_on(bundle):
    bundle.sh("trap 'exit 9' TERM; echo ready; while :; do sleep 1; done")
    bundle.write()
    process = subprocess.Popen(bundle.words("run", "one"), cwd=bundle.folder, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert process.stdout.readline() == b"ready\n"
    process.terminate()
    assert process.wait(PATIENCE) == 9
    process.stdout.close()
    assert bundle.left() == []


@pytest.mark.parametrize("options", [[], ["-d"]])
def test_run_that_cannot_start_leaves_nothing(bundle, options):
    bundle.process["args"] = ["none"]
    result = bundle("run", *options, "one")
    assert result.returncode == 1 and "executable file not found" in result.stderr
    assert bundle.left() == []


def several(bundle):
    bundle.sh("trap 'echo got >> /tmp/got' USR1; sleep 100000 & sleep 100000 & echo ready; wait; wait; wait")
    bundle.start()
    wait_until(lambda: "ready" in bundle.output(), "its word")


def test_ps_shows_the_containers_processes_and_no_others(bundle):
    several(bundle)
    pids = json.loads(bundle("ps", "--format", "json", "one").stdout)
    assert len(pids) == 3 and bundle.state()["pid"] in pids and all(alive(pid) for pid in pids)
    shown = lambda: bundle("ps", "one").stdout.splitlines()  # noqa: E731
    sleeping = lambda line: line.split()[5:] == ["sleep", "100000"]  # noqa: E731
    # A child is a copy of its shell, or has no words at all, until its program is there.
    lines = wait_until(lambda: sum(map(sleeping, now := shown())) == 2 and now, "their programs")
    assert lines[0].split() == ["UID", "PID", "PPID", "STAT", "TIME", "CMD"] and len(lines) == 4
    assert [int(line.split()[1]) for line in lines[1:]] == pids
    assert "trap" in lines[1] and all(map(sleeping, lines[2:]))
    bundle("kill", "one", "KILL")
    bundle.stopped()
    assert "container not running" in bundle("ps", "one").stderr
    assert "does not exist" in bundle("ps", "two").stderr


def test_kill_all_reaches_every_process(bundle):
    several(bundle)
    first = bundle.state()["pid"]
    pids = json.loads(bundle("ps", "-f", "json", "one").stdout)
    assert bundle("kill", "--all", "one", "STOP").returncode == 0
    state = lambda pid: open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0]  # noqa: E731
    wait_until(lambda: all(state(pid) == "T" for pid in pids), "all stopped")
    assert bundle("kill", "-a", "one", "CONT").returncode == 0
    assert bundle("kill", "--all", "one", "KILL").returncode == 0
    wait_until(lambda: not any(alive(pid) for pid in pids), "the end of all")
    bundle.stopped()
    late = bundle("kill", "--all", "one", "TERM")
    assert late.returncode == 1 and "container not running" in late.stderr
    assert not alive(first)


def test_what_exec_added_is_killed_too(bundle):
    bundle.sleeping()
    with open(bundle.folder / "out", "w") as out:
        assert bundle.exec("-d", "--pid-file", "pid", "one", "sleep", "100000", stdout=out, stderr=out).returncode == 0
    pid = int((bundle.folder / "pid").read_text())
    assert pid in json.loads(bundle("ps", "-f", "json", "one").stdout)
    assert bundle("kill", "--all", "one", "TERM").returncode == 0
    wait_until(lambda: not alive(pid), "its end")


@pytest.mark.parametrize("words", [["ps", "one", "-ef"], ["ps", "--format", "x", "one"], ["kill", "one", "MOON"], ["kill", "one", "65"]])
def test_bad_words_are_errors(bundle, words):
    bundle.sleeping()
    result = bundle(*words)
    assert result.returncode == 1 and result.stderr.startswith("codex32: ")
    assert bundle.state()["status"] == "running"
    assert os.path.exists(bundle.log)


def test_limits_from_another_users_pipe(bundle):
    """Standard input is what it is, whoever made it: its name in /proc cannot be opened by another user."""
    given, giver = os.pipe()
    os.write(giver, b'{"pids": ')
    os.close(giver)
    done = bundle("update", "-r", "-", "none", stdin=given)
    os.close(given)
    assert done.returncode == 1 and "cannot use --resources -: " in done.stderr and "permission denied" not in done.stderr, done.stderr
