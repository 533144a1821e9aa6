"""What a warm command needs: the parsed lock, kept beside the bytes that it was made of.

A command that has nothing to do costs the start of Python and little more, so this room
imports next to nothing. One file a project in the user's cache directory::

    cas-warm 2 <CRC-32 of all that follows, 8 hex>
    <bytes of assets.lock> <bytes of pyproject.toml, -1 if there is none> <count of assets>
    assets.lock, then pyproject.toml
    name<TAB>tree<TAB>commit<TAB>repository<TAB>view<TAB>link target<TAB>count of directories
        mtime_ns<TAB>directory                                       for each directory

It is used when both files are byte for byte what they were (a key of mtimes is racy and
forgets pyproject.toml); else, or where it is damaged or lost, the slow way makes it again.
"""

from __future__ import annotations

import os
import sys
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "Warm",
    "WarmAsset",
    "cache_dir",
    "in_place",
    "load",
    "make_cache_dir",
    "private_mark",
    "save",
    "tree_of_link",
]

MAGIC = b"cas-warm 2 "


class WarmAsset:
    """One asset as the last full pull left it."""

    __slots__ = ("commit", "directories", "name", "repo", "target", "tree", "view")

    def __init__(
        self,
        name: str,
        tree: str,
        commit: str,
        repo: str,
        view: str,
        target: str,
        directories: list[tuple[str, int]],
    ) -> None:
        self.name = name
        self.tree = tree
        self.commit = commit
        self.repo = repo
        self.view = view
        """Relative to the project."""
        self.target = target
        """What the view's link says: the tree, or the file of a single-file asset."""
        self.directories = directories
        """(directory of the tree, mtime_ns), the tree itself first."""


class Warm:
    """The parsed lock of one project, and how old the file is that it came from."""

    __slots__ = ("assets", "stamp")

    def __init__(self, assets: dict[str, WarmAsset], stamp: float) -> None:
        self.assets = assets
        self.stamp = stamp
        """Seconds since 1970 of the full pull that wrote it."""


def cache_dir() -> str:
    """Return cas's directory in the user's cache directory (as platformdirs has it)."""
    if sys.platform == "darwin":
        return os.path.expanduser("~/Library/Caches/cas")
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not base.startswith("/"):
        base = os.path.expanduser("~/.cache")
        if base[0] == "~":  # no HOME, no entry in the list of users: nowhere to keep anything
            base = "/dev/null"
    return os.path.join(base, "cas")


def make_cache_dir(room: str) -> str:
    """Make a directory in the cache, open to this user only, and return it.

    Whoever could write there could say which bytes an asset is, whatever the umask was.
    """
    top = cache_dir()
    for path in (top, os.path.join(top, room)):
        if not os.path.isdir(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            try:
                os.mkdir(path, 0o700)
            except FileExistsError:
                pass
    return os.path.join(top, room)


def load(root: str) -> Warm | None:
    """Return the parsed lock of the project at *root* if it is still what the files say."""
    try:
        with open(_place(root), "rb") as file:
            stamp = os.fstat(file.fileno()).st_mtime
            data = file.read()
        if data[:11] != MAGIC or int(data[11:19], 16) != zlib.crc32(data[20:]):
            return None
        end = data.index(b"\n", 20)
        lock_size, requests_size, count = map(int, data[20:end].split())
        start = end + 1
        if _read(root + "/assets.lock") != data[start : start + lock_size]:
            return None
        start += lock_size
        requests = _read(root + "/pyproject.toml")
        if requests_size < 0:
            if requests is not None:
                return None
        elif requests != data[start : start + requests_size]:
            return None
        else:
            start += requests_size
        lines = data[start:].decode("utf-8", "surrogateescape").split("\n")
        assets = {}
        at = 0
        for _ in range(count):
            name, tree, commit, repo, view, target, size = lines[at].split("\t")
            at += 1
            directories = []
            for line in lines[at : at + int(size)]:
                mtime, _, directory = line.partition("\t")
                directories.append((directory, int(mtime)))
            at += int(size)
            assets[name] = WarmAsset(name, tree, commit, repo, view, target, directories)
    except (OSError, ValueError, IndexError):
        return None
    return Warm(assets, stamp)


def save(root: str, lock: bytes, requests: bytes | None, assets: Iterable[WarmAsset]) -> None:
    """Keep what a full pull found; a cache directory that can't be written is no error."""
    lines = []
    count = 0
    for asset in assets:
        count += 1
        fields = (asset.name, asset.tree, asset.commit, asset.repo, asset.view, asset.target)
        if any("\t" in field or "\n" in field for field in fields):
            return
        lines.append("\t".join(fields) + f"\t{len(asset.directories)}\n")
        lines += [f"{mtime}\t{directory}\n" for directory, mtime in asset.directories]
    size = -1 if requests is None else len(requests)
    body = b"%d %d %d\n%s%s" % (len(lock), size, count, lock, requests or b"")
    body += "".join(lines).encode("utf-8", "surrogateescape")
    place = _place(root)
    temporary = f"{place}.{os.getpid()}"
    try:
        make_cache_dir("locks")
        with open(temporary, "wb") as file:
            file.write(b"%s%08x\n%s" % (MAGIC, zlib.crc32(body), body))
        os.replace(temporary, place)
    except OSError:
        try:
            os.unlink(temporary)
        except OSError:
            pass


def in_place(root: str, asset: WarmAsset, *, view: bool = True) -> bool:
    """Say whether the view leads to the tree and the tree's directories are as recorded.

    A file that was taken out of a tree moves the mtime of its directory; nothing a file is
    looked at. With *view* false only the tree is looked at.
    """
    if not asset.directories:
        return False
    try:
        if view and os.readlink(f"{root}/{asset.view}") != asset.target:
            return False
        for directory, mtime in asset.directories:
            if os.stat(directory).st_mtime_ns != mtime:
                return False
    except (OSError, ValueError):  # what no path can be
        return False
    tree = asset.directories[0][0]
    return not (os.path.lexists(tree + ".bad") or os.path.lexists(private_mark(tree)))


def private_mark(tree: str) -> str:
    """Return where this user marks a tree as damaged that he can't mark in its store."""
    data = tree.encode("utf-8", "surrogateescape")
    return f"{cache_dir()}/bad/{zlib.crc32(data):08x}{zlib.adler32(data):08x}"


def tree_of_link(target: str) -> tuple[str, str, str] | None:
    """Split a link's target that ends in ``/trees/ab/<62 hex>[/file]``, of any store.

    Returns (store, digest of the tree, file or ``""``), or None for any other link.
    """
    store, found, rest = target.rpartition("/trees/")
    parts = rest.split("/")
    if not found or not 2 <= len(parts) <= 3 or not parts[-1]:
        return None
    digest = parts[0] + parts[1]
    if len(parts[0]) != 2 or len(digest) != 64 or digest.strip("0123456789abcdef"):
        return None
    return store, digest, parts[2] if len(parts) == 3 else ""


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _place(root: str) -> str:
    # two sums make 64 bits: two projects of one user don't meet, and no hashlib is needed
    data = root.encode("utf-8", "surrogateescape")
    return f"{cache_dir()}/locks/{zlib.crc32(data):08x}{zlib.adler32(data):08x}"
