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
    ids=" ".join,
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


def test_killed_at_any_moment(caller, orphans):
    """kill -9 of codex32 at a random moment of its start: the child, with or without a plan, ends too."""
    chosen = random.Random(20261124)
    for _ in range(60):
        process = subprocess.Popen(
            caller.words(command=["sleep", "1000"]), env=caller.environment(), cwd=caller.home,
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
