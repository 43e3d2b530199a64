"""The verdict's figures agree within 5 % with what somebody else measures of the same program, on a machine without
cgroup v2 as well. The program works until it has used so much itself: the machine's speed plays no part."""

import json
import os
import pathlib
import resource

import pytest
from conftest import PATIENCE, wait_until

pytestmark = pytest.mark.alone

BURN = """#!/usr/bin/python3 -IS
import os, time
def burn(seconds):
    while time.process_time() < seconds: sum(range(10000))
block = bytearray(b"x") * (int(os.environ["MIB"]) << 20)
child = os.fork()
if child == 0:
    more = bytearray(b"y") * (int(os.environ["CHILD_MIB"]) << 20)
    burn(0.4)
    with open("/proc/self/status") as file: print(file.read().split("VmHWM:")[1].split()[0], flush=True)
    os._exit(0)
os.waitpid(child, 0)
del block
burn(0.8)
for _ in range(20000): os.stat("/")
print("ready", flush=True)
input()
"""


def ticks(pid):
    """utime and stime with those of its children that ended, in seconds (proc(5), /proc/PID/stat)."""
    text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    fields = text[text.rindex(")") + 1 :].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("own, child", [(200, 1), (20, 150)], ids=["own", "child"])
def test_figures(caller, level, folder, own, child):
    script, file = folder / "burn.py", folder / "verdict.json"
    script.write_text(BURN)
    script.chmod(0o755)
    caller.own(script)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    options = ["-e", f"MIB={own}", "-e", f"CHILD_MIB={child}", "--result-file", file]
    with caller.running(*options, level=level, image=script, popen={"stdin": -1}) as process:
        childs_peak = int(process.stdout.readline()) << 10
        assert process.stdout.readline() == b"ready\n"
        pid = caller.record(process)["pid"]
        # It waits for its input now, so the figures stand still.
        wait_until(lambda: pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S", "its wait")
        seconds = ticks(pid)
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        peak = max(int(status.split("VmHWM:")[1].split()[0]) << 10, childs_peak)
        process.stdin.write(b"\n")
        process.stdin.close()
        assert process.wait(PATIENCE) == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    verdict = json.loads(file.read_text())
    told = verdict["cpuUserSeconds"] + verdict["cpuSystemSeconds"]
    assert abs(told - seconds) <= 0.05 * seconds, (told, seconds)
    # The other measurement holds codex32's own time too, and may be more by that.
    whole = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert told <= whole * 1.01 and whole <= told * 1.05 + 0.2
    if verdict["oomKills"] is None:  # without cgroup v2 the largest process counts, with it all of them and their files
        assert abs(verdict["peakMemoryBytes"] - peak) <= 0.05 * peak, (verdict["peakMemoryBytes"], peak)
    else:
        assert verdict["peakMemoryBytes"] >= 0.95 * peak
    assert 1.1 <= seconds <= verdict["wallSeconds"] * os.cpu_count() + 0.1
