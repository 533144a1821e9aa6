"""Repairing: damaged objects go to quarantine, are fetched again by hash, and trees are mended.

It imports what brings assets, which a verify that finds nothing does not wait for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cas.digest import Digest
from cas.errors import CasError, StoreError, remedy
from cas.installer.bring import Bringer
from cas.installer.origin import origin_of
from cas.installer.pull import needs_of
from cas.request import HubRequest
from cas.store import (
    Bad,
    Spoiled,
    make_durable,
    mend,
    read_listing,
    read_root,
    read_sidecar,
    rebuilt_listing,
    recover,
    root_ids,
    usable,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cas.listing import Listing
    from cas.lockfile import Asset, Lockfile
    from cas.progress import Progress
    from cas.project import Project
    from cas.store import Store, Verified

__all__ = ["repair"]


def repair(project: Project, lock: Lockfile, result: Verified, progress: Progress) -> None:
    """Mend what was found bad; what no source has stays in *result*, with why."""
    if result.bad or result.trees:
        _repair(project, lock, result, progress)
    make_durable(project.store)  # a repair that was killed may not have got so far


def _repair(project: Project, lock: Lockfile, result: Verified, progress: Progress) -> None:
    store = project.store
    store.need_writable()
    damaged = {bad.hash for bad in result.bad if not bad.tree} - {*map(Digest, result.roots)}
    listings: dict[Digest, Listing] = {}
    for tree in result.trees:
        listing = read_listing(store, tree) or rebuilt_listing(store, tree)
        if listing is not None:
            listings[tree] = listing
    renew = {digest for digest in damaged if not _made_read_only(store, digest)}
    if renew:
        progress.note(f"the damaged bytes are kept in {store.place('quarantine')}")
    for listing in listings.values():
        recover(store, listing)
    by_tree = {asset.tree: asset for asset in lock}
    fixed: set[Digest] = set()
    bringer = Bringer(project, lock, progress=progress, offline=False, jobs=8)
    failed: dict[Digest, CasError | OSError] = {}
    lacking: set[Digest] = set()  # trees whose objects could not be had
    for again in (False, True):
        for tree in sorted(lacking if again else result.trees):
            listing = listings.get(tree)
            if again and (listing is None or _missing(store, listing)):
                continue  # else what it lacked came with a tree that holds it too
            try:
                if listing is None or _missing(store, listing):
                    listing = _bring_again(bringer, tree, by_tree.get(tree))
                bringer.put_listing(listing)
                asset = by_tree.get(tree)
                mend(store, listing, renew, origin_of(asset) if asset else {"local": True})
            except (CasError, OSError) as error:
                failed[tree] = error
                if listing is not None and not all(store.has(e.digest) for e in listing):
                    lacking.add(tree)  # what has them failed otherwise, and is not tried again
                continue
            failed.pop(tree, None)
            fixed |= {tree, *(entry.digest for entry in listing)}
    _tell_failed(result, failed, progress)
    make_durable(store, fixed & result.trees)
    _repair_root(project, result, fixed)
    loose = {d for d in damaged if d not in fixed and _made_read_only(store, d)}
    wanted = _wanted(listings, fixed) | _of_experiments(store)
    gone = {d for d in damaged if d not in fixed and not store.has(d)} - wanted
    result.bad = [bad for bad in result.bad if bad.hash not in fixed | loose | gone]
    result.trees -= fixed


def _tell_failed(
    result: Verified, failed: Mapping[Digest, CasError | OSError], progress: Progress
) -> None:
    """Say of each tree why it can't be repaired."""
    for tree, error in failed.items():
        told = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else error
        result.hint = remedy(error) if isinstance(error, OSError) else error.hint
        progress.note(f"tree t1:{tree[:12]}… can't be repaired: {told}")
        result.bad = [bad for bad in result.bad if bad.hash != tree]
        result.bad.append(Bad(tree, f"it can't be repaired: {told}", tree=True))


def _repair_root(project: Project, result: Verified, fixed: set[Digest]) -> None:
    """Write the project's own root again; another project's is written by its next pull."""
    mine = project.root_id(draw=False)
    if mine in result.roots:
        needs_of(project)
        fixed.add(Digest(mine))
        result.roots.remove(mine)


def _of_experiments(store: Store) -> set[Digest]:
    """Return what experiments name: what of it is lost can't be fetched again."""
    named: set[Digest] = set()
    for root in root_ids(store):
        try:
            record = read_root(store, root)
        except StoreError:
            continue
        named.update(record.experiments if record else ())
    return named


def _wanted(listings: Mapping[Digest, Listing], fixed: set[Digest]) -> set[Digest]:
    """Return the objects of the trees that could not be repaired."""
    left = {tree: listing for tree, listing in listings.items() if tree not in fixed}
    return {*left, *(entry.digest for listing in left.values() for entry in listing)}


def _made_read_only(store: Store, digest: Digest) -> bool:
    """Say whether an object was only writable, its bytes right.

    Else it is in quarantine now, or another user's and stays where it is.
    """
    try:
        return digest in usable(store, {digest: None})
    except Spoiled:
        return False


def _missing(store: Store, listing: Listing) -> list[Digest]:
    wanted: dict[Digest, int | None] = {entry.digest: None for entry in listing}
    good = usable(store, wanted)
    return [digest for digest in wanted if digest not in good]


def _bring_again(bringer: Bringer, tree: Digest, asset: Asset | None) -> Listing:
    """Bring the objects of a tree from where its asset, or its sidecar, says they were had."""
    from dataclasses import replace

    from cas import lockfile

    if asset is None:
        here = read_listing(bringer.store, tree)
        listing = bringer.remotes.bring(bringer, tree, f"t1:{tree[:12]}…", here)
        if listing is not None and not _missing(bringer.store, listing):
            return listing
        sidecar = read_sidecar(bringer.store, tree)
        origin: Any = sidecar.origin.get("hub") if sidecar else None
        if not isinstance(origin, dict):
            raise StoreError("no source is known to have it")
        asset = lockfile.Asset(
            name=f"{origin['kind']}s/{origin['repo']}",
            request=HubRequest(kind=str(origin["kind"]), repo=str(origin["repo"])),
            tree=tree,
            files=len(sidecar.sizes) if sidecar else 1,
            size=sidecar.size if sidecar else 0,
            repo=str(origin["repo"]),
            commit=str(origin["commit"]),
        )
        paths = read_listing(bringer.store, tree)
        if paths is not None:  # only these files: the patterns of its request are not known
            include = tuple(entry.path for entry in paths)
            asset = replace(asset, request=HubRequest(
                kind=str(origin["kind"]), repo=asset.repo or "", include=include
            ))  # fmt: skip
    return bringer.source(asset)
