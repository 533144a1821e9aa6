"""Plain GETs, where the client's session would do no more and cost more.

A small file costs huggingface_hub's session 0.6 ms of CPU, and this less than a quarter. It
serves http and https without a proxy, with the session's own TLS settings, and leaves to
the session whatever is out of the ordinary: `serves` says. It raises the session's errors.
An answer that has nothing special, as files in one piece come, it reads itself; any other
it leaves to http.client, which takes seven times as long for the headers (58 µs).
Beside speed it has one thing that the session has not: headers that trickle in are given
up after ``slow_time``.
"""

from __future__ import annotations

import http.client
import io
import re
import select
import socket
import threading
import time
import zlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping

    from .line import Limits

__all__ = ["Answer", "Lean", "Unusable", "origin_of", "shut"]

_PIECE = 1 << 18  # bytes
_FIRST = 1 << 16  # bytes of an answer that are asked for first: its headers, and a small file
_PLAIN = re.compile(
    rb"HTTP/1\.1 ([245]\d\d|30[1-378])(?: [\t -~]*)?\r\n((?:[\w-]+:[\t -~]*\r\n){1,100})\r\n"
)


class Unusable(Exception):
    """The environment's certificates can't be used."""


class _Place(NamedTuple):
    """Whom to connect to."""

    scheme: str
    host: str
    port: int
    name: str
    """As the Host header says it."""


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
        self.limits = limits
        self._lock = threading.Lock()
        self._idle: dict[_Place, list[socket.socket]] = {}
        self._tls: ssl.SSLContext | None = None
        self._closed = False
        self._allowed = _is_ordinary()

    def serves(self, url: str) -> bool:
        """Say whether this may ask for *url*."""
        if not self._allowed or not url.isascii() or not url.isprintable():
            return False
        return " " not in url and "#" not in url and _place(origin_of(url)) is not None

    def get(self, url: str, headers: Mapping[str, str]) -> Answer:
        """Send one GET of what this `serves` and return its answer, the body unread.

        Raises the errors of httpx2, as the session does.
        """
        import httpx2

        origin = origin_of(url)
        place = _place(origin)
        if place is None:
            raise ValueError(url)
        wanted = {"host": place.name, "accept-encoding": "gzip", **headers}
        lines = [f"GET {url[len(origin) :] or '/'} HTTP/1.1"]
        lines += [f"{name}: {text}" for name, text in wanted.items()]
        request = ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")
        try:
            kept = self._take(place)
            if kept is not None:
                try:
                    return Answer(self, place, kept, request, url)
                except ConnectionError:
                    pass  # it was closed while it was idle, or just now: that is no try of ours
            return Answer(self, place, self._connect(place), request, url)
        except (http.client.HTTPException, OSError) as error:
            raise _as_httpx(error, httpx2.ReadError, httpx2.ReadTimeout) from error

    def keep(self, place: _Place, sock: socket.socket) -> None:
        """Take back a connection whose answer was read to its end."""
        with self._lock:
            if not self._closed:
                self._idle.setdefault(place, []).append(sock)
                return
        sock.close()

    def close(self) -> None:
        """Close what is idle; what is busy is closed when it comes back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, {}
        for socks in idle.values():
            for sock in socks:
                sock.close()

    def _take(self, place: _Place) -> socket.socket | None:
        while True:
            with self._lock:
                idle = self._idle.get(place)
                sock = idle.pop() if idle else None
            if sock is None:
                return None
            poll = select.poll()
            poll.register(sock, select.POLLIN)
            if not poll.poll(0):
                return sock
            sock.close()  # the other side closed it, or says what nobody asked for

    def _connect(self, place: _Place) -> socket.socket:
        import httpx2

        context = self._context() if place.scheme == "https" else None
        sock = None
        try:
            sock = socket.create_connection((place.host, place.port), self.limits.connect)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context is not None:
                sock = context.wrap_socket(sock, server_hostname=place.host)
        except (OSError, UnicodeError) as error:  # a name that no host can have
            if sock is not None:
                sock.close()
            raise _as_httpx(error, httpx2.ConnectError, httpx2.ConnectTimeout) from error
        sock.settimeout(self.limits.silence)
        return sock

    def _context(self) -> ssl.SSLContext:
        import httpx2

        with self._lock:
            if self._tls is None:
                try:
                    self._tls = httpx2.create_ssl_context()
                except OSError as error:  # also where there is no certificate in a file
                    raise Unusable(str(error)) from None
            return self._tls


class Answer:
    """One answer: what the room uses of httpx2's."""

    def __init__(
        self, lean: Lean, place: _Place, sock: socket.socket, request: bytes, url: str
    ) -> None:
        """Send *request* and read what comes before the body; close *sock* where that fails."""
        self._lean, self._place, self._sock = lean, place, sock
        self._whole = False
        self.url = url
        self.headers: Mapping[str, str]
        self._length: int | None
        self._other: http.client.HTTPResponse | None = None
        """Who reads an answer that is not plain."""
        try:
            sock.sendall(request)
            first = sock.recv(_FIRST)
            if plain := _plain(first):
                self.status_code, self.headers, self._length, self._held = plain
            else:
                self._ask_library(first)
        except BaseException:
            sock.close()
            raise

    def _ask_library(self, first: bytes) -> None:
        self._reader = _Reader(self._sock, self._lean.limits, first)
        # all that a response asks of its socket is `makefile`, which the reader has
        self._other = http.client.HTTPResponse(self._reader, method="GET")  # type: ignore[arg-type]
        self._other.begin()
        self._reader.end = None  # the headers are here
        self.status_code = self._other.status
        self.headers = cast("Mapping[str, str]", self._other.headers)  # by any case of a name
        self._length = self._other.length

    def iter_raw(self) -> Iterator[bytes]:
        """Yield the body as it comes."""
        import httpx2

        other, left = self._other, self._length
        try:
            if other is not None and (left is None or other.chunked):
                while data := other.read1(_PIECE):
                    yield data
                return
            while left:  # not read(): it would drop what it has where the line is cut
                data = self._read(min(left, _PIECE))
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
        other = self._other
        if self._whole and not (other and other.will_close) and not self._has_more():
            self._lean.keep(self._place, self._sock)
        else:
            self._sock.close()

    def shut(self) -> None:
        """End it, for a thread that reads its body."""
        shut(self._sock)

    def _read(self, most: int) -> bytes:
        if self._other is not None:
            return self._other.fp.read1(most)
        if self._held:
            data, self._held = self._held[:most], self._held[most:]
            return data
        return self._sock.recv(most)

    def _has_more(self) -> bool:
        """Say whether bytes came that belong to no answer."""
        if self._other is None:
            return bool(self._held)
        self._reader.ended = True
        return bool(self._other.fp and self._other.fp.read1(1))


class _Reader(io.RawIOBase):
    """Reads what came *first* and then a socket; the headers within a time of their own."""

    def __init__(self, sock: socket.socket, limits: Limits, first: bytes) -> None:
        self._sock, self._first = sock, first
        self.end: float | None = time.monotonic() + limits.slow_time
        self.ended = False
        """Read no more: what is buffered already is all."""

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return it as http.client wants it of a socket."""
        return io.BufferedReader(self, _PIECE)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._first:
            count = min(len(buffer), len(self._first))
            buffer[:count], self._first = self._first[:count], self._first[count:]
            return count
        if self.ended:
            return 0
        if self.end is not None and time.monotonic() > self.end:
            raise TimeoutError
        return self._sock.recv_into(buffer)


def _plain(first: bytes) -> tuple[int, dict[str, str], int, bytes] | None:
    """Read the beginning of an answer that has all its headers in it, and nothing special.

    That is a final status with a body of a length that is told once, no header twice, and a
    connection that stays. Return the status, the headers by lower-case name, the length, and
    what came of the body; None where http.client must look.
    """
    match = _PLAIN.match(first)
    if match is None:
        return None
    pairs = [line.partition(":") for line in match[2].decode("ascii").split("\r\n")[:-1]]
    headers = {name.lower(): text.strip() for name, _, text in pairs}
    length = headers.get("content-length", "")
    if (
        len(headers) < len(pairs)
        or not (length.isdigit() and len(length) < 19)
        or match[1] in (b"204", b"205")
        or "transfer-encoding" in headers
        or headers.get("connection", "keep-alive").lower() != "keep-alive"
    ):
        return None
    return int(match[1]), headers, int(length), first[match.end() :]


def _as_httpx(error: Exception, kind: Any, late: Any) -> Exception:
    import httpx2

    if isinstance(error, TimeoutError):
        # a class of the client's library, whose types say nothing of it
        return late("timed out")  # type: ignore[no-any-return]
    if isinstance(error, http.client.HTTPException) and not isinstance(error, OSError):
        return httpx2.RemoteProtocolError(type(error).__name__)
    # a class of the client's library, whose types say nothing of it
    return kind(str(error))  # type: ignore[no-any-return]


def origin_of(url: str) -> str:
    """Return the beginning of a URL, up to its path."""
    return url[:end] if (end := url.find("/", url.find("//") + 2)) > 0 else url


@lru_cache
def _place(origin: str) -> _Place | None:
    """Return whom to ask for a URL that begins like that; None where it is out of the ordinary."""
    try:
        parts = urlsplit(origin)
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (ValueError, KeyError):
        return None
    if not parts.hostname or "@" in origin or "?" in origin:
        return None
    return _Place(parts.scheme, parts.hostname, port, parts.netloc)


def _is_ordinary() -> bool:
    """Say whether the user's session is the client's own, and no proxy is set."""
    from urllib.request import getproxies

    from huggingface_hub.utils import _http

    if getproxies().keys() - {"no"}:
        return False
    own = getattr(_http, "default_client_factory", None)
    return own is not None and getattr(_http, "_GLOBAL_CLIENT_FACTORY", None) is own
