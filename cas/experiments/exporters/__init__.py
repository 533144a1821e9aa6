"""Exporters: experiments as one table, for other programs and for papers.

summary    one row an experiment: chosen metrics, each at its best
rows       every row of the results
data       a table as Parquet, CSV, JSONL
text       a table as LaTeX, Markdown
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cas.errors import UsageError, typed

from .choice import Choice
from .data import to_csv, to_jsonl, to_parquet
from .rows import every_row
from .summary import summarise
from .text import to_latex, to_markdown

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .choice import Sheet

__all__ = ["FORMATS", "Choice", "export", "format_of"]

FORMATS: dict[str, Callable[[Sheet], bytes]] = {
    "parquet": to_parquet,
    "csv": to_csv,
    "jsonl": to_jsonl,
    "latex": to_latex,
    "md": to_markdown,
}
ENDINGS = {".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl", ".tex": "latex", ".md": "md"}


def format_of(format: str | None, file: str | os.PathLike[str] | None) -> str:
    """Return the format that is asked for, else that of the file's ending.

    Raises UsageError where neither says one, or *file* has no directory to lie in.
    """
    found = format or ENDINGS.get(os.path.splitext(file or "")[1].lower())
    if found not in FORMATS:
        raise UsageError(
            f"format: expected one of {', '.join(FORMATS)}, found {format!r}"
            if format
            else "neither a format nor a file's ending says what to write",
            hint="cas experiments export --format md, or -o table.tex",
        )
    directory = os.path.dirname(file or "") or "."
    if not os.path.isdir(directory):
        raise UsageError(f"{os.fspath(file or '')!r}: its directory doesn't exist",
                         hint=f"mkdir -p {typed(os.fsdecode(directory))}")  # fmt: skip
    return found


def export(
    directory: Path,
    form: str,
    choice: Choice,
    *,
    rows: bool = False,
    warn: Callable[[str], None] | None = None,
) -> bytes:
    """Return the chosen experiments of *directory*, or all their *rows*, in one of ``FORMATS``.

    Raises UsageError for a choice that can't be made, ExperimentError for a column that no
    experiment has, or a condition that fails.
    """
    if rows and choice.best:
        raise UsageError("all rows are asked for, and the best one of each experiment")
    if choice.direction and not choice.best:
        raise UsageError(
            f"{choice.direction} says which way a metric is best, and none is named",
            hint="--best METRIC",
        )
    sheet = (every_row if rows else summarise)(directory, choice, warn)
    return FORMATS[form](sheet)
