"""Board: the best row of each experiment, and the list of them.

A metric's direction is read from its name, by the lists below, or given. NaN and infinity
never win; they are counted. Of equal values the older experiment stands first.
"""

from __future__ import annotations

import difflib
import math
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from cas.errors import ExperimentError, UsageError

from .record import RESERVED, utc
from .scan import records, tables

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import pyarrow as pa

__all__ = ["best", "direction_of", "list_records"]

_MIN = {
    "loss", "perplexity", "ppl", "error", "wer", "cer", "mse", "rmse", "mae", "nll", "bits",
    "latency", "time",
}  # fmt: skip
_MAX = {
    "acc", "accuracy", "f1", "bleu", "rouge", "auc", "precision", "recall", "ndcg", "reward",
}  # fmt: skip
_MAX_PHRASES = ("exact_match", "per_second")


def best(
    directory: Path,
    metric: str,
    *,
    top: int = 10,
    direction: str | None = None,
    warn: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Return the leaderboard of *metric*: the best row of each name's newest record.

    ``{metric, direction, guessed, skipped_rows, experiments: [{rank, name, id, value,
    row_index, assets}]}``; ``direction`` is ``min`` or ``max``. Raises UsageError where the
    direction can't be told from the name, ExperimentError for a metric that no record has.
    """
    if isinstance(top, bool) or not isinstance(top, int) or top < 1:
        raise UsageError(f"top: expected a number above 0, found {top!r}")
    if direction not in (None, "min", "max"):
        raise UsageError(f"direction: expected 'min' or 'max', found {direction!r}")
    found = tables(directory, warn)
    if found.runs.num_rows:
        metric = _column(found.rows, metric)
    towards = direction or direction_of(metric)
    result: dict[str, Any] = {
        "metric": metric,
        "direction": towards,
        "guessed": direction is None,
        "skipped_rows": 0,
        "experiments": [],
    }
    if not found.runs.num_rows:
        return result
    latest = found.runs.column("latest").to_pylist()
    winners: dict[int, tuple[float, int, Any]] = {}
    for run, row, value in zip(
        *(found.rows.column(name).to_pylist() for name in ("run", "row_index", metric)),
        strict=True,
    ):
        if value is None or not latest[run]:
            continue
        if not math.isfinite(value):
            result["skipped_rows"] += 1
            continue
        key = value if towards == "min" else -value
        if run not in winners or (key, row) < winners[run][:2]:
            winners[run] = (key, row, value)
    # runs are numbered oldest first, so the number decides between equals
    order = sorted(winners, key=lambda run: (winners[run][0], run))[:top]
    names = found.runs.column("experiment_name")
    ids = found.runs.column("experiment_id")
    assets = found.runs.column("assets")
    for rank, run in enumerate(order, 1):
        _, row, value = winners[run]
        result["experiments"].append(
            {
                "rank": rank,
                "name": names[run].as_py(),
                "id": ids[run].as_py(),
                "value": value,
                "row_index": row,
                "assets": [use for use in assets[run].as_py() if use["role"] != "earlier"],
            }
        )
    return result


def direction_of(metric: str) -> str:
    """Return ``min`` or ``max`` by the words of a metric's name; raise UsageError if unclear."""
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", metric)]
    joined = "".join(words)
    whole = set(words)
    # f1 and rouge2 are cut before their digit above; both ways are looked at
    whole |= {a + b for a, b in pairwise(words)}
    whole |= {word.removesuffix("es") for word in whole} | {w.removesuffix("s") for w in whole}
    lower = bool(whole & _MIN)
    higher = bool(whole & _MAX) or any(p.replace("_", "") in joined for p in _MAX_PHRASES)
    if "error" in whole or (lower and not higher):
        return "min"
    if higher and not lower:
        return "max"
    raise UsageError(
        f"whether a small or a large {metric!r} is better can't be told from its name",
        hint="say --min or --max",
    )


def list_records(
    directory: Path,
    *,
    every: bool = False,
    warn: Callable[[str], None] | None = None,
) -> list[dict[str, Any]]:
    """Return the newest record of each name, or *every* record, newest first.

    ``[{name, id, created_at, status, rows, tags, note, git_commit, git_dirty, assets}]``.
    """
    return [
        {
            "name": record.experiment_name,
            "id": record.experiment_id,
            "created_at": utc(record.created_at),
            "status": record.status,
            "rows": record.rows,
            "tags": record.tags,
            "note": None,
            "git_commit": record.run["git_commit"],
            "git_dirty": record.run["git_dirty"],
            "assets": [
                {"name": u.name, "kind": u.kind, "role": u.role, "tree": u.tree, "commit": u.commit}
                for u in record.assets
                if u.role != "earlier"
            ],
        }
        for record in reversed(records(directory, warn))
        if every or record.latest
    ]


def _column(rows: pa.Table, metric: str) -> str:
    """Return the metric's column as records spell it; raise ExperimentError, with near names."""
    import pyarrow as pa

    numbers: dict[str, str] = {
        field.name.lower(): field.name
        for field in rows.schema
        if field.type in (pa.bool_(), pa.int64(), pa.float64())
        and field.name.lower() not in RESERVED
    }
    if metric.lower() in numbers:
        return numbers[metric.lower()]
    others = {field.name.lower(): field for field in rows.schema}
    if metric.lower() in others and metric.lower() not in RESERVED:
        kind = others[metric.lower()].type
        raise ExperimentError(f"metric {metric!r} holds {kind}, not numbers", hint=_told(numbers))
    near = difflib.get_close_matches(metric.lower(), numbers, n=3, cutoff=0.5)
    raise ExperimentError(
        f"no experiment has a metric {metric!r}",
        hint="did you mean " + " or ".join(repr(numbers[name]) for name in near)
        if near
        else _told(numbers),
    )


def _told(numbers: dict[str, str]) -> str | None:
    names: Sequence[str] = sorted(numbers.values())[:8]
    return "there are " + ", ".join(repr(name) for name in names) if names else None
