"""What must hold after any stop, read from the files as `docs/format.md` says they are.

Nothing of cas is used here: a store is judged by hashes, names and modes alone.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .box import Box

HEX62 = re.compile(r"[0-9a-f]{62}")
HEADER = b"# cas-tree 1\n"
OURS = ("assets.lock", "pyproject.toml", ".gitignore")


@dataclass(slots=True)
class Seen:
    """A box as it stands."""

    lock: bytes | None = None
    requests: bytes | None = None
    names: dict[str, str] = field(default_factory=dict)
    """Everything a person sees in the project: path → ``-> target`` or the SHA-256."""
    objects: dict[str, str] = field(default_factory=dict)
    """Digest → what is wrong with it, or ``""``."""
    trees: dict[str, str] = field(default_factory=dict)
    """Digest of the listing → what is wrong with the tree, or ``""``."""
    listings: dict[str, set[str]] = field(default_factory=dict)
    """Digest of the listing → the digests of the tree's files."""
    left: list[str] = field(default_factory=list)
    """Temporary names, partials and announcements."""

    @property
    def good(self) -> set[str]:
        """The trees that stand complete."""
        return {tree for tree, wrong in self.trees.items() if not wrong}


def look(box: Box) -> Seen:
    """Read a box; raise nothing."""
    seen = Seen()
    seen.lock = _bytes(box.project / "assets.lock")
    seen.requests = _bytes(box.project / "pyproject.toml")
    _look_at_project(box.project, seen)
    hashes: dict[int, str] = {}
    for path in _below(box.store / "objects"):
        _look_at_object(path, box.store, seen, hashes)
    trees = box.store / "trees"
    for prefix in sorted(trees.iterdir()) if trees.is_dir() else ():
        for path in sorted(prefix.iterdir()):
            if HEX62.fullmatch(path.name):
                _look_at_tree(path, seen, hashes)
    for room in ("staging", "roots"):
        for path in _below(box.store / room):
            if path.name != "root.json" and not path.name.startswith(".cas-"):
                seen.left.append(str(path.relative_to(box.root)))
    for directory, inside, files in os.walk(box.root):
        for name in (*inside, *files):
            if name.startswith(".cas-"):
                seen.left.append(os.path.relpath(os.path.join(directory, name), box.root))
    return seen


def problems(box: Box, before: Seen, now: Seen, after: Seen | None) -> list[str]:
    """Return the invariants that *now* breaks; *after* is how an undisturbed run leaves it."""
    found = []
    for digest, wrong in now.objects.items():
        if wrong and not before.objects.get(digest):
            found.append(f"I1: object {digest[:12]} {wrong}")
    for tree, wrong in now.trees.items():
        if wrong and not before.trees.get(tree):
            found.append(f"I2: tree {tree[:12]} {wrong}")
        elif not wrong and tree not in now.objects and tree in before.objects:
            found.append(f"I8: tree {tree[:12]} stands and its listing went")
    found += _views(box, before, now, after)
    for what in ("lock", "requests"):
        bytes_now = getattr(now, what)
        if bytes_now not in (getattr(before, what), getattr(after, what) if after else None):
            found.append(f"I4: {what} is neither the old nor the new text")
    if after and (half := _half_made(before, now, after)):
        found.append(f"I2: {half}")
    found += _pins(before, now)
    found += _user_files(before, now)
    return found


def differences(now: Seen, after: Seen, *, objects: bool = False) -> list[str]:
    """Return how a box is not as an undisturbed run leaves it."""
    found = []
    if now.lock != after.lock:
        found.append("assets.lock is another")
    if now.requests != after.requests:
        found.append("pyproject.toml is another")
    for path in sorted({*now.names, *after.names}):
        if now.names.get(path) != after.names.get(path):
            found.append(f"{path}: {now.names.get(path)} instead of {after.names.get(path)}")
    if now.good != after.good:
        gone, more = after.good - now.good, now.good - after.good
        found.append(f"trees: lacks {_short(gone)}, has {_short(more)}")
    if objects and now.objects.keys() != after.objects.keys():
        gone, more = after.objects.keys() - now.objects, now.objects.keys() - after.objects
        found.append(f"objects: lacks {_short(gone)}, has {_short(more)}")
    return found


def pins(lock: bytes | None) -> dict[str, dict[str, object]]:
    """Return the pins of a lock by name."""
    return {pin["name"]: pin for pin in tomllib.loads((lock or b"").decode()).get("asset", [])}


def _views(box: Box, before: Seen, now: Seen, after: Seen | None) -> list[str]:
    found = []
    final = after.names if after else {}
    for path, value in now.names.items():
        if not value.startswith("-> "):
            continue
        if value not in (before.names.get(path), final.get(path)):
            found.append(f"I3: {path} leads to neither the old nor the new tree")
        tree = _tree_of(box, value[3:])
        wrong = now.trees.get(tree, "is not there") if tree else "is no tree"
        was = before.trees.get(tree, "is not there") if tree else "is no tree"
        if wrong and not (value == before.names.get(path) and was):
            found.append(f"I3: view {path}: its tree {wrong}")
    for path, value in before.names.items():
        if value.startswith("-> ") and path not in now.names and path in final:
            found.append(f"I3: view {path} went")
    return found


def _pins(before: Seen, now: Seen) -> list[str]:
    try:
        pinned = pins(now.lock)
        tomllib.loads((now.requests or b"").decode())
    except (ValueError, KeyError) as error:
        return [f"I4: assets.lock or pyproject.toml can't be parsed: {error}"]
    found = []
    old = pins(before.lock)
    for name, pin in pinned.items():
        tree = str(pin["tree"]).removeprefix("t1:")
        stood = not before.trees.get(tree, "is not there")
        local = "local" in pin["request"] and old.get(name, {}).get("tree") != pin["tree"]
        if (stood or local) and tree not in now.good:
            found.append(f"I4: {name} is locked, and its tree {now.trees.get(tree, 'is lost')}")
    return found


def _half_made(before: Seen, now: Seen, after: Seen) -> str:
    """Return what of the files that a command makes in the project is there in part, or ``""``."""
    aside = {*before.names, "assets/.gitignore"}  # it names what is edited, and is made before
    made = {p: v for p, v in after.names.items() if p not in aside and v[:2] != "->"}
    there = {p: v for p, v in now.names.items() if p not in aside and v[:2] != "->"}
    if there and there != made:
        return f"{len(there)} files were made, of {len(made)} (as {min(there)})"
    return ""


def _user_files(before: Seen, now: Seen) -> list[str]:
    """A person's bytes are where they were, or in a tree that the lock names."""
    try:
        trees = {str(pin["tree"]).removeprefix("t1:") for pin in pins(now.lock).values()}
    except (ValueError, KeyError):
        trees = set()
    kept = set().union(*(now.listings.get(tree, set()) for tree in trees & now.good))
    return [
        f"lost: {path}, which was a person's own"
        for path, value in before.names.items()
        if not value.startswith("-> ") and now.names.get(path) != value and value not in kept
        if path != "assets/.gitignore"  # cas notes in it what is being edited
    ]


def _look_at_project(project: Path, seen: Seen) -> None:
    for directory, inside, files in os.walk(project):
        inside[:] = sorted(n for n in inside if n != ".cas" and not n.startswith(".cas-"))
        for name in sorted((*inside, *files)):
            path = os.path.join(directory, name)
            shown = os.path.relpath(path, project)
            if name.startswith(".cas-"):
                continue
            if os.path.islink(path):
                seen.names[shown] = f"-> {os.readlink(path)}"
            elif name in files and shown not in OURS:
                seen.names[shown] = _hash(path)


def _look_at_object(path: Path, store: Path, seen: Seen, hashes: dict[int, str]) -> None:
    digest = "".join(path.relative_to(store / "objects").parts)
    if path.name.startswith(".cas-"):
        return
    status = path.lstat()
    if not re.fullmatch(r"[0-9a-f]{64}", digest) or not stat.S_ISREG(status.st_mode):
        seen.objects[digest] = "has no object's name"
    elif _cached(path, status, hashes) != digest:
        seen.objects[digest] = f"has other bytes ({status.st_size} of them)"
    elif stat.S_IMODE(status.st_mode) != 0o444:
        seen.objects[digest] = f"has mode {stat.S_IMODE(status.st_mode):o}"
    else:
        seen.objects[digest] = ""


def _look_at_tree(path: Path, seen: Seen, hashes: dict[int, str]) -> None:
    digest = path.parent.name + path.name
    entries, wrong = [], ""
    for directory, _, files in os.walk(path):
        if stat.S_IMODE(os.lstat(directory).st_mode) != 0o555:
            wrong = "has a directory of another mode"
        for name in files:
            file = Path(directory, name)
            status = file.stat()
            if stat.S_IMODE(status.st_mode) != 0o444:
                wrong = f"has a file of mode {stat.S_IMODE(status.st_mode):o}"
            relative = str(file.relative_to(path)).encode()
            entries.append((relative, _cached(file, status, hashes)))
    lines = b"".join(b"%s  %s\n" % (sha256.encode(), name) for name, sha256 in sorted(entries))
    if hashlib.sha256(HEADER + lines).hexdigest() != digest:
        wrong = f"is not complete, or not as it was ({len(entries)} files)"
    seen.trees[digest] = wrong
    seen.listings[digest] = {sha256 for _, sha256 in entries}


def _tree_of(box: Box, target: str) -> str | None:
    try:
        parts = Path(target).relative_to(box.store / "trees").parts
    except ValueError:
        return None
    return "".join(parts[:2]) if len(parts) >= 2 else None


def _cached(path: Path, status: os.stat_result, hashes: dict[int, str]) -> str:
    if status.st_ino not in hashes:
        hashes[status.st_ino] = _hash(path)
    return hashes[status.st_ino]


def _hash(path: str | Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _below(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if not p.is_dir()) if path.is_dir() else []


def _short(digests: set[str]) -> str:
    return " ".join(sorted(digest[:12] for digest in digests)) or "none"
