"""`codex32 oci exec`: a second program has what the container's own has, and leads nowhere else."""

import array
import json
import os
import pathlib
import socket
import subprocess

import pytest

from bundles import bundle  # noqa: F401
from conftest import PATIENCE, alive, parent, wait_until

STATUS = "grep -E '^(Cap|NoNew|Seccomp:|Groups)' /proc/self/status; for n in pid net ipc uts mnt user; do readlink /proc/self/ns/$n; done; ulimit -n"


def test_same_restrictions_as_the_program(bundle):
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 99}]
    bundle.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99}],
    }  # fmt: skip
    bundle.sh(f"{STATUS}; echo told; exec sleep 100000")
    bundle.start()
    wait_until(lambda: "told" in bundle.output(), "the program's word")
    result = bundle.exec("one", "sh", "-c", STATUS)
    assert result.stdout == bundle.output().replace("told\n", "") and "Seccomp:\t2" in result.stdout, result.stderr
    # The filter is there for a program without no_new_privs too, and was no hindrance on the way.
    if bundle.caller.name == "root":
        words = dict(bundle.process, args=["sh", "-c", "grep -E '^(NoNew|Seccomp:)' /proc/self/status"], noNewPrivileges=False)
        (bundle.folder / "process.json").write_text(json.dumps(words))
        result = bundle.exec("--process", "process.json", "one")
        assert result.stdout == "NoNewPrivs:\t0\nSeccomp:\t2\n", result.stderr


def test_status_output_and_input_are_the_programs(bundle):
    bundle.sleeping()
    result = bundle.exec("one", "sh", "-c", "cat; echo err >&2; exit 7", stdin=None, input="typed\n")
    assert (result.returncode, result.stdout, result.stderr) == (7, "typed\n", "err\n")
    assert bundle.exec("one", "sh", "-c", "kill -9 $$").returncode == 137


def test_options_change_what_the_container_has(bundle):
    bundle.process["env"] += ["OLD=1", "KEPT=2"]
    bundle.sleeping()
    # An ordinary user has no second id to be.
    who = ["--user", "7:8", "--additional-gids", "9,10", "--additional-gids", "11"] if bundle.caller.name == "root" else ["--user", "0:0"]
    result = bundle.exec("--cwd", "/bin", "--env", "OLD=3", "-e", "NEW=a=b", *who, "one", "sh", "-c", "id; pwd; echo $OLD $KEPT $NEW")
    identity = "uid=7 gid=8 groups=9,10,11" if bundle.caller.name == "root" else "uid=0 gid=0"
    lines = result.stdout.splitlines()
    assert lines[0].startswith(identity) and lines[1:] == ["/bin", "3 2 a=b"], result.stdout + result.stderr


@pytest.mark.parametrize("option, identity", [("1", "1 0"), ("1:2", "1 2"), ("0:5", "0 5"), ("4294967294", "4294967294 0")])
def test_user_is_the_one_asked_for(bundle, option, identity):
    """CVE-2026-30892: a uid alone ran as root."""
    if bundle.caller.name != "root":
        pytest.skip("an ordinary user's map has one id")
    bundle.sleeping()
    assert bundle.exec("-u", option, "one", "sh", "-c", "echo $(id -u) $(id -g)").stdout.strip() == identity


@pytest.mark.parametrize("option", ["4294967295", "4294967296", "-1", "root", "1:", ":1", "1:2:3", "", " 1"])
def test_other_users_are_refused(bundle, option):
    bundle.sleeping()
    result = bundle.exec(f"--user={option}", "one", "id")
    assert result.returncode == 255 and "--user" in result.stderr and result.stdout == ""


def test_capabilities_more_are_given_and_not_inherited(bundle):
    bundle.sleeping()
    script = "grep -E '^Cap' /proc/self/status"
    before = dict(line.split() for line in bundle.exec("one", "sh", "-c", script).stdout.splitlines())
    after = dict(line.split() for line in bundle.exec("--cap", "CAP_SYS_TIME", "one", "sh", "-c", script).stdout.splitlines())
    for name in ("CapPrm:", "CapEff:", "CapBnd:"):
        assert int(after[name], 16) == int(before[name], 16) | 1 << 25
    assert int(after["CapInh:"], 16) == 0 and int(after["CapAmb:"], 16) == 0
    assert bundle.exec("--cap", "CAP_MOON", "one", "id").returncode == 255


def test_process_file_is_the_whole_process(bundle):
    bundle.sleeping()
    (bundle.folder / "process.json").write_text(
        json.dumps({"args": ["sh", "-c", "pwd; echo $A; grep NoNew /proc/self/status"], "cwd": "/bin", "env": ["A=1", "PATH=/bin"], "user": {"uid": 0, "gid": 0}})
    )
    result = bundle.exec("--process", "process.json", "one")
    assert result.stdout.splitlines()[:2] == ["/bin", "1"], result.stderr
    refused = bundle.exec("--process", "process.json", "one", "id")
    assert refused.returncode == 255 and "--process" in refused.stderr


@pytest.mark.parametrize(
    "text, name",
    [("{}", "process.args"), ("", "too early"), ('{"args":["id"],"cwd":"x"}', "process.cwd"), ('{"args":["id"],"cwd":"/","user":{"uid":-1}}', "process.user.uid"),
     ('{"args":["id"],"cwd":"/","commandLine":"x"}', "process.commandLine"), ('{"args":["id"],"cwd":"/","new":1}', "process.new")],
)  # fmt: skip
def test_bad_process_files_are_errors(bundle, text, name):
    bundle.sleeping()
    (bundle.folder / "process.json").write_text(text)
    result = bundle.exec("--process", "process.json", "one")
    assert result.returncode == 255 and name in result.stderr and "process.json" in result.stderr


@pytest.mark.parametrize("options", [["--cgroup", "x"], ["--apparmor", "x"], ["--process-label", "x"], ["--preserve-fds", "x"], ["--env", "=x"], ["--cwd", "x"]])
def test_what_is_not_supported_is_refused_by_name(bundle, options):
    bundle.sleeping()
    result = bundle.exec(*options, "one", "id")
    assert result.returncode == 255 and options[0] in result.stderr


@pytest.mark.parametrize("program, words", [("none", "executable file not found in $PATH"), ("/bin", "permission denied"), ("/none/x", "no such file or directory")])
def test_what_cannot_run_is_told(bundle, program, words):
    bundle.sleeping()
    result = bundle.exec("one", program)
    assert result.returncode == 255 and words in result.stderr
    (line,) = bundle.log.read_text().splitlines()
    assert json.loads(line)["level"] == "error" and words in json.loads(line)["msg"]


def test_only_a_container_that_runs_is_entered(bundle):
    missing = bundle.exec("one", "id")
    assert missing.returncode == 255 and "does not exist" in missing.stderr
    bundle.sh("exit 0")
    bundle.start()
    bundle.stopped()
    result = bundle.exec("one", "id")
    assert result.returncode == 255 and "container not running" in result.stderr


def test_detached_program_goes_on(bundle):
    bundle.sleeping()
    # Into a file: a pipe of the test's would be held open by the program.
    with open(bundle.folder / "out", "w") as out:
        result = bundle.exec("--detach", "--pid-file", "pid", "one", "sh", "-c", "echo here; exec sleep 100000", stdout=out, stderr=out)
    assert result.returncode == 0, (bundle.folder / "out").read_text()
    pid = int((bundle.folder / "pid").read_text())
    wait_until(lambda: (bundle.folder / "out").read_text() == "here\n", "its word")
    assert alive(pid) and parent(pid) == 1
    assert os.stat(f"/proc/{pid}/ns/pid").st_ino == os.stat(f"/proc/{bundle.state()['pid']}/ns/pid").st_ino
    bundle("kill", "one", "KILL")
    wait_until(lambda: not alive(pid), "its end with the container")


def test_foreground_program_ends_with_the_command(bundle):
    bundle.sleeping()
    process = subprocess.Popen(bundle.words("exec", "--pid-file", "pid", "one", "sleep", "100000"), cwd=bundle.folder, stdin=subprocess.DEVNULL)
    wait_until(lambda: (bundle.folder / "pid").exists(), "the program")
    pid = int((bundle.folder / "pid").read_text())
    process.kill()
    process.wait(PATIENCE)
    wait_until(lambda: not alive(pid), "its end")


def test_signals_reach_the_program(bundle):
    bundle.sleeping()
    process = subprocess.Popen(
        bundle.words("exec", "one", "sh", "-c", "trap 'exit 9' TERM; echo ready; while :; do sleep 1; done"), cwd=bundle.folder, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    assert process.stdout.readline() == b"ready\n"
    process.terminate()
    assert process.wait(PATIENCE) == 9
    process.stdout.close()


def test_console_socket_gets_the_terminal(bundle):
    bundle.sleeping()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(bundle.folder / "console"))
        bundle.caller.own(bundle.folder / "console")
        listener.listen()
        (bundle.folder / "process.json").write_text(
            json.dumps(dict(bundle.process, args=["sh", "-c", "tty; stty size 2>/dev/null; exec sleep 100000"], terminal=True, consoleSize={"height": 11, "width": 22}))
        )
        result = bundle.exec("--process", "process.json", "--detach", "--console-socket", "console", "--pid-file", "pid", "one")
        assert result.returncode == 0, result.stderr
        connection, _ = listener.accept()
        data, (found,), _, _ = connection.recvmsg(100, socket.CMSG_SPACE(4))
        connection.close()
    master = array.array("i", found[2])[0]
    assert data and b"/dev/pts/0" in os.read(master, 1000)
    pid = int((bundle.folder / "pid").read_text())
    # Its own session, led by it, on this terminal.
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    assert int(fields[3]) == pid and int(fields[4]) != 0
    os.close(master)


def test_terminal_in_the_foreground(bundle):
    bundle.sleeping()
    result = bundle.exec("-t", "one", "sh", "-c", "tty; exit 4")
    assert (result.returncode, result.stdout) == (4, "/dev/pts/0\n"), result.stderr


@pytest.mark.parametrize("options, words", [(["-t", "-d"], "--console-socket is missing"), (["-d", "--console-socket", "x"], "without a terminal"), (["-t", "--console-socket", "x"], "without --detach")])
def test_terminals_that_lead_nowhere_are_refused(bundle, options, words):
    bundle.sleeping()
    result = bundle.exec(*options, "one", "id")
    assert result.returncode == 255 and words in result.stderr


@pytest.mark.parametrize("verb", ["exec", "run"])
def test_preserved_descriptors_and_no_others(bundle, verb):
    first, second, third = (os.open(bundle.folder, os.O_RDONLY) for _ in range(3))
    script = "ls /proc/self/fd"
    if verb == "exec":
        bundle.sleeping()
        words = bundle.words("exec", "--preserve-fds", "2", "one", "sh", "-c", script)
    else:
        bundle.sh(script)
        bundle.write()
        words = bundle.words("run", "--preserve-fds", "2", "one")
    # ls has one more open: the folder that it reads.
    settled = ["bash", "-c", f'exec "$@" 3<&{first} 4<&{second} 5<&{third}', "sh"]
    result = subprocess.run([*settled, *words], cwd=bundle.folder, pass_fds=(first, second, third), capture_output=True, text=True, timeout=PATIENCE)
    assert result.stdout.split() == ["0", "1", "2", "3", "4", "5"], result.stdout + result.stderr
    closed = subprocess.run(["bash", "-c", 'exec "$@" 4<&- 3</dev/null', "sh", *words], cwd=bundle.folder, capture_output=True, text=True, timeout=PATIENCE)
    assert closed.returncode != 0 and "descriptor 4 is not open" in closed.stderr
    for number in (first, second, third):
        os.close(number)


def test_sockets_of_activation_are_passed_to_the_program(bundle):
    bundle.sh('echo $LISTEN_FDS $LISTEN_PID $$; ls /proc/self/fd')
    bundle.write()
    with socket.socket() as listener:
        script = f'exec 3<&{listener.fileno()}; LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"'
        # The number must be the runtime's own: nothing may stand between.
        words = bundle.words("run", "one")
        result = subprocess.run(
            ["bash", "-c", script, "sh", *words], cwd=bundle.folder, pass_fds=[listener.fileno()], capture_output=True, text=True, timeout=PATIENCE
        )
    assert result.stdout.split() == ["1", "1", "1", "0", "1", "2", "3", "4"], result.stdout + result.stderr


# MARK: attacks


@pytest.mark.parametrize("number", range(3, 20))
def test_no_working_folder_leads_out(bundle, number):
    """CVE-2024-21626."""
    if number == 3:
        (bundle.rootfs / "link").symlink_to("/proc/self/fd/3")
    bundle.sleeping()
    for folder in (f"/proc/self/fd/{number}", f"/proc/1/fd/{number}", "/link"):
        result = bundle.exec("--cwd", folder, "one", "sh", "-c", "ls -d ../../../../../../../../../work ../../../../../../../../../tmp/codex32-host*")
        assert result.returncode == 255 and "working folder" in result.stderr, result.stdout


def test_no_program_leads_out(bundle):
    """What codex32 has open until execve is no way to the host's programs, by the caller's words or the image's links."""
    (bundle.rootfs / "hostlinks").mkdir()
    program = bundle.folder / "hostprogram"
    program.write_bytes((bundle.rootfs / "bin/busybox").read_bytes())
    program.chmod(0o755)
    for number in range(3, 24):
        (bundle.rootfs / f"hostlinks/{number}").symlink_to(f"/proc/self/fd/{number}/../../../../../../../../../../..{program}")
    bundle.caller.own(bundle.folder)
    bundle.sleeping()
    for number in range(3, 24):
        for path in (f"/hostlinks/{number}", f"/proc/self/fd/{number}/../hostprogram", f"/proc/self/fd/{number}/bin/busybox"):
            assert bundle.exec("one", path, "true").returncode == 255, path
        bundle.process["args"] = [f"/hostlinks/{number}", "true"]
        assert bundle("run", "two").returncode != 0


@pytest.mark.parametrize("program", ["/proc/self/exe", "/proc/1/exe", "/trap"])
def test_program_is_codex32_itself(bundle, program):
    """CVE-2019-5736: the runtime's own file is not reached, and stays as it is."""
    before = os.stat(bundle.caller.binary)
    (bundle.rootfs / "trap").write_text("#!/proc/self/exe\n")
    (bundle.rootfs / "trap").chmod(0o755)
    bundle.caller.own(bundle.rootfs)
    bundle.sleeping()
    bundle.exec("-d", "one", "sh", "-c", "while :; do for p in /proc/[0-9]*; do (echo x >> $p/exe) 2>/dev/null && touch /got; done; done",
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    for _ in range(20):
        bundle.exec("one", program, "version")
    after = os.stat(bundle.caller.binary)
    assert (before.st_mtime_ns, before.st_size, before.st_ino) == (after.st_mtime_ns, after.st_size, after.st_ino)


def test_nothing_of_the_hosts_is_seen_while_programs_enter(bundle):
    """CVE-2016-9962: a container that looks at all of its processes all the time never sees what is not its own."""
    bundle.config["root"]["readonly"] = False
    if bundle.caller.name == "root":
        # The most that a container can have: what a capability forbids, the descriptors must not hold.
        bundle.process["capabilities"] = {kind: ["CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_DAC_OVERRIDE"] for kind in ("bounding", "effective", "permitted")}
    bundle.sh(
        "while :; do for f in /proc/[0-9]*/fd/*; do l=$(readlink $f) || continue; case $l in "
        "/dev/null|pipe:*|socket:*|anon_inode:*|/proc/*|'') ;; *) echo $f $l >> /seen;; esac; done; done 2>/dev/null"
    )
    bundle.start()
    for _ in range(200):
        assert bundle.exec("one", "true", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    seen = (bundle.rootfs / "seen").read_text().splitlines() if (bundle.rootfs / "seen").exists() else []
    # Its own output is a file of the test's; so are the root and what is found below it.
    own = (str(bundle.folder / "output"),)
    assert [line for line in seen if not line.endswith(own) and line.split()[-1] not in ("/", "/dev/pts", "/bin")] == []
