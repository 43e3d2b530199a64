"""codex32 under Debian's containerd 1.6 and Docker 20.10, the real daemons, with the cgroupfs driver.

Runs inside the machine of run-in-vm, as root. The daemons are in .build/vm-packages, where Tests/Tools/unpack put
them; Go programs take seconds to start there, so that one container shows many things.
"""

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import images
import pytest
from machine import CGROUPS, CODEX32, DISK, HERE, in_machine, wait_until

pytestmark = in_machine
PROGRAMS = HERE.parents[1] / ".build/vm-packages"
PAGE = HERE.parents[1] / "Sources/Sandbox/Sandbox.docc/OCIRuntime.md"
ENVIRONMENT = os.environ | {"PATH": f"{PROGRAMS}/usr/bin:{PROGRAMS}/usr/sbin:{os.environ['PATH']}"}


class Daemon:
    """A daemon with a folder of its own, its client, and the image."""

    def __init__(self, name, line, client, ready=("version",)):
        self.place = DISK / name
        self.place.mkdir(exist_ok=True)
        self.runtime = self.place / "codex32-oci"
        shutil.copy(CODEX32, self.runtime)
        self.client = client
        self.log = open(self.place / "log", "w")
        self.process = subprocess.Popen(
            [word.format(self.place) for word in line], env=ENVIRONMENT, stdout=self.log, stderr=self.log,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        wait_until(lambda: self(*ready, status=None).returncode == 0, f"{name} ({self.place}/log)")
        images.write(self.place / "image.tar")

    def __call__(self, *words, status=0):
        done = subprocess.run(
            [*[word.format(self.place) for word in self.client], *map(str, words)], env=ENVIRONMENT,
            capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        assert status is None or done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
        return done

    def close(self):
        self.process.terminate()
        self.process.wait(300)
        self.log.close()


@contextlib.contextmanager
def daemon(*what):
    made = Daemon(*what)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def containerd():
    words = ["containerd", "--root", "{0}/root", "--state", "{0}/state", "--address", "{0}/s"]
    with daemon("containerd", words, ["ctr", "--address", "{0}/s"]) as made:
        made("images", "import", "--snapshotter", "overlayfs", made.place / "image.tar")
        yield made


@pytest.fixture(scope="module")
def docker():
    words = [
        "dockerd", "--data-root", "{0}/root", "--exec-root", "{0}/exec", "--pidfile", "{0}/pid", "--host",
        "unix://{0}/s", "--bridge", "none", "--iptables=false", "--ip6tables=false", "--storage-driver", "overlay2",
        "--config-file", str(DISK / "daemon.json"),
    ]  # fmt: skip
    # As the page has it, but for the place of the program.
    (text,) = re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert text.count("/usr/local/bin/codex32-oci") == 2
    (DISK / "daemon.json").write_text(text.replace("/usr/local/bin/codex32-oci", f"{DISK}/docker/codex32-oci"))
    with daemon("docker", words, ["docker", "--host", "unix://{0}/s"]) as made:
        made("load", "--input", made.place / "image.tar")
        yield made


IMAGE = "docker.io/library/bb:latest"


def test_containerd(containerd):
    run = ["run", "--runc-binary", containerd.runtime]
    done = containerd(*run, "--rm", IMAGE, "first", "sh", "-c", "echo hi; cat /proc/self/cgroup; exit 5", status=5)
    assert done.stdout == "hi\n0::/default/first\n"  # ctr asks for no cgroup namespace
    failed = containerd(*run, "--rm", IMAGE, "second", "nonesuch", status=1)
    assert "executable file not found in $PATH" in failed.stderr
    containerd(*run, "--detach", "--memory-limit", 64 << 20, IMAGE, "one", "sleep", "1000")
    group = CGROUPS / "default/one"
    assert (group / "memory.max").read_text() == f"{64 << 20}\n"
    figures = containerd("task", "metrics", "--format", "json", "one").stdout
    assert str(64 << 20) in figures and json.loads(figures)
    done = containerd("task", "exec", "--exec-id", "x", "one", "sh", "-c", "echo in; cat /proc/self/cgroup; exit 4", status=4)
    assert done.stdout == "in\n0::/default/one\n"
    assert len(containerd("task", "ps", "one").stdout.splitlines()) == 2
    containerd("task", "pause", "one")
    assert (group / "cgroup.events").read_text().split()[-1] == "1"
    assert "PAUSED" in containerd("task", "ls").stdout
    containerd("task", "resume", "one")
    # ctr serves a terminal of its own, which it has to be given.
    words = ["ctr", "--address", containerd.place / "s", *run, "--rm", "--tty", IMAGE, "typed", "sh", "-c", "test -t 0 && echo is a tty"]
    typed = subprocess.run(["script", "-qec", shlex.join(map(str, words)), "/dev/null"], env=ENVIRONMENT, capture_output=True, text=True, timeout=300,
                           stdin=subprocess.DEVNULL, check=False)  # fmt: skip
    assert "is a tty" in typed.stdout, typed
    containerd("task", "kill", "--signal", "KILL", "one")
    wait_until(lambda: "STOPPED" in containerd("task", "ls").stdout, "the end")
    containerd("task", "rm", "one", status=None)  # its status is the container's
    containerd("container", "rm", "one")
    assert not group.exists()


def test_docker(docker):
    # The machine has AppArmor, and not the program that loads Docker's profile.
    run = ["run", "--runtime", "codex32", "--security-opt", "apparmor=unconfined", "--network", "host"]
    script = "cat /proc/self/cgroup; grep Seccomp: /proc/self/status; mknod /sda b 8 0; head -c 1 /dev/zero; exit 6"
    done = docker(*run, "--rm", "bb", "sh", "-c", script, status=6)
    assert done.stdout.startswith("0::/\nSeccomp:\t2\n"), done.stdout
    failed = docker(*run, "--rm", "bb", "nonesuch", status=127)
    assert "executable file not found in $PATH" in failed.stderr
    docker(*run, "--detach", "--name", "one", "-m", "64m", "--cpus", "0.5", "--pids-limit", "30", "--restart",
           "on-failure:1", "bb", "sh", "-c", "echo began; sleep 1000; exit 3")  # fmt: skip
    (group,) = CGROUPS.glob("docker/*/")
    assert (group / "memory.max").read_text() == f"{64 << 20}\n"
    assert (group / "cpu.max").read_text() == "50000 100000\n"
    assert (group / "pids.max").read_text() == "30\n"

    def sleeps():
        with contextlib.suppress(OSError):
            return "sleep\n" in [Path(f"/proc/{pid}/comm").read_text() for pid in (group / "cgroup.procs").read_text().split()]

    wait_until(sleeps, "its sleep")
    figures = json.loads(docker("stats", "--no-stream", "--format", "{{json .}}", "one").stdout)
    assert figures["PIDs"] == "2" and figures["MemUsage"].endswith("/ 64MiB")
    docker("update", "--memory", "48m", "--memory-swap", "48m", "one")
    assert (group / "memory.max").read_text() == f"{48 << 20}\n"
    assert docker("exec", "-u", "bot", "one", "sh", "-c", "id -u; cat /proc/self/cgroup").stdout == "7\n0::/\n"
    docker("pause", "one")
    assert docker("inspect", "--format", "{{.State.Status}}", "one").stdout == "paused\n"
    docker("unpause", "one")
    # What ends by itself with a failure is started again.
    docker("exec", "one", "sh", "-c", 'for p in /proc/[0-9]*; do grep -q "^sleep" $p/comm && kill -9 ${p#/proc/}; done', status=None)
    wait_until(lambda: docker("inspect", "--format", "{{.RestartCount}}", "one").stdout == "1\n", "a restart")
    wait_until(lambda: docker("logs", "one").stdout.count("began") == 2, "its second word")
    docker("rm", "--force", "one")
    assert list(CGROUPS.glob("docker/*/")) == []


# What Docker's own list, its capabilities and its mounts stop: programs of `codex32 selftest --attack` that tell it themselves.
STOPPED = (
    "unshare-user clone-user clone3-user nested-mount release-agent release-agent-direct cgroup-write mount fsopen open-tree pivot-root "
    "overlay-confusion map-confusion inheritable-capabilities core-pattern kernel-settings uevent-helper sysrq bpf perf-event keyring add-key "
    "userfaultfd reboot kexec load-module swap accounting set-clock i386-calls x32-calls fanotify read-only-volume"
).split()
# And the walls of strict more: rights, terminals, tracing, sockets.
STOPPED_STRICTLY = ("new-privileges capabilities trace-own tiocsti tiocsti-wide tioclinux netlink-audit netlink-netfilter raw-ip write-root").split()


@pytest.mark.parametrize("runtime", ["codex32", "codex32-strict"])
def test_attacks_with_dockers_own_profile(docker, runtime):
    """By create and start, and by exec, of a container as Docker configures it."""
    names = STOPPED + (STOPPED_STRICTLY if runtime == "codex32-strict" else [])
    (docker.place / "shared").mkdir(exist_ok=True)
    words = ["--runtime", runtime, "--security-opt", "apparmor=unconfined", "--network", "none", "-v", f"{CODEX32}:/attack:ro",
             "-v", f"{docker.place}/shared:/read-only:ro", "-e", "ATTACK_READ_ONLY=/read-only", *(["--read-only"] if runtime == "codex32-strict" else [])]  # fmt: skip
    ran = docker("run", "--rm", *words, "bb", "/attack", "attack-program", "try", *names).stdout
    docker("run", "--detach", "--name", runtime, *words, "bb", "sleep", "1000")
    # The attacks end with whoever started them, and behind an exec that is codex32, which has no more to do.
    added = docker("exec", runtime, "sh", "-c", '"$@"; exit $?', "sh", "/attack", "attack-program", "try", *names).stdout
    docker("rm", "--force", runtime)
    for output in (ran, added):
        told = {name: (outcome, why) for name, outcome, why in (line.split("\t") for line in output.splitlines())}
        assert sorted(told) == sorted(names)
        # What this machine has for nobody is not possible; all else was refused.
        assert {name: met for name, met in told.items() if met[0] not in ("stopped", "impossible")} == {}
        assert sum(outcome == "stopped" for outcome, _ in told.values()) > len(names) - 6
