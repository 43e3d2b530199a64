"""Many sandboxes, and machines that refuse: what needs a kernel with cgroup v2, or changes the whole machine.

Runs inside the machine of run-in-vm, as test_limits.py does.
"""

import contextlib
import os
import re
import subprocess
from pathlib import Path

import pytest
from test_limits import CODEX32, DISK, HERE, PLACE, Sandbox, eventually, flat, host_mounts, leftovers, pytestmark, python_script, run

__all__ = ["pytestmark"]
MIB = 1 << 20
SLOW = 240  # seconds until something hangs, in a machine that is emulated


@pytest.fixture(params=["root", "codex"])
def who(request):
    return request.param


def words(who, *options):
    prefix = [str(HERE / "as-user")] if who == "codex" else []
    return [*prefix, CODEX32, "run", "-q", "--root", str(DISK / f"store-{who}"), *options, "--image", "template:busybox", "--"]


def test_a_hundred_at_once(who):
    """Each in its own cgroup, all at the same time, at strict; nothing is left when the last has ended."""
    assert run(who, ["--isolation", "strict"], "true", timeout=SLOW).status == 0
    before, mounts = leftovers(who), host_mounts()
    command = [*words(who, "--isolation", "strict", "-m", "16m"), "sh", "-c", "echo up; read line; exit 3"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    started = [subprocess.Popen(command, cwd=DISK, **pipes) for _ in range(100)]
    try:
        for process in started:
            assert process.stdout.readline() == b"up\n", process.stderr.read()
        groups = [PLACE[who] / name for name in leftovers(who) if re.fullmatch("[0-9a-f]{16}", name)]
        assert len(groups) == 100
        assert {(group / "memory.max").read_text() for group in groups} == {f"{16 * MIB}\n"}
        assert all(flat(group / "cgroup.events")["populated"] for group in groups)
        ends = [(process.communicate(b"\n", SLOW)[1], process.returncode) for process in started]
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
                process.communicate()
    assert ends == [(b"", 3)] * 100
    assert leftovers(who) == before
    assert host_mounts() == mounts


def test_figures_are_the_cgroups(who):
    """CPU time and memory of three processes together, as the kernel's files say from outside, within 5 %."""
    script = python_script(
        f"work-{who}.py",
        "import os, time\n"
        "block = bytearray(b'x') * (40 << 20)\n"
        "for _ in range(2):\n"
        "    if os.fork() == 0:\n"
        "        more = bytearray(b'y') * (20 << 20)\n"
        "        while time.process_time() < 2: sum(range(1000))\n"
        "        os._exit(0)\n"
        "while time.process_time() < 2: sum(range(1000))\n"
        "os.wait(); os.wait()\n"
        # Given back before the look from outside: the more there is, the longer its end takes.
        "del block\n"
        "print('ready', flush=True)\n"
        # What comes after the look from outside is little: no interpreter is taken down.
        "os.read(0, 1)\n"
        "os._exit(0)\n",
    )
    with Sandbox(who, ["-m", "256m"], script, ()) as box:
        assert box.line(SLOW) == "ready"
        cgroup = box.cgroup
        seconds = flat(cgroup / "cpu.stat")["usage_usec"] / 1e6
        peak = int((cgroup / "memory.peak").read_text())
        box.process.stdin.write("\n")
        box.finish(SLOW)
    verdict = box.verdict
    told = verdict["cpuUserSeconds"] + verdict["cpuSystemSeconds"]
    assert seconds >= 5.9 and abs(told - seconds) <= 0.05 * seconds
    assert peak >= 60 * MIB and abs(verdict["peakMemoryBytes"] - peak) <= 0.05 * peak
    assert verdict["peakPids"] in (None, 3)


def test_inode_filler_counts_as_memory(who):
    """What it makes of the kernel's memory is in its own limit, whichever of the two ends first."""
    script = python_script(
        f"filler-{who}.py",
        "import os\n"
        "count = 0\n"
        "try:\n"
        "    while count < 200000: os.close(os.open(f'/tmp/{count}', os.O_CREAT | os.O_WRONLY)); count += 1\n"
        "except OSError as error: print(count, error.errno)\n",
    )
    box = run(who, ["-m", "48m", "--isolation", "strict"], image=script, timeout=SLOW)
    assert box.verdict["reason"] == "oom" or box.out.split()[-1] == "28", (box.status, box.out, box.err)
    assert box.verdict["peakMemoryBytes"] <= 48 * MIB


SWITCHES = ["user/max_user_namespaces", "kernel/unprivileged_userns_clone"]


@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize("level", ["standard", "strict"])
def test_user_namespaces_switched_off(switch, level):
    """One clear line, the command that switches them on, exit 125, and nothing left. Of the whole machine: here only."""
    file = Path("/proc/sys", switch)
    if not file.exists():
        pytest.skip(f"this kernel has no {switch}")
    assert run("codex", ["--isolation", level], "true", timeout=SLOW).status == 0
    before = file.read_text()
    file.write_text("0\n")
    try:
        done = subprocess.run(
            [*words("codex", "--isolation", level), "true"], cwd=DISK, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=SLOW, check=False,
        )  # fmt: skip
    finally:
        file.write_text(before)
    assert (done.returncode, done.stdout) == (125, "")
    line, hint = done.stderr.splitlines()
    assert line.startswith("codex32: ") and "namespace" in line
    assert hint.startswith("hint: ") and f"sysctl -w {switch.replace('/', '.')}" in hint
    assert leftovers("codex") == []
    for part in ("run/containers", "run/names", "layers"):
        with contextlib.suppress(FileNotFoundError):
            assert [name for name in os.listdir(DISK / "store-codex" / part) if not name.startswith(".")] == []
    assert run("codex", ["--isolation", level], "true", timeout=SLOW).status == 0


def test_fork_bomb_of_threads_and_processes_together(who):
    """pids.max counts both; the machine outside forks on."""
    script = python_script(
        f"both-{who}.py",
        "import os, _thread, time, signal\n"
        "made = 0\n"
        "try:\n"
        "    while made < 500:\n"
        "        _thread.start_new_thread(time.sleep, (100,)); made += 1\n"
        "        if os.fork() == 0: time.sleep(100); os._exit(0)\n"
        "        made += 1\n"
        "except (RuntimeError, OSError): pass\n"
        "print(made, flush=True)\n"
        "input()\n",
    )
    with Sandbox(who, ["--pids-limit", "30", "--isolation", "strict"], script, ()) as box:
        assert 27 <= int(box.line(SLOW)) <= 29
        assert (box.cgroup / "pids.current").read_text() == "30\n"
        assert subprocess.run(["true"], check=True, timeout=SLOW).returncode == 0
        box.process.kill()
        box.process.wait(SLOW)
    assert eventually(lambda: run(who, [], "true", timeout=SLOW).status == 0 and leftovers(who) == [])
