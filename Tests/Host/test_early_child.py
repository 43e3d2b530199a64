"""The child of a run is made before codex32 has read its options, by a guess (CShims/early.c). A wrong guess
changes nothing: what the program gets is what the options say, and nothing is left of the child that was guessed.
"""

import ctypes
import os
import random
import re
import signal
import subprocess
import time

import pytest
from conftest import BUSYBOX, HAS_CGROUP2, PATIENCE, alive, wait_until

KINDS = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"]
LOOK = "for n in " + " ".join(KINDS) + "; do readlink /proc/self/ns/$n; done"
PR_SET_CHILD_SUBREAPER = 36
STANDARD = {"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"}


def start(caller):
    return [*caller.become(), str(caller.binary), "run", "--root", str(caller.storage)]


@pytest.fixture
def orphans():
    """Takes over what loses its parent, so that it can be seen."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    yield lambda: set(map(int, open(f"/proc/self/task/{os.getpid()}/children").read().split()))
    libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@pytest.mark.parametrize(
    "options, own",
    [
        ([], STANDARD),
        (["--isolation=strict"], STANDARD | {"time"}),
        (["--isolation", "strict"], STANDARD | {"time"}),
        (["--isolation", "strict", "--isolation", "standard"], STANDARD),
        (["--isolation=minimal", "--isolation=strict"], STANDARD | {"time"}),
        (["--isolation", "minimal"], {"mnt", "pid", "uts"}),
        (["--isolation", "minimal", "--network", "none"], {"mnt", "pid", "uts", "net"}),
        (["--network", "host"], STANDARD - {"net"}),
        (["--network=host"], STANDARD - {"net"}),
        (["--init"], STANDARD),
        (["-e", "--isolation=minimal"], STANDARD),
        (["-e", "--init=x", "--isolation", "strict"], STANDARD | {"time"}),
        (["-qe", "-d=1"], STANDARD),
        (["--hostname", "minimal"], STANDARD),
    ],
    ids=lambda words: " ".join(sorted(words) if isinstance(words, set) else words),  # the same ids in every process
)
def test_namespaces(caller, options, own):
    if "minimal" in options and caller.name == "user":
        own = own | {"user"}
    if HAS_CGROUP2 and "minimal" not in options:
        own = own | {"cgroup"}
    waiver = [] if HAS_CGROUP2 else ["--waive", "cgroup"]
    done = caller.execute([*start(caller), *waiver, *options, "--image", BUSYBOX, "--", "sh", "-c", LOOK])
    assert done.returncode == 0, done.stderr
    outside = [os.readlink(f"/proc/self/ns/{kind}") for kind in KINDS]
    differ = {kind for kind, inside, out in zip(KINDS, done.stdout.split(), outside, strict=True) if inside != out}
    assert differ == own


@pytest.mark.parametrize("allowed", [None, {0}])
def test_affinity_is_the_callers(caller, allowed):
    """The child is sent to another CPU for a moment; the program may run where its caller may."""
    allowed = allowed or os.sched_getaffinity(0)
    script = "sed -n s/Cpus_allowed_list:.//p /proc/self/status"
    done = caller.sh(script, popen={"preexec_fn": lambda: os.sched_setaffinity(0, allowed)})
    numbers = set()
    for part in done.stdout.strip().split(","):
        first, _, last = part.partition("-")
        numbers |= set(range(int(first), int(last or first) + 1))
    assert numbers == allowed


@pytest.mark.parametrize(
    "words",
    [["--help"], ["--no-such"], ["--isolation", "strictest", "x"], ["x"], ["--image", "/no/such"], ["--dry-run", "template:busybox"]],
    ids=lambda words: words[0],
)
def test_nothing_is_left_of_a_run_that_is_none(caller, orphans, words):
    for _ in range(20):
        caller.execute([*start(caller), *words])
        assert orphans() == set()


@pytest.mark.parametrize("missing", [[0], [1], [2], [0, 1, 2]])
def test_missing_streams(caller, missing):
    """No descriptor of codex32's takes the place of a stream that its caller closed."""

    def close():
        for number in missing:
            os.close(number)

    with caller.running(command=["sleep", "1000"], popen={"preexec_fn": close}) as runner:
        pid = caller.record(runner)["pid"]
        wait_until(lambda: open(f"/proc/{pid}/comm").read() == "sleep\n", "the program")
        # What the caller closed is closed inside, and nothing else is open.
        assert set(map(int, os.listdir(f"/proc/{pid}/fd"))) == {0, 1, 2} - set(missing)


@pytest.mark.parametrize("level", ["standard", "strict"])
def test_killed_at_any_moment(caller, orphans, level):
    """kill -9 of codex32 at a random moment of its start: the child, with or without a plan, ends too, and the next
    run finds what it made on disk."""
    chosen = random.Random(20261124)
    for _ in range(60):
        process = subprocess.Popen(
            caller.words(command=["sleep", "1000"], level=level), env=caller.environment(), cwd=caller.home,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(chosen.random() * 0.012)
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE)
        wait_until(lambda: not any(alive(pid) for pid in orphans()), "an end of all that the killed one had made")
        for pid in orphans():
            os.waitpid(pid, 0)
    assert caller.run(command=["true"]).returncode == 0  # sweeps what was left
    # An entry that was only half made has a name of another kind, and goes a minute later.
    assert [entry for entry in caller.entries() if re.fullmatch("[0-9a-f]{16}", entry.rpartition("/")[2])] == []


def ignoring_children(caller, *words):
    """A caller that ignores SIGCHLD, as some daemons do: exec passes that on (signal(7))."""
    return subprocess.run(
        [*caller.become(), "sh", "-c", "trap '' CHLD; exec \"$@\"", "sh", str(caller.binary), *words],
        env=caller.environment({"CODEX32_STORAGE_DIR": str(caller.storage)}), cwd=caller.home, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip


def test_a_caller_that_ignores_its_children(caller):
    image = ["--image", BUSYBOX]
    for options in ([], ["--init"], ["--network", "host"], ["--isolation", "minimal"]):
        done = ignoring_children(caller, "run", "-q", *options, *image, "--", "sh", "-c", "exit 3")
        assert (done.returncode, done.stderr) == (3, "")
    # Its program has the signal as it should be, too.
    done = ignoring_children(caller, "run", "-q", *image, "--", "sed", "-n", "s/SigIgn:.//p", "/proc/self/status")
    assert int(done.stdout, 16) == 0
    made = ignoring_children(caller, "run", "-q", "-d", "--name", "box", *image, "--", "sleep", "1000")
    try:
        assert made.returncode == 0, made.stderr
        done = ignoring_children(caller, "exec", "box", "sh", "-c", "exit 5")
        assert (done.returncode, done.stderr) == (5, "")
        done = ignoring_children(caller, "cp", "box:/bin/busybox", str(caller.home / "copied"))
        assert (done.returncode, done.stderr) == (0, "")
    finally:
        gone = ignoring_children(caller, "remove", "-f", "box")
    assert gone.returncode == 0, gone.stderr


def test_the_hosts_command_line_is_not_seen(caller):
    """/proc/PID/cmdline has no check of rights: what codex32 was given must not be in a process that a container sees."""
    script = "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"
    done = caller.sh(script, "--init", "-e", "PASSWORD=hunter2", "-v", f"{caller.home}:/x:ro", level="standard")
    assert done.returncode == 0 and "codex32" in done.stdout and "cat" in done.stdout
    assert "hunter2" not in done.stdout and str(caller.home) not in done.stdout
    spy = "while :; do cat /proc/[0-9]*/cmdline | tr '\\0' ' '; done > /tmp/seen 2> /dev/null"
    root = ["--root", str(caller.storage)]
    made = caller.execute(
        [*caller.become(), str(caller.binary), "run", *root, "-q", "-d", "--name", "spied", "--image", BUSYBOX, "--", "sh", "-c", spy]
    )
    try:
        assert made.returncode == 0, made.stderr
        run = [*caller.become(), str(caller.binary), "exec", *root]
        for _ in range(40):
            assert caller.execute([*run, "-e", "TOKEN=hunter2", "spied", "true"]).returncode == 0
        # The spy is at work: it sees the one who waits to be seen.
        seen = caller.execute([*run, "spied", "sh", "-c", "until grep -q 'until grep' /tmp/seen; do sleep 0.02; done; cat /tmp/seen"])
        assert seen.returncode == 0 and "until grep" in seen.stdout
        assert "hunter2" not in seen.stdout and str(caller.storage) not in seen.stdout
    finally:
        caller.execute([*caller.become(), str(caller.binary), "remove", *root, "-f", "spied"])


def test_without_proc(caller):
    if caller.name != "root":
        pytest.skip("an ordinary user cannot take /proc away")
    words = ["unshare", "-m", "sh", "-c", 'umount -l /proc && exec "$@"', "sh", *start(caller), "--image", BUSYBOX, "--", "true"]
    done = caller.execute(words)
    assert done.returncode == 125
    assert done.stderr.startswith("codex32: ") and "hint: mount -t proc" in done.stderr


WAIVER = [] if HAS_CGROUP2 else ["--waive", "cgroup"]
DEV = ["fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom", "zero"]


@pytest.mark.skipif(HAS_CGROUP2, reason="with cgroup v2 no child is born early")
@pytest.mark.parametrize("level", ["standard", "strict"])
def test_what_every_sandbox_has_is_made_before_its_plan(caller, level, tmp_path):
    """CShims/furniture.c makes what Planner asks for: where the two differ, each start makes it twice."""
    image = ["--isolation", level, *WAIVER, "--image", BUSYBOX, "--", "true"]
    trace = tmp_path / "trace"
    watched = "trace=fsopen,open_tree,recvmsg,symlinkat"
    words = ["strace", "-f", "-qq", "-s", "64", "-o", str(trace), "-e", watched, *start(caller), *image]
    assert subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE).returncode == 0
    lines = [line.split(None, 1) for line in trace.read_text().splitlines()]
    child = next(pid for pid, call in lines if call.startswith("fsopen(\"proc\""))
    calls = [call for pid, call in lines if pid == child]
    given = next(i for i, call in enumerate(calls) if "recvmsg" in call and '"p"' in call)
    before, after = calls[:given], calls[given:]

    def made(calls, what):
        return sum(call.startswith(what) for call in calls)

    for name in ["null", "zero", "full", "random", "urandom", "tty"]:
        assert made(before, f'open_tree(AT_FDCWD, "/dev/{name}"') == 1
    assert made(before, 'fsopen("devpts"') in (1, 2)  # without the group of terminals where there is none
    assert made(before, 'fsopen("sysfs"') == (level == "standard")
    assert made(before, 'fsopen("tmpfs"') == 3
    assert made(before, "symlinkat(") == 5
    for what in ['fsopen("proc"', 'fsopen("sysfs"', 'fsopen("devpts"', 'open_tree(AT_FDCWD, "/dev', "symlinkat("]:
        assert made(after, what) == 0, (what, after)
    assert made(after, 'fsopen("tmpfs"') <= 2  # the root, and what covers folders


@pytest.mark.parametrize(
    "words, anew",
    [
        (["--isolation", "minimal", "--image", BUSYBOX], True),
        (["--image={}", "--isolation=minimal"], True),
        (["--isolation", "standard", "--image", BUSYBOX], False),
        (["--isolation", "minimal", "--image", "/"], True),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_what_begins_anew_does_so_before_anything_else(caller, words, anew, tmp_path):
    """root's containers of minimal could write to codex32's file (CVE-2019-5736), so that it runs from where nobody can: before
    it has looked at the image, which would be done twice otherwise. Where the glance misses it, the run finds out itself."""
    if caller.name != "root":
        pytest.skip("an ordinary user's container has no right over codex32's file")
    trace = tmp_path / "trace"
    words = [word.replace("{}", str(BUSYBOX)) for word in words]
    waiver = [] if HAS_CGROUP2 or "minimal" in " ".join(words) else ["--waive", "cgroup"]
    line = ["strace", "-qq", "-s", "256", "-o", str(trace), "-e", "trace=execve,execveat,openat", *start(caller), "-q", *waiver, *words, "--", "true"]
    assert subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE).returncode == 0
    calls = trace.read_text().splitlines()
    begins = [place for place, call in enumerate(calls) if call.startswith("execveat(")]
    assert len(begins) == anew, calls
    looks = [place for place, call in enumerate(calls) if call.startswith("openat(") and str(caller.storage) in call]
    assert looks and (not anew or min(looks) > begins[0]), calls[:20]


@pytest.mark.parametrize("level", ["standard", "strict"])
@pytest.mark.parametrize(
    "options, shm, tmp",
    [
        ([], 64 << 10, 64 << 10),
        (["--shm-size", "1m"], 1 << 10, 64 << 10),
        (["--tmpfs", "/tmp:size=2m"], 64 << 10, 2 << 10),
        (["--tmpfs", "/dev/shm:size=3m"], 3 << 10, 64 << 10),
    ],
    ids=["usual", "shm", "tmp", "own shm"],
)
def test_what_differs_from_the_guess_is_as_asked(caller, level, options, shm, tmp):
    script = "ls /dev | tr '\\n' ' '; echo; df -k /dev/shm /tmp | awk 'NR > 1 {print $2}'; echo x > /dev/null && head -c 3 /dev/zero | wc -c"
    words = [*start(caller), "--isolation", level, *WAIVER, *options, "--image", BUSYBOX, "--", "sh", "-c", script]
    done = caller.execute(words)
    assert done.returncode == 0, done.stderr
    names, *figures = done.stdout.splitlines()
    assert sorted(names.split()) == DEV
    assert [int(figure) for figure in figures] == [shm, tmp, 3]
