"""push: trees of the store → a remote. Objects first, then the listing.

So a listing that is on the remote means that the whole tree is, and a push that was stopped
goes on from what came. A tree costs one request where the remote has it; only a listing that
is missing leads to a look at which of its objects are there.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cas.errors import (
    AccessDenied,
    CasError,
    IntegrityError,
    NotPulled,
    Offline,
    SourceError,
    StoreError,
    typed,
)
from cas.progress import QUIET
from cas.project.access import access_of
from cas.project.remotes import find_remote
from cas.project.requests import shared_names
from cas.remote import each, open_remote
from cas.store import (
    announce,
    end,
    note_remote,
    open_store,
    read_listing,
    shared_gc_mutex,
    standing,
)
from cas.warm import tree_of_link

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cas.digest import Digest
    from cas.listing import Listing
    from cas.lockfile import Asset, Lockfile
    from cas.progress import Progress
    from cas.project import Project
    from cas.remote import Remote
    from cas.store import Store

__all__ = ["Load", "Pushed", "load_of", "push", "push_loads", "store_of", "usable_remote"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One tree that is to be on a remote, and the store that it is taken from."""

    name: str
    tree: Digest
    store: Store


@dataclass(slots=True)
class Pushed:
    """What a push did."""

    remote: str
    assets: int = 0
    """Those that the remote has whole now."""
    uploaded_objects: int = 0
    """Listings too."""
    uploaded_bytes: int = 0
    failed: list[tuple[str, CasError]] = field(default_factory=list)

    def json(self) -> dict[str, Any]:
        """Return it as ``cas push --json`` says it."""
        return {
            "remote": self.remote,
            "assets": self.assets,
            "uploaded_objects": self.uploaded_objects,
            "uploaded_bytes": self.uploaded_bytes,
        }

    def raise_if_incomplete(self) -> None:
        """Raise one error for all that is not on the remote; its exit code is theirs."""
        if not self.failed:
            return
        errors = [error for _, error in self.failed]
        if len(errors) == 1 or len({str(error) for error in errors}) == 1:
            raise errors[0]
        kinds: list[type[CasError]] = [Offline, AccessDenied]
        kind = next((k for k in kinds if all(isinstance(e, k) for e in errors)), CasError)
        lines = "".join(f"\n  {name}: {error}" for name, error in self.failed)
        raise kind(
            f"{len(errors)} of {self.assets + len(errors)} are not on {self.remote!r}:{lines}",
            hint=next((error.hint for error in errors if error.hint), None),
        )


def push(
    project: Project,
    words: Iterable[str] = (),
    *,
    remote: str | None = None,
    jobs: int = 8,
    progress: Progress = QUIET,
) -> Pushed:
    """Put locked assets (all, without *words*) on a remote: the first, or *remote*.

    What is gated or private stays here unless the project says ``share``. Every byte that is
    sent is hashed, and damage is not sent; what the remote has is not sent again.

    Raises UsageError without such a remote, Offline, AccessDenied, SourceError where it can't
    be used at all; else what is not there is in ``failed``.
    """
    lock = project.read_lock()
    assets = lock.select(list(words))
    target = usable_remote(project, remote, progress)
    done = Pushed(target.name)
    with _announced(project, assets):
        loads = _loads(project, lock, assets, done, progress)
        push_loads(target, loads, done, jobs=jobs, progress=progress)
    return done


@contextmanager
def _announced(project: Project, assets: list[Asset]) -> Iterator[None]:
    """Let ``cas drop`` know that the trees of *assets* are being read.

    No error where that can't be written: who pushes from a full disk is about to free it.
    """
    root = project.root_id(draw=False)
    trees = [asset.tree for asset in assets]
    calls = []
    try:
        for store in project.stores.written if root else ():
            try:
                with shared_gc_mutex(store):
                    calls.append(announce(store, root or "", path=project.root, trees=trees))
            except (OSError, StoreError):
                continue
        yield
    finally:
        for call in calls:
            end(call)


def _loads(
    project: Project, lock: Lockfile, assets: list[Asset], done: Pushed, progress: Progress
) -> list[Load]:
    """Return what is to be pushed of *assets*; what can't be is noted in *done*."""
    shared = shared_names(project.requests_bytes())
    loads = []
    for asset in assets:
        access = access_of(lock, asset)
        if access and asset.name not in shared:
            progress.note(f"{asset.name} is {access}, and was not pushed: "
                          f'[tool.cas] share = ["{asset.name}"] allows it')  # fmt: skip
            continue
        try:
            loads.append(load_of(project, asset))
        except CasError as error:
            done.failed.append((asset.name, error))
    return loads


def usable_remote(project: Project, name: str | None, progress: Progress) -> Remote:
    """Return a remote of the project that may be written; it is made one if it is empty."""
    remote = open_remote(find_remote(project, name), notice=progress.note)
    remote.begin(write=True)
    return remote


def load_of(project: Project, asset: Asset) -> Load:
    """Return what is to be pushed of an asset; raise NotPulled if it is not whole here."""
    found = project.tree_of(asset)
    if found is None:
        _, why = standing(project.store, asset.tree)
        raise NotPulled(f"{asset.name!r} can't be pushed: {why}",
                        hint=f"cas pull {typed(asset.name)}")  # fmt: skip
    return Load(name=asset.name, tree=asset.tree, store=store_of(project, found[0]))


def store_of(project: Project, path: str) -> Store:
    """Return the store that a tree's path lies in."""
    split = tree_of_link(path)
    if split is None:
        return project.store
    known = next((store for store in project.stores.readable if store.root == split[0]), None)
    return known or open_store(split[0], create=False, named=False)


def push_loads(
    remote: Remote, loads: list[Load], done: Pushed, *, jobs: int, progress: Progress
) -> None:
    """Put trees on a remote, and count in *done* what was sent and what failed."""
    work = _Work(remote, done, jobs, progress)
    by_tree = {load.tree: load for load in loads}
    for load in work.lacking(list(by_tree.values())):
        work.plan(load)
    work.send()
    work.finish()
    failed = {name for name, _ in done.failed}
    for load in loads:
        if load.tree in work.whole and load.name not in failed:
            done.assets += 1
            note_remote(load.store, load.tree, remote.place.url)


class _Work:
    """One push: look, plan, send objects, then listings."""

    def __init__(self, remote: Remote, done: Pushed, jobs: int, progress: Progress) -> None:
        self.remote = remote
        self.done = done
        self.jobs = remote.jobs(jobs)
        self.progress = progress
        self.stop = threading.Event()
        self.whole: set[Digest] = set()
        """Trees whose listing is on the remote."""
        self.listings: dict[Digest, tuple[Load, Listing]] = {}
        self.sources: dict[Digest, tuple[str, int]] = {}
        """Object that is to be sent → (its path, its bytes)."""
        self.bad: dict[Digest, CasError] = {}

    def lacking(self, loads: list[Load]) -> list[Load]:
        """Return the trees whose listing the remote does not have: one request each."""
        lacking = []
        for load, there, error in each(loads, self._has, jobs=self.jobs, stop=self.stop):
            if error is not None:
                if isinstance(error, Offline | AccessDenied):
                    raise error
                self.done.failed.append((load.name, error))
            elif there:
                self.whole.add(load.tree)
            else:
                lacking.append(load)
        return sorted(lacking, key=lambda load: load.name)

    def _has(self, load: Load) -> bool:
        size = self.remote.size(load.tree)
        if size is None:
            return False
        here = _size(load.store, load.tree)
        if here is not None and size != here:
            raise IntegrityError(f"listing of {load.name!r} on {self.remote}",
                                 expected=f"{here} bytes", actual=f"{size}",
                                 hint=self.remote.repair)  # fmt: skip
        return True

    def plan(self, load: Load) -> None:
        """Note what is to be sent of a tree."""
        listing = read_listing(load.store, load.tree)
        if listing is None:
            self.done.failed.append((load.name, StoreError(
                f"the listing of {load.name!r} is lost", hint="cas verify --repair"
            )))  # fmt: skip
            return
        self.listings[load.tree] = load, listing
        for entry in listing:
            if entry.digest not in self.sources:
                size = _size(load.store, entry.digest)
                if size is None:
                    self.bad[entry.digest] = StoreError(
                        f"object {entry.digest} ({entry.path!r} of {load.name!r}) is lost",
                        hint="cas verify --repair",
                    )
                    continue
                self.sources[entry.digest] = load.store.object(entry.digest), size

    def send(self) -> None:
        """Send the objects that the remote lacks, the largest first."""
        if not self.sources:
            return
        there = self.remote.sizes(self.sources.keys(), stop=self.stop)
        for digest, size in there.items():
            _, here = self.sources.pop(digest)
            if size != here:
                self.bad[digest] = IntegrityError(
                    f"object {digest} of {self.remote}", expected=f"{here} bytes",
                    actual=f"{size}", hint=self.remote.repair,
                )  # fmt: skip
        todo = sorted(self.sources, key=lambda digest: -self.sources[digest][1])
        total = sum(size for _, size in self.sources.values())
        self.progress.begin(f"push to {self.remote.name}", files=len(todo), size=total)
        try:
            for digest, sent, error in each(todo, self._send, jobs=self.jobs, stop=self.stop):
                if error is not None:
                    self.bad[digest] = error
                    if isinstance(error, Offline | AccessDenied):
                        break  # all others would meet it too
                    continue
                _, size = self.sources.pop(digest)
                if sent:
                    self.done.uploaded_objects += 1
                    self.done.uploaded_bytes += size
                self.progress.advance(0, files=1)
            self.remote.settle(there)  # whoever put them may have been stopped before that
        finally:
            self.progress.end()

    def _send(self, digest: Digest) -> bool:
        path, _ = self.sources[digest]
        return self.remote.put(digest, path, stop=self.stop, progress=self.progress.advance)

    def finish(self) -> None:
        """Put the listings of the trees whose objects are all there."""
        first = next(iter(self.bad.values()), None)
        for tree, (load, listing) in self.listings.items():
            errors = [self.bad[e.digest] for e in listing if e.digest in self.bad]
            unsent = any(entry.digest in self.sources for entry in listing)
            error = errors[0] if errors else first if unsent else None
            if error is None:
                try:
                    data = listing.data()
                    if self.remote.put_bytes(tree, data):
                        self.done.uploaded_objects += 1
                        self.done.uploaded_bytes += len(data)
                    self.whole.add(tree)
                except SourceError as failed:
                    error = failed
            if error is not None:
                self.done.failed.append((load.name, error))
        self.remote.settle()


def _size(store: Store, digest: Digest) -> int | None:
    try:
        return os.lstat(store.object(digest)).st_size
    except OSError:
        return None
