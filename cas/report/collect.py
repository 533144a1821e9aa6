"""Collect: what the page shows of a project, as one document that JSON can hold.

Runs are numbered oldest first, trees in the order in which they are found; all that refers to
them has these numbers. Lists with a value for each run are packed (``packed``).
"""

from __future__ import annotations

import json
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cas.names import kind_of
from cas.progress import QUIET
from cas.report.curves import metrics_of
from cas.report.packed import pack, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pyarrow as pa

    from cas.progress import Progress
    from cas.project import Project

__all__ = ["collect"]

KEYS = 200  # keys of metadata that become columns
SHOWN = 300  # characters of a value of metadata, a note or a command
CAPTURED = {
    "git_commit": "commit", "git_branch": "branch", "git_dirty": "dirty", "git_moved": "moved",
    "git_diff": "diff", "packages": "packages", "lock": "lock", "host": "host", "user": "user",
    "python": "python", "argv": "command", "seed": "seed", "gpu": "gpu", "cas": "cas",
}  # fmt: skip
"""What a record captured, and what the page calls it."""


def collect(
    project: Project, warn: Callable[[str], None], *, progress: Progress = QUIET
) -> dict[str, Any]:
    """Return the document: ``{project, runs, metadata, metrics, …, trees, edges, bad}``.

    Unreadable records are told to *warn*, and counted.
    """
    from cas import graph
    from cas.experiments import scan

    skipped: list[str] = []

    def skip(text: str) -> None:
        skipped.append(text)
        warn(text)

    found = scan.tables(Path(project.experiments), skip, progress=progress)
    runs = found.runs
    trees = _Trees()
    for row in graph.asset_rows(project):
        trees.add(row)
    uses, used = _uses(runs, trees)
    edges = [
        [trees.of(row["input_tree"]), trees.of(row["output_tree"]), row["via"]]
        for row in graph.edge_rows(project)
    ]
    return {
        "project": Path(project.root).name,
        "made": int(time.time()),
        "count": runs.num_rows,
        "unreadable": len(skipped),
        "runs": {**_runs(runs), "uses": pack(used)},
        "uses": uses,
        "metadata": _metadata(runs.column("metadata").to_pylist()),
        **metrics_of(found.rows, runs.num_rows),
        "trees": trees.rows,
        "edges": edges,
        "bad": [[node, taint.why] for node, taint in graph.tainted(project).items()],
    }


class _Trees:
    """The trees that are named, each once.

    A row is [tree, name, kind, repository, commit, files, size, locked, present].
    """

    def __init__(self) -> None:
        self.rows: list[list[Any]] = []
        self._at: dict[str, int] = {}

    def add(self, row: Mapping[str, Any]) -> None:
        """Add what the graph knows of a tree."""
        self._at[row["tree"]] = len(self.rows)
        keys = ("tree", "name", "kind", "repository", "commit", "files", "size")
        self.rows.append([*(row[key] for key in keys), int(row["locked"]), int(row["present"])])

    def of(self, tree: str, name: str | None = None, commit: str | None = None) -> int:
        """Return the number of a tree; one without a name takes that of its last use."""
        at = self._at.get(tree)
        if at is None:
            at = self._at[tree] = len(self.rows)
            self.rows.append([tree, None, None, None, commit, None, None, 0, 0])
        if name and self.rows[at][1] is None:
            self.rows[at][1:3] = [name, kind_of(name) if "/" in name else None]
        return at


def _runs(runs: pa.Table) -> dict[str, Any]:
    """Return the columns of the runs, packed."""
    import pyarrow as pa

    moments = runs.column("created_at").cast(pa.int64()).to_pylist()
    captured = runs.column("captured").to_pylist()
    columns: dict[str, list[Any]] = {
        "name": runs.column("experiment_name").to_pylist(),
        "id": runs.column("experiment_id").to_pylist(),
        "created": [moment // 1_000_000 for moment in moments],
        "status": runs.column("status").to_pylist(),
        "rows": runs.column("rows").to_pylist(),
        "latest": [int(one) for one in runs.column("latest").to_pylist()],
        "tags": [tags or [] for tags in runs.column("tags").to_pylist()],
        "note": [note and note[:SHOWN] for note in runs.column("note").to_pylist()],
    }
    for key, name in CAPTURED.items():
        columns[name] = [_captured(key, run.get(key)) for run in captured]
    return {name: pack(values) for name, values in columns.items()}


def _captured(key: str, value: Any) -> Any:
    if value is None:
        return None
    if key == "argv":
        return shlex.join(map(str, value))[:SHOWN]
    if key in ("git_diff", "packages", "lock", "git_commit"):
        return str(value)[:12]
    return plain(value)


def _metadata(texts: list[str]) -> list[list[Any]]:
    """Return [key, packed values] of the keys that most runs have, nested ones as ``a.b``."""
    parsed: dict[str, dict[str, Any]] = {}
    flat = []
    for text in texts:
        if text not in parsed:
            parsed[text] = dict(_flat(json.loads(text), ""))
        flat.append(parsed[text])
    counts: dict[str, int] = {}
    for one in flat:
        for key in one:
            counts[key] = counts.get(key, 0) + 1
    kept = sorted(counts, key=lambda key: -counts[key])[:KEYS]
    return [[key, pack([one.get(key) for one in flat])] for key in kept]


def _flat(document: Mapping[str, Any], before: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in document.items():
        if isinstance(value, dict) and value:
            found += _flat(value, f"{before}{key}.")
        else:
            shown = plain(value)
            found.append((f"{before}{key}", shown[:SHOWN] if isinstance(shown, str) else shown))
    return found


def _uses(runs: pa.Table, trees: _Trees) -> tuple[list[list[list[Any]]], list[int]]:
    """Return (distinct lists of uses, which one each run has).

    A use is [tree, role], and its name where that is not the tree's.
    """
    lists: list[list[list[Any]]] = []
    seen: dict[tuple[Any, ...], int] = {}
    which = []
    for uses in runs.column("assets").to_pylist():
        key = tuple(
            (use["tree"], use["role"], use["name"], use["commit"])
            for use in uses
            if use["role"] != "earlier"
        )
        if key not in seen:
            seen[key] = len(lists)
            numbers = [trees.of(tree, name, commit) for tree, _, name, commit in key]
            lists.append(
                [
                    [at, role] if trees.rows[at][1] == name else [at, role, name]
                    for at, (_, role, name, _) in zip(numbers, key, strict=True)
                ]
            )
        which.append(seen[key])
    return lists, which
