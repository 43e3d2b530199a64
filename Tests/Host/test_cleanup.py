"""Nothing stays: no process, mount, cgroup or file, however a sandbox ended."""

import os
import pathlib
import subprocess
import uuid

import pytest
from conftest import CGROUP, HAS_CGROUP2, PATIENCE, alive, cgroups_below, processes_with, wait_until


@pytest.fixture
def fresh(caller, folder):
    """The caller with a storage of this test alone, its template built."""
    mine = caller.with_storage(folder / "storage")
    assert mine.sh(":").returncode == 0
    return mine


def cgroups():
    """The cgroups of sandboxes, wherever they are: their folders have the sandboxes' ids."""
    if not HAS_CGROUP2:
        return set()
    return {path for path in cgroups_below(CGROUP) if len(path.name) == 16 and set(path.name) <= set("0123456789abcdef")}


def mounts():
    return pathlib.Path("/proc/self/mountinfo").read_text()


@pytest.mark.alone
def test_thirty_in_parallel(fresh, level):
    token = f"token-{uuid.uuid4()}"
    before, groups = mounts(), cgroups()
    words = fresh.words("-e", f"TOKEN={token}", level=level, command=["sh", "-c", "sleep 0.2; echo done; exit 3"])
    started = [
        subprocess.Popen(words, env=fresh.environment(), cwd=fresh.home, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(30)
    ]  # fmt: skip
    ends = [(process.communicate(timeout=PATIENCE), process.returncode) for process in started]
    assert ends == [((b"done\n", b""), 3)] * 30
    wait_until(lambda: not processes_with(token), "the end of every process")
    assert mounts() == before
    assert cgroups() <= groups
    assert fresh.entries() == set()


def test_what_is_swept_away_does_not_run(fresh):
    """A run that was killed is not listed as one that runs while it is cleared away, and its name can be had then."""
    words = [*fresh.become(), str(fresh.binary)]

    def is_there():
        return any(name.startswith("run/containers/") for name in fresh.entries())

    for count in (20_000, 60_000, 200_000):  # until the sweep took long enough to be looked at
        script = f"mkdir /many && cd /many && seq {count} | xargs touch && echo ready && exec sleep 5000"
        with fresh.running("--name", "front", level="standard", command=["sh", "-c", script]) as runner:
            assert runner.stdout.readline() == b"ready\n"
        assert is_there(), "nothing was left to clear away"
        sweep = subprocess.Popen(
            [*words, "system", "recover", "--root", str(fresh.storage)],
            env=fresh.environment(), cwd=fresh.home, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        looked = 0
        while sweep.poll() is None:
            before = is_there()
            listed = fresh.execute([*words, "list", "-q", "--no-trunc", "--root", str(fresh.storage)])
            assert (listed.returncode, listed.stdout, listed.stderr) == (0, "", "")
            looked += before and is_there()
            done = fresh.run("--name", "front", level="standard", command=["true"])
            assert (done.returncode, done.stderr) == (0, "")
        assert (sweep.returncode, sweep.stderr.read()) == (0, b"")
        assert fresh.entries() == set()
        if looked:
            return
    pytest.fail("never looked while it was cleared away")


@pytest.mark.parametrize("init", [[], ["--init"]], ids=["direct", "init"])
def test_double_fork(fresh, level, init):
    """What the program left running ends with it: it has nowhere to escape to."""
    token = f"token-{uuid.uuid4()}"
    done = fresh.sh("(setsid sh -c 'trap \"\" TERM HUP; sleep 1000' </dev/null >/dev/null 2>&1 &) ; exit 4", "-e", f"T={token}", *init, level=level)
    assert done.returncode == 4
    wait_until(lambda: not processes_with(token), "the end of what it left")


def test_killed_run_takes_the_sandbox_along(fresh, level):
    """kill -9 of codex32 itself: the program ends, and the next run clears away the entry and the layer."""
    token = f"token-{uuid.uuid4()}"
    before, groups = mounts(), cgroups()
    script = "trap '' TERM HUP INT; (trap '' TERM HUP; sleep 1000) & sleep 1000"
    with fresh.running("-e", f"T={token}", "--name", "doomed", level=level, command=["sh", "-c", script]) as process:
        pid = fresh.record(process)["pid"]
        assert fresh.entries() != set()
        process.kill()
        process.wait(PATIENCE)
        wait_until(lambda: not alive(pid), "the end of the program")
        wait_until(lambda: not processes_with(token), "the end of its children")
    assert mounts() == before
    assert fresh.run("--name", "doomed", level=level, command=["true"]).returncode == 0, "the name is free again"
    assert fresh.entries() == set()
    assert cgroups() <= groups


def test_killed_init_takes_the_sandbox_along(fresh, level):
    """The same with a pid 1 of codex32's between."""
    token = f"token-{uuid.uuid4()}"
    with fresh.running("--init", "-e", f"T={token}", level=level, command=["sleep", "1000"]) as process:
        fresh.record(process)
        process.kill()
        process.wait(PATIENCE)
        wait_until(lambda: not processes_with(token), "the end of the program")


@pytest.mark.parametrize("level", ["minimal", "standard"])
def test_layer_with_closed_folders(callers, tmp_path, level):
    """A program may make folders without permissions in its layer: they go all the same."""
    caller = callers["root"].with_storage(tmp_path)
    done = caller.sh("mkdir -p /a/b /c && touch /a/b/d && chmod 0 /a/b /c", level=level)
    assert done.returncode == 0, done.stderr
    assert caller.entries() == set()


TESTS_OWN = ("codex32-outside", "codex32-bundle.", "codex32-host.", "codex32-vm.")


def test_no_temporary_files(fresh, level):
    """Nothing of a run in the machine's own temporary folders."""

    def mine():
        """The tests' own, which another worker makes meanwhile, left out."""
        return {name for name in os.listdir("/tmp") if "codex32" in name and not name.startswith(TESTS_OWN)}

    before = mine()
    assert fresh.sh(":", level=level).returncode == 0
    assert mine() <= before
