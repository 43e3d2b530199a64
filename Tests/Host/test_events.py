"""The journal of what happened: whole, in order, numbered, followed."""

import json
import os
import subprocess
import threading

import pytest
from conftest import wait_until
from containers import root_store, store  # noqa: F401


def test_a_life_in_events(store):
    identity = store.create("exit 3", "--name", "told")
    store.ok("start", "-q", identity)
    store.ok("wait", identity)
    store.ok("rename", identity, "retold")
    store.ok("remove", identity)
    events = store.events()
    assert [event["type"] for event in events] == ["create", "start", "die", "rename", "remove"]
    assert all(event["id"] == identity for event in events)
    assert events[2]["exitStatus"] == 3 and events[2]["verdict"]["reason"] == "exited"
    assert events[3]["oldName"] == "told" and events[3]["name"] == "retold"
    numbers = [event["sequence"] for event in events]
    assert numbers == sorted(set(numbers))
    later = [json.loads(line) for line in store.ok("events", "--after", numbers[2], "--format", "json").splitlines()]
    assert later == events[3:]
    since = store.ok("events", "--since", events[1]["time"], "--format", "{{.Type}}").split()
    assert since == ["start", "die", "rename", "remove"]
    assert "die (3)" in store.ok("events")
    assert store.ok("events", "--after", str(1 << 60)) == ""
    assert "--after" in store.fails("events", "--after", "-1")


def test_followed(store):
    store.create("true", "--name", "before")
    follower = store.popen("events", "-f", "--format", "{{.Type}} {{.Name}}", text=True)
    assert follower.stdout.readline() == "create before\n"
    for turn in range(5):
        store.ok("rename", f"before" if turn == 0 else f"name{turn - 1}", f"name{turn}")
        assert follower.stdout.readline() == f"rename name{turn}\n"
    follower.kill()
    follower.communicate()


def test_many_writers(root_store):
    """No event is lost, torn or out of order, however many write at once."""
    ids = [root_store.create("exit 0") for _ in range(12)]
    processes = [root_store.popen("start", "-q", identity) for identity in ids]
    for process in processes:
        process.communicate(timeout=300)
    root_store.ok("wait", *ids)
    wait_until(lambda: not root_store.supervisors(), "all ends")
    events = root_store.events()
    for identity in ids:
        assert [event["type"] for event in events if event["id"] == identity] == ["create", "start", "die"]


def test_torn_and_hostile_lines(root_store):
    identity = root_store.create("true")
    journal = root_store.path / "events/journal"
    with journal.open("ab") as file:
        file.write(b'{"time":"x","type":"to')
    root_store.ok("rename", identity, "after")
    with journal.open("ab") as file:
        file.write(b"\xff\xfe\n[]\n{}\n" + b"[" * 1000 + b'\n{"type":5}\n{"type":"\\u001b[2J","name":"\\u001b[31m","id":"","time":""}\n')
    shown = root_store.ok("events")
    assert "create" in shown and "rename" in shown and "\x1b" not in shown


def test_turned_journal(root_store):
    """A journal that has grown becomes the older one; numbers go on."""
    identity = root_store.create("true", "--name", "n0")
    journal = root_store.path / "events/journal"
    with journal.open("ab") as file:
        filler = b'{"time":"2026-01-02T03:04:05.000000Z","type":"filler","id":"0","name":"' + b"x" * 100_000 + b'"}\n'
        for _ in range(170):
            file.write(filler)
    root_store.ok("rename", "n0", "n1")
    root_store.ok("rename", "n1", "n2")
    assert (root_store.path / "events/journal.1").exists()
    events = root_store.events()
    kinds = [event["type"] for event in events if event["type"] != "filler"]
    assert kinds == ["create", "rename", "rename"]
    numbers = [event["sequence"] for event in events]
    assert numbers == sorted(set(numbers))
    assert [json.loads(line)["name"] for line in
            root_store.ok("events", "--after", numbers[-2], "--format", "json").splitlines()] == ["n2"]  # fmt: skip
