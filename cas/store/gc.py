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
from cas.files import (
    discard,
    hold,
    host,
    is_temporary,
    locks_hold,
    sweep,
    sync_all,
    writer_is_alive,
    writer_is_dead,
)
from cas.store import aside, index, roots, trees
from cas.store.litter import sweep_store
from cas.store.marks import Marks
from cas.store.reading import read_listing
from cas.store.sidecar import only_copy

if TYPE_CHECKING:
    from collections.abc import Callable

    from cas.digest import Digest
    from cas.store.layout import Store

__all__ = ["GRACE", "Collected", "collect"]

GRACE: timedelta = timedelta(days=14)
GONE_KEEPS = timedelta(days=30)
"""A project whose directory is gone from this machine is remembered that long."""
STRANGER_KEEPS = timedelta(days=90)
"""Another machine's project is remembered that long after it was last seen."""
FORGOTTEN = 4096  # objects that the index forgets at once
CLOCK = 1.0  # seconds that a file's time may lag behind another's


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
    failed: StoreError | None = None
    """Why nothing was removed from the shared store; the counts are of the user's own then."""

    def with_more(self, other: Collected) -> Collected:
        """Return what both gcs removed."""
        return Collected(
            self.dry_run,
            self.objects + other.objects,
            self.trees + other.trees,
            self.bytes + other.bytes,
            self.only_copies + other.only_copies,
            self.failed or other.failed,
        )

    def raise_if_incomplete(self) -> None:
        """Raise why a store could not be collected."""
        if self.failed:
            raise self.failed

    def json(self) -> dict[str, Any]:
        """Return it as ``cas gc --json`` says it."""
        return {
            "dry_run": self.dry_run,
            "objects": self.objects,
            "trees": self.trees,
            "bytes": self.bytes,
        }


def collect(
    store: Store,
    *,
    project_holds: Callable[[str], tuple[set[Digest], set[Digest]] | None],
    root_of: Callable[[str], str | None],
    older_than: timedelta = GRACE,
    dry_run: bool = False,
    local_too: bool = False,
    drop_experiments: bool = False,
    now: datetime | None = None,
    wait: bool = True,
) -> Collected:
    """Remove what nothing holds and nobody used or published within *older_than* (inclusive).

    *local_too* also takes trees that no other source is known to have; *drop_experiments*
    forgets what roots say that experiments hold. *project_holds* takes the path of a project
    and returns (trees that its lockfiles name now, trees and objects of its experiments), or
    None if it is gone; it raises CasError where it can't tell. *root_of* returns the id that
    the project at a path goes by. *now* is the clock, for tests.

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
    work = _Work(
        store=store,
        project_holds=project_holds,
        root_of=root_of,
        older_than=older_than,
        dry_run=dry_run,
        local_too=local_too,
        drop_experiments=drop_experiments,
        now=now or datetime.now(UTC),
    )
    if store.readonly:
        return work.collect() if os.path.isdir(store.root) else work.result
    store.make_dir(store.place("mutex"))
    with hold(store.place("mutex", "gc"), wait=wait) as alone:
        if not alone:
            raise StoreError("a pull is publishing, or another gc runs", hint="cas gc")
        return work.collect()


class _Work:
    """One gc: mark, then sweep, with the mutex held."""

    def __init__(
        self,
        *,
        store: Store,
        project_holds: Callable[[str], tuple[set[Digest], set[Digest]] | None],
        root_of: Callable[[str], str | None],
        older_than: timedelta,
        dry_run: bool,
        local_too: bool,
        drop_experiments: bool,
        now: datetime,
    ) -> None:
        self.store = store
        self.project_holds = project_holds
        self.root_of = root_of
        self.older_than = older_than
        self.local_too = local_too
        self.drop_experiments = drop_experiments
        self.now = now
        self.young = now.timestamp() - older_than.total_seconds()
        """What was used or published after that stays."""
        self.trees: set[Digest] = set()
        self.objects = Marks()
        self.ended: dict[str, datetime] = {}
        """Roots that hold nothing any more, and when they were last seen."""
        self.over: set[str] = set()
        """Files of calls that ended, which stay as the only lead to their project."""
        self.result = Collected(dry_run)

    def collect(self) -> Collected:
        for root in roots.root_ids(self.store):
            try:
                self._mark_root(root)
            except (CasError, OSError, ValueError) as error:
                hint = error.hint if isinstance(error, CasError) else None
                raise StoreError(f"nothing was deleted: {error}", hint=hint) from None
        dead = self._dead_trees()
        self._mark_objects(self.trees)
        if self.result.dry_run:
            self.result.trees = len(dead)
            self._remove_objects()
        else:
            self._remove_trees(dead)
            self._remove_objects()
            self._keep_listings()
            sweep_store(self.store, self.young, self.now.timestamp(), GRACE.total_seconds())
        return self.result

    # Mark

    def _mark_root(self, root: str) -> None:
        """Mark what a root names: its calls' files first, then root.json; ended roots go."""
        called, over = self._mark_calls(root)
        record = roots.read_root(self.store, root)
        for place in over:
            if record is None and self._mark_killed(root, place):
                self.over.add(place)
            elif not self.result.dry_run:
                _take_away(place)
        if record is None:
            return
        here = record.machine == host()
        same = self.root_of(record.path) == root
        holds, here = self._holds(root, record.path) if here or same else (None, here)
        self._mark_held(holds)
        keeps = GONE_KEEPS if here else STRANGER_KEEPS
        if not (holds and same) and not called and self.now - record.last_seen >= keeps:
            # where another project has its path now, the record still leads to that one's lock
            if holds is None and not self.result.dry_run:
                discard(self.store.place("roots", root))
            self.ended[root] = record.last_seen
            return
        self.trees.update(record.trees)
        if not self.drop_experiments:
            self.trees.update(record.experiments)
            self.objects.update(record.experiments)
        if self.older_than:
            for ended, generation in record.generations:
                if self.now - ended < self.older_than:
                    self.trees.update(generation)

    def _holds(self, root: str, path: str) -> tuple[tuple[set[Digest], set[Digest]] | None, bool]:
        """Return what a project on this machine holds now, and whether that could be seen.

        Another user's of a shared store may be closed to this one: it then counts as one of
        another machine does, by what its root names.
        """
        try:
            return self.project_holds(path), True
        except (CasError, OSError):
            status = os.stat(self.store.place("roots", f"{root}/root.json"))
            if not self.store.shared or status.st_uid == os.geteuid():
                raise
            return None, False

    def _mark_killed(self, root: str, place: str) -> bool:
        """Mark what a project locks whose first call was killed before it wrote root.json.

        Says whether there is one: then the call's file stays, for only that leads to it.
        """
        try:
            path = str((roots.read_sealed(place) or {}).get("path"))
        except StoreError:
            return False
        holds = self.project_holds(path) if self.root_of(path) == root else None
        self._mark_held(holds)
        return holds is not None

    def _mark_held(self, holds: tuple[set[Digest], set[Digest]] | None) -> None:
        if holds:
            self.trees |= holds[0] | holds[1]
            self.objects.update(holds[1])

    def _mark_calls(self, root: str) -> tuple[bool, list[str]]:
        """Mark the trees of a root's calls under way; return whether there are any, and files.

        A call may publish objects before the listing that names them, so what was published
        since it was announced stays too. The files are of calls that ended without a word: of
        this host's dead processes, and of others after the grace period.
        """
        directory = self.store.place("roots", root)
        found, over = False, []
        for name in sorted(os.listdir(directory)):
            if name == "root.json" or not name.endswith(".json") or is_temporary(name):
                continue
            place = os.path.join(directory, name)
            try:
                written = os.stat(place).st_mtime
            except FileNotFoundError:
                continue
            writer = name.removesuffix(".json")
            dead = writer_is_dead(writer)
            if (dead and written <= self.young) or (
                not writer_is_alive(writer)
                and written <= self.now.timestamp() - GRACE.total_seconds()
            ):
                over.append(place)
                continue
            if (table := roots.read_sealed(place)) is None:
                continue
            found = True
            self.trees.update(roots.digests(table.get("trees")))
            if not dead:
                self.young = min(self.young, written - CLOCK)
        if not self.result.dry_run:
            sweep(directory)
        return found, over

    def _dead_trees(self) -> list[Digest]:
        dead = []
        for digest, entry in self.store.trees():
            if digest in self.trees:
                continue
            if _last_use(entry.path) > self.young:
                self.trees.add(digest)
            elif not self.local_too and only_copy(self.store, digest):
                self.trees.add(digest)
                self.result.only_copies.append(digest)
            elif self.store.may_remove(entry.stat(follow_symlinks=False)):
                dead.append(digest)
            else:
                self.trees.add(digest)  # another user's, whose gc it is for
        return dead

    def _mark_objects(self, held: set[Digest]) -> None:
        """Mark the objects of held trees; a tree that stands without a listing stops gc."""
        self.objects.update(held)
        for digest in held:
            listing = read_listing(self.store, digest)
            if listing is not None:
                self.objects.update(entry.digest for entry in listing)
            elif os.path.isdir(self.store.tree(digest)):
                raise StoreError(
                    f"nothing was deleted: the listing of tree t1:{digest} can't be read",
                    hint="cas verify --repair",
                )

    # Sweep

    def _named_since(self) -> set[Digest]:
        """Return what was named since the mark: nothing, where the mutex is one."""
        return roots.named_now(self.store, self.ended, self.over) - self.trees

    def _mark_named(self) -> set[Digest]:
        since = self._named_since()
        self._mark_objects(since)
        self.trees |= since
        return since

    def _remove_trees(self, dead: list[Digest]) -> None:
        self._mark_named()
        places = {d: aside.put_aside(self.store, d) for d in dead if d not in self.trees}
        gone = {digest: place for digest, place in places.items() if place}
        back = set(gone)  # all of them, should a root be unreadable now
        try:
            back &= self._mark_named()
        finally:
            aside.put_back(self.store, {digest: gone.pop(digest) for digest in back})
        self.result.trees = len(gone)
        aside.remove(self.store, gone)

    def _remove_objects(self) -> None:
        gone: list[Digest] = []
        emptied: set[str] = set()
        for digest, entry in self.store.objects():
            if digest in self.objects:
                continue
            try:
                status = entry.stat(follow_symlinks=False)
                if status.st_mtime > self.young or not self.store.may_remove(status):
                    continue
                if not self.result.dry_run:
                    os.unlink(entry.path)
                    gone.append(digest)
                    emptied.add(os.path.dirname(entry.path))
                    if len(gone) >= FORGOTTEN:
                        index.forget(self.store, gone)
                        gone = []
            except (FileNotFoundError, PermissionError):
                continue  # gone meanwhile, or another user's, whose gc it is for
            self.result.objects += 1
            self.result.bytes += status.st_size
        index.forget(self.store, gone)
        sync_all(emptied, on=self.store.root)  # what a power cut brought back would stay

    def _keep_listings(self) -> None:
        """Write again what trees that were named since stand without, and went just now."""
        for digest in self._named_since():
            if os.path.isdir(self.store.tree(digest)) and not self.store.has(digest):
                listing = trees.rebuilt_listing(self.store, digest)
                if listing:
                    trees.keep_listing(self.store, listing)


def _take_away(place: str) -> None:
    """Remove the file of a call; a link that its directory gave way to leads nowhere else."""
    directory, _, name = place.rpartition("/")
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.unlink(name, dir_fd=fd)
        finally:
            os.close(fd)
    except OSError:
        pass  # another user's, or gone


def _last_use(path: str) -> float:
    """Return when a tree was last used or published, in seconds."""
    found = []
    for end in (".used", ".json", ""):
        try:
            found.append(os.stat(path + end).st_mtime)
        except OSError:
            continue
    return max(found, default=time.time())
