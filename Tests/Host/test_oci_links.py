"""Mount points that are links which lead nowhere: what they name is made, within the root and nowhere else."""

import os

import pytest

from bundles import bundle  # noqa: F401
from conftest import tree

LINKS = {
    "absolute": ({"link": "/deep/target"}, "/link", "deep/target"),
    "of a file": ({"etc/link": "../run/file"}, "/etc/link", "run/file"),
    "on the way": ({"var/run": "/run"}, "/var/run/sub/more", "run/sub/more"),
    "by another": ({"first": "/second", "second": "third", "third": "/a/c"}, "/first", "a/c"),
    "above the root": ({"link": "../../../../../../out/side"}, "/link", "out/side"),
    "from a folder below": ({"a/b/link": "../c/./d//e/"}, "/a/b/link", "a/c/d/e"),
}


@pytest.fixture(params=LINKS)
def linked(bundle, request):
    links, target, place = LINKS[request.param]
    for path, points in links.items():
        (bundle.rootfs / path).parent.mkdir(parents=True, exist_ok=True)
        (bundle.rootfs / path).symlink_to(points)
    source = bundle.folder / "source"
    if "file" in place:
        source.write_text("found\n")
    else:
        source.mkdir()
        (source / "file").write_text("found\n")
    bundle.caller.own(bundle.folder)
    bundle.config["root"]["readonly"] = False
    bundle.config["mounts"].append({"destination": target, "type": "bind", "source": str(source), "options": ["bind"]})
    return target, place


def test_what_a_link_names_is_made_and_mounted_on(bundle, linked):
    target, place = linked
    inside = "" if "file" in place else "/file"
    bundle.sh(f"cat {target}{inside} /{place}{inside}")
    before = tree(bundle.folder)
    # Twice: then it is there.
    for _ in range(2):
        result = bundle("run", "one")
        assert (result.returncode, result.stdout) == (0, "found\n" * 2), result.stderr
    assert os.path.lexists(bundle.rootfs / place)
    new = tree(bundle.folder) - before - {str(bundle.states), str(bundle.log)}
    assert {path for path in new if not path.startswith(f"{bundle.rootfs}/")} == set(), new


def test_one_that_names_a_place_of_the_host_means_the_root_s(bundle):
    outside = bundle.folder / "outside"
    outside.mkdir()
    (bundle.rootfs / "link").symlink_to(outside / "new")
    (bundle.rootfs / "up").symlink_to("../outside/new")
    bundle.caller.own(bundle.folder)
    bundle.config["root"]["readonly"] = False
    for name in ("link", "up"):
        bundle.config["mounts"].append({"destination": f"/{name}", "type": "tmpfs", "source": "tmpfs"})
    bundle.sh(f"grep -c ' {outside}/new ' /proc/self/mountinfo; grep -c ' /outside/new ' /proc/self/mountinfo")
    result = bundle("run", "one")
    assert (result.returncode, result.stdout) == (0, "1\n1\n"), result.stderr
    assert os.listdir(outside) == []


@pytest.mark.parametrize("points", ["loop", "/proc/1/root/new", "/proc/self/fd/3/new", "/bin/busybox/new", "/" + "a" * 256])
def test_what_leads_to_no_place_is_an_error(bundle, points):
    """A circle; and the kernel's own links, which are never followed: a name in /proc is none that can be made."""
    (bundle.rootfs / "loop").symlink_to(points)
    bundle.config["root"]["readonly"] = False
    bundle.config["mounts"].append({"destination": "/loop", "type": "tmpfs", "source": "tmpfs"})
    bundle.sh("true")
    before = tree(bundle.rootfs)
    result = bundle("run", "one")
    assert result.returncode == 1 and "cannot mount at /loop" in result.stderr, result.stderr
    assert {path for path in tree(bundle.rootfs) - before if "new" in path} == set()


@pytest.mark.parametrize("name", ["proc", "sys", "dev"])
def test_system_folders_are_not_made_by_links(bundle, name):
    """CVE-2023-27561: /proc has to be where it is."""
    (bundle.rootfs / name).symlink_to(f"/other{name}")
    bundle.config["root"]["readonly"] = False
    bundle.sh("true")
    assert bundle("run", "one").returncode == 1
    assert not (bundle.rootfs / f"other{name}").exists()
