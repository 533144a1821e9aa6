"""Connections that cost little: bounded in number, and none that nobody uses is kept.

uvicorn reads the requests and writes the answers. Its own way of accepting takes any number of
connections, waits for ever for one that never asks or never reads, and where descriptors run
out asyncio logs each of a backlog of connections without end. Here a connection that is one too
many waits in the kernel's queue, or the longest idle one makes room for it; one that brings no
request, or takes no byte of its answer, is ended.
"""

from __future__ import annotations

import asyncio
import itertools
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

if TYPE_CHECKING:
    import socket

    from uvicorn import Config

__all__ = ["Connections"]

IDLE = 60.0  # seconds without a request; above what clients keep a connection for
STALLED = 120.0  # seconds in which a client takes no byte
AT_ONCE = 32  # connections that are accepted before others have their turn
AGAIN = 1.0  # seconds until a listener is asked again that could give no connection


class Connections(ServerState):
    """The connections of one server: accepts them, knows how they stand, ends them."""

    def __init__(self, config: Config, listener: socket.socket, limit: int) -> None:
        super().__init__()
        self._config = config
        self._listener = listener
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._taken = 0
        self._numbers = itertools.count()
        self._opening: set[asyncio.Task[Any]] = set()
        self._accepting = False
        self._closed = False
        self.idle: dict[Protocol, float] = {}
        """Those without a request under way → since when, the longest first."""
        self.full: dict[Protocol, tuple[float, int]] = {}
        """Those whose client doesn't read → (since when, bytes that wait)."""
        listener.settimeout(0)
        self.tick()
        self.accept_more()

    def accept_more(self) -> None:
        """Accept connections, if there was no room for one, and is now."""
        if not self._accepting and not self._closed:
            self._accepting = True
            self._loop.add_reader(self._listener, self._accept)

    def _accept_no_more(self) -> None:
        if self._accepting:
            self._accepting = False
            self._loop.remove_reader(self._listener)

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            if self._taken >= self._limit:
                if self.idle:
                    next(iter(self.idle)).end()  # it is gone when we are called again
                else:
                    self._accept_no_more()
                return
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:  # another part of the process has taken the descriptors
                self._accept_no_more()
                self._loop.call_later(AGAIN, self.accept_more)
                return
            connection.settimeout(0)
            self._taken += 1
            opening = self._loop.connect_accepted_socket(self._protocol, connection)
            task = self._loop.create_task(opening)
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    def _protocol(self) -> Protocol:
        state = {"connection": next(self._numbers)}
        return Protocol(config=self._config, server_state=self, app_state=state, _loop=self._loop)

    def lost(self, one: Protocol) -> None:
        """Forget a connection that ended."""
        self._taken -= 1
        self.idle.pop(one, None)
        self.full.pop(one, None)
        self.accept_more()

    def tick(self) -> None:
        """Renew the date, and end what is idle or stalled for too long; call it each second."""
        self.default_headers = [(b"date", formatdate(usegmt=True).encode())]
        now = self._loop.time()
        for one, since in list(self.idle.items()):
            if now - since < IDLE:
                break
            one.end()
        for one, (since, waiting) in list(self.full.items()):
            left = one.transport.get_write_buffer_size()
            if left != waiting:
                self.full[one] = now, left
            elif now - since >= STALLED:
                one.end()

    async def close(self, grace: float) -> None:
        """Accept no more, give answers under way *grace* seconds, and end all."""
        self._closed = True
        self._accept_no_more()
        self._listener.close()
        end = self._loop.time() + grace
        for one in list(self.connections):
            one.shutdown()
        while self.connections and self._loop.time() < end:
            await asyncio.sleep(0.05)
        for one in list(self.connections):
            one.transport.abort()
        for task in (*self._opening, *self.tasks):
            task.cancel()


class Protocol(H11Protocol):
    """One connection, which tells ``Connections`` how it stands."""

    server_state: Connections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Be idle, until a request comes."""
        super().connection_made(transport)
        self.server_state.idle[self] = self.loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        """Be forgotten."""
        super().connection_lost(exc)
        self.server_state.lost(self)

    def handle_events(self) -> None:
        """Begin what has come; a connection with a request is not idle."""
        super().handle_events()
        if self.cycle and not self.cycle.response_complete:
            self.server_state.idle.pop(self, None)

    def on_response_complete(self) -> None:
        """Be idle again, unless the next request is here."""
        if not self.transport.is_closing():
            self.server_state.idle[self] = self.loop.time()
            self.server_state.accept_more()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Note that the client doesn't read."""
        waiting = self.transport.get_write_buffer_size()
        self.server_state.full[self] = self.loop.time(), waiting
        super().pause_writing()

    def resume_writing(self) -> None:
        """Note that it does."""
        self.server_state.full.pop(self, None)
        super().resume_writing()

    def end(self) -> None:
        """Close the connection now, whatever waits to be sent."""
        self.server_state.idle.pop(self, None)
        self.server_state.full.pop(self, None)
        self.transport.abort()
