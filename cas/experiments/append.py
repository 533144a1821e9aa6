"""Append: the writer of a live run's file (``live`` has its format)."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cas import files
from cas.errors import ExperimentError

from .cells import cell
from .frame import check_names
from .naming import LIVE, new_id, utc
from .plain import as_json
from .record import RESERVED, Run, Use, describe, to_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["LIVE_VERSION", "Writer"]

LIVE_VERSION = 1
_PLAIN = ("bool", "int", "float", "text", "")


class Writer:
    """Appends to one live file; what the disk does not take waits here for the next append."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd
        self._names: dict[str, str] = {}
        self._waiting: list[bytes] = []
        self._torn = False
        self._dirty = True

    @classmethod
    def create(
        cls,
        directory: Path,
        name: str,
        *,
        metadata: Mapping[str, Any] | None,
        tags: Sequence[str],
        run: Run,
        assets: Sequence[Use],
        kept: Sequence[Use],
        earlier: Sequence[Use],
    ) -> tuple[Writer, str]:
        """Begin a run, durably; return its writer and its id. Raises OSError, ExperimentError."""
        document = describe(
            name, metadata=metadata, uses=assets, run=run, status="running", tags=tags
        )
        del document["version"], document["status"]
        experiment_id, moment = new_id()
        head = {
            "live": LIVE_VERSION,
            "experiment_id": experiment_id,
            "created_at": utc(moment),
            **document,
            "kept": [asdict(use) for use in kept],
            "earlier": [asdict(use) for use in earlier],
        }
        files.make_dirs(directory)
        path = Path(directory, f"{name}.{experiment_id}{LIVE}")
        files.write_new(path, to_bytes(head) + b"\n", mode=0o644 & ~files.umask())
        writer = cls.open(path)
        if writer is None:
            raise ExperimentError(f"{os.fspath(path)!r}: another process took it over")
        return writer, experiment_id

    @classmethod
    def open(cls, path: Path) -> Writer | None:
        """Go on with a live file; None if a process that lives writes it. Raises OSError."""
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                os.close(fd)
                return None
        if not os.path.lexists(path):  # finished while we opened it
            os.close(fd)
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path))
        writer = cls(path, fd)
        size = os.fstat(fd).st_size
        writer._torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
        return writer

    def know(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take the column names of rows that are there already."""
        for row in rows:
            for name in row:
                self._names.setdefault(name.lower(), name)

    def row(self, values: Mapping[str, Any]) -> str | None:
        """Append one row; return what the disk said, None if all is written.

        Raises ExperimentError for names and values that can't be saved; the row is left out.
        """
        fresh = [name for name in values if self._names.get(str(name).lower()) != name]
        if fresh:
            check_names([*self._names.values(), *fresh], RESERVED)
        encoded = {name: _encoded(value, name) for name, value in values.items()}
        told = self.append({"row": encoded})
        self.know([values])
        return told

    def append(self, line: Mapping[str, Any]) -> str | None:
        """Append one line; return what the disk said, None if all is written."""
        try:
            data = json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode()
        except ValueError as error:
            raise ExperimentError(f"it can't be written as JSON: {error}") from None
        self._waiting.append(data + b"\n")
        return self._try(self.flush)

    def beat(self) -> str | None:
        """Say that the run lives, and make what it wrote durable; return what the disk said."""
        return self._try(self._sync)

    def close(self) -> None:
        """Close the file; what waited is lost."""
        os.close(self._fd)

    def _sync(self) -> None:
        os.utime(self._fd)
        self.flush()
        if self._dirty:
            self._dirty = False
            os.fdatasync(self._fd)

    def _try(self, call: Callable[[], None]) -> str | None:
        try:
            call()
        except OSError as error:
            return error.strerror or str(error)
        return None

    def flush(self) -> None:
        """Write what waits. Raises OSError."""
        while self._waiting:
            self._dirty = True
            data = b"\n" * self._torn + self._waiting[0]
            written = os.write(self._fd, data)
            if written < len(data):
                self._torn = True  # what is cut off is no line; the whole one comes after it
                continue
            self._torn = False
            self._waiting.pop(0)


def _encoded(value: Any, name: str) -> Any:
    """Return a value as a line has it; raise ExperimentError, naming the column."""
    family, plain = cell(value, name, 0)
    if family in _PLAIN:
        return plain
    if family == "list":
        return [
            item
            if isinstance(item, bool | int | float | str)
            else as_json(item, f"column {name!r}")
            for item in (one.tolist() if hasattr(one, "tolist") else one for one in plain)
        ]
    return {family: plain.isoformat()}
