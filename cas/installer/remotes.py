"""The remotes of a project as sources: asked in order, before the Hub, each miss falls through.

One that is down, refuses or lies is told once, where another source serves; where none does,
what it said is part of the error. Bytes are hashed as they come, whatever a remote says.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from cas.errors import (
    AccessDenied,
    CasError,
    IntegrityError,
    ListingError,
    Offline,
    SourceError,
)
from cas.installer.space import check_space
from cas.project.remotes import places
from cas.remote import Remote, open_remote
from cas.store import LOCAL, Publisher, build, note_remote, read_listing, usable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cas.digest import Digest
    from cas.installer.bring import Bringer
    from cas.listing import Listing
    from cas.progress import Progress
    from cas.project import Project
    from cas.store import Staged, Store

__all__ = ["Remotes", "bring_tree", "missing_of", "worse"]

A_LINE = 64 + 2 + 1024 + 1  # bytes of a listing's longest line
LISTING = 256 << 20  # bytes that a listing may have where its files were not counted
ANY = 1 << 50  # bytes that an object may have where its tree's size is not known


class Remotes:
    """The remotes of one call."""

    def __init__(self, project: Project, *, offline: bool, progress: Progress) -> None:
        self._project = project
        self._offline = offline
        self._progress = progress
        self._opened: list[Remote] | None = None
        self.errors: dict[str, CasError] = {}
        """Remote → why it is not asked any more."""
        self.served: dict[Digest, str] = {}
        """Tree → the URL of the remote that has its listing, and so all of it, or gave all."""

    def bring(
        self,
        bringer: Bringer,
        tree: Digest,
        what: str,
        listing: Listing | None,
        *,
        files: int = 0,
        size: int = 0,
    ) -> Listing | None:
        """Bring what is missing of a tree into the bringer's store; return its listing.

        None where no remote has the listing and it is not here. *files* and *size* (bytes) are
        the tree's, where they are known. Objects that no remote has stay missing.
        """
        for remote in self:
            missing: list[Digest] = []
            try:
                if listing is None:
                    listing = _fetch_listing(bringer, remote, tree, files)
                    if listing is not None:
                        self.served[tree] = remote.place.url
                if listing is None:
                    continue
                missing = missing_of(bringer.store, listing)
                if missing:
                    _fetch_objects(bringer, remote, listing, missing, what, size)
            except SourceError as error:
                self._tell(remote, error)
            except IntegrityError as error:
                self._progress.note(str(error) + (f": {error.hint}" if error.hint else ""))
                self.errors.setdefault(remote.name, error)
            if listing is not None and not missing_of(bringer.store, listing):
                if len(missing) == len({entry.digest for entry in listing}):
                    self.served[tree] = remote.place.url
                break
        return listing

    def listing(self, bringer: Bringer, tree: Digest, *, files: int = 0) -> Listing | None:
        """Fetch the listing of a tree alone; None where no remote has it."""
        for remote in self:
            try:
                if listing := _fetch_listing(bringer, remote, tree, files):
                    return listing
            except (SourceError, IntegrityError, ListingError) as error:
                self._tell(remote, error)
        return None

    def __iter__(self) -> Iterator[Remote]:
        """Yield the remotes that answer, in order."""
        if self._opened is None:
            self._opened = self._open()
        for remote in list(self._opened):
            if remote in self._opened:
                yield remote

    def _open(self) -> list[Remote]:
        try:
            found = places(self._project)
        except CasError as error:
            self._progress.note(f"no remote is asked: {error}")
            return []
        opened = []
        for place in found:
            if self._offline and place.scheme != "file":
                continue
            try:
                remote = open_remote(place, notice=self._progress.note)
                if remote.begin():
                    opened.append(remote)
            except CasError as error:
                self._note(place.name, error)
        return opened

    def _tell(self, remote: Remote, error: CasError) -> None:
        """Tell that a remote failed, and ask it no more."""
        if self._opened is not None and remote in self._opened:
            self._opened.remove(remote)
        self._note(remote.name, error)

    def _note(self, name: str, error: CasError) -> None:
        if name not in self.errors:
            self._progress.note(f"{error}; it is asked no more"
                                + (f" ({error.hint})" if error.hint else ""))  # fmt: skip
        self.errors[name] = error


def _fetch_listing(bringer: Bringer, remote: Remote, tree: Digest, files: int) -> Listing | None:
    """Fetch a tree's listing into the store; None if it is not there."""
    limit = files * A_LINE + 64 if files else LISTING
    staged = bringer.staging.open(f"listing {tree} of {remote}", sha256=tree)
    publisher = Publisher(bringer.store)
    stop = threading.Event()
    try:
        if not remote.fetch(tree, staged, limit=limit, stop=stop):
            staged.abandon(keep=False)
            return None
        staged.finish()
    except IntegrityError as error:
        raise _wrong(remote, error) from None
    except BaseException:
        staged.abandon()
        raise
    publisher.add(staged)
    publisher.flush()
    listing = read_listing(bringer.store, tree)
    if listing is None:
        raise ListingError(f"object {tree} of {remote} is no listing that cas wrote")
    return listing


def bring_tree(bringer: Bringer, tree: Digest, what: str) -> bool:
    """Make a tree that no lock knows stand in the store; say whether the remotes had it whole.

    Raises Vanished, StoreError, ListingError.
    """
    store = bringer.store
    listing = bringer.remotes.bring(bringer, tree, what, read_listing(store, tree))
    if listing is None or missing_of(store, listing):
        return False
    bringer.put_listing(listing)
    build(store, listing, LOCAL, single=len(listing) == 1)
    if url := bringer.remotes.served.get(tree):
        note_remote(store, tree, url)
    return True


def missing_of(store: Store, listing: Listing) -> list[Digest]:
    """Return the objects of a listing that are not in the store, or not right there."""
    wanted: dict[Digest, int | None] = {entry.digest: None for entry in listing}
    good = usable(store, wanted)
    return [digest for digest in wanted if digest not in good]


def _fetch_objects(
    bringer: Bringer, remote: Remote, listing: Listing, missing: list[Digest], what: str, size: int
) -> None:
    """Fetch objects; what a remote does not have, or has wrong, is left to the next one."""
    room = _room(bringer.store, listing, missing, size)
    check_space(bringer.store, (room or 0) - bringer.staging.held(missing))
    names = {entry.digest: entry.path for entry in listing}
    publisher = Publisher(bringer.store)
    stop = threading.Event()
    bringer.progress.begin(f"{what} from {remote.name}", files=len(missing), size=room or 0)
    try:
        again = _Fetch(bringer, remote, names, publisher, stop, room).all(missing)
        if again:  # their bytes were wrong: once more, for that may have been the line
            wrong = _Fetch(bringer, remote, names, publisher, stop, room).all(again)
            if wrong:
                raise IntegrityError(
                    f"{len(wrong)} objects of {remote}, as {names[wrong[0]]!r} of {what}",
                    expected=f"sha256 {wrong[0]}", actual="other bytes", hint=remote.repair,
                )  # fmt: skip
    finally:
        publisher.flush()
        bringer.progress.end()


def _room(store: Store, listing: Listing, missing: list[Digest], size: int) -> int | None:
    """Return how many bytes the missing objects have at most, or None if nothing says it."""
    if not size:
        return None
    lacking = set(missing)
    here = 0
    for entry in listing:
        if entry.digest not in lacking:
            try:
                here += os.lstat(store.object(entry.digest)).st_size
            except OSError:
                continue
    return max(size - here, 0)


class _Fetch:
    """One round of fetching objects from one remote."""

    def __init__(
        self,
        bringer: Bringer,
        remote: Remote,
        names: dict[Digest, str],
        publisher: Publisher,
        stop: threading.Event,
        room: int | None,
    ) -> None:
        self._bringer = bringer
        self._remote = remote
        self._names = names
        self._publisher = publisher
        self._stop = stop
        self._room = ANY if room is None else room
        self._open: dict[Digest, Staged] = {}

    def all(self, digests: list[Digest]) -> list[Digest]:
        """Fetch them into the store; return those whose bytes were wrong.

        Raises the first error of another kind, when what came was published.
        """
        from cas.remote import each

        bringer = self._bringer
        wrong: list[Digest] = []
        failed: list[CasError] = []
        jobs = self._remote.jobs(bringer.jobs)
        try:
            for digest, there, error in each(digests, self._one, jobs=jobs, stop=self._stop):
                staged = self._open.pop(digest, None)
                if isinstance(error, IntegrityError):
                    wrong.append(digest)
                elif error is not None:
                    failed.append(error)
                    if isinstance(error, Offline | AccessDenied):
                        break  # all others would meet it too
                elif there and staged is not None:
                    if staged.sums is not None:
                        self._publisher.add(staged)
                        bringer.files += 1
                        bringer.bytes += staged.sums.size
                        bringer.progress.advance(0, files=1)
                    continue
                if staged is not None:
                    staged.abandon()
        finally:
            for staged in list(self._open.values()):
                staged.abandon()
        if failed:
            raise failed[0]
        return wrong

    def _one(self, digest: Digest) -> bool:
        bringer = self._bringer
        what = f"{self._names[digest]!r} of {self._remote}"
        staged = self._open[digest] = bringer.staging.open(what, sha256=digest)
        if staged.offset:
            bringer.progress.advance(staged.offset)
        there = self._remote.fetch(
            digest, staged, limit=self._room, stop=self._stop, progress=bringer.progress.advance
        )
        if there:
            try:
                staged.finish()
            except IntegrityError:
                bringer.progress.advance(-staged.offset)
                raise
        return there


def worse(error: CasError, errors: dict[str, CasError], *, network: bool) -> CasError:
    """Return the one error for what no source gave: the last source's, and the remotes'.

    Offline only where every source that was asked over the network (*network*: the last one
    too) could not be reached, AccessDenied where all refused.
    """
    if not errors:
        return error
    said = [*errors.values(), *([error] if network else [])]
    kinds: list[type[CasError]] = [Offline, AccessDenied]
    kind = next((k for k in kinds if all(isinstance(e, k) for e in said)), SourceError)
    lines = "".join(f"\n  {one}" for one in errors.values())
    hint = next((one.hint for one in said if one.hint), error.hint)
    return kind(f"{error}; the remotes:{lines}", hint=hint)


def _wrong(remote: Remote, error: IntegrityError) -> IntegrityError:
    return IntegrityError(f"listing of {remote}", expected=error.expected, actual=error.actual,
                          hint=remote.repair)  # fmt: skip
