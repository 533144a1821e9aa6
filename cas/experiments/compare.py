"""Compare: one experiment whole, and two of them where they differ.

What the store holds (listings, packages, diffs) is not known here: callables come down.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cas.errors import ExperimentError
from cas.names import near

from .arrays import build, to_list
from .board import direction_of
from .columns import TEXT
from .naming import LIVE, RECORD, SHORTEST, utc
from .scan import tables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pyarrow as pa

    from .scan import Tables

    Warn = Callable[[str], None]

__all__ = ["Changes", "compare", "show"]

Changes = tuple[list[str], list[str], list[str]]
"""The paths that were added, removed and changed."""

GIT = ("commit", "branch", "dirty", "moved", "diff")
"""What a record says of git, without its prefix."""


def show(directory: Path, word: str, warn: Warn | None = None) -> dict[str, Any]:
    """Return the newest record of an experiment (or the one with an id), as JSON has it.

    The keys of ``list_records``, and metadata, metrics, run, path. ``metrics`` is
    ``{name: {last, min, max, best}}`` of each column of numbers: the value of the last row
    that has one, the extremes of the finite ones, and of these the one that is better by the
    metric's name, else null.
    """
    found = tables(directory, warn)
    return _shown(directory, found, _find(found, word))


def compare(
    directory: Path,
    words: tuple[str, str],
    *,
    changes: Callable[[str | None, str | None], Changes | None],
    packages: Callable[[str], Mapping[str, str] | None],
    warn: Warn | None = None,
) -> dict[str, Any]:
    """Return what differs between two experiments, and their metrics side by side.

    ``{experiments, metadata, assets: [{name, role, trees, added, removed, changed}], git,
    packages, metrics}``. A difference is ``[first, second]``; null is what one of them has
    not. *changes* says which files of two trees differ, None where a listing is not known;
    *packages* returns name → version of an object that a record names. Raises ExperimentError.
    """
    found = tables(directory, warn)
    first, second = (_shown(directory, found, _find(found, word)) for word in words)
    runs = first["run"], second["run"]
    keys = ("name", "id", "created_at", "status", "rows", "tags", "note")
    installed = [packages(run["packages"]) if run["packages"] else None for run in runs]
    both = all(one is not None for one in installed)
    versions = [{"python": run["python"], **(one or {} if both else {})}
                for run, one in zip(runs, installed, strict=True)]  # fmt: skip
    return {
        "experiments": [{key: one[key] for key in keys} for one in (first, second)],
        "metadata": _differing(_flat(first["metadata"]), _flat(second["metadata"])),
        "assets": _assets(first["assets"], second["assets"], changes),
        "git": _differing(*({key: run[f"git_{key}"] for key in GIT} for run in runs)),
        "packages": _differing(*versions),
        "metrics": {
            name: [first["metrics"].get(name), second["metrics"].get(name)]
            for name in [*first["metrics"], *second["metrics"]]
        },
    }


def _find(found: Tables, word: str) -> int:
    """Return the position of the newest record of a name, or of the one with an id."""
    names = found.runs.column("experiment_name").to_pylist()
    ids = found.runs.column("experiment_id").to_pylist()
    fits = [n for n, name in enumerate(names) if name == word][-1:]
    if not fits and len(word) >= SHORTEST:
        fits = [n for n, one in enumerate(ids) if one.startswith(word)]
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise ExperimentError(f"{word!r} fits {len(fits)} experiments' ids")
    close = near(word, set(names))
    raise ExperimentError(
        f"no experiment {word!r}" + (f"; near: {', '.join(map(repr, close))}" if close else ""),
        hint="cas experiments --list",
    )


def _shown(directory: Path, found: Tables, position: int) -> dict[str, Any]:
    own = found.runs.slice(position, 1)
    run = {name: to_list(own.column(name))[0] for name in own.column_names}
    name, key = run["experiment_name"], run["experiment_id"]
    path = Path(directory, f"{name}.{key}{RECORD}")
    return {
        "name": name,
        "id": key,
        "created_at": utc(run["created_at"]),
        "status": run["status"],
        "rows": run["rows"],
        "tags": run["tags"],
        "note": run["note"],
        "git_commit": run["captured"]["git_commit"],
        "git_dirty": run["captured"]["git_dirty"],
        "assets": [use for use in run["assets"] if use["role"] != "earlier"],
        "metadata": json.loads(run["metadata"]),
        "metrics": _metrics(found.rows, position),
        "run": run["captured"],
        "path": str(path if path.exists() else path.with_name(f"{name}.{key}{LIVE}")),
    }


def _metrics(rows: pa.Table, position: int) -> dict[str, dict[str, float | None]]:
    import pyarrow as pa
    import pyarrow.compute as pc

    own = rows.filter(pc.equal(rows.column("run"), build([position], pa.int64())[0]))
    metrics: dict[str, dict[str, float | None]] = {}
    for field in own.schema:
        if field.name in ("run", "row_index") or field.name.endswith(TEXT):
            continue
        if field.type not in (pa.int64(), pa.float64()):
            continue
        values = own.column(field.name).drop_null().to_pylist()
        if not values:
            continue
        finite = [value for value in values if math.isfinite(value)]
        least, most = (min(finite), max(finite)) if finite else (None, None)
        best = {"min": least, "max": most, "": None}[_direction(field.name)]
        metrics[field.name] = {"last": values[-1], "min": least, "max": most, "best": best}
    return metrics


def _direction(name: str) -> str:
    from cas.errors import UsageError

    try:
        return direction_of(name)
    except UsageError:
        return ""


def _assets(
    first: list[dict[str, Any]],
    second: list[dict[str, Any]],
    changes: Callable[[str | None, str | None], Changes | None],
) -> list[dict[str, Any]]:
    """Return the uses that differ, matched by name and role, with the files that differ."""
    before, after = (
        {(use["name"], use["role"]): use["tree"] for use in uses} for uses in (first, second)
    )
    rows = []
    for name, role in dict.fromkeys([*before, *after]):
        trees = before.get((name, role)), after.get((name, role))
        if trees[0] == trees[1]:
            continue
        added, removed, changed = changes(*trees) or (None, None, None)
        rows.append({
            "name": name, "role": role, "trees": list(trees),
            "added": added, "removed": removed, "changed": changed,
        })  # fmt: skip
    return rows


def _flat(document: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Return nested mappings as one: ``model.layers``."""
    flat: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{before}{key}.")
        else:
            flat[f"{before}{key}"] = value
    return flat


def _differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, list[Any]]:
    return {
        key: [first.get(key), second.get(key)]
        for key in dict.fromkeys([*first, *second])
        if key not in first or key not in second or first[key] != second[key]
    }
