"""Where an asset came from, as the sidecar of its tree says it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cas.listing import tree_id
from cas.request import HubRequest, RecipeRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cas.lockfile import Asset

__all__ = ["origin_of"]


def origin_of(asset: Asset) -> Mapping[str, Any]:
    """Return what the sidecar of an asset's tree says of where it came from."""
    match asset.request:
        case HubRequest(kind=kind):
            origin: dict[str, Any] = {
                "hub": {"kind": kind, "repo": asset.repo, "commit": asset.commit}
            }
            return origin | ({"access": asset.access} if asset.access else {})
        case RecipeRequest():
            inputs = {role: tree_id(tree) for role, tree in asset.inputs.items()}
            return {"recipe": asset.recipe, "inputs": inputs}
    return {"local": True}
