"""Board: the best row of each experiment, and the list of them.

A metric's direction is read from its name, by the lists below, or given. NaN and infinity
never win; they are counted. Of equal values the older experiment stands first.
"""

from __future__ import annotations

import difflib
import json
import re
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from cas.errors import ExperimentError, UsageError
from cas.progress import QUIET, Progress

from .arrays import is_null, joined, to_list, to_numpy
from .naming import utc
from .query import query
from .record import RESERVED
from .scan import runs, tables

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    import pyarrow as pa

    from .scan import Tables

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
    show: Sequence[str] = (),
    where: str | None = None,
    tags: Sequence[str] = (),
    since: datetime | None = None,
    warn: Callable[[str], None] | None = None,
    progress: Progress = QUIET,
) -> dict[str, Any]:
    """Return the leaderboard of *metric*: the best row of each name's newest record.

    ``{metric, direction, guessed, skipped_rows, experiments: [{rank, name, id, value,
    row_index, assets}]}``; ``direction`` is ``min`` or ``max``. Each experiment has also
    ``show``, from *show*: columns, as the best row has them, or keys of metadata
    (``optimizer.lr``). Only rows that meet the SQL condition *where* count, and records that
    have all *tags* and were made *since*. Raises UsageError where the
    direction can't be told from the name, ExperimentError for a metric that no record has.
    """
    if isinstance(top, bool) or not isinstance(top, int) or top < 1:
        raise UsageError(f"top: expected a number above 0, found {top!r}")
    if direction not in (None, "min", "max"):
        raise UsageError(f"direction: expected 'min' or 'max', found {direction!r}")
    found = tables(directory, warn, columns=[metric, *show], progress=progress)
    if found.runs.num_rows:
        if metric.lower() not in map(str.lower, found.rows.column_names):
            found = tables(directory)  # for the names that are near
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
    shown = _shown(found.runs, tags, since)
    kept = None if where is None else _kept(directory, found.runs, where)
    winners, result["skipped_rows"] = _winners(found.rows, metric, shown, towards, kept, top)
    settings = _settings(found, show)
    names = found.runs.column("experiment_name")
    ids = found.runs.column("experiment_id")
    assets = found.runs.column("assets")
    for rank, (run, row, value) in enumerate(winners, 1):
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
        if show:
            result["experiments"][-1]["show"] = {
                name: one(run, row) for name, one in settings.items()
            }
    return result


def _shown(
    runs: pa.Table, tags: Sequence[str], since: datetime | None, *, every: bool = False
) -> list[bool]:
    """Say of each record whether it is the newest of its name, has all tags, and is young."""
    shown: list[bool] = runs.column("latest").to_pylist()
    if every:
        shown = [True] * len(shown)
    if tags:
        wanted = set(tags)
        own = runs.column("tags").to_pylist()
        shown = [one and wanted <= set(words) for one, words in zip(shown, own, strict=True)]
    if since is not None:
        created = to_list(runs.column("created_at"))
        shown = [one and moment >= since for one, moment in zip(shown, created, strict=True)]
    return shown


def _kept(directory: Path, runs: pa.Table, where: str) -> set[tuple[int, int]]:
    """Return (run, row_index) of the rows that meet a condition in SQL."""
    sql = f"SELECT experiment_id, row_index FROM experiments WHERE (\n{where}\n)"  # noqa: S608
    found = query(directory, sql)
    places = {key: run for run, key in enumerate(runs.column("experiment_id").to_pylist())}
    pairs = zip(*(column.to_pylist() for column in found.columns), strict=True)
    return {(places[key], row) for key, row in pairs if key in places}


def _settings(found: Tables, names: Sequence[str]) -> dict[str, Callable[[int, int], Any]]:
    """Return for each name what gives its value for (run, row_index)."""
    columns = {name.lower(): name for name in found.rows.column_names}
    metadata = found.runs.column("metadata")
    places = [found.rows.column(name) for name in ("run", "row_index")]
    runs, index = (to_numpy(joined(column.chunks, column.type)) for column in places)
    result: dict[str, Callable[[int, int], Any]] = {}

    def in_rows(name: str, run: int, row: int) -> Any:
        position = int(((runs == run) & (index == row)).argmax())
        return to_list(found.rows.column(columns[name.lower()]).slice(position, 1))[0]

    def in_metadata(name: str, run: int, row: int) -> Any:
        return _key(json.loads(metadata[run].as_py()), name)

    for name in names:
        known = name.lower() in columns and name.lower() not in RESERVED
        if not known and all(_key(json.loads(text), name) is None for text in metadata.to_pylist()):
            raise ExperimentError(
                f"no experiment has a column or a key of its metadata {name!r}",
                hint="cas experiments show NAME lists them",
            )
        result[name] = partial(in_rows if known else in_metadata, name)
    return result


def _winners(
    rows: pa.Table,
    metric: str,
    shown: Sequence[bool],
    towards: str,
    kept: set[tuple[int, int]] | None,
    top: int,
) -> tuple[list[tuple[int, int, Any]], int]:
    """Return (run, row_index, value) of the best row of each of the *top* runs, the best first.

    Only *shown* runs count, and of their rows those *kept*, (run, row_index), None for all;
    and how many of these are no finite number. Of equal rows the one of the least index counts.
    """
    import numpy as np
    import pyarrow as pa

    columns = [rows.column(name) for name in ("run", "row_index", metric)]
    whole = [joined(column.chunks, column.type) for column in columns]
    kind = whole[2].type
    present = ~is_null(whole[2])
    runs, index, values = map(to_numpy, whole)
    present &= np.array(shown, dtype=bool)[runs] if len(runs) else present
    if kept is not None:
        pairs = zip(runs.tolist(), index.tolist(), strict=True)
        present &= np.fromiter((pair in kept for pair in pairs), bool, len(runs))
    finite = present & np.isfinite(values)
    skipped = int(present.sum() - finite.sum())
    runs, index, values = runs[finite], index[finite], values[finite]
    if kind == pa.bool_():
        values = values.astype(np.int64)
    # the complement turns the order of integers round, and of the least one too
    turned = ~values if values.dtype == np.int64 else -values
    keys = values if towards == "min" else turned
    # the rows of a run stand together; a sort of all of them would take ten times as long
    starts = np.flatnonzero(np.diff(runs, prepend=-1))
    least = np.minimum.reduceat(keys, starts) if len(starts) else keys
    ties = np.flatnonzero(keys == np.repeat(least, np.diff(starts, append=len(runs))))
    ties = ties[np.lexsort((index[ties], runs[ties]))]
    best_rows = ties[np.flatnonzero(np.diff(runs[ties], prepend=-1))]
    # runs are numbered oldest first, and a stable sort leaves equals so
    best_rows = best_rows[np.argsort(keys[best_rows], kind="stable")][:top]
    found = zip(*(part[best_rows].tolist() for part in (runs, index, values)), strict=True)
    return [(r, i, bool(v) if kind == pa.bool_() else v) for r, i, v in found], skipped


def _key(document: dict[str, Any], name: str) -> Any:
    value: Any = document
    if name in document:
        return document[name]
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


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
    tags: Sequence[str] = (),
    since: datetime | None = None,
    warn: Callable[[str], None] | None = None,
    progress: Progress = QUIET,
) -> list[dict[str, Any]]:
    """Return the newest record of each name, or *every* record, newest first.

    Only those that have all *tags* and were made *since*. ``[{name, id, created_at, status,
    rows, tags, note, git_commit, git_dirty, assets}]``.
    """
    found = runs(directory, warn, progress=progress)
    columns = ("experiment_name", "experiment_id", "created_at", "status", "rows", "tags", "note")
    captured = [
        [chunk.field(name) for chunk in found.column("captured").chunks]
        for name in ("git_commit", "git_dirty")
    ]
    listed = zip(
        *(to_list(found.column(name)) for name in (*columns, "assets")),
        _shown(found, tags, since, every=every),
        *([value for part in parts for value in part.to_pylist()] for parts in captured),
        strict=True,
    )
    return [
        {
            "name": name,
            "id": key,
            "created_at": utc(created),
            "status": status,
            "rows": rows,
            "tags": tags,
            "note": note,
            "git_commit": commit,
            "git_dirty": dirty,
            "assets": [use for use in assets if use["role"] != "earlier"],
        }
        for name, key, created, status, rows, tags, note, assets, shown, commit, dirty in reversed(
            list(listed)
        )
        if shown
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
