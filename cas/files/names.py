"""Temporary names say whose they are, so that what a crash left can be taken away.

``.cas-<host>-<pid>-<random>``: of this host's dead process it goes at once, of another host
after a day. What a living process of this host made is left alone, however old it looks: a
directory that was renamed aside keeps its old time, and a build may take days.
"""

from __future__ import annotations

import errno
import os
import stat
import time
import zlib
from contextlib import suppress
from functools import cache

__all__ = [
    "PREFIX",
    "discard",
    "host",
    "is_temporary",
    "remove_tree",
    "sweep",
    "temporary_name",
    "writer_is_alive",
    "writer_is_dead",
]

PREFIX = ".cas-"
STRANGER_KEEPS = 86400  # seconds that a temporary file of another host is left alone
DEEPEST = 600  # directories in each other; a path of 1,024 bytes has no more

Path = str | os.PathLike[str]


@cache
def host() -> str:
    """Return a name for this machine and process table, fit for a file name.

    Two containers may have one host name and two process tables, so the table's number is
    part of it: only then does a process id that is not here prove that its process is dead.
    """
    parts = []
    for place in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        try:
            with open(place, "rb") as file:
                parts.append(file.read(64))
            break
        except OSError:
            continue
    try:
        parts.append(os.readlink("/proc/self/ns/pid").encode())
    except OSError:
        pass
    node = "".join(c if c.isascii() and (c.isalnum() or c == ".") else "_" for c in os.uname()[1])
    return f"{node[:48]}.{zlib.crc32(b'|'.join(parts)):08x}"


def temporary_name() -> str:
    """Return a name that no other process draws: ``.cas-<host>-<pid>-<random>``."""
    return f"{PREFIX}{host()}-{os.getpid()}-{os.urandom(6).hex()}"


def is_temporary(name: str) -> bool:
    """Say whether *name* is one that ``temporary_name`` makes."""
    return name.startswith(PREFIX)


def writer_is_dead(name: str) -> bool:
    """Say whether *name* ends in ``<host>-<pid>-<random>`` of a process proved dead, here."""
    return _writer_lives(name) is False


def writer_is_alive(name: str) -> bool:
    """Say whether *name* ends in ``<host>-<pid>-<random>`` of a process that runs here."""
    return _writer_lives(name) is True


def _writer_lives(name: str) -> bool | None:
    """Return whether the writer of *name* lives; None if it is of another host, or nobody's."""
    head, _, _ = name.rpartition("-")
    head, _, pid = head.rpartition("-")
    if not head.endswith(host()) or not pid.isascii() or not pid.isdigit() or len(pid) > 10:
        return None
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return None
    return not _has_ended(int(pid))


def _has_ended(pid: int) -> bool:
    """Say whether a process is only a number that nobody takes back.

    The first process of a container may never ask how those ended that lost their parent.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state = file.read().rpartition(b") ")[2][:1]
        return state == b"Z" and len(os.listdir(f"/proc/{pid}/task")) == 1  # its only thread
    except OSError:
        return False


def sweep(directory: Path) -> int:
    """Remove from *directory* the temporary files of this host's dead processes.

    Those of other hosts go after a day. Returns how many went; a directory that is not
    there, or files that can't be removed, are no error.
    """
    count = 0
    try:
        with os.scandir(directory) as entries:
            names = [entry.name for entry in entries if is_temporary(entry.name)]
    except OSError:
        return 0
    for name in names:
        path = os.path.join(directory, name)
        lives = _writer_lives(name)
        try:
            old = time.time() - os.lstat(path).st_mtime > STRANGER_KEEPS
        except OSError:
            continue
        if lives is False or (lives is None and old):
            discard(path)
            count += 1
    return count


def discard(path: Path) -> None:
    """Remove a file, link or directory tree of ours if it can be; never raise OSError."""
    try:
        os.unlink(path)
    except (IsADirectoryError, PermissionError):
        try:
            remove_tree(path)
        except OSError:
            pass
    except OSError:
        pass


def remove_tree(path: Path) -> None:
    """Remove a directory and what is in it, read-only directories too (ours are 0555).

    What another process removes meanwhile is no error. What lies in it is gone into by
    descriptor: whoever puts a link in a directory's place meanwhile leads nobody elsewhere.
    """
    try:
        if stat.S_ISDIR(os.lstat(path).st_mode):
            _empty(path, None, 0)
            os.rmdir(path)
        else:
            os.unlink(path)
    except FileNotFoundError:
        pass


def _empty(name: Path, above: int | None, depth: int) -> None:
    """Remove what is in a directory of the one that is open as *above*."""
    if depth > DEEPEST:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), os.fspath(name))
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(name, flags, dir_fd=above)
    except PermissionError:  # our own, closed to us; never root's
        os.chmod(name, 0o700, dir_fd=above)
        fd = os.open(name, flags, dir_fd=above)
    try:
        with suppress(PermissionError):
            os.fchmod(fd, 0o700)
        with os.scandir(fd) as entries:
            inside = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        for inner, is_directory in inside:
            with suppress(FileNotFoundError):
                if is_directory:
                    _empty(inner, fd, depth + 1)
                    os.rmdir(inner, dir_fd=fd)
                else:
                    os.unlink(inner, dir_fd=fd)
    finally:
        os.close(fd)
