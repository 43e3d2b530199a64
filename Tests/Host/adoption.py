"""What the tests of adoption share: programs that count, supervisors that are killed, logs without a gap."""

import json
import os
import signal

import pytest
from conftest import alive, wait_until
from containers import store  # noqa: F401

ADOPT = ["--orphan", "adopt"]
COUNTER = 'trap "echo bye; exit 7" TERM; i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done'


@pytest.fixture
def adopting(store):  # noqa: F811
    """A store whose programs outlive its supervisors: after a test that failed they are ended all the same."""
    yield store
    for identity in store.call("list", "-a", "-q").stdout.split():
        store.call("remove", "-f", identity)


def kill_supervisor(store, identity):  # noqa: F811
    """SIGKILL, and its end waited for. Returns who it was."""
    record = json.loads((store.folder(identity) / "container.json").read_text())
    pid = record["supervisor"]["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not alive(pid), "the supervisor's end")
    return pid


def in_order(store):  # noqa: F811
    """What a supervisor left that was killed while it wrote is told once, and cleared away."""
    fine = "all is in order\n"
    first = store.ok("system", "recover")
    assert first == fine or all(line.endswith(" had temporary files of a killed command") for line in first.splitlines()), first
    assert store.ok("system", "recover") == fine


def row(store, identity):  # noqa: F811
    (found,) = [row for row in json.loads(store.ok("list", "-a", "--format", "json")) if row["id"] == identity]
    return found


def edit(store, identity, change):  # noqa: F811
    """Changes a record by hand."""
    path = store.folder(identity) / "container.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def numbers(log):
    return [int(line) for line in log.split() if line.isdigit()]


def without_a_gap(log):
    """How many numbers a counter wrote: every one of them once, in order."""
    found = numbers(log)
    assert found == list(range(1, len(found) + 1)), [n for i, n in enumerate(found) if n != i + 1][:3]
    return len(found)


def without_a_gap_so_far(log):
    """The same of a program that was killed in a line."""
    return without_a_gap(log[: log.rfind("\n") + 1])
