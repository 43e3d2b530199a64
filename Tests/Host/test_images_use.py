"""Images of the store in use: what containers change of several layers, volumes, mounts, platforms, the disk."""

import json
import os
import pathlib
import subprocess

import pytest
from conftest import PATIENCE, tree
from layouts import Layout, base, folder, hard, layer, link, member
from test_images import STACK, shop, simple  # noqa: F401

OTHER = "arm64" if os.uname().machine == "x86_64" else "amd64"


def test_diff_over_several_layers(shop):
    layout = Layout()
    layout.image(STACK, "stack:1")
    shop.load(layout)
    script = "cd /; echo x > data/kept; rm data/gone; rm -r old; mkdir old; touch old/new; echo n > made; rm swap/y; touch data/deep"
    done = shop.call("run", "-d", "--name", "changed", "stack:1", "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    shop.call("wait", "changed")
    seen = shop.call("diff", "changed")
    assert seen.returncode == 0, seen.stderr
    # "deep" was hidden by a layer, so that it is new; "a" and "b" of "old" are no part of the image.
    assert seen.stdout.split("\n")[:-1] == [
        "C /data", "A /data/deep", "D /data/gone", "C /data/kept", "A /made", "C /old", "A /old/new", "C /swap", "D /swap/y",
    ]  # fmt: skip


CONTENT = [
    base(folder("srv"), folder("srv/web", mode=0o750, uid=5, gid=7), member("srv/web/gone", b"no"), folder("srv/web/deep"), member("srv/web/deep/file", b"3")),
    layer(
        member("srv/web/index", b"hi", mode=0o640, uid=5, gid=7), hard("srv/web/second", "srv/web/index"), link("srv/web/link", "index"),
        member("srv/web/.wh.gone"),
    ),
]  # fmt: skip


@pytest.mark.parametrize("own", ["image", "option"])
def test_a_new_volume_begins_with_what_the_image_has(shop, own):
    layout = Layout()
    layout.image(CONTENT, "web:1", config={"Volumes": {"/srv/web": {}}} if own == "image" else {})
    shop.load(layout)
    options = [] if own == "image" else ["-v", "/srv/web"]
    out = shop.sh("web:1", "cd /srv/web; cat index second link deep/file; ls; stat -c '%a %u %g' . index; touch new", *options)
    owners = ("750 5 7", "640 5 7") if shop.caller.name == "root" else ("750 0 0", "640 0 0")
    assert out.splitlines() == ["hihihi3deep", "index", "link", "second", *owners], out


def test_a_volume_keeps_what_was_done_to_it(shop):
    layout = Layout()
    layout.image(CONTENT, "web:1")
    shop.load(layout)
    done = shop.call("create", "--name", "kept", "-v", "/srv/web", "web:1", "sh", "-c", "cat /srv/web/index; rm /srv/web/index; echo two > /srv/web/index; rm -rf /srv/web/deep")
    assert done.returncode == 0, done.stderr
    assert shop.call("start", "-a", "kept").stdout == "hi"
    again = shop.call("start", "-a", "kept")
    assert again.stdout == "two\n", again.stderr
    names = os.listdir(shop.caller.storage / "volumes")
    assert len(names) == 1 and shop.call("rm", "-v", "kept").returncode == 0
    assert os.listdir(shop.caller.storage / "volumes") == []


def test_a_link_in_the_image_leads_a_volume_nowhere(shop):
    layout = Layout()
    layout.image([base(link("out", "/etc")), layer(folder("two"))], "trap:1")
    shop.load(layout)
    assert shop.sh("trap:1", "ls -a /two/x", "-v", "/two/x").split() == [".", ".."]
    # Where the way to it is a link, nothing of the machine's is read.
    done = shop.caller.run("-v", "/out/x", level="standard", image="trap:1", command=["ls", "-a", "/etc/x"])
    assert done.returncode != 0 or done.stdout.split() == [".", ".."], done.stdout


def test_a_large_change_in_a_foreground_run_of_several_layers(shop):
    layout = Layout()
    layout.image(STACK, "stack:1")
    shop.load(layout)
    # More than the 64 MiB that what is only in memory had.
    assert shop.sh("stack:1", "busybox dd if=/dev/zero of=/big bs=1M count=80 2>/dev/null; stat -c %s /big").strip() == str(80 << 20)


def taken(folder):
    """Bytes of the disk that a folder's files take, those with several names once."""
    files = {(status.st_dev, status.st_ino): status.st_blocks * 512 for status in (os.lstat(path) for path in [folder, *tree(folder)])}
    return sum(files.values())


def test_a_second_container_takes_next_to_no_disk(shop):
    """Of an image of many files and megabytes: before it writes, at most 100 KB are its own, with its record, log and layer."""
    layout = Layout()
    layout.image([base(), *(layer(*(member(f"part{part}/f{n}", os.urandom(20_000)) for n in range(100))) for part in range(5))], "big:1", config={"Cmd": ["sleep", "1000"]})
    shop.load(layout)
    start = lambda name: shop.call("run", "-d", "-q", "--name", name, "big:1")  # noqa: E731
    before = taken(shop.caller.storage)
    assert before > 10 << 20 and start("first").returncode == 0
    between = taken(shop.caller.storage)
    done = start("second")
    assert done.returncode == 0, done.stderr
    assert shop.call("exec", "second", "test", "-s", "/part4/f99").returncode == 0
    assert 0 < taken(shop.caller.storage) - between <= 100_000
    assert between - before <= 200_000
    # Of what it changes it takes what it writes, and nothing of the rest.
    assert shop.call("exec", "second", "sh", "-c", "echo x >> /part0/f0").returncode == 0
    assert taken(shop.caller.storage) - between <= 140_000


def test_system_df_knows_images(shop):
    shop.load(simple())
    rows = lambda: {row["type"]: row for row in json.loads(shop.call("system df", "--format", "json").stdout)}  # noqa: E731
    seen = rows()["images"]
    assert (seen["total"], seen["active"]) == (1, 0) and seen["bytes"] == seen["reclaimableBytes"] > 0
    assert shop.call("create", "--name", "user", "bot:1").returncode == 0
    seen = rows()["images"]
    # The copy of its manifest that came with the layout is nobody's.
    assert (seen["total"], seen["active"]) == (1, 1) and seen["reclaimableBytes"] <= 4096


# ---- mount


@pytest.mark.parametrize("layers", [1, 3, 40])
def test_mount_shows_an_image_read_only(shop, layers):
    if shop.caller.name != "root":
        shop.load(simple())
        shop.image("mount", "bot:1", fails="only root can mount")
        return
    layout = Layout()
    stack = STACK if layers == 3 else [base()] + [layer(member(f"f{n}", str(n).encode())) for n in range(layers - 1)]
    layout.image(stack, "stack:1")
    shop.load(layout)
    path = pathlib.Path(shop.image("mount", "stack:1").strip())
    try:
        assert shop.image("mount", "stack:1").strip() == str(path)
        assert str(path) in shop.image("mount")
        assert (path / "bin/busybox").stat().st_size > 0
        if layers == 3:
            assert sorted(os.listdir(path / "data")) == ["gone", "kept", "new", "second"] and os.listdir(path / "old") == []
        if layers == 40:
            assert (path / "f38").read_text() == "38"
        with pytest.raises(OSError):
            (path / "new").write_text("x")
        line = next(line for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines() if f" {path} " in line)
        assert {"ro", "nosuid", "nodev"} <= set(line.split()[5].split(","))
        shop.image("remove", "stack:1", fails="it is mounted")
        shop.image("remove", "-f", "stack:1")
        shop.image("prune", "-f")
        assert (path / "bin/busybox").exists()
    finally:
        shop.image("unmount", path.name)
    assert not path.exists() and shop.image("mount") == ""
    shop.image("prune", "-f")
    assert os.listdir(shop.store / "layers") == []
    assert subprocess.run(["grep", "-c", str(shop.home), "/proc/self/mountinfo"], capture_output=True, timeout=PATIENCE).returncode == 1


def test_unmount_says_what_is_wrong(shop):
    shop.load(simple())
    shop.image("unmount", "bot:1", fails="is not mounted")
    shop.image("unmount", "nothing", fails="no image nothing")


# ---- platform


def test_platform_chooses_of_several(shop):
    layout = Layout()
    for architecture in ("amd64", "arm64", "s390x"):
        layout.image([base(member("which", architecture.encode()))], "many:1", architecture=architecture)
        layout.entries[-1]["platform"] = {"os": "linux", "architecture": architecture}
    path = layout.folder(shop.home / "layout")
    shop.image("load", path)
    shop.image("load", "--platform", OTHER, "--name", "many:other", path)
    assert f'"architecture": "{OTHER}"' in shop.image("inspect", "many:other")
    assert f'"architecture": "{OTHER}"' not in shop.image("inspect", "many:1")
    shop.image("load", "--platform", "linux/riscv64", path, fails="asked for was linux/riscv64")
    done = shop.call("run", "many:other", "true")
    assert done.returncode == 125 and f"it is for linux/{OTHER}" in done.stderr and f"--platform linux/{OTHER}" in done.stderr
    assert shop.call("run", "--platform", OTHER, "many:1", "true").returncode == 125
    mine = "amd64" if OTHER == "arm64" else "arm64"
    assert shop.call("run", "--platform", f"linux/{mine}", "many:1", "cat", "/which").stdout == mine
    # Its bytes are read; whether its programs run is the machine's to say.
    done = shop.call("run", "--platform", OTHER, "many:other", "cat", "/which")
    assert "it is for" not in done.stderr


@pytest.mark.parametrize("text", ["", "linux/", "/amd64", "linux/amd64/v1/x", "LINUX/amd64", "linux/am d"])
def test_platforms_that_are_none(shop, text):
    path = simple().folder(shop.home / "layout")
    shop.image("load", "--platform", text, path, fails="it is no platform")
