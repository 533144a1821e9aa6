"""Trees: directories of hard links to objects, one a listing, named by it.

A tree is built beside its final name, made read-only, synced, described by its sidecar and
renamed in whole. Its identity is the listing; the sidecar says where it came from and how
it stood, and can be lost: it is written again from what stands there.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from cas.digest import Digest, hash_path
from cas.errors import CasError, StoreError
from cas.files import (
    copy_file,
    discard,
    exchange,
    folds_case,
    fsync_dir,
    reflink,
    replace,
    sweep,
    sync_all,
    temporary_name,
)
from cas.listing import Listing, tree_id, twins
from cas.store.damage import Spoiled, unmark
from cas.store.durable import make_durable
from cas.store.intake import add_bytes
from cas.store.objects import Publisher
from cas.store.reading import Vanished
from cas.store.sidecar import Sidecar
from cas.store.staging import Staging
from cas.store.whole import mtimes, mtimes_fit, standing, walk
from cas.warm import is_marked

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cas.store.layout import Store

__all__ = [
    "build",
    "check_twins",
    "keep_listing",
    "link_object",
    "listing_of",
    "rebuilt_listing",
]

COPY_UP_TO = 64 << 20  # bytes; above it a file that can't be linked becomes a relative symlink
_NO_LINK = (errno.EPERM, errno.EMLINK, errno.EXDEV, errno.ENOTSUP, errno.ENOSYS, errno.EACCES)


def build(
    store: Store, listing: Listing, origin: Mapping[str, Any], *, single: bool = False
) -> tuple[str, Sidecar]:
    """Make the tree of *listing* unless it stands, and return its path and sidecar.

    A tree that stands damaged is replaced, in one step where the system can. *single*: its
    one file is a view's target by itself, so it never becomes a symlink. When this returns,
    the tree and its name are durable, whoever made it.

    Raises:
        Vanished: an object that was there is gone; start the call again.
        Spoiled: another user's tree or sidecar, which is not right, has its name.
    """
    digest = listing.digest
    final = store.tree(digest)
    sidecar, _ = standing(store, digest)
    if sidecar:
        make_durable(store, [digest])
        keep_listing(store, listing)
        return final, sidecar
    store.need_writable()
    if store.trust == "own" and os.path.isdir(final) and store.is_foreign(os.lstat(final)):
        raise _taken(store, digest)
    parent = os.path.dirname(final)
    store.make_dir(store.place("trees"))
    store.make_dir(parent)
    sweep(parent)
    work = os.path.join(parent, temporary_name())
    try:
        try:
            copies, sizes = _fill(store, listing, work, single=single)
        except FileExistsError:  # nobody else writes there
            check_twins(store, (entry.path for entry in listing))
            raise
        directories = [os.path.join(work, name) if name else work for name in listing.directories()]
        for directory in reversed(directories):
            os.chmod(directory, 0o555)
        sync_all([*copies, *directories], on=store.root)
        sidecar = Sidecar(
            origin=origin, size=sum(sizes), sizes=sizes, directories=mtimes(work, listing)
        )
        if not _stands(work, final):
            replace(final + ".json", sidecar.data(digest), mode=0o444)
            _put(work, final)
    except PermissionError:
        if not store.shared or not os.path.isdir(work):
            raise
        raise _taken(store, digest) from None
    finally:
        discard(work)
    make_durable(store, [digest])
    keep_listing(store, listing)
    if is_marked(final):  # not before the good tree has its name for good
        unmark(store, digest)
        fsync_dir(parent)
    if not mtimes_fit(final, sidecar):  # theirs was first, and is kept
        other, why = standing(store, digest)
        if other is None:
            raise Vanished(f"tree {tree_id(digest)} does not stand: {why}")
        sidecar = other
    return final, sidecar


def _taken(store: Store, digest: Digest) -> Spoiled:
    return Spoiled(
        f"{store.tree(digest)} is another user's, and can't be used or replaced by this one",
        hint="that user, or the administrator of the store: cas verify --repair",
    )


def keep_listing(store: Store, listing: Listing) -> None:
    """Put the listing of a tree that stands into the store again, where gc took it meanwhile."""
    if store.readonly is None and not store.has(listing.digest):
        publisher = Publisher(store)
        add_bytes(store, Staging(store), listing.data(), publisher)
        publisher.flush()


def check_twins(store: Store, paths: Iterable[str]) -> None:
    """Raise StoreError if two of *paths*, or of their directories, are one where the store is."""
    paths = list(paths)
    directories: set[str] = set()
    for path in paths:
        while (path := path.rpartition("/")[0]) and path not in directories:
            directories.add(path)
    pairs = twins(paths) or twins(sorted(directories))
    if pairs and folds_case(store.root):
        one, other = pairs[0]
        raise StoreError(
            f"{one!r} and {other!r} can't lie in one tree: the file system of the store "
            f"{store.root} does not tell their names apart",
            hint="CAS_STORE=DIR names a store on another file system",
        )


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
        os.mkdir(f"{work}/{name}", 0o700)
    copies = []
    sizes = []
    for path, digest in listing:
        target = f"{work}/{path}"
        if link_object(store, digest, target, path, single=single):
            copies.append(target)
        sizes.append(os.stat(target).st_size)
    return copies, tuple(sizes)


_EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def link_object(store: Store, digest: Digest, target: str, path: str, *, single: bool) -> bool:
    """Make *target* the object: hard link, reflink, copy, symlink; say whether it is a copy.

    Raises Vanished if the object is not here.
    """
    source = store.object(digest)
    try:
        foreign = store.trust != "all" and store.is_foreign(os.lstat(source))
        if digest == _EMPTY:  # the one object that every tree may hold: links to it run out
            os.stat(source)
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
            os.chmod(target, 0o444)
            return True
        if not foreign:  # another user's file is never linked: it would stay his to change
            try:
                os.link(source, target)
            except OSError as error:
                if error.errno not in _NO_LINK:
                    raise
            else:
                return False
        own = foreign and store.trust == "own"
        if single or own or os.lstat(source).st_size <= COPY_UP_TO:
            copy_file(source, target, follow=False)
        elif not reflink(source, target):
            os.symlink(os.path.relpath(source, os.path.dirname(target)), target)
            return False
        if foreign and hash_path(target).sha256 != digest:
            raise Vanished(f"object {digest} ({path!r}) changed while its tree was made")
        os.chmod(target, 0o444)
    except FileNotFoundError as error:
        if error.filename != source and os.path.lexists(source):
            raise
        raise Vanished(f"object {digest} ({path!r}) went while its tree was made") from None
    return True


def _stands(work: str, final: str) -> bool:
    """Say whether somebody made the same tree meanwhile."""
    if is_marked(final) or not os.path.isdir(final):
        return False
    try:
        ours, theirs = walk(work), walk(final)
    except OSError:
        return False
    return ours.keys() == theirs.keys() and all(
        status.st_size == theirs[name].st_size for name, status in ours.items()
    )


def _put(work: str, final: str) -> None:
    """Rename *work* to *final*; where a whole tree is there, keep it, else take its place."""
    for _ in range(3):
        try:
            os.rename(work, final)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
        else:
            return
        if _stands(work, final):
            return
        try:
            exchange(work, final)  # readers of the damaged one find the good one at once
        except FileNotFoundError:
            continue
        return
