"""Image layouts, made here byte by byte: OCI folders and tars, docker-archives, honest and hostile ones."""

import gzip
import hashlib
import io
import json
import pathlib
import platform
import shutil
import subprocess
import tarfile

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
BUSYBOX = shutil.which("busybox")
APPLETS = ("sh", "cat", "ls", "id", "stat", "test", "env", "pwd", "echo", "touch", "sleep", "true", "find", "readlink", "mkdir", "rm")


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def member(name, data=b"", type=tarfile.REGTYPE, mode=None, link="", uid=0, gid=0, pax=None, mtime=1_000_000_000, device=(0, 0)):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.uid, info.gid, info.mtime = type, link, uid, gid, mtime
    info.mode = mode if mode is not None else (0o755 if type == tarfile.DIRTYPE else 0o644)
    info.size = len(data) if type == tarfile.REGTYPE else 0
    info.devmajor, info.devminor = device
    info.pax_headers = pax or {}
    return info, data


def folder(name, **more):
    return member(name, type=tarfile.DIRTYPE, **more)


def link(name, target):
    return member(name, type=tarfile.SYMTYPE, link=target)


def hard(name, target):
    return member(name, type=tarfile.LNKTYPE, link=target)


def layer(*members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data) if info.type == tarfile.REGTYPE else None)
    return buffer.getvalue()


def base(*more):
    """A root with busybox in it: the bottom layer of most images here."""
    folders = [folder(name) for name in ("bin", "etc", "dev", "proc", "tmp", "root")]
    busybox = member("bin/busybox", pathlib.Path(BUSYBOX).read_bytes(), mode=0o755)
    passwd = member("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nbot:x:1000:1001::/home/bot:/bin/sh\n")
    group = member("etc/group", b"root:x:0:\nbots:x:1001:\n")
    return layer(*folders, busybox, *(link(f"bin/{name}", "busybox") for name in APPLETS), passwd, group, *more)


def compress(data, form):
    if form == "gzip":
        return gzip.compress(data, 1, mtime=0), "+gzip"
    if form == "zstd":
        return subprocess.run(["zstd", "-q", "-1", "-c"], input=data, capture_output=True, check=True).stdout, "+zstd"
    return data, ""


class Layout:
    """An OCI layout (image-layout.md) of one image or several."""

    def __init__(self):
        self.blobs, self.entries = {}, []

    def blob(self, data):
        self.blobs[digest(data)] = data
        return {"digest": digest(data), "size": len(data)}

    def image(self, layers, name=None, form="gzip", config=None, os="linux", architecture=ARCHITECTURE, diff_ids=None, history=None, descriptor=None):
        described = []
        for data in layers:
            packed, suffix = compress(data, form)
            described.append({"mediaType": f"application/vnd.oci.image.layer.v1.tar{suffix}"} | self.blob(packed))
        settings = {
            "os": os, "architecture": architecture, "created": "2026-01-02T03:04:05Z", "config": config or {},
            "rootfs": {"type": "layers", "diff_ids": diff_ids or [digest(data) for data in layers]},
            "history": history or [{"created_by": f"step {n}"} for n in range(len(layers))],
        }  # fmt: skip
        manifest = {
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json"} | self.blob(json.dumps(settings).encode()),
            "layers": described,
        }  # fmt: skip
        entry = {"mediaType": manifest["mediaType"]} | self.blob(json.dumps(manifest).encode()) | (descriptor or {})
        if name:
            entry["annotations"] = {"org.opencontainers.image.ref.name": name}
        self.entries.append(entry)
        return entry["digest"]

    def files(self):
        index = {"schemaVersion": 2, "manifests": self.entries}
        named = {"blobs/sha256/" + key.removeprefix("sha256:"): data for key, data in self.blobs.items()}
        return named | {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": json.dumps(index).encode()}

    def folder(self, path):
        for name, data in self.files().items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
        return path

    def tar(self, path):
        path.write_bytes(layer(*(member(name, data) for name, data in self.files().items())))
        return path


def docker_archive(path, layers, tags, config=None):
    """As `docker save` wrote before version 25: a second layer that is the first one again is a link."""
    settings = json.dumps({
        "os": "linux", "architecture": ARCHITECTURE, "config": config or {},
        "rootfs": {"type": "layers", "diff_ids": [digest(data) for data in layers]},
    }).encode()  # fmt: skip
    name = hashlib.sha256(settings).hexdigest() + ".json"
    members, names, seen = [member(name, settings)], [], {}
    for number, data in enumerate(layers):
        own = f"{number:064x}"
        names.append(f"{own}/layer.tar")
        members += [folder(own), member(f"{own}/VERSION", b"1.0")]
        if digest(data) in seen:
            members.append(link(f"{own}/layer.tar", f"../{seen[digest(data)]}/layer.tar"))
        else:
            members.append(member(f"{own}/layer.tar", data))
            seen[digest(data)] = own
    manifest = [{"Config": name, "RepoTags": tags, "Layers": names}]
    path.write_bytes(layer(*members, member("manifest.json", json.dumps(manifest).encode())))
    return path
