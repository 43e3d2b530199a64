"""What a caller can break with no tracer's help: an output that takes nothing."""

import ctypes
import os
import platform
import signal
import struct
import subprocess

import pytest
from conftest import PATIENCE
from faults import Store, refused


def printing(caller, output, words, **more):
    """Runs words with their output on something that was opened for it."""
    return subprocess.run(
        words, env=caller.environment(), cwd=caller.home, stdin=subprocess.DEVNULL, stdout=output,
        stderr=subprocess.PIPE, text=True, timeout=PATIENCE, check=False, **more,
    )  # fmt: skip


def full(store, verb, *words):
    """Runs a verb with its output on a device that takes nothing (full(4))."""
    with open("/dev/full", "w") as output:
        return printing(store.caller, output, store.words(verb, *words))


@pytest.mark.parametrize("verb", [["create"], ["run", "-d"]])
def test_id_that_cannot_be_printed(caller, fault, verb):
    store = Store(caller, fault)
    done = full(store, *verb, *store.made("bot"))
    assert done.returncode == 125
    refused(done, hinted=True)
    assert "cannot print the container's id: write standard output: no space left on device" in done.stderr
    assert store.in_order() == {}
    store.create("bot")  # its name is free again
    store.clear()


LOST = "codex32: cannot pass on all that the program wrote: write standard output: no space left on device\nhint: "


def test_output_of_an_attached_container_that_cannot_be_passed_on(caller, fault):
    store = Store(caller, fault)
    id = store.create("bot", command=["sh", "-c", "echo said; sleep 1; echo more; echo other >&2; exit 3"])
    done = full(store, "start", "-q", "-a", "bot")
    # It is told once, what can be passed on is, and it ended as it would have.
    assert done.returncode == 3 and done.stderr == f"other\n{LOST}codex32 logs bot has all of it\n"
    assert store.must("wait", "bot") == "3\n"
    assert store.must("logs", "bot") == "said\nmore\n"
    assert store.in_order()[id]["state"] == "exited"
    store.clear()


@pytest.mark.parametrize("options", [["-t"], ["--output-limit", "1m"]])
def test_output_of_a_run_that_cannot_be_passed_on(caller, options):
    script = "echo said; sleep 1; echo more; exit 3"
    with open("/dev/full", "w") as output:
        done = printing(caller, output, caller.words(*options, command=["sh", "-c", script]))
    assert done.returncode == 3 and done.stderr.count(LOST) == 1 and done.stderr.count("\n") == 2, done
    # Nor does more than a reader wants keep it from its end, and nothing is said of that.
    read, write = os.pipe()
    os.close(read)
    done = printing(caller, write, caller.words(*options, command=["sh", "-c", script]))
    os.close(write)
    assert (done.returncode, done.stderr) == (3, "")


def test_output_of_exec_that_cannot_be_passed_on(caller, fault):
    store = Store(caller, fault)
    store.create("bot")
    store.must("start", "-q", "bot")
    with open("/dev/full", "w") as output:
        done = printing(caller, output, store.words("exec", "-t", "bot", "sh", "-c", "echo said; sleep 1; echo more; exit 3"))
    assert done.returncode == 3 and done.stderr.count(LOST) == 1 and done.stderr.count("\n") == 2, done
    store.clear()


RESULTS = [
    ["list", "-a"], ["list", "-a", "--format", "json"], ["list", "-aq"], ["inspect", "bot"], ["logs", "bot"],
    ["logs", "-f", "bot"], ["events"], ["events", "-f"], ["stats", "-a", "--no-stream"],
    ["stats", "-a", "--format", "json"], ["diff", "bot"], ["system", "df"], ["wait", "bot"],
]  # fmt: skip


def test_results_that_cannot_be_written(caller, fault):
    """Nobody takes a list for whole that is not."""
    store = Store(caller, fault)
    store.create("bot", command=["sh", "-c", "echo said; touch /new"])
    store.must("start", "-q", "-a", "bot")
    for words in RESULTS:
        done = full(store, *words)
        assert done.returncode == 125, (words, done)
        assert done.stderr.startswith("codex32: cannot write to standard output: no space left on device\nhint: "), (words, done)
        refused(done, hinted=True)
        # Of whoever has read enough nothing is said, nor is that a failure but for the signal, where it is not ignored (pipe(7)).
        read, write = os.pipe()
        os.close(read)
        gone = printing(store.caller, write, store.words(*words), restore_signals=False)
        ended = printing(store.caller, write, store.words(*words))
        os.close(write)
        assert (gone.returncode, gone.stderr) == (0, ""), (words, gone)
        assert (ended.returncode, ended.stderr) == (-signal.SIGPIPE, ""), (words, ended)
    for words in (["image", "list", "--root", str(store.path)], ["version"], ["doctor"], ["--help"], ["list", "--help"], ["man"], ["completion", "bash"]):
        with open("/dev/full", "w") as output, open("/dev/null") as unwritable:
            done = printing(store.caller, output, [*caller.become(), str(caller.binary), *words])
            assert done.returncode == 125 and "cannot write to standard output: no space left on device" in done.stderr, (words, done)
            done = printing(store.caller, unwritable, [*caller.become(), str(caller.binary), *words])
            assert done.returncode == 125 and "cannot write to standard output: bad file descriptor" in done.stderr, (words, done)
    # A runtime's callers know 1.
    with open("/dev/full", "w") as output:
        done = printing(store.caller, output, [*caller.become(), str(caller.binary), "oci", "features"])
        assert done.returncode == 1 and done.stderr.count("cannot write to standard output") == 1, done
    # A verb of several things does them all.
    store.create("other", command=["true"])
    done = full(store, "remove", "bot", "other")
    assert done.returncode == 125 and "anything else that was to be done is done" in done.stderr, done
    assert store.in_order() == {}
    store.clear()


def takes_nothing():
    """From here on a write to standard output says that it wrote nothing (seccomp(2): an errno of 0)."""
    number = {"x86_64": 1, "aarch64": 64}[platform.machine()]
    code = [(0x20, 0, 0, 0), (0x15, 0, 3, number), (0x20, 0, 0, 16), (0x15, 0, 1, 1), (0x06, 0, 0, 0x50000), (0x06, 0, 0, 0x7FFF0000)]
    program = b"".join(struct.pack("HBBI", *each) for each in code)
    held = ctypes.create_string_buffer(program)
    filter = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(code), ctypes.addressof(held)))
    libc = ctypes.CDLL(None)
    assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, filter, 0, 0) == 0


def test_output_that_takes_nothing_and_gives_no_reason(callers, fault):
    store = Store(callers["root"], fault)
    done = printing(store.caller, subprocess.DEVNULL, [str(store.caller.binary), "version"], preexec_fn=takes_nothing)
    assert done.returncode == 125 and "cannot write to standard output: input/output error" in done.stderr, done
