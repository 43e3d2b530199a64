"""`run --storage-limit`: the program is told that its disk is full, and the machine's is not touched."""

import json
import os

import pytest
from conftest import wait_until
from containers import store  # noqa: F401
from layouts import Layout, base, folder, layer, member
from test_images import STACK, shop  # noqa: F401


@pytest.mark.parametrize("image", ["template:busybox", "stack:1"])
def test_the_program_gets_enospc(shop, image):
    if image == "stack:1":
        layout = Layout()
        layout.image(STACK, image)
        shop.load(layout)
    receipt = shop.home / "receipt.json"
    receipt.touch()
    shop.caller.own(receipt)
    script = "dd if=/dev/zero of=/big bs=1M count=64 2>&1 | tail -3; stat -c %s /big; echo x > /tmp/still && echo fine"
    script = script.replace("dd ", "busybox dd ").replace("tail", "busybox tail")
    done = shop.caller.run("--storage-limit", "8m", "--receipt", receipt, level="standard", image=image, command=["sh", "-c", script])
    assert done.returncode == 0, done.stderr
    assert "No space left on device" in done.stdout and done.stdout.endswith("fine\n"), done.stdout
    size = int(done.stdout.splitlines()[-2])
    assert (6 << 20) < size <= (8 << 20)
    storage = json.loads(receipt.read_text())["storage"]
    assert storage["kind"] == "tmpfs" and storage["limitBytes"] == 8 << 20
    assert storage["capacityBytes"] in (8 << 20, None if shop.caller.name == "user" else 8 << 20)


def test_it_is_a_limit_or_an_error(shop, tmp_path):
    caller = shop.caller
    run = lambda *words, **more: caller.run(*words, image="template:busybox", command=["true"], **more)  # noqa: E731
    for words, level, why in [
        (["--storage-limit", "8m", "--read-only"], "standard", "the root cannot be written at all"),
        (["--storage-limit", "8m"], "strict", "the root cannot be written at all"),
        (["--storage-limit", "1k"], "standard", "64k or more"),
        (["--storage-limit", "lots"], "standard", "--storage-limit"),
    ]:
        done = run(*words, level=level)
        assert done.returncode == 125 and why in done.stderr, done.stderr
    script = shop.home / "x.sh"
    script.write_text("#!/bin/sh\ntrue\n")
    script.chmod(0o755)
    done = caller.run("--storage-limit", "8m", level="minimal", image=str(script))
    assert done.returncode == 125 and "the machine's own tree" in done.stderr, done.stderr


@pytest.mark.parametrize("verb", ["run -d", "create"])
def test_of_a_users_container_that_is_not_kept(store, verb):
    """What it writes goes with it, so that it may be in memory: no disk is needed, which a user cannot mount."""
    user = store.caller.name == "user"
    if not user and not os.path.exists("/dev/loop-control"):
        pytest.skip("needs /dev/loop-control; the VM tier has it")
    script = "busybox dd if=/dev/zero of=/big bs=1M count=64 2>&1 | busybox tail -3; stat -c %s /big; busybox rm /big; echo new > /new; sleep 1000"
    store.ok(*verb.split(), "-q", "--rm", "--name", "bot", "--storage-limit", "16m", "template:busybox", "--", "/bin/sh", "-c", script)
    record = store.record("bot")
    assert (record["configuration"]["storageLimit"], record["configuration"]["storageKind"]) == (16 << 20, "tmpfs" if user else "ext4")
    if verb == "create":
        if user:
            assert "only while it runs" in store.fails("cp", "bot:/bin/sh", str(store.place / "sh"))
        store.ok("start", "-q", "bot")

    def written():
        lines = store.logs("bot").decode().splitlines()
        return lines and lines[-1].isdigit() and store.call("exec", "bot", "cat", "/new").stdout == "new\n"

    wait_until(written, "what it writes")
    said = store.logs("bot").decode()
    assert "No space left on device" in said and (8 << 20) < int(said.splitlines()[-1]) <= 16 << 20, said
    receipt = json.loads(store.ok("inspect", "--receipt", "bot"))
    receipt = receipt[0] if isinstance(receipt, list) else receipt
    assert (receipt["storage"]["kind"], receipt["storage"]["limitBytes"]) == ("tmpfs" if user else "ext4", 16 << 20)
    store.ok("cp", "bot:/new", str(store.place / "new"))
    assert (store.place / "new").read_text() == "new\n"
    if user:
        why = store.fails("diff", "bot")
        assert "its changes are in memory" in why and "hint: codex32 export bot" in why
    else:
        assert "A /new" in store.ok("diff", "bot")
    store.ok("stop", "-t", "0", "bot")
    # A removal takes the container's name first, and its folder last.
    wait_until(lambda: os.listdir(store.path / "containers") == [], "its end")
    assert list((store.path / "layers").glob("*")) == []


def test_a_record_that_keeps_in_memory_what_is_kept(store):
    """Somebody changed it: nothing is started that would lose what it writes."""
    if store.caller.name != "user":
        pytest.skip("root's are on a disk")
    store.ok("create", "-q", "--rm", "--name", "bot", "--storage-limit", "16m", "template:busybox", "true")
    (file,) = store.path.glob("containers/*/container.json")
    text = file.read_text()
    assert '"removesItself":true' in text.replace(" ", "")
    file.write_text(text.replace('"removesItself":true', '"removesItself":false').replace('"removesItself": true', '"removesItself": false'))
    assert "storageKind" in store.fails("start", "bot")
    store.ok("remove", "-f", "bot")
