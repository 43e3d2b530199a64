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
from conftest import USERS, alive, wait_until
from faults import Store, abandoned, created, running

SEED = int(os.environ.get("CODEX32_FAULT_SEED", "20261124"))
POINTS = int(os.environ.get("CODEX32_FAULT_POINTS", "10"))


def ended(store):
    id = running(store)
    store.must("stop", "-t", "0", id)
    return id


def flooding(store):
    """Its log turns ten times and more: kills meet every step of that."""
    flood = ["sh", "-c", "yes 'a line of some length' | head -c 1500000"]
    return store.create("bot", "--log-max-size", "128k", command=flood)


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
    "exec": (running, lambda store: ["exec", "bot", "sleep", "0.01"], ["client", "both"], False),
    "flood": (flooding, lambda store: ["start", "-q", "-a", "bot"], ["supervisor"], False),
    "list": (abandoned, lambda store: ["list", "-a"], ["client"], False),
    "recover": (abandoned, lambda store: ["system", "recover"], ["client"], False),
    "start abandoned": (abandoned, lambda store: ["start", "-q", "bot"], ["client", "supervisor"], False),
}
CASES = [(name, who) for name, scenario in SCENARIOS.items() for who in scenario[2]]


def removes_itself(store, id):
    return store.record(id)["configuration"]["removesItself"]


def check(store, id, may_be_gone, printed):
    rows = store.truth()

    def over():
        """Nothing is about to remove itself, which would be between two looks."""
        records = {name: store.record(name) for name in store.listing("containers")}
        return not any(record and record["configuration"]["removesItself"] and store.supervisor(name) for name, record in records.items())

    wait_until(over, "the end of what removes itself")
    for known in {id, printed} - {None}:
        assert may_be_gone or known in rows, f"lost {known}"
    rows = store.in_order()
    for known in {id, printed} - {None}:
        assert may_be_gone or known in rows, f"lost {known} in recovery"
    for row in rows.values():
        store.must("logs", row["id"])
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


@pytest.mark.parametrize("user", USERS)
def test_kill_everywhere(callers, fault, user):
    print(f"seed {SEED}")
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        walks = {pool.submit(walk, callers[user], fault, *case): case for case in CASES}
        kills = {case: walk.result() for walk, case in walks.items()}
    print(kills)
    # Both callers together: 500 with what one run takes by default.
    assert sum(kills.values()) >= 25 * POINTS, kills


def test_many_find_it_at_once(caller, fault):
    """Ten lists after a kill: one mends, and all say the same."""
    store = Store(caller, fault)
    id = running(store)
    for _ in range(5):
        store.kill_supervisor(id)
        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            seen = [future.result() for future in [pool.submit(store.rows) for _ in range(10)]]
        assert [(rows[id]["state"], rows[id]["exitStatus"]) for rows in seen] == [("exited", 137)] * 10
        store.in_order()
        store.must("start", "-q", id)
    store.clear()


def test_program_that_outlives_its_supervisor(caller, fault, compile_c):
    """It is ended by the first command that looks, and by nobody's number alone."""
    store = Store(caller, fault)
    folder = compile_c("survivor.c").parent
    id = store.create("bot", "-v", f"{folder}:/programs:ro", command=["/programs/survivor"])
    verbs = (["list", "-a"], ["start", "-q", "bot"], ["stop", "bot"], ["system", "recover"], ["remove", "bot"])
    for turn, verb in enumerate(verbs, 1):
        if store.record(id)["state"]["status"] != "running":
            store.must("start", "-q", id)
        wait_until(lambda: store.must("logs", id).count("free") == turn, "the program's word")  # noqa: B023
        pid = store.record(id)["state"]["process"]["pid"]
        store.kill_supervisor(id)
        assert alive(pid)
        store.must(*verb)
        assert not alive(pid)
    assert store.rows() == {}
    store.clear()
