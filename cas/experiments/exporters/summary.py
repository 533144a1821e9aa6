"""Summary: one row an experiment, as a leaderboard or a paper's table has it.

A metric whose name says which way is better (``board.direction_of``) stands at its best finite
value, another at its last. With ``best`` the row where that metric was best decides: the others
stand as they were then, at their last value up to that row.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cas.errors import UsageError
from cas.experiments.arrays import build
from cas.experiments.board import direction_of
from cas.experiments.columns import from_values
from cas.experiments.record import RESERVED

from .choice import Choice, Column, Sheet, ask, quoted, unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    Metrics = Mapping[str, pa.Field]  # by their names in lower case
    Values = Mapping[str, Mapping[str, Any]]  # experiment id → metric in lower case → value

__all__ = ["summarise"]

NAME = "experiment_name"
AROUND = ("experiment_id", "created_at", "status", "tags", "git_commit")
POSITIONS = {"step", "global_step", "iteration", "epoch", "timestamp"}  # shown when asked for


def summarise(directory: Path, choice: Choice, warn: Callable[[str], None] | None = None) -> Sheet:
    """Return one row a record, oldest first, or by ``best`` the best first.

    The columns are those of ``show``, else all metrics, positions such as ``step`` aside. The
    data formats also have what is known of the record, and its metadata as JSON.
    """
    records = _records(directory, choice, warn)
    schema = ask(directory, f"SELECT * FROM {choice.view()} LIMIT 0").schema  # noqa: S608 (ours)
    results = {f.name.lower(): f for f in schema if f.name.lower() not in RESERVED}
    shown = list(dict.fromkeys(choice.show))
    if not shown:
        shown = [f.name for key, f in results.items() if _is_number(f) and key not in POSITIONS]
    if choice.best and choice.best.lower() not in map(str.lower, shown):
        shown.append(choice.best)
    metrics = {name.lower(): results[name.lower()] for name in shown if name.lower() in results}
    best = choice.best.lower() if choice.best else None
    if best and records and not (best in metrics and _is_number(metrics[best])):
        raise unknown(str(choice.best), [f.name for f in results.values() if _is_number(f)])
    _check(shown, results, records)
    ways = {key: _way(f.name) if _is_number(f) else None for key, f in metrics.items()}
    if best:
        ways[best] = choice.direction or direction_of(str(choice.best))
    values = _values(directory, choice, metrics, ways)
    if choice.where or best:
        records = [one for one in records if one["experiment_id"] in values]
    if best:
        sign = 1 if ways[best] == "min" else -1  # sorting keeps the older first of equals
        records.sort(key=lambda one: sign * values[one["experiment_id"]][best])
    return _sheet(records, shown, metrics, ways, values)


def _check(shown: Sequence[str], results: Metrics, records: Sequence[Mapping[str, Any]]) -> None:
    """Raise ExperimentError for a name that is neither a column nor a parameter of any."""
    open_names = [n for n in shown if n.lower() not in results and n not in (NAME, *AROUND)]
    if not open_names or not records:
        return
    settings = [json.loads(one["metadata"]) for one in records]
    for name in open_names:
        if not any(_setting(one, name)[0] for one in settings):
            known = [f.name for f in results.values()] + [
                *AROUND,
                *(k for s in settings for k in s),
            ]
            raise unknown(name, known)


def _is_number(field: pa.Field) -> bool:
    import pyarrow.types as types

    return bool(types.is_integer(field.type) or types.is_floating(field.type))


def _way(metric: str) -> str | None:
    try:
        return direction_of(metric)
    except UsageError:
        return None


def _records(
    directory: Path, choice: Choice, warn: Callable[[str], None] | None
) -> list[dict[str, Any]]:
    words, parameters = choice.conditions()
    if not choice.every:
        words.append("latest")
    sql = (
        "SELECT experiment_name, experiment_id, created_at, status, tags,"  # noqa: S608 (ours)
        " run.git_commit AS git_commit, metadata FROM runs"
        f" WHERE {' AND '.join(words) or 'true'} ORDER BY created_at, experiment_id"
    )
    return list(ask(directory, sql, parameters, warn).to_pylist())


def _values(
    directory: Path, choice: Choice, metrics: Metrics, ways: Mapping[str, str | None]
) -> Values:
    """Return for each experiment with rows that count what stands in its row of the sheet."""
    best = choice.best.lower() if choice.best else None
    taken = []
    for key, field in metrics.items():
        name, way = quoted(field.name), ways[key]
        if way and not best:
            taken.append(f"{way}({name}) FILTER (isfinite({name}::DOUBLE))")
        else:
            taken.append(f"arg_max({name}, row_index)")
    if not taken and not choice.where:
        return {}
    source = choice.view()
    if choice.where:
        source = f"(SELECT * FROM {source} WHERE (\n{choice.where}\n))"  # noqa: S608
    sql = f"WITH e AS (FROM {source})"
    rows = "e"
    if best:
        name = quoted(metrics[best].name) if best in metrics else "NULL"
        sql += (
            f", top AS (SELECT experiment_id AS id, {ways[best]}({name}) AS v FROM e"  # noqa: S608
            f" WHERE isfinite({name}::DOUBLE) GROUP BY 1),"
            " reached AS (SELECT id, min(row_index) AS r FROM e JOIN top ON id = experiment_id"
            f" WHERE {name} = v GROUP BY 1)"
        )
        rows = "e JOIN reached ON id = experiment_id AND row_index <= r"
    columns = [f"{what} AS c{i}" for i, what in enumerate(taken)]
    chosen = ", ".join(["experiment_id", *columns])
    sql += f" SELECT {chosen} FROM {rows} GROUP BY experiment_id"  # noqa: S608
    found = ask(directory, sql).to_pylist()
    return {
        row["experiment_id"]: {key: row[f"c{i}"] for i, key in enumerate(metrics)} for row in found
    }


def _sheet(
    records: Sequence[Mapping[str, Any]],
    shown: Sequence[str],
    metrics: Metrics,
    ways: Mapping[str, str | None],
    values: Values,
) -> Sheet:
    settings = [json.loads(one["metadata"]) for one in records]
    columns = [Column(name=NAME, values=[one[NAME] for one in records])]
    for name in AROUND:
        if name not in metrics:
            cells = [one[name] for one in records]
            columns.append(Column(name=name, values=cells, text=name in shown))
    for name in shown:
        if name.lower() in metrics:
            key = name.lower()
            cells = [values.get(one["experiment_id"], {}).get(key) for one in records]
            columns.append(Column(name=metrics[key].name, values=cells, direction=ways[key]))
        elif name not in (NAME, *AROUND):
            cells = [_setting(one, name)[1] for one in settings]
            columns.append(Column(name=name, values=cells))
    if "metadata" not in shown:
        cells = [one["metadata"] for one in records]
        columns.append(Column(name="metadata", values=cells, text=False))
    return Sheet(columns=columns, table=_table(columns))


def _setting(settings: Mapping[str, Any], name: str) -> tuple[bool, Any]:
    """Say whether a key, or a dotted way to one, is there, and return its value."""
    if name in settings:
        return True, settings[name]
    first, dot, rest = name.partition(".")
    inner = settings.get(first)
    return _setting(inner, rest) if dot and isinstance(inner, dict) else (False, None)


def _table(columns: Sequence[Column]) -> pa.Table:
    import pyarrow as pa

    fixed = {
        NAME: pa.string(),
        **dict.fromkeys(AROUND, pa.string()),
        "created_at": pa.timestamp("us", "UTC"),
        "tags": pa.list_(pa.string()),
        "metadata": pa.string(),
    }
    arrays = []
    for column in columns:
        if column.name in fixed and column.direction is None:
            arrays.append(build(column.values, fixed[column.name]))
            continue
        array, text = from_values(column.values, column.name)
        if text is not None:  # numbers and text: a sheet has one column of it
            words = [None if v is None else str(v) for v in column.values]
            array = build(words, pa.string())
        arrays.append(array)
    return pa.Table.from_arrays(arrays, names=[column.name for column in columns])
