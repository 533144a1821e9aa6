"""Footer: what the JSON of a record says, checked. Records come from anywhere."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from cas.bounded import load_json
from cas.errors import ExperimentError

from .record import STATUSES, VERSION, Run, Use

__all__ = ["WRONG", "Record", "check_footer"]

WRONG = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError,
         ExperimentError)  # fmt: skip
"""What JSON of another shape, or with values out of bounds, raises."""

_RUN_TYPES: dict[str, type] = {"git_dirty": bool, "git_moved": bool, "argv": list, "seed": int}


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What the footer of one record says, checked."""

    path: str
    experiment_id: str
    experiment_name: str
    created_at: datetime
    status: str
    tags: list[str]
    metadata: str
    """a JSON object"""
    assets: tuple[Use, ...]
    run: dict[str, Any]
    rows: int
    latest: bool = True
    """whether it is the newest of its name"""
    note: str | None = None
    """what ``events`` say of it"""


def check_footer(footer: bytes, path: str, rows: int) -> Record:
    """Return what a footer says, checked, of the record at *path* with so many *rows*.

    Raises one of ``WRONG`` where it is none.
    """
    document = load_json(footer)
    if not isinstance(document, dict) or not isinstance(document.get("version"), int):
        raise ExperimentError("its key 'cas' is not a record's")
    if document["version"] > VERSION:
        raise ExperimentError(f"a newer cas wrote it, in version {document['version']}")
    run = document["run"]
    captured: dict[str, Any] = {}
    for field in fields(Run):
        value = run.get(field.name)
        captured[field.name] = _typed(value, _RUN_TYPES.get(field.name, str), field.name)
    if captured["argv"] is not None:
        captured["argv"] = [_needed(word, "argv") for word in captured["argv"]]
    if captured["seed"] is not None and not -(1 << 63) <= captured["seed"] < 1 << 63:
        raise ExperimentError("its seed is beyond 64 bits")
    if document["status"] not in STATUSES or not isinstance(document["metadata"], dict):
        raise ExperimentError("its status or its metadata is not a record's")
    created = datetime.fromisoformat(document["created_at"])
    if created.tzinfo is None:
        raise ExperimentError("its created_at has no time zone")
    uses = []
    for use in document["assets"]:
        words = {key: _needed(use[key], key) for key in ("name", "kind", "role", "tree")}
        uses.append(Use(**words, commit=_typed(use.get("commit"), str, "commit")))
    return Record(
        path=path,
        experiment_id=_needed(document["experiment_id"], "experiment_id"),
        experiment_name=_needed(document["experiment_name"], "experiment_name"),
        created_at=created.astimezone(UTC),
        status=document["status"],
        tags=[_needed(tag, "tags") for tag in document["tags"]],
        metadata=_encodable(
            json.dumps(document["metadata"], ensure_ascii=False, separators=(",", ":"))
        ),
        assets=tuple(uses),
        run=captured,
        rows=rows,
    )


def _typed(value: Any, kind: type, name: str) -> Any:
    if value is not None and type(value) is not kind:
        raise ExperimentError(f"its {name} is {type(value).__name__!r}, expected {kind.__name__!r}")
    if isinstance(value, str):
        return _encodable(value)
    return value


def _needed(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise ExperimentError(f"its {name} is {value!r:.40}, expected text")
    return _encodable(value)


def _encodable(text: str) -> str:
    """Return *text*; raise ValueError for a lone surrogate, which JSON can write."""
    text.encode()
    return text
