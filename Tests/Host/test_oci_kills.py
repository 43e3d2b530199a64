"""kill -9 of `oci create`, `start`, `delete` and `run` at any of their calls: the state tells the truth, and
`delete --force` leaves nothing.

CODEX32_FAULT_SEED and CODEX32_FAULT_POINTS are as for test_faults_kill.py.
"""

import contextlib
import os
import pathlib
import random
import subprocess

import pytest

from bundles import bundle  # noqa: F401
from conftest import PATIENCE, alive, processes_with, wait_until

SEED = int(os.environ.get("CODEX32_FAULT_SEED", "20261124"))
POINTS = int(os.environ.get("CODEX32_FAULT_POINTS", "12"))


class Killed:
    """A bundle whose verbs are killed, and whose processes can be told from all others."""

    def __init__(self, bundle, fault, kind):
        self.bundle, self.fault = bundle, fault
        self.token = f"bundle={bundle.folder}"
        bundle.process["env"].append(f"TOKEN={self.token}")
        bundle.process["args"] = ["sleep", "100000"]
        if kind == "shared":
            # In its caller's mount namespace.
            linux = bundle.config["linux"]
            linux["namespaces"] = [each for each in linux["namespaces"] if each["type"] != "mount"]
        if kind == "hooks":
            script = bundle.folder / "hook"
            script.write_text("#!/bin/sh\ncat >/dev/null\n")
            script.chmod(0o755)
            bundle.caller.own(script)
            bundle.config["hooks"] = {kind: [{"path": str(script)}] for kind in ("prestart", "createContainer", "poststart", "poststop")}
        bundle.write()

    def verb(self, *words, number=None):
        """Returns whether the verb was killed, and how many calls it made when it was not."""
        words = self.bundle.words(*words)
        report = pathlib.Path(f"{self.bundle.folder}/report")
        if number is not None:
            words = [str(self.fault), "-c", "-s", str(self.bundle.states), "-o", str(report), "client", str(number), "kill", "--", *words]
        with open(self.bundle.folder / "output", "w") as out:
            subprocess.run(
                words, cwd=self.bundle.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=PATIENCE,
                env=self.bundle.caller.environment({"TOKEN": self.token}),
            )  # fmt: skip
        if number is None:
            return False, 0
        kind, what = report.read_text().split()
        return kind == "hit", 0 if kind == "hit" else int(what)

    def prepare(self, verb):
        for each in {"create": [], "start": ["create"], "delete": ["create", "start", "kill"], "delete --force": ["create", "start"], "run -d": []}[verb]:
            self.verb(each, "one", *(["KILL"] if each == "kill" else []))
        if verb == "delete":
            self.bundle.stopped()

    def is_settled(self):
        """A process whose creator was killed before it was let go ends with that one, which may take it a moment; one that was
        let go has the pipe of `start` in the first place after its streams."""
        state = self.bundle.state()
        if state["status"] != "created":
            return True
        with contextlib.suppress(OSError):
            return os.readlink(f"/proc/{state['pid']}/fd/3").endswith("/exec.fifo")
        return False

    def check(self, verb):
        """What the state says is so; then nothing is left."""
        if "one" in self.bundle.left():
            shown = self.bundle("state", "one")
            if shown.returncode == 0:
                wait_until(self.is_settled, "the container's process to wait for its start, or to end with its creator")
                state = self.bundle.state()
                if state["status"] in ("created", "running"):
                    # It may end at this very moment: then the state says so by now.
                    assert alive(state["pid"]) or self.bundle.state()["status"] == "stopped"
                if state["status"] == "created":
                    # It can still be started, though somebody was killed over it.
                    again = self.bundle("start", "one", stderr=subprocess.DEVNULL)
                    assert self.bundle.state()["status"] == "running"
                    # A killed start may have let it go already.
                    assert again.returncode == 0 or verb in ("start", "run -d")
        done = self.bundle("delete", "--force", "one")
        assert done.returncode == 0, done.stderr
        assert self.bundle.left() == []
        wait_until(lambda: processes_with(self.token) == [], "no process")
        assert str(self.bundle.rootfs) not in pathlib.Path("/proc/self/mountinfo").read_text()


@pytest.mark.parametrize("kind", ["plain", "hooks", "shared"])
@pytest.mark.parametrize("verb", ["create", "start", "delete", "delete --force", "run -d"])
def test_killed_at_any_call(bundle, fault, verb, kind):
    if kind == "shared" and bundle.caller.name != "root":
        pytest.skip("an ordinary user's container has a user namespace, and a mount namespace with it")
    killed = Killed(bundle, fault, kind)
    words = [*verb.split(), "one"]
    killed.prepare(verb)
    _, count = killed.verb(*words, number=1 << 30)
    assert count > 0
    killed.check(verb)
    chosen = random.Random(f"{SEED} {verb} {kind} {bundle.caller}")
    print(f"seed {SEED}: {count} calls")
    for number in sorted(chosen.sample(range(1, count + 1), min(POINTS, count))):
        killed.prepare(verb)
        killed.verb(*words, number=number)
        killed.check(verb)


def test_of_many_starts_one_wins(bundle):
    bundle.sh("echo began; exec sleep 100000")
    for _ in range(10):
        assert bundle.create("one") == 0
        starts = [subprocess.Popen(bundle.words("start", "one"), stderr=subprocess.DEVNULL) for _ in range(4)]
        assert sorted(start.wait(PATIENCE) for start in starts) == [0, 1, 1, 1]
        wait_until(lambda: bundle.output() == "began\n", "the program's word")
        assert bundle("delete", "--force", "one").returncode == 0


def test_of_many_creates_one_wins(bundle):
    bundle.process["args"] = ["sleep", "100000"]
    bundle.write()
    for _ in range(5):
        with open(bundle.folder / "output", "w") as out:
            creates = [subprocess.Popen(bundle.words("create", "one"), cwd=bundle.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out) for _ in range(4)]
            assert sorted(create.wait(PATIENCE) for create in creates) == [0, 1, 1, 1]
        assert bundle.state()["status"] == "created"
        assert bundle("delete", "--force", "one").returncode == 0


def test_a_start_against_a_delete(bundle):
    """Whoever is first has the lock: either it is started and then ended, or gone before."""
    bundle.process["args"] = ["sleep", "100000"]
    for _ in range(10):
        assert bundle.create("one") == 0
        pid = bundle.state()["pid"]
        start = subprocess.Popen(bundle.words("start", "one"), stderr=subprocess.DEVNULL)
        delete = subprocess.Popen(bundle.words("delete", "--force", "one"), stderr=subprocess.DEVNULL)
        assert delete.wait(PATIENCE) == 0 and start.wait(PATIENCE) in (0, 1)
        assert bundle.left() == [] and not alive(pid)
