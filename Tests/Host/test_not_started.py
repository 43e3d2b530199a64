"""The verdict of a program that codex32 could not start: whoever waits for the file learns of it."""

import json

import pytest
from conftest import BUSYBOX

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
