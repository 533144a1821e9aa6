"""Damage in every class of file: bits that flip, files that are cut, files that go.

The bytes come from a Hub, so there is a source; verify finds each, repair mends each, and
what verify found bad is given to nobody in between. Lost hints cost time only.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
from huggingface_hub import constants

import cas
from cas import warm
from cas.digest import hash_bytes
from cas.errors import NotPulled
from cas.project import Project, forget_current
from tests.hubserver import Hub

from .stores import whole

FILES = {
    "a.bin": os.urandom(20_000),
    "d/b.txt": b"beta" * 50,
    "d/e/c.txt": b"gamma" * 50,
    "z.txt": b"",
}
NAME = "models/org/m"


@pytest.fixture(scope="module")
def hub():
    with Hub() as server:
        server.repo("org/m").commit(FILES, "one")
        yield server


@pytest.fixture
def project(hub, tmp_path, monkeypatch):
    for name, place in (("CAS_STORE", "store"), ("XDG_CACHE_HOME", "cache"), ("HF_HOME", "hf")):
        monkeypatch.setenv(name, str(tmp_path / place))
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    # HF_ENDPOINT is read when huggingface_hub is imported, perhaps by another test
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.chdir(root)
    forget_current()
    cas.init()
    cas.add("model:org/m")
    cas.pull()  # the lock is kept for the short way
    yield Project(str(root))
    forget_current()


def place_of(project: Project, what: str) -> Path:
    """Return a file of that class."""
    store = project.store
    (asset,) = project.read_lock()
    tree = Path(store.tree(asset.tree))
    root = project.root_id(draw=False)
    (index,) = Path(warm.cache_dir(), "index").glob("*.sqlite")
    (cached,) = Path(warm.cache_dir(), "locks").iterdir()
    return {
        "object": Path(store.object(hash_bytes(FILES["a.bin"]))),
        "listing": Path(store.object(asset.tree)),
        "tree": tree / "d/b.txt",
        "sidecar": Path(f"{tree}.json"),
        "root": Path(store.place("roots", f"{root}/root.json")),
        "index": index,
        "cached lock": cached,
        "VERSION": Path(store.root, "VERSION"),
    }[what]


def flip(place: Path) -> None:
    data = bytearray(place.read_bytes())
    data[len(data) // 2] ^= 1
    _write(place, bytes(data))


def cut(place: Path) -> None:
    _write(place, place.read_bytes()[: place.stat().st_size // 2])


def delete(place: Path) -> None:
    above = place.parent
    mode = above.stat().st_mode & 0o777
    above.chmod(0o755)
    place.unlink()
    above.chmod(mode)


def _write(place: Path, data: bytes) -> None:
    """Write as a disk that forgets: neither size, where it is kept, nor times tell of it."""
    status = place.stat()
    place.chmod(0o644)
    place.write_bytes(data)
    place.chmod(status.st_mode & 0o777)
    os.utime(place, ns=(status.st_atime_ns, status.st_mtime_ns))


def read(name: str = "m") -> dict[str, bytes]:
    top = cas.path(name)
    return {str(p.relative_to(top)): p.read_bytes() for p in top.rglob("*") if p.is_file()}


def again() -> None:
    """Look at the project as a new process does."""
    forget_current()


HOLDS_BYTES = ("object", "tree", "listing")
"""Where damage is of an asset's bytes, so that it is given to nobody."""


@pytest.mark.parametrize("how", [flip, cut, delete], ids=lambda how: how.__name__)
@pytest.mark.parametrize("what", [*HOLDS_BYTES, "sidecar", "root"])
def test_verify_finds_it_nobody_is_given_it_and_repair_mends_it(project, what, how):
    how(place_of(project, what))
    assert cas.verify(full=True)["bad"]
    again()
    if what in HOLDS_BYTES:
        with pytest.raises(cas.CasError, match=r"damage was found|missing"):
            cas.path("m")
    else:
        assert read() == FILES
    again()
    assert cas.verify(full=True, repair=True)["bad"] == []
    again()
    assert read() == FILES
    assert whole(Project(project.root).store) == []
    assert cas.status()["assets"][0]["state"] == "ok"
    assert cas.pull()["downloaded_files"] == 0
    assert cas.gc(older_than=timedelta(0))["objects"] == 0


@pytest.mark.parametrize("how", [flip, cut, delete], ids=lambda how: how.__name__)
@pytest.mark.parametrize("what", ["index", "cached lock"])
def test_a_hint_that_is_damaged_or_lost_costs_time_only(project, hub, what, how):
    place = place_of(project, what)
    for other in place.parent.glob(f"{place.name}-*"):
        other.unlink()
    how(place)
    hub.reset_log()
    again()
    assert read() == FILES
    assert cas.pull()["assets"] == 1
    assert cas.status()["assets"][0]["state"] == "ok"
    assert cas.verify(full=True)["bad"] == []
    assert cas.verify(fast=True)["bad"] == []
    assert not hub.log


@pytest.mark.parametrize("how", [flip, cut, delete], ids=lambda how: how.__name__)
def test_a_store_whose_version_is_damaged_is_read_and_never_written(project, how):
    place = place_of(project, "VERSION")
    how(place)
    again()
    assert read() == FILES
    before = sorted(Path(project.store.root).rglob("*"))
    for call in (lambda: cas.gc(older_than=timedelta(0)), lambda: cas.add("./new.txt")):
        Path("new.txt").write_bytes(b"new")
        with pytest.raises(cas.CasError):
            call()
        again()
    assert sorted(Path(project.store.root).rglob("*")) == before


def purge(project: Project, *paths: str) -> None:
    """Take files out of the tree, as a purger of a scratch disk does."""
    (asset,) = project.read_lock()
    tree = Path(project.store.tree(asset.tree))
    for path in paths:
        delete(tree / path)


@pytest.mark.parametrize("paths", [["a.bin"], ["d/e/c.txt"], ["z.txt"], [*FILES]])
def test_path_and_pull_notice_what_a_purger_took_and_pull_brings_it_back(project, hub, paths):
    assert read() == FILES
    purge(project, *paths)
    for _ in range(2):  # in this process, which has the lock in its memory, and in a new one
        with pytest.raises(NotPulled, match="missing"):
            cas.path("m")
        again()
    assert cas.status()["assets"][0]["state"] == "damaged"
    hub.reset_log()
    assert cas.pull()["assets"] == 1
    assert read() == FILES
    assert not hub.log  # the objects are there
    assert whole(project.store) == []


def test_a_purger_that_took_the_objects_too_costs_a_download_of_these_only(project, hub):
    purge(project, "a.bin", "d/b.txt")
    for path in ("a.bin", "d/b.txt"):
        os.unlink(project.store.object(hash_bytes(FILES[path])))
    again()
    with pytest.raises(NotPulled, match="missing"):
        cas.path("m")
    pulled = cas.pull()
    assert pulled["downloaded_files"] == 2
    assert read() == FILES
    assert whole(project.store) == []


def test_a_shard_of_objects_that_went_is_found_and_linked_back_from_the_tree(project, hub):
    for digest, entry in list(project.store.objects()):
        if digest != project.read_lock().find("m").tree:
            os.unlink(entry.path)
    hub.reset_log()
    assert read() == FILES  # the tree has its own names of them
    assert len(cas.verify()["bad"]) == 1
    again()
    assert cas.verify(repair=True)["bad"] == []
    assert read() == FILES
    assert whole(project.store) == []
    assert not hub.log


def test_what_no_source_has_any_more_stays_bad_and_is_given_to_nobody(project, hub):
    flip(place_of(project, "object"))
    hub.fault("status", status=404, times=None)
    assert cas.verify(full=True, repair=True)["bad"]
    for _ in range(2):
        again()
        with pytest.raises(NotPulled, match="damage was found"):
            cas.path("m")
    hub.clear_faults()
    assert cas.verify(repair=True)["bad"] == []
    assert read() == FILES
