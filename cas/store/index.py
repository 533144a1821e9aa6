"""The index: size, mtime, inode and XXH3-128 of each object, for quick verification.

``<user's cache>/cas/index/<store>.sqlite``. A hint: it can be lost, stale or unwritable,
and then costs time only. What it says of an object holds while the object's size, mtime
and inode are what they were when its SHA-256 was last proved by this user.
"""

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING, NamedTuple

from cas.files import discard
from cas.warm import cache_dir

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping

    from cas.digest import Digest
    from cas.store.layout import Store

__all__ = ["Known", "forget", "known", "remember"]

_SELECT = "SELECT digest, size, mtime_ns, inode, xxh3 FROM objects"
_BATCH = 500  # names in one SELECT; SQLite takes 999 variables everywhere


class Known(NamedTuple):
    """What is remembered of one object."""

    size: int
    mtime_ns: int
    inode: int
    xxh3: str

    def fits(self, status: os.stat_result) -> bool:
        """Say whether a file is still the one that was proved."""
        return (self.size, self.mtime_ns, self.inode) == (
            status.st_size,
            status.st_mtime_ns,
            status.st_ino,
        )


def known(store: Store, digests: Iterable[Digest]) -> dict[Digest, Known]:
    """Return what is remembered of *digests*; nothing where there is no index."""
    wanted = list(dict.fromkeys(digests))
    found: dict[Digest, Known] = {}
    connection = _connect(store)
    if connection is None:
        return found
    import sqlite3

    try:
        for start in range(0, len(wanted), _BATCH):
            part = wanted[start : start + _BATCH]
            marks = ",".join("?" * len(part))
            where = f"WHERE digest IN ({marks})"
            rows = connection.execute(f"{_SELECT} {where}", part)
            found |= {digest: Known(*rest) for digest, *rest in rows}
    except sqlite3.Error:
        return found
    finally:
        connection.close()
    return found


def remember(store: Store, rows: Mapping[Digest, Known]) -> None:
    """Remember objects whose SHA-256 was just proved, in one transaction."""
    if not rows or (connection := _connect(store)) is None:
        return
    import sqlite3

    try:
        with connection:
            connection.executemany(
                "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?)",
                [(digest, *row) for digest, row in rows.items()],
            )
    except sqlite3.Error:
        pass
    finally:
        connection.close()


def forget(store: Store, digests: Iterable[Digest]) -> None:
    """Forget objects that went."""
    if (connection := _connect(store)) is None:
        return
    import sqlite3

    try:
        with connection:
            connection.executemany(
                "DELETE FROM objects WHERE digest = ?", [(digest,) for digest in digests]
            )
    except sqlite3.Error:
        pass
    finally:
        connection.close()


def _connect(store: Store) -> sqlite3.Connection | None:
    import sqlite3

    name = store.root.encode("utf-8", "surrogateescape")
    directory = os.path.join(cache_dir(), "index")
    path = os.path.join(directory, f"{zlib.crc32(name):08x}{zlib.adler32(name):08x}.sqlite")
    for attempt in (1, 2):
        try:
            os.makedirs(directory, mode=0o700, exist_ok=True)
            connection = sqlite3.connect(path, timeout=10)
        except (OSError, sqlite3.Error):
            return None
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS objects (digest TEXT PRIMARY KEY, size INTEGER, "
                "mtime_ns INTEGER, inode INTEGER, xxh3 TEXT) WITHOUT ROWID"
            )
        except sqlite3.DatabaseError as error:
            connection.close()
            if isinstance(error, sqlite3.OperationalError) or attempt == 2:
                return None
            for end in ("", "-wal", "-shm"):  # damaged: it is a hint, make it anew
                discard(path + end)
            continue
        return connection
    return None
