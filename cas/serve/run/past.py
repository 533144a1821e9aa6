"""The past: the lock that an experiment had, for ``cas run --at``.

What its record used and made is at the trees that the record names, and brought here. What
else its lock had is there as well, where the store still has it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cas.errors import CasError, ExperimentError, ListingError
from cas.listing import parse_tree_id
from cas.lockfile import Asset, Lockfile
from cas.names import check_name, kind_of
from cas.request import HubRequest, LocalRequest
from cas.serve.run.unlocked import ROLE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from cas.progress import Progress
    from cas.project import Project
    from cas.reproduce import Had

__all__ = ["past_lock"]


def past_lock(project: Project, word: str, progress: Progress) -> tuple[str, Lockfile]:
    """Return (the experiment that *word* means, the lock that stands in for assets.lock).

    Raises:
        ExperimentError: there is no such experiment, or one name is at two trees in it.
        CasError: something that it used can't be had; Offline, where the network is missing.
    """
    from cas import experiments
    from cas.reproduce.trees import bring_trees, lock_of, worst

    shown = experiments.show(Path(project.experiments), word, progress.note)
    used = [use for use in shown["assets"] if use["role"] not in ("earlier", ROLE)]
    had = bring_trees(
        project, {**shown, "assets": used}, outputs=True, offline=False, progress=progress
    )
    missing = [one for one in had if one.target is None and one.role != "output"]
    if error := worst(missing):
        raise error
    for one in had:
        if one.target is None:
            progress.note(f"{one.name}, which {shown['name']} made, can't be had: {one.error}")
    for use in shown["assets"]:
        if use["role"] == ROLE:
            progress.note(f"{use['name']} was not locked when {shown['name']} used it")
    own = lock_of(project, shown)
    locks = [lock for lock in (own, project.read_lock()) if lock is not None]
    stand = [a for a in own or () if project.stores.where(a.tree)]
    commits = {(use["name"], use["tree"]): use["commit"] for use in used}
    lock = Lockfile().with_assets(stand)
    taken: dict[str, str] = {}
    for one in had:
        if one.target is None or not _is_name(one.name):
            continue
        if taken.setdefault(one.name, one.tree) != one.tree:
            raise ExperimentError(
                f"{shown['name']} used {one.name!r} at two trees, so its name means neither",
                hint=f"cas checkout {shown['name']} has them both",
            )
        lock = lock.with_assets([_asset(project, one, commits, locks)])
    return str(shown["name"]), lock


def _is_name(name: str) -> bool:
    """Say whether a record names an asset there, and no bare tree; a record is not trusted."""
    try:
        check_name(name)
    except ListingError:
        return False
    return True


def _asset(
    project: Project,
    had: Had,
    commits: Mapping[tuple[str, str], Any],
    locks: list[Lockfile],
) -> Asset:
    """Return an asset as a lock of its time had it, or as much as its record says."""
    digest = parse_tree_id(had.tree)
    for lock in locks:
        for asset in lock:
            if asset.tree == digest:
                return asset if asset.name == had.name else replace(asset, name=had.name)
    listing = project.stores.listing(digest)
    found = project.stores.where(digest)
    if listing is None or found is None:
        raise CasError(f"{had.name!r}: its tree went while it was looked at")
    commit = commits.get((had.name, had.tree))
    kind, _, rest = had.name.partition("/")
    on_hub = bool(commit) and kind_of(had.name) in ("datasets", "models", "spaces")
    tree = found[0].tree(digest)
    return Asset(
        name=had.name,
        request=HubRequest(kind=kind.removesuffix("s"), repo=rest)
        if on_hub
        else LocalRequest(local=rest.rpartition("/")[2]),
        tree=digest,
        files=len(listing),
        size=found[1].size,
        repo=rest if on_hub else None,
        commit=commit if on_hub else None,
        file=had.target[len(tree) + 1 :] or None if had.target else None,
    )
