"""What the user's Hugging Face cache holds enters the store: shared, linked or copied, then hashed.

Names in a cache prove nothing: a blob is taken if its bytes are the file's, else it is left
as it was, and the file is fetched. A blob that is linked is the user's own, has no third
name, and is read-only from then on; the cache goes on serving it.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from cas.digest import open_to_read
from cas.errors import IntegrityError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cas.digest import Digest
    from cas.hub import HubFile, Snapshot
    from cas.progress import Progress
    from cas.store import Publisher, Staged, Staging

__all__ = ["adopt"]


def adopt(
    staging: Staging,
    publisher: Publisher,
    snapshot: Snapshot,
    files: Iterable[HubFile],
    names: Iterable[str],
    progress: Progress,
) -> dict[str, Digest]:
    """Give *publisher* what the cache holds of *files*; return SHA-256 or git SHA-1 → digest."""
    from cas import hub

    took: dict[str, Digest] = {}
    for file, path in hub.cached(snapshot, files, names=names):
        key = file.sha256 or file.git_sha1
        if key not in took and (staged := _take(staging, file, path)) and staged.sums:
            publisher.add(staged)
            took[key] = staged.sums.sha256
            progress.advance(file.size, files=1)
    return took


def _take(staging: Staging, file: HubFile, path: str) -> Staged | None:
    try:
        fd = open_to_read(path)
    except OSError:
        return None
    try:
        before = os.fstat(fd)
        ours = before.st_uid == os.geteuid() and before.st_nlink == 1
        staged = staging.reflink(fd, path) if file.sha256 else None
        if staged is None and file.sha256 and ours:
            staged = staging.link(path)  # read-only first, then hashed
        if staged is None:
            sha1 = None if file.sha256 else file.git_sha1
            staged = staging.open(path, size=file.size, sha256=file.sha256, git_sha1=sha1)
        try:
            if staged.offset < file.size:
                staged.copy_from(fd, file.size)
            rested = os.fstat(fd).st_mtime_ns == before.st_mtime_ns
            sums = staged.finish()
            if rested and sums.size == file.size and file.sha256 in (None, sums.sha256):
                return staged
        except (OSError, IntegrityError, StoreError):
            pass  # it is fetched then, and what is wrong is said there
        staged.abandon(keep=False)
        if ours:
            os.fchmod(fd, stat.S_IMODE(before.st_mode))  # as it was
        return None
    finally:
        os.close(fd)
