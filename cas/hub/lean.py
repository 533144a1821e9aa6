"""Plain GETs by http.client, where the client's session would do no more and cost more.

A small file costs huggingface_hub's session 0.6 ms of CPU, and this less than half. It
serves http and https without a proxy, with the session's own TLS settings, and leaves to
the session whatever is out of the ordinary: `serves` says. It raises the session's errors.
Beside speed it has one thing that the session has not: headers that trickle in are given
up after ``slow_time``.
"""

from __future__ import annotations

import http.client
import io
import select
import socket
import threading
import time
import zlib
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping
    from urllib.parse import SplitResult

    from .line import Limits

__all__ = ["Answer", "Lean", "Unusable", "shut"]

_PIECE = 1 << 18  # bytes


class Unusable(Exception):
    """The environment's certificates can't be used."""


_Place = tuple[str, str, int]  # scheme, host, port


def shut(sock: socket.socket) -> None:
    """End a socket that another thread reads; it wakes at once."""
    try:
        # not SSLSocket's: that one takes the TLS state from under the reader
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    except OSError:
        pass  # the other side was faster


class Lean:
    """Connections that are kept alive, for the threads of one call."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._idle: dict[_Place, list[http.client.HTTPConnection]] = {}
        self._tls: ssl.SSLContext | None = None
        self._closed = False
        self._allowed = _is_ordinary()

    def serves(self, url: str) -> bool:
        """Say whether this may ask for *url*."""
        if not self._allowed or not url.isascii() or not url.isprintable() or " " in url:
            return False
        try:
            parts = urlsplit(url)
            return parts.scheme in ("http", "https") and bool(_place(parts)) and "@" not in url
        except ValueError:
            return False

    def get(self, url: str, headers: Mapping[str, str]) -> Answer:
        """Send one GET and return its answer, the body unread.

        Raises the errors of httpx2, as the session does.
        """
        import httpx2

        parts = urlsplit(url)
        place = _place(parts)
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        wanted = {"accept-encoding": "gzip", **headers}
        try:
            kept = self._take(place)
            if kept is not None:
                try:
                    return Answer(self, place, kept, _ask(kept, target, wanted), url)
                except ConnectionError:
                    pass  # it was closed while it was idle, or just now: that is no try of ours
            connection = self._connect(place)
            return Answer(self, place, connection, _ask(connection, target, wanted), url)
        except (http.client.HTTPException, OSError) as error:
            raise _as_httpx(error, httpx2.ReadError, httpx2.ReadTimeout) from error

    def keep(self, place: _Place, connection: http.client.HTTPConnection) -> None:
        """Take back a connection whose answer was read to its end."""
        with self._lock:
            if not self._closed:
                self._idle.setdefault(place, []).append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close what is idle; what is busy is closed when it comes back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, {}
        for connections in idle.values():
            for connection in connections:
                connection.close()

    def _take(self, place: _Place) -> http.client.HTTPConnection | None:
        while True:
            with self._lock:
                idle = self._idle.get(place)
                connection = idle.pop() if idle else None
            if connection is None:
                return None
            poll = select.poll()
            poll.register(connection.sock, select.POLLIN)
            if not poll.poll(0):
                return connection
            connection.close()  # the other side closed it, or says what nobody asked for

    def _connect(self, place: _Place) -> http.client.HTTPConnection:
        import httpx2

        scheme, host, port = place
        connection: http.client.HTTPConnection
        if scheme == "https":
            connection = http.client.HTTPSConnection(host, port, context=self._context())
        else:
            connection = http.client.HTTPConnection(host, port)
        # the library calls it with a socket, and types it as the class itself
        connection.response_class = self._response  # type: ignore[assignment]
        connection.timeout = self._limits.connect
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            raise _as_httpx(error, httpx2.ConnectError, httpx2.ConnectTimeout) from error
        connection.sock.settimeout(self._limits.silence)
        return connection

    def _context(self) -> ssl.SSLContext:
        import httpx2

        with self._lock:
            if self._tls is None:
                try:
                    self._tls = httpx2.create_ssl_context()
                except OSError as error:  # also where there is no certificate in a file
                    raise Unusable(str(error)) from None
            return self._tls

    def _response(self, sock: socket.socket, *_: Any, **options: Any) -> http.client.HTTPResponse:
        # all that a response asks of its socket is `makefile`, which the shim has
        return http.client.HTTPResponse(_Shim(sock, self._limits), **options)  # type: ignore[arg-type]


class Answer:
    """One answer: what the room uses of httpx2's."""

    def __init__(
        self,
        lean: Lean,
        place: _Place,
        connection: http.client.HTTPConnection,
        response: http.client.HTTPResponse,
        url: str,
    ) -> None:
        self._lean, self._place = lean, place
        self._connection, self._response = connection, response
        self._sock = connection.sock
        self._whole = False
        self.url = url
        self.status_code = response.status
        self.headers = cast("Mapping[str, str]", response.headers)  # by any case of a name
        buffer: Any = response.fp
        self._reader: _Reader | None = buffer.raw if buffer else None
        if self._reader is not None:
            self._reader.end = None  # the headers are here

    def iter_raw(self) -> Iterator[bytes]:
        """Yield the body as it comes."""
        import httpx2

        response = self._response
        left = response.length
        try:
            if left is None or response.chunked:
                while data := response.read1(_PIECE):
                    yield data
                return
            while left:  # not read(): it would drop what it has where the line is cut
                data = response.fp.read1(min(left, _PIECE))
                if not data:
                    raise httpx2.RemoteProtocolError("cut")
                left -= len(data)
                self._whole = not left
                yield data
            self._whole = True
        except (OSError, http.client.HTTPException) as error:
            raise _as_httpx(error, httpx2.ReadError, httpx2.ReadTimeout) from error

    def iter_bytes(self) -> Iterator[bytes]:
        """Yield the body unpacked, in pieces of a bounded size."""
        import httpx2

        packed = self.headers.get("content-encoding", "identity").strip().lower()
        if packed in ("identity", ""):
            yield from self.iter_raw()
            return
        if packed != "gzip":
            message = "an encoding that was not asked for"
            raise httpx2.DecodingError(message)
        unpack = zlib.decompressobj(16 + zlib.MAX_WBITS)
        try:
            for data in self.iter_raw():
                yield unpack.decompress(data, _PIECE)
                while unpack.unconsumed_tail:
                    yield unpack.decompress(unpack.unconsumed_tail, _PIECE)
        except zlib.error as error:
            raise httpx2.DecodingError(str(error)) from error
        if not unpack.eof:
            message = "cut"
            raise httpx2.RemoteProtocolError(message)

    def read(self) -> bytes:
        """Return the whole body."""
        return b"".join(self.iter_raw())

    def close(self) -> None:
        """Keep the connection where the body was read to its end, else close it."""
        kept = self._whole and not self._response.will_close and not self._has_more()
        self._response.close()
        if kept:
            self._lean.keep(self._place, self._connection)
        else:
            self._connection.close()

    def _has_more(self) -> bool:
        """Say whether bytes came that belong to no answer."""
        if self._reader is None or self._response.fp is None:
            return False
        self._reader.ended = True
        return bool(self._response.fp.read1(1))

    def shut(self) -> None:
        """End it, for a thread that reads its body."""
        if self._sock is not None:
            shut(self._sock)


class _Shim:
    """A socket, as far as http.client's answers use one."""

    def __init__(self, sock: socket.socket, limits: Limits) -> None:
        self._sock, self._limits = sock, limits

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._sock, self._limits), _PIECE)


class _Reader(io.RawIOBase):
    """Reads a socket; the headers within a time of their own."""

    def __init__(self, sock: socket.socket, limits: Limits) -> None:
        self._sock, self._limits = sock, limits
        self.end: float | None = None
        self.ended = False
        """Read no more: what is buffered already is all."""
        self._begun = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.ended:
            return 0
        if self.end is not None and time.monotonic() > self.end:
            raise TimeoutError
        count = self._sock.recv_into(buffer)
        if not self._begun:  # the first byte may take the silence of a busy server
            self._begun, self.end = True, time.monotonic() + self._limits.slow_time
        return count


def _ask(
    connection: http.client.HTTPConnection, target: str, headers: Mapping[str, str]
) -> http.client.HTTPResponse:
    """Send one GET and return its answer; the connection is closed where there is none."""
    try:
        connection.request("GET", target, headers=headers)
        return connection.getresponse()
    except BaseException:
        connection.close()
        raise


def _as_httpx(error: Exception, kind: Any, late: Any) -> Exception:
    import httpx2

    if isinstance(error, TimeoutError):
        # a class of the client's library, whose types say nothing of it
        return late("timed out")  # type: ignore[no-any-return]
    if isinstance(error, http.client.HTTPException) and not isinstance(error, OSError):
        return httpx2.RemoteProtocolError(type(error).__name__)
    # a class of the client's library, whose types say nothing of it
    return kind(str(error))  # type: ignore[no-any-return]


def _place(parts: SplitResult) -> _Place:
    if not parts.hostname:
        raise ValueError
    return (parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))


def _is_ordinary() -> bool:
    """Say whether the user's session is the client's own, and no proxy is set."""
    from urllib.request import getproxies

    from huggingface_hub.utils import _http

    if getproxies().keys() - {"no"}:
        return False
    own = getattr(_http, "default_client_factory", None)
    return own is not None and getattr(_http, "_GLOBAL_CLIENT_FACTORY", None) is own
