"""A storage folder that is full, read-only or somebody else's: one clear line, a hint, exit 125, and nothing left.

The storage is a small tmpfs that is given exactly so many free inodes or pages, from none upwards until a run
succeeds: so every file and every write of a start fails once.
"""

import contextlib
import json
import os
import subprocess

import pytest
from conftest import PATIENCE, processes_with, tree


def mount(*words):
    subprocess.run(["mount", *map(str, words)], check=True, timeout=PATIENCE)


@pytest.fixture
def small(folder, caller):
    """A caller whose storage is a tmpfs, and a function that sets its options."""
    place = folder / "small"
    place.mkdir()
    mount("-t", "tmpfs", "-o", "size=16m,nr_inodes=4096", "none", place)
    try:
        caller.own(place)
        yield caller.with_storage(place), lambda options: mount("-o", f"remount,{options}", place)
    finally:
        subprocess.run(["umount", place], check=True, timeout=PATIENCE)


def refused(done):
    """One clear line and a hint; whatever progress was told stands before them."""
    assert (done.returncode, done.stdout) == (125, ""), done.stderr
    *progress, line, hint = done.stderr.splitlines()
    assert line.startswith("codex32: ") and hint.startswith("hint: "), done.stderr
    assert all(word.startswith("codex32: building ") for word in progress), done.stderr
    return line


def kept(storage):
    """All that is there beside caches and locks, which are of no container."""
    return {path for path in tree(storage) if "/cache" not in path and not path.endswith(".lock")}


def used(storage):
    state = os.statvfs(storage)
    return state.f_files - state.f_ffree, state.f_blocks - state.f_bfree


@pytest.mark.parametrize("kind", ["inodes", "pages"])
@pytest.mark.parametrize("level", ["standard", "strict"])
def test_start_on_a_full_disk(small, level, kind):
    """With the template there: each file and each write of a start fails once."""
    caller, remount = small
    assert caller.sh(":", "--name", "first", level=level).returncode == 0
    before, failed = kept(caller.storage), 0
    for spare in range(40):
        inodes, pages = used(caller.storage)
        remount(f"nr_inodes={inodes + spare}" if kind == "inodes" else f"size={max(pages + spare, 1) * 4}k")
        done = caller.sh("echo ran", "--name", "second", level=level)
        assert kept(caller.storage) == before, (spare, done.stderr)
        if done.returncode == 0:
            break
        refused(done)
        failed += 1
    assert done.stdout == "ran\n", "never enough"
    assert failed >= 1
    remount("size=16m,nr_inodes=4096")
    assert caller.sh("exit 3", "--name", "second", level=level).returncode == 3


@pytest.mark.parametrize("options", ["nr_inodes=4", "nr_inodes=30", "nr_inodes=200", "size=4k", "size=512k", "size=1804k"])
def test_template_on_a_full_disk(small, options):
    """No half-made template is kept, and with room again it is built."""
    caller, remount = small
    remount(options)
    line = refused(caller.sh(":"))
    assert "busybox" in line or str(caller.storage) in line
    left = {path.removeprefix(f"{caller.storage}/") for path in kept(caller.storage)}
    assert left <= {"templates", "run", "run/containers", "run/names"}, left
    remount("size=16m,nr_inodes=4096")
    assert caller.sh("seq 1 3 | sort | head -n 1").stdout == "1\n"


@pytest.mark.parametrize("level", ["standard", "strict"])
def test_read_only_storage(small, level):
    caller, remount = small
    assert caller.sh(":", level=level).returncode == 0
    before = kept(caller.storage)
    remount("ro")
    assert "read-only" in refused(caller.sh("echo ran", level=level)).lower()
    assert kept(caller.storage) == before


def test_storage_of_somebody_else(callers, tmp_path):
    """An ordinary user with root's folder, closed or only read-only to it."""
    for mode in (0o700, 0o755):
        place = tmp_path / oct(mode)
        place.mkdir(mode)
        tmp_path.chmod(0o755)
        assert "ermission denied" in refused(callers["user"].with_storage(place).sh("echo ran"))
        assert tree(place) == set()


def fill(place):
    """Takes every byte there is."""
    with contextlib.suppress(OSError), open(place / "filler", "wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


@pytest.mark.parametrize("option", ["--result-file", "--receipt"])
@pytest.mark.parametrize("level", ["standard", "strict"])
def test_results_on_a_full_disk(small, level, option):
    """With no inode nothing starts. With no page the work is done and its result cannot be kept: an error too."""
    home, remount = small
    place, caller = home.storage, home.with_storage(home.home / "storage")
    token = f"token-{place}"
    assert caller.sh(":", level=level).returncode == 0
    inodes, _ = used(place)
    remount(f"nr_inodes={inodes}")
    refused(caller.sh("echo ran", option, place / "file.json", level=level))
    remount("size=64k,nr_inodes=100")
    fill(place)
    done = caller.sh("sleep 0.1; echo ran", option, place / "file.json", "-e", f"T={token}", level=level)
    assert done.returncode == 125
    line, hint = done.stderr.splitlines()
    assert line.startswith("codex32: ") and "file.json" in line and "o space left" in line and hint.startswith("hint: ")
    assert os.listdir(place) == ["filler"]
    assert processes_with(token) == []
    assert caller.entries() == set()
    (place / "filler").unlink()
    assert caller.sh(":", option, place / "file.json", level=level).returncode == 0
    assert json.loads((place / "file.json").read_text())["schema"] == 1
