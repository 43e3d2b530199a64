"""Tar archives made byte by byte: what no honest tool would write."""

BLOCK = 512


def block(data):
    return data + bytes(-len(data) % BLOCK)


def octal(value, width):
    return b"%0*o\0" % (width - 1, value) if isinstance(value, int) else value.ljust(width, b"\0")


def entry(name, data=b"", type=b"0", link=b"", mode=0o644, uid=0, gid=0, size=None, mtime=1_000_000_000, device=(0, 0), checksum=None):
    """A header and what follows it. Numbers that are given as bytes stand there as they are."""
    name, link = (text if isinstance(text, bytes) else text.encode() for text in (name, link))
    size = len(data) if size is None else size
    head = bytearray(BLOCK)
    fields = [
        (0, name[:100]), (100, octal(mode, 8)), (108, octal(uid, 8)), (116, octal(gid, 8)), (124, octal(size, 12)), (136, octal(mtime, 12)),
        (148, b" " * 8), (156, type), (157, link[:100]), (257, b"ustar\x0000"), (329, octal(device[0], 8)), (337, octal(device[1], 8)),
    ]  # fmt: skip
    for at, value in fields:
        head[at : at + len(value)] = value
    head[148:156] = b"%06o\0 " % (sum(head) if checksum is None else checksum)
    return bytes(head) + block(data)


def record(key, value):
    rest = key.encode() + b"=" + (value if isinstance(value, bytes) else str(value).encode()) + b"\n"
    length = len(rest) + 2
    while len(b"%d " % length) + len(rest) != length:
        length = len(b"%d " % length) + len(rest)
    return b"%d " % length + rest


def pax(*records, type=b"x"):
    """An extended header of (key, value) pairs, or of records as they shall stand there."""
    return entry("PaxHeaders/x", b"".join(each if isinstance(each, bytes) else record(*each) for each in records), type)


def long(name, type=b"L"):
    return entry("././@LongLink", name + b"\0", type)


def sparse(name, extents, data, size, count=None):
    """GNU's sparse format 1.0: a map in front of the contents."""
    numbers = [len(extents) if count is None else count, *(number for extent in extents for number in extent)]
    table = block(b"".join(b"%s\n" % (each if isinstance(each, bytes) else b"%d" % each) for each in numbers))
    about = [("GNU.sparse.major", 1), ("GNU.sparse.minor", 0), ("GNU.sparse.name", name), ("GNU.sparse.realsize", size)]
    return pax(*about) + entry("GNUSparseFile.0/x", table + data)


def archive(*parts, end=True):
    return b"".join(parts) + (bytes(2 * BLOCK) if end else b"")
