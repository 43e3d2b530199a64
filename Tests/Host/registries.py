"""Registries on loopback: Debian's docker-registry, with TLS and a login, and one that lies, stalls and breaks off."""

import base64
import contextlib
import fcntl
import hashlib
import http.server
import json
import pathlib
import re
import shutil
import socket
import subprocess
import threading
import time

from conftest import PATIENCE, wait_until

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def free_port():
    with contextlib.closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def certificate(folder, name="server", host="localhost"):
    """A key, and a certificate for a host and this machine's address that it signed itself."""
    key, cert = folder / f"{name}.key", folder / f"{name}.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3000", "-subj", f"/CN={host}",
            "-keyout", str(key), "-out", str(cert), "-addext", f"subjectAltName=DNS:{host},IP:127.0.0.1",
        ],
        check=True, capture_output=True, timeout=PATIENCE,
    )  # fmt: skip
    cert.chmod(0o644)
    return key, cert


@contextlib.contextmanager
def machines_folder(place):
    """One of the machine's own folders, as long as a test needs it: gone afterwards, with the parents that were made for it."""
    with open(__file__) as turn:  # the other worker's tests make the same parents
        fcntl.flock(turn, fcntl.LOCK_EX)
        made = [path for path in (place, *place.parents) if not path.exists()]
        place.mkdir(parents=True)
        try:
            yield
        finally:
            for file in place.iterdir():
                file.unlink()
            for path in made:
                path.rmdir()


class Real:
    """docker-registry as Debian has it."""

    USER, PASSWORD = "bot", "secret: ü"

    def __init__(self, folder, name="localhost"):
        self.folder = folder
        self.key, self.cert = certificate(folder, host=name)
        words = ["htpasswd", "-niB", self.USER]
        line = subprocess.run(words, input=self.PASSWORD, capture_output=True, text=True, check=True, timeout=PATIENCE)
        (folder / "htpasswd").write_text(line.stdout)
        # Last: from here on somebody else may get the same port.
        self.host = f"localhost:{free_port()}"
        (folder / "config.yml").write_text(
            json.dumps({
                "version": "0.1", "log": {"level": "error"},
                "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
                "http": {"addr": f"127.0.0.1:{self.host.split(':')[1]}", "tls": {"certificate": str(self.cert), "key": str(self.key)}},
                "auth": {"htpasswd": {"realm": "here", "path": str(folder / "htpasswd")}},
            })
        )  # fmt: skip
        self.log = (folder / "log").open("wb")
        self.process = subprocess.Popen(
            ["docker-registry", "serve", str(folder / "config.yml")], stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL
        )
        wait_until(self.answers, "the registry's first answer")

    def answers(self):
        assert self.process.poll() is None, (self.folder / "log").read_text()
        with contextlib.suppress(OSError), contextlib.closing(socket.create_connection(("127.0.0.1", int(self.host.split(":")[1])), 1)):
            return True
        return False

    def end(self):
        self.process.kill()
        self.process.wait(PATIENCE)
        self.log.close()


class Hostile:
    """A registry of plain HTTP that does as each test says: `self.answer(request)` before anything honest is done.

    What is asked for is in `self.asked`, as (method, path, range).
    """

    def __init__(self):
        self.blobs, self.manifests, self.asked, self.answer = {}, {}, [], None
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                owner.asked.append((self.command, self.path, self.headers.get("range")))
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    if owner.answer and owner.answer(self):
                        return
                    owner.honest(self)

            do_HEAD = do_POST = do_PUT = do_GET

            def give(self, status, data=b"", **headers):
                self.send_response(status)
                for name, value in {"content_length": len(data), **headers}.items():
                    self.send_header(name.replace("_", "-"), str(value))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            def close(self):
                self.close_connection = True
                self.wfile.flush()
                with contextlib.suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)

            def authorization(self):
                kind, _, rest = (self.headers.get("authorization") or "").partition(" ")
                return kind, base64.b64decode(rest).decode() if kind == "Basic" else rest

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.host = f"127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def end(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(PATIENCE)

    def honest(self, request):
        path = request.path
        if path == "/v2/":
            return request.give(200)
        found = re.fullmatch(r"/v2/(.+)/(manifests|blobs)/(.+)", path)
        if not found:
            return request.give(404)
        _, kind, name = found.groups()
        if kind == "manifests":
            data = self.manifests.get(name)
            if data is None:
                return request.give(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"unknown"}]}')
            return request.give(200, data, content_type=json.loads(data).get("mediaType", MANIFEST) if data[:1] == b"{" else "text/html")
        data = self.blobs.get(name)
        if data is None:
            return request.give(404)
        begin = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range") or "")
        if begin:
            at = int(begin.group(1))
            return request.give(206, data[at:], content_range=f"bytes {at}-{len(data) - 1}/{len(data)}")
        return request.give(200, data)

    def image(self, layout, tag="1"):
        """Takes a layout's only image in."""
        entry = layout.entries[0]
        self.blobs |= layout.blobs
        manifest = layout.blobs[entry["digest"]]
        self.manifests[tag] = self.manifests[entry["digest"]] = manifest
        return json.loads(manifest)

    def put(self, tag, document):
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.manifests[tag] = self.manifests[digest(data)] = data
        return {"mediaType": document.get("mediaType", MANIFEST) if isinstance(document, dict) else MANIFEST, "digest": digest(data), "size": len(data)}

    def served(self, name):
        return [request for request in self.asked if request[1].endswith(name)]


def part(binary):
    """Puts the program that speaks to registries beside the copy of codex32 that the tests run."""
    import os

    source = pathlib.Path(os.environ.get("CODEX32", ".build/release/codex32"))
    source = (source if source.is_absolute() else pathlib.Path(__file__).parents[2] / source).with_name("codex32-registry")
    target = binary.with_name("codex32-registry")
    if not target.exists():
        shutil.copyfile(source, target)
        target.chmod(0o755)
    return target


def slowly(request, data, pieces, pause):
    for piece in range(0, len(data), max(len(data) // pieces, 1)):
        request.wfile.write(data[piece : piece + max(len(data) // pieces, 1)])
        request.wfile.flush()
        time.sleep(pause)
