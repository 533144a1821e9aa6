"""Directories that a team shares: ``file://``.

By the system's own calls, so that what was put is durable before it is told (obstore's local
store does not sync), no FIFO is waited for, and what fails has its number. A file is made
under a temporary name and linked, so one that has its name is whole.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from cas.digest import CHUNK, open_to_read
from cas.errors import Offline
from cas.files import (
    NO_LINKS,
    discard,
    fsync_dir,
    is_temporary,
    mode_beside,
    sync_all,
    temporary_name,
)

from .faults import fault_of_system
from .kinds import FIRST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from io import FileIO

    from cas.limits import Limits

    from .place import Place

__all__ = ["Directory"]


class Directory:
    """One directory of the system, perhaps of a network file system."""

    jobs = 16
    ordered = False

    def __init__(self, place: Place, limits: Limits) -> None:
        del limits  # the system has its own
        self._place = place
        self._root = place.path

    def begin(self, *, write: bool) -> None:
        """Make the directory for writing, but not those above it; raise Offline if it is gone.

        A share that is not mounted must not be filled beneath its mount point, so what is
        above has to be there.
        """
        if os.path.isdir(self._root):
            return
        above = os.path.dirname(self._root)
        if not write or not os.path.isdir(above):
            missing = self._root if os.path.isdir(above) else above
            raise Offline(f"{self._place}: there is no directory {missing}",
                          hint=f"mount it, or: mkdir -p {missing}")  # fmt: skip
        try:
            self._make(self._root)
        except OSError as error:
            raise fault_of_system(self._place, error) from None

    def read(self, key: str, offset: int = 0) -> tuple[int, Iterator[bytes]] | None:
        """Return (size of the whole, its bytes from *offset*), or None if it is not there."""
        try:
            fd = open_to_read(self._path(key))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise fault_of_system(self._place, error) from None
        file = open(fd, "rb", buffering=0)  # noqa: SIM115 - it is closed with its last piece
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            file.close()
            return None
        return status.st_size, self._pieces(file, offset)

    def read_first(self, key: str) -> bytes | None:
        """Return a small file, or None."""
        found = self.read(key)
        if found is None:
            return None
        return b"".join(found[1]) if found[0] <= FIRST else b""

    def size(self, key: str) -> int | None:
        """Return a file's bytes, or None if it is not there."""
        try:
            status = os.lstat(self._path(key))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise fault_of_system(self._place, error) from None
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def entries(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield (key, bytes) of every file below *prefix*, which ends in a slash."""
        todo = [prefix]
        while todo:
            inner = todo.pop()
            try:
                with os.scandir(self._path(inner)) as found:
                    for entry in found:
                        status = entry.stat(follow_symlinks=False)
                        if stat.S_ISDIR(status.st_mode):
                            todo.append(f"{inner}{entry.name}/")
                        elif stat.S_ISREG(status.st_mode) and not is_temporary(entry.name):
                            yield inner + entry.name, status.st_size
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise fault_of_system(self._place, error) from None

    def write(self, key: str, data: bytes, *, replace: bool = False) -> bool:
        """Make a small file; say whether it is new there."""

        def pieces() -> Iterator[bytes]:
            yield data

        return self._put(key, pieces(), replace=replace)

    def write_parts(self, key: str, parts: AbstractContextManager[Iterator[bytes]]) -> None:
        """Make, or replace, a file of what *parts* gives; nothing is left of one that fails."""
        with parts as pieces:
            self._put(key, pieces, replace=True)

    def settle(self, keys: list[str]) -> None:
        """Make files and their names durable, in one sync where they are many."""
        if not keys:
            return
        paths = [self._path(key) for key in keys]
        try:
            sync_all([*paths, *{os.path.dirname(path) for path in paths}], on=self._root)
        except OSError as error:
            raise fault_of_system(self._place, error) from None

    def _put(self, key: str, pieces: Iterator[bytes], *, replace: bool) -> bool:
        final = self._path(key)
        if not replace and os.path.lexists(final):
            return False
        work = os.path.join(os.path.dirname(final), temporary_name())
        try:
            self._make(os.path.dirname(final))
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = os.open(work, flags, 0o600)
            try:
                for piece in pieces:
                    view = memoryview(piece)
                    while view:
                        view = view[os.write(fd, view) :]
                os.fchmod(fd, mode_beside(final, 0o644) & 0o444)
            finally:
                os.close(fd)
            if replace:
                os.replace(work, final)
                return True
            try:
                os.link(work, final)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in NO_LINKS:
                    raise
                os.rename(work, final)  # the check and the rename are two steps there
        except OSError as error:
            raise fault_of_system(self._place, error) from None
        finally:
            discard(work)
        return True

    def _make(self, path: str) -> None:
        """Make a directory; one in a directory that a group may write is open to it too."""
        if os.path.isdir(path):
            return
        above = os.path.dirname(path)
        if path != self._root:
            self._make(above)
        try:
            os.mkdir(path)
            mode = os.stat(above).st_mode
            if mode & stat.S_IWGRP:
                os.chmod(path, stat.S_IMODE(mode) & 0o3775)
            fsync_dir(above)
        except FileExistsError:
            pass

    def _pieces(self, file: FileIO, offset: int) -> Iterator[bytes]:
        with file:
            try:
                while data := os.pread(file.fileno(), CHUNK, offset):
                    offset += len(data)
                    yield data
            except OSError as error:
                raise fault_of_system(self._place, error) from None

    def _path(self, key: str) -> str:
        return os.path.join(self._root, key)
