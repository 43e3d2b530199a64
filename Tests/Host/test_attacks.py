"""Public flaws of other runtimes, tried on this one: the rows of attacks.md that a foreground run can meet.

Each image here is the attacker's. A test passes when the machine is as it was, whatever the program got to see.
"""

import fcntl
import os
import pathlib
import pty
import subprocess
import termios

import pytest
from conftest import PATIENCE, Caller, checksum
from test_levels import tried

SENTINEL = "of the host"


@pytest.fixture(params=["minimal", "standard", "strict"])
def level(request):
    return request.param


@pytest.fixture
def sentinel(folder, caller):
    """A folder of the machine with a file in it, and a check that both are as they were."""
    path = folder / "sentinel"
    path.mkdir()
    (path / "file").write_text(SENTINEL)
    caller.own(path)
    before = os.lstat(path / "file")
    yield path
    after = os.lstat(path / "file")
    assert sorted(os.listdir(path)) == ["file"], "something was made in the host's folder"
    assert (path / "file").read_text() == SENTINEL
    kept = ("st_ino", "st_uid", "st_gid", "st_mode")
    assert all(getattr(before, name) == getattr(after, name) for name in kept)


@pytest.fixture
def binary_unchanged(binary):
    before = checksum(binary), os.stat(binary).st_mtime_ns, os.stat(binary).st_ino
    yield
    assert (checksum(binary), os.stat(binary).st_mtime_ns, os.stat(binary).st_ino) == before


@pytest.mark.usefixtures("binary_unchanged")
@pytest.mark.parametrize("program", ["/proc/self/exe", "/proc/1/exe", "/proc/self/fd/3", "/proc/self/fd/4"])
def test_own_binary_as_program(caller, level, image, program):
    """CVE-2019-5736: codex32 asked to run itself. Whatever comes of it, the file is not touched."""
    done = caller.run(level=level, image=image, command=[program, "version"])
    assert done.returncode >= 0, "codex32 itself was killed"


@pytest.mark.usefixtures("binary_unchanged")
def test_own_binary_as_interpreter(caller, level, image):
    """The same by the first line of a script of the image's."""
    (image / "bin/trap").write_text("#!/proc/self/exe\n")
    (image / "bin/trap").chmod(0o755)
    caller.own(image)
    done = caller.run(level=level, image=image, command=["/bin/trap"])
    assert done.returncode >= 0


@pytest.mark.usefixtures("binary_unchanged")
def test_own_binary_as_pid_1(caller, level, image):
    """With --init, pid 1 is codex32's own code for the whole run: its file must not be writable through /proc."""
    if b"/ld-linux" in caller.binary.read_bytes()[:4096]:
        # A dynamic pid 1 maps the machine's own libraries, and at minimal this would write into them.
        pytest.skip("for the static binary only: make build")
    script = (
        "for file in /proc/1/exe /proc/1/map_files/*; do (echo attack >> $file) 2>/dev/null && echo written $file; done;"
        "(cat /proc/1/exe > /tmp/copy) 2>/dev/null; ls /proc/1/fd 2>/dev/null"
    )
    done = caller.sh(script, "--init", level=level, image=image)
    assert "written" not in done.stdout
    assert done.stdout.split() == [] or set(done.stdout.split()) <= {"0", "1", "2"}, "pid 1 holds descriptors"


def test_own_binary_metadata(caller, level, folder, binary, request):
    """The same file by what needs no writing descriptor, and so is not "text file busy": mode, owner, times."""
    copy = folder / "codex32"  # of this test alone: the others need theirs whole
    copy.write_bytes(binary.read_bytes())
    copy.chmod(0o755)
    os.utime(copy, (1, 1))
    mine = Caller(caller.name, caller.home, copy, caller.cgroup, caller.storage)
    mine.sh("chmod 777 /proc/1/exe; chown 1:1 /proc/1/exe; touch /proc/1/exe", "--init", level=level)
    after = copy.stat()
    assert (oct(after.st_mode & 0o7777), after.st_uid, after.st_gid, after.st_mtime) == ("0o755", 0, 0, 1)


@pytest.mark.parametrize("terminal", [[], ["-t", "-i"]], ids=["without-t", "with-t"])
def test_terminal_injection(caller, level, probe, terminal):
    """CVE-2017-5226: what the program pushes into its terminal must not be the caller's next command."""
    master, slave = pty.openpty()

    def take_terminal():
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    names = ["tiocsti", "tiocsti_wide", "tioclinux"] + ([] if terminal else ["dev_tty"])
    words = caller.words("-v", f"{probe}:/probe:ro", *terminal, level=level, command=["/probe/probe", *names])
    try:
        with_terminal = subprocess.Popen(
            words, env=caller.environment(), cwd=caller.home, stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            preexec_fn=take_terminal,
        )  # fmt: skip
        output, errors = with_terminal.communicate(timeout=PATIENCE)
        os.set_blocking(master, False)
        pushed = b""
        try:
            pushed = os.read(master, 4096)
        except (BlockingIOError, OSError):
            pass
        # What was pushed would wait in the slave's queue for the caller's shell.
        os.set_blocking(slave, False)
        try:
            waiting = os.read(slave, 4096)
        except (BlockingIOError, OSError):
            waiting = b""
    finally:
        os.close(master)
        os.close(slave)
    assert with_terminal.returncode == 0, errors
    met = dict(line.split(" ", 1) for line in (output + pushed).decode().split("\n") if " " in line)
    assert waiting == b""
    assert [name for name in names if met.get(name, "1").strip() == "0"] == []


@pytest.mark.parametrize("target", ["/proc", "/proc/self/attr", "/proc/sys", "/proc/1"])
@pytest.mark.parametrize("how", ["tmpfs", "volume"])
def test_mount_over_proc(caller, level, folder, target, how):
    """CVE-2019-16884: a fake /proc would be what labels and limits are written to."""
    option = ["--tmpfs", target] if how == "tmpfs" else ["-v", f"{folder}:{target}"]
    done = caller.run(*option, level=level, command=["true"])
    assert done.returncode == 125
    assert done.stderr.startswith("codex32: ")


@pytest.mark.parametrize("name", ["proc", "sys", "dev"])
@pytest.mark.parametrize("way", ["absolute", "relative", "inside"])
def test_image_folder_is_a_link(caller, level, image, sentinel, name, way):
    """CVE-2023-27561 and -28642: /proc, /sys or /dev of the image is a link. Refused, or without effect outside."""
    (image / name).rmdir()
    links = {"absolute": str(sentinel), "relative": os.path.relpath(sentinel, image), "inside": "/tmp"}
    (image / name).symlink_to(links[way])
    caller.own(image)
    done = caller.sh("echo x > /dev/file; echo y > /sys/file; echo ran", level=level, image=image)
    if done.returncode == 125:
        assert done.stderr.startswith("codex32: ")
        assert "ran" not in done.stdout
    else:
        assert SENTINEL not in caller.sh(f"cat /{name}/file", level=level, image=image).stdout


def test_image_devices_are_links(caller, level, image, sentinel):
    """CVE-2025-31133, CVE-2026-88264: null and console lead to a file of the host, and masks are made with null."""
    for name in ("null", "zero", "console", "ptmx", "tty", "shm", "pts", "random"):
        (image / "dev" / name).symlink_to(sentinel / "file")
    caller.own(image)
    done = caller.sh("echo overwritten > /dev/null; cat /dev/null /proc/keys /proc/timer_list", level=level, image=image)
    assert SENTINEL not in done.stdout
    if done.returncode != 125 and level != "minimal":
        assert done.stdout == "", "the mask is the image's own null"


@pytest.mark.parametrize("descriptor", [0, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16, 20, 64])
def test_working_folder_is_a_descriptor(caller, descriptor):
    """CVE-2024-21626: a folder descriptor of the runtime's as the way out."""
    for level in ("minimal", "standard", "strict"):
        done = caller.sh("pwd -P; ls", "-w", f"/proc/self/fd/{descriptor}", level=level)
        assert done.returncode == 125, (level, done.stdout)
        assert done.stdout == ""


def test_working_folder_link_in_image(caller, level, image):
    """The same by a link of the image's."""
    (image / "way").symlink_to("/proc/self/fd/5")
    caller.own(image)
    assert caller.sh("pwd -P; ls", "-w", "/way", level=level, image=image).returncode == 125


def test_leaked_descriptors(caller, level, folder, sentinel):
    """A descriptor that the caller forgot, and each of codex32's own: none arrives."""
    leaked = os.open(sentinel, os.O_RDONLY | os.O_DIRECTORY)
    try:
        done = caller.sh("ls /proc/self/fd; readlink /proc/self/fd/*", level=level, popen={"pass_fds": [leaked]})
    finally:
        os.close(leaked)
    # ls opens the folder itself, as the lowest free descriptor.
    assert set(done.stdout.split("\n")) & {str(number) for number in range(64)} <= {"0", "1", "2", "3"}
    assert str(sentinel) not in done.stdout


@pytest.mark.parametrize("user", ["4294967296", "0:4294967296", "18446744073709551616", "-1", "4294967295", "0x10", " 1", "1:"])
def test_user_overflow(caller, level, user):
    """CVE-2024-40635: a number that wraps around to root."""
    done = caller.sh("id", "-u", user, level=level)
    assert (done.returncode, done.stdout) == (125, "")


def test_inheritable_capabilities(callers, level):
    """CVE-2022-29162: also when codex32's caller has some."""
    caller = callers["root"]
    words = ["setpriv", "--inh-caps=+net_admin", "--"] + caller.words(level=level, command=["cat", "/proc/self/status"])
    done = caller.execute(words)
    assert done.returncode == 0, done.stderr
    assert "CapInh:\t0000000000000000\n" in done.stdout
    assert "CapAmb:\t0000000000000000\n" in done.stdout


@pytest.mark.parametrize("target", ["data", "data/new", "up/new", "old/new", "etc/link"])
def test_volume_target_by_a_link(caller, level, image, folder, sentinel, target):
    """CVE-2021-30465, CVE-2026-87766: the target leads out of the image. Nothing is made or shown there."""
    (image / "data").symlink_to(sentinel)
    (image / "up").symlink_to(os.path.relpath(sentinel, image))
    (image / "old").symlink_to(f"/proc/1/root{sentinel}")
    (image / "etc/link").symlink_to(sentinel / "file")
    shared = folder / "shared"
    shared.mkdir()
    (shared / "mine").write_text("mine")
    caller.own(image, shared)
    done = caller.sh(f"ls /{target}; cat /{target}/file", "-v", f"{shared}:/{target}", level=level, image=image)
    assert SENTINEL not in done.stdout
    assert not os.path.lexists(sentinel / "new")


def test_ordinary_absolute_link(caller, level, image, folder):
    """/var/run -> /run is in every distribution's image, and must go on working, also below a volume."""
    (image / "var/run").symlink_to("/run")
    shared = folder / "shared"
    shared.mkdir()
    (shared / "file").write_text("shared")
    caller.own(image, shared)
    (image / "run/mine").write_text("in the image")
    done = caller.sh("cat /var/run/mine", level=level, image=image)
    assert (done.returncode, done.stdout) == (0, "in the image"), done.stderr
    (image / "run/sub").mkdir()
    caller.own(image)
    done = caller.sh("cat /run/sub/file", "-v", f"{shared}:/var/run/sub:ro", level=level, image=image)
    assert (done.returncode, done.stdout) == (0, "shared"), done.stderr


@pytest.mark.parametrize("level", ["standard", "strict"])
def test_abstract_sockets(caller, level):
    """CVE-2020-15257: none is reachable, and codex32 listens on none."""
    with caller.running(level=level, command=["sleep", "1000"]) as process:
        caller.record(process)
        listening = pathlib.Path("/proc/net/unix").read_text().splitlines()
        # A selftest elsewhere listens, as what is to be reached.
        assert [line for line in listening if " @" in line and "codex32" in line and "@codex32-selftest-" not in line] == []
    done = caller.sh("cat /proc/net/unix", level=level)
    assert [line for line in done.stdout.splitlines() if " @" in line] == []


def test_cgroup_tree(caller, level):
    """CVE-2022-0492 and CVE-2023-25809: nothing of it can be written, and no v1 tree be mounted."""
    done = caller.sh(
        "for f in $(find /sys/fs/cgroup -type f 2>/dev/null | head -n 200); do (echo 0 > $f) 2>/dev/null && echo $f; done;"
        "for d in /sys/fs/cgroup /sys/fs/cgroup/*; do mkdir $d/new 2>/dev/null && echo $d; done; :",
        "--user", "0", level=level,
    )  # fmt: skip
    assert done.stdout == "", done.stderr


@pytest.mark.parametrize("level", ["standard", "strict"])
def test_nested_namespaces(caller, level, probe):
    """The other half of CVE-2022-0492: no user namespace in which mounting is allowed."""
    assert set(tried(caller, level, probe, "unshare_mount").values()) <= {"1", "38"}
    done = caller.sh("unshare -U -r -m sh -c 'mount -t cgroup -o memory none /tmp && echo MOUNTED'", level=level)
    assert "MOUNTED" not in done.stdout


def test_setuid_program(caller, image, level):
    """CVE-2026-41163: a setuid program of the image's gives nothing: no_new_privs at every level."""
    (image / "bin/suid").write_bytes((image / "bin/busybox").read_bytes())
    caller.own(image)
    (image / "bin/suid").chmod(0o4755)
    user = ["-u", "1000:1000"] if caller.name == "root" else []
    done = caller.run(*user, level=level, image=image, command=["/bin/sh", "-c", "id -u; exec -a id /bin/suid id -u"])
    first, *rest = done.stdout.split()
    assert rest in ([], [first])
