"""Far: how the remotes stand. What they hold of the locked assets, and whether it is right."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from cas.errors import CasError, IntegrityError, ListingError
from cas.installer.readback import Hashed, wrong_bytes
from cas.listing import Listing
from cas.progress import QUIET
from cas.project.access import access_of
from cas.project.remotes import find_remote, places
from cas.project.requests import shared_names
from cas.remote import each, open_remote
from cas.store import Bad, Verified, note_remote

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cas.digest import Digest
    from cas.lockfile import Asset
    from cas.progress import Progress
    from cas.project import Project
    from cas.remote import Remote

__all__ = ["holders", "verify_remote"]

LISTING = 256 << 20  # bytes that a listing may have


def holders(
    project: Project, assets: Iterable[Asset], *, progress: Progress = QUIET
) -> dict[Digest, list[str]]:
    """Return tree → the names of the remotes that have its listing, and so all of it.

    One request a tree and remote. One that can't be asked is told; then a tree that no other
    one has is left out, for nobody knows.
    """
    trees = sorted({asset.tree for asset in assets})
    found: dict[Digest, list[str]] = {tree: [] for tree in trees}
    silent = False
    for place in places(project):
        try:
            remote = open_remote(place, notice=progress.note)
            asked = trees if remote.begin() else []
            for tree in set(trees) - set(asked):
                _note(project, tree, place.url, there=False)
            stop = threading.Event()
            for tree, size, error in each(asked, remote.size, jobs=remote.jobs(16), stop=stop):
                if error is not None:
                    raise error
                if size is not None:
                    found[tree].append(place.name)
                _note(project, tree, place.url, there=size is not None)
        except CasError as error:
            progress.note(str(error) + (f" ({error.hint})" if error.hint else ""))
            silent = True
    return {tree: names for tree, names in found.items() if names} if silent else found


def _note(project: Project, tree: Digest, url: str, *, there: bool) -> None:
    for store in project.stores.written:
        note_remote(store, tree, url, there=there)


def verify_remote(
    project: Project,
    words: Iterable[str] = (),
    *,
    remote: str,
    full: bool = False,
    repair: bool = False,
    jobs: int = 8,
    progress: Progress = QUIET,
) -> tuple[Verified, dict[Digest, list[str]]]:
    """Compare what a remote has with what is locked; return what is wrong, and hash → assets.

    Existence and size; *full* reads every byte and hashes it. *repair* puts what is missing or
    damaged there again from the store, which must have it right; it is the only thing that ever
    replaces an object on a remote.

    Raises UsageError without such a remote, Offline, AccessDenied, SourceError.
    """
    lock = project.read_lock()
    shared = shared_names(project.requests_bytes())
    target = open_remote(find_remote(project, remote), notice=progress.note)
    work = _Work(project, target, jobs, progress)
    work.remote.begin(write=repair)
    for asset in lock.select(list(words)):
        if access_of(lock, asset) is None or asset.name in shared:
            work.look(asset)
    work.compare()
    if full:
        work.read()
    if repair:
        work.repair()
    return work.verified(), work.names


class _Work:
    """One verify of a remote: look, compare, read, repair."""

    def __init__(self, project: Project, remote: Remote, jobs: int, progress: Progress) -> None:
        self.project = project
        self.remote = remote
        self.jobs = remote.jobs(jobs)
        self.progress = progress
        self.stop = threading.Event()
        self.names: dict[Digest, list[str]] = {}
        self.listings: dict[Digest, Listing] = {}
        self.sizes: dict[Digest, int | None] = {}
        """Object → its bytes, where they are known here."""
        self.there: dict[Digest, int] = {}
        self.bad: dict[Digest, str] = {}

    def look(self, asset: Asset) -> None:
        """Note the objects of an asset, by its listing here, else by the one there."""
        tree = asset.tree
        self.names.setdefault(tree, []).append(asset.name)
        listing = self.project.stores.listing(tree) or self._far_listing(tree)
        if listing is None:
            self.bad.setdefault(tree, "its listing is not there, and not here")
            return
        self.listings[tree] = listing
        self.sizes[tree] = len(listing.data())
        for entry in listing:
            self.names.setdefault(entry.digest, []).append(asset.name)
            self.sizes[entry.digest] = self._size(entry.digest)

    def _far_listing(self, tree: Digest) -> Listing | None:
        sink = _Kept()
        if not self.remote.fetch(tree, sink, limit=LISTING, stop=self.stop):
            return None
        if sink.sums() != tree:
            self.bad[tree] = "the bytes of its listing are others"
            return None
        try:
            return Listing.parse(bytes(sink.data))
        except ListingError as error:
            self.bad[tree] = str(error)
            return None

    def compare(self) -> None:
        """Compare what is there, and how large, with what is to be."""
        self.there = self.remote.sizes(self.sizes.keys(), stop=self.stop)
        for digest, size in self.sizes.items():
            if digest not in self.there:
                self.bad.setdefault(digest, "it is not there")
            elif size is not None and self.there[digest] != size:
                self.bad.setdefault(
                    digest, f"it has {self.there[digest]} bytes there, expected {size}"
                )

    def read(self) -> None:
        """Hash every byte of what is there."""
        todo = {digest: size for digest, size in self.there.items() if digest not in self.bad}
        wrong = wrong_bytes(self.remote, todo, what=f"verify {self.remote.name}", jobs=self.jobs,
                            stop=self.stop, progress=self.progress)  # fmt: skip
        self.bad |= dict.fromkeys(wrong, "its bytes changed")

    def repair(self) -> None:
        """Put again what is missing or damaged, objects before listings."""
        for digest in sorted(self.bad, key=lambda digest: digest in self.listings):
            entries = self.listings.get(digest)
            if entries is not None and any(entry.digest in self.bad for entry in entries):
                continue  # a listing there says that the whole tree is
            try:
                if entries is not None:
                    self.remote.settle()
                    self.remote.put_bytes(digest, entries.data(), replace=True)
                elif (path := self._path(digest)) is not None:
                    self.remote.put(digest, path, stop=self.stop, replace=True)
                else:
                    continue
            except IntegrityError as error:
                self.progress.note(str(error))
                continue
            del self.bad[digest]
            self.there.setdefault(digest, self.sizes.get(digest) or 0)
        self.remote.settle()

    def verified(self) -> Verified:
        """Return what was found, as a verify of the store says it."""
        result = Verified()
        result.objects = len(self.there)
        result.bytes = sum(self.there.values())
        result.bad = [
            Bad(digest, f"{reason}, on {self.remote.name}", tree=digest in self.listings)
            for digest, reason in sorted(self.bad.items())
        ]
        result.hint = f"cas verify --remote {self.remote.name} --repair"
        return result

    def _path(self, digest: Digest) -> str | None:
        paths = (store.object(digest) for store in self.project.stores.readable)
        return next((path for path in paths if os.path.lexists(path)), None)

    def _size(self, digest: Digest) -> int | None:
        path = self._path(digest)
        try:
            return os.lstat(path).st_size if path else None
        except OSError:
            return None


class _Kept(Hashed):
    """A sink that also keeps what came."""

    def restart(self) -> None:
        """Forget all bytes held."""
        super().restart()
        self.data = bytearray()

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        super().write(data)
        self.data += data
