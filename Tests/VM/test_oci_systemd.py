"""The OCI runtime's systemd driver beside a real systemd. Runs inside the machine of run-in-vm, as root."""

import subprocess
import sys

from machine import DISK, HERE, in_machine

pytestmark = in_machine


def test_beside_systemd():
    done = subprocess.run(
        [HERE / "systemd-in-cgroup", DISK / "systemd", sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
         "--tb=short", HERE / "beside_systemd.py"],
        capture_output=True, text=True, timeout=900, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
