"""Run the rows and say what they took."""

from __future__ import annotations

import argparse
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .load import Load, describe_machine
from .measure import NotDone, summarise, take_turns
from .place import HOME, ROOT, make_environment, open_place
from .plot import write_plot
from .report import as_markdown, commit_of, read_results, write_page, write_results
from .rows import ROWS, Row

RESULTS = HOME / "results.json"


def main() -> int:
    """Parse the arguments, run, and return the exit code: 1 if a row failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--row", action="append", choices=ROWS, help="repeats; all by default")
    parser.add_argument("--runs", type=int, help="turns of each contestant, instead of the row's")
    parser.add_argument("--work", type=Path, default=HOME / "work", help="where the data goes")
    parser.add_argument("--results", type=Path, default=RESULTS, help=f"JSON ({RESULTS})")
    parser.add_argument("--write", type=Path, help="a page whose table is replaced, and its .svg")
    parser.add_argument("--no-run", action="store_true", help="show the results that are there")
    parser.add_argument("--list", action="store_true", help="show the rows")
    given = parser.parse_args()
    if given.list:
        for name, row in ROWS.items():
            print(f"{name:16}{row.title} ({row.runs} runs)")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the clean-up runs
    results = read_results(given.results)
    failed = []
    if not given.no_run:
        make_environment()
    for name in [] if given.no_run else given.row or ROWS:
        print(f"{name} ", end="", file=sys.stderr, flush=True)
        try:
            results["rows"][name] = run_row(name, ROWS[name], given.runs, given.work.resolve())
        except NotDone as error:
            print(f"\n{name}: {error}", file=sys.stderr)
            failed.append(name)
            continue
        write_results(given.results, results)
    shown = [results["rows"][name] for name in ROWS if name in results["rows"]]
    print(as_markdown([row for row in shown if row["row"] in (given.row or ROWS)]))
    if given.write:
        write_page(given.write, as_markdown(shown))
        write_plot(given.write.with_suffix(".svg"), shown)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def run_row(name: str, row: Row, runs: int | None, work: Path) -> dict[str, Any]:
    """Measure one row in a place of its own."""
    load = Load()
    with open_place(
        work, name, small_files=row.small_files, size=row.disk, inodes=row.inodes
    ) as place:
        machine = describe_machine(place.root)
        with row.make(place) as contestants:
            taken = take_turns(contestants, runs or row.runs, place.scratch, row.memory)
        note = place.note
    pairs = zip(contestants, taken, strict=True)
    return {
        "row": name,
        "title": row.title,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": commit_of(ROOT),
        "machine": machine,
        "load": load.report(),
        "note": note,
        "work": row.work,
        "contestants": [summarise(one, its) for one, its in pairs],
    }


if __name__ == "__main__":
    sys.exit(main())
