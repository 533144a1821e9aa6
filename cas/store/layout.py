"""Where everything lies in a store, and who may write it.

::

    VERSION                  "cas-store 1"; another major is refused for writing
    objects/ab/<62 hex>      0444, named by SHA-256; listings are objects too
    trees/ab/<62 hex>/       0555 directories whose files are hard links to objects
    trees/ab/<62 hex>.json   what that tree is: origin, sizes, mtime_ns of each directory
    trees/ab/<62 hex>.bad    damage was found in it: nobody is given it until it is repaired
    trees/ab/<62 hex>.used   empty; its mtime is the last use
    staging/<key>.<host>-<pid>-<random>   a partial download, flocked by its writer
    roots/<id>/root.json     one directory a project: what it needs
    roots/<id>/<host>-<pid>-<random>.json  the trees of a call under way
    mutex/gc, mutex/<tree>   whole-file flocks
    recipes/ab/<62 hex>      a hint: which objects the recipe of that key made
    quarantine/              objects that failed a check
    settings.toml            of a shared store: how far its users trust one another (``shared``)
"""

from __future__ import annotations

import errno
import os
import stat
from functools import cache

from cas.digest import Digest, is_digest
from cas.errors import StoreError
from cas.files import (
    fsync_dir,
    is_temporary,
    kept_mode,
    make_dirs,
    temporary_name,
    umask,
    write_new,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Literal

    Trust = Literal["all", "hash", "group", "own"]

__all__ = ["FOR_GROUP", "ROOMS", "Store", "open_store"]

MARK = "cas-store"
MAJOR = 1
DIRECTORY = 0o755  # less the umask: never writable by all
FOR_GROUP = 0o3775  # sticky: nobody of the group removes what another one published
ROOMS = ("objects", "trees", "staging", "roots", "mutex", "recipes", "quarantine")


class Store:
    """The paths of one store. Whether it may be written was settled when it was opened."""

    __slots__ = ("_made", "_shared", "_trust", "index", "named", "readonly", "root", "tell")

    def __init__(self, root: str, *, readonly: str | None, named: bool = True) -> None:
        self.root = root
        self.readonly = readonly
        """Why it can't be written, or None."""
        self.named = named
        """Whether its user named it; one that only a view leads to is anybody's."""
        self.index: object = None
        """The room ``index`` keeps its open connection here."""
        self.tell: Callable[[str], None] | None = None
        """What is told of work that takes long, if somebody listens."""
        self._made: set[str] = set()
        self._shared: bool | None = None
        self._trust: Trust | None = None

    def __reduce__(self) -> tuple[Callable[[str, bool], Store], tuple[str, bool]]:
        """Let a process of ours that is given this store open it, once."""
        return _opened, (self.root, self.named)

    @property
    def shared(self) -> bool:
        """Whether more than its owner may write it (``cas store init --shared``)."""
        if self._shared is None:
            try:
                self._shared = bool(os.stat(self.root).st_mode & (stat.S_IWGRP | stat.S_IWOTH))
            except OSError:
                self._shared = False
        return self._shared

    @property
    def trust(self) -> Trust:
        """How far what other users put here is believed, settled at the first need.

        ``all``: it is one owner's, and was named; ``hash``: it is hashed before its first
        use; ``group``: it is believed; ``own``: it is copied. What root put there is believed.
        """
        if self._trust is None:
            if self.named and not self.shared:
                self._trust = "all"
            else:
                from cas.store.shared import read_trust

                self._trust = read_trust(self)
        return self._trust

    def believe(self) -> None:
        """Believe all that is here, whoever put it: the user stacked this store under his own."""
        self._trust = "all"

    def is_foreign(self, status: os.stat_result) -> bool:
        """Say whether a file or directory of this store is another user's, and not root's."""
        return self.trust != "all" and status.st_uid not in (0, os.geteuid())

    def may_remove(self, status: os.stat_result) -> bool:
        """Say whether gc may: each user his own of a shared store, its owner and root all."""
        me = os.geteuid()
        return not self.shared or me in (0, status.st_uid, os.stat(self.root).st_uid)

    def object(self, digest: Digest) -> str:
        """Return where the object is, or would be."""
        return f"{self.root}/objects/{digest[:2]}/{digest[2:]}"

    def tree(self, digest: Digest) -> str:
        """Return where the tree is, or would be."""
        return f"{self.root}/trees/{digest[:2]}/{digest[2:]}"

    def place(self, room: str, name: str = "") -> str:
        """Return the path of a room of the store (``staging``, ``mutex``, …), or a name in it."""
        return f"{self.root}/{room}/{name}" if name else f"{self.root}/{room}"

    def has(self, digest: Digest) -> bool:
        """Say whether the object is here. Its bytes are not read."""
        return os.path.lexists(self.object(digest))

    def need_writable(self) -> None:
        """Raise StoreError if this store can't be written."""
        if self.readonly:
            hint = "CAS_STORE=DIR names another store"
            if self.shared:
                hint = f"CAS_STORE=DIR CAS_STORE_PATH={self.root} has a store of your own over it"
            raise StoreError(f"the store {self.root} can't be written: {self.readonly}", hint=hint)

    def make_dir(self, path: str) -> None:
        """Make a directory of the store, once a process asks for it: 0755 less the umask.

        One in a directory that is open to a group is open to it as well, whatever the umask.
        """
        if path in self._made:
            return
        if not os.path.isdir(path):
            try:
                _make_dir(path)
            except FileExistsError:
                pass
            except FileNotFoundError:  # its room: a stop came between VERSION and the rooms
                if os.path.dirname(path) in ("", "/", self.root):
                    raise
                self.make_dir(os.path.dirname(path))
                _make_dir(path)
                fsync_dir(self.root)
        self._made.add(path)

    def objects(self) -> Iterator[tuple[Digest, os.DirEntry[str]]]:
        """Yield every object with its directory entry, in the order of their names."""
        yield from self._named("objects")

    def trees(self) -> Iterator[tuple[Digest, os.DirEntry[str]]]:
        """Yield every tree with its directory entry, in the order of their names."""
        yield from self._named("trees")

    def _named(self, room: str) -> Iterator[tuple[Digest, os.DirEntry[str]]]:
        for prefix in _names(self.place(room)):
            if len(prefix) != 2:
                continue
            try:
                with os.scandir(self.place(room, prefix)) as found:
                    entries = sorted(found, key=lambda e: e.name)
            except (NotADirectoryError, FileNotFoundError):
                continue
            for entry in entries:
                if is_digest(prefix + entry.name):
                    yield Digest(prefix + entry.name), entry


def open_store(root: str | os.PathLike[str], *, create: bool = True, named: bool = True) -> Store:
    """Return the store at *root*, made if it is absent or empty and *create* is given.

    *named* says that the user named it: what its one owner put there is believed then.

    One that can't be written, or can't be made, is opened for reading: a node whose own
    store can't be made still reads the one that its views lead to. ``need_writable`` says
    later why not.

    Raises:
        StoreError: *root* is neither empty nor a store.
    """
    root = os.path.abspath(os.fspath(root))
    mark = os.path.join(root, "VERSION")
    try:
        with open(mark, encoding="utf-8", errors="replace") as file:
            text = file.read(100).strip()
    except FileNotFoundError:
        if create:
            return _make(root, mark)
        return Store(root, readonly="it was not made yet", named=named)
    except NotADirectoryError:
        raise StoreError(
            f"the store {root}: expected a directory, found a file", hint=_OTHER
        ) from None
    except OSError as error:
        why: str | None = f"its VERSION can't be read ({error.strerror})"
        return Store(root, readonly=why, named=named)
    name, _, version = text.partition(" ")
    if name != MARK or not version.split(".")[0].isdecimal():
        why = f"its VERSION is {text!r:.60}, not '{MARK} {MAJOR}'"
    elif int(version.split(".")[0]) != MAJOR:
        why = f"it is of version {version}, this cas writes {MAJOR}"
    else:
        why = _why_not_writable(root)
    return Store(root, readonly=why, named=named)


@cache
def _opened(root: str, named: bool) -> Store:  # noqa: FBT001 - a pickle's
    return open_store(root, create=False, named=named)


def _why_not_writable(root: str) -> str | None:
    for place in (root, os.path.join(root, "objects"), os.path.join(root, "trees")):
        if not os.access(place, os.W_OK) and os.path.lexists(place):
            if os.statvfs(root).f_flag & os.ST_RDONLY:
                return "its file system is read-only"
            if os.stat(root).st_mode & stat.S_IWGRP:
                from cas.store.shared import why_denied

                return why_denied(root, place)
            return "permission denied"
    return None


def _make_dir(path: str) -> None:
    above = os.stat(os.path.dirname(path)).st_mode
    if not above & stat.S_IWGRP:
        os.mkdir(path, DIRECTORY)
        return
    work = os.path.join(os.path.dirname(path), temporary_name())
    os.mkdir(work, 0o700)
    try:  # it gets its name when it is open to the group: another one may write there at once
        os.chmod(work, stat.S_IMODE(above) & FOR_GROUP)
        os.rename(work, path)
    except OSError:
        os.rmdir(work)
        if os.path.isdir(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from None
        raise


def _make(root: str, mark: str) -> Store:
    """Make a store: its VERSION first, by rename, and then its rooms, which may come later."""
    try:
        if os.path.isdir(root):
            found = [name for name in _names(root) if not is_temporary(name)]
            strange = [name for name in found if name != "lost+found"]
            if strange and not os.path.exists(mark):
                raise StoreError(
                    f"the store {root} is neither empty nor a store: found {strange[0]!r}",
                    hint=_OTHER,
                )
        elif os.path.lexists(root):
            raise StoreError(
                f"the store {root}: expected a directory, found a dangling link", hint=_OTHER
            )
        else:
            make_dirs(root, mode=DIRECTORY)
        if (mode := kept_mode(root)) & 0o222:
            return Store(root, readonly=f"its file system keeps no permissions: a file was made "
                         f"with mode 0444 and has {mode:04o}")  # fmt: skip
        try:
            write_new(mark, f"{MARK} {MAJOR}\n".encode(), mode=0o644 & ~umask())
        except FileExistsError:
            return open_store(root, create=False)  # another process was first
        store = Store(root, readonly=None)
        for room in ROOMS:
            store.make_dir(store.place(room))
        fsync_dir(root)
    except OSError as error:
        return Store(root, readonly=f"it can't be made: {error.strerror} ({error.filename})")
    return store


_OTHER = "CAS_STORE=DIR names another store"


def _names(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except FileNotFoundError:
        return []
