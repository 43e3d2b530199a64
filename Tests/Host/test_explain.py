"""`run --explain`: what the program was refused, in the verdict and in words, and that the refusals stay what they are."""

import errno
import json

import pytest
from conftest import BUSYBOX
from test_levels import REFUSED_AT_STANDARD, REFUSED_AT_STRICT, tried


def explained(caller, folder, level, *options, command, **more):
    """What is denied, by name, and the run."""
    verdict = folder / "verdict.json"
    done = caller.run("--explain", "--result-file", verdict, *options, level=level, command=command, **more)
    assert verdict.exists(), done.stderr
    return {each["name"]: each for each in json.loads(verdict.read_text())["denied"]}, done


@pytest.mark.parametrize(
    "level, refused", [("standard", REFUSED_AT_STANDARD), ("strict", REFUSED_AT_STRICT)], ids=["standard", "strict"]
)
def test_answers_are_the_same(caller, level, refused, probe):
    """The filter that tells answers every call as the one that does not."""
    silent = tried(caller, level, probe, *refused)
    told = tried(caller, level, probe, *refused, options=["--explain"])
    assert told == silent


def test_calls_and_options(caller, folder, probe):
    denied, done = explained(
        caller, folder, "standard", "-v", f"{probe}:/probe:ro", command=["/probe/probe", "unshare_user", "reboot", "io_uring", "perf"]
    )
    assert done.returncode == 0, done.stderr
    assert denied["unshare"] == {"kind": "call", "name": "unshare", "error": "EPERM", "count": 1, "option": "--cap-add SYS_ADMIN"}
    assert denied["reboot"]["option"] == "--cap-add SYS_BOOT"
    assert denied["io_uring_setup"]["option"] == "--isolation minimal"
    assert denied["perf_event_open"]["option"] == "--cap-add PERFMON"


def test_the_option_that_is_named_helps(callers, folder, probe):
    """What it says of a capability is so: the call gets through with it."""
    caller = callers["root"]
    met = tried(caller, "standard", probe, "chroot", options=["--cap-drop", "SYS_CHROOT"])
    assert met == {"chroot": str(errno.EPERM)}
    denied, _ = explained(
        caller, folder, "standard", "--cap-drop", "SYS_CHROOT", "-v", f"{probe}:/probe:ro", command=["/probe/probe", "chroot"]
    )
    assert denied["chroot"]["option"] == "--cap-add SYS_CHROOT"
    assert tried(caller, "standard", probe, "chroot") == {"chroot": "0"}


def test_in_words(caller, probe):
    words = [word for word in caller.words("-v", f"{probe}:/probe:ro", "--explain", level="strict", command=["/probe/probe", "mount"]) if word != "-q"]
    done = caller.execute(words)
    assert done.returncode == 0
    assert "codex32: denied: mount, EPERM, once: --isolation minimal would allow it\n" in done.stderr


def test_many_refusals_are_counted(caller, folder):
    """A thousand and more, from several processes at once: each is answered."""
    script = "for n in 1 2 3 4; do (i=0; while [ $i -lt 50 ]; do chmod 4755 /tmp 2>/dev/null; i=$((i+1)); done) & done; wait; exit 3"
    denied, done = explained(caller, folder, "strict", command=["sh", "-c", script])
    assert done.returncode == 3, done.stderr
    assert denied["chmod"]["count"] == 200


def test_nothing_denied(caller, level, folder):
    denied, done = explained(caller, folder, level, command=["true"])
    assert (done.returncode, denied) == (0, {}), done.stderr


def test_limits(caller, level, folder):
    denied, done = explained(caller, folder, level, "--timeout", "300ms", command=["sleep", "1000"])
    assert done.returncode == 124
    assert denied["time"] == {"kind": "limit", "name": "time", "error": None, "count": 1, "option": "--timeout"}


def test_not_asked_for(caller, level, folder):
    verdict = folder / "verdict.json"
    caller.run("--result-file", verdict, level=level, command=["true"])
    assert "denied" not in json.loads(verdict.read_text())


def test_with_init_and_terminal(caller, level, folder):
    denied, done = explained(caller, folder, level, "--init", "-t", command=["sh", "-c", "exit 4"])
    assert (done.returncode, denied) == (4, {}), done.stderr


def test_program_that_is_not_there(caller, level):
    assert caller.run("--explain", level=level, command=["/no/such"]).returncode == 127


def test_codex32_gone(caller):
    """Killed, its program ends with it, whatever it was waiting for."""
    with caller.running("--explain", level="strict", command=["sh", "-c", "while :; do chmod 4755 /tmp; done"]) as process:
        caller.record(process)
        process.kill()


PROFILE = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}


@pytest.mark.parametrize("options", [["--waive", "seccomp"], ["-d", "--orphan", "adopt"], ["--seccomp", "PROFILE"]], ids=lambda words: words[0])
def test_what_does_not_go_together(caller, folder, options):
    profile = folder / "profile.json"
    profile.write_text(json.dumps(PROFILE))
    caller.own(profile)
    options = [profile if word == "PROFILE" else word for word in options]
    before = caller.entries()
    done = caller.run("--explain", *options, level="standard", image=BUSYBOX, command=["true"])
    assert (done.returncode, done.stdout) == (125, "")
    assert "--explain" in done.stderr and "\nhint: " in done.stderr
    assert caller.entries() == before


def test_own_profile(caller, folder):
    """The option is then a line in it, and its own error numbers are answered."""
    profile = folder / "profile.json"
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSPC}]}))
    caller.own(profile)
    denied, done = explained(caller, folder, "standard", "--seccomp", profile, command=["mkdir", "/tmp/x"])
    assert "No space left" in done.stderr
    assert denied["mkdir"]["error"] == "ENOSPC" and str(profile) in denied["mkdir"]["option"]
