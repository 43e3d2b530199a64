"""Names that are not there, records and folders that somebody made nonsense of, and a hostile peer."""

import contextlib
import fcntl
import json
import os
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import termios
import time

import pytest
from conftest import alive, wait_until
from containers import root_store, store  # noqa: F401

VERBS = [
    ("start",), ("stop",), ("kill",), ("restart",), ("pause",), ("unpause",), ("wait",), ("remove",), ("remove", "-f"),
    ("inspect",), ("logs",), ("attach",), ("start", "-a"),
]  # fmt: skip


def test_unknown_names(store):
    """Where was searched, and what is near."""
    store.create("true", "--name", "analytics")
    for words in VERBS:
        said = store.fails(*words, "analytic")
        assert "no container analytic" in said and str(store.path) in said, said
        assert "did you mean analytics?" in said, said
        assert ("root's store" if store.caller.name == "root" else "your own store") in said
    assert "no container" in store.fails("rename", "nobody", "somebody")
    for name in ("", "a/../b", "../x", "x" * 5000, "\x1b[2J", "name with blank", "-", "ÿ", "é" * 200):
        said = store.fails("stop", "--", name)
        assert "\x1b" not in said and "no container" in said, said
    for words in VERBS:
        assert "no container" in store.fails(*words)
    assert "takes no more words" in store.fails("logs", "a", "b")
    assert "takes no more words" in store.fails("rename", "a", "b", "c")


def test_names(store):
    identity = store.create("true", "--name", "first")
    image = ["--image", "template:busybox", "--", "true"]
    said = store.fails("create", "-q", "--name", "first", *image)
    assert identity in said and "has it" in said
    for name in ("x" * 129, ".x", "-x", "a b", "a/b", "a\nb", "é", ""):
        assert "--name" in store.fails("create", "-q", f"--name={name}", *image), name
    assert store.create("true", "--name", "x" * 128)
    done = store.call("create", "-q", "-l", "a=\x1b[2J", *image)
    assert done.returncode == 125 and "\x1b" not in done.stderr
    assert store.ids() and len(store.ids()) == 2


def test_ambiguous_prefix(root_store):
    ids = []
    prefixes = {}
    while not any(len(group) > 1 for group in prefixes.values()):
        ids.append(root_store.create("true"))
        prefixes.setdefault(ids[-1][:2], []).append(ids[-1])
        assert len(ids) < 200
    prefix = next(key for key, group in prefixes.items() if len(group) > 1)
    said = root_store.fails("start", prefix)
    assert "ids begin so" in said
    assert root_store.record(prefixes[prefix][0])["id"] == prefixes[prefix][0]


BROKEN = {
    "empty": b"",
    "binary": bytes(range(256)) * 10,
    "truncated": None,
    "nested": b'{"schema":1,"id":' + b"[" * 100_000,
    "huge": b" " * (9 << 20),
    "not-an-object": b"[1,2,3]",
    "newer": "schema=2",
    "duplicate": b'{"schema":1,"schema":1}',
    "other-id": "id=0123456789abcdef",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_records(store, kind):
    """Listed as broken, refused by every verb in words, and removed by force alone."""
    identity, other = store.create("true", "--name", "bad"), store.create("true", "--name", "good")
    file = store.folder(identity) / "container.json"
    text = file.read_bytes()
    content = BROKEN[kind]
    if content is None:
        content = text[: len(text) // 2]
    if isinstance(content, str):
        key, value = content.split("=")
        content = json.dumps(json.loads(text) | {key: int(value) if key == "schema" else value}).encode()
    file.write_bytes(content)
    rows = json.loads(store.ok("list", "-a", "--format", "json"))
    assert {row["id"]: row["state"] for row in rows} == {identity: "broken", other: "created"}
    for words in VERBS:
        if words != ("remove", "-f"):
            said = store.fails(*words, identity)
            assert "container.json" in said or "record" in said, said
    if kind == "newer":
        assert "newer codex32" in store.fails("start", identity)
    assert file.read_bytes() == content
    store.ok("start", "-q", other)
    store.ok("remove", "-f", identity)
    assert store.ids() == [other]
    assert os.listdir(store.path / "names") == ["good"]


def paths(value, at=()):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from paths(inner, (*at, key))
    yield at


def test_each_field_of_the_wrong_kind(root_store):
    """No field takes a supervisor or a command down: an error in words, or what cannot be wrong."""
    store = root_store
    options = ["-l", "a=b", "--memory-limit", "64m", "-e", "A=B", "--tmpfs", "/x", "--restart", "on-failure:2"]
    identity = store.create("true", *options)
    file = store.folder(identity) / "container.json"
    text = file.read_text()
    places = [path for path in paths(json.loads(text)) if path]
    assert len(places) > 50
    for number, path in enumerate(places):
        wrong = [None, -1, 1.5, "\x1b[31mword", [1], {"a": {"b": 1}}, 1 << 63, True, [], "x" * 70_000]
        record = json.loads(text)
        inner = record
        for key in path[:-1]:
            inner = inner[key]
        # A yes is no wrong answer to a question of yes or no.
        inner[path[-1]] = wrong[(number + (wrong[number % len(wrong)] is True and isinstance(inner[path[-1]], bool))) % len(wrong)]
        file.write_text(json.dumps(record))
        for words in (("inspect", identity), ("list", "-a"), ("start", "-q", identity), ("stop", "-t", "0", identity)):
            done = store.call(*words)
            assert done.returncode in (0, 125, 126, 127), (path, done)
            assert "\x1b" not in done.stdout + done.stderr, (path, done)
        assert not store.supervisors() or wait_until(lambda: not store.supervisors(), path)
    file.write_text(text)


def test_unknown_fields_are_kept(root_store):
    identity = root_store.create("exec sleep 1000")
    file = root_store.folder(identity) / "container.json"
    record = json.loads(file.read_text())
    record["future"] = {"colour": ["red", 1, None]}
    file.write_text(json.dumps(record))
    root_store.ok("start", "-q", identity)
    root_store.ok("rename", identity, "kept")
    root_store.ok("stop", "-t", "0", identity)
    assert root_store.record(identity)["future"] == {"colour": ["red", 1, None]}


def test_number_of_another_process(root_store):
    """A record whose pid is another process's by now: that one is never signalled."""
    store = root_store
    victim = subprocess.Popen(["sleep", "1000"])
    try:
        boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        started = int(pathlib.Path(f"/proc/{victim.pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
        other = {
            "earlier": {"pid": victim.pid, "startTime": started - 5, "boot": boot},
            "later": {"pid": victim.pid, "startTime": started + 1, "boot": boot},
            "other-boot": {"pid": victim.pid, "startTime": started, "boot": "0" * 36},
        }
        for name, identity_of in other.items():
            for verb in (["stop", "-t", "0"], ["kill"], ["remove", "-f"], ["start", "-q"], ["list", "-a"]):
                identity = store.create("exec sleep 1000")
                file = store.folder(identity) / "container.json"
                record = json.loads(file.read_text())
                record["state"] = {"status": "running", "process": identity_of, "startedAt": record["createdAt"]}
                record["supervisor"] = identity_of
                file.write_text(json.dumps(record))
                store.call(*verb, *([] if verb[0] == "list" else [identity]))
                assert victim.poll() is None, (name, verb)
                if verb[0] == "list":
                    assert store.state(identity) == "exited"
                store.ok("remove", "-f", *([identity] if identity in store.ids() else store.ids() or [store.create("true")]))
                assert victim.poll() is None, (name, verb)
    finally:
        victim.kill()
        victim.wait()


def test_storage_of_another_user(callers, store):
    if store.caller.name == "root":
        owner = callers["user"].account.pw_uid
    else:
        owner = 0
    identity = store.create("true")
    os.chown(store.path / "containers", owner, owner)
    try:
        for words in (("start", identity), ("create", "-q", "--image", "template:busybox", "--", "true"), ("stop", identity)):
            done = store.call(*words)
            assert done.returncode == 125 and done.stderr.startswith("codex32: "), done
        if store.caller.name == "root":
            assert "belongs to the user" in store.fails("start", identity)
    finally:
        os.chown(store.path / "containers", store.caller.account.pw_uid, store.caller.account.pw_gid)
    os.chmod(store.path / "containers", 0o777)
    assert "others may write" in store.fails("start", identity)
    os.chmod(store.path / "containers", 0o700)


def test_read_only_storage(root_store):
    store = root_store
    identity, running = store.create("true"), store.start("exec sleep 1000")
    subprocess.run(["mount", "--bind", store.path, store.path], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", store.path], check=True)
    try:
        for words in (("start", "-q", identity), ("remove", identity), ("rename", identity, "other"),
                      ("create", "-q", "--image", "template:busybox", "--", "true")):  # fmt: skip
            said = store.fails(*words)
            assert "read-only" in said, said
        assert {row["state"] for row in json.loads(store.ok("list", "-a", "--format", "json"))} == {"created", "running"}
        assert store.state(running) == "running"
    finally:
        wait_until(lambda: subprocess.run(["umount", store.path], capture_output=True, check=False).returncode == 0, "the unmount")
    assert store.state(running) == "running"


def test_socket_folder_replaced(root_store):
    """A link in the place of the supervisor's folder leads nowhere."""
    store = root_store
    elsewhere = store.place / "elsewhere"
    elsewhere.mkdir()
    identity = store.create("exec sleep 1000")
    (store.path / "run/supervised").mkdir(parents=True, exist_ok=True)
    (store.path / "run/supervised" / identity).symlink_to(elsewhere)
    said = store.fails("start", "-q", identity)
    assert "supervise" in said, said
    assert os.listdir(elsewhere) == []
    (store.path / "run/supervised" / identity).unlink(missing_ok=True)
    store.ok("start", "-q", identity)


def connect(store, identity):
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    folder = os.open(store.path / "run/supervised" / identity, os.O_RDONLY | os.O_DIRECTORY)
    try:
        peer.connect(f"/proc/self/fd/{folder}/control")
        peer.settimeout(20)
    finally:
        os.close(folder)
    return peer


def test_hostile_peer(root_store):
    """Garbage, huge packets, silence, a thousand connections: the supervisor answers whoever asks in earnest."""
    store = root_store
    identity = store.start("while :; do echo tick; sleep 0.05; done", "-i")
    supervisor = store.supervisor(identity)
    before = len(os.listdir(f"/proc/{supervisor}/fd"))
    garbage = [
        b"", b"\0", b"x" * 60_000, b"{}", b"[]", b"null", b'{"verb":5}', b'{"verb":"fly"}', b"[" * 60_000,
        b'{"verb":"kill"}', b'{"verb":"kill","signal":0}', b'{"verb":"kill","signal":65}', b'{"verb":"kill","signal":1e99}',
        b'{"verb":"stop","timeout":-1}', b'{"verb":"rename"}', b'{"verb":"rename","name":"../x"}', b'{"verb":"update","change":5}',
        b'{"verb":"update","change":{"limits":{"memoryMax":"x"}}}', b'{"verb":"attach","rows":-1,"columns":5}',
        b'{"verb":"health"}', b"\xff\xfe{}", json.dumps({"verb": "x" * 50_000}).encode(),
    ]  # fmt: skip
    for packet in garbage:
        with contextlib.closing(connect(store, identity)) as peer:
            with contextlib.suppress(OSError):
                peer.send(packet)
            peer.settimeout(0.2)
            with contextlib.suppress(OSError):
                answer = peer.recv(65536)
                assert b"problem" in answer or answer == b"", (packet[:50], answer)
        assert store.state(identity) == "running", packet[:50]
    # Larger than a packet may be.
    with contextlib.closing(connect(store, identity)) as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
        with contextlib.suppress(OSError):
            peer.send(b"y" * 150_000)
    # Attached, and sending frames that are none.
    with contextlib.closing(connect(store, identity)) as peer:
        peer.send(b'{"verb":"attach","input":true}')
        for frame in (b"w", b"wabc", b"z" * 1000, b"i", b"q" * 5, b"\0" * 60_000):
            peer.send(frame)
    # Asking without end, and reading no answer.
    with contextlib.closing(connect(store, identity)) as peer:
        peer.settimeout(0.5)
        with contextlib.suppress(OSError):
            for _ in range(200_000):
                peer.send(b'{"verb":"state"}')
    # A thousand that say nothing.
    idle = []
    for _ in range(1000):
        idle.append(connect(store, identity))
    assert store.ok("inspect", "-f", "{{.State.Status}}", identity) == "running\n"
    ticks = store.logs(identity).count(b"tick")
    wait_until(lambda: store.logs(identity).count(b"tick") > ticks, "the program goes on")
    store.ok("kill", "-s", "CONT", identity)
    assert len(os.listdir(f"/proc/{supervisor}/fd")) <= before + 64
    for peer in idle:
        peer.close()
    wait_until(lambda: len(os.listdir(f"/proc/{supervisor}/fd")) <= before, "its descriptors are free again")
    # A thousand that wait: refused in words once there are too many, and a stop still gets through afterwards.
    waiting = []
    for _ in range(100):
        peer = connect(store, identity)
        with contextlib.suppress(OSError):
            peer.send(b'{"verb":"wait"}')
            # Else it is one of those that say nothing, who are let go.
            wait_until(lambda: not struct.unpack("i", fcntl.ioctl(peer, termios.TIOCOUTQ, bytes(4)))[0], "its reading")  # noqa: B023
        waiting.append(peer)
    said = store.fails("kill", "-s", "CONT", identity)
    assert "clients" in said, said
    for peer in waiting:
        peer.close()
    wait_until(lambda: store.call("kill", "-s", "CONT", identity).returncode == 0, "it answers again")
    memory = pathlib.Path(f"/proc/{supervisor}/status").read_text()
    assert int(re.search(r"VmHWM:\s+(\d+)", memory)[1]) < 24 << 10
    store.ok("stop", "-t", "0", identity)


def test_another_user_is_turned_away(callers, root_store):
    """Even one who could reach the socket."""
    store = root_store
    identity = store.start("exec sleep 1000")
    folder = store.path / "run/supervised" / identity
    for path in (store.path, store.path / "run", store.path / "run/supervised", folder):
        path.chmod(0o755)
    (folder / "control").chmod(0o777)
    account = callers["user"].account
    code = (
        "import socket,sys,os\ns=socket.socket(socket.AF_UNIX,socket.SOCK_SEQPACKET)\n"
        "f=os.open(sys.argv[1],os.O_RDONLY)\ns.connect(f'/proc/self/fd/{f}/control')\n"
        "try:\n s.send(b'{\"verb\":\"kill\",\"signal\":9}'); print(len(s.recv(100)))\nexcept OSError: print(0)\n"
    )
    done = subprocess.run(
        ["setpriv", "--reuid", str(account.pw_uid), "--regid", str(account.pw_gid), "--clear-groups",
         "/usr/bin/python3", "-c", code, str(folder)], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "0\n", done
    assert store.state(identity) == "running"
    for path in (folder, store.path / "run/supervised", store.path / "run", store.path):
        path.chmod(0o700)
