"""Rows: what one example is, packed or padded, as tensors.

``Rows`` is a map-style dataset as torch and transformers take one, with the rows in the order
of the text. ``take`` makes whole batches at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from cas.loaders.gather import Stream, gather
from cas.loaders.spare import Spare

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from cas.loaders.documents import Documents

    Batch = dict[str, Tensor] | tuple[Tensor, Tensor]

__all__ = ["Mode", "Rows", "split"]

Mode = Literal["packed", "padded"]

NO_LABEL = -100  # what torch's and transformers' losses leave out


class Rows:
    """The rows of one split.

    Packed: the tokens of all documents in stretches of *max_length*, the last one padded.
    Padded: one document a row, what is longer cut off.

    ``rows[i]`` is a dict of int64 tensors (max_length,): ``input_ids``, ``labels`` (-100 on
    pads; not shifted, as transformers wants them) and ``attention_mask`` (0 on pads), or with
    *position_ids* these instead: they restart after each EOS and at each row. With *shift* it
    is a pair (x, y): y[j] is the token that follows x[j], -100 where none does.
    """

    def __init__(
        self,
        documents: Documents,
        *,
        max_length: int,
        mode: Mode,
        eos: int,
        pad: int,
        position_ids: bool = False,
        shift: bool = False,
    ) -> None:
        self.max_length = max_length
        self.mode = mode
        self._documents = documents
        self._stream = Stream(documents)
        self._spare = Spare()
        self._eos, self._pad = eos, pad
        self._position_ids, self._shift = position_ids, shift

    @property
    def tokens(self) -> int:
        """Tokens of all documents, EOS included; packed, each is used once an epoch."""
        return len(self._stream)

    @property
    def identity(self) -> str:
        """Hash of which documents these are, in which order; no tokenizer is in it."""
        return self._documents.identity

    @property
    def documents(self) -> int:
        """How many documents there are."""
        return len(self._documents)

    def __len__(self) -> int:
        if self.mode == "padded":
            return len(self._documents)
        return (len(self._stream) + self.max_length - 1) // self.max_length

    def __getitem__(self, index: int) -> Batch:
        count = len(self)
        if not -count <= index < count:
            raise IndexError(f"row {index} of {count}")
        return next(iter(self.__getitems__([index % count])))

    def __getitems__(self, indices: Sequence[int]) -> list[Batch]:
        """Return several rows, gathered at once: torch's DataLoader asks for them so."""
        import numpy as np

        return [_first(one) for one in split(self.take(np.asarray(indices, np.int64)), 1)]

    def __iter__(self) -> Iterator[Batch]:
        return (self[index] for index in range(len(self)))

    def __getstate__(self) -> dict[str, Any]:
        arrays = ("_stream", "_spare")  # made again, not sent
        return {key: value for key, value in self.__dict__.items() if key not in arrays}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._stream, self._spare = Stream(self._documents), Spare()

    def take(self, rows: NDArray[np.int64]) -> Batch:
        """Return the rows with these numbers as one batch: tensors (len(rows), max_length)."""
        ids = self._spare.get((len(rows), self.max_length + self._shift))
        if self.mode == "packed":
            starts = rows * self.max_length
            self._stream.windows(starts, ids)
            counts = len(self._stream) - starts
        else:
            shard, start, counts = self._documents.spans(rows)
            gather(self._documents.tokens, shard, start, ids)
        return self._finish(ids, counts)

    def _finish(self, ids: NDArray[np.int64], counts: NDArray[np.int64]) -> Batch:
        """Return the batch of rows of which the first *counts* tokens are real."""
        import numpy as np
        from torch import from_numpy

        labels = self._spare.get(ids.shape)
        labels[...] = ids
        mask = None
        if not self._position_ids and not self._shift:
            mask = self._spare.get(ids.shape)
            mask[...] = 1
        short = np.flatnonzero(counts < ids.shape[1])
        if len(short):
            pads = np.arange(ids.shape[1]) >= counts[short, None]
            for array, value in ((ids, self._pad), (labels, NO_LABEL), (mask, 0)):
                if array is not None:
                    _put(array, short, pads, value)
        if self._shift:
            x = np.ascontiguousarray(ids[:, :-1])
            return from_numpy(x), from_numpy(np.ascontiguousarray(labels[:, 1:]))
        batch = {"input_ids": from_numpy(ids), "labels": from_numpy(labels)}
        if self._position_ids:
            batch["position_ids"] = from_numpy(self._positions(ids))
        else:
            batch["attention_mask"] = from_numpy(mask)
        return batch

    def _positions(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the place of each token in its document, or in its row where that began before."""
        import numpy as np

        place = np.arange(ids.shape[1])
        begin = np.zeros_like(ids)
        begin[:, 1:] = np.where(ids[:, :-1] == self._eos, place[1:], 0)
        positions: NDArray[np.int64] = place - np.maximum.accumulate(begin, axis=1)
        return positions


def split(batch: Batch, size: int) -> Iterator[Batch]:
    """Yield a batch in pieces of *size* rows, parts of the same tensors."""
    # "unsafe" is that autograd does not know the parts as views, which no gradient needs of
    # whole numbers; it takes two thirds of the time
    from torch import unsafe_split as pieces

    if isinstance(batch, tuple):
        return zip(*(pieces(tensor, size) for tensor in batch), strict=True)
    one, two, three = batch
    parts = zip(*(pieces(tensor, size) for tensor in batch.values()), strict=True)
    return ({one: a, two: b, three: c} for a, b, c in parts)


def _first(batch: Batch) -> Batch:
    if isinstance(batch, tuple):
        return batch[0][0], batch[1][0]
    return {key: tensor[0] for key, tensor in batch.items()}


def _put(
    array: NDArray[np.int64], rows: NDArray[np.int64], where: NDArray[np.bool_], value: int
) -> None:
    """Put *value* where the mask of some rows says so."""
    import numpy as np

    if len(rows) == len(array):
        np.copyto(array, value, where=where)
    else:
        array[rows] = np.where(where, value, array[rows])
