"""Figures of counts: coverage, lengths, padding and truncation. Arithmetic only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Numbers = npt.NDArray[np.int64]
    Shares = npt.NDArray[np.float64]

__all__ = ["Lengths", "coverage", "coverage_curve", "rare", "unused"]

COVERED = ("0.9", "0.95", "0.99", "0.999")
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_RARE = 9  # uses
_SHORTEST, _LONGEST = 8, 1 << 20  # tokens, of the max_lengths that are tried


def coverage_curve(uses: Numbers) -> Numbers:
    """Return how many tokens of the text the k + 1 most used ids are."""
    import numpy as np

    return np.cumsum(np.sort(uses[uses > 0])[::-1])


def coverage(uses: Numbers) -> dict[str, int | None]:
    """Return how many ids, the most used first, make up each share of the tokens."""
    import numpy as np

    curve = coverage_curve(uses)
    if not len(curve):
        return dict.fromkeys(COVERED)
    return {
        share: int(np.searchsorted(curve, float(share) * float(curve[-1]) * (1 - 1e-12))) + 1
        for share in COVERED
    }


def unused(uses: Numbers, vocab_size: int) -> int:
    """Return how many ids of the vocabulary never occur."""
    return vocab_size - int((uses > 0).sum())


def rare(uses: Numbers) -> int:
    """Return how many ids occur 1 to 9 times."""
    return int(((uses > 0) & (uses <= _RARE)).sum())


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long documents are, in tokens with EOS."""

    tokens: Numbers
    """The lengths that occur, ascending."""
    documents: Numbers
    """How many documents have each."""

    @property
    def total(self) -> int:
        """Tokens in all."""
        return int((self.tokens * self.documents).sum())

    def quantile(self, share: float) -> int:
        """Return the least length that so great a share of the documents does not exceed."""
        import numpy as np

        upto = np.cumsum(self.documents)
        return int(self.tokens[np.searchsorted(upto, share * float(upto[-1]) * (1 - 1e-12))])

    def quantiles(self) -> dict[str, int]:
        """Return p50, p95, p99 and max."""
        found = {name: self.quantile(share) for name, share in QUANTILES.items()}
        return {**found, "max": int(self.tokens[-1])}

    def kept(self, max_lengths: Numbers) -> Numbers:
        """Return how many tokens stay where one document is one row of each *max_lengths*."""
        import numpy as np

        below = np.searchsorted(self.tokens, max_lengths, side="right")
        whole = np.concatenate(([0], np.cumsum(self.tokens * self.documents)))
        count = np.concatenate(([0], np.cumsum(self.documents)))
        kept: Numbers = whole[below] + (count[-1] - count[below]) * max_lengths
        return kept

    def padding(self, max_lengths: Numbers) -> Shares:
        """Return the share of positions that are padding."""
        return 1 - self.kept(max_lengths) / (int(self.documents.sum()) * max_lengths)

    def truncated(self, max_lengths: Numbers) -> Shares:
        """Return the share of tokens that are cut off."""
        return 1 - self.kept(max_lengths) / self.total

    def candidates(self) -> Numbers:
        """Return 2^n and 3 * 2^n, from one that most documents exceed to one that none does."""
        import numpy as np

        sizes = sorted(m << n for n in range(20) for m in (2, 3))
        sizes = [size for size in sizes if _SHORTEST <= size <= _LONGEST]
        last = next((size for size in sizes if size >= self.tokens[-1]), sizes[-1])
        few = min(self.quantile(0.05), last)
        first = max((size for size in sizes if size < few), default=sizes[0])
        return np.array([size for size in sizes if first <= size <= last], np.int64)

    def suggested(self) -> int:
        """Return the candidate with the most to it: positions used by tokens kept, squared.

        Squared, because padding costs time, but what is cut off is never learnt. The shortest
        one, where several have as much.
        """
        import numpy as np

        sizes = self.candidates()
        worth = (1 - self.padding(sizes)) * (1 - self.truncated(sizes)) ** 2
        return int(sizes[np.argmax(worth)])
