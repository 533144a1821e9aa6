"""What fsspec reaches and obstore does not: ``sftp://``, ``hf://`` and the like. Slower.

A create-only put does not exist there: it is a look and a put. Where a file is seen while it
is written, it is written under a temporary name and renamed. One thing at a time: the clients
below are not all made for threads.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from cas.digest import CHUNK
from cas.errors import AccessDenied, CasError, Offline, SourceError, UsageError
from cas.files import is_temporary, temporary_name

from .faults import fault_of_system
from .kinds import FIRST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from cas.limits import Limits

    from .place import Place

__all__ = ["Other"]

RENAMES = ("sftp", "ssh", "memory", "local", "smb", "hdfs", "arrow_hdfs", "ftp", "webdav")
"""Protocols whose files are seen while they are written, and whose rename is one step."""
NEEDS = {"sftp": "paramiko", "ssh": "paramiko", "hf": "huggingface_hub", "smb": "smbprotocol",
         "hdfs": "pyarrow", "webdav": "webdav4"}  # fmt: skip


class Other:
    """A file system of fsspec's, from a path down."""

    jobs = 1
    ordered = False

    def __init__(self, place: Place, limits: Limits) -> None:
        self._place = place
        self._limits = limits
        self._lock = threading.RLock()
        self._dirs: set[str] = set()
        self._fs, self._root = self._open()
        self._renames = place.scheme in RENAMES

    def begin(self, *, write: bool) -> None:
        """Make the directory for writing."""
        if write:
            self._make(self._root)

    def read(self, key: str, offset: int = 0) -> tuple[int, Iterator[bytes]] | None:
        """Return (size of the whole, its bytes from *offset*), or None if it is not there."""
        size = self.size(key)
        return None if size is None else (size, self._pieces(key, offset, size))

    def read_first(self, key: str) -> bytes | None:
        """Return a small file, or None."""
        found = self.read(key)
        if found is None:
            return None
        return b"".join(found[1]) if found[0] <= FIRST else b""

    def size(self, key: str) -> int | None:
        """Return a file's bytes, or None if it is not there."""
        with self._lock:
            try:
                found = self._fs.info(self._path(key))
            except (FileNotFoundError, NotADirectoryError):
                return None
            except Exception as error:  # noqa: BLE001 - told apart there
                raise self._fault(error) from None
        return int(found["size"]) if found["type"] == "file" else None

    def entries(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield (key, bytes) of every file below *prefix*, which ends in a slash."""
        with self._lock:
            try:
                found = self._fs.find(self._path(prefix.rstrip("/")), detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return
            except Exception as error:  # noqa: BLE001 - told apart there
                raise self._fault(error) from None
        for path, info in found.items():
            key = prefix + str(path).rpartition(f"/{prefix}")[2]
            if not is_temporary(key.rpartition("/")[2]):
                yield key, int(info["size"])

    def write(self, key: str, data: bytes, *, replace: bool = False) -> bool:
        """Make a small file; say whether it is new there."""
        if not replace and self.size(key) is not None:
            return False

        def pieces() -> Iterator[bytes]:
            yield data

        self._put(key, pieces())
        return True

    def write_parts(self, key: str, parts: AbstractContextManager[Iterator[bytes]]) -> None:
        """Make, or replace, a file of what *parts* gives; nothing is left of one that fails."""
        with parts as pieces:
            self._put(key, pieces)

    def settle(self, keys: list[str]) -> None:
        """Do nothing: fsspec has no word for it."""

    def _open(self) -> tuple[Any, str]:
        from importlib.util import find_spec

        needed = NEEDS.get(self._place.scheme)
        if needed and find_spec(needed) is None:
            raise SourceError(f"{self._place}: it needs the package {needed!r}",
                              hint=f"pip install {needed}")  # fmt: skip
        from fsspec.core import url_to_fs

        try:
            # an instance of its own: one that others use too would be used by two threads
            fs, root = url_to_fs(self._place.url, skip_instance_cache=True, **self._options())
        except (ValueError, ImportError):
            raise UsageError(f"{self._place}: {self._place.scheme}:// can't be reached",
                             hint="see which packages fsspec needs for it") from None  # fmt: skip
        except Exception as error:  # noqa: BLE001 - told apart there
            raise self._fault(error, begun=False) from None
        return fs, str(root).rstrip("/")

    def _options(self) -> dict[str, Any]:
        if self._place.scheme in ("sftp", "ssh"):
            limits = self._limits
            return {"timeout": limits.connect, "banner_timeout": limits.connect,
                    "auth_timeout": limits.silence}  # fmt: skip
        return {}

    def _put(self, key: str, pieces: Iterator[bytes]) -> None:
        final = self._path(key)
        above = final.rpartition("/")[0]
        work = f"{above}/{temporary_name()}" if self._renames else final
        with self._lock:
            self._make(above)
            try:
                file = self._fs.open(work, "wb")
                try:
                    _hasten(file, None)
                    for piece in pieces:
                        file.write(piece)
                except BaseException:
                    if not self._renames:
                        file.closed = True  # to close it would put what came so far
                    raise
                finally:
                    file.close()
                if self._renames:
                    self._fs.mv(work, final)
            except BaseException as error:
                self._discard(work)
                if isinstance(error, CasError) or not isinstance(error, Exception):
                    raise
                raise self._fault(error) from None

    def _discard(self, work: str) -> None:
        try:
            self._fs.rm_file(work)
        except Exception:  # noqa: BLE001, S110 - of a transfer that failed already
            pass

    def _make(self, path: str) -> None:
        if path in self._dirs:
            return
        with self._lock:
            try:
                self._fs.makedirs(path, exist_ok=True)
            except Exception as error:  # noqa: BLE001 - told apart there
                if not self._is_dir(path):  # else another one made it at the same time
                    raise self._fault(error) from None
        self._dirs.add(path)

    def _is_dir(self, path: str) -> bool:
        try:
            return bool(self._fs.isdir(path))
        except Exception:  # noqa: BLE001 - what failed first is told
            return False

    def _pieces(self, key: str, offset: int, size: int) -> Iterator[bytes]:
        with self._lock:
            try:
                with self._fs.open(self._path(key), "rb") as file:
                    file.seek(offset)
                    _hasten(file, size)
                    while offset < size and (data := file.read(min(CHUNK, size - offset))):
                        offset += len(data)
                        yield data
            except (GeneratorExit, CasError):
                raise
            except Exception as error:  # noqa: BLE001 - told apart there
                raise self._fault(error) from None

    def _fault(self, error: Exception, *, begun: bool = True) -> CasError:
        if isinstance(error, CasError):
            return error
        name = type(error).__name__
        if self._place.scheme in ("sftp", "ssh") and "uthentication" in name + str(error):
            return AccessDenied(f"{self._place}: it takes none of the keys that are here",
                                hint="ssh-add -l and ls ~/.ssh tell which these are")  # fmt: skip
        if "Authentication" in name:
            return fault_of_system(self._place, PermissionError(13, "authentication failed"))
        if not begun or name == "NoValidConnectionsError":
            return Offline(f"no connection to {self._place}: {name}",
                           hint="check the network and the server")  # fmt: skip
        if self._place.scheme == "hf" and isinstance(error, FileNotFoundError):
            return SourceError(
                f"{self._place}: there is no such repository, or none that you may see",
                hint="hf repos create ORG/NAME --type dataset; hf auth login, if it is private",
            )
        if isinstance(error, OSError):
            return fault_of_system(self._place, error)
        return SourceError(f"{self._place}: it failed ({name})")

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"


def _hasten(file: Any, size: int | None) -> None:
    """Let paramiko not wait for an answer to each 32 KB, which takes 40 ms on loopback."""
    if size is None and hasattr(file, "set_pipelined"):
        file.set_pipelined(True)
    elif size is not None and hasattr(file, "prefetch"):
        file.prefetch(size, max_concurrent_requests=64)
