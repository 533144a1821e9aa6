"""What a person sees: tables, bytes, colours and one line of progress.

Data goes to stdout, everything else to stderr. Colour and progress are for terminals.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, TextIO

from cas.progress import Progress, human

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Terminal", "count", "human", "join", "shown", "silence"]

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "cyan": "36", "bold": "1", "dim": "2"}
REDRAW = 0.1  # seconds


class Terminal(Progress):
    """Where a command prints."""

    def __init__(self, *, quiet: bool, colour: str, json: bool) -> None:
        self.quiet = quiet
        self.json = json
        self._lock = threading.Lock()
        self._line = sys.stderr.isatty() and not quiet
        self._drawn = 0.0
        self._what = ""
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        self._colour = {
            stream: colour == "always"
            or (colour == "auto" and stream.isatty() and not os.environ.get("NO_COLOR"))
            for stream in (sys.stdout, sys.stderr)
        }

    # Data

    def data(self, text: str) -> None:
        """Print one line of data."""
        print(text)

    def document(self, value: Any) -> None:
        """Print one JSON document."""
        import json

        print(json.dumps(_finite(value), indent=2, ensure_ascii=False, default=_plain))

    def table(self, rows: Sequence[Sequence[Any]], head: Sequence[str], right: str = "") -> None:
        """Print rows under a head, columns aligned; *right* holds an ``r`` for numbers."""
        head = [shown(text) for text in head]
        cells = [[_cell(value) for value in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
        # a terminal shows a table by rows; what goes into a file or a pipe is whole
        width = os.get_terminal_size(sys.stdout.fileno()).columns if sys.stdout.isatty() else 0
        for number, row in enumerate([head, *cells]):
            parts = [
                text.rjust(width) if right[n : n + 1] == "r" else text.ljust(width)
                for n, (text, width) in enumerate(zip(row, widths, strict=True))
            ]
            line = "  ".join(parts).rstrip()
            if width and len(line) > width:
                line = line[: width - 1] + "…"
            print(self.paint(line, "bold") if number == 0 else line)

    def paint(self, text: str, colour: str, stream: TextIO | None = None) -> str:
        """Return *text* in a colour, where *stream* (stdout) shows colours."""
        if not self._colour[stream or sys.stdout]:
            return text
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"

    # Everything else

    def say(self, message: str) -> None:
        """Tell what was done, on stderr, unless quiet."""
        if not self.quiet:
            self._clear()
            self._tell(_lines(message))

    def note(self, message: str) -> None:
        """Tell something that is no error."""
        self._clear()
        if not self.quiet:
            self._tell(f"{self.paint('note:', 'yellow', sys.stderr)} {_lines(message)}")

    def error(self, message: str, hint: str | None = None) -> None:
        """Tell an error, and what to type next."""
        self._clear()
        self._tell(f"cas: {self.paint('error:', 'red', sys.stderr)} {_lines(message)}")
        if hint:
            self._tell(f"cas: {self.paint('hint:', 'cyan', sys.stderr)} {_lines(hint)}")

    def _tell(self, line: str, *, end: str = "\n") -> None:
        """Write to stderr; one that takes nothing more must not end the work."""
        try:
            print(line, end=end, file=sys.stderr, flush=True)
        except OSError:
            silence(sys.stderr)

    # Progress

    def begin(self, what: str, *, files: int = 0, size: int = 0) -> None:
        """Begin a stretch of work."""
        with self._lock:
            self._what, self._files, self._size = what, files, size
            self._done_files = self._done = 0
            self._began = time.monotonic()

    def advance(self, size: int, *, files: int = 0) -> None:
        """Count bytes and files, and redraw the line a few times a second."""
        if not self._line:
            return
        with self._lock:
            self._done += size
            self._done_files += files
            now = time.monotonic()
            if now - self._drawn < REDRAW:
                return
            self._drawn = now
            self._draw(now)

    def end(self) -> None:
        """End the stretch; the line goes."""
        self._clear()

    def _draw(self, now: float) -> None:
        rate = self._done / max(now - self._began, 0.001)
        size = f" of {human(self._size)}" if self._size else ""
        files = f"{self._done_files}/{self._files} files  " if self._files > 1 else ""
        share = f"{100 * self._done // self._size:3d} %  " if self._size else ""
        line = (
            f"{share}{human(max(self._done, 0))}{size}  {human(int(rate))}/s  {files}{self._what}"
        )
        width = os.get_terminal_size(sys.stderr.fileno()).columns or 80  # 0: it does not say
        self._tell("\r\x1b[K" + line[: max(width - 1, 1)], end="")

    def _clear(self) -> None:
        if self._line and self._drawn:
            self._tell("\r\x1b[K", end="")
            self._drawn = 0.0


def silence(stream: TextIO) -> None:
    """Let what could not be written go, so that the interpreter does not complain at its end."""
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, stream.fileno())
    except (OSError, ValueError):
        pass
    os.close(null)


def _plain(value: Any) -> Any:
    """Return what JSON has no type for: times in ISO 8601, a decimal as a number, else text."""
    if hasattr(value, "isoformat"):
        return value.isoformat().replace("+00:00", "Z")
    if type(value).__name__ == "Decimal":  # an integer beyond 64 bits keeps its digits
        return float(value) if value.as_tuple().exponent else int(value)
    return str(value)


def _finite(value: Any) -> Any:
    """Return *value* with null for what is no number, which JSON does not have."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list) else value


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    return shown(str(value))


def shown(text: str) -> str:
    """Return *text* with what does something to a terminal, or shows nothing, as Python writes it.

    Records come by git and rsync from anywhere; a name in one must not paint over a line.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _lines(text: str) -> str:
    return "\n".join(map(shown, text.split("\n")))


def count(number: int, what: str = "file") -> str:
    """Return ``1 file``, ``2 files``."""
    return f"{number} {what}{'s' * (number != 1)}"


def join(words: Iterable[str], most: int = 5) -> str:
    """Return words in a line, the rest counted."""
    listed = list(words)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more
