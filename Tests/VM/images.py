"""An image of busybox as `docker save` writes one: there is no network to have it from."""

import hashlib
import io
import json
import shutil
import tarfile

TOOLS = ("sh", "cat", "ls", "id", "sleep", "touch", "mkdir", "grep", "echo", "mknod", "test", "true", "head", "readlink", "hostname")


def write(path, name="bb:latest", command=("sh",)):
    def add(archive, name, data=None, mode=0o755, link=None):
        entry = tarfile.TarInfo(name)
        entry.mode = mode
        if link:
            entry.type, entry.linkname = tarfile.SYMTYPE, link
        elif data is None:
            entry.type = tarfile.DIRTYPE
        else:
            entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data) if data is not None else None)

    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        for folder in ("bin", "etc", "tmp"):
            add(archive, folder)
        with open(shutil.which("busybox"), "rb") as file:
            add(archive, "bin/busybox", file.read())
        for tool in TOOLS:
            add(archive, f"bin/{tool}", link="busybox")
        add(archive, "etc/passwd", b"root:x:0:0:root:/:/bin/sh\nbot:x:7:8:bot:/:/bin/sh\n", 0o644)
    layer = layer.getvalue()
    config = {
        "architecture": "amd64", "os": "linux", "config": {"Cmd": list(command), "Env": ["PATH=/bin"]}, "history": [{}],
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
    }  # fmt: skip
    with tarfile.open(path, "w") as archive:
        add(archive, "layer.tar", layer, 0o644)
        add(archive, "config.json", json.dumps(config).encode(), 0o644)
        manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
        add(archive, "manifest.json", json.dumps(manifest).encode(), 0o644)
