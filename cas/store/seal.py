"""Seal: a JSON table that ends in the SHA-256 of every byte before that last key.

So a flipped bit anywhere in it is found, with nothing but ``head -c`` and ``sha256sum``.
"""

from __future__ import annotations

import json
from typing import Any

from cas.bounded import load_json
from cas.digest import hash_bytes

__all__ = ["seal", "unseal"]

_KEY = b'"sha256":"'


def seal(table: dict[str, Any], *, indent: int | None = None) -> bytes:
    """Return the text of a table that is not empty, with its sum."""
    text = json.dumps(table, separators=(",", ":"), indent=indent)
    body = text.removesuffix("}").rstrip().encode() + (b"," if indent is None else b",\n ")
    return b'%s%s%s"}\n' % (body, _KEY, hash_bytes(body).encode())


def unseal(data: bytes) -> dict[str, Any]:
    """Return the table that ``seal`` was given; raise ValueError if a byte of it differs."""
    body, found, end = data.rpartition(_KEY)
    if not found or end != hash_bytes(body).encode() + b'"}\n':
        message = "its sum differs"
        raise ValueError(message)
    table = load_json(data)
    if not isinstance(table, dict):
        raise ValueError("expected a table")
    del table["sha256"]
    return table
