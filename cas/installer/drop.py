"""drop: the local copy of an asset goes, because another source was just seen to have it all.

What goes may be the only right copy, so no name, size or checksum of a bucket is enough: it
may have been overwritten, or its disk have rotted. The Hub states the SHA-256 of what it has at
a commit, and is believed where it does; a remote's bytes are read back and hashed here, which
takes what the next pull of them takes.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cas.digest import CHUNK, git_blob_hasher, open_to_read
from cas.errors import CasError, Edited, NotPulled, Offline, SourceError, StoreError, typed
from cas.installer.link import unlink_view
from cas.installer.push import store_of
from cas.installer.readback import wrong_bytes
from cas.names import view_of
from cas.progress import QUIET
from cas.project import look
from cas.project.places import STACKED
from cas.project.remotes import places
from cas.remote import open_remote
from cas.request import HubRequest
from cas.store import drop_tree, note_remote, read_listing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cas.digest import Digest
    from cas.listing import Listing
    from cas.lockfile import Asset
    from cas.progress import Progress
    from cas.project import Project
    from cas.remote import Remote
    from cas.store import Store

__all__ = ["Dropped", "drop"]

JOBS = 16  # objects that are read back at a time


@dataclass(slots=True, kw_only=True)
class Dropped:
    """One asset that was to be dropped."""

    name: str
    tree: str
    sources: list[str] = field(default_factory=list)
    """Who was just seen to have every byte: a remote's name, or the Hub's repository."""
    bytes: int = 0
    """Freed on this disk."""
    error: CasError | None = None
    """Why it stays."""

    def json(self) -> dict[str, Any]:
        """Return it as ``cas drop --json`` says it."""
        return {"name": self.name, "tree": self.tree, "sources": self.sources,
                "bytes": self.bytes, "dropped": self.error is None}  # fmt: skip


def drop(
    project: Project,
    words: Iterable[str],
    *,
    dry_run: bool = False,
    progress: Progress = QUIET,
) -> list[Dropped]:
    """Remove the local copies of assets that a remote, or the Hub at the pinned commit, has.

    The Hub must list the same hashes now; a remote's bytes are read back and hashed (*dry_run*
    only looks for them, with their size). The asset stays in the lock, and ``cas pull`` brings
    it back. What no source has whole stays, and its row says why.
    """
    lock = project.read_lock()
    seeker = _Seeker(project, progress, prove=not dry_run)
    rows = []
    for asset in lock.select(list(words)):
        row = Dropped(name=asset.name, tree=asset.tree_id)
        rows.append(row)
        try:
            _drop(project, asset, row, seeker, dry_run=dry_run)
        except CasError as error:
            row.error = error
    return rows


def _drop(project: Project, asset: Asset, row: Dropped, seeker: _Seeker, *, dry_run: bool) -> None:
    view = look(project.root, view_of(asset.name))
    if asset.name in project.edited() and view.state in ("directory", "file"):
        raise Edited(f"{asset.name!r} is being edited: {view_of(asset.name)} is a writable copy",
                     hint=f"cas pull --force {typed(asset.name)} goes back")  # fmt: skip
    found = project.tree_of(asset)
    if found is None:
        raise NotPulled(f"{asset.name!r} is not here")
    store = store_of(project, found[0])
    listing = read_listing(store, asset.tree)
    if listing is None:
        raise SourceError(f"the listing of {asset.name!r} is lost", hint="cas verify --repair")
    if any(store is stacked for stacked in project.stores.stacked):
        raise StoreError(f"{asset.name!r} lies in {store.root}: {STACKED}",
                         hint=f"CAS_STORE={typed(store.root)} CAS_STORE_PATH= cas drop "
                         f"{typed(asset.name)}, as one who may write it")  # fmt: skip
    store.need_writable()
    row.sources = [seeker.seek(asset, store, listing)]
    root = project.root_id(draw=True) or ""
    row.bytes = drop_tree(store, listing, root=root, dry_run=dry_run)
    if not dry_run and view.state == "link":
        unlink_view(project, asset.name)


class _Seeker:
    """Looks who has every byte of a tree; remotes are opened once."""

    def __init__(self, project: Project, progress: Progress, *, prove: bool) -> None:
        self._project = project
        self._progress = progress
        self._prove = prove
        self._remotes: list[Remote] | None = None
        self._why: list[str] = []
        self._offline: Offline | None = None

    def seek(self, asset: Asset, store: Store, listing: Listing) -> str:
        """Return who has all of it; raise SourceError, which says why nobody does."""
        sizes = {entry.digest: _size(store, entry.digest) for entry in listing}
        holders, why, hint = [], [], f"cas push {typed(asset.name)}"
        for remote in self._open():
            try:
                lacks = _lacks(remote, listing, sizes)
            except CasError as error:
                why.append(str(error))
                continue
            note_remote(store, asset.tree, remote.place.url, there=not lacks)
            if lacks:
                why.append(f"{remote.name!r} lacks {lacks}")
            else:
                holders.append(remote)
        if isinstance(asset.request, HubRequest):  # asked first: nothing has to come from it
            repo = asset.repo or asset.request.repo
            try:
                lacks = self._hub_lacks(asset, asset.request, store, listing, sizes)
            except CasError as error:
                self._offline = error if isinstance(error, Offline) else None
                why.append(str(error))
            else:
                if not lacks:
                    return f"{repo}@{(asset.commit or '')[:12]}"
                why.append(f"{repo!r} lacks {lacks}")
        for remote in holders:
            try:
                wrong = self._wrong(remote, asset, listing, sizes)
            except CasError as error:
                why.append(str(error))
                continue
            if not wrong:
                return remote.name
            note_remote(store, asset.tree, remote.place.url, there=False)
            why.append(f"{remote.name!r} has other bytes of {wrong}")
            hint = remote.repair
        told = "; ".join([*self._why, *why]) or "no remote and no Hub is known to have it"
        raise SourceError(f"{asset.name!r} was not dropped: {told}", hint=hint)

    def _wrong(
        self, remote: Remote, asset: Asset, listing: Listing, sizes: dict[Digest, int]
    ) -> str:
        """Read a tree back from a remote; return what is wrong there, or ``""``."""
        if not self._prove:
            return ""
        wrong = wrong_bytes(
            remote, sizes | {listing.digest: len(listing.data())},
            what=f"{asset.name}: read back from {remote.name}", jobs=JOBS,
            stop=threading.Event(), progress=self._progress,
        )  # fmt: skip
        if listing.digest in wrong:
            return "its listing"
        return next((repr(path) for path, digest in listing if digest in wrong), "")

    def _open(self) -> list[Remote]:
        if self._remotes is None:
            self._remotes = []
            for place in places(self._project):
                try:
                    remote = open_remote(place, notice=self._progress.note)
                    if remote.begin():
                        self._remotes.append(remote)
                except CasError as error:
                    self._why.append(str(error))
        return self._remotes

    def _hub_lacks(
        self,
        asset: Asset,
        request: HubRequest,
        store: Store,
        listing: Listing,
        sizes: dict[Digest, int],
    ) -> str:
        """Return what the Hub does not have at the pinned commit, or ``""``.

        Once it could not be reached, it is not asked for the next tree: that may take its time.
        """
        from cas import hub

        if self._offline:
            raise self._offline

        snapshot = hub.resolve(
            request.kind,  # type: ignore[arg-type]  # parsed to one of the three kinds
            asset.repo or request.repo,
            asset.commit,
            include=request.include,
            exclude=request.exclude,
            notice=self._progress.note,
        )
        there = {file.path: file for file in snapshot.files}
        for path, digest in listing:
            file = there.get(path)
            if file is None or file.size != sizes[digest]:
                return repr(path)
            same = (
                file.sha256 == digest
                if file.sha256
                else _git_sha1(store, digest, file.size) == file.git_sha1
            )
            if not same:
                return f"the bytes of {path!r}"
        return ""


def _lacks(remote: Remote, listing: Listing, sizes: dict[Digest, int]) -> str:
    """Return what a remote does not have of a tree, or ``""``."""
    if remote.size(listing.digest) != len(listing.data()):
        return "its listing"
    there = remote.sizes(sizes.keys(), stop=threading.Event())
    for path, digest in listing:
        if digest not in there:
            return repr(path)
        if there[digest] != sizes[digest]:
            return f"bytes of {path!r}"
    return ""


def _size(store: Store, digest: Digest) -> int:
    try:
        return os.lstat(store.object(digest)).st_size
    except OSError:
        return -1


def _git_sha1(store: Store, digest: Digest, size: int) -> str | None:
    hasher = git_blob_hasher(size)
    try:
        with open(open_to_read(store.object(digest)), "rb") as file:
            while data := file.read(CHUNK):
                hasher.update(data)
    except OSError:
        return None
    return hasher.hexdigest()
