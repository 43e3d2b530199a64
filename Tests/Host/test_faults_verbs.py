"""Every system call of create, start, exec, stop and remove fails in turn (fault.c -a), as those of a run do: the command's,
the supervisor's, and those of what they start until it is the program.

A verb then works, or fails with one clear error; what is listed is true, recovery leaves nothing that is nobody's, and
every container that is left can be started. CODEX32_FAULT_CALLS=0 walks over all calls; otherwise so many of each case
are chosen by CODEX32_FAULT_SEED.
"""

import concurrent.futures
import errno
import os
import random

import pytest
from conftest import USERS
from faults import SUPERVISED, Store, created, refused, running

SEED = int(os.environ.get("CODEX32_FAULT_SEED", "20261124"))
CALLS = int(os.environ.get("CODEX32_FAULT_CALLS", "5"))
ERRORS = [errno.EPERM, errno.ENOMEM, errno.ENOSYS, errno.EMFILE, errno.EIO]

# What Swift's own runtime makes of a failed call before codex32's code begins: it does not know where it is, or with what words.
RUNTIME = ["Unable to obtain Swift runtime path", "codex32 runs programs in sandboxes"]

# name: what is there before, the verb with its words, who meets the error, options of fault.c
SCENARIOS = {
    "create": (lambda store: None, lambda store: ["create", *store.made("bot")], ["client"], []),
    "start": (created, lambda store: ["start", "-q", "bot"], ["client", "forked", "supervisor", "child"], []),
    "exec": (running, lambda store: ["exec", "bot", "sh", "-c", "exit 7"], ["client", "child"], ["-c"]),
    "stop": (running, lambda store: ["stop", "-t", "0", "bot"], ["client", "supervisor"], []),
    "remove": (created, lambda store: ["remove", "bot"], ["client"], []),
    "remove -f": (running, lambda store: ["remove", "-f", "bot"], ["client", "supervisor"], []),
}
CASES = [(name, who) for name, scenario in SCENARIOS.items() for who in scenario[2]]


def walk(caller, fault, name, who):
    """Fails the chosen calls in turn. Returns how many that were, how many there are, and what was wrong then."""
    before, verb, _, options = SCENARIOS[name]
    store = Store(caller, fault)
    store.create("warm")  # and with it the template
    store.clear()
    problems = []
    chosen = random.Random(f"{SEED} verbs {name} {who} {caller.name}")

    def attempt(number, error=errno.EIO):
        id = before(store)
        supervisor = store.supervisor(id) if id and who == "supervisor" else None
        done, call = store.broken(who, number, error, *verb(store), supervisor=supervisor, options=["-a", *options])
        try:
            check(store, name, id, done)
        except BaseException as problem:  # pytest's own among them
            # The walk goes on: one report of all that is wrong.
            told = f"call {call} of the {who} failed with {errno.errorcode[error]} at {number}: {done}"
            problems.append(f"{name}: {told}: {problem!r}")
            store.caller.execute(store.words("remove", "-f", *store.do("list", "-a", "-q").stdout.split()))
        return call

    count = attempt(1 << 30)
    numbers = range(1, count + 1) if CALLS == 0 else sorted(chosen.sample(range(1, count + 1), min(CALLS, count)))
    # A verb makes a call more or less: then none was met.
    return sum(isinstance(attempt(number, chosen.choice(ERRORS)), str) for number in numbers), count, problems


def check(store, name, id, done):
    worked = done.returncode == (7 if name == "exec" else 0)
    if not worked and not any(text in done.stdout + done.stderr for text in RUNTIME):
        assert done.returncode in (125, 126, 127)
        refused(done)
    rows = store.truth()
    known = id or (done.stdout.strip() if worked else None)
    if name == "create":
        assert list(rows) == ([known] if worked else [])
    elif name == "start":
        assert (rows[id]["state"] in SUPERVISED) == worked, rows
    elif name == "exec":
        assert rows[id]["state"] == "running", rows
    elif name == "stop":
        assert rows[id]["state"] == "exited" or not worked, rows
    else:
        assert not (worked and rows), rows
    store.usable(known, may_be_gone=name.startswith("remove"))


@pytest.mark.parametrize("user", USERS)
def test_each_call_fails(callers, fault, user):
    print(f"seed {SEED}")
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        walks = {case: pool.submit(walk, callers[user], fault, *case) for case in CASES}
        met = {case: walk.result() for case, walk in walks.items()}
    print(met)
    assert [problem for _, _, problems in met.values() for problem in problems] == []
    assert all(faults > 0 for faults, _, _ in met.values()), met
