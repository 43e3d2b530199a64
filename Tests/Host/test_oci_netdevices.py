"""`linux.netDevices`: devices of the caller's network namespace that become the container's.

A namespace of the test's own stands for the machine's, so that nothing of the machine's is touched. As an ordinary user it
belongs to a user namespace in which this user is root, as rootless Podman's does.
"""

import json
import os
import pathlib
import subprocess

import pytest

from bundles import bundle  # noqa: F401
from conftest import PATIENCE, wait_until


class Network:
    """A network namespace with two pairs of devices, and codex32 called in it."""

    def __init__(self, bundle):
        self.bundle = bundle
        words = ["unshare", *([] if bundle.caller.name == "root" else ["--user", "--map-root-user", "--map-auto"]), "--net", "sleep", "100000"]
        self.process = subprocess.Popen([*bundle.caller.become(), *words], env=bundle.caller.environment(), stdin=subprocess.DEVNULL)
        wait_until(lambda: pathlib.Path(f"/proc/{self.process.pid}/comm").read_text() == "sleep\n", "the namespace")
        self.inside = [*bundle.caller.become(), "nsenter", "-t", str(self.process.pid), "--net"]
        plain = bundle.words
        bundle.words = lambda *words: [*self.inside, *plain(*words)[len(bundle.caller.become()) :]]
        if bundle.caller.name != "root":
            # Root there is this user, who owns the bundle.
            self.inside += ["--user", "--preserve-credentials"]
            linux = bundle.config["linux"]
            linux["namespaces"] = [each for each in linux["namespaces"] if each["type"] != "user"]
            del linux["uidMappings"], linux["gidMappings"]
        self.ip("link", "add", "one0", "type", "veth", "peer", "name", "one1")
        self.ip("link", "add", "two0", "type", "veth", "peer", "name", "two1")

    def __call__(self, *words):
        return subprocess.run([*self.inside, *words], capture_output=True, text=True, timeout=PATIENCE, check=False)

    def ip(self, *words):
        done = self("ip", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def links(self):
        return {link["ifname"]: link for link in json.loads(self.ip("-j", "addr"))}

    def close(self):
        self.process.kill()
        self.process.wait(PATIENCE)


@pytest.fixture
def network(bundle):
    made = Network(bundle)
    yield made
    bundle.clear()
    made.close()


def seen(bundle, name="one"):
    """The devices of a container, by an ip(8) that comes in from outside."""
    pid = bundle.state(name)["pid"]
    user = [] if bundle.caller.name == "root" else ["--user"]
    done = subprocess.run(["nsenter", "-t", str(pid), *user, "--net", "ip", "-j", "-d", "addr"], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return {link["ifname"]: link for link in json.loads(done.stdout)}


def addresses(link):
    return sorted(f"{each['local']}/{each['prefixlen']}" for each in link["addr_info"] if each["scope"] == "global")


def test_a_device_goes_with_its_addresses_and_settings(bundle, network):
    network.ip("addr", "add", "10.99.0.1/24", "dev", "one0")
    network.ip("addr", "add", "10.99.1.1", "peer", "10.99.1.2/32", "dev", "one0")
    network.ip("-6", "addr", "add", "fd99::1/64", "dev", "one0", "nodad")
    network.ip("addr", "add", "10.99.2.1/24", "dev", "one0", "valid_lft", "10000", "preferred_lft", "10000")
    network.ip("link", "set", "one0", "mtu", "1400", "address", "02:00:00:00:00:01", "up")
    network.ip("link", "set", "one1", "up")
    bundle.config["linux"]["netDevices"] = {"one0": {"name": "eth7"}, "two0": {}}
    bundle.sleeping()
    links = seen(bundle)
    assert set(links) == {"lo", "eth7", "two0"}
    # The address that ends by itself is left out, and what the kernel makes for the link alone it makes anew.
    assert addresses(links["eth7"]) == ["10.99.0.1/24", "10.99.1.1/32", "fd99::1/64"]
    assert [each.get("address") for each in links["eth7"]["addr_info"] if each["local"] == "10.99.1.1"] == ["10.99.1.2"]
    assert links["eth7"]["mtu"] == 1400 and links["eth7"]["address"] == "02:00:00:00:00:01"
    assert "UP" in links["eth7"]["flags"] and "UP" in links["two0"]["flags"]
    assert set(network.links()) == {"lo", "one1", "two1"}
    assert network("busybox", "ping", "-c", "1", "-W", "1", "10.99.0.1").returncode != 0  # this side has no address yet
    network.ip("addr", "add", "10.99.0.2/24", "dev", "one1")
    # After three seconds without an answer for the address the kernel gives that up, and ping is not told.
    wait_until(lambda: network("busybox", "ping", "-c", "1", "-W", "5", "10.99.0.1").returncode == 0, "an answer")
    bundle("delete", "--force", "one")
    # As the specification has it, what was moved ends with the namespace; of a veth both ends.
    wait_until(lambda: set(network.links()) == {"lo"}, "the end of its devices")


def test_a_template_finds_a_free_name(bundle, network):
    bundle.config["linux"]["netDevices"] = {"one0": {"name": "net%d"}, "two0": {"name": "net%d"}}
    bundle.sleeping()
    assert set(seen(bundle)) == {"lo", "net0", "net1"}


def test_hooks_and_settings_find_the_device(bundle, network):
    """It is there before both, and a number that is taken is no obstacle."""
    network.ip("link", "add", "more0", "index", "1000", "type", "veth", "peer", "name", "more1")
    bundle.config["linux"]["netDevices"] = {"more0": {"name": "eth0"}}
    bundle.config["linux"]["sysctl"] = {"net.ipv4.conf.eth0.forwarding": "1"}
    script = 'pid=$(sed "s/.*\\"pid\\":\\([0-9]*\\).*/\\1/"); cat /proc/$pid/net/dev'
    bundle.config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", f"({script}) > {bundle.folder}/seen"]}]}
    bundle.sh("cat /proc/sys/net/ipv4/conf/eth0/forwarding")
    result = bundle("run", "one")
    assert result.stdout == "1\n", result.stderr
    assert "eth0:" in (bundle.folder / "seen").read_text()


def test_by_a_network_namespace_that_is_there(bundle, network):
    other = subprocess.Popen([*network.inside, "unshare", "--net", "sleep", "100000"], stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: pathlib.Path(f"/proc/{other.pid}/comm").read_text() == "sleep\n", "the namespace")
        inside = ["nsenter", "-t", str(other.pid), *([] if bundle.caller.name == "root" else ["--user"]), "--net"]
        # Numbers that are taken there, and a name.
        for number in range(1, 5):
            subprocess.run([*inside, "ip", "link", "add", f"x{number}", "type", "veth", "peer", "name", f"y{number}"], check=True)
        assert network.links()["one0"]["ifindex"] in range(2, 10)
        spaces = bundle.config["linux"]["namespaces"]
        bundle.config["linux"]["namespaces"] = [each for each in spaces if each["type"] != "network"] + [
            {"type": "network", "path": f"/proc/{other.pid}/ns/net"}
        ]
        # A sysfs shows a network namespace, and is made only by those to whom that belongs.
        bundle.config["linux"]["netDevices"] = {"one0": {"name": "x2"}}
        result = bundle("run", "one")
        assert result.returncode == 1 and "one0: the container has a network device x2 already" in result.stderr, result.stderr
        assert "one0" in network.links()
        bundle.config["linux"]["netDevices"] = {"one0": {"name": "x%d"}}
        bundle.sleeping()
        assert "x0" in seen(bundle)
    finally:
        bundle.clear()
        other.kill()
        other.wait(PATIENCE)


@pytest.mark.parametrize(
    "devices, words",
    [
        ({"none0": {}}, "none0: there is none of that name here"),
        ({"lo": {"name": "x"}}, "lo: a loopback device cannot leave"),
        ({"one0": {"name": "lo"}}, "one0: the container has a network device lo already"),
        ({"one0": {"name": "a"}, "two0": {"name": "a"}}, "a stands twice"),
        ({"one0": {"name": "a/b"}}, "a/b is no name of a network device"),
        ({"one0": {"name": "%s"}}, "%s is no name of a network device"),
        ({"one0": {"name": "%d%d"}}, "is no name of a network device"),
        ({"one0": {"name": "a" * 16}}, "is no name of a network device"),
        ({"one%d": {}}, "is no name of a network device"),
        ({"..": {}}, "is no name of a network device"),
        ({"one0": {"mtu": 1}}, "linux.netDevices.one0.mtu: is not known"),
        ({"one0": "eth0"}, "linux.netDevices.one0: must be an object"),
    ],
)
def test_devices_that_cannot_be_had_are_named_and_nothing_moves(bundle, network, devices, words):
    network.ip("addr", "add", "10.99.0.1/24", "dev", "two0")
    before = network.links()
    bundle.config["linux"]["netDevices"] = {"two0": {"name": "first"}, **devices} if "two0" not in devices else devices
    bundle.sh("true")
    result = bundle("run", "one")
    assert result.returncode == 1 and words in result.stderr, result.stderr
    assert network.links() == before
    assert bundle.left() == []


def test_what_was_moved_is_put_back_where_the_next_cannot_be(bundle, network):
    """A device that its namespace keeps (NETIF_F_NETNS_LOCAL) shows only when it is moved: a bridge."""
    if network("ip", "link", "add", "kept0", "type", "bridge").returncode != 0:
        pytest.skip("this kernel has no bridges")
    network.ip("addr", "add", "10.99.0.1/24", "dev", "one0")
    network.ip("link", "set", "one0", "up")
    index = network.links()["one0"]["ifindex"]
    bundle.config["linux"]["netDevices"] = {"one0": {"name": "eth0"}, "kept0": {}}
    bundle.sh("true")
    result = bundle("run", "one")
    assert result.returncode == 1 and "cannot move the network device kept0" in result.stderr, result.stderr
    links = network.links()
    assert links["one0"]["ifindex"] == index and addresses(links["one0"]) == ["10.99.0.1/24"] and "UP" in links["one0"]["flags"]


def test_it_takes_a_network_namespace_and_the_right(bundle):
    bundle.config["linux"]["netDevices"] = {"x0": {}}
    bundle.sh("true")
    kept = bundle.config["linux"]["namespaces"]
    bundle.config["linux"]["namespaces"] = [each for each in kept if each["type"] != "network"]
    result = bundle("run", "one")
    assert result.returncode == 1 and "linux.netDevices: there is no network namespace" in result.stderr
    bundle.config["linux"]["namespaces"] = kept
    if bundle.caller.name == "root":
        # By path, its own: a device would only be renamed there.
        bundle.config["linux"]["namespaces"] = [each for each in kept if each["type"] != "network"] + [{"type": "network", "path": "/proc/self/ns/net"}]
        result = bundle("run", "one")
        assert result.returncode == 1 and "the one that codex32 itself is in" in result.stderr, result.stderr
        return
    names = [name for name in os.listdir("/sys/class/net") if name != "lo"]
    if not names:
        pytest.skip("this machine has no other device")
    bundle.config["linux"]["netDevices"] = {names[0]: {"name": "x0"}}
    result = bundle("run", "one")
    assert result.returncode == 1 and "cannot move" in result.stderr and "CAP_NET_ADMIN" in result.stderr
