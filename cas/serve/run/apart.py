"""Apart: what may take long, in a thread that nobody waits for once the program has ended.

The event loop's own threads are joined at its end: a silent Hub would hold up the run by minutes.
"""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["apart"]

T = TypeVar("T")


async def apart(work: Callable[[], T]) -> T:
    """Do *work* in a thread of its own; return what it returns, raise what it raises."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def worked() -> None:
        try:
            tell = partial(done.set_result, work())
        except Exception as error:  # noqa: BLE001 - it is raised again where it is awaited
            tell = partial(done.set_exception, error)
        try:
            loop.call_soon_threadsafe(lambda: done.cancelled() or tell())
        except RuntimeError:
            pass  # the server has ended

    threading.Thread(target=worked, name="cas-apart", daemon=True).start()
    return await done
