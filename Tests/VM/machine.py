"""What the tests of verbs inside of run-in-vm's machine share: who calls codex32, and where."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
CODEX32 = str(Path(os.environ.get("CODEX32") or HERE.parents[1] / ".build/release/codex32").absolute())
DISK = Path("/mnt/disk")
CGROUPS = Path("/sys/fs/cgroup")

in_machine = pytest.mark.skipif(
    os.geteuid() != 0 or not (CGROUPS / "user.codex/session").is_dir() or not DISK.is_mount(),
    reason="for the machine of Tests/VM/run-in-vm",
)


@pytest.fixture
def second_processor():
    """Puts the machine's other processor to work: it is off otherwise, for the sake of its time (see run-in-vm)."""
    switch = Path("/sys/devices/system/cpu/cpu1/online")
    switch.write_text("1")
    yield
    switch.write_text("0")


class Store:
    """A storage folder on the machine's disk, of root or of the ordinary user."""

    def __init__(self, who, name):
        self.prefix = [str(HERE / "as-user")] if who == "codex" else []
        self.folder = DISK / f"{name}-{who}"
        self.folder.mkdir(exist_ok=True)
        os.chown(self.folder, *([1001, 1001] if who == "codex" else [0, 0]))

    def line(self, verb, *words):
        return [*self.prefix, CODEX32, verb, "--root", str(self.folder), *map(str, words)]

    def __call__(self, verb, *words, ok=True):
        done = subprocess.run(
            self.line(verb, *words), capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL, cwd=DISK,
            check=False,
        )  # fmt: skip
        assert not ok or done.returncode == 0, done.stderr
        return done

    def record(self, name):
        return json.loads(self("inspect", name).stdout)[0]

    def cgroup(self, name):
        return Path(self.record(name)["cgroup"])


def wait_until(condition, what, seconds=300):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.05)
    pytest.fail(f"never came: {what}")
