"""Choice: which experiments and columns are exported, and the sheet that they make."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cas.errors import ExperimentError
from cas.experiments.query import query

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime
    from pathlib import Path

    import pyarrow as pa

__all__ = ["Choice", "Column", "Sheet", "ask", "quoted", "unknown"]

SECONDS = 600.0  # what is asked is ours but for a condition; all rows may be many


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What is asked for; by default the newest record of each name, and all its metrics."""

    show: Sequence[str] = ()
    """columns of the results, keys of metadata (``optimizer.lr`` in it), in this order"""
    best: str | None = None
    """a metric: rank by it, and show the others as they were at its best row"""
    direction: str | None = None
    """``min`` or ``max``; read from the metric's name by default"""
    where: str | None = None
    """a condition in SQL on the rows of the view ``experiments``"""
    tags: Sequence[str] = ()
    since: datetime | None = None
    every: bool = False
    """every record of a name, not only the newest"""

    def view(self) -> str:
        """Return the view of the rows."""
        return "all_experiments" if self.every else "experiments"

    def conditions(self) -> tuple[list[str], list[Any]]:
        """Return what tags and time ask of a record, in SQL, with its parameters."""
        words = ["list_contains(tags, ?)" for _ in self.tags]
        parameters: list[Any] = list(self.tags)
        if self.since is not None:
            words.append("created_at >= ?")
            parameters.append(self.since)
        return words, parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a sheet."""

    name: str
    values: Sequence[Any]
    direction: str | None = None
    """which of the values are better: ``min``, ``max``, or neither"""
    text: bool = True
    """whether LaTeX and Markdown show it too"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """Columns of one length, and the same as an Arrow table, with its types."""

    columns: Sequence[Column]
    table: pa.Table


def ask(
    directory: Path,
    sql: str,
    parameters: Sequence[Any] = (),
    warn: Callable[[str], None] | None = None,
) -> pa.Table:
    """Return what a SELECT of ours gives."""
    return query(directory, sql, params=list(parameters), timeout=SECONDS, warn=warn)


def quoted(name: str) -> str:
    """Return a name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def unknown(name: str, known: Iterable[str]) -> ExperimentError:
    """Return the error for a column that is not there, with those that are near."""
    by_lower = {one.lower(): one for one in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)
    hint = "did you mean " + " or ".join(repr(by_lower[one]) for one in near) if near else None
    return ExperimentError(f"no experiment has a column or a parameter {name!r}", hint=hint)
