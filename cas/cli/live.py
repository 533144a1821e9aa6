"""The commands that say something of a record after it was written, and that save dead runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cas.cli.terminal import count, join, shown

if TYPE_CHECKING:
    import argparse

    from cas.cli.terminal import Terminal

__all__ = ["note", "recover", "rm", "tag"]


def _directory(args: argparse.Namespace) -> Path:
    from cas.project import Project

    return Path(Project.find(args.project).experiments)


def tag(args: argparse.Namespace, words: list[str], out: Terminal) -> int:
    """Tag an experiment, or take tags away."""
    from cas.experiments import events

    name, experiment_id = events.tag(_directory(args), words[0], words[1:], take_away=args.remove)
    if out.json:
        out.document({"name": name, "id": experiment_id})
    out.say(f"{name}: {'no longer tagged' if args.remove else 'tagged'} {join(words[1:])}")
    return 0


def note(args: argparse.Namespace, words: list[str], out: Terminal) -> int:
    """Write the note of an experiment."""
    from cas.experiments import events

    name, experiment_id = events.note(_directory(args), words[0], " ".join(words[1:]))
    if out.json:
        out.document({"name": name, "id": experiment_id})
    out.say(f"{name}: " + ("noted" if any(words[1:]) else "has no note now"))
    return 0


def rm(args: argparse.Namespace, words: list[str], out: Terminal) -> int:
    """Hide experiments, or remove their files too."""
    from cas import lineage
    from cas.experiments import events
    from cas.project import Project

    gone = []
    for word in words:  # a name that is misspelt stops it before the first is gone
        (events.find if args.purge else events.visible)(_directory(args), word)
    for word in words:
        if args.purge:
            gone += lineage.purge(Project.find(args.project), word)
        else:
            gone += events.remove(_directory(args), word)
    if out.json:
        out.document([{"name": name, "id": experiment_id} for name, experiment_id in gone])
    how = "removed for good" if args.purge else "hidden; --purge removes the files too"
    out.say(f"{count(len(gone), 'record')} of {join(dict.fromkeys(n for n, _ in gone))}: {how}")
    return 0


def recover(args: argparse.Namespace, words: list[str], out: Terminal) -> int:
    """Make records of the runs whose process is gone."""
    from cas import runs
    from cas.project import Project

    skipped: list[str] = []
    made, left = runs.recover(Project.find(args.project), now=args.now, tell=skipped.append)
    for text in skipped:
        out.note(text)
    rows = [
        {
            "name": live.document["experiment_name"],
            "id": live.document["experiment_id"],
            "rows": len(live.rows),
            "path": str(path),
        }
        for path, live in made
    ]
    if out.json:
        out.document(rows)
    for row in rows:
        if not out.json:
            out.data(
                f"{shown(str(row['name']))}  {count(int(str(row['rows'])), 'row')}  {row['path']}"
            )
    if not rows and not skipped:
        out.say("no run is to be recovered")
    if left:
        beat = "" if args.now else "it beat in the last 10 minutes, or "
        out.say(f"{count(len(left), 'run')} left alone: {beat}its process lives"
                + ("" if args.now else "; --now takes what no process has open"))  # fmt: skip
    return 0
