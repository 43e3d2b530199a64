"""Two clients at once on one container: one wins, the other is told why, and the state is never corrupt."""

import json
import os
import random
import time

import pytest
from conftest import wait_until
from containers import root_store, store  # noqa: F401

TURNS = 30


def both(store, *commands):
    """Runs commands at the same moment; their exit statuses and errors."""
    processes = [store.popen(*words, text=True) for words in commands]
    results = []
    for process in processes:
        out, err = process.communicate(timeout=300)
        results.append((process.returncode, out, err))
    for status, _, err in results:
        assert status in (0, 125), results
        if status:
            assert err.startswith("codex32: ") and "supervisor" not in err, results
    return results


def wins(results):
    return sum(status == 0 for status, _, _ in results)


def test_start_and_start(root_store):
    identity = root_store.create("exec sleep 1000")
    for _ in range(TURNS):
        results = both(root_store, ("start", "-q", identity), ("start", "-q", identity))
        assert wins(results) == 1, results
        (loser,) = [err for status, _, err in results if status]
        assert "it is running" in loser or "is starting it" in loser, loser
        assert root_store.state(identity) == "running"
        wait_until(lambda: len(root_store.supervisors()) == 1, "the end of the one before")
        root_store.ok("stop", "-t", "0", identity)


def test_stop_and_stop(root_store):
    identity = root_store.create("exec sleep 1000")
    for _ in range(TURNS):
        root_store.ok("start", "-q", identity)
        assert wins(both(root_store, ("stop", "-t", "0", identity), ("stop", "-t", "5", identity))) == 2
        record = root_store.record(identity)
        assert record["state"]["status"] == "exited" and record["supervisor"] is None


def test_stop_and_remove(root_store):
    for _ in range(TURNS):
        identity = root_store.start("exec sleep 1000")
        results = both(root_store, ("stop", "-t", "0", identity), ("remove", identity))
        assert results[0][0] == 0 or "no container" in results[0][2] or "removed" in results[0][2], results
        if results[1][0] == 0:
            assert root_store.ids() == []
        else:
            assert "it is" in results[1][2], results
            assert root_store.state(identity) == "exited"
            root_store.ok("remove", identity)


def test_remove_and_remove(root_store):
    for turn in range(TURNS):
        identity = root_store.create("true", "--name", "twice")
        force = ["-f"] if turn % 2 else []
        results = both(root_store, ("remove", *force, "twice"), ("remove", *force, identity))
        assert wins(results) >= 1, results
        assert root_store.ids() == [] and os.listdir(root_store.path / "names") == []


def test_remove_and_create(root_store):
    """The name passes from one to the other, or stays; never is it lost or had twice."""
    for _ in range(TURNS):
        root_store.create("true", "--name", "same")
        make = ("create", "-q", "--name", "same", "--image", "template:busybox", "--", "true")
        results = both(root_store, ("remove", "same"), make)
        assert results[0][0] == 0, results
        if results[1][0] == 0:
            assert root_store.record("same")["id"] == results[1][1].strip()
            root_store.ok("remove", "same")
        assert root_store.ids() == [] and os.listdir(root_store.path / "names") == []


def test_rename_and_rename(root_store):
    first = root_store.create("true", "--name", "a0")
    for turn in range(TURNS):
        results = both(
            root_store, ("rename", f"a{turn}", f"a{turn + 1}"), ("rename", f"a{turn}", f"b{turn + 1}")
        )
        assert wins(results) == 1, results
        name = root_store.record(first)["name"]
        assert os.listdir(root_store.path / "names") == [name]
        if name != f"a{turn + 1}":
            root_store.ok("rename", first, f"a{turn + 1}")


def test_rename_of_a_name_like_an_id(root_store):
    """A name that its container's id begins with is a name all the same; without it, it is the beginning of an id."""
    first = root_store.create("true", "--name", "begin")
    for turn in range(TURNS):
        name = first[: 2 + turn % 12]
        root_store.ok("rename", first, name)
        results = both(root_store, ("rename", name, "one"), ("rename", name, "two"))
        # The one that looks when the other is done takes it for the id.
        assert wins(results) in (1, 2) and root_store.record(first)["name"] in ("one", "two"), results
        assert os.listdir(root_store.path / "names") == [root_store.record(first)["name"]]


def test_two_want_one_name(root_store):
    one, two = root_store.create("true", "--name", "one"), root_store.start("exec sleep 1000", "--name", "two")
    for turn in range(TURNS):
        results = both(root_store, ("rename", one, "wanted"), ("rename", two, "wanted"))
        assert wins(results) == 1, results
        names = {root_store.record(one)["name"], root_store.record(two)["name"]}
        assert "wanted" in names and set(os.listdir(root_store.path / "names")) == names
        root_store.ok("rename", one, "one") if root_store.record(one)["name"] == "wanted" else None
        root_store.ok("rename", two, "two") if root_store.record(two)["name"] == "wanted" else None


def test_create_and_create(root_store):
    make = ("create", "-q", "--name", "only", "--image", "template:busybox", "--", "true")
    for _ in range(TURNS):
        results = both(root_store, make, make, make)
        assert wins(results) == 1, results
        (winner,) = [out.strip() for status, out, _ in results if status == 0]
        assert root_store.ids() == [winner]
        root_store.ok("remove", "only")


def test_start_and_remove(root_store):
    for turn in range(TURNS):
        identity = root_store.create("exec sleep 1000")
        results = both(root_store, ("start", "-q", identity), ("remove", *(["-f"] if turn % 2 else []), identity))
        left = root_store.ids()
        assert wins(results) >= 1, results
        if left:
            assert root_store.state(identity) == "running", results
            root_store.ok("remove", "-f", identity)
        wait_until(lambda: not root_store.supervisors(), "no supervisor")


def test_restart_and_stop(root_store):
    identity = root_store.create("exec sleep 1000")
    for _ in range(TURNS):
        root_store.ok("start", "-q", identity)
        results = both(root_store, ("restart", "-t", "0", identity), ("stop", "-t", "0", identity))
        assert results[1][0] == 0, results
        assert root_store.state(identity) in ("running", "exited")
        root_store.ok("stop", "-t", "0", identity)
        assert root_store.state(identity) == "exited"


def test_update_and_remove(root_store):
    """The change is made before, or there is nobody to be changed: of a running container and of one at rest."""
    for turn in range(TURNS):
        runs = bool(turn % 2)
        identity = root_store.start("exec sleep 1000") if runs else root_store.create("true")
        change = ("update", "--restart", "always", identity)
        results = both(root_store, change, ("remove", *(["-f"] if runs else []), identity))
        assert results[1][0] == 0, results
        assert results[0][0] == 0 or "no container" in results[0][2] or "removed" in results[0][2] or "it is" in results[0][2], results
        assert root_store.ids() == []
        wait_until(lambda: root_store.supervisors() == [], "the supervisor's end, which comes after its last word")
        assert os.listdir(root_store.path / "names") == []


def test_exec_and_remove(root_store):
    """The program runs and ends with its container, or says why it did not."""
    for turn in range(TURNS):
        identity = root_store.start("exec sleep 1000")
        clients = [root_store.popen(*words, text=True) for words in (("exec", identity, "sleep", "1000"), ("remove", "-f", identity))]
        (_, told), (_, failed) = (client.communicate(timeout=300) for client in clients)
        assert clients[1].returncode == 0, failed
        assert clients[0].returncode == 137 or clients[0].returncode == 125 and told.startswith("codex32: "), told
        assert root_store.ids() == []
        wait_until(lambda: root_store.supervisors() == [], "the supervisor's end, which comes after its last word")


def test_anything_at_once(root_store):
    """Many clients with many wishes: whatever comes of it, the record can be read and tells the truth."""
    rng = random.Random(3)
    identity = root_store.create("exec sleep 1000", "--name", "n0", "--restart", "on-failure:3")
    for turn in range(10):
        wishes = [
            ("start", "-q", identity), ("stop", "-t", "0", identity), ("kill", identity), ("restart", "-t", "0", identity),
            ("rename", identity, f"n{turn + 1}"), ("inspect", identity), ("list", "-a"), ("kill", "-s", "USR1", identity),
        ]  # fmt: skip
        both(root_store, *rng.sample(wishes, 5))
        root_store.ok("stop", "-t", "0", identity)
        record = root_store.record(identity)
        assert record["state"]["status"] in ("exited", "created")
        assert os.listdir(root_store.path / "names") == [record["name"]]
        wait_until(lambda: not root_store.supervisors(), "no supervisor")
