"""Hints: what a recipe made, found again by its key without making it anew.

``recipes/ab/<62 hex>`` is a sealed table, named by the key: ``{"files": {name: digest}}``
and whatever else whoever made it wants to know again. In a shared store each user has his own,
``<62 hex>.<uid>``. A hint is believed only where every object that it names is here and usable, or
a tree of them stands whole, and, of another user, only where the users trust one another: nothing
else says that those objects are what the recipe makes. It is no root: gc collects what it names
as if it were not there, and then the hint too.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from cas.digest import Digest, is_digest, parse_digest
from cas.files import discard, read_plain, replace
from cas.store.damage import Spoiled
from cas.store.objects import usable
from cas.store.seal import seal, unseal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cas.store.layout import Store

__all__ = ["noted", "recall", "remember", "sweep_hints"]

ROOM = "recipes"
MOST = 64 << 20  # bytes of a hint


def remember(store: Store, key: Digest, table: Mapping[str, Any]) -> None:
    """Note what *key* made; ``table["files"]`` is name → digest of objects that are published."""
    store.need_writable()
    place = _places(store, key)[0]
    store.make_dir(store.place(ROOM))
    store.make_dir(os.path.dirname(place))
    replace(place, seal({"key": key, **table}), mode=0o644)


def noted(store: Store, key: Digest) -> dict[str, Any] | None:
    """Return what was noted of *key*, or None; whether its objects are there is not looked at."""
    return next(_believed(store, key), None)


def recall(store: Store, key: Digest) -> dict[str, Any] | None:
    """Return what was noted of *key*, or None; a hit only if its objects are all usable."""
    for table in _believed(store, key):
        files: dict[str, Digest] = table["files"]
        wanted: dict[Digest, int | None] = dict.fromkeys(files.values())
        try:
            if len(usable(store, wanted)) == len(wanted):
                return table
        except Spoiled:
            continue
    return None


def _believed(store: Store, key: Digest) -> Iterator[dict[str, Any]]:
    """Yield what this user, or one who is trusted, noted of *key*."""
    for place in _places(store, key):
        table = _read(place)
        if table is None or table.pop("key", None) != key:
            continue
        if store.trust == "group" or not store.is_foreign(os.lstat(place)):
            yield table


def sweep_hints(store: Store) -> None:
    """Remove the hints that name an object that is gone, or that can't be read."""
    for prefix in _listed(store.place(ROOM)):
        for name in _listed(store.place(ROOM, prefix)):
            place = store.place(ROOM, f"{prefix}/{name}")
            if not is_digest(prefix + name.partition(".")[0]):
                continue
            table = _read(place)
            if table is None or not all(store.has(digest) for digest in table["files"].values()):
                discard(place)


def _places(store: Store, key: Digest) -> list[str]:
    """Return where hints of *key* are: this user's first, then those of who is believed."""
    plain = store.place(ROOM, f"{key[:2]}/{key[2:]}")
    if not store.shared:
        return [plain]
    mine = f"{plain}.{os.geteuid()}"
    if store.trust != "group":
        return [mine]
    above = os.path.dirname(plain)
    others = (f"{above}/{name}" for name in _listed(above) if name.startswith(key[2:]))
    return [mine, *(place for place in others if place != mine)]


def _read(place: str) -> dict[str, Any] | None:
    try:
        table = unseal(read_plain(place, MOST))
        table["files"] = {str(name): parse_digest(d) for name, d in table["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return table


def _listed(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
