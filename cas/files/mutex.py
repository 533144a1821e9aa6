"""Mutexes between processes: whole-file flocks, which end with their process."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from contextlib import contextmanager

from cas.files.sync import named
from cas.files.write import mode_beside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["file_system", "hold", "locks_hold"]

UNTRUSTED_LOCKS = (
    "nfs", "lustre", "gpfs", "cifs", "smb", "fuse", "ceph", "9p", "afs", "beegfs", "virtiofs",
    "vboxsf",
)  # fmt: skip
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)

Path = str | os.PathLike[str]


@contextmanager
def hold(path: Path, *, shared: bool = False, wait: bool = True) -> Iterator[bool]:
    """Hold the flock of the file *path*, made if absent; yield whether it is held.

    Without *wait* it may not be. A file that was removed while this process waited for it is
    no mutex any more, so the one that has the name now is taken instead.
    """
    while True:
        fd = _open(os.fspath(path))
        try:
            held = _lock(fd, shared=shared, wait=wait)
            if held and not _has_name(fd, path):
                continue
            yield held
        finally:
            os.close(fd)
        return


def _lock(fd: int, *, shared: bool, wait: bool) -> bool:
    operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(fd, operation if wait else operation | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return True  # no locks on this file system: nothing rests on them (I9)
        if error.errno in (errno.EAGAIN, errno.EACCES) and not wait:
            return False
        raise
    return True


def _has_name(fd: int, path: Path) -> bool:
    ours = os.fstat(fd)
    try:
        its = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return (ours.st_dev, ours.st_ino) == (its.st_dev, its.st_ino)


def _open(path: str) -> int:
    # without O_CREAT first: under fs.protected_regular it fails on another user's file
    for attempt in range(100):
        for flags in (os.O_RDWR, os.O_RDONLY):
            try:
                return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                break
            except PermissionError:
                continue
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            time.sleep(min(attempt, 5) / 1000)  # another user's, who opens it to others just now
            continue
        with named(path):
            os.fchmod(fd, mode_beside(path, 0o664))
        return fd
    raise OSError(errno.EACCES, os.strerror(errno.EACCES), path)


def file_system(path: Path) -> str:
    """Return the type of the file system that *path* lies on (``ext4``, ``nfs4``), or ``""``."""
    device = os.stat(path).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                left, _, right = line.partition(" - ")
                if left.split(" ")[2] == number:
                    return right.split(" ")[0]
    except OSError:
        pass
    return ""


def locks_hold(path: Path) -> bool:
    """Say whether flock can be trusted there: not on NFS, Lustre, GPFS, SMB or FUSE."""
    return not file_system(path).startswith(UNTRUSTED_LOCKS)
