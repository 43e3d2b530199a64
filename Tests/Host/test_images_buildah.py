"""Images that buildah makes, from nothing, layer upon layer, in the forms that it writes."""

import json
import pathlib
import shutil
import subprocess
import tempfile

import pytest
from conftest import LEVELS, PATIENCE
from test_images import shop  # noqa: F401

APPLETS = ("sh", "cat", "ls", "id", "stat", "test", "env", "pwd")


@pytest.fixture(scope="module")
def made(place):
    """An image of two layers, of which the second takes away and replaces, as an OCI layout and a docker-archive."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="buildah-", dir=place))
    folder.chmod(0o755)

    def buildah(*words):
        # Not the machine's own store, and no driver that a nested overlay would stop.
        store = ["--root", str(folder / "store"), "--runroot", str(folder / "run"), "--storage-driver", "vfs"]
        done = subprocess.run(["buildah", *store, *map(str, words)], capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout.strip()

    tree = folder / "tree"
    for name in ("bin", "etc", "data/deep"):
        (tree / name).mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), tree / "bin/busybox")
    for name in APPLETS:
        (tree / "bin" / name).symlink_to("busybox")
    (tree / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nbot:x:1000:1001::/home/bot:/bin/sh\n")
    for name in ("kept", "gone", "changed", "deep/file"):
        (tree / "data" / name).write_text(f"old {name}\n")
    bottom = buildah("from", "scratch")
    buildah("copy", bottom, tree, "/")
    buildah("config", "--env", "A=below", "--label", "maker=buildah", bottom)
    buildah("commit", "--rm", "-q", bottom, "localhost/bottom:1")
    top = buildah("from", "localhost/bottom:1")
    (tree / "data/changed").write_text("new\n")
    buildah("copy", "--chown", "3:4", "--chmod", "644", top, tree / "data/changed", "/data/changed")
    mounted = pathlib.Path(buildah("mount", top))
    (mounted / "data/gone").unlink()
    shutil.rmtree(mounted / "data/deep")
    buildah("unmount", top)
    buildah("config", "--env", "B=c d", "--user", "bot", "--workingdir", "/data", "--cmd", '["env"]', "--entrypoint", "[]", "--port", "80", top)
    buildah("commit", "-q", top, f"oci:{folder}/layout:tools/two:1")
    buildah("commit", "-q", top, f"oci-archive:{folder}/layout.tar:tools/two:1")
    buildah("commit", "--rm", "-q", top, f"docker-archive:{folder}/docker.tar:tools/two:1")
    # What stays is readable for whoever loads it.
    subprocess.run(["chmod", "-R", "a+rX", str(folder / "layout"), str(folder / "layout.tar"), str(folder / "docker.tar")], check=True, timeout=PATIENCE)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("form", ["layout", "layout.tar", "docker.tar"])
def test_it_runs(shop, made, form):
    shop.image("load", "--name", "two:1", made / form)
    found = json.loads(shop.image("inspect", "two:1"))[0]
    assert len(found["layers"]) == 2 and found["config"]["config"]["Labels"]["maker"] == "buildah"
    for level in LEVELS[1:]:
        script = "id -u; pwd; cat changed; ls; env"
        done = shop.caller.run(level=level, image="two:1", command=["sh", "-c", script])
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert lines[:5] == ["1000", "/data", "new", "changed", "kept"], done.stdout
        assert "A=below" in lines and "B=c d" in lines
    # Its own command, which names no level's.
    assert "B=c d" in shop.caller.run(level="standard", image="two:1").stdout
    if shop.caller.name == "root":
        assert shop.sh("two:1", "stat -c '%a %u:%g' /data/changed", "-u", "0") == "644 3:4\n"
    shop.whole()


def test_what_codex32_saves_buildah_takes(shop, made):
    """The way back: what is loaded, built upon and saved is a base for buildah."""
    shop.image("load", "--name", "two:1", made / "docker.tar")
    shop.image("build", "-q", "--from", "two:1", "-u", "0", "-w", "/", "-e", "C=3", "-t", "three:1")
    archive = shop.home / "three.tar"
    shop.image("save", "-o", archive, "three:1")
    store = ["--root", str(made / "store"), "--runroot", str(made / "run"), "--storage-driver", "vfs"]
    taken = subprocess.run(["buildah", *store, "from", f"docker-archive:{archive}"], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert taken.returncode == 0, taken.stderr
    name = taken.stdout.strip().splitlines()[-1]
    told = json.loads(subprocess.run(["buildah", *store, "inspect", name], capture_output=True, check=True, timeout=PATIENCE).stdout)
    assert set(told["OCIv1"]["config"]["Env"]) >= {"A=below", "B=c d", "C=3"} and len(told["OCIv1"]["rootfs"]["diff_ids"]) == 2
    subprocess.run(["buildah", *store, "rm", name], capture_output=True, check=True, timeout=PATIENCE)
