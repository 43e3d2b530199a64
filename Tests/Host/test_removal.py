"""What a rootless container wrote as other ids is removed with it, however it ended."""

import os
import subprocess

import pytest
from conftest import PATIENCE, alive, wait_until

# Files of uid 1000 in folders that keep everybody out, a name that is a link to the host, one that is no
# text, and a tree that is deeper than a process may have descriptors.
WRITE = r"""
mkdir -p /a/b/c /own && echo x > /a/b/c/file && ln -s / /a/b/root && ln /a/b/c/file /a/b/hard && mkfifo /a/pipe
: > "/a/$(printf 'new\nline\033[31m')"
chown -R 1000:1000 /a && chmod 4755 /a/b/c/file && chmod 0 /a/b/c && chmod 0 /a/b && chmod 0 /a
echo y > /own/file && chmod 0500 /own
mkdir /deep && cd /deep && i=0 && while [ $i -lt 1100 ]; do mkdir d && : > f && cd d || exit 9; i=$((i+1)); done
cd / && chown -R 1000:1000 /deep && chmod 0 /deep || exit 9
"""


@pytest.fixture
def fresh(callers, folder_of_user):
    return callers["user"].with_storage(folder_of_user / "storage")


@pytest.fixture
def folder_of_user(callers):
    path = callers["user"].folder("removal")
    yield path
    subprocess.run(["rm", "-rf", str(path)], check=True, timeout=PATIENCE)


def left(caller):
    with_layers = caller.storage / "layers"
    return os.listdir(with_layers) if with_layers.exists() else []


def test_end(fresh):
    done = fresh.sh(WRITE + "\nexit 5", level="standard")
    assert done.returncode == 5, done.stderr
    assert left(fresh) == []
    assert fresh.entries() == set()


def test_files_really_were_others(fresh):
    """The test above stands on this: the files belong to ids that the user is not."""
    with fresh.running(level="standard", command=["sh", "-c", WRITE + "\nexec sleep 1000"]) as process:
        fresh.record(process)
        layer = fresh.storage / "layers"
        wait_until(lambda: any(path.name == "deep" and path.stat().st_mode & 0o777 == 0 for path in layer.glob("*/upper/*")), "the last step")
        (deep,) = layer.glob("*/upper/deep")
        assert deep.stat().st_uid not in (0, fresh.account.pw_uid)
        assert fresh.execute([*fresh.become(), "rm", "-rf", str(deep)]).returncode != 0


def test_killed(fresh):
    """kill -9 of codex32: the next run clears the layer away."""
    with fresh.running(level="standard", command=["sh", "-c", WRITE + "\necho done; exec sleep 1000"]) as process:
        pid = fresh.record(process)["pid"]
        assert process.stdout.readline() == b"done\n"
        process.kill()
        process.wait(PATIENCE)
        wait_until(lambda: not alive(pid), "the end of the program")
    assert left(fresh) != []
    assert fresh.sh(":", level="standard").returncode == 0
    assert left(fresh) == []
    assert fresh.entries() == set()


def test_as_another_user(fresh):
    """The program itself is another id from the start."""
    done = fresh.sh("mkdir /tmp/x; mkdir -p $HOME 2>/dev/null; id -u", "-u", "1000:1000", level="standard")
    assert (done.returncode, done.stdout) == (0, "1000\n"), done.stderr
    assert left(fresh) == []
