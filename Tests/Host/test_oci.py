"""`codex32 oci`: the life of a container by the verbs of the OCI runtime specification."""

import json
import os
import subprocess

import pytest

from conftest import PATIENCE, wait_until


@pytest.fixture
def bundle(tmp_path, binary_path):
    """A bundle of busybox, with the configuration that `spec` writes, and a caller of verbs."""
    return Bundle(tmp_path, binary_path)


@pytest.fixture
def binary_path():
    return os.path.abspath(os.environ.get("CODEX32", ".build/release/codex32"))


class Bundle:
    def __init__(self, folder, binary):
        self.folder, self.binary, self.written = folder, binary, None
        (folder / "rootfs/bin").mkdir(parents=True)
        busybox = subprocess.run(["which", "busybox"], capture_output=True, text=True).stdout.strip()
        (folder / "rootfs/bin/busybox").write_bytes(open(busybox, "rb").read())
        (folder / "rootfs/bin/busybox").chmod(0o755)
        for name in ("sh", "cat", "ls", "id", "sleep"):
            (folder / "rootfs/bin" / name).symlink_to("busybox")
        assert self("spec").returncode == 0
        self.config = json.loads((folder / "config.json").read_text())

    def __call__(self, *words):
        text = json.dumps(self.config) if hasattr(self, "config") else None
        if text and text != self.written:  # not under the eyes of one that reads it
            (self.folder / "config.json").write_text(text)
            self.written = text
        return subprocess.run(
            [self.binary, "oci", "--root", self.folder / "states", "--log", self.folder / "log.json", "--log-format",
             "json", *words],
            cwd=self.folder, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL)

    def sh(self, script):
        self.config["process"]["args"] = ["sh", "-c", script]

    def state(self, name):
        return json.loads(self("state", name).stdout)

    def create(self, name, *options):
        """`create` whose program writes to a file: a pipe of the test's would be held open by the container."""
        self("list")  # writes the configuration
        with open(self.folder / "output", "w") as output:
            return subprocess.run(
                [self.binary, "oci", "--root", self.folder / "states", "create", *options, name], cwd=self.folder,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=PATIENCE).returncode

    def left(self):
        folder = self.folder / "states"
        return os.listdir(folder) if folder.exists() else []


def test_run_gives_output_and_status_and_leaves_nothing(bundle):
    bundle.sh("echo out; exit 7")
    result = bundle("run", "one")
    assert (result.returncode, result.stdout) == (7, "out\n"), result.stderr
    assert bundle.left() == []


def test_life_from_create_to_delete(bundle):
    bundle.sh("echo began; exec sleep 1000")
    assert bundle.create("one", "--pid-file", str(bundle.folder / "pid")) == 0, (bundle.folder / "output").read_text()
    try:
        state = bundle.state("one")
        assert state["status"] == "created" and state["pid"] == int((bundle.folder / "pid").read_text())
        assert (bundle.folder / "output").read_text() == ""
        # Nothing of the host's is open in the process that waits but its streams, the pipe it waits on, and that for its outcome.
        wait_until(lambda: len(os.listdir(f"/proc/{state['pid']}/fd")) == 5, "an end of what it was made with")
        opened = {name: os.readlink(f"/proc/{state['pid']}/fd/{name}") for name in os.listdir(f"/proc/{state['pid']}/fd")}
        assert set(opened) == {"0", "1", "2", "3", "4"} and opened["3"].endswith("/states/one/exec.fifo") and opened["4"].endswith("/states/one/outcome.fifo")
        refused = bundle("delete", "one")
        assert refused.returncode == 1 and "only a stopped one" in refused.stderr
        both = [subprocess.Popen([bundle.binary, "oci", "--root", bundle.folder / "states", "start", "one"],
                                 stderr=subprocess.DEVNULL) for _ in range(2)]
        assert sorted(process.wait(PATIENCE) for process in both) == [0, 1]
        wait_until(lambda: (bundle.folder / "output").read_text() == "began\n", "the program's word")
        assert bundle.state("one")["status"] == "running"
        assert bundle("kill", "one", "KILL").returncode == 0
        wait_until(lambda: bundle.state("one")["status"] == "stopped", "its end")
        late = bundle("kill", "one", "KILL")
        assert late.returncode == 1 and "container not running" in late.stderr
        assert bundle("delete", "one").returncode == 0
    finally:
        bundle("delete", "--force", "one")
    assert bundle.left() == [] and not os.path.exists(f"/proc/{state['pid']}/exe")


def test_force_ends_what_waits(bundle):
    assert bundle.create("one") == 0
    pid = bundle.state("one")["pid"]
    assert bundle("delete", "--force", "one").returncode == 0
    assert bundle.left() == [] and not os.path.exists(f"/proc/{pid}/exe")
    assert bundle("delete", "--force", "one").returncode == 0
    assert "does not exist" in bundle("state", "one").stderr


@pytest.mark.parametrize("program, words", [("none", "executable file not found in $PATH"), ("/bin", "permission denied"), ("/plain", "permission denied")])
def test_create_says_what_cannot_run(bundle, program, words):
    (bundle.folder / "rootfs/plain").write_text("")
    bundle.config["process"]["args"] = [program]
    result = bundle("create", "one")
    assert result.returncode == 1 and words in result.stderr
    (line,) = (bundle.folder / "log.json").read_text().splitlines()
    assert json.loads(line)["level"] == "error" and words in json.loads(line)["msg"]
    assert bundle.left() == []


@pytest.mark.parametrize(
    "place, value, name",
    [
        (["Linux"], {}, "writes it linux"),
        (["process", "unknown"], 1, "process.unknown"),
        (["process", "apparmorProfile"], "x", "process.apparmorProfile"),
        (["process", "user"], {"uid": 4294967296}, "process.user.uid"),
        (["linux", "resources"], {"memory": {"limit": 1}}, "linux.resources.memory"),
        (["linux", "sysctl"], {"net.../kernel": "1"}, "linux.sysctl"),
        (["linux", "sysctl"], {"kernel.core_pattern": "|/x"}, "linux.sysctl"),
        (["mounts"], [{"destination": "/proc/self/attr", "type": "tmpfs"}], "below /proc"),
        (["mounts"], [{"destination": "/a/../../b", "type": "tmpfs"}], "destination"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(bundle, place, value, name):
    at = bundle.config
    for part in place[:-1]:
        at = at[part]
    at[place[-1]] = value
    result = bundle("create", "one")
    assert result.returncode == 1 and name in result.stderr, result.stderr
    assert bundle.left() == []


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100000, '{"ociVersion":7}', "\x00"])
def test_malformed_configurations_are_errors(bundle, text):
    (bundle.folder / "config.json").write_text(text)
    del bundle.config
    result = bundle("create", "one")
    assert result.returncode == 1 and result.stderr.startswith("codex32: "), result.stderr
    assert bundle.left() == []


@pytest.mark.parametrize("folder", [f"/proc/self/fd/{number}" for number in (3, 5, 7, 9, 12)])
def test_no_working_folder_leads_out(bundle, folder):
    bundle.config["process"]["cwd"] = folder
    bundle.config["root"]["readonly"] = False
    bundle.sh("ls -d ../../../../../../tmp/pytest-of-root")
    result = bundle("run", "one")
    assert result.returncode != 0 and "pytest-of-root" not in result.stdout


@pytest.mark.parametrize("target", ["proc", "sys", "dev"])
def test_links_for_system_folders_are_refused(bundle, target):
    (bundle.folder / "sentinel").mkdir()
    (bundle.folder / "rootfs" / target).symlink_to(bundle.folder / "sentinel")
    assert bundle("run", "one").returncode == 1
    assert os.listdir(bundle.folder / "sentinel") == []


def test_called_by_its_own_name(bundle):
    for name in ("runc", "codex32-oci"):
        (bundle.folder / name).symlink_to(bundle.binary)
        result = subprocess.run([bundle.folder / name, "--version"], capture_output=True, text=True, timeout=PATIENCE)
        assert result.stdout.startswith("codex32-oci version") and "spec: 1.3" in result.stdout


@pytest.mark.parametrize("name, value", [("memory", {"limit": 1 << 26}), ("pids", {"limit": 5}), ("unified", {"memory.max": "1000000"})])
def test_limits_are_refused_without_cgroups_too(bundle, name, value):
    """To have no cgroup is the caller's to say; a limit that is taken has to hold all the same."""
    bundle.config["linux"]["resources"] = {name: value}
    result = bundle("--cgroup-manager", "disabled", "run", "one")
    assert result.returncode == 1 and f"linux.resources.{name}" in result.stderr
    assert bundle.left() == []


@pytest.mark.parametrize("rights, status", [([], 0), (["CAP_MKNOD"], 1)])
def test_device_rules_hold_or_are_refused(bundle, rights, status):
    """Podman sends them always: in force without a cgroup where the program cannot make device nodes."""
    bundle.sh("exit 0")
    bundle.config["linux"]["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    bundle.config["process"]["capabilities"] = {kind: rights for kind in ("bounding", "effective", "permitted")}
    result = bundle("--cgroup-manager", "disabled", "run", "one")
    assert result.returncode == status, result.stderr
    assert ("linux.resources.devices" in result.stderr) == (status == 1)


def test_run_by_its_own_name_has_no_other_child(bundle):
    """`codex32 run` makes a child before it reads its options; a `run` of a bundle has no use for it."""
    (bundle.folder / "runc").symlink_to(bundle.binary)
    bundle.sh("sleep 1000")
    bundle("list")  # writes the configuration
    process = subprocess.Popen(
        [bundle.folder / "runc", "--root", bundle.folder / "states", "run", "one"], cwd=bundle.folder, stdin=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: bundle("state", "one").returncode == 0 and bundle.state("one")["status"] == "running", "the program")
        children = open(f"/proc/{process.pid}/task/{process.pid}/children").read().split()
        assert children == [str(bundle.state("one")["pid"])]
    finally:
        bundle("delete", "--force", "one")
        process.wait(PATIENCE)
