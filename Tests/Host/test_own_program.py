"""codex32's own file where Landlock does not guard it (CVE-2019-5736): nothing writable is in reach."""

import os
import pathlib
import shutil
import subprocess

import pytest
from conftest import PATIENCE, Caller, checksum

ATTACK = """
for file in /proc/self/exe /proc/1/exe /proc/1/map_files/* /proc/self/fd/*; do (echo attack >> $file) 2>/dev/null && echo got:$file; done
chmod 4777 /proc/1/exe 2>/dev/null && echo got:mode
:"""


@pytest.fixture(scope="session")
def without_landlock(place):
    program = place / "withoutlandlock"
    source = pathlib.Path(__file__).with_name("withoutlandlock.c")
    built = subprocess.run(
        ["gcc", "-O1", "-Wall", "-Werror", "-o", program, source], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert built.returncode == 0, built.stderr
    return program


@pytest.fixture
def owned(caller, folder, without_landlock):
    """A caller whose codex32 is its own, or anybody's to write, on a kernel without Landlock."""
    if b"/ld-linux" in caller.binary.read_bytes()[:4096]:
        # Its pid 1 maps the machine's own libraries, and what these tests write through /proc would be in them.
        pytest.skip("for the static binary only: make build")
    binary = folder / "codex32"
    shutil.copyfile(caller.binary, binary)
    caller.own(binary)
    binary.chmod(0o777 if caller.name == "root" else 0o755)

    class Unguarded(Caller):
        def become(self):
            return [str(without_landlock), *(caller.become() or ["/usr/bin/env"])]

        def words(self, *options, level="strict", **what):
            waive = ["--waive", "landlock"] if level == "strict" else []
            return super().words(*waive, *options, level=level, **what)

    yield Unguarded(caller.name, caller.home, binary, caller.cgroup)


@pytest.fixture
def unchanged(owned):
    def state():
        status = os.stat(owned.binary)
        return checksum(owned.binary), status.st_ino, status.st_mode, status.st_uid, status.st_mtime_ns

    before = state()
    yield
    assert state() == before


def test_landlock_seems_absent(owned):
    """What the tests below stand on."""
    done = owned.execute([*owned.become(), str(owned.binary), "doctor"])
    line = next(line for line in done.stdout.splitlines() if line.lower().startswith("landlock"))
    assert "none" in line, done.stdout


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("init", [[], ["--init"]], ids=["direct", "init"])
@pytest.mark.parametrize("program", ["/proc/self/exe", "/proc/1/exe", "/bin/trap"])
def test_program_is_codex32_itself(owned, level, image, init, program):
    (image / "bin/trap").write_text("#!/proc/self/exe\n")
    (image / "bin/trap").chmod(0o755)
    owned.own(image)
    done = owned.run(*init, level=level, image=image, command=[program, "version"])
    # What runs inside is codex32 (it does not know a command /bin/trap), or nothing where pid 1 hides itself.
    told = done.stdout + done.stderr
    assert (done.returncode, told[:8]) in [(0, "codex32 "), (125, "codex32:"), (126, "codex32:"), (127, "codex32:")], told
    assert "cannot protect" not in told


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("init", [[], ["--init"]], ids=["direct", "init"])
def test_writes_through_proc(owned, level, image, init):
    (image / "bin/chmod").symlink_to("busybox")
    owned.own(image)
    done = owned.sh(ATTACK, *init, level=level, image=image)
    assert done.returncode == 0, done.stderr
    got = {line for line in done.stdout.split() if line.startswith("got:")}
    # Without --init pid 1 is busybox, and the container's layer has a copy of it that is the container's.
    if init:
        assert not {each for each in got if each == "got:mode" or "/proc/1/" in each}


def test_runs_as_ever(owned, level):
    """The copy is told to nobody: arguments, status and streams are as without it."""
    done = owned.run(level=level, command=["sh", "-c", 'echo "$1"; cat; exit 7', "sh", "a b"], input="in")
    assert (done.returncode, done.stdout) == (7, "a b\nin"), done.stderr


def test_no_copy_where_none_is_needed(caller, without_landlock, level):
    """A codex32 that is root's, and that no other may write, is out of a container's reach as it is."""
    if caller.name == "root" and level == "minimal":
        pytest.skip("root without a user namespace always hides the file")
    waive = ["--waive", "landlock"] if level == "strict" else []
    words = [str(without_landlock), *(caller.become() or ["/usr/bin/env"]), *caller.words(*waive, level=level, command=["sleep", "1000"])[len(caller.become()) :]]
    process = subprocess.Popen(words, env=caller.environment(), cwd=caller.home, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        caller.record(process)
        assert os.readlink(f"/proc/{process.pid}/exe") == str(caller.binary)
    finally:
        process.kill()
        process.stdout.close()
        process.stderr.close()
        process.wait(PATIENCE)
