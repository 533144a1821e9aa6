"""Staging: bytes on their way in, hashed as they are written.

A staged file is named by the key of what it will be (its SHA-256, or ``git-<sha1>`` where
only that is known), so that a killed download goes on in the next run: a partial whose
writer is provably dead on this host is taken over, any other is copied as far as it got.
What a partial holds is hashed again; nothing is believed because of its name.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from cas.digest import CHUNK, Digest, Hasher, Sums, git_blob_hasher
from cas.errors import IntegrityError
from cas.files import copy_file, discard, host, reflink, start_writeback, writer_is_dead

if TYPE_CHECKING:
    from cas.store.layout import Store

__all__ = ["Staged", "Staging"]

THREADED_FROM = 16 << 20  # bytes; below it a second thread costs more than it gives
WRITEBACK = 32 << 20  # bytes between two requests to begin writing


class Staging:
    """The staging directory as one call sees it: what earlier runs left is looked up once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.make_dir(store.place("staging"))
        self._partials: dict[str, list[str]] = {}
        for name in os.listdir(store.place("staging")):
            key, dot, rest = name.partition(".")
            if dot and rest:
                self._partials.setdefault(key, []).append(name)

    def open(
        self,
        what: str,
        *,
        size: int | None = None,
        sha256: Digest | None = None,
        git_sha1: str | None = None,
    ) -> Staged:
        """Return a staged file for *what* (named in errors), with what an earlier run left."""
        key = sha256 or (f"git-{git_sha1}" if git_sha1 else "new")
        name = f"{key}.{host()}-{os.getpid()}-{os.urandom(6).hex()}"
        path = self._store.place("staging", name)
        partial = None if key == "new" else self._take(key, path)
        return Staged(path, what, size=size, sha256=sha256, git_sha1=git_sha1, partial=partial)

    def link(self, path: str, *, dir_fd: int | None = None) -> Staged | None:
        """Return the file at *path* itself as a staged one, read-only from now on.

        None where it can't be linked here: another file system, or another user's file.
        """
        target = self._new()
        try:
            os.link(path, target, src_dir_fd=dir_fd, follow_symlinks=False)
            os.chmod(target, 0o444)
        except OSError:
            discard(target)
            return None
        return self._hashed(target, path)

    def reflink(self, path: str) -> Staged | None:
        """Return a staged file that shares the blocks of *path*; None where it can't."""
        target = self._new()
        try:
            return self._hashed(target, path) if reflink(path, target) else None
        except OSError:
            discard(target)
            return None

    def _new(self) -> str:
        return self._store.place("staging", f"new.{host()}-{os.getpid()}-{os.urandom(6).hex()}")

    def _hashed(self, path: str, what: str) -> Staged:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return Staged(path, what, size=None, sha256=None, git_sha1=None, partial=fd)

    def _take(self, key: str, path: str) -> int | None:
        """Bring the longest partial of *key* to *path*; return an open fd of it, or None."""
        found = []
        for name in self._partials.pop(key, []):
            partial = self._store.place("staging", name)
            try:
                found.append((os.stat(partial).st_size, name, partial))
            except OSError:
                continue
        for size, name, partial in sorted(found, reverse=True):
            if size == 0:
                continue
            try:
                if writer_is_dead(name):
                    os.rename(partial, path)
                    os.chmod(path, 0o600)
                else:
                    copy_file(partial, path)
                return os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except OSError:
                discard(path)
        return None


class Staged:
    """One file being written. ``finish`` proves it; then ``objects.publish`` names it.

    ``offset``, ``write`` and ``restart`` are what the Hub's reader needs of a sink.
    """

    __slots__ = (
        "_blob", "_fd", "_flushed", "_git_sha1", "_hasher", "_sha256", "_size", "_what", "inode",
        "mtime_ns", "offset", "path", "sums",
    )  # fmt: skip

    def __init__(
        self,
        path: str,
        what: str,
        *,
        size: int | None,
        sha256: Digest | None,
        git_sha1: str | None,
        partial: int | None = None,
    ) -> None:
        self.path = path
        self.offset = 0
        """bytes held"""
        self.sums: Sums | None = None
        self._what = what
        self._size = size
        self._sha256 = sha256
        self._git_sha1 = git_sha1
        self._flushed = 0
        if partial is None:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            partial = os.open(path, flags, 0o600)
            self._fd = partial
            self._start()
        else:
            self._fd = partial
            self._start()
            self._read_back()
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pass  # it tells others that the writer lives; nothing rests on it

    def write(self, data: bytes) -> None:
        """Append *data*; raise IntegrityError when there is more than the size allows."""
        end = self.offset + len(data)
        if self._size is not None and end > self._size:
            raise IntegrityError(
                self._what, expected=f"{self._size} bytes", actual=f"at least {end}"
            )
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        self._hash(data)
        self.offset = end
        if end - self._flushed >= WRITEBACK:
            start_writeback(self._fd, self._flushed, end - self._flushed)
            self._flushed = end

    def restart(self) -> None:
        """Forget all that was written."""
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._hasher.close()
        self.offset = self._flushed = 0
        self._start()

    def finish(self) -> Sums:
        """Prove what was written, make it read-only, and return its sums.

        Raises IntegrityError, and forgets the bytes, if they are not what was to come.
        """
        sums = self._hasher.sums()
        try:
            if self._size is not None and sums.size != self._size:
                raise IntegrityError(
                    self._what, expected=f"{self._size} bytes", actual=f"{sums.size}"
                )
            if self._sha256 is not None and sums.sha256 != self._sha256:
                raise IntegrityError(
                    self._what, expected=f"sha256 {self._sha256}", actual=sums.sha256
                )
            if self._blob is not None and self._blob.hexdigest() != self._git_sha1:
                raise IntegrityError(
                    self._what, expected=f"git sha1 {self._git_sha1}", actual=self._blob.hexdigest()
                )
        except IntegrityError:
            self.abandon(keep=False)
            raise
        os.fchmod(self._fd, 0o444)
        status = os.fstat(self._fd)
        self.inode, self.mtime_ns = status.st_ino, status.st_mtime_ns
        os.close(self._fd)
        self._fd = -1
        self.sums = sums
        return sums

    def abandon(self, *, keep: bool = True) -> None:
        """Stop writing; what there is stays for the next run if *keep*, and can be told by key."""
        self._hasher.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if not keep or not self.offset or not (self._sha256 or self._git_sha1):
            discard(self.path)

    def _start(self) -> None:
        self._hasher = Hasher(threaded=(self._size or 0) >= THREADED_FROM)
        self._blob = None
        if self._git_sha1 is not None and self._size is not None:
            self._blob = git_blob_hasher(self._size)

    def _hash(self, data: bytes) -> None:
        self._hasher.update(data)
        if self._blob is not None:
            self._blob.update(data)

    def _read_back(self) -> None:
        while data := os.read(self._fd, CHUNK):
            self._hash(data)
            self.offset += len(data)
        if self._size is not None and self.offset > self._size:
            self.restart()
