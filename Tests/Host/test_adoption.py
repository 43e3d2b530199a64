"""Programs whose supervisor was killed: ended, or, with --orphan adopt, taken over by the next command that looks.

What an adopted program writes is in its log once and in order, whenever its supervisors were killed; its limits,
health checks and restart policy go on; and nobody else's process is ever taken for it.
"""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import threading
import time

import pytest
from adoption import (  # noqa: F401
    ADOPT, COUNTER, adopting, edit, in_order, kill_supervisor, row, store, without_a_gap, without_a_gap_so_far
)  # fmt: skip
from conftest import LEVELS, PATIENCE, alive, wait_until

# The two policies


@pytest.mark.parametrize("options", [[], ["--orphan", "end"]])
def test_end(store, options):  # noqa: F811
    identity = store.start(COUNTER, *options)
    pid = store.pid(identity)
    kill_supervisor(store, identity)
    assert (row(store, identity)["state"], row(store, identity)["exitStatus"]) == ("exited", 137)
    assert not alive(pid)


@pytest.mark.parametrize("options", [[], ["--init"]])
@pytest.mark.parametrize("level", LEVELS)
def test_adopt(adopting, level, options):
    identity = adopting.start(COUNTER, "--name", "bot", *ADOPT, *options, level=level)
    record = adopting.record("bot")
    wait_until(lambda: without_a_gap(adopting.logs("bot")) > 5, "some numbers")
    killed = kill_supervisor(adopting, identity)
    assert alive(record["state"]["process"]["pid"])
    assert row(adopting, identity)["state"] == "running"
    now = adopting.record("bot")
    assert now["state"] == record["state"]
    assert now["supervisor"]["pid"] != killed and alive(now["supervisor"]["pid"])
    in_order(adopting)
    seen = without_a_gap(adopting.logs("bot"))
    wait_until(lambda: without_a_gap(adopting.logs("bot")) > seen + 5, "more numbers")
    assert adopting.ok("exec", "bot", "echo", "inside") == "inside\n"
    assert "adopt" in [event["type"] for event in adopting.events()]
    # It gets its SIGTERM, and says so; what it said with its status, only its parent could have heard.
    adopting.ok("stop", "-t", "300", "bot")
    assert adopting.logs("bot").split()[-1] == b"bye"
    without_a_gap(adopting.logs("bot"))
    verdict = adopting.record("bot")["state"]["verdict"]
    assert (verdict["reason"], verdict["signal"], verdict["exitCode"]) == ("signaled", 15, None)
    assert "its own status" in verdict["note"]
    # And it begins anew like any other.
    adopting.ok("start", "-q", "bot")
    adopting.ok("kill", "bot")
    adopting.until("bot", "exited")
    assert adopting.record("bot")["state"]["exitStatus"] == 137
    assert "note" not in adopting.record("bot")["state"]["verdict"]


def test_recover_says_so(adopting):
    identity = adopting.start(COUNTER, "--name", "bot", *ADOPT)
    kill_supervisor(adopting, identity)
    assert adopting.ok("system", "recover") == "bot was running without a supervisor, and is adopted\n"
    assert adopting.ok("system", "recover") == "all is in order\n"


VERBS = {
    "stop": (["stop", "bot"], "exited"),
    "kill": (["kill", "bot"], "exited"),
    "kill -s USR1": (["kill", "-s", "USR1", "bot"], "running"),
    "restart": (["restart", "bot"], "running"),
    "rename": (["rename", "bot", "other"], "running"),
    "update": (["update", "--restart", "no", "bot"], "running"),
    "exec": (["exec", "bot", "true"], "running"),
    "cp": (["cp", "bot:/bin/sh", "-"], "running"),
    "logs": (["logs", "bot"], "running"),
    "top": (["top", "bot"], "running"),
    "stats": (["stats", "--no-stream", "bot"], "running"),
    "inspect": (["inspect", "bot"], "running"),
    "health": (["health", "bot"], "running"),
    "remove -f": (["remove", "-f", "bot"], None),
}


def test_every_verb_finds_it(adopting):
    """Whichever command comes first after the supervisor's end."""
    script = 'trap : USR1; ' + COUNTER
    for name, (words, state) in VERBS.items():
        identity = adopting.start(script, "--name", "bot", *ADOPT, "--health-cmd", "true")
        pid = adopting.pid(identity)
        wait_until(lambda: b"1\n" in adopting.logs(identity), "its trap")
        kill_supervisor(adopting, identity)
        done = adopting.call(*words, text=False)
        assert done.returncode == 0, (name, done.stderr)
        if state is None:
            assert not alive(pid) and adopting.ids() == []
            continue
        adopting.until(identity, state)
        if name not in {"stop", "kill", "restart"}:
            assert adopting.pid(identity) == pid, name
            assert adopting.supervisor(identity), name
        without_a_gap(adopting.logs(identity)) if name != "restart" else None
        adopting.ok("remove", "-f", identity)
        assert not alive(pid)


def test_start_and_remove_say_that_it_runs(adopting):
    identity = adopting.start(COUNTER, "--name", "bot", *ADOPT)
    for verb in ("start", "remove"):
        kill_supervisor(adopting, identity)
        assert "it is running" in adopting.fails(verb, "bot")


@contextlib.contextmanager
def killed_at_last(process):
    with process:
        try:
            yield process
        finally:
            process.kill()


def test_clients_go_on(adopting):
    """wait and logs -f see the end of a program through three supervisors; attach says where its own went."""
    identity = adopting.start(COUNTER, "--name", "bot", *ADOPT)
    with (
        killed_at_last(adopting.popen("logs", "-f", "bot")) as follower,
        killed_at_last(adopting.popen("wait", "bot")) as waiter,
        killed_at_last(adopting.popen("attach", "bot")) as watcher,
    ):
        assert watcher.stdout.readline()
        text = bytearray()
        reader = threading.Thread(target=lambda: text.extend(follower.stdout.read()))
        reader.start()
        for _ in range(3):
            seen = without_a_gap(adopting.logs("bot"))
            wait_until(lambda: without_a_gap(adopting.logs("bot")) > seen + 10, "more numbers")
            kill_supervisor(adopting, identity)
        assert watcher.wait(PATIENCE) == 125
        assert b"has another" in watcher.stderr.read() and watcher.stdout.read() and alive(adopting.pid("bot"))
        adopting.ok("stop", "-t", "300", "bot")
        assert waiter.wait(PATIENCE) == 0 and waiter.stdout.read() == b"143\n"
        assert follower.wait(PATIENCE) == 0
        reader.join(PATIENCE)
    assert bytes(text).split()[-1] == b"bye"
    assert without_a_gap(bytes(text)) == without_a_gap(adopting.logs("bot"))


def test_many_find_it_at_once(adopting):
    identity = adopting.start(COUNTER, *ADOPT)
    pid = adopting.pid(identity)
    for _ in range(3):
        kill_supervisor(adopting, identity)
        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            seen = [future.result() for future in [pool.submit(row, adopting, identity) for _ in range(10)]]
        assert [each["state"] for each in seen] == ["running"] * 10
        assert len(adopting.supervisors()) == 1 and adopting.pid(identity) == pid
    without_a_gap(adopting.logs(identity))


def test_half_a_character(adopting):
    """What the log holds back until its end comes, another supervisor adds to."""
    script = "trap \"printf '\\\\254 whole\\\\n'\" USR1; printf 'half \\342\\202'; while :; do sleep 0.05; done"
    identity = adopting.start(script, *ADOPT)
    wait_until(lambda: adopting.logs(identity) == b"half ", "the first half")
    kill_supervisor(adopting, identity)
    adopting.ok("kill", "-s", "USR1", identity)
    wait_until(lambda: adopting.logs(identity).endswith(b"\n"), "the other half")
    assert adopting.logs(identity).decode() == "half € whole\n"


# What goes on


def test_wall_time(adopting):
    """It counts from the program's start, not from its adoption."""
    identity = adopting.start("exec sleep 100000", *ADOPT, "--timeout", "8s", "--stop-timeout", "1s")
    program = adopting.pid(identity)  # before: a verb after it would adopt it
    kill_supervisor(adopting, identity)
    time.sleep(8)  # nobody is there to hold it to its limit
    assert alive(program)
    row(adopting, identity)  # a supervisor comes, and ends it
    adopting.until(identity, "exited")
    verdict = adopting.record(identity)["state"]["verdict"]
    assert (verdict["reason"], adopting.record(identity)["state"]["exitStatus"]) == ("wall-time", 124)
    assert 8 <= verdict["wallSeconds"]
    (adopted,) = [event for event in adopting.events() if event["type"] == "adopt"]
    assert adopted["id"] == identity


def test_output_limit(adopting):
    """What was written before counts too."""
    script = "trap 'printf 67890' USR1; printf 12345; while :; do sleep 0.05; done"
    identity = adopting.start(script, *ADOPT, "--output-limit", "8")
    wait_until(lambda: adopting.logs(identity) == b"12345", "the first five")
    kill_supervisor(adopting, identity)
    adopting.ok("kill", "-s", "USR1", identity)
    adopting.until(identity, "exited")
    assert adopting.record(identity)["state"]["verdict"]["reason"] == "output"
    assert adopting.logs(identity) == b"12345678"


def test_health(adopting):
    """Another supervisor goes on with what is known: it does not begin with "starting" again."""
    options = ["--health-cmd", "test -e /tmp/well", "--health-interval", "50ms", "--health-retries", "1"]
    identity = adopting.start("touch /tmp/well; exec sleep 100000", *ADOPT, *options)

    def told():
        return [event["status"] for event in adopting.events() if event["type"] == "health"]

    # The first check may be there before the program; and the record says it a moment before the journal does.
    wait_until(lambda: told()[-1:] == ["healthy"], "healthy")
    before = told()
    kill_supervisor(adopting, identity)
    assert adopting.record(identity)["health"] == "healthy"
    adopting.ok("exec", identity, "rm", "/tmp/well")
    wait_until(lambda: told() != before, "an event")
    assert told() == [*before, "unhealthy"]
    assert adopting.record(identity)["health"] == "unhealthy"


def test_restart_policy(adopting):
    """An end without a status counts as a failure."""
    script = "echo up; until test -e /tmp/go; do sleep 0.05; done; rm /tmp/go; exit 0"
    identity = adopting.start(script, *ADOPT, "--restart", "on-failure:2")
    pid = adopting.pid(identity)
    wait_until(lambda: adopting.logs(identity) == b"up\n", "its word")
    kill_supervisor(adopting, identity)
    adopting.ok("exec", "-d", identity, "touch", "/tmp/go")
    wait_until(lambda: adopting.logs(identity) == b"up\nup\n", "another start")
    assert adopting.pid(identity) != pid and adopting.record(identity)["restarts"] == 1
    (died,) = [event for event in adopting.events() if event["type"] == "die"]
    assert died["exitStatus"] == 125 and died["verdict"]["reason"] == "engine"
    # This one has a supervisor of its own again, which sees its end.
    adopting.ok("exec", "-d", identity, "touch", "/tmp/go")
    adopting.until(identity, "exited")
    assert adopting.record(identity)["state"]["exitStatus"] == 0


def test_a_stop_under_way_goes_on(adopting):
    identity = adopting.start('trap "" TERM; echo up; while :; do sleep 0.1; done', *ADOPT, "--stop-timeout", "1s")
    wait_until(lambda: adopting.logs(identity) == b"up\n", "its word")
    with adopting.popen("stop", "-t", "1000", identity) as client:
        adopting.until(identity, "stopping")
        kill_supervisor(adopting, identity)
        # Its client asks again: whoever it then finds is told the same.
        adopting.ok("list")
        adopting.ok("stop", "-t", "0", identity)
        assert client.wait(PATIENCE) == 0
    assert adopting.record(identity)["state"]["exitStatus"] == 137


def test_killed_after_its_adoption(adopting):
    identity = adopting.start("exec sleep 100000", *ADOPT)
    kill_supervisor(adopting, identity)
    adopting.ok("kill", identity)
    adopting.until(identity, "exited")
    verdict = adopting.record(identity)["state"]["verdict"]
    assert (verdict["reason"], verdict["signal"]) == ("killed", 9)


# Ends that nobody saw


@pytest.mark.parametrize("adopted", [False, True])
def test_ended_while_nobody_watched(adopting, adopted):
    identity = adopting.start("echo up; exec sleep 100000", "--name", "bot", *ADOPT)
    wait_until(lambda: adopting.logs(identity) == b"up\n", "its word")
    pid = adopting.pid(identity)
    kill_supervisor(adopting, identity)
    if adopted:
        adopting.ok("list")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not alive(pid), "the program's end")
    adopting.until(identity, "exited")
    found = row(adopting, identity)
    assert (found["state"], found["exitStatus"]) == ("exited", 125)
    verdict = adopting.record(identity)["state"]["verdict"]
    assert verdict["reason"] == "engine" and verdict["signal"] is None and verdict["exitCode"] is None
    assert ("by itself" if adopted else "nobody saw how") in verdict["note"]
    assert adopting.ok("wait", "bot") == "125\n"
    in_order(adopting)
    assert adopting.logs(identity) == b"up\n"


def test_ended_in_a_flood_while_nobody_watched(adopting):
    """What was taken from it by then is in the log, once and in order; the rest went with its pipe."""
    script = "i=0; while :; do seq $((i*200+1)) $((i*200+200)); i=$((i+1)); sleep 0.05; done"
    identity = adopting.start(script, *ADOPT, "--log-max-size", "256k", "--log-max-files", "1000")
    for _ in range(5):
        wait_until(lambda: adopting.logs(identity, "--tail", "1"), "a number")
        pid = adopting.pid(identity)
        kill_supervisor(adopting, identity)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not alive(pid), "the program's end")
        assert row(adopting, identity)["exitStatus"] == 125
        assert without_a_gap_so_far(adopting.logs(identity).decode()) > 0
        for file in (adopting.folder(identity) / "log").iterdir():
            file.unlink()
        adopting.ok("start", "-q", identity)


def test_truth_of_a_store_that_cannot_be_written(adopting):
    """Where nothing can be adopted, the list says that it runs; and what cannot be done says why."""
    identity = adopting.start(COUNTER, *ADOPT)
    pid = adopting.pid(identity)
    lock = adopting.folder(identity) / "lock"
    kill_supervisor(adopting, identity)
    lock.rename(adopting.place / "lock")
    lock.symlink_to("/nonexistent")
    assert row(adopting, identity)["state"] == "running" and alive(pid)
    lock.unlink()
    (adopting.place / "lock").rename(lock)
    adopting.ok("stop", "-t", "0", identity)


# What is never adopted


@pytest.fixture
def stranger(adopting):
    """A process of the caller's that is no container's."""
    words = [*adopting.caller.become(), "sleep", "100000"]
    with subprocess.Popen(words, cwd=adopting.place, stdin=subprocess.DEVNULL) as process:
        wait_until(lambda: pathlib.Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n", "sleep")
        yield process
        process.kill()


def start_time(pid):
    text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    return int(text[text.rindex(")") + 1 :].split()[19])


@pytest.mark.parametrize("exactly", [False, True])
@pytest.mark.parametrize("verb", [["list", "-a"], ["stop", "-t", "0", "bot"], ["system", "recover"], ["remove", "-f", "bot"]])
def test_a_stranger_is_left_alone(adopting, stranger, verb, exactly):
    """Its pid was used again; or somebody wrote another process into the record, start time and all."""
    identity = adopting.start("exec sleep 100000", "--name", "bot", *ADOPT)
    pid = adopting.pid(identity)
    kill_supervisor(adopting, identity)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not alive(pid), "the program's end")

    def change(record):
        record["state"]["process"]["pid"] = stranger.pid
        if exactly:
            record["state"]["process"]["startTime"] = start_time(stranger.pid)

    edit(adopting, identity, change)
    adopting.ok(*verb)
    if verb[0] != "remove":
        assert adopting.state("bot") == "exited" and not adopting.supervisors()
    assert stranger.poll() is None
    assert "adopt" not in [event["type"] for event in adopting.events()]


@pytest.mark.parametrize("what", ["gone", "link", "file", "state", "short state"])
def test_pipes_that_are_not_ours(adopting, what):
    """Then nobody could go on with its output: it is ended, and its verdict says why."""
    identity = adopting.start(COUNTER, "--name", "bot", *ADOPT)
    pid = adopting.pid(identity)
    kill_supervisor(adopting, identity)
    place = adopting.path / "run/supervised" / identity
    precious = adopting.place / "precious"
    precious.write_text("precious")
    if what == "state":
        (place / "output").write_bytes(b"\xff" * 64)
    elif what == "short state":
        (place / "output").write_bytes(b"")
    else:
        (place / "stdout").unlink()
        if what == "link":
            (place / "stdout").symlink_to(precious)
        if what == "file":
            (place / "stdout").write_text("")
    found = row(adopting, identity)
    assert (found["state"], found["exitStatus"]) == ("exited", 137)
    assert not alive(pid) and precious.read_text() == "precious"
    assert "could not be adopted" in adopting.record("bot")["state"]["verdict"]["note"]
    in_order(adopting)
    adopting.ok("start", "-q", "bot")


def test_a_record_that_makes_no_sense(adopting):
    identity = adopting.start(COUNTER, "--name", "bot", *ADOPT)
    pid = adopting.pid(identity)
    kill_supervisor(adopting, identity)
    edit(adopting, identity, lambda record: record["configuration"].update(terminal=True))
    assert "could not be adopted" in adopting.ok("system", "recover")
    assert not alive(pid) and adopting.state("bot") == "exited"


def test_want_of_descriptors(adopting):
    """That a supervisor can open nothing more says nothing about the program: it runs on, and is adopted by the next."""
    identity = adopting.start(COUNTER, "--name", "bot", *ADOPT)
    pid = adopting.pid(identity)
    told = adopted = 0
    for limit in range(4, 40):
        kill_supervisor(adopting, identity)
        script = f'ulimit -n {limit} && exec "$@"'
        done = adopting.caller.execute(["sh", "-c", script, "sh", *adopting.words("system", "recover")])
        assert alive(pid), (limit, done)
        told += "cannot adopt bot" in done.stdout + done.stderr and "too many open files" in done.stdout + done.stderr
        adopted += "adopted" in done.stdout
        assert row(adopting, identity)["state"] == "running" and adopting.pid(identity) == pid, (limit, done)
    assert told > 3 and adopted > 3, (told, adopted)


def test_a_record_of_an_older_codex32(store):  # noqa: F811
    identity = store.start(COUNTER)
    pid = store.pid(identity)
    kill_supervisor(store, identity)
    edit(store, identity, lambda record: record["configuration"].pop("orphan"))
    assert row(store, identity)["state"] == "exited" and not alive(pid)
    store.ok("start", "-q", identity)


# Asking for it


def test_help(store):  # noqa: F811
    for verb in ("create", "run"):
        assert "--orphan POLICY" in store.ok(verb, "--help")


def test_refusals(store):  # noqa: F811
    words = ["-q", "--image", "template:busybox", "--", "true"]
    for option in ("-t", "-i"):
        for verb in (["create"], ["run", "-d"]):
            said = store.fails(*verb, *ADOPT, option, *words)
            assert f"cannot use --orphan adopt with {option}" in said and "hint:" in said
    assert "end or adopt" in store.fails("create", "--orphan", "keep", *words)
    said = store.fails("run", *ADOPT, *words)
    assert "--orphan" in said and "add -d" in said
    assert store.ids() == []
    # The plan says it too.
    plan = json.loads(store.ok("create", *ADOPT, "--dry-run", "--format", "json", *words))
    assert "outlive codex32" in json.dumps(plan)
