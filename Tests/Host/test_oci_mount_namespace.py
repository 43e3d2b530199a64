"""A mount namespace by path, or none: the container is in others', and what is mounted for it goes with it."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

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


def test_a_setting_of_the_kernels_takes_a_proc(bundle, space):
    bundle.config["linux"]["sysctl"] = {"kernel.shmmni": "10"}
    before = mounts(space)
    bundle.sh("true")
    result = bundle("run", "one")
    assert result.returncode == 1 and "linux.sysctl: there is no proc at /proc" in result.stderr, result.stderr
    assert mounts(space) == before


def test_what_is_mounted_there_goes_with_the_container(bundle, space):
    config = bundle.config
    config["mounts"] = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755", "size=65536k"]},
        {"destination": "/tmp", "type": "tmpfs", "source": "own", "options": ["size=1m"]},
    ]
    config["root"]["readonly"] = True
    config["linux"]["maskedPaths"], config["linux"]["readonlyPaths"] = ["/proc/timer_list"], ["/proc/sys"]
    before = mounts(space)
    bundle.sh("ls /tmp; echo x > /tmp/y; cat /tmp/y; echo z > /z; ls /dev/null; cat /proc/1/comm; cat /proc/timer_list; exec sleep 100000")
    bundle.start()
    pid = bundle.state()["pid"]
    wait_until(lambda: pathlib.Path(f"/proc/{pid}/comm").read_text() == "sleep\n", "its words")
    said = bundle.output().splitlines()
    assert said[0] == "x" and "Read-only" in said[1] and said[2:] == ["/dev/null", "sh"], said
    assert os.readlink(f"/proc/{pid}/ns/mnt") == os.readlink(f"/proc/{space}/ns/mnt")
    there = mounts(space)
    assert there.startswith(before) and f"{bundle.rootfs}/tmp " in there
    # Others see their own there: only the way that leads to the root is covered.
    assert mounts("self").count(str(bundle.rootfs)) == 0
    done = bundle.exec("one", "sh", "-c", "cat /tmp/y; readlink /proc/self/ns/mnt; touch /a")
    assert done.stdout.split() == ["x", os.readlink(f"/proc/{space}/ns/mnt")] and "Read-only" in done.stderr, done
    bundle("kill", "one", "KILL")
    bundle.stopped()
    assert mounts(space) == there
    assert bundle("delete", "one").returncode == 0
    assert mounts(space) == before
    # One that cannot be made leaves none either.
    config["mounts"].append({"destination": "/tmp/x", "type": "tmpfs", "source": "tmpfs", "options": ["size=little"]})
    result = bundle("run", "one")
    assert result.returncode == 1 and "cannot mount tmpfs" in result.stderr and bundle.left() == [], result.stderr
    assert mounts(space) == before


@pytest.mark.parametrize("option", ["shared", "idmap"])
def test_what_the_parent_cannot_clone_there_is_refused(bundle, space, option):
    more = {"uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}], "gidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]} if option == "idmap" else {}
    bundle.config["mounts"] = [{"destination": "/tmp", "type": "bind", "source": "/bin", "options": ["bind", option]} | more]
    before = mounts(space)
    bundle.sh("true")
    result = bundle("run", "one")
    assert result.returncode == 1 and "in a mount namespace that is there" in result.stderr, result.stderr
    assert mounts(space) == before


def test_a_namespace_that_only_a_file_keeps(bundle, place):
    """Nobody is in it, and what is mounted there goes with the container all the same."""
    if bundle.caller.name != "root":
        pytest.skip("an ordinary user cannot keep one so")
    home = place / "kept"
    home.mkdir()
    # What a mount namespace is kept by must not be seen in that one.
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(home)], check=True)
    subprocess.run(["mount", "--make-private", str(home)], check=True)
    file = home / "mnt"
    file.touch()
    try:
        subprocess.run(["unshare", f"--mount={file}", "true"], check=True)
        spaces = bundle.config["linux"]["namespaces"]
        bundle.config["linux"]["namespaces"] = [each | ({"path": str(file)} if each["type"] == "mount" else {}) for each in spaces]
        look = ["nsenter", f"--mount={file}", "cat", "/proc/self/mountinfo"]

        def there():
            return subprocess.run(look, check=True, capture_output=True, text=True).stdout

        before = there()
        bundle.sleeping()
        assert f" {bundle.rootfs}/proc " in there()
        bundle("kill", "one", "KILL")
        bundle.stopped()
        assert bundle("delete", "one").returncode == 0
        assert there() == before
    finally:
        subprocess.run(["umount", "-R", str(home)], check=True)


class TestNone:
    """A container without a mount namespace is in its caller's."""

    @pytest.fixture(autouse=True)
    def none(self, bundle):
        spaces = bundle.config["linux"]["namespaces"]
        bundle.config["linux"]["namespaces"] = [each for each in spaces if each["type"] != "mount"]
        self.before = mounts("self")
        if bundle.caller.name == "root":
            yield
            assert mounts("self") == self.before
            return
        bundle.sh("true")
        result = bundle("run", "one")
        assert result.returncode == 1 and "with a user namespace it takes a mount namespace" in result.stderr
        pytest.skip("an ordinary user's container has a user namespace")

    def test_it_is_the_callers(self, bundle):
        bundle.sh("cat /proc/1/comm; pwd; ls -d /home; ls -d /../home; echo x > /dev/shm/y; cat /dev/shm/y; exec sleep 100000")
        bundle.start()
        pid = bundle.state()["pid"]
        wait_until(lambda: pathlib.Path(f"/proc/{pid}/comm").read_text() == "sleep\n", "its words")
        said = [line for line in bundle.output().splitlines() if "No such" not in line]
        assert said == ["sh", "/", "x"], bundle.output()
        assert os.readlink(f"/proc/{pid}/ns/mnt") == os.readlink("/proc/self/ns/mnt")
        assert f" {bundle.rootfs}/proc " in mounts("self")
        # Nothing of it goes on to other namespaces, and what is masked is so for the program.
        assert " shared:" not in "".join(line for line in mounts("self").splitlines() if str(bundle.rootfs) in line and "codex32-" not in line)
        done = bundle.exec("one", "sh", "-c", "pwd; cat /dev/shm/y; cat /proc/kcore; ls -d /home; touch /x")
        assert done.stdout.split() == ["/", "x"] and "Read-only" in done.stderr, done
        assert bundle("delete", "--force", "one").returncode == 0
        assert mounts("self") == self.before

    def test_nothing_at_all(self, bundle):
        """No namespaces but the one that ends its processes."""
        linux = bundle.config["linux"]
        linux["namespaces"] = [{"type": "pid"}]
        bundle.config.pop("hostname")
        bundle.config["mounts"] = [mount for mount in bundle.config["mounts"] if mount["type"] != "cgroup"]
        bundle.sh("for kind in net uts ipc mnt; do readlink /proc/self/ns/$kind; done")
        result = bundle("run", "one")
        assert result.stdout.split() == [os.readlink(f"/proc/self/ns/{kind}") for kind in ("net", "uts", "ipc", "mnt")], result
        bundle.sleeping()
        wait_until(lambda: pathlib.Path(f"/proc/{bundle.state()['pid']}/comm").read_text() == "sleep\n", "its program")
        done = bundle.exec("one", "sh", "-c", "readlink /proc/self/ns/mnt; cat /proc/1/comm; touch /x")
        assert done.stdout.split() == [os.readlink("/proc/self/ns/mnt"), "sleep"] and "Read-only" in done.stderr, done
        bundle.clear()

    def test_the_root_of_all_is_no_root(self, bundle):
        """What lies over it could not be taken away again."""
        link = bundle.folder / "link"
        link.symlink_to("/")
        for path in ("/", "/proc/../", str(link)):
            bundle.config["root"]["path"] = path
            bundle.sh("true")
            result = bundle("run", "one")
            assert result.returncode == 1 and "cannot attach the new root" in result.stderr, result.stderr
            assert mounts("self") == self.before

    def test_who_lies_on_top_goes_first(self, bundle):
        """Two containers with one root: what is another's is not taken away with the first."""
        bundle.sleeping("one")
        pid = bundle.sleeping("two")
        done = bundle("delete", "--force", "one")
        assert done.returncode == 1 and "busy" in done.stderr, done.stderr
        assert bundle.exec("two", "ls", "/proc/1/comm").returncode == 0
        assert pathlib.Path(f"/proc/{pid}").exists()
        for name in ("two", "one"):
            assert bundle("delete", "--force", name).returncode == 0
        assert mounts("self") == self.before

    def test_deleted_from_elsewhere(self, bundle):
        """They are where the container was made, and not where somebody deletes it."""
        bundle.process["args"] = ["sleep", "100000"]
        bundle.write()
        words = ["unshare", "--mount", "sh", "-c", '"$@" > /dev/null 2>&1; exec sleep 100000', "sh", *bundle.words("create", "one")]
        maker = subprocess.Popen(words, cwd=bundle.folder, stdin=subprocess.DEVNULL)
        try:
            wait_until(lambda: pathlib.Path(f"/proc/{maker.pid}/comm").read_text() == "sleep\n", "the container")
            assert f" {bundle.rootfs}/proc " in mounts(maker.pid)
            assert bundle("delete", "--force", "one").returncode == 0
            assert str(bundle.rootfs) not in mounts(maker.pid)
        finally:
            maker.kill()
            maker.wait(PATIENCE)

    def test_a_root_that_is_exchanged(self, bundle):
        """Between two looks at its path: nothing else is covered, and what was mounted can be found."""
        place = bundle.folder / "race"
        (place / "victim").mkdir(parents=True)
        (place / "victim/kept").write_text("kept")
        shutil.move(bundle.rootfs, place / "root")
        (place / "link").symlink_to("victim")
        bundle.config["root"]["path"] = str(place / "root")
        bundle.process["args"] = ["true"]
        bundle.write()
        script = f"""
import ctypes, os
libc = ctypes.CDLL(None)
os.chdir({str(place)!r})
while True:
    libc.renameat2(-100, b"root", -100, b"link", 2)
"""
        attacker = subprocess.Popen([sys.executable, "-c", script])
        try:
            made = 0
            for _ in range(60):
                with open(bundle.folder / "output", "w") as output:
                    made += subprocess.run(bundle.words("create", "one"), cwd=bundle.folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=PATIENCE).returncode == 0
                assert (place / "victim/kept").read_text() == "kept"
                assert bundle("delete", "--force", "one").returncode == 0
                assert mounts("self") == self.before
        finally:
            attacker.kill()
            attacker.wait(PATIENCE)
        print(made, "of 60 were made")

    def test_mounts_that_go_on_to_peers(self, bundle, place):
        """Where the root lies on a mount that is shared, its peers see nothing of what is below, and nothing stays."""
        shared, peer = place / "shared", place / "peer"
        for folder in (shared, peer):
            folder.mkdir()
        subprocess.run(["sh", "-ec", f"mount -t tmpfs tmpfs {shared}; mount --make-shared {shared}; mount --bind {shared} {peer}"], check=True)
        try:
            shutil.copytree(bundle.rootfs, shared / "root", symlinks=True)
            bundle.config["root"]["path"] = str(shared / "root")
            before = mounts("self")
            bundle.sleeping()
            there = mounts("self")
            assert f" {shared}/root/proc " in there and f" {peer}/root/proc " not in there
            assert bundle("delete", "--force", "one").returncode == 0
            assert mounts("self") == before
            assert (peer / "root/bin/busybox").exists()
        finally:
            subprocess.run(["umount", str(peer), str(shared)], check=True)


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
