"""verify reads many objects by processes and large ones by threads, and tells what one would."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cas import crew
from cas import store as S
from cas.crew import Helpers, cores
from cas.store import reread

from .stores import HEAD, add, ordinary_place, processes, program

COUNT = 800
needs_cores = pytest.mark.skipif(cores() == 1, reason="one core: there are no processes to help")


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return S.open_store(tmp_path / "store")


@pytest.fixture
def soon(monkeypatch):
    """Let processes help from the first part on, and parts be small."""
    monkeypatch.setattr(crew, "PATIENCE", 0)
    monkeypatch.setattr(reread, "TOGETHER", 50)


def rewrite(path, data):
    os.chmod(path, 0o644)
    Path(path).write_bytes(data)
    os.chmod(path, 0o444)


def instead(make):
    def change(path):
        os.unlink(path)
        make(path)

    return change


DAMAGE = {
    "flip": (lambda path: rewrite(path, b"X" + Path(path).read_bytes()[1:]), "its bytes changed"),
    "short": (lambda path: rewrite(path, Path(path).read_bytes()[:-1]), "its bytes changed"),
    "nothing": (lambda path: rewrite(path, b""), "its bytes changed"),
    "long": (lambda path: rewrite(path, Path(path).read_bytes() + b"X"), "its bytes changed"),
    "very long": (lambda path: rewrite(path, b"X" * 300_000), "its bytes changed"),
    "writable": (lambda path: os.chmod(path, 0o644), "it can be written: mode 0644"),
    "link": (instead(lambda path: os.symlink("/etc/passwd", path)), "it is no regular file"),
    "fifo": (instead(os.mkfifo), "it is no regular file"),
    "directory": (instead(os.mkdir), "it is no regular file"),
    "missing": (os.unlink, None),
}


@pytest.mark.parametrize("level", ["stat", "fast", "full"])
def test_every_damage_is_found_whoever_reads_the_part(store, soon, level):
    tree = add(store, {f"{n:05d}": b"object %d" % n for n in range(COUNT)})
    good = S.verify(store, level=level)
    assert (good.objects, good.bad) == (COUNT + 1, [])
    wanted = {}
    for kind, n in zip(list(DAMAGE) * 5, range(0, COUNT, 16), strict=True):
        digest = hashlib.sha256(b"object %d" % n).hexdigest()
        change, reason = DAMAGE[kind]
        change(store.object(digest))
        if reason:
            wanted[digest] = reason
    told = []

    def slow(files, size):
        told.append(files)
        time.sleep(0.04)  # until processes have started

    done = S.verify(store, level=level, progress=slow)
    assert sum(told) == done.objects == COUNT + 1 - 5
    objects = {bad.hash: bad.reason for bad in done.bad if not bad.tree}
    assert objects.keys() == wanted.keys()
    assert all(objects[digest].startswith(reason) for digest, reason in wanted.items())
    assert [bad.hash for bad in done.bad if not bad.tree] == sorted(wanted)
    (its,) = [bad for bad in done.bad if bad.tree]
    missing = 16 * list(DAMAGE).index("missing")
    assert its == (tree, f"'{missing:05d}' has no object", True)
    assert done.trees == {tree}


def test_large_objects_are_read_whole_and_counted(store, monkeypatch):
    monkeypatch.setattr(reread, "LARGE", 1000)
    monkeypatch.setattr(reread, "AHEAD", 2)
    files = {f"{n}": bytes([n]) * 200_000 for n in range(12)}
    tree = add(store, files)
    sizes = sum(entry.stat().st_size for _, entry in store.objects())
    for level in ("stat", "fast", "full"):
        done = S.verify(store, level=level)
        assert (done.objects, done.bytes, done.bad) == (13, sizes, [])
    last, cut = (hashlib.sha256(files[n]).hexdigest() for n in ("3", "7"))
    rewrite(store.object(last), files["3"][:-1] + b"X")
    rewrite(store.object(cut), files["7"][:-1])
    for level in ("fast", "full"):
        done = S.verify(store, [tree], level=level)
        assert [bad.hash for bad in done.bad] == sorted([last, cut])
        assert done.objects == 13


def test_what_may_not_be_read_is_told_as_that():
    with ordinary_place() as (place, uid):
        done = program("""
store = S.open_store(sys.argv[1])
add(store, {str(n): b"%d" % n for n in range(20)})
for digest, entry in list(store.objects())[::7]:
    os.chmod(entry.path, 0)
done = S.verify(store, level="full")
print(done.objects, *{bad.reason for bad in done.bad if not bad.tree}, sep="|")
""", place / "store", user=uid, home=place)  # fmt: skip
        assert done.stdout == "21|it can't be read: Permission denied\n"


def test_a_read_error_is_a_finding(store):
    tree = add(store, {"large": b"x" * (3 << 20)})
    done = program("""
done = S.verify(S.open_store(sys.argv[1]), level="full")
print(*{bad.reason for bad in done.bad if not bad.tree})
""", store.root, strace=["inject=readv:error=EIO:when=2"])  # fmt: skip
    assert done.stdout == "it can't be read: Input/output error\n"
    assert S.verify(store, [tree], level="full").bad == []


def work(number, seconds):
    time.sleep(seconds)
    if number < 0:
        raise ValueError(number)
    return number, os.getpid()


@needs_cores
def test_helpers_do_every_task_once_and_what_they_raise_is_raised(soon):
    with Helpers() as helpers:
        done = list(helpers.run(work, ((n, 0.02) for n in range(200))))
        assert sorted(n for n, _ in done) == list(range(200))
        assert len({pid for _, pid in done}) > 1
        assert len(list(helpers.run(work, [(n, 0.01) for n in range(20)]))) == 20
        with pytest.raises(ValueError, match="-1"):
            list(helpers.run(work, [(n, 0.01) for n in (*range(9), -1)]))
    before = {pid for _, pid in done} - {os.getpid()}
    assert not any(Path(f"/proc/{pid}").exists() for pid in before)


def test_helpers_are_not_started_for_what_takes_no_time():
    def tasks():
        for number in range(40):
            time.sleep(0.03)  # that is not the work
            yield number, 0

    with Helpers() as helpers:
        assert {pid for _, pid in helpers.run(work, tasks())} == {os.getpid()}


@needs_cores
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_verify_that_is_stopped_takes_its_processes_along(store, number):
    add(store, {f"{n:05d}": b"object %d" % n for n in range(COUNT)})
    code = """
import time
from cas import crew
from cas.store import reread
crew.PATIENCE, reread.TOGETHER = 0, 50
S.verify(S.open_store(sys.argv[1]), level="full", progress=lambda files, size: time.sleep(0.2))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", HEAD + code, store.root],
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    until = time.monotonic() + 60
    while len(processes(process.pid)) < 2:
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(number)
    assert process.wait(60) != 0
    while processes(process.pid):
        assert time.monotonic() < until, "a process goes on without its parent"
        time.sleep(0.01)
    assert S.verify(store, level="full").bad == []
