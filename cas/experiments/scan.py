"""Scan: a directory of records, read into three Arrow tables.

What the views need is here and nowhere else, so an index that keeps these tables can take the
place of ``tables`` without another room seeing it. A record's identity, metadata, assets and
run come from its footer, its rows from the columns that are not ours. A file that can't be
read is skipped and named; names that begin with a dot count for nothing.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any

from cas.bounded import load_json
from cas.digest import is_digest
from cas.errors import ExperimentError

from .arrays import build
from .columns import TEXT, Nulls, merge, settle
from .record import RESERVED, STATUSES, VERSION, Run, Use, assets_type, run_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pyarrow as pa

__all__ = ["Record", "References", "Tables", "records", "references", "tables"]

READERS = 4  # threads; pyarrow reads without the interpreter's lock, 1,000 files in 0.6 s
FEW = 16  # files, for which a pool costs more than it saves

_RUN_TYPES: dict[str, type] = {"git_dirty": bool, "git_moved": bool, "argv": list, "seed": int}


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What the footer of one record says, checked."""

    path: str
    experiment_id: str
    experiment_name: str
    created_at: datetime
    status: str
    tags: list[str]
    metadata: str
    """a JSON object"""
    assets: tuple[Use, ...]
    run: dict[str, Any]
    rows: int
    latest: bool = True
    """whether it is the newest of its name"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """The records of a directory, oldest first; ``run`` is a record's position in ``runs``."""

    rows: pa.Table
    """run, row_index, and the union of the results' columns"""
    runs: pa.Table
    """run, the columns of a record that are the same in all its rows, rows, latest, note"""
    uses: pa.Table
    """run, experiment_id, name, kind, role, tree, commit"""


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """What records name in the store; ``unreadable`` files may name more."""

    trees: frozenset[str]
    objects: frozenset[str]
    unreadable: tuple[str, ...]


def records(directory: Path, warn: Callable[[str], None] | None = None) -> list[Record]:
    """Return what the footers say, oldest first."""
    return _ordered([record for record, _ in _read(directory, warn, rows=False)])


def references(directory: Path) -> References:
    """Return the trees and objects that the records of *directory* name."""
    unreadable: list[str] = []
    trees: set[str] = set()
    objects: set[str] = set()
    for record, _ in _read(directory, unreadable.append, rows=False):
        trees.update(use.tree for use in record.assets)
        named = (record.run[key] for key in ("git_diff", "packages", "lock"))
        objects.update(name for name in named if is_digest(name))
    return References(
        trees=frozenset(trees), objects=frozenset(objects), unreadable=tuple(unreadable)
    )


def tables(directory: Path, warn: Callable[[str], None] | None = None) -> Tables:
    """Return all records of *directory*, and empty tables where there are none."""
    import pyarrow as pa

    found = {record.experiment_id: (record, body) for record, body in _read(directory, warn)}
    ordered = _ordered([record for record, _ in found.values()])
    bodies = [found[record.experiment_id][1] for record in ordered]
    types = {
        "experiment_id": pa.string(),
        "experiment_name": pa.string(),
        "created_at": pa.timestamp("us", "UTC"),
        "status": pa.string(),
        "tags": pa.list_(pa.string()),
        "metadata": pa.string(),
        "rows": pa.int64(),
        "latest": pa.bool_(),
    }
    runs: dict[str, pa.Array] = {"run": build(range(len(ordered)), pa.int64())}
    for name, kind in types.items():
        runs[name] = build([getattr(record, name) for record in ordered], kind)
    runs["note"] = pa.nulls(len(ordered), pa.string())
    runs["assets"] = build([[_use(u) for u in r.assets] for r in ordered], assets_type())
    runs["captured"] = build([record.run for record in ordered], run_type())
    uses = [(i, r.experiment_id, use) for i, r in enumerate(ordered) for use in r.assets]
    columns = {
        "run": build([i for i, _, _ in uses], pa.int64()),
        "experiment_id": build([key for _, key, _ in uses], pa.string()),
    }
    for field in fields(Use):
        columns[field.name] = build([getattr(u, field.name) for _, _, u in uses], pa.string())
    return Tables(rows=_union(bodies), runs=pa.table(runs), uses=pa.table(columns))


def _use(use: Use) -> dict[str, str | None]:
    return {field.name: getattr(use, field.name) for field in fields(Use)}


def _ordered(found: list[Record]) -> list[Record]:
    found.sort(key=lambda record: (record.created_at, record.experiment_id))
    newest = {record.experiment_name: record.experiment_id for record in found}
    return [
        record
        if newest[record.experiment_name] == record.experiment_id
        else replace(record, latest=False)
        for record in found
    ]


def _read(
    directory: Path, warn: Callable[[str], None] | None, *, rows: bool = True
) -> Iterator[tuple[Record, pa.Table]]:
    """Yield each record that can be read, with its own columns if *rows*; name the others."""
    from concurrent.futures import ThreadPoolExecutor

    import pyarrow as pa

    def attempt(path: str) -> tuple[Record, pa.Table] | str | None:
        try:
            return _read_file(path, rows=rows)
        except FileNotFoundError:
            return None  # it went while we looked
        except (OSError, pa.ArrowException, ValueError, KeyError, TypeError, AttributeError,
                OverflowError, RecursionError, ExperimentError) as error:  # fmt: skip
            return str(error).partition("\n")[0].rstrip(".") or type(error).__name__

    paths = _paths(directory)
    if len(paths) > FEW:
        with ThreadPoolExecutor(READERS) as pool:
            outcomes = list(pool.map(attempt, paths))
    else:
        outcomes = list(map(attempt, paths))
    seen: dict[str, str] = {}
    for path, outcome in zip(paths, outcomes, strict=True):
        if outcome is None:
            continue
        if isinstance(outcome, str):
            if warn is not None:
                warn(f"skipped {path!r}: not a record that can be read ({outcome:.160})")
            continue
        record, body = outcome
        first = seen.setdefault(record.experiment_id, path)
        if first != path:
            if warn is not None:
                warn(f"skipped {path!r}: the same record as {os.path.basename(first)!r}")
            continue
        yield record, body


def _paths(directory: Path) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            names = [
                entry.path
                for entry in entries
                if entry.name.endswith(".parquet")
                and not entry.name.startswith(".")
                and entry.is_file()  # opening a FIFO would wait for ever
            ]
    except FileNotFoundError:
        return []
    except OSError as error:
        place = os.fspath(directory)
        raise ExperimentError(f"can't read experiments in {place!r}: {error.strerror}") from error
    return sorted(names)


def _read_file(path: str, *, rows: bool) -> tuple[Record, pa.Table]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, pre_buffer=False) as file:
        footer = (file.metadata.metadata or {}).get(b"cas")
        if footer is None:
            raise ExperimentError("it has no key 'cas' in its footer")
        record = _parse(footer, path, file.metadata.num_rows)
        if not rows:
            return record, pa.table({})
        schema = file.schema_arrow
        names = [name for name in schema.names if name.lower() not in RESERVED]
        if len({name.lower() for name in names}) != len(names):
            raise ExperimentError("two of its columns have one name")
        body = file.read(columns=["row_index", *names], use_threads=False)
        body = body.select(["row_index", *names])
    columns: dict[str, pa.ChunkedArray] = {"row_index": body.column("row_index").cast(pa.int64())}
    for name in names:
        column, text = settle(body.column(name), name)
        columns[name] = column
        if text is not None:
            columns[name + TEXT] = text
    return record, pa.table(columns)


def _parse(footer: bytes, path: str, rows: int) -> Record:
    """Check the JSON of a footer; raise ValueError, KeyError, TypeError or ExperimentError."""
    document = load_json(footer)
    if not isinstance(document, dict) or not isinstance(document.get("version"), int):
        raise ExperimentError("its key 'cas' is not a record's")
    if document["version"] > VERSION:
        raise ExperimentError(f"a newer cas wrote it, in version {document['version']}")
    run = document["run"]
    captured: dict[str, Any] = {}
    for field in fields(Run):
        value = run.get(field.name)
        captured[field.name] = _typed(value, _RUN_TYPES.get(field.name, str), field.name)
    if captured["argv"] is not None:
        captured["argv"] = [_needed(word, "argv") for word in captured["argv"]]
    if captured["seed"] is not None and not -(1 << 63) <= captured["seed"] < 1 << 63:
        raise ExperimentError("its seed is beyond 64 bits")
    if document["status"] not in STATUSES or not isinstance(document["metadata"], dict):
        raise ExperimentError("its status or its metadata is not a record's")
    uses = []
    for use in document["assets"]:
        words = {key: _needed(use[key], key) for key in ("name", "kind", "role", "tree")}
        uses.append(Use(**words, commit=_typed(use.get("commit"), str, "commit")))
    return Record(
        path=path,
        experiment_id=_needed(document["experiment_id"], "experiment_id"),
        experiment_name=_needed(document["experiment_name"], "experiment_name"),
        created_at=datetime.fromisoformat(document["created_at"]).astimezone(UTC),
        status=document["status"],
        tags=[_needed(tag, "tags") for tag in document["tags"]],
        metadata=_encodable(
            json.dumps(document["metadata"], ensure_ascii=False, separators=(",", ":"))
        ),
        assets=tuple(uses),
        run=captured,
        rows=rows,
    )


def _typed(value: Any, kind: type, name: str) -> Any:
    if value is not None and type(value) is not kind:
        raise ExperimentError(f"its {name} is {type(value).__name__!r}, expected {kind.__name__!r}")
    if isinstance(value, str):
        return _encodable(value)
    return value


def _needed(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise ExperimentError(f"its {name} is {value!r:.40}, expected text")
    return _encodable(value)


def _encodable(text: str) -> str:
    """Return *text*; raise ValueError for a lone surrogate, which JSON can write."""
    text.encode()
    return text


def _union(bodies: list[pa.Table]) -> pa.Table:
    """Return the rows of all records, columns by name, whatever their case and types."""
    import pyarrow as pa
    import pyarrow.compute as pc

    groups: list[pa.Table] = []  # of neighbours with one schema: few, where records are many
    start = 0
    for _, same in groupby(bodies, key=lambda body: body.schema):
        members = list(same)
        counts = [body.num_rows for body in members]
        whole = pa.concat_tables(members)
        positions = [start + i for i, count in enumerate(counts) for _ in range(count)]
        groups.append(whole.append_column("run", build(positions, pa.int64())))
        start += len(members)
    names: dict[str, str] = {"run": "run", "row_index": "row_index"}
    for group in groups:
        for name in group.column_names:
            names.setdefault(name.lower(), name)
    base = [key for key in names if not key.endswith(TEXT) or key.removesuffix(TEXT) not in names]
    lookup = [{name.lower(): name for name in group.column_names} for group in groups]
    result: dict[str, pa.ChunkedArray] = {}
    if not groups:
        empty = pa.chunked_array([build([], pa.int64())])
        return pa.table({"run": empty, "row_index": empty})
    nulls = Nulls()

    def parts(key: str) -> list[pa.ChunkedArray | int]:
        return [
            group.column(own[key]) if key in own else group.num_rows
            for group, own in zip(groups, lookup, strict=True)
        ]

    for key in base:
        column, rest = merge(parts(key), names[key], nulls)
        result[names[key]] = column
        if key + TEXT in names:
            kept, _ = merge(parts(key + TEXT), names[key] + TEXT, nulls)
            text = kept.cast(pa.string())
            rest = text if rest is None else pc.coalesce(text, rest)
        if rest is not None:
            result[names[key] + TEXT] = rest
    return pa.table(result)
