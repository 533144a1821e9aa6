"""Sidecars: what each tree is, beside it; lost, one is written again from what stands there."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cas import files
from cas.listing import tree_id
from cas.store.seal import seal, unseal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cas.digest import Digest
    from cas.store.layout import Store

__all__ = ["LOCAL", "Sidecar", "note_remote", "only_copy", "read_sidecar", "remotes_of"]

MOST = 1 << 30  # bytes; a file takes about ten
LOCAL: Mapping[str, Any] = {"local": True}
"""The origin of a local import, and of a tree whose sidecar was lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """What a tree is."""

    origin: Mapping[str, Any]
    """``{"hub": …}``, ``{"recipe": …}`` or ``{"local": true}``; and ``"remotes": [URL, …]``, those
    that were seen to have it."""
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
        table = unseal(files.read_plain(store.tree(digest) + ".json", MOST))
        sizes = table["sizes"]
        directories = table["directories"]
        if (
            table["version"] != 1
            or table["tree"] != tree_id(digest)
            or not isinstance(table["origin"], dict)
            or not set(map(type, sizes)) <= {int}  # a million of them in a third of the time
            or min(sizes, default=0) < 0
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


def note_remote(store: Store, digest: Digest, url: str, *, there: bool = True) -> None:
    """Write down that a remote was seen to have a tree, or not to have it.

    It is a hint that keeps gc from a tree that is nowhere else, and no error where it can't
    be written.
    """
    sidecar = read_sidecar(store, digest)
    if sidecar is None or store.readonly:
        return
    known = remotes_of(sidecar)
    if (url in known) == there:
        return
    now = sorted({*known, url} if there else {*known} - {url})
    origin = {key: value for key, value in sidecar.origin.items() if key != "remotes"}
    sidecar = dataclasses.replace(sidecar, origin=origin | ({"remotes": now} if now else {}))
    try:
        files.replace(store.tree(digest) + ".json", sidecar.data(digest), mode=0o444)
    except OSError:
        pass  # another user's tree


def remotes_of(sidecar: Sidecar | None) -> list[str]:
    """Return the URLs of the remotes that were seen to have a tree."""
    found = sidecar.origin.get("remotes") if sidecar else None
    return [url for url in found if isinstance(url, str)] if isinstance(found, list) else []


def only_copy(store: Store, digest: Digest) -> bool:
    """Say whether no other source is known to have a tree: a local import, or a lost sidecar."""
    sidecar = read_sidecar(store, digest)
    return sidecar is None or not {"hub", "recipe", "remotes"} & sidecar.origin.keys()
