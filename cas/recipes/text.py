"""Documents: the text of a file, one after the other, never the whole file at once.

============  =========================================================================
parquet       rows, a batch at a time
jsonl         a line: an object or a string; blank lines are skipped
json          a list of objects or of strings (read whole), or one object a line
csv           rows under a header; commas
txt           what lies between lines that are only ``<|endoftext|>``, CR and LF stripped
              at both ends; without such a line the file is one document
============  =========================================================================

The last four also as ``.gz``. The column is the one asked for, else the first there is of
``text``, ``content``, ``textbook``, ``story``, ``code``, else ``prompt`` and ``response``
joined by a blank line. Null and empty rows are no documents. Text is UTF-8; a byte order
mark at the beginning of a file is no part of its text, and anywhere else it is text.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cas.recipes.reading import File, decoded
from cas.recipes.rows import COLUMNS, csv_rows, json_lines, json_rows, parquet_texts, texts
from cas.recipes.selection import kind_of
from cas.recipes.stretches import SEPARATOR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path
    from typing import Literal

    from cas.recipes.stretches import Stretch

__all__ = ["COLUMNS", "SEPARATOR", "documents", "parts", "passages"]

# Characters. A document that is longer is never whole in memory.
PASSAGE = 1 << 18

# ``re`` looks fast for what begins with letters: eight times as fast as for the line's start.
_SEPARATOR_LINE = re.compile(rf"{re.escape(SEPARATOR)}(?<![^\n]{re.escape(SEPARATOR)})\r?(?![^\n])")
# No match of the byte-level pattern reaches over such a place: a word takes one space in
# front of it at most, and a run of white space that is cut nowhere else stays whole.
_CUT = re.compile(r"(?<=[!-~])(?=[ \n][!-~])")


def documents(
    path: Path,
    column: str | tuple[str, ...] | None = None,
    *,
    name: str | None = None,
    moved: Callable[[int], None] | None = None,
    stretch: Stretch | None = None,
    errors: Literal["strict", "replace"] = "strict",
) -> Iterator[str]:
    """Yield the documents of the file at *path*, or of one stretch of it, in its order.

    *name* is what errors call the file: its path within the tree. *moved* is told how many
    bytes of the file have been read. *errors*: bytes that are not UTF-8 are an error, or
    U+FFFD. A stretch without text is no error, a file without is.

    Raises:
        RecipeError: the file is corrupt or not UTF-8, or the column isn't there, holds no
            text, or is empty.
    """
    return _read(File(path, name or path.name, column, moved, stretch, errors), passage=None)


def passages(
    path: Path,
    column: str | tuple[str, ...] | None = None,
    *,
    name: str | None = None,
    moved: Callable[[int], None] | None = None,
    stretch: Stretch | None = None,
    errors: Literal["strict", "replace"] = "strict",
    longest: int = PASSAGE,
) -> Iterator[str]:
    """Yield the same text as ``documents``, a long document in parts.

    A part has little more than *longest* characters. It is cut where byte-level BPE sees no
    word, so counting words gives the same, and a file without separators needs no more
    memory than another. Text without spaces between ASCII characters can't be cut, and
    comes whole.
    """
    file = File(path, name or path.name, column, moved, stretch, errors)
    for text in _read(file, passage=longest):
        yield from parts(text, longest)


def _read(file: File, *, passage: int | None) -> Iterator[str]:
    kind = kind_of(file.name)
    if kind == "parquet":
        return parquet_texts(file)
    blocks = decoded(file)
    if kind == "jsonl":
        return texts(file, json_lines(file, blocks), _first_lines(file))
    if kind == "json":
        return texts(file, json_rows(file, blocks))
    if kind == "csv":
        return texts(file, csv_rows(file, blocks))
    if kind == "txt":
        begun = file.stretch is not None and file.stretch.inside
        return _between_separators(blocks, passage, begun=begun)
    raise file.error("expected a parquet, jsonl, json, csv or txt file", hint="--files PATTERN")


def _first_lines(file: File) -> Iterator[tuple[str, object]] | None:
    """Return the first lines of a file of which a later stretch is read."""
    if file.stretch is None or not file.stretch.start:
        return None
    whole = replace(file, moved=None, stretch=None)
    return json_lines(whole, decoded(whole))


# Plain text ------------------------------------------------------------------------------


@dataclass(slots=True)
class _Document:
    """The document under way."""

    limit: int
    parts: list[str] = field(default_factory=list)
    size: int = 0
    cut: bool = False
    """Its beginning was given out already."""

    def add(self, text: str) -> None:
        self.parts.append(text)
        self.size += len(text)

    def take(self, longest: int) -> list[str]:
        """Return what can be given out of a document that became long."""
        if self.size <= self.limit:
            return []
        *given, rest = parts("".join(self.parts), longest)
        self.parts, self.size = [rest], len(rest)
        self.limit = max(longest, 2 * len(rest))  # where it can't be cut, don't look each time
        if given and not self.cut:
            given[0] = given[0].lstrip("\r\n")
            self.cut = True
        return given

    def end(self, limit: int) -> str:
        text = "".join(self.parts).rstrip("\r\n")
        if not self.cut:
            text = text.lstrip("\r\n")
        self.parts, self.size, self.limit, self.cut = [], 0, limit, False
        return text


def parts(text: str, longest: int = PASSAGE) -> Iterator[str]:
    """Yield *text* in parts of little more than *longest* characters, where it can be cut."""
    start = 0
    while len(text) - start > longest and (cut := _CUT.search(text, start + longest)):
        yield text[start : cut.start()]
        start = cut.start()
    yield text[start:]


def _between_separators(
    blocks: Iterable[str], passage: int | None, *, begun: bool
) -> Iterator[str]:
    limit = passage or sys.maxsize
    document = _Document(limit, cut=begun)
    pending = ""  # the beginning of a line that may still become a separator
    within = False  # in a line that is too long to be one
    for block in blocks:
        text = pending + block
        pending = ""
        if within:
            end = text.find("\n") + 1
            document.add(text[:end] if end else text)
            text = text[end:] if end else ""
            within = not end
        tail = len(text) - text.rfind("\n") - 1
        if tail > len(SEPARATOR) + 1:  # the separator and a CR
            within = True
        elif tail:
            text, pending = text[:-tail], text[-tail:]
        first, *others = _SEPARATOR_LINE.split(text)
        document.add(first)
        for other in others:
            if whole := document.end(limit):
                yield whole
            document.add(other)
        yield from document.take(limit)
    if not _SEPARATOR_LINE.fullmatch(pending):
        document.add(pending)
    if whole := document.end(limit):
        yield whole
