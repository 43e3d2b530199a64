"""Containers whose restart policy goes on where their supervisor was killed: while they waited for their next start,
and while their program ran and ended with it. The next command that meets one has it looked after again."""

import contextlib
import json
import os
import random
import re
import time

import pytest
from adoption import ADOPT, edit, in_order, kill_supervisor, row, store  # noqa: F401
from conftest import alive, wait_until

FAILS = "echo try; exit 3"
RUNS = "echo try; exec sleep 100000"


def written(store, identity):  # noqa: F811
    """The record as it lies there: nothing is mended by looking at it."""
    return json.loads((store.folder(identity) / "container.json").read_text())


def attempts(store, identity):  # noqa: F811
    return store.logs(identity).count(b"try\n")


def killed_while_it_waits(store, identity):  # noqa: F811
    """Kills the supervisor between two runs, and returns the record that it left."""
    for _ in range(50):
        # Later ones wait longer, and are easier to meet.
        wait_until(lambda: written(store, identity)["state"]["status"] == "restarting", "its wait")
        kill_supervisor(store, identity)
        left = written(store, identity)
        if left["state"]["status"] == "restarting":
            return left
        store.ok("list")  # its program had begun: once more
    return pytest.fail("its wait was never met")


@pytest.mark.parametrize("policy", ["always", "unless-stopped", "on-failure", "on-failure:1000"])
def test_it_goes_on_waiting(store, policy):  # noqa: F811
    identity = store.start(FAILS, "--restart", policy)
    left = killed_while_it_waits(store, identity)
    tries = attempts(store, identity)
    found = row(store, identity)
    assert found["state"] in {"restarting", "running"}
    assert store.supervisor(identity) not in {None, left["supervisor"]["pid"]}
    wait_until(lambda: attempts(store, identity) > tries, "its next start")
    assert store.record(identity)["restarts"] >= left["restarts"]
    store.ok("stop", identity)
    record = store.record(identity)
    assert record["state"]["status"] == "exited" and record["wasStopped"] is True and record["supervisor"] is None
    in_order(store)


def test_no_start_too_many(store):  # noqa: F811
    """The count goes on: three runs, whichever supervisor counted."""
    identity = store.start(FAILS, "--restart", "on-failure:2")
    for _ in range(4):
        with contextlib.suppress(ProcessLookupError, TypeError):  # its last run may have ended
            kill_supervisor(store, identity)
        store.ok("list")
        time.sleep(random.random() * 0.2)
    store.until(identity, "exited")
    assert store.record(identity)["restarts"] == 2 and attempts(store, identity) <= 3


@pytest.mark.parametrize("options", [[], ADOPT], ids=["end", "adopt"])
def test_one_that_ended_with_its_supervisor(store, options):  # noqa: F811
    identity = store.start(RUNS, "--name", "bot", "--restart", "unless-stopped", *options)
    pid = store.pid(identity)
    kill_supervisor(store, identity)
    if options:
        os.kill(pid, 9)
        wait_until(lambda: not alive(pid), "the program's end")
    assert store.ok("system", "recover") == "bot was running without a supervisor, and is started again, as its policy says\n"
    store.until(identity, "running")
    assert store.pid(identity) != pid and not alive(pid) and store.record(identity)["restarts"] == 1
    told = lambda: [event["type"] for event in store.events() if event["type"] in {"start", "die", "restart"}]  # noqa: E731
    wait_until(lambda: len(told()) >= 4, "the last event, which comes behind the record")
    assert told() == ["start", "die", "restart", "start"]
    assert store.ok("exec", "bot", "echo", "inside") == "inside\n"


def test_what_a_person_stopped_stays_so(store):  # noqa: F811
    identity = store.start('trap "" TERM; echo up; while :; do sleep 0.1; done', "--restart", "always")
    wait_until(lambda: store.logs(identity) == b"up\n", "its word")
    with store.popen("stop", "-t", "1000", identity) as client:
        wait_until(lambda: written(store, identity)["state"]["status"] == "stopping", "its stop")
        kill_supervisor(store, identity)
        # The client asks again, and finds that it has ended.
        assert client.wait() == 0
    record = store.record(identity)
    assert (record["state"]["status"], record["wasStopped"]) == ("exited", True)
    wait_until(lambda: store.supervisors() == [], "the supervisor's end, which comes after its last word")


def test_whichever_verb_comes_first(store):  # noqa: F811
    words = {
        "stop": 0, "restart": 0, "start": 125, "kill": None, "remove": 125, "exec": 125, "rename": 0, "update": 0,
        "inspect": 0, "logs": 0, "remove -f": 0,
    }  # fmt: skip
    more = {"exec": ["true"], "rename": ["other"], "update": []}
    for verb, status in words.items():
        identity = store.start(FAILS, "--name", "bot", "--restart", "always")
        killed_while_it_waits(store, identity)
        # An hour, as far as the record knows, so that no start comes between; a supervisor waits a minute at most.
        edit(store, identity, lambda record: record["state"].update(restartAt="2100-01-01T00:00:00Z"))
        options = ["--restart", "on-failure"] if verb == "update" else []
        done = store.call(*verb.split(), *options, "bot", *more.get(verb, []))
        if status is None:
            assert done.returncode == 125 and "it is restarting" in done.stderr
        else:
            assert done.returncode == status, (verb, done.stderr)
        if status == 125:
            assert "it is restarting" in done.stderr and "hint: " in done.stderr, done.stderr
        state = {"stop": "exited", "restart": None, "remove -f": None}.get(verb, "restarting")
        if state:
            assert store.state(identity) == state, verb
        if verb == "restart":
            wait_until(lambda: store.record(identity)["restarts"] >= 1, "its runs")
        if verb != "remove -f":
            store.ok("remove", "-f", identity)
        assert store.ids() == []
        wait_until(lambda: store.supervisors() == [], "the supervisor's end, which comes after its last word")


def test_one_that_cannot_be_started_any_more(store):  # noqa: F811
    folder = store.place / "shared"
    folder.mkdir()
    store.caller.own(folder)
    identity = store.start(FAILS, "--restart", "always", "-v", f"{folder}:/shared")
    killed_while_it_waits(store, identity)
    folder.rename(store.place / "gone")
    assert row(store, identity)["state"] == "exited" and row(store, identity)["exitStatus"] == 3
    last = [event for event in store.events() if event["type"] == "die"][-1]
    assert "shared" in last["problem"]
    in_order(store)
    (store.place / "gone").rename(folder)
    store.ok("start", "-q", identity)


def test_after_another_boot_it_is_for_system_boot(store):  # noqa: F811
    identity = store.start(FAILS, "--name", "bot", "--restart", "always")
    killed_while_it_waits(store, identity)
    path = store.folder(identity) / "container.json"
    path.write_text(re.sub(r'"boot": *"[^"]*"', '"boot": "00000000-0000-0000-0000-000000000000"', path.read_text()))
    assert row(store, identity)["state"] == "exited"
    wait_until(lambda: store.supervisors() == [], "the supervisor's end, which comes after its last word")
    assert store.ok("system", "boot") == "bot\n"


def test_killed_at_any_moment(store):  # noqa: F811
    """Two crash loops and thirty kills: each is one container with one supervisor, and its log has no run twice."""
    loops = [store.start("echo try; sleep 0.02; exit 3", "--restart", policy) for policy in ("always", "on-failure")]
    for _ in range(30):
        identity = random.choice(loops)
        pid = written(store, identity)["supervisor"]
        if pid:
            kill_supervisor(store, identity)
        time.sleep(random.random() * 0.1)
        assert {row(store, each)["state"] for each in loops} <= {"restarting", "running"}
        wait_until(lambda: len(store.supervisors()) == 2, "two supervisors")
    for identity in loops:
        tries = attempts(store, identity)
        store.ok("restart", "-t", "0", identity)  # without what is left of its delay
        wait_until(lambda: attempts(store, identity) > tries, "it goes on")  # noqa: B023
        store.ok("stop", "-t", "0", identity)
        assert store.state(identity) == "exited"
    wait_until(lambda: store.supervisors() == [], "the supervisor's end, which comes after its last word")
