"""What is asked for is in force or an error: no option is taken and then does nothing."""

import errno

import pytest
from conftest import BUSYBOX
from test_bad_input import check

HOST = "template:host"

# By name: options, image, level, and for whom it is an error (None: everybody).
NO_EFFECT = {
    "shm size on the host's tree": (["--shm-size", "1m"], HOST, "minimal", None),
    "device on the host's tree": (["--device", "/dev/fuse"], HOST, "minimal", None),
    "read-only host's tree": (["--read-only"], HOST, "minimal", None),
    "shm size under a tmpfs": (["--shm-size", "1m", "--tmpfs", "/dev/shm"], BUSYBOX, "standard", None),
    "network value of the machine": (["--network", "host", "--sysctl", "net.ipv4.ip_forward=0"], BUSYBOX, "standard", None),
    "network value at minimal": (["--sysctl", "net.ipv4.ip_forward=0"], BUSYBOX, "minimal", None),
    "ipc value at minimal": (["--sysctl", "kernel.shm_rmid_forced=0"], BUSYBOX, "minimal", None),
    "idmap without a map": (["-v", "/tmp:/data:idmap"], BUSYBOX, "minimal", None),
    "idmap for a user": (["-v", "/tmp:/data:idmap"], BUSYBOX, "standard", "user"),
    "profile and no filter": (["--seccomp", "PROFILE", "--waive", "seccomp"], BUSYBOX, "standard", None),
    "format of nothing": (["--format", "json"], BUSYBOX, "standard", None),
    "mount field twice": (["--mount", "type=tmpfs,target=/a,target=/b"], BUSYBOX, "standard", None),
    "mount field of another type": (["--mount", "type=bind,source=/tmp,target=/a,tmpfs-size=1m"], BUSYBOX, "standard", None),
    "mount field that is neither": (["--mount", "source=/tmp,target=/a,readonly=yes"], BUSYBOX, "standard", None),
    "mount field without name": (["--mount", "="], BUSYBOX, "standard", None),
    "mount of endless size": (["--mount", "type=tmpfs,target=/a,tmpfs-size=0"], BUSYBOX, "standard", None),
}


@pytest.mark.parametrize("case", [pytest.param(name, id=name.replace(" ", "-")) for name in NO_EFFECT])
def test_no_effect_is_an_error(caller, folder, case):
    options, image, level, whom = NO_EFFECT[case]
    profile = folder / "profile.json"
    profile.write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    caller.own(profile)
    options = [str(profile) if option == "PROFILE" else option for option in options]
    if whom not in (None, caller.name):
        pytest.skip(f"it has an effect for {caller.name}")
    check(caller.run(*options, image=image, level=level, command=["true"]), caller, caller.entries())


def test_shm_size(caller):
    """Where it is taken, it holds."""
    done = caller.sh("df -k /dev/shm | tail -1", "--shm-size", "3m", level="standard")
    assert done.stdout.split()[1] == "3072"


def test_values_of_its_own_namespaces(caller, level):
    """Where the namespace is the sandbox's own they are set, and the machine's stay."""
    if level == "minimal":
        pytest.skip("an error there")
    name = "net/ipv4/ip_default_ttl"
    with open(f"/proc/sys/{name}") as file:
        before = file.read()
    done = caller.sh(f"cat /proc/sys/{name}", "--sysctl", "net.ipv4.ip_default_ttl=70", "--sysctl", "net.ipv4.ip_default_ttl=77", level=level)
    assert (done.returncode, done.stdout) == (0, "77\n"), done.stderr
    with open(f"/proc/sys/{name}") as file:
        assert file.read() == before


@pytest.mark.parametrize("user", ["0:0", "1000:1000"])
def test_added_capability(callers, level, user):
    """Asked for by name, a program of any user has it; what was not asked for, another user has not."""
    done = callers["root"].sh("grep -E 'Cap(Eff|Amb)' /proc/self/status", "--cap-add", "NET_ADMIN", "-u", user, level=level)
    assert done.returncode == 0, done.stderr
    found = {line.split(":")[0]: int(line.split()[1], 16) for line in done.stdout.splitlines()}
    assert found["CapEff"] & 1 << 12
    if user != "0:0":
        assert found == {"CapEff": 1 << 12, "CapAmb": 1 << 12}


def test_lower_of_two_limits_holds(caller):
    """A limit that was asked for is not raised by the level's own."""
    done = caller.sh("ulimit -u; ulimit -t", "--ulimit", "nproc=50", "--ulimit", "cpu=5", "--cpu-time", "90s", level="standard")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["50", "5"]


@pytest.mark.parametrize("level", ["standard", "strict"])
def test_calls_of_a_newer_kernel(caller, level):
    """ENOSYS, by which a program falls back; one that is known and refused gets EPERM."""
    script = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nfor n in (%d, 100000, 246):\n libc.syscall(n, 0, 0, 0, 0); print(ctypes.get_errno())"
    done = caller.run(level=level, image=HOST, command=["python3", "-c", script % (1000)])
    assert done.stdout.split() == [str(errno.ENOSYS), str(errno.ENOSYS), str(errno.EPERM)], done.stderr


def test_names_of_a_built_template(callers):
    """-u takes names that the template's own files have."""
    caller = callers["root"]
    assert caller.sh(":", level="standard").returncode == 0
    done = caller.sh("id -u", "-u", "nobody:nogroup", level="standard")
    assert (done.returncode, done.stdout) == (0, "65534\n"), done.stderr
