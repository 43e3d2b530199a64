"""What is typed or piped into a terminal of `run -it` arrives whole, however late and slowly the program reads."""

import contextlib
import hashlib
import os
import pty
import select
import signal
import subprocess
import time

import pytest
from conftest import PATIENCE

LINES = "".join(f"{number}\n" for number in range(1, 5001))
PASTED = bytes(97 + number % 26 for number in range(200_000))


def test_piped(caller):
    """Twenty times what a terminal holds, and then its end."""
    done = caller.sh("stty -echo; sleep 0.3; cat | tail -n 1 | sed s/^/last:/", "-i", "-t", input=LINES)
    assert done.returncode == 0 and "last:5000" in done.stdout, done.stderr


def test_a_program_that_reads_nothing(caller):
    """What it leaves unread keeps nobody waiting."""
    done = caller.sh("exit 6", "-i", "-t", input=LINES)
    assert done.returncode == 6, done.stderr


@pytest.mark.parametrize("size", [len(PASTED)])
def test_pasted(caller, size):
    words = caller.words("-i", "-t", command=["sh", "-c", f"stty raw -echo; echo READY; sleep 0.3; head -c {size} | sha256sum"])
    pid, master = pty.fork()
    if pid == 0:
        os.chdir(caller.home)
        os.execvpe(words[0], words, caller.environment())
    seen, left, deadline = b"", PASTED[:size], time.monotonic() + PATIENCE
    try:
        while b"-\n" not in seen.replace(b"\r", b"") and time.monotonic() < deadline:
            wants = [master] if b"READY" in seen and left else []
            readable, writable, _ = select.select([master], wants, [], 1)
            if readable:
                seen += os.read(master, 65536)
            if writable:
                left = left[os.write(master, left[:4000]) :]
        assert hashlib.sha256(PASTED[:size]).hexdigest().encode() in seen
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(master)


def test_slow_reader_of_the_output(caller):
    """A caller that does not take the output for a while, with input on its way: neither is lost."""
    words = caller.words("-i", "-t", command=["sh", "-c", "stty raw -echo; echo READY; exec 3<&0; (head -c 20000 <&3 | sha256sum) & seq 1 60000; wait"])
    process = subprocess.Popen(
        words, env=caller.environment(), cwd=caller.home, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
    )
    assert process.stdout.readline() == b"READY\n"
    process.stdin.write(PASTED[:20000])
    process.stdin.flush()
    time.sleep(0.5)
    out, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert out.count(b"\n") == 60001  # with the digest
    assert hashlib.sha256(PASTED[:20000]).hexdigest().encode() in out
