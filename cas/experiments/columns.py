"""Columns: the few types that a column of results has, and what becomes of a mixed one.

BOOLEAN, BIGINT, DOUBLE, VARCHAR, TIMESTAMP (microseconds, without a zone or in UTC), DATE,
TIME, and lists of the first four. Durations are seconds. Other nested values are JSON text.
One rule decides what a mixed column is, within a record and across records: where there are
numbers, the column is theirs, text that reads as a number is one, and the rest goes to
``<column>__text``, so that MIN never compares text in silence; otherwise all is text. An
integer beyond 2^53 among floats is rounded and keeps its digits in ``__text``.
"""

from __future__ import annotations

import json
import math
import re
from functools import cache
from typing import TYPE_CHECKING, Any

from .arrays import build
from .cells import cell
from .plain import as_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    Split = tuple[pa.ChunkedArray, pa.ChunkedArray | None]

__all__ = ["TEXT", "Nulls", "from_values", "merge", "settle"]

TEXT = "__text"
EXACT = 1 << 53  # integers up to here are exact as DOUBLE

_NUMBER = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
_INTEGER = re.compile(r"\s*[+-]?\d{1,400}\s*", re.ASCII)
_NUMBERS = frozenset({"bool", "int", "float"})


def from_values(values: Sequence[Any], name: str) -> Split:
    """Return *values* as a column and, where it is mixed, the text that did not fit.

    Raises ExperimentError for a value of a type that can't be saved, with its row.
    """
    import pyarrow as pa

    plain = {float: pa.float64(), int: pa.int64()}
    kinds = set(map(type, values))
    if len(kinds) == 1 and (target := plain.get(kinds.pop())):  # as most are, and told at once
        try:
            return pa.chunked_array([build(values, target)]), None
        except OverflowError:
            pass  # an integer beyond 64 bits
    cells = [cell(value, name, row) for row, value in enumerate(values)]
    families = {family for family, _ in cells} - {""}
    if "float" in families and not families <= _NUMBERS and _only_nan(cells):
        # pandas says "missing" by NaN, in a column of text too
        cells = [("", None) if family == "float" else (family, v) for family, v in cells]
        families.discard("float")
    if not families:
        return pa.chunked_array([pa.nulls(len(cells), pa.float64())]), None
    if families & _NUMBERS:
        return _numbers(cells)
    if len(families) == 1:
        family = families.pop()
        if family == "list":
            return _lists([value for _, value in cells]), None
        return pa.chunked_array([build([v for _, v in cells], _arrow_type(family))]), None
    return pa.chunked_array([build([_text(*cell) for cell in cells], pa.string())]), None


def settle(array: pa.ChunkedArray, name: str) -> Split:
    """Return an Arrow column as one of the types above; raise ExperimentError if it can't be."""
    import pyarrow as pa
    import pyarrow.types as types

    kind = array.type
    if kind in _settled():
        return array, None
    if isinstance(kind, pa.BaseExtensionType):
        chunks = [chunk.storage for chunk in array.chunks]
        return settle(pa.chunked_array(chunks, kind.storage_type), name)
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return settle(array.cast(kind.value_type), name)
    target = _target(kind)
    if target is not None:
        try:
            unsafe = types.is_timestamp(kind) or types.is_time(kind)
            return array.cast(target, safe=not unsafe), None
        except pa.ArrowInvalid:
            pass  # unsigned integers beyond 2^63, dates beyond the range: value by value
    if types.is_duration(kind):
        import pyarrow.compute as pc

        unit = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}[kind.unit]
        return pc.divide(array.cast(pa.int64()).cast(pa.float64(), safe=False), unit), None
    return from_values(array.to_pylist(), name)


class Nulls:
    """Null arrays that share their memory.

    A record of 10,000 columns beside one of a million rows would else take 80 GB of nulls.
    """

    def __init__(self) -> None:
        self._largest: dict[pa.DataType, pa.Array] = {}

    def get(self, count: int, kind: pa.DataType) -> pa.Array:
        """Return *count* nulls of a type."""
        import pyarrow as pa

        known = self._largest.get(kind)
        if known is None or len(known) < count:
            known = self._largest[kind] = pa.nulls(count, kind)
        return known.slice(0, count)


def merge(parts: Sequence[pa.ChunkedArray | int], name: str, nulls: Nulls) -> Split:
    """Return the parts of one column, from records of different types, as one column.

    A number stands for so many rows that lack the column; they, and a part that is all
    null, have no say. Every part is settled.
    """
    import pyarrow as pa
    import pyarrow.types as types

    given = [part for part in parts if not isinstance(part, int)]
    said = {part.type for part in given if part.null_count < len(part)}
    if not said:
        said = {given[0].type if given else pa.float64()}
    if len(said) == 1:
        target = said.pop()
    elif all(map(_is_number, said)):
        target = pa.float64() if pa.float64() in said else pa.int64()
    elif all(types.is_list(kind) and _is_number(kind.value_type) for kind in said):
        target = pa.list_(pa.float64())
    else:
        return from_values(_listed(parts), name)
    chunks = []
    for part in parts:
        if isinstance(part, int):
            chunks.append(nulls.get(part, target))
        elif part.type == target:
            chunks.extend(part.chunks)
        elif part.null_count == len(part):
            chunks.append(nulls.get(len(part), target))
        else:
            if target == pa.float64() and part.type == pa.int64() and not _fits(part):
                return from_values(_listed(parts), name)
            whole = part.cast(pa.int8()) if types.is_boolean(part.type) else part
            chunks.extend(whole.cast(target, safe=False).chunks)
    return pa.chunked_array(chunks, target), None


def join_numbers(columns: Sequence[pa.ChunkedArray]) -> pa.ChunkedArray | None:
    """Return columns of numbers, of which each row has one, as one; None if that may not be.

    It may not where a column is no number, or an integer too large for the floats beside it:
    ``merge`` decides on those value by value.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    said = [column for column in columns if column.null_count < len(column)] or [columns[0]]
    if not all(_is_number(column.type) for column in columns):
        return None
    types = {column.type for column in said}
    if len(types) == 1:
        target = types.pop()
    else:
        target = pa.float64() if pa.float64() in types else pa.int64()
    cast = []
    for column in said:
        if target == pa.float64() and column.type == pa.int64() and not _fits(column):
            return None
        narrow = column.type != target and column.type == pa.bool_()
        cast.append((column.cast(pa.int8()) if narrow else column).cast(target, safe=False))
    return pc.coalesce(*cast) if len(cast) > 1 else cast[0]


def _fits(integers: pa.ChunkedArray) -> bool:
    """Say whether DOUBLE holds all of them exactly."""
    import pyarrow.compute as pc

    ends = pc.min_max(integers).as_py()
    return bool(ends["min"] >= -EXACT and ends["max"] <= EXACT)


def _listed(parts: Sequence[pa.ChunkedArray | int]) -> list[Any]:
    values: list[Any] = []
    for part in parts:
        values.extend([None] * part if isinstance(part, int) else part.to_pylist())
    return values


def _only_nan(cells: Sequence[tuple[str, Any]]) -> bool:
    return all(family != "float" or math.isnan(value) for family, value in cells) and not any(
        family in ("bool", "int") for family, _ in cells
    )


def _numbers(cells: Sequence[tuple[str, Any]]) -> Split:
    import pyarrow as pa

    numbers: list[bool | int | float | None] = []
    texts: list[str | None] = []
    for family, value in cells:
        number, text = (value, None) if family in _NUMBERS or not family else _parse(family, value)
        numbers.append(number)
        texts.append(text)
    said = [number for number in numbers if number is not None]
    if all(isinstance(number, bool) for number in said):
        target = pa.bool_()
    elif all(isinstance(n, int) and -(1 << 63) <= n < 1 << 63 for n in said):
        target = pa.int64()
        numbers = [None if number is None else int(number) for number in numbers]
    else:
        target = pa.float64()
        for row, number in enumerate(numbers):
            if isinstance(number, int) and not -EXACT <= number <= EXACT:
                texts[row] = str(number)
        numbers = [None if number is None else _float(number) for number in numbers]
    column = pa.chunked_array([build(numbers, target)])
    if not any(text is not None for text in texts):
        return column, None
    return column, pa.chunked_array([build(texts, pa.string())])


def _float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:  # an integer of more than 308 digits
        return math.inf if number > 0 else -math.inf


def _parse(family: str, value: Any) -> tuple[float | None, str | None]:
    text = _text(family, value) or ""
    if family == "text" and len(text) <= 400:
        if _INTEGER.fullmatch(text):
            return int(text), None
        if _NUMBER.fullmatch(text) and math.isfinite(float(text)):
            return float(text), None
    return None, text


def _text(family: str, value: Any) -> str | None:
    if not family:
        return None
    if family == "text":
        return str(value)
    if family == "list":
        return json.dumps(as_json(value, "value"), ensure_ascii=False)
    return str(value.isoformat())


def _lists(values: Sequence[list[Any] | None]) -> pa.ChunkedArray:
    """Return lists of one plain type as lists, all others as JSON text."""
    import pyarrow as pa

    plain = [None if value is None else [_plain(item) for item in value] for value in values]
    kinds = {type(item) for value in plain if value for item in value} - {type(None)}
    target = None
    if kinds <= {bool, int, float}:
        target = {frozenset({bool}): pa.bool_(), frozenset({int}): pa.int64()}.get(
            frozenset(kinds), pa.float64() if bool not in kinds else None
        )
    elif kinds == {str}:
        target = pa.string()
    if target is not None:
        if target == pa.float64():
            plain = [v and [None if i is None else _float(i) for i in v] for v in plain]
        try:
            return pa.chunked_array([build(plain, pa.list_(target))])
        except (OverflowError, UnicodeEncodeError):
            pass  # an integer beyond 64 bits, broken text: as JSON
    texts = [None if value is None else _text("list", value) for value in plain]
    return pa.chunked_array([build(texts, pa.string())])


def _plain(item: Any) -> Any:
    return item.tolist() if hasattr(item, "tolist") else item


def _is_number(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return kind in (pa.bool_(), pa.int64(), pa.float64())


@cache
def _settled() -> frozenset[pa.DataType]:
    import pyarrow as pa

    scalars = [pa.bool_(), pa.int64(), pa.float64(), pa.string()]
    times = [pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.date32(), pa.time64("us")]
    return frozenset([*scalars, *times, *map(pa.list_, scalars)])


def _arrow_type(family: str) -> pa.DataType:
    import pyarrow as pa

    return {
        "text": pa.string(),
        "stamp": pa.timestamp("us"),
        "zoned": pa.timestamp("us", "UTC"),
        "date": pa.date32(),
        "time": pa.time64("us"),
    }[family]


def _target(kind: pa.DataType) -> pa.DataType | None:
    """Return the type that a column of *kind* is cast to, or None if a cast won't do."""
    import pyarrow as pa
    import pyarrow.types as types

    if types.is_integer(kind):
        return pa.int64()
    if types.is_floating(kind) or types.is_null(kind):
        return pa.float64()
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return pa.string()
    if types.is_timestamp(kind):
        return pa.timestamp("us", "UTC" if kind.tz else None)
    if types.is_date(kind):
        return pa.date32()
    if types.is_time(kind):
        return pa.time64("us")
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        inner = _target(kind.value_type)
        if types.is_boolean(kind.value_type):
            inner = pa.bool_()
        if inner in (pa.bool_(), pa.int64(), pa.float64(), pa.string()):
            return pa.list_(inner)
    return None
