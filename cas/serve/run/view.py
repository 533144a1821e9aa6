"""The cache view: what is locked, in the shape of huggingface_hub's own cache.

::

    models--org--name/refs/main                  the locked commit
    models--org--name/snapshots/<commit>/<path>  → ../../blobs/<etag>
    models--org--name/blobs/<etag>               → the file in the store

Two hops: ``hf cache rm`` and ``hf cache prune`` delete what a snapshot's link leads to, and
with one hop that would be the store's own file. What is not locked (``--allow-unlocked``, and
repositories that the run writes) is a link to the user's own cache, so that it is downloaded
once and not at every run.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from cas.errors import CasError
from cas.project import Used

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cas.serve.catalogue import Catalogue, Repository, Served

__all__ = ["CacheView", "use_of", "user_hub_cache"]

AT_ONCE = 5000  # files; what is above it is filled in when it is asked for
BEGIN = 0.1  # seconds; a file costs two inodes, and a short program none of them


class CacheView:
    """One directory for ``HF_HUB_CACHE``, filled from a catalogue."""

    def __init__(
        self,
        directory: str,
        catalogue: Catalogue,
        *,
        own: str,
        filled: Callable[[Served, str], None],
    ) -> None:
        """Show *catalogue* in *directory*, which is empty; *own* is the user's own cache.

        *filled* is told of each asset that was filled in, and the directory of its snapshot.
        """
        self.directory = directory
        self._catalogue = catalogue
        self._own = own
        self._tell = filled
        self._filled: set[tuple[str, str, Served]] = set()
        self._mutex = threading.Lock()
        self._over = threading.Event()

    @contextmanager
    def filling(self) -> Iterator[None]:
        """Fill in what is locked while the block runs, soon after its begin.

        A program imports for longer before it looks; what it asks for over HTTP waits.
        """
        thread = threading.Thread(target=self._fill, name="cas-view", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _fill(self) -> None:
        """Fill in all that is locked, the small ones first, up to ``AT_ONCE`` files."""
        left = AT_ONCE
        if self._over.wait(BEGIN):
            return
        for kind, repo, repository in sorted(self._each(), key=lambda one: one[2].assets[0].size):
            with suppress(CasError, OSError):  # it went meanwhile: whoever asks for it is told
                left -= sum(len(asset.files) for asset in repository.assets)
                if left < 0 or self._over.is_set():
                    return
                self.fill_in(kind, repo, repository)

    def fill_in(self, kind: str, id: str, repository: Repository) -> None:
        """Fill in one repository under one of its ids; raise NotPulled if its tree is gone."""
        with self._mutex:
            place = self._place(kind, id)
            new = repository.assets
            if os.path.isdir(place):
                new = tuple(one for one in new if (kind, id, one) not in self._filled)
            for commit in dict.fromkeys(asset.commit for asset in new):
                self._snapshot(place, commit, repository)
            for name, commit in repository.revisions.items():
                _write_ref(place, name, commit)
            for asset in new:
                self._filled.add((kind, id, asset))
                self._tell(asset, f"{place}/snapshots/{asset.commit}")

    def lacks(self, kind: str, id: str, repository: Repository) -> bool:
        """Say whether a repository is to be filled in, or was removed (``hf cache rm``)."""
        filled = all((kind, id, one) in self._filled for one in repository.assets)
        return not (filled and os.path.isdir(self._place(kind, id)))

    def _snapshot(self, place: str, commit: str, repository: Repository) -> None:
        """Make the links of one commit; what is there stays."""
        blobs, snapshot = f"{place}/blobs", f"{place}/snapshots/{commit}"
        os.makedirs(blobs, exist_ok=True)
        os.makedirs(snapshot, exist_ok=True)
        made = {""}
        found = repository.at(commit)
        for path, file in found.files.items() if found else ():
            if self._over.is_set():
                return
            directory = path.rpartition("/")[0]
            if directory not in made:
                os.makedirs(f"{snapshot}/{directory}", exist_ok=True)
                made.add(directory)
            up = "../" * (path.count("/") + 2)
            _link(file.place, f"{blobs}/{file.sha256}")
            _link(f"{up}blobs/{file.sha256}", f"{snapshot}/{path}")

    def lead_out(self, kind: str, id: str) -> None:
        """Lead what is not locked to the user's own cache."""
        place = self._place(kind, id)
        target = os.path.join(self._own, os.path.basename(place))
        with self._mutex, suppress(OSError, ValueError):  # ValueError: what no path can be
            if not os.path.lexists(place):
                os.makedirs(target, exist_ok=True)
                os.symlink(target, place)

    def _each(self) -> Iterator[tuple[str, str, Repository]]:
        seen = set()
        for known in self._catalogue.repositories:
            for asset in known.assets:
                for repo in asset.ids:
                    repository = self._catalogue.repository(known.kind, repo)
                    if repository and (known.kind, repo) not in seen:
                        seen.add((known.kind, repo))
                        yield known.kind, repo, repository

    def _place(self, kind: str, id: str) -> str:
        return os.path.join(self.directory, "--".join([f"{kind}s", *id.split("/")]))


def use_of(asset: Served) -> Used:
    """Return the use of a served asset; one that came from no Hub has no commit."""
    commit = None if asset.tree.startswith(asset.commit) else asset.commit
    return Used(asset.name, asset.tree_id, commit, "input")


def user_hub_cache() -> str:
    """Return the user's own cache, as huggingface_hub finds it."""
    if named := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return os.path.abspath(os.path.expandvars(os.path.expanduser(named)))
    return os.path.join(hf_home(), "hub")


def hf_home() -> str:
    """Return HF_HOME, or what huggingface_hub takes where it is not set."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    named = os.environ.get("HF_HOME") or os.path.join(cache, "huggingface")
    return os.path.abspath(os.path.expandvars(os.path.expanduser(named)))


def _link(target: str, place: str) -> None:
    with suppress(FileExistsError):
        os.symlink(target, place)


def _write_ref(place: str, name: str, commit: str) -> None:
    path = os.path.join(place, "refs", name)
    if ".." in name.split("/"):
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="ascii") as file:
        file.write(commit)
