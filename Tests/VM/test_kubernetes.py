"""codex32 as a RuntimeClass's handler: what a kubelet asks of containerd 1.6 for a pod, and of CRI-O, by the CRI.

Runs inside the machine of run-in-vm, as root. There is no Kubernetes in Debian 12: the test speaks as a kubelet does (cri.py).
Nor is there CRI-O: it is tested where Tests/Tools/crio built it. The configurations are those of
Sources/Sandbox/Sandbox.docc/OCIRuntime.md, read from there.
"""

import contextlib
import json
import re
import subprocess

import images
import pytest
from cri import Cri, read
from machine import CGROUPS, DISK, HERE, in_machine, wait_until
from test_daemons import ENVIRONMENT, PROGRAMS, daemon

pytestmark = in_machine
PAGE = HERE.parents[1] / "Sources/Sandbox/Sandbox.docc/OCIRuntime.md"
CRIO = HERE.parents[1] / ".build/crio"
IMAGE = "docker.io/library/bb:latest"
PAUSE = "docker.io/library/pause:latest"
# It ends when it is asked to, as Kubernetes' own does: CRI-O waits for it five minutes otherwise.
PAUSES = ["sh", "-c", "trap 'exit 0' TERM; sleep 100000 & wait"]
NETWORK = {
    "cniVersion": "0.4.0", "name": "pods",
    "plugins": [{"type": "ptp", "ipam": {"type": "host-local", "dataDir": "/mnt/disk/cni", "ranges": [[{"subnet": "10.88.7.0/24"}]]}}],
}  # fmt: skip


def of_page(file, runtime):
    """A file as the page has it, but for the place of the program."""
    (text,) = re.findall(rf"```toml\n(# {file}\n.*?)```", PAGE.read_text(), re.DOTALL)
    assert text.count("/usr/local/bin/codex32-oci") == 1
    return text.replace("/usr/local/bin/codex32-oci", str(runtime))


class Containerd:
    no_handler = "no runtime for .nonesuch. is configured"

    def __init__(self, network):
        text = of_page("/etc/containerd/config.toml", DISK / "kubernetes/codex32-oci")
        table = '[plugins."io.containerd.grpc.v1.cri"]'
        assert text.count(table + "\n") <= 1
        text += f'{table}\n  sandbox_image = "{PAUSE}"\n'
        text += f'[plugins."io.containerd.grpc.v1.cri".cni]\n  bin_dir = "{PROGRAMS}/usr/lib/cni"\n  conf_dir = "{network}"\n'
        (DISK / "containerd.toml").write_text(text)

    @contextlib.contextmanager
    def started(self):
        words = ["containerd", "--config", str(DISK / "containerd.toml"), "--root", "{0}/root", "--state", "{0}/state", "--address", "{0}/s"]
        with daemon("kubernetes", words, ["ctr", "--address", "{0}/s", "--namespace", "k8s.io"]) as made:
            images.write(made.place / "pause.tar", "pause:latest", PAUSES)
            for name in ("image.tar", "pause.tar"):
                made("images", "import", "--snapshotter", "overlayfs", made.place / name)
            self.socket, self.made = made.place / "s", made
            yield self

    def ran(self, container):
        """Whether it is codex32 that runs it: its state is in its folder."""
        options = self.made.place / "state/io.containerd.runtime.v2.task/k8s.io" / container / "options.json"
        return json.loads(options.read_text())["binary_name"] == str(self.made.runtime)

    def group(self, identity):
        return CGROUPS / "pods" / identity


class Crio:
    no_handler = "failed to find runtime handler nonesuch"

    def __init__(self, network):
        if not (CRIO / "crio").exists():
            pytest.skip("CRI-O is not in Debian 12: Tests/Tools/crio builds it")
        self.place = DISK / "crio"
        folder = DISK / "crio.conf.d"
        folder.mkdir()
        (folder / "50-codex32.conf").write_text(of_page("/etc/crio/crio.conf.d/50-codex32.conf", self.place / "codex32-oci"))
        (DISK / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        # Where things are here: beside the page's file, which comes first by its name.
        (folder / "90-here.conf").write_text(f"""
[crio]
root = "{self.place}/root"
runroot = "{self.place}/runroot"
storage_driver = "overlay"
log_dir = "{self.place}/logs"
version_file = "{self.place}/version"
version_file_persist = "{self.place}/version-persist"
clean_shutdown_file = "{self.place}/clean"
[crio.api]
listen = "{self.place}/s"
[crio.runtime]
cgroup_manager = "cgroupfs"
conmon_cgroup = "pod"
pinns_path = "{CRIO}/pinns"
namespaces_dir = "{self.place}/namespaces"
container_exits_dir = "{self.place}/exits"
container_attach_socket_dir = "{self.place}/attach"
hooks_dir = []
[crio.image]
pause_image = "{PAUSE}"
pause_command = ""
signature_policy = "{DISK}/policy.json"
[crio.network]
network_dir = "{network}"
plugin_dirs = ["{PROGRAMS}/usr/lib/cni"]
[crio.nri]
enable_nri = false
""")

    @contextlib.contextmanager
    def started(self):
        crio = [f"{CRIO}/crio", "--config", "/dev/null", "--config-dir", f"{DISK}/crio.conf.d"]
        storage = f"[overlay@{self.place}/root+{self.place}/runroot]"
        for name, tag, command in (("image.tar", "bb:latest", ["sh"]), ("pause.tar", "pause:latest", PAUSES)):
            images.write(DISK / name, tag, command)
            words = ["skopeo", "--insecure-policy", "copy", f"docker-archive:{DISK}/{name}", f"containers-storage:{storage}docker.io/library/{tag}"]
            subprocess.run(words, env=ENVIRONMENT, check=True, timeout=300, stdin=subprocess.DEVNULL)
        with daemon("crio", crio, [f"{CRIO}/crio", "status", "--socket", "{0}/s"], ["info"]) as made:
            self.socket, self.made = made.place / "s", made
            yield self

    def ran(self, container):
        """Whether it is codex32 that runs it, by the runtime itself."""
        words = [self.made.runtime, "--root", "/run/codex32-oci", "state", container]
        state = subprocess.run(words, capture_output=True, text=True, timeout=300, check=True).stdout
        return json.loads(state)["status"] == "running"

    def group(self, identity):
        return CGROUPS / "pods" / f"crio-{identity}"


@pytest.fixture(scope="module", params=[Containerd, Crio])
def engine(request):
    network = DISK / f"cni-{request.param.__name__}"
    network.mkdir()
    (network / "1.conflist").write_text(json.dumps(NETWORK))
    with request.param(network).started() as engine:
        yield engine


@pytest.fixture
def cri(engine):
    made = Cri(engine.socket)
    yield made
    made.close()


@pytest.mark.parametrize("walls", ["plain", "strict"])
def test_pod(cri, engine, walls):
    """A pod with a network of its own and two containers: through the handler, and with the pod's annotation strictly."""
    annotations = [("codex32.isolation", "strict")] if walls == "strict" else []
    sandbox = cri.sandbox(f"pod-{walls}", "codex32", annotations, network=0)
    pod = sandbox[0]
    status = read(cri("PodSandboxStatus", (1, pod))[1][0])
    assert status.get(3, [0]) == [0] and status.get(9, [b"codex32"]) == [b"codex32"]  # the handler, which CRI-O does not tell
    address = read(status[5][0])[1][0].decode()
    assert address.startswith("10.88.7.")
    limits = [(1, 100000), (2, 50000), (4, 64 << 20)]
    script = "cat /proc/self/status; cat /proc/net/fib_trie; hostname; echo data > /tmp/x; sleep 100000"
    first = cri.container(sandbox, "first", IMAGE, ["sh", "-c", script], network=0, resources=limits)
    assert engine.ran(first)
    group = engine.group(first)
    assert (group / "memory.max").read_text() == f"{64 << 20}\n" and (group / "cpu.max").read_text() == "50000 100000\n"
    output, errors, code = cri.exec(first, "sh", "-c", "grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status; cat /proc/net/fib_trie; readlink /proc/self/ns/net; exit 5")
    assert (errors, code) == ("", 5) and address in output
    told = dict(line.split(":\t") for line in output.splitlines() if ":\t" in line)
    assert told["Seccomp"] == "2"
    if walls == "strict":
        assert int(told["CapBnd"], 16) == 0 and told["NoNewPrivs"] == "1"
    else:
        assert int(told["CapBnd"], 16) & 1 and told["NoNewPrivs"] == "0"
    cri("UpdateContainerResources", (1, first), (2, [(4, 48 << 20)]))
    assert (group / "memory.max").read_text() == f"{48 << 20}\n"
    # The second shares the network, and its end is told with its status.
    second = cri.container(sandbox, "second", IMAGE, ["sh", "-c", "readlink /proc/self/ns/net; exit 3"], network=0)
    wait_until(lambda: cri.status(second) == (2, 3), "the second's end")

    def said():
        # Its engine writes the log on another thread than the one that tells of its end.
        log = DISK / "pod-logs/second.log"
        return log.exists() and re.findall(r"net:\[\d+\]", log.read_text())

    assert wait_until(said, "what the second said")[-1] == output.splitlines()[-1]
    figures = read(cri("ContainerStats", (1, first))[1][0])
    assert read(read(figures[3][0])[2][0]).get(1, [0])[0] > 0  # memory.working_set_bytes
    cri("StopContainer", (1, first), (2, 0))
    assert cri.status(first) == (2, 137)
    for container in (first, second):
        cri("RemoveContainer", (1, container))
    cri("StopPodSandbox", (1, pod))
    cri("RemovePodSandbox", (1, pod))
    assert not group.exists() and not engine.group(pod).exists()


def test_processes_of_a_pod_see_each_other(cri, engine):
    """shareProcessNamespace: a container joins the pid namespace of the pod's first process, and its end ends only itself."""
    sandbox = cri.sandbox("shared", "codex32", network=2, pid=0)
    one = cri.container(sandbox, "one", IMAGE, ["sleep", "100001"], pid=0)
    two = cri.container(sandbox, "two", IMAGE, ["sleep", "100002"], pid=0)
    seen = lambda: cri.exec(two, "sh", "-c", "cat /proc/[0-9]*/cmdline")  # noqa: E731
    wait_until(lambda: all(f"sleep\0{number}\0" in seen()[0] for number in (100000, 100001, 100002)), "all three of them")
    cri("StopContainer", (1, one), (2, 0))
    # CRI-O asks with SIGTERM whatever the time, and this one is no pid 1, which would not hear it.
    assert cri.status(one) in ((2, 137), (2, 143)) and cri.status(two)[0] == 1
    cri("StopPodSandbox", (1, sandbox[0]))
    wait_until(lambda: cri.status(two)[0] == 2, "the other's end")
    cri("RemovePodSandbox", (1, sandbox[0]))
    assert not engine.group(two).exists()


def test_handlers_that_are_not_there(cri, engine):
    with pytest.raises(Exception, match=engine.no_handler):
        cri.sandbox("wrong", "nonesuch")
