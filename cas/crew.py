"""Crew: an executor of processes of our own.

``python -m cas.crew`` answers tasks: pickles on stdin, pickles on stdout. Unlike
``multiprocessing`` it never runs the caller's main script again, so a script needs no
``if __name__ == "__main__"``, and it does not fork a process that has threads. A process
whose parent is gone, however it went, ends at once, whatever it does.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import signal
import sys
import threading
import time
from collections import deque
from concurrent.futures import Executor, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from cas.errors import CasError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

__all__ = ["Crew", "Helpers", "cores"]

T = TypeVar("T")

PATIENCE = 0.02  # seconds of work; half of what a process takes to start
TASKS_AHEAD = 2  # tasks that each process has before it
MOST_PROCESSES = 8


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Crew(Executor):
    """Processes that run functions which they can import.

    They are started when there is something for them. Leaving the context ends them: after
    what was submitted, or at once where the context is left by an error.
    """

    def __init__(self, number: int) -> None:
        self._idle: SimpleQueue[subprocess.Popen[bytes] | None] = SimpleQueue()
        for _ in range(number):
            self._idle.put(None)
        self._started: list[subprocess.Popen[bytes]] = []
        self._threads = ThreadPoolExecutor(number, thread_name_prefix="cas-crew")
        self._over = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run ``fn(*args, **kwargs)`` in one of the processes.

        The future has what it returned or raised, or CasError where the process ended.
        """
        return self._threads.submit(self._ask, (fn, args, kwargs))

    def shutdown(  # as Executor has it
        self,
        wait: bool = True,  # noqa: FBT001, FBT002
        *,
        cancel_futures: bool = False,
    ) -> None:
        """End the processes; with *cancel_futures* at once, whatever they do."""
        if cancel_futures:
            self._over = True
            for process in self._started:
                process.kill()
        self._threads.shutdown(wait, cancel_futures=cancel_futures)
        for process in self._started:
            process.kill()  # a fork of ours may hold its pipe open, and it would wait for tasks
            if process.stdin:
                with contextlib.suppress(BrokenPipeError):  # it was killed
                    process.stdin.close()
            if process.stdout:
                process.stdout.close()
            process.wait()

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self.shutdown(cancel_futures=kind is not None)

    def _ask(self, task: tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]) -> Any:
        process = self._idle.get() or self._start()
        stopped = True
        try:  # both ends are pipes, which a Popen's type does not say
            pickle.dump(task, process.stdin, pickle.HIGHEST_PROTOCOL)  # type: ignore[arg-type]
            process.stdin.flush()  # type: ignore[union-attr]
            failed, answer = pickle.load(process.stdout)  # type: ignore[arg-type]  # noqa: S301 - our own
            stopped = False
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            process.kill()
            message = f"a process that worked for this one ended (exit code {process.wait()})"
            raise CasError(message, hint="free -h tells whether memory is short") from error
        finally:
            self._idle.put(None if stopped else process)
        if failed:
            raise answer
        return answer

    def _start(self) -> subprocess.Popen[bytes]:
        import subprocess

        # what this process can import, and no threads of a library on top of the processes
        path = os.pathsep.join(filter(None, sys.path))
        # it never sees a Ctrl-C: the parent is told too, and ends it
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "cas.crew"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": path, "TOKENIZERS_PARALLELISM": "false"},
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._started.append(process)
        if self._over:
            process.kill()
        return process


class Helpers:
    """Processes that help with work in parts, where it takes this thread long.

    They are started when it has worked for PATIENCE, and given something once they answer.
    Leaving the context ends them.
    """

    def __init__(self) -> None:
        self._number = min(cores(), MOST_PROCESSES) - 1
        self._crew: Crew | None = None
        self._answers: list[Future[None]] = []
        self._worked = 0.0

    def run(self, function: Callable[..., T], tasks: Iterable[tuple[Any, ...]]) -> Iterator[T]:
        """Yield ``function(*task)`` of each task, in any order."""
        lent: deque[Future[T]] = deque()
        for task in tasks:
            if self._crew and len(lent) < TASKS_AHEAD * sum(f.done() for f in self._answers):
                lent.append(self._crew.submit(function, *task))
            else:
                began = time.monotonic()
                answer = function(*task)
                self._worked += time.monotonic() - began
                yield answer
            while lent and lent[0].done():
                yield lent.popleft().result()
            if self._crew is None and self._number and self._worked > PATIENCE:
                self._crew = Crew(self._number)
                module = function.__module__
                self._answers = [self._crew.submit(_import, module) for _ in range(self._number)]
        for future in lent:
            yield future.result()

    def __enter__(self) -> Helpers:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._crew:
            self._crew.shutdown(cancel_futures=True)


def _import(module: str) -> None:
    importlib.import_module(module)


def _pickled(*, failed: bool, value: Any) -> bytes:
    """Return an answer as the parent can read it; of an error that it can't, the text."""
    try:
        data = pickle.dumps((failed, value), pickle.HIGHEST_PROTOCOL)
        if failed:  # one with arguments of its own can be written, and not read
            pickle.loads(data)  # noqa: S301 - our own
    except Exception as error:  # noqa: BLE001 - what cannot be pickled says so by any
        if not failed:
            what = f"expected an answer that can be pickled, found {type(value).__name__!r}"
            raise CasError(f"{what}: {error!s:.200}") from None
        value = CasError(f"{type(value).__name__}: {value}")
        data = pickle.dumps((failed, value), pickle.HIGHEST_PROTOCOL)
    return data


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not come between the answers
    tasks: SimpleQueue[Any] = SimpleQueue()

    def read() -> None:
        try:
            while True:
                tasks.put(pickle.load(sys.stdin.buffer))  # noqa: S301 - of our parent
        except BaseException:  # noqa: BLE001 - its end of the pipe is closed: it is gone
            os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    while True:
        function, args, kwargs = tasks.get()
        try:
            answer = _pickled(failed=False, value=function(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - the parent raises it
            answer = _pickled(failed=True, value=error)
        try:
            answers.write(answer)
            answers.flush()
        except BrokenPipeError:  # nobody waits for it any more
            os._exit(0)


if __name__ == "__main__":
    _serve()
