"""Kept: what records name beside trees (locks, changes, lists of packages), from the remotes."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from cas.digest import hash_bytes
from cas.errors import CasError
from cas.store import Publisher, add_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cas.digest import Digest
    from cas.installer.bring import Bringer

__all__ = ["bring_kept"]

KEPT = 64 << 20  # bytes that a diff, a list of packages or a lock may have


def bring_kept(bringer: Bringer, objects: Iterable[Digest]) -> tuple[set[Digest], list[CasError]]:
    """Bring objects into the store; return those that no remote has, and what remotes said."""
    store = bringer.store
    left = {digest for digest in objects if not store.has(digest)}
    errors: list[CasError] = []
    if not left:
        return left, errors
    publisher = Publisher(store)
    for remote in bringer.remotes:
        for digest in sorted(left):
            held = _Held()
            try:
                there = remote.fetch(digest, held, limit=KEPT, stop=threading.Event())
            except CasError as error:
                errors.append(error)
                break
            if there and hash_bytes(bytes(held.data)) == digest:
                add_bytes(store, bringer.staging, bytes(held.data), publisher)
                bringer.files += 1
                bringer.bytes += len(held.data)
                left.discard(digest)
    publisher.flush()
    return left, errors


class _Held:
    """A sink in memory, for what is small."""

    def __init__(self) -> None:
        self.data = bytearray()

    @property
    def offset(self) -> int:
        return len(self.data)

    def expect(self, size: int) -> None:
        del size

    def write(self, data: bytes) -> None:
        self.data += data

    def restart(self) -> None:
        self.data.clear()
