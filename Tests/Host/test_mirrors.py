"""Mirrors of registries: asked first, believed no more than the registry, and given nothing of its."""

import json
import subprocess

import pytest
from registries import Hostile, Real
from test_images import STACK, shop, simple  # noqa: F401
from test_registry import At, at, registry  # noqa: F401
from layouts import Layout


@pytest.fixture
def mirror():
    """Of plain HTTP, which says what it was asked, and as whom."""
    hostile = Hostile()
    yield hostile
    hostile.end()


def stack(at, tag):  # noqa: F811
    """An image at the registry, which wants a login; nothing of it is in the store."""
    layout = Layout()
    layout.image(STACK, "stack:1", config={"Cmd": ["cat", "/data/gone"]})
    at.shop.load(layout)
    at.login()
    at.call("image push", "-q", "stack:1", at.name(tag))
    at.shop.image("remove", "stack:1")
    return layout


def pull(at, *words, env=None, fails=None):  # noqa: F811
    """With the configuration of a person's own, and what is told of the way."""
    caller = at.shop.caller
    words = [*caller.become(), str(caller.binary), "image", "pull", "--root", str(caller.storage), "--tls-ca", str(at.registry.cert), *map(str, words)]
    done = caller.execute(words, env=at.env | {"XDG_CONFIG_HOME": str(at.shop.home / "config")} | (env or {}))
    assert (done.returncode == 0) == (fails is None) and (fails or "") in done.stderr, done.stderr
    return done


def configure(at, **mirrors):  # noqa: F811
    folder = at.shop.home / "config/codex32"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "registries.json").write_text(json.dumps({"mirrors": mirrors}))
    return folder / "registries.json"


def keep(mirror, layout, tag):
    mirror.image(layout, tag)


def asked(mirror, path):
    return [each for each in mirror.asked if path in each[1]]


def test_a_mirror_gives_all(at, mirror):  # noqa: F811
    """The registry itself is asked for nothing: what is in force is what the file says; the name stays its own."""
    layout = stack(at, "all:1")
    keep(mirror, layout, "1")
    name = at.name("all:1")
    configure(at, **{at.host: [f"{mirror.host}/cache/of"]})
    seen = []
    mirror.answer = lambda request: seen.append(request.headers.get("authorization"))
    at.call("logout", at.host)
    done = pull(at, "--insecure", mirror.host, name)
    assert done.stdout == name + "\n" and f"came from the mirror {mirror.host}/cache/of" in done.stderr
    assert asked(mirror, f"/v2/cache/of/tests/{at.shop.caller.name}/all/manifests/1")
    assert asked(mirror, "/blobs/") and set(seen) == {None}
    done = at.shop.caller.run(level="standard", image=name)
    assert (done.returncode, done.stdout) == (0, "back"), done.stderr
    # Without it: the registry wants a login.
    at.shop.image("remove", name)
    pull(at, "--mirror", "none", name, fails="it wants a login")
    at.shop.whole()


def test_in_their_order_and_then_the_registry(at, mirror):  # noqa: F811
    """One that is not there, one that does not have it, one that wants a login: none of them is given the registry's."""
    stack(at, "order:1")
    name = at.name("order:1")
    headers = []

    def challenge(request):
        headers.append(request.headers.get("authorization"))
        request.give(401, www_authenticate='Basic realm="here"')
        return True

    mirror.answer = challenge
    other = Hostile()
    try:
        seen = []
        other.answer = lambda request: seen.append(request.headers.get("authorization"))
        words = ["--insecure", mirror.host, "--insecure", other.host]
        done = pull(at, *words, "--mirror", mirror.host, "--mirror", other.host, name)
    finally:
        other.end()
    assert done.stdout == name + "\n"
    told = [line for line in done.stderr.splitlines() if "mirror" in line]
    assert len(told) == 2 and f"the mirror {mirror.host} does not give" in told[0] and "wants a login" in told[0]
    assert f"the mirror {other.host} does not give" in told[1] and "does not have it" in told[1]
    assert headers and set(headers) == {None} and seen and set(seen) == {None}
    assert at.shop.caller.run(level="standard", image=name).stdout == "back"


def test_a_mirror_that_is_gone(at, mirror):  # noqa: F811
    stack(at, "gone:1")
    name = at.name("gone:1")
    configure(at, **{at.host: ["127.0.0.1:9"], "other.example": [mirror.host]})
    done = pull(at, name)
    assert "the mirror 127.0.0.1:9 does not give" in done.stderr and not mirror.asked
    assert at.shop.caller.run(level="standard", image=name).stdout == "back"


@pytest.mark.parametrize("what", ["layer", "half", "manifest"])
def test_a_mirror_that_lies(at, mirror, what):  # noqa: F811
    """What it gives is summed up as ever: the registry gives the rest, whole."""
    layout = stack(at, f"lies-{what}:1")
    keep(mirror, layout, "1")
    name = at.name(f"lies-{what}:1")
    manifest = json.loads(layout.blobs[layout.entries[0]["digest"]])
    wrong = manifest["layers"][-1]["digest"]

    def lie(request):
        if what == "manifest" and "/manifests/" in request.path:
            request.give(200, layout.blobs[layout.entries[0]["digest"]].replace(b"tar", b"tor"))
            return True
        if what != "manifest" and request.path.endswith(wrong):
            data = layout.blobs[wrong]
            bad = b"\0" * 100 + data[100:]
            if what == "half":
                # The half of it, wrong, and the end of the connection: what is left begins wrong.
                request.send_response(200)
                request.send_header("content-length", str(len(data)))
                request.end_headers()
                request.wfile.write(bad[: len(data) // 2])
                request.close()
                mirror.answer = lambda other: other.path.endswith(wrong) and (other.give(404) or True)
            else:
                request.give(200, bad)
            return True
        return False

    mirror.answer = lie
    digest = f"{name.rpartition(':')[0]}@{layout.entries[0]['digest']}"
    done = pull(at, "--insecure", mirror.host, "--mirror", mirror.host, digest if what == "manifest" else name)
    assert f"the mirror {mirror.host} does not give" in done.stderr, done.stderr
    image = layout.entries[0]["digest"] if what == "manifest" else name
    assert at.shop.caller.run(level="standard", image=image).stdout == "back"
    at.shop.whole()


def test_runs_mirror(at, mirror):  # noqa: F811
    """`run --pull` goes the same way."""
    layout = stack(at, "run:1")
    keep(mirror, layout, "1")
    configure(at, **{at.host: ["localhost:9", at.host]})
    caller = at.shop.caller
    words = [*caller.become(), str(caller.binary), "run", "--root", str(caller.storage), at.name("run:1")]
    done = caller.execute(words, env=at.env | {"XDG_CONFIG_HOME": str(at.shop.home / "config"), "SSL_CERT_FILE": str(at.registry.cert)})
    # Its certificate is its own, which run cannot be told of: both ways were gone.
    assert done.returncode == 125 and "the mirror localhost:9 does not give" in done.stderr and f"cannot pull {at.name('run:1')}" in done.stderr, done.stderr
    assert done.stderr.count("the mirror") == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "registries.json"), ('{"mirror": {}}', "mirror: is not known"), ('{"mirrors": {"HOST": ["x:1", "http://x"]}}', "mirrors.HOST"),
        ('{"mirrors": {"HOST": ["x.y/../z"]}}', "it is no registry"), ('{"mirrors": {"HOST": ["x.y/"]}}', "it is no registry"),
        ('{"mirrors": {"HOST": "x.y"}}', "mirrors.HOST"), ('{"mirrors": {"nohost": ["x.y"]}}', "mirrors.nohost"),
        ('{"mirrors": {"HOST": [' + ",".join(['"x.y"'] * 17) + "]}}", "more than 16 mirrors"),
    ],
)  # fmt: skip
def test_a_file_that_makes_no_sense(at, text, why):  # noqa: F811
    """Nothing is pulled past it."""
    file = configure(at)
    file.write_text(text.replace("HOST", at.host))
    done = pull(at, at.name("none:1"), fails=why.replace("HOST", at.host))
    assert done.returncode == 125 and "hint: " in done.stderr


def test_a_file_that_everybody_may_write(at):  # noqa: F811
    file = configure(at, **{at.host: ["x.y"]})
    file.chmod(0o666)
    pull(at, at.name("none:1"), fails="everybody may write to it")
    file.unlink()
    file.symlink_to("/dev/null")
    pull(at, at.name("none:1"), fails="it is no file")
    pull(at, "--mirror", "x y", at.name("none:1"), fails="cannot use the mirror x y")
