"""What a warm command needs: the parsed lock, kept beside the bytes that it was made of.

A command that has nothing to do costs the start of Python and little more, so this room
imports next to nothing, and keeps columns, that many assets are compared with at once. One
file a project in the user's cache directory::

    cas-warm 3 <CRC-32 of all that follows, 8 hex>
    <bytes of assets.lock> <bytes of pyproject.toml, -1 if there is none> <assets> <directories>
    assets.lock, then pyproject.toml
    the names of all assets, one a line, then their trees, commits, repositories, views,
    targets of the views and counts of directories
    the directories of all trees, one a line, the tree itself first, then their mtimes_ns

It is used when both files are byte for byte what they were (a key of mtimes is racy and
forgets pyproject.toml); else, or where it is damaged or lost, the slow way makes it again.
"""

import os
import sys
import zlib

__all__ = [
    "PLAIN",
    "Warm",
    "WarmAsset",
    "cache_dir",
    "in_place",
    "is_marked",
    "load",
    "make_cache_dir",
    "private_mark",
    "save",
    "tree_of_link",
]

PLAIN = frozenset({"-q", "--quiet", "--json", "--frozen", "--offline"})
"""The options of a pull of everything, which needs no parser."""

MAGIC = b"cas-warm 3 "
FIELDS = 7  # of an asset


class WarmAsset:
    """One asset as the last full pull left it."""

    __slots__ = ("commit", "directories", "mark", "name", "repo", "target", "tree", "view")

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
        self.mark = ""
        """Where this user would mark the tree as damaged, once it was asked for."""


class Warm:
    """The parsed lock of one project, and how old the file is that it came from."""

    __slots__ = ("_assets", "_columns", "_directories", "_mtimes", "stamp")

    def __init__(
        self, columns: list[list[str]], directories: list[str], mtimes: list[int], stamp: float
    ) -> None:
        self._columns = columns
        self._directories = directories
        self._mtimes = mtimes
        self._assets: dict[str, WarmAsset] | None = None
        self.stamp = stamp
        """Seconds since 1970 of the full pull that wrote it."""

    def __len__(self) -> int:
        return len(self._columns[0])

    @property
    def assets(self) -> dict[str, WarmAsset]:
        """Name → asset, made at the first need."""
        if self._assets is None:
            self._assets = {}
            at = 0
            for name, tree, commit, repo, view, target, count in zip(*self._columns, strict=True):
                end = at + int(count)
                inside = zip(self._directories[at:end], self._mtimes[at:end], strict=True)
                at = end
                self._assets[name] = WarmAsset(name, tree, commit, repo, view, target, list(inside))
        return self._assets

    def in_place(self, root: str) -> bool:
        """Say whether every view and tree is as it was recorded, as ``in_place`` does of one."""
        *_, views, targets, counts = self._columns
        trees = []
        at = 0
        for count in map(int, counts):
            if count < 1:
                return False
            trees.append(self._directories[at])
            at += count
        readlink, stat, access = os.readlink, os.stat, os.access
        try:
            if [readlink(f"{root}/{view}") for view in views] != targets:
                return False
            if [stat(place).st_mtime_ns for place in self._directories] != self._mtimes:
                return False
            doubtful = [tree for tree in trees if access(f"{tree}.bad", os.F_OK)]
        except (OSError, ValueError):  # what no path can be
            return False
        if os.path.lexists(f"{cache_dir()}/bad"):  # this user marked some tree, once
            doubtful = trees
        return not any(map(is_marked, doubtful))


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
        lock_size, requests_size, count, inside = map(int, data[20:end].split())
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
        first = FIELDS * count  # line of the directories
        if min(count, inside) < 0 or len(lines) != first + 2 * inside + 1:
            return None
        columns = [lines[field * count : (field + 1) * count] for field in range(FIELDS)]
        mtimes = list(map(int, lines[first + inside : -1]))
        counts = list(map(int, columns[-1]))
        if sum(counts) != inside or min(counts, default=0) < 0:
            return None
    except (OSError, ValueError):
        return None
    return Warm(columns, lines[first : first + inside], mtimes, stamp)


def save(root: str, lock: bytes, requests: bytes | None, assets: list[WarmAsset]) -> None:
    """Keep what a full pull found; a cache directory that can't be written is no error."""
    rows = [
        (a.name, a.tree, a.commit, a.repo, a.view, a.target, str(len(a.directories)))
        for a in assets
    ]
    inside = [pair for asset in assets for pair in asset.directories]
    lines = [
        *(row[field] for field in range(FIELDS) for row in rows),
        *(directory for directory, _ in inside),
        *(str(mtime) for _, mtime in inside),
    ]
    if any("\n" in line for line in lines):
        return
    size = -1 if requests is None else len(requests)
    head = (len(lock), size, len(rows), len(inside))
    body = b"%d %d %d %d\n%s%s" % (*head, lock, requests or b"")
    body += "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")
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
    asset.mark = asset.mark or private_mark(tree)
    # there is none, most of the time, and to be told so by an exception takes twice as long
    marks = os.access(f"{tree}.bad", os.F_OK) or os.access(asset.mark, os.F_OK)
    return not (marks and is_marked(tree))


def is_marked(tree: str) -> bool:
    """Say whether a tree is marked as damaged, in its store or by this user.

    In its store the mark counts if it is of somebody who could take the tree away as well:
    this user, root, the tree's owner, or the owner of the directory that it lies in. Any other
    user of a shared store could make a file of that name, and nobody else could remove it.
    """
    if os.path.lexists(private_mark(tree)):
        return True
    try:
        owner = os.lstat(tree + ".bad").st_uid
        return owner in (0, os.geteuid()) or owner in (
            os.lstat(tree).st_uid, os.stat(os.path.dirname(tree)).st_uid,
        )  # fmt: skip
    except OSError:
        return False


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
