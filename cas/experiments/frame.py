"""Frames: what people hand in as results, made into named columns.

Taken: a pandas or polars DataFrame, a pyarrow Table or RecordBatch, a list of dicts (one a
row), one dict of scalars (one row) or of lists (columns), None. Nothing is guessed about a
name: an empty, repeated, reserved or case-clashing one is an error, before any work is done.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cas.errors import ExperimentError

from .columns import TEXT, from_values, settle

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pyarrow as pa

__all__ = ["MAX_COLUMNS", "to_table"]

MAX_COLUMNS = 10_000  # Parquet's footer and DuckDB's binder both grow with columns and records
MAX_NAME = 255  # bytes


def to_table(results: Any, *, reserved: frozenset[str] = frozenset()) -> pa.Table:
    """Return *results* as a table of settled columns; mixed ones have a ``__text`` beside.

    Raises ExperimentError for names and values that can't be saved, naming the column.
    """
    import pyarrow as pa

    module = type(results).__module__.partition(".")[0]
    kind = type(results).__name__
    split: list[tuple[str, pa.ChunkedArray, pa.ChunkedArray | None]] = []
    if module == "polars" and kind == "DataFrame":
        results = results.to_arrow()
    if isinstance(results, pa.RecordBatch):
        results = pa.Table.from_batches([results])
    if isinstance(results, pa.Table):
        check_names(results.column_names, reserved)
        for name, column in zip(results.column_names, results.columns, strict=True):
            split.append((name, *settle(column, name)))
    elif module == "pandas" and kind == "DataFrame":
        results = _keep_index(results)
        check_names(results.columns, reserved)
        for position, name in enumerate(results.columns):
            split.append((name, *_from_series(results.iloc[:, position], name)))
    else:
        columns = _from_python(results, kind)
        check_names(columns, reserved)
        split.extend((name, *from_values(values, name)) for name, values in columns.items())
    named: dict[str, pa.ChunkedArray] = {}
    for name, column, text in split:
        named[name] = column
        if text is not None:
            named[name + TEXT] = text
    return pa.table(named)


def check_names(names: Iterable[Any], reserved: frozenset[str]) -> None:
    """Raise ExperimentError unless *names* can be columns of a record."""
    names = list(names)
    if len(names) > MAX_COLUMNS:
        raise ExperimentError(
            f"expected at most {MAX_COLUMNS} columns, found {len(names)}",
            hint="save the wide values as rows, or as one column of lists",
        )
    seen: dict[str, str] = {}
    for name in names:
        if not isinstance(name, str):
            raise ExperimentError(
                f"column {name!r}: expected text as its name, found {type(name).__name__!r}",
                hint=f"{str(name)!r:.40}, or for all: df.columns = map(str, df.columns)",
            )
        _check_name(name, reserved)
        twin = seen.get(name.lower())
        if twin == name:
            raise ExperimentError(f"column {name!r} is there twice", hint="rename one of them")
        if twin is not None:
            raise ExperimentError(
                f"columns {twin!r} and {name!r} differ only in case, which SQL does not see",
                hint="rename one of them",
            )
        seen[name.lower()] = name


def _check_name(name: str, reserved: frozenset[str]) -> None:
    if not name.strip():
        raise ExperimentError(f"column {name!r}: the name is empty", hint="name the column")
    if name.lower() in reserved:
        raise ExperimentError(
            f"column {name!r}: the name is one of cas's own",
            hint=f"rename it, for example to 'my_{name.lower()}'",
        )
    if reserved and name.lower().endswith(TEXT):
        raise ExperimentError(
            f"column {name!r}: names that end in {TEXT!r} are kept for the text of mixed columns",
            hint="rename it",
        )
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise ExperimentError(f"column {name!r:.80}: the name has a control character")
    if len(name.encode()) > MAX_NAME:
        raise ExperimentError(f"column {name[:40]!r}…: the name is longer than {MAX_NAME} bytes")


def _from_python(results: Any, kind: str) -> dict[Any, Sequence[Any]]:
    if results is None:
        return {}
    if isinstance(results, Mapping):
        return _from_mapping(results)
    if not isinstance(results, list | tuple):
        raise ExperimentError(
            f"results: expected a frame, a table, a list of dicts or a dict, found {kind!r}",
            hint={"LazyFrame": "results.collect()", "Series": "results.to_frame()"}.get(kind),
        )
    names: dict[Any, None] = {}
    for row, item in enumerate(results):
        if not isinstance(item, Mapping):
            raise ExperimentError(
                f"results[{row}]: expected a dict, found {type(item).__name__!r}",
                hint="give one dict a row: [{'step': 1, 'loss': 2.1}]",
            )
        names.update(dict.fromkeys(item))
        if len(names) > MAX_COLUMNS:
            check_names(names, frozenset())
    return {name: [item.get(name) for item in results] for name in names}


def _from_mapping(results: Mapping[Any, Any]) -> dict[Any, Sequence[Any]]:
    if len(results) > MAX_COLUMNS:
        check_names(results, frozenset())
    listed = {name: _is_listed(value) for name, value in results.items()}
    if not any(listed.values()):
        return {name: [value] for name, value in results.items()}
    if not all(listed.values()):
        single = next(name for name, is_list in listed.items() if not is_list)
        many = next(name for name, is_list in listed.items() if is_list)
        raise ExperimentError(
            f"results mix one value ({single!r}) and lists ({many!r})",
            hint="give lists for all columns, or a list of dicts, one a row",
        )
    columns: dict[Any, Sequence[Any]] = {name: list(value) for name, value in results.items()}
    lengths = {len(values) for values in columns.values()}
    if len(lengths) > 1:
        told = ", ".join(f"{name!r} {len(values)}" for name, values in list(columns.items())[:5])
        raise ExperimentError(f"the columns differ in length: {told}")
    return columns


def _is_listed(value: Any) -> bool:
    return isinstance(value, list | tuple | range) or (
        hasattr(value, "tolist") and bool(getattr(value, "ndim", getattr(value, "shape", ())))
    )


def _keep_index(frame: Any) -> Any:
    """Make columns of an index that has names (a group-by has), forget one that only counts."""
    if any(name is not None for name in frame.index.names):
        clash = [name for name in frame.index.names if name in set(frame.columns)]
        if not clash:
            return frame.reset_index()
    return frame


def _from_series(series: Any, name: str) -> tuple[pa.ChunkedArray, pa.ChunkedArray | None]:
    import pyarrow as pa

    kind = getattr(series.dtype, "kind", "O")
    if kind == "c" or series.dtype == object:
        return from_values(series.tolist(), name)
    if type(series.dtype).__name__ == "PeriodDtype":  # Arrow holds the number of the period
        series = series.astype(str).where(series.notna(), None)
        return from_values(series.tolist(), name)
    try:
        if kind == "f" and type(series.dtype).__module__.startswith("numpy"):
            # pyarrow takes a pandas NaN for a null; a loss that diverged must stay seen
            array = pa.array(series.to_numpy())
        else:
            array = pa.array(series, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, NotImplementedError):
        return from_values(series.tolist(), name)
    if isinstance(array, pa.ChunkedArray):
        return settle(array, name)
    return settle(pa.chunked_array([array]), name)
