"""The door: a port on loopback that listens at once, and a server that starts when one knocks.

A server's packages take longer to import than a small program runs; who connects before they
are there waits in the kernel's queue.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from typing import TYPE_CHECKING

from cas.errors import CasError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cas.serve.answers import ASGI
    from cas.serve.server import Background

__all__ = ["Door"]

WAITING = 2048  # connections in the kernel's queue


class Door:
    """A listening port of 127.0.0.1, while the block runs."""

    def __init__(self, app: ASGI, failed: Callable[[Exception], None]) -> None:
        """Listen for *app*; *failed* is told, in another thread, why no server could start.

        Raises CasError where no port can be had.
        """
        self._app, self._failed = app, failed
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            self._socket.bind(("127.0.0.1", 0))
            self._socket.listen(WAITING)
        except OSError as error:
            self._socket.close()
            raise CasError(
                f"no port of 127.0.0.1 can be had: {error.strerror}",
                hint="ip address show lo tells whether it is up, ss -lt what listens",
            ) from None
        self.port: int = self._socket.getsockname()[1]
        self._server: Background | None = None
        self._ends, self._end = os.pipe()
        self._thread = threading.Thread(target=self._wait, name="cas-run", daemon=True)

    def __enter__(self) -> Door:
        """Begin to wait for the first who knocks."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop; connections that are open end."""
        os.close(self._end)
        self._thread.join()
        os.close(self._ends)
        if self._server is not None:
            self._server.close()
        self._socket.close()

    def _wait(self) -> None:
        knocks = self._socket.fileno()
        ready, _, _ = select.select([knocks, self._ends], [], [])
        if self._ends in ready:
            return
        try:
            from cas.serve.server import background

            self._server = background(self._app, sock=self._socket)
        except Exception as error:  # noqa: BLE001 - the program must not wait for ever
            self._socket.close()
            self._failed(error)
