"""Arrays that are used again as soon as no tensor refers to them.

Fresh memory costs a page fault for every 4 KB that is written: measured, 24 of them and 45 µs a
batch of 16 x 256, against 4 µs for filling it. A batch that somebody keeps is never written to.
"""

from __future__ import annotations

import sys
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Spare"]

_MOST = 12
"""Arrays that are kept: of three gathers, and of one that is being read."""


class Spare:
    """int64 arrays of one width at a time; a short batch takes the beginning of a long one."""

    def __init__(self) -> None:
        self._arrays: deque[NDArray[np.int64]] = deque()

    def get(self, shape: tuple[int, int]) -> NDArray[np.int64]:
        """Return an array of that shape that nobody else has; what is in it is anything."""
        import numpy as np

        for _ in range(len(self._arrays)):
            try:
                held = [self._arrays.popleft()]
            except IndexError:  # another thread has them
                break
            if held[0].shape[1] != shape[1] or len(held[0]) < shape[0]:
                continue
            # another thread that takes it from here on counts ours
            self._arrays.append(held[0])
            if _references(held) == _ALONE + 1:
                return held[0][: shape[0]]
        array = np.empty(shape, np.int64)
        if len(self._arrays) < _MOST:
            self._arrays.append(array)
        return array


def _references(held: list[NDArray[np.int64]]) -> int:
    return sys.getrefcount(held[0])


_ALONE = _references([[]])  # type: ignore[list-item]  # what nothing but the list refers to
