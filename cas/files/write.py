"""Names that appear whole: a temporary file is written, synced, and renamed or linked."""

from __future__ import annotations

import errno
import os
import stat
from functools import cache

from cas.files.names import discard, temporary_name
from cas.files.sync import fsync_dir, libc, named

__all__ = [
    "NO_LINKS",
    "exchange",
    "make_dirs",
    "mode_beside",
    "replace",
    "replace_symlink",
    "umask",
    "write_new",
]

NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""What ``link`` says where a file system, or its rules, have no hard links."""
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2

Path = str | os.PathLike[str]


def make_dirs(path: Path, *, mode: int = 0o777) -> None:
    """Make a directory and its parents, and make the new names durable."""
    path = os.fspath(path)
    made = []
    while path and not os.path.isdir(path):
        made.append(path)
        path = os.path.dirname(path) or "."
    for new in reversed(made):
        try:
            os.mkdir(new, mode)
        except FileExistsError:
            if not os.path.isdir(new):
                raise
        fsync_dir(os.path.dirname(new) or ".")


def write_new(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Make the file *path* with *data*, durable; raise FileExistsError if the name is taken."""
    directory = os.path.dirname(os.fspath(path)) or "."
    temporary = os.path.join(directory, temporary_name())
    try:
        _write(temporary, data, mode)
        try:
            os.link(temporary, path)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            # a file system without hard links: the check and the rename are two steps there
            if os.path.lexists(path):
                raise FileExistsError(
                    errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(path)
                ) from None
            os.rename(temporary, path)
    finally:
        discard(temporary)
    fsync_dir(directory)


def replace(path: Path, data: bytes, *, mode: int | None = None) -> None:
    """Replace the file *path* by *data*, durable; its permissions stay unless *mode* is given."""
    directory = os.path.dirname(os.fspath(path)) or "."
    temporary = os.path.join(directory, temporary_name())
    if mode is None:
        try:
            mode = stat.S_IMODE(os.stat(path).st_mode)
        except FileNotFoundError:
            mode = 0o666 & ~umask()
    try:
        _write(temporary, data, mode)
        os.replace(temporary, path)
    except BaseException:
        discard(temporary)
        raise
    fsync_dir(directory)


def replace_symlink(link: Path, target: Path) -> None:
    """Point *link* at *target* in one step; the caller has seen that *link* may be replaced.

    The directory is not synced: the caller does that for all links of a call at once.
    """
    temporary = os.path.join(os.path.dirname(os.fspath(link)) or ".", temporary_name())
    os.symlink(target, temporary)
    try:
        os.replace(temporary, link)
    except BaseException:
        discard(temporary)
        raise


def exchange(one: Path, other: Path) -> None:
    """Swap two names of one directory, of any kind: in one step where the system can.

    Elsewhere *other* is moved aside first, so that for a moment nothing has its name.
    """
    function = libc("renameat2")
    if function is not None:
        import ctypes

        names = (os.fsencode(one), os.fsencode(other))
        done = function(_AT_FDCWD, names[0], _AT_FDCWD, names[1], ctypes.c_uint(_RENAME_EXCHANGE))
        if done == 0:
            return
        code = ctypes.get_errno()
        if code not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
            raise OSError(code, os.strerror(code), os.fspath(other))
    aside = os.path.join(os.path.dirname(os.fspath(other)) or ".", temporary_name())
    os.rename(other, aside)
    try:
        os.rename(one, other)
    except BaseException:
        os.rename(aside, other)
        raise
    os.rename(aside, one)


@cache
def umask() -> int:
    """Return the process's umask, read once: where it must be set to be read, others see it."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("Umask:"):
                    return int(line.split()[1], 8)
    except (OSError, ValueError, IndexError):
        pass
    value = os.umask(0o077)
    os.umask(value)
    return value


def mode_beside(path: Path, mode: int) -> int:
    """Return the permissions of a new file: *mode* less the umask, or whole for a group's.

    A directory that its group may write is one that several users share, whatever the umask
    of the one who makes a file in it.
    """
    above = os.stat(os.path.dirname(os.fspath(path)) or ".").st_mode
    return mode if above & stat.S_IWGRP else mode & ~umask()


def _write(path: str, data: bytes, mode: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(data)
        with named(path):
            while view:
                view = view[os.write(fd, view) :]
            os.fchmod(fd, mode)
            os.fsync(fd)
    finally:
        os.close(fd)
