"""The one pass over the text: words of documents, and what must be encoded as a whole.

A worker gets some documents and gives back its distinct words, their uses, and, in a scratch
file, each document as numbers of words. From these every byte-level tokenizer's figures follow
without the text. A tokenizer of another kind encodes the documents here; so does every
tokenizer those that hold one of the added tokens, which are taken out of a text before it is
cut into words.
"""

from __future__ import annotations

import pickle
import re
from array import array
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cas.analysis.words import by_size, know, split_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np
    import numpy.typing as npt

    Numbers = npt.NDArray[np.int64]

__all__ = ["Batch", "Counted", "Counts", "Encoded", "count", "encode", "pattern_of"]

_AT_ONCE = 1 << 20  # characters handed to a tokenizer at once


@dataclass(frozen=True, slots=True)
class Encoded:
    """Documents as one tokenizer encodes them."""

    ids: Numbers
    """The ids that occur, ascending."""
    uses: Numbers
    """How often each occurs."""
    lengths: Numbers
    """Tokens of each document, without EOS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Documents to count, and with what."""

    number: int
    texts: list[str]
    scratch: str
    """A directory for what is read again later."""
    added: str | None
    """A pattern of the tokenizers' added tokens."""
    whole: tuple[str, ...]
    """tokenizer.json files of those that encode every document."""
    exact: tuple[str, ...]
    """Those whose ids follow from words, where no added token is in the text."""
    keep: bool
    """Keep the texts with added tokens, for tokenizers that are trained later."""
    special: str | None
    """A pattern of what is not learnt in training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What one batch holds."""

    number: int
    documents: int
    bytes: int
    characters: int
    words: list[str]
    uses: Numbers
    """Of each word, in all documents."""
    plain: Numbers
    """In the documents without added tokens."""
    learnt: Numbers
    """In the text that training sees."""
    encoded: tuple[Encoded, ...]
    """Per tokenizer: first ``whole``, of all documents, then ``exact``, of those with added
    tokens."""


class _Numbering(dict[str, int]):
    """Word → its number, in the order of first use."""

    def __missing__(self, word: str) -> int:
        self[word] = number = len(self)
        return number


def pattern_of(tokens: Iterable[str]) -> str | None:
    """Return a pattern that finds any of some tokens, the longest first; None for none."""
    longest_first = sorted({token for token in tokens if token}, key=len, reverse=True)
    return "|".join(map(re.escape, longest_first)) or None


def count(batch: Batch) -> Counted:
    """Count the documents of a batch; scratch files are ``<number>.ids``, ``.ends``, ``.odd``."""
    import numpy as np

    added = re.compile(batch.added) if batch.added else None
    numbering = _Numbering()
    know([text for text in batch.texts if not text.isascii()])
    plain, odd, learnt = array("I"), array("I"), array("I")
    ends = []
    odd_texts = []
    for text in batch.texts:
        if added is not None and added.search(text):
            odd_texts.append(text)
            odd.extend(map(numbering.__getitem__, split_words(text)))
            if batch.special:
                for part in re.split(batch.special, text):
                    learnt.extend(map(numbering.__getitem__, split_words(part)))
        else:
            plain.extend(map(numbering.__getitem__, split_words(text)))
            ends.append(len(plain))
    known = len(numbering)
    place = Path(batch.scratch, str(batch.number))
    ids = np.frombuffer(plain, np.uint32) if plain else np.empty(0, np.uint32)
    ids.astype(np.uint16 if known <= 1 << 16 else np.uint32).tofile(place.with_suffix(".ids"))
    np.array(ends, np.uint64).tofile(place.with_suffix(".ends"))
    if batch.keep and odd_texts:
        place.with_suffix(".odd").write_bytes(pickle.dumps(odd_texts))
    of_plain = np.bincount(ids, minlength=known)
    of_odd = np.bincount(np.frombuffer(odd, np.uint32), minlength=known) if odd else 0
    of_parts = np.bincount(np.frombuffer(learnt, np.uint32), minlength=known) if learnt else 0
    return Counted(
        number=batch.number,
        documents=len(batch.texts),
        bytes=sum(len(t) if t.isascii() else len(t.encode()) for t in batch.texts),
        characters=sum(map(len, batch.texts)),
        words=list(numbering),
        uses=of_plain + of_odd,
        plain=of_plain,
        learnt=of_plain + of_parts,
        encoded=tuple(
            [encode(_tokenizer(path), batch.texts) for path in batch.whole]
            + [encode(_tokenizer(path), odd_texts) for path in batch.exact]
        ),
    )


@cache
def _tokenizer(path: str) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(path)


def encode(tokenizer: Any, texts: Sequence[str]) -> Encoded:
    """Encode documents with a tokenizer of ``tokenizers``, without the tokens that it adds."""
    import numpy as np

    uses = np.zeros(0, np.int64)
    lengths: list[int] = []
    for some in by_size(texts, _AT_ONCE):
        found = [one.ids for one in tokenizer.encode_batch_fast(some, add_special_tokens=False)]
        lengths += map(len, found)
        flat = np.fromiter((i for ids in found for i in ids), np.int64, sum(map(len, found)))
        counted = np.bincount(flat, minlength=len(uses))
        counted[: len(uses)] += uses
        uses = counted
    ids = np.flatnonzero(uses)
    return Encoded(ids, uses[ids], np.array(lengths, np.int64))


# All of them -----------------------------------------------------------------------------


@dataclass(slots=True)
class Counts:
    """What all batches hold together."""

    scratch: Path
    documents: int = 0
    bytes: int = 0
    characters: int = 0
    numbering: _Numbering = field(default_factory=_Numbering)
    """Every distinct word → its number."""
    uses: Any = None
    plain: Any = None
    learnt: Any = None
    encoded: list[list[Encoded]] = field(default_factory=list)
    """Of each batch."""
    _numbers: dict[int, Any] = field(default_factory=dict)
    """Batch → the numbers here of its words."""

    def add(self, counted: Counted) -> None:
        """Put in what one batch holds."""
        import numpy as np

        self.documents += counted.documents
        self.bytes += counted.bytes
        self.characters += counted.characters
        numbers = np.fromiter(
            map(self.numbering.__getitem__, counted.words), np.int64, len(counted.words)
        )
        self._numbers[counted.number] = numbers.astype(np.uint32)
        self.encoded.append(list(counted.encoded))
        for key in ("uses", "plain", "learnt"):
            known = getattr(self, key)
            if known is None or len(known) < len(self.numbering):
                grown = np.zeros(2 * len(self.numbering), np.int64)
                if known is not None:
                    grown[: len(known)] = known
                known = grown
                setattr(self, key, grown)
            known[numbers] += getattr(counted, key)

    @property
    def words(self) -> list[str]:
        """The distinct words, in the order of their numbers."""
        return list(self.numbering)

    def of_words(self, key: str) -> Numbers:
        """Return ``uses``, ``plain`` or ``learnt`` of each word."""
        numbers: Numbers = getattr(self, key)[: len(self.numbering)]
        return numbers

    def plain_lengths(self, tokens: Numbers) -> Iterator[Numbers]:
        """Yield the tokens of documents without added tokens; *tokens* is those of each word."""
        import numpy as np

        for number, numbers in self._numbers.items():
            place = self.scratch / str(number)
            kind = np.uint16 if len(numbers) <= 1 << 16 else np.uint32
            ids = np.fromfile(place.with_suffix(".ids"), kind)
            ends = np.fromfile(place.with_suffix(".ends"), np.uint64).astype(np.int64)
            total = np.concatenate(([0], np.cumsum(tokens[numbers][ids])))
            yield np.diff(total[np.concatenate(([0], ends))])

    def odd_texts(self) -> Iterator[list[str]]:
        """Yield the documents with added tokens, where they were kept."""
        for number in self._numbers:
            place = self.scratch / f"{number}.odd"
            if place.exists():
                yield pickle.loads(place.read_bytes())  # noqa: S301 - written by our worker
