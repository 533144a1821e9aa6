r"""The listing of a tree: what is in a directory, as text that ``sha256sum -c`` reads.

::

    # cas-tree 1
    <64 lower-case hex><two spaces><path>

One line a file, each ended by a newline, sorted by the UTF-8 bytes of the path. The SHA-256
of the whole text names the tree: ``t1:<64 hex>``. So this makes an id with no cas installed::

    (echo '# cas-tree 1'; find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum |
     sed 's|  \./|  |') | sha256sum

Size, time, owner, execute bit and empty directories are no part of it. A path that could
leave the directory it is put in, or break the format, does not get in here.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from operator import ge, itemgetter
from typing import TYPE_CHECKING, NamedTuple

from .digest import Digest, hash_bytes, parse_digest
from .errors import ListingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "HEADER",
    "Entry",
    "Listing",
    "check_path",
    "fold",
    "is_left_out",
    "parse_tree_id",
    "tree_id",
    "twins",
    "unportable",
]

HEADER = b"# cas-tree 1\n"
MAX_PART = 255  # bytes, what file systems take for one name
MAX_PATH = 1024  # bytes

# almost every path is of this form, and is right unless it is long
_PLAIN = re.compile(r"[0-9A-Za-z_-][0-9A-Za-z_.-]*(?:/[0-9A-Za-z_-][0-9A-Za-z_.-]*)*").fullmatch
_CONTROL = re.compile("[\\\\\x00-\x1f\x7f-\x9f]")
_LINE = re.compile(r"^([0-9a-f]{64})  (.*)\n", re.MULTILINE)
_STRANGE = re.compile(r'[:*?"<>|]')
_WINDOWS = re.compile(r"(?i)(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])( *\..*)?")


class Entry(NamedTuple):
    """One file of a tree."""

    path: str
    digest: Digest


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of one tree, sorted by path."""

    entries: tuple[Entry, ...]

    @classmethod
    def of(cls, entries: Iterable[tuple[str, Digest]]) -> Listing:
        """Make a listing; raise ListingError on an unsafe, repeated or contradictory path."""
        # the order of characters is that of their UTF-8 bytes
        ordered = sorted(map(Entry._make, entries), key=itemgetter(0))
        if not ordered:
            raise ListingError("a tree needs at least one file, found none")
        _check_order([entry.path for entry in ordered])
        return cls(tuple(ordered))

    @classmethod
    def parse(cls, data: bytes) -> Listing:
        """Parse the text that ``data()`` makes, and nothing else; raise ListingError."""
        if not data.startswith(HEADER):
            raise ListingError(
                f"listing: expected the first line '# cas-tree 1', found {data[:24]!r}"
            )
        if not data.endswith(b"\n"):
            raise ListingError("listing: the last line is cut off")
        try:
            text = data[len(HEADER) :].decode()
        except UnicodeDecodeError as error:
            raise ListingError(f"listing: not UTF-8 at byte {len(HEADER) + error.start}") from None
        found = _LINE.findall(text)
        if not found or len(found) != text.count("\n"):
            lines = enumerate(text[:-1].split("\n"), 2)
            number, line = next(pair for pair in lines if not _LINE.fullmatch(pair[1] + "\n"))
            raise ListingError(
                f"listing, line {number}: expected '<64 hex>  <path>', found {line[:80]!r}"
            )
        entries = tuple(Entry(path, Digest(digest)) for digest, path in found)
        paths = [entry.path for entry in entries]
        _check_order(paths)
        if any(map(ge, paths, paths[1:])):
            raise ListingError("listing: the paths are not sorted by their bytes")
        return cls(entries)

    def data(self) -> bytes:
        """Return the canonical text."""
        return HEADER + "".join(f"{e.digest}  {e.path}\n" for e in self.entries).encode()

    @property
    def digest(self) -> Digest:
        """The SHA-256 of the text: the identity of the tree."""
        return hash_bytes(self.data())

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def directories(self) -> list[str]:
        """Return every directory of the tree, ``""`` (its root) first, parents before children."""
        found = {""}
        for path, _ in self.entries:
            cut = path.rfind("/")
            while cut > 0 and path[:cut] not in found:
                found.add(path[:cut])
                cut = path.rfind("/", 0, cut)
        return sorted(found)

    def changes(self, new: Listing) -> tuple[list[str], list[str], list[str]]:
        """Return the paths (added, removed, changed) from this listing to *new*."""
        before, after = dict(self.entries), dict(new.entries)
        added = [path for path in after if path not in before]
        removed = [path for path in before if path not in after]
        changed = [p for p, digest in after.items() if p in before and before[p] != digest]
        return added, removed, changed


def tree_id(digest: Digest) -> str:
    """Return the id of the tree whose listing has that digest."""
    return f"t1:{digest}"


def parse_tree_id(text: object) -> Digest:
    """Return the digest in a tree id; raise ValueError if it is not one."""
    if not isinstance(text, str) or not text.startswith("t1:"):
        message = f"expected a tree id 't1:<64 hex>', found {text!r:.90}"
        raise ValueError(message)
    return parse_digest(text[3:])


def check_path(path: str) -> None:
    """Raise ListingError if *path* could leave its directory, or break the format."""
    if len(path) <= MAX_PART and _PLAIN(path):
        return
    reason = None
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        raise ListingError(f"path {path!r:.200}: it is not UTF-8") from None
    parts = path.split("/")
    if not path:
        reason = "it is empty"
    elif path[0] == "/":
        reason = "it is absolute"
    elif _CONTROL.search(path):
        reason = "it has a control character or a backslash"
    elif "" in parts or "." in parts or ".." in parts:
        reason = "it has an empty part, '.' or '..'"
    elif size > MAX_PATH:
        reason = f"it has {size} bytes, more than {MAX_PATH}"
    elif size > MAX_PART and any(len(part.encode()) > MAX_PART for part in parts):
        reason = f"a part of it has more than {MAX_PART} bytes"
    elif ".git" in path.lower() and ".git" in path.lower().split("/"):
        reason = "it has a part '.git'"
    if reason:
        raise ListingError(f"path {path!r:.200}: {reason}")


def is_left_out(path: str) -> bool:
    """Say whether *path* is left out of every tree (``.git/`` and the like at its root)."""
    return path == ".gitattributes" or path.startswith((".git/", ".cache/huggingface/"))


def unportable(path: str) -> str | None:
    """Say why a path that is kept may not exist on another system, or return None."""
    if path == "-":
        return "sha256sum takes it for its standard input"
    if match := _STRANGE.search(path):
        return f"it has a {match[0]!r}"
    for part in path.split("/"):
        if _WINDOWS.fullmatch(part):
            return f"{part!r} is a device on Windows"
        if part[-1] in ". ":
            return f"{part!r} ends in a dot or a space"
    return None


def fold(path: str) -> str:
    """Return the form of a path in which case and Unicode form don't count."""
    if path.isascii():
        return path.lower()
    decomposed = unicodedata.normalize("NFD", path)
    return unicodedata.normalize("NFC", decomposed.casefold())


def twins(paths: Iterable[str]) -> list[tuple[str, str]]:
    """Return the pairs that are one path where case or Unicode form don't count.

    Pairs of files, and of a file and another's directory.
    """
    paths = list(paths)
    seen: dict[str, str] = {}
    pairs = []
    for path in paths:
        key = fold(path)
        if key in seen and seen[key] != path:
            pairs.append((seen[key], path))
        seen.setdefault(key, path)
    directories = {path[: path.rfind("/")] for path in paths if "/" in path}
    for directory in sorted(directories | {d for one in directories for d in _above(one)}):
        twin = seen.get(fold(directory), directory)
        if twin != directory:
            pairs.append((twin, directory))
    return pairs


def _above(path: str) -> Iterator[str]:
    """Yield every directory above *path*, the nearest first."""
    while (cut := path.rfind("/")) > 0:
        path = path[:cut]
        yield path


def _check_order(paths: list[str]) -> None:
    known = set()
    for path in paths:
        check_path(path)
        if path in known:
            raise ListingError(f"path {path!r}: it is listed twice")
        known.add(path)
    seen: set[str] = set()
    for path in paths:
        directory = path
        while (directory := directory.rpartition("/")[0]) and directory not in seen:
            seen.add(directory)
            if directory in known:
                raise ListingError(f"path {path!r}: {directory!r} is a file beside it")
