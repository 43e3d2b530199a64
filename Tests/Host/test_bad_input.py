"""Bad input: exit 125, one clear line, a hint, and nothing left. Never a start with something else than was asked."""

import os
import subprocess

import pytest
from conftest import BUSYBOX

# What is wrong, by its name: options before the image, and the image where that is what is wrong.
CASES = {
    "unknown option": (["--bogus"], BUSYBOX),
    "unknown level": (["--isolation", "paranoid"], BUSYBOX),
    "unknown capability": (["--cap-add", "CAP_FOO"], BUSYBOX),
    "unknown item": (["--require", "magic"], BUSYBOX),
    "blanket waiver": (["--waive", "all"], BUSYBOX),
    "unknown network": (["--network", "bridge2"], BUSYBOX),
    "unknown userns": (["--userns", "keep"], BUSYBOX),
    "unknown signal": (["--stop-signal", "FOO"], BUSYBOX),
    "unknown template": ([], "template:nope"),
    "missing image": ([], "/no/such/image"),
    "empty image": ([], ""),
    "memory too small": (["-m", "4k"], BUSYBOX),
    "memory unit": (["-m", "10x"], BUSYBOX),
    "memory negative": (["-m", "-5"], BUSYBOX),
    "memory overflow": (["-m", "99999999999999999999"], BUSYBOX),
    "memory overflow by unit": (["-m", "18014398509481984k"], BUSYBOX),
    "pids negative": (["--pids-limit", "-1"], BUSYBOX),
    "pids overflow": (["--pids-limit", "18446744073709551617"], BUSYBOX),
    "cpus negative": (["--cpus", "-1"], BUSYBOX),
    "swap negative": (["--memory-swap", "-5"], BUSYBOX),
    "swap below memory": (["-m", "64m", "--memory-swap", "32m"], BUSYBOX),
    "cpu limit negative": (["--cpu-limit", "-50"], BUSYBOX),
    "cpu limit overflow": (["--cpu-limit", "99999999999999999999"], BUSYBOX),
    "cpu weight too large": (["--cpu-weight", "10001"], BUSYBOX),
    "cpuset backwards": (["--cpuset", "3-1"], BUSYBOX),
    "cpu time negative": (["--cpu-time", "-1s"], BUSYBOX),
    "timeout overflow": (["--timeout", "999999999d"], BUSYBOX),
    "stop timeout negative": (["--stop-timeout", "-1"], BUSYBOX),
    "output limit negative": (["--output-limit", "-1"], BUSYBOX),
    "ulimit negative": (["--ulimit", "nofile=-1"], BUSYBOX),
    "ulimit backwards": (["--ulimit", "nofile=20:10"], BUSYBOX),
    "io limit of no device": (["--io-limit", "/no/such/disk:wbps=1m"], BUSYBOX),
    "tmpfs size negative": (["--tmpfs", "/x:size=-1"], BUSYBOX),
    "hostname too long": (["--hostname", "x" * 65], BUSYBOX),
    "name too long": (["--name", "x" * 129], BUSYBOX),
    "option without value": (["--name"], None),
    "no image": ([], None),
    "cpus not a number": (["--cpus", "nan"], BUSYBOX),
    "timeout negative": (["--timeout", "-5"], BUSYBOX),
    "uid overflow": (["-u", "4294967296"], BUSYBOX),
    "uid reserved": (["-u", "4294967295"], BUSYBOX),
    "gid overflow": (["-u", "0:4294967296"], BUSYBOX),
    "unknown user": (["-u", "nosuchuser"], BUSYBOX),
    "volume source missing": (["-v", "/no/such/source:/data"], BUSYBOX),
    "volume target relative": (["-v", "/tmp:data"], BUSYBOX),
    "volume target upwards": (["-v", "/tmp:/../../data"], BUSYBOX),
    "volume option": (["-v", "/tmp:/data:magic"], BUSYBOX),
    "volume on root": (["-v", "/tmp:/"], BUSYBOX),
    "two mounts on one target": (["--tmpfs", "/data", "-v", "/tmp:/data"], BUSYBOX),
    "name with control characters": (["--name", "a\nb\x1b[31m"], BUSYBOX),
    "name with a path": (["--name", "../x"], BUSYBOX),
    "name empty": (["--name", ""], BUSYBOX),
    "hostname with blank": (["--hostname", "a b"], BUSYBOX),
    "variable without name": (["-e", "=x"], BUSYBOX),
    "variable file missing": (["--env-file", "/no/such/file"], BUSYBOX),
    "seccomp profile missing": (["--seccomp", "/no/such/profile"], BUSYBOX),
    "ulimit not a number": (["--ulimit", "nofile=abc"], BUSYBOX),
    "ulimit unknown": (["--ulimit", "magic=1"], BUSYBOX),
    "sysctl of the machine": (["--sysctl", "kernel.panic=1"], BUSYBOX),
    "device not a device": (["--device", "/dev/../etc"], BUSYBOX),
    "shm of nothing": (["--shm-size", "0"], BUSYBOX),
    "receipt in no folder": (["--receipt", "/no/such/folder/receipt"], BUSYBOX),
    "result in no folder": (["--result-file", "/no/such/folder/result"], BUSYBOX),
}


def check(done, caller, before):
    lines = done.stderr.splitlines()
    assert done.returncode == 125, (done.returncode, done.stderr)
    assert done.stdout == ""
    assert lines[0].startswith("codex32: ")
    assert not any(ord(character) < 32 for line in lines for character in line), "control characters reach the terminal"
    assert caller.entries() <= before  # less, when a killed run of another test is swept here
    assert any(line.startswith("hint: ") for line in lines[1:]), done.stderr




@pytest.mark.parametrize(
    "case",
    [pytest.param(name, id=name.replace(" ", "-")) for name in CASES],
)
def test_refused(caller, case):
    options, image = CASES[case]
    before = caller.entries()
    check(caller.run(*options, image=image, level="standard", command=["true"] if image is not None else []), caller, before)


def test_refused_images(caller, folder):
    """Images that are there but cannot be one."""
    before = caller.entries()
    (folder / "loop").symlink_to("loop")
    (folder / "unreadable").mkdir(mode=0)
    os.mkfifo(folder / "pipe")
    caller.own(folder)
    os.chown(folder / "unreadable", 0, 0)
    (folder / "one").symlink_to("other/x")
    (folder / "other").symlink_to("one/x")
    (folder / "file").write_text("")
    names = ["loop", "one", "loop/below", "file/below", "pipe"] + (["unreadable"] if caller.name == "user" else [])
    for name in names:
        check(caller.run(image=folder / name, command=["true"]), caller, before)


def test_seccomp_profile_unknown_key(caller, folder):
    """What codex32 does not know in a profile is an error: it may have been the part that matters."""
    before = caller.entries()
    profile = folder / "profile.json"
    for text in ['{"defaultAction": "SCMP_ACT_ALLOW", "magic": 1}', '{"defaultAction": "SCMP_ACT_MAGIC"}', "{", ""]:
        profile.write_text(text)
        caller.own(profile)
        check(caller.run("--seccomp", profile, command=["true"]), caller, before)


def test_name_in_use(caller):
    name = f"taken-{caller.name}"
    with caller.running("--name", name, command=["sleep", "1000"]) as process:
        caller.record(process)
        before = caller.entries()
        check(caller.run("--name", name, command=["true"]), caller, before)


def test_storage_that_cannot_be_written(caller):
    """In /proc nobody can make a folder, root neither."""
    done = caller.with_storage("/proc/codex32").run(command=["true"])
    assert done.returncode == 125
    assert done.stderr.startswith("codex32: ")
    assert "\nhint: " in done.stderr


def test_full_storage(callers, folder_for_mount):
    """No half-made thing is started or left when the storage has no room."""
    caller = callers["root"].with_storage(folder_for_mount)
    done = caller.run(level="standard", command=["true"])
    assert done.returncode == 125
    assert done.stderr.startswith("codex32: ")
    assert caller.entries() == set()


@pytest.fixture
def folder_for_mount(tmp_path):
    """A file system of one page, which the template does not fit into."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", tmp_path], check=True, timeout=60)
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True, timeout=60)


@pytest.mark.parametrize("target", ["/up/new", "/up", "/etc/up/new"])
def test_target_out_of_the_image(caller, image, folder, target):
    """By a relative link that climbs above the root: named, not followed to wherever it may end."""
    for place in (image / "up", image / "etc/up"):
        place.symlink_to("../../../../.." + str(folder))
    caller.own(image)
    before, names = caller.entries(), sorted(os.listdir(folder))
    done = caller.run("-v", f"{folder}:{target}", image=image, command=["true"])
    check(done, caller, before)
    assert "up" in done.stderr and sorted(os.listdir(folder)) == names


def test_no_subordinate_ids(callers, place):
    """An account without a range in /etc/subuid asks for them by name."""
    home = place / "nobody"
    home.mkdir()
    os.chown(home, 65534, 65534)
    words = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]
    words += [str(callers["user"].binary), "run", "--root", str(home), "-q", "--userns", "subordinate", "--image", BUSYBOX, "--", "true"]
    done = callers["root"].execute(words)
    lines = [line for line in done.stderr.splitlines() if "building" not in line]
    assert done.returncode == 125 and lines[0].startswith("codex32: ") and "subordinate" in lines[0]
    assert lines[1].startswith("hint: ") and "usermod" in lines[1]
