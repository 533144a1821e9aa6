"""Many small files: taken in by processes, a part each, as one process takes them in."""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from cas import store as S
from cas.crew import cores
from cas.progress import QUIET, Progress
from cas.store.many import MANY

from .stores import HEAD, files_of, processes

ADD = """
from cas.progress import QUIET
paths = sorted(str(path) for path in Path(sys.argv[2]).iterdir())
S.add_files(S.open_store(sys.argv[1]), [(path, 9) for path in paths], move=False, progress=QUIET)
"""


@pytest.fixture
def place(monkeypatch):
    """A directory in memory: an inode of a virtual machine's disk may take half a millisecond."""
    shm = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    place = Path(tempfile.mkdtemp(prefix="cas-many-", dir=shm))
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "cache"))
    yield place
    shutil.rmtree(place)


class Counted(Progress):
    def __init__(self):
        self.bytes = self.files = 0

    def advance(self, size, *, files=0):
        self.bytes += size
        self.files += files


def sources(place, count=MANY + 200):
    """Make files, two of which are the same, and one large; return (path, bytes) of each."""
    folder = place / "sources"
    folder.mkdir()
    found = []
    for number in range(count):
        path = folder / f"{number:06d}"
        path.write_bytes(b"%d" % max(number, 1))
        found.append((str(path), path.stat().st_size))
    large = folder / "large"
    large.write_bytes(b"x" * (3 << 20))
    found.insert(7, (str(large), 3 << 20))
    return found


def check_whole(store, found):
    assert os.listdir(store.place("staging")) == []
    wanted = {hashlib.sha256(Path(path).read_bytes()).hexdigest() for path, _ in found}
    assert {digest for digest, _ in store.objects()} >= wanted
    assert {stat.S_IMODE(e.stat().st_mode) for _, e in store.objects()} == {0o444}
    assert not S.verify(store, level="full").bad


def test_many_small_files_are_taken_in_by_processes(place):
    found, store, told = sources(place), S.open_store(place / "store"), Counted()
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    previous = os.umask(0o077)
    try:
        sums = S.add_files(store, found, move=False, progress=told)
    finally:
        os.umask(previous)
    for (path, size), one in zip(found, sums, strict=True):
        data = Path(path).read_bytes()
        assert (one.sha256, one.size) == (hashlib.sha256(data).hexdigest(), size)
    assert (told.files, told.bytes) == (len(found), sum(size for _, size in found))
    check_whole(store, found)
    if cores() > 1:
        assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime > before
    inodes = {digest: entry.inode() for digest, entry in store.objects()}
    assert S.add_files(store, found, move=False, progress=QUIET) == sums
    assert {digest: entry.inode() for digest, entry in store.objects()} == inodes


def test_one_that_cant_be_read_is_named_and_nothing_is_left_half_done(place):
    found, store = sources(place), S.open_store(place / "store")
    gone = found[MANY // 2][0]
    Path(gone).unlink()
    with pytest.raises(FileNotFoundError) as error:
        S.add_files(store, found, move=False, progress=QUIET)
    assert error.value.filename == gone
    assert os.listdir(store.place("staging")) == []
    assert not S.verify(store, level="full").bad
    Path(gone).write_bytes(b"again")
    S.add_files(store, found, move=False, progress=QUIET)
    check_whole(store, found)


def test_a_call_that_is_killed_takes_its_processes_along_and_the_next_goes_on(place):
    found, store = sources(place), S.open_store(place / "store")
    code = HEAD + ADD
    process = subprocess.Popen(
        [sys.executable, "-c", code, store.root, place / "sources"], start_new_session=True
    )
    until = time.monotonic() + 60
    while len(os.listdir(store.place("staging"))) < 100 and process.poll() is None:
        assert time.monotonic() < until
    process.send_signal(signal.SIGKILL)
    process.wait()
    while processes(process.pid):
        assert time.monotonic() < until, "a process goes on without its parent"
        time.sleep(0.01)
    assert os.listdir(store.place("staging"))
    S.add_files(store, found, move=False, progress=QUIET)
    check_whole(store, found)
    assert not [name for name in files_of(store) if name.startswith("staging")]
