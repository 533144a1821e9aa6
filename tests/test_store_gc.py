"""gc: removes what nothing refers to, and never what something does (I8)."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cas import store as S
from cas.errors import CasError, StoreError
from cas.files import host

from .stores import HEAD, add, collect, files_of, pins, program, whole

ROOT = "a" * 32
LOCAL = {"local": True}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def store(tmp_path):
    return S.open_store(tmp_path / "store")


def later(days):
    return datetime.now(UTC) + timedelta(days=days)


def dead_name():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return f"{host()}-{child.pid}-aa.json"


def test_what_nothing_holds_stays_14_days_and_goes_then_with_its_listing(store):
    tree = add(store, {"a": b"one", "b": b"two"})
    assert collect(store, now=later(13.99)).trees == 0
    done = collect(store, now=later(14.01))
    assert (done.trees, done.objects) == (1, 3)
    assert done.bytes == 6 + 13 + 2 * 68
    assert not os.path.lexists(store.tree(tree))
    assert [f for f in files_of(store) if not f.startswith("mutex/")] == ["VERSION"]


def test_the_grace_period_is_inclusive(store):
    tree = add(store, {"a": b"one"})
    at = time.time() - 100
    for end in ("", ".json"):
        os.utime(store.tree(tree) + end, (at, at))
    for digest, entry in store.objects():
        os.utime(entry.path, (at, at))
        assert digest
    now = datetime.fromtimestamp(at, UTC) + timedelta(days=14)
    assert collect(store, now=now - timedelta(milliseconds=1), dry_run=True).trees == 0
    assert collect(store, now=now + timedelta(milliseconds=1), dry_run=True).trees == 1


def test_a_dry_run_tells_the_same_and_removes_nothing(store):
    add(store, {"a": b"one"})
    before = files_of(store)
    told = collect(store, now=later(15), dry_run=True)
    assert set(files_of(store)) - {"mutex/gc"} == set(before) - {"mutex/gc"}
    done = collect(store, now=later(15))
    assert {**told.json(), "dry_run": False} == done.json()


def test_what_was_used_within_the_grace_period_stays(store):
    tree = add(store, {"a": b"one"})
    at = time.time() + 10 * 86400
    S.note_use(store, tree, time.time())
    os.utime(store.tree(tree) + ".used", (at, at))
    assert collect(store, now=later(20)).trees == 0
    assert S.standing(store, tree)[0]
    assert collect(store, now=later(24.5)).trees == 1


def test_a_use_is_noted_once_a_day(store):
    tree = add(store, {"a": b"one"})
    S.note_use(store, tree, time.time())
    os.utime(store.tree(tree) + ".used", (time.time() - 3600,) * 2)
    before = os.stat(store.tree(tree) + ".used").st_mtime
    S.note_use(store, tree, time.time())
    assert os.stat(store.tree(tree) + ".used").st_mtime == before
    S.note_use(store, tree, time.time() + 86400)
    assert os.stat(store.tree(tree) + ".used").st_mtime > before


def test_what_a_root_names_stays_for_ever_and_shared_objects_with_it(store):
    kept = add(store, {"a": b"one", "b": b"two"})
    add(store, {"b": b"two", "c": b"three"})
    pins(store, ROOT, [kept])
    held = {"root_of": lambda path: ROOT, "project_holds": lambda path: (set(), set())}
    done = collect(store, now=later(1000), **held)
    assert (done.trees, done.objects) == (1, 2)
    assert S.standing(store, kept)[0]
    assert whole(store) == []


def test_what_a_project_names_now_stays_though_its_root_does_not(store):
    tree = add(store, {"a": b"one"})
    pins(store, ROOT, [])
    held = {"root_of": lambda path: ROOT, "project_holds": lambda path: ({tree}, set())}
    assert collect(store, older_than=timedelta(0), **held).trees == 0
    assert collect(store, older_than=timedelta(0)).trees == 1


def test_what_experiments_hold_stays_objects_and_trees(store):
    tree = add(store, {"a": b"one"})
    staging, publisher = S.Staging(store), S.Publisher(store)
    diff = S.add_bytes(store, staging, b"diff --git", publisher)
    publisher.flush()
    pins(store, ROOT, [], experiments=[tree, diff])
    assert collect(store, older_than=timedelta(0)).objects == 0
    assert store.has(diff)
    done = collect(store, older_than=timedelta(0), drop_experiments=True)
    assert (done.trees, done.objects) == (1, 3)


def test_past_generations_stay_for_the_grace_period_and_0d_ignores_them(store):
    trees = [add(store, {"a": b"%d" % n}) for n in range(6)]
    for tree in trees:
        pins(store, ROOT, [tree])
    record = S.read_root(store, ROOT)
    assert [g[1] for g in record.generations] == [(t,) for t in trees[4:1:-1]]
    held = {"root_of": lambda path: ROOT, "project_holds": lambda path: (set(), set())}
    assert collect(store, older_than=timedelta(seconds=-1), dry_run=True, **held).trees == 5
    week = {"older_than": timedelta(days=7)}
    assert collect(store, now=later(6), dry_run=True, **week, **held).trees == 0
    assert collect(store, now=later(8), dry_run=True, **week, **held).trees == 5
    assert collect(store, older_than=timedelta(0), **held).trees == 5
    assert S.standing(store, trees[5])[0]


def test_a_root_whose_project_is_gone_keeps_30_days_and_another_machines_90(store, monkeypatch):
    mine, theirs = add(store, {"a": b"one"}), add(store, {"a": b"two"})
    pins(store, ROOT, [mine])
    program(
        "import cas.store.roots as r; r.host = lambda: 'other.1'\n"
        "pins(S.open_store(sys.argv[1]), 'b' * 32, [sys.argv[2]])", store.root, theirs,
    )  # fmt: skip
    assert collect(store, now=later(29.9)).trees == 0
    assert collect(store, now=later(30.1)).trees == 1
    assert S.root_ids(store) == ["b" * 32]
    assert collect(store, now=later(89.9)).trees == 0
    assert collect(store, now=later(90.1)).trees == 1
    assert S.root_ids(store) == []
    assert not S.standing(store, mine)[0]


def test_a_root_that_is_reached_is_kept_though_the_machine_has_another_name(store):
    tree = add(store, {"a": b"one"})
    program(
        "import cas.store.roots as r; r.host = lambda: 'other.1'\n"
        "pins(S.open_store(sys.argv[1]), 'b' * 32, [sys.argv[2]])", store.root, tree,
    )  # fmt: skip
    held = {"root_of": lambda path: "b" * 32, "project_holds": lambda path: ({tree}, set())}
    assert collect(store, now=later(1000), **held).trees == 0


def test_local_only_trees_stay_unless_told(store):
    tree = add(store, {"a": b"one"}, LOCAL)
    recipe = add(store, {"a": b"two"}, {"recipe": "r1:" + "0" * 64, "inputs": {}})
    done = collect(store, now=later(100))
    assert done.trees == 1
    assert done.only_copies == [tree]
    assert S.standing(store, tree)[0]
    assert not S.standing(store, recipe)[0]
    assert collect(store, now=later(100), local_too=True).trees == 1


@pytest.mark.parametrize("how", ["flip", "cut", "empty"])
@pytest.mark.parametrize("what", ["root", "call"])
def test_a_root_that_cant_be_read_stops_all_deletion(store, how, what):
    kept = add(store, {"a": b"one"})
    add(store, {"b": b"two"})
    pins(store, ROOT, [kept])
    place = Path(store.place("roots", f"{ROOT}/root.json"))
    if what == "call":
        with S.shared_gc_mutex(store):
            place = Path(S.announce(store, ROOT, path="/p", trees=[kept]).path)
    data = place.read_bytes()
    changed = {"flip": data.replace(b"1", b"2", 1), "cut": data[:-20], "empty": b""}[how]
    place.chmod(0o644)
    place.write_bytes(changed)
    before = files_of(store)
    with pytest.raises(StoreError, match="nothing was deleted"):
        collect(store, now=later(100))
    assert files_of(store) == sorted({*before, "mutex/gc"})
    pins(store, ROOT, [kept])  # a call of the project writes it again
    if what == "root":
        assert collect(store, now=later(20)).trees == 1


def test_a_project_that_cant_tell_stops_all_deletion(store):
    add(store, {"b": b"two"})
    pins(store, ROOT, [])

    def cant(path):
        raise CasError("records can't be read", hint="look")

    with pytest.raises(StoreError, match="nothing was deleted: records") as error:
        collect(store, now=later(100), project_holds=cant)
    assert error.value.hint == "look"
    assert len(list(store.trees())) == 1


def test_a_held_tree_that_stands_without_its_listing_stops_all_deletion(store):
    kept = add(store, {"a": b"one"})
    other = add(store, {"b": b"two"})
    pins(store, ROOT, [kept])
    os.unlink(store.object(kept))
    with pytest.raises(StoreError, match="nothing was deleted: the listing"):
        collect(store, now=later(20))
    assert S.standing(store, other)[0]


def test_an_announced_tree_is_kept_until_the_call_ends(store):
    tree = add(store, {"a": b"one"})
    with S.shared_gc_mutex(store):
        call = S.announce(store, ROOT, path="/p", trees=[tree])
    assert collect(store, older_than=timedelta(0)).trees == 0
    assert S.calls_under_way(store) == ["/p"]
    S.end(call)
    assert collect(store, older_than=timedelta(0)).trees == 1


def test_what_a_call_publishes_before_its_listing_exists_is_kept(store):
    old = add(store, {"z": b"old"})
    for _, entry in store.objects():
        os.utime(entry.path, (1, 1))
    os.utime(store.tree(old), (1, 1))
    os.utime(store.tree(old) + ".json", (1, 1))
    with S.shared_gc_mutex(store):
        call = S.announce(store, ROOT, path="/p", trees=["f" * 64])
    staging, publisher = S.Staging(store), S.Publisher(store)
    digest = S.add_bytes(store, staging, b"first batch", publisher)
    publisher.flush()
    assert collect(store, older_than=timedelta(0)).objects == 2  # the old ones
    assert store.has(digest)
    S.end(call)
    assert collect(store, older_than=timedelta(0)).objects == 1


def test_the_call_of_a_dead_process_ends_with_the_grace_period(store):
    tree = add(store, {"a": b"one"})
    program("""
store = S.open_store(sys.argv[1])
with S.shared_gc_mutex(store): S.announce(store, 'a' * 32, path='/p', trees=[sys.argv[2]])
""", store.root, tree)  # fmt: skip
    assert S.calls_under_way(store) == []
    assert collect(store, now=later(13), dry_run=True).trees == 0
    assert collect(store, older_than=timedelta(0)).trees == 1
    assert os.listdir(store.place("roots", ROOT)) == []


def test_the_call_of_another_machine_ends_after_14_days(store):
    tree = add(store, {"a": b"one"})
    with S.shared_gc_mutex(store):
        call = S.announce(store, ROOT, path="/p", trees=[tree])
    os.rename(call.path, os.path.join(os.path.dirname(call.path), "other.1-1-aa.json"))
    assert collect(store, older_than=timedelta(0)).trees == 0
    assert collect(store, now=later(13)).trees == 0
    assert collect(store, now=later(14.1)).trees == 1


def test_a_moved_file_that_is_old_is_young_in_the_store(store, tmp_path):
    (tmp_path / "f").write_bytes(b"x" * 100)
    os.utime(tmp_path / "f", (1, 1))
    staging, publisher = S.Staging(store), S.Publisher(store)
    S.add_file(store, staging, publisher, str(tmp_path / "f"), move=True)
    publisher.flush()
    assert collect(store).objects == 0


def test_what_crashes_left_is_collected_and_what_lives_is_left(store):
    add(store, {"a": b"one"})
    (prefix, *_) = os.listdir(store.place("trees"))
    dead = dead_name().removesuffix(".json")
    gone = [
        Path(store.place("staging", f"{'1' * 64}.{dead}")),
        Path(store.place("staging", f".cas-{dead}")),
        Path(store.place("trees", f"{prefix}/.cas-{dead}")),
        Path(store.place("objects", f"{os.listdir(store.place('objects'))[0]}/.cas-{dead}")),
        Path(store.place("quarantine", "2" * 64 + ".x")),
        Path(store.place("trees", f"{prefix}/{'3' * 62}.json")),
    ]
    for place in gone:
        place.write_text("x")
    os.utime(gone[-1], (1, 1))
    mine = Path(store.place("staging", f"{'4' * 64}.{host()}-{os.getpid()}-aa"))
    mine.write_text("x")
    collect(store, older_than=timedelta(0), now=later(0.01))
    assert not [place for place in gone if place.exists()]
    assert mine.exists()


def test_a_mutex_that_is_held_is_not_removed(store):
    from cas.files import hold

    add(store, {"a": b"one"})
    for name in ("5" * 64, "6" * 64):
        Path(store.place("mutex", name)).write_text("")
        os.utime(store.place("mutex", name), (1, 1))
    with hold(store.place("mutex", "5" * 64)):
        collect(store, older_than=timedelta(0))
    assert sorted(os.listdir(store.place("mutex"))) == ["5" * 64, "gc"]


def test_gc_waits_for_no_download_and_a_call_for_gc_only_when_it_announces(store):
    with S.shared_gc_mutex(store), pytest.raises(StoreError, match="a pull is publishing"):
        collect(store, wait=False)
    with S.shared_gc_mutex(store):
        S.announce(store, ROOT, path="/p", trees=[])
    collect(store, wait=False)  # the call is under way, and holds nothing any more


def test_what_a_killed_call_left_is_left_to_the_call_that_reuses_it(store):
    staging, publisher = S.Staging(store), S.Publisher(store)
    left = S.add_bytes(store, staging, b"left by a call that was killed", publisher)
    publisher.flush()
    os.utime(store.object(left), (1, 1))
    with S.shared_gc_mutex(store):
        call = S.announce(store, ROOT, path="/p", trees=[])
    assert S.usable(store, {left: None}) == {left}
    collect(store, older_than=timedelta(0))
    assert S.usable(store, {left: None}) == {left}
    S.end(call)
    assert collect(store, older_than=timedelta(0), now=later(0.01)).objects == 1


PULL = """
import random
from cas.digest import hash_bytes
def data(k, n): return b'%d' % (k * 6 + n) * 40
store = S.open_store(sys.argv[1]); me = sys.argv[2]; rand = random.Random(int(me, 16))
def bring(k):
    staging, publisher = S.Staging(store), S.Publisher(store)
    entries = []
    for n in range(12):
        entries.append((f'd{n % 3}/{n}', S.add_bytes(store, staging, data(k, n), publisher)))
        if n == 5: publisher.flush()
    publisher.flush()
    listing = Listing.of(entries)
    S.add_bytes(store, staging, listing.data(), publisher); publisher.flush()
    S.build(store, listing, {'hub': {'kind': 'model', 'repo': 'a/b', 'commit': '0' * 40}})
def pull(k, tree):
    with S.shared_gc_mutex(store): call = S.announce(store, me, path='/p', trees=[tree])
    try:
        for _ in range(5):
            try:
                if not S.standing(store, tree)[0]: bring(k)
                break
            except S.Vanished: print('again', flush=True)
        else: raise SystemExit('lost five times')
        S.settle(store, me, path='/p', lock=None, trees=[tree])
    finally: S.end(call)
    found, why = S.standing(store, tree)
    if not found: raise SystemExit(f'broken: {why}')
    for n in range(12):
        if open(f'{store.tree(tree)}/d{n % 3}/{n}', 'rb').read() != data(k, n):
            raise SystemExit('mixed')
trees = [Listing.of((f'd{n % 3}/{n}', hash_bytes(data(k, n)))
         for n in range(12)).digest for k in range(6)]
while True:
    k = rand.randrange(6)
    pull(k, trees[k]); print('ok', flush=True)
"""

GC = """
from datetime import timedelta
store = S.open_store(sys.argv[1])
while True:
    S.collect(store, older_than=timedelta(0), root_of=lambda path: None,
              project_holds=lambda path: None)
    print('ok', flush=True)
"""


def stress(store, out, gc, seconds):
    """Run three pulls and a gc without any grace period, and kill one of them now and then.

    Returns (what they wrote by name, those that ended by themselves, kills).
    """
    rand = random.Random(4)
    out.mkdir()
    made = 0

    def start(kind):
        nonlocal made
        made += 1
        code, word = (gc, "") if kind == "gc" else (PULL, kind)
        with open(out / f"{kind[:2]}-{made}", "wb") as log:
            return subprocess.Popen(
                [sys.executable, "-c", HEAD + code, store.root, word], stdout=log, stderr=log
            )

    kinds = ["1" * 32, "2" * 32, "3" * 32, "gc"]
    running = {kind: start(kind) for kind in kinds}
    end = time.time() + seconds
    failed, kills = [], 0
    while time.time() < end and not failed:
        time.sleep(rand.uniform(0.2, 0.6))
        failed = [kind for kind, child in running.items() if child.poll() is not None]
        kind = rand.choice(kinds)
        running[kind].send_signal(signal.SIGKILL)
        running[kind].wait()
        kills += 1
        running[kind] = start(kind)
    for child in running.values():
        child.kill()
        child.wait()
    return {p.name: p.read_text() for p in out.iterdir()}, failed, kills


def counted(text, word, kind):
    return sum(t.count(word) for name, t in text.items() if name.startswith("gc") is (kind == "gc"))


def test_pulls_and_gcs_with_kills_break_no_tree_and_hardly_start_one_again(store, tmp_path):
    text, failed, kills = stress(store, tmp_path / "out", GC, 8)
    assert not failed, text
    assert not [t for t in text.values() if "Traceback" in t or "broken" in t or "mixed" in t]
    # objects that a killed build has linked into its work are not made young by who finds them,
    # so that a gc without any grace may take them from him: he brings them again, once
    assert counted(text, "again", "pull") <= kills
    assert counted(text, "ok", "pull") > 20, text
    assert counted(text, "ok", "gc") > 5, text
    assert kills > 5
    for root in S.root_ids(store):
        record = S.read_root(store, root)
        for tree in record.trees if record else ():
            assert S.standing(store, tree)[0], S.standing(store, tree)
    assert [bad for bad in S.verify(store, level="full").bad if "sidecar" not in bad.reason] == []


SEEDED = {
    "a gc that reads no calls": """
import cas.store.gc as g
g._Work._mark_calls = lambda self, root: False
""",
    "a gc that forgets when calls began": """
import cas.store.gc as g
def marks(self, root, old=g._Work._mark_calls):
    young = self.young; found = old(self, root); self.young = young; return found
g._Work._mark_calls = marks
""",
}


@pytest.mark.parametrize("fault", SEEDED)
def test_the_race_finds_a_gc_with_a_seeded_fault(store, tmp_path, fault):
    for turn in range(15):  # on a busy machine the two meet less often
        text, failed, _ = stress(store, tmp_path / f"out-{turn}", SEEDED[fault] + GC, 4)
        if failed or counted(text, "again", "pull") or counted(text, "broken", "pull"):
            return
    pytest.fail("the race found nothing")
