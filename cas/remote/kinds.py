"""What every kind of remote can do, and what takes its bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

__all__ = ["FIRST", "Sink", "Space"]

FIRST = 64 << 10  # bytes of what is read whole before a remote is known to be one


class Sink(Protocol):
    """Where the bytes of one object go."""

    @property
    def offset(self) -> int:
        """Bytes held already; above 0 at the start where an earlier run was cut."""

    def expect(self, size: int) -> None:
        """Learn how many bytes come, before the first one."""

    def write(self, data: bytes) -> None:
        """Take the next bytes."""

    def restart(self) -> None:
        """Forget all bytes held."""


class Space(Protocol):
    """What a kind of remote can do. Keys are paths below the remote's own."""

    jobs: int
    """Transfers that it bears at a time."""
    ordered: bool
    """Whether it lists keys in the order of their bytes."""

    def begin(self, *, write: bool) -> None:
        """Look whether it is there; make what may be made."""

    def read(self, key: str, offset: int = 0) -> tuple[int, Iterator[bytes]] | None:
        """Return (size of the whole, its bytes from *offset*), or None."""

    def read_first(self, key: str) -> bytes | None:
        """Return a small object, or None; who is offline learns it soon. Empty: it is large."""

    def size(self, key: str) -> int | None:
        """Return an object's bytes, or None."""

    def entries(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield (key, bytes) below a prefix."""

    def write(self, key: str, data: bytes, *, replace: bool = False) -> bool:
        """Put a small object whole; say whether it is new there."""

    def write_parts(self, key: str, parts: AbstractContextManager[Iterator[bytes]]) -> None:
        """Put a large object, whole or not at all."""

    def settle(self, keys: list[str]) -> None:
        """Make what was put durable."""
