"""Images of the store: loading what others made, hostile layers, running, naming, sweeping."""

import json
import os
import pathlib
import signal
import struct
import subprocess
import tarfile
import time

import pytest
from conftest import PATIENCE, checksum, tree
from layouts import Layout, base, digest, docker_archive, folder, hard, layer, link, member


@pytest.fixture
def shop(caller, place, request):
    """The caller with an empty store, and a place for layouts that everybody can read."""
    home = pathlib.Path(place) / f"shop.{caller.name}.{abs(hash(request.node.name))}"
    home.mkdir(mode=0o755)
    caller.own(home)
    shop = Shop(caller.with_storage(home / "storage"), home)
    yield shop
    for line in shop.call("list", "-a", "--format", "{{.ID}}").stdout.split():
        shop.call("rm", "-f", line)
    subprocess.run(["rm", "-rf", "--one-file-system", str(home)], check=True, timeout=PATIENCE)


class Shop:
    def __init__(self, caller, home):
        self.caller, self.home = caller, home
        self.store = caller.storage / "images"

    def call(self, verb, *words, **more):
        return self.caller.execute(
            [*self.caller.become(), str(self.caller.binary), *verb.split(), "--root", str(self.caller.storage), *map(str, words)], **more
        )

    def image(self, part, *words, fails=None, **more):
        done = self.call(f"image {part}", *words, **more)
        if fails is None:
            assert done.returncode == 0, done.stderr
        else:
            assert done.returncode == 125 and fails in done.stderr, done.stderr
            assert done.stderr.startswith("codex32: ")
        return done.stdout if isinstance(done.stdout, str) else done

    def load(self, layout, *words, **more):
        path = layout if isinstance(layout, pathlib.Path) else layout.folder(self.home / f"layout{len(os.listdir(self.home))}")
        return self.image("load", *words, path, **more)

    def names(self):
        return self.image("list", "--format", "{{.Repository}}:{{.Tag}}").split()

    def sh(self, image, script, *options, level="standard"):
        done = self.caller.run(*options, level=level, image=image, command=["sh", "-c", script])
        assert done.returncode == 0, done.stderr
        return done.stdout

    def whole(self):
        """Nothing half, nothing without an owner, every sum right."""
        self.image("prune", "-f")
        self.image("verify")
        assert [name for name in os.listdir(self.store / "ingest")] == []
        assert not any(name.startswith(".") for name in os.listdir(self.store / "names"))
        for part in ("layers", "blobs", "manifests"):
            assert all(len(name) == 64 for name in os.listdir(self.store / part))
        for part in ("blobs", "manifests"):
            for file in (self.store / part).iterdir():
                assert checksum(file) == file.name


def simple(name="bot:1", config=None, **more):
    layout = Layout()
    layout.image([base()], name, config=config or {"Cmd": ["echo", "hello"]}, **more)
    return layout


STACK = [
    base(
        folder("data"), member("data/kept", b"1"), member("data/gone", b"2"), folder("data/deep"), member("data/deep/file", b"3"),
        folder("old"), member("old/a", b"a"), member("old/b", b"b"), folder("swap"), member("swap/x", b"x"),
        folder("private", mode=0o750, uid=0, gid=7),
    ),
    layer(
        member("data/.wh.gone"), member("data/.wh.deep"), folder("old"), member("old/.wh..wh..opq"), member("old/c", b"c"),
        member(".wh.swap"), folder("swap"), member("swap/y", b"y"), member("private/inside", b"i"),
        member("data/new", b"new", mode=0o600), hard("data/second", "data/new"),
    ),
    layer(folder("data"), member("data/gone", b"back"), member("bin/tool", b"#!/bin/sh\necho tool\n", mode=0o4755), member("old/.wh.c")),
]  # fmt: skip


@pytest.mark.parametrize("form", ["plain", "gzip", "zstd"])
@pytest.mark.parametrize("kind", ["folder", "tar", "stdin"])
def test_load_and_run_a_layout(shop, form, kind):
    layout = simple(form=form)
    if kind == "folder":
        out = shop.load(layout)
    elif kind == "tar":
        out = shop.load(layout.tar(shop.home / "layout.tar"))
    else:
        path = layout.tar(shop.home / "layout.tar")
        out = shop.image("load", "-", input=path.read_bytes(), text=False).stdout.decode()
    assert out == "bot:1\n"
    done = shop.caller.run(level="standard", image="bot:1")
    assert (done.returncode, done.stdout) == (0, "hello\n"), done.stderr
    shop.whole()


def minimal_acl(owner, group, others):
    """A default list (acl(5)) as the kernel takes it (linux/posix_acl_xattr.h): version 2, then tag, bits and id of each."""
    entries = [(1, owner), (4, group), (0x20, others)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", tag, bits, 0xFFFFFFFF) for tag, bits in entries)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
@pytest.mark.parametrize("where", ["plain", "setgid", "acl"])
def test_modes_and_owners_are_the_layers_own(shop, where, mask):
    """Whatever new files get of themselves: by the caller's umask, a folder that hands on its group, a default list."""
    shop.load(simple())
    before = set(os.listdir(shop.store / "layers"))
    ingest = shop.store / "ingest"
    if where == "setgid":
        os.chown(ingest, -1, 1 if shop.caller.name == "root" else shop.caller.account.pw_gid)
        ingest.chmod(0o2700)
    for folder_ in [shop.store, ingest] if where == "acl" else []:
        try:
            os.setxattr(folder_, "system.posix_acl_default", minimal_acl(7, 0, 0))
        except OSError as error:
            pytest.skip(f"the file system has no such lists: {error}")
    layout = Layout()
    modes = [0o644, 0o755, 0o600, 0o444, 0o000, 0o777, 0o2755, 0o4711]
    members = [folder("set", mode=0o2775, gid=7)]
    for uid, gid in ((0, 0), (5, 7), (0, 7)):
        members.append(folder(f"by{uid}.{gid}", mode=0o751, uid=uid, gid=gid))
        for under in (f"by{uid}.{gid}", "set"):
            members += [member(f"{under}/{uid}.{gid}.{mode:o}", b"x", mode=mode, uid=uid, gid=gid) for mode in modes]
    layout.image([base(*members)], "modes:1")
    path = layout.folder(shop.home / "layout")
    done = subprocess.run(
        [*shop.caller.become(), "sh", "-c", f'umask {mask:o}; exec "$@"', "sh", str(shop.caller.binary), "image", "load", "--root",
         str(shop.caller.storage), str(path)],
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (unpacked,) = (shop.store / "layers" / name for name in set(os.listdir(shop.store / "layers")) - before)
    root = shop.caller.name == "root"
    for each in members:
        status = os.lstat(unpacked / each[0].name)
        kept = 0o7777 if root else 0o1777 if each[0].isdir() else 0o777
        assert status.st_mode & 0o7777 == each[0].mode & kept, each[0].name
        if root:
            assert (status.st_uid, status.st_gid) == (each[0].uid, each[0].gid), each[0].name
        assert "system.posix_acl_access" not in os.listxattr(unpacked / each[0].name, follow_symlinks=False) or where == "acl"


def test_a_compressed_archive(shop):
    import gzip

    path = simple().tar(shop.home / "layout.tar")
    packed = shop.home / "layout.tar.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert shop.load(packed) == "bot:1\n"


def test_whiteouts_opaque_folders_and_links(shop, level):
    layout = Layout()
    layout.image(STACK, "stack:1")
    shop.load(layout)
    script = "cd /; cat data/kept data/gone data/new; echo; ls data old swap private; stat -c '%a %h' data/new private; test ! -e data/deep"
    out = shop.sh("stack:1", script, level=level)
    expected = "1backnew\ndata:\ngone\nkept\nnew\nsecond\n\nold:\n\nprivate:\ninside\n\nswap:\ny\n600 2\n750 "
    assert out.startswith(expected), out
    shop.whole()


def test_setuid_and_owners_are_kept_by_root_alone(shop):
    layout = Layout()
    layout.image(STACK, "stack:1")
    shop.load(layout)
    mode = int(shop.sh("stack:1", "stat -c %a /bin/tool").strip(), 8)
    group = shop.sh("stack:1", "stat -c %g /private").strip()
    if shop.caller.name == "root":
        assert mode == 0o4755 and group == "7"
    else:
        assert mode == 0o755 and group == "0"


def test_times_of_folders_are_the_archives(shop):
    """Also of those that are filled later than they were made, and that a layer has no entry for."""
    layout = Layout()
    layout.image(STACK, "stack:1")
    shop.load(layout)
    assert shop.sh("stack:1", "stat -c %Y /bin /old /private /data /swap").split() == ["1000000000"] * 5


def test_changes_stay_with_the_container(shop):
    layout = Layout()
    layout.image(STACK, "stack:1")
    shop.load(layout)
    before = {path: os.lstat(path).st_mtime_ns for path in tree(shop.store / "layers")} if shop.caller.name == "root" else None
    assert shop.sh("stack:1", "echo x > /data/kept && rm /data/new && cat /data/kept") == "x\n"
    assert shop.sh("stack:1", "cat /data/kept /data/new") == "1new"
    if before:
        assert before == {path: os.lstat(path).st_mtime_ns for path in tree(shop.store / "layers")}


def test_layers_are_shared(shop):
    first, second = Layout(), Layout()
    first.image(STACK[:2], "first:1")
    second.image([*STACK[:2], layer(member("extra", b"e"))], "second:1")
    shop.load(first)
    assert len(os.listdir(shop.store / "layers")) == 2
    shop.load(second)
    assert len(os.listdir(shop.store / "layers")) == 3
    shop.image("remove", "first:1")
    assert len(os.listdir(shop.store / "layers")) == 3
    assert shop.sh("second:1", "cat /extra /data/kept") == "e1"
    shop.whole()


def test_docker_archive(shop):
    extra = layer(member("twice", b"t"))
    path = docker_archive(shop.home / "saved.tar", [base(), extra, extra], ["tools/bot:2", "bot:latest"], {"Entrypoint": ["echo"], "Cmd": ["hi"]})
    assert shop.load(path) == "tools/bot:2\nbot:latest\n"
    assert shop.caller.run(level="standard", image="tools/bot:2").stdout == "hi\n"
    assert shop.caller.run(level="standard", image="bot", command=["you"]).stdout == "you\n"


def test_a_hundred_layers_and_one_more(shop):
    layers = [base(), *(layer(member(f"file{n}", str(n).encode())) for n in range(99))]
    layout = Layout()
    layout.image(layers, "deep:1")
    shop.load(layout)
    assert shop.sh("deep:1", "cat /file0 /file50 /file98") == "05098"
    over = Layout()
    over.image([*layers, layer(member("more"))], "deeper:1")
    shop.load(over, fails="there must be 1 to 100")


# What the config says


CONFIG = {
    "Entrypoint": ["/bin/sh", "-c"], "Cmd": ["env; pwd; id -u; id -g"], "Env": ["PATH=/bin", "A=image", "B=b=c"],
    "WorkingDir": "/etc", "User": "bot:bots", "StopSignal": "SIGINT", "Labels": {"a": "image", "b": "image"},
    "Volumes": {"/vol": {}}, "Healthcheck": {"Test": ["CMD", "true"], "Interval": 5_000_000_000, "Retries": 7},
}  # fmt: skip


def test_the_config_is_honoured(shop):
    shop.load(simple(config=CONFIG))
    done = shop.caller.run("-e", "A=mine", level="standard", image="bot:1")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split("\n")
    assert {"A=mine", "B=b=c", "PATH=/bin", "HOME=/home/bot"} <= set(lines)
    assert lines[-4:] == ["/etc", "1000", "1001", ""]
    out = shop.caller.run("-u", "0", "-w", "/", level="standard", image="bot:1", command=["pwd; id -u; test -d /vol && echo > /vol/x && echo vol"]).stdout
    assert out == "/\n0\nvol\n"


def test_entrypoint_of_the_callers(shop):
    shop.load(simple(config=CONFIG))
    assert shop.caller.run("--entrypoint", "/bin/echo", level="standard", image="bot:1").stdout == "\n"
    assert shop.caller.run("--entrypoint", "/bin/echo", level="standard", image="bot:1", command=["a", "b"]).stdout == "a b\n"
    assert shop.caller.run("--entrypoint", "", level="standard", image="bot:1", command=["/bin/echo", "c"]).stdout == "c\n"


def test_a_container_of_an_image(shop):
    shop.load(simple(config=CONFIG | {"User": "", "Cmd": ["sleep 1000"]}))
    waive = [] if pathlib.Path("/sys/fs/cgroup/cgroup.controllers").exists() else ["-q"]
    done = shop.call("create", *waive, "-l", "b=mine", "--name", "held", "bot:1")
    assert done.returncode == 0, done.stderr
    record = json.loads(shop.call("inspect", "held").stdout)[0]
    settings = record["configuration"]
    assert settings["image"] == "bot:1" and settings["imageDigest"].startswith("sha256:")
    assert settings["stopSignal"] == signal.SIGINT
    assert settings["health"]["command"] == ["true"] and settings["health"]["retries"] == 7 and settings["health"]["interval"] == 5_000_000_000
    assert record["labels"] == {"a": "image", "b": "mine"}
    assert settings["ownVolumes"] == ["/vol"]
    # The name means another image from now on; the container does not change.
    other = Layout()
    other.image([base(member("other", b"o"))], "bot:1")
    shop.load(other)
    done = shop.call("start", "held")
    assert done.returncode == 0, done.stderr
    done = shop.call("exec", "held", "sh", "-c", "test ! -e /other && pwd")
    assert (done.returncode, done.stdout) == (0, "/etc\n"), done.stderr
    shop.image("prune", "-f")
    assert shop.call("exec", "held", "true").returncode == 0
    assert len(os.listdir(shop.store / "manifests")) == 2
    shop.call("rm", "-f", "held")
    shop.image("prune", "-f")
    assert len(os.listdir(shop.store / "manifests")) == 1
    shop.whole()


def test_an_unknown_user_of_the_images(shop):
    shop.load(simple(config={"User": "nobody-knows", "Cmd": ["true"]}))
    done = shop.caller.run(level="standard", image="bot:1")
    assert done.returncode == 125 and "nobody-knows" in done.stderr and "hint: -u 0" in done.stderr


# Names


def test_paths_templates_and_names(shop, image):
    shop.load(simple())
    done = shop.caller.run(level="standard", image="bot")
    assert done.returncode == 125 and "no image bot" in done.stderr and "hint: did you mean bot:1?" in done.stderr
    # A path of the working folder is one still where the store has no such name.
    script = shop.caller.home / "plain.sh"
    script.write_text("#!/bin/sh\necho script\n")
    try:
        assert shop.caller.run(level="standard", image="plain.sh").stdout == "script\n"
    finally:
        script.unlink()


def test_tag_list_inspect_history_remove(shop):
    key = Layout()
    made = key.image(STACK, "stack:1", config={"Cmd": ["true"]}, history=[{"created_by": "one"}, {"created_by": "none", "empty_layer": True}, {"created_by": "two"}, {"created_by": "three"}])
    shop.load(key)
    shop.image("tag", "stack:1", "other/name:2")
    assert shop.names() == ["other/name:2", "stack:1"]
    assert shop.image("list", "-q") == made[7:19] + "\n"
    inspected = json.loads(shop.image("inspect", made[7:15]))[0]
    assert inspected["id"] == made and len(inspected["layers"]) == 3 and inspected["config"]["config"]["Cmd"] == ["true"]
    assert inspected["layers"][0]["diffID"] == inspected["layers"][0]["chainID"] == digest(STACK[0])
    assert [line.split()[-1] for line in shop.image("history", "stack:1").splitlines()[1:]] == ["three", "two", "none", "one"]
    assert shop.image("remove", "stack:1") == "untagged stack:1\n"
    assert shop.image("remove", "other/name:2") == f"untagged other/name:2\nremoved {made}\n"
    assert shop.names() == [] and os.listdir(shop.store / "blobs") == [] and os.listdir(shop.store / "layers") == []
    for part in ("remove", "inspect", "history"):
        shop.image(part, "stack:1", fails="no image stack:1")
    shop.image("tag", "stack:1", "x", fails="no image stack:1")


@pytest.mark.parametrize("name", ["Upper", "a//b", "-a", "a:", "a:b:c", "../x", "a" * 201, "a b", "a:-t", "x%y"])
def test_names_that_are_none(shop, name):
    shop.image("load", f"--name={name}", shop.home, fails="")


def test_every_part_has_help(shop):
    for part in ("load", "list", "inspect", "history", "tag", "remove", "prune", "verify", "save"):
        done = shop.call(f"image {part}", "--help")
        assert done.returncode == 0 and f"codex32 image {part}" in done.stdout
    shop.image("nothing", fails="image has no such part")


def test_save_and_load_again(shop):
    layout = Layout()
    made = layout.image(STACK, "stack:1", form="zstd")
    shop.load(layout)
    shop.image("save", "-o", shop.home / "out.tar", "stack:1")
    again = shop.image("save", "stack:1", text=False).stdout
    assert (shop.home / "out.tar").read_bytes() == again
    shop.image("remove", "stack:1")
    assert shop.load(shop.home / "out.tar") == "stack:1\n"
    assert json.loads(shop.image("inspect", "stack:1"))[0]["id"] == made
    with tarfile.open(shop.home / "out.tar") as tar:
        docker = json.load(tar.extractfile("manifest.json"))
        assert docker[0]["RepoTags"] == ["stack:1"] and len(docker[0]["Layers"]) == 3


def test_verify_finds_a_flipped_bit(shop):
    shop.load(simple())
    assert "is whole" in shop.image("verify", "bot:1")
    blob = max((shop.store / "blobs").iterdir(), key=lambda file: file.stat().st_size)
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)
    shop.image("verify", fails="is damaged")
    shop.image("save", "-o", shop.home / "out.tar", "bot:1", fails="is damaged")
    assert not (shop.home / "out.tar").exists()


# In use


def test_nothing_in_use_is_removed(shop):
    shop.load(simple(config={"Cmd": ["sleep", "1000"]}))
    with shop.caller.running(level="standard", image="bot:1") as runner:
        shop.caller.record(runner)
        shop.image("remove", "bot:1", fails="a foreground run uses it")
        shop.image("remove", "-f", "bot:1")
        assert "removed" not in shop.image("prune", "-f")
        assert len(os.listdir(shop.store / "layers")) == 1
    assert "removed" in shop.image("prune", "-f")
    assert os.listdir(shop.store / "layers") == []


def test_many_loads_at_once_share_the_work(shop):
    layout = Layout()
    layout.image(STACK, "stack:1")
    path = layout.folder(shop.home / "layout")
    words = [*shop.caller.become(), str(shop.caller.binary), "image", "load", "--root", str(shop.caller.storage), str(path)]
    running = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=shop.caller.environment()) for _ in range(8)]
    pruned = [shop.call("image prune", "-f") for _ in range(3)]
    for process in running:
        out, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, out) == (0, "stack:1\n"), err
    assert all(done.returncode == 0 for done in pruned)
    assert shop.sh("stack:1", "cat /data/kept") == "1"
    shop.whole()


def test_a_killed_load_leaves_the_store_whole(shop):
    layout = Layout()
    layout.image([*STACK, layer(*(member(f"many/{n}", bytes(1000)) for n in range(3000)))], "stack:1")
    path = layout.tar(shop.home / "layout.tar")
    words = [*shop.caller.become(), str(shop.caller.binary), "image", "load", "--root", str(shop.caller.storage), str(path)]
    for pause in (0, 0.002, 0.01, 0.03, 0.06, 0.1, 0.2, 0.4, 0.8):
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=shop.caller.environment())
        time.sleep(pause)
        process.kill()
        process.wait(PATIENCE)
        for name in shop.names():
            assert shop.sh(name, "cat /data/kept") == "1"
    for part in ("manifests", "names"):
        (shop.store / part / f".{'0' * 64}.1").write_text("half")
        shop.caller.own(shop.store / part)
    assert shop.load(path) == "stack:1\n"
    assert shop.sh("stack:1", "ls /many").count("\n") == 3000
    shop.whole()


def test_the_store_may_be_named_before_the_part(shop):
    shop.load(simple())
    line = [*shop.caller.become(), str(shop.caller.binary), "image"]
    for option in (["--root", str(shop.caller.storage)], [f"--root={shop.caller.storage}"]):
        done = shop.caller.execute([*line, *option, "list", "-q"])
        assert done.returncode == 0 and len(done.stdout.split()) == 1, done
    for words in (["--root", str(shop.caller.storage)], ["-q", "list"], ["--root"]):
        done = shop.caller.execute([*line, *words])
        assert done.returncode == 125 and done.stderr.startswith("codex32: ") and "\nhint: " in done.stderr, done
