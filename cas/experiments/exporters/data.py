"""Data: a sheet as other programs read it."""

from __future__ import annotations

import io
import json
import math
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

    from .choice import Sheet

__all__ = ["to_csv", "to_jsonl", "to_parquet"]

NESTED_TEXT = ("metadata",)  # JSON text, which is nested in JSONL


def to_parquet(sheet: Sheet) -> bytes:
    """Return a Parquet file with the columns' own types."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(sheet.table, sink, compression="zstd")
    return bytes(sink.getvalue())


def to_csv(sheet: Sheet) -> bytes:
    """Return CSV with a head; lists and tables in it are JSON, a null is empty."""
    import pyarrow as pa
    from pyarrow import csv

    columns = [_flat(column) for column in sheet.table.columns]
    sink = io.BytesIO()
    csv.write_csv(pa.table(columns, names=sheet.table.column_names), sink)
    return sink.getvalue()


def to_jsonl(sheet: Sheet) -> bytes:
    """Return one JSON object a line; NaN and infinity, which JSON lacks, are null."""
    lines = []
    for row in sheet.table.to_pylist():
        for name in NESTED_TEXT:
            if isinstance(row.get(name), str):
                row[name] = json.loads(row[name])
        lines.append(json.dumps(_plain(row), ensure_ascii=False, default=str) + "\n")
    return "".join(lines).encode()


def _flat(column: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    import pyarrow as pa

    from cas.experiments.arrays import build

    if not pa.types.is_nested(column.type):
        return column
    texts = [
        None if value is None else json.dumps(_plain(value), ensure_ascii=False, default=str)
        for value in column.to_pylist()
    ]
    return build(texts, pa.string())


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime | date):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value
