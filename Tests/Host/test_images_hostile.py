"""Images that mean harm, or are damaged: nothing outside of the store is touched, and the store stays whole."""

import json
import os
import stat
import tarfile

import pytest
from conftest import tree
from layouts import Layout, base, folder, hard, layer, link, member
from test_images import shop, simple  # noqa: F401 (a fixture)

OUTSIDE = ["/etc/codex32-escaped", "/tmp/codex32-escaped"]

HOSTILE = {
    "dots": ([member("../../../../../../../../tmp/codex32-escaped", b"x")], "its path has .. in it"),
    "dots inside": ([member("a/../../b", b"x")], "its path has .. in it"),
    "through a link": ([link("out", "/tmp"), member("out/codex32-escaped", b"x")], "is no folder, or a link"),
    "through a link of the layer": ([link("a", "."), link("a/b", "/tmp")], "is no folder, or a link"),
    "hard link out": ([hard("passwd", "../../../../../../etc/passwd")], "its path has .. in it"),
    "hard link through a link": ([link("out", "/etc"), hard("shadow", "out/passwd")], "is no folder, or a link"),
    "hard link to nothing": ([hard("b", "nothing")], "no such file"),
    "a name too long": ([member("a" * 256, b"x")], "too long"),
    "a path too long": ([member("a/" * 2048 + "b", b"x")], "longer than 4095"),
    "too deep": ([member("a/" * 300 + "b", b"x")], "deeper than 256"),
    "a whiteout of ..": ([member(".wh...")], "it hides no name"),
    "a whiteout of .": ([member(".wh..")], "it hides no name"),
    "a whiteout of nothing": ([member(".wh.")], "it hides no name"),
    "a whiteout as a folder": ([member(".wh.x/y", b"x")], "a whiteout is no folder"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_layers(shop, case):
    members, why = HOSTILE[case]
    for below in ([], [base()]):
        layout = Layout()
        layout.image([*below, layer(*members)], "evil:1")
        shop.load(layout, fails="codex32: ")
        done = shop.call("image load", layout.folder(shop.home / f"again{len(os.listdir(shop.home))}"))
        assert why.lower() in done.stderr.lower(), done.stderr
    assert shop.names() == []
    assert not any(os.path.lexists(path) for path in OUTSIDE)
    shop.whole()


def test_devices_pipes_and_marks_of_the_layers_own(shop):
    pax = {"SCHILY.xattr.user.overlay.opaque": "y", "SCHILY.xattr.trusted.overlay.redirect": "/etc", "SCHILY.xattr.user.kept": "yes"}
    layout = Layout()
    layout.image(
        [
            base(folder("d"), member("d/seen", b"s")),
            layer(
                folder("d", pax=pax), member("disk", type=tarfile.BLKTYPE, device=(8, 0)), member("null", type=tarfile.CHRTYPE, device=(1, 3)),
                member("bin/true", type=tarfile.CHRTYPE, device=(0, 0)), member("pipe", type=tarfile.FIFOTYPE), member("/absolute", b"a"),
                member(".wh..wh.plnk/x", b""), member(".wh..wh.aufs", b""),
            ),
        ],
        "odd:1",
    )  # fmt: skip
    shop.load(layout)
    assert shop.sh("odd:1", "cat /d/seen /absolute; test -p /pipe; test ! -e /disk; test ! -e /null; true") == "sa"
    layers = [path for path in tree(shop.store / "layers") if os.path.basename(path).startswith(".wh.")]
    assert layers == []
    if shop.caller.name == "root":
        opened = [path for path in (shop.store / "layers").glob("*/d") if not (path / "seen").exists()]
        assert os.getxattr(opened[0], "user.kept") == b"yes"
        with pytest.raises(OSError):
            os.getxattr(opened[0], "user.overlay.opaque")
        devices = [path for path in tree(shop.store / "layers") if stat.S_ISBLK(os.lstat(path).st_mode) or stat.S_ISCHR(os.lstat(path).st_mode)]
        assert devices == []


def test_bounds(shop):
    layout = Layout()
    layout.image([base(), layer(*(member(f"f{n}") for n in range(50)), member("big", bytes(1 << 22)))], "big:1")
    path = layout.folder(shop.home / "layout")
    shop.image("load", "--max-files", 40, path, fails="more than 40 members")
    shop.image("load", "--max-size", "3m", path, fails="larger than 3145728 bytes")
    shop.image("load", path)


def broken(change, name="bot:1", **more):
    layout = simple(name, **more)
    change(layout)
    return layout


def flip(layout):
    key = max(layout.blobs, key=lambda key: len(layout.blobs[key]))
    data = bytearray(layout.blobs[key])
    data[len(data) // 2] ^= 1
    layout.blobs[key] = bytes(data)


def cut(layout):
    key = max(layout.blobs, key=lambda key: len(layout.blobs[key]))
    layout.blobs[key] = layout.blobs[key][:-10]


def drop(layout):
    del layout.blobs[max(layout.blobs, key=lambda key: len(layout.blobs[key]))]


def cycle(layout):
    # An index cannot hold its own sum; a chain of them can be long.
    entry = layout.entries[0]
    for _ in range(6):
        text = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
        entry = {"mediaType": "application/vnd.oci.image.index.v1+json"} | layout.blob(text)
    layout.entries = [entry]


def foreign(layout):
    layout.entries[0]["platform"] = {"os": "linux", "architecture": "s390x"}


def wrong_size(layout):
    layout.entries[0]["size"] += 1


def other_algorithm(layout):
    layout.entries[0]["digest"] = "sha512:" + "0" * 128


def traversal(layout):
    layout.entries[0]["digest"] = "sha256:../../../../etc/passwd"


def no_json(layout):
    layout.entries[0] |= layout.blob(b"{")


def huge(layout):
    layout.entries[0] |= layout.blob(b" " * (5 << 20))


BROKEN = {
    flip: "its sum is", cut: "", drop: "", cycle: "nest more than", foreign: "no image but for linux/s390x", wrong_size: "should have",
    other_algorithm: "is no sha256 digest", traversal: "is no sha256 digest", no_json: "", huge: "is larger than",
}  # fmt: skip


@pytest.mark.parametrize("kind", ["folder", "tar"])
@pytest.mark.parametrize("change", BROKEN)
def test_broken_layouts(shop, change, kind):
    layout = broken(change)
    path = layout.folder(shop.home / "bad") if kind == "folder" else layout.tar(shop.home / "bad.tar")
    shop.image("load", path, fails=BROKEN[change])
    assert shop.names() == []
    shop.whole()


def test_a_wrong_diff_id_and_platform(shop):
    layout = Layout()
    layout.image([base()], "bot:1", diff_ids=["sha256:" + "0" * 64])
    shop.load(layout, fails="unpacked its sum is")
    layout = Layout()
    layout.image([base()], "bot:1", architecture="s390x")
    shop.load(layout, fails="it is for linux/s390x")
    shop.whole()


def test_an_archive_cut_anywhere(shop):
    data = simple().tar(shop.home / "layout.tar").read_bytes()
    path = shop.home / "cut.tar"
    for part in (0, 100, 512, 1000, len(data) // 2, len(data) - 20000):
        path.write_bytes(data[:part])
        shop.image("load", path, fails="")
    assert shop.names() == []
    shop.whole()


def test_an_image_by_platform(shop):
    layout = Layout()
    layout.image([base(member("mine", b"m"))], descriptor={"platform": {"os": "linux", "architecture": "amd64"}})
    layout.image([base()], architecture="s390x", descriptor={"platform": {"os": "linux", "architecture": "s390x"}})
    layout.image([base()], descriptor={"platform": {"os": "unknown", "architecture": "unknown"}})
    text = json.dumps({"schemaVersion": 2, "manifests": layout.entries}).encode()
    layout.entries = [{"mediaType": "application/vnd.oci.image.index.v1+json"} | layout.blob(text) | {"annotations": {"io.containerd.image.name": "docker.io/library/multi:1"}}]
    assert shop.load(layout) == "docker.io/library/multi:1\n"
    assert shop.sh("docker.io/library/multi:1", "cat /mine") == "m"


def test_a_name_is_not_guessed(shop):
    layout = Layout()
    made = layout.image([base()], "latest")
    assert shop.load(layout) == made + "\n"
    shop.image("tag", made[7:19], "mine")
    assert shop.names() == ["mine:latest"]
    assert shop.sh("mine", "echo ok") == "ok\n"
