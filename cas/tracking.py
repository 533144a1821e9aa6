"""What a script says and asks of experiments: records, live runs, SQL, import and export.

The functions are public as ``cas.…``. Nothing heavy is imported before one is called.
"""

from __future__ import annotations

from cas import handy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path
    from typing import Any

    import pandas as pd
    import pyarrow as pa

    from cas.runs import LiveRun

__all__ = [
    "experiment",
    "export_experiments",
    "import_experiments",
    "query_experiments",
    "query_experiments_arrow",
    "query_experiments_polars",
    "save_experiment",
]


def save_experiment(
    name: str,
    results: Any,
    metadata: Mapping[str, Any] | None = None,
    *,
    assets: Iterable[str] | None = None,
    tags: Iterable[str] = (),
    if_exists: str | None = None,
) -> Path:
    """Write a record of an experiment with the assets that this process used; return its path.

    *results*: a pandas or polars frame, an Arrow table, a list of dicts, or one dict. What
    was recorded is said on stderr; ``assets=[…]`` (names or tree ids) decides otherwise.

    Raises:
        ExperimentError: results, metadata or a name that can't be saved; nothing was written.
    """
    from cas import lineage
    from cas.project import current

    return lineage.save(
        current(),
        name,
        results,
        metadata=metadata,
        assets=None if assets is None else handy.texts(assets),
        tags=tags,
        if_exists=if_exists,
        tell=handy.say,
    )


def experiment(
    name: str,
    metadata: Mapping[str, Any] | None = None,
    *,
    tags: Iterable[str] = (),
    resume: bool = False,
) -> LiveRun:
    """Return a live run: its rows, assets and outputs are recorded as they come.

    ``with cas.experiment("exp_002") as run: run.log(step=10, loss=2.1)``, or ``.start()`` and
    ``.finish()``. What is logged survives the end of the process: ``cas experiments recover``
    makes a record of it, *resume* goes on with the unfinished run of the name (a requeued job).

    Raises UsageError for a name that can't be taken.
    """
    from cas.project import current
    from cas.runs import LiveRun

    return LiveRun(current(), name, metadata=metadata, tags=tags, resume=resume, tell=handy.say)


def import_experiments(path: str | Path, *, source: str) -> dict[str, Any]:
    """Save the runs that *source* (mlflow, trackio, csv, parquet) has at *path* as records.

    What was imported before is skipped. ``{source, imported: [{name, id, source_id, rows,
    renamed}], skipped: [{name, source_id, reason}], bad: [{path, reason}]}``.

    Raises:
        ExperimentError: no such path, or a record can't be written; those before it are whole.
    """
    from pathlib import Path

    from cas.experiments import importers
    from cas.project import current

    return importers.import_runs(Path(current().experiments), source, Path(path))


def export_experiments(
    file: str | Path,
    *,
    format: str | None = None,
    show: Iterable[str] = (),
    best: str | None = None,
    direction: str | None = None,
    where: str | None = None,
    tag: Iterable[str] = (),
    rows: bool = False,
    all: bool = False,
) -> Path:
    """Write the experiments as one table to *file*, and return its path.

    One row an experiment, with all metrics or the columns and parameters of *show*; all
    *rows* otherwise. The format is that of the file's ending: .parquet, .csv, .jsonl, .tex, .md.

    Raises UsageError for a format that is none, ExperimentError for a column that is not there.
    """
    from pathlib import Path

    from cas import files
    from cas.experiments import exporters
    from cas.project import current

    form = exporters.format_of(format, file)
    choice = exporters.Choice(
        show=handy.texts(show), best=best, direction=direction, where=where,
        tags=handy.texts(tag), every=all,
    )  # fmt: skip
    directory = Path(current().experiments)
    files.replace(Path(file), exporters.export(directory, form, choice, rows=rows, warn=handy.say))
    return Path(file)


def query_experiments(
    sql: str, *, frames: Mapping[str, Any] | None = None, params: Any = None
) -> pd.DataFrame:
    """Run one SELECT over ``experiments``, ``experiment_assets``, ``assets``, ``runs``.

    Raises UsageError for anything but one SELECT, ExperimentError where it fails.
    """
    handy.optional("pandas")
    frame: pd.DataFrame = query_experiments_arrow(sql, frames=frames, params=params).to_pandas()
    return frame


def query_experiments_arrow(
    sql: str, *, frames: Mapping[str, Any] | None = None, params: Any = None
) -> pa.Table:
    """Run one SELECT as ``query_experiments`` does, and return an Arrow table."""
    from cas import graph
    from cas.project import current

    return graph.query(current(), sql, frames=frames, params=params, warn=handy.say)


def query_experiments_polars(
    sql: str, *, frames: Mapping[str, Any] | None = None, params: Any = None
) -> Any:
    """Run one SELECT as ``query_experiments`` does, and return a polars frame."""
    return handy.optional("polars").from_arrow(
        query_experiments_arrow(sql, frames=frames, params=params)
    )
