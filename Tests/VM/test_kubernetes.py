"""codex32 as a RuntimeClass's handler: what a kubelet asks of containerd 1.6 for a pod, by the CRI.

Runs inside the machine of run-in-vm, as root. There is no Kubernetes in Debian 12, and no CRI-O: the test speaks to containerd
as a kubelet does (cri.py). The configuration is the one of Sources/Sandbox/Sandbox.docc/OCIRuntime.md, read from there.
"""

import json
import re

import images
import pytest
from cri import Cri, read
from machine import CGROUPS, DISK, HERE, in_machine, wait_until
from test_daemons import PROGRAMS, daemon

pytestmark = in_machine
PAGE = HERE.parents[1] / "Sources/Sandbox/Sandbox.docc/OCIRuntime.md"
IMAGE = "docker.io/library/bb:latest"
NETWORK = {
    "cniVersion": "0.4.0", "name": "pods",
    "plugins": [{"type": "ptp", "ipam": {"type": "host-local", "dataDir": "/mnt/disk/cni", "ranges": [[{"subnet": "10.88.7.0/24"}]]}}],
}  # fmt: skip


def configuration():
    """containerd's, as the page has it, and beside that where things are here."""
    (text,) = re.findall(r"```toml\n(# /etc/containerd/config.toml\n.*?)```", PAGE.read_text(), re.DOTALL)
    assert text.count("/usr/local/bin/codex32-oci") == 1
    text = text.replace("/usr/local/bin/codex32-oci", f"{DISK}/kubernetes/codex32-oci")
    table = '[plugins."io.containerd.grpc.v1.cri"]'
    assert text.count(table + "\n") <= 1
    own = (
        f'{table}\n  sandbox_image = "docker.io/library/pause:latest"\n'
        f'[plugins."io.containerd.grpc.v1.cri".cni]\n  bin_dir = "{PROGRAMS}/usr/lib/cni"\n  conf_dir = "{DISK}/cni-conf"\n'
    )
    return text + own


@pytest.fixture(scope="module")
def containerd():
    (DISK / "cni-conf").mkdir()
    (DISK / "cni-conf/1.conflist").write_text(json.dumps(NETWORK))
    (DISK / "containerd.toml").write_text(configuration())
    words = ["containerd", "--config", str(DISK / "containerd.toml"), "--root", "{0}/root", "--state", "{0}/state", "--address", "{0}/s"]
    with daemon("kubernetes", words, ["ctr", "--address", "{0}/s", "--namespace", "k8s.io"]) as made:
        images.write(made.place / "pause.tar", "pause:latest", ["sleep", "100000"])
        for name in ("image.tar", "pause.tar"):
            made("images", "import", "--snapshotter", "overlayfs", made.place / name)
        yield made


@pytest.fixture
def cri(containerd):
    made = Cri(containerd.place / "s")
    yield made
    made.close()


@pytest.mark.parametrize("walls", ["plain", "strict"])
def test_pod(cri, containerd, walls):
    """A pod with a network of its own and two containers: through the handler, and with the pod's annotation strictly."""
    annotations = [("codex32.isolation", "strict")] if walls == "strict" else []
    sandbox = cri.sandbox(f"pod-{walls}", "codex32", annotations, network=0)
    pod = sandbox[0]
    status = read(cri("PodSandboxStatus", (1, pod))[1][0])
    assert status.get(3, [0]) == [0] and status[9] == [b"codex32"]
    address = read(status[5][0])[1][0].decode()
    assert address.startswith("10.88.7.")
    limits = [(1, 100000), (2, 50000), (4, 64 << 20)]
    script = "cat /proc/self/status; cat /proc/net/fib_trie; hostname; echo data > /tmp/x; sleep 100000"
    first = cri.container(sandbox, "first", IMAGE, ["sh", "-c", script], network=0, resources=limits)
    # It is codex32 that runs it: the state is in its folder.
    runtime = json.loads((containerd.place / "state/io.containerd.runtime.v2.task/k8s.io" / first / "options.json").read_text())
    assert runtime["binary_name"] == str(containerd.runtime)
    group = CGROUPS / "pods" / first
    assert (group / "memory.max").read_text() == f"{64 << 20}\n" and (group / "cpu.max").read_text() == "50000 100000\n"
    output, errors, code = cri.exec(first, "sh", "-c", "grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status; cat /proc/net/fib_trie; readlink /proc/self/ns/net; exit 5")
    assert (errors, code) == ("", 5) and address in output
    told = dict(line.split(":\t") for line in output.splitlines() if ":\t" in line)
    assert told["Seccomp"] == "2"
    if walls == "strict":
        assert int(told["CapBnd"], 16) == 0 and told["NoNewPrivs"] == "1"
    else:
        assert int(told["CapBnd"], 16) & (1 << 13) and told["NoNewPrivs"] == "0"
    cri("UpdateContainerResources", (1, first), (2, [(4, 48 << 20)]))
    assert (group / "memory.max").read_text() == f"{48 << 20}\n"
    # The second shares the network, and its end is told with its status.
    second = cri.container(sandbox, "second", IMAGE, ["sh", "-c", "readlink /proc/self/ns/net; exit 3"], network=0)
    wait_until(lambda: cri.status(second) == (2, 3), "the second's end")
    log = (DISK / "pod-logs/second.log").read_text()
    assert re.search(r"net:\[\d+\]", log).group() == output.splitlines()[-1], log
    figures = read(cri("ContainerStats", (1, first))[1][0])
    assert read(read(figures[3][0])[2][0]).get(1, [0])[0] > 0  # memory.working_set_bytes
    cri("StopContainer", (1, first), (2, 0))
    assert cri.status(first) == (2, 137)
    for container in (first, second):
        cri("RemoveContainer", (1, container))
    cri("StopPodSandbox", (1, pod))
    cri("RemovePodSandbox", (1, pod))
    assert not group.exists() and not (CGROUPS / "pods" / pod).exists()


def test_processes_of_a_pod_see_each_other(cri):
    """shareProcessNamespace: a container joins the pid namespace of the pod's first process, and its end ends only itself."""
    sandbox = cri.sandbox("shared", "codex32", network=2, pid=0)
    one = cri.container(sandbox, "one", IMAGE, ["sleep", "100001"], pid=0)
    two = cri.container(sandbox, "two", IMAGE, ["sleep", "100002"], pid=0)
    seen = lambda: cri.exec(two, "sh", "-c", "cat /proc/[0-9]*/cmdline")  # noqa: E731
    wait_until(lambda: all(f"sleep\0{number}\0" in seen()[0] for number in (100000, 100001, 100002)), "all three of them")
    cri("StopContainer", (1, one), (2, 0))
    assert cri.status(one) == (2, 137) and cri.status(two)[0] == 1
    cri("StopPodSandbox", (1, sandbox[0]))
    wait_until(lambda: cri.status(two)[0] == 2, "the other's end")
    cri("RemovePodSandbox", (1, sandbox[0]))
    assert not (CGROUPS / "pods" / two).exists()


def test_handlers_that_are_not_there(cri):
    with pytest.raises(Exception, match="no runtime for .nonesuch. is configured"):
        cri.sandbox("wrong", "nonesuch")
