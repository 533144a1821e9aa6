"""Temporary names say whose they are, so that what a crash left can be taken away.

``.cas-<host>-<pid>-<random>``: of this host's dead process it goes at once, of another host
after a day. What a living process of this host made is left alone, however old it looks: a
directory that was renamed aside keeps its old time, and a build may take days.
"""

from __future__ import annotations

import os
import stat
import time
import zlib
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
    return True


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

    What another process removes meanwhile is no error.
    """
    try:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)
            return
        try:
            os.chmod(path, 0o700)
        except PermissionError:
            pass
        with os.scandir(path) as entries:
            inside = [(e.path, e.is_dir(follow_symlinks=False)) for e in entries]
    except FileNotFoundError:
        return
    for inner, is_directory in inside:
        if is_directory:
            remove_tree(inner)
            continue
        try:
            os.unlink(inner)
        except FileNotFoundError:
            pass
    try:
        os.rmdir(path)
    except FileNotFoundError:
        pass
