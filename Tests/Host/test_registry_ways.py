"""Ways to registries: proxies, certificates of this side's own, identity tokens."""

import contextlib
import json
import pathlib
import socket
import ssl
import subprocess
import threading
import urllib.parse

import pytest
from conftest import PATIENCE
from registries import Hostile, Real, certificate, machines_folder, part
from test_images import shop, simple  # noqa: F401
from test_registry import At, at, registry  # noqa: F401

NAME = "registry.test"


class Proxy:
    """A proxy that passes everybody on to this machine, whatever name was asked for: `CONNECT NAME:PORT`.

    What is asked for is in `self.asked`, as (name and port, login).
    """

    def __init__(self, login=None, answer=None):
        self.asked, self.login, self.answer = [], login, answer
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def accept(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=[connection], daemon=True).start()

    def serve(self, connection):
        with contextlib.suppress(OSError), connection:
            head = b""
            while b"\r\n\r\n" not in head:
                piece = connection.recv(4096)
                if not piece:
                    return
                head += piece
            lines = head.decode().split("\r\n")
            method, target, _ = lines[0].split(" ")
            headers = dict(line.lower().split(": ", 1) if not line.lower().startswith("proxy-auth") else ("login", line.split(" ")[-1]) for line in lines[1:] if line)
            self.asked.append((target, headers.get("login")))
            if self.answer or method != "CONNECT":
                return connection.sendall(self.answer or b"HTTP/1.1 405 No\r\ncontent-length: 0\r\n\r\n")
            if self.login and headers.get("login") != self.login:
                return connection.sendall(b"HTTP/1.1 407 No\r\nproxy-authenticate: Basic realm=x\r\ncontent-length: 0\r\n\r\n")
            with socket.create_connection(("127.0.0.1", int(target.rpartition(":")[2])), 10) as other:
                other.settimeout(None)  # that was for the connection
                connection.sendall(b"HTTP/1.1 200 Yes\r\n\r\n")
                back = threading.Thread(target=self.pass_on, args=[other, connection], daemon=True)
                back.start()
                self.pass_on(connection, other)
                back.join(PATIENCE)

    @staticmethod
    def pass_on(source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def end(self):
        with contextlib.suppress(OSError):  # it was ended before
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join(PATIENCE)


@pytest.fixture
def proxies():
    made = []

    def make(**more):
        made.append(Proxy(**more))
        return made[-1]

    yield make
    for proxy in made:
        proxy.end()


@pytest.fixture
def evil(shop, binary):
    part(binary)
    made = Hostile()
    made.shop = shop
    made.image(simple())
    yield made
    made.end()


def pull(evil, host, env, fails=None, words=()):
    done = evil.shop.call("image pull", "-q", "--insecure", host, *words, f"{host}/tests/bot:1", env=env)
    if fails is None:
        assert (done.returncode, done.stdout) == (0, f"{host}/tests/bot:1\n"), done.stderr
    else:
        assert done.returncode == 125 and fails in done.stderr and done.stderr.startswith("codex32: "), done.stderr
        assert evil.shop.names() == []
    evil.shop.image("prune", "-f")
    return done


# ---- proxies


def test_a_proxy_is_the_way_to_a_name_that_only_it_knows(evil, proxies):
    proxy = proxies()
    port = evil.host.split(":")[1]
    host = f"{NAME}:{port}"
    env = {"HTTP_PROXY": f"http://127.0.0.1:{proxy.port}", "https_proxy": f"127.0.0.1:{proxy.port}/"}
    pull(evil, host, env)
    assert {target for target, _ in proxy.asked} == {host} and evil.served("/manifests/1")
    evil.shop.image("remove", f"{host}/tests/bot:1")
    pull(evil, host, {}, fails=f"there is no host {NAME}")


@pytest.mark.parametrize("user", ["user:secret", "us%65r:se%63ret"])
def test_a_proxy_with_a_login(evil, proxies, user):
    proxy = proxies(login="dXNlcjpzZWNyZXQ=")
    host = f"{NAME}:{evil.host.split(':')[1]}"
    both = lambda url: {"HTTP_PROXY": url, "HTTPS_PROXY": url}  # noqa: E731
    pull(evil, host, both(f"http://127.0.0.1:{proxy.port}"), fails="the proxy wants a login")
    pull(evil, host, both(f"http://user:wrong@127.0.0.1:{proxy.port}"), fails="the proxy wants a login")
    assert evil.asked == []
    pull(evil, host, both(f"http://{user}@127.0.0.1:{proxy.port}"))


def test_a_proxy_that_says_no(evil, proxies):
    host = f"{NAME}:{evil.host.split(':')[1]}"
    proxy = proxies(answer=b"HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n")
    url = f"http://127.0.0.1:{proxy.port}"
    pull(evil, host, {"HTTP_PROXY": url, "HTTPS_PROXY": url}, fails="the proxy lets codex32 not through")
    proxy.end()
    pull(evil, host, {"HTTP_PROXY": url, "HTTPS_PROXY": url}, fails="cannot connect")


EXCEPTED = [NAME, "test", ".test", "*.test", "x,REGISTRY.test", "a.example, registry.test", "*"]
OTHERS = ["", "egistry.test", "registry", "registry.test.example", "registry.test:1", "10.0.0.0/8", "127.0.0.1"]


@pytest.mark.parametrize("caller", ["root"], indirect=True)
@pytest.mark.parametrize("variable", ["NO_PROXY", "no_proxy"])
@pytest.mark.parametrize("text", EXCEPTED + OTHERS)
def test_whom_no_proxy_is_for(evil, proxies, text, variable):
    """One that is spoken to directly cannot be found here, which shows that no proxy was asked."""
    proxy = proxies()
    host = f"{NAME}:{evil.host.split(':')[1]}"
    env = {"HTTP_PROXY": f"http://127.0.0.1:{proxy.port}", "HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}", variable: text}
    if text in EXCEPTED:
        pull(evil, host, env, fails=f"there is no host {NAME}")
        assert proxy.asked == []
    else:
        pull(evil, host, env)
        assert proxy.asked


@pytest.mark.parametrize("caller", ["root"], indirect=True)
@pytest.mark.parametrize("text, direct", [("10.1.0.0/16", True), ("10.0.0.0/8,x", True), ("10.1.2.3", True), ("10.1.2.3:{port}", True), ("10.2.0.0/16", False), ("10.1.2.3:1", False), ("0.1.2.3", False), ("10.1.0.0/99", False)])
def test_whom_no_proxy_is_for_by_address(evil, proxies, text, direct):
    proxy = proxies()
    port = evil.host.split(":")[1]
    host = f"10.1.2.3:{port}"
    url = f"http://127.0.0.1:{proxy.port}"
    env = {"HTTP_PROXY": url, "HTTPS_PROXY": url, "NO_PROXY": text.format(port=port)}
    done = evil.shop.call("image pull", "-q", "--insecure", host, f"{host}/tests/bot:1", env=env, timeout=PATIENCE) if not direct else None
    if direct:
        # Nobody answers there, and that takes long to know: that the proxy is not asked is all there is to see.
        caller = evil.shop.caller
        words = [*caller.become(), str(caller.binary), "image", "pull", "-q", "--root", str(caller.storage), "--insecure", host, f"{host}/tests/bot:1"]
        with pytest.raises(subprocess.TimeoutExpired):
            subprocess.run(words, env=caller.environment(env), stdin=subprocess.DEVNULL, capture_output=True, timeout=3, check=False)
        assert proxy.asked == []
    else:
        assert done.returncode == 0 and proxy.asked, done.stderr


def test_this_machine_is_behind_no_proxy(evil, proxies):
    proxy = proxies()
    url = f"http://127.0.0.1:{proxy.port}"
    pull(evil, evil.host, {"HTTP_PROXY": url, "HTTPS_PROXY": url})
    assert proxy.asked == []


@pytest.mark.parametrize("url, why", [("socks5://127.0.0.1:1", "of a kind that codex32 does not know"), ("https://127.0.0.1:1", "of a kind"), ("http://", "is no proxy's URL"), ("http://a b:1", "is no proxy's URL"), ("http://h:0", "is no proxy's URL"), ("http://u%4@h:1", "is no proxy's URL")])
def test_a_proxy_that_makes_no_sense_is_not_passed_by(evil, url, why):
    host = f"{NAME}:{evil.host.split(':')[1]}"
    done = pull(evil, host, {"HTTP_PROXY": url, "HTTPS_PROXY": url}, fails=why)
    assert "\nhint: " in done.stderr and evil.asked == []


def test_push_and_login_through_a_proxy_with_tls(at, proxies, binary):
    """docker-registry itself, by a name that its certificate has and nobody but the proxy knows."""
    proxy = proxies()
    folder = at.shop.home / "named"
    folder.mkdir()
    named = Real(folder, name=NAME)
    try:
        host = f"{NAME}:{named.host.split(':')[1]}"
        env = {"HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}"}
        at.registry = named
        at.shop.load(simple())
        at.call("login", "-u", Real.USER, "--password-stdin", host, input=Real.PASSWORD, env=env)
        at.call("image push", "bot:1", f"{host}/a/b:1", env=env)
        at.shop.image("remove", "bot:1")
        at.call("image pull", f"{host}/a/b:1", env=env)
        assert at.shop.caller.run(level="standard", image=f"{host}/a/b:1").stdout == "hello\n"
        assert {target for target, _ in proxy.asked} == {host}
        at.call("image pull", f"{host}/a/b:1", env=env, ca=False, fails="its certificate is not to be trusted")
    finally:
        named.end()


# ---- certificates of this side's own


@pytest.fixture
def guarded(evil, shop):
    """A registry over TLS that talks only to who has a certificate of the right authority."""
    folder = shop.home / "guarded"
    folder.mkdir()
    evil.key, evil.cert = certificate(folder)
    evil.client = certificate(folder, "client")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(evil.cert, evil.key)
    context.load_verify_locations(evil.client[1])
    context.verify_mode = ssl.CERT_REQUIRED
    evil.server.socket = context.wrap_socket(evil.server.socket, server_side=True, do_handshake_on_connect=False)
    return evil


@pytest.fixture
def trusted(guarded, shop):
    """The caller's own folder of certificates for it."""
    home = shop.home / "home"
    folder = home / ".config/containers/certs.d" / guarded.host
    folder.mkdir(parents=True)
    (folder / "ca.crt").write_bytes(guarded.cert.read_bytes())
    (folder / "client.cert").write_bytes(guarded.client[1].read_bytes())
    (folder / "client.key").write_bytes(guarded.client[0].read_bytes())
    shop.caller.own(home)
    (folder / "client.key").chmod(0o600)
    return folder


def ask(guarded, trusted, fails=None):
    home = str(trusted).split("/.config")[0]
    done = guarded.shop.call("image pull", "-q", f"{guarded.host}/tests/bot:1", env={"HOME": home})
    if fails is None:
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode == 125 and fails in done.stderr and done.stderr.startswith("codex32: "), done.stderr
    return done


def test_a_certificate_of_ones_own(guarded, trusted):
    ask(guarded, trusted)
    assert guarded.served("/manifests/1")
    # Without it, with somebody else's, and with half of it.
    guarded.asked.clear()
    (trusted / "client.key").rename(trusted / "other.key")
    ask(guarded, trusted, fails="client.cert has no key beside it")
    (trusted / "client.cert").rename(trusted / "kept")
    ask(guarded, trusted, fails="codex32: cannot pull")
    key, cert = certificate(guarded.shop.home, "foreign")
    (trusted / "client.cert").write_bytes(cert.read_bytes())
    (trusted / "client.key").write_bytes(key.read_bytes())
    guarded.shop.caller.own(trusted)
    ask(guarded, trusted, fails="codex32: cannot pull")
    (trusted / "client.key").write_text("no key")
    ask(guarded, trusted, fails="with its key")
    assert guarded.asked == []


@pytest.mark.parametrize("name", ["docker", "containers"])
def test_the_machines_own_folders(guarded, trusted, name):
    place = pathlib.Path(f"/etc/{name}/certs.d") / guarded.host
    with machines_folder(place):
        for file in trusted.iterdir():
            (place / file.name).write_bytes(file.read_bytes())
        done = guarded.shop.call("image pull", "-q", f"{guarded.host}/tests/bot:1")
        assert done.returncode == 0, done.stderr


def test_it_is_shown_to_nobody_else(guarded, trusted, shop):
    """A registry that points to another server, which asks for a certificate too: it does not get this one."""
    other = Hostile()
    seen = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(guarded.cert, guarded.key)
    context.load_verify_locations(guarded.client[1])
    context.verify_mode = ssl.CERT_OPTIONAL
    other.server.socket = context.wrap_socket(other.server.socket, server_side=True, do_handshake_on_connect=False)
    other.blobs = guarded.blobs
    other.answer = lambda request: seen.append(request.connection.getpeercert())
    guarded.answer = lambda request: "/blobs/" in request.path and (request.give(307, location=f"https://{other.host}{request.path}") or True)
    try:
        ask(guarded, trusted)
        assert seen and not any(seen)
    finally:
        other.end()


# ---- identity tokens


@pytest.fixture
def tokens(evil):
    """A registry whose tokens are had for an identity token alone (OAuth2)."""
    evil.bought = []

    def answer(request):
        if request.path.startswith("/token"):
            form = request.rfile.read(int(request.headers.get("content-length") or 0)).decode()
            fields = dict(urllib.parse.parse_qsl(form))
            evil.bought.append((request.command, fields, request.headers.get("authorization")))
            right = request.command == "POST" and fields.get("refresh_token") == "long: ü&=/token" and fields.get("grant_type") == "refresh_token"
            request.give(200 if right else evil.refusal, json.dumps({"access_token": "short", "expires_in": 300}).encode() if right else b"{}")
            return True
        if request.authorization() != ("Bearer", "short"):
            request.give(401, www_authenticate=f'Bearer realm="http://{evil.host}/token",service="here",scope="repository:tests/bot:pull"')
            return True
        return False

    evil.answer, evil.refusal = answer, 401
    evil.config = evil.shop.home / "docker"
    evil.config.mkdir()
    return evil


def keep(tokens, document, env=None):
    (tokens.config / "config.json").write_text(json.dumps(document))
    tokens.shop.caller.own(tokens.config)
    return {"DOCKER_CONFIG": str(tokens.config)} | (env or {})


@pytest.mark.parametrize("auth", [None, "", "MDAwMDAwMDA6"])
def test_an_identity_token_buys_a_token(tokens, auth):
    entry = {"identitytoken": "long: ü&=/token"} | ({} if auth is None else {"auth": auth})
    pull(tokens, tokens.host, keep(tokens, {"auths": {tokens.host: entry}}))
    method, fields, authorization = tokens.bought[0]
    assert (method, authorization) == ("POST", None) and len(tokens.bought) == 1
    assert fields == {"grant_type": "refresh_token", "client_id": "codex32", "refresh_token": "long: ü&=/token", "service": "here", "scope": "repository:tests/bot:pull"}


@pytest.mark.parametrize("refusal", [400, 401, 403])
def test_an_identity_token_that_is_worth_nothing(tokens, refusal):
    tokens.refusal = refusal
    env = keep(tokens, {"auths": {tokens.host: {"identitytoken": "old"}}})
    done = pull(tokens, tokens.host, env, fails="it refused the login")
    assert f"hint: codex32 login {tokens.host}" in done.stderr and "old" not in done.stderr


def test_an_identity_token_of_a_helper(tokens):
    tools = tokens.shop.home / "tools"
    tools.mkdir(mode=0o755)
    script = tools / "docker-credential-safe"
    script.write_text('#!/bin/sh\nprintf \'{"Username":"<token>","Secret":"long: ü&=/token"}\'\n')
    script.chmod(0o755)
    pull(tokens, tokens.host, keep(tokens, {"credsStore": "safe"}, {"PATH": f"{tools}:/usr/bin:/bin"}))
    assert len(tokens.bought) == 1


def test_an_identity_token_for_a_registry_of_passwords(tokens):
    tokens.answer = lambda request: request.give(401, www_authenticate="Basic realm=here") or True
    env = keep(tokens, {"auths": {tokens.host: {"identitytoken": "long"}}})
    pull(tokens, tokens.host, env, fails="it wants a user and a password")
