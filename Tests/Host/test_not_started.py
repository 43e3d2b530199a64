"""The verdict of a program that codex32 could not start: whoever waits for the file learns of it."""

import contextlib
import json
import os
import pathlib
import select
import subprocess

import pytest
from conftest import BUSYBOX, PATIENCE, wait_until

FIGURES = "wallSeconds cpuUserSeconds cpuSystemSeconds peakMemoryBytes peakPids ioReadBytes ioWriteBytes oomKills pidsLimitHits"


@pytest.mark.parametrize(
    "options, image, command, status",
    [
        pytest.param([], BUSYBOX, ["nosuch"], 127, id="not-found"),
        pytest.param([], BUSYBOX, ["/etc"], 126, id="not-executable"),
        pytest.param(["-w", "/bin/busybox/x"], BUSYBOX, ["true"], 125, id="no-working-folder"),
        pytest.param([], "/no/such/image", ["true"], 125, id="no-image"),
        pytest.param(["--require", "cgroup-io"], BUSYBOX, ["true"], 125, id="required"),
    ],
)
def test_verdict(caller, level, folder, options, image, command, status):
    file = folder / "verdict.json"
    name = f"failed-{caller.name}-{level}"
    done = caller.run("--name", name, "--result-file", file, *options, level=level, image=image, command=command)
    assert done.returncode == status, done.stderr
    assert done.stderr.startswith("codex32: ")
    verdict = json.loads(file.read_text())
    assert (verdict["schema"], verdict["reason"], verdict["name"], verdict["isolation"]) == (1, "engine", name, level)
    assert [verdict[key] for key in ["exitCode", "signal", *FIGURES.split()]] == [None] * 11
    assert len(verdict["id"]) == 16 and verdict["startedAt"] <= verdict["finishedAt"]
    assert file.stat().st_uid == caller.account.pw_uid


def test_verdict_of_a_start_is_not_overwritten(caller, level, folder):
    """A run that worked has its own verdict and no other."""
    file = folder / "verdict.json"
    assert caller.sh("exit 3", "--result-file", file, level=level).returncode == 3
    assert json.loads(file.read_text())["reason"] == "exited"


@pytest.mark.parametrize("level", ["standard", "strict"])
def test_it_does_not_run_before_it_is_recorded(caller, level):
    """However long codex32 takes for that: here it has a warning to write, and nobody reads."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    # Not quiet: what is waived is told.
    words = caller.words("--waive", "cgroup", "--waive", "seccomp", level=level, waive=False, command=["sh", "-c", "echo ran"])
    words.remove("-q")
    process = subprocess.Popen(words, env=caller.environment(), cwd=caller.home, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=writing)
    os.close(writing)
    try:
        # write(2) to the second descriptor.
        wait_until(lambda: pathlib.Path(f"/proc/{process.pid}/syscall").read_text().startswith("1 0x2 "), "a warning that nobody reads")
        assert not select.select([process.stdout], [], [], 0.5)[0]
        with open(reading, "rb") as pipe:
            said = pipe.read()
        assert b"warning: not in force: " in said
        assert process.communicate(timeout=PATIENCE)[0] == b"ran\n" and process.returncode == 0
    finally:
        process.kill()
        process.wait(PATIENCE)
