"""Places: the stores that assets may lie in. One is filled; others are read beside it.

``CAS_STORE``         the store, else ``store`` in the user's configuration file, else the user's
                      data directory
``CAS_STORE_PATH``    stores that are only read, by colons; those that are not there are left out
``CAS_OWN_STORE``     where the store is a shared one: the user's own, else ``own-store`` in the
                      configuration file, else the user's data directory. It takes what is gated
                      or private, and what a shared store can't give or take
"""

from __future__ import annotations

import os

from cas.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cas.digest import Digest
    from cas.listing import Listing
    from cas.store import Sidecar, Store

__all__ = [
    "STACKED",
    "Stores",
    "open_user_store",
    "own_store_beside",
    "own_store_root",
    "store_root",
]

STACKED = "it is read only, as CAS_STORE_PATH names it"


class NoHome(StoreError):
    """Nothing says where this account keeps what is its own."""


class Stores:
    """The stores of one process, opened at the first need."""

    def __init__(self) -> None:
        self._main: Store | None = None
        self._own: Store | None = None
        self._stacked: list[Store] | None = None
        self._tell: Callable[[str], None] | None = None

    @property
    def main(self) -> Store:
        """The store that is filled; made if it is absent."""
        if self._main is None:
            from cas.store import open_store

            self._main = open_store(store_root())
            self._main.tell = self._tell
        return self._main

    @property
    def own(self) -> Store | None:
        """The user's own store beside a shared one; None where there is none yet."""
        if self._own is None:
            self._own = own_store_beside(self.main)
        return self._own

    def make_own(self) -> Store:
        """Return the user's own store beside a shared one, made if it is absent.

        Raises StoreError where it is the shared one itself, or shared too, or can't be written.
        """
        if (self.own is None or self.own.readonly) and self.main.shared:
            from cas.store import open_store

            root = own_store_root()
            if not _same(root, self.main.root):
                self._own = open_store(root)
        found = self._own
        if found is None or found.shared:
            raise StoreError(
                f"the store {self.main.root} is shared, and there is no other one of your own",
                hint="CAS_OWN_STORE=DIR names one",
            )
        found.need_writable()
        return found

    @property
    def stacked(self) -> list[Store]:
        """The stores that ``CAS_STORE_PATH`` names and that are here; none is ever written."""
        if self._stacked is None:
            self._stacked = []
            for entry in os.environ.get("CAS_STORE_PATH", "").split(os.pathsep):
                root = os.path.abspath(os.path.expanduser(entry)) if entry else ""
                known = [self.main.root, *(store.root for store in self._stacked)]
                if os.path.lexists(f"{root}/VERSION") and not any(_same(root, k) for k in known):
                    from cas.store import Store

                    store = Store(root, readonly=STACKED)
                    store.believe()
                    self._stacked.append(store)
        return self._stacked

    @property
    def written(self) -> list[Store]:
        """The stores that calls of this user write: the store, and his own beside a shared one."""
        return [self.main, *([self.own] if self.own else [])]

    def fills(self, root: str) -> bool:
        """Say whether the store at *root* is one that calls of this user fill, there or not."""
        if root == self.main.root:
            return True
        try:
            return self.main.shared and root == own_store_root()
        except NoHome:
            return False

    @property
    def readable(self) -> list[Store]:
        """All of them, in the order in which an asset is looked for."""
        return [*self.written, *self.stacked]

    def listen(self, tell: Callable[[str], None]) -> None:
        """Let *tell* know of work in the shared store that takes long."""
        self._tell = tell
        if self._main is not None:
            self._main.tell = tell

    def where(self, digest: Digest, view: str = "") -> tuple[Store, Sidecar] | None:
        """Return (the store in which a tree stands whole, its sidecar), or None.

        *view* is the store that the asset's view leads to, if it leads to that tree: it counts
        first, whichever store it is.
        """
        from cas.store import standing

        if view and view != self.main.root:
            store = self._of_view(view)
            if store and (sidecar := standing(store, digest)[0]):
                return store, sidecar
        if sidecar := standing(self.main, digest)[0]:
            return self.main, sidecar
        for store in self.readable[1:]:
            if store.root != view and (sidecar := standing(store, digest)[0]):
                return store, sidecar
        return None

    def listing(self, digest: Digest) -> Listing | None:
        """Return the listing of a tree from whichever store has it, or None."""
        from cas.store import read_listing

        found = read_listing(self.main, digest)
        if found is None:
            others = (read_listing(store, digest) for store in self.readable[1:])
            found = next((listing for listing in others if listing), None)
        return found

    def _of_view(self, root: str) -> Store | None:
        known = next((store for store in self.readable if store.root == root), None)
        if known:
            return known
        from cas.store import open_store

        try:
            return open_store(root, create=False, named=False)
        except StoreError:
            return None


def store_root() -> str:
    """Return where the store is: CAS_STORE, the user's configuration, the user's data."""
    return _place("CAS_STORE", "store")


def own_store_root() -> str:
    """Return where the user's own store is, beside a shared one."""
    return _place("CAS_OWN_STORE", "own-store")


def own_store_beside(store: Store) -> Store | None:
    """Return the user's own store beside a shared one, or None where there is none."""
    if not store.shared:
        return None
    from cas.store import open_store

    try:
        root = own_store_root()
    except NoHome:
        return None
    if not os.path.isfile(os.path.join(root, "VERSION")) or _same(root, store.root):
        return None
    return open_store(root, create=False)


def open_user_store() -> Store:
    """Return the store that a command outside any project acts on."""
    from cas.store import open_store

    return open_store(store_root())


def _place(variable: str, key: str) -> str:
    if configured := os.environ.get(variable):
        return os.path.abspath(os.path.expanduser(configured))
    import platformdirs

    try:
        place = os.path.join(platformdirs.user_config_dir("cas"), "config.toml")
        data = platformdirs.user_data_dir("cas")
    except RuntimeError:  # neither HOME nor an entry in the list of users
        raise NoHome(
            "this account has no home directory to keep a store in",
            hint=f"{variable}=DIR names one",
        ) from None
    try:
        with open(place, "rb") as file:
            import tomllib

            named = tomllib.load(file).get(key)
    except FileNotFoundError:
        named = None
    except (OSError, ValueError) as error:
        raise StoreError(f"{place}: {error}") from None
    if named is None:
        return os.path.join(data, "store")
    if not isinstance(named, str) or not named:
        raise StoreError(f"{place}: {key}: expected a path, found {named!r}")
    return os.path.abspath(os.path.expanduser(named))


def _same(one: str, other: str) -> bool:
    return one == other or os.path.realpath(one) == os.path.realpath(other)
