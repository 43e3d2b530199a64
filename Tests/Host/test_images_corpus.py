"""A corpus of tars that mean harm, as layers of images: each is refused, or unpacked without harm, and nothing outside of
the store is touched, by root and by an ordinary user."""

import os
import pathlib
import shutil
import stat
import subprocess

import pytest
from conftest import PATIENCE, WORKER
from layouts import BUSYBOX, Layout, base, compress, digest
from tars import archive, entry, long, pax, sparse
from test_images import shop  # noqa: F401 (a fixture)

F, HARD, LINK, CHAR, BLOCK, FOLDER, PIPE = (b"%d" % n for n in range(7))
FINE = None
OUT = f"codex32-outside{WORKER}"


def seen(path):
    status = os.lstat(path)
    what = [status.st_mode, status.st_uid, status.st_gid, status.st_ino, status.st_nlink, status.st_mtime_ns, status.st_ctime_ns, status.st_size]
    return [*what, path.read_bytes() if stat.S_ISREG(status.st_mode) else None]


@pytest.fixture
def outside(shop):
    """Files that an escape would hit: beside the store, in /tmp, and the machine's own. What it gives compares all of them with before."""
    folder = pathlib.Path("/tmp") / OUT
    shutil.rmtree(folder, ignore_errors=True)
    beside = shop.home / "beside"
    for place in (folder, beside):
        place.mkdir(mode=0o777)
        place.chmod(0o777)
        (place / "victim").write_text("mine")
        (place / "victim").chmod(0o666)
        (place / "inner").mkdir()
        (place / "inner/file").write_text("mine too")
    shop.caller.own(beside)
    names = lambda place: {path for path in [place, *place.rglob("*")]}  # noqa: E731
    fixed = [pathlib.Path(path) for path in ("/etc/passwd", "/etc/shadow", "/etc/ld.so.preload", "/etc/cron.d")]

    def look():
        paths = [*names(folder), *names(beside), *(path for path in fixed if os.path.lexists(path))]
        return {str(path): seen(path) for path in paths} | {"/": sorted(os.listdir("/"))}

    yield look
    shutil.rmtree(folder)


def up(count=12):
    return "../" * count


T = f"/tmp/{OUT}"

ESCAPES = {
    "the root's parent": ([entry("..", type=FOLDER, mode=0o777)], ".. in it"),
    "dots": ([entry(f"{up()}tmp/{OUT}/victim", b"x")], ".. in it"),
    "dots behind a dot": ([entry(f"./{up()}tmp/{OUT}/victim", b"x")], ".. in it"),
    "dots behind a folder": ([entry("a", type=FOLDER), entry(f"a/{up()}tmp/{OUT}/new", b"x")], ".. in it"),
    "dots behind slashes": ([entry(f"///{up()}tmp/{OUT}/new", b"x")], ".. in it"),
    "dots in a long name": ([long((up(40) + f"tmp/{OUT}/new").encode()), entry("x", b"x")], ".. in it"),
    "dots in an extended header": ([pax(("path", f"{up()}tmp/{OUT}/new")), entry("x", b"x")], ".. in it"),
    "dots in a sparse name": ([sparse(f"{up()}tmp/{OUT}/new", [(0, 1)], b"x", 1)], ".. in it"),
    "absolute": ([entry(f"{T}/victim", b"x")], FINE),
    "absolute folder": ([entry(T, type=FOLDER, mode=0)], FINE),
    "a file through an absolute link": ([entry("out", type=LINK, link=T), entry("out/victim", b"x")], "or a link"),
    "a file through a relative link": ([entry("out", type=LINK, link=f"{up()}tmp/{OUT}"), entry("out/new", b"x")], "or a link"),
    "a file through two links": ([entry("a", type=LINK, link="b"), entry("b", type=LINK, link=T), entry("a/new", b"x")], "or a link"),
    "a file through a link's own folder": ([entry("a", type=LINK, link="."), entry("a/b", b"x")], "or a link"),
    "a link with a slash": ([entry("out/", type=LINK, link=T), entry("out/new", b"x")], "or a link"),
    "a folder over a link": ([entry("out", type=LINK, link=T), entry("out", type=FOLDER, mode=0), entry("out/new", b"x")], "or a link"),
    "a link over a folder": ([entry("out", type=FOLDER), entry("out", type=LINK, link=T), entry("out/new", b"x")], ""),
    "a folder in a linked one": ([entry("out", type=LINK, link=T), entry("out/inner/deep", type=FOLDER)], "or a link"),
    "a pipe through a link": ([entry("out", type=LINK, link=T), entry("out/pipe", type=PIPE)], "or a link"),
    "a link through a link": ([entry("out", type=LINK, link=T), entry("out/link", type=LINK, link="x")], "or a link"),
    "a file in place of a link": ([entry("out", type=LINK, link=f"{T}/victim"), entry("out", b"x")], FINE),
    "a hard link out": ([entry("got", type=HARD, link=f"{up()}tmp/{OUT}/victim")], ".. in it"),
    "an absolute hard link": ([entry("got", type=HARD, link=f"{T}/victim")], "no such file"),
    "a hard link through a link": ([entry("out", type=LINK, link=T), entry("got", type=HARD, link="out/victim"), entry("got", b"x")], "or a link"),
    "a hard link to a link": ([entry("out", type=LINK, link=f"{T}/victim"), entry("got", type=HARD, link="out"), entry("got", b"x")], FINE),
    "a hard link to itself": ([entry("got", type=HARD, link="got")], "no such file"),
    "a hard link to a folder": ([entry("d", type=FOLDER), entry("got", type=HARD, link="d")], ""),
    "a hard link to the root": ([entry("got", type=HARD, link="/")], "link to a folder"),
    "a hard link to a whiteout": ([entry(".wh.etc"), entry("got", type=HARD, link="etc")], "no such file"),
    "a whiteout of ..": ([entry(".wh...")], "hides no name"),
    "a whiteout of . ": ([entry(".wh..")], "hides no name"),
    "a whiteout in dots": ([entry(f"{up()}tmp/{OUT}/.wh.victim")], ".. in it"),
    "a whiteout through a link": ([entry("out", type=LINK, link=T), entry("out/.wh.victim")], "or a link"),
    "a whiteout of a link": ([entry("out", type=LINK, link=T), entry(".wh.out")], FINE),
    "an opaque mark in dots": ([entry(f"{up()}tmp/{OUT}/.wh..wh..opq")], ".. in it"),
    "an opaque mark through a link": ([entry("out", type=LINK, link=T), entry("out/.wh..wh..opq")], "or a link"),
    "a whiteout with a slash": ([entry(".wh.a/../../b")], ""),
    "a folder of whiteouts": ([entry(".wh.a", type=FOLDER), entry(".wh.a/b", b"x")], "whiteout is no folder"),
    "the marks of an overlay": (
        [pax(("SCHILY.xattr.trusted.overlay.redirect", f"/tmp/{OUT}"), ("SCHILY.xattr.user.overlay.metacopy", "")), entry("etc/passwd", b"x")], FINE,
    ),
    "other names of spaces": ([pax(("SCHILY.xattr.security.selinux", "x"), ("SCHILY.xattr.system.posix_acl_access", "x")), entry("f", b"x")], FINE),
}  # fmt: skip

NAMES = {
    "a name of 10,000 bytes": ([long(b"n" * 10000), entry("n", b"x")], "longer than 4095"),
    "a path of 10,000 bytes": ([long(b"n/" * 5000 + b"n"), entry("n", b"x")], "longer than 4095"),
    "a name of 10,000 bytes in an extended header": ([pax(("path", "n" * 10000)), entry("n", b"x")], "longer than 4095"),
    "a link to 10,000 bytes": ([pax(("linkpath", "n" * 10000)), entry("n", type=LINK, link="x")], ""),
    "a hard link to 10,000 bytes": ([long(b"n" * 10000, b"K"), entry("n", type=HARD, link="x")], "longer than 4095"),
    "a name of 300 bytes": ([long(b"n" * 300), entry("n", b"x")], "a name in it is too long"),
    "a name of 100,000 bytes": ([long(b"n" * 100000), entry("n", b"x")], "a long name is larger"),
    "a whiteout of 10,000 bytes": ([long(b".wh." + b"n" * 10000), entry("n")], "longer than 4095"),
    "an attribute's name of 10,000 bytes": ([pax(("SCHILY.xattr.user." + "n" * 10000, "v")), entry("n", b"x")], ""),
    "an attribute of 100,000 bytes": ([pax(("SCHILY.xattr.user.big", "v" * 100000)), entry("n", b"x")], ""),
    "no UTF-8": ([entry(b"\xff\xfe\x80", b"x"), entry(b"\xc3", type=FOLDER), entry(b"\xc3/\xa9\xed\xa0\x80", b"y")], FINE),
    "no UTF-8 in an extended header": ([pax(("path", b"\xff\xfe/\x80")), entry("n", b"x")], FINE),
    "control characters": ([entry(b"\x1b[31m\r\n\x07", b"x"), entry(b"\x7f", type=LINK, link=b"\x1b]0;x\x07")], FINE),
    "a terminal's commands in an error": ([entry(b"\x1b[31m\x9b5m/../x", b"x")], ".. in it"),
    "no name": ([entry("", b"x")], "has no name"),
    "NUL in a name": ([pax(("path", b"a\0b")), entry("n", b"x")], "NUL in it"),
    "NUL in a target": ([pax(("linkpath", b"a\0b")), entry("n", type=LINK, link="x")], "NUL in it"),
    "only slashes": ([entry("///", type=FOLDER, mode=0o700)], FINE),
    "the root as a file": ([entry("/", b"x", type=b"7")], ""),
    "the root as a link": ([entry(".", type=LINK, link=T)], "own root is no folder"),
}

NUMBERS = {
    "a negative size": ([pax(("size", "-1")), entry("n", b"x")], "size is no number"),
    "a size of 20 digits": ([pax(("size", "9" * 20)), entry("n", b"x")], "size is no number"),
    "a size with an exponent": ([pax(("size", "1e3")), entry("n", b"x")], "size is no number"),
    "a size that is a tebibyte": ([pax(("size", 1 << 40)), entry("n", b"x")], "larger than"),
    "a size that is all": ([pax(("size", (1 << 63) - 1)), entry("n", b"x")], "larger than"),
    "a size that is all but one": ([pax(("size", (1 << 63) - 512)), entry("n", b"x"), entry("m")], "larger than"),
    "a size beyond the end": ([pax(("size", 100000)), entry("n", b"x")], ""),
    "two sizes": ([pax(("size", 5), ("size", 1)), entry("n", b"x")], FINE),
    "a size that is less than the header's": ([pax(("size", 0)), entry("n", b"x" * 512)], "checksum"),
    "a header's negative size": ([entry("n", size=b"\xff" * 12)], "size is negative"),
    "a header's huge size": ([entry("n", size=b"\x80" + b"\x7f" * 11)], "too large"),
    "a header's size of all digits": ([entry("n", size=b"777777777777")], "larger than"),
    "a header's size in letters": ([entry("n", size=b"0x10\0")], "size is no number"),
    "a link with contents": ([entry("n", b"x" * 600, type=LINK, link="y")], "contents"),
    "a pipe with contents": ([entry("n", b"x" * 600, type=PIPE)], "contents"),
    "a device with a huge number": ([entry("n", type=CHAR, device=(b"\x80" + b"\x7f" * 7, 0))], "too large"),
    "nobody's id": ([pax(("uid", 4294967295)), entry("n", b"x")], "owner that no machine has"),
    "an id beyond 32 bits": ([pax(("uid", 4294967296)), entry("n", b"x")], "owner that no machine has"),
    "a negative id": ([pax(("gid", "-1")), entry("n", b"x")], "gid is no number"),
    "a time that is none": ([pax(("mtime", "nan")), entry("n", b"x")], "no time"),
    "a time beyond all": ([pax(("mtime", "999999999999999999.999999999999")), entry("n", b"x")], FINE),
    "a record without length": ([pax(b"path=n\n"), entry("n", b"x")], "no length"),
    "a record that is longer than its header": ([pax(b"9999 path=n\n"), entry("n", b"x")], "no length"),
    "a record of no length": ([pax(b"0 path=n\n"), entry("n", b"x")], "no length"),
    "a record without a value": ([pax(b"7 path\n"), entry("n", b"x")], ""),
    "an extended header of two mebibytes": ([pax(("comment", "c" * (2 << 20))), entry("n", b"x")], "extended header is larger"),
    "two extended headers": ([pax(("path", "a")), pax(("path", "b")), entry("n", b"x")], "two extended headers"),
    "an extended header of nothing": ([pax(("path", "a"))], FINE),
    "a global path": ([pax(("path", f"{T}/new"), ("size", 0), type=b"g"), entry("n", b"x")], FINE),
    "a wrong checksum": ([entry("n", b"x", checksum=1)], "checksum is wrong"),
    "an unknown kind": ([entry("n", b"x", type=b"V")], "kind that is not known"),
    "a sparse file in the old form": ([entry("n", b"x", type=b"S")], "old form"),
    "sparse without a map": ([pax(("GNU.sparse.major", 1), ("GNU.sparse.minor", 0), ("GNU.sparse.name", "n"), ("GNU.sparse.realsize", 9)), entry("x", b"")], "cut off"),
    "sparse in form 0.1": ([pax(("GNU.sparse.size", 9), ("GNU.sparse.map", "0,1")), entry("x", b"x")], "form that is not known"),
    "sparse and overlapping": ([sparse("n", [(0, 10), (5, 10)], b"x" * 20, 100)], "no map"),
    "sparse and backwards": ([sparse("n", [(50, 10), (0, 10)], b"x" * 20, 100)], "no map"),
    "sparse beyond its size": ([sparse("n", [(95, 10)], b"x" * 10, 100)], "no map"),
    "sparse and overflowing": ([sparse("n", [(999999999999999999, 999999999999999999)], b"x", 100)], ""),
    "sparse and negative": ([sparse("n", [(b"-1", 1)], b"x", 100)], "no map"),
    "sparse with more than is there": ([sparse("n", [(0, 50)], b"x", 100)], "does not fit"),
    "sparse with less than is there": ([sparse("n", [(0, 1)], b"x" * 50, 100)], "does not fit"),
    "sparse with a thousand million holes": ([sparse("n", [], b"", 100, count=10**9)], "too many holes"),
    "sparse with a map that ends": ([sparse("n", [(0, 1)], b"", 100, count=400)], ""),
    "a sparse folder": ([pax(("GNU.sparse.major", 1), ("GNU.sparse.minor", 0), ("GNU.sparse.name", "n"), ("GNU.sparse.realsize", 9)), entry("x", type=FOLDER)], "kind cannot have"),
    "a sparse tebibyte": ([sparse("n", [(1 << 40, 1)], b"x", (1 << 40) + 1)], "larger than"),
    "sparse files of many terabytes": ([sparse(f"n{n}", [], b"", (32 << 30) - 1) for n in range(3)], "larger than"),
}  # fmt: skip

BOMBS = {
    "too deep": ([entry("a/" * 40 + "b")] + [long(b"a/" * 300 + b"b"), entry("x")], "deeper than 256"),
    "too deep by itself": ([long(b"a/" * 257 + b"b"), entry("x", type=FOLDER)], "deeper than 256"),
    "too deep as a whiteout": ([long(b"a/" * 300 + b".wh.b"), entry("x")], "deeper than 256"),
    "too many": ([entry(f"f{n}") for n in range(101)], "more than 100 members"),
    "too many of one name": ([entry("f") for n in range(101)], "more than 100 members"),
    "too many hard links": ([entry("f"), *(entry(f"l{n}", type=HARD, link="f") for n in range(100))], "more than 100 members"),
    "too many whiteouts": ([entry(f".wh.f{n}") for n in range(101)], "more than 100 members"),
    "too many marks without a meaning": ([entry(f".wh..wh.plnk/{n}") for n in range(101)], "more than 100 members"),
    "too many devices": ([entry(f"d{n}", type=CHAR) for n in range(101)], "more than 100 members"),
    "too large together": ([entry(f"f{n}", bytes(1 << 18)) for n in range(5)], "larger than 1048576 bytes"),
    "too large where one takes the other's place": ([entry("f", bytes(1 << 18)) for n in range(5)], "larger than 1048576 bytes"),
}

CHANGES = {
    "file, folder": ([entry("n", b"x"), entry("n", type=FOLDER)], "or a link"),
    "folder, file": ([entry("n", type=FOLDER), entry("n/in", b"x"), entry("n", b"x")], ""),
    "file, link": ([entry("n", b"x"), entry("n", type=LINK, link=f"{T}/victim")], FINE),
    "link, file": ([entry("n", type=LINK, link=f"{T}/victim"), entry("n", b"x")], FINE),
    "pipe, file": ([entry("n", type=PIPE), entry("n", b"x")], FINE),
    "file, pipe": ([entry("n", b"x"), entry("n", type=PIPE)], FINE),
    "file, hard link, file": ([entry("n", b"x"), entry("m", type=HARD, link="n"), entry("m", b"y")], FINE),
    "folder, link, file in it": ([entry("n", type=FOLDER), entry("n", type=LINK, link=T), entry("n/victim", b"x")], ""),
    "folder, whiteout, file": ([entry("n", type=FOLDER, mode=0o755), entry(".wh.n"), entry("n/in", b"x")], FINE),
    "whiteout, link, file in it": ([entry(".wh.n"), entry("n", type=LINK, link=T), entry("n/victim", b"x")], "or a link"),
    "whiteout, device": ([entry(".wh.n"), entry("n", type=CHAR, device=(1, 3))], FINE),
    "file, nothing that a device is": ([entry("n", b"x"), entry("n", type=BLOCK, device=(8, 0))], FINE),
}

ALL = ESCAPES | NAMES | NUMBERS | BOMBS | CHANGES


@pytest.mark.parametrize("case", ALL)
def test_the_corpus(shop, outside, case):
    parts, why = ALL[case]
    if case in BOMBS:
        options = ["--max-files", 100, "--max-size", "1m"]
    else:
        options = []
    before = outside()
    for below in ([], [archive(entry("d", type=FOLDER), entry("d/file", b"x"), entry("out", type=FOLDER), entry("n", b"below"))]):
        layout = Layout()
        layout.image([*below, archive(*parts)], "evil:1", form="gzip")
        done = shop.call("image load", *options, layout.folder(shop.home / f"layout{len(below)}"))
        assert outside() == before
        assert "\x1b" not in done.stderr and "\x9b" not in done.stderr
        if why is FINE:
            assert done.returncode == 0, done.stderr
            shop.image("remove", "evil:1")
        else:
            assert done.returncode == 125 and done.stderr.startswith("codex32: ") and why in done.stderr, done.stderr
        assert shop.names() == []
        shop.whole()
    assert outside() == before


def test_devices_pipes_and_set_ids(shop, outside):
    """Devices are left out, and said so; setuid and setgid stay with root's images only, and never reach a folder's owner."""
    before = outside()
    busybox = pathlib.Path(BUSYBOX).read_bytes()
    parts = [
        entry("disk", type=BLOCK, device=(8, 0), mode=0o666), entry("mem", type=CHAR, device=(1, 1), mode=0o666), entry("hole", type=CHAR, mode=0o666), entry("pipe", type=PIPE, mode=0o6666),
        entry("bin/id-of", busybox, mode=0o6755, uid=0, gid=0), entry("bin/odd", b"x", mode=b"7777777\0"), entry("open", type=FOLDER, mode=0o7777),
    ]  # fmt: skip
    layout = Layout()
    layout.image([base(), archive(*parts)], "evil:1")
    done = shop.call("image load", layout.folder(shop.home / "layout"))
    assert done.returncode == 0 and all(f"{name} is a device, and was left out" in done.stderr for name in ("disk", "mem", "hole")), done.stderr
    out = shop.sh("evil:1", "stat -c '%a %F' /pipe /bin/id-of /open; ls /")
    modes = ("666 fifo", "6755 regular file", "7777 directory") if shop.caller.name == "root" else ("666 fifo", "755 regular file", "1777 directory")
    assert tuple(out.splitlines()[:3]) == modes and not {"disk", "mem", "hole"} & set(out.split())
    kinds = {stat.S_IFMT(os.lstat(path).st_mode) for path in (shop.store / "layers").rglob("*")}
    assert kinds <= {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO}
    # No program of an image gives its caller the rights of the file's owner outside of a sandbox: others cannot reach it.
    assert stat.S_IMODE(os.lstat(shop.store / "layers").st_mode) & 0o077 == 0 or stat.S_IMODE(os.lstat(shop.store).st_mode) & 0o077 == 0
    assert outside() == before


@pytest.mark.parametrize("form", ["plain", "gzip", "zstd"])
def test_a_layer_cut_off_anywhere(shop, outside, form):
    """Its blob is what the manifest says, so that only the archive's own end tells."""
    before = outside()
    whole = archive(pax(("path", "a/" + "n" * 120), ("SCHILY.xattr.user.x", "y")), entry("x", b"x" * 700), entry("l", type=LINK, link="x"), sparse("s", [(4096, 3)], b"abc", 8192))
    packed, suffix = compress(whole, form)
    step = 37 if form == "plain" else 7
    end = len(whole) - 1024 if form == "plain" else len(packed)
    for size in [*range(0, end, step), end - 1]:
        layout = Layout()
        layout.image([packed[:size]], "cut:1", form="plain", diff_ids=[digest(whole[:size] if form == "plain" else whole)])
        shop.load(layout, fails="codex32: ")
    assert shop.names() == [] and outside() == before
    shop.whole()


def test_a_layer_that_grows_without_end(shop, outside):
    """Gigabytes of zeros behind an archive's end, in some kilobytes: neither written nor read to their end."""
    before = outside()
    program = "import zlib,sys\nz = zlib.compressobj(9, zlib.DEFLATED, 31)\n"
    program += "w = sys.stdout.buffer.write\nw(z.compress(sys.stdin.buffer.read()))\n"
    program += "for _ in range(600): w(z.compress(bytes(1 << 20)))\nw(z.flush())"
    bomb = subprocess.run(["/usr/bin/python3", "-c", program], input=archive(entry("n", b"x")), capture_output=True, check=True, timeout=PATIENCE).stdout
    layout = Layout()
    layout.image([bomb], "bomb:1", form="plain", diff_ids=["sha256:" + "0" * 64])
    shop.load(layout, "--max-size", "64m", fails="it goes on behind its end")
    assert shop.names() == [] and outside() == before
    shop.whole()
