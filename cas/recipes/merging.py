"""Merges: byte-level BPE learnt from how often each word occurs.

The same vocabulary and the same merges as ``tokenizers`` learns from the same words, to the
last tie: of the pairs that occur most often the one with the smallest ids is merged first;
ids are the special tokens, the byte alphabet in the order of its characters, then new tokens
as they come.

No merge ever crosses an edge of a token, so within a token the merges went as if it were
alone: a string is made by one pair and in one step. Hence all places of a pair are known in
the step that makes the younger of its halves, and later it can only become rarer: a pair
that comes with less than the least count is forgotten at once, as most are.

All places of a pair are merged at once by numpy. Symbols lie in one flat array, linked to
their neighbours; each knows its word and the number of the pair that begins there.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from cas.recipes.layout import BYTES, CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]
    Symbols = NDArray[np.int32]

__all__ = ["learn"]

_NONE = -1  # no pair begins here


def learn(
    words: Mapping[str, int], special: Sequence[str], *, vocab_size: int, min_frequency: int
) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the tokens by id, and the merges in their order.

    *words* is how often each word occurs, as its text; *special* tokens come first. A pair
    that occurs less than *min_frequency* times is not merged. Counts have 64 bits.
    """
    tokens = [*special, *sorted(BYTES)]
    ids = {token: number for number, token in enumerate(tokens)}
    text = _Text(words, [ids[character] for character in CHARACTERS])
    pairs = _Pairs(text, max(min_frequency, 1))
    merges = []
    while len(tokens) < vocab_size and (found := pairs.most()) is not None:
        first, second, places = found
        merges.append((tokens[first], tokens[second]))
        token = tokens[first] + tokens[second]
        if token not in ids:  # a special token can be the same string
            ids[token] = len(tokens)
            tokens.append(token)
        pairs.merge(first, second, places, ids[token])
    return tokens, merges


class _Text:
    """The symbols of all words of two bytes or more, one after the other.

    The last place is none: it stands for the neighbour that an end of a word doesn't have.
    """

    def __init__(self, words: Mapping[str, int], byte_ids: Sequence[int]) -> None:
        import numpy as np

        encoded = [(word.encode(), count) for word, count in words.items()]
        encoded = [(word, count) for word, count in encoded if len(word) > 1]
        flat = np.frombuffer(b"".join(word for word, _ in encoded), np.uint8)
        lengths = np.fromiter((len(word) for word, _ in encoded), np.int64, len(encoded))
        ends = np.cumsum(lengths)
        self.size = len(flat)
        self.symbols: Symbols = np.full(self.size + 1, _NONE, np.int32)
        self.symbols[:-1] = np.array(byte_ids, np.int32)[flat]
        self.word: Symbols = np.repeat(np.arange(len(encoded), dtype=np.int32), lengths)
        self.counts: Integers = np.fromiter((n for _, n in encoded), np.int64, len(encoded))
        places = np.arange(self.size + 1, dtype=np.int32)
        self.after: Symbols = places + np.int32(1)
        self.after[ends - 1] = self.size
        self.before: Symbols = places - np.int32(1)
        self.before[ends - lengths] = self.size


class _Pairs:
    """The pairs of neighbouring symbols: how often each occurs, and where."""

    def __init__(self, text: _Text, least: int) -> None:
        import numpy as np

        self.np = np
        self.text = text
        self.least = least
        self.count: Integers = np.zeros(1 << 16, np.int64)
        self.many = 0
        self.at: Symbols = np.full(text.size + 1, _NONE, np.int32)
        """The pair that begins at a place."""
        self.heap: list[tuple[int, int, int, Symbols]] = []
        """(-count as it was, both symbols, pair, places)"""
        places = np.flatnonzero(text.after[:-1] != text.size).astype(np.int32)
        weights = text.counts[text.word[places]]
        self._add(places, text.symbols[places], text.symbols[text.after[places]], weights)

    def most(self) -> tuple[int, int, Symbols] | None:
        """Take out the pair to merge next: its symbols, and the places where it begins.

        None where no pair occurs often enough.
        """
        heap = self.heap
        while heap:
            count, key, pair, places = heap[0]
            now = int(self.count[pair])
            if now < self.least:
                heapq.heappop(heap)
            elif count != -now:
                heapq.heapreplace(heap, (-now, key, pair, places))
            else:
                heapq.heappop(heap)
                return key >> 32, key & 0xFFFFFFFF, places[self.at[places] == pair]
        return None

    def merge(self, first: int, second: int, places: Symbols, token: int) -> None:
        """Make one symbol *token* of the pairs that begin at *places*."""
        np, text, at = self.np, self.text, self.at
        symbols, after, before = text.symbols, text.after, text.before
        here = self._every_other(places) if first == second else places
        there = after[here]
        behind = after[there]
        weights = text.counts[text.word[here]]
        # The pairs that go: those that begin at the second symbol, and those that end at the
        # first, unless its neighbour is the second symbol of another.
        going = at[there]
        has_behind = going != _NONE
        at[there] = _NONE
        ahead = before[here]
        going_ahead = at[ahead]
        has_ahead = going_ahead != _NONE
        weights = np.concatenate((weights[has_behind], weights[has_ahead]))
        gone = np.concatenate((going[has_behind], going_ahead[has_ahead]))
        np.subtract.at(self.count, gone, weights)
        at[here] = _NONE
        symbols[here] = token
        after[here] = behind
        before[behind] = here
        # The pairs that come stand at the same places.
        ahead, here = ahead[has_ahead], here[has_behind]
        firsts = np.concatenate((symbols[here], symbols[ahead]))
        places = np.concatenate((here, ahead))
        self._add(places, firsts, symbols[after[places]], weights)

    def _every_other(self, places: Symbols) -> Symbols:
        """Return where a pair of equal symbols is merged: in ``aaa`` it begins twice."""
        np = self.np
        places = np.sort(places)
        follows = self.text.before[places[1:]] == places[:-1]
        order = np.arange(len(places))
        begun = np.where(np.concatenate(([False], follows)), 0, order)
        chosen: Symbols = places[(order - np.maximum.accumulate(begun)) % 2 == 0]
        return chosen

    def _add(self, places: Symbols, firsts: Symbols, seconds: Symbols, weights: Integers) -> None:
        """Give numbers to the pairs at *places*, which were nowhere before, and count them."""
        if not len(places):
            return
        np = self.np
        keys = firsts.astype(np.int64) << 32 | seconds
        order = np.argsort(keys, kind="stable")
        keys, places = keys[order], places[order]
        starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
        ends = np.append(starts[1:], len(places))
        counts = np.add.reduceat(weights[order], starts)
        fresh, self.many = self.many, self.many + len(starts)
        if self.many > len(self.count):
            more = np.zeros(self.many, np.int64)
            self.count = np.concatenate((self.count, more))
        self.count[fresh : self.many] = counts
        numbers = np.arange(fresh, self.many, dtype=np.int32)
        self.at[places] = np.repeat(numbers, ends - starts)
        often = np.flatnonzero(counts >= self.least)
        columns = (-counts, keys[starts], numbers, starts, ends)
        for count, key, number, start, end in zip(
            *(column[often].tolist() for column in columns), strict=True
        ):
            heapq.heappush(self.heap, (count, key, number, places[start:end]))
