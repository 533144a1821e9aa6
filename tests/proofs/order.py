"""The order of syncs, read from the trace of one undisturbed command.

What a power cut would find by luck is found here without one: bytes that got their name
before they were synced (I2), a view that moved before the names of its tree were durable
(I3), a lock before what it names (I4), and names that nobody synced by exit 0 (I6).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .box import Box
    from .shim import Call

_WRITES = ("write", "pwrite", "copy", "clone", "truncate", "allocate", "chmod")
_ROOMS = ("objects", "trees")


@dataclass(slots=True)
class _Disk:
    """What of a box would be lost by a cut, as the trace goes on."""

    dirty: dict[int, int] = field(default_factory=dict)
    """Inode → the call that changed its bytes or mode last."""
    synced: dict[int, int] = field(default_factory=dict)
    names: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Directory → the call that made a name in it last, and the name."""
    made: set[str] = field(default_factory=set)
    """Paths that this command created."""
    inodes: dict[str, int] = field(default_factory=dict)
    whole: int = -1
    """The last syncfs."""

    def is_synced(self, inode: int) -> bool:
        last = max(self.synced.get(inode, -1), self.whole)
        return last > self.dirty.get(inode, -1) and last >= 0


def missing_syncs(box: Box, calls: tuple[Call, ...]) -> tuple[int, list[str]]:
    """Return how many names were published in a trace, and what was not synced in time."""
    disk, found, published = _Disk(), [], 0
    for at, call in enumerate(calls):
        if call.result < 0 or _inside(call.path, box.root / "home"):
            continue
        if call.kind in ("link", "rename") and _room(box, call.other):
            published += 1
            found += [f"{one} before {call}" for one in _unsynced(box, disk, call)]
        _apply(box, disk, at, call)
    found += [f"I6: exit 0, and the name {name} was not synced" for _, name in disk.names.values()]
    return published, [one.replace(str(box.root), "") for one in dict.fromkeys(found)]


def _apply(box: Box, disk: _Disk, at: int, call: Call) -> None:
    if call.kind in ("create", "mkdir", "symlink"):
        disk.made.add(call.path)
        disk.inodes[call.path] = call.inode
        disk.dirty.setdefault(call.inode, at)
    if call.kind in _WRITES:
        disk.dirty[call.inode] = at
    if call.kind in ("fsync", "fdatasync"):
        disk.synced[call.inode] = at
        disk.names.pop(call.path, None)
        disk.inodes[call.path] = call.inode
    if call.kind == "syncfs":
        disk.whole = at
        disk.names.clear()
    if call.kind in ("link", "rename", "symlink", "mkdir", "create"):
        name = call.other or call.path
        parent = os.path.dirname(name)
        if parent in disk.inodes:
            disk.dirty[disk.inodes[parent]] = at  # a directory in the making, by its inode
        if _room(box, name) and ".cas-" not in name:
            disk.names[parent] = (at, name)
    if call.kind == "unlink" and _room(box, call.path) == "view" and ".cas-" not in call.path:
        disk.names[os.path.dirname(call.path)] = (at, call.path)
    if call.kind == "rename":
        for path in [p for p in disk.made if _inside(p, call.path)]:
            disk.made.discard(path)
            moved = call.other + path[len(call.path) :]
            disk.made.add(moved)
            disk.inodes[moved] = disk.inodes.pop(path, 0)


def _unsynced(box: Box, disk: _Disk, call: Call) -> list[str]:
    room = _room(box, call.other)
    if ".cas-" in call.other:
        return []
    found = []
    ours = call.path in disk.made and room in (*_ROOMS, "lock", "root")
    if (ours or room == "objects") and not disk.is_synced(call.inode):
        found.append("I2: bytes not synced")
    below = [path for path in disk.made if _inside(path, call.path) and path != call.path]
    found += [
        f"I2: {path} not synced"
        for path in below
        if disk.inodes.get(path) and not disk.is_synced(disk.inodes[path])
    ]
    if room in ("view", "lock"):
        which = "I3" if room == "view" else "I4"
        found += [
            f"{which}: {name} not synced"
            for _, name in disk.names.values()
            if _room(box, name) in _ROOMS
        ]
    return found


def _room(box: Box, path: str) -> str:
    """Return what a final name is: objects, trees, root, view, lock, or ``""``."""
    if _inside(path, box.store):
        parts = os.path.relpath(path, box.store).split("/")
        if parts[0] in _ROOMS:
            return "" if path.endswith((".used", ".bad")) else parts[0]
        return "root" if parts[-1] == "root.json" else ""
    if not _inside(path, box.project):
        return ""
    parts = os.path.relpath(path, box.project).split("/")
    if parts[-1] in ("assets.lock", "pyproject.toml"):
        return "lock"
    return "view" if parts[0] == "assets" and parts[1:2] != [".cas"] else ""


def _inside(path: str, top: str | os.PathLike[str]) -> bool:
    top = os.fspath(top)
    return path == top or path.startswith(top + "/")
