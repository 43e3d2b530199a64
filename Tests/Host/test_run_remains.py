"""What a foreground run cannot take away at its end stays written down, is told, and goes with the next sweep."""

import contextlib
import os
import pathlib
import subprocess

import pytest
from conftest import PATIENCE, wait_until


@pytest.fixture
def fresh(caller, folder):
    return caller.with_storage(folder / "storage")


@contextlib.contextmanager
def mounted(path):
    """A mount of the machine's, which nobody else can take away."""
    token = f"remains-{os.urandom(8).hex()}"
    subprocess.run(["mount", "-t", "tmpfs", token, path], check=True, timeout=PATIENCE)
    try:
        yield
    finally:
        # Where the folders above it have come to by now.
        lines = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
        for place in [line.split()[4] for line in lines if f" {token} " in line]:
            subprocess.run(["umount", place], check=True, timeout=PATIENCE)


def verb(caller, name, *words):
    return caller.execute([*caller.become(), str(caller.binary), name, "--root", str(caller.storage), *words])


def left(caller, part):
    with contextlib.suppress(FileNotFoundError):
        return os.listdir(caller.storage / part)
    return []


@pytest.mark.parametrize("part", ["layers", "volumes"])
def test_stays_with_its_entry(fresh, part):
    options = ["-i", "--name", "front"] + (["-v", "/held"] if part == "volumes" else [])
    script = "mkdir -p /held/here && echo ready && read x; exit 7"
    with fresh.running(
        *options, level="standard", command=["sh", "-c", script], popen={"stdin": subprocess.PIPE}
    ) as runner:
        assert runner.stdout.readline() == b"ready\n"
        identity = fresh.record(runner)["id"]
        (place,) = [path for path in (fresh.storage / part).rglob("here") if path.is_dir()]
        with mounted(place):
            told = runner.communicate(b"go\n", PATIENCE)[1].decode()
            assert runner.returncode == 7, told
            assert f"of the run {identity}: " in told and "busy" in told.lower() and "\nhint: codex32 system recover" in told
            assert left(fresh, "run/containers") == [identity] and left(fresh, part) != []
            # It does not run, its name is free, and who looks for it finds it; a run goes on beside it.
            assert verb(fresh, "list", "-q").stdout == ""
            done = verb(fresh, "system", "recover")
            assert done.returncode == 125 and identity in done.stderr and "busy" in done.stderr.lower()
            assert fresh.sh("exit 3", "--name", "front", level="standard").returncode == 3
            assert left(fresh, "run/containers") == [identity] and left(fresh, part) != []
    assert fresh.sh("exit 4", level="standard").returncode == 4
    # The sweep goes on beside the program, and is over when that run is.
    wait_until(lambda: fresh.entries() == set(), "the end of its entry")
    assert left(fresh, "volumes") == []
    assert verb(fresh, "system", "recover").stdout == "all is in order\n"


def test_immutable(callers, tmp_path):
    """What only root can undo is told as what it is."""
    caller = callers["root"].with_storage(tmp_path / "storage")
    script = "echo x > /kept && echo ready && read x"
    with caller.running(
        "-i", level="standard", command=["sh", "-c", script], popen={"stdin": subprocess.PIPE}
    ) as runner:
        assert runner.stdout.readline() == b"ready\n"
        (kept,) = (caller.storage / "layers").rglob("kept")
        if subprocess.run(["chattr", "+i", kept], capture_output=True, timeout=PATIENCE, check=False).returncode:
            pytest.skip("this file system has no immutable files")
        try:
            told = runner.communicate(b"go\n", PATIENCE)[1].decode()
            assert runner.returncode == 0 and "not permitted" in told.lower(), told
        finally:
            subprocess.run(["chattr", "-i", kept], check=True, timeout=PATIENCE)
    assert verb(caller, "system", "recover").returncode == 0
    assert caller.entries() == set()
