"""An unpacked image beside what umoci makes of the same layout: file by file."""

import contextlib
import json
import os
import pathlib
import stat
import subprocess
import tarfile

import pytest
from conftest import PATIENCE
from layouts import Layout, base, folder, hard, layer, link, member
from test_images import STACK, shop  # noqa: F401

pytestmark = pytest.mark.parametrize("caller", ["root"], indirect=True)

MANY = [
    base(*(member(f"etc/n{n}", str(n).encode(), mode=0o600 + n % 64, uid=n % 7, gid=n % 5, mtime=1_500_000_000 + n) for n in range(10_000))),
    layer(
        *(member(f"etc/.wh.n{n}") for n in range(0, 10_000, 3)),
        member("etc/capable", b"x", mode=0o755, pax={"SCHILY.xattr.user.note": "kept", "SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}),
        member("setuid", b"#!", mode=0o6755, uid=3, gid=4), folder("sticky", mode=0o1777), link("dangling", "/nowhere/at all"),
        member("name with \u00e9 and \n", b"odd"), member("etc/first", b"1"), hard("etc/second", "etc/first"), folder("a"), folder("a/b"), folder("a/b/c"), folder("a/b/c/d"), folder("a/b/c/d/e"), member("a/b/c/d/e/f", b"deep"),
    ),
    layer(member("etc/n0", b"again"), folder("a"), folder("a/b"), member("a/b/.wh.c"), folder("a/b/c"), member("a/b/c/new", b"n"), member("a/.wh..wh..opq")),
]  # fmt: skip

# Hard links to what only layers below have. An overlay copies the file up and links the copy, under its old name too.
LINKS = [
    base(
        folder("data"), member("data/old", b"old", mode=0o6750, uid=3, gid=4, mtime=1_234_567_890, pax={"SCHILY.xattr.user.note": "kept"}), member("data/other", b"other"), link("data/pointer", "old"),
        member("data/pipe", type=tarfile.FIFOTYPE, mode=0o640, uid=5), folder("gone"), member("gone/file", b"gone"), folder("deep", mode=0o750, uid=6, mtime=1_111_111_111), folder("deep/er"), member("deep/er/file", b"deep"),
        folder("opaque"), member("opaque/file", b"o"), member("single", b"single"), member("replaced", b"r"), member("again", b"a"),
    ),
    layer(member("middle", b"m")),
    layer(
        hard("new", "data/old"), folder("made"), hard("made/second", "data/old"), hard("third", "made/second"), hard("link", "data/pointer"), hard("pipe", "data/pipe"), hard("up", "deep/er/file"),
        hard("saved", "gone/file"), member(".wh.gone"), hard("kept", "opaque/file"), folder("opaque"), member("opaque/.wh..wh..opq"), member("opaque/own", b"own"), hard("ours", "opaque/own"),
        hard("copy", "data/other"), member("data/other", b"another"), hard("a", "single"), member(".wh.single"), hard("b", "replaced"), member("b", b"in its place"), hard("/c", "/again"), hard("m", "middle"),
    ),
]  # fmt: skip
# A file with several names below: the copy has those of its own layer alone, as an overlay shows it, and the rest is the same.
AGAIN = [*LINKS, layer(hard("top", "new"), hard("data/top", "up"))]

# A layer that hides all that is below it.
BARE = [base(folder("d"), member("d/file", b"x"), member("file", b"y")), layer(member("file", b"first")), layer(member("early", b"e"), member(".wh..wh..opq"), folder("d"), member("d/own", b"z"))]


def seen(root):
    """What there is to know of every file below a folder."""
    found, links = {}, {}
    for where, folders, files in os.walk(root):
        for name in [*folders, *files, "."] if where == str(root) else folders + files:
            path = pathlib.Path(where) / name
            status = path.lstat()
            key = os.path.relpath(path, root)
            what = {"mode": stat.filemode(status.st_mode), "owner": (status.st_uid, status.st_gid), "device": status.st_rdev}
            if stat.S_ISREG(status.st_mode):
                what |= {"data": path.read_bytes(), "links": status.st_nlink}
                links.setdefault((status.st_dev, status.st_ino), []).append(key)
            if stat.S_ISLNK(status.st_mode):
                what["target"] = os.readlink(path)
            if not stat.S_ISDIR(status.st_mode) or key != ".":
                what["mtime"] = int(status.st_mtime)
            what["attributes"] = {name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False) if ".overlay." not in name and name != "user.rootlesscontainers"}
            found[key] = what
    return found, sorted(sorted(names) for names in links.values() if len(names) > 1)


def unpacked(shop, path, name="one"):  # noqa: F811
    """What umoci makes of a layout's image."""
    index = json.loads((path / "index.json").read_text())
    index["manifests"][0]["annotations"] = {"org.opencontainers.image.ref.name": name}
    (path / "index.json").write_text(json.dumps(index))
    bundle = shop.home / "bundle"
    subprocess.run(["umoci", "unpack", "--image", f"{path}:{name}", str(bundle)], check=True, capture_output=True, timeout=PATIENCE)
    return bundle / "rootfs"


@contextlib.contextmanager
def mounted(shop, name):  # noqa: F811
    path = pathlib.Path(shop.image("mount", name).strip())
    try:
        yield path
    finally:
        shop.image("unmount", name)


@pytest.mark.parametrize("layers", [STACK, MANY, LINKS, AGAIN, BARE], ids=["stack", "many", "links", "again", "bare"])
@pytest.mark.parametrize("form", ["plain", "gzip", "zstd"])
def test_the_tree_is_that_of_umoci(shop, layers, form):
    layout = Layout()
    layout.image(layers, "tree:1", form=form)
    shop.image("load", "--name", "tree:1", layout.folder(shop.home / "layout"))
    # umoci 0.4 knows no zstd: it has the same layers otherwise compressed.
    other = Layout()
    other.image(layers, form="gzip" if form == "zstd" else form)
    theirs = seen(unpacked(shop, other.folder(shop.home / "other")))
    with mounted(shop, "tree:1") as root:
        ours = seen(root)
    assert sorted(ours[0]) == sorted(theirs[0])
    if layers is AGAIN:
        assert {name: ours[0][name]["links"] for name in ("top", "new", "up", "data/top", "deep/er/file", "third")} == {"top": 2, "new": 2, "up": 2, "data/top": 2, "deep/er/file": 2, "third": 4}
        for name in ours[0]:
            ours[0][name]["links"] = theirs[0][name]["links"] = 0
    wrong = {name: (ours[0][name], theirs[0][name]) for name in ours[0] if ours[0][name] != theirs[0][name]}
    assert wrong == {} and (ours[1] == theirs[1] or layers is AGAIN)


def test_a_file_of_two_gigabytes_with_holes(shop):
    """More than a signed number of 32 bits counts: the bytes are umoci's, and here the holes are holes, zstd or not."""
    size = (2 << 30) + 5
    tree = shop.home / "tree"
    tree.mkdir()
    with (tree / "large").open("wb") as file:
        for at, data in ((0, b"first"), (1 << 20, os.urandom(10_000)), ((1 << 31) - 3, b"across"), (size - 1, b"z")):
            file.seek(at)
            file.write(data)
    os.chmod(tree / "large", 0o640)
    os.utime(tree / "large", (1, 1_400_000_000))
    words = ["tar", "-C", str(tree), "--sparse", "--owner=3", "--group=4", "--numeric-owner", "-cf", "-", "large"]
    made = subprocess.run([*words, "--format=posix"], capture_output=True, check=True, timeout=PATIENCE)
    old = subprocess.run([*words, "--format=gnu"], capture_output=True, check=True, timeout=PATIENCE)
    assert len(made.stdout) < 1 << 20
    layout, other = Layout(), Layout()
    layout.image([base(), made.stdout], "large:1", form="zstd")
    other.image([base(), made.stdout], form="plain")
    shop.image("load", "--name", "large:1", layout.folder(shop.home / "layout"))
    theirs = unpacked(shop, other.folder(shop.home / "other")) / "large"
    with mounted(shop, "large:1") as root:
        ours = root / "large"
        assert ours.lstat().st_size == theirs.lstat().st_size == size and ours.lstat().st_blocks * 512 < 1 << 20
        for field in ("st_mode", "st_uid", "st_gid", "st_nlink"):
            assert getattr(ours.lstat(), field) == getattr(theirs.lstat(), field)
        assert int(ours.lstat().st_mtime) == int(theirs.lstat().st_mtime) == 1_400_000_000
        assert subprocess.run(["cmp", str(ours), str(theirs)], capture_output=True, timeout=PATIENCE, check=False).returncode == 0
    theirs.unlink()
    refused = Layout()
    refused.image([base(), old.stdout], "old:1")
    shop.image("load", refused.folder(shop.home / "old"), fails="it has files with holes in GNU's old form: make it with tar --format=pax")
    assert shop.sh("large:1", "stat -c '%s %a %u:%g' /large") == f"{size} 640 3:4\n"
