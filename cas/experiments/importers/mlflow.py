"""MLflow: its SQLite database and its file store, ``mlruns``; no package of theirs is needed.

Parameters, metrics, tags, status, times and the git commit are read. Artifacts, data sets,
models and traces are not. A run that was deleted there is passed over.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cas.experiments.plain import as_json
from cas.experiments.record import Run

from .found import Bad, Found, Passed, digest_of, moment_of, number_or_text, wide
from .meta import parse_meta
from .sqlite import columns_of, opened, refusal

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["read"]

NAME_TAG = "mlflow.runName"
LARGEST_FILE = 64 << 20  # bytes of a parameter, a tag or a metric's history

_STATUSES = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "failed"}
_NUMBERS = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}
_RUN_DIRECTORY = re.compile(r"[0-9a-f]{32}")

Metric = tuple[str, float, int | None, int]


def read(path: Path) -> Iterator[Found | Passed | Bad]:
    """Yield the runs of a database, a file store, or one experiment or run of a file store."""
    if path.is_file():
        yield from _read_database(path)
    elif (path / "meta.yaml").is_file():
        meta = parse_meta(_text(path / "meta.yaml"))
        if "run_id" in meta or "run_uuid" in meta:
            yield _attempt(path, _experiment_name(path.parent))
        else:
            yield from _read_experiment(path)
    elif stores := [one for one in _directories(path) if (one / "meta.yaml").is_file()]:
        for experiment in stores:
            yield from _read_experiment(experiment)
    elif (path / "mlflow.db").is_file():
        yield from _read_database(path / "mlflow.db")
    elif (path / "mlruns").is_dir():
        yield from read(path / "mlruns")
    else:
        yield Bad(path=str(path), reason="no MLflow store: no meta.yaml and no mlflow.db in it")


# The database


def _read_database(path: Path) -> Iterator[Found | Passed | Bad]:
    with opened(path) as database:
        if isinstance(database, Bad):
            yield database
            return
        needed = {"runs", "experiments", "params", "metrics", "tags"}
        missing = sorted(table for table in needed if not columns_of(database, table))
        if missing:
            yield refusal(path, f"not an MLflow database: it has no table {missing[0]!r}")
            return
        runs = database.execute(
            "SELECT r.run_uuid, r.name, r.status, r.start_time, r.end_time, r.user_id,"
            " r.lifecycle_stage, e.name, e.lifecycle_stage"
            " FROM runs r LEFT JOIN experiments e USING (experiment_id)"
            " ORDER BY r.start_time, r.run_uuid"
        ).fetchall()
        nan = "is_nan" if "is_nan" in columns_of(database, "metrics") else "0"
        for key, name, status, start, end, user, stage, experiment, experiment_stage in runs:
            if "deleted" in (stage, experiment_stage):
                yield Passed(name=name or key, id=key, reason="deleted in MLflow")
                continue
            yield _found(
                key,
                {"run_name": name, "user_id": user, "start_time": start, "end_time": end},
                status,
                experiment,
                _pairs(database, "params", key),
                _pairs(database, "tags", key),
                _metrics(database, key, nan),
            )


def _pairs(database: sqlite3.Connection, table: str, run: str) -> dict[str, str]:
    sql = f"SELECT key, value FROM {table} WHERE run_uuid = ? ORDER BY key"  # noqa: S608 (ours)
    return {
        key: "" if value is None else str(value) for key, value in database.execute(sql, (run,))
    }


def _metrics(database: sqlite3.Connection, run: str, nan: str) -> list[Metric]:
    """Return the metrics' history; MLflow keeps NaN as a flag, infinity as the largest number."""
    sql = (
        f"SELECT key, value, timestamp, step, {nan} FROM metrics WHERE run_uuid = ?"  # noqa: S608
        " ORDER BY key, step, timestamp, rowid"
    )
    largest = sys.float_info.max
    found = []
    for key, value, time, step, is_nan in database.execute(sql, (run,)):
        number = float("nan") if is_nan else float(value)
        if abs(number) == largest:
            number = float("inf") if number > 0 else float("-inf")
        found.append((key, number, time, int(step or 0)))
    return found


# The file store


def _read_experiment(path: Path) -> Iterator[Found | Passed | Bad]:
    name = _experiment_name(path)
    if isinstance(name, Bad):
        yield name
        return
    for run in sorted(_directories(path), key=_started):
        if (run / "meta.yaml").is_file():
            yield _attempt(run, name)
        elif _RUN_DIRECTORY.fullmatch(run.name):
            yield Bad(path=str(run), reason="a run without meta.yaml")


def _started(run: Path) -> tuple[int, str]:
    """Return what runs are taken in the order of: when they began."""
    try:
        start = parse_meta(_text(run / "meta.yaml")).get("start_time")
    except (OSError, ValueError):
        start = None
    return (start if isinstance(start, int) else 0, run.name)


def _experiment_name(path: Path) -> str | Bad:
    try:
        return str(parse_meta(_text(path / "meta.yaml")).get("name") or path.name)
    except (OSError, ValueError) as error:
        return refusal(path / "meta.yaml", error)


def _attempt(path: Path, experiment: str | Bad) -> Found | Passed | Bad:
    try:
        return _read_run(path, path.parent.name if isinstance(experiment, Bad) else experiment)
    except (OSError, ValueError) as error:
        return refusal(path, error)


def _read_run(path: Path, experiment: str) -> Found | Passed:
    meta = parse_meta(_text(path / "meta.yaml"))
    key = str(meta.get("run_id") or meta.get("run_uuid") or path.name)
    if meta.get("lifecycle_stage") == "deleted":
        return Passed(name=str(meta.get("run_name") or key), id=key, reason="deleted in MLflow")
    metrics: list[Metric] = []
    for name, text in _files(path / "metrics").items():
        for line in text.splitlines():
            words = line.split()
            if len(words) < 2:
                raise ValueError(f"metric {name!r}: expected 'time value step', found {line!r:.60}")
            step = int(words[2]) if len(words) > 2 else 0
            metrics.append((name, float(words[1]), int(words[0]), step))
    status = meta.get("status")
    return _found(
        key,
        meta,
        _NUMBERS.get(status, "") if isinstance(status, int) else str(status),
        experiment,
        {name: text.removesuffix("\n") for name, text in _files(path / "params").items()},
        {name: text.removesuffix("\n") for name, text in _files(path / "tags").items()},
        metrics,
    )


def _files(root: Path) -> dict[str, str]:
    """Return the files below *root* by their names with ``/``, which are names of metrics too."""
    found = {}
    for directory, directories, names in os.walk(root):
        directories.sort()
        for name in sorted(names):
            path = Path(directory, name)
            found[path.relative_to(root).as_posix()] = _text(path)
    return found


def _directories(path: Path) -> Sequence[Path]:
    return sorted(one for one in path.iterdir() if one.is_dir() and not one.name.startswith("."))


def _text(path: Path) -> str:
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST_FILE:
            raise ValueError(f"{path.name!r} is no file, or a huge one")
        return file.read().decode(errors="replace")


# Both


def _found(
    key: str,
    meta: Mapping[str, Any],
    status: str | None,
    experiment: str | None,
    params: Mapping[str, str],
    tags: Mapping[str, str],
    metrics: Sequence[Metric],
) -> Found:
    name = tags.get(NAME_TAG) or str(meta.get("run_name") or key)
    user = tags.get("mlflow.user") or meta.get("user_id")
    own = {tag: value for tag, value in tags.items() if not tag.startswith("mlflow.")}
    ordered = sorted(metrics, key=lambda metric: (metric[3], metric[2] or 0))
    rows, renamed = wide(ordered)
    about = {
        "experiment": experiment,
        "started_at": moment_of(meta.get("start_time")),
        "ended_at": moment_of(meta.get("end_time")),
        "tags": {tag: value for tag, value in tags.items() if tag != NAME_TAG},
    }
    return Found(
        name=name,
        id=key,
        digest=digest_of(key, name, status, params, tags, sorted(map(repr, metrics))),
        rows=rows,
        renamed=renamed,
        metadata={param: number_or_text(text) for param, text in params.items()},
        about=as_json(about, "about"),
        status=_STATUSES.get(status or "", "running"),
        tags=tuple(word for tag, value in own.items() if (word := f"{tag}={value}").isprintable()),
        run=Run(
            git_commit=tags.get("mlflow.source.git.commit"),
            git_branch=tags.get("mlflow.source.git.branch"),
            user=str(user) if user else None,
        ),
    )
