"""Attached clients: start -a, start -i, attach; several, slow ones, dead ones."""

import contextlib
import fcntl
import os
import pathlib
import pty
import select
import signal
import struct
import subprocess
import termios
import time

import pytest
from conftest import LEVELS, PATIENCE, alive, processes_with, wait_until
from containers import root_store, store  # noqa: F401


class Terminal:
    """A client on a terminal of its own."""

    def __init__(self, store, verb, *words, rows=24, columns=80):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.process = subprocess.Popen(
            store.words(verb, *words), env=store.caller.environment(), cwd=store.place, stdin=slave, stdout=slave,
            stderr=slave, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        self.seen = b""

    def until(self, text):
        def found():
            while select.select([self.master], [], [], 0)[0]:
                self.seen += os.read(self.master, 65536)
            return text in self.seen

        wait_until(found, f"{text} in {self.seen}")

    def type(self, data):
        os.write(self.master, data)

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        os.kill(self.process.pid, signal.SIGWINCH)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal(store):
    opened = []

    def make(*words, **more):
        opened.append(Terminal(store, *words, **more))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def test_start_attached_sees_everything(store):
    """From the first byte on, both streams apart, and ends as the program ends."""
    script = 'i=0; while [ $i -lt 500 ]; do echo "out $i"; echo "err $i" >&2; i=$((i+1)); done; exit 42'
    for _ in range(3):
        identity = store.create(script)
        done = store.call("start", "-q", "-a", identity)
        assert done.returncode == 42
        assert done.stdout == "".join(f"out {i}\n" for i in range(500))
        assert done.stderr == "".join(f"err {i}\n" for i in range(500))


def test_much_output_arrives_whole(root_store):
    """The program waits for a client that is slower than it, and the client gets every byte."""
    identity = root_store.create("head -c 20000000 /dev/zero; echo end")
    for _ in range(5):
        done = root_store.call("start", "-q", "-a", identity, text=False)
        if b"let this client go" not in done.stderr:  # as it does with one that reads nothing for two seconds
            break
        root_store.ok("wait", identity)
    assert done.returncode == 0 and len(done.stdout) == 20_000_004 and done.stdout.endswith(b"\0end\n")


def test_input(store):
    identity = store.create('while read -r line; do echo "got $line"; done; echo over; exit 5', "-i")
    done = store.call("start", "-q", "-a", "-i", identity, input="one\ntwo\n")
    assert done.returncode == 5 and done.stdout == "got one\ngot two\nover\n"
    identity = store.create("cat | wc -c", "-i")
    data = os.urandom(3_000_000)
    done = store.call("start", "-q", "-i", identity, input=data, text=False)
    assert done.stdout.strip() == b"3000000", done
    other = store.create("true")
    assert "without -i" in store.fails("start", "-i", other)


def test_detach_keys_are_bytes_where_there_is_no_terminal(root_store):
    identity = root_store.create("cat", "-i")
    data = b"a\x10\x11b\n"
    assert root_store.call("start", "-q", "-i", identity, input=data, text=False).stdout == data


def test_signals_are_passed_on(store):
    identity = store.create('trap "echo int; exit 3" INT; echo up; while :; do sleep 0.05; done')
    client = store.popen("start", "-q", "-a", identity)
    assert client.stdout.readline() == b"up\n"
    client.send_signal(signal.SIGINT)
    out, _ = client.communicate(timeout=60)
    assert out == b"int\n" and client.returncode == 3


def test_signals_are_kept(store):
    identity = store.start('trap "echo term" TERM; echo up; while :; do sleep 0.05; done')
    client = store.popen("attach", "--no-sig-proxy", "--no-stdin", identity)
    wait_until(lambda: store.logs(identity) == b"up\n", "up")
    time.sleep(0.3)
    client.terminate()
    client.communicate(timeout=60)
    assert store.state(identity) == "running" and store.logs(identity) == b"up\n"


# It says that it is there until somebody types a line: who reads that is attached.
TICKING = "(while :; do echo here; sleep 0.1; done) & read -r x; { kill $!; wait $!; } 2> /dev/null"


def test_several_at_once(store):
    identity = store.create(f'{TICKING}; echo "all $x"; exit 6', "-i")
    store.ok("start", "-q", identity)
    clients = [store.popen("attach", "--no-stdin", identity) for _ in range(3)]
    typing = store.popen("attach", identity, stdin=subprocess.PIPE)
    for client in [*clients, typing]:
        assert client.stdout.readline() == b"here\n"
    typing.stdin.write(b"hear this\n")
    typing.stdin.flush()
    for client in [*clients, typing]:
        out, _ = client.communicate(timeout=60)
        assert client.returncode == 6
        if client is not typing:
            assert out.replace(b"here\n", b"") == b"all hear this\n", out
    assert store.logs(identity).replace(b"here\n", b"") == b"all hear this\n"


def test_killed_client(store):
    """A client's death is nobody else's business."""
    identity = store.start("while :; do echo tick; sleep 0.02; done", "-i")
    for _ in range(5):
        client = store.popen("attach", identity, stdin=subprocess.PIPE)
        client.stdout.readline()
        client.kill()
        client.communicate()
    assert store.state(identity) == "running"
    before = len(store.logs(identity))
    wait_until(lambda: len(store.logs(identity)) > before, "it goes on")


def test_client_that_never_reads(root_store):
    """It costs the program a moment, once, and nobody else anything."""
    store = root_store
    identity = store.create(f"{TICKING}; head -c 30000000 /dev/zero; echo end; exec sleep 1000", "-i", "--log-driver", "raw")
    store.ok("start", "-q", identity)
    slow = store.popen("attach", "--no-stdin", identity)
    watching = store.popen("attach", identity, stdin=subprocess.PIPE)
    assert slow.stdout.readline() == watching.stdout.readline() == b"here\n"
    watching.stdin.write(b"go\n")
    watching.stdin.flush()
    seen, last = 0, b""
    while seen < 30_000_000 or not last.endswith(b"end\n"):
        part = os.read(watching.stdout.fileno(), 1 << 20)
        assert part
        seen, last = seen + part.count(0), (last + part)[-4:]
    assert seen == 30_000_000
    assert store.state(identity) == "running"
    out, err = slow.communicate(timeout=60)
    assert slow.returncode == 125 and b"did not read" in err
    watching.kill()
    watching.communicate()


@pytest.mark.parametrize("options", [[], ["--rm"]])
def test_client_that_reads_only_after_the_end(root_store, options):
    """Let go of for its slowness, it says that it has not got all, though the program has ended well meanwhile."""
    store = root_store
    identity = store.create("head -c 30000000 /dev/zero; exit 3", "--name", "bot", *options)
    client = store.popen("start", "-q", "-a", identity)
    wait_until(lambda: "die" in [event["type"] for event in store.events()], "the end")
    wait_until(lambda: not store.supervisors(), "the end of the supervisor")
    out, err = client.communicate(timeout=PATIENCE)
    assert len(out) < 30_000_000
    if options:
        assert client.returncode == 125 and b"the container has ended, and is removed" in err, err
    else:
        lost = b"codex32: cannot pass on all that the program wrote: its supervisor was gone, or had let this client go,"
        assert client.returncode == 3 and err.startswith(lost) and err.count(b"\n") == 2, err
        assert err.endswith(b"\nhint: codex32 logs bot has all of it\n")


def test_terminal(store, terminal):
    script = 'stty size; echo ready; read -r word; echo "word: $word"; stty size; read -r x; exit 9'
    identity = store.create(script, "-i", "-t")
    client = terminal("start", "-q", "-a", "-i", identity, rows=33, columns=99)
    client.until(b"33 99\r\nready\r\n")
    client.resize(44, 111)
    time.sleep(0.3)
    client.type(b"hello\r")
    client.until(b"word: hello\r\n44 111\r\n")
    client.type(b"\r")
    assert client.process.wait(60) == 9
    assert termios.tcgetattr(client.slave) == client.before


def test_detach(store, terminal):
    identity = store.create('echo ready; read -r word; echo "word: $word"; exec sleep 1000', "-i", "-t")
    client = terminal("start", "-q", "-a", "-i", identity)
    client.until(b"ready")
    client.type(b"\x10\x11")
    assert client.process.wait(60) == 0
    assert termios.tcgetattr(client.slave) == client.before
    assert store.state(identity) == "running"
    second = terminal("attach", "--detach-keys", "ctrl-a,d", identity)
    time.sleep(0.3)
    second.type(b"\x10x\r")
    second.until(b"word: ")
    second.type(b"\x01d")
    assert second.process.wait(60) == 0
    assert store.state(identity) == "running"


@pytest.mark.parametrize("options", [[], ["--detach-keys", "ctrl-a,d"]], ids=["usual", "chosen"])
def test_detach_from_exec(store, terminal, options):
    """The program goes on with its terminal, and with nobody there; until the keys are typed it ends with its client."""
    identity = store.start("exec sleep 1000")
    first, last = (b"\x01", b"d") if options else (b"\x10", b"\x11")
    script = 'echo ready; read -r word; echo "word: $word"; while [ ! -e /tmp/over ]; do echo more; sleep 0.02; done; echo $word > /tmp/said'
    client = terminal("exec", "-i", "-t", *options, identity, "sh", "-c", script)
    client.until(b"ready")
    client.type(first + b"x\r")
    client.until(b"word: ")
    client.until(b"more")
    client.type(first + last)
    assert client.process.wait(60) == 0
    assert termios.tcgetattr(client.slave) == client.before
    # It writes on: were it not read, its terminal would be full at some time.
    assert b"sh -c" in store.ok("top", identity).encode()
    store.ok("exec", identity, "touch", "/tmp/over")
    wait_until(lambda: store.call("exec", identity, "cat", "/tmp/said").stdout == first.decode() + "x\n", "its last word")
    wait_until(lambda: len(store.ok("top", "-q", identity).split()) == 1, "its end")
    wait_until(lambda: not [pid for pid in processes_with(str(store.path)) if b"exec-kept" in cmdline(pid)], "the keeper's end")
    killed = terminal("exec", "-i", "-t", *options, identity, "sleep", "777")
    wait_until(lambda: len(store.ok("top", "-q", identity).split()) == 2, "the program")
    killed.process.kill()
    wait_until(lambda: len(store.ok("top", "-q", identity).split()) == 1, "its end with the client")
    ended = terminal("exec", "-i", "-t", *options, "-e", "CODE=7", identity, "sh", "-c", "exit $CODE")
    assert ended.process.wait(60) == 7
    refused = store.fails("exec", "-i", "--detach-keys", "ctrl-a", identity, "true")
    assert "hint: codex32 exec -i -t" in refused


@pytest.mark.parametrize("level", LEVELS)
def test_detach_from_exec_at_each_level(store, terminal, level):
    """Also where codex32 first runs itself anew, from where the container cannot write to it."""
    identity = store.start("exec sleep 1000", "-w", "/", level=level)
    client = terminal("exec", "-i", "-t", identity, "sh", "-c", "echo ready; exec sleep 777")
    client.until(b"ready")
    client.type(b"\x10\x11")
    assert client.process.wait(60) == 0
    wait_until(lambda: "sleep 777" in store.ok("top", identity), "the program in the shell's place")


def test_exec_without_detach_keys(store, terminal):
    """What is typed all reaches the program, at once; and there is no second process of codex32's."""
    identity = store.start("exec sleep 1000")
    client = terminal("exec", "-i", "-t", "--detach-keys", "none", identity, "sh", "-c", "stty raw -echo; echo ready; head -c 2 | od -An -tx1")
    client.until(b"ready")
    assert not [pid for pid in processes_with(str(store.path)) if b"exec-kept" in cmdline(pid)]
    client.type(b"\x10\x11")
    client.until(b"10 11")
    assert client.process.wait(60) == 0


def cmdline(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def test_interrupt_on_the_terminal(store, terminal):
    # With --init: a pid 1 that does nothing about a signal never gets it.
    identity = store.create("echo ready; sleep 1000", "-i", "-t", "--init")
    client = terminal("start", "-q", "-i", identity)
    client.until(b"ready")
    client.type(b"\x03")
    assert client.process.wait(60) == 130


def test_terminal_that_is_flooded_with_input(root_store, terminal=None):
    """A program that does not read fills its terminal; what was typed is there when it reads at last."""
    identity = root_store.create("stty raw -echo; echo ready; sleep 1; head -c 20000 | md5sum; exit 0", "-i", "-t")
    client = Terminal(root_store, "start", "-q", "-i", identity)
    try:
        client.until(b"ready")
        for _ in range(20):
            client.type(b"0123456789" * 100)
        client.until(b"  -")
        import hashlib

        assert hashlib.md5(b"0123456789" * 2000).hexdigest().encode() in client.seen
    finally:
        client.close()


def test_attach_to_what_does_not_run(store):
    identity = store.create("true")
    assert "it is created" in store.fails("attach", identity)
    assert "--detach-keys" in store.fails("attach", "--detach-keys", "nonsense!", identity)


def test_client_killed_while_it_starts(root_store):
    """Nothing waits for a client that is gone."""
    for _ in range(10):
        identity = root_store.create("exec sleep 1000")
        client = root_store.popen("start", "-q", "-a", identity)
        time.sleep(0.01 * (_ % 5))
        client.kill()
        client.communicate()
        wait_until(
            lambda: root_store.state(identity) in ("created", "running")
            and (root_store.state(identity) == "running" or not root_store.supervisors()),
            "an orderly state",
        )
        root_store.ok("remove", "-f", identity)
