"""Registries that lie, stall, break off and attack: clear errors, and a store that stays whole."""

import hashlib
import json
import os
import random
import threading
import time

import pytest
from layouts import Layout, base, layer, member
from registries import INDEX, MANIFEST, Hostile, digest, part, slowly
from test_images import shop, simple  # noqa: F401


# What a registry says is read the same whoever asks; the other user's way to one is in test_registry.py.
pytestmark = pytest.mark.parametrize("caller", ["root"], indirect=True)


@pytest.fixture
def evil(shop, binary):
    part(binary)
    registry = Hostile()
    registry.shop = shop
    yield registry
    registry.end()


def pull(evil, *words, tag="1", fails=None, idle="60s"):
    name = f"{evil.host}/tests/bot:{tag}"
    done = evil.shop.call("image pull", "--insecure", evil.host, "--idle-timeout", idle, *words, name)
    if fails is None:
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode == 125 and fails in done.stderr, (done.returncode, done.stderr)
        assert done.stderr.startswith("codex32: cannot ")
        assert evil.shop.names() == []
    if evil.shop.store.exists():
        evil.shop.image("prune", "-f")
        evil.shop.whole()
    return done


def large(size=3 << 20):
    layout = Layout()
    layout.image([base(), layer(member("big", random.Random(7).randbytes(size)))], "bot:1", form="plain")
    return layout


def biggest(evil):
    return max(evil.blobs, key=lambda name: len(evil.blobs[name]))


def test_an_honest_one(evil):
    evil.image(simple())
    pull(evil)
    name = f"{evil.host}/tests/bot:1"
    assert evil.shop.caller.run(level="standard", image=name).stdout == "hello\n"
    # What is here already is not asked for again.
    evil.asked.clear()
    pull(evil)
    assert [path for _, path, _ in evil.asked if "/blobs/" in path] == []


def test_plain_http_is_taken_from_none_but_the_one_named(evil):
    evil.image(simple())
    name = f"{evil.host}/tests/bot:1"
    done = evil.shop.call("image pull", name)
    assert done.returncode == 125 and "TLS" in done.stderr and f"--insecure {evil.host}" in done.stderr, done.stderr
    done = evil.shop.call("image pull", "--insecure", "127.0.0.1:1", name)
    assert done.returncode == 125
    assert evil.asked == []


# ---- bytes that are not the right ones


@pytest.mark.parametrize("what", ["flipped", "shorter", "longer", "empty", "unsaid-longer", "other"])
def test_wrong_bytes(evil, what):
    evil.image(large())
    name = biggest(evil)
    right = evil.blobs[name]
    wrong = {
        "flipped": right[:1_000_000] + bytes([right[1_000_000] ^ 1]) + right[1_000_001:],
        "shorter": right[:-1], "longer": right + b"x", "empty": b"", "unsaid-longer": right + b"x" * 1000, "other": os.urandom(len(right)),
    }[what]  # fmt: skip

    def answer(request):
        if not request.path.endswith(name):
            return False
        request.send_response(200)
        if what.startswith("unsaid"):
            request.send_header("connection", "close")
        else:
            request.send_header("content-length", str(len(wrong)))
        request.end_headers()
        request.wfile.write(wrong)
        if what.startswith("unsaid"):
            request.close()
        return True

    evil.answer = answer
    why = "its sum is" if what in ("flipped", "other") else f"more than {len(right)} bytes" if what.startswith("unsaid") else f"should have {len(right)}"
    pull(evil, fails=why)
    evil.answer = None
    pull(evil)


def test_what_an_earlier_pull_left_may_be_wrong(evil):
    """A machine that lost its power has holes in files: found out, and brought anew."""
    evil.image(large())
    name = biggest(evil)
    ingest = evil.shop.store / "ingest"
    pull(evil, tag="absent", fails="does not have it")
    left = ingest / f"blob-{name.removeprefix('sha256:')}.part"
    left.write_bytes(bytes(1_000_000))
    evil.shop.caller.own(left)
    pull(evil)
    assert [part for _, path, part in evil.asked if path.endswith(name)] == ["bytes=1000000-", None]


def test_it_goes_on_where_it_was(evil):
    evil.image(large())
    name = biggest(evil)
    right = evil.blobs[name]
    pull(evil, tag="absent", fails="does not have it")
    left = evil.shop.store / "ingest" / f"blob-{name.removeprefix('sha256:')}.part"
    left.write_bytes(right[:2_000_000])
    evil.shop.caller.own(left)
    pull(evil)
    assert [part for _, path, part in evil.asked if path.endswith(name)] == ["bytes=2000000-"]


@pytest.mark.parametrize("kind", ["whole", "other-range", "416"])
def test_ranges_that_are_not_kept(evil, kind):
    evil.image(large())
    name = biggest(evil)
    right = evil.blobs[name]
    pull(evil, tag="absent", fails="does not have it")
    left = evil.shop.store / "ingest" / f"blob-{name.removeprefix('sha256:')}.part"
    left.write_bytes(right[:2_000_000])
    evil.shop.caller.own(left)

    def answer(request):
        if not request.path.endswith(name) or not request.headers.get("range"):
            return False
        if kind == "416":
            request.give(416)
        elif kind == "whole":
            request.give(200, right)
        else:
            request.give(206, right[1_000_000:], content_range=f"bytes 1000000-{len(right) - 1}/{len(right)}")
        return True

    evil.answer = answer
    pull(evil, fails="another part" if kind == "other-range" else None)


@pytest.mark.parametrize("tag", ["config", "layer"])
def test_sizes_that_the_manifest_makes_up(evil, tag):
    manifest = evil.image(simple())
    entry = manifest["config"] if tag == "config" else manifest["layers"][0]
    right = entry["size"]
    entry["size"] = right + 1
    evil.put("1", manifest)
    pull(evil, fails=f"should have {right + 1}")
    entry["size"] = 1 << 62
    evil.put("1", manifest)
    pull(evil, fails="is larger than")
    entry["size"] = -1
    evil.put("1", manifest)
    pull(evil, fails="size")


# ---- connections


def test_a_connection_that_breaks_again_and_again(evil):
    """Each brings a little more; all of it is there in the end, and nothing was brought twice."""
    evil.image(large())
    name = biggest(evil)
    right = evil.blobs[name]

    def answer(request):
        if not request.path.endswith(name):
            return False
        at = int((request.headers.get("range") or "bytes=0-")[6:-1])
        request.send_response(206 if at else 200)
        request.send_header("content-length", str(len(right) - at))
        if at:
            request.send_header("content-range", f"bytes {at}-{len(right) - 1}/{len(right)}")
        request.end_headers()
        request.wfile.write(right[at : at + 700_000])
        request.close()
        return True

    evil.answer = answer
    pull(evil)
    starts = [int((part or "bytes=0-")[6:-1]) for _, path, part in evil.asked if path.endswith(name)]
    assert starts == sorted(set(starts)) and len(starts) >= 4, starts


def test_a_connection_that_always_breaks(evil):
    evil.image(large())
    name = biggest(evil)

    def answer(request):
        if not request.path.endswith(name):
            return False
        request.close()
        return True

    evil.answer = answer
    pull(evil, fails="the connection")
    assert len(evil.served(name)) == 5


@pytest.mark.parametrize("when", ["answer", "body", "manifest"])
def test_a_server_that_falls_silent(evil, when):
    evil.image(large())
    name = "/manifests/1" if when == "manifest" else biggest(evil)
    right = evil.blobs.get(name, b"x" * 100)
    over = threading.Event()

    def answer(request):
        if not request.path.endswith(name):
            return False
        if when != "answer":
            request.send_response(200)
            request.send_header("content-length", str(len(right)))
            request.end_headers()
            request.wfile.write(right[:50])
            request.wfile.flush()
        over.wait(60)
        request.close()
        return True

    evil.answer = answer
    try:
        pull(evil, idle="1s", fails="nothing came for 1 seconds")
    finally:
        over.set()


def test_a_slow_one_is_waited_for(evil):
    """Slower than the time-out as a whole, but never silent for so long."""
    evil.image(large(200_000))
    name = biggest(evil)

    def answer(request):
        if not request.path.endswith(name):
            return False
        right = evil.blobs[name]
        request.send_response(200)
        request.send_header("content-length", str(len(right)))
        request.end_headers()
        slowly(request, right, 30, 0.5)
        return True

    evil.answer = answer
    pull(evil, idle="10s")
    assert len(evil.served(name)) == 1


def test_one_that_drips(evil):
    """A byte now and then keeps no connection for ever."""
    evil.image(large())
    name = biggest(evil)
    over = threading.Event()

    def answer(request):
        if not request.path.endswith(name):
            return False
        request.send_response(200)
        request.send_header("content-length", str(len(evil.blobs[name])))
        request.end_headers()
        for at in range(200):
            if over.wait(0.3):
                break
            request.wfile.write(evil.blobs[name][at : at + 1])
            request.wfile.flush()
        request.close()
        return True

    def watch():
        # The second connection is an honest one.
        while not over.is_set() and len(evil.served(name)) < 2:
            time.sleep(0.05)
        evil.answer = None

    evil.answer = answer
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        pull(evil, idle="1s")
    finally:
        over.set()
        watcher.join()
    assert len(evil.served(name)) >= 2


def test_a_busy_one_is_asked_again(evil):
    evil.image(simple())
    left = [503, 429, 500]

    def answer(request):
        if left and "/manifests/" in request.path:
            request.give(left.pop(), b'{"errors":[{"message":"later"}]}', retry_after="0")
            return True
        return False

    evil.answer = answer
    pull(evil)
    left.extend([503] * 50)
    evil.asked.clear()
    name = f"{evil.host}/tests/bot:1"
    done = evil.shop.call("image pull", "--insecure", evil.host, name)
    assert done.returncode == 125 and "it answered 503 (later)" in done.stderr and len(evil.served("/manifests/1")) == 5, done.stderr


# ---- indexes and manifests


def entry(document, data, **more):
    return {"mediaType": document, "digest": digest(data), "size": len(data)} | more


def test_an_index_of_several_platforms(evil):
    for architecture in ("amd64", "arm64", "s390x"):
        layout = Layout()
        layout.image([base(member("which", architecture.encode()))], "bot:1", architecture=architecture)
        evil.image(layout, architecture)
    entries = [entry(MANIFEST, evil.manifests[name], platform={"os": "linux", "architecture": name}) for name in ("arm64", "s390x", "amd64")]
    inner = evil.put("inner", {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})
    evil.put("1", {"schemaVersion": 2, "mediaType": INDEX, "manifests": [inner]})
    pull(evil)
    mine = "amd64" if os.uname().machine == "x86_64" else "arm64"
    name = f"{evil.host}/tests/bot:1"
    assert evil.shop.sh(name, "cat /which") == mine
    done = evil.shop.call("image pull", "--insecure", evil.host, "--platform", "linux/riscv64", name)
    assert done.returncode == 125 and "no image but for linux/amd64, linux/arm64, linux/s390x" in done.stderr, done.stderr
    assert evil.shop.call("image pull", "--insecure", evil.host, "--platform", "s390x", name).returncode == 0
    assert '"architecture": "s390x"' in evil.shop.image("inspect", name)
    # By the index's own digest, too.
    pinned = f"{evil.host}/tests/bot@{digest(evil.manifests['1'])}"
    assert evil.shop.call("image pull", "-q", "--insecure", evil.host, pinned).returncode == 0


def test_indexes_that_go_round(evil):
    """By a tag's answer that changes; a digest cannot be in what it is of."""
    one = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [{"mediaType": INDEX, "digest": "sha256:" + "0" * 64, "size": 300}]}
    data = json.dumps(one).encode()
    evil.put("1", one)

    def answer(request):
        if "/manifests/sha256:" in request.path:
            request.give(200, data, content_type=INDEX)
            return True
        return False

    evil.answer = answer
    pull(evil, fails="whose sum is")


def test_indexes_that_nest_too_deep(evil):
    inside = evil.put("0", {"schemaVersion": 2, "mediaType": INDEX, "manifests": []})
    inside["mediaType"] = INDEX
    for depth in range(1, 12):
        inside = evil.put(str(depth), {"schemaVersion": 2, "mediaType": INDEX, "manifests": [inside]})
        inside["mediaType"] = INDEX
    evil.manifests["1"] = evil.manifests["11"]
    pull(evil, fails="nest more than 4 deep")


@pytest.mark.parametrize(
    "document,why",
    [
        (b"", "the document ends too early"),
        (b"<html>no</html>", "no JSON value"),
        (b"[1]", "must be an object"),
        (b"{}", "schemaVersion"),
        (b'{"schemaVersion":1,"name":"x","fsLayers":[]}', "schemaVersion"),
        (b'{"schemaVersion":2,"manifests":[]}', "it has no image"),
        (b'{"schemaVersion":2,"manifests":[{"mediaType":"text/html","digest":"sha256:%s","size":1}]}' % (b"0" * 64), "it has no image"),
        (b'{"schemaVersion":2,"manifests":[],"layers":[]}', "an index and an image's manifest at once"),
        (b'{"schemaVersion":2,"manifests":[],"config":{}}', "an index and an image's manifest at once"),
        (b'{"schemaVersion":2,"manifests":[{"digest":"md5:1","size":1}]}', "is no sha256 digest"),
        (b"[" * 100_000, "nest"),
        (b'{"schemaVersion":2,"x":"' + b"y" * (5 << 20) + b'"}', "larger than"),
    ],
    ids=range(12),
)
def test_documents_that_are_none(evil, document, why):
    evil.manifests["1"] = document
    pull(evil, fails=why)


def test_media_types_that_are_wrong(evil):
    manifest = evil.image(simple())
    evil.put("1", manifest | {"mediaType": "application/vnd.docker.distribution.manifest.v1+prettyjws"})
    pull(evil, fails="is not an image's")
    for kind in ("text/html", "application/vnd.oci.image.layer.v1.tar+encrypted", "application/wasm"):
        broken = json.loads(json.dumps(manifest))
        broken["layers"][0]["mediaType"] = kind
        evil.put("1", broken)
        pull(evil, fails="no layer that can be unpacked")


def test_an_index_of_a_hundred_thousand(evil):
    rows = [{"mediaType": MANIFEST, "digest": "sha256:" + hashlib.sha256(str(n).encode()).hexdigest(), "size": 1} for n in range(30_000)]
    evil.put("1", {"schemaVersion": 2, "mediaType": INDEX, "manifests": rows})
    pull(evil, fails="cannot pull")
    assert len(evil.asked) < 10


# ---- where it points to, and what it is told


def test_redirections(evil, binary):
    """A blob may be elsewhere, and the token stays with the one who gave it."""
    evil.image(simple())
    other = Hostile()
    other.blobs = dict(evil.blobs)
    told = []
    try:

        def answer(request):
            if "/blobs/" in request.path:
                request.give(307, location=f"http://{other.host}{request.path}")
                return True
            return False

        def listen(request):
            told.append(request.headers.get("authorization"))
            return False

        evil.answer, other.answer = answer, listen
        pull(evil)
        assert len(told) == 2 and told == [None, None]
    finally:
        other.end()


@pytest.mark.parametrize("target", ["self", "file:///etc/passwd", "//x", "ftp://127.0.0.1/", "http://user@127.0.0.1/", "http://127.0.0.1:1/", "gopher"])
def test_redirections_that_lead_nowhere(evil, target):
    evil.image(simple())

    def answer(request):
        if "/blobs/" in request.path:
            request.give(302, location=request.path if target == "self" else target)
            return True
        return False

    evil.answer = answer
    pull(evil, fails={"self": "redirects more than 5 times", "http://127.0.0.1:1/": "Connection refused"}.get(target, "is no URL"))


@pytest.fixture
def login(evil):
    folder = evil.shop.home / "docker"
    folder.mkdir(mode=0o755)
    import base64

    auth = base64.b64encode(b"bot:secret").decode()
    (folder / "config.json").write_text(json.dumps({"auths": {evil.host: {"auth": auth}}}))
    for path in (folder, folder / "config.json"):
        evil.shop.caller.own(path)
    return {"DOCKER_CONFIG": str(folder)}


def wants_token(evil, realm=None, **answers):
    """A token server, as registries have them; what it was told is in `evil.told`."""
    evil.told = []

    def answer(request):
        if request.path.startswith("/token"):
            evil.told.append((request.path, request.authorization()))
            data = answers.get("token", {"token": "good"})
            request.give(answers.get("status", 200), data if isinstance(data, bytes) else json.dumps(data).encode())
            return True
        if request.authorization() == ("Bearer", "good"):
            return False
        where = realm or f"http://{evil.host}/token"
        request.give(401, www_authenticate=f'Bearer realm="{where}",service="here",scope="repository:tests/bot:pull"')
        return True

    evil.answer = answer


def test_tokens(evil, login):
    evil.image(simple())
    wants_token(evil)
    name = f"{evil.host}/tests/bot:1"
    done = evil.shop.call("image pull", "--insecure", evil.host, name, env=login)
    assert done.returncode == 0, done.stderr
    assert evil.told == [("/token?service=here&scope=repository%3Atests%2Fbot%3Apull", ("Basic", "bot:secret"))]
    # And without a login: what is public.
    evil.shop.image("remove", name)
    evil.told.clear()
    assert evil.shop.call("image pull", "--insecure", evil.host, name).returncode == 0
    assert [who for _, who in evil.told] == [("", "")]


@pytest.mark.parametrize(
    "answers,why",
    [
        ({"status": 401}, "it wants a login"),
        ({"status": 500}, "it answered 500"),
        ({"token": b"nonsense"}, "no JSON"),
        ({"token": {}}, "it gave no token"),
        ({"token": {"token": "a\r\nb: c"}}, "it gave no token"),
        ({"token": {"token": "bad"}}, "not allowed"),
        ({"token": b"x" * (2 << 20)}, "is larger than"),
        ({"realm": "file:///etc/passwd"}, "does not say from where"),
        ({"realm": "ftp://x/"}, "does not say from where"),
    ],
    ids=range(9),
)
def test_tokens_that_are_none(evil, answers, why):
    evil.image(simple())
    wants_token(evil, **answers)
    pull(evil, fails=why)


def test_a_login_goes_to_no_other_host(evil, login):
    """A registry's login is not for another, whatever that one says."""
    other = Hostile()
    other.shop = evil.shop
    told = []

    def answer(request):
        told.append(request.authorization())
        request.give(401, www_authenticate='Basic realm="x"')
        return True

    other.answer = answer
    try:
        done = evil.shop.call("image pull", "--insecure", other.host, f"{other.host}/tests/bot:1", env=login)
        assert done.returncode == 125 and "it wants a login" in done.stderr
        assert set(told) == {("", "")}
    finally:
        other.end()


def test_what_it_says_reaches_the_terminal_harmless(evil):
    def answer(request):
        if "/manifests/" in request.path:
            request.give(400, json.dumps({"errors": [{"message": "\u001b]0;evil\u0007\nhint: rm -rf"}]}).encode())
            return True
        return False

    evil.answer = answer
    done = pull(evil, fails="it answered 400")
    assert "\x1b" not in done.stderr and "\x07" not in done.stderr and "\nhint: rm" not in done.stderr


def test_push_to_one_that_does_not_want_it(evil):
    evil.shop.load(simple())

    def answer(request):
        size = int(request.headers.get("content-length") or 0)
        request.rfile.read(size)
        if request.command == "POST":
            request.give(202, location="/upload?x=1")
        elif request.command == "PUT":
            request.give(403, b'{"errors":[{"code":"DENIED","message":"no"}]}')
        else:
            request.give(404)
        return True

    evil.answer = answer
    name = f"{evil.host}/tests/bot:1"
    done = evil.shop.call("image push", "--insecure", evil.host, "bot:1", name)
    assert done.returncode == 125 and "not allowed" in done.stderr, done.stderr
    assert [path for method, path, _ in evil.asked if method == "PUT"][0].startswith("/upload?x=1&digest=sha256%3A")


def test_push_does_not_pass_on_what_is_damaged(evil):
    evil.shop.load(simple())
    blob = max((evil.shop.store / "blobs").iterdir(), key=lambda path: path.stat().st_size)
    with blob.open("r+b") as file:
        file.truncate(100)
    done = evil.shop.call("image push", "--insecure", evil.host, "bot:1", f"{evil.host}/tests/bot:1")
    assert done.returncode == 125 and "is damaged in the store" in done.stderr
    assert [method for method, _, _ in evil.asked if method in ("POST", "PUT")] == []
