"""Errors raised by cas: what was expected, what was found, where, and what to type next.

CasError                 exit 1
├── UsageError           exit 2: a word on the command line or an argument that can't be taken
├── NoProject            no assets.lock in the working directory or above
├── RequestError         pyproject.toml's [tool.cas] can't be read or breaks its schema
├── LockfileError        assets.lock can't be read or breaks its schema
│   └── OutOfStep        the requests ask for something else than assets.lock pins
├── ListingError         a listing or a path in it breaks the format
├── UnknownAsset         a name that fits no asset, or more than one
├── NotPulled            a locked asset that is not in the store
├── Edited               the view is a writable copy, not the locked asset
├── StoreError           the store can't be read, written, or trusted
├── IntegrityError       bytes whose hash is not the one asked for
│   └── NotReproducible  a recipe that made other bytes than those locked
├── RecipeError          a recipe can't be run on what it was given
├── ExperimentError      a record or a query can't be made or read
├── ViewBlocked          something that is not ours lies where a view goes
└── SourceError          the Hub or a remote failed or refused
    ├── AccessDenied     exit 4: gated, private, or no token
    └── Offline          exit 3: no connection, and something is missing
"""

from __future__ import annotations

import copyreg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class CasError(Exception):
    """Base of every error that cas raises on purpose.

    ``hint`` is the next command or setting to try; the command line prints it on a line of
    its own, and a traceback as a note. ``exit_code`` is what the command line ends with.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        if hint:
            self.add_note(f"hint: {hint}")

    def __reduce__(self) -> tuple[Any, ...]:
        # made without __init__, whose arguments are not kept: it comes whole from a process
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class UsageError(CasError):
    """A word on the command line, or an argument of a call, that can't be taken."""

    exit_code = 2


class NoProject(CasError):
    """No assets.lock in the working directory or above."""


class RequestError(CasError):
    """pyproject.toml's ``[tool.cas]`` can't be read, or breaks its schema."""


class LockfileError(CasError):
    """assets.lock can't be read, or breaks its schema."""


class OutOfStep(LockfileError):
    """The requests ask for something else than assets.lock pins."""


class ListingError(CasError):
    """A listing, or a path in it, breaks the format."""


class UnknownAsset(CasError):
    """A name that fits no asset of the lockfile, or more than one."""


class NotPulled(CasError):
    """A locked asset that is not in the store, or not whole there."""


class Edited(CasError):
    """The view of an asset is a writable copy, not what is locked."""


class StoreError(CasError):
    """The store can't be read, written or trusted."""


class IntegrityError(CasError):
    """Bytes whose hash is not the one asked for."""

    def __init__(self, what: str, *, expected: str, actual: str, hint: str | None = None) -> None:
        super().__init__(f"{what}: expected {expected}, found {actual}", hint=hint)
        self.expected = expected
        self.actual = actual


class NotReproducible(IntegrityError):
    """A recipe that made other bytes than those locked."""


class RecipeError(CasError):
    """A recipe can't be run on what it was given."""


class ExperimentError(CasError):
    """A record of an experiment, or a query over them, can't be made or read."""


class ViewBlocked(CasError):
    """Something that is not ours lies where a view goes."""


class SourceError(CasError):
    """The Hub or a remote failed or refused."""


class AccessDenied(SourceError):
    """A gated or private repository, or a token that does not open it."""

    exit_code = 4


class Offline(SourceError):
    """No connection could be made to any source, and something is missing."""

    exit_code = 3


def remedy(error: OSError) -> str | None:
    """Return what to do about an error of the system, where that can be said."""
    import errno

    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "cas gc frees what nothing refers to; CAS_STORE=DIR names a store on another disk"
    if error.errno == errno.EROFS:
        return "mount shows what is read-only; CAS_STORE=DIR names another store"
    if error.errno == errno.EIO:
        return "dmesg tells what the disk says"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "ulimit -n 4096"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "ls -ld tells whose it is; CAS_STORE=DIR names a store that you may write"
    return None


def typed(word: str) -> str:
    """Return *word* as it is typed into a shell, for a hint."""
    if word.isascii() and word.replace("/", "").replace("_", "").replace(".", "").isalnum():
        return word
    from shlex import quote

    return quote(word)
