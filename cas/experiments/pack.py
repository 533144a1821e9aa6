"""Pack: many records as two Arrow tables, from which they can be taken apart again.

``runs`` has one row a record: file, schema, experiment_id, experiment_name, created_at, status,
tags, metadata, rows, assets, captured. ``rows`` has run (the record's position in the pack),
row_index, and then one column for each pair of a name (whatever its case) and a type that a
record has; rows of records without it are null. ``schemas[runs.schema]`` says which of these
columns a record has, and how it spells them. So nothing of a record is changed here, and packs
are joined, cut and ordered without reading a file again.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from itertools import groupby
from typing import TYPE_CHECKING, Any

from .arrays import build, joined, to_numpy
from .columns import Nulls
from .record import Use, assets_type, run_type

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from .footer import Record

__all__ = ["FIRST", "LARGEST", "Pack", "empty", "file_name", "file_text", "from_records", "regroup"]

LARGEST = 10_000  # records of a pack: what is rewritten where one of them goes
SPARSE = 4_000_000  # cells of a pack; above it at most 3 of 4 may be empty
FIRST = 2  # columns of ``rows`` before those of records: run, row_index


@dataclass(frozen=True, slots=True)
class Pack:
    """Some records, oldest first."""

    runs: pa.Table
    rows: pa.Table
    schemas: list[list[tuple[str, int]]]
    """of a schema: (name as spelled, position in ``rows``)"""

    def keys(self) -> list[tuple[int, str]]:
        """Return what the records are ordered by: microseconds since 1970, id."""
        created = self.runs.column("created_at").chunks
        moments = [moment for chunk in created for moment in to_numpy(chunk).tolist()]
        return list(zip(moments, self.runs.column("experiment_id").to_pylist(), strict=True))

    def key(self, position: int) -> tuple[int, str]:
        """Return what one record is ordered by; -1 is the last."""
        at = position % self.runs.num_rows
        return Pack(self.runs.slice(at, 1), self.rows, self.schemas).keys()[0]


@dataclass(frozen=True, slots=True)
class _Group:
    """Neighbouring records with one schema."""

    table: pa.Table
    """row_index, and the columns of the records"""
    counts: list[int]
    """rows of each record"""

    def pairs(self) -> list[tuple[str, pa.DataType]]:
        return [(field.name.lower(), field.type) for field in self.table.schema][1:]


def empty() -> Pack:
    """Return a pack of no records."""
    return _pack([], _runs([]))


def from_records(found: Sequence[tuple[Record, pa.Table]]) -> list[Pack]:
    """Return records, with their rows, as packs, oldest first."""
    import pyarrow as pa

    found = sorted(found, key=lambda one: (one[0].created_at, one[0].experiment_id))
    groups: list[_Group] = []
    for _, same in groupby((body for _, body in found), key=lambda body: body.schema):
        members = list(same)
        for start in range(0, len(members), LARGEST):
            part = members[start : start + LARGEST]
            groups.append(_Group(pa.concat_tables(part), [body.num_rows for body in part]))
    packs = []
    done = 0
    for some in _bounded(groups):
        count = sum(len(group.counts) for group in some)
        packs.append(_pack(some, _runs([record for record, _ in found[done : done + count]])))
        done += count
    return packs


def regroup(order: Sequence[tuple[Pack, int]]) -> list[Pack]:
    """Return the records (pack, position) in this order, as packs."""
    import pyarrow as pa

    groups: list[_Group] = []
    runs: list[pa.Table] = []
    for pack, start, stop in _ranges(order):
        groups.extend(_groups(pack, start, stop))
        runs.append(pack.runs.slice(start, stop - start))
    if not runs:
        return []
    whole = pa.concat_tables(runs).drop_columns(["schema"])
    packs = []
    done = 0
    for some in _bounded(groups):
        count = sum(len(group.counts) for group in some)
        packs.append(_pack(some, whole.slice(done, count)))
        done += count
    return packs


def _ranges(order: Sequence[tuple[Pack, int]]) -> Iterator[tuple[Pack, int, int]]:
    """Yield (pack, start, stop) of neighbours that were neighbours before."""
    start = 0
    for end in range(1, len(order) + 1):
        pack, position = order[end - 1]
        if end < len(order) and order[end][0] is pack and order[end][1] == position + 1:
            continue
        yield pack, order[start][1], position + 1
        start = end


def _groups(pack: Pack, start: int, stop: int) -> Iterator[_Group]:
    counts = pack.runs.column("rows").to_pylist()
    numbers = pack.runs.column("schema").to_pylist()
    row = sum(counts[:start])
    for number, same in groupby(range(start, stop), key=lambda run: numbers[run]):
        own = [counts[run] for run in same]
        for first in range(0, len(own), LARGEST):
            some = own[first : first + LARGEST]
            schema = pack.schemas[number]
            table = pack.rows.slice(row, sum(some)).select([1, *(at for _, at in schema)])
            yield _Group(table.rename_columns(["row_index", *(name for name, _ in schema)]), some)
            row += sum(some)


def _bounded(groups: Sequence[_Group]) -> Iterator[list[_Group]]:
    """Yield neighbours that fit one pack: few enough records, and not mostly empty cells."""
    some: list[_Group] = []
    pairs: set[tuple[str, pa.DataType]] = set()
    records = rows = cells = 0
    for group in groups:
        own = set(group.pairs())
        size = group.table.num_rows
        room = (rows + size) * len(pairs | own)
        full = records + len(group.counts) > LARGEST
        if some and (full or room > max(SPARSE, 4 * (cells + size * len(own)))):
            yield some
            some, pairs, records, rows, cells = [], set(), 0, 0, 0
        some.append(group)
        pairs |= own
        records += len(group.counts)
        rows += size
        cells += size * len(own)
    if some:
        yield some


def _pack(groups: Sequence[_Group], runs: pa.Table) -> Pack:
    import pyarrow as pa

    places: dict[tuple[str, pa.DataType], int] = {}
    names: dict[str, str] = {}
    schemas: dict[tuple[tuple[str, int], ...], int] = {}
    numbers: list[int] = []
    for group in groups:
        own = []
        for pair, name in zip(group.pairs(), group.table.column_names[1:], strict=True):
            names.setdefault(pair[0], name)
            own.append((name, places.setdefault(pair, len(places) + FIRST)))
        numbers += [schemas.setdefault(tuple(own), len(schemas))] * len(group.counts)
    nulls = Nulls()
    given = [dict(zip(group.pairs(), group.table.columns[1:], strict=True)) for group in groups]
    counts = [count for group in groups for count in group.counts]
    positions = [run for run, count in enumerate(counts) for _ in range(count)]
    arrays = [build(positions, pa.int64())]
    index = [chunk for group in groups for chunk in group.table.column(0).chunks]
    arrays.append(joined(index, pa.int64()))
    for pair in places:
        chunks: list[pa.Array] = []
        for group, own_columns in zip(groups, given, strict=True):
            column = own_columns.get(pair)
            if column is None:
                chunks.append(nulls.get(group.table.num_rows, pair[1]))
            else:
                chunks.extend(column.chunks)
        arrays.append(joined(chunks, pair[1]))
    rows = pa.Table.from_arrays(arrays, names=["run", "row_index", *(names[k] for k, _ in places)])
    runs = runs.combine_chunks().append_column("schema", build(numbers, pa.int32()))
    return Pack(runs, rows, [list(schema) for schema in schemas])


def _runs(records: Sequence[Record]) -> pa.Table:
    import pyarrow as pa

    types = {
        "file": pa.string(),
        "experiment_id": pa.string(),
        "experiment_name": pa.string(),
        "created_at": pa.timestamp("us", "UTC"),
        "status": pa.string(),
        "tags": pa.list_(pa.string()),
        "metadata": pa.string(),
        "rows": pa.int64(),
        "assets": assets_type(),
        "captured": run_type(),
    }
    special: dict[str, Any] = {
        "file": [file_text(os.path.basename(record.path)) for record in records],
        "assets": [[_use(use) for use in record.assets] for record in records],
        "captured": [record.run for record in records],
    }
    return pa.table({
        name: build(special.get(name) or [getattr(record, name) for record in records], kind)
        for name, kind in types.items()
    })  # fmt: skip


def file_text(name: str) -> str:
    """Return a file's name as text that UTF-8 can hold, whatever its bytes are."""
    return name if name.isascii() else os.fsencode(name).decode("latin-1")


def file_name(text: str) -> str:
    """Return the file's name that ``file_text`` made *text* of."""
    return text if text.isascii() else os.fsdecode(text.encode("latin-1"))


def _use(use: Use) -> dict[str, str | None]:
    return {field.name: getattr(use, field.name) for field in fields(Use)}
