"""Every system call of a run fails in turn (fault.c): of codex32's own, and of the child's until it is the program.

A run then goes on, with no wall less than ever, or ends with one clear error and a hint, and leaves nothing.
CODEX32_FAULT_CALLS=0 walks over all calls, from the first to the one that no longer is, with CODEX32_FAULT_ERRORS=all
with every error; otherwise so many of each are chosen by CODEX32_FAULT_SEED.
"""

import collections
import difflib
import errno
import os
import pathlib
import random
import re
import tempfile

import pytest
from conftest import LEVELS, processes_with, wait_until
from faults import ERRORS, RUNTIME, Hit, refused, reported, steps

SEED = int(os.environ.get("CODEX32_FAULT_SEED", "20261124"))
CALLS = int(os.environ.get("CODEX32_FAULT_CALLS", "12"))
# What the program sees of its walls.
LOOK = "grep -E '^(Uid|Gid|Groups|NoNewPrivs|Seccomp|Seccomp_filters|Cap.*):' /proc/self/status; cat /proc/mounts; hostname; ls /proc/self/fd; ulimit -u; umask; pwd; exit 7"


def same(text):
    """What must be the same in every run. Ids differ, a container's own and those that stand for its root; without the
    subordinate ids that could not be read there is one id; and a root whose folders could not be looked at is an
    overlay, with the same flags. Mounts are listed in the order in which they were made (since Linux 6.8), and what one call
    could not make before its plan was there is made with it."""
    text = re.sub(r"\b[0-9a-f]{16}\b", "ID", text)
    text = re.sub(r",[ug]id=\d+", "", re.sub(r"(?m)^Groups:.*$", "", text))
    text = re.sub(r"(?m)^\S+ / \S+ (r[ow](,nosuid)?(,nodev)?)\S* .*$", r"/ \1", text)
    return text.splitlines()


@pytest.mark.parametrize("who", ["client", "child"])
@pytest.mark.parametrize("level", LEVELS)
def test_walk(caller, level, who, fault):
    storage = pathlib.Path(tempfile.mkdtemp(prefix="calls.", dir=caller.home))
    caller.own(storage)
    mine = caller.with_storage(storage / "store")
    report = pathlib.Path(f"{storage}.report")
    words = mine.words("-e", f"STORE={storage}", level=level, command=["sh", "-c", LOOK])
    plain = mine.execute(words)
    assert plain.returncode == 7, plain.stderr

    def attempt(number, error):
        done = mine.execute([str(fault), "-a", "-c", "-o", str(report), who, str(number), str(error), "--", *words])
        return done, reported(report)

    _, count = attempt(1 << 30, errno.EIO)
    assert isinstance(count, int) and count > 30
    chosen = random.Random(f"{SEED} calls {level} {who} {caller.name}")
    for number, error in steps(chosen, CALLS, count, lambda: isinstance(call, Hit)):
        done, call = attempt(number, error)
        what = f"{caller} {level}: {call!r} of the {who} failed at {number} (seed {SEED}): {done}"
        if not isinstance(call, Hit):
            continue  # a run makes a call more or less
        # The program ran, and as it always does; or it did not, or was ended in the middle.
        if done.returncode == 7:
            changed = "\n".join(difflib.unified_diff(sorted(same(plain.stdout)), sorted(same(done.stdout)), n=0, lineterm=""))
            assert changed == "", f"{what}\n{changed}"
        elif not any(text in done.stderr for text in RUNTIME):
            assert done.returncode in (125, 126, 127), what
            whole = done.stdout[: done.stdout.rfind("\n") + 1]  # its last line may be cut
            assert not collections.Counter(same(whole)) - collections.Counter(same(plain.stdout)), what
            refused(done, hinted=True)
        wait_until(lambda: processes_with(f"STORE={storage}") == [], what)  # noqa: B023
        # Others of the machine may mount meanwhile.
        assert str(storage) not in pathlib.Path("/proc/self/mountinfo").read_text(), what
    # What could not be cleared away, as its removal itself failed, is cleared by the next who looks for it. A layer
    # might be that of a start, so a young one is left alone.
    for layer in (mine.storage / "layers").glob("*"):
        os.utime(layer, (1, 1))
    assert mine.execute([*mine.become(), str(mine.binary), "system", "recover", "--root", str(mine.storage)]).returncode == 0
    assert mine.execute(words).returncode == 7
    assert mine.entries() == set()
