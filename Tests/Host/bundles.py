"""A bundle of either caller's, for the tests of `codex32 oci`."""

import json
import os
import shutil
import subprocess

import pytest

from conftest import PATIENCE, wait_until

PROGRAMS = ("sh", "cat", "ls", "id", "sleep", "grep", "true", "false", "env", "readlink", "head", "touch", "kill", "mount", "stat", "hostname", "tty")


class CallersBundle:
    """A root file system of busybox, the configuration that `oci spec` writes, and its caller's verbs.

    An ordinary user's has a user namespace in which this user is root, and what belongs to it.
    """

    def __init__(self, caller, folder):
        self.caller, self.folder = caller, folder
        self.rootfs, self.states, self.log = folder / "rootfs", folder / "states", folder / "log.json"
        (self.rootfs / "bin").mkdir(parents=True)
        shutil.copy(shutil.which("busybox"), self.rootfs / "bin/busybox")
        for name in PROGRAMS:
            (self.rootfs / "bin" / name).symlink_to("busybox")
        caller.own(folder)
        subprocess.run([*caller.become(), str(caller.binary), "oci", "spec"], cwd=folder, check=True, timeout=PATIENCE)
        self.config = json.loads((folder / "config.json").read_text())
        if caller.name != "root":
            self.config["linux"]["namespaces"].append({"type": "user"})
            for name, number in (("uidMappings", caller.account.pw_uid), ("gidMappings", caller.account.pw_gid)):
                self.config["linux"][name] = [{"containerID": 0, "hostID": number, "size": 1}]
            for mount in self.config["mounts"]:
                # Group 5 has no number in this map.
                mount["options"] = [option for option in mount["options"] if option != "gid=5"]
        self.process = self.config["process"]

    def write(self):
        (self.folder / "config.json").write_text(json.dumps(self.config))

    def words(self, *words):
        return [*self.caller.become(), str(self.caller.binary), "oci", "--cgroup-manager", "disabled", "--root", str(self.states),
                "--log", str(self.log), "--log-format", "json", *map(str, words)]  # fmt: skip

    def __call__(self, *words, **more):
        if words[0] in ("create", "run"):
            self.write()
        settings = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": self.caller.environment()}
        return subprocess.run(
            self.words(*words), cwd=self.folder, text=True, timeout=PATIENCE, **settings | more
        )

    def sh(self, script):
        self.process["args"] = ["sh", "-c", script]

    def create(self, name, *options, **more):
        """Into a file: a pipe of the test's would be held open by the container."""
        with open(self.folder / "output", "w") as output:
            result = self("create", *options, name, stdout=output, stderr=output, **more)
        return result.returncode

    def start(self, name="one", *options, **more):
        assert self.create(name, *options, **more) == 0, self.output()
        result = self("start", name)
        assert result.returncode == 0, result.stderr

    def sleeping(self, name="one", *options):
        """A container that waits to be killed."""
        self.process["args"] = ["sleep", "100000"]
        self.start(name, *options)
        return self.state(name)["pid"]

    def output(self):
        return (self.folder / "output").read_text()

    def state(self, name="one"):
        result = self("state", name)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    def exec(self, *words, **more):
        return self("exec", *words, **more)

    def stopped(self, name="one"):
        wait_until(lambda: self.state(name)["status"] == "stopped", "its end")

    def left(self):
        """The containers that have a folder; filters that are kept are of none."""
        return [name for name in os.listdir(self.states) if name != "@filters"] if self.states.exists() else []

    def clear(self):
        for name in self.left():
            self("delete", "--force", name)


@pytest.fixture
def bundle(caller, folder):
    made = CallersBundle(caller, folder)
    yield made
    made.clear()
    assert made.left() == []
