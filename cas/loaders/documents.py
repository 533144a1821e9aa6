"""Which documents of some shards a loader gives, and where they lie.

Validation and subsets are chosen by the hash of a document's text: the same documents whatever
the tokenizer, and copies of one text are all on one side. Documents that are neighbours in a
shard are one run, so a split that takes every document has one run a shard.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal

from cas.recipes.tokens import open_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from cas.recipes.tokens import Shard

__all__ = ["Documents", "Part", "choose"]

Part = Literal["all", "train", "validation"]
"""Every document of the split, those that are not for validation, or those that are."""


def choose(
    shards: Sequence[Shard], *, part: Part, fraction: float, most: int | None
) -> dict[int, NDArray[np.int64] | None]:
    """Return shard → its documents of *part*, rising, at most *most* in all; None: every one.

    With *most* whole shards are taken in the order of the hashes of their text, and within the
    last one documents in the order of theirs: a smaller number gives some of the same documents.
    Validation has the documents whose hash is in the lowest *fraction*, at least one, never all.
    """
    import numpy as np

    order = list(range(len(shards)))
    if most is not None:
        order.sort(key=lambda number: shards[number].meta.text)
    highest = None if part == "all" else _highest(shards, fraction)
    chosen: dict[int, NDArray[np.int64] | None] = {}
    left = most
    for number in order:
        if left == 0:
            break
        hashes = shards[number].hashes
        documents: NDArray[np.int64] | None = None
        if highest is not None:
            wanted = hashes <= highest
            documents = np.flatnonzero(wanted if part == "validation" else ~wanted)
        elif part == "validation":
            documents = np.zeros(0, np.int64)
        count = len(hashes) if documents is None else len(documents)
        if left is not None:
            if count > left:
                among = np.arange(count) if documents is None else documents
                first = np.argsort(hashes[among], kind="stable")[:left]
                documents = np.sort(among[first])
                count = left
            left -= count
        if count:
            chosen[number] = documents
    return chosen


def _highest(shards: Sequence[Shard], fraction: float) -> np.uint64 | None:
    """Return the greatest hash of a document that is for validation; None: there is none."""
    import numpy as np

    filled = [shard.hashes for shard in shards if len(shard.hashes)]
    if fraction <= 0 or not filled:
        return None
    least = np.uint64(min(int(hashes.min()) for hashes in filled))
    most = np.uint64(max(int(hashes.max()) for hashes in filled))
    if least == most:
        return None
    highest = np.uint64(int(fraction * 2.0**64))
    if highest >= most:  # so few documents that all of them are below
        below = [hashes[hashes < most] for hashes in filled]
        highest = np.uint64(max(int(hashes.max()) for hashes in below if len(hashes)))
    return max(highest, least)


class Documents:
    """The chosen documents of one split, mapped from disk; it pickles as its path and choice."""

    def __init__(
        self, path: Path, split: str, *, part: Part, fraction: float, most: int | None
    ) -> None:
        self._made_of = (path, split, part, fraction, most)
        self._open()

    def _open(self) -> None:
        import numpy as np

        path, split, part, fraction, most = self._made_of
        shards = open_tokens(path).shards(split)
        chosen = choose(shards, part=part, fraction=fraction, most=most)
        used = [shards[number] for number in chosen]
        # a plain array: indexing a memmap costs a microsecond more
        self.tokens: list[NDArray[np.uint16] | NDArray[np.uint32]] = [
            shard.tokens.view(np.ndarray) for shard in used
        ]
        """Of each shard that is used."""
        self._ends = [np.asarray(shard.ends) for shard in used]
        self._documents = list(chosen.values())
        counts = [
            len(shard.ends) if documents is None else len(documents)
            for shard, documents in zip(used, self._documents, strict=True)
        ]
        self._first = np.concatenate(([0], np.cumsum(counts, dtype=np.int64))).astype(np.int64)
        """Number of the first document of each shard among the chosen ones, and of all."""
        self._texts = [shard.meta.text for shard in used]

    def __getstate__(self) -> tuple[object, ...]:
        return self._made_of  # a mapped array would be pickled with all its bytes

    def __setstate__(self, state: tuple[object, ...]) -> None:
        self._made_of = state  # type: ignore[assignment]
        self._open()

    def __len__(self) -> int:
        return int(self._first[-1])

    @property
    def identity(self) -> str:
        """Hash of which documents these are, in which order; no tokenizer is in it."""
        _, _, part, fraction, most = self._made_of
        share = fraction if part != "all" else 0
        return hashlib.sha256(f"{self._texts} {part} {share} {most}".encode()).hexdigest()

    def spans(
        self, numbers: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return shard, first token in it and length of documents, int64 [n] each."""
        import numpy as np

        shard = np.searchsorted(self._first, numbers, side="right") - 1
        start = np.empty(len(numbers), np.int64)
        length = np.empty(len(numbers), np.int64)
        for one in range(len(self.tokens)) if len(self.tokens) == 1 else np.unique(shard):
            where = np.flatnonzero(shard == one)
            chosen, ends = self._documents[one], self._ends[one]
            inside = numbers[where] - self._first[one]
            inside = inside if chosen is None else chosen[inside]
            begin = ends[inside - 1].astype(np.int64)
            begin[inside == 0] = 0
            start[where] = begin
            length[where] = ends[inside].astype(np.int64) - begin
        return shard, start, length

    def runs(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return shard, first token in it and length of each run of neighbours, int64 [runs]."""
        import numpy as np

        shards, starts, lengths = [], [], []
        for shard, (chosen, ends) in enumerate(zip(self._documents, self._ends, strict=True)):
            if chosen is None:
                begin, end = np.zeros(1, np.int64), ends[-1:].astype(np.int64)
            else:
                breaks = np.flatnonzero(np.diff(chosen) != 1) + 1
                first = chosen[np.concatenate(([0], breaks))]
                last = chosen[np.concatenate((breaks - 1, [len(chosen) - 1]))]
                begin = np.where(first == 0, 0, ends[first - 1]).astype(np.int64)
                end = ends[last].astype(np.int64)
            shards.append(np.full(len(begin), shard, np.int64))
            starts.append(begin)
            lengths.append(end - begin)
        if not shards:
            return (np.zeros(0, np.int64),) * 3
        return np.concatenate(shards), np.concatenate(starts), np.concatenate(lengths)
