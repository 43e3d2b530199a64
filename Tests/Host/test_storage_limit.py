"""`run --storage-limit`: the program is told that its disk is full, and the machine's is not touched."""

import json

import pytest
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
