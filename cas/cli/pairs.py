"""What ``cas experiments show`` and ``compare`` print."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cas.cli.lineage import warn_of_bad
from cas.cli.terminal import shown

if TYPE_CHECKING:
    import argparse

    from cas.cli.terminal import Terminal

__all__ = ["show_differences", "show_one"]

MOST_FILES = 20  # of an asset, that are named


def show_one(args: argparse.Namespace, words: list[str], out: Terminal) -> int:
    """Show one experiment: what it was given, used, captured and found."""
    from cas.experiments import show
    from cas.project import Project

    project = Project.find(args.project)
    found = show(Path(project.experiments), words[0], out.note)
    warn_of_bad(project, {found["id"]}, out)
    if out.json:
        out.document(found)
        return 0
    out.data(out.paint(_line(found["name"]), "bold"))
    run = found["run"]
    git = run["git_commit"] and f"{run['git_commit'][:12]} {run['git_branch'] or ''}".rstrip()
    if git and run["git_dirty"]:
        git += ", with changes"
    if git and run["git_moved"]:
        git += ", moved during the run"
    command = " ".join(run["argv"]) if run["argv"] else None
    lines = [
        ("id", found["id"]), ("created", found["created_at"]), ("status", found["status"]),
        ("rows", found["rows"]), ("tags", ", ".join(found["tags"]) or None),
        ("note", found["note"]), ("git", git), ("command", command), ("python", run["python"]),
        ("host", run["host"]), ("gpu", run["gpu"]), ("seed", run["seed"]), ("path", found["path"]),
    ]  # fmt: skip
    for key, value in lines:
        if value is not None:
            out.data(f"  {key:8} {_line(value)}")
    if found["metadata"]:
        out.data("metadata")
        for key, value in found["metadata"].items():
            out.data(f"  {_line(key)}: {_line(value)}")
    if found["assets"]:
        out.data("assets")
        for use in found["assets"]:
            at = f"commit {use['commit'][:12]}" if use["commit"] else use["tree"][:15]
            out.data(f"  {_line(use['name'])} ({_line(use['role'])})  {at}")
    if found["metrics"]:
        out.table(
            [(name, m["last"], m["min"], m["max"]) for name, m in found["metrics"].items()],
            ("METRIC", "LAST", "MIN", "MAX"),
            " rrr",
        )
    return 0


def show_differences(args: argparse.Namespace, words: list[str], out: Terminal) -> int:
    """Show what differs between two experiments, and their metrics side by side."""
    from cas import graph
    from cas.project import Project

    project = Project.find(args.project)
    found = graph.compare(project, words[0], words[1], out.note)
    warn_of_bad(project, {one["id"] for one in found["experiments"]}, out)
    if out.json:
        out.document(found)
        return 0
    names = tuple(_line(one["name"]).upper() for one in found["experiments"])
    for part in ("metadata", "git", "packages"):
        if found[part]:
            rows = [(key, *map(_line, pair)) for key, pair in found[part].items()]
            out.table(rows, (part.upper(), *names))
    for asset in found["assets"]:
        trees = " → ".join(tree[:15] if tree else "not used" for tree in asset["trees"])
        out.data(f"{_line(asset['name'])} ({_line(asset['role'])})  {trees}")
        if asset["added"] is None:
            out.note(f"{asset['name']}: its listings are not all in the store, so its files are "
                     "not told")  # fmt: skip
            continue
        for sign, key in (("+", "added"), ("-", "removed"), ("~", "changed")):
            for path in asset[key][:MOST_FILES]:
                out.data(f"    {sign} {_line(path)}")
            if len(asset[key]) > MOST_FILES:
                out.data(f"    {sign} … {len(asset[key]) - MOST_FILES} more")
    if not any(found[part] for part in ("metadata", "git", "packages", "assets")):
        out.say("nothing differs but what they found")
    if found["metrics"]:
        out.table(
            [(name, *map(_value, pair)) for name, pair in found["metrics"].items()],
            ("METRIC", *names),
            " rr",
        )
    return 0


def _value(metric: dict[str, Any] | None) -> float | None:
    """Return the value of a metric that a person looks for: the best, else the last."""
    if metric is None:
        return None
    best: float | None = metric["best"]
    return metric["last"] if best is None else best


def _line(value: Any) -> str:
    """Return a value as one line that does nothing to a terminal."""
    if value is None:
        return "-"
    if isinstance(value, dict | list | bool):
        value = json.dumps(value, ensure_ascii=False)
    return shown(str(value))
