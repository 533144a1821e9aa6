"""Tables: CSV, TSV, JSONL and Parquet files, one experiment a file, or several by a column.

A column ``experiment_name`` divides a file into experiments; with it stand the columns that
``cas experiments export --rows`` writes: experiment_id, metadata, status, tags, assets. A
Parquet file that is a record of cas comes back as ``Copied``, to be taken over as it is.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cas.bounded import load_json
from cas.experiments.read import read_files
from cas.experiments.record import RESERVED, STATUSES, Use

from .found import Bad, Found, digest_of
from .sqlite import refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

__all__ = ["Copied", "read_csv", "read_parquet"]

_CSV = (".csv", ".tsv", ".jsonl", ".ndjson")
_NULLS = ["", "NA", "N/A", "#N/A", "<NA>", "null", "NULL", "None"]  # not NaN: it must stay seen
_BLOCK = 1 << 30  # bytes; a row must stand in one block


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """A record of cas, checked."""

    name: str
    id: str
    path: str


def read_csv(path: Path) -> Iterator[Found | Bad]:
    """Yield the experiments of a CSV, TSV or JSONL file, or of all below a directory."""
    for one, stem in _files(path, _CSV):
        try:
            if one.suffix.lower() not in _CSV:
                raise ValueError(f"expected a name that ends in {', '.join(_CSV)}")
            table = _lines(one) if one.suffix.lower() in (".jsonl", ".ndjson") else _csv(one)
            found = list(_divided(one, stem, table))
        except (OSError, ValueError, TypeError) as error:  # Arrow's errors are ValueErrors
            yield refusal(one, error)
            continue
        yield from found


def read_parquet(path: Path) -> Iterator[Found | Copied | Bad]:
    """Yield the experiments of a Parquet file, or of all below a directory."""
    import pyarrow.parquet as pq

    for one, stem in _files(path, (".parquet", ".pq")):
        try:
            with pq.ParquetFile(one) as file:
                ours = b"cas" in (file.metadata.metadata or {})
                table = None if ours else file.read()
            found = [_copied(one)] if table is None else list(_divided(one, stem, table))
        except (OSError, ValueError, TypeError) as error:
            yield refusal(one, error)
            continue
        yield from found


def _files(path: Path, endings: tuple[str, ...]) -> list[tuple[Path, str]]:
    """Return the files with the names of their experiments; below a directory its parts too."""
    if not path.is_dir():
        return [(path, path.stem)]
    found = []
    for directory, directories, names in os.walk(path):
        directories[:] = sorted(name for name in directories if not name.startswith("."))
        for name in sorted(names):
            one = Path(directory, name)
            if one.suffix.lower() in endings and not name.startswith(".") and one.is_file():
                found.append((one, "-".join(one.relative_to(path).with_suffix("").parts)))
    return found


def _copied(path: Path) -> Copied | Bad:
    (outcome,) = read_files(path.parent, [path.name])
    if not isinstance(outcome, tuple):
        return Bad(path=str(path), reason=outcome or "it went while it was read")
    record = outcome[0]
    return Copied(name=record.experiment_name, id=record.experiment_id, path=str(path))


def _csv(path: Path) -> pa.Table:
    from pyarrow import csv

    return csv.read_csv(
        path,
        read_options=csv.ReadOptions(block_size=max(1, min(path.stat().st_size + 1, _BLOCK))),
        parse_options=csv.ParseOptions(
            delimiter="\t" if path.suffix.lower() == ".tsv" else ",", newlines_in_values=True
        ),
        convert_options=csv.ConvertOptions(null_values=_NULLS, strings_can_be_null=True),
    )


def _lines(path: Path) -> list[dict[str, Any]]:
    rows = []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = load_json(line)
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None
            if not isinstance(row, dict):
                raise ValueError(f"line {number}: expected a JSON object")
            rows.append(row)
    return rows


def _divided(path: Path, stem: str, table: pa.Table | list[dict[str, Any]]) -> Iterator[Found]:
    place = str(path.resolve())
    names = list(table[0] if table else ()) if isinstance(table, list) else table.column_names
    if "experiment_name" not in names:
        digest = digest_of(path.name, path.read_bytes().hex())
        yield Found(name=stem, id=place, digest=digest, rows=table, metadata={})
        return
    rows = table if isinstance(table, list) else table.to_pylist()
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        name, key = row.get("experiment_name"), row.get("experiment_id")
        groups.setdefault((str(name or stem), str(key or "")), []).append(row)
    for (name, key), members in groups.items():
        first = members[0]
        metadata = _json(first.get("metadata"))
        yield Found(
            name=name,
            id=key or f"{place}#{name}",
            digest=digest_of(name, key, members),
            rows=[{k: v for k, v in row.items() if k.lower() not in RESERVED} for row in members],
            metadata=metadata if isinstance(metadata, dict) else {},
            status=first["status"] if first.get("status") in STATUSES else "finished",
            tags=tuple(tag for tag in _json(first.get("tags")) or () if isinstance(tag, str)),
            uses=tuple(_uses(_json(first.get("assets")))),
        )


def _json(value: Any) -> Any:
    """Return what is JSON text in CSV, and is nested by itself in Parquet and JSONL."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return None


def _uses(value: Any) -> Iterator[Use]:
    for use in value if isinstance(value, list) else ():
        words = {key: use.get(key) for key in ("name", "kind", "role", "tree")}
        if all(isinstance(word, str) for word in words.values()):
            yield Use(**words, commit=use.get("commit"))
