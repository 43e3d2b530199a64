"""A container's log: every byte that was written, within the bounds that were set."""

import contextlib
import hashlib
import json
import os
import pathlib
import random
import re
import stat
import subprocess
import time

import pytest
from conftest import BUSYBOX, alive, wait_until
from containers import root_store, store  # noqa: F401


def stored(store, identity):
    """The log's objects as any JSON parser reads them, oldest first."""
    folder = store.folder(identity) / "log"
    names = sorted((name for name in os.listdir(folder)), key=lambda name: -int(name[9:] or 0) if name[9:] else 1)
    entries = []
    for name in names:
        for line in (folder / name).read_bytes().split(b"\n")[:-1]:
            entries.append(json.loads(line))
        assert (folder / name).read_bytes()[-1:] in (b"\n", b"")
    return entries


def payload(entry):
    import base64

    return entry["log"].encode() if "log" in entry else base64.b64decode(entry["base64"])


def shared(store, name, data):
    folder = store.place / "shared"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    (folder / name).write_bytes(data)
    (folder / name).chmod(0o644)
    return ["-v", f"{folder}:/shared:ro"]


def samples():
    rng = random.Random(32)
    yield "random", rng.randbytes(1_500_000)
    yield "no-line-end", b"x" * 100_000
    yield "one-byte", b"a"
    yield "no-final-newline", b"one\ntwo\nthree"
    yield "only-newlines", b"\n" * 50_000
    yield "controls", bytes(range(256)) * 300 + bytes(range(128)) * 300
    text = "".join(rng.choice("aä€😀\n\"\\\t\r\x7f\x01zъ") for _ in range(200_000))
    yield "unicode", text.encode()
    broken = bytearray(text.encode())
    for _ in range(2000):
        broken[rng.randrange(len(broken))] = rng.randrange(256)
    yield "broken-unicode", bytes(broken)
    yield "surrogates", b"\xed\xa0\x80\n\xc0\x80\n\xf4\x90\x80\x80\n\xe2\x82\n\xe2\x82" * 1000
    yield "cut-character", "€".encode() * 30_000 + b"\xe2\x82"
    yield "long-lines", b"".join(b"%d" % i * 7000 + b"\n" for i in range(20))


@pytest.mark.parametrize("name, data", samples(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_byte(root_store, name, data):
    options = shared(root_store, name, data)
    identity = root_store.start(f"cat /shared/{name}", *options)
    root_store.ok("wait", identity)
    assert root_store.logs(identity) == data
    entries = stored(root_store, identity)
    assert b"".join(map(payload, entries)) == data
    assert all(set(entry) == {"stream", "time", "log"} or set(entry) == {"stream", "time", "base64"} for entry in entries)
    assert all(len(payload(entry)) <= 16384 for entry in entries)


@pytest.mark.parametrize("driver", ["raw", "none"])
def test_other_forms(root_store, driver):
    data = random.Random(7).randbytes(300_000)
    options = shared(root_store, "data", data)
    identity = root_store.start("cat /shared/data", "--log-driver", driver, *options)
    root_store.ok("wait", identity)
    if driver == "none":
        assert "has no log" in root_store.fails("logs", identity)
    else:
        assert root_store.logs(identity) == data
        assert "raw log" in root_store.fails("logs", "--tail", "3", identity)


def test_both_streams(store):
    script = 'i=0; while [ $i -lt 300 ]; do echo "out $i"; echo "err $i" >&2; i=$((i+1)); done'
    identity = store.start(script)
    store.ok("wait", identity)
    done = store.call("logs", identity)
    assert done.stdout == "".join(f"out {i}\n" for i in range(300))
    assert done.stderr == "".join(f"err {i}\n" for i in range(300))


def test_last_words_are_never_lost(root_store):
    """64 KiB right before the end: what was written is in the log when `wait` returns."""
    data = random.Random(1).randbytes(48_000).hex().encode()[:65536]
    options = shared(root_store, "data", data)
    for turn in range(12):
        identity = root_store.create("exec cat /shared/data", *options)
        root_store.ok("start", "-q", identity)
        root_store.ok("wait", identity)
        assert root_store.logs(identity) == data, turn
        root_store.ok("remove", identity)


def test_last_words_of_a_killed_program(root_store):
    data = b"last words\n" * 3000
    options = shared(root_store, "data", data)
    for _ in range(5):
        identity = root_store.start("cat /shared/data; kill -9 $$; sleep 1000", *options, "--init")
        root_store.ok("wait", identity)
        assert root_store.logs(identity) == data


def disk(folder):
    """Bytes of the files in a folder, each counted once however it is renamed meanwhile."""
    sizes = {}
    for name in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):
            status = (folder / name).stat()
            sizes[status.st_ino] = status.st_size
    return sum(sizes.values())


def peak(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", text)[1]) << 10


def own_memory(pid):
    """What a process has that no other shares and no file holds."""
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"Pss_Anon:\s+(\d+)", text)[1]) << 10


def test_bounds_of_a_flood(root_store):
    """A gigabyte, far more than the bound: disk and memory stay within theirs, and what is kept is the end, whole."""
    store = root_store
    line = "0123456789abcdef" * 3 + "012345678"
    place = store.place / "shared"
    place.mkdir()
    place.chmod(0o777)
    # Twenty megabytes, fifty times: written as fast as it can be read.
    (place / "lines").write_text(f"{line}\n" * (20_000_000 // (len(line) + 1) + 1))
    script = "i=0; while [ $i -lt 50 ]; do cat /shared/lines; i=$((i+1)); done; touch /shared/done; exec sleep 1000"
    identity = store.create(script, "-v", f"{place}:/shared")
    store.ok("start", "-q", identity)
    supervisor = store.supervisor(identity)
    # `start` is told before what planning took is given back.
    wait_until(lambda: own_memory(supervisor) <= 1 << 20, "the supervisor's own memory within its bound")
    folder = store.folder(identity) / "log"
    most = 0

    def done():
        nonlocal most
        most = max(most, disk(folder))
        return (place / "done").exists()

    wait_until(done, "the end of the flood")
    assert most <= 30 << 20, most
    assert own_memory(supervisor) <= 1 << 20
    assert peak(supervisor) < 16 << 20
    store.ok("stop", "-t", "0", identity)
    assert sorted(os.listdir(folder)) == ["log.json", "log.json.1", "log.json.2"]
    assert all((folder / name).stat().st_size <= 10 << 20 for name in os.listdir(folder))
    entries = stored(store, identity)
    assert len(entries) > 100_000
    texts = [payload(entry).decode() for entry in entries]
    # A line that two reads brought is two objects; put together they are what the program wrote.
    whole = "".join(texts)
    assert set(whole.split("\n")[1:-1]) == {line}


def test_a_look_at_a_flood_ends(root_store):
    """Without -f, what is there at that moment is shown, however fast more comes."""
    identity = root_store.start("exec yes flooding", "--log-max-size", "2m")
    for _ in range(3):
        shown = root_store.call("logs", identity)
        assert shown.returncode == 0
        # The first may be the rest of a line whose beginning went with an older file.
        assert set(shown.stdout.splitlines()[1:-1]) <= {"flooding"}
    last = root_store.call("logs", "--tail", "5", identity).stdout.splitlines()
    assert len(last) == 5 and set(last[:-1]) == {"flooding"}
    root_store.ok("remove", "-f", identity)


def test_small_bounds(root_store):
    identity = root_store.start(
        "i=0; while [ $i -lt 12000 ]; do echo line $i ....................................; i=$((i+1)); done",
        "--log-max-size", "128k", "--log-max-files", "4",
    )  # fmt: skip
    root_store.ok("wait", identity)
    folder = root_store.folder(identity) / "log"
    assert sorted(os.listdir(folder)) == ["log.json", "log.json.1", "log.json.2", "log.json.3"]
    assert all((folder / name).stat().st_size <= 128 << 10 for name in os.listdir(folder))
    lines = root_store.logs(identity).decode().splitlines()
    numbers = [int(line.split()[1]) for line in lines]
    assert numbers == list(range(numbers[0], 12000)) and len(numbers) > 2500
    assert root_store.logs(identity, "-n", "3").decode().splitlines() == lines[-3:]
    assert root_store.logs(identity, "--tail", "2000").decode().splitlines() == lines[-2000:]
    one = root_store.start("i=0; while [ $i -lt 3000 ]; do echo line $i .............; i=$((i+1)); done",
                           "--log-max-size", "128k", "--log-max-files", "1")  # fmt: skip
    root_store.ok("wait", one)
    assert os.listdir(root_store.folder(one) / "log") == ["log.json"]
    assert root_store.logs(one).endswith(b"line 2999 .............\n")


def test_follow_through_rotation(store):
    """A follower misses nothing and sees nothing twice while files turn under it, and ends with the program."""
    script = "i=0; while [ $i -lt 8000 ]; do echo line $i ................................................; i=$((i+1)); done"
    identity = store.create(script, "--log-max-size", "128k", "--log-max-files", "20")
    go = store.popen("start", "-q", identity)
    go.communicate(timeout=60)
    follower = store.popen("logs", "-f", identity)
    out, err = follower.communicate(timeout=120)
    assert follower.returncode == 0, err
    numbers = [int(line.split()[1]) for line in out.decode().splitlines()]
    assert numbers == list(range(8000))


def test_follow_as_it_comes(store):
    identity = store.start("echo one; while [ ! -e /tmp/x ]; do sleep 0.1; done")
    follower = store.popen("logs", "-f", identity)
    assert follower.stdout.readline() == b"one\n"
    store.ok("stop", "-t", "0", identity)
    assert follower.stdout.read() == b""
    assert follower.wait(60) == 0
    follower.stderr.close()


def test_times(store):
    identity = store.start("echo one; until test -e /tmp/go; do sleep 0.05; done; printf two; sleep 0.2; echo ' more'; echo three >&2")
    wait_until(lambda: store.logs(identity) == b"one\n", "one")
    store.ok("exec", identity, "sleep", "1.2")
    store.ok("exec", "-d", identity, "touch", "/tmp/go")
    store.ok("wait", identity)
    lines = store.logs(identity, "-t").decode().splitlines()
    pattern = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (.*)$")
    texts = [pattern.match(line)[1] for line in lines]
    assert sorted(texts) == ["one", "three", "two more"]
    entries = stored(store, identity)
    moment = next(entry["time"] for entry in entries if payload(entry).startswith(b"two"))
    since = store.logs(identity, "--since", moment).decode()
    assert "one" not in since and "two more" in since
    until = store.logs(identity, "--until", entries[0]["time"]).decode()
    assert until == "one\n"
    assert store.logs(identity, "--since", "1h") == store.logs(identity)
    assert store.logs(identity, "-n", "0") == b""
    assert "--since" in store.fails("logs", "--since", "yesterday", identity)
    assert "--tail" in store.fails("logs", "--tail", "-1", identity)


def test_a_torn_line_hides_no_other(root_store):
    """What a killed supervisor left of a line stays alone."""
    identity = root_store.start("echo first")
    root_store.ok("wait", identity)
    file = root_store.folder(identity) / "log/log.json"
    with file.open("ab") as end:
        end.write(b'{"log":"half of a li')
    root_store.ok("start", "-q", identity)
    root_store.ok("wait", identity)
    assert root_store.logs(identity) == b"first\nfirst\n"


def test_hostile_log_files(root_store):
    """In the log's place stands a link, a pipe or a device: nothing is written to it, and nobody waits for it."""
    store = root_store
    target = store.place / "sentinel"
    for kind in ("link", "dangling", "pipe", "device", "folder"):
        identity = store.create("echo secret; echo more >&2")
        file = store.folder(identity) / "log/log.json"
        target.write_text("untouched")
        missing = store.place / "missing"
        if kind == "link":
            file.symlink_to(target)
        elif kind == "dangling":
            file.symlink_to(missing)
        elif kind == "pipe":
            os.mkfifo(file)
        elif kind == "device":
            os.mknod(file, 0o600 | stat.S_IFCHR, os.makedev(1, 5))
        else:
            file.mkdir()
        assert "log" in store.fails("start", "-q", identity), kind
        assert store.state(identity) == "created"
        assert "log" in store.fails("logs", identity, timeout=60), kind
        assert target.read_text() == "untouched" and not missing.exists()
        store.ok("remove", identity)
    # The folder itself.
    identity = store.create("echo secret")
    elsewhere = store.place / "elsewhere"
    elsewhere.mkdir()
    os.rmdir(store.folder(identity) / "log")
    (store.folder(identity) / "log").symlink_to(elsewhere)
    store.fails("start", "-q", identity)
    assert os.listdir(elsewhere) == []
    store.ok("remove", identity)
    assert elsewhere.exists()


def test_garbage_in_a_log_is_passed_over(root_store):
    identity = root_store.start("echo good")
    root_store.ok("wait", identity)
    file = root_store.folder(identity) / "log/log.json"
    with file.open("ab") as end:
        end.write(b"garbage\n\x00\xff\xfe\n{}\n[1]\n" + b"[" * 5000 + b"\n" + b'{"log":5}\n{"base64":"!!"}\n' + b"x" * 3_000_000)
        end.write(b'\n{"log":"end\\n","stream":"stdout","time":"nonsense"}\n')
    assert root_store.logs(identity) == b"good\nend\n"


@pytest.fixture
def small_disk(root_store):
    """A tiny file system for a container's log alone."""
    place = root_store.place / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k,mode=755", "small", place], check=True)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_under_the_log(root_store, small_disk):
    """The program goes on; an event says that output was lost; there is log again when there is room."""
    store = root_store
    script = (
        "head -c 600000 /dev/zero | tr '\\0' x | fold -w 99; echo; echo flooded > /shared/state;"
        "while [ ! -e /shared/go ]; do sleep 0.05; done; echo after; sleep 1000"
    )
    shared_folder = store.place / "work"
    shared_folder.mkdir()
    shared_folder.chmod(0o777)
    identity = store.create(script, "-v", f"{shared_folder}:/shared")
    log = store.folder(identity) / "log"
    subprocess.run(["mount", "--bind", small_disk, log], check=True)
    try:
        store.ok("start", "-q", identity)
        wait_until(lambda: (shared_folder / "state").exists(), "the end of the flood")
        assert store.state(identity) == "running"
        wait_until(lambda: [e for e in store.events() if e["type"] == "log-lost"], "the event")
        # While there is more to be written, half a line may stand there until it is cut off again.
        raw = wait_until(lambda: (now := (log / "log.json").read_bytes()).endswith(b"\n") and now, "whole lines")
        assert [json.loads(line) for line in raw.splitlines()]
        subprocess.run(["mount", "-o", "remount,size=4m", small_disk], check=True)
        (shared_folder / "go").touch()
        wait_until(lambda: store.logs(identity).endswith(b"after\n"), "the log goes on")
        resumed = wait_until(lambda: [e for e in store.events() if e["type"] == "log-resumed"], "the event, which comes behind it")
        assert resumed[0]["lostBytes"] > 0
        store.ok("stop", "-t", "0", identity)
    finally:
        subprocess.run(["umount", "-l", log], check=True)
