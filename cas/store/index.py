"""The index: size, mtime, inode and XXH3-128 of each object, for quick verification.

``<user's cache>/cas/index/<store>.sqlite``. A hint: it can be lost, stale or unwritable,
and then costs time only. What it says of an object holds while the object's size, mtime
and inode are what they were when its SHA-256 was last proved by this user.
"""

from __future__ import annotations

import os
import threading
import zlib
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from cas.files import discard
from cas.warm import cache_dir, make_cache_dir

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Mapping

    from cas.digest import Digest
    from cas.store.layout import Store

__all__ = ["Known", "forget", "known", "move", "remember", "vouch", "vouched"]

T = TypeVar("T")

_SELECT = "SELECT digest, size, mtime_ns, inode, xxh3 FROM objects"
_TREES = "CREATE TABLE IF NOT EXISTS trees (digest TEXT PRIMARY KEY, stamp TEXT) WITHOUT ROWID"
PATIENCE = 10.0  # seconds that a command waits for another's transaction, once
PATIENCE_THEN = 1.0  # … and after that: it may be of a process that was stopped
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

    def ask(connection: sqlite3.Connection) -> dict[Digest, Known]:
        found: dict[Digest, Known] = {}
        for start in range(0, len(wanted), _BATCH):
            part = wanted[start : start + _BATCH]
            marks = ",".join("?" * len(part))
            rows = connection.execute(f"{_SELECT} WHERE digest IN ({marks})", part)
            found |= {row[0]: Known._make(row[1:]) for row in rows}
        return found

    return (_with(store, ask) if wanted else None) or {}


def remember(store: Store, rows: Mapping[Digest, Known]) -> None:
    """Remember objects whose SHA-256 was just proved, in one transaction."""

    def put(connection: sqlite3.Connection) -> None:
        with connection:
            connection.executemany(
                "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?)",
                [(digest, *row) for digest, row in rows.items()],
            )

    if rows:
        _with(store, put)


def forget(store: Store, digests: Iterable[Digest]) -> None:
    """Forget objects that went, or that are not what their names say."""
    gone = [(digest,) for digest in digests]

    def drop(connection: sqlite3.Connection) -> None:
        with connection:
            connection.executemany("DELETE FROM objects WHERE digest = ?", gone)

    if gone:
        _with(store, drop)


def vouched(store: Store, tree: Digest) -> str | None:
    """Return the stamp that a tree had when this user proved it, or None."""

    def ask(connection: sqlite3.Connection) -> str | None:
        connection.execute(_TREES)
        row = connection.execute("SELECT stamp FROM trees WHERE digest = ?", (tree,)).fetchone()
        return str(row[0]) if row else None

    return _with(store, ask)


def vouch(store: Store, tree: Digest, stamp: str) -> None:
    """Remember the stamp of a tree whose every file this user just proved."""

    def put(connection: sqlite3.Connection) -> None:
        with connection:
            connection.execute(_TREES)
            connection.execute("INSERT OR REPLACE INTO trees VALUES (?, ?)", (tree, stamp))

    _with(store, put)


def move(old: Store, new: Store) -> None:
    """Let the index of a store that was renamed in whole serve under its new name."""
    _close(old)
    _close(new)
    before, after = _place(old), _place(new)
    try:
        os.replace(before, after)
    except OSError:
        pass
    for end in ("-wal", "-shm"):
        discard(before + end)


def _with(store: Store, call: Callable[[sqlite3.Connection], T]) -> T | None:
    """Return what *call* gives for the index; None where it can't be used.

    A damaged one is a lost hint: it is thrown away and made anew.
    """
    import sqlite3

    for attempt in (1, 2):
        connection = _connect(store)
        if connection is None:
            return None
        try:
            return call(connection)
        except sqlite3.OperationalError:
            connection.execute(f"PRAGMA busy_timeout = {PATIENCE_THEN * 1000:.0f}")
            return None
        except (sqlite3.Error, TypeError):
            _throw_away(store)
            if attempt == 2:
                return None
    return None


def _connect(store: Store) -> sqlite3.Connection | None:
    """Return the open connection of this process and thread, or None."""
    import sqlite3

    mine = (os.getpid(), threading.get_ident())
    if isinstance(store.index, tuple) and store.index[0] == mine:
        return store.index[1]  # type: ignore[no-any-return]
    path = _place(store)
    for attempt in (1, 2):
        try:
            make_cache_dir("index")
            connection = sqlite3.connect(path, timeout=PATIENCE)
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
            _throw_away(store)
            continue
        store.index = (mine, connection)
        return connection
    return None


def _throw_away(store: Store) -> None:
    _close(store)
    for end in ("", "-wal", "-shm"):
        discard(_place(store) + end)


def _close(store: Store) -> None:
    if isinstance(store.index, tuple) and store.index[0] == (os.getpid(), threading.get_ident()):
        store.index[1].close()
    store.index = None


def _place(store: Store) -> str:
    name = store.root.encode("utf-8", "surrogateescape")
    file = f"{zlib.crc32(name):08x}{zlib.adler32(name):08x}.sqlite"
    return os.path.join(cache_dir(), "index", file)
