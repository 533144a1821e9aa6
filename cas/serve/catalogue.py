"""What is served: the locked assets that are here, as repositories with one commit or a few.

``models/X`` is the model X, ``datasets/X`` the dataset X, ``spaces/X`` the space X,
``tokenizers/X`` the model ``tokenizers/X``, ``tokens/X`` the dataset ``tokens/X``; a Hub asset
answers to the Hub's own name and to the requested one as well. An id has two parts at most.
The commit of an asset that came from no Hub is the first 40 digits of its tree.

The lock is read at the first need, and again when it has changed; a lock that can't be read
then changes nothing: what was served goes on.
"""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from cas.errors import CasError, NotPulled, typed
from cas.listing import tree_id
from cas.names import kind_of
from cas.project.access import access_of
from cas.request import HubRequest
from cas.warm import is_marked, tree_of_link

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from cas.digest import Digest
    from cas.lockfile import Asset, Lockfile
    from cas.project import Project
    from cas.store import Store

    Locks = Callable[[], list[tuple[Project, Lockfile]]]
    _Rank = tuple[int, bool, bool, str]

__all__ = ["Catalogue", "Repository", "Served", "ServedFile", "Snapshot", "own_id"]

KINDS = {
    "models": "model",
    "datasets": "dataset",
    "spaces": "space",
    "tokenizers": "model",
    "tokens": "dataset",
}
SHORTEST = 7  # digits of a commit
_log = logging.getLogger("cas.serve")
_listing = threading.Lock()


@dataclass(frozen=True)
class Served:
    """One locked asset that is here."""

    name: str
    """``<kind>/<path>``, as in assets.lock."""
    kind: str
    """model, dataset or space"""
    ids: tuple[str, ...]
    """What it answers to, the Hub's own name first."""
    commit: str
    """40 hexadecimal digits"""
    revision: str | None
    """What its request calls the commit, such as ``v1``; never a commit."""
    tree: Digest
    directory: str
    """The tree in the store."""
    store: str
    """The root of the store that has it."""
    access: str | None
    """gated, private or None"""
    size: int
    """bytes in all"""

    @property
    def tree_id(self) -> str:
        """Its identity as it is written: ``t1:<64 hex>``."""
        return tree_id(self.tree)

    @cached_property
    def files(self) -> Mapping[str, ServedFile]:
        """Path → file, in the order of the listing; raise NotPulled if the tree is gone."""
        with _listing:  # of many clients that come at once, the first one reads it
            return self.__dict__.get("files") or self._files()

    def _files(self) -> Mapping[str, ServedFile]:
        from cas.store import open_store, read_listing, read_sidecar

        store = open_store(self.store, create=False)
        listing = read_listing(store, self.tree)
        if listing is None or not os.path.isdir(self.directory):
            raise NotPulled(
                f"{self.name!r} is not in the store any more", hint=f"cas pull {typed(self.name)}"
            )
        sidecar = read_sidecar(store, self.tree)
        if sidecar and len(sidecar.sizes) == len(listing):
            sizes: Iterable[int] = sidecar.sizes
        else:  # it is lost, and could not be written again
            sizes = (_size(f"{self.directory}/{entry.path}") for entry in listing)
        return {
            entry.path: ServedFile(entry.path, entry.digest, size, self)
            for entry, size in zip(listing, sizes, strict=True)
        }

    @property
    def damaged(self) -> bool:
        """Whether damage was found in it."""
        return is_marked(self.directory)


class ServedFile(NamedTuple):
    """One file of a served asset."""

    path: str
    sha256: Digest
    size: int
    """bytes"""
    asset: Served

    @property
    def place(self) -> str:
        """Where its bytes are."""
        return f"{self.asset.directory}/{self.path}"

    @property
    def object(self) -> str:
        """Where the store has the object that its bytes are."""
        return f"{self.asset.store}/objects/{self.sha256[:2]}/{self.sha256[2:]}"


@dataclass(frozen=True)
class Snapshot:
    """A repository at one commit: the files of every asset that is locked there."""

    commit: str
    assets: tuple[Served, ...]

    @cached_property
    def files(self) -> Mapping[str, ServedFile]:
        """Path → file; raise NotPulled if a tree is gone."""
        if len(self.assets) == 1:
            return self.assets[0].files
        found: dict[str, ServedFile] = {}
        for one in self.assets:
            found |= {path: file for path, file in one.files.items() if path not in found}
        return found

    @cached_property
    def folders(self) -> frozenset[str]:
        """Every directory, ``""`` (the root) among them."""
        found = {""}
        for path in self.files:
            cut = path.rfind("/")
            while cut > 0 and path[:cut] not in found:
                found.add(path[:cut])
                cut = path.rfind("/", 0, cut)
        return frozenset(found)

    @cached_property
    def paths(self) -> list[str]:
        """Every file and directory but the root, in the order of a walk."""
        return sorted([*self.files, *(self.folders - {""})], key=lambda path: path.split("/"))


class Repository:
    """What one id means: the assets that answer to it, the one that is ``main`` first."""

    def __init__(self, kind: str, name: str, assets: tuple[Served, ...]) -> None:
        self.kind = kind
        """model, dataset or space"""
        self.id = name
        """The Hub's own name, where it has one."""
        self.assets = assets
        self.revisions = {"main": assets[0].commit}
        """Branch, tag or ref → commit, as far as requests name them."""
        for one in assets:
            if one.revision:
                self.revisions.setdefault(one.revision, one.commit)
        self._snapshots: dict[str, Snapshot] = {}

    def at(self, revision: str | None = None) -> Snapshot | None:
        """Return what a revision means, None if nothing.

        None and ``main`` are the commit of the first asset; else what a request called it, or
        seven digits or more of a commit.
        """
        commit = self.revisions.get(revision or "main")
        if commit is None and revision and len(revision) >= SHORTEST:
            fits = {one.commit for one in self.assets if one.commit.startswith(revision)}
            commit = fits.pop() if len(fits) == 1 else None
        if commit is None:
            return None
        if commit not in self._snapshots:
            assets = tuple(one for one in self.assets if one.commit == commit)
            self._snapshots[commit] = Snapshot(commit, assets)
        return self._snapshots[commit]


@dataclass(frozen=True)
class _Loaded:
    """What one reading of the locks found."""

    key: object
    repositories: Mapping[tuple[str, str], Repository]
    absent: Mapping[str, str]


class Catalogue:
    """The repositories that are served, by kind and id, as the locks have them now."""

    def __init__(self, locks: Locks, watched: Iterable[str] = ()) -> None:
        """Serve what the locks of *locks* name, the first project's first.

        *locks* is asked again when a project's assets.lock or one of *watched* changes, or a
        tree comes that was absent.
        """
        self._locks = locks
        self._always = tuple(watched)
        self._watched = self._always
        self._loaded: _Loaded | None = None
        self._loading = threading.Lock()

    @classmethod
    def of_project(cls, project: Project) -> Catalogue:
        """Serve the locked assets of one project."""
        return cls(lambda: [(project, project.read_lock())], [project.lock_path])

    @classmethod
    def of_store(cls, store: Store, first: Project | None = None) -> Catalogue:
        """Serve what every project that is registered in the store locks, *first*'s first."""
        from cas.serve.registered import registered

        def locks() -> list[tuple[Project, Lockfile]]:
            own = [(first, first.read_lock())] if first else []
            return [*own, *registered(store, first)]

        return cls(locks, [store.place("roots"), *([first.lock_path] if first else [])])

    @property
    def repositories(self) -> list[Repository]:
        """Every repository once, by kind and id; raise CasError if no lock was ever read."""
        found = {(one.kind, one.id): one for one in self._load().repositories.values()}
        return [found[key] for key in sorted(found)]

    @property
    def absent(self) -> Mapping[str, str]:
        """Name → why it can't be served, of the locked assets that are not here."""
        return self._load().absent

    def repository(self, kind: str, id: str) -> Repository | None:
        """Return what *id* of that kind (model, dataset, space) means; None if nothing."""
        return self._load().repositories.get((kind, id))

    def _load(self) -> _Loaded:
        with self._loading:
            key = self._stamp()
            if self._loaded is None or self._loaded.key != key:
                self._loaded = self._reload(key)
            return self._loaded

    def _reload(self, key: tuple[object, ...]) -> _Loaded:
        try:
            locks = self._locks()
        except CasError as error:
            if self._loaded is None:
                raise
            _log.warning("%s; what was served goes on", error)
            return _Loaded(key, self._loaded.repositories, self._loaded.absent)
        known = self._loaded.repositories.values() if self._loaded else ()
        reading = _Reading({one for repository in known for one in repository.assets})
        for number, (project, lock) in enumerate(locks):
            for asset in lock:
                reading.take(number, project, asset, access_of(lock, asset))
        changing = {project.lock_path for project, _ in locks} | reading.awaited
        self._watched = (*self._always, *sorted(changing.difference(self._always)))
        # those looked at before the locks were read: what changed meanwhile is seen next time
        always = len(self._always)
        key = (*key[:always], *map(_mark, self._watched[always:]))
        return _Loaded(key, reading.repositories(), reading.absent)

    def _stamp(self) -> tuple[object, ...]:
        return tuple(map(_mark, self._watched))


class _Reading:
    """One reading of the locks: what each id is claimed by, and what is not here."""

    def __init__(self, known: Iterable[Served]) -> None:
        self._known = {one: one for one in known}  # their files are listed already
        self._claims: dict[tuple[str, str], list[tuple[_Rank, Served]]] = {}
        self._access: dict[Digest, str] = {}
        self.absent: dict[str, str] = {}
        self.awaited: set[str] = set()

    def take(self, number: int, project: Project, asset: Asset, access: str | None) -> None:
        """Take one asset of the project of that number, gated where what it is made of is."""
        own = own_id(asset.name)
        hub = [one for one in asset.hub_ids.split() if one.count("/") < 2]
        ids = tuple(dict.fromkeys([*hub, *([own] if own.count("/") < 2 else [])]))
        if not ids:
            self.absent.setdefault(asset.name, "its name has more than two parts")
            return
        found = project.tree_of(asset)
        directory = found[0] if found else None
        if directory is None:
            places = [store.tree(asset.tree) for store in project.stores.readable]
            self.awaited |= set(places)
            directory = next((p for p in places if os.path.isdir(p) and is_marked(p)), None)
        if directory is None:
            self.absent.setdefault(asset.name, "it is not pulled")
            return
        served = _served(asset, ids, directory)  # a damaged one is there, and each file refused
        if access:
            self._access[asset.tree] = access
        for one in ids:
            rank = number, own != one, own not in hub, asset.name
            self._claims.setdefault((served.kind, one), []).append((rank, served))

    def repositories(self) -> dict[tuple[str, str], Repository]:
        """Return what was found, by kind and id."""
        found: dict[tuple[str, str], tuple[Served, ...]] = {}
        for key, rows in self._claims.items():
            assets: dict[tuple[str, str], Served] = {}
            for _, one in sorted(rows, key=lambda row: row[0]):
                assets.setdefault((one.commit, one.tree), one)
            found[key] = tuple(map(self._settled, assets.values()))
        return {
            # by another of its names it is the same repository only where main is the same
            (kind, name): Repository(kind, own if found[kind, own][0] is these[0] else name, these)
            for (kind, name), these in found.items()
            for own in these[0].ids[:1]
        }

    def _settled(self, one: Served) -> Served:
        """Return an asset as it is served: what one lock calls gated is gated in all."""
        one = replace(one, access=self._access.get(one.tree))
        return self._known.setdefault(one, one)


def own_id(name: str) -> str:
    """Return the id that an asset's own name gives it."""
    kind, _, rest = name.partition("/")
    return rest if kind in ("models", "datasets", "spaces") else name


def _served(asset: Asset, ids: tuple[str, ...], directory: str) -> Served:
    request = asset.request
    revision = request.revision if isinstance(request, HubRequest) else None
    commit = asset.commit or asset.tree[:40]
    named = revision is not None and not commit.startswith(revision)
    found = tree_of_link(directory)
    return Served(
        name=asset.name,
        kind=KINDS[kind_of(asset.name)],
        ids=ids,
        commit=commit,
        revision=revision if named else None,
        tree=asset.tree,
        directory=directory,
        store=found[0] if found else "",
        access=asset.access,
        size=asset.size,
    )


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1  # whoever asks for it is told


def _mark(path: str) -> tuple[int, ...]:
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return status.st_ino, status.st_size, status.st_mtime_ns
