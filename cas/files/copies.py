"""Copies of files: shared blocks where the file system can, bytes where it can't."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys

__all__ = ["copy_file", "copy_range", "reflink", "reflink_fd"]

COPY_CHUNK = 8 << 20
_FICLONE = 0x40049409
_NO_RANGE = (errno.ENOSYS, errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF)

Path = str | os.PathLike[str]


def reflink(source: Path, target: Path) -> bool:
    """Make the new file *target* share *source*'s blocks; say whether the file system can.

    Raises OSError for a link.
    """
    source_fd = _open(source, os.O_NOFOLLOW)
    try:
        return reflink_fd(source_fd, target)
    finally:
        os.close(source_fd)


def reflink_fd(source: int, target: Path) -> bool:
    """Do as ``reflink`` does for a file that is open already."""
    if not sys.platform.startswith("linux"):
        return False
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.ioctl(fd, _FICLONE, source)
    except OSError:
        os.unlink(target)
        return False
    finally:
        os.close(fd)
    return True


def copy_file(source: Path, target: Path, *, follow: bool = True) -> None:
    """Make the new file *target* with *source*'s bytes: shared blocks, else a copy.

    Raises OSError where *source* is no regular file, or a link and not to *follow*.
    """
    source_fd = _open(source, 0 if follow else os.O_NOFOLLOW)
    try:
        target_fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if not _share(source_fd, target_fd):
                offset = 0
                while count := copy_range(source_fd, target_fd, offset, COPY_CHUNK):
                    offset += count
        except BaseException:
            os.unlink(target)
            raise
        finally:
            os.close(target_fd)
    finally:
        os.close(source_fd)


def _open(source: Path, flags: int) -> int:
    fd = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | flags)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "it is no regular file", os.fspath(source))
    return fd


def copy_range(source: int, target: int, offset: int, length: int) -> int:
    """Copy up to *length* bytes at *offset* to the same place of *target*.

    Returns how many were copied; 0 at the end of *source*. Inside the kernel where it can.
    """
    if sys.platform.startswith("linux"):
        try:
            if count := os.copy_file_range(source, target, length, offset, offset):
                return count
        except OSError as error:
            if error.errno not in _NO_RANGE:
                raise
    # also after a 0: files that the kernel makes up (/proc) have no range to be copied
    data = os.pread(source, min(length, 1 << 20), offset)
    view = memoryview(data)
    while view:
        view = view[os.pwrite(target, view, offset + len(data) - len(view)) :]
    return len(data)


def _share(source: int, target: int) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True
