"""Trust: what another user put into a store is proved before this user uses it first.

Whoever may write a shared store can put wrong bytes under a right name. So each user hashes a
tree that another one made, once, and remembers in his own index how each file was (size, mtime
and inode) and how the tree's directories were (device, inode and ctime, which nobody can set).
From then on it is used where it lies: its owner can still change it later, and ``verify``
finds that. What root made is believed, and so are all stores that only their owner can write
and that the user named.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from cas.digest import Digest, hash_bytes, hash_fd, open_to_read
from cas.progress import human
from cas.store import index
from cas.store.index import Known
from cas.store.reading import read_listing
from cas.store.whole import names_differ, walk

if TYPE_CHECKING:
    from cas.listing import Listing
    from cas.store.layout import Store

__all__ = ["user_name", "why_not_yet"]

THREADS = 8
TOLD_FROM = 64 << 20  # bytes; less is hashed in no time worth a word


def user_name(uid: int) -> str:
    """Return the name of a user, or his number where he has none."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def why_not_yet(store: Store, digest: Digest) -> tuple[str, bool]:
    """Return (why this user can't use a tree that another one made, whether its bytes are wrong).

    Its names are compared with its listing, and every file is hashed that this user did not
    prove before, as it is now; where all are right, that is remembered and ``""`` returned.
    """
    path = store.tree(digest)
    try:
        whose = _whose(store, path)
        if store.trust == "group" or not whose:
            return "", False
        if store.trust == "own":
            return f"{whose}, and the store says trust = 'own'", False
        listing = read_listing(store, digest)
        if listing is None:
            return f"{whose}, and its listing is lost", False
        stamp = _stamp(path, listing)
        if index.vouched(store, digest) == stamp:
            return "", False
        wrong = names_differ(listing, walk(path).keys()) or _wrong(store, path, listing, whose)
        if wrong:
            return f"damage was found in it: {whose}, and {wrong}", True
        if _stamp(path, listing) == stamp:
            index.vouch(store, digest, stamp)
    except OSError as error:
        return f"it can't be read: {error.strerror} ({error.filename})", False
    return "", False


def _whose(store: Store, path: str) -> str:
    """Return which other user put a tree there, or could have; ``""`` where none could."""
    status = os.lstat(path)
    if store.is_foreign(status):
        return f"user {user_name(status.st_uid)} put it there"
    above = os.lstat(os.path.dirname(path))  # who owns it can give a tree of mine another name
    if store.is_foreign(above) and above.st_uid != os.stat(store.root).st_uid:
        return f"user {user_name(above.st_uid)} can put anything there"
    return ""


def _stamp(path: str, listing: Listing) -> str:
    """Return what tells a tree's directories from any others: a change in one changes it."""
    found = []
    for name in listing.directories():
        status = os.lstat(f"{path}/{name}" if name else path)
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(20, os.strerror(20), f"{path}/{name}")
        found.append(f"{status.st_dev}:{status.st_ino}:{status.st_ctime_ns}")
    return hash_bytes(" ".join(found).encode())


def _wrong(store: Store, path: str, listing: Listing, whose: str) -> str:
    """Return which file of a tree is not what its listing says, or ``""``."""
    other = "{!r} has other bytes than its name says".format
    remembered = index.known(store, (entry.digest for entry in listing))
    todo: list[tuple[str, str, Digest]] = []
    size = 0
    for name, digest in listing:
        place = f"{path}/{name}"
        status = os.lstat(place)
        if stat.S_ISLNK(status.st_mode):  # to its object, and to nothing else
            obj = store.object(digest)
            if os.readlink(place) != os.path.relpath(obj, os.path.dirname(place)):
                return other(name)
            place, status = obj, os.lstat(obj)
        if not stat.S_ISREG(status.st_mode):
            return other(name)
        entry = remembered.get(digest)
        if entry is None or not entry.fits(status):
            todo.append((name, place, digest))
            size += status.st_size
    if size >= TOLD_FROM and store.tell:
        store.tell(f"{human(size)} are hashed once before their first use: {whose}")
    proved: dict[Digest, Known] = {}
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 2, len(todo) or 1)) as pool:
        for (name, _, digest), known in zip(todo, pool.map(_prove, todo), strict=True):
            if known is None:
                return other(name)
            if _is_object(store, digest, known):
                proved[digest] = known
    index.remember(store, proved)
    return ""


def _is_object(store: Store, digest: Digest, known: Known) -> bool:
    try:
        return known.fits(os.lstat(store.object(digest)))
    except OSError:
        return False


def _prove(file: tuple[str, str, Digest]) -> Known | None:
    """Hash a file; return what to remember of it, or None if it is another."""
    _, place, digest = file
    fd = open_to_read(place)
    try:
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode):
            return None
        sums = hash_fd(fd)
    finally:
        os.close(fd)
    if sums.sha256 != digest:
        return None
    return Known(sums.size, before.st_mtime_ns, before.st_ino, sums.xxh3)
