"""What `run` promises every caller at every level: the program gets, and gives back, exactly what was asked."""

import json
import os
import signal
import subprocess

import pytest
from conftest import PATIENCE, alive, wait_until

# Each kind of number: plain, codex32's own (124 to 127), those that look like signals, the last.
STATUSES = [0, 1, 2, 42, 100, 124, 125, 126, 127, 128, 129, 137, 143, 200, 254, 255]

# Those whose default is to end a process; the rest stop, continue or do nothing. SIGQUIT (3) is left out:
# busybox's shell ignores it in itself, on the machine too.
HARMLESS = {3, 17, 18, 19, 20, 21, 22, 23, 28}
FATAL = [number for number in [*range(1, 32), 34, 64] if number not in HARMLESS]


def test_exit_status(caller, level):
    """The program's own, also where codex32 itself uses the number."""
    seen = {status: caller.sh(f"exit {status}", level=level).returncode for status in STATUSES}
    assert seen == {status: status for status in STATUSES}


def test_ended_by_signal(caller, level):
    """128+n. With --init, for the kernel gives a signal to pid 1 only when pid 1 has a handler."""
    seen = {number: caller.sh(f"kill -{number} $$", "--init", level=level).returncode for number in FATAL}
    assert seen == {number: 128 + number for number in FATAL}


@pytest.mark.parametrize("init", [[], ["--init"]], ids=["direct", "init"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda n: n.name)
def test_signals_are_forwarded(caller, level, number, init):
    """A signal sent to `codex32 run` reaches the program, which may answer it its own way, and take its time."""
    name = number.name[3:]
    script = f'trap "sleep 0.5; exit 7" {name}; echo ready; while :; do sleep 0.1; done'
    with caller.running(*init, level=level, command=["sh", "-c", script]) as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.wait(PATIENCE) == 7


def test_arguments_that_no_early_child_has_room_for(caller, level):
    """More than the memory in which a child born before its plan gets that: it is born again, with it."""
    words = ["x" * 100_000] * 15
    done = caller.run(level=level, command=["sh", "-c", "echo $# ${#1}", "sh", *words])
    assert (done.returncode, done.stdout) == (0, "15 100000\n")


def test_streams_are_apart(caller, level):
    done = caller.sh("echo out; echo err >&2", level=level)
    assert (done.returncode, done.stdout, done.stderr) == (0, "out\n", "err\n")


def test_input_by_pipe(caller, level):
    """Every byte in order, and its end is seen."""
    data = os.urandom(1 << 20)
    done = caller.run(level=level, command=["cat"], input=data, text=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == data


def test_streams_are_the_callers_own(caller, level, folder):
    """Passed through untouched: the program writes into the very file, nothing copies in between."""
    source, target = folder / "in", folder / "out"
    source.write_text("one\ntwo\n")
    target.touch()
    caller.own(source, target)
    with open(source) as stdin, open(target, "w") as stdout:
        script = "cat; stat -L -c %i /proc/self/fd/1"
        words = caller.words(level=level, command=["sh", "-c", script])
        done = subprocess.run(
            words, env=caller.environment(), cwd=caller.home, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, timeout=PATIENCE
        )
    assert (done.returncode, done.stderr) == (0, b"")
    assert target.read_text() == f"one\ntwo\n{target.stat().st_ino}\n"


def test_environment(caller, level, folder):
    """What is asked for, byte by byte, and nothing else of the caller's but PATH, TERM and LANG."""
    file = folder / "variables"
    file.write_text("# a comment\nFROM_FILE=a b=c\n")
    caller.own(file)
    awkward = "x y\t'\"$HOME\nsecond line \u00e9"
    done = caller.run(
        "-e", f"AWKWARD={awkward}", "-e", "PASSED", "-e", "EMPTY=", "--env-file", file,
        level=level, command=["sh", "-c", "cat /proc/self/environ"],
        env={"PASSED": "on", "SECRET": "of the caller"},
    )
    assert done.returncode == 0, done.stderr
    seen = dict(entry.split("=", 1) for entry in done.stdout.split("\0") if entry)
    assert seen["AWKWARD"] == awkward
    assert (seen["PASSED"], seen["EMPTY"], seen["FROM_FILE"]) == ("on", "", "a b=c")
    assert "SECRET" not in seen
    known = {"AWKWARD", "PASSED", "EMPTY", "FROM_FILE", "PATH", "TERM", "LANG", "HOME", "HOSTNAME"}
    assert set(seen) - known <= {"PWD", "SHLVL", "OLDPWD"}  # the shell's own


def test_working_folder(caller, level):
    assert caller.sh("pwd", level=level).stdout == "/\n"
    assert caller.sh("pwd", "-w", "/tmp", level=level).stdout == "/tmp\n"
    assert caller.sh("pwd; readlink /proc/self/cwd", "-w", "/etc", level=level).stdout == "/etc\n/etc\n"


def test_hostname(caller, level):
    before = os.uname().nodename
    assert caller.sh("hostname", "--hostname", "box.example", level=level).stdout == "box.example\n"
    assert caller.sh("hostname", "--name", f"n-{caller.name}-{level}", level=level).stdout == f"n-{caller.name}-{level}\n"
    assert os.uname().nodename == before


@pytest.mark.parametrize("asked, expected", [("0", "0:0"), ("0:0", "0:0"), ("1000:1001", "1000:1001"), ("nobody", "65534:65534"), ("1:0", "1:0")])
def test_user(callers, level, asked, expected):
    """The matrix of CVE-2026-30892, as root, who may use every id at every level."""
    done = callers["root"].sh("echo $(id -u):$(id -g); grep Groups: /proc/self/status", "-u", asked, level=level)
    assert done.returncode == 0, done.stderr
    ids, groups = done.stdout.splitlines()
    assert ids == expected
    assert groups.split() == ["Groups:"], "supplementary groups are dropped"


def test_user_rootless(callers):
    """An ordinary user has the other ids from the subordinate ones, at the level that uses them by default."""
    done = callers["user"].sh("echo $(id -u):$(id -g)", "-u", "1000:1001", level="standard")
    assert (done.returncode, done.stdout) == (0, "1000:1001\n"), done.stderr


def test_not_found_and_not_executable(caller, level, image):
    (image / "bin/data").write_text("#!/bin/sh\n")
    (image / "bin/badscript").write_text("#!/no/such/interpreter\n")
    (image / "bin/badscript").chmod(0o755)
    caller.own(image)
    for program, status in [("nosuch", 127), ("/bin/nosuch", 127), ("/etc", 126), ("/bin/data", 126), ("/bin/badscript", 127)]:
        done = caller.run(level=level, image=image, command=[program])
        assert done.returncode == status, (program, done.stderr)
        assert done.stderr.startswith("codex32: "), program


def test_engine_failure_is_125(caller, level):
    done = caller.run("-w", "/bin/busybox/folder", level=level, command=["true"])
    assert done.returncode == 125
    assert done.stderr.startswith("codex32: ")


def test_arguments_arrive_as_given(caller, level):
    arguments = ["", "a b", "*", "$HOME", "--help", "-q", "\u00fc", "new\nline"]
    done = caller.run(level=level, command=["sh", "-c", 'for a; do printf "%s|" "$a"; done', "sh", *arguments])
    assert done.stdout == "".join(f"{argument}|" for argument in arguments)


def test_pids_start_at_one(caller, level):
    """Its own pid namespace at every level; with --init the program is not pid 1."""
    assert caller.sh("echo $$", level=level).stdout == "1\n"
    assert caller.sh("echo $$", "--init", level=level).stdout != "1\n"


def test_wall_time_limit(caller, level, folder):
    """124, and the verdict says why, also for a program that ignores the stop signal."""
    verdict = folder / "verdict.json"
    done = caller.sh(
        'trap "" TERM; while :; do sleep 0.1; done',
        "--timeout", "300ms", "--stop-timeout", "200ms", "--result-file", verdict, level=level,
    )
    assert done.returncode == 124, done.stderr
    assert json.loads(verdict.read_text())["reason"] == "wall-time"


@pytest.mark.parametrize(
    "script, reason, code, number",
    [
        pytest.param("exit 3", "exited", 3, None, id="exited"),
        pytest.param(
            "kill -9 $$", "signaled", None, 9, id="signaled"
        ),
    ],
)
def test_verdict(caller, level, folder, script, reason, code, number):
    file = folder / "verdict.json"
    caller.sh(script, "--init", "--result-file", file, level=level)
    verdict = json.loads(file.read_text())
    assert (verdict["schema"], verdict["isolation"]) == (1, level)
    assert (verdict["reason"], verdict["signal"]) == (reason, number)
    if code is not None:
        assert verdict["exitCode"] == code
    keys = "id name wallSeconds cpuUserSeconds cpuSystemSeconds peakMemoryBytes peakPids ioReadBytes ioWriteBytes"
    assert set(f"{keys} oomKills pidsLimitHits startedAt finishedAt".split()) <= set(verdict)


def test_dry_run_starts_nothing(caller, level, folder):
    shared = folder / "shared"
    shared.mkdir()
    caller.own(shared)
    done = caller.run("--dry-run", "--format", "json", "-v", f"{shared}:/s:rw", level=level, command=["touch", "/s/ran"])
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)
    assert list(shared.iterdir()) == []


def test_list_shows_what_runs(caller, level):
    name = f"listed-{caller.name}-{level}"
    with caller.running("--name", name, level=level, command=["sleep", "1000"]) as process:
        record = caller.record(process)
        words = caller.become() + [str(caller.binary), "list", "--root", str(caller.storage), "--format", "{{.Name}} {{.PID}}"]
        assert f"{name} {record['pid']}" in caller.execute(words).stdout.splitlines()
    # The killed run's program follows it; the next run clears the entry.
    wait_until(lambda: not alive(record["pid"]), "the end of the program")
    assert caller.sh("true", level=level).returncode == 0
    assert name not in caller.execute(words).stdout
