"""The program that a run is for: begun, sent the signals that come, waited for.

It stays in our process group, so that a terminal's Ctrl-C and Ctrl-Z reach it as ever; what
was sent to us alone (``kill``, a scheduler) is passed on.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cas.errors import CasError, typed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["NotStarted", "run_child", "signals_held"]

PASSED = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2")
FROM_KERNEL = 0x80  # si_code SI_KERNEL: the terminal's own, which the whole group has


class NotStarted(CasError):
    """The program can't be run; the exit codes are those of a shell."""

    def __init__(self, message: str, *, exit_code: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code


@contextmanager
def signals_held() -> Iterator[set[int]]:
    """Hold back the signals that are for the program while the block runs, and yield them.

    Threads that begin inside the block don't get them. What came as the program ended is
    dropped with it.
    """
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    wanted = {getattr(signal, name) for name in PASSED} - blocked
    wanted = {one for one in wanted if signal.getsignal(one) is not signal.SIG_IGN}
    before = signal.signal(signal.SIGCHLD, lambda *_: None)  # ignored, its end would be lost
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {*wanted, signal.SIGCHLD})
    try:
        yield {*wanted, signal.SIGCHLD}
    finally:
        while late := signal.sigpending() & wanted:
            signal.sigwait(late)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)


def run_child(argv: Sequence[str], environment: Mapping[str, str], signals: set[int]) -> int:
    """Run a program to its end; return its exit code, 128 + N where signal N ended it.

    *signals* are those of ``signals_held``. Raises NotStarted: exit code 127 for what is not
    there, 126 for what may not be run.
    """
    child = _spawn(argv, environment, signal.pthread_sigmask(signal.SIG_BLOCK, ()) - signals)
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return 128 - code if code < 0 else code
        number, from_terminal = _next(signals)
        if number != signal.SIGCHLD and not from_terminal:
            try:
                os.kill(child, number)
            except ProcessLookupError:
                pass


def _spawn(argv: Sequence[str], environment: Mapping[str, str], mask: set[int]) -> int:
    default = [getattr(signal, name) for name in ("SIGPIPE", "SIGXFSZ") if hasattr(signal, name)]
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        return os.posix_spawnp(
            argv[0],
            list(argv),
            dict(environment),
            setsigmask=mask,
            setsigdef=default,  # Python ignores these, and programs inherit that
        )
    except FileNotFoundError:
        if os.path.exists(argv[0]):  # a script whose interpreter is not there
            raise NotStarted(
                f"{argv[0]!r} can't be run: the interpreter that its first line names is not there",
                exit_code=127,
            ) from None
        raise NotStarted(
            f"no command {argv[0]!r:.200}",
            exit_code=127,
            hint=f"cas run -- python {typed(argv[0])}" if argv[0].endswith(".py") else None,
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        hint = None
        if isinstance(error, PermissionError) and os.path.isfile(argv[0]):
            hint = f"chmod +x {typed(argv[0])}"
            if argv[0].endswith(".py"):
                hint = f"cas run -- python {typed(argv[0])}"
        raise NotStarted(
            f"{argv[0]!r:.200} can't be run: {reason}", exit_code=126, hint=hint
        ) from None


def _next(signals: set[int]) -> tuple[int, bool]:
    """Wait for one of *signals*; say too whether the terminal sent it to the whole group."""
    if hasattr(signal, "sigwaitinfo"):
        info = signal.sigwaitinfo(signals)
        return info.si_signo, info.si_code == FROM_KERNEL
    number = signal.sigwait(signals)  # macOS does not say whose it is
    keys = number in (signal.SIGINT, signal.SIGQUIT)
    return number, keys and sys.stdin is not None and sys.stdin.isatty()
