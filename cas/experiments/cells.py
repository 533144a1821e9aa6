"""Cells: one value of a result, as Arrow takes it, and what kind of value it is."""

from __future__ import annotations

import datetime as dt
import enum
import json
import math
import uuid
from collections.abc import Mapping
from decimal import Decimal
from pathlib import PurePath
from typing import Any

from cas.errors import ExperimentError

from .plain import MAX_BITS, MAX_DIGITS, as_json, is_missing, type_name

__all__ = ["cell"]

MAX_DAYS = 100_000_000  # of a numpy duration; 2^63 microseconds are a few more


def cell(value: Any, name: str, row: int) -> tuple[str, Any]:
    """Return the family of a value, '' for none, and the value as Arrow takes it."""
    if value is None or is_missing(value):
        return "", None
    if isinstance(value, enum.Enum):
        value = value.value
    place = f"column {name!r}, row {row}"
    if hasattr(value, "tolist") and not isinstance(value, bytes):  # numpy, torch
        value = _from_numpy(value, place)
        if value is None:
            return "", None
    if isinstance(value, bool):
        return "bool", value
    if isinstance(value, int):
        if value.bit_length() > MAX_BITS:
            raise ExperimentError(f"{place}: an integer of more than {MAX_DIGITS} digits")
        return "int", value
    if isinstance(value, float):
        return "float", value
    if isinstance(value, str):
        return "text", str(value).encode(errors="replace").decode()
    if isinstance(value, Decimal):
        return _from_decimal(value)
    if isinstance(value, dt.datetime):
        if value.tzinfo is None:
            return "stamp", value
        try:
            return "zoned", value.astimezone(dt.UTC)
        except OverflowError:
            raise ExperimentError(f"{place}: {value!s:.40} is no time in UTC") from None
    if isinstance(value, dt.date):
        return "date", value
    if isinstance(value, dt.time):
        return "time", value.replace(tzinfo=None)
    if isinstance(value, dt.timedelta):
        return "float", value.total_seconds()
    if isinstance(value, list | tuple):
        return "list", list(value)
    if isinstance(value, Mapping):
        return "text", json.dumps(as_json(value, place), ensure_ascii=False)
    if isinstance(value, PurePath | uuid.UUID):
        return "text", str(value)
    hint = {
        "complex": "save the real and the imaginary part as two columns",
        "bytes": "save text such as .hex(), or write the bytes to a file",
    }.get(type(value).__name__)
    message = f"{place}: a value of type {type_name(value)!r} can't be saved"
    raise ExperimentError(message, hint=hint or "save it as a number or as text")


def _from_numpy(value: Any, place: str) -> Any:
    """Return a scalar or an array of numpy or torch as Python has it, None for no time.

    Raises ExperimentError for a time that Python's ``datetime`` does not reach.
    """
    kind = type(value).__name__
    if kind not in ("datetime64", "timedelta64"):
        plain = value.tolist()
        return float(value) if type(plain).__name__ == "longdouble" else plain
    if value != value:  # no time
        return None
    # a cast to microseconds goes round silently, one to days or years does not
    unit, ends = ("Y", (-1969, 8029)) if kind == "datetime64" else ("D", (-MAX_DAYS, MAX_DAYS))
    if not ends[0] <= int(value.astype(f"{kind}[{unit}]").astype(int)) <= ends[1]:
        raise ExperimentError(f"{place}: {value!s:.40} is beyond the times that can be saved")
    return value.astype(f"{kind}[us]").tolist()


def _from_decimal(value: Decimal) -> tuple[str, Any]:
    if value.is_nan():
        return "float", math.nan
    if value.is_finite() and value == value.to_integral_value() and value.adjusted() < MAX_DIGITS:
        return "int", int(value)
    return "float", float(value)
