"""Rows of tokens, gathered from mapped shards without a loop over rows.

A row that lies whole in one shard is copied as a window of it; one that is put together from
several runs of documents is gathered token by token. Both by numpy, for many rows at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from cas.loaders.documents import Documents

__all__ = ["Stream", "gather"]


class Stream:
    """The tokens of documents one after the other, as one long run."""

    def __init__(self, documents: Documents) -> None:
        import numpy as np

        self._tokens = documents.tokens
        self._shard, self._start, lengths = documents.runs()
        self._first = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))).astype(np.int64)
        """Place in the stream of the first token of each run, and of its end."""

    def __len__(self) -> int:
        return int(self._first[-1])

    def windows(self, starts: NDArray[np.int64], out: NDArray[np.int64]) -> None:
        """Put the tokens from ``starts[i]`` on into ``out[i]``, int64 [n, width].

        What lies behind the end of the stream may be anything afterwards.
        """
        import numpy as np

        width = out.shape[1]
        if len(self._shard) == 1:
            gather(self._tokens, self._shard, starts + self._start[0], out)
            return
        ends = np.minimum(starts + width, len(self))
        first = np.searchsorted(self._first, starts, side="right") - 1
        last = np.searchsorted(self._first, ends, side="left") - 1
        shard, begin = self._shard[first], self._start[first] + starts - self._first[first]
        whole = np.flatnonzero(first == last)
        if len(whole) == len(starts):
            gather(self._tokens, shard, begin, out)
            return
        alone = np.empty((len(whole), width), np.int64)
        gather(self._tokens, shard[whole], begin[whole], alone)
        out[whole] = alone
        self._pieces(np.flatnonzero(first != last), starts, ends, first, last, out)

    def _pieces(
        self,
        rows: NDArray[np.int64],
        starts: NDArray[np.int64],
        ends: NDArray[np.int64],
        first: NDArray[np.int64],
        last: NDArray[np.int64],
        out: NDArray[np.int64],
    ) -> None:
        """Put together rows that several runs make: a piece is what one run gives to one row."""
        import numpy as np

        counts = last[rows] - first[rows] + 1
        row = np.repeat(rows, counts)
        run = _ranges(counts) + np.repeat(first[rows], counts)
        begin = np.maximum(starts[row], self._first[run])
        length = np.minimum(ends[row], self._first[run + 1]) - begin
        source = self._start[run] + begin - self._first[run]
        target = row * out.shape[1] + begin - starts[row]
        flat = out.reshape(-1)
        shards = self._shard[run]
        for shard in np.unique(shards):
            of = np.flatnonzero(shards == shard)
            inside = _ranges(length[of])
            tokens = self._tokens[shard][np.repeat(source[of], length[of]) + inside]
            flat[np.repeat(target[of], length[of]) + inside] = tokens


def gather(
    tokens: Sequence[NDArray[np.uint16] | NDArray[np.uint32]],
    shard: NDArray[np.int64],
    start: NDArray[np.int64],
    out: NDArray[np.int64],
) -> None:
    """Put the tokens of ``tokens[shard[i]]`` from ``start[i]`` on into ``out[i]``.

    *shard* and *start* are int64 [n], *out* is int64 [n, width]. What lies
    behind the end of the shard may be anything afterwards.
    """
    import numpy as np

    width = out.shape[1]
    for one in (0,) if len(tokens) == 1 else np.unique(shard):
        source = tokens[one]
        if len(tokens) == 1:
            where: NDArray[np.int64] | slice = slice(None)
            begin = start
        else:
            where = np.flatnonzero(shard == one)
            begin = start[where]
        if len(source) >= width and (begin <= len(source) - width).all():
            out[where] = _windows(source, width)[begin]
            continue
        inside = begin[:, None] + np.arange(width)  # the last rows of a shard
        out[where] = source[np.minimum(inside, len(source) - 1)]


def _windows(
    tokens: NDArray[np.uint16] | NDArray[np.uint32], width: int
) -> NDArray[np.uint16] | NDArray[np.uint32]:
    """Return every stretch of *width* tokens as a row, without copying any."""
    import numpy as np

    return np.ndarray(
        (len(tokens) - width + 1, width), tokens.dtype, tokens, 0, (tokens.itemsize,) * 2
    )


def _ranges(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ``0 … counts[0], 0 … counts[1], …``, int64."""
    import numpy as np

    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)
