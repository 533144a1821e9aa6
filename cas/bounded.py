"""Bounded: JSON that somebody else wrote, refused before it costs what nobody has.

``[],`` are three bytes, and 72 in memory once they are read; 10 MB of them take 240 MB.
"""

from __future__ import annotations

import json
from typing import Any

__all__ = ["load_json"]

MOST_NESTED = 1 << 20
"""Lists and tables in one text; a page of a Hub's listing has two or three a file."""


def load_json(data: bytes | bytearray) -> Any:
    """Return what UTF-8 JSON says; raise ValueError for whatever is none or too much."""
    if data.count(b"[") + data.count(b"{") > MOST_NESTED:
        raise ValueError(f"more than {MOST_NESTED:,} lists and tables")
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
