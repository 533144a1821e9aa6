"""Listens for an ASGI application: in the foreground, or in a thread beside a program.

The server is uvicorn's, which costs 0.1 s to import: whoever may have no client at all listens
first, and starts it when one comes.
"""

from __future__ import annotations

import errno
import socket
import threading
from typing import TYPE_CHECKING, Any

from cas.errors import CasError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from cas.serve.answers import ASGI, Receive, Scope, Send
    from cas.serve.protocol import Connections

__all__ = ["Background", "background", "listen", "serve"]

BACKLOG = 2048
MOST = 8192  # connections, each of about 10 KB
OTHERS = 64  # descriptors for all but connections and their files
TICK = 1.0
ENDING = 3.0  # seconds for what is under way when the server is stopped
JOINED = 10.0


def serve(app: ASGI, host: str, port: int, *, ready: Callable[[int], None] | None = None) -> None:
    """Serve in the foreground until SIGINT or SIGTERM, which is then raised again.

    *ready* is called with the port once it listens. Raises CasError if it can't.
    """
    import asyncio
    import signal

    listener = listen(host, port)
    _raise_limit()
    server = _server(app, listener)
    if ready:
        ready(listener.getsockname()[1])
    came: list[int] = []

    async def until_signalled() -> None:
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()

        def stop(number: int) -> None:
            came.append(number)
            stopping.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop, number)
        await _serve(server, stopping, grace=ENDING)

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    asyncio.run(until_signalled())
    for number, handler in handlers.items():
        signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])


def background(app: ASGI, *, sock: socket.socket | None = None) -> Background:
    """Serve on a free port of 127.0.0.1, in a thread, until ``close()``.

    *sock* is taken instead, which listens already; who connected to it is answered first.
    """
    return Background(app, sock or listen("127.0.0.1", 0))


class Background:
    """A server beside a program, in a thread of its own."""

    def __init__(self, app: ASGI, listener: socket.socket) -> None:
        self._listener = listener
        self._server = _server(app, listener)
        self.port: int = listener.getsockname()[1]
        """Where it listens."""
        self._begun = threading.Event()
        self._stop: Callable[[], object] = int
        self._thread = threading.Thread(target=self._run, name="cas-serve", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop at once, whatever is under way."""
        self._begun.wait(JOINED)
        self._stop()
        self._thread.join(JOINED)

    def __enter__(self) -> Background:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        import asyncio

        try:
            asyncio.run(self._until_closed())
        finally:
            self._begun.set()
            self._listener.close()

    async def _until_closed(self) -> None:
        import asyncio

        loop = asyncio.get_running_loop()
        stopping = asyncio.Event()

        def stop() -> None:
            try:
                loop.call_soon_threadsafe(stopping.set)
            except RuntimeError:
                pass  # it was closed before

        self._stop = stop
        self._begun.set()
        await _serve(self._server, stopping, grace=0)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; raise CasError if it can't be had."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise CasError(f"{host!r} is no address of this host: {error}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and host == "::":
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        hint = "cas serve --port 0 takes a free one"
        if error.errno == errno.EADDRNOTAVAIL:
            hint = "cas serve --host 0.0.0.0 listens at every address that this host has"
        raise CasError(f"can't listen on {host}:{port}: {error.strerror}", hint=hint) from None
    return listener


def _server(app: ASGI, listener: socket.socket) -> Callable[[], Connections]:
    """Return what begins to serve in a running loop; what it needs is imported here."""
    import logging
    from functools import partial

    from uvicorn import Config

    from cas.serve.protocol import Connections

    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL + 1)  # ours are in cas.serve
    config = Config(
        _logged(app),
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        timeout_keep_alive=3600,  # Connections ends what is idle
    )
    return partial(Connections, config, listener, _most_connections())


async def _serve(
    begin: Callable[[], Connections], stopping: asyncio.Event, *, grace: float
) -> None:
    """Serve until *stopping* is set; answers under way have *grace* seconds then."""
    import asyncio

    connections = begin()
    try:
        while not stopping.is_set():
            try:
                async with asyncio.timeout(TICK):
                    await stopping.wait()
            except TimeoutError:
                connections.tick()
    finally:
        await connections.close(grace)


def _logged(app: ASGI) -> ASGI:
    """Return *app* with what it can't answer in the log ``cas.serve``, requests too at INFO."""
    import logging

    log = logging.getLogger("cas.serve")

    async def logged(scope: Scope, receive: Receive, send: Send) -> None:
        status = 0

        async def noted(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await app(scope, receive, noted if log.isEnabledFor(logging.INFO) else send)
        except Exception:
            log.exception("%s %s failed", scope.get("method"), _sent(scope))
            raise
        log.info("%s %s %d", scope.get("method"), _sent(scope), status)

    return logged


def _sent(scope: Scope) -> str:
    """Return a path as it was sent: what it says unquoted may move a terminal's cursor."""
    return str(scope.get("raw_path") or b"", "latin-1")


def _most_connections() -> int:
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if soft == resource.RLIM_INFINITY else max(16, min(MOST, (soft - OTHERS) // 2))


def _raise_limit() -> None:
    """Take as many descriptors as this process may have."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * MOST + OTHERS
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
