"""Bring the bytes of one asset into the store, from wherever they can be had.

What is in the store is not fetched again. Bytes are hashed as they come, enter the store by
hash, and the tree that they make must be the locked one: whoever serves them can at worst
refuse.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cas.digest import CHUNK, Digest, git_blob_hasher
from cas.errors import (
    CasError,
    IntegrityError,
    Offline,
    SourceError,
    typed,
)
from cas.installer.apart import borrow, bring_apart, goes_apart
from cas.installer.cached import adopt
from cas.installer.origin import origin_of
from cas.installer.remotes import Remotes, missing_of, worse
from cas.installer.space import check_space
from cas.listing import Listing, tree_id
from cas.progress import human
from cas.project import look
from cas.request import HubRequest, LocalRequest, RecipeRequest
from cas.store import (
    Publisher,
    Spoiled,
    Staging,
    add_bytes,
    build,
    check_twins,
    note_remote,
    one_download,
    read_listing,
    read_sidecar,
    rebuilt_listing,
    standing,
    usable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Executor

    from cas.hub import HubFile, Snapshot
    from cas.lockfile import Asset, Lockfile
    from cas.progress import Progress
    from cas.project import Project
    from cas.store import Staged, Store

__all__ = ["Bringer", "check_space", "origin_of"]


class _Opening:
    """Opens one file's sink: of 100,000 files a function each would take 20 MB."""

    __slots__ = ("_file", "_make")

    def __init__(self, make: Callable[[HubFile], Staged], file: HubFile) -> None:
        self._make, self._file = make, file

    def __call__(self) -> Staged:
        return self._make(self._file)


class Bringer:
    """Brings assets of one project into its store, and counts what came."""

    def __init__(
        self,
        project: Project,
        lock: Lockfile,
        *,
        progress: Progress,
        offline: bool,
        jobs: int,
        executor: Executor | None = None,
    ) -> None:
        self.project = project
        self.store: Store = project.store
        self.lock = lock
        self.progress = progress
        self.offline = offline
        self.jobs = jobs
        self.executor = executor
        """Where the work of recipes is done; None: processes of this machine."""
        self.files = 0
        """Files that came over the network."""
        self.bytes = 0
        self._staging: Staging | None = None
        self.remotes = Remotes(project, offline=offline, progress=progress)
        self.making: set[str] = set()
        """Derived assets whose inputs are being brought: none of them is made of itself."""

    @property
    def staging(self) -> Staging:
        """The staging directory, looked at once."""
        if self._staging is None:
            self.store.need_writable()
            self._staging = Staging(self.store)
        return self._staging

    def bring(self, asset: Asset) -> str:
        """Make the tree of *asset* stand in the store, and return its path.

        Raises:
            Offline, AccessDenied, SourceError, StoreError: it can't be had.
            IntegrityError: a source has other bytes than those locked.
            NotReproducible: its recipe made other bytes than those locked.
            Vanished: an object went meanwhile; start the call again.
        """
        if goes_apart(self, asset):
            return bring_apart(self, asset)
        try:
            return self._bring(asset)
        except Spoiled as error:
            if self.store is not self.project.store:
                raise
            self.progress.note(f"{asset.name}: {error}; it goes to your own store")
            return bring_apart(self, asset)

    def _bring(self, asset: Asset) -> str:
        self.store.need_writable()
        listing = read_listing(self.store, asset.tree)
        if listing is None and os.path.isdir(self.store.tree(asset.tree)):
            listing = rebuilt_listing(self.store, asset.tree)
        if listing is None or not self._complete(asset, listing):
            with one_download(self.store, asset.tree, asset.name, self.progress) as waited:
                if waited:
                    if standing(self.store, asset.tree)[0]:
                        return self.store.tree(asset.tree)
                    self._staging = None  # the other one may have left partials to go on from
                listing = listing or self.project.stores.listing(asset.tree)
                if listing is None or not borrow(self, listing):
                    listing = self.source(asset, listing)
                self.put_listing(listing)
                path, _ = build(self.store, listing, origin_of(asset), single=bool(asset.file))
                if url := self.remotes.served.get(asset.tree):
                    note_remote(self.store, asset.tree, url)
                return path
        self.put_listing(listing)
        path, _ = build(self.store, listing, origin_of(asset), single=bool(asset.file))
        return path

    def enter(self, store: Store) -> None:
        """Bring into *store* from now on, and count anew."""
        self.store, self._staging = store, None
        self.files = self.bytes = 0

    def source(self, asset: Asset, listing: Listing | None = None) -> Listing:
        """Bring what is missing of an asset: from the remotes, the Hub, its recipe, its file."""
        listing = self.remotes.bring(
            self, asset.tree, asset.name, listing, files=asset.files, size=asset.size
        )
        if listing is not None and not missing_of(self.store, listing):
            return listing
        try:
            match asset.request:
                case HubRequest():
                    return self._from_hub(asset, asset.request, listing)
                case RecipeRequest():
                    from cas.installer.derive import from_recipe

                    return from_recipe(self, asset)
                case LocalRequest():
                    return self._from_source(asset, asset.request)
        except (SourceError, IntegrityError) as error:
            raise worse(
                error, self.remotes.errors, network=isinstance(asset.request, HubRequest)
            ) from None

    def put_listing(self, listing: Listing) -> None:
        """Store the listing itself, durable."""
        publisher = Publisher(self.store)
        add_bytes(self.store, self.staging, listing.data(), publisher)
        publisher.flush()

    def fetch_files(
        self, snapshot: Snapshot, files: Iterable[HubFile], what: str, *, names: Iterable[str] = ()
    ) -> dict[str, Digest]:
        """Bring files of the Hub into the store; return path → digest of each.

        Raises the first error, when all the others have come.
        """
        from cas import hub

        if self.offline:
            raise Offline(f"{what}: the network is needed, and --offline is set")
        todo = {(f.sha256 or f.git_sha1): f for f in files}
        publisher = Publisher(self.store)
        opened: dict[str, Staged] = {}
        came: dict[str, Digest] = {}
        failed: list[CasError] = []
        again: list[HubFile] = []
        last_try = False

        def make(file: HubFile) -> Staged:
            sink = self.staging.open(
                f"{snapshot.repo}: {file.path!r}",
                size=file.size,
                sha256=file.sha256,
                git_sha1=None if file.sha256 else file.git_sha1,
            )
            opened[file.path] = sink
            if sink.offset:
                self.progress.advance(sink.offset)
            return sink

        def done(file: HubFile, sink: hub.Sink) -> None:
            staged = opened.pop(file.path)
            try:
                sums = staged.finish()
            except IntegrityError as error:
                if last_try:
                    failed.append(error)
                else:
                    again.append(file)
                self.progress.advance(-file.size)
                return
            came[file.sha256 or file.git_sha1] = sums.sha256
            publisher.add(staged)
            self.files += 1
            self.bytes += sums.size
            self.progress.advance(0, files=1)

        self.progress.begin(what, files=len(todo), size=sum(file.size for file in todo.values()))
        try:
            came |= adopt(self.staging, publisher, snapshot, todo.values(), names, self.progress)
            batch = [file for key, file in todo.items() if key not in came]
            held = self.staging.held(file.sha256 or f"git-{file.git_sha1}" for file in batch)
            check_space(self.store, sum(file.size for file in batch) - held)
            for last in (False, True):
                last_try = last
                answers = hub.fetch_many(
                    snapshot,
                    ((file, _Opening(make, file)) for file in batch),
                    jobs=self.jobs,
                    done=done,
                    progress=self.progress.advance,
                    notice=self.progress.note,
                    xet=not last,  # its bytes were wrong: by the plain GET
                )
                failed += [error for _, error in answers]
                batch, again = again, []
                if not batch or failed:
                    break
            publisher.flush()
        finally:
            for sink in list(opened.values()):
                sink.abandon()
            self.progress.end()
        if failed:
            raise failed[0]
        return {f.path: came[f.sha256 or f.git_sha1] for f in files}

    def digests_of(
        self, snapshot: Snapshot, old: Listing | None, what: str
    ) -> tuple[Listing, dict[str, int]]:
        """Return the listing of a snapshot with the size of each file.

        Large files are known by the Hub's SHA-256. The others are fetched and checked by
        git's SHA-1, unless *old* has one at that path with that SHA-1 in the store.
        """
        known: dict[str, Digest] = {f.path: f.sha256 for f in snapshot.files if f.sha256}
        before = {entry.path: entry.digest for entry in old} if old else {}
        small = []
        for file in snapshot.files:
            if file.sha256:
                continue
            digest = before.get(file.path)
            if digest and self._has_git_sha1(digest, file):
                known[file.path] = digest
            else:
                small.append(file)
        if small:
            known |= self.fetch_files(snapshot, small, what)
        return Listing.of(known.items()), {file.path: file.size for file in snapshot.files}

    def _complete(self, asset: Asset, listing: Listing) -> bool:
        sidecar = read_sidecar(self.store, asset.tree)
        sizes = sidecar.sizes if sidecar and len(sidecar.sizes) == len(listing) else None
        wanted: dict[Digest, int | None] = {
            entry.digest: sizes[n] if sizes else None for n, entry in enumerate(listing)
        }
        return len(usable(self.store, wanted)) == len(wanted)

    def _from_hub(self, asset: Asset, request: HubRequest, listing: Listing | None) -> Listing:
        from cas import hub

        if self.offline:
            raise Offline(f"{asset.name!r}: {_amount(asset)} are not in the store, and "
                          "--offline is set", hint=f"cas pull {typed(asset.name)}")  # fmt: skip
        repo, commit = asset.repo or request.repo, asset.commit or ""
        try:
            snapshot = self._resolve(request, repo, commit)
        except hub.NotOnHub:
            # the history was squashed: the tree id decides whether what there is will serve
            snapshot = self._resolve(request, repo, request.revision)
        except Offline as error:
            raise Offline(f"{asset.name!r}: {_amount(asset)} are not in the store: {error}",
                          hint=error.hint) from None  # fmt: skip
        check_twins(self.store, (f.path for f in snapshot.files))
        plain = {f.path for f in snapshot.files if not f.sha256}
        known = {path: digest for path, digest in listing or () if path in plain}
        digests = {f.path: f.sha256 or known.get(f.path) for f in snapshot.files}
        here = usable(self.store, {d: f.size for f in snapshot.files if (d := digests[f.path])})
        missing = [f for f in snapshot.files if digests[f.path] not in here]
        if missing:
            digests |= self.fetch_files(snapshot, missing, asset.name, names=[request.repo])
        found = Listing.of((path, digest) for path, digest in digests.items() if digest)
        if found.digest != asset.tree:
            raise IntegrityError(
                f"{asset.name!r} at {repo}@{snapshot.commit[:12]}",
                expected=f"tree {asset.tree_id}",
                actual=tree_id(found.digest),
                hint=f"cas lock --update {typed(asset.name)} pins what the Hub has now",
            )
        return found

    def _resolve(self, request: HubRequest, repo: str, revision: str | None) -> Snapshot:
        from cas import hub

        return hub.resolve(
            request.kind,  # type: ignore[arg-type]  # parsed to one of the three kinds
            repo,
            revision,
            include=request.include,
            exclude=request.exclude,
            notice=self.progress.note,
        )

    def _from_source(self, asset: Asset, request: LocalRequest) -> Listing:
        from cas.installer.local import import_path

        place = os.path.join(self.project.root, request.local)
        why = f"its source {request.local!r} is gone"
        if os.path.lexists(place) and look(self.project.root, request.local).state != "link":
            listing = import_path(
                self.store,
                place,
                progress=self.progress,
                follow=request.follow,
                skip_special=request.skip_special,
            ).listing
            if listing.digest == asset.tree:
                return listing
            why = f"its source {request.local!r} has other bytes now"
        raise SourceError(
            f"{asset.name!r}: {_amount(asset)} are not in the store, and {why}",
            hint=f"cas add {typed(request.local)} --name {typed(asset.name)}, where the file is",
        )

    def _has_git_sha1(self, digest: Digest, file: HubFile) -> bool:
        path = self.store.object(digest)
        try:
            if os.lstat(path).st_size != file.size:
                return False
            hasher = git_blob_hasher(file.size)
            with open(path, "rb") as data:
                while chunk := data.read(CHUNK):
                    hasher.update(chunk)
        except OSError:
            return False
        return hasher.hexdigest() == file.git_sha1 and digest in usable(
            self.store, {digest: file.size}
        )


def _amount(asset: Asset) -> str:
    """Return how much an asset is, where that is known: a record alone tells its tree."""
    return human(asset.size) if asset.files else "its bytes"
