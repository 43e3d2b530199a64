"""Bundles as others write them: the configurations of opencontainers/runtime-tools, and what they showed."""

import fcntl
import os

import pytest

from bundles import bundle  # noqa: F401
from conftest import wait_until


@pytest.fixture
def stranger(folder):
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    yield number
    os.close(number)


@pytest.mark.parametrize("new_privileges", [False, True])
def test_a_filter_that_knows_no_newer_calls(bundle, stranger, new_privileges):
    """A list of before Linux 5.9 has no close_range(2), and without no_new_privs it is in force while `start` is waited for."""
    bundle.process["noNewPrivileges"] = not new_privileges
    bundle.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["close_range", "openat2", "faccessat2", "clone3"], "action": "SCMP_ACT_ERRNO"}],
    }  # fmt: skip
    bundle.sh("echo ran")
    # What the caller forgot is not there either, whichever number it has.
    high = fcntl.fcntl(stranger, fcntl.F_DUPFD, 200)
    try:
        assert bundle.create("one", pass_fds=(stranger, high)) == 0, bundle.output()
    finally:
        os.close(high)
    folder = f"/proc/{bundle.state()['pid']}/fd"
    wait_until(lambda: len(os.listdir(folder)) == 5, "an end of what it was made with")
    open_files = {number: os.readlink(f"{folder}/{number}") for number in os.listdir(folder)}
    assert set(open_files) == {"0", "1", "2", "3", "4"}, open_files
    assert all(open_files[number].endswith(".fifo") for number in ("3", "4")), open_files
    assert bundle("start", "one").returncode == 0
    bundle.stopped()
    assert bundle.output() == "ran\n"


def test_members_of_somebodys_own_are_passed_over(bundle):
    """config.md, "Extensibility": beside the specification's parts there may be others."""
    bundle.config |= {"x-vendor": {"a": [1, None]}, "unknown": 1}
    bundle.sh("echo ran")
    assert bundle("run", "one").stdout == "ran\n"


def test_paths_of_the_image_are_masked_and_made_read_only(bundle):
    """By their place in the root: a link there leads nowhere else."""
    for name in ("masked", "closed"):
        (bundle.rootfs / name).mkdir()
        (bundle.rootfs / name / "file").write_text("seen\n")
    (bundle.rootfs / "one-file").write_text("seen\n")
    (bundle.rootfs / "link").symlink_to("../../../../../../masked")
    bundle.caller.own(bundle.rootfs)
    bundle.config["root"]["readonly"] = False
    bundle.config["linux"]["maskedPaths"] += ["/masked", "/one-file", "/none/at/all", "/link/file"]
    bundle.config["linux"]["readonlyPaths"] += ["/closed", "/none"]
    bundle.sh("ls /masked; cat /one-file /closed/file; (echo x > /closed/file) 2>/dev/null || echo closed; echo x > /bin/new && echo open")
    assert bundle("run", "one").stdout.split() == ["seen", "closed", "open"]
    for place, path in (("maskedPaths", "masked"), ("maskedPaths", "/a/../b"), ("readonlyPaths", "/"), ("readonlyPaths", "/proc")):
        bundle.config["linux"][place].append(path)
        result = bundle("run", "one")
        assert result.returncode == 1 and f"linux.{place}" in result.stderr, (path, result)
        bundle.config["linux"][place].pop()


def test_sources_of_mounts_are_shown_as_asked(bundle):
    bundle.config["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "my tmpfs", "options": ["nosuid", "size=1m"]})
    bundle.sh("cat /proc/self/mountinfo")
    lines = bundle("run", "one").stdout.splitlines()
    told = {line.split()[4]: line.split(" - ")[1].split()[1] for line in lines}
    assert (told["/proc"], told["/tmp"], told["/dev/pts"]) == ("proc", "my\\040tmpfs", "devpts")


@pytest.mark.parametrize("mount", [{"type": "tmpfs", "source": "tmpfs"}, {"type": "bind", "source": "/usr", "options": ["bind"]}])
def test_nothing_else_stands_for_proc(bundle, mount):
    """CVE-2019-16884: labels would be written there."""
    for each in bundle.config["mounts"]:
        if each["destination"] == "/proc":
            each.clear()
            each.update(mount, destination="/proc")
    bundle.sh("echo ran")
    result = bundle("run", "one")
    assert result.returncode == 1 and "at /proc there can only be a proc" in result.stderr, result


@pytest.mark.parametrize("options, told", [(["noatime"], {"noatime"}), (["strictatime"], set()), (["noatime", "strictatime", "mode=755", "size=64k"], set()), (["noatime", "relatime"], None), ([], None)])
def test_times_of_a_bind_mount(bundle, folder, options, told):
    """And options of a file system that is not made: mount(2) takes no notice of them."""
    (folder / "shown").mkdir()
    bundle.caller.own(folder / "shown")
    bundle.config["mounts"].append({"destination": "/shown", "source": str(folder / "shown"), "options": ["bind", *options]})
    bundle.sh("grep ' /shown ' /proc/self/mountinfo")
    result = bundle("run", "one")
    if told is not None and bundle.caller.name == "user":
        # What the machine's mounts have of these is locked in a user namespace (mount_namespaces(7)).
        assert result.returncode == 1 and "cannot set mount attributes: operation not permitted" in result.stderr, result
        return
    assert result.returncode == 0, result.stderr
    if told is None:
        assert "noatime" not in result.stdout.split()[5].split(",")
    else:
        assert set(result.stdout.split()[5].split(",")) & {"noatime", "relatime"} == told
