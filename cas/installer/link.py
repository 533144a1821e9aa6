"""Switch views: one symlink an asset, replaced by rename, and only if it is ours."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cas.errors import CasError, ViewBlocked, remedy, typed
from cas.files import discard, replace_symlink, sweep, sync_all, temporary_name
from cas.names import view_of
from cas.project import look
from cas.project.views import leads_out, make_parents, parents_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cas.lockfile import Asset
    from cas.project import Project

__all__ = ["Linked", "check_views", "link_views", "sweep_project", "sync_views", "unlink_view"]


@dataclass(slots=True)
class Linked:
    """What became of the views of a call."""

    changed: int = 0
    refused: list[tuple[Asset, CasError]] = field(default_factory=list)
    kept_edits: list[str] = field(default_factory=list)


def check_views(
    project: Project, assets: Iterable[Asset], *, relink: bool, force: bool
) -> tuple[list[Asset], Linked]:
    """Return the assets whose views may be made, and what is refused or kept, and why.

    It is asked before anything is downloaded: a view into a store that can't be seen from
    here is another machine's, and a job with another CAS_STORE must not fetch terabytes.
    """
    edited = project.edited()
    good, seen = [], Linked()
    for asset in assets:
        view = view_of(asset.name)
        lies = look(project.root, view)
        if lies.state == "link" and not relink and not _visible(project, lies.store):
            seen.refused.append((asset, ViewBlocked(
                f"{view} leads to the store {lies.store}, which can't be seen from here",
                hint=f"cas pull --relink {typed(asset.name)}",
            )))  # fmt: skip
        elif lies.replaceable or (asset.name in edited and force):
            good.append(asset)
        elif asset.name in edited:
            seen.kept_edits.append(asset.name)
        elif lies.state == "outside":
            seen.refused.append((asset, leads_out(lies.target)))
        else:
            what = (
                f"a link to {lies.target!r}" if lies.state == "foreign link" else f"a {lies.state}"
            )
            seen.refused.append((asset, ViewBlocked(
                f"{view} is {what} that cas did not make, so it was left alone",
                hint=f"cas adopt {typed(view)}" if lies.state == "directory"
                else f"mv {typed(view)} elsewhere",
            )))  # fmt: skip
    return good, seen


def link_views(
    project: Project, trees: Iterable[tuple[Asset, str]], seen: Linked, *, force: bool = False
) -> Linked:
    """Point each view at its tree, durably; the trees stand already.

    A link that is right already may be the work of somebody who was killed before it was
    synced: who says that it is in place vouches for its name too.
    """
    touched: list[str] = []
    edited = project.edited()
    forgotten = set()
    for asset, tree in trees:
        view = view_of(asset.name)
        target = project.target_of(asset, tree)
        lies = look(project.root, view)
        if lies.target == target and lies.state == "link":
            touched += parents_of(project.root, view)
            continue
        path = os.path.join(project.root, view)
        aside = None
        try:
            make_parents(project.root, view)
            if not lies.replaceable:
                if not (force and asset.name in edited):
                    raise ViewBlocked(f"{view} changed meanwhile, so it was left alone")
                aside = os.path.join(os.path.dirname(path), temporary_name())
                os.rename(path, aside)
                forgotten.add(asset.name)
            sweep(os.path.dirname(path))
            replace_symlink(path, target)
        except ViewBlocked as error:
            seen.refused.append((asset, error))
            continue
        except OSError as error:
            if aside and not os.path.lexists(path):
                os.rename(aside, path)
                forgotten.discard(asset.name)
            seen.refused.append((asset, _not_made(project, asset, error)))
            continue
        if aside:
            discard(aside)
        touched += parents_of(project.root, view)
        seen.changed += 1
    if touched:
        sync_all(touched, on=project.root)
    stale = {
        name
        for name in edited
        if name in forgotten or os.path.islink(os.path.join(project.root, view_of(name)))
    }
    if stale:
        project.set_edited(edited - stale)
    return seen


def _not_made(project: Project, asset: Asset, error: OSError) -> CasError:
    """Return the error for a view that can't be made; the bytes are in the store all the same."""
    view = view_of(asset.name)
    if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):  # EPERM: as symlink(2) has it
        return CasError(
            f"the view {view} can't be made: expected a file system with symbolic links, "
            f"{project.root} lies on one without ({error.strerror})",
            hint=f"cas path {typed(asset.name)} is where it lies; cas export copies it",
        )
    return CasError(
        f"the view {view} can't be made: {error.strerror} ({error.filename})", hint=remedy(error)
    )


def sync_views(project: Project, names: Iterable[str]) -> None:
    """Make the views that stand durable: who made them may have been stopped before that."""
    views = [
        view for name in names if os.path.islink(os.path.join(project.root, view := view_of(name)))
    ]
    sync_all((d for view in views for d in parents_of(project.root, view)), on=project.root)


def sweep_project(project: Project, names: Iterable[str] = ()) -> None:
    """Remove what killed commands left beside the project's files, and beside these views."""
    views = [view_of(name) for name in names]
    inside = {os.path.dirname(v) for v in views if look(project.root, v).state != "outside"}
    for directory in ("", "assets", "assets/.cas", *sorted(inside)):
        sweep(os.path.join(project.root, directory))
    if look(project.root, "assets/.cas/edited").state != "outside":
        project.tidy_edited()


def unlink_view(project: Project, name: str) -> str | None:
    """Remove the view of an asset if it is ours; return what is there instead, if anything."""
    view = view_of(name)
    lies = look(project.root, view)
    if lies.state == "absent":  # who removed it may have been stopped before that was durable
        above = next(d for d in parents_of(project.root, view) if os.path.isdir(d))
        sync_all([above], on=project.root)
    if lies.state == "link":
        path = os.path.join(project.root, view)
        os.unlink(path)
        parent = os.path.dirname(path)
        sync_all([parent], on=project.root)
        top = os.path.join(project.root, "assets")
        while os.path.dirname(parent) != top and parent != top:
            try:
                os.rmdir(parent)
            except OSError:
                break
            parent = os.path.dirname(parent)
        return None
    return None if lies.state == "absent" else view


def _visible(project: Project, store: str) -> bool:
    """Say whether a store is here; the user's own ones are, also where removed by hand."""
    return os.path.exists(os.path.join(store, "VERSION")) or project.stores.fills(store)
