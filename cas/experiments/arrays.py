"""Arrays: Python values and numpy's to Arrow and back, without pyarrow's own conversion.

``pyarrow.array`` imports pandas where it is installed, 0.4 s, to see whether a value is one
of its nulls, and each function of ``pyarrow.compute``, ``take`` and ``cast`` too, all of it,
30 ms. A script that saves a list of dicts, or a query, must not pay that, so arrays of the few
types that records have are made of their buffers, and looked at in them, here.
"""

from __future__ import annotations

import datetime as dt
from array import array
from itertools import accumulate
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import pyarrow as pa

__all__ = ["build", "from_numpy", "is_null", "joined", "repeat", "to_list", "to_numpy"]

_EPOCH_UTC = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_EPOCH = _EPOCH_UTC.replace(tzinfo=None)
_EPOCH_DAY = _EPOCH.toordinal()
_MICROSECOND = dt.timedelta(microseconds=1)


def build(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Return *values*, of the Python type that fits *kind* or None, as an array.

    Raises OverflowError where a number, or the text together, does not fit.
    """
    import pyarrow as pa
    import pyarrow.types as types

    count = len(values)
    nulls = values.count(None)
    valid = _bits([value is not None for value in values]) if nulls else None
    if types.is_struct(kind):
        children = [
            build([value and value[f.name] for value in values], f.type) for f in kind.fields
        ]
        return pa.Array.from_buffers(kind, count, [valid], nulls, children=children)
    if types.is_list(kind):
        flat = [item for value in values if value for item in value]
        offsets = _offsets([len(value) if value else 0 for value in values])
        children = [build(flat, kind.value_type)]
        return pa.Array.from_buffers(kind, count, [valid, offsets], nulls, children=children)
    if types.is_string(kind):
        texts = [value.encode() if value else b"" for value in values]
        buffers = [valid, _offsets([len(text) for text in texts]), pa.py_buffer(b"".join(texts))]
        return pa.Array.from_buffers(kind, count, buffers, nulls)
    if types.is_boolean(kind):
        return pa.Array.from_buffers(kind, count, [valid, _bits(values)], nulls)
    numbers = pa.py_buffer(_fixed(values, kind))
    return pa.Array.from_buffers(kind, count, [valid, numbers], nulls)


def repeat(value: Any, kind: pa.DataType, count: int) -> pa.Array:
    """Return *value* *count* times."""
    import pyarrow as pa

    one = build([value], kind)
    return pa.repeat(one[0], count) if count else one.slice(0, 0)


def joined(chunks: Sequence[pa.Array], kind: pa.DataType) -> pa.Array:
    """Return *chunks* of one type as one array, without a copy where there is only one."""
    import pyarrow as pa

    if not chunks:  # pyarrow makes an array of no values by its own conversion
        return build([], kind)
    return pa.concat_arrays(chunks) if len(chunks) > 1 else chunks[0]


def from_numpy(values: np.ndarray) -> pa.Array:
    """Return numpy's booleans or integers of 32 or 64 bits as an array."""
    import numpy as np
    import pyarrow as pa

    if values.dtype == np.bool_:
        bits = pa.py_buffer(np.packbits(values, bitorder="little"))
        return pa.Array.from_buffers(pa.bool_(), len(values), [None, bits])
    kind = pa.int32() if values.dtype == np.int32 else pa.int64()
    numbers = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(kind, len(values), [None, numbers])


def to_numpy(values: pa.Array) -> np.ndarray:
    """Return booleans, numbers or times as numpy has them, times as integers.

    Where one is null stands anything. Only booleans are copied.
    """
    import numpy as np
    import pyarrow.types as types

    if types.is_boolean(values.type):
        return _unpacked(values.buffers()[1], values)
    kind = np.dtype(f"{'f' if str(values.type) == 'double' else 'i'}{values.type.bit_width // 8}")
    data = values.buffers()[1]
    if data is None:  # as an array of no values may be
        return np.empty(0, kind)
    return np.frombuffer(data, kind)[values.offset : values.offset + len(values)]


def to_list(values: pa.ChunkedArray) -> list[Any]:
    """Return a column's values as Python has them.

    Raises OverflowError for a time beyond its years.
    """
    kind = values.type
    if str(kind) not in ("timestamp[us]", "timestamp[us, tz=UTC]"):
        return list(values.to_pylist())
    start = _EPOCH_UTC if kind.tz else _EPOCH
    return [
        None if null else start + moment * _MICROSECOND
        for chunk in values.chunks
        for moment, null in zip(to_numpy(chunk).tolist(), is_null(chunk).tolist(), strict=True)
    ]


def is_null(values: pa.Array) -> np.ndarray:
    """Say of each value whether it is null."""
    import numpy as np

    if not values.null_count:
        return np.zeros(len(values), np.bool_)
    return ~_unpacked(values.buffers()[0], values)


def _unpacked(bits: pa.Buffer | None, values: pa.Array) -> np.ndarray:
    """Return the bits of *values*, in a buffer of theirs, as booleans."""
    import numpy as np

    start, stop = values.offset, values.offset + len(values)
    packed = np.empty(0, np.uint8) if bits is None else np.frombuffer(bits, np.uint8)
    return np.unpackbits(packed, count=stop, bitorder="little")[start:].astype(np.bool_)


def _fixed(values: Sequence[Any], kind: pa.DataType) -> array[Any]:
    import pyarrow.types as types

    if types.is_float64(kind):
        return array("d", [0.0 if value is None else value for value in values])
    if types.is_timestamp(kind):
        start = _EPOCH_UTC if kind.tz else _EPOCH
        return array("q", [0 if v is None else (v - start) // _MICROSECOND for v in values])
    if types.is_date32(kind):
        return array("i", [0 if v is None else v.toordinal() - _EPOCH_DAY for v in values])
    if types.is_time64(kind):
        return array("q", [0 if v is None else _since_midnight(v) for v in values])
    return array("q" if kind.bit_width == 64 else "i", [value or 0 for value in values])


def _since_midnight(value: dt.time) -> int:
    seconds = (value.hour * 60 + value.minute) * 60 + value.second
    return seconds * 1_000_000 + value.microsecond


def _offsets(lengths: Sequence[int]) -> pa.Buffer:
    import pyarrow as pa

    return pa.py_buffer(array("i", accumulate(lengths, initial=0)))


def _bits(values: Sequence[Any]) -> pa.Buffer:
    import pyarrow as pa

    digits = "".join(["1" if value else "0" for value in reversed(values)])
    return pa.py_buffer(int(digits or "0", 2).to_bytes(len(values) // 8 + 1, "little"))
