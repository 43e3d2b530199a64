"""The smaller members of a bundle's configuration: each is in force, or is an error that names it."""

import json
import os
import subprocess

import pytest

from bundles import bundle  # noqa: F401
from conftest import PATIENCE


def run(bundle, script):
    bundle.sh(script)
    result = bundle("run", "one")
    assert result.returncode == 0, result.stderr
    assert bundle.left() == []
    return result.stdout


def only_root(bundle):
    if bundle.caller.name != "root":
        pytest.skip("an ordinary user may not")


def flags(bundle, target):
    """The options of a mount inside, and the optional fields that tell of its propagation."""
    line = next(line for line in run(bundle, "cat /proc/self/mountinfo").splitlines() if line.split()[4] == target)
    head, _, _ = line.partition(" - ")
    return set(head.split()[5].split(",")), head.split()[6:]


def test_domain_name(bundle):
    bundle.config["domainname"] = "example"
    assert run(bundle, "cat /proc/sys/kernel/domainname") == "example\n"
    bundle.config["linux"]["namespaces"] = [each for each in bundle.config["linux"]["namespaces"] if each["type"] != "uts"]
    del bundle.config["hostname"]
    result = bundle("run", "one")
    assert result.returncode == 1 and "domainname" in result.stderr


@pytest.fixture
def tree(bundle):
    """A folder of the host's with a mount below it; an ordinary user makes none."""
    path = bundle.folder / "tree"
    (path / "below").mkdir(parents=True)
    (path / "file").write_text("in the tree")
    bundle.caller.own(path)
    if bundle.caller.name == "root":
        subprocess.run(["mount", "-t", "tmpfs", "none", path / "below"], check=True, timeout=PATIENCE)
    yield path
    if bundle.caller.name == "root":
        subprocess.run(["umount", "--recursive", path / "below"], check=True, timeout=PATIENCE)


def bind(bundle, source, *options, **more):
    bundle.config["mounts"].append({"destination": "/tree", "type": "bind", "source": str(source), "options": list(options)} | more)


@pytest.mark.parametrize("option, flag", [("rro", "ro"), ("rnosuid", "nosuid"), ("rnodev", "nodev"), ("rnoexec", "noexec"), ("rnoatime", "noatime"), ("rnodiratime", "nodiratime"), ("rnosymfollow", "nosymfollow")])
def test_recursive_options_hold_below_too(bundle, tree, option, flag):
    only_root(bundle)
    bind(bundle, tree, "rbind", option)
    assert flag in flags(bundle, "/tree")[0] and flag in flags(bundle, "/tree/below")[0]


def test_plain_options_hold_for_the_mount_alone(bundle, tree):
    bind(bundle, tree, "rbind", "ro")
    assert "ro" in flags(bundle, "/tree")[0]
    if bundle.caller.name == "root":
        assert "rw" in flags(bundle, "/tree/below")[0]


def test_recursive_options_take_away(bundle, tree):
    only_root(bundle)
    subprocess.run(["mount", "-o", "remount,bind,ro,noexec", tree / "below"], check=True, timeout=PATIENCE)
    bind(bundle, tree, "rbind", "rrw", "rexec")
    assert {"ro", "noexec"} & flags(bundle, "/tree/below")[0] == set()


def test_an_ordinary_users_recursive_read_only(bundle, tree):
    bind(bundle, tree, "rbind", "rro")
    bundle.sh("echo x > /tree/file")
    result = bundle("run", "one")
    assert result.returncode == 1 and "ead-only" in result.stderr and (tree / "file").read_text() == "in the tree"


@pytest.mark.parametrize("option, field", [("rslave", "master:"), ("rshared", "shared:"), ("rprivate", None), ("private", None), ("unbindable", "unbindable")])
def test_propagation_is_what_was_asked_for(bundle, tree, option, field):
    only_root(bundle)
    subprocess.run(["mount", "--make-shared", tree / "below"], check=True, timeout=PATIENCE)
    bind(bundle, tree / "below", "rbind", option)
    _, fields = flags(bundle, "/tree")
    assert (fields[0].startswith(field) if field else fields == []), fields


@pytest.mark.parametrize("option, seen", [("rslave", True), ("rshared", True), ("rprivate", False)])
def test_later_mounts_of_the_host_show_where_asked(bundle, tree, option, seen):
    only_root(bundle)
    subprocess.run(["mount", "--make-shared", tree / "below"], check=True, timeout=PATIENCE)
    (tree / "below/later").mkdir()
    bind(bundle, tree / "below", "rbind", option)
    bundle.sleeping()
    subprocess.run(["mount", "-t", "tmpfs", "none", tree / "below/later"], check=True, timeout=PATIENCE)
    result = bundle.exec("one", "grep", "-c", " /tree/later ", "/proc/self/mountinfo")
    assert result.stdout.strip() == ("1" if seen else "0")


@pytest.mark.parametrize("kind, field", [("shared", "shared:"), ("rshared", "shared:"), ("unbindable", "unbindable"), ("private", None), ("rslave", None)])
def test_propagation_of_the_root(bundle, kind, field):
    bundle.config["linux"]["rootfsPropagation"] = kind
    _, fields = flags(bundle, "/")
    assert (fields[0].startswith(field) if field else fields == []), fields


def test_owners_of_a_mount_are_mapped(bundle, tree):
    only_root(bundle)
    maps = {name: [{"containerID": 0, "hostID": 5000, "size": 1000}] for name in ("uidMappings", "gidMappings")}
    bind(bundle, tree, "rbind", "idmap", **maps)
    done = bundle.sh("stat -c %u:%g /tree/file") or bundle("run", "one")
    if done.returncode and "cannot map the owners" in done.stderr:
        pytest.skip("the file system here cannot")
    assert done.stdout == "5000:5000\n", done.stderr


def test_owners_cannot_be_mapped_by_everybody(bundle, tree):
    if bundle.caller.name == "root":
        bind(bundle, tree, "rbind", "idmap")
        words = "idmap needs"
    else:
        bind(bundle, tree, "rbind", "idmap")
        words = "may not map the owners"
    result = bundle("create", "one")
    assert result.returncode == 1 and words in result.stderr


def test_a_tmpfs_begins_with_what_the_image_has(bundle):
    data = bundle.rootfs / "data"
    (data / "deep/er").mkdir(parents=True)
    (data / "deep/er/file").write_text("contents\n")
    (data / "deep/er/file").chmod(0o640)
    (data / "link").symlink_to("/etc/passwd")
    (data / "dangling").symlink_to("nowhere")
    (data / "deep").chmod(0o711)
    os.mkfifo(data / "pipe")
    data.chmod(0o1777)
    bundle.caller.own(data)
    bundle.config["mounts"].append({"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "nodev"]})
    bundle.config["mounts"].append({"destination": "/missing", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "ro", "mode=700"]})
    bundle.config["root"]["readonly"] = False
    out = run(
        bundle,
        "cat /data/deep/er/file; stat -c '%a' /data /data/deep /data/deep/er/file /missing; readlink /data/link; readlink /data/dangling; ls /data;"
        "echo more > /data/new; grep ' /data ' /proc/self/mountinfo | grep -c tmpfs; echo x > /missing/x || echo closed",
    ).split()
    assert out == ["contents", "1777", "711", "640", "700", "/etc/passwd", "nowhere", "dangling", "deep", "link", "1", "closed"]
    assert not (data / "new").exists()


def test_copying_up_stays_inside(bundle):
    """A link of the image's in the place of the folder means the image's own root."""
    secret = bundle.folder / "secret"
    secret.mkdir()
    (secret / "file").write_text("the host's")
    (bundle.rootfs / "data").symlink_to(secret)
    bundle.caller.own(bundle.folder)
    bundle.config["mounts"].append({"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]})
    bundle.config["root"]["readonly"] = False
    bundle.sh("ls -R /data; cat /data/file")
    result = bundle("run", "one")
    assert "host's" not in result.stdout
    assert os.listdir(secret) == ["file"]


def test_devices_are_made(bundle):
    device = {"path": "/dev/own/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 7, "gid": 8}
    pipe = {"path": "/dev/pipe", "type": "p", "fileMode": 0o600}
    bundle.config["linux"]["devices"] = [device, pipe] if bundle.caller.name == "root" else [dict(device, path="/dev/zero", fileMode=0o666, uid=0, gid=0)]
    if bundle.caller.name == "root":
        out = run(bundle, "stat -c '%F %a %u:%g %t,%T' /dev/own/zero /dev/pipe; head -c 2 /dev/own/zero | wc -c 2>/dev/null || true").splitlines()
        assert out[:2] == ["character special file 640 7:8 1,5", "fifo 600 0:0 0,0"]
    else:
        # Its nodes cannot be made: the host's is bound, under the same name.
        assert run(bundle, "stat -c '%F %t,%T' /dev/zero") == "character special file 1,5\n"


@pytest.mark.parametrize(
    "device, name",
    [({"path": "/dev/x", "type": "z", "major": 1, "minor": 1}, "type"), ({"path": "x", "type": "c", "major": 1, "minor": 1}, "path"),
     ({"path": "/dev/../x", "type": "c", "major": 1, "minor": 1}, "path"), ({"path": "/dev/x", "type": "c"}, "major"),
     ({"path": "/dev/x", "type": "c", "major": 4096, "minor": 1}, "number"), ({"path": "/proc/x", "type": "c", "major": 1, "minor": 1}, "no place"),
     ({"path": "/x", "type": "c", "major": 1, "minor": 1}, "no place")],
)  # fmt: skip
def test_bad_devices_are_errors(bundle, device, name):
    bundle.config["linux"]["devices"] = [device]
    result = bundle("create", "one")
    assert result.returncode == 1 and "linux.devices" in result.stderr and name in result.stderr
    assert bundle.left() == []


def test_a_device_over_another_is_an_error(bundle):
    only_root(bundle)
    bundle.config["linux"]["devices"] = [{"path": "/dev/null", "type": "c", "major": 1, "minor": 5}]
    result = bundle("create", "one")
    assert result.returncode == 1 and "/dev/null" in result.stderr
    bundle.config["linux"]["devices"] = [{"path": "/dev/null", "type": "c", "major": 1, "minor": 3}]
    assert run(bundle, "echo lost > /dev/null; stat -c %t,%T /dev/null") == "1,3\n"


def test_scheduler_and_priorities(bundle):
    bundle.process["scheduler"] = {"policy": "SCHED_BATCH", "nice": 5}
    bundle.process["ioPriority"] = {"class": "IOPRIO_CLASS_BE", "priority": 6}
    pid = bundle.sleeping()
    assert (os.sched_getscheduler(pid), os.getpriority(os.PRIO_PROCESS, pid)) == (os.SCHED_BATCH, 5)
    assert subprocess.run(["ionice", "-p", str(pid)], capture_output=True, text=True, check=True).stdout == "best-effort: prio 6\n"
    with open(bundle.folder / "out", "w") as out:
        assert bundle.exec("-d", "--pid-file", "pid", "one", "sleep", "100000", stdout=out, stderr=out).returncode == 0
    other = int((bundle.folder / "pid").read_text())
    assert (os.sched_getscheduler(other), os.getpriority(os.PRIO_PROCESS, other)) == (os.SCHED_BATCH, 5)


def test_real_time_for_those_who_may(bundle):
    bundle.process["scheduler"] = {"policy": "SCHED_FIFO", "priority": 3, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}
    bundle.process["args"] = ["sleep", "100000"]
    if bundle.caller.name == "root":
        pid = bundle.sleeping()
        assert os.sched_getscheduler(pid) == os.SCHED_FIFO | os.SCHED_RESET_ON_FORK and os.sched_getparam(pid).sched_priority == 3
    else:
        result = bundle("create", "one")
        assert result.returncode == 1 and "process.scheduler" in result.stderr


def test_cpus_of_exec(bundle):
    last = max(os.sched_getaffinity(0))
    bundle.process["execCPUAffinity"] = {"initial": "0", "final": str(last)}
    pid = bundle.sleeping()
    assert os.sched_getaffinity(pid) == os.sched_getaffinity(0)
    result = bundle.exec("one", "grep", "Cpus_allowed_list", "/proc/self/status")
    assert result.stdout.split() == ["Cpus_allowed_list:", str(last)], result.stderr


def test_personality(bundle):
    bundle.config["linux"]["personality"] = {"domain": "LINUX32"}
    (bundle.rootfs / "bin/uname").symlink_to("busybox")
    assert run(bundle, "uname -m").strip() != os.uname().machine


def test_memory_policy(bundle):
    bundle.config["linux"]["memoryPolicy"] = {"mode": "MPOL_INTERLEAVE", "nodes": "0"}
    bundle.sh("head -n 1 /proc/self/numa_maps")
    if not os.path.exists("/proc/self/numa_maps"):
        result = bundle("run", "one")
        assert result.returncode == 1 and "linux.memoryPolicy" in result.stderr
    else:
        assert "interleave" in run(bundle, "head -n 1 /proc/self/numa_maps")


@pytest.mark.parametrize(
    "where, value, name",
    [(["process", "scheduler"], {"policy": "SCHED_MOON"}, "process.scheduler.policy"), (["process", "scheduler"], {"policy": "SCHED_FIFO", "flags": ["X"]}, "process.scheduler.flags"),
     (["process", "scheduler"], {"policy": "SCHED_OTHER", "nice": 20}, "process.scheduler.nice"), (["process", "ioPriority"], {"class": "X"}, "process.ioPriority.class"),
     (["process", "ioPriority"], {"class": "IOPRIO_CLASS_BE", "priority": 8}, "process.ioPriority.priority"), (["process", "execCPUAffinity"], {"final": "1-"}, "process.execCPUAffinity.final"),
     (["process", "execCPUAffinity"], {"final": "0-99999999"}, "process.execCPUAffinity.final"), (["linux", "personality"], {"domain": "X"}, "linux.personality.domain"),
     (["linux", "memoryPolicy"], {"mode": "X"}, "linux.memoryPolicy.mode"), (["linux", "memoryPolicy"], {"mode": "MPOL_BIND", "nodes": "x"}, "linux.memoryPolicy.nodes"),
     (["linux", "rootfsPropagation"], "rrshared", "linux.rootfsPropagation"), (["domainname"], "x" * 65, "domainname"),
     (["mounts"], [{"destination": "/a", "type": "tmpfs", "options": ["idmap"]}], "mounts[0]"), (["mounts"], [{"destination": "/a", "type": "bind", "source": "/bin", "options": ["tmpcopyup"]}], "mounts[0]"),
     (["mounts"], [{"destination": "/a", "type": "bind", "source": "/bin", "uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]}], "mounts[0]")],
)  # fmt: skip
def test_bad_values_are_named(bundle, where, value, name):
    at = bundle.config
    for part in where[:-1]:
        at = at[part]
    at[where[-1]] = value
    result = bundle("create", "one")
    assert result.returncode == 1 and name in result.stderr, result.stderr
    assert bundle.left() == []


def test_features_say_what_there_is(bundle):
    features = json.loads(bundle("features").stdout)
    assert {"rro", "rslave", "tmpcopyup", "idmap", "ridmap"} <= set(features["mountOptions"])
    assert features["linux"]["mountExtensions"]["idmap"]["enabled"] and "poststop" in features["hooks"]


def test_score_for_the_oom_killer(bundle):
    bundle.process["oomScoreAdj"] = 321
    pid = bundle.sleeping()
    assert open(f"/proc/{pid}/oom_score_adj").read() == "321\n"
    assert bundle.exec("one", "cat", "/proc/self/oom_score_adj").stdout == "321\n"


LINKS = {
    "program": (lambda config: config["process"].update(args=["/loop"]), "cannot run /loop: its symbolic links lead in a circle"),
    "interpreter": (lambda config: config["process"].update(args=["/script"]), "its program: its symbolic links lead in a circle"),
    "folder": (lambda config: config["process"].update(cwd="/loop/x"), "cannot enter the working folder /loop/x: its symbolic links"),
    "mount": (lambda config: config["mounts"].append({"destination": "/loop", "type": "tmpfs", "source": "tmpfs"}), "cannot mount at /loop: a link"),
    "copy": (
        lambda config: config["mounts"].append({"destination": "/loop", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}),
        "cannot copy /loop up: a link",
    ),
    "mask": (lambda config: config["linux"].update(maskedPaths=["/proc/self/root/bin"]), "cannot mask /proc/self/root/bin: a symbolic link is on its way"),
    "read-only": (lambda config: config["linux"].update(readonlyPaths=["/proc/self/root"]), "cannot make /proc/self/root read-only: a symbolic link"),
}  # fmt: skip


@pytest.mark.parametrize("link", LINKS)
def test_links_that_cannot_be_followed_are_named(bundle, link):
    (bundle.rootfs / "loop").symlink_to("loop")
    (bundle.rootfs / "script").write_text("#!/loop\n")
    (bundle.rootfs / "script").chmod(0o755)
    bundle.process["args"] = ["/bin/true"]
    change, words = LINKS[link]
    change(bundle.config)
    result = bundle("run", "one")
    assert result.returncode == 1 and words in result.stderr and "hint: " in result.stderr, result.stderr
