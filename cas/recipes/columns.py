"""Which columns of a dataset's files are its text, told without reading all of them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from cas.errors import RecipeError
from cas.recipes import rows
from cas.recipes.reading import File, decoded
from cas.recipes.selection import kind_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["text_columns"]

_ROWS = 100  # at the beginning of a file; their keys together are the columns


def text_columns(tree: Path, files: Iterable[str]) -> tuple[str, ...] | None:
    """Return the columns that are the text of the first of *files* that has columns.

    None where all are plain text, or no column's name says that it is the text.
    """
    for name in files:
        kind = kind_of(name)
        if kind == "txt":
            continue
        file = File(tree / name, name, None, None)
        try:
            names = _parquet(file) if kind == "parquet" else _names(file, kind)
            return rows.columns_of(file, names) if names else None
        except RecipeError:
            return None
    return None


def _parquet(file: File) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return list(pq.read_schema(file.path).names)
    except (pa.ArrowException, OSError) as error:
        raise file.corrupt(error) from error


def _names(file: File, kind: str | None) -> list[str]:
    read = {"jsonl": rows.json_lines, "json": rows.json_rows, "csv": rows.csv_rows}.get(str(kind))
    if read is None:
        return []
    head = [row for _, row in itertools.islice(read(file, decoded(file)), _ROWS)]
    return list(dict.fromkeys(key for row in head if isinstance(row, dict) for key in row))
