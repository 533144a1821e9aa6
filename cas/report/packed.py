"""Packed: a list with one value for each run, without what repeats.

``{"v": [x]}`` is x for every run; ``{"v": distinct, "i": positions}`` looks each one up; a
list is itself. Non-finite numbers are null; integers that JavaScript would round are text.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["pack", "plain"]

SAFE = 2**53  # above it a JavaScript number skips integers


def pack(values: Sequence[Any]) -> Any:
    """Return *values* (as JSON has them) in the smallest of the three forms."""
    seen: dict[tuple[str, Any], int] = {}
    distinct: list[Any] = []
    positions: list[int] = []
    for value in values:
        # True == 1 == 1.0, and a list can't be a key
        mark = str(value) if isinstance(value, (list, dict)) else value
        key = type(value).__name__, mark
        at = seen.get(key)
        if at is None:
            at = seen[key] = len(distinct)
            distinct.append(value)
        positions.append(at)
    if len(distinct) == 1:
        return {"v": distinct}
    if len(distinct) * 2 > len(values):
        return list(values)
    return {"v": distinct, "i": positions}


def plain(value: Any) -> Any:
    """Return a value of metadata as the page shows it: a number, a truth, or text."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return value if abs(value) <= SAFE else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return json.dumps(value, ensure_ascii=False)
