"""drop: take one tree out of the store that another source has, though this project needs it.

As gc does: alone with the mutex, the tree is renamed before it is emptied, and given back if
somebody named it meanwhile. What another project, or a call under way, needs is not dropped.
Its listing stays: it says what the tree holds, and is small.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cas.errors import StoreError
from cas.files import hold, is_temporary, writer_is_dead
from cas.store import aside, index, roots
from cas.store.reading import read_listing

if TYPE_CHECKING:
    from cas.digest import Digest
    from cas.listing import Listing
    from cas.store.layout import Store

__all__ = ["drop_tree"]


def drop_tree(store: Store, listing: Listing, *, root: str, dry_run: bool = False) -> int:
    """Remove a tree and the objects that nothing else here holds; return the bytes freed.

    *root* is the id of the project that asks: what it needs does not count. *dry_run* only
    counts. Raises StoreError where another project or a call needs it, or a root can't be read.
    """
    store.need_writable()
    digest = listing.digest
    if os.path.isdir(store.tree(digest)) and not store.may_remove(os.lstat(store.tree(digest))):
        raise StoreError(f"tree t1:{digest[:12]}… of the shared store {store.root} is another "
                         "user's, so it was not dropped")  # fmt: skip
    store.make_dir(store.place("mutex"))
    with hold(store.place("mutex", "gc"), wait=False) as alone:
        if not alone:
            raise StoreError("a pull is publishing, or a gc runs", hint="cas drop, later")
        if user := _user(store, digest, root):
            raise StoreError(f"tree t1:{digest[:12]}… is also needed by {user}, so it was not "
                             "dropped")  # fmt: skip
        ours = _alone(store, listing)
        freed = sum(size for _, size in ours)
        if dry_run:
            return freed
        work = aside.put_aside(store, digest)
        if work is not None:
            try:
                user = _user(store, digest, root)
            except BaseException:
                aside.put_back(store, {digest: work})
                raise
            if user:
                aside.put_back(store, {digest: work})
                raise StoreError(f"tree t1:{digest[:12]}… was not dropped: {user} needs it")
            aside.remove(store, {digest: work})
        gone = []
        for name, _ in ours:
            try:
                os.unlink(store.object(name))
                gone.append(name)
            except OSError:
                continue  # another user's, or gone meanwhile
        index.forget(store, gone)
    return freed


def _user(store: Store, digest: Digest, root: str) -> str | None:
    """Return who else needs a tree: another project, or a call under way."""
    for other in roots.root_ids(store):
        record = roots.read_root(store, other)
        if record and other != root and digest in {*record.trees, *record.experiments}:
            return record.path
        for name in sorted(os.listdir(store.place("roots", other))):
            if name == "root.json" or not name.endswith(".json") or is_temporary(name):
                continue
            if writer_is_dead(name.removesuffix(".json")):
                continue
            table = roots.read_sealed(store.place("roots", f"{other}/{name}"))
            if table and digest in roots.digests(table.get("trees")):
                return f"a call of {table.get('path')}"
    return None


def _alone(store: Store, listing: Listing) -> list[tuple[Digest, int]]:
    """Return (object, bytes) of those that only this tree holds here.

    What another tree holds, or an experiment names, stays; a tree without a readable listing
    may hold any of them, so then nothing is known to be alone.
    """
    held: set[Digest] = set()
    for other, _ in store.trees():
        if other == listing.digest:
            continue
        found = read_listing(store, other)
        if found is None:
            raise StoreError(f"the listing of tree t1:{other} can't be read",
                             hint="cas verify --repair")  # fmt: skip
        held.update(entry.digest for entry in found)
    for root in roots.root_ids(store):
        record = roots.read_root(store, root)
        held.update(record.experiments if record else ())
    rows = []
    for digest in {entry.digest for entry in listing} - held:
        try:
            status = os.lstat(store.object(digest))
        except OSError:
            continue
        if store.may_remove(status):
            rows.append((digest, status.st_size))
    return rows
