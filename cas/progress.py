"""What long work tells while it goes on. The command line shows it; elsewhere it is quiet."""

from __future__ import annotations

__all__ = ["QUIET", "Progress", "human"]


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


def human(size: int) -> str:
    """Return bytes as a person reads them: ``90.9 MB``."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} TB"
