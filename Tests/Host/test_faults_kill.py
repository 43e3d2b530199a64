"""kill -9 at any point: each scenario is done again and again, and killed before one of its calls that matter
(fault.c): the client, the supervisor, both, or the child between clone3 and execve. After each kill the store must
tell the truth, and recovery must leave nothing.

CODEX32_FAULT_SEED chooses which points are taken in one run, and is printed; CODEX32_FAULT_POINTS says how many of
each scenario: with 1000 every one of them is.
"""

import concurrent.futures
import os
import random

import pytest
from conftest import USERS
from faults import Store

SEED = int(os.environ.get("CODEX32_FAULT_SEED", "20261124"))
POINTS = int(os.environ.get("CODEX32_FAULT_POINTS", "10"))


def created(store):
    return store.create("bot")


def running(store):
    id = created(store)
    store.must("start", "-q", id)
    return id


def ended(store):
    id = running(store)
    store.must("stop", "-t", "0", id)
    return id


def abandoned(store):
    id = running(store)
    store.kill_supervisor(id)
    return id


def nothing(store):
    return None


# name: what is there before, the verb with its words, who is killed, whether the container may be gone afterwards
SCENARIOS = {
    "create": (nothing, lambda store: ["create", *store.made("bot")], ["client"], False),
    "run -d --rm": (
        nothing,
        lambda store: ["run", "-q", "-d", "--rm", *store.made("bot", command=["true"])],
        ["client", "supervisor", "both"],
        True,
    ),
    "start": (created, lambda store: ["start", "-q", "bot"], ["client", "supervisor", "both", "child"], False),
    "start again": (ended, lambda store: ["start", "-q", "bot"], ["supervisor"], False),
    "start -a": (
        lambda store: store.create("bot", command=["echo", "hello"]),
        lambda store: ["start", "-q", "-a", "bot"],
        ["client", "supervisor", "both"],
        False,
    ),
    "stop": (running, lambda store: ["stop", "-t", "0", "bot"], ["client", "supervisor", "both"], False),
    "kill": (running, lambda store: ["kill", "bot"], ["client", "supervisor"], False),
    "restart": (running, lambda store: ["restart", "-t", "0", "bot"], ["client", "supervisor"], False),
    "rename": (created, lambda store: ["rename", "bot", "other"], ["client"], False),
    "rename running": (running, lambda store: ["rename", "bot", "other"], ["client", "supervisor", "both"], False),
    "remove": (ended, lambda store: ["remove", "bot"], ["client"], True),
    "remove -f": (running, lambda store: ["remove", "-f", "bot"], ["client", "supervisor", "both"], True),
    "list": (abandoned, lambda store: ["list", "-a"], ["client"], False),
    "recover": (abandoned, lambda store: ["system", "recover"], ["client"], False),
    "start abandoned": (abandoned, lambda store: ["start", "-q", "bot"], ["client", "supervisor"], False),
}
CASES = [(name, who) for name, scenario in SCENARIOS.items() for who in scenario[2]]


def removes_itself(store, id):
    return store.record(id)["configuration"]["removesItself"]


def check(store, id, may_be_gone, printed):
    rows = store.truth()
    for known in {id, printed} - {None}:
        assert may_be_gone or known in rows, f"lost {known}"
    rows = store.in_order()
    for known in {id, printed} - {None}:
        assert may_be_gone or known in rows, f"lost {known} in recovery"
    for row in rows.values():
        assert store.must("inspect", "-f", "{{.ID}}", row["name"]).strip() == row["id"]
        if row["state"] in {"created", "exited"} and not removes_itself(store, row["id"]):
            # Whole: it can be started, or started again.
            store.must("start", "-q", row["id"])
    if not any(row["name"] == "bot" for row in rows.values()):
        # The name is free for another.
        assert store.do("inspect", "bot").returncode == 125
        store.create("bot")
    store.clear()


def walk(caller, fault, name, who):
    """Kills at the chosen points in turn. Returns how many there were."""
    before, verb, _, may_be_gone = SCENARIOS[name]
    store = Store(caller, fault)
    store.create("warm")  # and with it the template
    store.clear()
    chosen = random.Random(f"{SEED} {name} {who} {caller.name}")

    def attempt(number):
        id = before(store)
        supervisor = store.supervisor(id) if id and who in {"supervisor", "both"} else None
        done, call = store.broken(who, number, "kill", *verb(store), supervisor=supervisor)
        text = done.stdout.strip()
        try:
            check(store, id, may_be_gone, text if name == "create" and text else None)
        except BaseException as error:
            error.add_note(f"{caller} {name}: {who} killed at {number} {call} (seed {SEED})")
            raise
        return done, call

    points = store.points(POINTS, chosen, attempt)
    # A run may take a call less than another: then nobody was killed.
    return sum(isinstance(attempt(number)[1], str) for number in points)


@pytest.fixture(scope="session")
def fault(compile_c):
    return compile_c("fault.c")


@pytest.mark.parametrize("user", USERS)
def test_kill_everywhere(callers, fault, user):
    print(f"seed {SEED}")
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        walks = {pool.submit(walk, callers[user], fault, *case): case for case in CASES}
        kills = {case: walk.result() for walk, case in walks.items()}
    print(kills)
    assert sum(kills.values()) >= 20 * POINTS, kills
