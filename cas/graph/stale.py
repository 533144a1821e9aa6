"""Stale: experiments whose assets are no longer what the lock pins."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cas.experiments import scan
from cas.graph.records import EARLIER, OUTPUT

if TYPE_CHECKING:
    from collections.abc import Callable

    from cas.project import Project

__all__ = ["stale"]


def stale(project: Project, warn: Callable[[str], None] | None = None) -> list[dict[str, Any]]:
    """Return what the newest record of each experiment used and the lock does not pin.

    ``[{name, id, asset, used, locked}]``, newest experiments first; ``locked`` is null where
    the lock has no asset of that name. What an experiment made, and what was used before it
    (``earlier``), count for nothing, and so does a tree that is pinned under another name.
    """
    locked = {asset.name: asset.tree_id for asset in project.read_lock()}
    pinned = set(locked.values())
    return [
        {
            "name": record.experiment_name,
            "id": record.experiment_id,
            "asset": use.name,
            "used": use.tree,
            "locked": locked.get(use.name),
        }
        for record in reversed(scan.records(Path(project.experiments), warn))
        if record.latest
        for use in record.assets
        if use.role not in (EARLIER, OUTPUT) and use.tree not in pinned
    ]
