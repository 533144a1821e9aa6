"""Statistics of shards: uses of each id, and how many documents have which length."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["count_shards"]

_PART = 1 << 22  # tokens counted at once: each becomes eight bytes


def count_shards(
    shards: Iterable[tuple[Path, Path]], *, dtype: str, vocab_size: int, eos: int
) -> tuple[bytes, bytes]:
    """Return the files ``.tokens.u64`` and ``.lengths.u64`` of some shards.

    *shards* are the paths of their ``.ds`` and ``.ds.index``.
    """
    import numpy as np

    uses = np.zeros(vocab_size, np.int64)
    lengths: dict[int, int] = {}
    for tokens, index in shards:
        with tokens.open("rb") as file:
            while len(ids := np.fromfile(file, np.dtype(dtype).newbyteorder("<"), _PART)):
                uses += np.bincount(ids, minlength=vocab_size)
        ends = np.fromfile(index, "<u8").astype(np.int64)
        uses[eos] -= len(ends)
        values, counts = np.unique(np.diff(ends, prepend=0), return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            lengths[value] = lengths.get(value, 0) + count
    table = np.array(sorted(lengths.items()), "<u8").reshape(-1, 2)
    return uses.astype("<u8").tobytes(), table.tobytes()
