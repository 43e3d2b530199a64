"""What every host test shares: the binary, the two callers (root and an ordinary user), images, probes.

The suite runs the real binary on whatever machine it finds itself on: this one, a container of CI, or a
virtual machine that is twenty times slower. So nothing here measures time, and every wait has a limit that
only a hang can reach. Each caller has a storage folder of its own, so the suite neither sees nor leaves
anything in the machine's real one.
"""

import contextlib
import ctypes
import fcntl
import hashlib
import json
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import tempfile
import time

import pytest

# What these assert tells of both sides, as in a test.
pytest.register_assert_rewrite("faults", "containers", "bundles", "adoption")

# Started in the background of a script, the suite would pass on that Ctrl-C means nothing, and tests of it would hang.
for number, action in {signal.SIGINT: signal.default_int_handler, signal.SIGQUIT: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}.items():
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, action)

CLONE_NEWNS, MS_REC, MS_PRIVATE, MS_SHARED = 0x20000, 0x4000, 0x40000, 0x100000
REPO = pathlib.Path(__file__).resolve().parents[2]
LEVELS = ["minimal", "standard", "strict"]
USERS = ["root", "user"]
# The suite may run in several processes at once (pytest -n): each has a user, a folder and images of its own, since the
# kernel counts some things by user.
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
ORDINARY = "codex32test" + ("" if WORKER == "0" else WORKER)
PATIENCE = int(os.environ.get("CODEX32_TEST_PATIENCE", "300"))  # seconds until something counts as hung, in the slowest machine too
BUSYBOX = "template:busybox"
CGROUP = pathlib.Path("/sys/fs/cgroup")
HAS_CGROUP2 = (CGROUP / "cgroup.controllers").exists()


def own_mounts():
    """Mounts of its own for one of several processes of the suite: some tests see whether any is left. They are shared
    below it where the machine's are, as codex32 has to cope with that."""
    libc = ctypes.CDLL(None, use_errno=True)
    root = next(line for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines() if line.split()[4] == "/")
    kinds = [MS_PRIVATE, MS_SHARED] if " shared:" in root else [MS_PRIVATE]
    if libc.unshare(CLONE_NEWNS) or any(libc.mount(b"none", b"/", None, MS_REC | kind, None) for kind in kinds):
        raise OSError(ctypes.get_errno(), "mounts of its own")


def pytest_configure(config):
    config.addinivalue_line("markers", "alone: compares what the whole machine has before and after, or measures: nothing beside it")
    if "PYTEST_XDIST_WORKER" in os.environ:
        own_mounts()
    if os.geteuid() != 0:
        raise pytest.UsageError("run this suite as root: it makes an ordinary user and becomes it")


def wait_until(condition, what):
    """Waits for a condition: polling, because the things waited for (files, foreign processes) tell nobody."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    pytest.fail(f"never came: {what}")


def tree(folder):
    """Every path below a folder, links not followed."""
    return {os.path.join(where, name) for where, folders, files in os.walk(folder) for name in folders + files}


def cgroups_below(top):
    """All its folders. Others' may go away meanwhile, which pathlib's rglob() does not take."""
    return {pathlib.Path(where, name) for where, names, _ in os.walk(top) for name in names}


def checksum(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


class Caller:
    """Somebody who runs codex32, with a home, a storage folder, and a copy of the binary that is root's."""

    def __init__(self, name, home, binary, cgroup=None, storage=None):
        self.name = name
        self.account = pwd.getpwnam("root" if name == "root" else ORDINARY)
        self.home = pathlib.Path(home)
        self.binary = pathlib.Path(binary)
        self.cgroup = cgroup
        self.storage = pathlib.Path(storage or self.home / "storage")

    def __repr__(self):
        return self.name

    def with_storage(self, folder):
        """The same caller with another, empty storage: what is left there was left by one test."""
        return Caller(self.name, self.home, self.binary, self.cgroup, folder)

    def become(self):
        """The words in front of a command that make it this caller's; each exec's the next, so the pid stays."""
        if self.name == "root":
            return []
        words = []
        if self.cgroup:
            words = ["/bin/sh", "-c", f'echo $$ > {self.cgroup}/cgroup.procs && exec "$@"', "sh"]
        who = [str(self.account.pw_uid), "--regid", str(self.account.pw_gid)]
        return words + ["setpriv", "--reuid", *who, "--init-groups", "--inh-caps=-all", "--"]

    def words(self, *options, level="strict", image=BUSYBOX, command=(), waive=True):
        words = self.become() + [str(self.binary), "run", "--root", str(self.storage), "-q"]
        if level:
            words += ["--isolation", level]
        if waive and not HAS_CGROUP2:
            words += ["--waive", "cgroup"]
        words += [str(option) for option in options]
        if image is not None:
            words += ["--image", str(image)]
        return words + (["--", *map(str, command)] if command else [])

    def environment(self, more=None):
        values = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "TERM": "dumb",
        }
        return values | (more or {})

    def execute(self, words, env=None, input=None, text=True, **more):
        if input is None:
            more.setdefault("stdin", subprocess.DEVNULL)
        else:
            more["input"] = input
        more.setdefault("timeout", PATIENCE)
        return subprocess.run(words, env=self.environment(env), cwd=self.home, capture_output=True, text=text, **more)

    def run(self, *options, env=None, input=None, text=True, popen=None, **what):
        """Runs a program to its end."""
        return self.execute(self.words(*options, **what), env, input, text, **(popen or {}))

    def sh(self, script, *options, **what):
        """Runs a shell script in the busybox image."""
        return self.run(*options, command=["sh", "-c", script], **what)

    @contextlib.contextmanager
    def running(self, *options, env=None, popen=None, **what):
        """A program that runs while the block does. Ended with its own `codex32 run` at the latest."""
        settings = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | (popen or {})
        words = self.words(*options, **what)
        process = subprocess.Popen(words, env=self.environment(env), cwd=self.home, **settings)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream:
                    stream.close()
            process.wait(PATIENCE)

    def record(self, runner):
        """The record of what a `codex32 run` (by its process) runs, as soon as the program has its pid."""

        def find():
            assert runner.poll() is None, f"ended early: {runner.returncode}: {runner.stderr.read()}"
            for file in (self.storage / "run/containers").glob("[0-9a-f]*/record.json"):
                with contextlib.suppress(OSError, ValueError):
                    record = json.loads(file.read_text())
                    if record.get("pid") and parent(record["pid"]) == runner.pid:
                        return record
            return None

        return wait_until(find, "a record with the program's pid")

    def entries(self):
        """What the storage holds of sandboxes: empty when none runs, for caches and templates are elsewhere."""
        found = set()
        for part in ("run/containers", "run/names", "layers"):
            with contextlib.suppress(FileNotFoundError):
                found |= {f"{part}/{name}" for name in os.listdir(self.storage / part)}
        return found

    def own(self, *paths):
        """Makes paths, and all below them, this caller's."""
        for path in paths:
            for each in {str(path)} | tree(path):
                os.lchown(each, self.account.pw_uid, self.account.pw_gid)

    def folder(self, name, mode=0o755):
        path = self.home / name
        path.mkdir(mode)
        self.own(path)
        return path


def parent(pid):
    with contextlib.suppress(OSError):
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
        return int(text[text.rindex(")") + 1 :].split()[1])
    return None


def alive(pid):
    """Whether a process runs. One that waits for the machine's init to reap it has ended all the same."""
    with contextlib.suppress(OSError):
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
        return text[text.rindex(")") + 1 :].split()[0] not in "ZX"
    return False


def processes_with(token):
    """Processes that have a word in their environment or arguments: those of one test."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            with contextlib.suppress(OSError):
                folder = pathlib.Path("/proc", entry)
                if token.encode() in (folder / "environ").read_bytes() + (folder / "cmdline").read_bytes():
                    found.append(int(entry))
    return found


@pytest.fixture(scope="session")
def place():
    """A folder that everybody may enter. The checkout may be where an ordinary user cannot go."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="codex32-host."))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def binary(place):
    source = pathlib.Path(os.environ.get("CODEX32", ".build/release/codex32"))
    source = source if source.is_absolute() else REPO / source
    copy = place / "codex32"
    shutil.copyfile(source, copy)
    copy.chmod(0o755)
    return copy


@contextlib.contextmanager
def own_accounts():
    """The machine's files of accounts, for one worker at a time: useradd does not wait for another."""
    with open(__file__) as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def delegated():
    """On a machine with cgroup v2: a cgroup of the ordinary user's, as a login through systemd would give."""
    with own_accounts():
        try:
            account = pwd.getpwnam(ORDINARY)
        except KeyError:
            made = subprocess.run(
                ["useradd", "--create-home", ORDINARY], capture_output=True, text=True, timeout=PATIENCE, check=False
            )
            assert made.returncode == 0, made.stderr
            account = pwd.getpwnam(ORDINARY)
    if not HAS_CGROUP2:
        yield None
        return
    top = CGROUP / "codex32-host-tests"
    session = top / "session"
    for controller in (CGROUP / "cgroup.controllers").read_text().split():
        with contextlib.suppress(OSError):  # one that the machine keeps for itself
            (CGROUP / "cgroup.subtree_control").write_text(f"+{controller}")
    for folder in (top, session):
        folder.mkdir(exist_ok=True)
        for name in (".", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"):
            os.chown(folder / name, account.pw_uid, account.pw_gid)
    yield session
    left = sorted(str(path) for path in cgroups_below(top) if path != session)
    for folder in sorted(map(str, [top, session, *left]), key=len, reverse=True):
        with contextlib.suppress(OSError):
            os.rmdir(folder)
    # A leaf that codex32 moved itself into to make room for controllers is the caller's cgroup, not a rest.
    assert [path for path in left if not path.endswith("/codex32.self")] == [], "cgroups left behind"


@pytest.fixture(scope="session")
def callers(place, binary, delegated):
    made = {}
    for name in USERS:
        home = place / name
        home.mkdir(mode=0o755)
        made[name] = Caller(name, home, binary, delegated if name == "user" else None)
        made[name].own(home)
    mounts_before = pathlib.Path("/proc/self/mountinfo").read_text()
    yield made
    # The suite's own last word: nothing that ran is still there, whichever test it belonged to.
    wait_until(lambda: processes_with(str(place)) == [], "the end of all that ran")
    assert pathlib.Path("/proc/self/mountinfo").read_text().count(str(place)) == mounts_before.count(str(place))


@pytest.fixture(params=USERS)
def caller(request, callers):
    return callers[request.param]


@pytest.fixture(params=LEVELS)
def level(request):
    return request.param


@pytest.fixture
def folder(caller, request):
    """An empty folder of the caller's own, gone after the test."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="test.", dir=caller.home))
    path.chmod(0o755)
    caller.own(path)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def image(caller, folder):
    """A root file system of the caller's own to be malicious with: busybox and a few folders."""
    root = folder / "image"
    for name in ("bin", "dev", "etc", "proc", "run", "sys", "tmp", "var"):
        (root / name).mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), root / "bin/busybox")
    for name in ("sh", "cat", "ls", "id", "touch", "grep", "true", "env", "readlink", "head", "stat"):
        (root / "bin" / name).symlink_to("busybox")
    caller.own(root)
    return root


@pytest.fixture(scope="session")
def compile_c(place):
    """Builds a C program of this folder: static, so that it runs in every image."""
    made = place / "programs"
    made.mkdir(mode=0o755)

    def compile(name):
        program = made / name.removesuffix(".c")
        source = pathlib.Path(__file__).with_name(name)
        built = subprocess.run(
            ["gcc", "-static", "-O1", "-Wall", "-Werror", "-o", program, source],
            capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert built.returncode == 0, built.stderr
        program.chmod(0o755)
        return program

    return compile


@pytest.fixture(scope="session")
def probe(compile_c):
    """The folder of a program that tries what must not work (see probe.c)."""
    return compile_c("probe.c").parent


@pytest.fixture(scope="session")
def fault(compile_c):
    """The program that meets a verb's calls with errors and kills (see fault.c)."""
    return compile_c("fault.c")
