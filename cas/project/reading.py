"""Reads a project's own files, which a checkout brought and nobody vouches for."""

from __future__ import annotations

import errno
import os

from cas.errors import LockfileError, remedy
from cas.files import read_plain

__all__ = ["MOST", "read_lock_file", "root_id_of"]

PASSING = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO}
MOST = 64 << 20  # of a file that is read whole; the parsers have their own, lower limits


def read_lock_file(path: str) -> bytes:
    """Return the bytes of a lockfile; raise LockfileError if it can't be read."""
    try:
        return read_plain(path, MOST)
    except OSError as error:
        raise LockfileError(f"{path}: {error.strerror}", hint=remedy(error)) from None


def root_id_of(root: str) -> str | None:
    """Return the id of the project's root in the store, if one was drawn for this place.

    Raises OSError where that can't be told now, and may be later: who took it for none would
    draw a second one.
    """
    try:
        text = read_plain(os.path.join(root, "assets/.cas/root"), MOST).decode()
    except ValueError:  # no UTF-8; a path that the store's record made up
        return None
    except OSError as error:
        if error.errno in PASSING:
            raise
        return None
    drawn, _, path = text.rstrip("\n").partition("\n")
    if len(drawn) != 32 or drawn.strip("0123456789abcdef") or path != root:
        return None
    return drawn
