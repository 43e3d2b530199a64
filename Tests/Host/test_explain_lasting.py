"""`--explain` of a container that outlives its command: its supervisor keeps what was refused in the verdict."""

import json

import pytest
from adoption import kill_supervisor
from conftest import LEVELS, alive, wait_until
from containers import root_store, store  # noqa: F401

REFUSED = "hostname other 2>/dev/null; hostname other 2>/dev/null; exit 3"


def denied(store, identity):
    """What its last run was denied, by name."""
    verdict = store.record(identity)["state"]["verdict"]
    return {each["name"]: each for each in verdict["denied"]}


@pytest.mark.parametrize("level, option", [("standard", "--cap-add SYS_ADMIN"), ("strict", "--isolation minimal")])
def test_in_the_record(store, level, option):
    identity = store.create(REFUSED, "--explain", level=level)
    store.ok("start", "-q", identity)
    assert store.ok("wait", identity) == "3\n"
    expected = {"kind": "call", "name": "sethostname", "error": "EPERM", "count": 2, "option": option}
    assert denied(store, identity)["sethostname"] == expected
    # Every verb that tells of an end tells of it.
    assert expected in json.loads(store.ok("wait", "-f", "json", identity))["denied"]
    assert expected in json.loads(store.ok("wait", "--format", "{{json .Denied}}", identity))
    assert store.ok("wait", "--format", "{{.Reason}} {{.ExitCode}}", identity) == "exited 3\n"
    assert expected in json.loads(store.ok("inspect", "-f", "{{json .State.Verdict.Denied}}", identity))
    (row,) = json.loads(store.ok("list", "-a", "--format", "json"))
    assert expected in row["denied"]
    assert expected in json.loads(store.ok("list", "-a", "--format", "{{json .Denied}}"))
    (died,) = [event for event in store.events() if event["type"] == "die"]
    assert expected in died["verdict"]["denied"]


def test_run_detached(store):
    words = ["-q", "-d", "--isolation", "standard", "--explain", "--image", "template:busybox", "--", "sh", "-c", REFUSED]
    identity = store.ok("run", *words).strip()
    assert json.loads(store.ok("wait", "-f", "json", identity))["exitCode"] == 3
    assert denied(store, identity)["sethostname"]["count"] == 2


def test_in_words_to_whoever_watches(store):
    identity = store.create(REFUSED, "--explain")
    done = store.call("start", "-q", "-a", identity)
    assert done.returncode == 3
    assert "codex32: denied: sethostname, EPERM, 2 times: --cap-add SYS_ADMIN would allow it\n" in done.stderr


def test_each_run_has_its_own(store):
    """A restart begins anew: what was denied before is in the verdict of the run before."""
    script = "if [ -e /before ]; then exit 0; fi; touch /before; hostname other 2>/dev/null; exit 1"
    identity = store.start(script, "--explain", "--restart", "on-failure:3")
    wait_until(lambda: store.record(identity)["state"].get("exitStatus") == 0, "the second run")
    assert denied(store, identity) == {}
    first, second = [event["verdict"] for event in store.events() if event["type"] == "die"]
    assert [each["name"] for each in first["denied"]] == ["sethostname"] and second["denied"] == []


@pytest.mark.parametrize("level", LEVELS)
def test_nothing_denied(store, level):
    identity = store.create("exit 0", "--explain", level=level)
    store.ok("start", "-q", identity)
    store.ok("wait", identity)
    assert denied(store, identity) == {}


def test_not_asked_for(store):
    identity = store.start(REFUSED)
    store.ok("wait", identity)
    assert "denied" not in store.record(identity)["state"]["verdict"]
    assert "explain" not in store.record(identity)["configuration"]
    (row,) = json.loads(store.ok("list", "-a", "--format", "json"))
    assert row["denied"] is None


def test_limit(store):
    identity = store.start("exec sleep 1000", "--explain", "--timeout", "300ms")
    assert store.ok("wait", identity) == "124\n"
    assert denied(store, identity)["time"] == {"kind": "limit", "name": "time", "error": None, "count": 1, "option": "--timeout"}


def test_another_program_inside(store):
    """What exec runs is answered by its own filter, waits for nobody, and is not of the container's verdict."""
    identity = store.start("exec sleep 1000", "--explain")
    done = store.call("exec", identity, "hostname", "other")
    assert done.returncode == 1 and "not permitted" in done.stderr
    store.ok("stop", "-t", "0", identity)
    assert denied(store, identity) == {}


def test_supervisor_is_killed(root_store):
    """The program, which waits for answers all the time, ends with it."""
    store = root_store
    identity = store.start("while :; do hostname other 2>/dev/null; done", "--explain")
    pid = store.pid(identity)
    kill_supervisor(store, identity)
    wait_until(lambda: not alive(pid), "the program's end")
    assert store.state(identity) == "exited"


def test_not_with_adoption(store):
    said = store.fails("create", "-q", "--explain", "--orphan", "adopt", "--image", "template:busybox", "--", "true")
    assert "--explain with --orphan adopt" in said and "\nhint: " in said
    assert store.ids() == []
    # Nor by a record that somebody wrote.
    identity = store.create("true", "--explain")
    file = store.folder(identity) / "container.json"
    record = json.loads(file.read_text())
    record["configuration"]["orphan"] = "adopt"
    file.write_text(json.dumps(record))
    assert "supervisor" in store.fails("start", "-q", identity)


def test_hostile_verdict(root_store):
    """A record of somebody's making shows no escape sequence, and no word that was not counted."""
    store = root_store
    identity = store.create(REFUSED, "--explain")
    store.ok("start", "-q", identity)
    store.ok("wait", identity)
    file = store.folder(identity) / "container.json"
    record = json.loads(file.read_text())
    record["state"]["verdict"]["denied"] = [{"kind": "\x1b[2J", "name": "\x1b[2J", "count": 1}, 5, {"kind": "call"}]
    file.write_text(json.dumps(record))
    for words in (("wait", "-f", "json"), ("wait", "-f", "{{json .Denied}}"), ("inspect",)):
        done = store.call(*words, identity)
        assert done.returncode == 0 and "\x1b" not in done.stdout + done.stderr, done
    assert "\x1b" not in store.ok("list", "-a", "--format", "{{.Denied}}")
