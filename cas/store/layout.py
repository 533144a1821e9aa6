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
"""

from __future__ import annotations

import os
import stat

from cas.digest import Digest, is_digest
from cas.errors import StoreError
from cas.files import fsync_dir, is_temporary, kept_mode, make_dirs, umask, write_new

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ROOMS", "Store", "open_store"]

MARK = "cas-store"
MAJOR = 1
DIRECTORY = 0o755  # less the umask: never writable by all
FOR_GROUP = 0o3775  # sticky: nobody of the group removes what another one published
ROOMS = ("objects", "trees", "staging", "roots", "mutex", "recipes", "quarantine")


class Store:
    """The paths of one store. Whether it may be written was settled when it was opened."""

    __slots__ = ("_made", "index", "readonly", "root")

    def __init__(self, root: str, *, readonly: str | None) -> None:
        self.root = root
        self.readonly = readonly
        """Why it can't be written, or None."""
        self.index: object = None
        """The room ``index`` keeps its open connection here."""
        self._made: set[str] = set()

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
            raise StoreError(
                f"the store {self.root} can't be written: {self.readonly}",
                hint="CAS_STORE=DIR names another store",
            )

    def make_dir(self, path: str) -> None:
        """Make a directory of the store, once a process asks for it: 0755 less the umask.

        One in a directory that an administrator opened to a group is open to it as well.
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


def open_store(root: str | os.PathLike[str], *, create: bool = True) -> Store:
    """Return the store at *root*, made if it is absent or empty and *create* is given.

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
        return _make(root, mark) if create else Store(root, readonly="it was not made yet")
    except NotADirectoryError:
        raise StoreError(
            f"the store {root}: expected a directory, found a file", hint=_OTHER
        ) from None
    except OSError as error:
        return Store(root, readonly=f"its VERSION can't be read ({error.strerror})")
    name, _, version = text.partition(" ")
    if name != MARK or not version.split(".")[0].isdecimal():
        return Store(root, readonly=f"its VERSION is {text!r:.60}, not '{MARK} {MAJOR}'")
    if int(version.split(".")[0]) != MAJOR:
        return Store(root, readonly=f"it is of version {version}, this cas writes {MAJOR}")
    return Store(root, readonly=_why_not_writable(root))


def _why_not_writable(root: str) -> str | None:
    for place in (root, os.path.join(root, "objects"), os.path.join(root, "trees")):
        if not os.access(place, os.W_OK) and os.path.lexists(place):
            if os.statvfs(root).f_flag & os.ST_RDONLY:
                return "its file system is read-only"
            return "permission denied"
    return None


def _make_dir(path: str) -> None:
    os.mkdir(path, DIRECTORY)
    above = os.stat(os.path.dirname(path)).st_mode
    if above & stat.S_IWGRP:
        os.chmod(path, stat.S_IMODE(above) & FOR_GROUP)


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
