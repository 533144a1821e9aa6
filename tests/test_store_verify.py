"""verify finds every damage, and repair mends what any source, or the store itself, still has."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

import cas
from cas import store as S
from cas.digest import hash_bytes
from cas.installer import verify_assets
from cas.project import Project

from .stores import add, collect, pins, program, whole

FILES = {"a": b"alpha" * 50, "d/b": b"beta" * 50, "d/e/c": b"gamma" * 50, "z": b""}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def store(tmp_path):
    return S.open_store(tmp_path / "store")


def write_over(path, data=None, *, flip=None, keep_times=True):
    path = Path(path)
    status = path.stat()
    old = path.read_bytes()
    path.chmod(0o644)
    if flip is not None:
        data = bytearray(old)
        data[flip] ^= 1
    path.write_bytes(data)
    path.chmod(status.st_mode & 0o777)
    if keep_times:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def index_file(tmp_path):
    (found,) = (tmp_path / "cache/cas/index").glob("*.sqlite")
    return found


def found(store, **more):
    return {(bad.hash, bad.tree) for bad in S.verify(store, **more).bad}


def test_a_whole_store_is_found_whole_at_every_level_listings_counted(store):
    add(store, FILES)
    for level in ("stat", "fast", "full"):
        done = S.verify(store, level=level)
        assert (done.objects, done.bad, done.trees) == (5, [], set())
        assert done.bytes == sum(e.stat().st_size for _, e in store.objects())
    assert S.verify(store, level="full", cold=True).bad == []


def test_progress_is_told_of_every_object_and_byte(store):
    add(store, FILES)
    seen = []
    done = S.verify(store, progress=lambda files, size: seen.append((files, size)))
    assert (sum(f for f, _ in seen), sum(s for _, s in seen)) == (done.objects, done.bytes)


@pytest.mark.parametrize("level", ["fast", "full"])
def test_a_flipped_bit_is_found_by_reading(store, level):
    tree = add(store, FILES)
    digest = hash_bytes(FILES["a"])
    write_over(store.object(digest), flip=7)
    assert found(store) == set()  # size, mtime and mode are as they were
    done = S.verify(store, level=level)
    assert [bad.hash for bad in done.bad] == [digest]
    assert done.trees == {tree}
    assert S.standing(store, tree) == (None, "damage was found in it")


def test_what_was_found_bad_stays_bad_for_a_quicker_verify_also_of_another_user(
    store, tmp_path, monkeypatch
):
    tree = add(store, FILES)
    digest = hash_bytes(FILES["a"])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    S.verify(S.open_store(store.root))  # another's index vouches for it
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_over(store.object(digest), flip=7)
    assert found(store, level="full") == {(digest, False)}
    assert found(store) == {(digest, False)}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    assert found(S.open_store(store.root)) == {(digest, False)}
    assert S.standing(store, tree)[0] is None


DAMAGE = {
    "flip": lambda store, tree, obj: write_over(obj, flip=0, keep_times=False),
    "cut": lambda store, tree, obj: write_over(obj, b"alpha"),
    "cut to nothing": lambda store, tree, obj: write_over(obj, b""),
    "grow": lambda store, tree, obj: write_over(obj, b"alpha" * 51),
    "chmod": lambda store, tree, obj: os.chmod(obj, 0o644),
    "delete": lambda store, tree, obj: os.unlink(obj),
    "replace": lambda store, tree, obj: (os.unlink(obj), Path(obj).write_bytes(b"alpha" * 50)),
    "directory": lambda store, tree, obj: (os.unlink(obj), os.mkdir(obj)),
    "link": lambda store, tree, obj: (os.unlink(obj), os.symlink("/etc/passwd", obj)),
    "fifo": lambda store, tree, obj: (os.unlink(obj), os.mkfifo(obj)),
    "listing cut": lambda store, tree, obj: write_over(store.object(os.path.basename(
        os.path.dirname(tree)) + os.path.basename(tree)), b"# cas-tree 1\n"),
    "listing deleted": lambda store, tree, obj: os.unlink(store.object(os.path.basename(
        os.path.dirname(tree)) + os.path.basename(tree))),
    "tree file missing": lambda store, tree, obj: (os.chmod(tree, 0o755), os.unlink(tree + "/a")),
    "tree file extra": lambda store, tree, obj: (
        os.chmod(tree + "/d", 0o755), Path(tree, "d/x").write_text("x"),
        os.chmod(tree + "/d", 0o555)),
    "tree file replaced": lambda store, tree, obj: (
        os.chmod(tree, 0o755), os.unlink(tree + "/a"), Path(tree, "a").write_bytes(b"omega" * 50),
        os.chmod(tree, 0o555)),
    "tree fifo": lambda store, tree, obj: (
        os.chmod(tree, 0o755), os.unlink(tree + "/a"), os.mkfifo(tree + "/a"),
        os.chmod(tree, 0o555)),
    "tree link": lambda store, tree, obj: (
        os.chmod(tree, 0o755), os.unlink(tree + "/a"), os.symlink("/etc/passwd", tree + "/a"),
        os.chmod(tree, 0o555)),
    "tree directory writable": lambda store, tree, obj: os.chmod(tree + "/d/e", 0o755),
    "tree directory is a link": lambda store, tree, obj: (
        os.chmod(tree, 0o755), os.chmod(tree + "/d", 0o755), os.rename(tree + "/d", tree + "/../d"),
        os.symlink("../d", tree + "/d"), os.chmod(tree, 0o555)),
    "sidecar deleted": lambda store, tree, obj: os.unlink(tree + ".json"),
    "sidecar flip": lambda store, tree, obj: write_over(tree + ".json", flip=40),
    "sidecar cut": lambda store, tree, obj: write_over(tree + ".json", b'{"version":1'),
    "root flip": lambda store, tree, obj: write_over(
        store.place("roots", "a" * 32 + "/root.json"), flip=30),
    "root cut": lambda store, tree, obj: write_over(
        store.place("roots", "a" * 32 + "/root.json"), b"{"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_of_every_kind_is_found_without_any_level(store, kind):
    tree = add(store, FILES)
    other = add(store, {"other": b"other"})
    pins(store, "a" * 32, [tree])
    assert found(store) == set()
    DAMAGE[kind](store, store.tree(tree), store.object(hash_bytes(FILES["a"])))
    assert found(store)
    assert S.standing(store, other)[0]
    if not kind.startswith(("sidecar", "root")):
        assert S.standing(store, tree)[0] is None


@pytest.mark.parametrize("garbage", [None, b"", b"garbage" * 1000, "truncated", "flipped"])
def test_a_lost_or_damaged_index_costs_time_only(store, tmp_path, garbage):
    add(store, FILES)
    S.verify(store)
    if store.index:
        store.index[1].execute("PRAGMA wal_checkpoint(TRUNCATE)")
        store.index[1].close()
    place = index_file(tmp_path)
    data = place.read_bytes()
    for other in place.parent.iterdir():
        other.unlink()
    if garbage == "truncated":
        place.write_bytes(data[: len(data) // 2])
    elif garbage == "flipped":
        place.write_bytes(bytes(b ^ 0xFF if 4096 < n < 4400 else b for n, b in enumerate(data)))
    elif garbage is not None:
        place.write_bytes(garbage)
    store = S.open_store(store.root)
    for level in ("stat", "fast", "full"):
        assert S.verify(store, level=level).bad == []
    add(store, {"new": b"new"})
    assert sqlite3.connect(place).execute("SELECT count(*) FROM objects").fetchone()[0] >= 5


def test_a_wrong_xxh3_in_the_index_is_not_believed(store, tmp_path):
    add(store, FILES)
    connection = sqlite3.connect(index_file(tmp_path))
    with connection:
        connection.execute("UPDATE objects SET xxh3 = ?", ("0" * 32,))
    connection.close()
    assert S.verify(store, level="fast").bad == []


def test_verify_of_one_tree_marks_others_that_hold_the_bad_object(store):
    one, two = add(store, FILES), add(store, {"x": FILES["a"]})
    write_over(store.object(hash_bytes(FILES["a"])), flip=7)
    done = S.verify(store, [one], level="full")
    assert done.trees == {one, two}
    assert S.standing(store, two)[0] is None


def test_a_damaged_object_that_is_to_be_reused_goes_to_quarantine_and_its_trees_are_marked(store):
    tree = add(store, FILES)
    digest = hash_bytes(FILES["a"])
    write_over(store.object(digest), b"short")
    other = add(store, {"x": FILES["a"]})
    assert [n[:64] for n in os.listdir(store.place("quarantine"))] == [digest]
    assert S.standing(store, tree) == (None, "damage was found in it")
    assert S.standing(store, other)[0]
    S.build(store, S.read_listing(store, tree), {"local": True})
    assert whole(store) == []


def test_quarantine_puts_back_a_good_object_that_came_meanwhile(store):
    tree = add(store, FILES)
    digest = hash_bytes(FILES["a"])
    seen = os.stat("/")
    S.quarantine(store, digest, seen)
    assert store.has(digest)
    assert os.listdir(store.place("quarantine")) == []
    assert S.standing(store, tree)[0]


# Repair


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("CAS_STORE", str(tmp_path / "store"))
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.chdir(root)
    cas.init()
    source = root / "source"
    (source / "d/e").mkdir(parents=True)
    for name, data in FILES.items():
        (source / name).write_bytes(data)
    from cas.resolver import add as resolve

    project = Project(str(root))
    resolve(project, "./source")
    return Project(str(root))


@pytest.mark.parametrize("kind", [k for k in DAMAGE if not k.startswith("root")])
@pytest.mark.parametrize("source", [True, False])
def test_repair_mends_what_the_source_or_the_tree_still_has(project, kind, source):
    (asset,) = project.read_lock()
    store = project.store
    tree = store.tree(asset.tree)
    if not source:
        (project_source := Path(project.root, "source")).rename(project_source.with_name("gone"))
    DAMAGE[kind](store, tree, store.object(hash_bytes(FILES["a"])))
    before, _ = verify_assets(project)
    assert before.bad
    done, _ = verify_assets(project, repair=True)
    lost = not source and kind in ("flip", "cut", "cut to nothing", "grow")
    if not lost:
        assert done.bad == []
        assert whole(store) == []
        assert Path(tree, "a").read_bytes() == FILES["a"]
        assert Path(project.path("source"), "d/e/c").read_bytes() == FILES["d/e/c"]
        assert not os.path.lexists(tree + ".bad")
    else:
        assert done.bad
        assert S.standing(store, asset.tree)[0] is None
        with pytest.raises(cas.CasError, match="damage was found"):
            project.path("source")


def test_a_damaged_root_of_the_project_is_written_again(project):
    root = project.root_id(draw=False)
    write_over(project.store.place("roots", f"{root}/root.json"), b"{")
    assert verify_assets(project)[0].bad
    assert verify_assets(project, repair=True)[0].bad == []
    assert S.read_root(project.store, root).trees


def test_other_assets_stay_usable_when_one_cant_be_repaired(project):
    from cas.resolver import add as resolve

    Path("other.pt").write_bytes(b"weights")
    resolve(project, "./other.pt")
    Path("source").rename("gone")
    write_over(project.store.object(hash_bytes(FILES["a"])), flip=3)
    done, names = verify_assets(project, level="full", repair=True)
    assert [names[bad.hash] for bad in done.bad if not bad.tree] == [["datasets/source"]]
    assert Path(project.path("other.pt")).read_bytes() == b"weights"


def test_what_one_source_has_mends_every_tree_that_holds_it_whatever_their_order(project):
    # trees of no source, some before and some after the one that has one
    trees = [add(project.store, {"n": b"%d" % n, "a": FILES["a"]}) for n in range(8)]
    (asset,) = project.read_lock()
    assert min(trees) < asset.tree < max(trees)
    write_over(project.store.object(hash_bytes(FILES["a"])), flip=3)
    done, _ = verify_assets(project, level="full", repair=True)
    assert done.bad == []
    assert whole(project.store) == []
    assert all(S.standing(project.store, tree)[0] for tree in trees)


def test_readers_of_a_tree_that_is_mended_keep_it(project):
    (asset,) = project.read_lock()
    tree = project.store.tree(asset.tree)
    inode = os.stat(tree).st_ino
    with open(tree + "/d/b", "rb") as reader:
        write_over(project.store.object(hash_bytes(FILES["a"])), flip=3)
        verify_assets(project, level="full", repair=True)
        assert os.stat(tree).st_ino == inode
        assert reader.read() == FILES["d/b"]
    assert Path(tree, "a").read_bytes() == FILES["a"]
    assert collect(project.store, dry_run=True).trees == 0


def test_a_full_verify_without_a_cache_directory_is_the_same(store):
    add(store, FILES)
    done = program("""
done = S.verify(S.open_store(sys.argv[1]), level='fast')
print(done.objects, done.bad)
""", store.root, home="/proc/nowhere")  # fmt: skip
    assert done.stdout == "5 []\n"
