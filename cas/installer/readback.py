"""Reading back: bytes that lie on a remote, hashed on this machine and kept nowhere.

A remote that lies, or whose disk rots, tells the right name, size and sum for wrong bytes. Only
whoever reads them knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cas.digest import Hasher
from cas.errors import IntegrityError
from cas.remote import each

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping

    from cas.digest import Digest
    from cas.progress import Progress
    from cas.remote import Remote

__all__ = ["Hashed", "wrong_bytes"]


class Hashed:
    """A sink that only hashes."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forget all bytes held."""
        self._hasher = Hasher()
        self.offset = 0

    def expect(self, size: int) -> None:
        """Take any size."""

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        self._hasher.update(data)
        self.offset += len(data)

    def sums(self) -> Digest:
        """Return the digest of all that came."""
        return self._hasher.sums().sha256


def wrong_bytes(
    remote: Remote,
    sizes: Mapping[Digest, int],
    *,
    what: str,
    jobs: int,
    stop: threading.Event,
    progress: Progress,
) -> set[Digest]:
    """Read objects (digest → bytes) whole, and return those that are not what their name says.

    *what* names the progress line. Raises Offline, AccessDenied, SourceError where one can't be
    read: then nothing is known of it.
    """

    def right(digest: Digest) -> bool:
        sink = Hashed()
        there = remote.fetch(
            digest, sink, limit=sizes[digest], stop=stop, progress=progress.advance
        )
        return there and sink.sums() == digest

    wrong: set[Digest] = set()
    progress.begin(what, files=len(sizes), size=sum(sizes.values()))
    try:
        for digest, good, error in each(sizes, right, jobs=remote.jobs(jobs), stop=stop):
            if error is not None and not isinstance(error, IntegrityError):
                raise error
            if not good:
                wrong.add(digest)
            progress.advance(0, files=1)
    finally:
        progress.end()
    return wrong
