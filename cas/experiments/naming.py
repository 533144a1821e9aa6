"""Naming: what an experiment is called, the id and the time of a record, its files' names."""

from __future__ import annotations

import os
import re
import threading
import time
import unicodedata
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cas.errors import ExperimentError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "LIVE", "MAX_EXPERIMENT_NAME", "RECORD", "SHORTEST", "check_experiment_name",
    "experiment_files", "new_id", "record_name", "records_of", "utc",
]  # fmt: skip

SHORTEST = 6  # characters of an id that stand for it, where one begins with them
MAX_EXPERIMENT_NAME = 200  # bytes: with the id and the ending it stays below a file name's 255
RECORD = ".parquet"
LIVE = ".live"
"""The endings of a record's file, and of the file of a run that is not finished (``live``)."""

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
_id_mutex = threading.Lock()
_last_tick = 0


def check_experiment_name(name: object) -> str:
    """Return *name* if it can name an experiment: one part of a path; else raise UsageError."""
    if not isinstance(name, str):
        message = f"expected text as the experiment's name, found {type(name).__name__!r}"
        raise UsageError(message)
    wrong = None
    if not name.strip():
        wrong = "it is empty"
    elif name.startswith("."):
        wrong = "it begins with a dot"
    elif "/" in name or "\\" in name:
        wrong = "it has a slash; it is one part of a path"
    elif any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        wrong = "it has a control character"
    elif len(name.encode()) > MAX_EXPERIMENT_NAME:
        wrong = f"it is longer than {MAX_EXPERIMENT_NAME} bytes"
    if wrong:
        raise UsageError(f"experiment name {name!r:.80}: {wrong}", hint="for example 'exp_001'")
    return name


def record_name(file_name: str) -> tuple[str, str] | None:
    """Return the experiment's name and id in the name of a record, or None if it is none."""
    return _split_name(file_name, RECORD)


def experiment_files(directory: Path) -> list[tuple[str, str, str]]:
    """Return (file name, experiment's name, id) of every record and live run, unordered."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    except OSError as error:
        place = os.fspath(directory)
        raise ExperimentError(f"can't read experiments in {place!r}: {error.strerror}") from error
    split = ((file, _split_name(file, RECORD) or _split_name(file, LIVE)) for file in names)
    return [(file, *parts) for file, parts in split if parts]


def _split_name(file_name: str, ending: str) -> tuple[str, str] | None:
    name, _, experiment_id = file_name.removesuffix(ending).rpartition(".")
    if not file_name.endswith(ending) or not name or not _ID.fullmatch(experiment_id):
        return None
    return name, experiment_id


def records_of(directory: Path, name: str) -> list[str]:
    """Return the file names of an experiment's records, oldest first."""
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    found = [file for file in names if file.startswith(name)]
    return sorted(file for file in found if (record_name(file) or ("",))[0] == name)


def new_id() -> tuple[str, datetime]:
    """Draw an id in the manner of UUID version 7 and return it with the moment it holds.

    48 bits of milliseconds, 10 of the millisecond's 1024 parts, 64 of chance. Two ids of one
    process never go back, whatever its clock does.
    """
    global _last_tick
    with _id_mutex:
        tick = max((time.time_ns() * 1024) // 1_000_000, _last_tick + 1)
        _last_tick = tick
    milliseconds, part = divmod(tick, 1024)
    chance = int.from_bytes(os.urandom(8))
    low = 0x8000_0000_0000_0000 | (chance & 0x3FFF_FFFF_FFFF_FFFF)
    number = (milliseconds << 80) | (0x7 << 76) | (part << 66) | (chance >> 62 << 64) | low
    text = f"{number:032x}"
    moment = datetime.fromtimestamp(milliseconds // 1000, UTC).replace(
        microsecond=(milliseconds % 1000) * 1000 + part * 1000 // 1024
    )
    parts = (text[:8], text[8:12], text[12:16], text[16:20], text[20:])
    return "-".join(parts), moment


def utc(moment: datetime) -> str:
    """Return a moment as JSON has it: ``2025-01-31T12:00:00.000000Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
