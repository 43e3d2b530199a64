"""Compiled lists of system calls, kept beside the states: used again for the same list, and by nobody who could have written them."""

import json
import os
import struct

import pytest
from bundles import bundle  # noqa: F401

REFUSED = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]}
# struct sock_filter (seccomp(2)): SECCOMP_RET_ALLOW for every call.
ALLOW_ALL = struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000)


def summed(program):
    """What stands behind a program: FNV-1a over words, folded, from its length on."""
    total = len(program)
    for (word,) in struct.iter_unpack("=Q", program):
        total = ((total ^ word) * 0x100000001B3) & (1 << 64) - 1
        total ^= total >> 32
    return struct.pack("=Q", total)


class Filtered:
    def __init__(self, made):
        self.bundle, self.number = made, 0
        self.folder = made.states / "@filters"
        made.config["linux"]["seccomp"] = REFUSED
        made.process["noNewPrivileges"] = True

    def files(self):
        return sorted(self.folder.iterdir())

    def is_refused(self):
        """Whether a new container's program may not make the call: with a filter in force in any case."""
        self.number += 1
        name = f"c{self.number}"
        self.bundle.sh("grep Seccomp: /proc/self/status; kill -0 $$ 2> /dev/null && echo allowed || echo refused")
        self.bundle.start(name)
        self.bundle.stopped(name)
        lines = self.bundle.output().split()
        assert lines[:2] == ["Seccomp:", "2"] and lines[2] in ("allowed", "refused"), lines
        assert self.bundle("delete", name).returncode == 0
        return lines[2] == "refused"


@pytest.fixture
def filtered(bundle):  # noqa: F811
    return Filtered(bundle)


def test_compiled_once(filtered):
    assert filtered.is_refused()
    (file,) = filtered.files()
    assert file.stat().st_mode & 0o777 == 0o600 and file.stat().st_uid == filtered.bundle.caller.account.pw_uid
    kept = file.stat().st_ino
    assert filtered.is_refused() and filtered.files() == [file] and file.stat().st_ino == kept
    # Another list is another file.
    filtered.bundle.config["linux"]["seccomp"] = REFUSED | {"syscalls": []}
    filtered.bundle.config["linux"]["seccomp"]["defaultAction"] = "SCMP_ACT_LOG"
    assert not filtered.is_refused()
    assert len(filtered.files()) == 2 and file.stat().st_ino == kept
    # It is no container.
    assert json.loads(filtered.bundle("list", "--format", "json").stdout or "[]") in ([], None)
    for verb in ("state", "delete"):
        assert "cannot use the id @filters" in filtered.bundle(verb, "@filters").stderr


def test_exec_has_it_too(filtered):
    filtered.bundle.sleeping("one")
    (file,) = filtered.files()
    kept = file.stat().st_ino
    done = filtered.bundle.exec("one", "kill", "-0", "1")
    assert done.returncode == 1 and "not permitted" in done.stderr, done.stderr
    assert filtered.files() == [file] and file.stat().st_ino == kept
    assert filtered.bundle("delete", "--force", "one").returncode == 0


def test_what_others_could_have_written_is_not_used(filtered):
    """A program that allows everything stands in the place of the right one: believed only as the caller's own."""
    assert filtered.is_refused()
    (file,) = filtered.files()
    right = file.read_bytes()
    # What it depends on stands in front: lines, of which the last has the list's length in bytes, and the list.
    begin = right.index(b"\n", right.index(b"\nprofile ") + 1) + 1
    key = right[: begin + int(right[:begin].split()[-1], 16)]
    assert json.loads(key[begin:]) == REFUSED
    wrong = key + ALLOW_ALL + summed(ALLOW_ALL)
    file.write_bytes(wrong)
    # The control: what is there is what is used.
    assert not filtered.is_refused()
    file.chmod(0o622)
    assert filtered.is_refused()
    (file,) = filtered.files()
    assert file.read_bytes() == right and file.stat().st_mode & 0o777 == 0o600
    elsewhere = filtered.bundle.folder / "elsewhere"
    elsewhere.write_bytes(wrong)
    os.chown(elsewhere, *filtered.bundle.caller.account[2:4])
    file.unlink()
    file.symlink_to(elsewhere)
    assert filtered.is_refused()
    (file,) = filtered.files()
    assert file.read_bytes() == right and not file.is_symlink()
    if filtered.bundle.caller.name == "root":
        file.write_bytes(wrong)
        os.chown(file, 12345, 12345)
        assert filtered.is_refused()


@pytest.mark.parametrize("damage", ["empty", "cut", "cut by an instruction", "another answer", "other key", "garbage"])
def test_a_damaged_one_is_compiled_again(filtered, damage):
    assert filtered.is_refused()
    (file,) = filtered.files()
    right = file.read_bytes()
    damaged = {
        "empty": b"", "cut": right[:-3], "cut by an instruction": right[:-8], "another answer": right[:-9] + b"\xee" + right[-8:],
        "other key": b"x" + right[1:], "garbage": os.urandom(len(right)),
    }[damage]  # fmt: skip
    file.write_bytes(damaged)
    assert filtered.is_refused()
    assert [each.read_bytes() for each in filtered.files()] == [right]


@pytest.mark.parametrize("what", ["file", "link", "of another", "for all"])
def test_where_nothing_can_be_kept(filtered, what):
    """It only costs time."""
    elsewhere = filtered.bundle.folder / "elsewhere"
    filtered.bundle.states.mkdir(mode=0o700)
    elsewhere.mkdir(mode=0o700)
    if what == "file":
        filtered.folder.touch()
    elif what == "link":
        filtered.folder.symlink_to(elsewhere)
    else:
        filtered.folder.mkdir()
        filtered.folder.chmod(0o777)
    for path in (filtered.bundle.states, elsewhere, *([filtered.folder] if what == "for all" else [])):
        os.chown(path, *filtered.bundle.caller.account[2:4])
    if what == "of another":
        os.chown(filtered.folder, 12345, 12345)
    assert filtered.is_refused() and filtered.is_refused()
    assert list(elsewhere.iterdir()) == [] and (not filtered.folder.is_dir() or filtered.files() == [])
