"""Pull, push, login: against Debian's docker-registry on loopback, with TLS and a login."""

import json
import os
import pathlib
import random
import signal
import stat
import subprocess
import tempfile
import time

import pytest
from conftest import PATIENCE, wait_until
from layouts import Layout, base, layer, member
from registries import Real, certificate, machines_folder, part
from test_images import STACK, shop, simple  # noqa: F401


@pytest.fixture(scope="module")
def registry(place, binary):
    part(binary)
    # One for each file of tests that asks for it.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="registry-", dir=place))
    folder.chmod(0o755)
    real = Real(folder)
    yield real
    real.end()


@pytest.fixture
def at(shop, registry):
    return At(shop, registry)


class At:
    """A caller with an empty store and no login, and the registry."""

    def __init__(self, shop, registry):
        self.shop, self.registry, self.host = shop, registry, registry.host
        self.config = shop.home / "docker"
        self.env = {"DOCKER_CONFIG": str(self.config)}

    def call(self, verb, *words, ca=True, fails=None, input=None, env=None, **more):
        options = ["--tls-ca", str(self.registry.cert)] if ca and verb != "logout" else []
        root = [] if verb in ("login", "logout") else ["--root", str(self.shop.caller.storage)]
        caller = self.shop.caller
        done = caller.execute(
            [*caller.become(), str(caller.binary), *verb.split(), *root, *options, *map(str, words)], env=self.env | (env or {}), input=input, **more
        )
        if fails is None:
            assert done.returncode == 0, done.stderr
        else:
            assert done.returncode == 125 and fails in done.stderr and done.stderr.startswith("codex32: "), (done.returncode, done.stderr)
        return done.stdout

    def login(self, password=None, **more):
        return self.call("login", "-u", Real.USER, "--password-stdin", self.host, input=(password or Real.PASSWORD) + "\n", **more)

    def name(self, tag):
        return f"{self.host}/tests/{self.shop.caller.name}/{tag}"


def test_push_pull_and_run(at):
    layout = Layout()
    layout.image(STACK, "stack:1", form="zstd", config={"Cmd": ["cat", "/data/gone"]})
    at.shop.load(layout)
    at.login()
    name = at.name("stack:1")
    out = at.call("image push", "stack:1", name)
    assert out == f"{name}@{layout.entries[0]['digest']}\n"
    at.call("image push", "stack:1", name)
    at.shop.image("remove", "stack:1")
    assert at.call("image pull", name) == name + "\n"
    done = at.shop.caller.run(level="standard", image=name)
    assert (done.returncode, done.stdout) == (0, "back"), done.stderr
    # By digest it is that very one, without a name; a second time nothing is missing.
    pinned = f"{name.rpartition(':')[0]}@{layout.entries[0]['digest']}"
    assert at.call("image pull", "-q", pinned) == layout.entries[0]["digest"] + "\n"
    done = at.shop.caller.run(level="standard", image=pinned)
    assert (done.returncode, done.stdout) == (0, "back"), done.stderr
    at.shop.whole()


def test_what_others_pushed(at):
    """skopeo puts an image there; codex32's own push is what skopeo reads."""
    folder = simple().folder(at.shop.home / "layout")
    login = ["--dest-creds", f"{Real.USER}:{Real.PASSWORD}", "--dest-tls-verify=false"]
    name = at.name("skopeo:1")
    subprocess.run(["skopeo", "copy", "-q", *login, f"oci:{folder}:bot:1", f"docker://{name}"], check=True, timeout=PATIENCE, capture_output=True)
    at.login()
    at.call("image pull", name)
    assert at.shop.caller.run(level="standard", image=name).stdout == "hello\n"
    at.call("image push", name, at.name("back:1"))
    words = ["skopeo", "inspect", "--creds", f"{Real.USER}:{Real.PASSWORD}", "--tls-verify=false", f"docker://{at.name('back:1')}"]
    seen = json.loads(subprocess.run(words, check=True, timeout=PATIENCE, capture_output=True).stdout)
    assert len(seen["Layers"]) == 1


def test_logins_are_kept_as_docker_keeps_them(at):
    at.call("image pull", at.name("x:1"), fails="it wants a login")
    at.login("wrong", fails="not allowed")
    assert not at.config.exists()
    at.config.mkdir()
    at.shop.caller.own(at.config)
    file = at.config / "config.json"
    file.write_text(json.dumps({"auths": {"other.example": {"auth": "eDp5"}}, "detachKeys": "ctrl-x"}))
    at.shop.caller.own(file)
    assert "not encrypted" in at.login()
    kept = json.loads(file.read_text())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and set(kept["auths"]) == {"other.example", at.host} and kept["detachKeys"] == "ctrl-x"
    at.call("image pull", at.name("x:1"), fails="the registry does not have it")
    at.call("logout", at.host)
    assert set(json.loads(file.read_text())["auths"]) == {"other.example"}
    at.call("logout", at.host, fails="there is no login")
    at.call("image pull", at.name("x:1"), fails="it wants a login")
    file.write_text("{")
    at.call("image pull", at.name("x:1"), fails="is no JSON")
    # Where there is no place for it, it is not said to be kept, and what is there stays.
    file.write_text('{"auths": [1]}')
    at.login(fails="is not as Docker keeps logins")
    assert file.read_text() == '{"auths": [1]}'


def test_a_credential_helper_is_asked(at):
    """It gets the host on its input and gives the secret on its output: nothing of that is on a command line."""
    tools = at.shop.home / "tools"
    tools.mkdir(mode=0o755)
    script = tools / "docker-credential-safe"
    script.write_text(
        f"""#!/bin/sh
echo "$@" >> {at.shop.home}/words
case $1 in
get) read host; cat {at.shop.home}/secret 2>/dev/null || {{ echo credentials not found in native keychain; exit 1; }};;
store) cat > {at.shop.home}/secret;;
erase) rm -f {at.shop.home}/secret;;
esac
"""
    )
    script.chmod(0o755)
    at.config.mkdir()
    (at.config / "config.json").write_text('{"credsStore": "safe"}')
    for path in (at.config, at.config / "config.json"):
        at.shop.caller.own(path)
    env = {"PATH": f"{tools}:/usr/bin:/bin"}
    at.call("image pull", at.name("x:1"), env=env, fails="it wants a login")
    assert "docker-credential-safe" in at.login(env=env)
    assert json.loads((at.shop.home / "secret").read_text()) == {"ServerURL": at.host, "Username": Real.USER, "Secret": Real.PASSWORD}
    assert json.loads((at.config / "config.json").read_text()) == {"credsStore": "safe"}
    at.call("image pull", at.name("x:1"), env=env, fails="the registry does not have it")
    at.call("logout", at.host, env=env)
    assert not (at.shop.home / "secret").exists()
    assert Real.PASSWORD not in (at.shop.home / "words").read_text()
    (at.config / "config.json").write_text('{"credsStore": "../../bin/sh"}')
    at.call("image pull", at.name("x:1"), env=env, fails="has no such name")
    (at.config / "config.json").write_text('{"credsStore": "absent"}')
    at.call("image pull", at.name("x:1"), env=env, fails="docker-credential-absent")


def test_a_password_is_on_no_command_line(at):
    at.call("login", "-u", "x", "-p", "secret", at.host, fails="everybody on this machine can read command lines")
    at.call("login", "-u", "x", at.host, fails="no terminal to ask on")
    at.call("login", "--password-stdin", at.host, input="x", fails="no user is given")
    at.call("login", "-u", "a:b", "--password-stdin", at.host, input="x", fails="no colon")
    at.call("login", "-u", "a", "--password-stdin", at.host, input="\n", fails="the password is empty")
    at.call("login", "-u", "a", "--password-stdin", "localhost/x", input="x", fails="it is no host")


def test_whom_to_trust(at, place):
    at.login()
    at.call("image pull", at.name("x:1"), ca=False, fails="its certificate is not to be trusted")
    _, other = certificate(at.shop.home, "other")
    at.call("image pull", "--tls-ca", other, at.name("x:1"), ca=False, fails="its certificate is not to be trusted")
    at.call("image pull", "--tls-ca", "/dev/null", at.name("x:1"), ca=False, fails="it is no file")
    at.call("image pull", "--insecure", "localhost:1", at.name("x:1"), ca=False, fails="its certificate is not to be trusted")
    at.call("image pull", "--insecure", at.host, at.name("x:1"), ca=False, fails="the registry does not have it")


@pytest.mark.parametrize("text", ["busybox", "tools/bot:1", "BOT:1", "localhost:5000", "localhost/", "localhost/x@sha256:12", "localhost/x y"])
def test_names_that_say_no_registry(at, text):
    at.call("image pull", text, fails="cannot pull")
    done = at.shop.call("run", "--pull", "always", text, "true")
    assert done.returncode == 125 and "cannot pull" in done.stderr, done.stderr


def test_when_run_pulls(at, registry):
    """With certificates in the place where Docker and Podman look, and a login in Docker's."""
    at.shop.load(simple())
    at.login()
    name = at.name("when:1")
    at.call("image push", "bot:1", name)
    run = lambda *words: at.shop.call("run", "-q", *words, env=at.env)  # noqa: E731
    done = run("--pull", "never", name)
    assert done.returncode == 125
    done = run(name)
    assert done.returncode == 125 and "its certificate is not to be trusted" in done.stderr
    trusted = pathlib.Path("/etc/containers/certs.d") / at.host
    with machines_folder(trusted):
        (trusted / "ca.crt").write_bytes(registry.cert.read_bytes())
        assert run(name).stdout == "hello\n"
        other = Layout()
        other.image([base()], "bot:2", config={"Cmd": ["echo", "newer"]})
        at.shop.load(other)
        at.call("image push", "bot:2", name)
        assert run(name).stdout == "hello\n"
        assert run("--pull", "always", name).stdout == "newer\n"
        assert at.shop.call("create", "--pull", "always", "--name", "made", name, env=at.env).returncode == 0
        assert at.shop.call("create", "--pull", "sometimes", name, env=at.env).returncode == 125


def test_killed_pulls_leave_the_store_whole_and_go_on(at):
    """kill -9 at random moments; in the end all is there, and nothing was fetched in vain."""
    rng = random.Random(5)
    layout = Layout()
    layout.image([base()] + [layer(member(f"data{n}", rng.randbytes(6 << 20))) for n in range(4)], "large:1", form="plain")
    at.shop.load(layout)
    at.login()
    name = at.name("large:1")
    at.call("image push", "large:1", name)
    at.shop.image("remove", "large:1")
    at.shop.image("prune", "-f")
    caller = at.shop.caller
    words = [*caller.become(), str(caller.binary), "image", "pull", "-q", "--root", str(caller.storage), "--tls-ca", str(at.registry.cert), name]
    kept = 0
    for _ in range(25):
        process = subprocess.Popen(words, env=caller.environment(at.env), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        time.sleep(rng.uniform(0, 0.25))
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE)
        process.stderr.close()
        at.shop.image("verify")
        for file in (at.shop.store / "blobs").iterdir():
            assert len(file.name) == 64
        parts = [path.stat().st_size for path in (at.shop.store / "ingest").glob("blob-*.part")]
        kept = max(kept, sum(parts))
    at.call("image pull", name)
    assert at.shop.sh(name, "cat /data? | wc -c").strip() == str(24 << 20)
    at.shop.whole()


def test_two_pulls_share_the_work(at):
    layout = Layout()
    layout.image([base(member("big", os.urandom(8 << 20)))], "one:1", form="plain")
    at.shop.load(layout)
    at.login()
    name = at.name("one:1")
    at.call("image push", "one:1", name)
    at.shop.image("remove", "one:1")
    at.shop.image("prune", "-f")
    caller = at.shop.caller
    words = [*caller.become(), str(caller.binary), "image", "pull", "-q", "--root", str(caller.storage), "--tls-ca", str(at.registry.cert), name]
    running = [
        subprocess.Popen(words, env=caller.environment(at.env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)
    ]
    for process in running:
        out, error = process.communicate(timeout=PATIENCE)
        assert (process.returncode, out.decode()) == (0, name + "\n"), error
    at.shop.whole()


def test_the_part_for_registries_is_missing(at, binary):
    """codex32 without it works, and says what is missing."""
    helper = binary.with_name("codex32-registry")
    away = helper.with_name("away")
    helper.rename(away)
    try:
        at.call("image pull", at.name("x:1"), fails="codex32-registry, is not installed beside it")
    finally:
        away.rename(helper)


def test_the_part_for_registries_is_for_codex32(at, binary):
    done = subprocess.run([str(binary.with_name("codex32-registry")), "--help"], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 125 and "it is for codex32 itself" in done.stderr
    # It ends with its input, as it does when codex32 is killed.
    process = subprocess.Popen([str(binary.with_name("codex32-registry"))], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdin.write(b'{"verb":"no"}\n')
    process.stdin.flush()
    assert b"open comes first" in process.stdout.readline()
    process.stdin.close()
    assert process.wait(PATIENCE) == 0
    process.stdout.close()


def test_nothing_is_left_running(at):
    wait_until(lambda: subprocess.run(["pgrep", "-x", "codex32-registr"], capture_output=True, timeout=PATIENCE).stdout == b"", "an end of all helpers")
