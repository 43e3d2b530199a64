"""codex32 under Debian's containerd 1.6 and Docker 20.10, the real daemons, with the cgroupfs driver.

Runs inside the machine of run-in-vm, as root. The daemons are in .build/vm-packages, where Tests/Tools/unpack put
them; Go programs take seconds to start there, so that one container shows many things.
"""

import contextlib
import json
import os
import shutil
import subprocess

import images
import pytest
from machine import CGROUPS, CODEX32, DISK, HERE, in_machine, wait_until

pytestmark = in_machine
PROGRAMS = HERE.parents[1] / ".build/vm-packages"
ENVIRONMENT = os.environ | {"PATH": f"{PROGRAMS}/usr/bin:{PROGRAMS}/usr/sbin:{os.environ['PATH']}"}


class Daemon:
    """A daemon with a folder of its own, its client, and the image."""

    def __init__(self, name, line, client):
        self.place = DISK / name
        self.place.mkdir()
        self.runtime = self.place / "codex32-oci"
        shutil.copy(CODEX32, self.runtime)
        self.client = client
        self.log = open(self.place / "log", "w")
        self.process = subprocess.Popen(
            [word.format(self.place) for word in line], env=ENVIRONMENT, stdout=self.log, stderr=self.log,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        wait_until(lambda: self("version", status=None).returncode == 0, f"{name} ({self.place}/log)")
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
        self.process.wait(120)
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
        "--add-runtime", "codex32={0}/codex32-oci",
    ]  # fmt: skip
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
