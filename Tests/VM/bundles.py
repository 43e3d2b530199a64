"""A bundle of busybox for the OCI runtime's verbs, inside of run-in-vm's machine, and what its cgroup's files say."""

import json
import os
import shutil
import subprocess
from pathlib import Path

from machine import CGROUPS, CODEX32, DISK, HERE

PATH = "PATH=/bin"


class Bundle:
    def __init__(self, name, who="root"):
        self.prefix = [str(HERE / "as-user")] if who == "codex" else []
        self.folder = DISK / f"oci-{name}-{who}"
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "rootfs/bin").mkdir(parents=True)
        shutil.copy(shutil.which("busybox"), self.folder / "rootfs/bin/busybox")
        for tool in ("sh", "cat", "sleep", "mknod", "dd", "true", "head", "ls", "id", "echo", "rm"):
            (self.folder / "rootfs/bin" / tool).symlink_to("busybox")
        if who == "codex":
            subprocess.run(["chown", "-R", "1001:1001", self.folder], check=True)
        assert self("spec", ok=True).returncode == 0
        self.config = json.loads((self.folder / "config.json").read_text())
        self.config["root"]["readonly"] = False
        self.config["process"]["noNewPrivileges"] = False
        if who == "root":
            self.config["linux"]["cgroupsPath"] = f"/codex32-test/{name}"
        self.resources = self.config["linux"]["resources"] = {}

    def line(self, *words):
        return [*self.prefix, CODEX32, "oci", "--root", str(self.folder / "states"), *map(str, words)]

    def __call__(self, *words, ok=False, input=None):
        if hasattr(self, "config"):
            (self.folder / "config.json").write_text(json.dumps(self.config))
        given = {"stdin": subprocess.DEVNULL} if input is None else {"input": input}
        done = subprocess.run(
            self.line(*words), cwd=self.folder, capture_output=True, text=True, timeout=300, check=False, **given
        )
        assert not ok or done.returncode == 0, done.stderr
        return done

    def sh(self, script):
        self.config["process"]["args"] = ["sh", "-c", script]

    def capabilities(self, *names):
        self.config["process"]["capabilities"] = {kind: list(names) for kind in ("bounding", "effective", "permitted")}

    def create(self, name, output=None, stdin=subprocess.DEVNULL):
        """Its program writes to a file: a pipe of ours would be held open."""
        (self.folder / "config.json").write_text(json.dumps(self.config))
        with open(self.folder / "output", "a" if output else "w") as own:
            done = subprocess.run(
                self.line("create", name), cwd=self.folder, stdin=stdin, stdout=output or own, stderr=output or own,
                timeout=300, check=False,
            )  # fmt: skip
        assert done.returncode == 0, self.output

    def start(self, name):
        self.create(name)
        self("start", name, ok=True)

    @property
    def output(self):
        return (self.folder / "output").read_text()

    def state(self, name):
        return json.loads(self("state", name, ok=True).stdout)

    def cgroup(self, name):
        """Where its process really is."""
        text = Path(f"/proc/{self.state(name)['pid']}/cgroup").read_text()
        return CGROUPS / text.strip().removeprefix("0::/")

    def left(self):
        """The containers that have a folder; filters that are kept are of none."""
        states = self.folder / "states"
        return [name for name in os.listdir(states) if name != "@filters"] if states.exists() else []

    def close(self):
        for name in self.left():
            self("delete", "--force", name, ok=True)
        shutil.rmtree(self.folder)


def says(group, *files):
    return {file: (group / file).read_text().strip() for file in files}
