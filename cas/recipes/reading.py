"""Files of a dataset as characters: unpacked, decoded, and named in errors."""

from __future__ import annotations

import codecs
import gzip
import itertools
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cas.errors import RecipeError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from pathlib import Path
    from typing import BinaryIO, Literal

    from cas.recipes.stretches import Stretch

__all__ = ["BLOCK", "File", "decoded", "lines", "name_files"]

BLOCK = 1 << 20  # bytes read at once
SHOWN = 3  # files in an error


@dataclass(slots=True)
class File:
    """A file to read, what errors call it, and who is told how far it was read."""

    path: Path
    name: str
    column: str | tuple[str, ...] | None
    moved: Callable[[int], None] | None = None
    stretch: Stretch | None = None
    """The part that is read; None: all of it."""
    errors: Literal["strict", "replace"] = "strict"
    """What becomes of bytes that are not UTF-8: an error, or U+FFFD."""

    def error(self, what: str, *, hint: str | None = None) -> RecipeError:
        return RecipeError(f"{self.name!r}: {what}", hint=hint)

    def corrupt(self, error: BaseException) -> RecipeError:
        said = error.strerror if isinstance(error, OSError) and error.strerror else f"{error}"
        reason = said.partition("\n")[0].rstrip(".")
        return self.error(f"can't be read: {reason}", hint="cas verify --full")

    def report(self, position: int) -> None:
        if self.moved is not None:
            self.moved(position)


def name_files(files: Collection[str]) -> str:
    """Return the names of files as an error tells them, not all of them where they are many."""
    first = ", ".join(map(repr, sorted(files)[:SHOWN]))
    return first + (f" and {len(files) - SHOWN} more files" if len(files) > SHOWN else "")


def decoded(file: File) -> Iterator[str]:
    """Yield the text of a file in blocks, without a byte order mark in front."""
    decoder = codecs.getincrementaldecoder("utf-8")(file.errors)
    read = file.stretch.start if file.stretch else 0
    started = bool(read)
    for data in itertools.chain(_blocks(file), [b""]):
        pending = len(decoder.getstate()[0])
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            where = f"invalid UTF-8 at byte {read - pending + error.start}"
            if file.name.lower().endswith(".gz"):
                where += " of the unpacked text"
            raise file.error(where, hint="--errors replace, or iconv -t utf-8") from None
        read += len(data)
        if text and not started:
            started = True
            text = text.removeprefix("\ufeff")
        if text:
            yield text


def _blocks(file: File) -> Iterator[bytes]:
    try:
        with file.path.open("rb") as raw:
            stream: BinaryIO | gzip.GzipFile = raw
            if file.name.lower().endswith(".gz"):
                stream = gzip.GzipFile(fileobj=raw)
            start, left = 0, -1
            if file.stretch and stream is raw:
                start, left = file.stretch.start, file.stretch.end - file.stretch.start
                raw.seek(start)
            while left and (data := stream.read(min(left, BLOCK) if left > 0 else BLOCK)):
                left -= len(data) if left > 0 else 0
                file.report(raw.tell() - start)
                yield data
    except (OSError, EOFError, zlib.error) as error:
        raise file.corrupt(error) from error


def lines(blocks: Iterable[str]) -> Iterator[str]:
    """Yield lines with their ends; only LF ends one."""
    rest: list[str] = []
    for block in blocks:
        head, newline, tail = block.partition("\n")
        rest.append(head)
        if newline:
            yield "".join(rest) + "\n"
            *whole, last = tail.split("\n")
            for line in whole:
                yield line + "\n"
            rest = [last]
    if final := "".join(rest):
        yield final
