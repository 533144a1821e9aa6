"""The text of pyproject.toml with a tree marked bad, everything else left byte for byte."""

from __future__ import annotations

from cas.project.requests.entries import edit_entry

__all__ = ["edit_bad"]


def edit_bad(data: bytes | None, tree: str, reason: str) -> bytes:
    """Return pyproject.toml with *tree* in ``[tool.cas.bad]``; raise RequestError."""
    return edit_entry(data, "bad", tree, reason)
