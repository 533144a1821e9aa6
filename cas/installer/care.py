"""Care of what is stored: verify and repair, gc."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Any

from cas.digest import Digest
from cas.errors import CasError, StoreError, remedy
from cas.installer.bring import Bringer
from cas.installer.origin import origin_of
from cas.installer.pull import needs_of
from cas.names import view_of
from cas.progress import QUIET
from cas.project import holds, look
from cas.project.places import own_store_beside
from cas.project.reading import root_id_of
from cas.request import HubRequest
from cas.store import (
    GRACE,
    Bad,
    Collected,
    Spoiled,
    collect,
    make_durable,
    mend,
    read_listing,
    read_root,
    read_sidecar,
    rebuilt_listing,
    recover,
    root_ids,
    usable,
    verify,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime, timedelta

    from cas.listing import Listing
    from cas.lockfile import Asset, Lockfile
    from cas.progress import Progress
    from cas.project import Project
    from cas.store import Level, Store, Verified

__all__ = ["collect_garbage", "registered", "verify_assets", "verify_json"]


def verify_assets(
    project: Project,
    words: Iterable[str] = (),
    *,
    level: Level = "stat",
    repair: bool = False,
    cold: bool = False,
    progress: Progress = QUIET,
) -> tuple[Verified, dict[Digest, list[str]]]:
    """Read back assets, or the whole store; return what was found, and hash → asset names.

    With *repair*, damaged objects go to quarantine, are fetched again by hash, and every
    tree that held them is mended. What no source has stays bad, and is told. *cold* reads the
    disk and not what is cached of it.
    """
    lock = project.read_lock()
    words = list(words)
    only = {asset.tree for asset in lock.select(words)} if words else None
    progress.begin("verify")
    try:
        result = verify(
            project.store,
            only,
            level=level,
            cold=cold,
            progress=lambda files, size: progress.advance(size, files=files),
        )
    finally:
        progress.end()
    if only is None and (mine := _lost_root(project, lock)):
        result.roots.append(mine)
        result.bad.append(
            Bad(Digest(mine), f"root {project.store.place('roots', mine)}: it is lost, so gc does "
                f"not know of {project.root}", tree=False)
        )  # fmt: skip
    for store, count in _elsewhere(project, lock, only).items():
        progress.note(f"{count} of the assets lie in the store {store}, and were not read: "
                      f"CAS_STORE={shlex.quote(store)} cas verify reads them")  # fmt: skip
    names = _names(project.store, lock, result)
    if repair and (result.bad or result.trees):
        _repair(project, lock, result, progress)
    if repair:
        make_durable(project.store)  # a repair that was killed may not have got so far
    return result, names


def _lost_root(project: Project, lock: Lockfile) -> str | None:
    """Return the id of the project's root if it is gone and views lead into its store."""
    mine = project.root_id(draw=False)
    store = project.store
    if mine is None or os.path.lexists(store.place("roots", f"{mine}/root.json")):
        return None
    views = (look(project.root, view_of(asset.name)) for asset in lock)
    return mine if any(v.state == "link" and v.store == store.root for v in views) else None


def _elsewhere(project: Project, lock: Lockfile, only: set[Digest] | None) -> dict[str, int]:
    """Return store → how many assets have their bytes there, and not in the project's store."""
    found: dict[str, int] = {}
    for asset in lock:
        if (only is None or asset.tree in only) and not os.path.isdir(
            project.store.tree(asset.tree)
        ):
            view = look(project.root, view_of(asset.name))
            if view.state == "link" and view.tree == asset.tree:
                found[view.store] = found.get(view.store, 0) + 1
    return found


def verify_json(result: Verified, names: Mapping[Digest, list[str]]) -> dict[str, Any]:
    """Return what was found as ``cas verify --json`` says it."""
    return {
        "objects": result.objects,
        "bytes": result.bytes,
        "bad": [
            {"hash": bad.hash, "reason": bad.reason, "assets": names.get(bad.hash, [])}
            for bad in result.bad
        ],
    }


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


def _names(store: Store, lock: Lockfile, result: Verified) -> dict[Digest, list[str]]:
    """Return which assets of the lock hold each bad thing."""
    wanted = {bad.hash for bad in result.bad}
    found: dict[Digest, list[str]] = {digest: [] for digest in wanted}
    if not wanted:
        return found
    for asset in lock:
        listing = read_listing(store, asset.tree)
        held = {asset.tree, *(entry.digest for entry in listing or ())}
        for digest in wanted & held:
            found[digest].append(asset.name)
    return found


def collect_garbage(
    store: Store,
    *,
    older_than: timedelta = GRACE,
    dry_run: bool = False,
    local_too: bool = False,
    ignore_experiments: bool = False,
    now: datetime | None = None,
) -> Collected:
    """Remove from the store what no project, experiment or recent use refers to (``gc``).

    Of a shared one that is what this user put there, unless it is his own or he is root; then
    also from his own store beside it, where the shared one can't be collected (``failed``) too.
    """

    def of_project(path: str) -> tuple[set[Digest], set[Digest]] | None:
        return holds(path, experiments=not ignore_experiments)

    def clean(one: Store) -> Collected:
        return collect(
            one,
            project_holds=of_project,
            root_of=root_id_of,
            older_than=older_than,
            dry_run=dry_run,
            local_too=local_too,
            drop_experiments=ignore_experiments,
            now=now,
        )

    beside = own_store_beside(store)
    if beside is None:
        return clean(store)
    try:
        result = clean(store)
    except StoreError as error:
        result = Collected(dry_run, failed=error)
    return result.with_more(clean(beside))


def registered(store: Store) -> list[dict[str, Any]]:
    """Return the projects that the store knows, as ``cas store --json`` says them."""
    rows = []
    for root in root_ids(store):
        try:
            record = read_root(store, root)
        except StoreError:
            continue
        if record is None:
            continue
        sizes = [s.size for tree in record.trees if (s := read_sidecar(store, tree))]
        here = root_id_of(record.path) == root
        rows.append(
            {
                "path": record.path,
                "trees": len(record.trees),
                "bytes": sum(sizes),
                "last_seen": record.last_seen.isoformat().replace("+00:00", "Z"),
                "present": here,
            }
        )
    return rows
