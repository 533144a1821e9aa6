"""What must hold of projects and their store while commands race, read by hash from the files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from .oracle import HEADER, Seen, look, pins

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .box import Box


def locked(project: Path) -> dict[str, str]:
    """Return name → digest of the tree that the project's lock names."""
    lock = (project / "assets.lock").read_bytes()
    return {name: str(pin["tree"]).removeprefix("t1:") for name, pin in pins(lock).items()}


def wrong_views(project: Path) -> list[str]:
    """Return which views do not lead to what the lock names, whole; it has been pulled."""
    found = []
    for name, tree in locked(project).items():
        view = project / "assets" / name
        try:
            now = tree_of(view)
        except OSError as error:
            found.append(f"view {project.name}/{name}: {error.strerror}: {_shown(view)}")
            continue
        if now != tree:
            found.append(f"view {project.name}/{name}: {_shown(view)} is {now[:12]}, "
                         f"the lock says {tree[:12]}")  # fmt: skip
    return found


def tree_of(view: Path) -> str:
    """Hash all files of a tree, and return its digest; raise OSError where one is not there."""
    top = os.path.realpath(view, strict=True)
    entries = []
    for directory, _, files in os.walk(top, onerror=_raise):
        for name in files:
            path = os.path.join(directory, name)
            with open(path, "rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            entries.append((os.path.relpath(path, top).encode(), sha256.encode()))
    lines = b"".join(b"%s  %s\n" % (sha256, name) for name, sha256 in sorted(entries))
    return hashlib.sha256(HEADER + lines).hexdigest()


def wrong_store(seen: Seen) -> list[str]:
    """Return which objects and trees are not what their names say."""
    return [
        f"{which} {digest[:12]} {wrong}"
        for which, rows in (("I1: object", seen.objects), ("I2: tree", seen.trees))
        for digest, wrong in rows.items()
        if wrong
    ]


def uncollected(box: Box, projects: Iterable[Path], *, mutexes: bool = True) -> list[str]:
    """Return what a gc without grace left though no lock names it, or took though one does.

    Without mutexes an object's name may have gone while a tree was made of it: the tree has
    the bytes, and ``verify`` finds nothing wrong with it.
    """
    seen = look(box)
    trees = {tree for project in projects for tree in locked(project).values()}
    objects = trees.union(*(seen.listings.get(tree, set()) for tree in trees))
    found = wrong_store(seen) + [f"left: {one}" for one in seen.left]
    found += [f"I8: tree {tree[:12]} is locked, and went" for tree in trees - seen.good]
    needed = objects if mutexes else trees
    found += [f"I8: object {one[:12]} went" for one in needed - seen.objects.keys()]
    found += [f"left: tree {one[:12]}" for one in seen.trees.keys() - trees]
    return found + [f"left: object {one[:12]}" for one in seen.objects.keys() - objects]


def _raise(error: OSError) -> None:
    raise error


def _shown(view: Path) -> str:
    return os.readlink(view) if view.is_symlink() else "no link"
