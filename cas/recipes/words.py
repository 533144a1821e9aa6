"""Words: what byte-level BPE cuts a text into before it learns, and how often each occurs.

The words are those of ``tokenizers``' ByteLevel pre-tokenizer. Which characters are letters,
digits and white space the library itself is asked for, so its tables decide (they changed
between versions); what lies between is a pattern for ``re``, at a tenth of its time.

Text is counted in two steps: what lies between spaces, which is quick, and then the words in
each such piece once. A space that has no white space beside it always begins a word, so that
gives the same words. Of a run of white space all but the last character is a word, or all of
it at the end of a text: where runs could be cut wrongly they are taken out and counted first.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["WordCounter", "Words"]

_SPACE = "\t-\r "  # of ASCII
_BLOCK = 1 << 22  # characters counted at once
_PIECES = 1 << 18  # different ones that are kept before their words are counted


class Words:
    """Cuts text into words."""

    def __init__(self) -> None:
        self._classes = {"letter": "A-Za-z", "digit": "0-9", "space": _SPACE}
        self._known: set[str] = set()
        self._spaces = set(" \t\n\v\f\r")
        self._ascii = self._pattern = _pattern(**self._classes)
        self._runs_ascii = self._runs = _runs(_SPACE)

    def of(self, text: str) -> list[str]:
        """Return the words of *text*, in its order."""
        if text.isascii():
            return self._ascii.findall(text)
        self.learn(text)
        return self._pattern.findall(text)

    def learn(self, text: str) -> None:
        """Ask the library about the characters of *text* that were not seen before."""
        new = {c for c in set(text) - self._known if c > "\x7f"}
        if not new:
            return
        from tokenizers.pre_tokenizers import ByteLevel

        words = ByteLevel(add_prefix_space=False).pre_tokenize_str
        self._known |= new
        found: dict[str, list[str]] = {kind: [] for kind in self._classes}
        for character in sorted(new):
            if len(words("a" + character)) == 1:
                found["letter"].append(character)
            elif len(words("1" + character)) == 1:
                found["digit"].append(character)
            elif len(words("!" + character)) == 2:
                found["space"].append(character)
        for kind, characters in found.items():
            self._classes[kind] += "".join(map(re.escape, characters))
        self._spaces.update(found["space"])
        self._pattern = _pattern(**self._classes)
        self._runs = _runs(self._classes["space"])

    def runs(self, text: str) -> tuple[str, list[str]]:
        """Take out the words that are runs of white space, but for its single characters."""
        parts = (self._runs_ascii if text.isascii() else self._runs).split(text)
        return "".join(parts[::2]), parts[1::2]

    def is_space(self, character: str) -> bool:
        """Say whether a character that was seen is white space."""
        return character in self._spaces


def _pattern(letter: str, digit: str, space: str) -> re.Pattern[str]:
    """Return GPT-2's pattern; the order of what begins differently is that of frequency."""
    return re.compile(
        f" ?[{letter}]+| ?[{digit}]+|'(?:[stmd]|re|ve|ll)| ?[^{space}{letter}{digit}]+"
        f"|[{space}]+(?![^{space}])|[{space}]+"
    )


def _runs(space: str) -> re.Pattern[str]:
    """Return the pattern of two or more of *space*, without the last one before a word."""
    before_word = f"[{space}]*(?=[{space}][^{space}])"
    return re.compile(rf"([{space}](?=[{space}])(?:{before_word}|[{space}]+\Z))")


def _pieces(text: str) -> dict[str, int]:
    """Count what lies between spaces; pyarrow takes a quarter of the time of a Counter."""
    import pyarrow as pa
    import pyarrow.compute as pc

    split = pc.split_pattern(pa.array([text], pa.large_string()), pattern=" ")
    values, counts = split.flatten().value_counts().flatten()
    return dict(zip(values.to_pylist(), counts.to_pylist(), strict=True))


class WordCounter:
    """Counts the words of texts between which no word reaches.

    *apart* are strings that are cut out first, with no word across: special tokens.
    """

    def __init__(self, apart: Sequence[str] = ()) -> None:
        self.counts: Counter[str] = Counter()
        self._words = Words()
        self._apart = sorted(set(apart), key=len, reverse=True)  # the longest wins
        self._cut = re.compile("|".join(map(re.escape, self._apart)) or "(?!)")
        self._texts: list[str] = []
        self._size = 0
        self._pieces: Counter[str] = Counter()
        self._first: Counter[str] = Counter()
        """Of the pieces, those with no space in front."""

    def add(self, texts: Iterable[str]) -> None:
        """Count the words of *texts*, soon: ``result`` has all of them."""
        for text in texts:
            self._texts.append(text)
            self._size += len(text)
            if self._size >= _BLOCK:
                self._count()

    def result(self) -> Counter[str]:
        """Return how often each word occurred."""
        self._count()
        self._settle()
        return self.counts

    def _count(self) -> None:
        texts, self._texts, self._size = self._texts, [], 0
        if not texts:
            return
        joined = " ".join(texts)
        if any(word in joined for word in self._apart):
            texts = [part for text in texts for part in self._cut.split(text)]
            joined = " ".join(texts)
        if not joined.isascii():
            self._words.learn(joined)
        pieces = None if "\n " in joined or "   " in joined else _pieces(joined)
        if pieces is None or self._has_runs(pieces):
            texts = [self._without_runs(text) for text in texts]
            pieces = _pieces(" ".join(texts))
        self._pieces.update(pieces)
        self._first.update([text.partition(" ")[0] for text in texts])
        if len(self._pieces) > _PIECES:
            self._settle()

    def _has_runs(self, pieces: dict[str, int]) -> bool:
        """Say whether white space may stand beside a space; an empty piece is one beside one."""
        return "" in pieces or any(self._words.is_space(piece[0]) for piece in pieces)

    def _without_runs(self, text: str) -> str:
        """Count the runs of white space, and mark each line feed left: it is a word."""
        text, runs = self._words.runs(text)
        self.counts.update(runs)
        return text.replace("\n", " \n")

    def _settle(self) -> None:
        """Count the words of the pieces: a space in front, but at a text's or line's begin."""
        counts, words = self.counts, self._words.of
        for pieces, space in ((self._pieces - self._first, " "), (self._first, "")):
            for piece, count in pieces.items():
                for word in words(piece if piece[:1] == "\n" else space + piece):
                    counts[word] += count
        self._pieces.clear()
        self._first.clear()
