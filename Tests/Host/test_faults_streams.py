"""What a caller can break with no tracer's help: an output that takes nothing."""

import subprocess

import pytest
from conftest import PATIENCE
from faults import Store, refused


def full(store, verb, *words):
    """Runs a verb with its output on a device that takes nothing (full(4))."""
    with open("/dev/full", "w") as output:
        return subprocess.run(
            store.words(verb, *words), env=store.caller.environment(), cwd=store.caller.home, stdin=subprocess.DEVNULL,
            stdout=output, stderr=subprocess.PIPE, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip


@pytest.mark.parametrize("verb", [["create"], ["run", "-d"]])
def test_id_that_cannot_be_printed(caller, fault, verb):
    store = Store(caller, fault)
    done = full(store, *verb, *store.made("bot"))
    assert done.returncode == 125
    refused(done, hinted=True)
    assert "cannot print the container's id: write standard output: no space left on device" in done.stderr
    assert store.in_order() == {}
    store.create("bot")  # its name is free again
    store.clear()


def test_output_that_cannot_be_passed_on(caller, fault):
    store = Store(caller, fault)
    id = store.create("bot", command=["sh", "-c", "echo said; exit 3"])
    done = full(store, "start", "-q", "-a", "bot")
    assert done.returncode == 125
    refused(done, hinted=True)
    # It ended as it would have, and nothing that it said is lost.
    assert store.must("wait", "bot") == "3\n"
    assert store.must("logs", "bot") == "said\n"
    assert store.in_order()[id]["state"] == "exited"
    store.clear()
