"""What long work tells while it goes on. The command line shows it; elsewhere it is quiet."""

from __future__ import annotations

__all__ = ["QUIET", "Progress"]


class Progress:
    """Takes what long work has to say; this one says nothing."""

    def begin(self, what: str, *, files: int = 0, size: int = 0) -> None:
        """Begin a stretch of work on *files* files of *size* bytes in all."""

    def advance(self, size: int, *, files: int = 0) -> None:
        """Count *size* more bytes (fewer, where some were thrown away) and *files* files."""

    def end(self) -> None:
        """End the stretch."""

    def note(self, message: str) -> None:
        """Tell the user something that is no error."""


QUIET = Progress()
