"""Assets in a person's hands: writable copies to edit, and complete ones to take away."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cas.errors import CasError, NotPulled, UsageError, ViewBlocked, remedy, typed
from cas.files import (
    copy_file,
    discard,
    exchange,
    fsync_dir,
    make_dirs,
    sync_all,
    temporary_name,
    umask,
)
from cas.installer.link import sweep_project
from cas.names import view_of
from cas.progress import QUIET
from cas.project import look
from cas.project.views import make_parents
from cas.store import walk

if TYPE_CHECKING:
    from cas.lockfile import Asset
    from cas.progress import Progress
    from cas.project import Project

__all__ = ["edit", "export"]


def edit(project: Project, word: str, *, progress: Progress = QUIET) -> str:
    """Replace the view of an asset by a writable copy, and return its path.

    Raises NotPulled, ViewBlocked.
    """
    asset = project.read_lock().find(word)
    view = view_of(asset.name)
    path = os.path.join(project.root, view)
    sweep_project(project, [asset.name])
    if asset.name in project.edited() and not os.path.islink(path) and os.path.exists(path):
        fsync_dir(os.path.dirname(path))  # an edit that was killed may not have got so far
        return path
    if not look(project.root, view).replaceable:
        raise ViewBlocked(f"{view} is no view of cas's, so it was left alone",
                          hint="cas status")  # fmt: skip
    make_parents(project.root, view)
    work = os.path.join(os.path.dirname(path), temporary_name())
    try:
        _copy(project, asset, work, progress)
        project.set_edited(project.edited() | {asset.name})
        if os.path.islink(path):
            exchange(work, path)  # who reads through the view finds the old one or the copy
        else:
            os.rename(work, path)
    except OSError as error:
        raise CasError(
            f"{view} can't be made writable: {error.strerror} ({error.filename})",
            hint=remedy(error),
        ) from None
    finally:
        discard(work)
    sync_all([os.path.dirname(path)], on=project.root)
    if asset.name not in project.edited():  # a pull beside it saw the view still
        project.set_edited(project.edited() | {asset.name})
    return path


def export(
    project: Project, word: str | None, directory: str, *, progress: Progress = QUIET
) -> list[str]:
    """Make *directory* the tree of an asset, or (None) of all of them by name; return paths.

    The copy is writable, complete and has no links into the store; a single file goes into
    the directory. Refused unless the directory is absent or empty.
    """
    lock = project.read_lock()
    assets = [lock.find(word)] if word is not None else list(lock)
    target = os.path.abspath(directory)
    if os.path.lexists(target) and (not os.path.isdir(target) or os.listdir(target)):
        raise UsageError(f"{directory!r}: expected an absent or empty directory",
                         hint="cas export NAME OTHER_DIR")  # fmt: skip
    for asset in assets:
        if project.tree_of(asset) is None:
            raise NotPulled(f"{asset.name!r} is not here", hint=f"cas pull {typed(asset.name)}")
    there = os.path.isdir(target)  # then it stays: it may be where somebody stands, or a mount
    try:
        make_dirs(os.path.dirname(target))
        work = os.path.join(target if there else os.path.dirname(target), temporary_name())
        os.mkdir(work)
        try:
            paths = [
                _export(project, asset, work, progress, by_name=word is None) for asset in assets
            ]
            if there:
                for name in os.listdir(work):
                    os.rename(os.path.join(work, name), os.path.join(target, name))
            else:
                os.rename(work, target)
        finally:
            discard(work)
        fsync_dir(target)
        fsync_dir(os.path.dirname(target))
    except OSError as error:
        raise CasError(
            f"{directory!r} can't be written: {error.strerror}", hint=remedy(error)
        ) from None
    return [os.path.normpath(os.path.join(target, path)) for path in paths]


def _export(project: Project, asset: Asset, work: str, progress: Progress, *, by_name: bool) -> str:
    """Copy an asset below *work*; return where it is there."""
    place = asset.name if by_name else (asset.file or "")
    made = os.path.join(work, place)
    os.makedirs(os.path.dirname(made), exist_ok=True)
    _copy(project, asset, made, progress)
    return place


def _copy(project: Project, asset: Asset, target: str, progress: Progress) -> None:
    """Copy an asset, shared blocks where it can be, to a new path; writable and synced."""
    found = project.tree_of(asset)
    if found is None:
        raise NotPulled(f"{asset.name!r} is not here", hint=f"cas pull {typed(asset.name)}")
    tree = found[0]
    files = walk(tree)
    progress.begin(f"copy {asset.name}", files=len(files), size=asset.size)
    made = []
    try:
        for name in sorted(files):
            place = target if asset.file else os.path.join(target, name)
            os.makedirs(os.path.dirname(place), exist_ok=True)
            try:
                copy_file(os.path.join(tree, name), place)
            except FileExistsError:  # nobody else writes there
                raise CasError(
                    f"{name!r} has the name of another file of {asset.name!r}: the file system of "
                    f"{os.path.dirname(target)} does not tell them apart",
                    hint=f"cas export {typed(asset.name)} DIR, on another file system",
                ) from None
            except OSError as error:
                raise CasError(
                    f"{place!r} can't be written: {error.strerror}", hint=remedy(error)
                ) from None
            os.chmod(place, 0o666 & ~umask())
            made.append(place)
            progress.advance(files[name].st_size, files=1)
    finally:
        progress.end()
    directories = {os.path.dirname(target)}
    for place in made:
        while (place := os.path.dirname(place)).startswith(target):
            directories.add(place)
    sync_all([*made, *directories], on=os.path.dirname(target))
