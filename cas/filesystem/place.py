"""What a path under ``cas://`` means: an asset and a path in it, or a directory of names.

A path may begin with the tree that it was found in, ``t1-<64 hex>/datasets/…``; that one must
be the locked one still. So a program that keeps copies by their path takes no earlier one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from cas.errors import UnknownAsset
from cas.filesystem.faults import NotThere
from cas.names import near

if TYPE_CHECKING:
    from cas.listing import Listing
    from cas.lockfile import Asset, Lockfile

__all__ = ["Files", "Names", "Place"]

_PIN = re.compile(r"t1-([0-9a-f]{64})/")

MANY = 1000  # names; a search for near ones among more takes longer than it helps


class Place(NamedTuple):
    """What a path means."""

    asset: Asset | None
    """None: the path is a directory that names of assets begin with."""
    inside: str
    """The rest: a path in the asset's tree, ``""`` for its root."""

    def pinned(self, path: str) -> str:
        """Return *path*, which means this, so that it says in which tree it is."""
        if self.asset is None or _PIN.match(path):
            return path
        return f"t1-{self.asset.tree}/{path}"


class Names:
    """The names of one lockfile, as directories of one another."""

    def __init__(self, lock: Lockfile) -> None:
        self.lock = lock
        self._words: dict[str, Asset] = {name: lock.assets[name] for name in lock.assets}
        self._above: dict[str, dict[str, bool]] = {"": {}}
        for name in lock.assets:
            parts = name.split("/")
            for n, part in enumerate(parts):
                self._above.setdefault("/".join(parts[:n]), {})[part] = n + 1 == len(parts)

    def place(self, path: str) -> Place:
        """Return what *path* means; raise NotThere, naming what is near, or what it could be.

        A full name counts first, then a directory of names, then the longest beginning of the
        path that is an asset's name in any form (``lock.find``).
        """
        if pin := _PIN.match(path):
            place = self.place(path[pin.end() :])
            if place.asset is None or place.asset.tree != pin[1]:
                raise NotThere(f"cas://{path[pin.end() :]} is locked at another tree than {pin[0]}",
                               hint=f"cas why {pin[1][:12]}")  # fmt: skip
            return place
        parts = path.split("/")
        cuts = range(len(parts), 0, -1)
        for cut in cuts:
            word = "/".join(parts[:cut])
            if word in self.lock.assets:
                return Place(self.lock.assets[word], "/".join(parts[cut:]))
        if path in self._above:
            return Place(None, "")
        for cut in cuts:
            word = "/".join(parts[:cut])
            asset = self._words.get(word) or self._find(word)
            if asset is not None:
                self._words[word] = asset
                return Place(asset, "/".join(parts[cut:]))
        raise self._unknown(path)

    def inside(self, directory: str) -> dict[str, bool]:
        """Return the next parts of the names that begin with *directory*: whether one ends."""
        return self._above[directory]

    def _find(self, word: str) -> Asset | None:
        try:
            return self.lock.find(word)
        except UnknownAsset as error:
            if " fits " in str(error):
                raise NotThere(f"cas://{word}: {error}", hint=error.hint) from None
            return None

    def _unknown(self, path: str) -> NotThere:
        forms: dict[str, str] = {}
        for name in self.lock.assets:
            for form in (name.rpartition("/")[2], name.partition("/")[2], name):
                forms[form] = name
        parts = path.split("/")
        close: list[str] = []
        for cut in range(min(len(parts), 3), 0, -1):
            close = close or [forms[form] for form in near("/".join(parts[:cut]), forms)]
        shown = ", ".join(repr(f"cas://{name}") for name in dict.fromkeys(close))
        return NotThere(
            f"no locked asset has the path {f'cas://{path}'!r:.300}"
            + (f"; near: {shown}" if shown else ""),
            hint="cas list shows the assets; cas add NAME adds one",
        )


class Files:
    """The files of one tree, by directory."""

    def __init__(self, asset: Asset, listing: Listing) -> None:
        self.digests = dict(listing.entries)
        self.file = asset.file
        """Of a single-file asset: its one file, which the asset's own path means."""
        self._name = asset.name
        self._children: dict[str, dict[str, bool]] = {"": {}}
        for path in self.digests:
            parts = path.split("/")
            for n, part in enumerate(parts):
                directory = "/".join(parts[:n])
                self._children.setdefault(directory, {})[part] = n + 1 == len(parts)

    def path(self, inside: str) -> str:
        """Return the path in the tree of what is at *inside*; raise NotThere."""
        if self.file is not None and not inside:
            return self.file
        if self.file is None and (inside in self.digests or inside in self._children):
            return inside
        raise self._missing(inside)

    def children(self, directory: str) -> dict[str, bool] | None:
        """Return name → whether it is a file; None if *directory* is none."""
        return None if self.file is not None else self._children.get(directory)

    def _missing(self, inside: str) -> NotThere:
        if self.file is not None:
            return NotThere(f"{self._name!r} is one file", hint=f"cas://{self._name} is its path")
        above = inside
        while above not in self._children:
            above = above.rpartition("/")[0]
        names = self._children[above]
        last = inside.rpartition("/")[2]
        paths = [f"{above}/{name}" if above else name for name in names][:MANY]
        same = [path for path in self.digests if path.rpartition("/")[2] == last][:3]
        close = dict.fromkeys([*same, *near(inside, paths)])
        shown = ", ".join(map(repr, close)) or ", ".join(map(repr, paths[:3]))
        return NotThere(
            f"{self._name!r} has no file {inside!r:.300}; near: {shown}",
            hint=f"cas files {self._name}",
        )
