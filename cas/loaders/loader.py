"""Loaders: batches of rows in a seeded order, pass after pass, for one rank of several.

Global batch *i* of an epoch is ``batch_size * world_size`` rows of the order, of which each
rank takes its stretch: all ranks' batches put together are those of one process, so a run goes
on with another number of ranks. Rows are gathered for several batches at once; a batch is a view
of what was gathered.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cas.errors import CasError
from cas.loaders.order import Order
from cas.loaders.rows import split

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from cas.loaders.rows import Batch, Rows

__all__ = ["Loader"]

_STATE = 1
"""Version of ``state_dict``."""
_GATHERED = 1 << 16
"""Tokens that are gathered at once: what stays in a core's cache."""
_ORDERED = 1 << 14
"""Rows whose order is asked for at once: 64 calls of numpy, for few rows as for many."""


class Loader:
    """An iterable of batches: dicts of int64 tensors (batch_size, max_length), or pairs (x, y).

    Each pass over it is an epoch in an order of its own, or always the order of the text where
    *seed* is None. The last batch may have fewer rows; where it has fewer than there are ranks,
    some ranks repeat one, so that all make as many steps.
    """

    def __init__(
        self,
        dataset: Rows,
        *,
        batch_size: int,
        identity: Mapping[str, str | int | None],
        assets: Mapping[str, str],
        seed: int | None = None,
        rank: int = 0,
        world_size: int = 1,
        drop_last: bool = False,
        num_workers: int = 0,
    ) -> None:
        self.dataset = dataset
        """The rows, in the order of the text: a map-style dataset for any other loader."""
        self.assets = dict(assets)
        """Name → tree of all that the batches are made of."""
        self.batch_size = batch_size
        """rows a rank"""
        self.rank, self.world_size = rank, world_size
        self.drop_last = drop_last
        self.num_workers = num_workers
        self._seed = seed
        self._identity = {**identity, "seed": seed}
        self._epoch = self._start = 0  # of the next pass; the start in rows
        self._pass: _Pass | None = None

    def __len__(self) -> int:
        """Return the batches of a whole pass."""
        return self._steps(0)

    @property
    def epoch(self) -> int:
        """The epoch of the pass that was begun last, or of the next one where none was."""
        return self._pass.epoch if self._pass else self._epoch

    def set_epoch(self, epoch: int) -> None:
        """Let the next pass be that of *epoch*, from its beginning.

        Where a state was loaded that is in this very epoch, the pass goes on from there.
        """
        if self._pass is None and epoch == self._epoch:
            return
        self._epoch, self._start, self._pass = int(epoch), 0, None

    def state_dict(self) -> dict[str, Any]:
        """Return where the pass is, exact to the batch, as plain values: JSON below 4 KB."""
        epoch, row = self._epoch, self._start
        if self._pass is not None:
            epoch = self._pass.epoch
            row = self._pass.start + self._pass.batches * self._together
            if self._pass.batches == self._steps(self._pass.start):
                epoch, row = epoch + 1, 0
        return {"version": _STATE, "epoch": epoch, "row": row, "of": dict(self._identity)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next pass go on where ``state_dict`` was taken.

        Batch size and number of ranks may be others than they were.

        Raises:
            CasError: it is no such state, or of another dataset, tokenizer, length or seed.
        """
        try:
            of = dict(state["of"])
            version, epoch, row = (int(state[key]) for key in ("version", "epoch", "row"))
        except (KeyError, TypeError, ValueError) as error:
            raise CasError(f"expected what state_dict() gave, found {error!r:.100}") from None
        if version > _STATE or not 0 <= row <= len(self.dataset) or epoch < 0:
            shown = json.dumps({"version": version, "epoch": epoch, "row": row})
            raise CasError(f"expected what state_dict() of this loader gave, found {shown}")
        for key, value in self._identity.items():
            found = of.get(key)
            if found != value:
                raise CasError(
                    f"the state is of another {key}: expected {value!r}, found {found!r:.100}",
                    hint="load_training_data(…) as it was called when the state was taken",
                )
        self._epoch, self._start, self._pass = epoch, row, None

    def __iter__(self) -> Iterator[Batch]:
        this = self._pass = _Pass(self._epoch, self._start)
        self._epoch, self._start = this.epoch + 1, 0
        return self._by_workers(this) if self.num_workers else self._here(this)

    @property
    def _together(self) -> int:
        return self.batch_size * self.world_size

    def _steps(self, start: int) -> int:
        rows = len(self.dataset) - start
        return rows // self._together if self.drop_last else -(-rows // self._together)

    def _plan(self, this: _Pass) -> Iterator[NDArray[np.int64]]:
        """Yield the rows of this rank for many batches at once, int64 [batches, batch_size]."""
        import numpy as np

        count = len(self.dataset)
        order = None if self._seed is None else Order(count, self._seed, this.epoch)
        full, rest = divmod(count - this.start, self._together)
        own = this.start + self.rank * self.batch_size + np.arange(self.batch_size)
        done, many = 0, 1  # the first batch is had soon
        while done < full:
            steps = np.arange(done, min(done + many, full))[:, None]
            positions = own + steps * self._together
            yield order.at(positions) if order else positions
            done += many
            many = max(1, _ORDERED // self.batch_size)
        if rest and not self.drop_last:
            positions = count - rest + _share(rest, self.rank, self.world_size)[None, :]
            yield order.at(positions) if order else positions

    def _here(self, this: _Pass) -> Iterator[Batch]:
        from torch import cuda

        pinned = cuda.is_available()
        at_once = max(1, _GATHERED // (self.batch_size * self.dataset.max_length))
        for rows in self._plan(this):
            for first in range(0, len(rows), at_once):
                some = rows[first : first + at_once]
                batch = self.dataset.take(some.ravel())
                for one in split(_pin(batch) if pinned else batch, some.shape[1]):
                    this.batches += 1
                    yield one

    def _by_workers(self, this: _Pass) -> Iterator[Batch]:
        from torch import cuda
        from torch.utils.data import DataLoader

        rows = [row for group in self._plan(this) for row in group]
        loader: DataLoader[Batch] = DataLoader(
            _Taken(self.dataset),  # type: ignore[arg-type]  # a dataset by its methods
            sampler=rows,
            batch_size=None,
            num_workers=self.num_workers,
            pin_memory=cuda.is_available(),
        )
        for batch in loader:
            this.batches += 1
            yield batch


class _Pass:
    """One pass: its epoch, the row that it begins at, and the batches it gave so far."""

    __slots__ = ("batches", "epoch", "start")

    def __init__(self, epoch: int, start: int) -> None:
        self.epoch, self.start, self.batches = epoch, start, 0


class _Taken:
    """A dataset whose items are whole batches, by their rows' numbers; it goes to workers."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def __getitem__(self, rows: NDArray[np.int64]) -> Batch:
        return self._rows.take(rows)


def _share(rest: int, rank: int, world_size: int) -> NDArray[np.int64]:
    """Return which of the *rest* rows of the last global batch a rank takes, at least one."""
    import numpy as np

    if rest < world_size:
        return np.array([min(rank, rest - 1)])
    return np.arange(rest * rank // world_size, rest * (rank + 1) // world_size)


def _pin(batch: Batch) -> Batch:
    if isinstance(batch, tuple):
        return batch[0].pin_memory(), batch[1].pin_memory()
    return {key: tensor.pin_memory() for key, tensor in batch.items()}
