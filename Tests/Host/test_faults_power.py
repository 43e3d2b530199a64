"""Power loss: the store is copied while verbs are at work on it, and the copy wakes up in another boot, without what
a reboot takes (the runtime folder) and with a foreign boot id in its records. It must be in order, always.
"""

import errno
import json
import os
import random
import shutil
import threading

from faults import Store

SEED = int(os.environ.get("CODEX32_FAULT_SEED", "20261124"))
COPIES = int(os.environ.get("CODEX32_FAULT_COPIES", "12"))
BOOT = "00000000-0000-4000-8000-000000000000"


def copy_file(source, copied):
    """A whiteout too: besides those of an image, the kernel makes one in a work folder, for a moment, with each overlay."""
    try:
        shutil.copy2(source, copied)
    except OSError as error:
        if error.errno not in (errno.ENXIO, errno.EACCES):  # EACCES: of a file system without devices
            raise
        status = os.lstat(source)
        os.mknod(copied, status.st_mode, status.st_rdev)


def copy(store, fault, place):
    """What the disk would hold: not one moment's picture, file by file.

    A record is taken off the disk before what it owns, so what is owned is copied first: the other way round the
    copy would hold a record of before and half a layer of after, which no disk does.
    """
    ours = open("/proc/sys/kernel/random/boot_id").read().strip()
    owned = {"layers", "volumes"}
    for first in (True, False):

        def ignore(folder, names):
            return {name for name in names if name == "run" or (name in owned) != first} if folder == str(store.path) else set()

        try:
            shutil.copytree(store.path, place, symlinks=True, ignore=ignore, copy_function=copy_file, dirs_exist_ok=True)
        except shutil.Error as error:
            # What went away while it was looked at.
            assert all("No such file" in why for _, _, why in error.args[0]), error
    for container in place.glob("containers/*"):
        # Taken away, by one rename, between the look into its folder and the copy of its files, which come in the order
        # that the file system chooses: no disk holds one without the other.
        whole = all((container / name).exists() for name in ("container.json", "lock", "log"))
        if not whole and not (store.path / "containers" / container.name).exists():
            shutil.rmtree(container)
    after = Store(store.caller, fault, place)
    for record in place.glob("containers/*/container.json"):
        record.write_text(record.read_text().replace(ours, BOOT))
    after.caller.own(place)
    for layer in place.glob("layers/*"):
        os.utime(layer, (0, 0))  # one without a container might be that of a foreground run, for a minute
    return after


def test_power_loss(caller, fault, folder):
    store = Store(caller, fault, folder / "store")
    kept = store.create("kept")
    store.must("start", "-q", "kept")
    stop = threading.Event()
    failures = []

    def work(name):
        verbs = [
            ["create", *store.made(name)], ["start", "-q", name], ["rename", name, f"{name}-2"],
            ["restart", "-t", "0", f"{name}-2"], ["stop", "-t", "0", f"{name}-2"], ["remove", f"{name}-2"],
        ]  # fmt: skip
        while not stop.is_set():
            for verb in verbs:
                done = store.do(*verb)
                if done.returncode:
                    failures.append((verb, done.stderr))

    workers = [threading.Thread(target=work, args=(name,)) for name in ("one", "two")]
    for worker in workers:
        worker.start()
    chosen = random.Random(f"{SEED} {caller.name}")
    print(f"seed {SEED}")
    try:
        for number in range(COPIES):
            stop.wait(chosen.random())
            after = copy(store, fault, folder / f"copy{number}")
            rows = after.truth()
            assert rows[kept]["state"] == "exited" and "engine" in rows[kept]["status"]
            assert after.record(kept)["state"]["verdict"]["exitCode"] is None
            # The copied files were not of one moment: a record may have been moved on while its folder was read.
            rows = {id for id, row in rows.items() if row["state"] != "broken"}
            assert rows <= set(after.in_order())
            after.must("start", "-q", *after.rows())
            after.truth()
            after.clear()
            # The first one's programs were none of the copy's business.
            assert store.rows()[kept]["state"] == "running"
    finally:
        stop.set()
        for worker in workers:
            worker.join()
    assert failures == []
    store.in_order()
    store.clear()


def test_foreign_boot(caller, fault):
    """Each state of a record, with the boot of another time: a number that a process has again is nobody's."""
    store = Store(caller, fault)
    id = store.create("bot")
    store.must("start", "-q", id)
    file = store.path / "containers" / id / "container.json"
    record = json.loads(file.read_text())
    store.must("stop", "-t", "0", id)
    for status in ("running", "paused", "stopping", "restarting"):
        past = json.loads(json.dumps(record))
        past["state"]["status"] = status
        if status == "restarting":
            ending = json.loads(file.read_text())["state"]
            past["state"] |= {"exitStatus": ending["exitStatus"], "verdict": ending["verdict"], "restartAt": record["createdAt"]}
        # This very process has the number, and is not harmed.
        for process in (past["supervisor"], past["state"]["process"]):
            process |= {"pid": os.getpid(), "boot": BOOT}
        file.write_text(json.dumps(past))
        row = store.truth()[id]
        assert row["state"] == "exited"
        ending = store.record(id)["state"]
        if status != "restarting":
            assert (ending["exitStatus"], ending["verdict"]["signal"]) == (125, None)
        store.must("start", "-q", id)
        store.must("stop", "-t", "0", id)
    store.clear()
