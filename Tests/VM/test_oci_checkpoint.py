"""`oci checkpoint` and `oci restore` through CRIU. Runs inside the machine of run-in-vm, as root."""

import json
import os
import socket
import subprocess
import time
from pathlib import Path

import pytest
from bundles import Bundle, says
from machine import CGROUPS, in_machine, wait_until

pytestmark = in_machine

COUNT = "i=0; while :; do i=$((i+1)); echo $i > /tmp/n; echo $i; sleep 0.05; done"
FILTER = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mknod", "mknodat"], "action": "SCMP_ACT_ERRNO"}]}


@pytest.fixture
def bundle():
    made = Bundle("checkpoint")
    config = made.config
    config["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m", "nosuid"]})
    (made.folder / "data").mkdir()
    (made.folder / "data/file").write_text("found\n")
    config["mounts"].append(
        {"destination": "/data", "type": "bind", "source": str(made.folder / "data"), "options": ["rbind", "ro", "nosuid", "nodev"]}
    )
    (made.folder / "rootfs/tmp").mkdir()
    (made.folder / "rootfs/data").mkdir()
    config["root"]["readonly"] = True
    config["linux"]["namespaces"].append({"type": "cgroup"})
    config["linux"]["seccomp"] = FILTER
    made.resources |= {"pids": {"limit": 20}, "memory": {"limit": 64 << 20}}
    made.capabilities("CAP_KILL", "CAP_NET_BIND_SERVICE")
    made.images = made.folder / "images"
    made.sh(COUNT)
    yield made
    made.close()


def restore(bundle, name, *options, output=None):
    """Onto the file that it had: CRIU wants one of the size that it saw."""
    (bundle.folder / "config.json").write_text(json.dumps(bundle.config))
    with open(bundle.folder / "output", "a") as own, open(bundle.folder / "words", "w") as words:
        done = subprocess.run(
            bundle.line("restore", "--bundle", bundle.folder, "--image-path", bundle.images, "--detach", *options, name),
            cwd=bundle.folder, stdin=subprocess.DEVNULL, stdout=output or own, stderr=words, timeout=300, check=False,
        )  # fmt: skip
    return done.returncode, (bundle.folder / "words").read_text()


def rights(pid):
    wanted = ("Cap", "NoNewPrivs", "Seccomp", "Uid", "Gid", "Groups")
    return [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(wanted)]


def mounts(pid):
    lines = [line.split() for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
    return sorted((line[4], line[5]) for line in lines)


def test_it_goes_on_as_it_was(bundle):
    bundle.start("one")
    wait_until(lambda: bundle.output.count("\n") > 5, "its count")
    pid = bundle.state("one")["pid"]
    was = rights(pid), mounts(pid)
    bundle("checkpoint", "--image-path", bundle.images, "one", ok=True)
    wait_until(lambda: bundle.state("one")["status"] == "stopped", "its end")
    bundle("delete", "one", ok=True)
    assert not (CGROUPS / "codex32-test/checkpoint").exists()
    last = int(bundle.output.split()[-1])
    before = mounts("self")
    code, words = restore(bundle, "one", "--pid-file", bundle.folder / "pid")
    assert code == 0, words
    pid = bundle.state("one")["pid"]
    assert (bundle.folder / "pid").read_text() == str(pid)
    # It counts on where it was, on the streams of who restored it.
    wait_until(lambda: int(bundle.output.split()[-1]) > last + 5, "its count")
    numbers = [int(word) for word in bundle.output.split()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert (rights(pid), mounts(pid)) == was
    assert [line.split()[-1] for line in was[0] if line.startswith("Seccomp:")] == ["2"]
    group = bundle.cgroup("one")
    assert group == CGROUPS / "codex32-test/checkpoint"
    assert says(group, "pids.max", "memory.max") == {"pids.max": "20", "memory.max": str(64 << 20)}
    for kind in ("cgroup", "ipc", "mnt", "net", "pid", "uts"):
        assert os.readlink(f"/proc/{pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}"), kind
    assert mounts("self") == before
    # Every verb knows it again, and its filter and rules for devices hold.
    script = "cat /data/file; cat /proc/self/cgroup; mknod /dev/n c 1 3; : > /data/new"
    done = bundle("exec", "one", "sh", "-c", script)
    assert done.stdout == "found\n0::/\n" and done.stderr.count("\n") >= 2, done
    bundle("pause", "one", ok=True)
    bundle("resume", "one", ok=True)
    bundle("update", "--pids-limit", "30", "one", ok=True)
    bundle("kill", "one", "KILL", ok=True)
    wait_until(lambda: bundle.state("one")["status"] == "stopped", "its end")
    bundle("delete", "one", ok=True)
    assert not group.exists()


def test_one_that_has_ended_and_was_not_waited_for(bundle):
    """It comes back as that, and no cgroup lists it."""
    bundle.sh("sleep 0.01 & exec sleep 1000")
    bundle.start("one")
    children = lambda pid: Path(f"/proc/{pid}/task/{pid}/children").read_text().split()  # noqa: E731
    ended = lambda pid: [Path(f"/proc/{child}/stat").read_text().rsplit(")")[-1].split()[0] for child in children(pid)]  # noqa: E731
    wait_until(lambda: ended(bundle.state("one")["pid"]) == ["Z"], "the child's end")
    bundle("checkpoint", "--image-path", bundle.images, "one", ok=True)
    bundle("delete", "--force", "one", ok=True)
    code, words = restore(bundle, "one")
    assert code == 0, words
    assert ended(bundle.state("one")["pid"]) == ["Z"]
    bundle("delete", "--force", "one", ok=True)


def test_a_device_s_rules_hold_from_the_start(bundle):
    bundle.config["mounts"].append({"destination": "/disk", "type": "bind", "source": "/dev/vda", "options": ["bind"]})
    (bundle.folder / "rootfs/disk").touch()
    bundle.sh("while :; do if head -c 1 /disk > /dev/null 2>&1; then echo yes; else echo no; fi; sleep 0.02; done")
    bundle.start("one")
    wait_until(lambda: "no\n" in bundle.output, "its word")
    bundle("checkpoint", "--image-path", bundle.images, "one", ok=True)
    bundle("delete", "--force", "one", ok=True)
    code, words = restore(bundle, "one")
    assert code == 0, words
    length = len(bundle.output)
    wait_until(lambda: len(bundle.output) > length + 20, "its words")
    assert set(bundle.output.split()) == {"no"}


@pytest.mark.parametrize("kind", ["file", "pipe"])
def test_its_streams_are_elsewhere_for_the_moment(bundle, kind):
    """A shell that has its output put aside, under another number, gets its streams again, and the next ones too."""
    bundle.sh("echo first; { until test -e /tmp/go; do sleep 0.05; done; echo in; } > /tmp/n 2>&1; cat /tmp/n; while :; do echo out; sleep 0.05; done")
    with open(bundle.folder / "output", "a") as file:
        readers = [subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=file) for _ in range(3)]
        # A pipe of its own for each of its lives: the last is the one that is written to.
        outputs = [file if kind == "file" else reader.stdin for reader in readers]
        try:
            bundle.create("one", outputs[0])
            bundle("start", "one", ok=True)
            pid = bundle.state("one")["pid"]
            wait_until(lambda: os.readlink(f"/proc/{pid}/fd/1") == "/tmp/n", "its output elsewhere")
            for life in (1, 2):
                bundle.images = bundle.folder / f"images-{life}"
                bundle("checkpoint", "--image-path", bundle.images, "one", ok=True)
                bundle("delete", "--force", "one", ok=True)
                code, words = restore(bundle, "one", output=outputs[life])
                assert code == 0, words
                if kind == "pipe":
                    outputs[life - 1].close()
                    assert readers[life - 1].wait(60) == 0, "somebody has the pipe of an earlier life"
            bundle("exec", "one", "sh", "-c", ": > /tmp/go", ok=True)
            wait_until(lambda: "in\nout\nout\n" in bundle.output, "its words")
            assert bundle.output.startswith("first\nin\nout\n")
            bundle("delete", "--force", "one", ok=True)
        finally:
            for reader in readers:
                reader.kill()
                reader.wait(60)


def test_made_by_a_codex32_that_wrote_no_streams_down(bundle):
    """Then they are looked for: as long as they are where they were, that is enough."""
    bundle.start("one")
    wait_until(lambda: bundle.output.count("\n") > 5, "its count")
    path = bundle.folder / "states/one/state.json"
    state = json.loads(path.read_text())
    assert len(state.pop("streams")) == 3
    path.write_text(json.dumps(state))
    bundle("checkpoint", "--image-path", bundle.images, "one", ok=True)
    bundle("delete", "--force", "one", ok=True)
    code, words = restore(bundle, "one")
    assert code == 0, words
    last = int(bundle.output.split()[-1])
    wait_until(lambda: int(bundle.output.split()[-1]) > last + 5, "its count")


def test_a_socket_as_a_stream_is_refused(bundle):
    ours, its = socket.socketpair()
    with ours, its:
        bundle.create("one", stdin=its)
        bundle("start", "one", ok=True)
        done = bundle("checkpoint", "--image-path", bundle.images, "one")
    assert done.returncode == 1 and "descriptor 0 is socket:" in done.stderr and "not supported" in done.stderr
    assert bundle.state("one")["status"] == "running"


def test_streams_that_it_gave_up(bundle):
    bundle.sh("exec < /dev/null > /tmp/n 2>&1; while :; do echo more; sleep 0.05; done")
    bundle.start("one")
    pid = bundle.state("one")["pid"]
    wait_until(lambda: os.readlink(f"/proc/{pid}/fd/2") == "/tmp/n", "its own")
    bundle("checkpoint", "--image-path", bundle.images, "one", ok=True)
    bundle("delete", "--force", "one", ok=True)
    code, words = restore(bundle, "one")
    assert code == 0, words
    length = lambda: bundle("exec", "one", "sh", "-c", "cat /tmp/n", ok=True).stdout.count("more")  # noqa: E731
    before = length()
    wait_until(lambda: length() > before, "its words")
    assert bundle.output == ""


def test_in_a_network_namespace_of_others(bundle):
    """As Podman's bridge gives it: the namespace is theirs, and stays as it is."""
    holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "ip link set lo up && exec sleep 1000"], stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: Path(f"/proc/{holder.pid}/comm").read_text() == "sleep\n", "the namespace")
        path = f"/proc/{holder.pid}/ns/net"
        spaces = bundle.config["linux"]["namespaces"]
        bundle.config["linux"]["namespaces"] = [each for each in spaces if each["type"] != "network"] + [{"type": "network", "path": path}]
        bundle.config["mounts"] = [each for each in bundle.config["mounts"] if each["type"] != "sysfs"]
        bundle.config["linux"]["maskedPaths"] = bundle.config["linux"]["readonlyPaths"] = []
        bundle.start("one")
        wait_until(lambda: bundle.output, "its count")
        bundle("checkpoint", "--image-path", bundle.images, "one", ok=True)
        bundle("delete", "--force", "one", ok=True)
        code, words = restore(bundle, "one")
        assert code == 0, words
        assert os.readlink(f"/proc/{bundle.state('one')['pid']}/ns/net") == os.readlink(path)
        length = len(bundle.output)
        wait_until(lambda: len(bundle.output) > length, "more of its count")
    finally:
        holder.kill()
        holder.wait(60)


def test_it_may_run_on(bundle):
    bundle.start("one")
    wait_until(lambda: bundle.output, "its count")
    bundle("checkpoint", "--leave-running", "--image-path", bundle.images, "--work-path", bundle.folder / "work", "one", ok=True)
    assert bundle.state("one")["status"] == "running" and (bundle.folder / "work/dump.log").exists()
    length = len(bundle.output)
    wait_until(lambda: len(bundle.output) > length, "more of it")


@pytest.mark.parametrize("what", ["no_new_privs", "capabilities", "filter"])
def test_a_bundle_that_asks_for_more_is_refused(bundle, what):
    if what == "filter":
        del bundle.config["linux"]["seccomp"]
    bundle.start("one")
    wait_until(lambda: bundle.output, "its count")
    bundle("checkpoint", "--image-path", bundle.images, "one", ok=True)
    bundle("delete", "--force", "one", ok=True)
    if what == "no_new_privs":
        bundle.config["process"]["noNewPrivileges"] = True
    elif what == "capabilities":
        bundle.config["process"]["capabilities"]["bounding"] = []
    else:
        bundle.config["linux"]["seccomp"] = FILTER
    code, words = restore(bundle, "one")
    wanted = {"no_new_privs": "process.noNewPrivileges", "capabilities": "process.capabilities.bounding", "filter": "linux.seccomp"}
    assert code == 1 and f"the bundle asks for {wanted[what]}" in words, words
    assert not (CGROUPS / "codex32-test/checkpoint").exists() and bundle.left() == []


@pytest.mark.parametrize("what", ["rights", "mounts", "namespaces", "label", "none"])
def test_what_does_not_come_back_as_it_was_is_ended_before_it_runs(bundle, what):
    bundle.start("one")
    wait_until(lambda: bundle.output, "its count")
    bundle("checkpoint", "--image-path", bundle.images, "one", ok=True)
    bundle("delete", "--force", "one", ok=True)
    file = bundle.images / "codex32.json"
    record = json.loads(file.read_text())
    if what == "rights":
        record["rights"]["NoNewPrivs"] = "1"
    elif what == "mounts":
        record["mounts"][0] = record["mounts"][0].replace("ro,", "rw,").replace("rw,nosuid", "ro,nosuid")
    elif what == "namespaces":
        record["namespaces"].append("user")
    elif what == "label":
        record["label"] = "other"
    file.write_text(json.dumps(record))
    if what == "none":
        file.unlink()
    output = bundle.output
    code, words = restore(bundle, "one")
    wanted = {"rights": "NoNewPrivs was 1, and is 0", "mounts": "its mounts are others", "namespaces": "no user namespace of its own",
              "label": "its label was other", "none": "it takes a checkpoint that codex32 made"}  # fmt: skip
    assert code == 1 and wanted[what] in words, words
    assert bundle.output == output  # it did not run
    assert not (CGROUPS / "codex32-test/checkpoint").exists() and bundle.left() == []


def test_what_is_not_kept_is_refused_by_name(bundle):
    def refused(words, change):
        kept = json.dumps(bundle.config)
        change(bundle.config)
        bundle.start("two")
        done = bundle("checkpoint", "--image-path", bundle.images, "two")
        assert done.returncode == 1 and words in done.stderr, done.stderr
        assert bundle.state("two")["status"] == "running" and not (bundle.images / "codex32.json").exists()
        bundle("delete", "--force", "two", ok=True)
        bundle.config = json.loads(kept)

    refused("without no_new_privs", lambda config: config["process"].update(noNewPrivileges=True))
    refused("Landlock", lambda config: config.update(annotations={"codex32.isolation": "strict"}))
    refused("linux.personality", lambda config: config["linux"].update(personality={"domain": "LINUX"}))
    refused("hooks", lambda config: config.update(hooks={"poststart": [{"path": "/bin/true"}]}))
    bundle.create("one")
    done = bundle("checkpoint", "--image-path", bundle.images, "one")
    assert done.returncode == 1 and "the container is created" in done.stderr
    done = bundle("restore", "--image-path", bundle.images, "two")
    assert done.returncode == 1 and "--detach is missing" in done.stderr
    code, words = restore(bundle, "two")
    assert code == 1 and "it takes a checkpoint that codex32 made" in words
    bundle("checkpoint", "--help", ok=True)


def test_a_restore_that_was_killed_leaves_nothing_behind_delete(bundle):
    bundle.start("one")
    wait_until(lambda: bundle.output, "its count")
    bundle("checkpoint", "--image-path", bundle.images, "one", ok=True)
    bundle("delete", "--force", "one", ok=True)
    for delay in range(12):
        (bundle.folder / "config.json").write_text(json.dumps(bundle.config))
        with open(bundle.folder / "output", "a") as output:
            process = subprocess.Popen(
                bundle.line("restore", "--bundle", bundle.folder, "--image-path", bundle.images, "--detach", "one"),
                cwd=bundle.folder, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            time.sleep(delay / 10)
            process.kill()
            process.wait(60)
        bundle("delete", "--force", "one", ok=True)
        assert not (CGROUPS / "codex32-test/checkpoint").exists()
        left = subprocess.run(["pgrep", "-x", "criu"], capture_output=True, text=True, check=False).stdout
        wait_until(lambda: not subprocess.run(["pgrep", "-x", "criu"], capture_output=True, check=False).stdout, f"the end of {left}")
