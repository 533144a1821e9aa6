"""The command line: each command parses, calls one function, and prints.

Exit codes: 0 done · 1 failed · 2 usage · 3 offline and something is missing · 4 access denied
or gated · 130 interrupted · 141 stdout was closed · 143 terminated.
"""

from __future__ import annotations

import sys

from cas.errors import CasError, remedy
from cas.warm import PLAIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["run"]


class _Terminated(BaseException):
    """SIGTERM came: unwind, so that temporary files go."""


def run(argv: list[str]) -> int:
    """Run one command and return its exit code; never a traceback for a user's mistake."""
    import signal

    from cas.cli.terminal import Terminal, silence

    terminal = Terminal(quiet=False, colour="auto", json=False)
    try:
        signal.signal(signal.SIGTERM, _terminate)
    except ValueError:
        pass  # not the main thread: whoever runs us handles signals
    try:
        try:
            code = _command(argv)
        except SystemExit as ending:  # argparse after --help or --version
            code = int(ending.code or 0)
        sys.stdout.flush()
    except BrokenPipeError:
        silence(sys.stdout)
        return 141
    except KeyboardInterrupt:
        terminal.error("interrupted", "the same command goes on from what came")
        return 130
    except _Terminated:
        terminal.error("terminated")
        return 143
    except CasError as error:
        terminal.error(str(error), error.hint)
        code = error.exit_code
        return code if _flush() else 1
    except OSError as error:
        where = error.filename or "stdout"
        terminal.error(
            f"{where}: {error.strerror or error}", remedy(error) if error.filename else None
        )
        silence(sys.stdout)
        return 1
    return code


def _command(argv: list[str]) -> int:
    if argv[:2] == ["run", "--"]:  # to make all commands' parser would take 50 ms
        from cas.cli.program import plainly

        return plainly(argv[2:])
    if argv[:1] == ["pull"] and PLAIN.issuperset(argv[1:]):
        from cas.cli import pulling

        return pulling.plainly(argv[1:])
    from cas.cli import commands, parser
    from cas.cli.terminal import Terminal

    args = parser.parse(argv)
    terminal = Terminal(quiet=bool(args.quiet), colour=args.color, json=bool(args.json))
    try:
        return commands.HANDLERS[args.command](args, terminal)
    except (CasError, OSError, KeyboardInterrupt):
        if args.verbose:
            import traceback

            traceback.print_exc()
        raise
    finally:
        terminal.end()


def _terminate(number: int, frame: object) -> NoReturn:
    raise _Terminated


def _flush() -> bool:
    from cas.cli.terminal import silence

    try:
        sys.stdout.flush()
    except OSError:
        silence(sys.stdout)
        return False
    return True
