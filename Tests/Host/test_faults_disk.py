"""A disk that fails: each call on a file of the store fails in turn, once or from then on, with EIO or ENOSPC
(fault.c); and a tmpfs that is full to the last page. A verb then works, or fails with one clear error, and leaves
nothing that recovery does not clear away. Records that are torn or worse are told as broken, and can be removed.
"""

import concurrent.futures
import errno
import os
import random
import subprocess

import pytest
from conftest import PATIENCE, USERS, processes_with, wait_until
from faults import SUPERVISED, Store, abandoned, created, refused, running

SEED = int(os.environ.get("CODEX32_FAULT_SEED", "20261124"))
# How many calls of a scenario fail in one run; which ones, the seed says.
POINTS = int(os.environ.get("CODEX32_FAULT_POINTS", "6"))


# name: what is there before, the verb, who meets the error, whether the container may be gone afterwards
SCENARIOS = {
    "create": (lambda store: None, lambda store: ["create", *store.made("bot")], ["client"], False),
    "start": (created, lambda store: ["start", "-q", "bot"], ["client", "supervisor"], False),
    "stop": (running, lambda store: ["stop", "-t", "0", "bot"], ["client", "supervisor"], False),
    "rename": (created, lambda store: ["rename", "bot", "other"], ["client"], False),
    "rename running": (running, lambda store: ["rename", "bot", "other"], ["supervisor"], False),
    "remove": (created, lambda store: ["remove", "bot"], ["client"], True),
    "remove -f": (running, lambda store: ["remove", "-f", "bot"], ["client", "supervisor"], True),
    "list": (abandoned, lambda store: ["list", "-a"], ["client"], False),
    "recover": (abandoned, lambda store: ["system", "recover"], ["client"], False),
}
CASES = [(name, who) for name, scenario in SCENARIOS.items() for who in scenario[2]]


def walk(caller, fault, name, who):
    before, verb, _, may_be_gone = SCENARIOS[name]
    store = Store(caller, fault)
    store.create("warm")  # and with it the template
    store.clear()
    chosen = random.Random(f"{SEED} disk {name} {who} {caller.name}")

    def attempt(number):
        id = before(store)
        supervisor = store.supervisor(id) if id and who == "supervisor" else None
        action = f"{chosen.choice([errno.EIO, errno.ENOSPC])}{chosen.choice(['', '+'])}"
        done, call = store.broken(who, number, action, *verb(store), supervisor=supervisor)
        try:
            check(store, name, id, done, may_be_gone, action.endswith("+"))
        except BaseException as error:
            error.add_note(f"{caller} {name}: {who} met {action} at {number} {call} (seed {SEED}): {done}")
            raise
        return done, call

    points = store.points(POINTS, chosen, attempt)
    return sum(isinstance(attempt(number)[1], str) for number in points)


def check(store, name, id, done, may_be_gone, lasts):
    assert done.returncode in (0, 125), done.stderr
    if done.returncode == 125:
        refused(done)
    rows = store.truth()
    known = id or (done.stdout.strip() if done.returncode == 0 else None)
    assert may_be_gone or known is None or known in rows, "lost"
    # Where nothing can be removed any more either, what was made stays; it is whole, as what follows shows.
    if name == "create" and done.returncode == 125 and not lasts:
        assert rows == {}, "half made"
    if name == "start":
        assert (rows[id]["state"] in SUPERVISED) == (done.returncode == 0), rows
    store.usable(known, may_be_gone)


@pytest.mark.parametrize("user", USERS)
def test_each_call_fails(callers, fault, user):
    print(f"seed {SEED}")
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        walks = {pool.submit(walk, callers[user], fault, *case): case for case in CASES}
        faults = {case: walk.result() for walk, case in walks.items()}
    print(faults)
    assert sum(faults.values()) >= 6 * POINTS, faults


def mount(*words):
    subprocess.run(["mount", *map(str, words)], check=True, timeout=PATIENCE)


@pytest.fixture
def small(folder, caller, fault):
    """A store on a tmpfs, and a function that sets its options."""
    place = folder / "small"
    place.mkdir()
    mount("-t", "tmpfs", "-o", "size=16m,nr_inodes=8192", "none", place)
    try:
        yield Store(caller, fault, place), lambda options: mount("-o", f"remount,{options}", place)
    finally:
        # A supervisor that is about to end may hold it for a moment.
        wait_until(lambda: subprocess.run(["umount", place], capture_output=True, check=False).returncode == 0, "the store's unmount")


@pytest.mark.parametrize("kind", ["inodes", "pages"])
def test_life_on_a_full_disk(small, kind):
    """A whole life with so many inodes or pages to spare, from none upwards until it is lived."""
    store, remount = small
    running(store)
    store.clear()
    for spare in range(0, 60, 2):
        state = os.statvfs(store.path)
        inodes, pages = state.f_files - state.f_ffree, state.f_blocks - state.f_bfree
        remount(f"nr_inodes={inodes + spare}" if kind == "inodes" else f"size={max(pages + spare, 1) * 4}k")
        statuses = []
        for verb, *words in (["create", *store.made("bot")], ["start", "-q", "bot"], ["rename", "bot", "b2"], ["stop", "-t", "0", "b2"]):
            done = store.do(verb, *words)
            assert done.returncode in (0, 125), (verb, done.stderr)
            if done.returncode:
                refused(done)
            statuses.append(done.returncode)
            store.truth()
        # Removing needs no room.
        store.clear()
        remount("size=16m,nr_inodes=8192")
        store.in_order()
        if statuses == [0, 0, 0, 0]:
            break
    assert spare > 0 and statuses == [0, 0, 0, 0]


def test_read_only_store_tells_the_truth(small):
    store, remount = small
    id = running(store)
    ended = store.create("ended", command=["sh", "-c", "exit 3"])
    assert store.do("start", "-q", "-a", "ended").returncode == 3
    # Killed with nobody there to write it down.
    store.kill_supervisor(id)
    wait_until(lambda: processes_with(str(store.path)) == [], "the program's end")
    assert store.record(id)["state"]["status"] == "running"
    remount("ro")
    rows = store.rows()
    assert (rows[id]["state"], rows[ended]["exitStatus"]) == ("exited", 3)
    remount("rw")
    assert store.in_order()[id]["state"] == "exited"
    store.clear()


WRONG = {
    "empty": "",
    "torn": '{"schema": 1, "id": "',
    "zeros": "\0" * 4096,
    "nonsense": '{"schema": 1, "id": "0123456789abcdef", "name": "../../etc", "state": []}',
    "newer": '{"schema": 99}',
}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("life", [created, running, abandoned])
def test_broken_record(caller, fault, life, kind):
    store = Store(caller, fault)
    other = store.create("other")
    id = life(store)
    file = store.path / "containers" / id / "container.json"
    file.write_text(WRONG[kind])
    rows = store.rows()
    assert rows[id]["state"] == "broken" and "container.json" in rows[id]["status"], rows[id]
    assert rows[other]["state"] == "created"
    verbs = [["inspect", id], ["start", id], ["remove", id]]
    # A supervisor knows its container without the file, and writes it anew.
    for verb in verbs if life is running else [*verbs, ["rename", id, "new"]]:
        done = store.do(*verb)
        assert done.returncode == 125, verb
        refused(done)
    # Its name is not given to another while it is there.
    assert store.do("create", *store.made("bot")).returncode == 125
    store.must("remove", "-f", id)
    assert set(store.in_order()) == {other}
    store.create("bot")
    store.clear()


def test_names_are_mended(caller, fault):
    """A name file that is gone, empty, or another's, as a disk may leave them."""
    store = Store(caller, fault)
    ids = [store.create(name) for name in ("one", "two", "three")]
    names = store.path / "names"
    (names / "one").unlink()
    (names / "two").write_text("")
    (names / "three").write_text(ids[0])
    (names / "nobody").write_text("0" * 16)
    (names / "void").write_text("")
    caller.own(names)
    store.must("system", "recover")
    rows = store.in_order()
    assert sorted(row["name"] for row in rows.values()) == ["one", "three", "two"]
    for id, name in zip(ids, ("one", "two", "three")):
        assert store.must("inspect", "-f", "{{.ID}}", name).strip() == id
    store.clear()
