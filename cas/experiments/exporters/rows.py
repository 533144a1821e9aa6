"""Rows: every row of the results, with what its record says around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cas.experiments.record import RESERVED

from .choice import Choice, Column, Sheet, ask, quoted, unknown

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["every_row"]

FIRST = ("experiment_name", "experiment_id", "row_index")
IN_TEXT = ("experiment_name", "row_index")  # of our own columns


def every_row(directory: Path, choice: Choice, warn: Callable[[str], None] | None = None) -> Sheet:
    """Return all rows of the chosen records, oldest first, or those that *where* takes.

    All columns of the view, or with ``show`` these and the three that say whose row it is.
    Metadata is a column; its keys are not.
    """
    words, parameters = choice.conditions()
    if choice.where:
        words.append(f"(\n{choice.where}\n)")
    selected = "*"
    if choice.show:
        known = ask(directory, f"SELECT * FROM {choice.view()} LIMIT 0", warn=warn).column_names  # noqa: S608
        by_lower = {name.lower(): name for name in known}
        for name in choice.show:
            if name.lower() not in by_lower:
                raise unknown(name, known)
        names = dict.fromkeys([*FIRST, *(by_lower[name.lower()] for name in choice.show)])
        selected = ", ".join(quoted(name) for name in names)
        warn = None  # it has been told
    sql = f"SELECT {selected} FROM {choice.view()}"  # noqa: S608 (names are ours or quoted)
    if words:
        sql += f" WHERE {' AND '.join(words)}"
    sql += " ORDER BY created_at, experiment_id, row_index"
    table = ask(directory, sql, parameters, warn)
    shown = {name.lower() for name in choice.show}
    return Sheet(
        table=table,
        columns=[
            Column(
                name=name,
                values=table.column(name).to_pylist(),
                text=name in IN_TEXT or name.lower() in shown or name not in RESERVED,
            )
            for name in table.column_names
        ],
    )
