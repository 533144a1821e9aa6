"""Files of locked assets: where they lie here, and those that are not here, one at a time.

A file that is missing comes from the remotes, or from the Hub at the locked commit. It must be
the one that the locked listing names, is kept in the store as an object, and is held there by
the project's root, as all that its lock names is. The asset stays ``not pulled``: its tree is
built by ``cas pull``, which finds these files there.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from cas.errors import CasError, IntegrityError, NotPulled, SourceError, StoreError, typed
from cas.filesystem.place import Files, Names
from cas.installer import Bringer
from cas.installer.apart import borrow
from cas.installer.remotes import worse
from cas.listing import Listing, tree_id
from cas.progress import QUIET, human
from cas.project import Used, watch_git
from cas.project.access import store_for
from cas.project.bad import tell_if_bad
from cas.request import HubRequest
from cas.resolver.lock import announced
from cas.store import (
    Spoiled,
    announce,
    end,
    one_download,
    open_store,
    read_listing,
    read_sidecar,
    rebuilt_listing,
    settle,
    shared_gc_mutex,
    usable,
)
from cas.warm import tree_of_link

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from cas.digest import Digest
    from cas.hub import Snapshot
    from cas.lockfile import Asset
    from cas.project import Project
    from cas.store import Store

__all__ = ["Locked"]

_Brought = TypeVar("_Brought")

SILENT = 60.0  # seconds; each try to reach a Hub that can't be reached takes some


class Locked:
    """The files that one project has locked. Safe to use from several threads."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._names: tuple[tuple[int, ...], Names] | None = None
        self._files: dict[tuple[Digest, str | None], Files] = {}
        self._sizes: dict[Digest, dict[str, int]] = {}
        self._snapshots: dict[Digest, Snapshot] = {}
        self._asking = threading.Lock()
        self._silent = 0.0  # until then the Hub is not asked for sizes, for it did not answer
        self._told: set[Digest] = set()

    @property
    def lock_path(self) -> str:
        """The lock that counts: assets.lock, or that of ``cas run --at``."""
        return self.project.past or self.project.lock_path

    def names(self) -> Names:
        """Return the names of the lock as it is now."""
        status = os.stat(self.lock_path)
        key = (status.st_ino, status.st_size, status.st_mtime_ns)
        if self._names is None or self._names[0] != key:
            self._names = key, Names(self.project.read_lock())
        return self._names[1]

    def forget(self) -> None:
        """Ask again for all that was kept of earlier answers."""
        self._names, self._silent = None, 0.0
        self._files, self._sizes, self._snapshots = {}, {}, {}

    def files(self, asset: Asset) -> Files:
        """Return the files of an asset; its listing is made again where it is not here.

        Raises NotPulled where no source can tell it, and all that asking the Hub raises.
        """
        key = asset.tree, asset.file
        if key not in self._files:
            self._files[key] = Files(asset, self._listing(asset))
        return self._files[key]

    def sizes(self, asset: Asset, paths: Iterable[str]) -> dict[str, int | None]:
        """Return the size in bytes of files; None where no source can be asked for it."""
        known = self._sizes.get(asset.tree) or self._sizes_of_tree(asset)
        if known:
            return {path: known.get(path) for path in paths}
        digests = self.files(asset).digests
        found: dict[str, int | None] = {}
        for path in paths:
            found[path] = self._size_here(digests[path])
        if None in found.values() and time.monotonic() >= self._silent:
            try:
                listed = {file.path: file.size for file in self._snapshot(asset).files}
            except CasError:
                self._silent = time.monotonic() + SILENT
                return found
            self._sizes[asset.tree] = {path: listed[path] for path in digests if path in listed}
            found = {path: size if size is not None else listed.get(path)
                     for path, size in found.items()}  # fmt: skip
        return found

    def local(self, asset: Asset, path: str) -> str:
        """Return where a file of the asset lies on this machine, fetched if it must be.

        The use of the asset is noted. Raises Edited, NotPulled, Offline, AccessDenied,
        SourceError, IntegrityError, StoreError.
        """
        try:
            found = self.project.path(asset.name)
        except NotPulled:
            digest = self.files(asset).digests[path]
            place = self._here(digest) or self._fetch(asset, path, digest)
            self.note(asset)
            return place
        self._watch()
        return found if asset.file else os.path.join(found, path)

    def note(self, asset: Asset) -> None:
        """Note that the asset is used, for lineage; the first time, tell what is bad about it."""
        self.project.uses.note(Used(asset.name, asset.tree_id, asset.commit, "input"))
        self._watch()
        if asset.tree not in self._told:
            self._told.add(asset.tree)
            tell_if_bad(self.project, asset.name, asset.tree_id)

    def _watch(self) -> None:
        if not self.project.uses.watched:
            watch_git(self.project.root)
            self.project.uses.watched = True

    def _size_here(self, digest: Digest) -> int | None:
        for store in self.project.stores.readable:
            try:
                status = os.lstat(store.object(digest))
            except OSError:
                continue
            if not store.is_foreign(status) or _is_right(store, digest):
                return status.st_size
        return None

    def _sizes_of_tree(self, asset: Asset) -> dict[str, int] | None:
        """Return the sizes that the tree's sidecar has, where the tree stands."""
        store = self._store_of(asset)
        sidecar = read_sidecar(store, asset.tree) if store else None
        digests = self.files(asset).digests
        if sidecar is None or len(sidecar.sizes) != len(digests):
            return None
        self._sizes[asset.tree] = dict(zip(digests, sidecar.sizes, strict=True))
        return self._sizes[asset.tree]

    def _store_of(self, asset: Asset) -> Store | None:
        """Return the store in which the asset's tree stands."""
        found = self.project.tree_of(asset)
        place = tree_of_link(found[0]) if found else None
        return open_store(place[0], create=False, named=False) if place else None

    def _here(self, digest: Digest) -> str | None:
        """Return where an object is, in any store that can be read; its bytes are proved."""
        for store in self.project.stores.readable:
            if _is_right(store, digest):
                return store.object(digest)
        return None

    def _listing(self, asset: Asset) -> Listing:
        store = self._store_of(asset)
        listing = read_listing(store, asset.tree) if store else None
        if listing is None and store is not None:
            listing = rebuilt_listing(store, asset.tree)
        listing = listing or self.project.stores.listing(asset.tree)
        return listing or self._listing_again(asset)

    def _listing_again(self, asset: Asset) -> Listing:
        """Have the locked listing from a remote, or make it of what the Hub has, and keep it."""
        return self._bring(asset, "its listing is", lambda at: self._listing_into(at, asset))

    def _listing_into(self, store: Store, asset: Asset) -> Listing:
        with self._held(store, asset):
            bringer = self._bringer(store)
            listing = bringer.remotes.listing(bringer, asset.tree, files=asset.files)
            if listing is not None:
                return listing
            with _also_said(bringer, asset):
                if not isinstance(asset.request, HubRequest):
                    raise _not_here(asset, "its listing is")
                snapshot = self._snapshot(asset)
                listing, sizes = bringer.digests_of(snapshot, None, asset.name)
                if listing.digest != asset.tree:
                    raise _moved(asset, snapshot, tree_id(listing.digest))
            bringer.put_listing(listing)
        self._sizes[asset.tree] = sizes
        return listing

    def _fetch(self, asset: Asset, path: str, digest: Digest) -> str:
        """Bring one file into the store, and return where it is."""
        return self._bring(
            asset, f"{path!r} is", lambda at: self._fetch_into(at, asset, path, digest)
        )

    def _bring(self, asset: Asset, what: str, bring: Callable[[Store], _Brought]) -> _Brought:
        """Bring something of an asset into its store and return it.

        Where a name in a shared store is another user's, who spoilt it or whom nobody is to
        believe, it goes to the user's own.
        """
        store = self._store_for(asset, what)
        try:
            return bring(store)
        except Spoiled:
            if store is not self.project.store:
                raise
            return bring(self.project.stores.make_own())

    def _fetch_into(self, store: Store, asset: Asset, path: str, digest: Digest) -> str:
        with one_download(store, digest, f"{asset.name}: {path}", QUIET):
            if found := self._here(digest):
                return found  # another thread or process brought it
            _need_not_anothers(store, digest)
            with self._held(store, asset):
                bringer = self._bringer(store)
                if read_listing(store, asset.tree) is None:  # it lies in another store
                    bringer.put_listing(self._listing(asset))
                alone = Listing.of([(path, digest)])
                if not borrow(bringer, alone):
                    bringer.remotes.bring(bringer, asset.tree, asset.name, alone)
                if digest not in usable(store, {digest: None}):
                    with _also_said(bringer, asset):
                        self._from_hub(bringer, asset, path, digest)
        _need_not_anothers(store, digest)
        return store.object(digest)

    def _from_hub(self, bringer: Bringer, asset: Asset, path: str, digest: Digest) -> None:
        if not isinstance(asset.request, HubRequest):
            raise _not_here(asset, f"{path!r} is")
        snapshot = self._snapshot(asset)
        file = next((file for file in snapshot.files if file.path == path), None)
        if file is None or file.sha256 not in (None, digest):
            raise _moved(asset, snapshot, f"another file {path!r}" if file else f"no {path!r}")
        came = bringer.fetch_files(snapshot, [file], asset.name, names=[asset.request.repo])
        if came[path] != digest:
            raise _moved(asset, snapshot, f"another file {path!r}")

    def _snapshot(self, asset: Asset) -> Snapshot:
        """Return what the Hub lists at the locked commit, asked once.

        Where that commit is gone (the history was squashed), what the requested revision has;
        the locked listing decides whether it will serve.
        """
        from cas import hub

        request = asset.request
        if not isinstance(request, HubRequest):
            raise SourceError(f"{asset.name!r} did not come from the Hub")

        def ask(revision: str | None) -> Snapshot:
            return hub.resolve(
                request.kind,  # type: ignore[arg-type]  # parsed to one of the three kinds
                asset.repo or request.repo,
                revision,
                include=request.include,
                exclude=request.exclude,
            )

        with self._asking:
            if asset.tree not in self._snapshots:
                try:
                    self._snapshots[asset.tree] = ask(asset.commit)
                except hub.NotOnHub:
                    self._snapshots[asset.tree] = ask(request.revision)
            return self._snapshots[asset.tree]

    def _bringer(self, store: Store) -> Bringer:
        lock = self.names().lock
        bringer = Bringer(self.project, lock, progress=QUIET, offline=False, jobs=8)
        bringer.enter(store)
        return bringer

    def _store_for(self, asset: Asset, what: str) -> Store:
        """Return the store that takes files of the asset; raise StoreError."""
        store = store_for(self.project, self.names().lock, asset)
        if store.readonly:
            raise StoreError(
                f"{asset.name!r}: {what} not here, and the store {store.root} can't be written: "
                f"{store.readonly}",
                hint="CAS_STORE=DIR names another store",
            )
        return store

    @contextmanager
    def _held(self, store: Store, asset: Asset) -> Iterator[None]:
        """Let gc know of the asset's tree while it is used, and of the project's needs after."""
        project = self.project
        if store is project.store:
            with announced(project, {asset.tree}):
                yield
            return
        root = project.root_id(draw=True) or ""
        with shared_gc_mutex(store):
            call = announce(store, root, path=project.root, trees=[asset.tree])
        try:
            yield
            trees = {one.tree for one in self.names().lock}
            settle(store, root, path=project.root, lock=None, trees=trees, keep_experiments=True)
        finally:
            end(call)


def _is_right(store: Store, digest: Digest) -> bool:
    """Say whether a store has an object, its bytes proved; another user's wrong one is none.

    Nor is any of his where the store says ``trust = "own"``.
    """
    try:
        _need_not_anothers(store, digest)
        return digest in usable(store, {digest: None})
    except Spoiled:
        return False


def _need_not_anothers(store: Store, digest: Digest) -> None:
    """Raise Spoiled for an object of another user in a store that says ``trust = "own"``."""
    path = store.object(digest)
    if store.trust == "own" and os.path.lexists(path) and store.is_foreign(os.lstat(path)):
        raise Spoiled(f"{path} is another user's, and the store says trust = 'own'")


@contextmanager
def _also_said(bringer: Bringer, asset: Asset) -> Iterator[None]:
    """Add to an error what the remotes said before."""
    try:
        yield
    except (SourceError, IntegrityError, NotPulled) as error:
        network = isinstance(asset.request, HubRequest)
        raise worse(error, bringer.remotes.errors, network=network) from None


def _not_here(asset: Asset, what: str) -> NotPulled:
    return NotPulled(
        f"{asset.name!r} ({human(asset.size)}) is locked and {what} not here, nor on a remote",
        hint=f"cas pull {typed(asset.name)}",
    )


def _moved(asset: Asset, snapshot: Snapshot, found: str) -> IntegrityError:
    return IntegrityError(
        f"{asset.name!r} at {snapshot.repo}@{snapshot.commit[:12]}",
        expected=f"tree {asset.tree_id}",
        actual=found,
        hint=f"cas lock --update {typed(asset.name)} pins what the Hub has now",
    )
