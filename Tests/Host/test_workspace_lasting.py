"""`create --workspace`, `run -d --workspace`: a container's workspace is the same at each start, is looked at and applied
when the container is stopped, and outlives it where it has changes."""

import os

import pytest
from adoption import kill_supervisor
from conftest import BUSYBOX, alive, wait_until
from containers import store  # noqa: F401


@pytest.fixture
def project(store):  # noqa: F811
    folder = store.place / "project"
    folder.mkdir()
    for name in ("keep", "change", "gone"):
        (folder / name).write_text("old")
    for path in [folder, *folder.iterdir()]:
        store.caller.own(path)
    return folder


def workspaces(store):  # noqa: F811
    try:
        return os.listdir(store.path / "workspaces")
    except FileNotFoundError:
        return []


def part(store, name, *words, fails=None):  # noqa: F811
    """`codex32 workspace`, whose first word stands before --root."""
    done = store.call("workspace", name, *words)
    assert done.returncode == (0 if fails is None else 125), done.stderr
    if fails is not None:
        assert fails in done.stderr and "\nhint: " in done.stderr, done.stderr
        return done.stderr
    return done.stdout


def create(store, folder, script, *options, name="bot"):  # noqa: F811
    store.ok("create", "-q", "--name", name, "--workspace", str(folder), *options, "--image", BUSYBOX, "--", "sh", "-c", script)
    return store.record(name)["id"]


def run_once(store, name="bot"):  # noqa: F811
    store.ok("start", "-q", name)
    assert store.ok("wait", name).strip() == "0", store.logs(name)


@pytest.mark.parametrize("level", ["standard", "strict"])
def test_it_lasts_and_is_applied(store, project, level):  # noqa: F811
    options = ["--isolation", level, *(["--waive", "cgroup"] if level == "strict" else [])]
    id = create(store, project, "pwd; test -e made && rm gone; echo new > change; echo x >> made; cat change", *options)
    assert workspaces(store) == [], "made before anything was started"
    part(store, "diff", "bot", fails="the container has none")
    run_once(store)
    assert store.logs("bot") == b"/workspace\nnew\n" and workspaces(store) == [id]
    assert part(store, "diff", "bot").splitlines() == ["C /change", "A /made"]
    run_once(store)
    assert part(store, "diff", id).splitlines() == ["C /change", "D /gone", "A /made"], "another workspace than at the first start"
    assert sorted(os.listdir(project)) == ["change", "gone", "keep"] and (project / "change").read_text() == "old"
    if level == "standard":
        # What is in it is no change of the root.
        assert [line for line in store.ok("diff", "bot").splitlines() if "workspace" in line] == []
        store.ok("cp", "bot:/workspace/made", store.place / "copy")
        assert (store.place / "copy").read_text() == "x\nx\n"
    part(store, "apply", "bot")
    assert sorted(os.listdir(project)) == ["change", "keep", "made"] and (project / "made").read_text() == "x\nx\n"
    owner = project.stat().st_uid
    assert all(path.stat().st_uid == owner for path in project.iterdir())
    # All of it was applied: the next start has a new one, over the folder as it is now.
    assert workspaces(store) == []
    run_once(store)
    assert part(store, "diff", "bot").splitlines() == ["C /made"] and (project / "made").read_text() == "x\nx\n"
    part(store, "discard", "bot")
    store.ok("remove", "bot")
    assert workspaces(store) == []


@pytest.mark.parametrize("orphan", ["end", "adopt"])
def test_not_while_it_runs(store, project, orphan):  # noqa: F811
    id = create(store, project, "echo new > change; echo ready; exec sleep 100000", "--orphan", orphan)
    store.ok("start", "-q", "bot")
    wait_until(lambda: b"ready" in store.logs("bot"), "the program's word")
    for verb in ("diff", "apply", "discard"):
        said = part(store, verb, "bot", fails="its container bot is running")
        assert "hint: codex32 stop bot" in said
    assert store.ok("exec", "bot", "cat", "/workspace/change") == "new\n"
    pid = store.pid("bot")
    kill_supervisor(store, id)
    if orphan == "adopt":
        # It goes on, and so nobody takes its files from under it.
        part(store, "apply", "bot", fails="its container bot is running")
        assert alive(pid) and store.pid("bot") == pid and (project / "change").read_text() == "old"
        store.ok("stop", "-t", "1", "bot")
    # Whoever takes what a program left ends the program, if its supervisor did not live to.
    assert part(store, "diff", id[:6]).splitlines() == ["C /change"]
    assert not alive(pid)
    part(store, "apply", "bot")
    assert (project / "change").read_text() == "new\n" and store.state("bot") == "exited"


def test_remove_keeps_what_has_changes(store, project):  # noqa: F811
    create(store, project, "cat /workspace/keep", name="reader")
    run_once(store, "reader")
    assert len(workspaces(store)) == 1
    assert "workspace" not in store.call("remove", "reader").stderr and workspaces(store) == []
    id = create(store, project, "echo new > change; echo ready; exec sleep 100000", name="writer")
    store.ok("start", "-q", "writer")
    wait_until(lambda: b"ready" in store.logs("writer"), "the program's word")
    done = store.call("remove", "-f", "writer")
    assert done.returncode == 0 and f"its workspace {id} has changes and is kept: codex32 workspace diff" in done.stderr
    assert store.ids() == [] and part(store, "diff", id).splitlines() == ["C /change"]
    store.ok("system", "recover")
    part(store, "apply", id)
    assert (project / "change").read_text() == "new\n" and workspaces(store) == []
    # One that removes itself keeps it too.
    id = store.ok("run", "-d", "-q", "--rm", "--workspace", str(project), BUSYBOX, "sh", "-c", "echo newer > change").strip()
    # A removal takes the container's name first, and its folder last.
    wait_until(lambda: os.listdir(store.path / "containers") == [], "the end of the container")
    assert part(store, "diff", id).splitlines() == ["C /change"]
    part(store, "discard", id)


def test_another_folder_and_half_a_workspace(store, project):  # noqa: F811
    id = create(store, project, "echo new > change")
    half = store.path / "workspaces" / f".{id}"
    (half / "upper").mkdir(parents=True)
    for path in (half.parent, half, half / "upper"):
        store.caller.own(path)
        path.chmod(0o700)
    run_once(store)
    assert workspaces(store) == [id]
    project.rename(store.place / "moved")
    project.mkdir()
    store.caller.own(project)
    said = store.fails("start", "bot")
    assert "is another folder than the one whose changes it has" in said and f"hint: codex32 workspace discard {id}" in said
    part(store, "discard", id)
    run_once(store)
    # Where it cannot be told whether there are changes it is kept.
    project.rename(store.place / "moved again")
    assert "is kept" in store.call("remove", "bot").stderr and workspaces(store) == [id]
    part(store, "discard", id)
