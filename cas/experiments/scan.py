"""Scan: the records of a directory as three Arrow tables.

They come from the directory's index, or where none can be kept from the files themselves; the
result is the same. Runs that are not finished stand last. Events (tags, notes, removals) are
applied here. Columns are merged by name, whatever their case, by the rule of ``columns``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from itertools import groupby
from typing import TYPE_CHECKING

from cas.digest import is_digest
from cas.progress import QUIET, Progress

from . import events
from .arrays import build, from_numpy, joined, to_list, to_numpy
from .columns import TEXT, Nulls, join_numbers, merge
from .footer import Record
from .index import find_packs
from .pack import FIRST, Pack, empty, file_name, from_records
from .read import read_files, read_live
from .record import Use

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa

    from .events import Events
    from .index import Skipped

    Warn = Callable[[str], None] | None

__all__ = [
    "Record",
    "References",
    "Tables",
    "records",
    "references",
    "runs",
    "tables",
    "uses",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """The records of a directory, oldest first; ``run`` is a record's position in ``runs``.

    The tables have a chunk for each pack of the index.
    """

    rows: pa.Table
    """run, row_index, and the union of the results' columns"""
    runs: pa.Table
    """run, the columns of a record that are the same in all its rows, rows, latest, note"""

    @property
    def uses(self) -> pa.Table:
        """run, experiment_id (a dictionary), name, kind, role, tree, commit: one row a use."""
        return _uses(self.runs)


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """What records name in the store; ``unreadable`` files may name more."""

    trees: frozenset[str]
    objects: frozenset[str]
    unreadable: tuple[str, ...]


def tables(
    directory: Path,
    warn: Warn = None,
    *,
    columns: Sequence[str] | None = None,
    progress: Progress = QUIET,
) -> Tables:
    """Return all records of *directory*, and empty tables where there are none.

    With *columns*, of the results' columns only these (in any case) and their ``__text``.
    """
    packs, said = _packs(directory, warn, progress)
    found = _runs(packs, said)
    return Tables(rows=_rows(packs, columns), runs=found.drop_columns(["file"]))


def runs(directory: Path, warn: Warn = None, *, progress: Progress = QUIET) -> pa.Table:
    """Return ``Tables.runs`` alone; no row is read."""
    return _runs(*_packs(directory, warn, progress)).drop_columns(["file"])


def uses(directory: Path, warn: Warn = None, *, progress: Progress = QUIET) -> pa.Table:
    """Return ``Tables.uses`` alone; no row is read."""
    return _uses(_runs(*_packs(directory, warn, progress)))


def records(directory: Path, warn: Warn = None, *, progress: Progress = QUIET) -> list[Record]:
    """Return what the footers say, oldest first."""
    found = _runs(*_packs(directory, warn, progress))
    names = [field.name for field in fields(Record) if field.name not in ("path", "run", "assets")]
    columns = {name: to_list(found.column(name)) for name in names}
    columns["run"] = found.column("captured").to_pylist()
    columns["assets"] = [
        tuple(Use(**use) for use in one) for one in found.column("assets").to_pylist()
    ]
    columns["path"] = [
        os.path.join(directory, file_name(text)) for text in found.column("file").to_pylist()
    ]
    return [
        Record(**dict(zip(columns, values, strict=True)))
        for values in zip(*columns.values(), strict=True)
    ]


def references(directory: Path) -> References:
    """Return the trees and objects that the records of *directory* name, removed ones too."""
    found = find_packs(directory, events.read(directory).removed)
    aside = [name for name, skip in found.skipped.items() if not skip.reason]
    trees: set[str] = set()
    objects: set[str] = set()
    apart = [one for one in read_files(directory, aside) if isinstance(one, tuple)]
    for pack in [*found.packs, *from_records(apart)]:
        for chunk in pack.runs.column("assets").chunks:
            trees.update(chunk.flatten().field("tree").unique().to_pylist())
        for chunk in pack.runs.column("captured").chunks:
            for name in ("git_diff", "packages", "lock"):
                values = chunk.field(name).unique().to_pylist()
                objects.update(value for value in values if is_digest(value))
    return References(
        trees=frozenset(trees),
        objects=frozenset(objects),
        unreadable=tuple(
            _told(directory, name, skip)
            for name, skip in sorted(found.skipped.items())
            if skip.reason
        ),
    )


def _packs(directory: Path, warn: Warn, progress: Progress) -> tuple[Sequence[Pack], Events]:
    """Return the packs, at least one, and what events say; name what could not be read."""
    said = events.read(directory, warn)
    found = find_packs(directory, said.removed, progress)
    if warn is not None:
        for name, skip in sorted(found.skipped.items()):
            if not skip.hidden:
                warn(_told(directory, name, skip))
    packs = found.packs
    if found.live:
        shown = [one for one in read_live(directory, warn) if not said.hidden(one[0].experiment_id)]
        packs = [*packs, *from_records(shown)]
    return packs or [empty()], said


def _told(directory: Path, name: str, skip: Skipped) -> str:
    path = os.path.join(directory, name)
    if skip.same_as:
        return f"skipped {path!r}: the same record as {skip.same_as!r}"
    return f"skipped {path!r}: not a record that can be read ({skip.reason:.160})"


def _runs(packs: Sequence[Pack], said: Events) -> pa.Table:
    """Return ``Tables.runs`` with the column file beside it."""
    import numpy as np
    import pyarrow as pa

    whole = pa.concat_tables([pack.runs for pack in packs]).drop_columns(["schema"])
    count = whole.num_rows
    names = whole.column("experiment_name").to_pylist()
    latest = np.zeros(count, dtype=bool)
    latest[list(dict(zip(names, range(count), strict=True)).values())] = True
    notes = pa.nulls(count, pa.string())
    if said.added or said.notes:
        ids = whole.column("experiment_id").to_pylist()
        notes = build([said.note(key) for key in ids], pa.string())
        tags = whole.column("tags").to_pylist()
        told = [said.tags(key, own) for key, own in zip(ids, tags, strict=True)]
        at = whole.column_names.index("tags")
        whole = whole.set_column(at, "tags", build(told, pa.list_(pa.string())))
    at = whole.column_names.index("rows") + 1
    whole = whole.add_column(at, "latest", from_numpy(latest)).add_column(at + 1, "note", notes)
    return whole.add_column(0, "run", from_numpy(np.arange(count)))


def _uses(found: pa.Table) -> pa.Table:
    """Return one row a use."""
    import numpy as np
    import pyarrow as pa

    pieces = []
    start = 0
    for chunk in found.column("assets").chunks:
        count = len(chunk)
        offsets = to_numpy(chunk.offsets)
        own = np.repeat(np.arange(count), np.diff(offsets))
        flat = chunk.values.slice(offsets[0], len(own))
        part = found.column("experiment_id").slice(start, count)
        ids = joined(part.chunks, part.type)
        of_ids = from_numpy(own.astype(np.int32))
        columns = {"run": from_numpy(own + start)}
        columns["experiment_id"] = pa.DictionaryArray.from_arrays(of_ids, ids)
        columns |= {field.name: flat.field(field.name) for field in fields(Use)}
        pieces.append(pa.table(columns))
        start += count
    return pa.concat_tables(pieces)


def _rows(packs: Sequence[Pack], wanted: Sequence[str] | None) -> pa.Table:
    """Return the rows of all packs, columns by name, whatever their case and types."""
    import pyarrow as pa

    names: dict[str, str] = {}
    lookup: list[dict[str, list[int]]] = []
    for pack in packs:
        own: dict[str, list[int]] = {}
        for position, name in enumerate(pack.rows.column_names[FIRST:], FIRST):
            names.setdefault(name.lower(), name)
            own.setdefault(name.lower(), []).append(position)
        lookup.append(own)
    base = [key for key in names if not key.endswith(TEXT) or key.removesuffix(TEXT) not in names]
    if wanted is not None:
        known = {name.lower() for name in wanted}
        base = [key for key in base if key in known]
    positions: list[pa.Array] = []
    start = 0
    for pack in packs:
        chunks = pack.rows.column("run").chunks
        positions += [from_numpy(to_numpy(chunk) + start) for chunk in chunks] if start else chunks
        start += pack.runs.num_rows
    index = [chunk for pack in packs for chunk in pack.rows.column("row_index").chunks]
    result: dict[str, pa.ChunkedArray] = {
        "run": pa.chunked_array(positions, pa.int64()),
        "row_index": pa.chunked_array(index, pa.int64()),
    }
    nulls = Nulls()

    def parts(key: str) -> list[pa.ChunkedArray | int]:
        return [
            part
            for pack, own in zip(packs, lookup, strict=True)
            for part in _parts(pack, own.get(key, ()))
        ]

    for key in base:
        column, rest = merge(parts(key), names[key], nulls)
        result[names[key]] = column
        if key + TEXT in names:
            kept, _ = merge(parts(key + TEXT), names[key] + TEXT, nulls)
            import pyarrow.compute as pc

            text = kept.cast(pa.string())
            rest = text if rest is None else pc.coalesce(text, rest)
        if rest is not None:
            result[names[key] + TEXT] = rest
    return pa.table(result)


def _parts(pack: Pack, positions: Sequence[int]) -> Iterator[pa.ChunkedArray | int]:
    """Yield the parts of one column of a pack, each of one type; a number is rows without it."""
    if not positions:
        yield pack.rows.num_rows
        return
    columns = [pack.rows.column(position) for position in positions]
    joined = join_numbers(columns) if len(columns) > 1 else columns[0]
    if joined is not None:
        yield joined
        return
    own = dict(zip(positions, columns, strict=True))
    types = [next((at for _, at in schema if at in own), None) for schema in pack.schemas]
    counts = pack.runs.column("rows").to_pylist()
    numbers = pack.runs.column("schema").to_pylist()
    row = 0
    pairs = zip(numbers, counts, strict=True)
    for at, same in groupby(pairs, key=lambda pair: types[pair[0]]):
        size = sum(count for _, count in same)
        yield size if at is None else own[at].slice(row, size)
        row += size
