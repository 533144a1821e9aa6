"""Views: what lies where the view of an asset goes.

A view is a symlink whose target ends in ``/trees/ab/<62 hex>[/file]``, of any store. Anything
else there is the user's own, and is left alone. The way to it is walked without following a
link out of the project: a checkout is not trusted.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from cas.errors import ViewBlocked
from cas.files import fsync_dir
from cas.warm import tree_of_link

__all__ = ["View", "leads_out", "look", "make_parents", "parents_of"]

State = Literal["absent", "link", "foreign link", "file", "directory", "outside"]


@dataclass(frozen=True, slots=True)
class View:
    """What lies at one place under ``assets/``."""

    state: State
    target: str = ""
    """What a link says; ``outside``: the link on the way that leaves the project."""
    store: str = ""
    """The store that a link of ours leads to."""
    tree: str = ""
    """The digest of the tree that a link of ours leads to."""

    @property
    def replaceable(self) -> bool:
        """Whether a pull may put its link here."""
        return self.state in ("absent", "link")


def look(root: str, view: str) -> View:
    """Return what lies at *view* (relative to the project at *root*)."""
    path = os.path.join(root, view)
    if outside := _way_out(root, view):
        return View("outside", target=outside)
    try:
        target = os.readlink(path)
    except FileNotFoundError:
        return View("absent")
    except NotADirectoryError:
        return View("file")
    except OSError:
        return View("directory" if os.path.isdir(path) else "file")
    split = tree_of_link(target)
    if split is None:
        return View("foreign link", target=target)
    store, tree, _ = split
    return View("link", target=target, store=store, tree=tree)


def parents_of(root: str, view: str) -> list[str]:
    """Return the directories above *view*, lowest first, up to the project's own."""
    parts = view.split("/")[:-1]
    return [os.path.join(root, *parts[:count]) for count in range(len(parts), -1, -1)]


def make_parents(root: str, view: str) -> None:
    """Make the directories above *view*, durably.

    Raises ViewBlocked where a file or a link that leaves the project is in the way.
    """
    if outside := _way_out(root, view):
        raise leads_out(outside)
    for path in reversed(parents_of(root, view)[:-1]):
        try:
            os.mkdir(path)
            fsync_dir(os.path.dirname(path))
        except FileExistsError:
            if not os.path.isdir(path):
                raise ViewBlocked(
                    f"{os.path.relpath(path, root)!r} is a file, expected a directory",
                    hint=f"mv {os.path.relpath(path, root)} elsewhere",
                ) from None


def leads_out(link: str) -> ViewBlocked:
    """Return the error for a link on the way to a view that leaves the project."""
    return ViewBlocked(
        f"{link!r} is a link that leads out of the project, so no view is made below it",
        hint=f"rm {link}",
    )


def _way_out(root: str, view: str) -> str:
    """Return the first link on the way to *view* that leaves the project, or ``""``."""
    path = root
    for part in view.split("/")[:-1]:
        path = os.path.join(path, part)
        if os.path.islink(path):
            real = os.path.realpath(path)
            if real != root and not real.startswith(root.rstrip("/") + "/"):
                return os.path.relpath(path, root)
    return ""
