"""Trackio: the SQLite database of a project, or a directory of them, of any version.

The settings and the metrics of each run are read. System metrics, traces, alerts, media and
artifacts are not. Trackio doesn't say how a run ended: all are ``finished``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cas.bounded import load_json
from cas.experiments.plain import as_json
from cas.experiments.record import Run

from .found import Bad, Found, Passed, digest_of, moment_of, wide
from .sqlite import columns_of, opened, refusal

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["read"]

_NUMBERS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


def read(path: Path) -> Iterator[Found | Passed | Bad]:
    """Yield the runs of one database, or of all in a directory."""
    if not path.is_dir():
        yield from _read_database(path)
        return
    databases = sorted(one for one in path.glob("*.db") if one.is_file())
    if not databases:
        yield Bad(path=str(path), reason="no Trackio database (*.db) in it")
    for database in databases:
        yield from _read_database(database)


def _read_database(path: Path) -> Iterator[Found | Passed | Bad]:
    with opened(path) as database:
        if isinstance(database, Bad):
            yield database
            return
        columns = columns_of(database, "metrics")
        if not {"run_name", "step", "metrics"} <= columns:
            yield refusal(path, "not a Trackio database: no table 'metrics' of theirs")
            return
        # until run_id came, a name was what told two runs apart
        key = "coalesce(run_id, run_name)" if "run_id" in columns else "run_name"
        chosen = "SELECT step, timestamp, metrics, id FROM metrics WHERE"
        history = f"{chosen} run_name = ? ORDER BY id"
        if "run_id" in columns:  # two questions, for each of which there is an index
            history = (
                f"{chosen} run_id = ? UNION ALL {chosen} run_id IS NULL AND run_name = ?"
                " ORDER BY id"
            )
        configs = _configs(database)
        runs = database.execute(
            f"SELECT {key}, min(run_name) FROM metrics GROUP BY 1 ORDER BY min(id)"  # noqa: S608
        ).fetchall()
        names = {**dict(runs), **{run: name for run, (name, _) in configs.items() if name}}
        for run, name in names.items():
            identity = run if "run_id" in columns and run != name else f"{path.stem}/{run}"
            rows = database.execute(history, (run,) * history.count("?")).fetchall()
            config = configs.get(run, (name, b"{}"))[1]
            try:
                yield _found(path.stem, str(identity), str(name), config, rows)
            except (ValueError, TypeError) as error:
                yield refusal(path, f"run {name!r}: {error}")


def _configs(database: sqlite3.Connection) -> dict[str, tuple[str, bytes]]:
    columns = columns_of(database, "configs")
    if not columns:
        return {}
    key = "coalesce(run_id, run_name)" if "run_id" in columns else "run_name"
    found = database.execute(f"SELECT {key}, run_name, config FROM configs ORDER BY id")  # noqa: S608
    return {run: (name, _bytes(config)) for run, name, config in found}


def _found(
    project: str, identity: str, name: str, config: bytes, rows: list[tuple[Any, ...]]
) -> Found:
    settings = _object(config, "config")
    entries: list[tuple[str, Any, Any, int]] = []
    for step, time, metrics, _ in rows:
        values = _flat(_object(_bytes(metrics), "metrics"))
        entries += [(metric, value, time, int(step or 0)) for metric, value in values.items()]
    wide_rows, renamed = wide(entries)
    about = {
        "project": project,
        "started_at": moment_of(settings.get("_Created") or (rows[0][1] if rows else None)),
        "group": settings.get("_Group"),
    }
    user = settings.get("_Username")
    logged = [(step, str(time), _bytes(metrics).decode()) for step, time, metrics, _ in rows]
    return Found(
        name=name,
        id=identity,
        digest=digest_of(identity, name, config.decode(), logged),
        rows=wide_rows,
        renamed=renamed,
        metadata={k: v for k, v in settings.items() if not k.startswith("_")},
        about=as_json(about, "about"),
        run=Run(user=user if isinstance(user, str) else None),
    )


def _bytes(text: bytes | str) -> bytes:
    return text.encode() if isinstance(text, str) else bytes(text)


def _object(text: bytes, what: str) -> dict[str, Any]:
    value = load_json(text)
    if not isinstance(value, dict):
        raise ValueError(f"{what}: expected a JSON object, found {type(value).__name__!r}")
    return value


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Return nested metrics by names with ``/``, what has a ``_type`` (media) as JSON text."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict) and "_type" not in value:
            result |= _flat(value, f"{before}{name}/")
        elif isinstance(value, str):
            result[before + name] = _NUMBERS.get(value, value)
        else:
            result[before + name] = json.dumps(value) if isinstance(value, dict) else value
    return result
