"""The OCI runtime's verbs for cgroups where there is none to have: each says so, and changes nothing.

What they do with cgroup v2 is in Tests/VM/test_oci_limits.py.
"""

import os

import pytest
from test_oci import Bundle


@pytest.fixture
def bundle(tmp_path):
    made = Bundle(tmp_path, os.path.abspath(os.environ.get("CODEX32", ".build/release/codex32")))
    made.sh("exec sleep 1000")
    yield made
    for name in made.left():
        made("delete", "--force", name)


@pytest.mark.parametrize("words", [["pause"], ["resume"], ["update", "--pids-limit", "5"], ["events", "--stats"]])
def test_without_a_cgroup_it_is_an_error_with_a_hint(bundle, words):
    assert bundle("--cgroup-manager", "disabled", "list").returncode == 0
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        pytest.skip("this machine has cgroup v2: every container has a cgroup")
    assert bundle.create("one") == 0
    bundle("start", "one")
    done = bundle(*words, "one")
    assert done.returncode == 1 and "no cgroup of its own" in done.stderr and "hint: " in done.stderr
    assert bundle.state("one")["status"] == "running"


@pytest.mark.parametrize(
    "words, why",
    [
        (["update", "none"], "no limit is given"),
        (["update", "--memory", "much", "none"], "--memory much"),
        (["update", "--cpu-quota", "1.5", "none"], "--cpu-quota 1.5"),
        (["update", "--resources", "/dev/null", "none"], "--resources /dev/null"),
        (["update", "--resources", "/nonesuch", "--pids-limit", "5", "none"], "other options"),
        (["update", "--pids-limit", "5", "none"], "container does not exist"),
        (["pause", "none"], "container does not exist"),
        (["events", "--interval", "0", "none"], "--interval"),
        (["--cgroup-manager", "other", "list"], "--cgroup-manager"),
    ],
)
def test_bad_input_is_named(bundle, words, why):
    done = bundle(*words)
    assert done.returncode == 1 and why in done.stderr, done.stderr


@pytest.mark.parametrize("verb", ["pause", "resume", "update", "events"])
def test_help(bundle, verb):
    done = bundle(verb, "--help")
    assert done.returncode == 0 and f"codex32 oci {verb}" in done.stdout


def test_systemd_driver_says_what_it_lacks(bundle):
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        pytest.skip("this machine has cgroup v2")
    done = bundle("--systemd-cgroup", "create", "one")
    assert done.returncode == 1 and "--systemd-cgroup" in done.stderr and "hint: " in done.stderr
    assert bundle.left() == []
