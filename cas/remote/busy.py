"""Busy: a server that takes no more requests for now is left alone for as long as it asks.

obstore tries again by itself, soon, and neither heeds nor hands on the header that says how
long (``Retry-After``). So where it gives up on a 429 or 503, the server is asked once more, by
a signed HEAD of our own, for that header alone.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from cas.limits import retry_after

from .faults import Busy
from .signed import ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from cas.limits import Limits

__all__ = ["Queue", "Turn"]


class Queue:
    """What all requests to one server share: until when it is left alone, and who is told."""

    def __init__(
        self, what: object, store: Any, limits: Limits, notice: Callable[[str], None] | None
    ) -> None:
        self._what = what
        self._store = store
        self._limits = limits
        self._notice = notice
        self._lock = threading.Lock()
        self._until = 0.0

    def turn(self, key: str) -> Turn:
        """Return the waits of one thing; *key* is what it asks for."""
        return Turn(self, key, self._limits)

    def hold(self, seconds: float) -> None:
        """Wait, and say so once a window."""
        until = time.monotonic() + seconds
        with self._lock:
            news = until > self._until + 1
            self._until = max(until, self._until)
            if news and self._notice:
                self._notice(f"{self._what} takes no more requests for {seconds:.0f} s: waiting")
        time.sleep(seconds)

    def asked_for(self, key: str) -> float | None:
        """Return the seconds that the server asks for now, or None where it asks for none."""
        from urllib.error import HTTPError

        try:
            with ask(self._store, "HEAD", key, timeout=self._limits.silence):
                return None
        except HTTPError as error:
            with error:
                busy = error.code in (429, 503)
                return retry_after(error.headers.get("retry-after")) if busy else None
        except Exception:  # noqa: BLE001 - obstore's own too, which can't sign everywhere
            return None


class Turn:
    """The waits of one thing for a server that is busy."""

    def __init__(self, queue: Queue, key: str, limits: Limits) -> None:
        self._queue, self._key, self._limits = queue, key, limits
        self._windows, self._waited = 0, 0.0

    def wait(self, fault: Exception) -> bool:
        """Wait as long as the server asks after *fault*; False: there is nothing to wait for."""
        if not isinstance(fault, Busy):
            return False
        seconds = self._queue.asked_for(self._key)
        if seconds is None:
            return False
        self._windows += 1
        self._waited += seconds
        if self._windows > self._limits.tries or self._waited > self._limits.quota:
            return False
        self._queue.hold(max(seconds, self._limits.backoff))
        return True
