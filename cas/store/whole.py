"""Whole: whether a tree stands as its listing and its sidecar say, and that it is in use."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cas.digest import Digest, hash_path
from cas.files import replace
from cas.store import index
from cas.store.damage import mark_bad
from cas.store.reading import read_listing
from cas.store.sidecar import LOCAL, Sidecar, read_sidecar
from cas.warm import is_marked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Set

    from cas.listing import Listing
    from cas.store.layout import Store

__all__ = ["files_in", "mtimes", "mtimes_fit", "names_differ", "note_use", "standing", "walk"]

USE_NOTED = 86400  # seconds between two marks of a tree's use


def standing(store: Store, digest: Digest) -> tuple[Sidecar | None, str]:
    """Look whether a tree stands whole: (its sidecar, ``""``) or (None, why not).

    Its directories' mtimes are compared with the recorded ones. Where one differs, names and
    sizes are compared with the listing, once, and recorded; where the sidecar is lost, what
    the index does not know is hashed, for nothing says which sizes are right.
    """
    path = store.tree(digest)
    if not os.path.isdir(path):
        return None, "it is not in the store"
    if is_marked(path):
        return None, "damage was found in it"
    sidecar = read_sidecar(store, digest)
    if sidecar and mtimes_fit(path, sidecar):
        return _believed(store, digest, sidecar)
    listing = read_listing(store, digest)
    if listing is None:
        return None, "its listing is lost"
    try:
        directories = mtimes(path, listing)  # first: what goes from now on is seen next time
        found = walk(path)
    except OSError as error:
        return None, f"it can't be read: {error.strerror} ({error.filename})"
    if why := names_differ(listing, found.keys()):
        return None, why
    sizes = tuple(found[entry.path].st_size for entry in listing)
    if sidecar:
        wrong = [e.path for e, a, b in zip(listing, sizes, sidecar.sizes, strict=False) if a != b]
        if len(sidecar.sizes) != len(sizes):
            wrong = [listing.entries[0].path]
    else:
        wrong = _unknown(store, listing, path, found)
    if wrong:
        return None, f"{len(wrong)} of its files are not as they were, as {wrong[0]!r}"
    sidecar = Sidecar(
        origin=sidecar.origin if sidecar else LOCAL,
        size=sum(sizes),
        sizes=sizes,
        directories=directories,
    )
    if not store.readonly:
        try:
            replace(path + ".json", sidecar.data(digest), mode=0o444)
        except OSError:
            pass  # another user's tree: it is compared again next time
    return _believed(store, digest, sidecar)


def _believed(store: Store, digest: Digest, sidecar: Sidecar) -> tuple[Sidecar | None, str]:
    """Return what ``standing`` does for a whole tree, which another user may have made."""
    if store.trust == "all":
        return sidecar, ""
    from cas.store.trust import why_not_yet

    why, wrong = why_not_yet(store, digest)
    if wrong:
        mark_bad(store, digest, why)
    return (None, why) if why else (sidecar, "")


def names_differ(listing: Listing, found: Set[str]) -> str:
    """Return which files are missing in a tree, or not its own, or ``""``."""
    expected = {entry.path for entry in listing}
    if missing := expected - found:
        return f"{len(missing)} of its files are missing, as {min(missing)!r}"
    if extra := found - expected:
        return f"{len(extra)} files are in it that are not its own, as {min(extra)!r}"
    return ""


def _unknown(
    store: Store, listing: Listing, path: str, found: Mapping[str, os.stat_result]
) -> list[str]:
    """Return the files whose bytes neither the index nor their hash vouches for."""
    remembered = index.known(store, (entry.digest for entry in listing))
    wrong = []
    for name, wanted in listing:
        entry = remembered.get(wanted)
        if entry and entry.fits(found[name]):
            continue
        try:
            same = hash_path(os.path.realpath(os.path.join(path, name))).sha256 == wanted
        except OSError:
            same = False
        if not same:
            wrong.append(name)
    return wrong


def walk(path: str) -> dict[str, os.stat_result]:
    """Return every file below *path* with its lstat, links followed only to objects of ours."""
    found: dict[str, os.stat_result] = {}
    for name, entry in files_in(path):
        try:
            found[name] = entry.stat()
        except OSError:
            found[name] = entry.stat(follow_symlinks=False)
    return found


def files_in(path: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield what is below *path* and no directory: its name from there on, and its entry."""
    todo = [""]
    while todo:
        inner = todo.pop()
        with os.scandir(os.path.join(path, inner)) as entries:
            for entry in entries:
                name = f"{inner}/{entry.name}" if inner else entry.name
                if entry.is_dir(follow_symlinks=False):
                    todo.append(name)
                else:
                    yield name, entry


def note_use(store: Store, digest: Digest, now: float) -> None:
    """Mark that a tree is in use, at most once a day; one that can't be marked is no error."""
    if store.readonly:
        return
    path = store.tree(digest) + ".used"
    try:
        if now - os.stat(path).st_mtime < USE_NOTED:
            return
    except OSError:
        pass
    try:
        try:
            os.utime(path, follow_symlinks=False)
        except FileNotFoundError:  # not by O_CREAT alone: protected_regular forbids that
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(path, flags, 0o644)
            if store.shared:  # whoever uses the tree can say so to its owner's gc
                os.fchmod(fd, 0o664)
            os.close(fd)
    except OSError:
        pass


def mtimes(path: str, listing: Listing) -> dict[str, int]:
    """Return the mtime_ns of each directory of a tree, as a sidecar records them."""
    return {
        name: os.stat(os.path.join(path, name) if name else path).st_mtime_ns
        for name in listing.directories()
    }


def mtimes_fit(path: str, sidecar: Sidecar) -> bool:
    """Say whether the directories of a tree have the mtimes that its sidecar records."""
    try:
        return all(
            os.stat(f"{path}/{name}" if name else path).st_mtime_ns == mtime
            for name, mtime in sidecar.directories.items()
        )
    except OSError:
        return False
