"""SQLite: another program's database, opened to read only and checked before it is believed."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

from .found import Bad

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["columns_of", "opened", "refusal"]

WAL = 2  # the byte of the header that says how the database is written


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection | Bad]:
    """Yield one unchanging state of the database, or why it can't be had; it is never written to.

    All of it is checked first, so that a torn one is refused before a run of it is taken. What
    SQLite finds wrong later is raised as ValueError.
    """
    import sqlite3

    try:
        with path.open("rb") as file:
            head = file.read(20)
        log = path.with_name(path.name + "-wal")
        # without a log nobody is writing, and SQLite need not make files beside the database
        still = head[18:19] == bytes([WAL]) and not (log.exists() and log.stat().st_size)
        address = f"file:{quote(str(path.absolute()))}?mode=ro{'&immutable=1' * still}"
        database = sqlite3.connect(address, uri=True, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        yield refusal(path, error)
        return
    with closing(database):
        database.text_factory = _text
        try:
            database.execute("BEGIN")
            (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.Error as error:
            yield refusal(path, error)
            return
        if verdict != "ok":
            yield refusal(path, f"the database is damaged: {verdict}")
            return
        try:
            yield database
        except sqlite3.Error as error:
            raise ValueError(f"{str(path)!r}: {error}") from error


def columns_of(database: sqlite3.Connection, table: str) -> set[str]:
    """Return the names of a table's columns; none where there is no such table."""
    return {row[1] for row in database.execute(f"PRAGMA table_info({table})")}


def refusal(path: Path, reason: object) -> Bad:
    """Return *path* with the reason in one line."""
    text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return Bad(path=str(path), reason=" ".join(str(text).split())[:200].rstrip("."))


def _text(data: bytes) -> str:
    return data.decode(errors="replace")
