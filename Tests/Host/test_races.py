"""Attacks that win by being quick: a name is exchanged for a link between its check and its use.

Each test runs codex32 again and again while another process exchanges the two names hundreds of thousands of
times a second. Nothing depends on who wins: whatever codex32 met, it must not have touched or shown the
machine's own folder. The first test shows that the race is real and that an ordinary program loses it.
"""

import contextlib
import os
import pathlib
import pty
import subprocess

import pytest
from conftest import PATIENCE, tree

SENTINEL = "of the host"
LINKS = {"absolute": "{host}", "upwards": "../../../../../../../../../..{host}", "old-root": "/proc/1/root{host}"}
OWN_ROOT = ["standard", "strict"]


@pytest.fixture(scope="module")
def racer(place, compile_c):
    return compile_c("racer.c")


@pytest.fixture
def host(folder, caller):
    """A folder of the machine outside image and volumes, and a check that nothing in it changes."""
    path = folder / "host"
    (path / "deep").mkdir(parents=True)
    for name in ("file", "deep/file", "console", "null"):
        (path / name).write_text(SENTINEL)
    caller.own(path)
    kept = ("st_ino", "st_uid", "st_gid", "st_mode", "st_size", "st_mtime_ns")

    def look():
        return {name: [getattr(os.lstat(name), field) for field in kept] for name in {str(path), *tree(path)}}

    before, mounts = look(), pathlib.Path("/proc/self/mountinfo").read_text()
    yield path
    assert look() == before, "the host's folder was touched"
    assert pathlib.Path("/proc/self/mountinfo").read_text() == mounts, "a mount reached the host"


@contextlib.contextmanager
def racing(racer, one, other):
    """Exchanges two names while the block runs, and shows that it did."""
    process = subprocess.Popen([racer, "exchange", one, other], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "racing\n"
        yield
        assert process.poll() is None, process.stderr.read()
        process.terminate()
        output, errors = process.communicate(timeout=PATIENCE)
        assert int(output) >= 50, errors
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def outcomes(caller, times, script, *options, **what):
    """Runs the script so many times. It ran or was refused in words; what the programs saw, by outcome."""
    seen = {"ran": set(), "refused": set()}
    for _ in range(times):
        done = caller.sh(script, *options, **what)
        assert SENTINEL not in done.stdout + done.stderr, "the host was seen"
        if done.returncode == 125:
            assert done.stdout == "" and done.stderr.startswith("codex32: ") and "\n" in done.stderr
            seen["refused"].add(done.stderr.splitlines()[0])
        else:
            assert done.returncode == 0, done.stderr
            seen["ran"].add(done.stdout)
    return seen


def test_the_race_is_real(callers, racer, tmp_path):
    """The control: a program that checks and then uses the path sees the host's file."""
    (tmp_path / "host").mkdir()
    (tmp_path / "host/file").write_text(SENTINEL)
    (tmp_path / "plain").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "host")
    with racing(racer, tmp_path / "plain", tmp_path / "link"):
        naive = subprocess.run(
            [racer, "naive", tmp_path / "plain", "file"], stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=True
        )
    assert naive.stdout == f"{SENTINEL}\n"


@pytest.mark.parametrize("kind, target", [("absolute", "at/file"), ("upwards", "at/deep"), ("old-root", "at/new/a/b")])
@pytest.mark.parametrize("level", OWN_ROOT)
def test_target_below_a_shared_volume(caller, level, folder, host, racer, kind, target):
    """CVE-2021-30465 and CVE-2024-45310: the target's folder, in a volume that another container can write, is
    exchanged for a link to the host. What is mounted or made lands in the volume or in the image."""
    shared, payload = folder / "shared", folder / "payload"
    (shared / "at/deep").mkdir(parents=True)
    (shared / "at/file").write_text("of the volume")
    (shared / "link").symlink_to(LINKS[kind].format(host=host))
    payload.mkdir()
    (payload / "mine").write_text("mine")
    source = payload / "mine" if target.endswith("file") else payload
    caller.own(shared, payload)
    with racing(racer, shared / "at", shared / "link"):
        seen = outcomes(
            caller, 20, "cat /shared/at/file /shared/link/file /shared/at/deep/* /shared/link/deep/* 2>/dev/null; :",
            "-v", f"{shared}:/shared:rw", "-v", f"{source}:/shared/{target}:ro", level=level,
        )  # fmt: skip
    # The mount is where it was asked for whenever the program ran: it looked through both names.
    assert seen["ran"] or seen["refused"]
    assert sorted(os.listdir(payload)) == ["mine"] and (payload / "mine").read_text() == "mine"


@pytest.mark.parametrize("kind", ["upwards", "old-root"])
@pytest.mark.parametrize("level", ["minimal", *OWN_ROOT])
def test_target_in_the_image(caller, level, image, folder, host, racer, kind):
    """CVE-2026-87766: the same in the image itself, with a way by the old root."""
    (image / "at/deep").mkdir(parents=True)
    (image / "link").symlink_to(LINKS[kind].format(host=host))
    payload = folder / "payload"
    payload.mkdir()
    caller.own(image, payload)
    with racing(racer, image / "at", image / "link"):
        outcomes(
            caller, 15, "cat /at/file /link/file /at/deep/file 2>/dev/null; :",
            "-v", f"{payload}:/at/deep/new:rw", "--tmpfs", "/at/temporary", level=level, image=image,
        )  # fmt: skip


@pytest.mark.parametrize("level", ["minimal", *OWN_ROOT])
@pytest.mark.parametrize("name", ["dev", "proc", "sys", "tmp"])
def test_system_folder_is_exchanged(caller, level, image, host, racer, name):
    """CVE-2026-41579 and -47766, CVE-2023-27561: /dev and the like become a link while they are filled."""
    (image / "link").symlink_to(host)
    caller.own(image)
    with racing(racer, image / name, image / "link"):
        outcomes(
            caller, 10, "echo x > /dev/null; echo y > /tmp/file; cat /dev/file /proc/file /sys/file; :",
            level=level, image=image,
        )  # fmt: skip


@pytest.mark.parametrize("level", OWN_ROOT)
def test_sysctl_with_a_racing_proc(caller, level, image, host, racer):
    """CVE-2025-52881: where /proc of the image is exchanged, a sysctl still reaches the kernel, or nothing starts."""
    fake = image / "fake"
    (fake / "sys/kernel").mkdir(parents=True)
    (fake / "sys/kernel/msgmax").write_text("0\n")
    caller.own(image)
    script = "until grep -v '^0$' /proc/sys/kernel/msgmax 2>/dev/null; do :; done"
    with racing(racer, image / "proc", fake):
        seen = outcomes(caller, 20, script, "--sysctl", "kernel.msgmax=12345", level=level, image=image)
    assert seen["ran"] <= {"12345\n"}
    assert (fake / "sys/kernel/msgmax").read_text() == "0\n"


@pytest.mark.parametrize("level", OWN_ROOT)
def test_masks_with_a_racing_proc(caller, level, image, host, racer):
    """CVE-2025-31133 once more: with /proc away for the moment in which it is masked, it must come back masked."""
    (image / "fake").mkdir()
    caller.own(image)
    masked = "/proc/keys /proc/timer_list /proc/interrupts /proc/sched_debug /proc/kcore"
    script = (
        f"n=0; while [ $n -lt 40 ]; do n=$((n + 1)); head -q -c 32 {masked}; (echo x > /proc/sys/kernel/msgmax) && echo written; done"
        " 2>/dev/null; :"
    )
    with racing(racer, image / "proc", image / "fake"):
        seen = outcomes(caller, 20, script, "--user", "0", level=level, image=image)
    assert seen["ran"] <= {""}


@pytest.mark.parametrize("level", OWN_ROOT)
@pytest.mark.parametrize("name", ["null", "console"])
def test_devices_with_a_racing_dev(caller, level, image, folder, host, racer, name):
    """CVE-2025-31133 and -52565: null, of which masks are made, and console, to which the terminal is bound, are
    exchanged in the image's /dev and in a volume that stands in its place."""
    shared = folder / "shared"
    for place in (image / "dev", shared):
        place.mkdir(exist_ok=True)
        (place / name).write_text("")
        (place / "link").symlink_to(host / name)
    caller.own(image, shared)
    script = "cat /proc/keys /proc/timer_list /proc/interrupts /dev/null; echo overwritten > /dev/null; :"
    for place, options in [(image / "dev", []), (shared, ["-v", f"{shared}:/dev:rw"])]:
        with racing(racer, place / name, place / "link"):
            for _ in range(10):
                status, output = with_terminal(caller.words(*options, "-t", level=level, image=image, command=["sh", "-c", script]), caller)
                assert status in (0, 125), output
                assert SENTINEL not in output
                # cat says of masked files nothing, and of missing devices that they are missing.
                lines = [line for line in output.splitlines() if not line.startswith(("codex32: ", "hint: ", "sh: ", "cat: "))]
                assert lines == []


def with_terminal(words, caller):
    """A run with a terminal of its own, as a person's: its status and what it wrote."""
    master, slave = pty.openpty()
    try:
        process = subprocess.Popen(words, env=caller.environment(), cwd=caller.home, stdin=slave, stdout=slave, stderr=slave)
    finally:
        os.close(slave)
    output = b""
    with contextlib.suppress(OSError):  # EIO: the last one closed the terminal
        while part := os.read(master, 65536):
            output += part
    os.close(master)
    return process.wait(PATIENCE), output.decode().replace("\r\n", "\n")
