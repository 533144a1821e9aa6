"""Stretches: a large file in parts that are read apart, each beginning with a document.

Which parts a file has depends on its bytes alone, never on who reads them with how many
processes. A parquet file is cut between row groups, a plain ``txt`` file after a separator
line, a plain ``jsonl`` file after a line. Every other file is one stretch, for it has to be
read from its beginning. The documents of all stretches, one after the other, are those of
the file.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cas.recipes.selection import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from cas.recipes.reading import File

__all__ = ["SEPARATOR", "STRETCH", "Stretch", "stretches"]

SEPARATOR = "<|endoftext|>"

STRETCH = 32 << 20
"""Bytes of text that a stretch has at least: some seconds of work, little to do again."""

_ENDS = tuple(f"\n{SEPARATOR}{end}".encode() for end in ("\n", "\r\n"))
_BLOCK = 1 << 20
_NEAR = 1 << 20  # bytes in which a separator is looked for before a document is cut
# No word reaches over it, and it is in no separator: the line before it doesn't end in ">".
_LINE = re.compile(rb"(?<=[!-=?-~])(?=\n[!-~])")


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a file: of bytes, or of the row groups of a parquet file."""

    start: int
    end: int
    """exclusive"""
    size: int
    """bytes of the file that are read for it, about"""
    inside: bool = False
    """It begins within a document."""


def stretches(file: File, least: int = STRETCH, *, inside: bool = False) -> list[Stretch]:
    """Return the stretches of a file, in their order; one at least.

    Each but the last holds *least* bytes of text or a little more. With *inside* a long
    document of a ``txt`` file is cut too, in front of a line, where no word reaches over.

    Raises:
        RecipeError: the file can't be read.
    """
    kind = kind_of(file.name)
    try:
        if kind == "parquet":
            return list(_row_groups(file, least))
        size = file.path.stat().st_size
        if size <= least or file.name.lower().endswith(".gz") or kind not in ("txt", "jsonl"):
            return [Stretch(0, size, size)]
        cut = _after_separator if kind == "txt" else _after_line
        with file.path.open("rb") as stream:
            if inside and kind == "txt":
                return list(_within(stream, size, least))
            return list(_bytes(stream, size, least, cut))
    except OSError as error:
        raise file.corrupt(error) from error


def _row_groups(file: File, least: int) -> Iterator[Stretch]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with contextlib.closing(pq.ParquetFile(file.path)) as parquet:
            groups = [parquet.metadata.row_group(n) for n in range(parquet.num_row_groups)]
            text = [group.total_byte_size for group in groups]
    except (pa.ArrowException, OSError) as error:
        raise file.corrupt(error) from error
    whole = file.path.stat().st_size
    start = 0
    for end in range(1, len(text) + 1):
        if sum(text[start:end]) >= least or end == len(text):
            size = whole * sum(text[start:end]) // max(sum(text), 1)
            yield Stretch(start, end, size)
            start = end
    if not text:
        yield Stretch(0, 0, whole)


def _bytes(
    stream: BinaryIO, size: int, least: int, cut: Callable[[BinaryIO, int], int | None]
) -> Iterator[Stretch]:
    start = 0
    while size - start > least:
        end = cut(stream, start + least)
        if end is None or end == size:
            break
        yield Stretch(start, end, end - start)
        start = end
    yield Stretch(start, size, size - start)


def _within(stream: BinaryIO, size: int, least: int) -> Iterator[Stretch]:
    """Cut after a separator line where one is near, else in front of any line."""
    start, inside = 0, False
    while size - start > least:
        stream.seek(start + least)
        data = stream.read(_NEAR)
        ends = [at + len(end) for end in _ENDS if (at := data.find(end)) >= 0]
        if ends:
            end, then = start + least + min(ends), False
        elif cut := _LINE.search(data):
            end, then = start + least + cut.start(), True
        else:
            break
        yield Stretch(start, end, end - start, inside)
        start, inside = end, then
    if start < size or not size:
        yield Stretch(start, size, size - start, inside)


def _after_separator(stream: BinaryIO, position: int) -> int | None:
    return _after(stream, position, _ENDS)


def _after_line(stream: BinaryIO, position: int) -> int | None:
    return _after(stream, position, (b"\n",))


def _after(stream: BinaryIO, position: int, ends: tuple[bytes, ...]) -> int | None:
    """Return where the first of *ends* after *position* ends, or None."""
    longest = max(map(len, ends))
    stream.seek(position)
    tail = b""
    while block := stream.read(_BLOCK):
        data = tail + block
        found = [at + len(end) for end in ends if (at := data.find(end)) >= 0]
        if found:
            return position - len(tail) + min(found)
        position += len(block)
        tail = data[1 - longest :] if longest > 1 else b""
    return None
