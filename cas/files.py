"""Files that change all at once or not at all, and what waits for what.

Every final name in cas is made by this room: bytes go to a temporary name on the same file
system, are synced, and are renamed or linked. A reader sees the old file or the new one; a
crash leaves a temporary name, ``.cas-<host>-<pid>-<random>``, that says whose it was.
Calls that only Linux has (``syncfs``, reflink, ``sync_file_range``) have their portable way
beside them, here and nowhere else.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
import time
import zlib
from contextlib import contextmanager
from functools import cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = [
    "PREFIX",
    "copy_file",
    "discard",
    "file_system",
    "fsync_dir",
    "hold",
    "host",
    "is_temporary",
    "locks_hold",
    "make_dirs",
    "reflink",
    "remove_tree",
    "replace",
    "replace_symlink",
    "start_writeback",
    "sweep",
    "sync_all",
    "temporary_name",
    "umask",
    "write_new",
    "writer_is_dead",
]

PREFIX = ".cas-"
FSYNC_MANY = 50  # above it one syncfs is cheaper: 500 small files 0.26 s against 2.4 s
STRANGER_KEEPS = 86400  # seconds that a temporary file of another host is left alone
COPY_CHUNK = 8 << 20
UNTRUSTED_LOCKS = ("nfs", "lustre", "gpfs", "cifs", "smb", "smb2", "smb3", "fuse", "ceph", "9p")

Path = str | os.PathLike[str]


# Whose file is it


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
    head, _, _ = name.rpartition("-")
    head, _, pid = head.rpartition("-")
    if not head.endswith(host()) or not pid.isascii() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def sweep(directory: Path) -> int:
    """Remove from *directory* the temporary files of this host's dead processes.

    Those of others go after a day. Returns how many went; a directory that is not there,
    or files that can't be removed, are no error.
    """
    count = 0
    try:
        names = [entry.name for entry in os.scandir(directory) if is_temporary(entry.name)]
    except OSError:
        return 0
    for name in names:
        path = os.path.join(directory, name)
        try:
            old = time.time() - os.lstat(path).st_mtime > STRANGER_KEEPS
        except OSError:
            continue
        if old or writer_is_dead(name):
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
    """Remove a directory and what is in it, read-only directories too (ours are 0555)."""
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        os.unlink(path)
        return
    try:
        os.chmod(path, 0o700)
    except OSError:
        pass
    with os.scandir(path) as entries:
        inside = [(e.path, e.is_dir(follow_symlinks=False)) for e in entries]
    for inner, is_directory in inside:
        if is_directory:
            remove_tree(inner)
        else:
            os.unlink(inner)
    os.rmdir(path)


# Durability


def fsync_dir(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_all(paths: Iterable[Path], *, on: Path) -> None:
    """Make files and directories durable, all of which lie on the file system of *on*.

    Few by ``fsync`` in a few threads; many by one ``syncfs``, which also waits for
    everybody else's dirty pages, so it is not used for few. An error is raised as it comes
    and the batch must be given up: a sync that failed once says nothing when it is repeated.
    """
    todo = list(dict.fromkeys(os.fspath(path) for path in paths))
    if len(todo) > FSYNC_MANY and _syncfs(on):
        return
    if len(todo) < 3:
        for path in todo:
            _fsync_path(path)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(_fsync_path, todo):
            pass


def start_writeback(fd: int, offset: int, length: int) -> None:
    """Ask the kernel to begin writing a range, so that the sync at the end is short."""
    function = _libc_function("sync_file_range")
    if function is not None:
        import ctypes

        write = 2  # SYNC_FILE_RANGE_WRITE: start, do not wait
        function(fd, ctypes.c_int64(offset), ctypes.c_int64(length), write)


def _fsync_path(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _syncfs(on: Path) -> bool:
    function = _libc_function("syncfs")
    if function is None:
        return False
    import ctypes

    fd = os.open(on, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if function(fd) != 0:
            code = ctypes.get_errno()
            if code == errno.ENOSYS:
                return False
            raise OSError(code, os.strerror(code), os.fspath(on))
    finally:
        os.close(fd)
    return True


@cache
def _libc_function(name: str) -> Callable[..., int] | None:
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    function: Callable[..., int] | None = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    return function


# Names that appear whole


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
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
                raise
            # a file system without hard links: the check and the rename are two steps there
            if os.path.lexists(path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from None
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


@cache
def umask() -> int:
    """Return the process's umask; reading it means setting it, so it is read once."""
    value = os.umask(0o077)
    os.umask(value)
    return value


def _write(path: str, data: bytes, mode: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fchmod(fd, mode)
        os.fsync(fd)
    finally:
        os.close(fd)


# Copies


def reflink(source: Path, target: Path) -> bool:
    """Make the new file *target* share *source*'s blocks; say whether the file system can."""
    ficlone = 0x40049409
    if not sys.platform.startswith("linux"):
        return False
    source_fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        target_fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.ioctl(target_fd, ficlone, source_fd)
        except OSError:
            os.unlink(target)
            return False
        finally:
            os.close(target_fd)
    finally:
        os.close(source_fd)
    return True


def copy_file(source: Path, target: Path) -> None:
    """Make the new file *target* with *source*'s bytes: shared blocks, else a copy."""
    if reflink(source, target):
        return
    source_fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        target_fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            while data := os.read(source_fd, COPY_CHUNK):
                view = memoryview(data)
                while view:
                    view = view[os.write(target_fd, view) :]
        except BaseException:
            os.unlink(target)
            raise
        finally:
            os.close(target_fd)
    finally:
        os.close(source_fd)


# Mutexes


@contextmanager
def hold(path: Path, *, shared: bool = False, wait: bool = True) -> Iterator[bool]:
    """Hold the flock of the file *path*, made if absent; yield whether it is held.

    Without *wait* it may not be. The file stays: removing it would let two holders in.
    """
    fd = _open_mutex(os.fspath(path))
    try:
        operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(fd, operation if wait else operation | fcntl.LOCK_NB)
            held = True
        except OSError as error:
            if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
                held = True  # no locks on this file system: nothing rests on them (I9)
            elif error.errno in (errno.EAGAIN, errno.EACCES) and not wait:
                held = False
            else:
                raise
        yield held
    finally:
        os.close(fd)


def _open_mutex(path: str) -> int:
    # without O_CREAT first: under fs.protected_regular it fails on another user's file
    for _ in range(100):
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
            continue
        os.fchmod(fd, 0o666 & ~umask())
        return fd
    raise OSError(errno.EACCES, os.strerror(errno.EACCES), path)


# What file system is it


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
