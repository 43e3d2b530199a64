"""`--init`: pid 1 is codex32's, and yet the program's end is told exactly."""

import json
import os

import pytest
from test_run import STATUSES


@pytest.fixture
def told(caller, level, folder):
    """Runs a script under --init and returns codex32's exit status with what the verdict says of it."""

    def run(script):
        file = folder / "verdict.json"
        done = caller.sh(script, "--init", "--result-file", file, level=level)
        verdict = json.loads(file.read_text())
        return done.returncode, verdict["reason"], verdict["exitCode"], verdict["signal"]

    return run


def test_status_that_looks_like_a_signal(told):
    """143 is not SIGTERM: pid 1 can only exit, so the difference comes by another way."""
    statuses = sorted({*STATUSES, 129, 130, 134, 139, 159, 191, 192, 193})
    assert {n: told(f"exit {n}") for n in statuses} == {n: (n, "exited", n, None) for n in statuses}


def test_signal(told):
    numbers = [1, 2, 6, 9, 11, 15, 34, 64]
    assert {n: told(f"kill -{n} $$") for n in numbers} == {n: (128 + n, "signaled", None, n) for n in numbers}


def test_killed_from_outside(caller, level, folder):
    """Pid 1 itself ended: nothing was told, and what happened to it is what happened."""
    file = folder / "verdict.json"
    with caller.running("--init", "--result-file", file, level=level, command=["sleep", "1000"]) as process:
        pid = caller.record(process)["pid"]
        os.kill(pid, 9)
        assert process.wait(60) == 137
    verdict = json.loads(file.read_text())
    assert (verdict["reason"], verdict["signal"]) == ("killed", 9)


def test_program_has_no_descriptor_of_it(caller, level):
    """The way to codex32 is pid 1's alone: the program has its three streams, and ls the folder it reads."""
    done = caller.sh("ls /proc/self/fd; readlink /proc/self/fd/*", "--init", level=level)
    assert done.stdout.split()[:4] == ["0", "1", "2", "3"]
    assert "socket:" not in done.stdout
