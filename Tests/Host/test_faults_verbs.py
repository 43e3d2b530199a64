"""Every system call of run -d, create, start, exec, stop and remove fails in turn (fault.c -a), as those of a foreground run do
(test_faults_calls.py): the command's, the supervisor's, and those of what they start until it is the program.

A verb then fails with one clear error and a hint; or it works, and then the call is one of those that may fail, with
why (survivable.py). What is listed is true, recovery leaves nothing that is nobody's, and every container that is left
can be started. CODEX32_FAULT_CALLS=0 walks over all calls, from the first to the one that no longer is, with
CODEX32_FAULT_ERRORS=all with every error; otherwise so many of each case are chosen by CODEX32_FAULT_SEED.
CODEX32_FAULT_VERBS="exec,start -a:client" walks over those alone: all processes of the one, one of the other.
"""

import concurrent.futures
import errno
import os
import pathlib
import random
import re

import pytest
from conftest import USERS
from faults import RUNTIME, SUPERVISED, Hit, Store, created, refused, running, steps
from survivable import reason

SEED = int(os.environ.get("CODEX32_FAULT_SEED", "20261124"))
CALLS = int(os.environ.get("CODEX32_FAULT_CALLS", "5"))
VERBS = [name for name in os.environ.get("CODEX32_FAULT_VERBS", "").split(",") if name]

# What a program sees of its walls.
LOOK = """for each in cgroup ipc mnt net pid user uts; do readlink /proc/self/ns/$each; done
grep -E '^(Uid|Gid|Groups|NoNewPrivs|Seccomp|Seccomp_filters|Cap.*):' /proc/self/status
ls /proc/self/fd; ulimit -n; ulimit -u; umask; pwd; exit 7"""


def walls(text):
    """What must be the same whatever failed: which namespaces are the machine's, not which others there are. Without the
    subordinate ids that could not be read there is one id, and it has its group."""
    machine = {os.readlink(f"/proc/self/ns/{name}") for name in os.listdir("/proc/self/ns")}
    return [
        f"{line.partition(':')[0]} {'of the machine' if line in machine else 'its own'}" if ":[" in line else line
        for line in text.splitlines()
        if not line.startswith("Groups:")
    ]


def ending(store):
    """A container whose program ends by itself."""
    return store.create("bot", command=["sh", "-c", LOOK])


# name: what is there before, the verb with its words, who meets the error, options of fault.c
SCENARIOS = {
    "run -d": (lambda store: None, lambda store: ["run", "-d", *store.made("bot")], ["client", "forked", "supervisor", "child"], []),
    "create": (lambda store: None, lambda store: ["create", *store.made("bot")], ["client"], []),
    "start": (created, lambda store: ["start", "-q", "bot"], ["client", "forked", "supervisor", "child"], []),
    "start -a": (ending, lambda store: ["start", "-q", "-a", "bot"], ["client", "supervisor"], []),
    "exec": (running, lambda store: ["exec", "bot", "sh", "-c", LOOK], ["client", "child"], ["-c"]),
    "stop": (running, lambda store: ["stop", "-t", "0", "bot"], ["client", "supervisor"], []),
    "remove": (created, lambda store: ["remove", "bot"], ["client"], []),
    "remove -f": (running, lambda store: ["remove", "-f", "bot"], ["client", "supervisor"], []),
}
CASES = [(name, who) for name, scenario in SCENARIOS.items() for who in scenario[2] if not VERBS or {name, f"{name}:{who}"} & set(VERBS)]
assert CASES, f"CODEX32_FAULT_VERBS is none of {list(SCENARIOS)}: {VERBS}"


class Walk:
    """One verb, and one of its processes whose calls fail."""

    def __init__(self, caller, fault, name, who):
        self.name, self.who = name, who
        self.before, self.verb, _, self.options = SCENARIOS[name]
        self.store = Store(caller, fault)
        self.store.create("warm")  # and with it the template
        self.store.clear()
        self.chosen = random.Random(f"{SEED} verbs {name} {who} {caller.name}")
        self.problems, self.survived, self.hits = [], {}, 0
        self.seen = None  # of its walls by the program, where nothing failed
        self.count = self.attempt(1 << 30)

    def attempt(self, number, error=errno.EIO):
        """Fails one call. Returns it, or how many there are."""
        id = self.before(self.store)
        supervisor = self.store.supervisor(id) if id and self.who == "supervisor" else None
        done, call = self.store.broken(
            self.who, number, error, *self.verb(self.store), supervisor=supervisor, options=["-a", *self.options]
        )
        try:
            self.check(id, done, call)
        except BaseException as problem:  # pytest's own among them
            # The walk goes on: one report of all that is wrong.
            told = f"{call!r} of the {self.who} failed at {number}: {done}"
            self.problems.append(f"{self.name}: {told}: {problem!r}")
            self.store.caller.execute(self.store.words("remove", "-f", *self.store.do("list", "-a", "-q").stdout.split()))
        self.hits += isinstance(call, Hit)
        return call

    def run(self):
        call = None
        for number, error in steps(self.chosen, CALLS, self.count, lambda: isinstance(call, Hit)):
            call = self.attempt(number, error)
        return self

    def check(self, id, done, call):
        # What it had to say was not taken, and all the rest is done.
        is_lost = isinstance(call, Hit) and "anything else that was to be done is done" in done.stderr
        worked = is_lost or done.returncode == (7 if self.name in ("exec", "start -a") else 0)
        if not worked and not any(text in done.stdout + done.stderr for text in RUNTIME):
            assert done.returncode in (125, 126, 127)
            refused(done, hinted=True)
        rows = self.store.truth()
        known = id or (done.stdout.strip() if worked else None)
        if self.name in ("create", "run -d"):
            assert list(rows) == ([known] if worked else []), rows
        if self.name in ("run -d", "start"):
            assert any(row["state"] in SUPERVISED for row in rows.values()) == worked, rows
        elif self.name == "start -a" and worked:
            assert (rows[id]["state"], rows[id]["exitStatus"]) == ("exited", 7), rows
        elif self.name == "exec":
            assert rows[id]["state"] == "running", rows
        elif self.name == "stop":
            assert rows[id]["state"] == "exited" or not worked, rows
        elif self.name.startswith("remove"):
            assert not (worked and rows), rows
        # What could not be passed on is told, and the status stays the program's.
        is_told = is_lost or isinstance(call, Hit) and "cannot pass on all that the program wrote" in done.stderr
        if is_told:
            refused(done, hinted=True)
        elif worked and self.name in ("exec", "start -a"):
            assert isinstance(call, Hit) or len(walls(done.stdout)) > 20, done.stdout
            self.seen = self.seen or walls(done.stdout)
            assert walls(done.stdout) == self.seen
        if worked and isinstance(call, Hit) and not is_told:
            call.subject = re.sub(r"\b[0-9a-f]{16}\b", "ID", call.subject.replace(str(self.store.path), "STORE"))
            call.subject = re.sub(r"(pipe|socket):\[\d+\]", r"\1", re.sub(r"(/proc/|\.)\d+\b", r"\1N", call.subject))
            why = reason(self.name, self.who, call)
            self.survived[f"{self.who} {call} {call.subject} {errno.errorcode[call.error]}"] = why
            assert why, "worked all the same, and survivable.py does not say why it may"
        self.store.usable(known, may_be_gone=self.name.startswith("remove"))
        assert str(self.store.path) not in pathlib.Path("/proc/self/mountinfo").read_text()


@pytest.mark.parametrize("user", USERS)
def test_each_call_fails(callers, fault, user):
    print(f"seed {SEED}")
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        walks = list(pool.map(lambda case: Walk(callers[user], fault, *case).run(), CASES))
    for walk in walks:
        print(f"{walk.name}: {walk.hits} calls of the {walk.who} failed, {len(walk.problems)} of them not well")
    problems = [problem for walk in walks for problem in walk.problems]
    # Each on a line of its own, and whole.
    assert not problems, "\n".join([f"{len(problems)} calls that failed not well:", *problems])
    assert all(walk.hits > 0 for walk in walks)
