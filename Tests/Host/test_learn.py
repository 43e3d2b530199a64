"""`learn` and `--profile`: what a program needed is seen, written down, and all that it has the next time."""

import hashlib
import json
import os
import shutil
import signal
import subprocess

import pytest
from conftest import BUSYBOX, HAS_CGROUP2, REPO, wait_until
from containers import Store
from test_levels import REFUSED_AT_STANDARD, REFUSED_AT_STRICT, tried

DEMO = REPO / "Tests/Demo"


def learn(caller, *options, level="standard", image=BUSYBOX, command=(), **more):
    """Runs a program as `run` would, and looks at it."""
    words = caller.words(*options, level=level, image=image, command=command)
    words[words.index("run")] = "learn"
    return caller.execute(words, **more)


def learned(caller, folder, *options, name="profile.json", status=0, **what):
    """The profile of a program that ended with a status."""
    path = folder / name
    done = learn(caller, "--output", path, *options, **what)
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    assert not list(folder.glob(".*")), "a temporary file is left"
    return path, json.loads(path.read_text())


@pytest.fixture
def bot(caller, folder):
    """The sample bot with its two folders, and what shows them to it."""
    for name in ("data", "reports", "other"):
        (folder / name).mkdir()
    shutil.copy(DEMO / "prices.csv", folder / "data")
    shutil.copy(DEMO / "sample_bot.py", folder)
    caller.own(folder)
    return folder / "sample_bot.py", [f"-v={folder}/data:/data", f"-v={folder}/reports:/reports"]


def test_the_sample_bot(caller, level, folder, bot):
    script, volumes = bot
    receipt = folder / "receipt.json"
    if level == "minimal":
        pytest.skip("at minimal a script runs on the machine's own tree, which has no such folders")
    path, profile = learned(caller, folder, *volumes, f"-v={folder}/other:/other", level=level, image=script)
    report = folder / "reports/report.txt"
    before = report.read_bytes()
    report.unlink()
    assert (profile["codex32Profile"], profile["isolation"], profile["architecture"]) == (1, level, os.uname().machine)
    assert {"execve", "read", "write", "exit_group"} <= set(profile["systemCalls"]) and len(profile["systemCalls"]) < 110
    assert not {"socket", "mount", "ptrace", "clone", "fork", "vfork", "clone3", "unlink", "rename"} & set(profile["systemCalls"])
    # Given read-write and only read: read-only. Not touched: not there.
    assert {each["target"]: each["readOnly"] for each in profile["volumes"]} == {"/data": True, "/reports": False}
    # With the profile alone, at its level, the bot does what it did.
    words = ["--profile", path, "--receipt", receipt]
    done = caller.run(*words, level=None, image=script)
    assert done.returncode == 0, done.stderr
    assert report.read_bytes() == before
    seen = json.loads(receipt.read_text())
    assert seen["isolation"] == level and seen["seccomp"]["mode"] == 2
    assert seen["profile"]["name"] == str(path)
    assert seen["profile"]["digest"] == "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    mounts = {mount["target"]: mount["options"] for mount in seen["mounts"]}
    assert "ro" in mounts["/data"] and "rw" in mounts["/reports"] and "/other" not in mounts
    assert int(seen["resourceLimits"]["nofile"]["hard"]) <= profile["limits"]["openFiles"]
    assert seen["resourceLimits"]["fsize"]["hard"] == str(profile["limits"]["fileBytes"])


def test_what_was_not_learned_is_refused(caller, level, folder):
    """Whatever the level lets through; and --explain says how it would be."""
    path, profile = learned(caller, folder, level=level, command=["sh", "-c", "echo here"])
    verdict = folder / "verdict.json"
    words = ["--profile", path, "--explain", "--result-file", verdict]
    place = "/tmp" if level != "minimal" else folder
    done = caller.run(*words, level=level, command=["sh", "-c", f"echo here; mkdir {place}/new"])
    assert done.stdout == "here\n" and done.returncode != 0
    assert "peration not permitted" in done.stderr
    assert not (folder / "new").exists()
    denied = json.loads(verdict.read_text())["denied"]
    assert denied and all(each["error"] == "EPERM" and each["name"] not in profile["systemCalls"] for each in denied)
    assert {each["option"] for each in denied} == {f"codex32 learn --append {path}"}


@pytest.mark.parametrize(
    "level, refused", [("standard", REFUSED_AT_STANDARD), ("strict", REFUSED_AT_STRICT)], ids=["standard", "strict"]
)
def test_the_level_refuses_while_learning(caller, level, refused, probe, folder):
    """The level's own filter decides while a program is looked at, and what it refuses no profile has."""
    silent = tried(caller, level, probe, *refused)
    path = folder / "profile.json"
    words = ["-v", f"{probe}:/probe:ro", "--output", path]
    done = learn(caller, *words, level=level, command=["/probe/probe", *refused])
    assert done.returncode == 0, done.stderr
    assert dict(line.split(" ", 1) for line in done.stdout.splitlines()) == silent
    profile = json.loads(path.read_text())
    refused_calls = {"unshare", "mount", "bpf", "keyctl", "add_key", "io_uring_setup", "reboot", "init_module", "swapon"}
    assert not refused_calls & set(profile["systemCalls"])
    # And under what was learned of these attempts they are refused as before.
    assert tried(caller, level, probe, *refused, options=["--profile", path]) == silent


def test_a_profile_edited_to_give_more_gives_nothing(caller, folder, probe):
    path, profile = learned(caller, folder, f"-v={probe}:/probe:ro", level="strict", command=["/probe/probe", "reboot"])
    more = ["mount", "unshare", "reboot", "bpf", "ptrace", "keyctl", "io_uring_setup"]
    profile["systemCalls"] += more
    profile["limits"] |= {"memoryBytes": 1 << 40, "processes": 1 << 20}
    path.write_text(json.dumps(profile))
    names = ["mount", "unshare_user", "reboot", "bpf", "ptrace", "keyctl", "io_uring"]
    assert tried(caller, "strict", probe, *names, options=["--profile", path]) == tried(caller, "strict", probe, *names)
    words = caller.words("--profile", path, "--dry-run", "--format", "json", level="strict", command=["true"])
    plan = json.loads(caller.execute(words).stdout)
    if plan["cgroup"]:
        assert (plan["cgroup"]["memory.max"], plan["cgroup"]["pids.max"]) == (str(512 << 20), "512")


def test_append(caller, folder):
    """Another path of the program widens the profile; the first one's needs stay."""
    script = 'case $1 in a) mkdir /tmp/a;; b) echo x > /tmp/b && ln -s b /tmp/c && rm /tmp/c;; esac'
    path, first = learned(caller, folder, level="strict", command=["sh", "-c", script, "sh", "a"])
    run = lambda which: caller.run("--profile", path, level="strict", command=["sh", "-c", script, "sh", which])
    assert run("a").returncode == 0
    assert run("b").returncode != 0
    done = learn(caller, "--append", path, level="strict", command=["sh", "-c", script, "sh", "b"])
    assert done.returncode == 0, done.stderr
    both = json.loads(path.read_text())
    assert set(first["systemCalls"]) < set(both["systemCalls"]) and both["runs"] == 2
    assert (run("a").returncode, run("b").returncode) == (0, 0)
    # What it needs once more changes nothing but the count.
    assert learn(caller, "--merge", path, level="strict", command=["sh", "-c", script, "sh", "a"]).returncode == 0
    again = json.loads(path.read_text())
    assert (again["systemCalls"], again["limits"], again["runs"]) == (both["systemCalls"], both["limits"], 3)


def test_many_processes_and_threads(caller, folder):
    """Each call of each process is answered, whoever ends when; and they are counted."""
    script = "for n in 1 2 3 4 5 6 7 8; do (i=0; while [ $i -lt 20 ]; do /bin/true; i=$((i+1)); done) & done; wait; exit 9"
    path, profile = learned(caller, folder, "--init", level="strict", command=["sh", "-c", script], status=9)
    assert profile["observed"]["processes"] >= 9
    assert caller.run("--init", "--profile", path, level="strict", command=["sh", "-c", script]).returncode == 9
    # Without --init the shell itself is pid 1.
    assert caller.run("--profile", path, level="strict", command=["sh", "-c", script]).returncode == 9


def test_terminal_and_init(caller, level, folder):
    path, _ = learned(caller, folder, "--init", "-t", level=level, command=["sh", "-c", "exit 4"], status=4)
    done = caller.run("--init", "-t", "--profile", path, level=level, command=["sh", "-c", "exit 4"])
    assert done.returncode == 4, done.stderr


def test_volumes_by_every_way(caller, folder):
    """Through a relative path, a link, a descriptor and a folder's name: the volume is known by the mount itself."""
    for name in ("relative", "linked", "opened", "made", "moved", "checked", "chmodded"):
        (folder / name).mkdir()
        (folder / name / "file").write_text("x")
    caller.own(folder)
    script = (
        "cd /relative && cat ./file; ln -s /linked/file /tmp/l && echo y >> /tmp/l; exec 3< /opened/file; cat <&3;"
        " mkdir /made/new; mv /moved/file /moved/file2; echo >> /checked/file; chmod 600 /chmodded/file"
    )
    names = ["relative", "linked", "opened", "made", "moved", "checked", "chmodded"]
    path, profile = learned(
        caller, folder, *[f"-v={folder}/{name}:/{name}" for name in names], level="strict", command=["sh", "-c", script]
    )
    read_only = {each["target"]: each["readOnly"] for each in profile["volumes"]}
    assert read_only == {
        "/relative": True, "/linked": False, "/opened": True, "/made": False, "/moved": False, "/checked": False, "/chmodded": False,
    }  # fmt: skip
    (folder / "made/new").rmdir()
    (folder / "moved/file2").rename(folder / "moved/file")
    done = caller.run("--profile", path, level="strict", command=["sh", "-c", script])
    assert done.returncode == 0, done.stderr


def test_volume_of_its_own(caller, folder):
    path, profile = learned(caller, folder, "-v", "/own", "-v", "/idle", level="strict", command=["sh", "-c", "echo x > /own/file"])
    assert profile["volumes"] == [{"source": None, "target": "/own", "readOnly": False, "noExecute": False, "mapOwners": None}]
    assert caller.run("--profile", path, level="strict", command=["sh", "-c", "echo x > /own/file"]).returncode == 0


def test_what_was_looked_for_in_vain(caller, folder):
    """Named, and given to nobody; ordinary places are not worth a word."""
    words = [word for word in caller.words("-o", folder / "p.json", level="standard", command=["sh", "-c", "cat /data/in.csv /etc/none; exit 0"]) if word != "-q"]
    words[words.index("run")] = "learn"
    done = caller.execute(words)
    assert done.returncode == 0, done.stderr
    profile = json.loads((folder / "p.json").read_text())
    assert profile["missing"] == ["/data/in.csv"] and profile["volumes"] == []
    assert "looked for /data/in.csv, which is not there" in done.stderr
    assert f"run --profile {folder}/p.json" in done.stderr


def test_ended_by_a_person(caller, folder):
    """It would have taken longer: no limit of time. Looked at, a fork may be interrupted by the signal: none is made."""
    path = folder / "p.json"
    words = caller.words("--output", path, level="standard", command=["sh", "-c", 'trap "exit 0" TERM; echo ready; while :; do :; done'])
    words[words.index("run")] = "learn"
    process = subprocess.Popen(words, env=caller.environment(), cwd=caller.home, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 0, process.stderr.read()
    process.stdout.close()
    process.stderr.close()
    profile = json.loads(path.read_text())
    assert profile["limits"]["wallSeconds"] is None and profile["limits"]["cpuSeconds"] is None


def test_killed_while_learning(caller, folder):
    """Its program ends with it, whatever it was waiting for, and no half of a profile is there."""
    path = folder / "p.json"
    words = caller.words("--output", path, level="strict", command=["sh", "-c", "echo ready; while :; do cat /etc/passwd > /dev/null; done"])
    words[words.index("run")] = "learn"
    process = subprocess.Popen(words, env=caller.environment(), cwd=caller.home, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout.readline() == b"ready\n"
    process.kill()
    process.wait()
    wait_until(lambda: process.stdout.read() is not None, "the end of the program's output")
    process.stdout.close()
    assert list(folder.iterdir()) == []
    # What it left written down is swept by the next.
    assert caller.run(level="strict", command=["true"]).returncode == 0
    assert caller.entries() == set()


def test_status_and_streams(caller, level, folder):
    """`learn` is `run` in everything that a program sees of it."""
    done = learn(caller, "-o", folder / "p.json", "-i", level=level, command=["sh", "-c", "cat; echo e >&2; exit 7"], input="in")
    assert (done.returncode, done.stdout, done.stderr) == (7, "in", "e\n")
    done = learn(caller, "-o", folder / "q.json", level=level, command=["/no/such"])
    assert done.returncode == 127 and not (folder / "q.json").exists()
    done = learn(caller, "-o", "-", level=level, command=["true"])
    assert json.loads(done.stdout)["codex32Profile"] == 1


def test_default_name_and_image(caller, folder):
    done = caller.execute(
        [*caller.become(), str(caller.binary), "learn", "--root", str(caller.storage), "-q", "--isolation", "minimal", "--name", "mine", "--", "/bin/true"]
    )
    path = caller.home / "mine.codex32-profile.json"
    assert done.returncode == 0, done.stderr
    assert json.loads(path.read_text())["image"] == "template:host"
    path.unlink()


# MARK: attacks

ATTACKS = [
    "unshare-user", "clone-user", "clone3-user", "mount", "fsopen", "open-tree", "pivot-root", "set-hostname", "plain-path",
    "magic-links", "file-handle", "hard-link", "plant-setuid", "bpf", "perf-event", "io-uring", "userfaultfd", "keyring",
    "add-key", "seccomp-listener",
]  # fmt: skip


def test_attacks_stay_stopped_under_what_was_learned_of_them(caller, folder):
    """The worst profile there is: of the attacks themselves. What the level stops it stops as before."""
    if b"/ld-linux" in caller.binary.read_bytes()[:4096]:
        pytest.skip("for the static binary only: make build")
    path = folder / "profile.json"
    for name in ("volume", "read-only"):
        (folder / name).mkdir()
    caller.own(folder)
    volumes = ["-v", f"{folder}/volume:/volume", "-v", f"{folder}/read-only:/read-only", "-v", f"{caller.binary}:/attack"]
    known = ["ATTACK_VOLUME=/volume", "ATTACK_READ_ONLY=/read-only", "ATTACK_PLACE=/tmp", "ATTACK_SENTINEL=/no/such"]
    words = [*volumes, *[word for each in known for word in ("-e", each)]]
    learn(caller, "-o", path, *words, level="strict", command=["/attack", "attack-program", "try", *ATTACKS])
    done = learn(caller, "--append", path, *words, level="strict", command=["sh", "-c", "exit 7"])
    assert done.returncode == 7, done.stderr
    waive = [] if HAS_CGROUP2 else ["--waive", "cgroup"]
    tried = ["--attack", "--level", "strict", "--only", ",".join(ATTACKS), "--profile", path, "--format", "json"]
    done = caller.execute([*caller.become(), *map(str, [caller.binary, "selftest", *waive, *tried, "--root", caller.storage])])
    (found,) = json.loads(done.stdout)["callers"]
    assert found["absent"] == [], found["absent"]
    assert len(found["attacks"]) == len(ATTACKS)
    for each in found["attacks"]:
        assert each["levels"]["strict"]["outcome"] in ("stopped", "impossible"), each
        assert each["control"]["outcome"] in ("succeeded", "impossible", None), each
    assert sum(each["control"]["outcome"] == "succeeded" for each in found["attacks"]) >= 8
    assert done.returncode == 0


# MARK: explicit options beside a profile


def plan(caller, *options, level=None, command=("true",)):
    words = [word for word in caller.words("--dry-run", "--format", "json", *options, level=level, command=command) if word != "-q"]
    done = caller.execute(words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def test_options_tighten_and_loosen_in_words(caller, folder):
    (folder / "data").mkdir()
    (folder / "elsewhere").mkdir()
    caller.own(folder)
    path, profile = learned(caller, folder, "-v", f"{folder}/data:/data", level="standard", command=["ls", "/data"])
    assert profile["limits"]["openFiles"] >= 256
    made, said = plan(caller, "--profile", path)
    assert made["isolation"] == "standard" and "profile" not in said
    assert any(step for step in made["steps"] if f"{folder}/data" in step) or f"{folder}/data" in [each["path"] for each in made["sources"]]
    # Less than the profile gives is nobody's business.
    _, said = plan(caller, "--profile", path, "--ulimit", "nofile=64", "--timeout", "1s", "-v", f"{folder}/data:/data:ro")
    assert "profile" not in said
    _, said = plan(
        caller, "--profile", path, "--ulimit", "nofile=100000", "--timeout", "10h", "-v", f"{folder}/data:/data", "-v", f"{folder}/elsewhere:/more"
    )  # fmt: skip
    for word in ("--ulimit nofile is ", "--timeout is more than the profile gives", "-v /data is read-only in the profile", "-v /more is not in the profile"):
        assert word in said, (word, said)


def test_levels(caller, folder):
    path, _ = learned(caller, folder, level="standard", command=["true"])
    words = caller.words("--profile", path, level="minimal", command=["true"])
    done = caller.execute(words)
    assert done.returncode == 125 and "learned at standard" in done.stderr and "\nhint: " in done.stderr
    done = caller.execute(caller.words("--profile", path, level=None, command=["true"]), env={"CODEX32_ISOLATION_LEVEL": "minimal"})
    assert done.returncode == 125
    _, said = plan(caller, "--profile", path, level="strict")
    assert "learned at standard" in said


def test_a_container_keeps_its_profile(caller, folder):
    """create, start, exec and inspect: the profile is in the record, and its file is not asked again."""
    store = Store(caller, folder)
    # It complains for as long as there is no such file: much of that would push its word out of the log.
    script = "echo here; until read -t 1 line < /tmp/go; do :; done 2> /dev/null"
    path, profile = learned(caller, folder, level="standard", command=["sh", "-c", f"echo x > /tmp/go; {script}"])
    name = store.create(script, "--profile", path)
    path.unlink()
    store.ok("start", name)
    kept = json.loads(store.ok("inspect", name))[0]["configuration"]["learned"]
    assert kept["name"] == str(path) and kept["systemCalls"] == profile["systemCalls"]
    assert json.loads(store.ok("inspect", "--receipt", name))[0]["profile"]["digest"] == kept["digest"]
    wait_until(lambda: "here" in store.ok("logs", name), "the program's word")
    # A second program has what is left, too.
    done = store.call("exec", name, "sh", "-c", "mkdir /tmp/new")
    assert done.returncode != 0 and "peration not permitted" in done.stderr
    store.ok("exec", "-d", name, "sh", "-c", "echo x > /tmp/go")
    assert store.ok("wait", name).strip() == "0"
    store.ok("remove", name)


# MARK: bad input


def test_bad_profiles(caller, folder):
    path, profile = learned(caller, folder, level="standard", command=["true"])
    good = path.read_text()
    other = "aarch64" if profile["architecture"] != "aarch64" else "x86_64"
    bad = {
        "torn": good[: len(good) // 2],
        "empty": "",
        "binary": "\0\1\2",
        "text": "read\nwrite\n",
        "list": "[]",
        "newer": json.dumps(profile | {"codex32Profile": 2}),
        "docker": json.dumps({"defaultAction": "SCMP_ACT_ALLOW"}),
        "field": json.dumps(profile | {"capabilities": ["SYS_ADMIN"]}),
        "call": json.dumps(profile | {"systemCalls": ["read", "launch_missiles"]}),
        "machine": json.dumps(profile | {"architecture": other}),
        "large": good + " " * (1 << 18),
        "deep": "[" * 100000,
        "proc": json.dumps(profile | {"volumes": [{"source": "/etc", "target": "/proc/x"}]}),
        "up": json.dumps(profile | {"volumes": [{"source": "/etc", "target": "/a/../b"}]}),
        "gone": json.dumps(profile | {"volumes": [{"source": "/no/such/folder", "target": "/a"}]}),
        "device": json.dumps(profile | {"volumes": [{"source": "/dev/null", "target": "/a"}]}),
        "twice": json.dumps(profile | {"volumes": [{"source": "/etc", "target": "/a"}] * 2}),
        "duplicate": good.replace('"runs"', '"isolation": "minimal", "runs"', 1),
        "escape": json.dumps(profile | {"isolation": "\x1b[31mred"}),
    }
    places = []
    for name, text in bad.items():
        place = folder / name
        place.write_text(text)
        places.append(place)
    link, pipe, everybodys = folder / "link", folder / "pipe", folder / "everybodys"
    link.symlink_to(path)
    os.mkfifo(pipe)
    everybodys.write_text(good)
    everybodys.chmod(0o666)
    before = caller.entries()
    for place in [*places, link, pipe, everybodys, folder, folder / "none", "/dev/null", "/proc/self/mem"]:
        done = caller.execute(caller.words("--profile", place, level=None, command=["true"]))
        assert (done.returncode, done.stdout) == (125, ""), (place, done.returncode, done.stderr)
        assert done.stderr.startswith("codex32: cannot ") and "\nhint: " in done.stderr, (place, done.stderr)
        assert "\x1b" not in done.stderr
        if place != folder / "none":
            done = learn(caller, "--append", place, level="standard", command=["true"])
            assert done.returncode == 125 or place.name in ("call", "proc", "up", "gone", "device"), (place, done.stderr)
    assert link.is_symlink() and path.read_text() == good
    assert caller.entries() == before


@pytest.mark.parametrize(
    "options, word",
    [
        (["--output", "p", "--append", "q"], "--append"), (["--headroom", "-1"], "--headroom"), (["--headroom", "x"], "--headroom"),
        (["--headroom", "10001"], "--headroom"), (["--output", ""], "--output"), (["--append", "-"], "--append"),
        (["--output", "/no/such/folder/p"], "/no/such/folder/p"), (["--output", "/tmp/"], "/tmp/"), (["--append", "/no/such"], "/no/such"),
        (["--waive", "seccomp", "-o", "-"], "seccomp"), (["--profile", "p"], "--profile"), (["-d"], "-d"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_bad_options(caller, options, word):
    before = caller.entries(), sorted(os.listdir(caller.home))
    done = learn(caller, *options, level="standard", command=["true"])
    assert (done.returncode, done.stdout) == (125, ""), done.stderr
    assert word in done.stderr and "\nhint: " in done.stderr
    assert (caller.entries(), sorted(os.listdir(caller.home))) == before


def test_a_file_that_is_there_is_not_overwritten(caller, folder):
    path = folder / "p.json"
    path.write_text("mine")
    done = learn(caller, "-o", path, level="standard", command=["true"])
    assert done.returncode == 125 and "--append" in done.stderr
    assert path.read_text() == "mine"


def test_no_file_beside_it_is_touched(caller, folder):
    """Whether the folder takes files is tried out before the program runs, with a name that nobody has."""
    names = ["p.json", "result.json", "receipt.json"]
    for name in names:
        (folder / f".{name}.codex32").write_text("mine")
    caller.own(folder)
    before = sorted(os.listdir(folder))
    options = ["--result-file", folder / names[1], "--receipt", folder / names[2]]
    done = learn(caller, "-o", folder / names[0], *options, level="standard", command=["true"])
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(folder)) == sorted(before + names)
    assert all((folder / f".{name}.codex32").read_text() == "mine" for name in names)
    # And where it takes none, the program does not run.
    if caller.name == "user":
        os.chown(folder, 0, 0)
        done = learn(caller, "-o", folder / "q.json", level="standard", command=["echo", "ran"])
        assert done.returncode == 125 and "cannot write the profile" in done.stderr and "ran" not in done.stdout
