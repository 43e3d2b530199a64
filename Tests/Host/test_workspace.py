"""`run --workspace`: a folder that stays as it is until its changes are applied."""

import os
import stat
import time

import pytest
from conftest import wait_until
from test_images import shop  # noqa: F401


@pytest.fixture
def work(shop):
    return Work(shop)


class Work:
    def __init__(self, shop):
        self.shop = shop
        self.folder = shop.home / "project"
        (self.folder / "sub/deep").mkdir(parents=True)
        for name, text in {"keep": "k", "change": "old", "gone": "g", "sub/inner": "i", "sub/deep/x": "x"}.items():
            (self.folder / name).write_text(text)
        for path in [self.folder, *self.folder.rglob("*")]:
            self.shop.caller.own(path)

    def state(self):
        return {
            os.path.relpath(path, self.folder): os.readlink(path) if path.is_symlink() else path.read_text() if path.is_file() else None
            for path in sorted(self.folder.rglob("*"))
        }

    def run(self, script, *options, level="standard"):
        done = self.shop.call(
            "run", "--isolation", level, *(["--waive", "cgroup"] if level == "strict" else []), "--workspace", f"{self.folder}", *options, "template:busybox", "--", "sh", "-c", script
        )
        assert done.returncode == 0, done.stderr
        listed = [line.split()[0] for line in self.call("list").stdout.splitlines()[1:]]
        return listed[-1] if listed else None

    def call(self, *words, fails=None):
        done = self.shop.call("workspace", *words)
        if fails is None:
            assert done.returncode == 0, done.stderr
        else:
            assert done.returncode == 125 and fails in done.stderr, done.stderr
        return done


CHANGES = "echo new > change; rm gone; mkdir made; echo m > made/file; ln -s keep link; rm -r sub/deep; mkdir sub/deep; echo y > sub/deep/y; chmod 755 keep"
DIFF = ["C /change", "D /gone", "C /keep", "A /link", "A /made", "A /made/file", "A /sub/deep/y", "D /sub/deep/x"]


@pytest.mark.parametrize("level", ["standard", "strict"])
def test_changes_are_seen_applied_and_gone(work, level):
    before = work.state()
    id = work.run(CHANGES + "; cat /workspace/change", level=level)
    assert work.state() == before
    seen = [line for line in work.call("diff", id).stdout.splitlines() if line not in ("C /sub", "C /sub/deep")]
    assert sorted(seen) == sorted(DIFF)
    work.call("apply", id)
    assert work.state() == {
        "change": "new\n", "keep": "k", "link": "keep", "made": None, "made/file": "m\n", "sub": None, "sub/deep": None, "sub/deep/y": "y\n", "sub/inner": "i",
    } | {"link": "keep"}  # fmt: skip
    assert stat.S_IMODE((work.folder / "keep").stat().st_mode) == 0o755
    owner = work.folder.stat().st_uid
    assert all(path.lstat().st_uid == owner for path in work.folder.rglob("*"))
    assert work.call("list").stdout.splitlines()[1:] == []
    assert os.listdir(work.shop.caller.storage / "workspaces") == []


def test_discard_leaves_the_folder_alone(work):
    before = work.state()
    id = work.run(CHANGES)
    work.call("discard", id)
    assert work.state() == before and work.call("list").stdout.splitlines()[1:] == []
    work.call("diff", id, fails="there is none")


def test_a_run_that_changes_nothing_leaves_none(work):
    assert work.run("cat /workspace/keep; ls /workspace") is None


def test_some_paths_only(work):
    id = work.run(CHANGES)
    work.call("apply", id, "change", "made")
    assert (work.folder / "change").read_text() == "new\n" and (work.folder / "made/file").read_text() == "m\n" and (work.folder / "gone").exists()
    left = work.call("diff", id).stdout.splitlines()
    assert "C /change" not in left and "D /gone" in left
    work.call("apply", id, "nothing", fails="nothing at /nothing changed")
    work.call("apply", id)
    assert not (work.folder / "gone").exists() and work.call("list").stdout.splitlines()[1:] == []


@pytest.mark.parametrize(
    "under,path",
    [
        (lambda f: (f / "change").write_text("mine"), "/change"),
        (lambda f: (f / "gone").write_text("mine"), "/gone"),
        (lambda f: os.unlink(f / "change"), "/change"),
        (lambda f: (f / "made").write_text("mine"), "/made"),
        (lambda f: (f / "link").write_text("mine"), "/link"),
        (lambda f: (f / "sub/deep/x").write_text("mine"), "/sub/deep/x"),
        (lambda f: os.utime(f / "change", ns=(0, 0)), "/change"),
    ],
    ids=range(7),
)
def test_what_changed_underneath_is_not_touched(work, under, path):
    id = work.run(CHANGES)
    time.sleep(0.02)  # a tick of the kernel's clock, by which it tells changes
    under(work.folder)
    before = work.state()
    done = work.call("apply", id, fails=f"since the run began: {path}")
    assert "nothing was applied" in done.stderr and work.state() == before
    work.call("discard", id)


def test_what_changed_elsewhere_does_not_matter(work):
    id = work.run("echo new > change")
    (work.folder / "keep").write_text("mine")
    (work.folder / "other").write_text("mine")
    work.call("apply", id)
    assert work.state()["change"] == "new\n" and work.state()["keep"] == "mine" and work.state()["other"] == "mine"


def test_set_id_bits_and_links_lead_nowhere(work):
    secret = work.shop.home / "secret"
    secret.write_text("s")
    id = work.run(f"echo x > tool; chmod 6755 tool; rm -r sub; ln -s {work.shop.home} sub; ln -sf /etc/shadow keep")
    work.call("apply", id)
    assert stat.S_IMODE((work.folder / "tool").stat().st_mode) == 0o755
    assert os.readlink(work.folder / "sub") == str(work.shop.home) and os.readlink(work.folder / "keep") == "/etc/shadow"
    assert secret.read_text() == "s"


def test_a_link_underneath_is_not_followed(work):
    id = work.run("echo x > sub/deep/new")
    outside = work.shop.home / "outside"
    (outside / "deep").mkdir(parents=True)
    os.rename(work.folder / "sub", work.shop.home / "moved")
    os.symlink(outside, work.folder / "sub")
    assert work.shop.call("workspace", "apply", id).returncode == 125
    assert os.listdir(outside / "deep") == []


def test_while_its_run_goes_on(work):
    caller = work.shop.caller
    with caller.running("--workspace", work.folder, image="template:busybox", level="standard", command=["sh", "-c", "echo new > change; sleep 1000"]) as runner:
        id = wait_until(lambda: [name for name in os.listdir(caller.storage / "workspaces") if name[0] != "."], "a workspace")[0] if (
            wait_until((caller.storage / "workspaces").exists, "workspaces")
        ) else None
        work.call("apply", id, fails="its run goes on")
        work.call("discard", id, fails="its run goes on")
        runner.kill()
        runner.wait()
    # Of a run that was killed too, what it did can be had.
    wait_until(lambda: work.shop.call("workspace", "diff", id).returncode == 0, "an end of the run")
    work.call("discard", id)


def test_words_that_make_no_sense(work):
    for words, why in [
        (["--workspace", "/nowhere/at/all"], "no such file"),
        (["--workspace", str(work.folder / "keep")], "it is no folder"),
        (["--workspace", f"{work.folder}:/x", "-v", f"{work.folder}:/x"], "something else is mounted there"),
    ]:
        done = work.shop.call("run", *words, "template:busybox", "--", "true")
        assert done.returncode == 125 and why in done.stderr, done.stderr
    work.call("apply", fails="needs one")
    work.call("apply", "0123", fails="there is none")
    work.call("mend", "x", fails="no such part")
    assert not (work.shop.caller.storage / "workspaces").exists() or os.listdir(work.shop.caller.storage / "workspaces") == []
