"""What people look at, and what looks after the store: stats, dashboard, update, prune, system, port, own volumes.

The dashboard and the live table run on a pty of the test's own, as over ssh.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import re
import select
import shutil
import signal
import struct
import subprocess
import termios
import time

import pytest
from conftest import BUSYBOX, HAS_CGROUP2, PATIENCE, alive, wait_until


class Store:
    """One caller's own, empty store, with the verbs as methods."""

    def __init__(self, caller):
        self.caller = caller

    def words(self, verb, *words):
        return self.caller.become() + [str(self.caller.binary), *verb.split(), "--root", str(self.caller.storage), *map(str, words)]

    def __call__(self, verb, *words, ok=True, env=None, **more):
        done = self.caller.execute(self.words(verb, *words), env, **more)
        if ok:
            assert done.returncode == 0, done.stderr
        return done

    def json(self, verb, *words):
        return json.loads(self(verb, "--format", "json", *words).stdout)

    def make(self, name, *options, command=("sleep", "1000"), start=True):
        verb = ["run", "-d"] if start else ["create"]
        self(" ".join(verb), "-q", "--name", name, *options, "--image", BUSYBOX, "--", *command)
        return name

    def state(self, name):
        return self.json("inspect", name)[0]["state"]["status"]

    def record(self, name):
        return self.json("inspect", name)[0]

    def stats(self, *words):
        text = self("stats", "--no-stream", "--format", "json", *words).stdout
        return {row["name"]: row for row in map(json.loads, text.splitlines())}

    def volumes(self):
        with contextlib.suppress(FileNotFoundError):
            return sorted(os.listdir(self.caller.storage / "volumes"))
        return []


@pytest.fixture
def store(caller, folder):
    made = Store(caller.with_storage(folder / "store"))
    yield made
    made("system recover")  # what a killed foreground run left
    for name in made("list", "-q").stdout.split():
        made("remove", "-f", "-v", name, ok=False)
    assert made("list", "-q").stdout == ""


class Pty:
    """A program on a terminal of its own, and all that it showed there."""

    def __init__(self, store, words, rows=24, columns=80, env=None):
        self.master, slave = os.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(slave)
        self.output = b""
        self.process = subprocess.Popen(
            words, stdin=slave, stdout=slave, stderr=slave, cwd=store.caller.home, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            env=store.caller.environment({"TERM": "xterm", **(env or {})}),
        )  # fmt: skip
        self.slave = slave

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self):
        while select.select([self.master], [], [], 0.02)[0]:
            self.output += os.read(self.master, 65536)
        return self.output.decode(errors="replace")

    def sees(self, text, since=0):
        wait_until(lambda: text in self.read()[since:], f"{text!r} on the terminal")
        return len(self.output.decode(errors="replace"))

    def press(self, keys):
        os.write(self.master, keys.encode())

    def end(self):
        def ended():
            self.read()
            return self.process.poll() is not None

        wait_until(ended, "the end of the program on the terminal")
        self.read()
        return self.process.returncode

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        for number in (self.master, self.slave):
            with contextlib.suppress(OSError):
                os.close(number)


@pytest.fixture
def pty(store):
    made = []

    def make(*words, **more):
        made.append(Pty(store, store.words(*words), **more))
        return made[-1]

    yield make
    for each in made:
        each.close()


def lines(screen):
    """The lines of one full screen, without the sequences that place and color them."""
    return [
        # The last may have come in part: a terminal hands on what is written in pieces.
        re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b(\[[0-9;?]*)?$", "", line)
        for line in re.split(r"\x1b\[\d+;1H\x1b\[2K", screen)[1:]
    ]


# ---- stats


def test_stats_tell_what_a_container_uses(store):
    store.make("busy", command=("sh", "-c", "sleep 1000 & sleep 1000 & while :; do :; done"))
    row = wait_until(lambda: (r := store.stats()["busy"])["cpuPercent"] and r["pids"] == 3 and r, "figures of all three processes")
    assert row["memoryBytes"] > 0 and row["state"] == "running"
    assert row["from"] == ("cgroup" if HAS_CGROUP2 and row["memoryFrom"] == "cgroup" else "processes")
    if not HAS_CGROUP2:  # what is not in force is not told either
        assert row["memoryLimitBytes"] is None and row["pidsLimit"] is None
    assert (row["receivedBytes"], row["sentBytes"]) == (0, 0)  # a network of its own, with nothing in it but loopback
    assert row["cpuSeconds"] > 0


def test_stats_of_one_that_does_not_run_are_null(store):
    store.make("idle", start=False)
    assert store.stats() == {}
    for row in (store.stats("-a")["idle"], store.stats("idle")["idle"]):
        figures = {key: value for key, value in row.items() if key not in ("time", "id", "name", "state")}
        assert set(figures.values()) == {None}


def test_stats_do_not_count_the_machines_network(store):
    store.make("shares", "--network", "host")
    row = store.stats()["shares"]
    assert row["receivedBytes"] is None and row["sentBytes"] is None


def test_stats_tell_foreground_runs(store):
    with store.caller.running("--name", "front", level="standard", command=("sleep", "1000")) as runner:
        store.caller.record(runner)
        row = wait_until(lambda: store.stats("-a").get("front"), "the foreground run")
        assert row["memoryBytes"] > 0 and row["pids"] == 1
        assert "front" in store.stats("front")


def test_stats_go_on_in_lines(store):
    store.make("one")
    words = store.words("stats", "--format", "json", "--interval", "100ms")
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=store.caller.environment(), cwd=store.caller.home) as process:
        rows = [json.loads(process.stdout.readline()) for _ in range(3)]
        process.terminate()
    assert [row["name"] for row in rows] == ["one"] * 3
    assert rows[0]["cpuPercent"] is None and rows[2]["cpuPercent"] is not None


def test_stats_end_with_the_container_that_was_named(store):
    store.make("gone")
    with subprocess.Popen(
        store.words("stats", "--interval", "100ms", "gone"), stdout=subprocess.PIPE, env=store.caller.environment(), cwd=store.caller.home
    ) as process:
        assert b"gone" in process.stdout.readline() + process.stdout.readline()
        store("remove", "-f", "gone")
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 0


def test_stats_by_template_filter_and_bad_words(store):
    store.make("a", "-l", "role=x")
    store.make("b")
    form = "{{.Name}} {{.PIDs}} {{.MemUsage}}"
    shown = store("stats", "--no-stream", "--format", form, "--filter", "label=role").stdout
    assert re.fullmatch(r"a 1 \S+( / \S+)?\n", shown)
    for words, why in [(["nobody"], "no container nobody"), (["--filter", "x=y"], "--filter"), (["--interval", "1ms"], "100ms"), (["--format", "{{.None}}"], "no field")]:
        done = store("stats", "--no-stream", *words, ok=False)
        assert done.returncode == 125 and why in done.stderr and "hint:" in done.stderr


@pytest.mark.parametrize("env,marks", [({"LANG": "C.UTF-8"}, "▁▂▃▄▅▆▇█"), ({"LANG": "C"}, "_.-:=+*#")])
def test_stats_draw_on_a_terminal(store, pty, env, marks):
    store.make("drawn")
    live = pty("stats", "--interval", "100ms", env=env)
    # The third: what stands behind the name of the second is there by then.
    seen = live.sees("drawn", live.sees("drawn", live.sees("drawn")))
    shown = live.read()[:seen]
    assert "\x1b[2A" in shown  # the second look stands where the first did
    assert re.search(f"[{re.escape(marks)}]", shown.split("LAST LOOKS")[2])
    if env["LANG"] == "C":
        assert shown.isascii()
    live.process.send_signal(signal.SIGINT)
    assert live.end() == -signal.SIGINT
    assert termios.tcgetattr(live.slave) == live.before


def test_stats_draw_nothing_on_a_dumb_terminal(store, pty):
    store.make("plain")
    live = pty("stats", "--interval", "100ms", env={"TERM": "dumb"})
    live.sees("plain", live.sees("plain"))
    assert "\x1b" not in live.read()


# ---- dashboard


def test_dashboard_fits_shows_and_ends(store, pty):
    store.make("first")
    store.make("second", "-l", "a=b")
    store.make("ended", command=("true",))
    wait_until(lambda: store.state("ended") == "exited", "the end of one")
    board = pty("dashboard")
    board.sees("first")
    board.sees("2 of 3 running")
    wait_until(lambda: len(lines(board.read())) >= 24, "a whole page")
    shown = board.read()
    assert shown.startswith("\x1b[?1049h") and "ended  " not in "".join(lines(shown)[2:10])
    page = lines(shown)[:24]
    assert len(page) == 24 and all(len(line) <= 80 for line in page)
    since = len(shown)
    board.press("a")
    since = board.sees("exited", since)
    board.press("s")
    since = board.sees("sort: memory", since)
    board.press("s\x1b[Bjk\x1b[A\x1bOB")
    since = board.sees("sort: processes", since)
    board.press("q")
    assert board.end() == 0
    # What a program wrote last comes to the other end by the kernel's own thread.
    wait_until(lambda: board.read().rstrip().endswith("\x1b[?1049l"), "the terminal as it was")
    assert termios.tcgetattr(board.slave) == board.before


def test_top_all_is_the_dashboard(store, pty):
    store.make("first")
    board = pty("top", "--all")
    board.sees("1 of 1 running")
    board.press("q")
    assert board.end() == 0
    for words in (["--all", "first"], ["--all", "-q"], ["--all", "--format", "json"], []):
        refused = store("top", *words, ok=False)
        assert refused.returncode == 125 and "\nhint: codex32 " in refused.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_dashboard_restores_the_terminal_after_a_signal(store, pty, number):
    board = pty("dashboard")
    board.sees("There is no container")
    assert termios.tcgetattr(board.slave) != board.before
    board.process.send_signal(number)
    assert board.end() == 128 + number
    wait_until(lambda: board.read().endswith("\x1b[?7h\x1b[?25h\x1b[?1049l"), "the terminal as it was")
    assert termios.tcgetattr(board.slave) == board.before


def test_dashboard_ends_with_its_terminal(store, pty):
    board = pty("dashboard")
    board.sees("There is no container")
    os.close(board.slave)
    os.close(board.master)
    board.process.wait(PATIENCE)
    assert board.process.returncode in (0, 128 + signal.SIGHUP)


def test_dashboard_follows_the_windows_size(store, pty):
    store.make("sized")
    board = pty("dashboard", rows=24, columns=80)
    since = board.sees("a ended too")
    board.resize(30, 120)
    board.sees("NET IN / OUT", since)
    board.resize(10, 40)

    def page():
        text = board.read()
        return lines(text[text.rindex("\x1b[1;1H"):])

    wait_until(lambda: len(found := page()) == 10 and all(len(line) <= 40 for line in found), "ten lines of forty")
    since = len(board.read())
    board.resize(2, 10)
    board.sees("too small", since)
    board.press("\x03")
    assert board.end() == 0


def test_dashboard_and_stats_make_hostile_text_harmless(store, pty):
    evil = "\x1b]0;owned\x07\x1b[2J\u202e" + "x" * 300 + "界" * 100
    store.make("evil", command=("sh", "-c", "sleep 1000", evil))
    board = pty("dashboard")
    board.sees("command sh -c sleep 1000")
    board.sees("\\u{1b}]0;owned")
    shown = board.read()
    assert "\x1b]0" not in shown and "\x07" not in shown and "\u202e" not in shown
    assert "\\u{1b}]0;owned" in shown
    assert all(len(line) <= 80 for line in lines(shown))
    board.press("q")
    assert board.end() == 0


@pytest.mark.parametrize("env", [{"TERM": "xterm"}, {"TERM": "dumb"}])
def test_dashboard_needs_a_terminal(store, pty, env):
    done = store("dashboard", ok=False, env=env)
    assert done.returncode == 125 and "terminal" in done.stderr and "hint: codex32 stats" in done.stderr
    if env["TERM"] == "dumb":
        board = pty("dashboard", env=env)
        assert board.end() == 125 and "\x1b" not in board.read()


# ---- update


def test_update_changes_the_policy_of_a_running_one(store):
    store.make("kept")
    shown = store.json("update", "--restart", "on-failure:3", "kept")
    assert [(each["name"], each["restart"]) for each in shown] == [("kept", "on-failure:3")]
    assert store.record("kept")["configuration"]["restart"] == "on-failure:3"
    store("update", "--restart", "always", "kept")
    pid = store.record("kept")["state"]["process"]["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: store.record("kept")["restarts"] == 1 and store.state("kept") == "running", "the restart that the new policy asks for")
    store("update", "--restart", "no", "kept")


def test_update_of_a_stopped_one_holds_at_its_next_start(store):
    store.make("later", start=False)
    shown = store.json("update", "-m", "100m", "--memory-swap", "150m", "--cpus", "0.5", "--pids-limit", "64", "later")
    assert shown[0]["inForce"] is None
    limits = store.record("later")["configuration"]["limits"]
    assert (limits["memoryMax"], limits["swapMax"]) == (100 << 20, 50 << 20)
    assert (limits["cpuQuota"], limits["pidsMax"]) == (50_000, 64)
    # Memory and swap together, counted from the memory that it has.
    store("update", "--memory-swap", "120m", "later")
    assert store.record("later")["configuration"]["limits"]["swapMax"] == 20 << 20


@pytest.mark.skipif(HAS_CGROUP2, reason="for a machine without cgroup v2")
def test_update_takes_limits_away(store):
    store.make("freed", "-m", "100m", "--cpus", "0.5", "--pids-limit", "64", "--cpuset", "0", start=False)
    shown = store.json("update", "-m", "none", "--cpus", "none", "--pids-limit", "none", "--cpuset", "none", "freed")
    limits = shown[0]["limits"]
    assert limits["memoryMax"] == limits["cpuQuota"] == limits["pidsMax"] == (1 << 63) - 4096 and limits["cpus"] == ""
    refused = store("update", "--memory-swap", "1g", "freed", ok=False)
    assert refused.returncode == 125 and "memory has no limit" in refused.stderr
    store("start", "-q", "freed")
    # Nothing is missing that nobody asks for: only swap is limited still.
    notices = {notice["item"] for notice in store.json("inspect", "freed")[0]["notices"]}
    assert not notices & {"memory", "cpu", "pids", "cpuset"}, notices


def test_update_does_all_or_nothing_and_says_why(store):
    store.make("bare")
    before = store.record("bare")["configuration"]
    done = store("update", "-m", "64m", "--restart", "always", "bare", ok=False)
    assert done.returncode == 125 and "without cgroup v2" in done.stderr and "hint:" in done.stderr
    assert store.record("bare")["configuration"] == before


def test_update_refuses_what_makes_no_sense(store):
    store.make("x", start=False)
    for words, why in [
        (["x"], "nothing to update"),
        (["--restart", "sometimes", "x"], "--restart"),
        (["-m", "1k", "x"], "-m 1k"),
        (["--memory-swap", "1m", "-m", "64m", "x"], "--memory-swap"),
        (["--cpus", "0", "x"], "--cpus"),
        (["--restart", "no"], "no container"),
        (["--restart", "no", "y"], "no container y"),
        (["--tmpfs", "/x", "x"], "unknown option"),
    ]:
        done = store("update", *words, ok=False)
        assert done.returncode == 125 and why in done.stderr and "hint:" in done.stderr, (words, done.stderr)
    # One that is unknown does not keep the other.
    assert store("update", "--restart", "always", "y", "x", ok=False).returncode == 125
    assert store.record("x")["configuration"]["restart"] == "always"


# ---- prune


def test_prune_takes_what_does_not_run(store):
    store.make("runs")
    store.make("never", start=False)
    store.make("ended", command=("sh", "-c", "dd if=/dev/zero of=/big bs=1M count=3"))
    wait_until(lambda: store.state("ended") == "exited", "its end")
    done = store("prune", ok=False)
    assert done.returncode == 125 and "hint: codex32 prune -f" in done.stderr
    pruned = store.json("prune", "-f")
    assert len(pruned["containers"]) == 2 and pruned["freedBytes"] >= 3 << 20 and pruned["complete"]
    assert store("list", "--format", "{{.Name}}").stdout.split() == ["runs"]
    assert store("prune", "-f").stdout == "freed 0B\n"


def test_prune_by_label_and_age(store):
    for name, label in [("a", "keep=yes"), ("b", "keep=no"), ("c", "other=1")]:
        store.make(name, "-l", label, start=False)
    names = lambda: sorted(store("list", "--format", "{{.Name}}").stdout.split())  # noqa: E731
    store("prune", "-f", "--filter", "until=1h")
    assert names() == ["a", "b", "c"]
    store("prune", "-f", "--filter", "label=keep=no")
    assert names() == ["a", "c"]
    store("prune", "-f", "--filter", "label!=keep")
    assert names() == ["a"]
    assert store("prune", "-f", "--filter", "x=y", ok=False).returncode == 125


@pytest.mark.parametrize("answer,left", [("y", []), ("n", ["asked"]), ("", ["asked"])])
def test_prune_asks_on_a_terminal(store, pty, answer, left):
    store.make("asked", start=False)
    asking = pty("prune")
    asking.sees("[y/N]")
    asking.press(answer + "\n")
    assert asking.end() == 0
    assert store("list", "--format", "{{.Name}}").stdout.split() == left


# ---- system


def test_system_df_counts_what_is_there(store):
    store.make("runs", "-v", "/data", command=("sh", "-c", "dd if=/dev/zero of=/data/x bs=1M count=2; sleep 1000"))
    store.make("rests", start=False)
    rows = lambda: {row["type"]: row for row in store.json("system df")}  # noqa: E731
    wait_until(lambda: rows()["volumes"]["bytes"] >= 2 << 20, "the volume's size")
    seen = rows()
    assert (seen["containers"]["total"], seen["containers"]["active"]) == (2, 1)
    assert (seen["volumes"]["total"], seen["volumes"]["active"], seen["volumes"]["reclaimableBytes"]) == (1, 1, 0)
    assert seen["templates"]["total"] == 1 and seen["templates"]["bytes"] > 0 and seen["journal"]["bytes"] > 0
    assert seen["containers"]["reclaimableBytes"] > 0 and all(row["complete"] for row in seen.values())
    store("remove", "-f", "runs", "rests")
    seen = rows()
    assert (seen["volumes"]["active"], seen["templates"]["active"]) == (0, 0)
    assert seen["volumes"]["reclaimableBytes"] >= 2 << 20
    assert "RECLAIMABLE" in store("system df").stdout
    assert store("system df", "--format", "{{.Type}}={{.TotalCount}}").stdout.splitlines()[0] == "containers=0"


def kill_supervisor(store, name):
    record = store.record(name)
    os.kill(record["supervisor"]["pid"], signal.SIGKILL)
    wait_until(lambda: not alive(record["supervisor"]["pid"]), "the supervisor's end")


def end_boot(store):
    """As after a power failure: the records say that they run, in a boot that is over."""
    for path in (store.caller.storage / "containers").glob("*/container.json"):
        text = path.read_text()
        path.write_text(re.sub(r'"boot": "[^"]*"', '"boot": "00000000-0000-0000-0000-000000000000"', text))


def test_boot_starts_what_is_to_run_always(store):
    store.make("always", "--restart", "always")
    store.make("unless", "--restart", "unless-stopped")
    store.make("stopped", "--restart", "unless-stopped")
    store.make("once")
    store.make("fresh", "--restart", "always", start=False)
    store("stop", "-t", "0", "stopped")
    for name in ("always", "unless", "once"):
        kill_supervisor(store, name)
    end_boot(store)
    done = store("system boot")
    assert sorted(done.stdout.split()) == ["always", "unless"]
    states = {name: store.state(name) for name in ("always", "unless", "stopped", "once", "fresh")}
    assert states == {"always": "running", "unless": "running", "stopped": "exited", "once": "exited", "fresh": "created"}
    # What runs is left alone.
    assert store.json("system boot") == []


def test_boot_starts_the_others_when_one_cannot(store, folder):
    image = folder / "gone"
    (image / "bin").mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), image / "bin/busybox")
    store.caller.own(image)
    store("create", "--name", "bad", "--restart", "always", "--image", image, "--", "/bin/busybox", "sleep", "1000")
    store("start", "-q", "bad")
    store.make("good", "--restart", "always")
    kill_supervisor(store, "bad")
    kill_supervisor(store, "good")
    end_boot(store)
    shutil.rmtree(image)
    done = store("system boot", ok=False)
    assert done.returncode == 125 and done.stdout.split() == ["good"] and "bad" in done.stderr


def test_a_machine_that_goes_down_stops_containers_until_the_next_boot(store):
    """What systemd does with the unit's processes: SIGTERM for the supervisors."""
    store.make("service", "--restart", "unless-stopped", "--stop-timeout", "1s")
    os.kill(store.record("service")["supervisor"]["pid"], signal.SIGTERM)
    wait_until(lambda: store.state("service") == "exited", "its end")
    record = store.record("service")
    assert record["wasStopped"] is False and record["supervisor"] is None
    assert store("system boot").stdout == "service\n"
    assert store.state("service") == "running"


@pytest.mark.parametrize("user", [False, True])
def test_unit(store, folder, user):
    words = ["--user"] if user else []
    # A program that is there, so that systemd has nothing to say about it.
    text = store("system unit", *words, "--program", "/bin/true").stdout
    assert "ExecStart=/bin/true system boot\n" in text and "RemainAfterExit=yes" in text
    assert f"WantedBy={'default' if user else 'multi-user'}.target" in text
    assert str(store.caller.binary) in store("system unit", *words).stdout
    for bad in ("codex32", "/a b", "/a%i", '/a"', "/a\nExecStartPre=/bin/x"):
        done = store("system unit", "--program", bad, ok=False)
        assert done.returncode == 125 and "hint:" in done.stderr
    if shutil.which("systemd-analyze"):
        unit = folder / "codex32-boot.service"
        unit.write_text(text)
        checked = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", *(["--user"] if user else []), str(unit)],
            capture_output=True, text=True, timeout=PATIENCE, check=False,
            env=os.environ | {"XDG_RUNTIME_DIR": str(folder), "HOME": str(folder)},
        )  # fmt: skip
        assert "codex32-boot" not in checked.stderr, checked.stderr


def test_system_refuses_other_words(store):
    for words in ([], ["down"], ["df", "more"]):
        done = store("system", *words, ok=False)
        assert done.returncode == 125 and "hint:" in done.stderr


# ---- port


def test_port_is_honest(store):
    store.make("own")
    store.make("shared", "--network", "host")
    done = store("port", "own")
    assert (done.stdout, done.stderr) == ("", "")
    done = store("port", "shared")
    assert done.stdout == "" and "the machine's network" in done.stderr
    assert "no ports yet" in store("port", "--help").stdout
    assert store("port", "nobody", ok=False).returncode == 125


# ---- volumes of a container's own


def test_own_volume_lasts_from_start_to_start(store):
    store.make("data", "-v", "/data", "--read-only", command=("sh", "-c", "cat /data/n; echo x >> /data/n"))
    wait_until(lambda: store.state("data") == "exited", "its end")
    store("start", "-a", "-q", "data")
    assert store("start", "-a", "-q", "data").stdout == "x\nx\n"
    ident = store.record("data")["id"]
    assert store.volumes() == [f"{ident}-0"]
    assert store.record("data")["configuration"]["ownVolumes"] == ["/data"]
    done = store("remove", "data")
    assert "is kept" in done.stderr and f"{ident}-0" in done.stderr and "prune --volumes" in done.stderr
    assert store.volumes() == [f"{ident}-0"]
    assert store.json("prune", "-f")["volumes"] == []
    assert store.json("prune", "-f", "--volumes")["volumes"] == [f"{ident}-0"]
    assert store.volumes() == []


@pytest.mark.parametrize("how", ["remove", "rm", "prune"])
def test_own_volumes_go_when_asked_for(store, how):
    options = ["--rm"] if how == "rm" else []
    store.make("data", "-v", "/a", "-v", "/b/c", *options, command=("sh", "-c", "touch /a/x /b/c/y; sleep 1000"))
    assert len(store.volumes()) == 2
    store("stop", "-t", "0", "data")
    if how == "remove":
        store("remove", "-v", "data")
    elif how == "prune":
        store("prune", "-f", "--volumes")
    wait_until(lambda: store.volumes() == [], "the volumes' end")


def test_own_volumes_of_a_foreground_run_end_with_it(store):
    done = store.caller.sh("id -u > /data/x && cat /data/x && ls -ld /data", "-v", "/data", level="strict")
    assert done.returncode == 0, done.stderr
    assert store.volumes() == []


def test_own_volumes_of_a_killed_run_are_cleared_by_the_next(store):
    with store.caller.running("-v", "/data", level="standard", command=("sleep", "1000")) as runner:
        pid = store.caller.record(runner)["pid"]
        assert len(store.volumes()) == 1
        assert store.json("prune", "-f", "--volumes")["volumes"] == []
        runner.kill()
        runner.wait(PATIENCE)
        wait_until(lambda: not alive(pid), "the program's end")
    assert store.caller.run(level="standard", command=("true",)).returncode == 0
    assert store.volumes() == []


def test_own_volume_can_be_written_by_the_programs_user(store, level):
    if level == "minimal":
        pytest.skip("there the target must be a folder of the machine's own")
    done = store.caller.sh("id -u; echo 1 > /data/x && cat /data/x", "-v", "/data", "-u", "1000:1000", level=level)
    assert done.returncode == 0 and done.stdout == "1000\n1\n", done.stderr


def test_own_volume_refuses_what_is_no_place(store):
    for target in ("/", "/proc/x", "/dev", "/a/../b", "data"):
        done = store.caller.run("-v", target, level="standard", command=("true",))
        assert done.returncode == 125 and "hint:" in done.stderr
    done = store.caller.run("-v", "/a", "-v", "/a", level="standard", command=("true",))
    assert done.returncode == 125 and "two mounts" in done.stderr


# ---- lists


def test_events_by_type_container_and_time(store):
    began = int(time.time())
    store.make("a", command=("true",))
    store.make("b", command=("true",))
    wait_until(lambda: store.state("a") == store.state("b") == "exited", "their ends")
    before = began - 5

    def events(*words):
        text = store("events", "--format", "json", *words).stdout
        return [(event["type"], event["name"]) for event in map(json.loads, text.splitlines())]

    assert sorted(events("--filter", "type=die")) == [("die", "a"), ("die", "b")]
    assert events("--filter", "type=die", "--filter", "type=create", "--filter", "container=b") == [("create", "b"), ("die", "b")]
    assert events("--filter", f"container={store.record('a')['id'][:6]}", "--filter", "event=start") == [("start", "a")]
    assert events("--until", "1h") == []
    assert events("--since", "1h", "--until", str(int(time.time()) + 3600))
    # With -f it ends at that moment.
    assert events("-f", "--until", str(before)) == []
    assert store("events", "--filter", "x=y", ok=False).returncode == 125


def test_list_takes_any_of_several_filters_for_one_key(store):
    store.make("a", "-l", "x=1", "-l", "y=1", start=False)
    store.make("b", "-l", "x=1")
    names = lambda *words: sorted(store("list", "--format", "{{.Name}}", *words).stdout.split())  # noqa: E731
    assert names("--filter", "state=created", "--filter", "state=running") == ["a", "b"]
    assert names("--filter", "state=created") == ["a"]
    assert names("--filter", "label=x", "--filter", "label=y") == ["a"]
