"""A Parquet writer of forty lines, whose bytes no version of a library moves.

A demo's commit ids must be the same everywhere, so its Parquet files are written by hand:
one required text column, one row group, one plain page, no compression.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def make_parquet(column: str, rows: Sequence[str]) -> bytes:
    """Return a Parquet file with one required text column."""
    values = [row.encode() for row in rows]
    page = b"".join(len(value).to_bytes(4, "little") + value for value in values)
    plain = [(1, _int(len(values))), (2, _int(0)), (3, _int(3)), (4, _int(3))]
    header = _struct(
        [(1, _int(0)), (2, _int(len(page))), (3, _int(len(page))), (5, _sub(plain))],
    )
    size = len(header) + len(page)
    chunk = [
        *((1, _int(6)), (2, _list(5, [_varint(0)])), (3, _list(8, [_bytes(column.encode())]))),
        *((4, _int(0)), (5, _long(len(values))), (6, _long(size)), (7, _long(size)), (9, _long(4))),
    ]
    group = [
        (1, _list(12, [_struct([(2, _long(4)), (3, _sub(chunk))])])),
        (2, _long(size)),
        (3, _long(len(values))),
    ]
    root = [(4, _text(b"schema")), (5, _int(1))]
    leaf = [(1, _int(6)), (3, _int(0)), (4, _text(column.encode())), (6, _int(0))]
    footer = _struct(
        [
            (1, _int(1)),
            (2, _list(12, [_struct(root), _struct(leaf)])),
            (3, _long(len(values))),
            (4, _list(12, [_struct(group)])),
            (6, _text(b"hubserver")),
        ]
    )
    return b"PAR1" + header + page + footer + len(footer).to_bytes(4, "little") + b"PAR1"


# Thrift's compact protocol: a field is (type, bytes), a struct its fields and a zero.


def _varint(number: int) -> bytes:
    number <<= 1  # zigzag of what is never negative
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def _int(number: int) -> tuple[int, bytes]:
    return 5, _varint(number)


def _long(number: int) -> tuple[int, bytes]:
    return 6, _varint(number)


def _bytes(data: bytes) -> bytes:
    return bytes([len(data)]) + data  # names only: shorter than 128


def _text(data: bytes) -> tuple[int, bytes]:
    return 8, _bytes(data)


def _list(kind: int, items: Sequence[bytes]) -> tuple[int, bytes]:
    return 9, bytes([len(items) << 4 | kind]) + b"".join(items)


def _struct(fields: Sequence[tuple[int, tuple[int, bytes]]]) -> bytes:
    out, last = b"", 0
    for number, (kind, data) in fields:
        out += bytes([(number - last) << 4 | kind]) + data
        last = number
    return out + b"\0"


def _sub(fields: Sequence[tuple[int, tuple[int, bytes]]]) -> tuple[int, bytes]:
    return 12, _struct(fields)
