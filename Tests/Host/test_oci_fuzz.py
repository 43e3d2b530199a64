"""A fuzzer of `config.json`: whatever stands there, `oci run` ends, with a status of its own, and leaves nothing.

CODEX32_FUZZ_SEED chooses the mutations, and is printed; CODEX32_FUZZ_ROUNDS says how many there are.
"""

import copy
import json
import os
import pathlib
import random
import subprocess

import pytest

from bundles import bundle  # noqa: F401
from conftest import PATIENCE, processes_with, wait_until

SEED = int(os.environ.get("CODEX32_FUZZ_SEED", "20261124"))
ROUNDS = int(os.environ.get("CODEX32_FUZZ_ROUNDS", "250"))

# Nothing here names a place of the machine's: what a mutation asks for is done, as root too.
VALUES = [
    None, True, False, 0, -1, 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**63, 2**64, -(2**63), 1e308, 0.5, "", "x", "/none", "/dev", "/proc", "/sys",
    "/proc/self/fd/3", "/dev/pts", "/tmp/../x", "a" * 5000, "/" + "a/" * 3000, "\0", "\x1b[2J", "\u202e", "%s%n%d", "ro", "rbind", "bind", "tmpfs",
    "rshared", "tmpcopyup", "size=1", "CAP_ALL", "CAP_SYS_ADMIN", "RLIMIT_NOFILE", "user", "pid", "time", "SCMP_ACT_KILL", "SCMP_ACT_NOTIFY",
    [], {}, [[]], [{}], [None], {"a": None}, {"": ""}, ["x"] * 300, [{}] * 300, list(range(300)), {str(n): n for n in range(300)},
]  # fmt: skip


def full(config, rootfs):
    """A configuration with nearly every member in it, so that each can be mutated."""
    config = copy.deepcopy(config)
    config["process"] |= {
        "args": ["true"], "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 64}], "oomScoreAdj": 500, "consoleSize": {"height": 1, "width": 1},
        "scheduler": {"policy": "SCHED_OTHER", "nice": 1}, "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 7}, "execCPUAffinity": {"final": "0"},
    }  # fmt: skip
    config["process"]["user"] |= {"umask": 18, "additionalGids": []}
    config["mounts"] += [
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "nosuid", "size=65536"]},
        {"destination": "/bound", "type": "bind", "source": str(rootfs / "bin"), "options": ["rbind", "rro", "rprivate"]},
    ]
    config["hooks"] = {kind: [{"path": "/bin/true", "args": ["true"], "env": [], "timeout": 20}] for kind in ("createRuntime", "createContainer", "poststop")}
    config["annotations"] = {"a": "b"}
    config["domainname"] = "x"
    config["linux"] |= {
        "rootfsPropagation": "rprivate", "personality": {"domain": "LINUX"}, "sysctl": {"net.ipv4.ip_forward": "0"}, "devices": [], "resources": {},
        "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "flags": [],
                    "syscalls": [{"names": ["reboot"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}]},
    }  # fmt: skip
    return config


def places(value, path=()):
    yield path
    if isinstance(value, dict):
        for name, each in value.items():
            yield from places(each, (*path, name))
    if isinstance(value, list):
        for index, each in enumerate(value):
            yield from places(each, (*path, index))


def mutate(config, chance):
    config = copy.deepcopy(config)
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        # What a container's root is stays: a mutation must not point it at the machine's own files.
        path = chance.choice([path for path in places(config) if path and path[0] != "root"] or [("process",)])
        at = config
        for part in path[:-1]:
            at = at[part]
        action = chance.randrange(6)
        value = chance.choice(VALUES)
        if action == 0 and isinstance(at, (dict, list)):
            del at[path[-1]]
        elif action == 1 and isinstance(at.get(path[-1]) if isinstance(at, dict) else at[path[-1]], list):
            at[path[-1]] = at[path[-1]] * chance.choice([2, 50]) + [value]
        elif action == 2 and isinstance(at, dict):
            at[chance.choice(["x", "", "\0", path[-1] + " ", path[-1].upper()])] = value
        elif action == 3:
            other = chance.choice([each for each in places(config)])
            found = config
            for part in other:
                found = found[part]
            at[path[-1]] = copy.deepcopy(found)
        elif action == 4 and isinstance(at[path[-1]], str):
            text = at[path[-1]]
            where = chance.randrange(len(text) + 1)
            at[path[-1]] = text[:where] + chance.choice(["\0", "/", "..", "=", "\n", "ü", "9" * 30]) + text[where:]
        else:
            at[path[-1]] = value
    return config


def spoil(text, chance):
    """The document as bytes, with some of them others."""
    data = bytearray(text.encode())
    for _ in range(chance.choice([1, 3, 20])):
        where = chance.randrange(len(data))
        action = chance.randrange(3)
        if action == 0:
            data[where] = chance.randrange(256)
        elif action == 1:
            del data[where : where + chance.randrange(1, 50)]
        else:
            data[where:where] = chance.choice([b"[" * 500, b'{"a":' * 200, b"\xff\xfe", b"1e999", b"-", b'"\\ud800"', b"\\u0000", b",,"])
        if not data:
            return b""
    return bytes(data)


class Judge:
    def __init__(self, bundle):
        self.bundle = bundle
        self.token = f"fuzz={bundle.folder}"
        self.before = None

    def run(self, data, told):
        (self.bundle.folder / "config.json").write_bytes(data)
        words = self.bundle.words("run", "one")
        environment = self.bundle.caller.environment({"TOKEN": self.token})
        with open(self.bundle.folder / "output", "w") as out:
            done = subprocess.run(words, cwd=self.bundle.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE, timeout=PATIENCE, env=environment)
        stderr = done.stderr.decode(errors="replace")
        assert 0 <= done.returncode < 128, (told, done.returncode, stderr[:500])
        assert "Fatal" not in stderr and "\x1b" not in stderr and len(stderr) < 100_000, (told, stderr[:500])
        if done.returncode == 1 and stderr:
            assert stderr.startswith("codex32: "), (told, stderr[:500])
        assert self.bundle.left() == [], (told, stderr[:500])
        self.told = stderr
        return done.returncode

    def nothing_is_left(self):
        wait_until(lambda: processes_with(self.token) == [], "no process left")
        assert str(self.bundle.folder) not in pathlib.Path("/proc/self/mountinfo").read_text()


@pytest.fixture
def judge(bundle):
    judge = Judge(bundle)
    bundle.process["env"].append(f"TOKEN={judge.token}")
    yield judge
    judge.nothing_is_left()


def test_the_full_configuration_runs(bundle, judge):
    config = full(bundle.config, bundle.rootfs)
    assert judge.run(json.dumps(config).encode(), "unchanged") == 0, judge.told


def test_mutations_end_and_leave_nothing(bundle, judge):
    print(f"CODEX32_FUZZ_SEED={SEED}")
    config = full(bundle.config, bundle.rootfs)
    statuses = set()
    for number in range(ROUNDS):
        chance = random.Random(f"{SEED} {number}")
        if number % 5 == 4:
            data = spoil(json.dumps(config), chance)
            # The root is the machine's own where its path was spoilt: such a document is not run.
            if str(bundle.rootfs).encode() not in data and b'"rootfs"' not in data:
                continue
        else:
            data = json.dumps(mutate(config, chance)).encode()
        statuses.add(judge.run(data, f"CODEX32_FUZZ_SEED={SEED} round {number}"))
    assert {0, 1} <= statuses


@pytest.mark.parametrize("name", ["deep arrays", "deep objects", "many mounts", "many variables", "many hooks", "many names", "a long string", "100 MB", "an endless device", "a folder", "a pipe"])
def test_large_ones_end(bundle, judge, name):
    config = copy.deepcopy(bundle.config)
    config["process"]["args"] = ["true"]
    data = None
    if name == "deep arrays":
        data = b"[" * 1_000_000
    elif name == "deep objects":
        data = b'{"a":' * 1_000_000
    elif name == "many mounts":
        config["mounts"] += [{"destination": f"/tmp/{number}", "type": "tmpfs", "source": "x", "options": []} for number in range(20_000)]
        config["mounts"].append({"destination": "/none", "type": "moon"})
    elif name == "many variables":
        config["process"]["env"] += [f"A{number}=x" for number in range(300_000)]
    elif name == "many hooks":
        config["hooks"] = {"prestart": [{"path": "/bin/true"}] * 10_000}
    elif name == "many names":
        config["annotations"] = {str(number): "x" for number in range(200_000)}
        config["process"]["args"] = ["none"]
    elif name == "a long string":
        config["process"]["cwd"] = "/" + "x" * 10_000_000
    elif name == "100 MB":
        data = json.dumps(config).encode() + b" " * (100 << 20)
    path = bundle.folder / "config.json"
    if name == "an endless device":
        path.unlink()
        path.symlink_to("/dev/zero")
    elif name == "a folder":
        path.unlink()
        path.mkdir()
    elif name == "a pipe":
        path.unlink()
        os.mkfifo(path)
        bundle.caller.own(path)
    else:
        assert judge.run(data or json.dumps(config).encode(), name) == 1
        return
    done = subprocess.run(bundle.words("run", "one"), cwd=bundle.folder, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL)
    assert done.returncode == 1 and done.stderr.startswith("codex32: cannot read")
    path.rmdir() if path.is_dir() else path.unlink()
