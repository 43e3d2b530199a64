"""A container's life through the verbs: create, start, stop, kill, restart, wait, rename, list, inspect, remove."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import pytest
from conftest import BUSYBOX, LEVELS, REPO, alive, processes_with, wait_until
from containers import root_store, store  # noqa: F401

RESTING = 'trap "exit 7" TERM; echo up; while :; do sleep 0.1; done'
DEAF = 'trap "" TERM; echo up; while :; do sleep 0.1; done'


def test_the_scenario(store):
    """The issue's own words."""
    bots = store.place / "bots"
    bots.mkdir()
    shutil.copy(REPO / "Tests/Demo/sample_bot.py", bots / "sample_bot.py")
    for name in ("data", "reports"):
        (store.place / name).mkdir()
    shutil.copy(REPO / "Tests/Demo/prices.csv", store.place / "data")
    store.caller.own(bots, store.place / "data", store.place / "reports")
    volumes = ["-v", "./data:/data:ro", "-v", "./reports:/reports"]
    made = store.ok(
        "create", "--name", "analytics-bot", *volumes, "--image", "./bots/sample_bot.py", "--memory-limit", "256",
        "--cpu-limit", "50.0",
    ).strip()  # fmt: skip
    assert len(made) == 16
    elsewhere = store.place / "elsewhere"
    elsewhere.mkdir()
    assert store.ok("start", "analytics-bot", cwd=elsewhere) == "analytics-bot\n"
    assert "analytics-bot" in store.ok("list")
    assert "analytics-bot" in store.ok("stats", "--no-stream", "analytics-bot")
    assert store.ok("wait", "analytics-bot") == "0\n"
    log = store.logs("analytics-bot").decode()
    assert "[bot] starting as uid" in log and "[bot] wrote /reports/report.txt" in log
    assert (store.place / "reports/report.txt").read_text()
    assert store.ok("stop", "analytics-bot") == "analytics-bot\n"
    assert store.ok("remove", "analytics-bot") == "analytics-bot\n"
    assert store.ids() == []


def test_the_bot_as_it_is(store):
    """Word for word, with no data for the bot: it fails, and its failure is told."""
    bots = store.place / "bots"
    bots.mkdir()
    shutil.copy(REPO / "Tests/Demo/sample_bot.py", bots / "sample_bot.py")
    store.caller.own(bots)
    store.ok("create", "--name", "analytics-bot", "--image", "./bots/sample_bot.py", "--memory-limit", "256",
             "--cpu-limit", "50.0")  # fmt: skip
    record = store.record("analytics-bot")
    assert record["configuration"]["limits"]["memoryMax"] == 256 << 20
    store.ok("start", "analytics-bot")
    assert store.ok("wait", "analytics-bot") == "1\n"
    store.ok("list")
    assert "FileNotFoundError" in store.logs("analytics-bot").decode()
    store.ok("stop", "analytics-bot")
    store.ok("remove", "analytics-bot")


@pytest.mark.parametrize("level", LEVELS)
def test_from_beginning_to_end(store, level):
    name = f"life-{level}"
    identity = store.create(RESTING, "--name", name, level=level)
    assert store.state(name) == "created"
    assert store.ok("start", "-q", name) == f"{name}\n"
    record = store.record(identity)
    assert record["state"]["status"] == "running"
    assert alive(record["state"]["process"]["pid"])
    wait_until(lambda: store.logs(name) == b"up\n", "the first line")
    assert "is running" in store.fails("start", name)
    assert "is running" in store.fails("remove", name)
    assert store.ok("stop", "-t", "300", name) == f"{name}\n"
    record = store.record(name)
    assert record["state"]["status"] == "exited" and record["state"]["exitStatus"] == 7
    assert record["supervisor"] is None
    wait_until(lambda: store.supervisors() == [], "the supervisor's end, which comes after its last word")
    assert store.ok("stop", name) == f"{name}\n"
    assert store.ok("wait", name) == "7\n"
    store.ok("start", "-q", identity[:6])
    assert store.state(name) == "running"
    store.ok("remove", "-f", name)
    assert store.ids() == []
    assert not alive(record["state"].get("process", {}).get("pid", 0))


def test_run_detached(store):
    identity = store.ok("run", "-d", "-q", "--name", "bg", "--image", BUSYBOX, "--", "sh", "-c", RESTING).strip()
    assert store.ids() == [identity]
    assert store.state("bg") == "running"
    store.ok("stop", "bg")
    assert store.state("bg") == "exited"


def test_run_detached_and_removed(store):
    gate = store.place / "gate"
    gate.mkdir()
    script = "while [ ! -e /gate/go ]; do sleep 0.05; done; exit 4"
    identity = store.ok("run", "-d", "--rm", "-q", "-v", f"{gate}:/gate", "--image", BUSYBOX, "--", "sh", "-c", script)
    identity = identity.strip()
    wait_until(lambda: store.state(identity) == "running", "it runs")

    def sockets():
        folder = f"/proc/{store.supervisor(identity)}/fd"
        with contextlib.suppress(OSError):
            return sum(os.readlink(f"{folder}/{name}").startswith("socket:") for name in os.listdir(folder))

    wait_until(lambda: sockets() == 2, "nobody asks its supervisor, which has its own and the end of its program")
    waiting = store.popen("wait", identity, text=True)

    def asks():
        """It is connected, and waits for an answer that does not come yet."""
        return sockets() == 3 and "skb" in pathlib.Path(f"/proc/{waiting.pid}/wchan").read_text()

    wait_until(asks, "its question")
    (gate / "go").touch()
    assert waiting.communicate(timeout=60)[0] == "4\n"
    wait_until(lambda: store.ids() == [], "it is gone by itself")
    assert [event["type"] for event in store.events()][-2:] == ["die", "remove"]


def test_what_cannot_start_is_not_left_behind(store):
    done = store.call("run", "-d", "-q", "--image", BUSYBOX, "--", "/no/such/program")
    assert done.returncode == 127 and "no such file" in done.stderr
    assert store.ids() == []
    identity = store.ok("create", "-q", "--image", BUSYBOX, "--", "/no/such/program").strip()
    done = store.call("start", "-q", identity)
    assert done.returncode == 127, done
    record = store.record(identity)
    assert record["state"]["status"] == "created" and record["supervisor"] is None
    wait_until(lambda: not store.supervisors(), "no supervisor")


@pytest.mark.parametrize("group", range(4))
def test_every_exit_status(root_store, group):
    """start -a ends as the program ends, and wait says the same."""
    statuses = [0, 1, 2, 63, 64, 100, 123, 124, 125, 126, 127, 128, 129, 137, 143, 200, 254, 255]
    for status in statuses[group::4]:
        identity = root_store.create(f"exit {status}")
        assert root_store.call("start", "-q", "-a", identity).returncode == status
        assert root_store.ok("wait", identity) == f"{status}\n"


@pytest.mark.parametrize("init", [[], ["--init"]])
def test_ends_by_signals(root_store, init):
    for number in (1, 2, 3, 6, 9, 14, 15):
        identity = root_store.create("exec sleep 1000", *init)
        root_store.ok("start", "-q", identity)
        # The shell in front of it has its own way with SIGINT and SIGQUIT.
        program = pathlib.Path(f"/proc/{root_store.pid(identity)}")
        (only,) = [program] if not init else [pathlib.Path(f"/proc/{pid}") for pid in (program / "task" / program.name / "children").read_text().split()]
        wait_until(lambda: (only / "cmdline").read_bytes() == b"sleep\x001000\0", "sleep")
        assert root_store.ok("kill", "-s", str(number), identity) == f"{identity}\n"
        assert root_store.ok("wait", identity) == f"{128 + number}\n", number
        verdict = root_store.record(identity)["state"]["verdict"]
        assert verdict["signal"] == number
    assert "is exited" in root_store.fails("kill", identity)


def test_kill_is_seen_by_the_program(root_store):
    identity = root_store.start('trap "echo usr1" USR1; echo up; while :; do sleep 0.05; done')
    wait_until(lambda: root_store.logs(identity) == b"up\n", "up")
    root_store.ok("kill", "-s", "USR1", identity)
    wait_until(lambda: root_store.logs(identity) == b"up\nusr1\n", "the signal")
    assert root_store.state(identity) == "running"


def test_stop_of_a_deaf_program(store):
    """It takes the time-out that was asked for, and not the container's own of a quarter of an hour: SIGKILL comes
    then, and everything is gone."""
    identity = store.start(DEAF + " & sleep 1000 & wait", "--stop-timeout", "900")
    wait_until(lambda: store.logs(identity) == b"up\n", "up")
    began = time.monotonic()
    store.ok("stop", "-t", "1", identity)
    assert 1 <= time.monotonic() - began < 900
    state = store.record(identity)["state"]
    assert state["exitStatus"] == 137
    assert state["verdict"]["signal"] in (9, 15)


def test_the_most_impatient_stop_counts(root_store):
    identity = root_store.start(DEAF)
    wait_until(lambda: root_store.logs(identity) == b"up\n", "up")
    patient = root_store.popen("stop", "-t", "1000", identity)
    wait_until(lambda: root_store.state(identity) == "stopping", "stopping")
    root_store.ok("stop", "-t", "0", identity)
    assert patient.wait(60) == 0


def test_stop_signal_and_stop_timeout(root_store):
    script = 'trap "exit 3" USR2; trap "" TERM; echo up; while :; do sleep 0.05; done'
    identity = root_store.start(script, "--stop-signal", "USR2", "--stop-timeout", "100")
    wait_until(lambda: root_store.logs(identity) == b"up\n", "up")
    root_store.ok("stop", identity)
    assert root_store.record(identity)["state"]["exitStatus"] == 3
    identity = root_store.start('trap "exit 9" INT; echo up; while :; do sleep 0.05; done')
    wait_until(lambda: root_store.logs(identity) == b"up\n", "up")
    root_store.ok("stop", "-s", "INT", "-t", "300", identity)
    assert root_store.record(identity)["state"]["exitStatus"] == 9


def test_double_fork_is_wholly_gone(store):
    token = f"forked-{os.urandom(8).hex()}"
    script = "(setsid sh -c 'exec sleep 98765' &); (setsid sleep 98765 &); exec sleep 1000"
    identity = store.start(script, "-e", f"FAMILY={token}")
    # All of the namespace, however it came to be there: its number is another's as soon as it is gone.
    wait_until(lambda: len(processes_with(token)) >= 3, "the whole family")
    store.ok("stop", "-t", "0", identity)
    assert processes_with(token) == []


def test_wait_never_misses_an_end(root_store):
    """Whether it comes before, while or after the end."""
    for turn in range(15):
        identity = root_store.create(f"exit {turn}")
        before = root_store.popen("wait", identity, text=True)
        root_store.ok("start", "-q", identity)
        after = root_store.popen("wait", identity, text=True)
        assert before.communicate(timeout=60)[0] == f"{turn}\n"
        assert after.communicate(timeout=60)[0] == f"{turn}\n"
        root_store.ok("remove", identity)


def test_restart(store):
    identity = store.start(RESTING, "--name", "again")
    first = store.pid(identity)
    assert store.ok("restart", "-t", "5", identity) == f"{identity}\n"
    second = store.pid(identity)
    assert store.state(identity) == "running" and first != second and alive(second)
    store.ok("stop", identity)
    store.ok("restart", identity)
    assert store.state(identity) == "running"


def test_restart_that_fails_says_so(root_store):
    folder = root_store.place / "shared"
    folder.mkdir()
    identity = root_store.start("exec sleep 1000", "-v", f"{folder}:/shared")
    folder.rename(root_store.place / "gone")
    done = root_store.call("restart", "-t", "0", identity)
    assert done.returncode == 125 and "shared" in done.stderr
    assert root_store.state(identity) == "exited"


def attempts(store, identity):
    return store.logs(identity).count(b"try\n")


def test_policy_on_failure(root_store):
    identity = root_store.start("echo try; exit 3", "--restart", "on-failure:2")
    root_store.until(identity, "exited")
    assert attempts(root_store, identity) == 3
    record = root_store.record(identity)
    assert record["restarts"] == 2 and record["state"]["exitStatus"] == 3
    identity = root_store.start("echo try; exit 0", "--restart", "on-failure")
    root_store.until(identity, "exited")
    assert attempts(root_store, identity) == 1
    identity = root_store.start("echo try; exit 1")
    root_store.until(identity, "exited")
    assert attempts(root_store, identity) == 1


@pytest.mark.parametrize("policy", ["always", "unless-stopped"])
def test_policy_always(root_store, policy):
    """It comes back, later each time, until a person stops it; also while it waits for its next start."""
    identity = root_store.start("echo try; exit 0", "--restart", policy)
    wait_until(lambda: attempts(root_store, identity) >= 3, "three runs")
    root_store.ok("stop", identity)
    record = root_store.record(identity)
    assert record["state"]["status"] == "exited" and record["wasStopped"] is True
    runs = attempts(root_store, identity)
    wait_until(lambda: root_store.supervisors() == [], "the supervisor's end, which comes after its last word")
    times = [event["time"] for event in root_store.events() if event["type"] == "start"]
    assert len(times) in (runs, runs + 1)  # the last may have been stopped before its word
    root_store.ok("start", "-q", identity)
    wait_until(lambda: attempts(root_store, identity) > runs, "it goes on")


def test_back_off_doubles(root_store):
    identity = root_store.start("exit 1", "--restart", "always")
    wait_until(lambda: root_store.record(identity)["restarts"] >= 4, "four restarts")
    root_store.ok("stop", "-t", "0", identity)
    events = root_store.events()

    def moment(event):
        clock = event["time"][11:-1].split(":")
        return int(clock[0]) * 3600 + int(clock[1]) * 60 + float(clock[2])

    waits = []
    for end, begin in zip(
        [event for event in events if event["type"] == "restart"],
        [event for event in events if event["type"] == "start"][1:],
    ):
        waits.append((moment(begin) - moment(end)) % 86400)
    for index, wait in enumerate(waits[:4]):
        assert wait >= 0.1 * 2**index * 0.9, waits


def test_limits_in_the_background(store):
    identity = store.start("exec sleep 1000", "--timeout", "1")
    assert store.ok("wait", identity) == "124\n"
    assert store.record(identity)["state"]["verdict"]["reason"] == "wall-time"
    identity = store.start("while :; do :; done", "--cpu-time", "1")
    store.ok("wait", identity)
    assert store.record(identity)["state"]["verdict"]["reason"] == "cpu-time"
    identity = store.start("while :; do echo 0123456789; done", "--output-limit", "100k")
    store.ok("wait", identity)
    assert store.record(identity)["state"]["verdict"]["reason"] == "output"
    assert len(store.logs(identity)) == 100 << 10


def test_init_reaps(store):
    identity = store.start("for i in 1 2 3 4 5; do (sleep 0.01 &) ; done; sleep 0.3; ps | grep -c Z || true", "--init")
    store.ok("wait", identity)


def test_terminal_without_any_terminal(store):
    """-t gives it one of its own, whoever started it and whatever that one had."""
    identity = store.start('tty; test -t 0 -a -t 1 -a -t 2 && echo all; echo "$TERM"; stty size', "-t")
    store.ok("wait", identity)
    lines = store.logs(identity).decode().split("\r\n")
    assert lines[0].startswith("/dev/") and lines[1] == "all", lines
    assert lines[2] not in ("", "dumb") or lines[2] == "dumb", lines


def test_with_nothing_from_the_caller(root_store):
    """No terminal, no stdin, closed streams, no environment: the container neither knows nor cares."""
    store = root_store
    words = store.words("run", "-d", "-q", "--image", BUSYBOX, "--", "sh", "-c", "echo out; echo err >&2; cat; echo end")
    code = "import os,sys\nfor n in (0,1,2): os.close(n)\nos.setsid()\nos.execve(sys.argv[1], sys.argv[1:], {})"
    done = subprocess.run(["/usr/bin/python3", "-c", code, *words], timeout=60, cwd="/", check=False)
    assert done.returncode == 0
    (identity,) = store.ids()
    assert store.ok("wait", identity) == "0\n"
    assert sorted(store.logs(identity).split()) == [b"end", b"err", b"out"]


def test_supervisor_keeps_nothing_of_its_caller(root_store):
    store = root_store
    secret = f"SECRET-{os.getpid()}"
    reading, writing = os.pipe()
    words = store.words("run", "-d", "-q", "--image", BUSYBOX, "--", "sh", "-c", "env; ls -l /proc/self/fd; sleep 1000")
    environment = store.caller.environment({"SECRET": secret})
    done = subprocess.run(words, env=environment, pass_fds=(writing,), cwd=store.place, capture_output=True, check=True)
    assert done.stdout
    os.close(writing)
    assert os.read(reading, 1) == b""  # nobody has the other end any more
    os.close(reading)
    (identity,) = store.ids()
    supervisor = store.supervisor(identity)
    assert secret not in pathlib.Path(f"/proc/{supervisor}/environ").read_text()
    assert os.readlink(f"/proc/{supervisor}/cwd") == "/"
    for number in ("0", "1", "2"):
        assert os.readlink(f"/proc/{supervisor}/fd/{number}") == "/dev/null"
    assert os.getsid(supervisor) != os.getsid(0)
    wait_until(lambda: b"PATH=" in store.logs(identity), "its environment")
    assert secret.encode() not in store.logs(identity)


def test_changes_stay_from_start_to_start(store):
    """What the program changes in its root is there again at the next start: script image and folder image."""
    identity = store.create('cat /root/seen 2>/dev/null; echo x >> /root/seen; echo run', level="standard")
    for _ in range(3):
        store.ok("start", "-q", identity)
        store.ok("wait", identity)
    assert store.logs(identity) == b"run\nx\nrun\nx\nx\nrun\n"
    root = store.place / "root"
    for name in ("bin", "dev", "etc", "proc", "run", "sys", "tmp"):
        (root / name).mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), root / "bin/busybox")
    (root / "bin/sh").symlink_to("busybox")
    (root / "bin/cat").symlink_to("busybox")
    (root / "etc/old").write_text("old\n")
    store.caller.own(root)
    script = "cat /etc/old /etc/new; echo changed > /etc/old; echo new > /etc/new; exit 0"
    made = store.ok("create", "-q", "--image", "./root", "--", "sh", "-c", script).strip()
    for _ in range(2):
        store.ok("start", "-q", made)
        assert store.ok("wait", made) == "0\n"
    assert b"old\n" in store.logs(made) and store.logs(made).endswith(b"changed\nnew\n")
    assert (root / "etc/old").read_text() == "old\n" and not (root / "etc/new").exists()


def test_strict_root_is_read_only(store):
    identity = store.create("touch /root/x && echo written; touch /etc/x && echo written; true", level="strict")
    store.ok("start", "-q", identity)
    assert store.ok("wait", identity) == "0\n"
    assert b"written" not in store.logs(identity)


def test_relative_paths_are_settled_at_create(store):
    work = store.place / "work"
    (work / "data").mkdir(parents=True)
    (work / "data/word").write_text("from here\n")
    (work / "bot.sh").write_text("#!/bin/sh\ncat /data/word; pwd\n")
    (work / "bot.sh").chmod(0o755)
    store.caller.own(work)
    identity = store.ok("create", "-q", "-v", "./data:/data", "./bot.sh", cwd=work).strip()
    store.ok("start", "-q", identity, cwd="/")
    store.ok("wait", identity, cwd="/")
    assert store.logs(identity).startswith(b"from here\n")
    store.ok("remove", identity)
    # At minimal the program begins where create was called, not where start is.
    identity = store.ok("create", "-q", "--isolation", "minimal", "--image", "template:host", "--", "pwd", cwd=work)
    store.ok("start", "-q", identity.strip(), cwd="/")
    store.ok("wait", identity.strip())
    assert store.logs(identity.strip()).decode().strip() == str(work)
    # But an image has folders of its own.
    identity = store.ok("run", "-d", "-q", "--isolation", "minimal", BUSYBOX, "--", "pwd", cwd=work).strip()
    store.ok("wait", identity)
    assert store.logs(identity) == b"/\n"


def test_rename(store):
    identity = store.create(RESTING, "--name", "one")
    store.ok("rename", "one", "two")
    assert store.record("two")["id"] == identity
    assert "two" in store.fails("start", "one")
    store.ok("start", "-q", "two")
    store.ok("rename", "two", "three")
    assert store.record("three")["id"] == identity
    other = store.create("true", "--name", "two")
    assert "has it" in store.fails("rename", "two", "three")
    assert store.record("two")["id"] == other
    assert "is no name" in store.fails("rename", "two", "no name")
    store.ok("stop", "three")
    store.ok("rename", identity, "four")
    assert sorted(os.listdir(store.path / "names")) == ["four", "two"]


def test_list(store):
    one = store.start(RESTING, "--name", "alpha", "-l", "team=red", "-l", "bare")
    two = store.create("exit 3", "--name", "beta", "-l", "team=blue", "--isolation", "minimal", level="minimal")
    store.ok("start", "-q", two)
    store.ok("wait", two)
    three = store.create("x" * 100, "--name", "gamma", level="strict")

    def found(*words, verb="list"):
        return set(store.ok(verb, "-q", *words).split())

    everything = {one, two, three}
    assert found() == everything and found("-a") == everything
    assert found("--running") == {one}
    for alias in ("ps", "ls"):
        assert found(verb=alias) == {one}
        assert found("-a", verb=alias) == everything
    for text, expected in {
        "name=alpha": {one}, "name=a": everything, f"id={two[:8]}": {two}, "state=running": {one},
        "status=exited": {two}, "state=created": {three}, "label=team": {one, two}, "label=team=blue": {two},
        "label=bare": {one}, "image=busybox": everything, "isolation=strict": {three}, "exited=3": {two},
        "exited=0": set(), "health=healthy": set(),
    }.items():  # fmt: skip
        assert found("-a", "-f", text) == expected, text
    assert found("-a", "-f", "label=team", "-f", "state=running") == {one}
    rows = json.loads(store.ok("list", "-a", "--format", "json"))
    assert [row["name"] for row in rows] == ["alpha", "beta", "gamma"]
    assert rows[0]["pid"] == store.pid(one) and rows[0]["labels"] == {"team": "red", "bare": ""}
    assert rows[1]["exitStatus"] == 3
    lines = store.ok("list", "--format", "{{.Name}}\\t{{.State}} {{.ID}}").splitlines()
    assert lines[0] == f"alpha\trunning {one}"
    table = store.ok("list")
    assert one[:12] in table and one not in table and "…" in table
    whole = store.ok("list", "--no-trunc")
    assert one in whole and "x" * 100 in whole
    assert "no field" in store.fails("list", "--format", "{{.Nothing}}")
    assert "--filter" in store.fails("list", "--filter", "colour=red")
    store.ok("stop", "-t", "0", one)


def test_inspect(store):
    identity = store.create(RESTING, "--name", "look")
    assert "never started" in store.fails("inspect", "--receipt", "look")
    store.ok("start", "-q", "look")
    assert store.ok("inspect", "-f", "{{.State.Status}} {{.Name}}", "look") == "running look\n"
    assert json.loads(store.ok("inspect", "-f", "{{json .Labels}}", "look")) == {}
    receipt = json.loads(store.ok("inspect", "--receipt", "look"))[0]
    assert receipt["id"] == identity and receipt["isolation"] == "standard"
    done = store.call("inspect", "look", "nothere")
    assert done.returncode == 125 and "no container nothere" in done.stderr
    assert json.loads(done.stdout)[0]["id"] == identity


def test_several_at_once(store):
    ids = [store.create(RESTING) for _ in range(3)]
    assert store.ok("start", "-q", *ids).split() == ids
    wait_until(lambda: all(store.logs(identity) == b"up\n" for identity in ids), "up")
    done = store.call("stop", "-t", "300", ids[0], "nothere", *ids[1:])
    assert done.returncode == 125 and done.stdout.split() == ids
    assert store.ok("wait", *ids).split() == ["7", "7", "7"]
    assert store.ok("rm", *ids).split() == ids


def test_pause_needs_cgroup_2(root_store):
    identity = root_store.start(RESTING)
    done = root_store.call("pause", identity)
    if done.returncode == 0:
        assert root_store.state(identity) == "paused"
        root_store.ok("unpause", identity)
    else:
        assert "cgroup v2" in done.stderr
    assert root_store.state(identity) == "running"


def test_machine_goes_down(root_store):
    """SIGTERM to a supervisor ends its program, and no policy brings it back."""
    identity = root_store.start(RESTING, "--restart", "always")
    wait_until(lambda: root_store.logs(identity) == b"up\n", "up")
    os.kill(root_store.supervisor(identity), signal.SIGTERM)
    wait_until(lambda: not root_store.supervisors(), "the supervisor's end")
    record = root_store.record(identity)
    assert record["state"]["status"] == "exited" and record["state"]["exitStatus"] == 7
    assert record["wasStopped"] is False


def test_other_signals_mean_nothing_to_a_supervisor(root_store):
    identity = root_store.start(RESTING)
    supervisor = root_store.supervisor(identity)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGPIPE, signal.SIGALRM):
        os.kill(supervisor, number)
    time.sleep(0.2)
    assert root_store.state(identity) == "running"


def test_started_and_stopped_in_a_row(root_store):
    """A verb that has returned has happened: the next one never meets what is left of it."""
    identity = root_store.create("exec sleep 1000")
    for _ in range(15):
        root_store.ok("start", "-q", identity)
        root_store.ok("stop", "-t", "0", identity)
    root_store.ok("start", "-q", identity)
    root_store.ok("kill", identity)
    root_store.ok("wait", identity)
    root_store.ok("remove", identity)


def own_memory(pid):
    """Bytes of a process that no other shares and no file holds."""
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"Pss_Anon:\s+(\d+)", text)[1]) << 10


@pytest.mark.parametrize("count", [200])
def test_many_at_once(root_store, count):
    """Started in parallel, all run, none takes much; stopped and removed, nothing is left. (How fast: make bench.)"""
    store = root_store
    ids = [store.create("exec sleep 1000", "--name", f"many-{number}") for number in range(count)]
    for at in range(0, count, 50):
        processes = [store.popen("start", "-q", identity) for identity in ids[at : at + 50]]
        for process in processes:
            out, err = process.communicate(timeout=300)
            assert process.returncode == 0, err
    rows = json.loads(store.ok("list", "--format", "json"))
    assert [row["state"] for row in rows] == ["running"] * count
    supervisors = store.supervisors()
    assert len(supervisors) == count
    assert sum(own_memory(pid) for pid in supervisors) <= 300 << 20
    assert len({row["pid"] for row in rows}) == count
    done = store.ok("stop", "-t", "0", *ids)
    assert done.split() == ids
    store.ok("remove", *ids)
    assert store.ids() == []
    wait_until(lambda: store.supervisors() == [], "the supervisor's end, which comes after its last word")
