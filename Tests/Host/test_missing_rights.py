"""A machine, or a caller, that lacks what a sandbox needs: one clear line, a hint, exit 125, nothing left."""

import subprocess

import pytest
from conftest import PATIENCE
from test_bad_input import check

# As root of a namespace of the caller's own, so that the machine itself stays as it is: from there
# on no further user namespace can be made.
SWITCHED_OFF = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\""


def within(caller, uid, words):
    """The words as this uid of a new user namespace in which no other may be made."""
    outside = ["unshare", "--user", f"--map-user={uid}", f"--map-group={uid}", "--keep-caps", "sh", "-c", SWITCHED_OFF, "sh"]
    return [*caller.become(), *outside, *words[len(caller.become()) :]]


def test_user_namespaces_switched_off(callers, level):
    caller = callers["user"]
    assert caller.sh(":", level=level).returncode == 0
    words = caller.words("--waive", "landlock", level=level, command=["true"])
    done = caller.execute(within(caller, caller.account.pw_uid, words))
    check(done, caller, caller.entries())
    assert "max_user_namespaces" in done.stderr


def test_root_of_a_namespace_only(callers, level):
    """It looks like root and has few of its rights: told as what it is."""
    caller = callers["user"]
    assert caller.sh(":", level=level).returncode == 0
    done = caller.execute(within(caller, 0, caller.words("--waive", "landlock", level=level, command=["true"])))
    check(done, caller, caller.entries())


@pytest.mark.parametrize("options", ["ro", "size=64k"])
@pytest.mark.parametrize("image", ["template:busybox", "template:host"])
def test_storage(callers, level, tmp_path, options, image):
    """A read-only or a full storage folder."""
    tmp_path.chmod(0o755)
    for above in list(tmp_path.parents)[:-2]:
        above.chmod(above.stat().st_mode | 0o111)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"{options},mode=777", "none", tmp_path], check=True, timeout=PATIENCE)
    try:
        if options != "ro":
            with pytest.raises(OSError), open(tmp_path / "fill", "wb", buffering=0) as file:
                while True:
                    file.write(b"x" * 4096)
        for caller in callers.values():
            there = caller.with_storage(tmp_path / f"storage-{caller.name}")
            check(there.run(level=level, image=image, command=["true"]), there, set())
    finally:
        subprocess.run(["umount", tmp_path], check=True, timeout=PATIENCE)


@pytest.mark.parametrize(
    "image, words",
    [
        pytest.param("template:", "template:busybox", id="template-without-name"),
        pytest.param("EMPTY", "is empty", id="empty-folder"),
        pytest.param("FILE", "is empty", id="empty-file"),
    ],
)
def test_images(caller, level, folder, image, words):
    (folder / "EMPTY").mkdir()
    (folder / "FILE").touch()
    caller.own(folder)
    done = caller.run(level=level, image=folder / image if image.isupper() else image, command=["true"])
    check(done, caller, caller.entries())
    assert words in done.stderr


def test_hint_is_no_wild_guess(caller):
    """A word is proposed when it is near, and only then."""
    assert "did you mean --timeout?" in caller.run("--timeuot", "5").stderr
    assert "did you mean" not in caller.run("--bogus").stderr
