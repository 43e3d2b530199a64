"""`image build` where cgroups are v2: a step's command has the limits that were asked for, and nothing of it stays."""

import pytest
from machine import CGROUPS, DISK, Store, in_machine

pytestmark = in_machine


def cgroups():
    """All that codex32 may have made, of either user."""
    return {str(path) for place in ("codex32", "user.codex") for path in (CGROUPS / place).rglob("*") if path.is_dir()}


@pytest.mark.parametrize("who", ["root", "codex"])
def test_a_build(who):
    store = Store(who, "build")
    bots = DISK / f"bots-{who}"
    bots.mkdir()
    (bots / "bot.sh").write_text("#!/bin/sh\ncat /seen\n")
    (bots / "bot.sh").chmod(0o755)
    before = cgroups()
    # Strict, with nothing waived.
    script = "grep -E 'CapEff|Seccomp:' /proc/self/status > /seen; rm /etc/group"
    limits = ["--isolation", "strict", "-m", "24m", "--pids-limit", "8"]
    out = store("image", "build", *limits, "--from", "template:busybox", "--copy", f"{bots}:/bots", "--run", script, "--cmd", "/bots/bot.sh", "-t", "bot:1")
    assert out.stdout == "bot:1\n" and "not in force" not in out.stderr, out.stderr
    done = store("run", "--isolation", "strict", "bot:1")
    assert done.stdout == "CapEff:\t0000000000000000\nSeccomp:\t2\n"
    # One that wants more than its limits ends the build, of which nothing stays.
    hungry = "dd if=/dev/zero of=/dev/null bs=64M count=1"
    done = store("image", "build", *limits, "--from", "bot:1", "--run", hungry, "-t", "hungry", ok=False)
    assert done.returncode == 125 and "ended with status 137" in done.stderr, done.stderr
    names = store("image", "list", "--format", "{{.Repository}}:{{.Tag}}").stdout.split()
    assert names == ["bot:1"]
    assert {path for path in cgroups() - before if not path.endswith("/codex32.self")} == set()
