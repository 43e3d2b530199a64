"""exec: a second program in a container that runs, restricted like the first, and gone when it should be."""

import contextlib
import fcntl
import json
import os
import pathlib
import pty
import select
import signal
import struct
import subprocess
import termios
import time
import uuid

import pytest
from test_own_program import ATTACK, owned, unchanged, without_landlock  # noqa: F401 (fixtures)
from conftest import BUSYBOX, CGROUP, HAS_CGROUP2, PATIENCE, alive, cgroups_below, checksum, parent, processes_with, wait_until


class Box:
    """A detached container, and codex32's verbs on it."""

    def __init__(self, caller, name):
        self.caller, self.name = caller, name

    def verb(self, verb, *words, env=None, input=None, **popen):
        line = [*self.caller.become(), str(self.caller.binary), verb, "--root", str(self.caller.storage), *map(str, words)]
        return self.caller.execute(line, env, input, **popen)

    def words(self, *options, command=("true",)):
        head = [*self.caller.become(), str(self.caller.binary), "exec", "--root", str(self.caller.storage)]
        return [*head, *map(str, options), self.name, *map(str, command)]

    def exec(self, *options, command=("true",), **more):
        return self.caller.execute(self.words(*options, command=command), **more)

    def sh(self, script, *options, **more):
        return self.exec(*options, command=["sh", "-c", script], **more)

    def start(self, *options, **more):
        return subprocess.Popen(
            self.words(*options, **more), env=self.caller.environment(), cwd=self.caller.home, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    @property
    def record(self):
        return json.loads(self.verb("inspect", self.name).stdout)[0]

    @property
    def pid(self):
        return self.record["state"]["process"]["pid"]


@contextlib.contextmanager
def detached(caller, *options, level="standard", image=BUSYBOX, command=("sleep", "10000")):
    """A container that runs while the block does."""
    name = f"box-{uuid.uuid4().hex[:12]}"
    words = ["-q", "--isolation", level, "--name", name, *options]
    if level == "strict" and not HAS_CGROUP2:
        words += ["--waive", "cgroup"]
    if "-w" not in options:
        words += ["-w", "/"]
    box = Box(caller, name)
    made = box.verb("run", "-d", *words, "--image", image, "--", *command)
    assert made.returncode == 0, made.stderr
    try:
        yield box
    finally:
        gone = box.verb("remove", "-f", name)
        assert gone.returncode == 0, gone.stderr


@pytest.fixture(scope="module")
def boxes(callers):
    """One container for each caller and level, shared by the tests that only look."""
    with contextlib.ExitStack() as stack:
        yield {
            (name, level): stack.enter_context(detached(callers[name], level=level, command=["sh", "-c", "umask 077; sleep 10000"]))
            for name in callers
            for level in ("minimal", "standard", "strict")
        }


@pytest.fixture
def box(boxes, caller, level):
    return boxes[caller.name, level]


def status_of(pid):
    return dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)


def namespaces(pid):
    return {name: os.readlink(f"/proc/{pid}/ns/{name}") for name in ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")}


@contextlib.contextmanager
def inside(box, *options, command=("sleep", "1000")):
    """A program of exec that runs while the block does: the client, and the program's number outside."""
    client = box.start(*options, command=command)

    def find():
        assert client.poll() is None, client.stderr.read()
        with contextlib.suppress(OSError):
            for word in pathlib.Path(f"/proc/{client.pid}/task/{client.pid}/children").read_text().split():
                # The name comes first in an execve, its environment later.
                if pathlib.Path(f"/proc/{word}/comm").read_text().strip() == os.path.basename(command[0]) and (
                    pathlib.Path(f"/proc/{word}/environ").read_bytes()
                ):
                    return int(word)
        return None

    try:
        yield client, wait_until(find, "the program")
    finally:
        if client.poll() is None:
            client.kill()
        client.communicate(timeout=PATIENCE)


def test_same_restrictions(box):
    """Whatever the kernel tells of the container's own program, it tells of this one."""
    own = box.pid
    with inside(box) as (client, pid):
        first, second = status_of(own), status_of(pid)
        for field in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters", "Uid", "Gid", "Groups"):
            assert second[field] == first[field], field
        assert second["CapInh"] == "0000000000000000"
        assert second["Umask"] == "0022"
        assert namespaces(pid) == namespaces(own)
        for file in ("limits", "uid_map", "gid_map", "cgroup", "oom_score_adj"):
            assert pathlib.Path(f"/proc/{pid}/{file}").read_text() == pathlib.Path(f"/proc/{own}/{file}").read_text(), file
        assert os.readlink(f"/proc/{pid}/cwd") == os.readlink(f"/proc/{own}/cwd")
        assert os.stat(f"/proc/{pid}/root/.").st_ino == os.stat(f"/proc/{own}/root/.").st_ino
        assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"]
        assert parent(pid) == client.pid


def test_streams_and_status(box):
    done = box.sh("cat; echo out; echo err >&2; exit 7", "-i", input="typed\n")
    assert (done.returncode, done.stdout, done.stderr) == (7, "typed\nout\n", "err\n")
    assert box.sh("cat; echo end", input="not read").stdout == "end\n", "without -i there is no input"
    assert box.sh("kill -TERM $$").returncode == 128 + 15
    missing = box.exec(command=["no-such-program"])
    assert (missing.returncode, missing.stderr.startswith("codex32: cannot run no-such-program: ")) == (127, True)
    assert box.exec(command=["/etc"]).returncode == 126
    assert box.exec("-w", "/no/such/folder").returncode == 125


def test_environment_and_folder(box):
    done = box.sh("echo $PATH:$A:$B:$C; pwd", "-e", "A=1", "-e", "B=two words", "-e", "C", "-w", "/tmp", env={"C": "mine"})
    assert done.stdout.splitlines() == [done.stdout.split(":1:")[0] + ":1:two words:mine", "/tmp"]
    assert "/usr/bin" in done.stdout


def test_terminal(box):
    """A pty of the container's own, with the size of the caller's."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 31, 97, 0, 0))
    before = termios.tcgetattr(slave)
    client = subprocess.Popen(
        box.words("-i", "-t", command=["sh", "-c", "tty; stty size; read line; echo got:$line; exit 5"]),
        env=box.caller.environment(), cwd=box.caller.home, stdin=slave, stdout=slave, stderr=slave,
    )  # fmt: skip
    seen = b""

    def read_until(word):
        nonlocal seen
        end = time.monotonic() + PATIENCE
        while word not in seen:
            assert time.monotonic() < end, seen
            if select.select([master], [], [], 0.1)[0]:
                seen += os.read(master, 4096)

    read_until(b"31 97")
    assert b"/dev/pts/" in seen
    os.write(master, b"hello\r")
    read_until(b"got:hello")
    assert client.wait(PATIENCE) == 5
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


def test_killed_client_takes_the_program_along(box):
    token = f"token-{uuid.uuid4()}"
    with inside(box, "-e", f"T={token}") as (client, pid):
        client.kill()
        client.wait(PATIENCE)
        wait_until(lambda: not alive(pid), "the end of the program")
    assert alive(box.pid)


def test_signals_are_passed_on(box):
    with inside(box) as (client, _):
        client.send_signal(signal.SIGTERM)
        assert client.wait(PATIENCE) == 128 + 15
    with inside(box) as (client, pid):
        client.send_signal(signal.SIGTSTP)  # a stopped parent would keep the container from ending
        client.send_signal(signal.SIGHUP)
        assert client.wait(PATIENCE) == 128 + 1


def test_volumes_can_be_written_to(caller, level):
    """Those that were mounted, and the container's own, as by its own program."""
    with detached(caller, "-v", "/own", level=level) as box:
        done = box.sh("echo x > /own/file && cat /own/file")
        assert (done.returncode, done.stdout) == (0, "x\n"), done.stderr


def test_detached(box):
    token = f"token-{uuid.uuid4()}"
    assert box.sh("trap '' HUP; sleep 1000", "-d", "-e", f"T={token}").returncode == 0
    found = wait_until(lambda: processes_with(token), "the program")
    assert {os.readlink(f"/proc/{found[0]}/fd/{number}") for number in (0, 1, 2)} == {"/dev/null"}
    assert namespaces(found[0])["pid"] == namespaces(box.pid)["pid"]
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    refused = box.exec("-d", "-t")
    assert refused.returncode == 125 and "-d with -t" in refused.stderr
    assert box.exec("-d", command=["no-such"]).returncode == 127


def test_bad_folders_and_programs(box):
    """CVE-2024-21626: no working folder leads out; CVE-2019-5736: codex32's own file cannot be run or changed."""
    before = checksum(box.caller.binary)
    for number in range(3, 65):
        if number % 8 == 3 or number < 12:
            assert box.exec("-w", f"/proc/self/fd/{number}").returncode == 125
    for command in (["/proc/self/exe"], ["/proc/1/exe"], ["/proc/self/fd/3"], ["/proc/self/fd/8"]):
        assert box.exec(command=command).returncode in (125, 126, 127, 128 + 9)
    made = box.sh("printf '#!/proc/self/exe\\n' > /tmp/x && chmod 755 /tmp/x && /tmp/x; echo attack > /proc/self/exe")
    assert made.returncode != 0
    assert checksum(box.caller.binary) == before


def test_own_program_without_landlock(owned, unchanged):
    """The same where Landlock does not guard codex32's file, and the container could write to it: see `unchanged`."""
    attack = "while :; do for file in /proc/[0-9]*/exe; do (echo attack >> $file) 2>/dev/null; done; done"
    with detached(owned, command=["sh", "-c", attack]) as box:
        for _ in range(10):
            assert box.exec(command=["true"]).returncode == 0
        box.sh(ATTACK)
        box.exec(command=["/proc/self/exe"])


@pytest.fixture
def accounts(image, caller):
    """An image with users of its own, and nonsense among them."""
    (image / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1001:A:/home/alice:/bin/sh\nbroken:x:4294967296:0::/:/bin/sh\n"
        "evil:x:nonsense:0::/:/bin/sh\nshort:x:5\n"
    )
    (image / "etc/group").write_text("root:x:0:\nstaff:x:50:bob,alice\naudio:x:29:alice\nbad:x:-1:alice\n")
    caller.own(image)
    return image


def test_user_matrix(caller, accounts):
    """CVE-2026-30892 and CVE-2024-40635, by the container's own files."""
    with detached(caller, "--userns", "subordinate", image=accounts, command=["/bin/busybox", "sleep", "1000"]) as box:
        for user, wanted in {
            "1000": "1000 1001 29 50 /home/alice", "1000:7": "1000 7  /home/alice", "alice": "1000 1001 29 50 /home/alice",
            "alice:staff": "1000 50  /home/alice", "alice:0": "1000 0  /home/alice", "0": "0 0  /root", "4242": "4242 0  /", "4242:4243": "4242 4243  /",
        }.items():  # fmt: skip
            with inside(box, "-u", user, command=["/bin/busybox", "sleep", "1000"]) as (_, pid):
                status, base = status_of(pid), lambda file: [line.split() for line in pathlib.Path(f"/proc/{pid}/{file}").read_text().splitlines()]

                def within(host, file):
                    return next(int(a) + int(host) - int(b) for a, b, n in base(file) if int(b) <= int(host) < int(b) + int(n))

                uids = {within(word, "uid_map") for word in status["Uid"].split()}
                gids = {within(word, "gid_map") for word in status["Gid"].split()}
                groups = sorted(within(word, "gid_map") for word in status["Groups"].split())
                home = next(word[5:] for word in pathlib.Path(f"/proc/{pid}/environ").read_text().split("\0") if word.startswith("HOME="))
                assert len(uids) == len(gids) == 1
                assert f"{uids.pop()} {gids.pop()} {' '.join(map(str, groups))} {home}" == wanted, user
        for user in ("4294967296", "4294967295", "-1", "nobody-knows", "broken", "evil", "short", "alice:none", ":", "1:2:3", "99999999"):
            refused = box.exec("-u", user, command=["/bin/true"])
            assert refused.returncode == 125 and "codex32: cannot" in refused.stderr, (user, refused)


def test_stopped_and_unknown(caller):
    unknown = Box(caller, "nobody").exec()
    assert unknown.returncode == 125 and "no container nobody" in unknown.stderr
    with detached(caller) as box:
        assert box.verb("stop", "-t", "1", box.name).returncode == 0
        refused = box.exec()
        assert refused.returncode == 125
        assert refused.stderr.startswith(f"codex32: cannot run a program in {box.name}: it is exited\nhint: codex32 start")


def test_stop_while_a_program_runs(caller):
    """exec and stop at once: the program ends with the container, and says so."""
    with detached(caller) as box, inside(box, command=["sleep", "1000"]) as (client, _):
        assert box.verb("stop", "-t", "1", box.name).returncode == 0
        assert client.wait(PATIENCE) == 137
        assert "has ended, and the program with it" in client.stderr.read()


def test_racing_stop(caller):
    """Many execs against one stop: each runs or says clearly why not."""
    with detached(caller) as box:
        clients = [box.start(command=["true"]) for _ in range(8)]
        stop = box.verb("stop", "-t", "0", box.name)
        assert stop.returncode == 0
        for client in clients:
            _, errors = client.communicate(timeout=PATIENCE)
            assert client.returncode in (0, 137) or (client.returncode == 125 and box.name in errors and "hint: " in errors), (client.returncode, errors)


def test_reaper(caller):
    """A container with codex32's reaper as pid 1, which is closed to its own user."""
    with detached(caller, "--init") as box:
        assert box.sh("echo here").stdout == "here\n"


def test_pidfd_not_number(callers):
    """A record whose pid is another's now: nobody is joined."""
    caller = callers["root"]
    with detached(caller) as box:
        file = next(caller.storage.glob(f"containers/{box.record['id']}/container.json"))
        text = file.read_text()
        record = json.loads(text)
        record["state"]["process"]["pid"] = os.getpid()
        file.write_text(json.dumps(record))
        refused = box.exec()
        file.write_text(text)
        assert refused.returncode == 125 and "has just ended" in refused.stderr


SPY = """
seen() { for f in /proc/[0-9]*; do
  [ "$f" = /proc/1 ] && continue
  readlink $f/exe; readlink $f/root; readlink $f/cwd; for d in $f/fd/*; do readlink $d; done
done 2>/dev/null; }
while :; do seen >> /tmp/seen; done
"""


def test_no_host_file_is_seen(caller):
    """CVE-2016-9962: a container that looks at everything all the time sees nothing of the host's."""
    with detached(caller, command=["sh", "-c", SPY]) as box:
        for _ in range(40):
            assert box.exec(command=["true"]).returncode == 0
        # The spy is at work: it sees the one who waits to be seen.
        assert box.sh("until grep -q /bin/busybox /tmp/seen; do sleep 0.02; done").returncode == 0
        seen = set(box.sh("cat /tmp/seen").stdout.splitlines())
        wrong = {line for line in seen if "codex32" in line or str(caller.home) in line or "storage" in line}
        assert wrong == set()
        known = ("/bin", "/tmp", "/dev/null", "/", "pipe:", "/proc", "/dev/pts")
        assert [line for line in seen if not line.startswith(known)] == []


def test_nothing_stays(caller):
    """A thousand execs leave no process, descriptor, mount or cgroup."""
    with detached(caller) as box:
        supervisor = box.record["supervisor"]["pid"]

        def state():
            return (
                sorted(os.listdir(f"/proc/{supervisor}/fd")), pathlib.Path("/proc/self/mountinfo").read_text().count(str(caller.home)),
                set(processes_with(str(caller.storage))), sorted(str(path) for path in cgroups_below(CGROUP) if path.name.startswith("codex32")) if HAS_CGROUP2 else [],
                box.verb("top", "-q", box.name).stdout, sorted(os.listdir(caller.storage)),
            )  # fmt: skip

        before = state()
        for _ in range(100):
            clients = [box.start(command=["true"]) for _ in range(10)]
            assert [(client.communicate(timeout=PATIENCE), client.returncode) for client in clients] == [(("", ""), 0)] * 10
        end = time.monotonic() + PATIENCE

        def no_more(after):
            """What was there before may have gone meanwhile: an earlier test's supervisor that was about to end."""
            return (
                set(after[0]) <= set(before[0]) and after[1] <= before[1] and after[2] <= before[2]
                and set(after[3]) <= set(before[3]) and after[4:] == before[4:]
            )  # fmt: skip

        while not no_more(after := state()) and time.monotonic() < end:
            time.sleep(0.1)
        assert no_more(after), (before, after)


def test_help_and_usage(callers):
    caller = callers["root"]
    box = Box(caller, "x")
    assert "codex32 exec [OPTIONS] CONTAINER COMMAND" in box.verb("exec", "--help").stdout
    assert box.verb("exec", "x").returncode == 125
    assert box.verb("exec").returncode == 125
