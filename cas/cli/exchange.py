"""The commands that take in runs of other programs, and give experiments out as a table."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cas.cli.terminal import count, join, shown
from cas.errors import UsageError

if TYPE_CHECKING:
    import argparse

    from cas.cli.terminal import Terminal

__all__ = ["export", "import_runs"]


def import_runs(args: argparse.Namespace, words: list[str], out: Terminal) -> int:
    """Save the runs of another program as records, and say what was left out."""
    from cas.experiments import importers
    from cas.project import Project

    if not args.source:
        raise UsageError(
            "cas experiments import: --from is missing",
            hint=f"cas experiments import --from {'|'.join(importers.SOURCES)} {words[0]}",
        )
    directory = Path(Project.find(args.project).experiments)
    told = importers.import_runs(directory, args.source, Path(words[0]), progress=out)
    if out.json:
        out.document(told)
        return 1 if told["bad"] else 0
    for one in told["imported"]:
        renamed = ", ".join(f"{old!r} as {new!r}" for old, new in one["renamed"].items())
        out.data(
            f"{shown(one['name'])}  {count(one['rows'], 'row')}" + f"  ({renamed})" * bool(renamed)
        )
    for reason in dict.fromkeys(one["reason"] for one in told["skipped"]):
        names = [one["name"] for one in told["skipped"] if one["reason"] == reason]
        out.note(f"skipped {len(names)}, {reason}: {join(names)}")
    for one in told["bad"]:
        out.error(f"{one['path']!r} was not imported: {one['reason']}")
    out.say(
        f"{count(len(told['imported']), 'experiment')} imported, {len(told['skipped'])} skipped,"
        f" {len(told['bad'])} bad"
    )
    return 1 if told["bad"] else 0


def export(args: argparse.Namespace, words: list[str], out: Terminal) -> int:
    """Write the experiments as one table, to a file or to stdout."""
    from cas import files
    from cas.experiments import exporters
    from cas.project import Project

    if out.json:
        raise UsageError("a table is no JSON document", hint="--format jsonl")
    form = exporters.format_of(args.format, args.output)
    if form == "parquet" and not args.output and sys.stdout.isatty():
        raise UsageError(
            "Parquet is no text", hint="cas experiments export --format parquet -o FILE"
        )
    choice = exporters.Choice(
        show=[name.strip() for name in (args.show or "").split(",") if name.strip()],
        best=args.best,
        direction=args.direction,
        where=args.where,
        tags=args.tag,
        since=datetime.now(UTC) - timedelta(seconds=args.since) if args.since else None,
        every=args.all,
    )
    directory = Path(Project.find(args.project).experiments)
    data = exporters.export(directory, form, choice, rows=args.rows, warn=out.note)
    if args.output:
        files.replace(Path(args.output), data)
        out.say(f"wrote {args.output}")
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
    return 0
