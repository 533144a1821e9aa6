"""Access: which store an asset goes into, by whether the Hub gives it to everybody.

With a shared store, what is gated or private, and what is made of it, goes into the user's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cas.project.requests import shared_names
from cas.request import RecipeRequest

if TYPE_CHECKING:
    from cas.lockfile import Asset, Lockfile
    from cas.project import Project
    from cas.store import Store

__all__ = ["access_of", "is_apart", "store_for"]


def access_of(lock: Lockfile, asset: Asset) -> str | None:
    """Return ``gated`` or ``private`` where an asset is, or something that it is made of."""
    found = {asset.name: asset}
    todo = [asset]
    while todo:
        one = todo.pop()
        if one.access:
            return one.access
        if isinstance(one.request, RecipeRequest):
            inputs = (lock.assets.get(name) for name in one.request.inputs.values())
            new = [source for source in inputs if source and source.name not in found]
            found |= {source.name: source for source in new}
            todo += new
    return None


def is_apart(project: Project, name: str, access: str | None) -> bool:
    """Say whether an asset of that access goes into the user's own store."""
    if access is None or not project.store.shared:
        return False
    return name not in shared_names(project.requests_bytes())


def store_for(project: Project, lock: Lockfile, asset: Asset) -> Store:
    """Return the store that takes an asset, or what is made of it; raise StoreError."""
    if project.store.shared and is_apart(project, asset.name, access_of(lock, asset)):
        return project.stores.make_own()
    return project.store
