"""gc: remove what nothing refers to, and never what something does.

It holds its mutex alone for mark and sweep. It marks what the roots name (calls' files
first, then root.json), what the lockfiles and experiments of reachable projects name as
they are now, and what was used or published within the grace period. Metadata that can't be
read stops all deletion: it leaks, it never deletes.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cas.errors import CasError, StoreError, UsageError
from cas.files import discard, hold, host, locks_hold, sweep, temporary_name, writer_is_dead
from cas.store import index, roots, trees
from cas.store.objects import read_listing

if TYPE_CHECKING:
    from collections.abc import Callable

    from cas.digest import Digest
    from cas.store.layout import Store

__all__ = ["GRACE", "Collected", "collect"]

GRACE = timedelta(days=14)
GONE_KEEPS = timedelta(days=30)
"""A project whose directory is gone from this machine is remembered that long."""
STRANGER_KEEPS = timedelta(days=90)
"""Another machine's project is remembered that long after it was last seen."""


@dataclass(slots=True)
class Collected:
    """What gc removed, or would."""

    dry_run: bool
    objects: int = 0
    """Objects, listings too."""
    trees: int = 0
    bytes: int = 0
    only_copies: list[str] = field(default_factory=list)
    """Trees that stay because no other source is known to have them (``--local-too``)."""

    def json(self) -> dict[str, Any]:
        """Return it as ``cas gc --json`` says it."""
        return {
            "dry_run": self.dry_run,
            "objects": self.objects,
            "trees": self.trees,
            "bytes": self.bytes,
        }


@dataclass(slots=True)
class _Marks:
    trees: set[Digest] = field(default_factory=set)
    objects: set[Digest] = field(default_factory=set)


def collect(
    store: Store,
    *,
    project_holds: Callable[[str], tuple[set[Digest], set[Digest]] | None],
    older_than: timedelta = GRACE,
    dry_run: bool = False,
    local_too: bool = False,
    drop_experiments: bool = False,
    now: datetime | None = None,
    wait: bool = True,
) -> Collected:
    """Remove what nothing refers to and was not used or published within *older_than*.

    *drop_experiments* forgets what roots say that experiments hold. *project_holds* takes the
    path of a project on this machine and returns (trees that its lockfiles name now, trees
    and objects of its experiments), or None if it is gone; it raises CasError where it can't
    tell. *now* is the clock, for tests.

    Raises:
        StoreError: a root or a listing can't be read; nothing was deleted.
        UsageError: a shorter grace period where the file system's locks can't be trusted.
    """
    if not dry_run:
        store.need_writable()
    if older_than < GRACE and not locks_hold(store.root):
        raise UsageError(
            f"--older-than below 14 days: the file system of {store.root} has no locks to trust, "
            "so the 14 days are what protects a pull under way"
        )
    now = now or datetime.now(UTC)
    if os.path.isdir(store.place("mutex")):
        with hold(store.place("mutex", "gc"), wait=wait) as alone:
            if not alone:
                raise StoreError("a pull is publishing, or another gc runs", hint="cas gc")
            held = _held(store, project_holds, older_than, now, dry_run, drop_experiments)
            return _sweep_unmarked(store, held, older_than, now, dry_run, local_too)
    return Collected(dry_run)


def _sweep_unmarked(
    store: Store,
    held: _Marks,
    older_than: timedelta,
    now: datetime,
    dry_run: bool,  # noqa: FBT001 - there is one caller, which names them alike
    local_too: bool,  # noqa: FBT001
) -> Collected:
    result = Collected(dry_run)
    young = now.timestamp() - older_than.total_seconds()
    dead: list[Digest] = []
    for digest, entry in store.trees():
        if digest in held.trees:
            continue
        if _last_use(entry.path) > young:
            held.trees.add(digest)
        elif not local_too and _only_copy(store, digest):
            held.trees.add(digest)
            result.only_copies.append(digest)
        else:
            dead.append(digest)
    _mark_objects(store, held)
    result.trees = len(dead)
    if not dry_run:
        for digest in dead:
            trees.remove(store, digest)
    gone = []
    for digest, entry in store.objects():
        if digest in held.objects:
            continue
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        if status.st_mtime > young:
            continue
        result.objects += 1
        result.bytes += status.st_size
        if not dry_run:
            _remove_object(entry.path)
            gone.append(digest)
    if not dry_run:
        index.forget(store, gone)
        _sweep(store, young)
    return result


def _held(
    store: Store,
    project_holds: Callable[[str], tuple[set[Digest], set[Digest]] | None],
    older_than: timedelta,
    now: datetime,
    dry_run: bool,  # noqa: FBT001
    drop_experiments: bool,  # noqa: FBT001
) -> _Marks:
    """Return what roots, projects and experiments hold; forget roots that ended."""
    held = _Marks()
    for root in roots.root_ids(store):
        named = _calls(store, root, now.timestamp() - older_than.total_seconds(), dry_run=dry_run)
        held.trees |= named
        record = roots.read_root(store, root)
        if record is None:
            continue
        holds = None
        here = record.machine == host()
        if here:
            try:
                holds = project_holds(record.path)
            except CasError as error:
                raise StoreError(
                    f"nothing was deleted: {error} (project {record.path})", hint=error.hint
                ) from None
        age = now - record.last_seen
        if holds is None and not named and age >= (GONE_KEEPS if here else STRANGER_KEEPS):
            if not dry_run:
                discard(store.place("roots", root))
            continue
        held.trees.update(record.trees)
        if not drop_experiments:
            held.trees.update(record.experiments)
            held.objects.update(record.experiments)
        if older_than:
            for ended, generation in record.generations:
                if now - datetime.fromisoformat(ended) < older_than:
                    held.trees.update(generation)
        if holds:
            held.trees |= holds[0] | holds[1]
            held.objects |= holds[1]
    return held


def _calls(store: Store, root: str, young: float, *, dry_run: bool) -> set[Digest]:
    """Return the trees of the calls under way of one root; dead ones of this host go."""
    named: set[Digest] = set()
    directory = store.place("roots", root)
    for name in sorted(os.listdir(directory)):
        if name == "root.json" or not name.endswith(".json"):
            continue
        place = os.path.join(directory, name)
        try:
            written = os.stat(place).st_mtime
        except FileNotFoundError:
            continue
        if writer_is_dead(name.removesuffix(".json")) and written <= young:
            if not dry_run:
                discard(place)
            continue
        if (table := roots.read_sealed(place)) is not None:
            named.update(roots.digests(table.get("trees")))
    if not dry_run:
        sweep(directory)
    return named


def _mark_objects(store: Store, held: _Marks) -> None:
    """Mark the objects of the held trees; a tree that stands without a listing stops gc."""
    for digest in held.trees:
        held.objects.add(digest)
        listing = read_listing(store, digest)
        if listing is not None:
            held.objects.update(entry.digest for entry in listing)
        elif os.path.isdir(store.tree(digest)):
            raise StoreError(
                f"nothing was deleted: the listing of tree t1:{digest} can't be read",
                hint="cas verify --repair",
            )


def _last_use(path: str) -> float:
    """Return when a tree was last used or published, in seconds; now, if nothing says."""
    found = []
    for end in (".used", ".json"):
        try:
            found.append(os.stat(path + end).st_mtime)
        except OSError:
            continue
    return max(found, default=time.time())


def _only_copy(store: Store, digest: Digest) -> bool:
    sidecar = trees.read_sidecar(store, digest)
    return sidecar is None or not ("hub" in sidecar.origin or "recipe" in sidecar.origin)


def _remove_object(path: str) -> None:
    aside = os.path.join(os.path.dirname(path), temporary_name())
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return
    discard(aside)


def _sweep(store: Store, young: float) -> None:
    """Remove what crashes left: temporary names, old partials, old quarantine."""
    for room in ("objects", "trees"):
        for prefix in os.listdir(store.place(room)):
            sweep(store.place(room, prefix))
    for room in ("staging", "quarantine", "mutex"):
        sweep(store.place(room))
        for name in os.listdir(store.place(room)):
            path = store.place(room, name)
            if room == "mutex" and name == "gc":
                continue
            try:
                old = os.lstat(path).st_mtime <= young
            except OSError:
                continue
            if old and (room != "staging" or writer_is_dead(name) or _day_old(path)):
                discard(path)
    sweep(store.root)


def _day_old(path: str) -> bool:
    try:
        return time.time() - os.lstat(path).st_mtime > GRACE.total_seconds()
    except OSError:
        return False
