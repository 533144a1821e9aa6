"""Sidecars: what each tree is, beside it; lost, one is written again from what stands there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cas.listing import tree_id
from cas.store.seal import seal, unseal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cas.digest import Digest
    from cas.store.layout import Store

__all__ = ["LOCAL", "Sidecar", "only_copy", "read_sidecar"]

LOCAL: Mapping[str, Any] = {"local": True}
"""The origin of a local import, and of a tree whose sidecar was lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """What a tree is."""

    origin: Mapping[str, Any]
    """``{"hub": …}``, ``{"recipe": …}`` or ``{"local": true}``."""
    size: int
    """bytes in all"""
    sizes: tuple[int, ...]
    """bytes of each file, in the order of the listing"""
    directories: Mapping[str, int] = field(default_factory=dict)
    """Directory relative to the tree (``""`` first) → mtime_ns."""

    def data(self, digest: Digest) -> bytes:
        """Return the text of the sidecar of that tree."""
        table = {
            "version": 1,
            "tree": tree_id(digest),
            "origin": dict(self.origin),
            "files": len(self.sizes),
            "size": self.size,
            "sizes": list(self.sizes),
            "directories": dict(self.directories),
        }
        return seal(table)


def read_sidecar(store: Store, digest: Digest) -> Sidecar | None:
    """Return the sidecar of a tree, or None if it is lost or unreadable."""
    try:
        with open(store.tree(digest) + ".json", "rb") as file:
            table = unseal(file.read())
        sizes = table["sizes"]
        directories = table["directories"]
        if (
            table["version"] != 1
            or table["tree"] != tree_id(digest)
            or not isinstance(table["origin"], dict)
            or not all(type(size) is int and size >= 0 for size in sizes)
            or not all(type(mtime) is int for mtime in directories.values())
            or table["size"] != sum(sizes)
            or "" not in directories
        ):
            return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return Sidecar(
        origin=table["origin"], size=table["size"], sizes=tuple(sizes), directories=directories
    )


def only_copy(store: Store, digest: Digest) -> bool:
    """Say whether no other source is known to have a tree: a local import, or a lost sidecar."""
    sidecar = read_sidecar(store, digest)
    return sidecar is None or not ("hub" in sidecar.origin or "recipe" in sidecar.origin)
