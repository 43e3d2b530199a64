"""top: who is in a container; health: whether its program is well."""

import json

from conftest import alive, wait_until
from test_exec import detached, inside


def top(box, *options):
    return json.loads(box.verb("top", "--format", "json", *options, box.name).stdout)


def test_top(caller, level):
    script = "sleep 5000 & sh -c 'exec sleep 6000' & wait"
    with detached(caller, level=level, command=["sh", "-c", script]) as box:
        # Each of them is a shell until it has executed its own.
        wanted = {f"sh -c {script}", "sleep 5000", "sleep 6000"}
        lines = wait_until(lambda: {line["command"] for line in top(box)} == wanted and top(box), wanted)
        assert len(lines) == 3
        assert {line["inside"] for line in lines} >= {1}
        assert next(line for line in lines if line["inside"] == 1)["pid"] == box.pid
        assert all(line["memoryBytes"] > 0 and line["cpuSeconds"] >= 0 and line["state"] in "RSD" for line in lines)
        if level != "minimal":
            assert {line["user"] for line in lines} == {"root"}
        with inside(box, command=["sleep", "7000"]) as (_, pid):
            assert pid in {line["pid"] for line in top(box)}
        assert box.verb("top", box.name).stdout.startswith("PID ")
        # What the killed client's program leaves is its reaper's to take away, and that is the machine's init.
        numbers = sorted(line["pid"] for line in lines)
        wait_until(lambda: sorted(map(int, box.verb("top", "-q", box.name).stdout.split())) == numbers, "the same three")
        assert "sleep 5000" in box.verb("top", "--format", "{{.Inside}} {{.Command}}", box.name).stdout


def test_top_of_the_reaper(caller):
    with detached(caller, "--init") as box:
        wait_until(lambda: "sleep 10000" in {line["command"] for line in top(box)}, "the program in the place of its reaper's copy")


def test_hostile_command_line(caller):
    with detached(caller, command=["sh", "-c", "sleep 1000; true \033[2J\033]0;evil\007 \u202e"]) as box:
        shown = wait_until(lambda: "evil" in (text := box.verb("top", "--no-trunc", box.name).stdout) and text, "its own command line")
        assert "\033" not in shown and "\007" not in shown and "\u202e" not in shown


def test_top_of_one_that_ended(caller):
    with detached(caller, command=["true"]) as box:
        wait_until(lambda: box.record["state"]["status"] == "exited", "its end")
        refused = box.verb("top", box.name)
        assert refused.returncode == 125 and "it is exited" in refused.stderr


def health_of(box):
    return box.record["health"]


def test_health(caller, level):
    """starting, healthy, unhealthy, healthy again; with events, and the last checks in inspect."""
    options = ["--health-cmd", "cat /tmp/well", "--health-interval", "50ms", "--health-retries", "2"]
    with detached(caller, *options, level=level) as box:
        wait_until(lambda: health_of(box) == "unhealthy", "unhealthy")
        assert box.sh("echo fine > /tmp/new && mv /tmp/new /tmp/well").returncode == 0
        wait_until(lambda: health_of(box) == "healthy", "healthy")
        assert box.name in box.verb("list", "--filter", "health=healthy", "--format", "{{.Name}}").stdout
        assert "(healthy)" in box.verb("list").stdout
        checks = wait_until(lambda: len(box.record["healthChecks"]["log"]) == 5 and box.record["healthChecks"], "five checks")
        assert checks["status"] == "healthy" and checks["failingStreak"] == 0
        assert checks["log"][-1]["output"] == "fine\n" and checks["log"][-1]["exitStatus"] == 0
        now = box.verb("health", box.name)
        assert (now.returncode, now.stdout) == (0, "passed, and the container is healthy\n  fine\n")
        assert box.sh("rm /tmp/well").returncode == 0
        box.verb("health", box.name)  # it may join a check that began before
        now = box.verb("health", "--format", "json", box.name)
        assert now.returncode == 1 and json.loads(now.stdout)["exitStatus"] == 1
        wait_until(lambda: health_of(box) == "unhealthy", "unhealthy again")

        def mine():
            events = [json.loads(line) for line in box.verb("events", "--format", "json").stdout.splitlines()]
            return [event["status"] for event in events if event["name"] == box.name and event["type"] == "health"]

        wait_until(lambda: mine()[:3] == ["unhealthy", "healthy", "unhealthy"], "the third event, which comes behind the record")
    assert box.verb("health", box.name).returncode == 125


def test_health_time_limit(caller):
    """A check that hangs, with all it started, is killed; one that floods is cut short."""
    hangs = "yes flood | head -c 300000; sleep 4321 & sleep 4321"
    for limit in ("2s", "20s", "100s"):
        with detached(caller, "--health-cmd", hangs, "--health-interval", "1d", "--health-timeout", limit, "--health-retries", "1") as box:
            now = box.verb("health", "--format", "json", box.name)
            result = json.loads(now.stdout)
            assert now.returncode == 1 and result["exitStatus"] == 124 and result["status"] == "unhealthy"
            wait_until(lambda: "sleep 4321" not in {line["command"] for line in top(box)}, "the end of all it started")
        if len(result["output"]) == 4096:  # how far it comes in that time is the machine's to say
            break
    assert len(result["output"]) == 4096


def test_health_start_period(caller):
    options = ["--health-interval", "30ms", "--health-retries", "1", "--health-start-period", "1d"]
    with detached(caller, "--health-cmd", "exit 3", *options) as box:
        checks = wait_until(lambda: len(box.record.get("healthChecks", {"log": []})["log"]) == 5 and box.record["healthChecks"], "five failures")
        assert (checks["status"], checks["failingStreak"], health_of(box)) == ("starting", 0, "starting")


def test_health_of_one_without(caller):
    with detached(caller) as box:
        refused = box.verb("health", box.name)
        assert refused.returncode == 125 and "it has no health check" in refused.stderr and "--health-cmd" in refused.stderr


def test_container_ends_during_a_check(caller):
    with detached(caller, "--health-cmd", "sleep 1000", "--health-interval", "20ms") as box:
        wait_until(lambda: any(line["command"].endswith("sleep 1000") and line["inside"] != 1 for line in top(box)), "a check")
        supervisor = box.record["supervisor"]["pid"]
        assert box.verb("stop", "-t", "1", box.name).returncode == 0
        wait_until(lambda: not alive(supervisor), "the supervisor's end")
        assert "health" not in box.record or box.record["health"] is None
