"""A program that takes all it can get: the machine stays usable, codex32 ends with the right verdict, nothing stays.

Each program here goes on until something stops it, or until it has taken far more than a sandbox should give; what
it got is printed. What stops it differs (its own limits, its tmpfs, the level): that something does is the test.
"""

import contextlib
import json
import os
import platform
import pty
import select
import signal
import subprocess
import time
import uuid

import pytest
from conftest import PATIENCE, alive, processes_with, wait_until

OWN_ROOT = ["standard", "strict"]


@pytest.fixture(params=OWN_ROOT)
def level(request):
    return request.param


@pytest.fixture(autouse=True)
def the_machine_is_usable(caller):
    """Afterwards: others still get processes, files and inotify instances, and the storage holds nothing of the test."""
    before = caller.entries()
    yield
    checks = "import os, tempfile, ctypes; os.waitpid(os.fork() or os._exit(0), 0); tempfile.TemporaryFile(); print(ctypes.CDLL(None).inotify_init() >= 0)"
    done = caller.execute([*caller.become(), "/usr/bin/python3", "-c", checks])
    assert done.stdout == "True\n", done.stderr
    assert caller.entries() <= before


def greedy(caller, folder, level, text, *options):
    """Runs a Python program and returns what it printed, as numbers."""
    script = folder / "greedy.py"
    script.write_text("#!/usr/bin/python3 -IS\nimport os, sys\n" + text)
    script.chmod(0o755)
    caller.own(script)
    done = caller.run(*options, level=level, image=script)
    assert done.returncode == 7, (done.returncode, done.stdout, done.stderr)
    return [int(word) for word in done.stdout.split()]


def test_descriptors(caller, level, folder):
    """Up to its own limit and no further, which is not the machine's."""
    text = """
import resource
count = 0
try:
    while count < 2000000: os.open("/dev/null", os.O_RDONLY); count += 1
except OSError as error:
    print(count, error.errno, flush=True)
os._exit(7)
"""
    assert greedy(caller, folder, level, text, "--ulimit", "nofile=500") == [497, 24]


@pytest.mark.parametrize("target", ["/tmp", "/dev/shm", "/extra"])
def test_inodes(caller, level, folder, target):
    """A tmpfs counts bytes; inodes are kernel memory beside them, and bounded too."""
    text = f"""
count = 0
try:
    while count < 300000: os.close(os.open(f"{target}/{{count}}", os.O_CREAT | os.O_WRONLY)); count += 1
except OSError as error:
    print(count, error.errno, flush=True)
os._exit(7)
"""
    (count, number) = greedy(caller, folder, level, text, "--tmpfs", "/extra:size=2m")
    assert number == 28 and 1000 < count <= (2048 if target == "/extra" else 65536)


@pytest.mark.parametrize("target, size", [("/tmp", 64), ("/dev/shm", 8), ("/extra", 2)])
def test_disk(caller, level, folder, target, size):
    text = f"""
count = 0
try:
    with open("{target}/big", "wb", buffering=0) as file:
        while count < 1000: count += file.write(bytes(1 << 20)) / (1 << 20)
except OSError as error:
    print(round(count), error.errno, flush=True)
os._exit(7)
"""
    assert greedy(caller, folder, level, text, "--tmpfs", "/extra:size=2m", "--shm-size", "8m") == [size, 28]


def test_threads(caller, level, folder):
    """Threads count as processes: by RLIMIT_NPROC where there is no cgroup."""
    text = """
import _thread, time
count = 0
try:
    while count < 5000: _thread.start_new_thread(time.sleep, (1000,)); count += 1
except RuntimeError:
    print(count)
sys.stdout.flush()
os._exit(7)
"""
    (count,) = greedy(caller, folder, level, text, "--pids-limit", "50")
    assert 40 <= count < 50


def test_fork_bomb(caller, level, folder):
    """Held by the limit, ended by the time, gone at the end with all that it made."""
    token, verdict, script = f"token-{uuid.uuid4()}", folder / "verdict.json", folder / "bomb.py"
    text = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    try: os.fork()
    except OSError: time.sleep(0.01)
"""
    script.write_text("#!/usr/bin/python3 -IS\nimport os\n" + text)
    script.chmod(0o755)
    caller.own(script)
    for timeout in ("1500ms", "6s", "30s"):  # how many it makes in that time is the machine's to say
        options = ["--pids-limit", "40", "--timeout", timeout, "--stop-timeout", "200ms", "--result-file", verdict, "-e", f"T={token}"]
        with caller.running(*options, level=level, image=script) as process:
            most = 0
            while process.poll() is None:
                most = max(most, len(processes_with(token)))
            assert process.returncode == 124
        assert json.loads(verdict.read_text())["reason"] == "wall-time"
        if most > 20:
            break
    # codex32 itself has the word in its arguments too.
    assert 20 < most <= 41
    wait_until(lambda: not processes_with(token), "the end of the bomb")


@pytest.mark.parametrize("way", ["pipe", "terminal"])
def test_output_flood(caller, level, folder, way):
    """Ended at the limit, to the byte, with the verdict that says so."""
    verdict = folder / "verdict.json"
    options = ["--output-limit", "1m", "--result-file", verdict, *(["-t"] if way == "terminal" else [])]
    done = caller.run(*options, level=level, command=["yes"], text=False)
    assert json.loads(verdict.read_text())["reason"] == "output", done.stderr
    assert done.returncode == 143 and len(done.stdout) == 1 << 20


@pytest.mark.parametrize(
    "options, level", [(["-t"], "strict"), (["--output-limit", "1g"], "standard")], ids=["strict-terminal", "standard-limited"]
)
def test_nobody_reads_the_output(caller, level, folder, options):
    """A caller that never reads must not switch the time limit off, nor the stop signals."""
    verdict = folder / "verdict.json"
    read, write = os.pipe()
    try:
        with caller.running(
            *options, "--timeout", "1s", "--result-file", verdict, level=level, command=["yes"], popen={"stdout": write}
        ) as process:
            assert process.wait(PATIENCE) == 124
        assert json.loads(verdict.read_text())["reason"] == "wall-time"
        with caller.running(*options, level=level, command=["yes"], popen={"stdout": write}) as process:
            pid = caller.record(process)["pid"]
            wait_until(lambda: not select.select([], [write], [], 0)[1], "a full pipe")
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 143
            wait_until(lambda: not alive(pid), "the end of the program")
    finally:
        os.close(read)
        os.close(write)


def test_program_never_reads_its_terminal(caller, level, folder):
    """Ten megabytes are typed at a program that sleeps: it ends when it wants to, and so does codex32."""
    gate, script = folder / "gate", "echo up; until test -e /gate/go; do sleep 0.1; done; exit 9"
    gate.mkdir()
    caller.own(gate)
    with open(folder / "output", "wb") as output:
        with caller.running(
            "-t", "-i", "-v", f"{gate}:/gate:ro", level=level, command=["sh", "-c", script],
            popen={"stdin": subprocess.PIPE, "stdout": output},
        ) as process:  # fmt: skip
            wait_until(lambda: b"up" in (folder / "output").read_bytes(), "the program")
            sent = 0
            os.set_blocking(process.stdin.fileno(), False)
            end = time.monotonic() + PATIENCE
            while process.poll() is None and time.monotonic() < end:
                if sent > 1 << 20:
                    (gate / "go").touch()
                if sent < 10 << 20 and select.select([], [process.stdin], [], 0.05)[1]:
                    with contextlib.suppress(BrokenPipeError):
                        sent += os.write(process.stdin.fileno(), b"x" * 4096)
            assert process.returncode == 9
    assert sent > 1 << 20, "it is taken from the caller all the same"


def test_terminal_that_is_gone(caller, level):
    """The caller's terminal is closed under a program that floods it: the program ends with it."""
    master, slave = pty.openpty()
    words = caller.words("-t", "-i", level=level, command=["yes"])
    with subprocess.Popen(
        words, env=caller.environment(), cwd=caller.home, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    ) as process:
        os.close(slave)
        assert os.read(master, 1)
        pid = None
        record = caller.record(process)
        pid = record["pid"]
        os.close(master)
        process.send_signal(signal.SIGHUP)  # as the kernel does for a session's own terminal
        assert process.wait(PATIENCE) == 129
    wait_until(lambda: not alive(pid), "the end of the program")


def test_stop_timeout(caller, level, folder):
    """The stop signal comes first, and SIGKILL not before its time: the program counts its own ticks in between."""
    shared, verdict = folder / "shared", folder / "verdict.json"
    shared.mkdir()
    caller.own(shared)
    text = """
import signal, time
told = open("/shared/told", "w")
def stopped(*_):
    told.write(f"stopped {time.monotonic()}\\n")
    told.flush()
signal.signal(signal.SIGTERM, stopped)
while True:
    time.sleep(0.02)
    told.write(f"alive {time.monotonic()}\\n")
    told.flush()
"""
    script = folder / "stubborn.py"
    script.write_text("#!/usr/bin/python3 -IS\n" + text)
    script.chmod(0o755)
    caller.own(script)
    for seconds in (1, 5, 30):  # until it was there in time for the signal
        (shared / "told").unlink(missing_ok=True)
        done = caller.run(
            "-v", f"{shared}:/shared:rw", "--timeout", f"{seconds}s", "--stop-timeout", "700ms", "--result-file", verdict,
            level=level, image=script,
        )  # fmt: skip
        found = json.loads(verdict.read_text())
        assert (done.returncode, found["reason"]) == (124, "wall-time")
        lines = (shared / "told").read_text().splitlines() if (shared / "told").exists() else []
        told = [line.split() for line in lines if line.count(" ") == 1]
        stops = [float(time) for word, time in told if word == "stopped"]
        if not stops:
            continue  # what does not handle a signal yet ends by it
        assert found["wallSeconds"] >= seconds + 0.7, "SIGKILL came before its time"
        if len(stops) == 1 and float(told[-1][1]) - stops[0] > 0.5:
            return
    pytest.fail(f"SIGKILL came right after the stop signal: {lines[-3:]}")


@pytest.mark.parametrize("what", ["arguments", "environment", "stack"])
def test_too_long_for_execve(caller, level, folder, what):
    """A hundred megabytes of arguments cannot even reach codex32; of environment they can, from a file. The kernel
    counts both against a quarter of the stack's limit."""
    file = folder / "variables"
    if what == "arguments":
        with pytest.raises(OSError, match="Argument list too long"):
            caller.run(level=level, command=["true", *["x" * 100000] * 1000])
        return
    if what == "environment":
        file.write_text("".join(f"V{n}={'x' * 100000}\n" for n in range(1000)))
        options = ["--env-file", file]
    else:
        file.write_text("".join(f"V{n}={'x' * 1000}\n" for n in range(200)))
        options = ["--env-file", file, "--ulimit", "stack=131072"]
    caller.own(file)
    done = caller.run(*options, level=level, command=["true"])
    assert done.returncode in (125, 126) and done.stdout == ""
    line = done.stderr.splitlines()[0]
    assert line.startswith("codex32: ") and len(line) < 300, line[:300]
    assert "\nhint: " in done.stderr, done.stderr


# How one more is made (count counts them; x86_64's call numbers), and how it is taken away again.
QUOTAS = {
    "inotify": ("libc.inotify_init()", ""),
    "timers": ("libc.syscall(222, 1, None, ctypes.byref(ctypes.c_int()))", ""),
    "mqueue": ("libc.syscall(240, b'codex32-%d' % count, 0o102, 0o600, None)", "libc.syscall(241, b'codex32-0')"),
    "keys": ("libc.syscall(248, b'user', b'codex32-%d' % count, b'x' * 100, 100, -1)", ""),
    "semaphores": ("libc.semget(0, 100, 0o1600)", "libc.semctl(got, 0, 0)"),
    "shared-memory": ("libc.shmget(0, 4096, 0o1600)", "libc.shmctl(got, 0, None)"),
}
GREEDY = """
import ctypes, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
libc, count = ctypes.CDLL(None), 0
while count < most and (got := one()) >= 0: count += 1
print(count, flush=True)
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the call numbers are x86_64's")
@pytest.mark.parametrize("what", QUOTAS)
def test_kernel_quotas(caller, level, folder, what):
    """Small kernel objects that no file system counts. While the program holds all it got, and after it, others of the
    same user still get theirs."""
    one, away = QUOTAS[what]
    script, other = folder / "greedy.py", folder / "other.py"
    script.write_text(f"#!/usr/bin/python3 -IS\none, most = lambda: {one}, 300000\n{GREEDY}input()\n")
    script.chmod(0o755)
    other.write_text(f"one, most = lambda: {one}, 1\n{GREEDY}{away}\n")
    caller.own(script, other)
    with caller.running(level=level, image=script, popen={"stdin": subprocess.PIPE}) as process:
        count = int(process.stdout.readline() or -1)
        # One of the same kind for somebody else of this user, outside.
        done = caller.execute([*caller.become(), "/usr/bin/python3", "-IS", str(other)])
        assert done.stdout == "1\n", (count, done.stderr)
        process.stdin.write(b"\n")
        process.stdin.close()
        assert process.wait(PATIENCE) == 0
    if what == "keys":
        assert count == 0, "add_key is refused"
