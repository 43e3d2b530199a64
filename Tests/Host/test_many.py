"""A thousand one after the other and a hundred at once: nothing is left of them anywhere."""

import collections
import contextlib
import os
import pathlib
import subprocess
import uuid

import pytest
from conftest import CGROUP, PATIENCE, processes_with, tree, wait_until

pytestmark = pytest.mark.alone


def namespaces(token):
    """Namespaces that processes of the test are in and this one is not."""
    own = {os.readlink(f"/proc/self/ns/{name}") for name in os.listdir("/proc/self/ns")}
    found = set()
    for pid in processes_with(token):
        for name in ("net", "user", "mnt", "pid"):
            with contextlib.suppress(OSError):
                found.add(os.readlink(f"/proc/{pid}/ns/{name}"))
    return found - own


def keys(caller):
    """How many keys the kernel counts for the caller's user (proc(5), /proc/key-users): the first number."""
    for line in pathlib.Path("/proc/key-users").read_text().splitlines():
        who, numbers = line.split(":")
        if int(who) == caller.account.pw_uid:
            return int(numbers.split()[0])
    return 0


def state(caller):
    """What must be the same before and after."""
    mounts = pathlib.Path("/proc/self/mountinfo").read_text()
    cgroups = {path for path in tree(CGROUP) if len(path.rpartition("/")[2]) == 16 and os.path.isdir(path)}
    return {
        "mounts": mounts,
        "cgroups": {path for path in cgroups if set(path.rpartition("/")[2]) <= set("0123456789abcdef")},
        "storage": {path for path in tree(caller.storage) if "/templates/" not in path},
        "temporary": {name for name in os.listdir("/tmp") if "codex32" in name and not name.startswith(("codex32-host.", "codex32-vm."))},
        "sockets": [line for line in pathlib.Path("/proc/net/unix").read_text().splitlines() if "codex32" in line],
        "children": pathlib.Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text(),
    }


@pytest.fixture
def fresh(caller, folder):
    mine = caller.with_storage(folder / "storage")
    assert mine.sh(":").returncode == mine.sh(":", level="standard").returncode == 0
    return mine


@pytest.mark.parametrize("level", ["standard", "strict"])
def test_five_hundred_in_sequence(fresh, level):
    """With the other level, a thousand for each caller. The key count may lag: the kernel collects keys later."""
    token = f"token-{uuid.uuid4()}"
    before, keys_before = state(fresh), keys(fresh)
    words = fresh.words("-e", f"T={token}", level=level, command=["true"])
    for _ in range(500):
        done = subprocess.run(words, env=fresh.environment(), cwd=fresh.home, stdin=subprocess.DEVNULL, timeout=PATIENCE)
        assert done.returncode == 0
    wait_until(lambda: not processes_with(token), "the end of every process")
    assert state(fresh) == before
    wait_until(lambda: keys(fresh) <= keys_before + 20, "the keys of the last few")


@pytest.mark.parametrize("level", ["standard", "strict"])
def test_a_hundred_at_once(fresh, level):
    """All of them run at the same time: each waits until the last has begun."""
    token = f"token-{uuid.uuid4()}"
    before = state(fresh)
    words = fresh.words("-e", f"T={token}", level=level, command=["sh", "-c", "echo $$; read line; echo $line; exit 3"])
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    started = [subprocess.Popen(words, env=fresh.environment(), cwd=fresh.home, **pipes) for _ in range(100)]
    try:
        assert [process.stdout.readline() for process in started] == [b"1\n"] * 100
        kinds = collections.Counter(name.split(":")[0] for name in namespaces(token))
        assert min(kinds[name] for name in ("net", "user", "mnt", "pid")) >= 100
        ends = [(process.communicate(b"%d\n" % number, PATIENCE), process.returncode) for number, process in enumerate(started)]
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
                process.communicate()
    assert ends == [((b"%d\n" % number, b""), 3) for number in range(100)]
    wait_until(lambda: not processes_with(token), "the end of every process")
    assert namespaces(token) == set()
    assert state(fresh) == before
