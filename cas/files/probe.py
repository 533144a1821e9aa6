"""What a file system can keep: asked by making a file there, for no table knows them all."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager

from cas.files.names import discard, temporary_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["folds_case", "kept_mode"]

Path = str | os.PathLike[str]


def kept_mode(directory: Path) -> int:
    """Return the mode that a file made 0444 in *directory* has: 0777 where there are none."""
    with _made(directory) as path:
        os.chmod(path, 0o444)
        return stat.S_IMODE(os.stat(path).st_mode)


def folds_case(directory: Path) -> bool:
    """Say whether two names that differ by case are one file in *directory*."""
    with _made(directory) as path:
        head, name = os.path.split(path)
        return os.path.lexists(os.path.join(head, name.swapcase()))


@contextmanager
def _made(directory: Path) -> Iterator[str]:
    path = os.path.join(directory, temporary_name())
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        yield path
    finally:
        discard(path)
