"""Every exit status and every signal, exactly; and what is passed through is passed through whole."""

import concurrent.futures
import os
import pathlib
import subprocess

import pytest
from conftest import PATIENCE, wait_until

# Whose default is to do nothing, or to stop: a program lives on after these.
HARMLESS = {17, 18, 23, 28}
STOPPING = {19, 20, 21, 22}


def at_once(calls):
    """Two at a time, as there may be no more processors."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda call: call(), calls))


def test_every_exit_status(caller, level):
    ends = at_once([lambda n=n: caller.sh(f"exit {n}", level=level).returncode for n in range(256)])
    assert ends == list(range(256))


def test_every_signal_of_its_own(caller, level, compile_c):
    """The program is killed by what it raises; with --init, as pid 1 ignores what it has no handler for."""
    program = compile_c("raise.c")
    numbers = [number for number in range(1, 65) if number not in STOPPING]
    options = ["--init", "-v", f"{program}:/raise:ro"]
    ends = at_once([lambda n=n: caller.run(*options, level=level, command=["/raise", n]).returncode for n in numbers])
    assert dict(zip(numbers, ends)) == {number: 0 if number in HARMLESS else 128 + number for number in numbers}


def test_every_signal_from_outside(caller, level):
    """What codex32 is sent goes on to the program, which says which one it got. Those that are about codex32 itself
    (SIGKILL, SIGSTOP, faults, SIGCHLD, job control, the C library's two) are not the program's."""
    own = {9, 19, 17, 28, 11, 7, 4, 8, 5, 13, 20, 21, 22, 31, 32, 33}
    numbers = [number for number in range(1, 65) if number not in own]
    script = f"for n in {' '.join(map(str, numbers))}; do trap \"echo $n\" $n; done; echo ready; while :; do sleep 0.01; done"
    with caller.running(level=level, command=["sh", "-c", script]) as process:
        assert process.stdout.readline() == b"ready\n"
        for number in numbers:
            process.send_signal(number)
            assert process.stdout.readline() == b"%d\n" % number


def test_a_gigabyte_is_not_copied_through_codex32(caller, level):
    """The program's streams are the caller's own pipes, and codex32 reads and writes nothing of what goes through."""
    size = 1 << 30
    with subprocess.Popen(["dd", "if=/dev/zero", "bs=1M", f"count={size >> 20}", "status=none"], stdout=subprocess.PIPE) as source:
        script = "cat; exec sleep 1000"
        with caller.running(level=level, command=["sh", "-c", script], popen={"stdin": source.stdout}) as process:
            pid = caller.record(process)["pid"]
            ends = [os.stat(f"/proc/{pid}/fd/{n}").st_ino for n in (0, 1)]
            assert ends == [os.fstat(stream.fileno()).st_ino for stream in (source.stdout, process.stdout)]
            source.stdout.close()
            got = 0
            while got < size:
                got += len(os.read(process.stdout.fileno(), 1 << 20))
            io = dict(line.split(": ") for line in pathlib.Path(f"/proc/{process.pid}/io").read_text().splitlines())
            assert int(io["rchar"]) + int(io["wchar"]) < 64 << 20  # what it read and wrote to start the program
        source.wait(PATIENCE)
    assert got == size


def test_bytes_pass_unchanged(caller, level):
    """Every byte value, in both directions and with an output limit too, where they do go through codex32."""
    data = bytes(range(256)) * 1000
    for options in ([], ["--output-limit", "1m"]):
        done = caller.run(*options, level=level, command=["sh", "-c", "tee /tmp/copy; cat /tmp/copy >&2"], input=data, text=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, data, data)


def test_identity_is_as_asked(callers, level):
    """All at once, and from outside: ids, host name and folder of the running program as the kernel has them."""
    caller = callers["root"]
    options = ["-u", "1234:4321", "--hostname", "exactly.this", "-w", "/tmp", "-e", "A=b"]
    with caller.running(*options, level=level, command=["sh", "-c", "hostname; pwd; echo $A; exec sleep 1000"]) as process:
        assert [process.stdout.readline() for _ in range(3)] == [b"exactly.this\n", b"/tmp\n", b"b\n"]
        pid = caller.record(process)["pid"]
        wait_until(lambda: b"sleep" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes(), "the program")
        status = dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
        for ids, file, inside in (("Uid", "uid_map", 1234), ("Gid", "gid_map", 4321)):
            start, outside, count = map(int, pathlib.Path(f"/proc/{pid}/{file}").read_text().split()[:3])
            assert start <= inside < start + count
            assert status[ids].split() == [str(outside + inside - start)] * 4
        assert status["Groups"].split() == []


def test_each_variable_is_there_once(callers):
    """Also where a value begins with a sign that combines with the "=" before it (Unicode, "grapheme clusters")."""
    options = ["-e", "A=\u0301first", "-e", "A=last", "-e", "AB=other", "-e", "HOME=\u0301x"]
    result = callers["root"].run(*options, level="standard", command=["env"])
    lines = result.stdout.splitlines()
    assert sorted(line for line in lines if line.startswith(("A=", "HOME="))) == ["A=last", "HOME=\u0301x"], lines
    assert "AB=other" in lines
