"""codex32 as the runtime of Debian's Podman 4.3: the life of containers, and limits as the kernel has them.

Runs inside the machine of run-in-vm, as root and as the ordinary user. Podman takes seconds for each command there,
so that one container shows many things.
"""

import json
import os
import re
import shutil
import subprocess

import pytest
from machine import CGROUPS, CODEX32, DISK, HERE, in_machine, wait_until

pytestmark = in_machine
PAGE = HERE.parents[1] / "Sources/Sandbox/Sandbox.docc/OCIRuntime.md"
TOOLS = ("readlink", "sh", "test", "cat", "ls", "id", "sleep", "touch", "mkdir", "grep", "echo", "mknod")


class Podman:
    """Podman with a storage of its own, and one image of busybox: there is no network."""

    def __init__(self, who):
        self.prefix = [str(HERE / "as-user")] if who == "codex" else []
        self.place = DISK / f"podman-{who}"
        self.place.mkdir()
        shutil.copy(CODEX32, self.place / "codex32-oci")
        # As the page has it, but for the place of the program.
        (text,) = re.findall(r"```toml\n(# containers.conf\n.*?)```", PAGE.read_text(), re.DOTALL)
        assert text.count("/usr/local/bin/codex32-oci") == 1
        (self.place / "containers.conf").write_text(text.replace("/usr/local/bin/codex32-oci", f"{self.place}/codex32-oci"))
        root = self.place / "image"
        for folder in ("bin", "etc", "tmp"):
            (root / folder).mkdir(parents=True)
        shutil.copy(shutil.which("busybox"), root / "bin/busybox")
        for tool in TOOLS:
            (root / "bin" / tool).symlink_to("busybox")
        (root / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\nbot:x:7:8:bot:/:/bin/sh\n")
        subprocess.run(["tar", "-C", root, "-cf", self.place / "image.tar", "."], check=True)
        if who == "codex":
            subprocess.run(["chown", "-R", "1001:1001", self.place], check=True)
        self("import", "-q", str(self.place / "image.tar"), "bb")

    def __call__(self, *words, status=0):
        done = subprocess.run(
            [*self.prefix, "podman", "--root", self.place / "storage", "--runroot", self.place / "run",
             *words],
            cwd=self.place, env=os.environ | {"CONTAINERS_CONF": str(self.place / "containers.conf")}, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        assert status is None or done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
        return done

    def cgroup(self, name):
        pid = self("inspect", "-f", "{{.State.Pid}}", name).stdout.strip()
        with open(f"/proc/{pid}/cgroup") as file:
            return CGROUPS / file.read().strip().removeprefix("0::/")


@pytest.fixture(scope="module")
def root():
    return Podman("root")


def test_one_container_with_every_wall(root):
    profile = root.place / "seccomp.json"
    profile.write_text(
        json.dumps(
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}],
            }
        )
    )
    volume = root.place / "volume"
    volume.mkdir()
    (root.place / "open").mkdir()
    (root.place / "open").chmod(0o777)
    (volume / "file").write_text("of the host\n")
    script = """
cd /sys/fs/cgroup; cat memory.max memory.swap.max cpu.max pids.max cpu.weight
grep -E 'Cap(Eff|Bnd)|NoNewPrivs|Seccomp:' /proc/self/status
cat /v/file /proc/self/cgroup; id -u
touch /x; touch /v/x; mkdir /w/x; mknod /w/sda b 8 0
exit 7
"""
    done = root(
        "run", "--rm", "--network", "none", "-m", "64m", "--memory-swap", "96m", "--cpus", "0.5", "--pids-limit", "33",
        "--cpu-shares", "2000", "--read-only", "--read-only-tmpfs=false", "--cap-drop", "all", "--user", "bot",
        "--security-opt", f"seccomp={profile}", "--security-opt", "no-new-privileges", "-v", f"{volume}:/v:ro",
        "-v", f"{root.place}/open:/w", "bb", "sh", "-c", script, status=7,
    )  # fmt: skip
    lines = done.stdout.split("\n")
    assert lines[:5] == [str(64 << 20), str(32 << 20), "50000 100000", "33", "170"]
    assert "CapEff:\t0000000000000000" in lines and "CapBnd:\t0000000000000000" in lines
    assert "NoNewPrivs:\t1" in lines and "Seccomp:\t2" in lines
    assert "of the host" in lines and "0::/" in lines and "7" in lines
    assert done.stderr.count("Read-only file system") == 2, done.stderr
    assert "mkdir: can't create directory '/w/x': Operation not supported" in done.stderr
    assert "mknod: /w/sda: Operation not permitted" in done.stderr


@pytest.mark.parametrize("asked", [["run", "--annotation", "codex32.isolation=strict"], ["--runtime-flag", "isolation=strict", "run"]], ids=["annotation", "flag"])
def test_strict_walls_around_one(root, asked):
    look = "grep -E 'CapBnd|NoNewPrivs|Seccomp:' /proc/self/status"
    root(*asked, "-d", "--name", "strict", "--network", "none", "bb", "sh", "-c", f"{look}; exec sleep 1000")
    wanted = ["CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"]
    wait_until(lambda: root("logs", "strict").stdout.splitlines() == wanted, "what it says of itself")
    # What it was made with holds for what comes later, which knows nothing of the flag.
    assert root("exec", "strict", "sh", "-c", look).stdout.splitlines() == wanted
    assert "not permitted" in root("exec", "strict", "busybox", "unshare", "-U", "true", status=None).stderr
    root("rm", "-f", "-t", "0", "strict")


def test_checkpoint_and_restore(root):
    script = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done"
    options = ["run", "-d", "--network", "none", "-m", "64m", "--pids-limit", "30"]
    count = lambda: int((root("logs", "--tail", "1", "kept").stdout or "0").strip() or 0)  # noqa: E731
    root(*options, "--name", "kept", "bb", "sh", "-c", script)
    wait_until(lambda: count() > 3, "its count")
    root("container", "checkpoint", "kept")
    assert root("ps", "-a", "--filter", "name=kept", "--format", "{{.State}}").stdout.startswith("Exited (")
    last = count()
    root("container", "restore", "kept")
    wait_until(lambda: count() > last + 3, "its count to go on")
    numbers = [int(line) for line in root("logs", "kept").stdout.split()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert root("exec", "kept", "cat", "/sys/fs/cgroup/pids.max").stdout == "30\n"
    root("rm", "-f", "-t", "0", "kept")
    # CRIU 3.17 would forget this: refused, and nothing is the matter with the container.
    root(*options, "--name", "other", "--security-opt", "no-new-privileges", "bb", "sh", "-c", script)
    refused = root("container", "checkpoint", "other", status=125)
    assert "without no_new_privs" in refused.stderr, refused.stderr
    assert root("ps", "--format", "{{.Names}}").stdout == "other\n"
    root("rm", "-f", "-t", "0", "other")


def test_life_of_a_container(root):
    script = 'trap "echo bye; exit 3" TERM; echo began; while :; do sleep 0.1; done'
    root("run", "-d", "--network", "none", "--name", "one", "-m", "64m", "--health-cmd", "test -e /etc/passwd",
         "--health-interval", "disable", "bb", "sh", "-c", script)  # fmt: skip
    wait_until(lambda: "began" in root("logs", "one").stdout, "the log")
    group = root.cgroup("one")
    assert (group / "memory.max").read_text() == f"{64 << 20}\n"
    inside = root("exec", "-u", "bot", "-w", "/tmp", "-e", "A=b", "one", "sh", "-c", "id -u; pwd; echo $A; cat /proc/self/cgroup")
    assert inside.stdout == "7\n/tmp\nb\n0::/\n"
    assert "is a tty" in root("exec", "-t", "one", "sh", "-c", "test -t 0 && echo is a tty").stdout
    root("exec", "one", "sh", "-c", "exit 9", status=9)
    assert "executable file not found in $PATH" in root("exec", "one", "nonesuch", status=127).stderr
    root("healthcheck", "run", "one")
    root("update", "--memory", "48m", "--cpus", "0.25", "one")
    assert (group / "memory.max").read_text() == f"{48 << 20}\n"
    assert (group / "cpu.max").read_text() == "25000 100000\n"
    root("pause", "one")
    assert (group / "cgroup.events").read_text().split()[-1] == "1"
    assert root("ps", "-a", "--format", "{{.State}}").stdout.lower() == "paused\n"
    root("unpause", "one")
    (figures,) = json.loads(root("stats", "--no-stream", "--format", "json", "one").stdout)
    assert int(figures["pids"]) >= 1
    root("stop", "-t", "100", "one")
    assert root("wait", "one").stdout == "3\n"
    assert root("logs", "one").stdout == "began\nbye\n"
    root("start", "one")
    root("kill", "one")
    assert root("wait", "one").stdout == "137\n"
    root("rm", "one")
    assert not group.exists()


def test_errors_are_those_that_podman_knows(root):
    done = root("run", "--rm", "--network", "none", "bb", "nonesuch", status=127)
    assert "executable file not found in $PATH" in done.stderr
    done = root("run", "--rm", "--network", "none", "bb", "/etc/passwd", status=126)
    assert "permission denied" in done.stderr


def test_user_namespace(root):
    script = "cat /proc/self/uid_map; cat /sys/fs/cgroup/pids.max; touch /own; ls -ln /own; mknod /sda b 8 0"
    done = root(
        "run", "--rm", "--network", "none", "--uidmap", "0:100000:5000", "--pids-limit", "44", "bb", "sh", "-c", script,
        status=1,
    )  # fmt: skip
    assert done.stdout.split()[:4] == ["0", "100000", "5000", "44"]
    assert done.stdout.splitlines()[-1].split()[2:4] == ["0", "0"]


def test_user_namespace_of_podmans_choice(root):
    """--userns=auto: ids that no other container has; and a volume whose files are the container's own by an id-mapped mount."""
    for name in ("/etc/subuid", "/etc/subgid"):
        with open(name, "a") as file:
            file.write("containers:300000:100000\n")
    volume = root.place / "mapped"
    volume.mkdir()
    (volume / "file").write_text("of root\n")
    script = "cat /proc/self/uid_map; ls -ln /v/file; echo more >> /v/file; touch /v/new; exit 4"
    done = root("run", "--rm", "--network", "none", "--userns=auto:size=4096", "-v", f"{volume}:/v:idmap", "bb", "sh", "-c", script, status=4)
    inside, outside, count, *_ = done.stdout.split()
    assert (inside, count) == ("0", "4096") and 300000 <= int(outside) < 400000
    assert done.stdout.splitlines()[-1].split()[2:4] == ["0", "0"]
    assert (volume / "file").read_text() == "of root\nmore\n" and (volume / "new").stat().st_uid == 0


def test_processes_of_the_machine(root):
    """--pid=host: it sees the machine's processes, and all that it started ends with it, by its cgroup."""
    script = "sleep 100003 & sleep 100004 & readlink /proc/self/ns/pid; exec sleep 100005"
    root("run", "-d", "--network", "none", "--pid", "host", "--name", "wide", "bb", "sh", "-c", script)
    wait_until(lambda: root("logs", "wide").stdout == os.readlink("/proc/self/ns/pid") + "\n", "its word")
    assert root("exec", "wide", "sh", "-c", "readlink /proc/self/ns/pid").stdout == os.readlink("/proc/self/ns/pid") + "\n"
    group = root.cgroup("wide")
    assert len((group / "cgroup.procs").read_text().split()) == 3
    root("rm", "-f", "-t", "0", "wide")
    assert not group.exists()
    assert subprocess.run(["pgrep", "-f", "^sleep 10000[345]$"], capture_output=True, check=False).stdout == b""


def test_health_that_fails(root):
    root("run", "-d", "--network", "none", "--name", "sick", "--health-cmd", "test -e /none", "--health-interval", "disable", "bb", "sleep", "1000")
    assert root("healthcheck", "run", "sick", status=1).stdout.strip() == "unhealthy"
    root("rm", "-f", "-t", "0", "sick")


@pytest.mark.parametrize("shared", ["net,ipc,uts", "net,ipc,uts,pid"])
def test_pod(root, shared):
    """Its containers have the namespaces of the first one, by path; with pid among them, their processes see each other."""
    root("pod", "create", "--name", "pod", "--network", "none", "--share", shared, "--hostname", "shared", "--infra-image", "bb",
         "--infra-command", "sleep 100000")  # fmt: skip
    root("run", "-d", "--pod", "pod", "--name", "first", "-m", "64m", "bb", "sleep", "100001")
    script = "cat /proc/sys/kernel/hostname; readlink /proc/self/ns/net; cat /proc/[0-9]*/cmdline"
    second = root("run", "--rm", "--pod", "pod", "bb", "sh", "-c", script).stdout
    in_first = root("exec", "first", "sh", "-c", script).stdout
    assert second.splitlines()[:2] == in_first.splitlines()[:2] and second.startswith("shared\n")
    group = root.cgroup("first")
    assert (group / "memory.max").read_text() == f"{64 << 20}\n"
    for output in (second, in_first):
        seen = [number for number in ("100000", "100001") if f"sleep\0{number}\0" in output]
        assert seen == (["100000", "100001"] if "pid" in shared else ["100001"] if output == in_first else [])
    # Its end is not that of the others.
    root("kill", "first")
    assert root("wait", "first").stdout == "137\n"
    root("pod", "rm", "-f", "-t", "0", "pod")
    assert not group.exists()


def test_nothing_is_left(root):
    left = [path for path in [*CGROUPS.glob("libpod_parent/*"), *CGROUPS.glob("libpod_parent/*/*")] if path.is_dir() and path.name.startswith("libpod-")]
    # conmon has a cgroup of its own beside the container's.
    assert [path for path in left if "conmon" not in path.name] == []
    # But what was compiled of Podman's list of system calls: its containers have had the same.
    assert os.listdir("/run/codex32-oci") == ["@filters"]


def test_ordinary_user():
    podman = Podman("codex")
    script = "cd /sys/fs/cgroup; cat memory.max pids.max; id -u; cat /proc/self/uid_map; touch /x"
    done = podman(
        "run", "--rm", "--network", "none", "-m", "64m", "--pids-limit", "33", "--read-only",
        "--read-only-tmpfs=false", "-v", f"{podman.place}/image:/v:ro", "bb", "sh", "-c", script, status=1,
    )  # fmt: skip
    assert done.stdout.split() == [str(64 << 20), "33", "0", "0", "1001", "1", "1", "200000", "65536"]
    assert "Read-only file system" in done.stderr
