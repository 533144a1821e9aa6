"""The flow of bytes to and from a remote: proved, and bounded in memory."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cas.digest import Hasher
from cas.errors import IntegrityError

from .faults import Stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cas.digest import Digest

__all__ = ["LARGE", "Budget", "check", "prove", "proved", "whole"]

LARGE = 64 << 20  # bytes; up to here an object is put in one request, from memory
PART = 16 << 20  # bytes read and hashed at once of a large one


def check(stop: threading.Event) -> None:
    """Raise Stopped if the caller asked for a stop."""
    if stop.is_set():
        raise Stopped("stopped")


@contextmanager
def proved(
    fd: int, digest: Digest, stop: threading.Event, tell: Callable[[int], None]
) -> Iterator[Iterator[bytes]]:
    """Give the bytes of a large file part by part, the last one when all are proved."""
    hasher = Hasher(threaded=True)

    def parts() -> Iterator[bytes]:
        held = b""
        at = 0
        while data := os.pread(fd, PART, at):
            check(stop)
            at += len(data)
            hasher.update(data)
            if held:
                yield held
                tell(len(held))
            held = data
        prove(digest, hasher.sums().sha256)
        yield held
        tell(len(held))

    try:
        yield parts()
    finally:
        hasher.close()


def prove(digest: Digest, found: Digest) -> None:
    """Raise IntegrityError where bytes of the store are not what their name says."""
    if found != digest:
        raise IntegrityError("object of the store", expected=f"sha256 {digest}", actual=found,
                             hint="cas verify --full --repair")  # fmt: skip


def whole(fd: int, size: int) -> bytes:
    """Return the bytes of a small open file; of one that grew, no more than LARGE."""
    parts, at = [], 0
    while data := os.pread(fd, min(size, LARGE) - at or 1, at):
        parts.append(data)
        at += len(data)
        if at >= LARGE:
            break
    return parts[0] if len(parts) == 1 else b"".join(parts)


class Budget:
    """Bytes that may be in memory at once; one thing that is larger goes alone."""

    def __init__(self, size: int) -> None:
        self._size = self._left = size
        self._changed = threading.Condition()

    @contextmanager
    def take(self, size: int) -> Iterator[None]:
        size = min(size, self._size)
        with self._changed:
            self._changed.wait_for(lambda: self._left >= size)
            self._left -= size
        try:
            yield
        finally:
            with self._changed:
                self._left += size
                self._changed.notify_all()
