"""Read: one file of a record, checked, and a directory's names.

A record's identity, metadata, assets and run come from its footer, its rows from the columns
that are not ours. A file that can't be read gives the reason as text. Names that begin with a
dot count for nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cas.errors import ExperimentError

from .arrays import build
from .columns import TEXT, settle
from .footer import WRONG, Record, check_footer
from .live import live_runs
from .naming import LIVE, RECORD
from .record import RESERVED, to_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import pyarrow as pa

    Found = tuple[Record, pa.Table]

__all__ = ["FEW", "list_files", "read_files", "read_live"]

READERS = 4  # threads; pyarrow reads without the interpreter's lock, 1,000 files in 0.6 s
FEW = 16  # files, for which a pool, or an index, costs more than it saves
STEP = 250  # files between two reports


def list_files(directory: Path) -> tuple[dict[str, int], bool]:
    """Return (file name → inode of what may be a record, in no order; whether a run is live).

    Raises ExperimentError where the directory can't be read; an absent one is empty.
    """
    found: dict[str, int] = {}
    live = False
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                name = entry.name
                # opening a FIFO would wait for ever
                if name.endswith(RECORD) and name[0] != "." and entry.is_file():
                    found[name] = entry.inode()
                elif name.endswith(LIVE):
                    live = True
    except FileNotFoundError:
        return {}, False
    except OSError as error:
        place = os.fspath(directory)
        raise ExperimentError(f"can't read experiments in {place!r}: {error.strerror}") from error
    return found, live


def read_files(
    directory: Path, names: Sequence[str], told: Callable[[int], None] | None = None
) -> list[Found | str | None]:
    """Return for each file its record and rows, why it can't be read, or None if it went.

    *told* is called with the count of files that were read since it was last called.
    """
    from concurrent.futures import ThreadPoolExecutor

    import pyarrow as pa

    def attempt(name: str) -> Found | str | None:
        try:
            return _read_file(os.path.join(directory, name))
        except FileNotFoundError:
            return None  # it went while we looked
        except (OSError, pa.ArrowException, *WRONG) as error:
            return str(error).partition("\n")[0].rstrip(".") or type(error).__name__

    if len(names) <= FEW:
        return list(map(attempt, names))
    outcomes: list[Found | str | None] = []
    with ThreadPoolExecutor(READERS) as pool:
        for outcome in pool.map(attempt, names):
            outcomes.append(outcome)
            if told is not None and len(outcomes) % STEP == 0:
                told(STEP)
    if told is not None:
        told(len(outcomes) % STEP)
    return outcomes


def _read_file(path: str) -> Found:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, pre_buffer=False) as file:
        footer = (file.metadata.metadata or {}).get(b"cas")
        if footer is None:
            raise ExperimentError("it has no key 'cas' in its footer")
        record = check_footer(footer, path, file.metadata.num_rows)
        schema = file.schema_arrow
        names = [name for name in schema.names if name.lower() not in RESERVED]
        if len({name.lower() for name in names}) != len(names):
            raise ExperimentError("two of its columns have one name")
        body = file.read(columns=["row_index", *names], use_threads=False)
        body = body.select(["row_index", *names])
    return record, _settled(body)


def _settled(body: pa.Table) -> pa.Table:
    """Return row_index and the columns after it, each of one of the types of ``columns``."""
    import pyarrow as pa

    index = body.column("row_index")
    if index.type != pa.int64():  # a cast loads all of pyarrow.compute
        index = index.cast(pa.int64())
    columns: dict[str, pa.ChunkedArray] = {"row_index": index}
    for name in body.column_names[1:]:
        column, text = settle(body.column(name), name)
        columns[name] = column
        if text is not None:
            columns[name + TEXT] = text
    return pa.table(columns)


def read_live(directory: Path, warn: Callable[[str], None] | None = None) -> list[Found]:
    """Return the runs that are not finished, as records of what they have until now."""
    import pyarrow as pa

    found = []
    for live in live_runs(directory, warn):
        try:
            body = live.table()
            index = build(range(body.num_rows), pa.int64())
            record = check_footer(to_bytes(live.document), live.path, body.num_rows)
            found.append((record, _settled(body.add_column(0, "row_index", index))))
        except (pa.ArrowException, *WRONG) as error:
            if warn is not None:
                warn(f"skipped {live.path!r}: not a live run that can be read ({error!s:.160})")
    return found
