"""The OCI runtime's systemd driver beside a real systemd. Runs inside the machine of run-in-vm, as root."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bundles import Bundle, says
from machine import CGROUPS, DISK, HERE, in_machine, wait_until

pytestmark = in_machine


def test_beside_systemd():
    done = subprocess.run(
        [HERE / "systemd-in-cgroup", DISK / "systemd", sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
         "--tb=short", HERE / "beside_systemd.py"],
        capture_output=True, text=True, timeout=900, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


MANAGER = """
mkdir -p "$HOME/units" "$HOME/none" "$1/manager"
printf '[Unit]\\nDefaultDependencies=no\\n' > "$HOME/units/test.target"
for controller in memory pids cpu; do echo "+$controller" > "$1/cgroup.subtree_control"; done
echo $$ > "$1/manager/cgroup.procs"
exec env SYSTEMD_UNIT_PATH="$HOME/units:$XDG_RUNTIME_DIR/systemd/transient" SYSTEMD_GENERATOR_PATH="$HOME/none" \\
  SYSTEMD_ENVIRONMENT_GENERATOR_PATH="$HOME/none" /lib/systemd/systemd --user --unit=test.target > "$HOME/log" 2>&1
"""


@pytest.fixture
def manager():
    """The real one, started by hand as the ordinary user, in the cgroup that is delegated to it; nobody's login."""
    booted = Path("/run/systemd/system")  # what sd_booted(3) looks at
    booted.mkdir(parents=True)
    home = Path("/home/codex")
    process = subprocess.Popen(
        [HERE / "as-user", "sh", "-c", MANAGER, "sh", CGROUPS / "user.codex"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        place = Path("/run/user/1001/systemd")
        wait_until(lambda: (place / "private").is_socket() or process.poll() is not None, "the manager")
        assert process.poll() is None, (home / "log").read_text()
        yield process
    finally:
        process.kill()
        process.wait(60)
        wait_until(lambda: not (CGROUPS / "user.codex/manager/init.scope/cgroup.procs").exists() or process.poll() is not None, "its end")
        for folder in (home / "units", home / "none", place, booted):
            shutil.rmtree(folder, ignore_errors=True)
        for folder in sorted((CGROUPS / "user.codex/manager").rglob("*/"), key=lambda each: -len(each.parts)):
            folder.rmdir()
        (CGROUPS / "user.codex/manager").rmdir()


def show(unit, *names):
    done = subprocess.run(
        [HERE / "as-user", "systemctl", "--user", "show", unit, *[f"-p{name}" for name in names]], capture_output=True, text=True, check=True
    )
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def users_bundle():
    bundle = Bundle("user-systemd", "codex")
    plain = bundle.line
    bundle.line = lambda *words: [*plain(), "--systemd-cgroup", *map(str, words)]
    linux = bundle.config["linux"]
    linux["namespaces"] += [{"type": "user"}, {"type": "cgroup"}]
    for name in ("uidMappings", "gidMappings"):
        linux[name] = [{"containerID": 0, "hostID": 1001, "size": 1}]
    for mount in bundle.config["mounts"]:
        mount["options"] = [option for option in mount["options"] if option != "gid=5"]
    return bundle


def test_beside_a_user_s_systemd(manager):
    bundle = users_bundle()
    try:
        bundle.resources |= {"memory": {"limit": 64 << 20}, "pids": {"limit": 20}}
        bundle.sh("cat /proc/self/cgroup; exec sleep 1000")
        bundle.start("one")
        group = CGROUPS / "user.codex/manager/user.slice/codex32-one.scope"
        wait_until(lambda: bundle.output == "0::/\n", "the program's word")
        assert bundle.cgroup("one") == group
        assert says(group, "memory.max", "pids.max") == {"memory.max": str(64 << 20), "pids.max": "20"}
        known = {"Slice": "user.slice", "Delegate": "yes", "MemoryMax": str(64 << 20), "TasksMax": "20"}
        assert show("codex32-one.scope", *known) == known
        bundle("update", "--pids-limit", "9", "one", ok=True)
        assert says(group, "pids.max") == {"pids.max": "9"} and show("codex32-one.scope", "TasksMax") == {"TasksMax": "9"}
        bundle("pause", "one", ok=True)
        assert bundle.state("one")["status"] == "paused"
        bundle("resume", "one", ok=True)
        bundle("delete", "--force", "one", ok=True)
        assert not group.exists()
        assert show("codex32-one.scope", "LoadState", "ActiveState") == {"LoadState": "not-found", "ActiveState": "inactive"}
    finally:
        bundle.close()


def test_without_a_user_s_systemd_it_says_so():
    bundle = users_bundle()
    try:
        done = bundle("create", "one")
        assert done.returncode == 1 and "cannot reach the user's systemd" in done.stderr, done.stderr
    finally:
        bundle.close()
