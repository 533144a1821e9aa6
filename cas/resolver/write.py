"""Write pyproject.toml and assets.lock: changes are applied to what the files say now.

Under the project's mutex both are read again, so two writers lose nothing; each is written
to a temporary file, synced and renamed, and left alone when nothing changed.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cas import lockfile
from cas.errors import LockfileError, remedy
from cas.files import fsync_dir, replace
from cas.installer.link import sweep_project
from cas.project.requests import edit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from cas.lockfile import Asset, Lockfile
    from cas.project import Project
    from cas.request import Request

__all__ = ["change_lock", "change_requests", "check_writable", "one_writer"]

WAIT = 60  # seconds that a writer waits for another


@contextmanager
def one_writer(project: Project) -> Iterator[None]:
    """Be the only writer of the project's files on this machine; raise LockfileError."""
    import filelock

    try:
        with filelock.FileLock(project.mutex(), timeout=WAIT):
            sweep_project(project)
            yield
    except filelock.Timeout:
        raise LockfileError(
            f"another command has been writing {project.root}'s files for {WAIT} s",
            hint="try again when it has ended",
        ) from None


def check_writable(project: Project) -> None:
    """Raise LockfileError if the project's files can't be written; ask before any work."""
    if project.past:
        raise LockfileError(
            "the project is seen as an experiment had it (cas run --at), so nothing is locked",
            hint="the same command outside of cas run --at",
        )
    if os.path.islink(project.lock_path):
        raise LockfileError(
            f"{project.lock_path} is a symlink, so it was not written",
            hint="cp --remove-destination $(readlink -f assets.lock) assets.lock",
        )
    if not os.access(project.root, os.W_OK):
        raise LockfileError(f"{project.root} can't be written: permission denied")


def change_lock(
    project: Project,
    new: Iterable[Asset] = (),
    *,
    without: Iterable[str] = (),
    whole: Lockfile | None = None,
) -> bool:
    """Put pins into assets.lock and take some out; say whether it changed.

    *whole* replaces what is there first (a merge of conflict markers). Call it as the one
    writer. Raises LockfileError if the file is a symlink or can't be written.
    """
    check_writable(project)
    before = project.lock_bytes()
    now = whole if whole is not None else lockfile.parse(before)
    after = now.with_assets(new, without=without).text().encode()
    if after == before:
        fsync_dir(project.root)  # whoever wrote it may have been killed before that
        return False
    lockfile.parse(after)  # what is written must read back
    try:
        replace(project.lock_path, after)
    except OSError as error:
        raise LockfileError(
            f"{project.lock_path} can't be written: {error.strerror}", hint=remedy(error)
        ) from None
    return True


def change_requests(project: Project, changes: Mapping[str, Request | None]) -> bool:
    """Put requests into pyproject.toml, or (None) take them out; say whether it changed.

    Comments and order stay. Call it as the one writer.
    """
    before = project.requests_bytes()
    after = edit(before, changes)
    if after == before:
        fsync_dir(project.root)
        return False
    path = os.path.realpath(os.path.join(project.root, "pyproject.toml"))
    try:
        replace(path, after)
    except OSError as error:
        raise LockfileError(
            f"{path} can't be written: {error.strerror}", hint=remedy(error)
        ) from None
    return True
