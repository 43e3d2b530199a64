"""Containers that outlive their command, as the tests of their lifecycle make, watch and remove them."""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

from conftest import BUSYBOX, PATIENCE, alive, processes_with, wait_until

import pytest


class Store:
    """A caller's own store, empty at first."""

    def __init__(self, caller, place):
        self.caller = caller.with_storage(place / "storage")
        self.place = place
        self.path = self.caller.storage

    def words(self, verb, *words):
        return [*self.caller.become(), str(self.caller.binary), verb, "--root", str(self.path), *map(str, words)]

    def call(self, verb, *words, cwd=None, env=None, input=None, text=True, timeout=PATIENCE, **more):
        if input is None:
            more.setdefault("stdin", subprocess.DEVNULL)
        else:
            more["input"] = input
        return subprocess.run(
            self.words(verb, *words), env=self.caller.environment(env), cwd=cwd or self.place,
            capture_output=True, text=text, timeout=timeout, **more,
        )  # fmt: skip

    def ok(self, verb, *words, **more):
        """What a verb prints; it must succeed."""
        done = self.call(verb, *words, **more)
        assert done.returncode == 0, (verb, words, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def fails(self, verb, *words, status=125, **more):
        """What a verb says; it must fail as codex32 fails: in words, with this status."""
        done = self.call(verb, *words, **more)
        assert done.returncode == status, (verb, words, done.returncode, done.stdout, done.stderr)
        assert done.stderr.startswith("codex32: "), done.stderr
        return done.stderr

    def popen(self, verb, *words, **more):
        settings = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more
        return subprocess.Popen(self.words(verb, *words), env=self.caller.environment(), cwd=self.place, **settings)

    def create(self, script, *options, level="standard", **more):
        """Makes a container of a shell script, and returns its id."""
        words = ["-q", "--isolation", level, *options]
        if level == "strict":
            words += ["--waive", "cgroup"]
        return self.ok("create", *words, "--image", BUSYBOX, "--", "sh", "-c", script, **more).strip()

    def start(self, script, *options, **more):
        """Makes one and starts it."""
        identity = self.create(script, *options, **more)
        self.ok("start", "-q", identity)
        return identity

    def record(self, name):
        return json.loads(self.ok("inspect", name))[0]

    def state(self, name):
        return self.record(name)["state"]["status"]

    def pid(self, name):
        return self.record(name)["state"]["process"]["pid"]

    def until(self, name, state):
        wait_until(lambda: self.state(name) == state, f"{name} {state}")

    def logs(self, name, *options):
        """Both streams, in the order in which they were logged."""
        words = self.words("logs", *options, name)
        done = subprocess.run(
            words, env=self.caller.environment(), cwd=self.place, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        return done.stdout

    def ids(self):
        return self.ok("list", "-a", "-q").split()

    def folder(self, identity):
        return self.path / "containers" / identity

    def supervisors(self):
        """The processes that look after this store's containers."""
        found = []
        for pid in processes_with(str(self.path)):
            with contextlib.suppress(OSError):
                if b"\0supervise\0" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes() and alive(pid):
                    found.append(pid)
        return found

    def supervisor(self, identity):
        for pid in self.supervisors():
            with contextlib.suppress(OSError):
                if identity.encode() in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes():
                    return pid
        return None

    def events(self):
        return [json.loads(line) for line in self.ok("events", "--format", "json").splitlines()]

    def clear(self):
        """Takes every container away, and sees that nothing of them is left."""
        ids = self.ids()
        if ids:
            self.ok("remove", "-f", *ids)
        wait_until(lambda: not self.supervisors(), "the end of every supervisor")
        for part in ("containers", "names", "layers", "run/supervised", "run/containers"):
            with contextlib.suppress(FileNotFoundError):
                assert os.listdir(self.path / part) == [], part


@contextlib.contextmanager
def store_of(caller):
    place = pathlib.Path(tempfile.mkdtemp(prefix="life.", dir=caller.home))
    place.chmod(0o755)
    caller.own(place)
    made = Store(caller, place)
    try:
        yield made
        made.clear()
    finally:
        # A test that failed leaves nothing either.
        for pid in made.supervisors():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        wait_until(lambda: not made.supervisors(), "the end of every supervisor")
        shutil.rmtree(place)


@pytest.fixture
def store(caller):
    with store_of(caller) as made:
        yield made


@pytest.fixture
def root_store(callers):
    """For what does not depend on who asks."""
    with store_of(callers["root"]) as made:
        yield made
