"""Hints: what a recipe made, found again by its key without making it anew.

``recipes/ab/<62 hex>`` is a sealed table, named by the key: ``{"files": {name: digest}}``
and whatever else whoever made it wants to know again. A hint is believed only where every
object that it names is here and usable. It is no root: gc collects what it names as if it
were not there, and then the hint too.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from cas.digest import Digest, is_digest, parse_digest
from cas.files import discard, replace
from cas.store.objects import usable
from cas.store.seal import seal, unseal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cas.store.layout import Store

__all__ = ["recall", "remember", "sweep_hints"]

ROOM = "recipes"


def remember(store: Store, key: Digest, table: Mapping[str, Any]) -> None:
    """Note what *key* made; ``table["files"]`` is name → digest of objects that are published."""
    store.need_writable()
    place = _place(store, key)
    store.make_dir(store.place(ROOM))
    store.make_dir(os.path.dirname(place))
    replace(place, seal({"key": key, **table}), mode=0o644)


def recall(store: Store, key: Digest) -> dict[str, Any] | None:
    """Return what was noted of *key*, or None; a hit only if its objects are all usable."""
    table = _read(_place(store, key))
    if table is None or table.pop("key", None) != key:
        return None
    files: dict[str, Digest] = table["files"]
    wanted: dict[Digest, int | None] = dict.fromkeys(files.values())
    return table if len(usable(store, wanted)) == len(wanted) else None


def sweep_hints(store: Store) -> None:
    """Remove the hints that name an object that is gone, or that can't be read."""
    for prefix in _listed(store.place(ROOM)):
        for name in _listed(store.place(ROOM, prefix)):
            place = store.place(ROOM, f"{prefix}/{name}")
            if not is_digest(prefix + name):
                continue
            table = _read(place)
            if table is None or not all(store.has(digest) for digest in table["files"].values()):
                discard(place)


def _place(store: Store, key: Digest) -> str:
    return store.place(ROOM, f"{key[:2]}/{key[2:]}")


def _read(place: str) -> dict[str, Any] | None:
    try:
        with open(place, "rb") as file:
            table = unseal(file.read())
        table["files"] = {str(name): parse_digest(d) for name, d in table["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return table


def _listed(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
