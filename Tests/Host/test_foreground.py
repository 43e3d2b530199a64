"""A `run` without -d, met by its name: top and kill know it, and every other verb says what it is."""

import json
import signal

from conftest import alive, wait_until

import pytest

LOOP = "trap 'echo caught; exit 7' USR1; echo ready; while :; do sleep 0.05; done"


def front(caller, *command, options=(), level="standard"):
    return caller.running("--name", "front", *options, level=level, command=command)


def verb(caller, name, *words):
    return caller.execute([*caller.become(), str(caller.binary), name, "--root", str(caller.storage), *words])


def test_top(caller, level):
    with front(caller, "sh", "-c", "sleep 5000 & wait", level=level) as runner:
        record = caller.record(runner)
        lines = wait_until(
            lambda: len(found := json.loads(verb(caller, "top", "--format", "json", "front").stdout)) == 2 and found,
            "both processes",
        )
        assert {line["command"] for line in lines} == {"sh -c sleep 5000 & wait", "sleep 5000"}
        assert record["pid"] in {line["pid"] for line in lines}
        assert verb(caller, "top", "-q", record["id"]).stdout == verb(caller, "top", "-q", "front").stdout


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_kill(caller, level, number):
    with front(caller, "sleep", "5000", level=level) as runner:
        pid = caller.record(runner)["pid"]
        done = verb(caller, "kill", "-s", number.name, "front")
        assert (done.returncode, done.stdout, done.stderr) == (0, "front\n", "")
        assert runner.wait(30) == 128 + number
        assert not alive(pid)
    assert verb(caller, "kill", "front").returncode == 125
    assert caller.entries() == set()


def test_kill_reaches_the_programs_handler(caller):
    with front(caller, "sh", "-c", LOOP) as runner:
        assert runner.stdout.readline() == b"ready\n"
        assert verb(caller, "kill", "-s", "USR1", "front").returncode == 0
        assert runner.wait(30) == 7
        assert runner.stdout.read() == b"caught\n"


def test_kill_stops_and_goes_on(caller):
    """SIGSTOP and SIGCONT are the program's, not codex32's."""
    with front(caller, "sleep", "5000") as runner:
        pid = caller.record(runner)["pid"]
        state = lambda: json.loads(verb(caller, "top", "--format", "json", "front").stdout)[0]["state"]  # noqa: E731
        assert verb(caller, "kill", "-s", "STOP", "front").returncode == 0
        wait_until(lambda: state() == "T", "its stop")
        assert verb(caller, "kill", "-s", "CONT", "front").returncode == 0
        wait_until(lambda: state() == "S", "its going on")
        assert alive(pid)


@pytest.mark.parametrize("words", [["stop"], ["exec", "front", "true"], ["logs"], ["rename", "front", "back"], ["attach"]])
def test_others_say_what_it_is(caller, words):
    with front(caller, "sleep", "5000") as runner:
        caller.record(runner)
        done = verb(caller, words[0], *(words[1:] or ["front"]))
        assert done.returncode == 125
        assert "it is a foreground run of the image template:busybox" in done.stderr
        assert "\nhint: " in done.stderr and "run -d" in done.stderr
        assert runner.poll() is None
