"""Words of documents: GPT-2's pre-tokens, exactly as ``tokenizers`` cuts them."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from cas.recipes.text import parts
from cas.recipes.words import Words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["by_size", "know", "split_words"]

_LONG = 1 << 20  # characters; the words of a longer text are not held all at once


@cache
def _words() -> Words:
    return Words()


def know(texts: Sequence[str]) -> None:
    """Look at the characters of *texts*, once for all: a few at a time takes much longer."""
    _words().learn("".join({character for text in texts for character in set(text)}))


def split_words(text: str) -> Iterator[str]:
    """Yield the words of *text*; together they are the text."""
    for part in parts(text, _LONG):
        yield from _words().of(part)


def by_size(texts: Iterable[str], most: int) -> Iterator[list[str]]:
    """Yield *texts* in lists of little more than *most* characters."""
    some: list[str] = []
    size = 0
    for text in texts:
        some.append(text)
        size += len(text)
        if size >= most:
            yield some
            some, size = [], 0
    if some:
        yield some
