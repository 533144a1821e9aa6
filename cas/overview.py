"""How a project stands: status, list, files, diff, store. Nothing is changed here."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

from cas import lockfile
from cas.errors import CasError, UsageError, typed
from cas.installer.care import registered
from cas.installer.far import holders
from cas.installer.step import out_of_step, stale_inputs
from cas.names import kind_of, view_of
from cas.progress import QUIET
from cas.project import look
from cas.request import HubRequest, RecipeRequest
from cas.store import read_listing, read_sidecar, remotes_of, standing
from cas.store.shared import group_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cas.digest import Digest
    from cas.lockfile import Asset, Lockfile
    from cas.progress import Progress
    from cas.project import Project
    from cas.store import Store

__all__ = ["assets", "changes", "files", "status", "store_report"]


def status(project: Project, *, ask: bool = False, progress: Progress = QUIET) -> dict[str, Any]:
    """Return how every asset stands, as ``cas status --json`` says it.

    With *ask* the remotes are asked what they have, and each row names those that have it.
    """
    lock = project.read_lock()
    differing = out_of_step(project.read_settings().requests, lock)
    stale = stale_inputs(lock)
    edited = project.edited()
    held = holders(project, lock, progress=progress) if ask else {}
    rows = []
    for name in sorted({*lock.assets, *differing}):
        asset = lock.assets.get(name)
        if asset is None or name in differing:
            state, detail = "not locked", f"it {differing[name]}"
        else:
            state, detail = _state(project, asset, edited)
            if state == "ok" and name in stale:
                state, detail = "stale", f"{stale[name]} moved since it was made of it"
        rows.append(
            {
                "name": name,
                "state": state,
                "detail": detail,
                "tree": asset.tree_id if asset else None,
                "second_copy": _second_copy(project, asset, held) if asset else None,
            }
            | ({"remotes": held.get(asset.tree, []) if asset else []} if ask else {})
        )
    return {"lock": "out of step" if differing else "in step", "assets": rows}


def assets(project: Project) -> list[dict[str, Any]]:
    """Return every pinned asset, as ``cas list --json`` says it."""
    rows = []
    for asset in project.read_lock():
        found = project.tree_of(asset)
        rows.append(
            {
                "name": asset.name,
                "kind": kind_of(asset.name),
                "tree": asset.tree_id,
                "files": asset.files,
                "size": asset.size,
                "commit": asset.commit,
                "view": view_of(asset.name),
                "path": project.target_of(asset, found[0]) if found else None,
                "present": found is not None,
            }
        )
    return rows


def files(project: Project, word: str) -> list[dict[str, Any]]:
    """Return the files of an asset, as ``cas files --json`` says them."""
    asset = project.read_lock().find(word)
    listing = project.stores.listing(asset.tree)
    if listing is None:
        raise CasError(
            f"the listing of {asset.name!r} is not in the store",
            hint=f"cas pull {typed(asset.name)}",
        )
    found = project.stores.where(asset.tree)
    sidecar = found[1] if found else read_sidecar(project.store, asset.tree)
    rows = []
    for number, (path, digest) in enumerate(listing):
        size = sidecar.sizes[number] if sidecar and len(sidecar.sizes) == len(listing) else None
        if size is None and project.store.has(digest):
            size = os.lstat(project.store.object(digest)).st_size
        rows.append({"path": path, "sha256": digest, "size": size})
    return rows


def changes(project: Project, revisions: list[str]) -> list[dict[str, Any]]:
    """Return what differs between two locks, as ``cas diff --json`` says it.

    No revision: git's HEAD and the file; one: it and the file; two: the one and the other.
    Raises UsageError for more, CasError outside git or where a revision has no lock.
    """
    if len(revisions) > 2:
        raise UsageError(f"cas diff: expected at most two revisions, found {len(revisions)}")
    old = _lock_at(project, revisions[0] if revisions else "HEAD")
    new = _lock_at(project, revisions[1]) if len(revisions) == 2 else project.read_lock()
    rows = []
    for name in sorted({*old.assets, *new.assets}):
        before, after = old.assets.get(name), new.assets.get(name)
        if before and after and before.tree == after.tree:
            continue
        rows.append(
            {
                "name": name,
                "old": before.tree_id if before else None,
                "new": after.tree_id if after else None,
                **_file_changes(project.store, before, after),
            }
        )
    return rows


def store_report(store: Store, *, largest: int = 0) -> dict[str, Any]:
    """Return what is in the store, as ``cas store --json`` says it.

    *largest* adds that many of the largest trees.
    """
    count = size = 0
    for _, entry in store.objects():
        count += 1
        size += entry.stat(follow_symlinks=False).st_size
    trees = [digest for digest, _ in store.trees()]
    report: dict[str, Any] = {
        "path": store.root,
        "objects": count,
        "trees": len(trees),
        "bytes": size,
        "projects": [
            {key: row[key] for key in ("path", "trees", "bytes", "last_seen")}
            for row in registered(store)
        ],
    }
    if store.shared:
        report["shared"] = {"group": group_name(os.stat(store.root).st_gid), "trust": store.trust}
    if largest:
        rows = [(s.size, d, s.origin) for d in trees if (s := read_sidecar(store, d))]
        report["largest"] = [
            {"tree": f"t1:{digest}", "bytes": size, "origin": _origin(dict(origin))}
            for size, digest, origin in sorted(rows, key=lambda row: -row[0])[:largest]
        ]
    return report


def _origin(origin: dict[str, Any]) -> str:
    hub = origin.get("hub")
    if isinstance(hub, dict):
        return f"{hub.get('kind')}:{hub.get('repo')}@{str(hub.get('commit'))[:12]}"
    return "recipe" if "recipe" in origin else "local"


def _state(project: Project, asset: Asset, edited: set[str]) -> tuple[str, str]:
    view = look(project.root, view_of(asset.name))
    if asset.name in edited and view.state in ("directory", "file"):
        return "edited", f"{view_of(asset.name)} is a writable copy"
    found = project.tree_of(asset)
    if found is None:
        _, reason = standing(project.store, asset.tree)
        gone = reason == "it is not in the store"
        return ("not pulled", reason) if gone else ("damaged", reason)
    if view.state == "absent":
        return "view missing", f"{view_of(asset.name)} is not there"
    if not view.replaceable:
        if view.state == "outside":
            return "blocked", f"{view.target} is a link that leads out of the project"
        return "blocked", f"{view_of(asset.name)} is a {view.state} that cas did not make"
    if view.target != project.target_of(asset, found[0]):
        return "view differs", f"{view_of(asset.name)} leads to {view.target}"
    return "ok", ""


def _second_copy(project: Project, asset: Asset, held: Mapping[Digest, list[str]]) -> bool | None:
    """Say whether another source has it: the Hub, or a remote that was asked or seen to have it."""
    if asset.tree in held:
        there = bool(held[asset.tree])
    else:
        there = any(remotes_of(read_sidecar(s, asset.tree)) for s in project.stores.written)
    if isinstance(asset.request, RecipeRequest):
        return True if there else None
    return there or isinstance(asset.request, HubRequest)


def _file_changes(store: Store, before: Asset | None, after: Asset | None) -> dict[str, Any]:
    old = read_listing(store, before.tree) if before else None
    new = read_listing(store, after.tree) if after else None
    if (before and not old) or (after and not new):
        return {"added": None, "removed": None, "changed": None}
    if old and new:
        added, removed, changed = old.changes(new)
    else:
        added = [entry.path for entry in new] if new else []
        removed = [entry.path for entry in old] if old else []
        changed = []
    return {"added": added, "removed": removed, "changed": changed}


def _lock_at(project: Project, revision: str) -> Lockfile:
    if revision.startswith("-"):
        raise UsageError(f"{revision!r} is no revision")
    try:
        done = subprocess.run(
            ["git", "-C", project.root, "show", f"{revision}:./assets.lock"],
            capture_output=True,
            timeout=20,
            check=False,
            env={**os.environ, "LC_ALL": "C"},  # the hint goes by what git says
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CasError(f"git can't be asked: {error}") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        why = said[-1] if said else "no answer"
        hint = "git add assets.lock pyproject.toml && git commit"
        if "not a git repository" in why:
            hint = "git init"
        elif revision != "HEAD":
            hint = "git log --oneline -- assets.lock"
        raise CasError(f"git has no assets.lock at {revision!r}: {why}", hint=hint)
    return lockfile.parse(done.stdout)
