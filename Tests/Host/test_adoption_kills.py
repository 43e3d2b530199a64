"""Supervisors of a program that is to be adopted, killed at random moments, and at every call that they make: whatever
the moment, the program runs on, and its log has each of its lines once and in order.

CODEX32_FAULT_SEED and CODEX32_FAULT_POINTS as in test_faults_kill.py.
"""

import concurrent.futures
import contextlib
import errno
import os
import random
import subprocess
import time

import pytest
from adoption import ADOPT, COUNTER, adopting, kill_supervisor, numbers, store, without_a_gap  # noqa: F401
from conftest import PATIENCE, alive, wait_until
from faults import Store as FaultStore

SEED = int(os.environ.get("CODEX32_FAULT_SEED", "20261124"))
POINTS = int(os.environ.get("CODEX32_FAULT_POINTS", "10"))


@pytest.mark.parametrize("form", ["json", "raw"])
def test_killed_in_a_flood(adopting, form):
    """Again and again, while its log turns: every line is there, once and in order."""
    print(f"seed {SEED}")
    chosen = random.Random(f"{SEED} {form}")
    # In bursts, so that the flood outlasts the kills on any machine.
    burst = "seq $((i*500+1)) $((i*500+500)); i=$((i+1)); sleep 0.02"
    script = f"i=0; until test -e /tmp/enough; do {burst}; done; echo end; exec sleep 100000"
    options = ["--log-driver", form, "--log-max-size", "256k", "--log-max-files", "1000"]
    identity = adopting.start(script, *ADOPT, *options)
    pid = adopting.pid(identity)
    for _ in range(30):
        time.sleep(chosen.random() * 0.1)
        kill_supervisor(adopting, identity)
        adopting.ok("list")
    wait_until(lambda: adopting.logs(identity).count(b"\n") >= 30 * 500, "enough of the flood")
    adopting.ok("exec", identity, "touch", "/tmp/enough")
    wait_until(lambda: adopting.logs(identity).endswith(b"end\n"), "the end of the flood")
    count = without_a_gap(adopting.logs(identity))
    assert count >= 30 * 500 and count % 500 == 0
    assert adopting.pid(identity) == pid


def test_killed_while_others_exec(adopting):
    identity = adopting.start(COUNTER, *ADOPT)
    pid = adopting.pid(identity)
    for _ in range(5):
        with adopting.popen("exec", "-i", identity, "sh", "-c", "echo in; read x; echo $x", stdin=subprocess.PIPE) as client:
            assert client.stdout.readline() == b"in\n"
            kill_supervisor(adopting, identity)
            assert adopting.ok("exec", identity, "echo", "two") == "two\n"
            # The first one is its client's own, and never knew of the supervisor.
            assert client.communicate(b"out\n", PATIENCE)[0] == b"out\n" and client.returncode == 0
    assert adopting.pid(identity) == pid
    without_a_gap(adopting.logs(identity))


@contextlib.contextmanager
def fault_store(caller, fault):
    """One for kills; a program that outlives its supervisor does not outlive its test."""
    store = FaultStore(caller, fault)  # noqa: F811
    try:
        yield store
    finally:
        store.do("remove", "-f", "bot")
    store.clear()


def flood(caller, fault, number, form, gate):
    """A flood whose supervisor is killed at one of its calls. Returns how many there were, or which one was hit."""
    with fault_store(caller, fault) as store:  # noqa: F811
        return flooded(store, number, form, gate)


def flooded(store, number, form, gate):  # noqa: F811
    open_gate = gate / "open"
    open_gate.unlink(missing_ok=True)
    count = 3000
    script = f"seq 1 {count}; echo 'to the other' >&2; until test -e /gate/open; do sleep 0.05; done"
    options = [*ADOPT, "-v", f"{gate}:/gate:ro", "--log-driver", form, "--log-max-size", "128k", "--log-max-files", "9"]
    id = store.create("bot", *options, command=["sh", "-c", script])
    if number >= 1 << 30:
        open_gate.touch()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        client = pool.submit(store.broken, "supervisor", number, "kill", "start", "-q", "-a", "bot")

        def log():
            done = store.do("logs", "bot")
            assert done.returncode == 0, done.stderr
            return done.stdout + done.stderr

        def complete():
            store.must("list")
            text = log()
            return len(numbers(text)) >= count and "to the other" in text

        ended = lambda: client.done() and store.rows()[id]["state"] != "running"  # noqa: E731
        try:
            wait_until(lambda: ended() or complete(), "the end of the flood")
        finally:
            open_gate.touch()
        done, call = client.result()
    left = store.record(id)["state"]
    if left["status"] == "running":
        wait_until(lambda: not alive(left["process"]["pid"]), "the program's end")
    text = log()
    state = store.rows()[id]["state"]
    if state == "created" or not text:
        return call  # It was killed before there was a program.
    assert without_a_gap(text) == count, (form, number, call, done.stderr)
    assert text.count("to the other") == 1
    return call


@pytest.mark.parametrize("form", ["json", "raw"])
def test_killed_at_every_call(caller, fault, folder, form):
    """The supervisor of a flood is killed before chosen ones of its calls: among them every step of a log's turn."""
    print(f"seed {SEED}")
    gate = folder / "gate"
    gate.mkdir()
    caller.own(gate)
    calls = flood(caller, fault, 1 << 30, form, gate)
    assert isinstance(calls, int) and calls > 20
    chosen = random.Random(f"{SEED} {form} {caller.name}")
    hit = [flood(caller, fault, number, form, gate) for number in sorted(chosen.sample(range(1, calls), min(POINTS, calls - 1)))]
    print(hit)
    assert sum(isinstance(call, str) for call in hit) > len(hit) / 2, hit


@pytest.mark.parametrize("who", ["supervisor", "client", "both"])
def test_killed_in_an_adoption(caller, fault, who):
    """At every call of it, one after the other, while the program floods; and then it is adopted all the same."""
    with fault_store(caller, fault) as store:  # noqa: F811
        killed_in_an_adoption(store, who, f"{SEED} {who} {caller.name}")


def killed_in_an_adoption(store, who, seed):  # noqa: F811
    # It says itself when it has written enough: how fast it is, only the machine knows.
    burst = "seq $((i*100+1)) $((i*100+100)); i=$((i+1)); sleep 0.02"
    script = f"i=0; until test -e /tmp/enough && test $i -gt 10; do {burst}; done; echo end"
    options = [*ADOPT, "--log-max-size", "128k", "--log-max-files", "1000"]
    id = store.create("bot", *options, command=["sh", "-c", script])
    store.must("start", "-q", "bot")
    pid = store.record(id)["state"]["process"]["pid"]

    def attempt(number):
        if store.supervisor(id):
            store.kill_supervisor(id)
        done, call = store.broken(who, number, "kill", "list", "-a")
        assert store.rows()[id]["state"] == "running", (done.stderr, number, call)
        assert store.supervisor(id) and store.record(id)["state"]["process"]["pid"] == pid and alive(pid)
        return done, call

    # The first one counts: it must end, so nothing is killed, and the supervisor is let go when it waits.
    points = store.points(POINTS * 2, random.Random(seed), attempt)
    hit = [attempt(number)[1] for number in points]
    print(hit)
    assert sum(isinstance(call, str) for call in hit) >= len(hit) / 2, hit
    store.must("exec", "bot", "touch", "/tmp/enough")
    wait_until(lambda: store.rows()[id]["state"] == "exited", "the end of the flood")
    done = store.do("logs", "bot")
    count = without_a_gap(done.stdout)
    assert count > 1000 and count % 100 == 0 and done.stdout.endswith("\nend\n"), (count, done.stdout[-100:])
    assert done.stderr == ""


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENOMEM, errno.EINTR, errno.EIO])
def test_refused_in_an_adoption(caller, fault, error):
    """A call of the new supervisor fails, whichever: the program runs on, and the next command finds it."""
    with fault_store(caller, fault) as store:  # noqa: F811
        id = store.create("bot", *ADOPT)
        store.must("start", "-q", "bot")
        pid = store.record(id)["state"]["process"]["pid"]

        def attempt(number):
            if store.supervisor(id):
                store.kill_supervisor(id)
            done, call = store.broken("supervisor", number, error, "list", "-a", options=["-a"])
            assert alive(pid), (number, call, done)
            assert store.rows()[id]["state"] == "running" and store.supervisor(id), (number, call, done)
            assert store.record(id)["state"]["process"]["pid"] == pid and alive(pid), (number, call, done)
            return done, call

        hit = [attempt(number)[1] for number in store.points(POINTS * 2, random.Random(f"{SEED} {error} {caller.name}"), attempt)]
        print(hit)
        assert sum(isinstance(call, str) for call in hit) >= len(hit) / 2, hit
