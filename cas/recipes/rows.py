"""Rows of jsonl, json, csv and parquet files: which columns are the text, and its values."""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import sys
from typing import TYPE_CHECKING, Any

from cas.recipes.reading import lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from cas.errors import RecipeError
    from cas.recipes.reading import File

__all__ = ["COLUMNS", "columns_of", "csv_rows", "json_lines", "json_rows", "parquet_texts", "texts"]

COLUMNS = ("text", "content", "textbook", "story", "code")
_PAIR = ("prompt", "response")
_ROWS = 1024  # of a parquet batch
_LOOKAHEAD = 100  # rows of JSON whose keys together are the columns


def json_lines(file: File, blocks: Iterable[str]) -> Iterator[tuple[str, object]]:
    """Yield the place and the value of each line that is not blank."""
    after = f" after byte {file.stretch.start}" if file.stretch and file.stretch.start else ""
    for number, line in enumerate(lines(blocks), 1):
        if line.isspace():
            continue
        try:
            yield f"line {number}{after}", json.loads(line)
        except (ValueError, RecursionError) as error:
            # of a line, json knows only the column
            said = f"{error}"
            if isinstance(error, json.JSONDecodeError):
                said = f"{error.msg} at column {error.colno}"
            what = f"line {number}{after}: expected one JSON value a line: {said}"
            raise file.error(what, hint="--files PATTERN") from None


def json_rows(file: File, blocks: Iterable[str]) -> Iterator[tuple[str, object]]:
    """Yield the rows of a list, or of one object a line: files called .json are both."""
    text = "".join(blocks)
    if text.lstrip()[:1] == "{":
        yield from json_lines(file, [text])
        return
    try:
        rows = json.loads(text) if text.strip() else []
    except (ValueError, RecursionError) as error:
        raise file.error(f"expected JSON: {error}", hint="--files PATTERN") from None
    if not isinstance(rows, list):
        what = f"expected a list of rows, found {type(rows).__name__}"
        raise file.error(what, hint="--files PATTERN")
    for number, row in enumerate(rows, 1):
        yield f"row {number}", row


def csv_rows(file: File, blocks: Iterable[str]) -> Iterator[tuple[str, object]]:
    """Yield the rows under the header; cells that a short row lacks are null."""
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # 128 KiB by default; documents are longer
    reader = csv.reader(lines(blocks), strict=True)
    try:
        header = next(reader, None)
        if header is None:
            return
        # a name that two columns have is no name
        names = [name if header.count(name) == 1 else None for name in header]
        for cells in reader:
            if len(cells) > len(header):
                what = f"line {reader.line_num}: expected {len(header)} cells, found {len(cells)}"
                raise file.error(what, hint="--files PATTERN")
            yield (
                f"line {reader.line_num}",
                {
                    name: cell
                    for name, cell in itertools.zip_longest(names, cells)
                    if name is not None
                },
            )
    except csv.Error as error:
        raise file.error(f"line {reader.line_num}: {error}", hint="--files PATTERN") from None


def texts(
    file: File,
    rows: Iterator[tuple[str, object]],
    first: Iterator[tuple[str, object]] | None = None,
) -> Iterator[str]:
    """Yield the text of rows that are objects or strings.

    *first* are the first rows of the file, whose keys are the columns, where *rows* begin later.
    """
    head = list(itertools.islice(rows, _LOOKAHEAD))
    seen = head if first is None else itertools.islice(first, _LOOKAHEAD)
    names = dict.fromkeys(key for _, row in seen if isinstance(row, dict) for key in row)
    columns = columns_of(file, list(names)) if names else ()
    filled = False
    number = 0
    for number, (place, row) in enumerate(itertools.chain(head, rows), 1):  # noqa: B007
        if isinstance(row, str) and file.column is None:
            values: list[object] = [row]
        elif isinstance(row, dict):
            columns = columns or columns_of(file, list(row))
            values = [row.get(column) for column in columns]
        else:
            expected = "an object" if file.column else "an object or a string"
            what = f"{place}: expected {expected}, found {type(row).__name__}"
            raise file.error(what, hint="--files PATTERN")
        text = "\n\n".join(filter(None, (_text(file, place, value) for value in values)))
        if text:
            filled = True
            yield text
    if number and not filled and file.stretch is None:
        raise _empty(file, columns, number)


def _text(file: File, place: str, value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        what = f"{place}: expected text, found {type(value).__name__}"
        raise file.error(what, hint="--column NAME")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            found = f"the lone surrogate U+{ord(value[error.start]):04X}"
            raise file.error(f"{place}: expected text, found {found}") from None
    return value


def columns_of(file: File, names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the columns whose values, joined, are the text."""
    twins = {name for name in names if names.count(name) > 1}
    if file.column is not None:
        wanted = (file.column,) if isinstance(file.column, str) else file.column
        for name in wanted:
            if name not in names or name in twins:
                found = ", ".join(map(repr, names)) or "none"
                raise file.error(f"no column {name!r}, found {found}", hint="--column NAME")
        return wanted
    known = {
        **{name.lower(): name for name in reversed(names)},
        **{name: name for name in names},
    }
    known = {key: name for key, name in known.items() if name not in twins}
    for name in COLUMNS:
        if name in known:
            return (known[name],)
    if all(name in known for name in _PAIR):
        return tuple(known[name] for name in _PAIR)
    usual = f"{', '.join(COLUMNS)}, or {' and '.join(_PAIR)}"
    what = f"expected a column {usual}, found {', '.join(map(repr, names)) or 'none'}"
    raise file.error(what, hint="--column NAME")


def _empty(file: File, columns: Sequence[str], rows: int) -> RecipeError:
    name = " and ".join(map(repr, columns))
    what = f"column {name}: expected text" if columns else "expected text"
    return file.error(f"{what}, found {rows} empty or null rows", hint="--column NAME")


# Parquet ---------------------------------------------------------------------------------


def parquet_texts(file: File) -> Iterator[str]:
    """Yield the text of the rows of a parquet file, a batch in memory at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with contextlib.closing(pq.ParquetFile(file.path)) as parquet:
            schema = parquet.schema_arrow
            columns = columns_of(file, schema.names)
            for column in columns:
                _check_type(file, column, schema.field(column).type)
            yield from _batches(file, parquet, columns)
    except (pa.ArrowException, OSError) as error:
        raise file.corrupt(error) from error


def _check_type(file: File, column: str, kind: object) -> None:
    import pyarrow.types as pt

    value = kind.value_type if pt.is_dictionary(kind) else kind  # type: ignore[attr-defined]
    if not (
        pt.is_string(value)
        or pt.is_large_string(value)
        or pt.is_string_view(value)
        or pt.is_null(value)
    ):
        what = f"column {column!r}: expected text, found {kind}"
        raise file.error(what, hint="--column NAME")


def _batches(file: File, parquet: object, columns: tuple[str, ...]) -> Iterator[str]:
    size = file.path.stat().st_size
    total: int = parquet.metadata.num_rows  # type: ignore[attr-defined]
    groups = list(range(parquet.num_row_groups))  # type: ignore[attr-defined]
    if file.stretch:
        groups = groups[file.stretch.start : file.stretch.end]
        size = file.stretch.size
        total = sum(parquet.metadata.row_group(n).num_rows for n in groups)  # type: ignore[attr-defined]
    batches = parquet.iter_batches(  # type: ignore[attr-defined]
        batch_size=_ROWS, columns=list(columns), row_groups=groups, use_threads=False
    )
    rows = 0
    filled = False
    for batch in batches:
        try:
            values = [_values(batch.column(column), file.errors) for column in columns]
        except UnicodeDecodeError as error:
            where = f"invalid UTF-8 in rows {rows + 1} to {rows + batch.num_rows}"
            what = f"{where}, at byte {error.start} of one"
            raise file.error(what, hint="--errors replace, or --files PATTERN") from None
        rows += batch.num_rows
        file.report(size * rows // max(total, 1))
        for row in zip(*values, strict=True):
            text = "\n\n".join(filter(None, row))
            if text:
                filled = True
                yield text
    if rows and not filled and file.stretch is None:
        raise _empty(file, columns, rows)


def _values(column: Any, errors: str) -> list[str | None]:
    """Return the values of a column as text."""
    import pyarrow as pa

    try:
        values: list[str | None] = column.to_pylist()
    except UnicodeDecodeError:
        if errors == "strict":
            raise
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        found = column.cast(pa.large_binary()).to_pylist()
        values = [None if value is None else value.decode(errors=errors) for value in found]
    return values
