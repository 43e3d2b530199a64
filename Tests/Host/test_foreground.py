"""A `run` without -d, met by its name: top, stats, exec and kill know it, and every other verb says what it is."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import time

from conftest import PATIENCE, alive, wait_until

import pytest

LOOP = "trap 'echo caught; exit 7' USR1; echo ready; while :; do sleep 0.05; done"


def front(caller, *command, options=(), level="standard"):
    return caller.running("--name", "front", *options, level=level, command=command)


def verb(caller, name, *words):
    return caller.execute([*caller.become(), str(caller.binary), name, "--root", str(caller.storage), *words])


def test_top(caller, level):
    with front(caller, "sh", "-c", "sleep 5000 & wait", level=level) as runner:
        record = caller.record(runner)
        # The second is a shell until it has executed its own.
        wanted = {"sh -c sleep 5000 & wait", "sleep 5000"}
        top = lambda: json.loads(verb(caller, "top", "--format", "json", "front").stdout)  # noqa: E731
        lines = wait_until(lambda: {line["command"] for line in top()} == wanted and top(), "both processes")
        assert len(lines) == 2
        assert record["pid"] in {line["pid"] for line in lines}
        assert verb(caller, "top", "-q", record["id"]).stdout == verb(caller, "top", "-q", "front").stdout


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_kill(caller, level, number):
    with front(caller, "sleep", "5000", level=level) as runner:
        pid = caller.record(runner)["pid"]
        done = verb(caller, "kill", "-s", number.name, "front")
        assert (done.returncode, done.stdout, done.stderr) == (0, "front\n", "")
        assert runner.wait(PATIENCE) == 128 + number
        assert not alive(pid)
    assert verb(caller, "kill", "front").returncode == 125
    assert caller.entries() == set()


def test_kill_reaches_the_programs_handler(caller):
    with front(caller, "sh", "-c", LOOP) as runner:
        assert runner.stdout.readline() == b"ready\n"
        assert verb(caller, "kill", "-s", "USR1", "front").returncode == 0
        assert runner.wait(PATIENCE) == 7
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


def is_preparing(pid, stopped=False):
    """Whether a process was forked and has executed nothing yet (PF_FORKNOEXEC, field 9 of proc_pid_stat(5))."""
    text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    fields = text[text.rindex(")") + 1 :].split()
    return bool(int(fields[6]) & 0x40) and (not stopped or fields[0] == "T")


@contextlib.contextmanager
def held(caller):
    """A run whose child is stopped before it is the program, with its pid in the record already."""
    for _ in range(200):
        with front(caller, "sleep", "5000") as runner:
            child = stopped_child(runner)
            try:
                if child and recorded(caller, runner, child):
                    yield runner, child
                    return
            finally:
                if child:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(child, signal.SIGKILL)
                runner.kill()
    pytest.fail("no child was ever met before its execve")


def stopped_child(runner):
    """The child that is to become the program, stopped before; None: it was quicker."""
    children = pathlib.Path(f"/proc/{runner.pid}/task/{runner.pid}/children")
    while runner.poll() is None:
        with contextlib.suppress(OSError, IndexError):
            child = int(children.read_text().split()[-1])
            name = pathlib.Path(f"/proc/{child}/comm").read_text()
            if name == "codex32\n":
                os.kill(child, signal.SIGSTOP)
                return child
            if name == "sleep\n":  # and not a helper, such as newuidmap
                return None
    return None


def recorded(caller, runner, child):
    """Waits until the record names it. One that is the program all the same is none for this."""
    end = time.monotonic() + 5  # a helper before its execve is met too, and never gets there
    while runner.poll() is None and is_preparing(child) and time.monotonic() < end:
        for file in (caller.storage / "run/containers").glob("[0-9a-f]*/record.json"):
            with contextlib.suppress(OSError, ValueError):
                # A signal that comes in the middle of its execve(2) stops what it has become.
                if json.loads(file.read_text())["pid"] == child and is_preparing(child, stopped=True):
                    return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("words", [["kill", "-s", "STOP"], ["kill", "-s", "TERM"], ["top", "-q"]], ids=["stop", "end", "top"])
def test_before_the_program_has_begun(callers, words):
    """A verb that comes that early waits for the program: its preparations are not what the signal is for."""
    caller = callers["user"]
    with held(caller) as (runner, child):
        early = subprocess.Popen(
            [*caller.become(), str(caller.binary), words[0], "--root", str(caller.storage), *words[1:], "front"],
            env=caller.environment(), cwd=caller.home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        # It has looked at the record by the time that it sleeps.
        wait_until(lambda: "nanosleep" in pathlib.Path(f"/proc/{early.pid}/wchan").read_text(), "its waiting")
        assert is_preparing(child)
        os.kill(child, signal.SIGCONT)
        told, failed = early.communicate(timeout=60)
        assert (early.returncode, failed) == (0, "")
        assert not alive(child) or not is_preparing(child)
        if words[0] == "top":
            assert told == f"{child}\n"
        elif words[2] == "TERM":
            assert runner.wait(PATIENCE) == 143
        else:
            state = lambda: json.loads(verb(caller, "top", "--format", "json", "front").stdout)[0]["state"]  # noqa: E731
            wait_until(lambda: state() == "T", "its stop")


def test_one_that_never_begins(callers):
    """Whoever stopped it: it is told of, and it can be killed."""
    caller = callers["user"]
    with held(caller) as (runner, child):
        refused = verb(caller, "kill", "-s", "STOP", "front")
        assert refused.returncode == 125 and "has not begun yet" in refused.stderr and "hint: " in refused.stderr
        assert verb(caller, "kill", "-s", "KILL", "front").returncode == 0
        assert runner.wait(PATIENCE) == 137
        assert not alive(child)
    assert caller.entries() == set()


@pytest.mark.parametrize("words", [["stop"], ["logs"], ["rename", "front", "back"], ["attach"]])
def test_others_say_what_it_is(caller, words):
    with front(caller, "sleep", "5000") as runner:
        caller.record(runner)
        done = verb(caller, words[0], *(words[1:] or ["front"]))
        assert done.returncode == 125
        assert "it is a foreground run of the image template:busybox" in done.stderr
        assert "\nhint: " in done.stderr and "run -d" in done.stderr
        assert runner.poll() is None


def in_force(pid):
    """What the kernel says of a process: ids, capabilities, filter, and its namespaces."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    named = ("Uid", "Gid", "Groups", "NoNewPrivs", "Seccomp:", "Seccomp_filters", "Cap")
    places = {name: os.readlink(f"/proc/{pid}/ns/{name}") for name in sorted(os.listdir(f"/proc/{pid}/ns"))}
    return [line for line in lines if line.startswith(named)], places, os.readlink(f"/proc/{pid}/root")


def pid_of(caller, command):
    lines = json.loads(verb(caller, "top", "--format", "json", "front").stdout)
    return next((line["pid"] for line in lines if line["command"] == command), None)


def test_exec(caller, level):
    """A second program behind the very same walls: ids, capabilities, filter, namespaces, and what it may write."""
    options = ["-v", "/data", "-e", "WORD=one"]
    with front(caller, "sleep", "5000", options=options, level=level) as runner:
        identity = caller.record(runner)["id"]
        done = verb(caller, "exec", identity[:6], "sh", "-c", "echo $WORD")
        assert (done.returncode, done.stdout) == (0, "one\n"), done.stderr
        written = verb(caller, "exec", "front", "sh", "-c", "echo x > /data/file && echo y > /tmp/file && cat /data/file")
        assert (written.returncode, written.stdout) == (0, "x\n"), written.stderr
        assert verb(caller, "exec", "front", "sh", "-c", "exit 9").returncode == 9
        assert verb(caller, "exec", "front", "no-such-program").returncode == 127
        (row,) = [json.loads(line) for line in verb(caller, "stats", "--no-stream", "--format", "json", identity[:6]).stdout.splitlines()]
        assert row["id"] == identity
        # It ends with the run, and does not keep that from ending.
        inside = subprocess.Popen(
            [*caller.become(), str(caller.binary), "exec", "--root", str(caller.storage), "front", "sleep", "777"],
            env=caller.environment(), cwd=caller.home, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        second = wait_until(lambda: pid_of(caller, "sleep 777"), "the second program")
        assert in_force(second) == in_force(pid_of(caller, "sleep 5000"))
        assert verb(caller, "kill", "front").returncode == 0
        assert runner.wait(PATIENCE) == 137
        assert inside.wait(PATIENCE) == 137 and "has ended" in inside.stderr.read()
        inside.stderr.close()
    assert "no container" in verb(caller, "exec", "front", "true").stderr
    assert caller.entries() == set()


def test_exec_with_a_workspace(caller, folder):
    """The wall around the root has the workspace inside, for this program too."""
    (folder / "work").mkdir()
    (folder / "work" / "there").write_text("there\n")
    caller.own(folder / "work")
    with front(caller, "sleep", "5000", options=["--workspace", folder / "work"], level="strict") as runner:
        caller.record(runner)
        done = verb(caller, "exec", "front", "sh", "-c", "cat /workspace/there && echo x > /workspace/new && cat /workspace/new")
        assert (done.returncode, done.stdout) == (0, "there\nx\n"), done.stderr
        assert not (folder / "work" / "new").exists()
        assert verb(caller, "kill", "front").returncode == 0
        assert runner.wait(PATIENCE) == 137
        left = verb(caller, "workspace", "list").stdout.splitlines()[-1].split()[0]
    assert verb(caller, "workspace", "discard", left).returncode == 0


def test_exec_of_what_is_too_much_to_keep(callers):
    caller = callers["user"]
    options = [word for index in range(3) for word in ("-e", f"V{index}={'x' * 60000}")]
    with front(caller, "sleep", "5000", options=options) as runner:
        caller.record(runner)
        done = verb(caller, "exec", "front", "true")
        assert done.returncode == 125 and "too large to be kept" in done.stderr and "run -d" in done.stderr
        assert "front" in verb(caller, "list").stdout


def test_a_script_by_its_relative_path(caller, folder):
    """What it was asked for holds from wherever exec is called."""
    (folder / "bot.sh").write_text("#!/bin/sh\nexec sleep 5000\n")
    (folder / "bot.sh").chmod(0o755)
    caller.own(folder / "bot.sh")
    words = [*caller.become(), str(caller.binary), "run", "--root", str(caller.storage), "-q", "--name", "front", "./bot.sh"]
    with subprocess.Popen(words, env=caller.environment(), cwd=folder, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as runner:
        try:
            caller.record(runner)
            done = verb(caller, "exec", "front", "pwd")
            assert (done.returncode, done.stdout) == (0, "/app\n"), done.stderr
        finally:
            runner.kill()
