"""An unpacked image beside what umoci makes of the same layout: file by file."""

import json
import os
import pathlib
import stat
import subprocess

import pytest
from conftest import PATIENCE
from layouts import Layout, base, folder, hard, layer, link, member
from test_images import STACK, shop  # noqa: F401

pytestmark = pytest.mark.parametrize("caller", ["root"], indirect=True)

MANY = [
    base(*(member(f"etc/n{n}", str(n).encode(), mode=0o600 + n % 64, uid=n % 7, gid=n % 5, mtime=1_500_000_000 + n) for n in range(2000))),
    layer(
        *(member(f"etc/.wh.n{n}") for n in range(0, 2000, 3)),
        member("etc/capable", b"x", mode=0o755, pax={"SCHILY.xattr.user.note": "kept", "SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}),
        member("setuid", b"#!", mode=0o6755, uid=3, gid=4), folder("sticky", mode=0o1777), link("dangling", "/nowhere/at all"),
        member("name with \u00e9 and \n", b"odd"), member("etc/first", b"1"), hard("etc/second", "etc/first"), folder("a"), folder("a/b"), folder("a/b/c"), folder("a/b/c/d"), folder("a/b/c/d/e"), member("a/b/c/d/e/f", b"deep"),
    ),
    layer(member("etc/n0", b"again"), folder("a"), folder("a/b"), member("a/b/.wh.c"), folder("a/b/c"), member("a/b/c/new", b"n"), member("a/.wh..wh..opq")),
]  # fmt: skip


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


@pytest.mark.parametrize("layers", [STACK, MANY], ids=["stack", "many"])
@pytest.mark.parametrize("form", ["plain", "gzip"])
def test_the_tree_is_that_of_umoci(shop, layers, form):
    layout = Layout()
    layout.image(layers, "tree:1", form=form)
    path = layout.folder(shop.home / "layout")
    index = json.loads((path / "index.json").read_text())
    index["manifests"][0]["annotations"] = {"org.opencontainers.image.ref.name": "one"}
    (path / "index.json").write_text(json.dumps(index))
    bundle = shop.home / "bundle"
    subprocess.run(["umoci", "unpack", "--image", f"{path}:one", str(bundle)], check=True, capture_output=True, timeout=PATIENCE)
    shop.image("load", "--name", "tree:1", path)
    mounted = pathlib.Path(shop.image("mount", "tree:1").strip())
    try:
        ours, theirs = seen(mounted), seen(bundle / "rootfs")
    finally:
        shop.image("unmount", "tree:1")
    assert sorted(ours[0]) == sorted(theirs[0])
    wrong = {name: (ours[0][name], theirs[0][name]) for name in ours[0] if ours[0][name] != theirs[0][name]}
    assert wrong == {} and ours[1] == theirs[1]
