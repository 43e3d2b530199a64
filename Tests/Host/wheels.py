"""Python packages made by hand, and an index of them on loopback: no test of what pip installs needs PyPI."""

import base64
import contextlib
import hashlib
import http.server
import io
import tarfile
import threading
import zipfile


def wheel(folder, name, version="1.0", body="", requires=()):
    """A wheel of one module (PEP 427)."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + "".join(f"Requires-Dist: {each}\n" for each in requires)
    files = {
        f"{name}.py": body,
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(text.encode())}\n"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in files.items():
            archive.writestr(member, text)
        archive.writestr(f"{info}/RECORD", record + f"{info}/RECORD,,\n")
    path.chmod(0o644)
    return path


# A package that has to be built: what it is built with comes with it (PEP 517), and does what it likes.
BACKEND = """
import pathlib, zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    result = {}
    exec(pathlib.Path("hostile.txt").read_text(), {}, result)
    info = "%(name)s-%(version)s.dist-info"
    with zipfile.ZipFile(pathlib.Path(folder, "%(name)s-%(version)s-py3-none-any.whl"), "w") as archive:
        archive.writestr("%(name)s.py", "SEEN = %%r\\n" %% (result.get("seen"),))
        archive.writestr(info + "/METADATA", "Metadata-Version: 2.1\\nName: %(name)s\\nVersion: %(version)s\\n")
        archive.writestr(info + "/WHEEL", "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        archive.writestr(info + "/RECORD", "")
    return "%(name)s-%(version)s-py3-none-any.whl"
"""


def source(folder, name, hostile, version="1.0"):
    """A source distribution whose build runs these lines of Python; what they call `seen` is in the module."""
    files = {
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": BACKEND % {"name": name, "version": version},
        "hostile.txt": hostile,
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
    }
    path = folder / f"{name}-{version}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for member, text in files.items():
            entry = tarfile.TarInfo(f"{name}-{version}/{member}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    path.chmod(0o644)
    return path


class Index:
    """The packages of a folder as an index (PEP 503), and who asked for what."""

    def __init__(self, folder):
        self.asked = []
        index = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                index.asked.append(self.path)
                parts = [part for part in self.path.split("/") if part]
                if len(parts) == 2 and parts[0] == "simple":
                    names = sorted(path.name for path in folder.iterdir() if path.name.startswith(f"{parts[1]}-"))
                    body = "".join(f'<a href="/files/{name}">{name}</a>\n' for name in names).encode()
                    self.answer(200 if names else 404, body, "text/html")
                elif len(parts) == 2 and parts[0] == "files" and (folder / parts[1]).exists():
                    self.answer(200, (folder / parts[1]).read_bytes(), "application/octet-stream")
                else:
                    self.answer(404, b"", "text/plain")

            def answer(self, status, body, kind):
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(BrokenPipeError):
                    self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/simple"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
