"""The user's Hugging Face cache: what it holds is taken into a store, hashed, never trusted."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cas.hub import cached, resolve
from cas.installer.cached import adopt as take_in
from cas.progress import QUIET
from cas.store import Publisher, Staging, open_store, verify
from tests.hubserver import random_pieces
from tests.test_hub import FAST, ROOT, SMALL, get, hub, login  # noqa: F401

LARGE = b"".join(random_pieces("adopted", 3_000_001))
FILES = {"b.bin": LARGE, "deep/c.bin": LARGE[:100_000], "a.txt": SMALL, "empty.bin": b""}


def adopt(store, snapshot, files, *, names=()):
    """Take what the user's Hugging Face cache holds of *files*; return key → digest."""
    publisher = Publisher(store)
    took = take_in(Staging(store), publisher, snapshot, files, names, QUIET)
    publisher.flush()
    return took


@pytest.fixture
def cache(hub, tmp_path, monkeypatch):  # noqa: F811
    from huggingface_hub import constants

    place = tmp_path / "hf" / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(place))
    hub.xet = True
    hub.repo("o/n", "dataset").commit(FILES)
    return place


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path / "store"))


def client(hub, cache, *command, **env):  # noqa: F811
    """Run the true client, as its user would."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    env = {**clean, "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(cache.parent), **env}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def download(hub, cache, name="o/n", **env):  # noqa: F811
    code = f"""
import hashlib, json, os, sys
from huggingface_hub import snapshot_download
top = snapshot_download({name!r}, repo_type="dataset", local_files_only="ONLY" in os.environ)
found = {{}}
for folder, _, names in os.walk(top):
    for one in names:
        path = os.path.join(folder, one)
        found[os.path.relpath(path, top)] = hashlib.sha256(open(path, "rb").read()).hexdigest()
print(json.dumps(found))
"""
    return json.loads(client(hub, cache, sys.executable, "-c", code, **env))


def listed(name="o/n"):
    return resolve("dataset", name, None, limits=FAST)


WHOLE = {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}
TAKEN = {WHOLE[name] for name in FILES if FILES[name]}


def check(store):
    """Every object is what its name says, read-only, and the store is whole."""
    for digest, entry in store.objects():
        data = Path(entry.path).read_bytes()
        assert hashlib.sha256(data).hexdigest() == digest
        assert stat.S_IMODE(os.lstat(entry.path).st_mode) == 0o444
    assert not list(verify(store, level="full").bad)
    assert not os.listdir(store.place("staging"))


SHARED = [{}, {"HF_HUB_DISABLE_SHARED_BLOBS": "1"}, {"HF_HUB_DISABLE_XET": "1"}]


@pytest.mark.parametrize("env", SHARED, ids=["shared", "not shared", "no xet"])
def test_what_the_true_client_downloaded_is_taken_and_both_stay_whole(hub, cache, store, env):  # noqa: F811
    assert download(hub, cache, **env) == WHOLE
    hub.reset_log()
    snapshot = listed()
    took = adopt(store, snapshot, snapshot.files)
    assert set(took.values()) == TAKEN  # an empty file needs no source
    assert not hub.count(kind="cdn") + hub.count(kind="xet") + hub.count(kind="resolve")
    check(store)
    # the cache serves its own client as before, from the same inodes
    assert download(hub, cache, **env, ONLY="1") == WHOLE
    # and the store stays when the cache goes
    client(hub, cache, f"{os.path.dirname(sys.executable)}/hf", "cache", "rm", "dataset/o/n", "-y")
    assert not any(p.is_file() and p.stat().st_size > 1000 for p in cache.rglob("*"))
    check(store)
    assert {digest for digest, _ in store.objects()} == TAKEN


def blobs(cache):
    found = [p for p in cache.rglob("*") if p.is_file() and not p.is_symlink()]
    return [p for p in found if len(p.name) in (40, 64) and p.stat().st_size]


@pytest.mark.parametrize("env", SHARED, ids=["shared", "not shared", "no xet"])
def test_a_flipped_bit_under_the_right_name_is_not_taken_and_left_alone(hub, cache, store, env):  # noqa: F811
    download(hub, cache, **env)
    before = {}
    for path in blobs(cache):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.chmod(0o644)
        path.write_bytes(data)
        before[path] = (path.stat().st_mode, path.stat().st_ino, path.stat().st_nlink)
    assert len(before) == 3
    assert adopt(store, listed(), listed().files) == {}
    check(store)
    assert list(store.objects()) == []
    assert before == {
        path: (path.stat().st_mode, path.stat().st_ino, path.stat().st_nlink) for path in before
    }


def test_a_blob_of_ours_becomes_the_object_itself_where_blocks_cant_be_shared(hub, cache, store):  # noqa: F811
    download(hub, cache)
    adopt(store, listed(), listed().files)
    blob = next(p for p in blobs(cache) if p.stat().st_size == len(LARGE))
    linked = os.path.samefile(blob, store.object(WHOLE["b.bin"]))
    assert linked is (blob.stat().st_nlink == 2)
    if linked:
        assert stat.S_IMODE(blob.stat().st_mode) == 0o444
    # a file that has another name already is copied: who holds that could change it
    os.unlink(store.object(WHOLE["deep/c.bin"]))
    small = next(p for p in blobs(cache) if p.stat().st_size == 100_000)
    os.link(small, cache / "other")
    adopt(store, listed(), [get(listed(), "deep/c.bin")])
    assert not os.path.samefile(small, store.object(WHOLE["deep/c.bin"]))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_blob_of_another_user_is_copied(hub, cache, store):  # noqa: F811
    download(hub, cache)
    for path in blobs(cache):
        os.chown(path, 4321, 4321)
    assert set(adopt(store, listed(), listed().files).values()) == TAKEN
    check(store)
    for path in blobs(cache):
        assert (path.stat().st_nlink, path.stat().st_uid) == (1, 4321)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_blocks_are_shared_where_the_file_system_can(hub, cache, tmp_path):  # noqa: F811
    image, place = tmp_path / "image", tmp_path / "xfs"
    place.mkdir()
    subprocess.run(["truncate", "-s", "400M", image], check=True)
    made = subprocess.run(["mkfs.xfs", "-q", image], capture_output=True)
    mounted = made.returncode or subprocess.run(["mount", "-o", "loop", image, place]).returncode
    if mounted:
        pytest.skip("no xfs can be mounted here")
    try:
        (place / "hub").mkdir()
        with contextlib.suppress(FileNotFoundError):
            cache.rmdir()
        cache.parent.mkdir(exist_ok=True)
        cache.symlink_to(place / "hub")
        download(hub, cache)
        store = open_store(str(place / "store"))
        assert set(adopt(store, listed(), listed().files).values()) == TAKEN
        check(store)
        assert {p.stat().st_nlink for p in blobs(place)} == {1}
        blob = next(p for p in blobs(place / "hub") if p.stat().st_size == len(LARGE))
        shown = subprocess.run(
            ["filefrag", "-v", store.object(WHOLE["b.bin"])], capture_output=True, text=True
        )
        assert "shared" in shown.stdout or shown.returncode
        blob.chmod(0o644)
        blob.write_bytes(b"x" * len(LARGE))  # in place: the object has its own blocks then
        check(store)
        store.index = None
    finally:
        import gc

        gc.collect()
        subprocess.run(["umount", "-l", place], check=True)


def test_a_renamed_repository_is_found_under_the_name_it_was_asked_for_by(hub, cache, store):  # noqa: F811
    hub.redirect("old", "o/n", "dataset")
    download(hub, cache, "old")
    snapshot = listed("old")
    assert snapshot.repo == "o/n"
    for path in (cache / "blobs").rglob("*"):
        if path.is_file():
            path.unlink()  # so that only the repository's own folder is left
    found = {file.path for file, _ in cached(snapshot, snapshot.files)}
    assert found == set()
    found = {file.path for file, _ in cached(snapshot, snapshot.files, names=["old"])}
    assert found == {"a.txt"}


def test_only_regular_files_of_the_right_name_size_and_place_are_candidates(hub, cache):  # noqa: F811
    snapshot = listed()
    assert list(cached(snapshot, snapshot.files)) == []  # no cache at all
    folder = cache / "datasets--o--n" / "blobs"
    folder.mkdir(parents=True)
    (cache / "blobs" / "aa").mkdir(parents=True)
    secret = cache.parent / "token"
    secret.write_bytes(LARGE)
    b, c, a = (get(snapshot, path) for path in ("b.bin", "deep/c.bin", "a.txt"))
    (folder / b.sha256).symlink_to(secret)  # not into the shared blobs: not followed
    (folder / a.git_sha1).mkdir()
    os.mkfifo(folder / c.sha256)
    assert list(cached(snapshot, snapshot.files)) == []
    (folder / b.sha256).unlink()
    (folder / b.sha256).symlink_to(f"../../../x/blobs/aa/{'a' * 64}")
    (cache / "blobs" / "aa" / ("a" * 64)).write_bytes(LARGE)
    (folder / c.sha256).unlink()
    (folder / c.sha256).write_bytes(b"short")
    [(file, path)] = cached(snapshot, snapshot.files)
    assert file == b
    assert path == str(cache / "blobs" / "aa" / ("a" * 64))


def test_a_cache_of_a_hundred_thousand_names_costs_little(hub, cache):  # noqa: F811
    import time

    from cas.hub import HubFile, Snapshot

    (cache / "models--o--n" / "blobs").mkdir(parents=True)
    files = tuple(
        HubFile(path=f"{n}", size=9, sha256=None, git_sha1=f"{n:040x}", xet=None)
        for n in range(100_000)
    )
    snapshot = Snapshot(kind="model", repo="o/n", commit="0" * 40, files=files, access=None)
    begin = time.process_time()
    assert list(cached(snapshot, files)) == []
    assert time.process_time() - begin < 3
