"""What the tests of faults share: a store to break things in, and what must be true of it afterwards."""

import contextlib
import errno
import fcntl
import functools
import json
import os
import pathlib
import re
import signal
import struct
import subprocess
import tempfile

from conftest import CGROUP, HAS_CGROUP2, PATIENCE, alive, cgroups_below, processes_with, wait_until

SUPERVISED = {"running", "paused", "stopping", "restarting"}
SLEEP = ["sleep", "100000"]

# What Swift's own runtime makes of a failed call before codex32's code begins: it does not know where it is, or with what words.
RUNTIME = ["Unable to obtain Swift runtime path", "codex32 runs programs in sandboxes"]


ERRORS = [errno.EPERM, errno.ENOMEM, errno.ENOSYS, errno.EMFILE, errno.EIO, errno.ENOSPC, errno.EINTR]
ALL_ERRORS = os.environ.get("CODEX32_FAULT_ERRORS") == "all"


def steps(chosen, calls, count, was_hit):
    """Which calls are to fail, and with what: so many of those that were counted, or (0) each, from the first to where none
    is met any more. What is made a call more or less of ends where none was met three times in a row."""
    if calls:
        yield from ((number, chosen.choice(ERRORS)) for number in sorted(chosen.sample(range(1, count + 1), min(calls, count))))
        return
    number = beyond = 0
    while beyond < 3:
        number += 1
        beyond += 1
        for error in ERRORS if ALL_ERRORS else [chosen.choice(ERRORS)]:
            yield number, error
            if was_hit():
                beyond = 0


@functools.cache
def call_names():
    """The system calls' names by their numbers, as the machine's headers have them."""
    words = ["gcc", "-E", "-dM", "-include", "sys/syscall.h", "-x", "c", "/dev/null"]
    text = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
    return {int(number): name for name, number in re.findall(r"^#define __NR_(\w+) (\d+)$", text, re.MULTILINE)}


class Hit(str):
    """The call that met a fault: its name; with -a also the errno, and the path it was about."""

    error = None
    subject = "-"

    def __repr__(self):
        return f"{self} {self.subject} {errno.errorcode[self.error]}" if self.error else str(self)


def reported(report):
    """What fault.c says: the call that was hit, or how many there are."""
    kind, what = report.read_text().rstrip("\n").split(" ", 1)
    if kind == "missed":
        return int(what)
    if " " not in what:
        return Hit(what)
    number, error, subject = what.split(" ", 2)
    hit = Hit(call_names()[int(number)])
    hit.error, hit.subject = int(error), subject
    return hit


def refused(done, hinted=False):
    """One line for each thing that failed, and no more than a hint below it."""
    lines = [line for line in done.stderr.splitlines() if "warning: " not in line]
    assert lines and lines[0].startswith("codex32: "), done.stderr
    assert all(line.startswith(("codex32: ", "hint: ")) for line in lines) and len(lines) <= 4, done.stderr
    assert not hinted or any(line.startswith("hint: ") for line in lines), done.stderr


def created(store):
    """What is there before a verb is broken: a container that was made."""
    return store.create("bot")


def running(store):
    id = created(store)
    store.must("start", "-q", id)
    return id


def abandoned(store):
    """One that runs, as far as its record knows."""
    id = running(store)
    store.kill_supervisor(id)
    return id


def is_locked(path):
    """Whether an open file has the lock (F_OFD_GETLK, fcntl(2))."""
    with contextlib.suppress(FileNotFoundError), open(path, "rb+") as file:
        # struct flock: type, whence, start, length, pid.
        asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        return struct.unpack("hhqqi4x", fcntl.fcntl(file, fcntl.F_OFD_GETLK, asked))[0] != fcntl.F_UNLCK
    return False


class Store:
    """A storage folder of its own, whose processes can be told from all others by its path."""

    def __init__(self, caller, fault, folder=None):
        self.caller = caller.with_storage(folder or tempfile.mkdtemp(prefix="store.", dir=caller.home))
        self.path = self.caller.storage
        self.fault = fault
        self.path.mkdir(exist_ok=True)
        self.caller.own(self.path)
        self.report = pathlib.Path(f"{self.path}.report")

    def words(self, verb, *words):
        return self.caller.become() + [str(self.caller.binary), verb, "--root", str(self.path), *map(str, words)]

    def do(self, verb, *words):
        return self.caller.execute(self.words(verb, *words))

    def must(self, verb, *words):
        done = self.do(verb, *words)
        assert done.returncode == 0, (verb, words, done.stderr)
        return done.stdout

    def create(self, name, *options, command=SLEEP):
        return self.must("create", *self.made(name, *options, command=command)).strip()

    def made(self, name, *options, command=SLEEP):
        return ["--name", name, "-e", f"STORE={self.path}", *options, "template:busybox", "--", *command]

    def broken(self, who, number, action, verb, *words, supervisor=None, options=()):
        """Runs a verb under fault.c. Returns what it did, and which call was hit: the number of calls when that was less."""
        tracer = [str(self.fault), *options, "-s", str(self.path), "-o", str(self.report)]
        if supervisor:
            tracer += ["-p", str(supervisor)]
        done = self.caller.execute([*tracer, who, str(number), str(action), "--", *self.words(verb, *words)])
        return done, reported(self.report)

    def points(self, most, chosen, attempt):
        """Which calls of a verb are to meet a fault: all, or so many of them. The first attempt meets none."""
        _, count = attempt(1 << 30)
        return sorted(chosen.sample(range(1, count + 1), min(most, count)))

    def rows(self):
        return {row["id"]: row for row in json.loads(self.must("list", "-a", "--format", "json"))}

    def record(self, id):
        """What is written down, whatever is true by now; None: there is no such container any more."""
        with contextlib.suppress(FileNotFoundError):
            return json.loads((self.path / "containers" / id / "container.json").read_text())
        return None

    def supervisor(self, id):
        """The pid of a container's supervisor; None: it has none that lives."""
        supervisor = (self.record(id) or {}).get("supervisor")
        return supervisor["pid"] if supervisor and alive(supervisor["pid"]) else None

    def kill_supervisor(self, id):
        """SIGKILL, and the end waited for."""
        pid = self.supervisor(id)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not alive(pid), "the supervisor's end")

    # What must be true

    def truth(self):
        """The list, believed nothing: what runs has a living supervisor and program, what ended has a reason."""
        rows = self.rows()
        names = [row["name"] for row in rows.values()]
        assert len(names) == len(set(names)), names
        for row in rows.values():
            record = self.record(row["id"])
            if record is None:
                continue  # --rm, since the list
            state = record["state"]
            if state["status"] in SUPERVISED:
                # It may have ended since: then the record says so by now.
                ok = alive(record["supervisor"]["pid"])
                now = None if ok else self.record(row["id"])
                assert ok or now is None or now["state"]["status"] not in SUPERVISED, record
            else:
                assert state["status"] in {"created", "exited"}, record
            if state["status"] == "exited":
                assert state["verdict"]["reason"] and state["verdict"]["finishedAt"], record
                assert isinstance(state["exitStatus"], int)
        return rows

    def settled(self):
        """Every process of the store belongs to a container that the list says to be there.

        A child that is not its program yet has no words of its own: it is seen by the lock that it got from its supervisor.
        """

        ids = self.rows()

        def quiet():
            expected = set()
            for id in ids:
                record = self.record(id)
                is_supervised = record and record["state"]["status"] in SUPERVISED
                if not is_supervised and is_locked(self.path / "containers" / id / "lock"):
                    return False
                if is_supervised:
                    expected |= {record["supervisor"]["pid"], record["state"].get("process", {}).get("pid")}
            found = set(processes_with(str(self.path)))
            return found - {os.getpid()} == expected - {None}

        wait_until(quiet, f"no process without an owner: {processes_with(str(self.path))}")

    def in_order(self):
        """After recovery nothing is left that belongs to nobody, and recovery has nothing to do."""
        self.settled()
        first = self.must("system", "recover")
        again = self.must("system", "recover")
        assert again == "all is in order\n", (first, again)
        seen = None
        while True:
            rows = self.truth()
            try:
                self.files(rows)
                return rows
            except AssertionError:
                # A program may have ended meanwhile, and its supervisor, which says so first, be about to clear away.
                states = {id: row["state"] for id, row in rows.items()}
                if states == seen:
                    raise
                seen = states
                self.settled()

    def usable(self, known, may_be_gone=False):
        """In order, with nothing lost: what does not run can be started. Then everything is taken away."""
        rows = self.in_order()
        assert may_be_gone or known is None or known in rows, "lost in recovery"
        for row in rows.values():
            if row["state"] in {"created", "exited"}:
                self.must("start", "-q", row["id"])
        # A supervisor that could not look at what it had written is sure of it again with its next word.
        self.clear(recovers=True)

    def listing(self, place):
        with contextlib.suppress(FileNotFoundError):
            return set(os.listdir(self.path / place))
        return set()

    def files(self, rows):
        assert self.listing("containers") == set(rows)
        named = {name: (self.path / "names" / name).read_text() for name in self.listing("names")}
        # One whose record cannot be read keeps the name that it had.
        broken = {id for id, row in rows.items() if row["state"] == "broken"}
        assert {name: id for name, id in named.items() if id not in broken} == {
            row["name"]: row["id"] for id, row in rows.items() if id not in broken
        }
        active = {id for id, row in rows.items() if row["state"] in SUPERVISED}
        assert self.listing("run/supervised") == active
        assert self.listing("layers") <= set(rows)
        assert self.listing("run/containers") == set()
        # A failed write of a supervisor's is its own to repeat: under the same temporary name.
        for id in set(rows) - active:
            assert not [name for name in self.listing(f"containers/{id}") if name.startswith(".")]
        if HAS_CGROUP2:
            cgroups = {str(path) for path in cgroups_below(CGROUP) if path.name in rows}
            assert {os.path.basename(path) for path in cgroups} <= active

    def clear(self, recovers=False):
        ids = self.rows()
        if ids:
            self.must("remove", "-f", *ids)
        if recovers:
            self.must("system", "recover")
        self.settled()
        self.files({})
