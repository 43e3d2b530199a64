"""The OCI runtime's systemd driver beside a real systemd. Runs inside the machine of run-in-vm, as root."""

import subprocess
import sys

import pytest
from machine import DISK, HERE, in_machine

pytestmark = in_machine


# A known defect, with its cause not found yet: under emulation systemd's word that a scope has ended does not come
# within half a minute, in about every other run. README says so beside --systemd-cgroup.
@pytest.mark.xfail(reason="the end of a scope is not always told of in time", strict=False)
def test_beside_systemd():
    done = subprocess.run(
        [HERE / "systemd-in-cgroup", DISK / "systemd", sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
         "--tb=short", HERE / "beside_systemd.py"],
        capture_output=True, text=True, timeout=900, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
