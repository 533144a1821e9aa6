"""The first read of a file under ``cas://`` on a disk that is full, or gets full meanwhile."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.hubserver import Hub
from tests.test_walk import Walk

MIB = 1 << 20
SIZE = 6 * MIB
READ = """
import fsspec, hashlib, sys
print(hashlib.sha256(fsspec.filesystem("cas").cat_file(sys.argv[1])).hexdigest())
"""
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")


@pytest.fixture
def disk(tmp_path):
    """A disk of 16 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=16m", "cas-test", str(place)]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=False)


@pytest.fixture
def big():
    return os.urandom(SIZE)


@pytest.fixture
def hub(big):
    with Hub() as server:
        server.repo("o/big", "dataset").commit({"big.bin": big, "small.txt": b"small\n"})
        yield server


@pytest.fixture
def walk(tmp_path, hub, disk):
    """A project with a dataset that is locked and not here; its store is on that disk."""
    made = Walk(tmp_path, hub)
    made.env["CAS_STORE"] = str(disk / "store")
    made.sh("cas init && cas add dataset:o/big --no-pull")
    hub.reset_log()
    return made


def start(walk: Walk, path: str) -> subprocess.Popen[str]:
    """Begin to read a file of the dataset, and to print its SHA-256."""
    return subprocess.Popen(
        [sys.executable, "-c", READ, f"o/big/{path}"], cwd=walk.root, env=walk.env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def read(walk: Walk, path: str) -> tuple[str, str]:
    return start(walk, path).communicate(timeout=60)


def leave(disk: Path, free: int) -> None:
    """Fill the disk up to *free* bytes."""
    filler = disk / "filler"
    filler.unlink(missing_ok=True)
    status = os.statvfs(disk)
    with suppress(OSError):  # somebody else may write there at the same time
        filler.write_bytes(bytes(status.f_bavail * status.f_frsize - free))


def staged(disk: Path) -> int:
    return sum(path.stat().st_size for path in (disk / "store/staging").iterdir())


def test_a_disk_with_too_little_room_is_told_before_the_first_byte(walk, hub, disk, big):
    leave(disk, SIZE)  # the last MiB stays free
    out, said = read(walk, "big.bin")
    assert out == ""
    assert "6.3 MB are needed, 6.3 MB are free" in said
    assert "and 1.0 MB of that stays free" in said
    assert hub.requests(kind="resolve") == []
    assert staged(disk) == 0
    leave(disk, SIZE + 2 * MIB)
    assert read(walk, "big.bin")[0].strip() == hashlib.sha256(big).hexdigest()


def test_a_disk_that_gets_full_meanwhile_keeps_what_came_and_the_rest_needs_room_for_itself_alone(
    walk, hub, disk, big
):
    leave(disk, SIZE + 2 * MIB)
    hub.fault("stall", path="big.bin", seconds=3, at=0.5)
    process = start(walk, "big.bin")
    until = time.monotonic() + 60
    while staged(disk) < SIZE // 3 and time.monotonic() < until and process.poll() is None:
        time.sleep(0.01)
    leave(disk, 0)
    out, said = process.communicate(timeout=60)
    assert out == ""
    assert "No space left on device" in said
    came = staged(disk)
    assert came >= SIZE // 3
    leave(disk, SIZE - came + 2 * MIB)
    assert read(walk, "small.txt")[0].strip() == hashlib.sha256(b"small\n").hexdigest()
    hub.reset_log()
    assert read(walk, "big.bin")[0].strip() == hashlib.sha256(big).hexdigest()
    (asked,) = hub.requests(kind="resolve", file="big.bin")
    assert asked.range == f"bytes={came}-"
    walk.sh("cas verify --full")


def test_a_full_disk_is_freed_by_a_push_and_a_drop(walk, disk, big, tmp_path):
    (walk.root / "mine.bin").write_bytes(big)
    walk.sh(f"cas add ./mine.bin && rm mine.bin && cas remote add lab file://{tmp_path}/lab")
    leave(disk, 0)
    walk.sh("cas push mine.bin && cas drop mine.bin")
    status = os.statvfs(disk)
    assert status.f_bavail * status.f_frsize >= SIZE
    leave(disk, SIZE + 2 * MIB)
    walk.sh("cas pull mine.bin && cas verify --full")
    assert (walk.root / "assets/models/mine.bin").read_bytes() == big
