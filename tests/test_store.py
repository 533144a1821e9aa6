"""The store: its format on disk, who may write it, and how bytes come in."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cas import store as S
from cas.digest import hash_bytes
from cas.errors import CasError, IntegrityError, ListingError, StoreError
from cas.files import host, remove_tree, umask
from cas.listing import Listing

from .stores import HEAD, add, collect, files_of, ordinary_place, program, whole

EMPTY = hash_bytes(b"")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def store(tmp_path):
    return S.open_store(tmp_path / "store")


def mode(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


# Format


def test_the_format_on_disk(store):
    tree = add(store, {"a/b.txt": b"one\n", "c": b"two\n", "d/e/f": b"one\n"})
    assert Path(store.root, "VERSION").read_text() == "cas-store 1\n"
    one = store.object(hash_bytes(b"one\n"))
    name = hash_bytes(b"one\n")
    assert one == f"{store.root}/objects/{name[:2]}/{name[2:]}"
    for digest, _ in store.objects():
        assert mode(store.object(digest)) == 0o444
    path = Path(store.tree(tree))
    for place in (path, path / "a", path / "d", path / "d/e"):
        assert mode(place) == 0o555
    assert (path / "a/b.txt").stat().st_ino == (path / "d/e/f").stat().st_ino == os.stat(one).st_ino
    assert hash_bytes(Path(store.object(tree)).read_bytes()) == tree
    assert set(os.listdir(path.parent)) == {path.name, path.name + ".json"}
    assert os.listdir(store.place("staging")) == []


def test_sha256sum_verifies_a_tree_with_the_listing(store):
    tree = add(store, {"a b.txt": b"one", "-x": b"two", "é/ü": b"", "*": b"star"})
    done = subprocess.run(
        ["sha256sum", "-c", "--strict", store.object(tree)],
        cwd=store.tree(tree), capture_output=True, text=True, env={"LC_ALL": "C"}, check=False,
    )  # fmt: skip
    assert done.stdout.count(": OK") == 4
    assert "WARNING" not in done.stderr.replace("WARNING: 1 line is improperly formatted", "")


@pytest.mark.parametrize(("given", "directory", "read"), [(0, 0o755, 0o444), (0o077, 0o700, 0o444)])
def test_directories_are_never_writable_by_all_and_objects_are_read_only(
    tmp_path, given, directory, read
):
    code = "add(S.open_store(sys.argv[1]), {'a': b'x', 'e': b'', 's/b': b'y'})"
    program(code, tmp_path / "s", umask=given, home=tmp_path)
    store = S.open_store(tmp_path / "s")
    for place, names, _ in os.walk(store.root):
        if "/trees/" in place and len(os.path.relpath(place, store.root).split("/")) > 2:
            assert mode(place) == 0o555
        else:
            assert mode(place) == directory, place
        assert not mode(place) & 0o002, names
    for digest, _ in store.objects():
        assert mode(store.object(digest)) == read
    for tree, _ in store.trees():
        assert mode(store.tree(tree) + "/e") == 0o444


def test_a_tree_needs_a_file(store):
    with pytest.raises(ListingError):
        add(store, {})


@pytest.mark.parametrize("count", [1, 50, 51, 60, 1500])
def test_any_number_of_files_is_published_once_each(store, tmp_path, count):
    source = tmp_path / "source"
    source.mkdir()
    for n in range(count):
        (source / f"{n:04}").write_bytes(b"%d" % (n // 2))
    tree = add(store, {p.name: p for p in source.iterdir()})
    assert len(list(store.objects())) == (count + 1) // 2 + 1
    assert len(os.listdir(store.tree(tree))) == count
    assert os.listdir(store.place("staging")) == []
    assert whole(store) == []


def test_what_is_here_is_not_written_again(store):
    add(store, {"a": b"one", "b": b"two"})
    before = {d: e.stat().st_ino for d, e in store.objects()}
    add(store, {"x": b"one", "b": b"two"})
    after = {d: e.stat().st_ino for d, e in store.objects()}
    assert before.items() <= after.items()
    assert len(after) == len(before) + 1


def test_empty_files_are_made_fresh(store):
    tree = add(store, {"a": b"", "b": b""})
    inodes = {os.stat(store.tree(tree) + n).st_ino for n in ("/a", "/b")}
    inodes.add(os.stat(store.object(EMPTY)).st_ino)
    assert len(inodes) == 3
    assert whole(store) == []


def test_a_sidecar_and_a_root_are_sealed_by_the_sha256_of_all_before_it(store):
    tree = add(store, {"a": b"x"})
    S.settle(store, "0" * 32, path="/p", lock=None, trees=[tree])
    for place in (store.tree(tree) + ".json", store.place("roots", "0" * 32 + "/root.json")):
        data = Path(place).read_bytes()
        body, _, end = data.rpartition(b'"sha256":"')
        assert end[:64].decode() == hash_bytes(body)


# Who may write


def test_a_directory_that_is_neither_empty_nor_a_store_is_refused(tmp_path):
    (tmp_path / "mine").write_text("x")
    with pytest.raises(StoreError, match="neither empty nor a store"):
        S.open_store(tmp_path)
    assert os.listdir(tmp_path) == ["mine"]
    with pytest.raises(StoreError, match="expected a directory"):
        S.open_store(tmp_path / "mine")


@pytest.mark.parametrize(
    ("text", "why"),
    [("cas-store 2\n", "version 2"), ("cas-store 1x", "VERSION"), ("", "VERSION"), ("\xff", "VER")],
)
def test_a_newer_or_unreadable_version_is_refused_for_writing(store, text, why):
    tree = add(store, {"a": b"x"})
    Path(store.root, "VERSION").write_bytes(text.encode("latin-1"))
    other = S.open_store(store.root)
    assert S.standing(other, tree)[0]
    with pytest.raises(StoreError, match=why):
        add(other, {"a": b"y"})
    with pytest.raises(StoreError):
        collect(other)
    assert collect(other, dry_run=True).objects == 0


def test_a_stop_between_version_and_rooms_is_gone_on_from(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s/VERSION").write_text("cas-store 1\n")
    store = S.open_store(tmp_path / "s")
    S.verify(store)
    collect(store, dry_run=True)
    add(store, {"a": b"x"})
    assert whole(store) == []


def test_a_store_that_cant_be_made_says_so_when_it_is_to_be_written():
    with ordinary_place() as (place, uid):
        os.chown(place, uid, -1)
        place.chmod(0o555)
        code = """
store = S.open_store(sys.argv[1])
assert S.standing(store, 'a' * 64)[0] is None
assert not list(store.trees()) and not S.verify(store).bad
try: add(store, {'a': b'x'})
except Exception as error: print(type(error).__name__, error, error.hint)
"""
        done = program(code, place / "s", user=uid, home=place)
        assert done.stdout.startswith("StoreError the store ")
        assert "Permission denied" in done.stdout
        assert "CAS_STORE=DIR" in done.stdout


def test_two_processes_that_make_one_store_both_have_it(tmp_path):
    code = "add(S.open_store(sys.argv[1]), {'a': sys.argv[2].encode()})"
    children = [
        subprocess.Popen([sys.executable, "-c", HEAD + code, tmp_path / "s", str(n)])
        for n in range(4)
    ]
    assert [child.wait() for child in children] == [0] * 4
    store = S.open_store(tmp_path / "s")
    assert len(list(store.trees())) == 4
    assert whole(store) == []


READ_ONLY = """
store = S.open_store(sys.argv[1])
assert store.readonly, 'it is writable'
for tree, _ in store.trees():
    assert S.standing(store, tree)[0], S.standing(store, tree)
    S.note_use(store, tree, 1e12)
    S.read_listing(store, tree)
done = S.verify(store, level=sys.argv[2])
assert not done.bad, done.bad
print(done.objects)
"""


@pytest.mark.parametrize("level", ["stat", "full"])
def test_a_read_only_store_serves_without_opening_anything_for_writing(level):
    with ordinary_place() as (place, uid):
        code = "add(S.open_store(sys.argv[1]), {'a': b'x', 'b/c': b'y', 'e': b''})"
        program(code, place / "s", user=uid, home=place)
        subprocess.run(["chmod", "-R", "a-w", place / "s"], check=True)
        log = place / "log"
        done = subprocess.run(
            ["strace", "-f", "-qq", "-o", log, "-e", "trace=%file", sys.executable, "-c",
             HEAD + READ_ONLY, place / "s", level],
            user=uid, group=uid, extra_groups=[], capture_output=True, text=True, check=False,
            env={"XDG_CACHE_HOME": str(place / "cache"), "HOME": str(place)}, cwd="/",
        )  # fmt: skip
        assert done.stdout == "4\n", done.stderr
        changing = ("O_WRONLY", "O_RDWR", "O_CREAT", "rename", "unlink", "mkdir", "chmod", "utime")
        wrong = [line for line in log.read_text().splitlines()
                 if f"{place}/s/" in line and any(word in line for word in changing)]  # fmt: skip
        assert wrong == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount")
def test_a_read_only_file_system_says_so_even_to_root(tmp_path):
    store = S.open_store(tmp_path / "store")
    tree = add(store, {"a": b"x"})
    view = tmp_path / "view"
    view.mkdir()
    if subprocess.run(["mount", "--bind", store.root, view], check=False).returncode:
        pytest.skip("this root can't mount")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", view], check=True)
        other = S.open_store(view)
        assert other.readonly == "its file system is read-only"
        assert S.standing(other, tree)[0]
        assert not S.verify(other, level="full").bad
        with pytest.raises(StoreError, match="read-only"):
            add(other, {"a": b"y"})
        with pytest.raises(StoreError, match="read-only"):
            collect(other)
        assert collect(other, dry_run=True).dry_run
    finally:
        subprocess.run(["umount", view], check=True)


# How bytes come in


def test_two_processes_that_add_the_same_bytes_keep_the_first_inode(store, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for n in range(300):
        (source / str(n)).write_bytes(b"%d" % n * 50)
    code = """
print('ready', flush=True); sys.stdin.readline()
add(S.open_store(sys.argv[1]), {p.name: p for p in Path(sys.argv[2]).iterdir()})
"""
    children = [
        subprocess.Popen([sys.executable, "-c", HEAD + code, store.root, source], text=True,
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(3)
    ]  # fmt: skip
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("go\n")
        child.stdin.close()
    assert [child.wait() for child in children] == [0, 0, 0]
    (tree, _), *others = store.trees()
    assert not others
    for digest, entry in store.objects():
        if digest != tree:
            assert entry.stat().st_nlink == 2
    assert os.listdir(store.place("staging")) == []
    assert not [f for f in files_of(store) if ".cas-" in f]
    assert whole(store) == []


CALLS = {  # call → which of them
    "pwrite64": (1, 3), "fsync": (2, 12), "fchmod": (2, 5), "link": (1, 3, 6, 9), "unlink": (2, 5),
    "mkdir": (2, 8, 12), "chmod": (1,), "rename": (1, 2), "copy_file_range": (1,),
}  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
def test_a_call_killed_before_any_of_its_calls_is_gone_on_from_by_the_next(tmp_path, call):
    source = tmp_path / "source"
    source.mkdir()
    for n in range(3):
        (source / str(n)).write_bytes(os.urandom(3000))
    (source / "large").write_bytes(os.urandom(2 << 20))
    code = "add(S.open_store(sys.argv[1]), {p.name: p for p in Path(sys.argv[2]).iterdir()})"
    killed = 0
    for n in CALLS[call]:
        place = tmp_path / f"s{n}"
        rule = f"inject={call}:signal=SIGKILL:when={n}"
        done = program(
            code, place, source, strace=[f"trace={call}", rule], check=False, home=tmp_path
        )
        killed += done.returncode != 0
        if place.exists():
            store = S.open_store(place)
            for digest, entry in store.objects():  # I1, I2: a name that exists is complete
                assert hash_bytes(Path(entry.path).read_bytes()) == digest
            for tree, _ in store.trees():
                if S.standing(store, tree)[0]:
                    assert len(os.listdir(store.tree(tree))) == 4
        program(code, place, source, home=tmp_path)
        store = S.open_store(place)
        assert whole(store) == []
        assert os.listdir(store.place("staging")) == []
        collect(store)
        assert not [f for f in files_of(store) if ".cas-" in f]
    assert killed


def test_a_partial_of_a_dead_process_is_taken_over_and_of_a_living_one_copied(store):
    data = os.urandom(100_000)
    digest = hash_bytes(data)
    store.make_dir(store.place("staging"))
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    old = Path(store.place("staging", f"{digest}.{host()}-{dead.pid}-aa"))
    shorter = Path(store.place("staging", f"{digest}.{host()}-{dead.pid}-bb"))
    old.write_bytes(data[:70_000])
    os.utime(old, (1, 1))
    shorter.write_bytes(data[:10])
    live = Path(store.place("staging", f"{digest}.{host()}-{os.getppid()}-cc"))
    live.write_bytes(data[:60_000])
    inode = old.stat().st_ino
    staged = S.Staging(store).open("x", size=len(data), sha256=digest)
    assert staged.offset == 70_000
    assert os.stat(staged.path).st_ino == inode
    staged.write(data[70_000:])
    staged.finish()
    publisher = S.Publisher(store)
    publisher.add(staged)
    publisher.flush()
    assert os.listdir(store.place("staging")) == [live.name]
    assert time.time() - os.stat(store.object(digest)).st_mtime < 60  # its grace begins now
    os.unlink(store.object(digest))
    staged = S.Staging(store).open("x", size=len(data), sha256=digest)
    assert staged.offset == 60_000
    assert live.exists()
    staged.abandon(keep=False)


def test_a_partial_with_other_bytes_never_becomes_the_object(store):
    data = os.urandom(1000)
    digest = hash_bytes(data)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    staging = store.place("staging")
    Path(staging, f"{digest}.{host()}-{dead.pid}-aa").write_bytes(b"x" * 500)
    staged = S.Staging(store).open("x", size=1000, sha256=digest)
    staged.write(data[500:])
    with pytest.raises(IntegrityError):
        staged.finish()
    assert os.listdir(staging) == []
    assert not store.has(digest)


def test_more_bytes_than_were_promised_are_refused_while_they_come(store):
    staged = S.Staging(store).open("x", size=10, sha256=hash_bytes(b"0" * 10))
    with pytest.raises(IntegrityError, match="at least 11"):
        staged.write(b"0" * 11)
    staged.abandon(keep=False)


def test_a_write_that_failed_half_way_can_be_repeated(tmp_path):
    code = """
store = S.open_store(sys.argv[1])
data = b'0123456789' * 100
from cas.digest import hash_bytes
staged = S.Staging(store).open('x', size=1000, sha256=hash_bytes(data))
for part in (data[:500], data[500:]):
    for _ in range(3):
        try: staged.write(part); break
        except OSError: pass
staged.finish(); p = S.Publisher(store); p.add(staged); p.flush()
"""
    program(code, tmp_path / "s", home=tmp_path,
            strace=["trace=pwrite64", "inject=pwrite64:error=ENOSPC:when=1+2"])  # fmt: skip
    assert whole(S.open_store(tmp_path / "s")) == []


@pytest.mark.parametrize(("count", "call"), [(3, "fsync"), (60, "syncfs")])
def test_a_batch_whose_sync_failed_is_given_up_whole(tmp_path, count, call):
    code = """
store = S.open_store(sys.argv[1])
os.environ['X'] = '1'
staging, publisher = S.Staging(store), S.Publisher(store)
for n in range(int(sys.argv[2])):
    S.add_bytes(store, staging, b'%d' % n, publisher)
open(sys.argv[1] + '/../go', 'w').close()
try: publisher.flush()
except OSError as error: print(error.errno)
print(len(list(store.objects())), os.listdir(store.place('staging')))
publisher.flush()
print(len(list(store.objects())))
"""
    S.open_store(tmp_path / "s")
    done = program(code, tmp_path / "s", count, home=tmp_path,
                   strace=[f"trace={call}", f"inject={call}:error=EIO"])  # fmt: skip
    assert done.stdout == "5\n0 []\n0\n"


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path):
    place = tmp_path / "f"
    place.write_bytes(b"x" * (3 << 20))
    code = """
store = S.open_store(sys.argv[1])
import cas.store.staging as T
def copy(source, target, offset, length, old=T.copy_range):
    with open(sys.argv[2], 'ab') as file: file.write(b'more')
    return old(source, target, offset, length)
T.copy_range = copy
try: add(store, {'f': Path(sys.argv[2])})
except S.Vanished: raise
except Exception as error: print(type(error).__name__, error)
print(os.listdir(store.place('staging')), len(list(store.objects())))
"""
    done = program(code, tmp_path / "s", place, home=tmp_path)
    assert "StoreError" in done.stdout
    assert "changed while it was read" in done.stdout
    assert done.stdout.endswith("[] 0\n")


def test_what_is_hashed_of_a_large_file_is_the_copy_and_not_the_source(tmp_path):
    place = tmp_path / "f"
    place.write_bytes(os.urandom((20 << 20) + 100))
    code = """
store = S.open_store(sys.argv[1])
import cas.store.staging as T
def copy(source, target, offset, length, old=T.copy_range):
    count = old(source, target, offset, length)
    os.pwrite(target, b'another wrote', offset)
    return count
T.copy_range = copy
add(store, {'f': Path(sys.argv[2])})
print(S.verify(store, level="full").bad)
"""
    assert program(code, tmp_path / "s", place, home=tmp_path).stdout == "[]\n"


def test_what_is_no_regular_file_is_refused_and_never_waited_for(store, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(StoreError, match="no regular file"):
        add(store, {"f": tmp_path / "fifo"})
    (tmp_path / "link").symlink_to("/etc/hostname")
    with pytest.raises(OSError, match="symbolic links"):
        add(store, {"f": tmp_path / "link"})


def test_a_moved_file_becomes_the_object_and_keeps_its_old_name_till_the_end(store, tmp_path):
    place = tmp_path / "f"
    place.write_bytes(os.urandom(2000))
    os.utime(place, (1, 1))
    add(store, {"f": place}, {"local": True}, move=True)
    digest = hash_bytes(place.read_bytes())
    assert os.stat(store.object(digest)).st_ino == place.stat().st_ino
    assert mode(place) == 0o444
    assert time.time() - os.stat(store.object(digest)).st_mtime < 60  # gc counts from now
    assert whole(store) == []


def test_a_file_with_other_names_is_not_moved_but_copied(store, tmp_path):
    place, other = tmp_path / "f", tmp_path / "other"
    place.write_bytes(os.urandom(2000))
    other.hardlink_to(place)
    add(store, {"f": place}, {"local": True}, move=True)
    digest = hash_bytes(place.read_bytes())
    assert os.stat(store.object(digest)).st_ino != place.stat().st_ino
    assert mode(other) == 0o644 & ~umask()
    other.write_bytes(b"changed")
    assert whole(store) == []


def test_a_move_that_was_stopped_goes_on_without_a_copy(store, tmp_path):
    place = tmp_path / "f"
    place.write_bytes(os.urandom(2 << 20))
    add(store, {"f": place}, {"local": True}, move=True)
    inode = place.stat().st_ino
    add(store, {"f": place}, {"local": True}, move=True)
    assert os.stat(store.object(hash_bytes(place.read_bytes()))).st_ino == inode
    assert os.listdir(store.place("staging")) == []


# Where links fail


@pytest.mark.parametrize("error", ["EPERM", "EMLINK", "EOPNOTSUPP", "EXDEV"])
def test_a_tree_whose_links_fail_is_made_of_copies(tmp_path, error):
    code = """
store = S.open_store(sys.argv[1])
staging, publisher = S.Staging(store), S.Publisher(store)
pairs = [(n, S.add_bytes(store, staging, n.encode() * 9, publisher)) for n in 'abc']
listing = Listing.of(pairs); S.add_bytes(store, staging, listing.data(), publisher)
publisher.flush()
S.build(store, listing, {'local': True})
assert not S.verify(store, level='full').bad, S.verify(store).bad
print(listing.digest)
"""
    rule = f"inject=link:error={error}:when=6+"  # VERSION and four objects are linked before
    done = program(code, tmp_path / "s", home=tmp_path, strace=["trace=link", rule])
    store = S.open_store(tmp_path / "s")
    tree = Path(store.tree(done.stdout.strip()))
    for name in "abc":
        assert (tree / name).stat().st_nlink == 1
        assert mode(tree / name) == 0o444
    assert whole(store) == []


def test_a_file_system_without_hard_links_holds_a_store(tmp_path):
    code = """
for _ in range(2):
    store = S.open_store(sys.argv[1])
    add(store, {'a': b'one', 'b': b'', 'c': b'one'})
assert not S.verify(store, level='full').bad
print(len(list(store.objects())))
"""
    done = program(code, tmp_path / "s", home=tmp_path,
                   strace=["trace=link,linkat", "inject=link,linkat:error=EPERM"])  # fmt: skip
    assert done.stdout == "3\n"
    assert os.listdir(tmp_path / "s/staging") == []


def test_a_large_file_that_cant_be_linked_becomes_a_link_but_never_in_a_single_file_asset(
    store, tmp_path, monkeypatch
):
    place = tmp_path / "large"
    with place.open("wb") as file:
        file.truncate((64 << 20) + 1)
    code = """
store = S.open_store(sys.argv[1])
from cas.store import read_listing
from cas.digest import Digest
listing = Listing.parse(Path(sys.argv[2]).read_bytes())
print(S.build(store, listing, {'local': True}, single=sys.argv[3] == '1')[0])
"""
    staging, publisher = S.Staging(store), S.Publisher(store)
    sums = S.add_file(store, staging, publisher, str(place))
    publisher.flush()
    for single in (False, True):
        listing = Listing.of([(f"large{single}", sums.sha256)])
        S.add_bytes(store, staging, listing.data(), publisher)
        publisher.flush()
        (tmp_path / "l").write_bytes(listing.data())
        done = program(code, store.root, tmp_path / "l", int(single), home=tmp_path,
                       strace=["trace=link", "inject=link:error=EMLINK"])  # fmt: skip
        made = Path(done.stdout.strip(), f"large{single}")
        assert made.is_symlink() is not single
        assert made.stat().st_size == (64 << 20) + 1
        if not single:
            assert os.readlink(made).startswith("../../../objects/")
    assert S.verify(store).bad == []


@pytest.mark.skipif(os.getuid() != 0, reason="a second user is needed")
def test_another_users_objects_are_read_and_copied_where_they_cant_be_linked():
    with ordinary_place() as (place, uid):
        code = "store = S.open_store(sys.argv[1]); print(add(store, {'a': b'one', 'b': b'two'}))"
        program(code, place / "s", user=uid, home=place)
        subprocess.run(["chmod", "-R", "a+rwX", place / "s/objects", place / "s/staging",
                        place / "s/roots", place / "s/mutex"], check=True)  # fmt: skip
        for name in ("s", "s/trees"):
            (place / name).chmod(0o777)
        for digest, _ in S.open_store(place / "s").objects():
            os.chmod(S.open_store(place / "s").object(digest), 0o444)
        (place / "home2").mkdir()
        (place / "home2").chmod(0o777)
        more = "store = S.open_store(sys.argv[1]); print(add(store, {'x': b'one', 'y': b'new'}))"
        done = program(more, place / "s", user=uid - 1, home=place / "home2")
        store = S.open_store(place / "s")
        tree = Path(store.tree(done.stdout.strip()))
        assert (tree / "x").read_bytes() == b"one"
        linked = Path("/proc/sys/fs/protected_hardlinks").read_text().strip() == "0"
        assert ((tree / "x").stat().st_ino == os.stat(store.object(hash_bytes(b"one"))).st_ino) \
            is linked  # fmt: skip
        assert (tree / "y").stat().st_ino == os.stat(store.object(hash_bytes(b"new"))).st_ino
        assert whole(store) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount")
def test_tmpfs_holds_a_store_whose_project_lies_elsewhere(tmp_path):
    place = tmp_path / "mount"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", place],
                      check=False).returncode:  # fmt: skip
        pytest.skip("this root can't mount")
    try:
        store = S.open_store(place / "s")
        (tmp_path / "f").write_bytes(b"x" * 2000)
        add(store, {"f": tmp_path / "f"}, move=True)  # another file system: copied
        assert (tmp_path / "f").stat().st_nlink == 1
        assert whole(store) == []
        (tmp_path / "big").write_bytes(os.urandom(9 << 20))
        with pytest.raises(OSError, match="No space"):
            add(store, {"f": tmp_path / "big"})
        assert os.listdir(store.place("staging")) == []  # the disk is not left full
        assert whole(store) == []
    finally:
        subprocess.run(["umount", place], check=True)


# Trees


def test_standing_notices_a_file_that_was_taken_out(store):
    tree = add(store, {"a": b"x", "s/b": b"y", "s/t/c": b"z"})
    assert S.standing(store, tree)[0]
    path = Path(store.tree(tree))
    (path / "s/t").chmod(0o755)
    (path / "s/t/c").unlink()
    assert S.standing(store, tree) == (None, "1 of its files are missing, as 's/t/c'")
    S.build(store, S.read_listing(store, tree), {"local": True})
    assert S.standing(store, tree)[0]
    assert whole(store) == []


def test_a_lost_sidecar_is_written_again_and_counts_as_local(store):
    tree = add(store, {"a": b"x"})
    os.unlink(store.tree(tree) + ".json")
    found, _ = S.standing(store, tree)
    assert found.origin == S.LOCAL
    assert S.read_sidecar(store, tree) == found


def test_a_lost_sidecar_does_not_hide_a_cut_file(store):
    tree = add(store, {"a": b"x" * 100})
    place = store.tree(tree) + "/a"
    os.unlink(store.tree(tree) + ".json")
    os.chmod(place, 0o644)
    os.truncate(place, 50)
    assert S.standing(store, tree)[0] is None


def test_moved_times_without_a_change_are_recorded_once(store):
    tree = add(store, {"a": b"x"})
    os.utime(store.tree(tree), (1, 1))
    assert S.standing(store, tree)[0].origin["hub"]
    assert S.read_sidecar(store, tree).directories[""] == 1_000_000_000


def test_a_damaged_tree_is_replaced_without_a_moment_of_absence(store):
    files = {f"f{n}": b"%d" % n for n in range(20)}
    tree = add(store, files)
    listing = S.read_listing(store, tree)
    code = """
import time
print('go', flush=True)
missing = 0; end = time.time() + 20
while time.time() < end and not os.path.exists(sys.argv[2]):
    missing += not os.path.isdir(sys.argv[1])
print(missing)
"""
    watch = subprocess.Popen(
        [sys.executable, "-c", HEAD + code, store.tree(tree), store.root + "/stop"],
        stdout=subprocess.PIPE,
        text=True,
    )
    watch.stdout.readline()
    for _ in range(100):
        S.mark_bad(store, tree, "test")
        S.build(store, listing, {"local": True})
    Path(store.root, "stop").write_text("")
    assert watch.communicate()[0] == "0\n"
    assert S.standing(store, tree)[0]


def test_two_builders_of_one_tree_leave_one_whole_tree(store):
    staging, publisher = S.Staging(store), S.Publisher(store)
    entries = [(f"d{n % 7}/{n}", S.add_bytes(store, staging, b"%d" % n, publisher))
               for n in range(100)]  # fmt: skip
    listing = Listing.of(entries)
    S.add_bytes(store, staging, listing.data(), publisher)
    publisher.flush()
    code = """
store = S.open_store(sys.argv[1]); print('ready', flush=True); sys.stdin.readline()
S.build(store, S.read_listing(store, sys.argv[2]), {'local': True})
"""
    children = [
        subprocess.Popen([sys.executable, "-c", HEAD + code, store.root, listing.digest],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]  # fmt: skip
    for child in children:
        child.stdout.readline()
    for child in children:
        child.stdin.write("\n")
        child.stdin.close()
    assert [child.wait() for child in children] == [0] * 4
    assert S.standing(store, listing.digest)[0]
    assert not [f for f in files_of(store) if ".cas-" in f]
    assert whole(store) == []


def test_a_tree_of_a_lost_object_says_that_it_vanished(store):
    tree = add(store, {"a": b"x"})
    listing = S.read_listing(store, tree)
    remove_tree(store.place("trees"))
    os.unlink(store.object(hash_bytes(b"x")))
    with pytest.raises(S.Vanished):
        S.build(S.open_store(store.root), listing, {"local": True})
    assert not [f for f in files_of(store) if ".cas-" in f]


def test_errors_are_ours():
    assert issubclass(S.Vanished, CasError)
