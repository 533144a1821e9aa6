"""What the words of the command line are made with: our parser, general options, types."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, NoReturn

from cas import handy
from cas.errors import UsageError
from cas.names import near

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["COMMANDS", "Parser", "command", "count", "general", "numbers", "seconds"]


COMMANDS: dict[str, tuple[str, str, Callable[[argparse.ArgumentParser], None]]] = {}


def command(
    name: str,
    summary: str,
    examples: str,
    *,
    into: dict[str, tuple[str, str, Callable[[argparse.ArgumentParser], None]]] = COMMANDS,
) -> Callable[
    [Callable[[argparse.ArgumentParser], None]], Callable[[argparse.ArgumentParser], None]
]:
    """Register what adds a command's options."""

    def register(
        function: Callable[[argparse.ArgumentParser], None],
    ) -> Callable[[argparse.ArgumentParser], None]:
        into[name] = summary, examples, function
        return function

    return register


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises our own error."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        raise UsageError(message, hint=f"{self.prog} --help")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does; words that stand after an option are words too."""
        found, rest = super().parse_known_args(args, namespace)
        words = getattr(found, "words", None)
        if words is not None:
            found.words = [*words, *(word for word in rest if not word.startswith("-"))]
            rest = [word for word in rest if word.startswith("-")]
        return found, rest

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if isinstance(action, argparse._SubParsersAction) and value not in COMMANDS:
            close = near(str(value), COMMANDS)
            meant = f"; near: {', '.join(close)}" if close else ""
            self.error(f"no command {value!r}{meant}")
        super()._check_value(action, value)


def general(*, top: bool) -> Parser:
    """Return the options that stand before or after the command."""

    def default(value: str | None) -> str | None:
        return value if top else argparse.SUPPRESS

    general = Parser(add_help=False, allow_abbrev=False)
    group = general.add_argument_group("general options")
    group.add_argument("-q", "--quiet", action="store_true", default=default(None),
                       help="say nothing on stderr but errors")  # fmt: skip
    group.add_argument("-v", "--verbose", action="store_true", default=default(None),
                       help="show where in cas an error came from")  # fmt: skip
    group.add_argument("--project", metavar="DIR", default=default(None),
                       help="the project, instead of that of the working directory")  # fmt: skip
    group.add_argument("--color", choices=("auto", "always", "never"), default=default("auto"),
                       help="auto: on a terminal, unless NO_COLOR is set")  # fmt: skip
    group.add_argument("--json", action="store_true", default=default(None),
                       help="print one JSON document on stdout")  # fmt: skip
    return general


def count(text: str) -> int:
    """Return a number from 1 to 1024."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to 1024, found {text!r}")
    return int(text)


def numbers(text: str) -> tuple[int, ...]:
    """Return whole numbers that stand between commas."""
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise argparse.ArgumentTypeError(f"expected numbers such as 1024,4096, found {text!r}")
    return tuple(map(int, parts))


def seconds(text: str) -> float:
    """Return seconds for ``14d``, ``12h``, ``30m`` or ``0s``."""
    try:
        return handy.seconds(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
