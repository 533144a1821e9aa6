"""Care of what is stored: verify and repair, gc."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Any

from cas.digest import Digest
from cas.errors import StoreError
from cas.names import view_of
from cas.progress import QUIET
from cas.project import look
from cas.store import Bad, read_listing, read_root, read_sidecar, root_ids, verify

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime, timedelta

    from cas.lockfile import Lockfile
    from cas.progress import Progress
    from cas.project import Project
    from cas.store import Collected, Level, Store, Verified

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
    if repair:
        from cas.installer import repairing

        repairing.repair(project, lock, result, progress)
        names = _names(project.store, lock, result) | names  # of trees that it found bad too
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
            if (
                view.state == "link"
                and view.tree == asset.tree
                and os.path.exists(os.path.join(view.store, "VERSION"))
                and not os.path.samefile(view.store, project.store.root)
            ):
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
    older_than: timedelta | None = None,
    dry_run: bool = False,
    local_too: bool = False,
    ignore_experiments: bool = False,
    now: datetime | None = None,
) -> Collected:
    """Remove from the store what no project, experiment or recent use refers to (``gc``).

    Of a shared one that is what this user put there, unless it is his own or he is root; then
    also from his own store beside it, where the shared one can't be collected (``failed``) too.
    """
    from cas.project import holds
    from cas.project.places import own_store_beside
    from cas.project.reading import root_id_of
    from cas.store import GRACE, Collected, collect

    def of_project(path: str) -> tuple[set[Digest], set[Digest]] | None:
        return holds(path, experiments=not ignore_experiments)

    def clean(one: Store) -> Collected:
        return collect(
            one,
            project_holds=of_project,
            root_of=root_id_of,
            older_than=GRACE if older_than is None else older_than,
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
    from cas.project.reading import root_id_of

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
