"""Hooks of a bundle (config.md, "POSIX-platform Hooks"): when, where, with what, and what their failure does."""

import json
import os
import subprocess

import pytest

from bundles import bundle  # noqa: F401
from conftest import alive, wait_until

KINDS = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
CREATING = KINDS[:3]


def script(bundle, text):
    """A hook's program on the host, which anybody may run."""
    path = bundle.folder / f"hook{len(list(bundle.folder.glob('hook*')))}"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    bundle.caller.own(path)
    return str(path)


def hook(bundle, kind, text, **more):
    """startContainer's path is the container's, all others are the host's."""
    if kind == "startContainer":
        made = {"path": "/bin/sh", "args": ["sh", "-c", text], "env": ["PATH=/bin"]}
    else:
        made = {"path": script(bundle, text), "env": ["PATH=/usr/bin:/bin"]}
    bundle.config.setdefault("hooks", {}).setdefault(kind, []).append(made | more)


def all_hooks(bundle, text):
    (bundle.rootfs / "tmp").mkdir(exist_ok=True)
    bundle.config["root"]["readonly"] = False
    bundle.caller.own(bundle.rootfs)
    for kind in KINDS:
        place = "/tmp" if kind == "startContainer" else bundle.rootfs / "tmp"
        hook(bundle, kind, text.replace("OUT", f"{place}/{kind}"))


def told(bundle, kind):
    return (bundle.rootfs / "tmp" / kind).read_text()


def test_each_comes_in_its_moment_with_its_state(bundle):
    bundle.config["annotations"] = {"key": 'a "value"'}
    all_hooks(bundle, "cat > OUT; cat OUT | tr -d '\\n' >> OUT.seen")
    order = bundle.rootfs / "tmp/order"
    for kind in KINDS:
        place = "/tmp/order" if kind == "startContainer" else order
        hook(bundle, kind, f"echo {kind} >> {place}")
    # As the specification has it: listed order, and nothing before its moment.
    bundle.sh("echo program >> /tmp/order; exec sleep 100000")
    assert bundle.create("one") == 0, bundle.output()
    assert order.read_text().split() == CREATING
    pid = bundle.state()["pid"]
    assert bundle("start", "one").returncode == 0
    wait_until(lambda: len(order.read_text().split()) == 6, "the program")
    assert order.read_text().split()[:4] == [*CREATING, "startContainer"] and set(order.read_text().split()[4:]) == {"program", "poststart"}
    bundle("kill", "one", "KILL")
    bundle.stopped()
    assert not (bundle.rootfs / "tmp/poststop").exists()
    assert bundle("delete", "one").returncode == 0
    assert order.read_text().split()[6:] == ["poststop"]
    statuses = {"prestart": "creating", "createRuntime": "creating", "createContainer": "creating", "startContainer": "created", "poststart": "running", "poststop": "stopped"}
    pids = {"prestart": pid, "createRuntime": pid, "createContainer": 1, "startContainer": 1, "poststart": pid, "poststop": 0}
    for kind in KINDS:
        state = json.loads(told(bundle, kind))
        assert (state["id"], state["status"], state["pid"]) == ("one", statuses[kind], pids[kind]), kind
        assert state["bundle"] == str(bundle.folder) and state["annotations"] == {"key": 'a "value"'} and state["ociVersion"]


def test_each_runs_in_its_namespaces(bundle):
    all_hooks(bundle, "for n in mnt pid net uts; do readlink /proc/self/ns/$n; done > OUT; ls -l /proc/$$/fd > OUT.fds; pwd > OUT.cwd; env > OUT.env; hostname > OUT.name")
    # createContainer sees the host's tree, which for an ordinary user lacks a /proc of the new pid namespace's.
    bundle.process["args"] = ["sleep", "100000"]
    bundle.start()
    pid = bundle.state()["pid"]
    theirs = [os.readlink(f"/proc/{pid}/ns/{name}") for name in ("mnt", "pid", "net", "uts")]
    ours = [os.readlink(f"/proc/self/ns/{name}") for name in ("mnt", "pid", "net", "uts")]
    bundle("delete", "--force", "one")
    for kind in KINDS:
        if kind == "createContainer":
            assert told(bundle, kind + ".name").strip() == "codex32"
        else:
            assert told(bundle, kind).split() == (theirs if kind == "startContainer" else ours), kind
        variables = {line.split("=")[0] for line in told(bundle, kind + ".env").splitlines()}
        assert variables - {"PWD", "SHLVL", "_", "OLDPWD"} == {"PATH"}, kind
    assert told(bundle, "startContainer.cwd") == "/\n"
    opened = [line.split("-> ")[1] for line in told(bundle, "startContainer.fds").splitlines() if "-> " in line]
    # The shell that writes this keeps its own output aside meanwhile.
    assert len(opened) == 4 and opened.count("/tmp/startContainer.fds") == 1 and sum(name.startswith("pipe:") for name in opened) == 3, opened


def test_hooks_of_create_may_mount_into_the_root(bundle):
    """Where the bundle has it: so hooks that bring devices in do it, in the container's mount namespace."""
    (bundle.rootfs / "extra").mkdir()
    bundle.caller.own(bundle.rootfs)
    hook(bundle, "createContainer", f"mount -t tmpfs none {bundle.rootfs}/extra && echo found > {bundle.rootfs}/extra/file")
    bundle.sh("cat /extra/file; grep -c ' /extra ' /proc/self/mountinfo")
    result = bundle("run", "one")
    assert result.stdout == "found\n1\n", result.stderr
    assert os.listdir(bundle.rootfs / "extra") == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text, words", [("echo why >&2; exit 3", "exit status 3: why"), ("kill -9 $$", "signal 9"), ("sleep 1000 & sleep 1000", "too")])
def test_failure_does_what_the_specification_says(bundle, kind, text, words):
    after = bundle.folder / "after"
    hook(bundle, kind, text, **({"timeout": 1} if words == "too" else {}))
    hook(bundle, kind, "echo next" + ("" if kind == "startContainer" else f" > {bundle.folder}/next"))
    if kind != "poststop":
        hook(bundle, "poststop", f"echo stopped > {after}")
    bundle.process["args"] = ["sleep", "100000"]
    created = bundle.create("one")
    if kind in CREATING:
        assert created == 1 and words in bundle.output() and f"{kind} hook" in bundle.output(), bundle.output()
        assert bundle.left() == [] and after.read_text() == "stopped\n"
    else:
        assert created == 0, bundle.output()
        pid = bundle.state()["pid"]
        started = bundle("start", "one")
        if kind == "poststop":
            assert started.returncode == 0
            deleted = bundle("delete", "--force", "one")
            assert deleted.returncode == 0 and words in deleted.stderr and "warning" in deleted.stderr
            assert (bundle.folder / "next").read_text() == "next\n" and bundle.left() == []
            return
        assert started.returncode == 1 and words in started.stderr and f"{kind} hook" in started.stderr, started.stderr
        wait_until(lambda: not alive(pid), "its end")
        assert bundle.state()["status"] == "stopped" and not after.exists()
        assert bundle("delete", "one").returncode == 0 and after.read_text() == "stopped\n"
    assert not (bundle.folder / "next").exists()


def test_what_a_late_hook_started_ends_with_it(bundle):
    child = bundle.folder / "child"
    for seconds in (1, 10, 100):  # how long it takes to begin is the machine's to say
        bundle.config["hooks"] = {}
        hook(bundle, "createRuntime", f"sleep 1001 & echo $! > {child}; wait", timeout=seconds)
        assert bundle.create("one") == 1 and f"longer than {seconds} s" in bundle.output()
        if child.exists() and child.read_text():
            break
    wait_until(lambda: not alive(int(child.read_text())), "its end")


@pytest.mark.parametrize("kind", KINDS)
def test_one_that_does_not_read_or_says_much_is_no_trouble(bundle, kind):
    bundle.config["annotations"] = {"large": "x" * 200000}
    hook(bundle, kind, "exec <&-; head -c 1000000 /dev/zero; exit 0" if kind != "startContainer" else "exec <&-; while [ ${n:=0} -lt 3000 ]; do echo 'a line of some length, again and again'; n=$((n+1)); done")
    hook(bundle, kind, "cat > /dev/null")
    bundle.sh("exit 5")
    result = bundle("run", "one")
    assert result.returncode == 5, result.stderr[:300]


@pytest.mark.parametrize(
    "value, name",
    [({"path": "x"}, "hooks.prestart[0].path"), ({}, "hooks.prestart[0].path"), ({"path": "/x", "timeout": 0}, "timeout"), ({"path": "/x", "timeout": -1}, "timeout"),
     ({"path": "/x", "time": 1}, "hooks.prestart[0].time"), ({"path": "/x", "args": [1]}, "args"), ({"path": "/x\0"}, "path")],
)  # fmt: skip
def test_malformed_hooks_are_errors(bundle, value, name):
    bundle.config["hooks"] = {"prestart": [value]}
    result = bundle("create", "one")
    assert result.returncode == 1 and name in result.stderr
    assert bundle.left() == []


@pytest.mark.parametrize("kind", KINDS[:4])
def test_one_that_is_not_there_is_told(bundle, kind):
    bundle.config["hooks"] = {kind: [{"path": "/none/hook"}]}
    bundle.process["args"] = ["sleep", "100000"]
    result = bundle("run", "one")
    assert result.returncode == 1 and "no such file" in result.stderr, result.stderr
    assert bundle.left() == []


def test_unknown_kinds_are_errors(bundle):
    bundle.config["hooks"] = {"prelude": []}
    result = bundle("create", "one")
    assert result.returncode == 1 and "hooks.prelude" in result.stderr


def test_start_tells_what_cannot_be_executed(bundle):
    """With hooks at the start, somebody waits for execve, and learns of its failure."""
    (bundle.rootfs / "plain").write_text("nothing that a kernel runs")
    (bundle.rootfs / "plain").chmod(0o755)
    bundle.caller.own(bundle.rootfs)
    hook(bundle, "poststart", f"echo never > {bundle.folder}/never")
    bundle.process["args"] = ["/plain"]
    assert bundle.create("one") == 0
    result = bundle("start", "one")
    assert result.returncode == 1 and "exec format error" in result.stderr
    assert not (bundle.folder / "never").exists()
    bundle.stopped()


def test_a_killed_create_ends_its_hook(bundle):
    hook(bundle, "createRuntime", f"echo $$ > {bundle.folder}/pid; exec sleep 100000")
    bundle.write()
    process = subprocess.Popen(bundle.words("create", "one"), cwd=bundle.folder, stdin=subprocess.DEVNULL)
    wait_until(lambda: (bundle.folder / "pid").exists() and (bundle.folder / "pid").read_text(), "the hook")
    process.kill()
    process.wait()
    wait_until(lambda: not alive(int((bundle.folder / "pid").read_text())), "its end")
    assert bundle("delete", "--force", "one").returncode == 0 and bundle.left() == []
