"""A mount namespace by path: the container is in it, its root there is the bundle's, and nothing of it changes."""

import json
import os
import pathlib
import subprocess

import pytest

from bundles import bundle  # noqa: F401
from conftest import PATIENCE, wait_until

SCRIPT = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir -p "$1/bin" "$1/proc" "$1/tmp" "$1/etc"
cp "$(command -v busybox)" "$1/bin/busybox"
for name in sh cat ls readlink sleep pwd echo chroot; do ln -s busybox "$1/bin/$name"; done
mount --rbind /proc "$1/proc"
echo other > "$1/tmp/mark"
touch "$1/ready"
exec sleep 100000
"""


@pytest.fixture
def space(bundle):
    """A mount namespace in which the bundle's root is another file system than the machine's mounts show there."""
    words = ["unshare", *([] if bundle.caller.name == "root" else ["--user", "--map-root-user", "--map-auto"]), "--mount"]
    process = subprocess.Popen(
        [*bundle.caller.become(), *words, "sh", "-c", SCRIPT, "sh", str(bundle.rootfs)],
        env=bundle.caller.environment(), stdin=subprocess.DEVNULL,
    )  # fmt: skip
    wait_until(lambda: pathlib.Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n", "the namespace")
    config = bundle.config
    config["mounts"] = []
    config["root"]["readonly"] = False
    linux = config["linux"]
    linux["maskedPaths"] = linux["readonlyPaths"] = []
    linux["namespaces"] = [{"type": kind} for kind in ("pid", "network", "ipc", "uts")]
    linux["namespaces"].append({"type": "mount", "path": f"/proc/{process.pid}/ns/mnt"})
    if bundle.caller.name != "root":
        linux["namespaces"].append({"type": "user", "path": f"/proc/{process.pid}/ns/user"})
        linux.pop("uidMappings", None)
        linux.pop("gidMappings", None)
    yield process.pid
    bundle.clear()
    process.kill()
    process.wait(PATIENCE)


def mounts(pid):
    return pathlib.Path(f"/proc/{pid}/mountinfo").read_text()


def test_the_container_is_in_it_and_nothing_of_it_changes(bundle, space):
    before = mounts(space)
    bundle.sh("cat /tmp/mark; pwd; ls /; echo $HOME; exec sleep 100000")
    bundle.start()
    wait_until(lambda: bundle.output().count("\n") >= 8, "its words")
    assert bundle.output().split() == ["other", "/", "bin", "etc", "proc", "ready", "tmp", "/"], bundle.output()
    pid = bundle.state()["pid"]
    assert os.readlink(f"/proc/{pid}/ns/mnt") == os.readlink(f"/proc/{space}/ns/mnt")
    assert os.readlink(f"/proc/{pid}/root") == str(bundle.rootfs)
    # The one who made it still has the root that it had.
    assert os.readlink(f"/proc/{space}/root") == "/"
    assert mounts(space) == before
    done = bundle.exec("one", "sh", "-c", "cat /tmp/mark; pwd; ls -d /ready /home; readlink /proc/self/ns/mnt")
    lines = done.stdout.splitlines()
    assert lines[:3] == ["other", "/", "/ready"] and lines[-1] == os.readlink(f"/proc/{space}/ns/mnt"), done
    # A pipe, two of its own streams and nothing of the host's: what waits and what runs has no descriptor of the way in.
    assert set(os.listdir(f"/proc/{pid}/fd")) == {"0", "1", "2"}
    bundle("kill", "one", "KILL")
    bundle.stopped()
    assert bundle("delete", "one").returncode == 0
    assert mounts(space) == before


def test_links_and_working_folders_stay_in_the_root(bundle, space):
    bundle.process["cwd"] = "/../../.."
    bundle.sh("pwd; ls -d /../../home")
    result = bundle("run", "one")
    assert result.stdout == "/\n" and "No such file" in result.stderr, result
    for folder in ("/proc/self/fd/3", "/proc/1/cwd/../.."):
        bundle.process["cwd"] = folder
        bundle.sh("ls -d ./home")
        result = bundle("run", "one")
        assert result.returncode != 0 and "home" not in result.stdout


def test_hooks_find_the_namespace(bundle, space):
    line = f"readlink /proc/self/ns/mnt > {bundle.folder}/hook"
    bundle.config["hooks"] = {"createContainer": [{"path": "/bin/sh", "args": ["sh", "-c", line]}]}
    bundle.sh("echo ran")
    result = bundle("run", "one")
    assert result.stdout == "ran\n", result.stderr
    assert (bundle.folder / "hook").read_text().strip() == os.readlink(f"/proc/{space}/ns/mnt")


@pytest.mark.parametrize(
    "member, value",
    [
        ("mounts", [{"destination": "/mnt", "type": "tmpfs", "source": "tmpfs"}]),
        ("root.readonly", True),
        ("linux.maskedPaths", ["/proc/kcore"]),
        ("linux.readonlyPaths", ["/proc/sys"]),
        ("linux.devices", [{"type": "c", "path": "/dev/x", "major": 1, "minor": 3}]),
        ("linux.rootfsPropagation", "shared"),
        ("linux.sysctl", {"kernel.shmmni": "10"}),
    ],
)
def test_what_would_change_it_is_refused_by_name(bundle, space, member, value):
    *way, name = member.split(".")
    part = bundle.config
    for each in way:
        part = part[each]
    part[name] = value
    before = mounts(space)
    bundle.sh("true")
    result = bundle("run", "one")
    assert result.returncode == 1 and member in result.stderr, result.stderr
    assert mounts(space) == before


def test_what_is_no_other_namespace_is_refused(bundle, space):
    for path, words in (
        ("/proc/self/ns/mnt", "that codex32 itself is in"), ("/nowhere", "cannot open the mnt namespace /nowhere"),
        (f"/proc/{space}/ns/uts", "cannot join a mnt namespace"), ("ns/mnt", "is not absolute"),
    ):  # fmt: skip
        bundle.config["linux"]["namespaces"] = [
            each | ({"path": path} if each["type"] == "mount" else {}) for each in bundle.config["linux"]["namespaces"]
        ]
        bundle.sh("true")
        result = bundle("run", "one")
        assert result.returncode == 1 and words in result.stderr, result.stderr
    bundle.config["annotations"] = {"codex32.isolation": "strict", "codex32.waive": "landlock"}
    bundle.config["linux"]["namespaces"] = json.loads(json.dumps(bundle.config["linux"]["namespaces"]).replace("ns/mnt", f"/proc/{space}/ns/mnt"))
    result = bundle("run", "one")
    assert result.returncode == 1 and "strict needs a mount namespace of its own" in result.stderr, result.stderr
