"""Errors of ours that are the system's too: programs look for ``FileNotFoundError``."""

from __future__ import annotations

import errno
from functools import partial
from typing import Any

from cas.errors import CasError

__all__ = ["IsDirectory", "NotThere", "ReadOnly"]


class _Numbered(CasError):
    """An error with the system's number; a number alone does not change what it says."""

    number = 0
    errno: int | None

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.errno = self.number

    def __reduce__(self) -> tuple[Any, ...]:
        # an OSError that is made without __init__ loses its message
        return partial(type(self), hint=self.hint), self.args


class NotThere(_Numbered, FileNotFoundError):
    """No locked asset, or no file in it, has that path."""

    number = errno.ENOENT


class IsDirectory(_Numbered, IsADirectoryError):
    """A file was expected, and the path is that of a directory."""

    number = errno.EISDIR


class ReadOnly(_Numbered, PermissionError):
    """Something was to be written under ``cas://``."""

    number = errno.EROFS
