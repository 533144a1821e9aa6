"""The commands that show what experiments gave: the list, the best, a query."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cas.cli.lineage import warn_of_bad
from cas.cli.terminal import count
from cas.errors import UsageError

if TYPE_CHECKING:
    import argparse

    import pyarrow as pa

    from cas.cli.terminal import Terminal

__all__ = ["query", "show_best", "show_list"]

MOST_SECONDS = 7 * 86_400  # of a query
GRACE = 2.0  # seconds after the deadline at which a query that does not stop is ended hard
BASE = 4 << 30  # bytes of address space that DuckDB and Arrow map without using them


def show_list(args: argparse.Namespace, words: list[str], out: Terminal) -> int:
    """List the experiments."""
    from cas.experiments import list_records
    from cas.project import Project

    directory = Path(Project.find(args.project).experiments)
    rows = list_records(
        directory,
        every=args.all,
        tags=args.tag,
        since=_since(args),
        warn=out.note,
        progress=out,
    )
    if out.json:
        out.document(rows)
    elif not rows:
        out.say(
            "no experiment like that"
            if args.tag or args.since
            else "no experiments yet: cas.save_experiment(name, results)"
        )
    else:
        out.table(
            [(r["name"], str(r["created_at"])[:19], r["status"], r["rows"],
              _commit(r), ", ".join(_used(r["assets"]))) for r in rows],
            ("NAME", "CREATED", "STATUS", "ROWS", "GIT", "ASSETS"),
            "   r",
        )  # fmt: skip
    return 0


def show_best(args: argparse.Namespace, words: list[str], out: Terminal) -> int:
    """Rank the experiments by a metric."""
    from cas.experiments import best
    from cas.project import Project

    project = Project.find(args.project)
    directory = Path(project.experiments)
    show = [name.strip() for name in (args.show or "").split(",") if name.strip()]
    board = best(
        directory,
        words[0],
        top=args.top,
        direction=args.direction,
        show=show,
        where=args.where,
        tags=args.tag,
        since=_since(args),
        warn=out.note,
        progress=out,
    )
    warn_of_bad(project, {row["id"] for row in board["experiments"]}, out)
    if out.json:
        out.document(board)
        return 0
    out.say(f"{board['metric']}, {board['direction']} is best"
            + (" (guessed from its name)" if board["guessed"] else ""))  # fmt: skip
    if board["skipped_rows"]:
        rows = board["skipped_rows"]
        out.note(f"{count(rows, 'row')} {'is' if rows == 1 else 'are'} no finite number "
                 f"and left out")  # fmt: skip
    if not board["experiments"]:
        out.say(f"no experiment like that has a finite {board['metric']}")
        return 0
    out.table(
        [(r["rank"], r["name"], r["value"], *(r["show"][name] for name in show),
          ", ".join(_used(r["assets"])))
         for r in board["experiments"]],
        ("RANK", "NAME", board["metric"].upper(), *map(str.upper, show), "ASSETS"),
        "r r",
    )  # fmt: skip
    return 0


def _since(args: argparse.Namespace) -> datetime | None:
    return datetime.now(UTC) - timedelta(seconds=args.since) if args.since else None


def _commit(row: dict[str, Any]) -> str:
    commit = row["git_commit"]
    return f"{commit[:9]}{'+' if row['git_dirty'] else ''}" if commit else "-"


def _used(assets: list[dict[str, Any]]) -> list[str]:
    return [
        f"{a['name'].partition('/')[2]}@{str(a['tree'])[3:11]}"
        for a in assets
        if a.get("role") != "earlier"
    ]


def query(args: argparse.Namespace, out: Terminal) -> int:
    """Run one SELECT, within its time and memory, and print what it gives."""
    from cas import graph
    from cas.project import Project

    if not 0 < args.timeout <= MOST_SECONDS:
        raise UsageError(f"--timeout {args.timeout:g}: expected seconds, up to {MOST_SECONDS}")
    table = graph.query(
        Project.find(args.project),
        args.sql,
        timeout=args.timeout,
        memory=args.memory,
        ready=lambda: _limit(args.timeout, args.memory, out),
        warn=out.note,
        progress=out,
    )
    form = "json" if out.json else args.format
    if form == "json":
        names = table.column_names
        out.document([dict(zip(names, row, strict=True)) for row in _rows(table)])
    elif form == "csv":
        import pyarrow.csv

        pyarrow.csv.write_csv(_flat(table), sys.stdout.buffer)
    elif form == "parquet":
        if sys.stdout.isatty():
            raise UsageError("Parquet is no text", hint="cas query --format parquet … > FILE")
        import pyarrow.parquet

        pyarrow.parquet.write_table(table, sys.stdout.buffer)
    else:
        out.table(_rows(table), table.column_names)
    return 0


def _rows(table: pa.Table) -> list[tuple[Any, ...]]:
    """Return the rows as Python has them, times beyond their reach as text."""
    return list(zip(*map(_values, table.columns), strict=True))


def _values(column: pa.ChunkedArray) -> list[Any]:
    from cas.experiments.arrays import to_list

    def one(value: pa.Scalar) -> Any:
        try:
            return value.as_py()
        except (OverflowError, ValueError):
            return "out of range"

    try:
        return to_list(column)
    except (OverflowError, ValueError):
        return list(map(one, column))


def _flat(table: pa.Table) -> pa.Table:
    """Return a table that CSV can hold: nested columns as JSON, other strange ones as text."""
    import json

    import pyarrow as pa
    import pyarrow.types as types

    def flat(column: pa.ChunkedArray) -> pa.ChunkedArray:
        if types.is_nested(column.type):
            texts = [None if v is None else json.dumps(v, default=str) for v in _values(column)]
        elif types.is_interval(column.type) or types.is_binary(column.type):
            texts = [None if v is None else str(v) for v in _values(column)]
        else:
            return column
        return pa.chunked_array([pa.array(texts, pa.string())])

    return pa.table(list(map(flat, table.columns)), names=table.column_names)


def _limit(timeout: float, memory: str, out: Terminal) -> None:
    """End this process hard where DuckDB's own limits don't hold.

    Its memory limit lets ``repeat('x', 1e9)`` have 2 GB, and its interrupt took 29 s there.
    """
    import resource
    import threading

    size = _bytes(memory)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = size + BASE
    if hard == resource.RLIM_INFINITY or wanted < hard:
        resource.setrlimit(resource.RLIMIT_AS, (wanted if soft < 0 else min(soft, wanted), hard))

    def give_up() -> None:
        out.error(f"the query took longer than {timeout:g} s", "cas query --timeout SECONDS")
        sys.stderr.flush()
        os._exit(1)

    timer = threading.Timer(timeout + GRACE, give_up)
    timer.daemon = True
    timer.start()
    _end_at_signals(out)


def _end_at_signals(out: Terminal) -> None:
    """End this process by Ctrl-C or SIGTERM though DuckDB may not look up for half a minute.

    Until it does no handler of Python's runs, and what one raises DuckDB keeps for itself; but
    the number of a signal that has one is written to a pipe at once.
    """
    import signal
    import threading

    ends = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in ends:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: None)

    def watch() -> None:
        while (number := os.read(reading, 1)[0]) not in ends:
            pass
        out.error(ends[signal.Signals(number)])
        sys.stderr.flush()
        os._exit(128 + number)

    threading.Thread(target=watch, name="cas-signals", daemon=True).start()


def _bytes(text: str) -> int:
    units = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
    number, unit = text[:-2], text[-2:].upper()
    if unit not in units or not number.isascii() or not number.isdigit() or not int(number):
        raise UsageError(f"--memory {text!r}: expected a size such as 2GB or 500MB")
    return int(number) * units[unit]
