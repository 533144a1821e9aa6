"""Many transfers at a time: a bounded crew of threads, its answers on the caller's."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, TypeVar

from cas.errors import CasError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["each"]

PATIENCE = 5.0  # seconds for threads to end that were told to stop

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
Answer = tuple[_Item, "_Result | None", "CasError | None"]


def each(
    items: Iterable[_Item],
    work: Callable[[_Item], _Result],
    *,
    jobs: int,
    stop: threading.Event,
) -> Iterator[tuple[_Item, _Result | None, CasError | None]]:
    """Yield (item, what *work* returned, or its error) for every item, as they come.

    At most *jobs* are under way, and twice as many wait to be taken. An error that is not
    ours is raised. Whoever leaves the loop early, by Ctrl-C too, sets *stop*, which *work*
    looks at. A thread that waits for a server that says nothing is not waited for long: it
    ends with the process, or with the server's word.
    """
    todo = deque(items)
    count = len(todo)
    jobs = max(1, min(jobs, count))
    slots = threading.Semaphore(2 * jobs)
    results: queue.SimpleQueue[tuple[_Item, _Result | None, BaseException | None]]
    results = queue.SimpleQueue()

    def run() -> None:
        while slots.acquire() and not stop.is_set():
            try:
                item = todo.popleft()
            except IndexError:
                return
            try:
                results.put((item, work(item), None))
            except BaseException as error:  # noqa: BLE001 - it is raised on the caller's thread
                results.put((item, None, error))

    threads = [threading.Thread(target=run, name=f"cas-remote-{n}", daemon=True)
               for n in range(jobs)]  # fmt: skip
    finished = False
    try:
        for thread in threads:
            thread.start()
        for _ in range(count):
            item, result, error = results.get()
            slots.release()
            if error is not None and not isinstance(error, CasError):
                raise error
            yield item, result, error
        finished = True
    finally:
        if not finished:
            stop.set()
        slots.release(2 * jobs)
        until = time.monotonic() + PATIENCE
        for thread in threads:
            if thread.ident is not None:
                thread.join(None if finished else max(0.0, until - time.monotonic()))
