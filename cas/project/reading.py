"""Reads a project's own files, which a checkout brought and nobody vouches for."""

from __future__ import annotations

import errno
import os
import stat

from cas.errors import LockfileError, remedy

__all__ = ["read_lock_file", "read_regular", "root_id_of"]

MAX_BYTES = 64 << 20  # of a file that is read whole; the parsers have their own, lower limits


def read_lock_file(path: str) -> bytes:
    """Return the bytes of a lockfile; raise LockfileError if it can't be read."""
    try:
        return read_regular(path)
    except OSError as error:
        raise LockfileError(f"{path}: {error.strerror}", hint=remedy(error)) from None


def read_regular(path: str) -> bytes:
    """Return a file's bytes; raise OSError if it is a FIFO or device, which might never end."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "expected a regular file", path)
        if status.st_size > MAX_BYTES:
            raise OSError(errno.EFBIG, f"{status.st_size} bytes, more than {MAX_BYTES}", path)
        return file.read(MAX_BYTES)


def root_id_of(root: str) -> str | None:
    """Return the id of the project's root in the store, if one was drawn for this place."""
    try:
        text = read_regular(os.path.join(root, "assets/.cas/root")).decode()
        drawn, _, path = text.rstrip("\n").partition("\n")
    except (OSError, ValueError):  # no UTF-8; a path that the store's record made up
        return None
    if len(drawn) != 32 or drawn.strip("0123456789abcdef") or path != root:
        return None
    return drawn
