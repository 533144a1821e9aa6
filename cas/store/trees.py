"""Trees: directories of hard links to objects, one a listing, named by it.

A tree is built beside its final name, made read-only, synced, described by its sidecar and
renamed in whole. Its identity is the listing; the sidecar says where it came from and how
it stood, and can be lost: it is written again from what stands there.
"""

from __future__ import annotations

import errno
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cas.digest import Digest, hash_path
from cas.errors import CasError, StoreError
from cas.files import copy_file, discard, reflink, remove_tree, replace, sync_all, temporary_name
from cas.listing import Listing, tree_id
from cas.store.objects import Vanished, read_listing

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from cas.store.layout import Store

__all__ = [
    "LOCAL",
    "Sidecar",
    "build",
    "mend",
    "note_use",
    "read_sidecar",
    "remove",
    "standing",
    "walk",
]

COPY_UP_TO = 64 << 20  # bytes; above it a file that can't be linked becomes a relative symlink
USE_NOTED = 86400  # seconds between two marks of a tree's use
_NO_LINK = (errno.EPERM, errno.EMLINK, errno.EXDEV, errno.ENOTSUP, errno.ENOSYS, errno.EACCES)

LOCAL: Mapping[str, Any] = {"local": True}
"""The origin of a local import, and of a tree whose sidecar was lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """What a tree is."""

    origin: Mapping[str, Any]
    """``{"hub": …}``, ``{"recipe": …}`` or ``{"local": true}``."""
    size: int
    """bytes in all"""
    sizes: tuple[int, ...]
    """bytes of each file, in the order of the listing"""
    directories: Mapping[str, int] = field(default_factory=dict)
    """Directory relative to the tree (``""`` first) → mtime_ns."""

    def data(self, digest: Digest) -> bytes:
        """Return the text of the sidecar of that tree."""
        table = {
            "version": 1,
            "tree": tree_id(digest),
            "origin": dict(self.origin),
            "files": len(self.sizes),
            "size": self.size,
            "sizes": list(self.sizes),
            "directories": dict(self.directories),
        }
        return json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def read_sidecar(store: Store, digest: Digest) -> Sidecar | None:
    """Return the sidecar of a tree, or None if it is lost or unreadable."""
    try:
        with open(store.tree(digest) + ".json", "rb") as file:
            table = json.loads(file.read())
        sizes = table["sizes"]
        directories = table["directories"]
        if (
            table["version"] != 1
            or table["tree"] != tree_id(digest)
            or not isinstance(table["origin"], dict)
            or not all(type(size) is int and size >= 0 for size in sizes)
            or not all(type(mtime) is int for mtime in directories.values())
            or table["size"] != sum(sizes)
            or "" not in directories
        ):
            return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return Sidecar(
        origin=table["origin"], size=table["size"], sizes=tuple(sizes), directories=directories
    )


def standing(store: Store, digest: Digest) -> tuple[Sidecar | None, str]:
    """Look whether a tree stands whole: (its sidecar, ``""``) or (None, why not).

    Its directories' mtimes are compared with the recorded ones. Where one differs, or the
    sidecar is lost, names and sizes are compared with the listing, once, and recorded.
    """
    path = store.tree(digest)
    if not os.path.isdir(path):
        return None, "it is not in the store"
    if os.path.lexists(path + ".bad"):
        return None, "damage was found in it"
    sidecar = read_sidecar(store, digest)
    if sidecar and _mtimes_fit(path, sidecar):
        return sidecar, ""
    listing = read_listing(store, digest)
    if listing is None:
        return None, "its listing is lost"
    found = walk(path)
    expected = {entry.path for entry in listing}
    if missing := expected - found.keys():
        return None, f"{len(missing)} of its files are missing, as {min(missing)!r}"
    if extra := found.keys() - expected:
        return None, f"{len(extra)} files are in it that are not its own, as {min(extra)!r}"
    sizes = tuple(found[entry.path].st_size for entry in listing)
    if sidecar and (wrong := [e.path for e, a, b in zip(listing, sizes, sidecar.sizes, strict=False)
                              if a != b]):  # fmt: skip
        return None, f"{len(wrong)} of its files have another size, as {wrong[0]!r}"
    sidecar = Sidecar(
        origin=sidecar.origin if sidecar else LOCAL,
        size=sum(sizes),
        sizes=sizes,
        directories=_mtimes(path, listing),
    )
    if not store.readonly:
        try:
            replace(path + ".json", sidecar.data(digest), mode=0o444)
        except OSError:
            pass  # another user's tree: it is compared again next time
    return sidecar, ""


def build(
    store: Store, listing: Listing, origin: Mapping[str, Any], *, single: bool = False
) -> tuple[str, Sidecar]:
    """Make the tree of *listing* unless it stands, and return its path and sidecar.

    A tree that stands damaged is replaced. *single*: its one file is a view's target by
    itself, so it never becomes a symlink.

    Raises:
        Vanished: an object that was there is gone; start the call again.
    """
    digest = listing.digest
    final = store.tree(digest)
    sidecar, _ = standing(store, digest)
    if sidecar:
        return final, sidecar
    store.need_writable()
    parent = os.path.dirname(final)
    store.make_dir(store.place("trees"))
    store.make_dir(parent)
    work = os.path.join(parent, temporary_name())
    try:
        copies, sizes = _fill(store, listing, work, single=single)
        directories = [os.path.join(work, name) if name else work for name in listing.directories()]
        for directory in reversed(directories):
            os.chmod(directory, 0o555)
        sync_all([*copies, *directories], on=store.root)
        sidecar = Sidecar(
            origin=origin, size=sum(sizes), sizes=sizes, directories=_mtimes(work, listing)
        )
        replace(final + ".json", sidecar.data(digest), mode=0o444)
        _put(work, final)
    finally:
        discard(work)
    discard(final + ".bad")
    sync_all([parent, store.place("trees")], on=store.root)
    if not _mtimes_fit(final, sidecar):  # theirs was first, and is kept
        other, why = standing(store, digest)
        if other is None:
            raise StoreError(f"tree {tree_id(digest)} does not stand: {why}")
        sidecar = other
    return final, sidecar


def mend(
    store: Store, listing: Listing, renew: Container[Digest], origin: Mapping[str, Any]
) -> None:
    """Make a standing tree what its listing says, file by file, so that readers keep it.

    Files whose objects are in *renew*, that are missing, or that are neither their object's
    inode nor its bytes are put again by rename; what is not its own is taken out.
    Raises Vanished if an object is not here.
    """
    digest = listing.digest
    tree = store.tree(digest)
    if not os.path.isdir(tree):
        build(store, listing, origin)
        return
    found = walk(tree)
    directories = [os.path.join(tree, name) if name else tree for name in listing.directories()]
    for directory in directories:
        if not os.path.isdir(directory):
            discard(directory)
            os.makedirs(directory, exist_ok=True)
        os.chmod(directory, 0o755)
    sizes = []
    try:
        for path, wanted in listing:
            where = os.path.join(tree, path)
            if wanted in renew or path not in found or not _is_object(store, where, wanted):
                _put_again(store, tree, where, path, wanted)
            sizes.append(os.stat(where).st_size)
        for path in found.keys() - {entry.path for entry in listing}:
            discard(os.path.join(tree, path))
    finally:
        for directory in reversed(directories):
            os.chmod(directory, 0o555)
    sync_all(directories, on=store.root)
    old = read_sidecar(store, digest)
    sidecar = Sidecar(
        origin=old.origin if old else origin,
        size=sum(sizes),
        sizes=tuple(sizes),
        directories=_mtimes(tree, listing),
    )
    replace(tree + ".json", sidecar.data(digest), mode=0o444)
    discard(tree + ".bad")
    sync_all([os.path.dirname(tree)], on=store.root)


def _put_again(store: Store, tree: str, where: str, path: str, wanted: Digest) -> None:
    work = os.path.join(os.path.dirname(tree), temporary_name())
    try:
        _link(store, wanted, work, path, single=True)
        sync_all([work], on=store.root)
        if os.path.isdir(where) and not os.path.islink(where):
            discard(where)
        os.replace(work, where)
    finally:
        discard(work)


def _is_object(store: Store, where: str, wanted: Digest) -> bool:
    try:
        ours, its = os.stat(where), os.stat(store.object(wanted))
        if (ours.st_ino, ours.st_dev) == (its.st_ino, its.st_dev):
            return True
        return hash_path(os.path.realpath(where)).sha256 == wanted
    except OSError:
        return False


def walk(path: str) -> dict[str, os.stat_result]:
    """Return every file below *path* with its lstat, links followed only to objects of ours."""
    found: dict[str, os.stat_result] = {}
    todo = [""]
    while todo:
        inner = todo.pop()
        with os.scandir(os.path.join(path, inner)) as entries:
            for entry in entries:
                name = f"{inner}/{entry.name}" if inner else entry.name
                if entry.is_dir(follow_symlinks=False):
                    todo.append(name)
                    continue
                try:
                    found[name] = entry.stat()
                except OSError:
                    found[name] = entry.stat(follow_symlinks=False)
    return found


def note_use(store: Store, digest: Digest, now: float) -> None:
    """Mark that a tree is in use, at most once a day; one that can't be marked is no error."""
    path = store.tree(digest) + ".used"
    try:
        if now - os.stat(path).st_mtime < USE_NOTED:
            return
    except OSError:
        pass
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        os.close(fd)
        os.utime(path)
    except OSError:
        pass


def mark_bad(store: Store, digest: Digest, reason: str) -> None:
    """Mark that damage was found in a tree; ``standing`` refuses it until it is repaired."""
    if store.readonly is None:
        replace(store.tree(digest) + ".bad", reason.encode() + b"\n", mode=0o644)


def remove(store: Store, digest: Digest) -> None:
    """Take a tree away whole: renamed to a temporary name first, then emptied."""
    path = store.tree(digest)
    work = os.path.join(os.path.dirname(path), temporary_name())
    try:
        os.rename(path, work)
    except FileNotFoundError:
        pass
    else:
        remove_tree(work)
    for end in (".json", ".used", ".bad"):
        discard(path + end)


def listing_of(path: str) -> Listing:
    """Hash every file of a standing tree and return the listing it has; raise CasError."""
    return Listing.of((name, hash_path(os.path.join(path, name)).sha256) for name in walk(path))


def rebuilt_listing(store: Store, digest: Digest) -> Listing | None:
    """Return the listing of a standing tree by hashing it, if it is that tree's."""
    try:
        listing = listing_of(store.tree(digest))
    except (OSError, CasError):
        return None
    return listing if listing.digest == digest else None


def _fill(
    store: Store, listing: Listing, work: str, *, single: bool
) -> tuple[list[str], tuple[int, ...]]:
    """Make the tree at *work*, writable; return the files that are copies, and all sizes."""
    os.mkdir(work, 0o700)
    for name in listing.directories()[1:]:
        os.mkdir(os.path.join(work, name), 0o700)
    copies = []
    sizes = []
    for path, digest in listing:
        target = f"{work}/{path}"
        if _link(store, digest, target, path, single=single):
            copies.append(target)
        sizes.append(os.stat(target).st_size)
    return copies, tuple(sizes)


_EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def _link(store: Store, digest: Digest, target: str, path: str, *, single: bool) -> bool:
    """Make *target* the object: hard link, reflink, copy, symlink; say whether it is a copy."""
    source = store.object(digest)
    if digest == _EMPTY:  # the one object that every tree may hold: links to it run out
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
        os.chmod(target, 0o444)
        return True
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise Vanished(f"object {digest} ({path!r}) went while its tree was made") from None
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
    else:
        return False
    if reflink(source, target) or single or os.stat(source).st_size <= COPY_UP_TO:
        if not os.path.exists(target):
            copy_file(source, target)
        os.chmod(target, 0o444)
        return True
    os.symlink(os.path.relpath(source, os.path.dirname(target)), target)
    return False


def _put(work: str, final: str) -> None:
    """Rename *work* to *final*; where a whole tree is there, keep it, else replace it."""
    for _ in range(3):
        try:
            os.rename(work, final)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            if not os.path.lexists(final + ".bad") and _same_names(work, final):
                return
            aside = os.path.join(os.path.dirname(final), temporary_name())
            try:
                os.rename(final, aside)
            except FileNotFoundError:
                continue
            discard(aside)
        else:
            return


def _same_names(work: str, final: str) -> bool:
    ours, theirs = walk(work), walk(final)
    return ours.keys() == theirs.keys() and all(
        status.st_size == theirs[name].st_size for name, status in ours.items()
    )


def _mtimes(path: str, listing: Listing) -> dict[str, int]:
    return {
        name: os.stat(os.path.join(path, name) if name else path).st_mtime_ns
        for name in listing.directories()
    }


def _mtimes_fit(path: str, sidecar: Sidecar) -> bool:
    try:
        return all(
            os.stat(f"{path}/{name}" if name else path).st_mtime_ns == mtime
            for name, mtime in sidecar.directories.items()
        )
    except OSError:
        return False
