"""Found: what an importer reads of one run, and how metrics logged one by one become rows."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cas.digest import hash_bytes
from cas.experiments.columns import TEXT
from cas.experiments.frame import MAX_NAME
from cas.experiments.record import RESERVED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cas.experiments.record import Run, Use

__all__ = [
    "Bad",
    "Found",
    "Passed",
    "column_names",
    "cut",
    "digest_of",
    "moment_of",
    "number_or_text",
    "wide",
]

STEP = "step"
TIME = "timestamp"

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One run as its source has it."""

    name: str
    """the source's; any text"""
    id: str
    """the source's; one run keeps it for ever"""
    digest: str
    """of what the source says of the run: another one, where the run went on"""
    rows: Any
    """a list of dicts or an Arrow table"""
    metadata: Mapping[str, Any]
    """the parameters"""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """columns that could not keep the source's name"""
    about: Mapping[str, Any] = field(default_factory=dict)
    """what else the source says: its experiment, times, tags"""
    status: str = "finished"
    tags: tuple[str, ...] = ()
    run: Run | None = None
    uses: tuple[Use, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """A run that is left out on purpose."""

    name: str
    id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bad:
    """A file or a run that can't be read."""

    path: str
    reason: str


def digest_of(*parts: Any) -> str:
    """Return one digest of what is given, whatever the order of keys in it."""
    return hash_bytes(json.dumps(parts, sort_keys=True, default=str).encode())


def wide(
    entries: Sequence[tuple[str, Any, int | str | None, int]],
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return one row a step of (metric, value, time, step), in order, and the renamed metrics.

    A metric that was logged twice at one step has its second value in a second row of that
    step. Times are milliseconds since 1970 or ISO 8601 text; a row keeps its earliest.
    """
    metrics = list(dict.fromkeys(entry[0] for entry in entries))
    names = dict(zip(metrics, column_names(metrics, (STEP, TIME)), strict=True))
    rows: dict[tuple[int, int], dict[str, Any]] = {}
    seen: dict[tuple[int, str], int] = {}
    for metric, value, time, step in entries:
        nth = seen[step, metric] = seen.get((step, metric), -1) + 1
        row = rows.setdefault((step, nth), {STEP: step, TIME: None})
        row[names[metric]] = value
        moment = moment_of(time)
        if moment is not None and (row[TIME] is None or moment < row[TIME]):
            row[TIME] = moment
    renamed = {metric: name for metric, name in names.items() if metric != name}
    return [rows[key] for key in sorted(rows)], renamed


def moment_of(time: int | str | None) -> datetime | None:
    """Return milliseconds since 1970, or ISO 8601 text (UTC unless it says), as a moment."""
    try:
        if isinstance(time, str):
            moment = datetime.fromisoformat(time)
            return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        return None if time is None else datetime.fromtimestamp(time / 1000, UTC)
    except (ValueError, OverflowError, OSError, TypeError):
        return None


def number_or_text(text: str) -> Any:
    """Return what *text* was before a program printed it: a number, a truth, None, or text.

    Only where printing that again gives the same text, so ``007`` and ``1e-3`` stay as typed.
    """
    words = {"True": True, "False": False, "None": None}
    if text in words:
        return words[text]
    for kind in (int, float):
        try:
            number = kind(text)
        except (ValueError, OverflowError):
            continue
        if repr(number) == text and number - number == 0:
            return number
    return text


def column_names(names: Sequence[str], ours: Sequence[str] = ()) -> list[str]:
    """Return *names* as columns of a record beside *ours* can be called; most stay as they are."""
    result: list[str] = []
    taken = {name.lower() for name in ours}
    for name in names:
        word = _CONTROL.sub(" ", name).strip() or "column"
        if word.lower() in RESERVED or word.lower() in ours:
            word = f"metric_{word}"
        if word.lower().endswith(TEXT):
            word = word[: -len(TEXT)] + "_text"
        word = cut(word, MAX_NAME - 8)
        free, number = word, 1
        while free.lower() in taken:
            number += 1
            free = f"{word}_{number}"
        taken.add(free.lower())
        result.append(free)
    return result


def cut(text: str, size: int) -> str:
    """Return *text* without what is beyond *size* bytes."""
    return text.encode()[:size].decode(errors="ignore")
