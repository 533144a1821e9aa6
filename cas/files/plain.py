"""Small files that somebody else may have put where they are read."""

from __future__ import annotations

import errno
import os
import stat

__all__ = ["read_plain"]


def read_plain(path: str | os.PathLike[str], most: int) -> bytes:
    """Return the bytes of a regular file of *most* bytes at most.

    No FIFO is waited for, and nothing endless is read. Raises OSError for any other file.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "expected a regular file", os.fspath(path))
        if status.st_size > most:
            raise OSError(errno.EFBIG, f"{status.st_size} bytes, more than {most}", os.fspath(path))
        return file.read(status.st_size)
