"""The annotation codex32.isolation=strict on a bundle, and the receipt of what is in force."""

import json
import subprocess

import pytest

from bundles import bundle  # noqa: F401
from conftest import PATIENCE

STATUS = "grep -E '^(Cap|NoNew|Seccomp)' /proc/self/status"


@pytest.fixture
def strict(bundle):
    bundle.config["annotations"] = {"codex32.isolation": "strict"}
    return bundle


def lines(text):
    return dict(line.split() for line in text.splitlines())


@pytest.mark.parametrize("verb", ["run", "exec"])
def test_rights_are_gone(strict, verb):
    strict.process["noNewPrivileges"] = False
    strict.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["reboot"], "action": "SCMP_ACT_ERRNO"}]}
    if verb == "run":
        strict.sh(STATUS)
        told = lines(strict("run", "one").stdout)
    else:
        strict.sleeping()
        told = lines(strict.exec("one", "sh", "-c", STATUS).stdout)
    assert all(int(told[f"Cap{name}:"], 16) == 0 for name in ("Inh", "Prm", "Eff", "Bnd", "Amb"))
    assert (told["NoNewPrivs:"], told["Seccomp:"], told["Seccomp_filters:"]) == ("1", "2", "2")


@pytest.mark.parametrize("verb", ["run", "exec"])
def test_nested_namespaces_and_unusual_calls_are_refused(strict, probe, verb):
    """What the probe tries must not work, by the container's program and by those that are added."""
    strict.config["mounts"].append({"destination": "/probe", "type": "bind", "source": str(probe), "options": ["bind", "ro"]})
    if verb == "run":
        strict.process["args"] = ["/probe/probe"]
        result = strict("run", "one")
    else:
        strict.sleeping()
        result = strict.exec("one", "/probe/probe")
    told = {line.split()[0]: line.split()[1] for line in result.stdout.splitlines()}
    for name in ("unshare_user", "unshare_mount", "clone_user", "setns", "mount", "umount", "fsopen", "open_tree"):
        assert told[name] not in ("0",), (name, told)
    if strict.caller.name == "user":
        # Without the annotation it can: the refusal is its doing.
        strict.clear()
        strict.config["annotations"] = {}
        strict.process["args"] = ["/probe/probe"]
        plain = {line.split()[0]: line.split()[1] for line in strict("run", "two").stdout.splitlines()}
        assert plain["unshare_user"] == "0"


@pytest.mark.parametrize("verb", ["run", "exec"])
def test_landlock_is_a_second_wall(strict, verb):
    strict.config["root"]["readonly"] = True
    strict.config["mounts"].append({"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid"]})
    script = "echo x > /data/x && echo data; echo x > /dev/shm/x && echo shm; echo 1 > /proc/self/oom_score_adj || echo proc; cat /bin/true > /dev/null && echo null"
    if verb == "run":
        strict.sh(script)
        result = strict("run", "one")
    else:
        strict.sleeping()
        result = strict.exec("one", "sh", "-c", script)
    assert result.stdout.split() == ["data", "shm", "proc", "null"], result.stderr


LIMITS = {"Max pending signals": 4096, "Max msgqueue size": 204800, "Max nice priority": 0, "Max realtime priority": 0}


@pytest.mark.parametrize("verb", ["run", "exec"])
def test_a_part_of_what_the_kernel_counts(strict, verb):
    """Of the machine's terminals, the user's inotify instances and queued signals a program gets a share, as in a run."""
    script = "cat /proc/sys/user/max_inotify_*; grep -E '(signals|msgqueue|priority)' /proc/self/limits; grep devpts /proc/mounts"

    def told():
        if verb == "run":
            strict.sh(script)
            result = strict("run", "one")
        else:
            strict.sleeping()
            result = strict.exec("one", "sh", "-c", script)
        assert result.returncode == 0, result
        lines = result.stdout.splitlines()
        limits = {name: line[len(name) :].split()[:2] for line in lines for name in LIMITS if line.startswith(name)}
        terminals = next(line.split()[3].split(",") for line in lines if " devpts " in line)
        return lines[:2], limits, terminals

    counted, limits, terminals = told()
    for name, most in LIMITS.items():
        assert all(0 <= int(limit) <= most for limit in limits[name]), limits
    assert "max=256" in terminals
    # Only a user namespace of its own has a count of its own (the threat model says so).
    assert (counted == ["32", "8192"]) == (strict.caller.name == "user"), counted
    # Less may be asked for, and more is not had.
    strict.clear()
    pts = next(mount for mount in strict.config["mounts"] if mount["type"] == "devpts")
    pts["options"].append("max=9")
    strict.process["rlimits"] = [{"type": "RLIMIT_SIGPENDING", "soft": 7, "hard": 8}]
    _, limits, terminals = told()
    assert "max=9" in terminals and limits["Max pending signals"] == ["7", "8"]
    strict.clear()
    pts["options"][-1] = "max=9999"
    assert "max=256" in told()[2]
    # Without the annotation a bundle has what it asks for.
    strict.clear()
    strict.config["annotations"] = {}
    assert "max=9999" in told()[2]


def test_files_of_a_tmpfs_are_counted(strict):
    """Empty files are kernel memory that no size counts: as many as a run gives, or as the bundle says."""
    strict.config["mounts"].append({"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "size=2m"]})
    strict.sh("grep -E '/(data|dev) ' /proc/mounts")
    told = {line.split()[1]: line.split()[3] for line in strict("run", "one").stdout.splitlines()}
    assert "nr_inodes=2048" in told["/data"] and "nr_inodes=65536" in told["/dev"], told
    strict.config["mounts"][-1]["options"].append("nr_inodes=7777")
    assert "nr_inodes=7777" in strict("run", "one").stdout
    strict.config["mounts"][-1]["options"].pop()
    strict.config["annotations"] = {}
    assert "nr_inodes=2048" not in strict("run", "one").stdout


def test_a_share_needs_a_proc_to_be_set_by(strict):
    strict.config["mounts"] = [mount for mount in strict.config["mounts"] if mount["destination"] != "/proc"]
    strict.config["linux"].update(maskedPaths=[], readonlyPaths=[])
    strict.sh("echo ran")
    result = strict("run", "one")
    assert (strict.caller.name == "user") == ("there is no proc at /proc" in result.stderr), result


def test_the_programs_reach_each_other(strict):
    """Each has a domain of its own, which must not keep a signal from another of the same container."""
    strict.sleeping()
    assert strict.exec("one", "kill", "-0", "1").returncode == 0


@pytest.mark.parametrize("type", ["ipc", "uts", "network"])
def test_namespaces_are_needed(strict, type):
    strict.config["linux"]["namespaces"] = [each for each in strict.config["linux"]["namespaces"] if each["type"] != type]
    del strict.config["hostname"]
    result = strict("create", "one")
    assert result.returncode == 1 and f"strict needs a {type} namespace" in result.stderr


@pytest.mark.parametrize("annotations, name", [({"codex32.isolation": "harder"}, "codex32.isolation"), ({"codex32.isolation": "strict", "codex32.waive": "seccomp"}, "codex32.waive")])
def test_other_values_are_errors(bundle, annotations, name):
    bundle.config["annotations"] = annotations
    result = bundle("create", "one")
    assert result.returncode == 1 and name in result.stderr


def test_no_capability_is_added(strict):
    strict.sleeping()
    result = strict.exec("--cap", "CAP_SYS_TIME", "one", "id")
    assert result.returncode == 255 and "strictly" in result.stderr


def test_the_variable_is_the_usual_level(bundle):
    bundle.sh(STATUS)
    bundle.write()
    environment = bundle.caller.environment({"CODEX32_ISOLATION_LEVEL": "strict"})
    result = subprocess.run(bundle.words("run", "one"), cwd=bundle.folder, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert int(lines(result.stdout)["CapBnd:"], 16) == 0


def test_the_option_is_the_usual_level(bundle):
    """For callers that cannot annotate a container, in their daemon's configuration."""
    bundle.sh(STATUS)
    bundle.write()
    words = bundle.words("--isolation", "strict", "run", "one")
    result = subprocess.run(words, cwd=bundle.folder, env=bundle.caller.environment(), capture_output=True, text=True, timeout=PATIENCE)
    assert int(lines(result.stdout)["CapBnd:"], 16) == 0
    # It is the daemon's, and no container's to weaken.
    bundle.config["annotations"] = {"codex32.waive": "landlock"}
    bundle.write()
    words = bundle.words("--isolation", "strict", "run", "weaker")
    result = subprocess.run(words, cwd=bundle.folder, env=bundle.caller.environment(), capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == 1 and "codex32.waive is not taken" in result.stderr, result
    words = bundle.words("--isolation", "harder", "run", "two")
    result = subprocess.run(words, cwd=bundle.folder, env=bundle.caller.environment(), capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == 1 and "--isolation" in result.stderr and "strict" in result.stderr


@pytest.mark.parametrize("waived", [False, True])
def test_the_receipt_tells_what_is_in_force(strict, waived):
    if waived:
        strict.config["annotations"]["codex32.waive"] = "landlock"
    strict.sleeping()
    receipt = json.loads(strict("state", "--receipt", "one").stdout)
    assert receipt["isolation"] == "strict" and receipt["noNewPrivileges"] is True
    assert receipt["capabilities"]["bounding"] == [] and receipt["seccomp"]["mode"] == 2
    assert all(receipt["namespaces"][name]["separate"] for name in ("pid", "mnt", "net", "ipc", "uts"))
    assert any(mount["target"] == "/" and "ro" in mount["options"] for mount in receipt["mounts"])
    assert (receipt["landlock"] is None) == waived
    missing = {each["item"] for each in receipt["notInForce"]}
    assert ("landlock" in missing) == waived and ("user-namespace" in missing) == (strict.caller.name == "root")


def test_a_plain_bundle_has_a_receipt_too(bundle):
    bundle.sleeping()
    receipt = json.loads(bundle("state", "--receipt", "one").stdout)
    assert receipt["isolation"] is None and receipt["seccomp"]["mode"] == 0 and receipt["landlock"] is None
    bundle("kill", "one", "KILL")
    bundle.stopped()
    result = bundle("state", "--receipt", "one")
    assert result.returncode == 1 and "container not running" in result.stderr
