"""Words of documents: GPT-2's pre-tokens, exactly as ``tokenizers`` cuts them."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from cas.recipes.words import Words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["know", "split_words"]

_LONG = 1 << 20  # characters; the words of a longer text are not held all at once
# between two such characters a word begins at the space or line feed, whatever is around
_CUT = re.compile(r"(?<=[!-~])(?=[ \n][!-~])")


@cache
def _words() -> Words:
    return Words()


def know(texts: Sequence[str]) -> None:
    """Look at the characters of *texts*, once for all: a few at a time takes much longer."""
    _words().learn("".join({character for text in texts for character in set(text)}))


def split_words(text: str) -> Iterator[str]:
    """Yield the words of *text*; together they are the text."""
    start = 0
    while len(text) - start > _LONG and (cut := _CUT.search(text, start + _LONG)):
        yield from _words().of(text[start : cut.start()])
        start = cut.start()
    yield from _words().of(text[start:])
