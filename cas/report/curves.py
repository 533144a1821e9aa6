"""Curves: each column of numbers, as figures of every run and as thinned curves.

A curve of more points than there is room for keeps the first, the last, and of equal stretches
the least and the greatest, so no spike is lost. Values have 5 digits in curves and 10 in
figures. NaN and infinity never win; they are counted, and leave a gap.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from cas.errors import UsageError
from cas.experiments import direction_of

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Numbers = np.ndarray[Any, np.dtype[Any]]

__all__ = ["ROOM", "metrics_of", "towards"]

ROOM = 400_000  # points of all curves together: about 3 MB
CELLS = 1_500_000  # runs times metrics
LEAST = 8  # points of a curve that is worth drawing
MOST = 400  # points of one curve: a screen shows no more
STEPS = ("step", "global_step", "iteration", "epoch")
"""What curves are drawn against, the first that there is; else the number of the row."""


def metrics_of(rows: pa.Table, runs: int) -> dict[str, Any]:
    """Return ``{metrics, curves, lists, step, thinned, left_out}``.

    ``metrics``: ``[{name, direction, min, max, last, skipped}]``, the three with a number for
    each run (absent where equal to ``min``), skipped ``[[run, rows that are not finite]]``.
    ``curves``: for each metric ``[[rows, steps, runs, curves]]``, grouped by equal rows and
    steps, which are positions in ``lists``; rows below 0 are as many rows from 0 on, without
    one missing, and steps are null where the runs have none. A curve is its values, or the
    position of an equal one. ``left_out``: [names without figures, names without
    curves], for want of room.
    """
    import numpy as np
    import pyarrow as pa

    owner = rows.column("run").to_numpy()
    index = rows.column("row_index").to_numpy()
    columns: dict[str, tuple[Numbers, Numbers]] = {}
    names = [
        field.name
        for field in rows.schema
        if field.name not in ("run", "row_index")
        and field.type in (pa.bool_(), pa.int64(), pa.float64())
    ]
    lower = {name.lower(): name for name in reversed(names)}
    step = next((lower[name] for name in STEPS if name in lower), None)
    names = sorted((n for n in names if n != step), key=lambda n: towards(n) is None)
    kept = names[: max(1, CELLS // max(1, runs))]
    for name in [*kept, *([step] if step else [])]:
        column = rows.column(name)
        valid = column.is_valid().to_numpy()
        columns[name] = column.cast(pa.float64(), safe=False).to_numpy(), valid
    metrics = [_figures(name, owner, *columns[name], runs) for name in kept]
    drawn: dict[str, tuple[Numbers, Numbers]] = {}
    total = points = 0
    for name in kept:
        values, _ = columns[name]
        at = np.flatnonzero(np.isfinite(values))
        counts = np.bincount(owner[at], minlength=runs)
        many = int((counts > 1).sum())
        if (total + many) * LEAST > ROOM:
            continue
        total, points = total + many, points + int(counts[counts > 1].sum())
        drawn[name] = at, counts
    most = MOST if points <= ROOM else max(LEAST, min(MOST, ROOM // max(1, total)))
    lists = _Lists()
    steps = _short(columns[step][0], 10) if step else None
    numbers = index.tolist()
    curves = [
        _curves(columns[name][0], numbers, steps, *drawn[name], most, lists)
        if name in drawn
        else []
        for name in kept
    ]
    return {
        "metrics": metrics,
        "curves": curves,
        "lists": lists.found,
        "step": step,
        "thinned": any(int(counts.max(initial=0)) > most for _, counts in drawn.values()),
        "left_out": [names[len(kept) :], [name for name in kept if name not in drawn]],
    }


def towards(metric: str) -> str | None:
    """Return ``min`` or ``max`` by a metric's name, None where it doesn't say."""
    try:
        return direction_of(metric)
    except UsageError:
        return None


class _Lists:
    """Lists of which many runs have the same one."""

    def __init__(self) -> None:
        self.found: list[list[Any]] = []
        self._seen: dict[tuple[Any, ...], int] = {}

    def add(self, values: list[Any]) -> int:
        """Return the position of an equal list."""
        key = tuple(values)
        at = self._seen.get(key)
        if at is None:
            at = self._seen[key] = len(self.found)
            self.found.append(values)
        return at


def _figures(
    name: str, owner: Numbers, values: Numbers, valid: Numbers, runs: int
) -> dict[str, Any]:
    import numpy as np

    finite = np.isfinite(values)
    least, most, last = (np.full(runs, np.nan) for _ in range(3))
    own, some = owner[finite], values[finite]
    if len(own):
        starts = np.flatnonzero(np.diff(own, prepend=-1))
        least[own[starts]] = np.minimum.reduceat(some, starts)
        most[own[starts]] = np.maximum.reduceat(some, starts)
    # of equal positions the last one written stays
    last[owner[valid]] = values[valid]
    skipped = np.bincount(owner[valid & ~finite], minlength=runs)
    told = _short(least, 10)
    found: dict[str, Any] = {"name": name, "direction": towards(name), "min": told}
    for key, column in (("max", most), ("last", last)):
        shorter = _short(column, 10)
        if shorter != told:
            found[key] = shorter
    found["skipped"] = [[int(run), int(skipped[run])] for run in np.flatnonzero(skipped)]
    return found


def _curves(
    values: Numbers,
    index: list[int],
    steps: list[float | int | None] | None,
    at: Numbers,
    counts: Numbers,
    most: int,
    lists: _Lists,
) -> list[list[Any]]:
    """Return the curves of one metric; *at* are its finite rows, *counts* how many a run has."""
    import numpy as np

    short = _short(values, 5)
    ends = np.cumsum(counts).tolist()
    places = at.tolist()
    groups: dict[tuple[int, int | None], tuple[list[int], list[Any]]] = {}
    same: dict[tuple[Any, ...], list[tuple[list[Any], int]]] = {}
    for run in np.flatnonzero(counts > 1).tolist():
        start, end = ends[run] - int(counts[run]), ends[run]
        own = places[start:end]
        if len(own) > most:
            own = at[start:end][_thin(values[at[start:end]], most)].tolist()
        rows = [index[row] for row in own]
        whole = rows[0] == 0 and rows[-1] == len(rows) - 1
        against = [steps[row] for row in own] if steps else [None]
        key = (
            -len(own) if whole else lists.add(rows),
            None if None in against else lists.add(against),
        )
        runs, curves = groups.setdefault(key, ([], []))
        runs.append(run)
        curves.append([short[row] for row in own])
        same.setdefault(tuple(curves[-1]), []).append((curves, len(curves) - 1))
    for found in same.values():
        if len(found) > 1:
            shared = lists.add(found[0][0][found[0][1]])
            for curves, place in found:
                curves[place] = shared
    return [[*key, *group] for key, group in groups.items()]


def _thin(values: Numbers, most: int) -> Numbers:
    """Return at most *most* positions: both ends, and the extremes of equal stretches."""
    import numpy as np

    edges = np.linspace(0, len(values), (most - 2) // 2 + 1).astype(int)
    kept = {0, len(values) - 1}
    for start, end in pairwise(edges):
        part = values[start:end]
        kept.update((start + int(part.argmin()), start + int(part.argmax())))
    return np.array(sorted(kept))


def _short(values: Numbers, digits: int) -> list[float | int | None]:
    """Return numbers of so many significant digits; whole ones as integers; null for NaN."""
    import numpy as np

    with np.errstate(all="ignore"):
        exponent = np.floor(np.log10(np.abs(values)))
        places = np.clip(digits - 1 - exponent, 0, 22)
        factor = 10.0**places
        rounded = np.rint(values * factor) / factor
    kept = np.where(np.isfinite(rounded), rounded, values)
    return [
        None if not math.isfinite(value) else int(value) if value.is_integer() and abs(value) < 1e15
        else value
        for value in kept.tolist()
    ]  # fmt: skip
