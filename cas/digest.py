"""Digests: the names of objects.

A digest is the lower-case hexadecimal SHA-256 of an object's bytes, 64 characters, as
``sha256sum`` prints it. Only this room makes one, so a value typed ``Digest`` was computed
or checked. Beside it goes XXH3-128, taken in the same pass: a fast check of bytes that
were once proved, never a name.
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
from typing import TYPE_CHECKING, NamedTuple, NewType

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "CHUNK",
    "Digest",
    "Hasher",
    "Sums",
    "drop_cached",
    "git_blob_hasher",
    "hash_bytes",
    "hash_fd",
    "hash_path",
    "is_digest",
    "open_to_read",
    "parse_digest",
    "sums_of",
    "xxh3_fd",
]

Digest = NewType("Digest", str)

CHUNK = 1 << 20  # bytes; larger buffers fall out of the processor's cache and are slower
SMALL = 1 << 16  # bytes; a file up to here is read without a buffer of a CHUNK: it takes 25 µs
AHEAD = 8  # chunks that may wait for the SHA-256; the further behind, the colder they are

_HEX = "0123456789abcdef"
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Sums(NamedTuple):
    """What one pass over some bytes gives."""

    sha256: Digest
    xxh3: str
    """XXH3-128, 32 hexadecimal digits."""
    size: int
    """bytes"""


def is_digest(text: object) -> bool:
    """Say whether *text* is 64 lower-case hexadecimal digits."""
    return isinstance(text, str) and len(text) == 64 and not text.strip(_HEX)


def parse_digest(text: object) -> Digest:
    """Return *text* as a Digest; raise ValueError if it is not one."""
    if not is_digest(text):
        message = f"expected 64 lower-case hexadecimal digits, found {text!r:.90}"
        raise ValueError(message)
    return Digest(str(text))


def hash_bytes(data: bytes) -> Digest:
    """Return the digest of *data*."""
    return Digest(hashlib.sha256(data).hexdigest())


def sums_of(data: bytes) -> Sums:
    """Return the sums of *data*."""
    import xxhash

    return Sums(hash_bytes(data), xxhash.xxh3_128_hexdigest(data), len(data))


def git_blob_hasher(size: int) -> hashlib._Hash:
    """Return a SHA-1 that has read git's header of a blob of *size* bytes.

    The Hub names the files that it does not keep in LFS by this hash, and by no other.
    """
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


class Hasher:
    """SHA-256 and XXH3-128 of a stream, in one pass.

    With ``threaded`` the SHA-256 is taken beside the caller, so that a large file costs what
    the slower of reading and hashing costs, not both. What is given to ``update`` then must
    not change afterwards: give bytes, or the beginning of a ``buffer``.
    """

    def __init__(self, *, threaded: bool = False) -> None:
        import xxhash

        self._sha = hashlib.sha256()
        self._xxh = xxhash.xxh3_128()
        self.size = 0
        self._buffers: queue.SimpleQueue[memoryview] | None = None
        self._made = 0
        self._queue: queue.Queue[bytes | memoryview | None] | None = None
        if threaded:
            self._queue = queue.Queue(maxsize=AHEAD)
            self._thread = threading.Thread(
                target=self._work, args=(self._queue,), name="cas-hash", daemon=True
            )
            self._thread.start()

    def buffer(self) -> memoryview:
        """Return a CHUNK of memory to read into, waiting for one that was hashed.

        The next thing given to ``update`` must be the beginning of it.
        """
        if self._buffers is None:
            self._buffers = queue.SimpleQueue()
        if self._buffers.empty() and self._made < (AHEAD if self._queue else 1):
            self._made += 1
            return memoryview(bytearray(CHUNK))
        return self._buffers.get()

    def update(self, data: bytes | memoryview) -> None:
        """Take the next bytes."""
        self.size += len(data)
        if self._queue is None:
            self._xxh.update(data)
            self._hash(data)
        else:
            self._queue.put(data)
            self._xxh.update(data)

    def close(self) -> None:
        """Stop the thread beside, if there is one."""
        if self._queue is not None:
            self._queue.put(None)
            self._thread.join()
            self._queue = None

    def sums(self) -> Sums:
        """Return the hashes of all that was given; nothing may be given after it."""
        self.close()
        return Sums(Digest(self._sha.hexdigest()), self._xxh.hexdigest(), self.size)

    def _work(self, source: queue.Queue[bytes | memoryview | None]) -> None:
        while (data := source.get()) is not None:
            self._hash(data)

    def _hash(self, data: bytes | memoryview) -> None:
        self._sha.update(data)
        if self._buffers is not None and isinstance(data, memoryview):
            self._buffers.put(memoryview(data.obj))


def hash_fd(fd: int) -> Sums:
    """Return the sums of what *fd* holds from its position to its end."""
    head, rest = _begin(fd)
    if not rest:
        return sums_of(head)
    import xxhash

    sha = hashlib.sha256(head)
    xxh = xxhash.xxh3_128(head)
    size = len(head)
    for part in _pieces(fd, rest):
        size += len(part)
        sha.update(part)
        xxh.update(part)
    return Sums(Digest(sha.hexdigest()), xxh.hexdigest(), size)


def hash_path(path: str | os.PathLike[str], *, dir_fd: int | None = None) -> Sums:
    """Return the sums of the file at *path*, not following a link there."""
    fd = open_to_read(path, dir_fd=dir_fd)
    try:
        return hash_fd(fd)
    finally:
        os.close(fd)


def open_to_read(path: str | os.PathLike[str], *, dir_fd: int | None = None) -> int:
    """Return a descriptor of the file at *path*: no link is followed, no FIFO waited for."""
    return os.open(path, _READ, dir_fd=dir_fd)


def drop_cached(fd: int) -> None:
    """Ask the kernel to forget a file's cached pages, so that a disk is read and not memory."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def xxh3_fd(fd: int) -> tuple[str, int]:
    """Return the XXH3-128 and the size of what *fd* holds from its position to its end."""
    import xxhash

    head, rest = _begin(fd)
    if not rest:
        return xxhash.xxh3_128_hexdigest(head), len(head)
    xxh = xxhash.xxh3_128(head)
    size = len(head)
    for part in _pieces(fd, rest):
        size += len(part)
        xxh.update(part)
    return xxh.hexdigest(), size


def _begin(fd: int) -> tuple[bytes, bytes]:
    """Return the first bytes and the next; there are no next ones of a small file."""
    head = os.read(fd, SMALL)
    return head, os.read(fd, SMALL) if head else b""


def _pieces(fd: int, first: bytes) -> Iterator[bytes | memoryview]:
    """Yield *first* and what *fd* holds from its position to its end, each until the next one."""
    yield first
    if hasattr(os, "posix_fadvise"):  # cold reads are 1.5 times as fast with it
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    buffer = bytearray(CHUNK)
    view = memoryview(buffer)
    while count := os.readv(fd, [buffer]):
        yield view[:count]
