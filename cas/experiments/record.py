"""The record of an experiment: its format, and its only writer.

A record is one Parquet file, ``<name>.<experiment_id>.parquet``, written once and never
changed. A row of it is a row of the results, with these columns around them::

    experiment_id    VARCHAR   36 characters; by text it sorts by time
    experiment_name  VARCHAR
    row_index        BIGINT    from 0
    created_at       TIMESTAMP (microseconds, UTC)
    …                the results' own columns, of the types of ``columns``
    status           VARCHAR   running, finished, failed, recovered
    tags             LIST<VARCHAR>
    metadata         VARCHAR   a JSON object
    assets           LIST<STRUCT<name, kind, role, tree, commit>>, all VARCHAR
    run              STRUCT, the fields of ``Run``

The footer's key ``cas`` holds JSON with the same, but for the rows: ``version`` (1),
``experiment_id``, ``experiment_name``, ``created_at``, ``status``, ``tags``, ``metadata``,
``assets``, ``run``. A record without rows is a file of 0 rows.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cas import files
from cas.errors import ExperimentError, UsageError
from cas.listing import parse_tree_id

from .arrays import build, repeat
from .frame import to_table
from .naming import RECORD, check_experiment_name, new_id, records_of, utc
from .plain import as_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pyarrow as pa

__all__ = [
    "RESERVED", "STATUSES", "VERSION", "Run", "Use", "as_metadata", "assets_type", "check_tags",
    "describe", "run_type", "save", "tell_older", "to_bytes", "write",
]  # fmt: skip

VERSION = 1
MAX_METADATA = 4 << 20  # bytes of JSON; it stands in the footer and in each group of rows
ROW_GROUP = 1 << 16  # rows; what is constant in a record is made for one group at a time
FEW = 1000
SMALL = 1 << 20  # bytes that all rows of a record repeat; above it zstd is much smaller
STATUSES = ("running", "finished", "failed", "recovered")
RESERVED = frozenset({
    "experiment_id", "experiment_name", "row_index", "created_at",
    "metadata", "assets", "run", "status", "tags",
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One asset that an experiment used or made, at the tree it had then."""

    name: str
    kind: str
    """plural, as in names: ``datasets``"""
    role: str
    """``input``, ``output``, ``earlier`` (used before another record of the process), or free"""
    tree: str
    """``t1:<64 hex>``"""
    commit: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What is captured of the process and its project; None where it can't be known."""

    git_commit: str | None = None
    git_branch: str | None = None
    git_dirty: bool | None = None
    git_moved: bool | None = None
    """whether git's state at the first use of an asset was another than at the save"""
    git_diff: str | None = None
    """SHA-256 of an object: the changes since the commit, untracked text files too"""
    packages: str | None = None
    """SHA-256 of an object: sorted lines ``name==version``"""
    lock: str | None = None
    """SHA-256 of an object: assets.lock as it was"""
    host: str | None = None
    user: str | None = None
    python: str | None = None
    argv: tuple[str, ...] | None = None
    seed: int | None = None
    gpu: str | None = None
    cas: str | None = None
    """the version that wrote the record"""

    def document(self) -> dict[str, Any]:
        """Return the fields as JSON has them."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**values, "argv": None if self.argv is None else list(self.argv)}


def save(
    directory: Path,
    name: str,
    results: Any,
    *,
    metadata: Mapping[str, Any] | None = None,
    uses: Sequence[Use] = (),
    run: Run | None = None,
    status: str = "finished",
    tags: Sequence[str] = (),
    if_exists: str | None = None,
    warn: Callable[[str], None] | None = None,
) -> Path:
    """Write one record, durable when this returns, and return its path.

    A name that was saved before keeps its older records, and *warn* is told; with
    ``if_exists="error"`` it is refused (a check before saving, no promise against a race).
    The directory is made if absent. Raises UsageError for a name, status or tag that can't
    be taken, ExperimentError for results or metadata that can't, or when writing fails.
    """
    check_experiment_name(name)
    _check_words(status, tags, if_exists)
    tell_older(directory, name, if_exists=if_exists, warn=warn)
    table = to_table(results, reserved=RESERVED)
    document = describe(name, metadata=metadata, uses=uses, run=run, status=status, tags=tags)
    try:
        files.make_dirs(directory)
        return _write(Path(directory), document, table)
    except OSError as error:
        raise ExperimentError(
            f"experiment {name!r}: can't write to {os.fspath(directory)!r}: {error.strerror}"
        ) from error


def tell_older(
    directory: Path, name: str, *, if_exists: str | None, warn: Callable[[str], None] | None
) -> None:
    """Tell *warn* of records that a name has already; refuse it with ``if_exists="error"``."""
    if if_exists is None and warn is None:
        return
    older = records_of(directory, name)
    if older and if_exists == "error":
        raise ExperimentError(
            f"experiment {name!r} is already saved, in {older[-1]!r}",
            hint="save it under another name, or leave out if_exists='error'",
        )
    if older and warn is not None:
        count = f"{len(older)} time" + "s" * (len(older) > 1)
        warn(
            f"experiment {name!r} was saved {count} before: the newest record is shown,"
            " all are in the view all_experiments, or by --all"
        )


def describe(
    name: str,
    *,
    metadata: Mapping[str, Any] | None,
    uses: Sequence[Use],
    run: Run | None,
    status: str,
    tags: Sequence[str],
) -> dict[str, Any]:
    """Return all that a record says beside its rows, but for its id and its time; raise as save."""
    run = run or Run()
    meta = as_metadata(metadata)
    seed = meta.get("seed")
    if run.seed is None and isinstance(seed, int) and not isinstance(seed, bool):
        run = replace(run, seed=seed)
    if run.seed is not None and not -(1 << 63) <= run.seed < 1 << 63:
        run = replace(run, seed=None)
    return {
        "version": VERSION,
        "experiment_name": name,
        "status": status,
        "tags": list(dict.fromkeys(tags)),
        "metadata": meta,
        "assets": [asdict(use) for use in _once(uses)],
        "run": run.document(),
    }


def write(directory: Path, document: dict[str, Any], table: pa.Table) -> Path:
    """Write the record that *document* describes, id and time too, and return its path.

    Raises FileExistsError if it is written already.
    """
    path = directory / f"{document['experiment_name']}.{document['experiment_id']}{RECORD}"
    moment = datetime.fromisoformat(document["created_at"])
    files.write_new(path, _parquet(document, moment, table), mode=0o644 & ~files.umask())
    return path


def run_type() -> pa.DataType:
    """Return the Arrow type of the column ``run``."""
    import pyarrow as pa

    special = {
        "git_dirty": pa.bool_(),
        "git_moved": pa.bool_(),
        "argv": pa.list_(pa.string()),
        "seed": pa.int64(),
    }
    return pa.struct([(f.name, special.get(f.name, pa.string())) for f in fields(Run)])


def assets_type() -> pa.DataType:
    """Return the Arrow type of the column ``assets``."""
    import pyarrow as pa

    return pa.list_(pa.struct([(f.name, pa.string()) for f in fields(Use)]))


def _write(directory: Path, document: dict[str, Any], table: pa.Table) -> Path:
    for _ in range(3):  # a name that is taken: an id that was drawn twice
        experiment_id, moment = new_id()
        full = {**document, "experiment_id": experiment_id, "created_at": utc(moment)}
        try:
            return write(directory, full, table)
        except FileExistsError:
            continue
    raise ExperimentError(f"experiment {document['experiment_name']!r}: no free name was found")


def _parquet(document: dict[str, Any], moment: datetime, table: pa.Table) -> bytes:
    """Return the bytes of a record."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    size = min(max(table.num_rows, 1), ROW_GROUP)
    metadata = to_bytes(document["metadata"]).decode()
    before = {
        "experiment_id": repeat(document["experiment_id"], pa.string(), size),
        "experiment_name": repeat(document["experiment_name"], pa.string(), size),
        "row_index": pa.nulls(size, pa.int64()),
        "created_at": repeat(moment, pa.timestamp("us", "UTC"), size),
    }
    after = {
        "status": repeat(document["status"], pa.string(), size),
        "tags": repeat(document["tags"], pa.list_(pa.string()), size),
        "metadata": repeat(metadata, pa.string(), size),
        "assets": repeat(document["assets"], assets_type(), size),
        "run": repeat(document["run"], run_type(), size),
    }
    types = [
        *((name, array.type) for name, array in before.items()),
        *zip(table.column_names, table.schema.types, strict=True),
        *((name, array.type) for name, array in after.items()),
    ]
    schema = pa.schema(types, metadata={b"cas": to_bytes(document)})
    sink = pa.BufferOutputStream()
    few = table.num_rows <= FEW  # for them dictionaries cost more time and bytes than they save
    small = few and size * len(schema.metadata[b"cas"]) <= SMALL
    codec = "snappy" if small else "zstd"  # which takes longer to begin than such a record takes
    with pq.ParquetWriter(sink, schema, compression=codec, use_dictionary=not few) as writer:
        for start in range(0, table.num_rows, ROW_GROUP):
            part = table.slice(start, ROW_GROUP)
            count = part.num_rows
            before["row_index"] = build(range(start, start + count), pa.int64())
            columns = [
                *(array.slice(0, count) for array in before.values()),
                *part.columns,
                *(array.slice(0, count) for array in after.values()),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
    return bytes(sink.getvalue())


def as_metadata(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return *metadata* as JSON has it; raise ExperimentError if it can't be, or is too large."""
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise ExperimentError(
            f"metadata: expected a mapping, found {type(metadata).__name__!r}",
            hint="metadata=vars(args)",
        )
    document: dict[str, Any] = as_json(metadata, "metadata")
    size = len(json.dumps(document, ensure_ascii=False).encode())
    if size > MAX_METADATA:
        largest = max(document, key=lambda key: len(json.dumps(document[key])))
        raise ExperimentError(
            f"metadata: expected at most {MAX_METADATA} bytes of JSON, found {size},"
            f" most of them in {largest!r}",
            hint="save what is large as an output of the experiment",
        )
    return document


def _once(uses: Sequence[Use]) -> list[Use]:
    seen: dict[tuple[str, str, str], Use] = {}
    for use in uses:
        try:
            parse_tree_id(use.tree)
        except ValueError as error:
            raise ExperimentError(f"asset {use.name!r}: no tree id: {error}") from None
        seen.setdefault((use.name, use.role, use.tree), use)
    return list(seen.values())


def _check_words(status: str, tags: Sequence[str], if_exists: str | None) -> None:
    if status not in STATUSES:
        raise UsageError(f"status: expected one of {', '.join(STATUSES)}, found {status!r}")
    if if_exists not in (None, "error"):
        raise UsageError(f"if_exists: expected None or 'error', found {if_exists!r}")
    check_tags(tags)


def check_tags(tags: Sequence[str]) -> None:
    """Raise UsageError unless *tags* is a list of printable texts."""
    if isinstance(tags, str):
        raise UsageError(f"tags: expected a list, found the text {tags!r}", hint=f"tags=[{tags!r}]")
    for tag in tags:
        if not isinstance(tag, str) or not tag.strip() or not tag.isprintable():
            raise UsageError(f"tags: expected printable text, found {tag!r:.80}")


def to_bytes(document: Any) -> bytes:
    """Return a document as compact JSON in UTF-8."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
