"""Importers: runs that other programs recorded, made records; each is whole or not there.

A run's record says where it came from, in its metadata's key ``cas_import``: ``{from, id,
digest, …}``. So a second import takes only what is new, and a run that went on since is saved
again under its name. Two runs of one name are told apart: the later gets the first digits of
its id.

found      what is read of one run
mlflow     MLflow's SQLite and file store
trackio    Trackio's SQLite
tables     CSV, JSONL and Parquet
sqlite     another program's database, opened to read only
meta       MLflow's ``meta.yaml``
"""

from __future__ import annotations

import json
import os
import re
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cas import files
from cas.digest import hash_bytes
from cas.errors import CasError, ExperimentError, UsageError
from cas.experiments import events, naming, record, scan
from cas.experiments.read import read_files
from cas.progress import QUIET, Progress
from cas.warm import make_cache_dir

from . import mlflow, tables, trackio
from .found import Bad, Found, Passed, column_names, cut
from .tables import Copied

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["SOURCES", "import_runs"]

KEY = "cas_import"  # of a record's metadata
SOURCES: dict[str, Callable[[Path], Iterator[Found | Copied | Passed | Bad]]] = {
    "mlflow": mlflow.read,
    "trackio": trackio.read,
    "csv": tables.read_csv,
    "parquet": tables.read_parquet,
}


def import_runs(
    directory: Path, source: str, path: Path, *, progress: Progress = QUIET
) -> dict[str, Any]:
    """Save what *source* (mlflow, trackio, csv, parquet) has at *path* as records of *directory*.

    ``{source, imported: [{name, id, source_id, rows, renamed: {column: name}}],
    skipped: [{name, source_id, reason}], bad: [{path, reason}]}``. What is bad is named and
    left out; all else is taken. Raises ExperimentError where *path* is not there or a record
    can't be written: those before it are whole, and the same call goes on from them.
    """
    if source not in SOURCES:
        raise UsageError(f"source: expected one of {', '.join(SOURCES)}, found {source!r}")
    path = Path(path).expanduser()
    if not path.exists():
        raise ExperimentError(f"{str(path)!r}: no such file or directory")
    with _mutex(directory):
        return _import(directory, source, path, progress)


@contextmanager
def _mutex(directory: Path) -> Iterator[None]:
    """Keep other imports into the directory out, so that no run comes twice."""
    with ExitStack() as stack:
        try:
            place = make_cache_dir("import")
            name = hash_bytes(os.fsencode(os.path.realpath(directory)))
            stack.enter_context(files.hold(Path(place, name)))
        except OSError:
            pass  # a home that can't be written: two imports at once may take a run twice
        yield


def _import(directory: Path, source: str, path: Path, progress: Progress) -> dict[str, Any]:
    known = _Known.read(directory)
    imported: list[dict[str, Any]] = []
    skipped: list[Passed] = []
    bad: list[Bad] = []
    progress.begin("importing")
    for one in _runs(SOURCES[source], path):
        outcome: dict[str, Any] | Copied | Found | Passed | Bad = one
        if isinstance(one, Found):
            outcome = _save(directory, source, one, known)
        elif isinstance(one, Copied):
            outcome = _copy(directory, one, known)
        if isinstance(outcome, Passed):
            skipped.append(outcome)
        elif isinstance(outcome, Bad):
            bad.append(outcome)
        elif isinstance(outcome, dict):
            imported.append(outcome)
            progress.advance(outcome.pop("size"), files=1)
    progress.end()
    return {
        "source": source,
        "imported": imported,
        "skipped": [{"name": p.name, "source_id": p.id, "reason": p.reason} for p in skipped],
        "bad": [asdict(one) for one in bad],
    }


def _runs(
    read: Callable[[Path], Iterator[Found | Copied | Passed | Bad]], path: Path
) -> Iterator[Found | Copied | Passed | Bad]:
    """Yield what *read* does, and what stops it as the last that is bad."""
    try:
        yield from read(path)
    except (OSError, ValueError) as error:
        yield Bad(path=str(path), reason=" ".join(str(error).split())[:200])


@dataclass(slots=True)
class _Known:
    """What the directory has already."""

    ids: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)
    digests: dict[tuple[str, str], str] = field(default_factory=dict)
    """source and digest → the experiment's name"""
    gone: set[tuple[str, str]] = field(default_factory=set)
    """source and digest of those that were removed here"""
    origins: dict[tuple[str, str], str] = field(default_factory=dict)
    """source and its id → the experiment's name"""
    names: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, directory: Path) -> _Known:
        known = cls()
        for one in scan.records(directory):
            known.ids.add(one.experiment_id)
            known.names.add(one.experiment_name)
            known._note(one)
        known.removed = set(events.read(directory).removed)
        if known.removed:
            named = ((name, naming.record_name(name)) for name in os.listdir(directory))
            hidden = [name for name, parts in named if parts and parts[1] in known.removed]
            for outcome in read_files(directory, hidden):
                if isinstance(outcome, tuple):
                    origin = json.loads(outcome[0].metadata).get(KEY)
                    if isinstance(origin, dict):
                        known.gone.add((str(origin.get("from")), str(origin.get("digest"))))
        return known

    def _note(self, one: scan.Record) -> None:
        if f'"{KEY}"' not in one.metadata:
            return
        origin = json.loads(one.metadata).get(KEY)
        if isinstance(origin, dict):
            source = str(origin.get("from"))
            self.digests[source, str(origin.get("digest"))] = one.experiment_name
            self.origins[source, str(origin.get("id"))] = one.experiment_name


def _save(
    directory: Path, source: str, found: Found, known: _Known
) -> dict[str, Any] | Passed | Bad:
    key = (source, found.digest)
    if found.id in known.ids or key in known.digests:
        return Passed(
            name=known.digests.get(key, found.name), id=found.id, reason="already imported"
        )
    if key in known.gone or found.id in known.removed:
        return Passed(name=found.name, id=found.id, reason="removed here")
    name = known.origins.get((source, found.id)) or _free_name(found, known.names)
    rows, renamed = _renamed(found.rows)
    renamed = {**found.renamed, **renamed}
    about: dict[str, Any] = {
        "from": source,
        "id": found.id,
        "digest": found.digest,
        "name": found.name,
    }
    if renamed:
        about["renamed"] = renamed
    try:
        path = record.save(
            directory,
            name,
            rows,
            metadata={**found.metadata, KEY: {**found.about, **about}},
            uses=found.uses,
            run=found.run,
            status=found.status,
            tags=found.tags,
        )
    except CasError as error:
        if isinstance(error.__cause__, OSError):
            raise
        return Bad(path=found.id, reason=f"run {found.name!r}: {error}")
    known.digests[key] = known.origins[source, found.id] = name
    known.names.add(name)
    count = rows.num_rows if hasattr(rows, "num_rows") else len(rows)
    return _told(path, name, found.id, count, renamed)


def _copy(directory: Path, copied: Copied, known: _Known) -> dict[str, Any] | Passed:
    if copied.id in known.ids or copied.id in known.removed:
        reason = "removed here" if copied.id in known.removed else "already imported"
        return Passed(name=copied.name, id=copied.id, reason=reason)
    path = Path(directory) / f"{copied.name}.{copied.id}.parquet"
    try:
        data = Path(copied.path).read_bytes()
        files.make_dirs(directory)
        files.write_new(path, data, mode=0o644 & ~files.umask())
    except FileExistsError:
        return Passed(name=copied.name, id=copied.id, reason="already imported")
    except OSError as error:
        raise ExperimentError(f"can't write {str(path)!r}: {error.strerror}") from error
    known.ids.add(copied.id)
    known.names.add(copied.name)
    (outcome,) = read_files(directory, [path.name])
    return _told(
        path, copied.name, copied.id, outcome[0].rows if isinstance(outcome, tuple) else 0, {}
    )


def _told(
    path: Path, name: str, source_id: str, rows: int, renamed: dict[str, str]
) -> dict[str, Any]:
    parts = naming.record_name(path.name)
    return {
        "name": name,
        "id": parts[1] if parts else None,
        "source_id": source_id,
        "rows": rows,
        "renamed": renamed,
        "size": path.stat().st_size,
    }


def _renamed(rows: Any) -> tuple[Any, dict[str, str]]:
    """Return *rows* under names that columns of a record can have, and which are new."""
    if isinstance(rows, list):
        names: Sequence[str] = list(dict.fromkeys(str(name) for row in rows for name in row))
        new = dict(zip(names, column_names(names), strict=True))
        changed = {old: word for old, word in new.items() if old != word}
        if changed:
            rows = [{new[str(name)]: value for name, value in row.items()} for row in rows]
        return rows, changed
    words = column_names(rows.column_names)
    pairs = zip(rows.column_names, words, strict=True)
    return rows.rename_columns(words), {old: word for old, word in pairs if old != word}


def _free_name(found: Found, taken: set[str]) -> str:
    """Return the source's name as an experiment can have it, with digits of its id if taken."""
    name = re.sub(r"[/\\\x00-\x1f\x7f-\x9f\ud800-\udfff]+", "-", found.name).strip(" ").lstrip(".")
    name = cut(name or "run", naming.MAX_EXPERIMENT_NAME)
    if name not in taken:
        return name
    digits = found.id if re.fullmatch(r"[0-9a-f]{32}", found.id) else hash_bytes(found.id.encode())
    for length in range(8, len(digits) + 1, 4):
        longer = f"{cut(name, naming.MAX_EXPERIMENT_NAME - length - 1)}-{digits[:length]}"
        if longer not in taken:
            return longer
    raise ExperimentError(f"run {found.name!r}: no free name was found")
