"""Git's object ids, and file contents that are hashed once.

An id is what git prints: SHA-1 of ``<type> <size>\\0<bytes>``. Nothing is stored as git
stores it; only the names are git's, so that ``git hash-object`` and ``git commit-tree``
agree with them. A content is either bytes in memory or a file that stays where it is and
is read when it is sent; such a file must not change while a repository names it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator

PIECE = 1 << 18
"""bytes read at a time from a file"""


def object_id(kind: str, data: bytes) -> str:
    """Return the id that git gives the object of type *kind* with the bytes *data*."""
    return hashlib.sha1(b"%s %d\0" % (kind.encode(), len(data)) + data).hexdigest()


class Content(Protocol):
    """The bytes of one file."""

    @property
    def size(self) -> int:
        """In bytes."""
        ...

    @property
    def blob(self) -> str:
        """The git blob id, 40 hexadecimal digits."""
        ...

    @property
    def sha256(self) -> str:
        """The SHA-256, 64 hexadecimal digits."""
        ...

    def pieces(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes from *start* to *stop*."""
        ...


@dataclass(frozen=True)
class Memory:
    """A content in memory."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    @cached_property
    def blob(self) -> str:
        return object_id("blob", self.data)

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    def pieces(self, start: int, stop: int) -> Iterator[bytes]:
        for at in range(start, stop, PIECE):
            yield self.data[at : min(at + PIECE, stop)]


@dataclass(frozen=True)
class OnDisk:
    """A content that is a file of the caller's."""

    path: Path
    size: int
    modified: int
    """nanoseconds; a file that was written again is another content"""

    @cached_property
    def blob(self) -> str:
        return self._hash(lambda: hashlib.sha1(b"blob %d\0" % self.size))

    @cached_property
    def sha256(self) -> str:
        return self._hash(hashlib.sha256)

    def _hash(self, make: Callable[[], hashlib._Hash]) -> str:
        hasher = make()
        for piece in self.pieces(0, self.size):
            hasher.update(piece)
        return hasher.hexdigest()

    def pieces(self, start: int, stop: int) -> Iterator[bytes]:
        with self.path.open("rb", buffering=0) as file:
            file.seek(start)
            while start < stop:
                piece = file.read(min(PIECE, stop - start))
                if not piece:
                    raise OSError(f"'{self.path}' has become shorter than {stop} bytes")
                start += len(piece)
                yield piece


_files: dict[tuple[str, int, int], OnDisk] = {}


def as_content(value: bytes | str | os.PathLike[str]) -> Content:
    """Return *value* as a content: bytes, text (as UTF-8), or a path to a file."""
    if isinstance(value, bytes):
        return Memory(value)
    if isinstance(value, str):
        return Memory(value.encode())
    path = Path(value).absolute()
    status = path.stat()
    key = (str(path), status.st_size, status.st_mtime_ns)
    # one object a file and state, so that two commits hash it once
    return _files.setdefault(key, OnDisk(path, status.st_size, status.st_mtime_ns))


def lfs_pointer(content: Content) -> bytes:
    """Return the text that git holds in place of an LFS file."""
    return (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{content.sha256}\n"
        f"size {content.size}\n"
    ).encode()


@dataclass(frozen=True)
class File:
    """One file of a commit."""

    content: Content
    lfs: bool

    @cached_property
    def oid(self) -> str:
        """The id of git's blob: of the pointer where the file is an LFS file."""
        return object_id("blob", lfs_pointer(self.content)) if self.lfs else self.content.blob

    @cached_property
    def pointer_size(self) -> int:
        return len(lfs_pointer(self.content))


def make_trees(files: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the tree id of each directory, ``""`` being the root.

    *files* are (path, blob id). Order within a tree is git's: by bytes, a directory as if
    its name ended in a slash.
    """
    children: dict[str, dict[str, str | None]] = {"": {}}
    for path, oid in files:
        folder, _, name = path.rpartition("/")
        below = folder
        while below not in children:
            children[below] = {}
            below = below.rpartition("/")[0]
        children[folder][name] = oid
    for folder in [folder for folder in children if folder]:
        above, _, name = folder.rpartition("/")
        children[above][name] = None
    trees: dict[str, str] = {}
    for folder in sorted(children, key=lambda f: -(f.count("/") + bool(f))):
        rows = []
        for name, blob in children[folder].items():
            oid = blob or trees[f"{folder}/{name}" if folder else name]
            if blob is None:
                rows.append((name.encode() + b"/", b"40000 " + name.encode(), oid))
            else:
                rows.append((name.encode(), b"100644 " + name.encode(), oid))
        data = b"".join(head + b"\0" + bytes.fromhex(oid) for _, head, oid in sorted(rows))
        trees[folder] = object_id("tree", data)
    return trees


def commit_id(tree: str, parents: Iterable[str], author: str, seconds: int, message: str) -> str:
    """Return the id of a commit, as ``git commit-tree`` makes it at UTC."""
    lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents)]
    lines += [f"author {author} {seconds} +0000", f"committer {author} {seconds} +0000"]
    return object_id("commit", ("\n".join(lines) + f"\n\n{message}\n").encode())
