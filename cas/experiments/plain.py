"""Plain: Python values as JSON has them."""

from __future__ import annotations

import datetime as dt
import enum
import math
import uuid
from collections.abc import Mapping
from decimal import Decimal
from pathlib import PurePath
from typing import Any

from cas.errors import ExperimentError

__all__ = ["MAX_BITS", "MAX_DIGITS", "as_json", "is_missing", "type_name"]

MAX_DIGITS = 4300  # of an integer; Python writes no longer one as text
MAX_BITS = 14_284  # an integer of so many bits has no more digits
MAX_DEPTH = 100  # of nested values
MAX_PLACE = 200  # characters of a dotted key that an error tells


def as_json(value: Any, place: str, depth: int = 0) -> Any:
    """Return *value* as what ``json`` writes; NaN and infinity, which JSON lacks, as null.

    Arrays, paths, dates and the scalars of numpy and torch are taken. Raises ExperimentError,
    naming *place*, the dotted key, for anything else.
    """
    if depth > MAX_DEPTH:
        raise ExperimentError(f"{_told(place)}: nested deeper than {MAX_DEPTH}, or inside itself")
    if isinstance(value, enum.Enum):
        value = value.value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _clean(str(value), place)
    if isinstance(value, int):
        return _integer(int(value), place)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return float(value) if value.is_finite() and math.isfinite(float(value)) else None
    if isinstance(value, Mapping):
        return _json_object(value, place, depth)
    if isinstance(value, list | tuple):
        return [as_json(item, f"{place}[{i}]", depth + 1) for i, item in enumerate(value)]
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return None if is_missing(value) else value.isoformat()
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    if isinstance(value, PurePath | uuid.UUID):
        return _clean(str(value), place)
    if hasattr(value, "tolist") and not is_missing(value):  # numpy, torch, pandas
        return as_json(value.tolist(), place, depth + 1)
    if is_missing(value):
        return None
    raise ExperimentError(
        f"{_told(place)}: a value of type {type_name(value)!r} is not JSON",
        hint="give text, numbers, true, false, None, or lists and mappings of them",
    )


def _json_object(value: Mapping[Any, Any], place: str, depth: int) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, item in value.items():
        inner = f"{place}.{key}" if place else str(key)
        if not isinstance(key, str | int) or isinstance(key, bool):
            raise ExperimentError(
                f"{_told(inner)}: expected text as a key, found {type_name(key)!r}"
            )
        word = _clean(str(key), inner)
        if word in result:
            raise ExperimentError(
                f"{_told(inner)}: the key is there twice, as text and as a number"
            )
        result[word] = as_json(item, inner, depth + 1)
    return result


def _clean(text: str, place: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ExperimentError(f"{_told(place)}: {text!r:.80} is not valid Unicode text") from None
    return text


def _integer(value: int, place: str) -> int:
    if value.bit_length() > MAX_BITS:
        raise ExperimentError(f"{_told(place)}: an integer of more than {MAX_DIGITS} digits")
    return value


def _told(place: str) -> str:
    """Return a dotted key as an error tells it: of what can be printed, and not without end."""
    shown = place if place.isprintable() else ascii(place)[1:-1]
    return shown if len(shown) <= MAX_PLACE else f"{shown[:MAX_PLACE]}…"


def is_missing(value: object) -> bool:
    """Say whether *value* is one of pandas' own nulls."""
    return type(value).__name__ in ("NAType", "NaTType")


def type_name(value: object) -> str:
    """Return the name of a value's type as a person would import it."""
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
