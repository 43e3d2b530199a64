"""`learn` where a cgroup counts memory and processes: what its profile gives is in force, read back from outside.

Runs inside the machine of run-in-vm. Outside, Tests/Host/test_learn.py looks at all else, and there is no such count.
"""

import json

import pytest
from machine import Store, in_machine, wait_until

pytestmark = in_machine
MIB = 1 << 20
SCRIPT = "dd if=/dev/zero of=/tmp/f bs=1M count=40 2> /dev/null; echo here; until read -t 1 line < /tmp/go; do :; done"


@pytest.mark.parametrize("who", ["root", "codex"])
def test_limits_that_a_cgroup_counted(who):
    store = Store(who, "learn")
    path = store.folder / "profile.json"
    image = ["--image", "template:busybox", "--", "sh", "-c"]
    store("learn", "-q", "--isolation", "strict", "--output", path, *image, f"echo x > /tmp/go; {SCRIPT}")
    limits = json.loads(path.read_text())["limits"]
    # What the files of a tmpfs take is counted to who wrote them: more than 40 MiB, and not what the level gives to all.
    assert 40 * MIB < limits["memoryBytes"] < 256 * MIB and limits["processes"] < 128, limits
    store("run", "-d", "-q", "--name", "bot", "--isolation", "strict", "--profile", path, *image, SCRIPT)
    try:
        wait_until(lambda: "here" in store("logs", "bot").stdout, "what it has to say")
        group = store.cgroup("bot")
        assert (group / "memory.max").read_text() == f"{limits['memoryBytes']}\n"
        assert (group / "pids.max").read_text() == f"{limits['processes']}\n"
        assert int((group / "memory.current").read_text()) > 40 * MIB
        store("exec", "-d", "bot", "sh", "-c", "echo x > /tmp/go")
        assert store("wait", "bot").stdout == "0\n"
    finally:
        store("remove", "-f", "bot")
