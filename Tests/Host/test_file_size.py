"""A caller whose files may have a certain size only (RLIMIT_FSIZE): codex32 says so, or goes on, and does not die of SIGXFSZ."""

import pytest
from conftest import BUSYBOX, wait_until
from containers import root_store, store  # noqa: F401


def limited(store, most, verb, *words):  # noqa: F811
    """The hard limit too, as the shell's `ulimit -f` sets it; the signal's default is what a child of Python's gets."""
    return store.caller.execute(["prlimit", f"--fsize={most}:{most}", "--", *store.words(verb, *words)])


def run(store, most, *words, level="strict"):  # noqa: F811
    waived = ["--waive", "cgroup"] if level == "strict" else []
    return limited(store, most, "run", "-q", "--isolation", level, *waived, "--image", BUSYBOX, "--", *words)


def cached(store):  # noqa: F811
    folder = store.path / "cache"
    return {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()} if folder.exists() else {}


@pytest.mark.parametrize("level", ["standard", "strict"])
def test_a_filter_that_cannot_be_kept(store, level):  # noqa: F811
    """It is only made anew each time."""
    assert run(store, 1 << 30, "true", level=level).returncode == 0
    ((file, size),) = cached(store).items()
    file.unlink()
    for _ in range(2):
        # What codex32 ignores for itself, its program does not.
        done = run(store, size - 1, "sh", "-c", "grep SigIgn /proc/self/status; exit 7", level=level)
        assert (done.returncode, done.stdout) == (7, "SigIgn:\t0000000000000000\n"), done.stderr
        assert cached(store) == {}
    assert run(store, size, "true", level=level).returncode == 0
    assert cached(store) == {file: size}


def test_a_filter_that_cannot_be_compiled(store):  # noqa: F811
    """libseccomp writes it to a file, and does not see that one was cut off."""
    assert run(store, 1 << 30, "true").returncode == 0  # the template is there
    for file in cached(store):
        file.unlink()
    done = run(store, 4096, "true")
    assert done.returncode == 125, done
    assert "seccomp_export_bpf: file too large\nhint: allow larger files: ulimit -f\n" in done.stderr
    assert cached(store) == {}


def test_a_record_that_cannot_be_written(store):  # noqa: F811
    done = limited(store, 512, "create", "-q", "--name", "bot", "--image", BUSYBOX, "--", "true")
    assert done.returncode == 125, done
    assert done.stderr.startswith("codex32: ") and "file too large\nhint: allow larger files: ulimit -f\n" in done.stderr
    assert store.ids() == [] and store.ok("system", "recover") == "all is in order\n"


def test_a_log_that_may_not_grow(root_store):  # noqa: F811
    """Its supervisor stays, and says what was lost."""
    store = root_store  # noqa: F811
    most = 32 << 10
    store.ok("run", "-q", "--image", BUSYBOX, "--", "true")  # the filter is there
    identity = store.create("yes flooding | head -c 200000; echo all > /tmp/all; exec sleep 1000", "--name", "bot")
    assert limited(store, most, "start", "-q", "bot").returncode == 0
    wait_until(lambda: store.call("exec", "bot", "cat", "/tmp/all").stdout == "all\n", "the end of the flood")
    wait_until(lambda: [event for event in store.events() if event["type"] == "log-lost"], "the event")
    assert store.supervisor(identity) is not None and store.state(identity) == "running"
    assert all(path.stat().st_size <= most for path in (store.folder(identity) / "log").iterdir())
    # Each piece is kept or lost by itself: a later one that is smaller may still have had room.
    assert set(store.logs(identity)) <= set(b"flooding\n")
    store.ok("stop", "-t", "0", "bot")
    assert store.record(identity)["state"]["verdict"]["reason"] == "signaled"
