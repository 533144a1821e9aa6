"""The table: harness, points, violations, seeded faults caught.

As a plugin (``pytest -p tests.proofs.report``) it prints the table of a test run: each test
of a harness hands in its figures by ``record``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .sweep import Result

KEY = "proof"


@dataclass(slots=True)
class Row:
    """One harness."""

    points: int = 0
    missed: int = 0
    violations: int = 0
    caught: int = 0
    seeded: int = 0
    notes: list[str] = field(default_factory=list)


def record(record_property: Any, result: Result) -> None:
    """Hand in what a test of a harness found."""
    figures = {"points": result.points, "missed": result.missed,
               "violations": len(result.violations)}  # fmt: skip
    record_property(KEY, json.dumps({"harness": result.harness, **figures}))


def record_seeded(record_property: Any, harness: str, *, caught: bool) -> None:
    """Hand in whether a seeded fault was caught."""
    record_property(KEY, json.dumps({"harness": harness, "seeded": 1, "caught": int(caught)}))


def add(rows: dict[str, Row], figures: dict[str, Any]) -> None:
    """Add what was handed in to its row."""
    row = rows.setdefault(figures["harness"], Row())
    for name in ("points", "missed", "violations", "caught", "seeded"):
        setattr(row, name, getattr(row, name) + int(figures.get(name, 0)))


def table(rows: dict[str, Row]) -> str:
    """Return the table as text."""
    lines = ["| harness | points | violations | seeded faults caught |", "|---|---|---|---|"]
    for name, row in sorted(rows.items()):
        seeded = f"{row.caught} of {row.seeded}" if row.seeded else "-"
        lines.append(f"| {name} | {row.points:,} | {row.violations} | {seeded} |")
    return "\n".join(lines)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the table after a test run."""
    rows: dict[str, Row] = {}
    for reports in terminalreporter.stats.values():
        for one in reports:
            for name, value in getattr(one, "user_properties", ()):
                if name == KEY and getattr(one, "when", "") == "call":
                    add(rows, json.loads(value))
    if rows:
        terminalreporter.section("proofs by faults")
        terminalreporter.write_line(table(rows))
