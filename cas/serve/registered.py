"""The projects that a store knows of, for ``cas serve --all``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cas.errors import CasError, StoreError
from cas.files import host
from cas.project import Project
from cas.store import read_root, root_ids

if TYPE_CHECKING:
    from cas.lockfile import Lockfile
    from cas.store import Store

__all__ = ["registered"]


def registered(store: Store, first: Project | None) -> list[tuple[Project, Lockfile]]:
    """Return the projects of this machine that the store knows, by path, with their locks.

    Not *first*, and none that another user than its owner named: whoever may write a shared store
    could name there what its owner never meant to show.
    """
    paths = set()
    for drawn in root_ids(store):
        try:
            root = read_root(store, drawn)
            named_by = os.lstat(store.place("roots", f"{drawn}/root.json"))
            if root is None or root.machine != host():
                continue
            if not store.is_foreign(named_by) or named_by.st_uid == os.stat(root.path).st_uid:
                paths.add(root.path)
        except (OSError, StoreError):
            continue  # gone, or damaged: its project's next pull writes it again
    found = []
    for path in sorted(paths - {first.root if first else ""}):
        try:
            project = Project(path)
            found.append((project, project.read_lock()))
        except CasError:
            continue  # moved, removed, or another user's: what it locks is not known
    return found
