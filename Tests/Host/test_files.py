"""Files of containers: cp, diff, export, import, commit, as root and as an ordinary user.

What a container holds is hostile: its program exchanges names while they are copied, and its archives want out.
"""

import contextlib
import gzip
import io
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tarfile
import time

import pytest
from conftest import BUSYBOX, HAS_CGROUP2, PATIENCE, processes_with, wait_until


class Store:
    """A storage folder of one test, with the verbs on it."""

    def __init__(self, caller, folder):
        self.caller = caller.with_storage(folder / "store")
        self.folder = folder
        self.names = []

    def words(self, verb, *words):
        return [*self.caller.become(), str(self.caller.binary), verb, "--root", str(self.caller.storage), *map(str, words)]

    def try_(self, verb, *words, input=None, text=True):
        return self.caller.execute(self.words(verb, *words), input=input, text=text)

    def __call__(self, verb, *words, input=None, text=True):
        done = self.try_(verb, *words, input=input, text=text)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def create(self, name, script, *options, image=BUSYBOX):
        waive = [] if HAS_CGROUP2 else ["--waive", "cgroup"]
        self("create", "--name", name, *waive, *options, "--image", image, "--", "sh", "-c", script)
        self.names.append(name)
        return name

    def start(self, name):
        self("start", "-q", name)
        wait_until(lambda: "ready" in self("logs", name), "the program's word")

    def run(self, name, script, *options, **more):
        """A container that has done something and goes on."""
        self.create(name, f"{script}; echo ready; exec sleep 100000", *options, **more)
        self.start(name)
        return name

    def end(self):
        for name in self.names:
            self.try_("remove", "-f", name)


@pytest.fixture
def store(caller, folder):
    made = Store(caller, folder)
    yield made
    made.end()
    # The helper of a cp that failed is killed with its client, and ends as soon as it is given a CPU.
    wait_until(lambda: processes_with(str(folder)) == [], "the end of all that ran")


def write(store, name, text="hello\n"):
    path = store.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    for place in (path, *path.parents):
        if place == store.folder:
            break
        store.caller.own(place)
    return path


def archive(*members):
    """A tar file of (name, kind, more)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, more in members:
            entry = tarfile.TarInfo(name)
            entry.type = kind
            contents = more.pop("contents", b"")
            entry.size = len(contents)
            for key, value in more.items():
                setattr(entry, key, value)
            tar.addfile(entry, io.BytesIO(contents))
    return buffer.getvalue()


def names(bytes_):
    with tarfile.open(fileobj=io.BytesIO(bytes_)) as tar:
        return tar.getnames()


# --- cp ---


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
def test_copies_both_ways(store, running):
    name = store.run("c", "mkdir -p /data/sub; echo inside > /data/sub/f; ln -s sub/f /data/link")
    if not running:
        store("stop", "-t", "0", name)
    source = write(store, "in/deep/file")
    store("cp", source, f"{name}:/data/")
    store("cp", source, f"{name}:/data/other")
    store("cp", store.folder / "in", f"{name}:/data/whole")
    store("cp", f"{store.folder}/in/.", f"{name}:/data/sub")
    listing = sorted(names(store("cp", f"{name}:/data", "-", text=False)))
    assert listing == [
        "data", "data/file", "data/link", "data/other", "data/sub", "data/sub/deep", "data/sub/deep/file",
        "data/sub/f", "data/whole", "data/whole/deep", "data/whole/deep/file",
    ]  # fmt: skip
    out = store.folder / "out"
    store("cp", f"{name}:/data", out)
    assert (out / "sub/f").read_text() == "inside\n" and os.readlink(out / "link") == "sub/f"
    assert out.stat().st_uid == store.caller.account.pw_uid
    store("cp", f"{name}:/data/sub/.", out)
    assert (out / "f").read_text() == "inside\n"
    store("cp", "-L", f"{name}:/data/link", store.folder / "followed")
    assert (store.folder / "followed").read_text() == "inside\n"
    store("cp", f"{name}:/data/link", store.folder / "kept")
    assert (store.folder / "kept").is_symlink()
    assert not [path for path in os.listdir(store.folder) if path.endswith(".part")]


@pytest.mark.parametrize("into", ["host", "container"])
def test_a_killed_copy_leaves_no_half_file(store, into):
    """Not even half a file, where the file system has files without names: a killed process can clear nothing away."""
    name = store.run("c", "mkdir /data")
    if into == "host":
        store("cp", write(store, "first"), f"{name}:/data/first")
        source, target = f"{name}:/data", store.folder / "out"
        target.mkdir()
        store.caller.own(target)
        fill = "head -c 300000000 /dev/zero > /data/big"
        store("exec", name, "sh", "-c", fill)
        place = target
    else:
        place = store.folder / "volume"
        place.mkdir()
        place.chmod(0o777)
        store.create("v", "sleep 10000", "-v", f"{place}:/v")
        store("start", "-q", "v")
        with open(store.folder / "big", "wb") as file:
            file.truncate(300_000_000)
        source, target = store.folder / "big", "v:/v/big"
    process = subprocess.Popen(
        store.words("cp", source, target), env=store.caller.environment(), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

    def some():
        """Whether it is in the middle of it, by what it, or who works for it, has written."""
        with contextlib.suppress(OSError, ValueError):
            children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            texts = [pathlib.Path(f"/proc/{pid}/io").read_text() for pid in [process.pid, *children]]
            return any(int(re.search(r"wchar: (\d+)", text)[1]) > 8 << 20 for text in texts)

    wait_until(lambda: process.poll() is not None or some(), "some of the copy")
    process.kill()
    process.wait(PATIENCE)
    wait_until(lambda: not [p for p in processes_with(str(store.folder)) if b"\0inside\0" in cmdline(p)], "the helper's end")
    assert [path for _, _, names in os.walk(place) for path in names if path.endswith(".part")] == []


def cmdline(pid):
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    return b""


def test_owner_of_what_comes_in(store):
    name = store.run("c", "true")
    source = write(store, "f")
    store("cp", source, f"{name}:/f")
    with tarfile.open(fileobj=io.BytesIO(store("cp", f"{name}:/f", "-", text=False))) as tar:
        entry = tar.getmember("f")
    assert (entry.uid, entry.gid) == (0, 0)
    bytes_ = archive(("g", tarfile.REGTYPE, {"uid": 70000, "gid": 70000}))
    done = store.try_("cp", "-a", "-", f"{name}:/", input=bytes_, text=False)
    assert done.returncode == 125 and b"none of the container's ids" in done.stderr
    store("cp", "-", f"{name}:/", input=bytes_, text=False)


def test_archive_keeps_ids_of_the_map(store):
    options = []
    if store.caller.name != "root":
        if not shutil.which("newuidmap") or store.caller.account.pw_name not in open("/etc/subuid").read():
            pytest.skip("no subordinate ids here")
        options = ["--userns", "subordinate"]
    name = store.run("c", "echo x > /mine; mkdir -m 700 /closed; echo y > /closed/f; chown -R 1000:1001 /mine /closed", *options)
    store("cp", "-a", "-", f"{name}:/", input=archive(("g", tarfile.REGTYPE, {"uid": 5, "gid": 6})), text=False)
    with tarfile.open(fileobj=io.BytesIO(store("export", name, text=False))) as tar:
        found = {entry.name: (entry.uid, entry.gid) for entry in tar}
    assert found["./g"] == (5, 6) and found["./mine"] == (1000, 1001)
    assert found["./closed/f"] == (1000, 1001)
    assert "A /closed/f" in store("diff", name).splitlines()
    store("cp", f"{name}:/closed", store.folder / "opened")
    assert (store.folder / "opened/f").read_text() == "y\n"
    if store.caller.name != "root":
        done = store.try_("cp", "-a", f"{name}:/mine", store.folder / "mine")
        assert done.returncode == 125 and "only root can give files away" in done.stderr
        return
    store("cp", "-a", f"{name}:/mine", store.folder / "mine")
    assert (store.folder / "mine").stat().st_uid == 1000


def test_setuid_bits_stay_inside(store):
    name = store.run("c", "cp /bin/busybox /tool; chmod 6755 /tool")
    store("cp", f"{name}:/tool", store.folder / "tool")
    assert (store.folder / "tool").stat().st_mode & 0o7777 == 0o755


def test_an_absolute_link_of_the_image_stays_inside(store, image):
    (image / "var/run").symlink_to("/run")
    (image / "escape").symlink_to("../../../../../../../../etc")
    name = store.run("c", "true", image=image)
    store("cp", write(store, "f"), f"{name}:/var/run/f")
    assert "run/f" in names(store("cp", f"{name}:/run", "-", text=False))
    store("cp", write(store, "f"), f"{name}:/escape/codex32-was-here")
    assert not os.path.exists("/etc/codex32-was-here")
    assert "etc/codex32-was-here" in names(store("cp", f"{name}:/etc", "-", text=False))


@pytest.mark.parametrize("what", ["pipe", "link", "folder"])
def test_what_stands_in_the_way_is_not_opened(store, what):
    """A pipe would hang whoever opens it, and a link lead somewhere else."""
    makers = {"pipe": "mkfifo /in/f", "link": "ln -s /etc/target /in/f; echo kept > /etc/target", "folder": "mkdir /in/f"}
    name = store.run("c", f"mkdir /in; {makers[what]}")
    folder = store.folder / "from"
    write(store, "from/f")
    done = store.try_("cp", f"{folder}/.", f"{name}:/in")
    if what == "folder":
        assert done.returncode == 125 and "a folder stands in its place" in done.stderr
    else:
        assert done.returncode == 0, done.stderr
    if what == "link":
        assert store("cp", f"{name}:/etc/target", "-").count("kept") == 1
    listing = store("cp", f"{name}:/in", "-", text=False)  # ends, although a pipe may be there
    assert "in/f" in names(listing)


def test_refuses_what_cannot_be_copied(store):
    name = store.create("c", "true")
    for words, why in [
        ((f"{name}:/nothing", "x"), "no such file"),
        ((f"{name}:/dev/null", "x"), "it is a device"),
        ((f"{name}:/proc/1/root/etc", "x"), "cannot copy /proc/1/root/etc"),
        ((store.folder / "nothing", f"{name}:/"), "no such file"),
        ((write(store, "f"), f"{name}:/nowhere/f"), "must be there"),
        ((write(store, "f"), f"{name}:/nowhere/"), "no such folder"),
        ((write(store, "in/f").parent, f"{name}:/etc/passwd"), "cannot take the place of a file"),
        ((write(store, "f"), f"{name}:/tmp/"), "empty at every start"),
        (("a", "b"), "neither word names a container"),
        (("nobody:/a", "b"), "no container nobody"),
    ]:
        done = store.try_("cp", *words)
        assert done.returncode == 125 and why in done.stderr.lower(), (words, done.stderr)


def test_a_failure_outside_is_told_whatever_is_still_to_come(store):
    name = store.run("c", "head -c 3000000 /dev/zero > /big")
    for target, why in [(store.folder / "nowhere/x", "must be there"), (f"{write(store, 'f')}/", "no such folder")]:
        done = store.try_("cp", f"{name}:/big", target)
        assert done.returncode == 125 and why in done.stderr, done.stderr
    done = store.try_("import", "--max-size=1m", "-", store.folder / "i", input=store("export", name, text=False), text=False)
    assert done.returncode == 125 and b"--max-size" in done.stderr
    done = store.try_("commit", "--max-size=1m", name, store.folder / "i")
    assert done.returncode == 125 and "--max-size" in done.stderr


def test_a_read_only_root_says_so(store):
    name = store.create("c", "true", "--read-only")
    done = store.try_("cp", write(store, "f"), f"{name}:/etc/f")
    assert done.returncode == 125 and "read-only" in done.stderr


def test_holes_stay_holes(store):
    name = store.run("c", "true")
    big = store.folder / "big"
    with open(big, "wb") as file:
        file.truncate(20 << 30)
        file.seek(10 << 30)
        file.write(b"middle")
    store.caller.own(big)
    store("cp", big, f"{name}:/big")
    store("cp", f"{name}:/big", store.folder / "back")
    back = (store.folder / "back").stat()
    assert back.st_size == 20 << 30 and back.st_blocks * 512 < 1 << 20
    with open(store.folder / "back", "rb") as file:
        file.seek(10 << 30)
        assert file.read(6) == b"middle"


def test_a_racer_gets_nothing_out_and_nothing_in(store, image, compile_c):
    """The program exchanges a folder with a link to the machine's, while cp goes through it both ways."""
    sentinel = store.folder / "sentinel"
    sentinel.mkdir()
    (sentinel / "secret").write_text("SECRET")
    sentinel.chmod(0o777)
    shutil.copy(compile_c("racer.c"), image / "bin/racer")
    os.chmod(image / "bin/racer", 0o755)
    store.caller.own(image / "bin/racer")
    climb = "../" * 40
    script = (
        f"mkdir -p /r/a; echo inside > /r/a/secret; ln -s {climb}{sentinel} /r/b; echo ready;"
        " exec racer exchange /r/a /r/b"
    )
    (image / "bin/mkdir").symlink_to("busybox")
    (image / "bin/ln").symlink_to("busybox")
    name = store.create("c", script, image=image)
    store.start(name)
    write(store, "in/new", "from outside")
    before = sorted(os.listdir(sentinel))
    for _ in range(40):
        # Each of these may fail: a name is a link at the moment. None may reach the sentinel.
        for source in ("/r/a/secret", "/r/a/.", "/r"):
            done = store.try_("cp", f"{name}:{source}", "-", text=False)
            assert b"SECRET" not in done.stdout
        for target in ("/r/a", "/r/a/new"):
            store.try_("cp", store.folder / "in/new", f"{name}:{target}")
        store.try_("cp", f"{store.folder}/in/.", f"{name}:/r/a")
        assert sorted(os.listdir(sentinel)) == before
    assert (sentinel / "secret").read_text() == "SECRET"


def test_a_killed_copy_leaves_nothing(store):
    name = store.create("c", "true")
    words = store.words("cp", "-", f"{name}:/etc")
    process = subprocess.Popen(words, env=store.caller.environment(), stdin=subprocess.PIPE)
    wait_until(lambda: len(processes_with(str(store.caller.storage))) >= 1, "cp")
    process.kill()
    process.wait(PATIENCE)
    process.stdin.close()
    wait_until(lambda: processes_with(str(store.folder)) == [], "the end of all that cp started")
    assert str(store.caller.storage) not in open("/proc/self/mountinfo").read()
    store("start", "-q", name)


# --- diff ---


def test_diff_of_an_image(store, image):
    (image / "etc/gone").write_text("x")
    (image / "etc/changed").write_text("x")
    (image / "old").mkdir()
    (image / "old/kept").write_text("x")
    for tool in ("rm", "mkdir", "mv"):
        (image / "bin" / tool).symlink_to("busybox")
    store.caller.own(image)
    assert store("diff", store.create("never", "true", image=image)) == ""
    script = "rm /etc/gone; echo y > /etc/changed; mkdir /made; echo z > /made/f; rm -r /old; mkdir /old; echo n > /old/new"
    name = store.run("c", script, image=image)
    expected = [
        "C /etc", "C /etc/changed", "D /etc/gone", "A /made", "A /made/f", "C /old", "D /old/kept", "A /old/new",
    ]  # fmt: skip
    assert store("diff", name).splitlines() == expected
    store("stop", "-t", "0", name)
    assert store("diff", name).splitlines() == expected
    document = json.loads(store("diff", "--format", "json", name))
    assert {"kind": "deleted", "path": "/etc/gone"} in document


def test_diff_of_an_assembled_root(store):
    name = store.run("c", "echo x > /etc/mine; mkdir /own; echo evil >> /etc/hosts", image="template:host")
    assert "A /etc/mine" in store("diff", name).splitlines()
    lines = store("diff", name).splitlines()
    assert "A /own" in lines and not [line for line in lines if line.endswith(("/usr", "/proc", "/dev", "/bin"))], lines
    assert "C /etc/hosts" in lines


# --- export, import, commit ---


def picture(folder):
    """All that a tree is, but for the times of reading."""
    found = {}
    for where, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = os.path.join(where, name)
            status = os.lstat(path)
            more = None
            if os.path.islink(path):
                more = os.readlink(path)
            elif os.path.isfile(path):
                more = open(path, "rb").read()
            found[os.path.relpath(path, folder)] = (
                oct(status.st_mode), status.st_uid, status.st_gid, status.st_nlink, status.st_mtime_ns, more,
            )  # fmt: skip
    return found


def test_export_and_import_come_out_equal(store):
    long = "n" * 200
    script = (
        f"mkdir -p /x/{long}/{long}; echo 1 > /x/{long}/{long}/f; ln /x/{long}/{long}/f /x/hard; ln -s {long} /x/soft;"
        " mkfifo /x/pipe; rm /bin/vi; printf 'odd\\377' > \"$(printf '/x/odd\\377')\"; chmod 4755 /x/hard; touch -d @1 /x/hard"
    )
    name = store.run("c", script)
    store("stop", "-t", "0", name)
    first = store("export", name, text=False)
    assert first == store("export", name, text=False)  # deterministic
    assert "./bin/vi" not in names(first)
    one, two, by_tar = store.folder / "one", store.folder / "two", store.folder / "tar"
    store("import", "-", one, input=first, text=False)
    store("commit", name, two)
    assert picture(one) == picture(two) and f"x/{long}/{long}/f" in picture(one)
    assert (one / "x/hard").stat().st_nlink == 2
    assert ((one / "x/hard").stat().st_mode & 0o4000 != 0) == (store.caller.name == "root")
    if store.caller.name == "root":
        # What we write Debian's tar reads, and gives the same.
        by_tar.mkdir()
        subprocess.run(["tar", "-C", by_tar, "-xpf", "-"], input=first, check=True)
        assert picture(by_tar) == picture(one)
    done = store.caller.run(image=one, command=["/bin/busybox", "cat", f"/x/{long}/{long}/f"], level="standard")
    assert done.stdout == "1\n", done.stderr


@pytest.mark.parametrize("form", ["ustar", "pax", "gnu", "v7"])
def test_reads_what_tar_writes(store, form):
    tree = store.folder / "tree"
    write(store, "tree/a/b/file", "text")
    (tree / "a/link").symlink_to("b/file")
    os.link(tree / "a/b/file", tree / "a/hard")
    if form in ("pax", "gnu"):
        write(store, "tree/" + "d" * 120 + "/" + "f" * 120, "long")
    made = subprocess.run(["tar", f"--format={form}", "-C", tree, "-cf", "-", "."], capture_output=True, check=True).stdout
    store("import", "-", store.folder / "image", input=made, text=False)
    ours, theirs = picture(store.folder / "image"), picture(tree)
    assert ours.keys() == theirs.keys()
    assert {key: value[5] for key, value in ours.items()} == {key: value[5] for key, value in theirs.items()}
    assert (store.folder / "image/a/hard").stat().st_nlink == 2


REG, LINK, SYM, DIR, CHR = tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE
HOSTILE = {
    "dots": [("a/../../out", REG, {})],
    "absolute": [("/tmp/codex32-out", REG, {})],
    "link-parent": [("l", SYM, {"linkname": ".."}), ("l/out", REG, {})],
    "absolute-link-parent": [("l", SYM, {"linkname": "/tmp"}), ("l/codex32-out", REG, {})],
    "hard-link-out": [("h", LINK, {"linkname": "../../etc/passwd"})],
    "hard-link-absolute": [("h", LINK, {"linkname": "/etc/passwd"})],
    "hard-link-by-link": [("l", SYM, {"linkname": "/etc"}), ("h", LINK, {"linkname": "l/passwd"})],
    "folder-over-link": [("l", SYM, {"linkname": "/tmp"}), ("l", DIR, {})],
    "too-deep": [("/".join("d" for _ in range(300)), DIR, {})],
    "long-name": [("n" * 300, REG, {})],
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_archives_get_nowhere(store, kind):
    bytes_ = archive(*((name, type_, dict(more)) for name, type_, more in HOSTILE[kind]))
    before = {path for path in os.listdir(store.folder)}
    done = store.try_("import", "-", store.folder / "image", input=bytes_, text=False)
    assert done.returncode == 125 and done.stderr.startswith(b"codex32: "), done.stderr
    assert {path for path in os.listdir(store.folder)} == before  # nothing, and no temporary folder either
    assert not os.path.exists("/tmp/codex32-out")


def test_broken_archives_are_told(store):
    good = archive(("f", REG, {"contents": b"x" * 5000}))
    for bytes_, why in [
        (b"", b"ends"),
        (good[:700], b"ends"),
        (good[:5632], b"ends before"),
        (good[:6000], b"cut off"),
        (b"\x1f\x8b" + b"\0" * 600, b"gzip cannot decompress it"),
        (gzip.compress(good)[:-12], b"gzip cannot decompress it"),
        (gzip.compress(gzip.compress(good)), b"it is compressed: gzip -dc"),
        (b"x" * 512, b"no number"),
        (good[:5] + b"!" + good[6:], b"checksum"),
    ]:
        done = store.try_("import", "-", store.folder / "image", input=bytes_, text=False)
        assert done.returncode == 125 and why in done.stderr, (why, done.stderr)
        assert not (store.folder / "image").exists()


COMPRESSED = {"gzip": ["gzip", "-c"], "zstd": ["zstd", "-q", "-c"], "xz": ["xz", "-c"], "bzip2": ["bzip2", "-c"]}


def compressed(kind, data):
    if shutil.which(kind) is None:
        pytest.skip(f"no {kind} here")
    return subprocess.run(COMPRESSED[kind], input=data, capture_output=True, check=True, timeout=PATIENCE).stdout


@pytest.mark.parametrize("kind", COMPRESSED)
def test_compressed_archives(store, kind):
    data = compressed(kind, archive(("f", REG, {"contents": os.urandom(300_000)}), ("d", DIR, {})))
    file = store.folder / "archive"  # its name says nothing
    file.write_bytes(data)
    store("import", file, store.folder / "one")
    store("import", "-", store.folder / "two", input=data, text=False)
    for image in ("one", "two"):
        assert sorted(os.listdir(store.folder / image)) == ["d", "f"]
        assert (store.folder / image / "f").stat().st_size == 300_000
    # Byte by byte, from a writer that takes its time.
    words = store.words("import", "-", store.folder / "three")
    with subprocess.Popen(words, env=store.caller.environment(), stdin=subprocess.PIPE) as process:
        for byte in data[:8]:
            process.stdin.write(bytes([byte]))
            process.stdin.flush()
            time.sleep(0.005)
        process.stdin.write(data[8:])
        process.stdin.close()
        assert process.wait(PATIENCE) == 0
    assert (store.folder / "three/f").stat().st_size == 300_000


@pytest.mark.parametrize("kind", COMPRESSED)
def test_bombs_stay_bounded(store, kind):
    """A gibibyte of zeros in a file, and one behind the archive's end: of neither is more unpacked than may be."""
    zeros = io.BytesIO()
    with tarfile.open(fileobj=zeros, mode="w") as made:
        member = tarfile.TarInfo("zeros")
        member.size = 64 << 20
        made.addfile(member, open("/dev/zero", "rb"))
    data = compressed(kind, zeros.getvalue())
    assert len(data) < 1 << 20
    done = store.try_("import", "--max-size=1m", "-", store.folder / "image", input=data, text=False)
    assert done.returncode == 125 and b"--max-size" in done.stderr
    assert not (store.folder / "image").exists()
    behind = compressed(kind, archive(("f", REG, {"contents": b"x"})) + bytes(64 << 20))
    store("import", "-", store.folder / "image", input=behind, text=False)
    assert os.listdir(store.folder / "image") == ["f"]
    assert processes_with(str(store.folder)) == []


def test_missing_decompressor_is_told(root_without_tools, store):
    data = gzip.compress(archive(("f", REG, {"contents": b"x"})))
    done = root_without_tools(store, data)
    assert done.returncode == 125, done.stderr
    assert b"this machine has no gzip\nhint: apt-get install gzip" in done.stderr
    assert not (store.folder / "image").exists()


@pytest.fixture
def root_without_tools():
    """An import in a mount namespace in which every folder of gzip is hidden."""
    if os.geteuid() != 0:
        pytest.skip("needs root")

    def run(store, data):
        hide = "; ".join(f"mount -t tmpfs none {folder}" for folder in ("/usr/local/sbin", "/usr/local/bin"))
        hide += "; mount --bind /dev/null $(readlink -f /usr/bin/gzip)"
        words = ["unshare", "-m", "sh", "-c", f'{hide}; exec "$@"', "sh", *store.words("import", "-", store.folder / "image")]
        return store.caller.execute(words, input=data, text=False)

    return run


def test_bounds_devices_and_full_folders(store):
    bytes_ = archive(("f", REG, {"contents": b"x" * 5000}), ("g", REG, {}), ("null", CHR, {"devmajor": 1, "devminor": 3}))
    target = store.folder / "image"
    for option, why in [("--max-size=4k", b"--max-size"), ("--max-files=1", b"--max-files")]:
        done = store.try_("import", option, "-", target, input=bytes_, text=False)
        assert done.returncode == 125 and why in done.stderr and not target.exists()
    done = store.try_("import", "-", target, input=bytes_, text=False)
    assert done.returncode == 0 and b"null is a device, and was left out" in done.stderr
    assert sorted(os.listdir(target)) == ["f", "g"]
    done = store.try_("import", "-", target, input=bytes_, text=False)
    assert done.returncode == 125 and b"not empty" in done.stderr


def test_a_killed_import_is_cleared_by_the_next(store):
    bytes_ = archive(("f", REG, {"contents": b"x" * (1 << 20)}))
    words = store.words("import", "-", store.folder / "image")
    process = subprocess.Popen(words, env=store.caller.environment(), stdin=subprocess.PIPE)
    process.stdin.write(bytes_[: 1 << 19])
    process.stdin.flush()
    wait_until(lambda: [name for name in os.listdir(store.folder) if name.startswith(".codex32-import")], "its folder")
    process.send_signal(signal.SIGKILL)
    process.wait(PATIENCE)
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    assert not (store.folder / "image").exists()
    store("import", "-", store.folder / "image", input=bytes_, text=False)
    assert not [name for name in os.listdir(store.folder) if name.startswith(".")]


def test_export_refuses_a_terminal_and_writes_whole_files(store):
    name = store.create("c", "true")
    terminal, other = os.openpty()
    done = subprocess.run(
        store.words("export", name), env=store.caller.environment(), stdout=other, stderr=subprocess.PIPE, text=True,
        timeout=PATIENCE, check=False,
    )  # fmt: skip
    os.close(terminal)
    os.close(other)
    assert done.returncode == 125 and "-o FILE" in done.stderr
    store("export", "-o", store.folder / "x.tar", name)
    assert "./bin/busybox" in tarfile.open(store.folder / "x.tar").getnames()


@pytest.mark.parametrize("verb", ["cp", "diff", "export", "import", "commit"])
def test_help(store, verb):
    assert "codex32 " + verb in store(verb, "--help")
