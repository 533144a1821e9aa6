"""HTTP/1.1 over plain sockets: requests in, replies out, and replies that go wrong.

Each connection has a thread and stays open until a side closes it. A file on disk goes
out by ``sendfile``, never through memory. Own sockets rather than `http.server`, because a
test needs what that hides: a reset, a lie about the length, a port that refuses and then
listens again, and little of the two cores that the client under test shares.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

from .git import Content, Memory, OnDisk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .faults import Fault

_PIECE = 1 << 20
"""bytes between two counts of what was sent"""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request as it came in."""

    method: str
    target: str
    """As sent: quoted, with the query."""
    headers: dict[str, str]
    """By lower-case name."""
    body: bytes

    @property
    def path(self) -> str:
        """The quoted path, without the query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> list[tuple[str, str]]:
        return parse_qsl(self.target.partition("?")[2], keep_blank_values=True)

    @property
    def segments(self) -> list[str]:
        """The path's parts, each unquoted: a quoted slash stays inside its part."""
        return [unquote(part) for part in self.path.split("/")[1:]]

    def has(self, name: str) -> bool:
        """Say whether the query switches *name* on."""
        return any(key == name and value.lower() not in ("false", "0") for key, value in self.query)


@dataclass
class Reply:
    """One reply: a status, headers, and the bytes *start* to *stop* of a content."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    content: Content = field(default_factory=lambda: Memory(b""))
    start: int = 0
    stop: int = -1

    def __post_init__(self) -> None:
        if self.stop < 0:
            self.stop = self.content.size

    @property
    def length(self) -> int:
        return self.stop - self.start


@dataclass
class Record:
    """What the log keeps of one request."""

    origin: str
    """``api`` or ``cdn``"""
    kind: str
    """``api``, ``resolve``, ``resolve-cache``, ``cdn``, ``xet-plan`` or ``xet``"""
    method: str
    path: str
    """The request's target as sent, with the query."""
    range: str | None
    authorization: bool
    """Whether the request carried an Authorization header."""
    agent: str
    repo: str | None = None
    file: str | None = None
    status: int = 0
    """0 where the connection was dropped unanswered."""
    sent: int = 0
    """Bytes of the body handed to the kernel so far."""
    fault: str | None = None
    """The kinds of the faults that struck, joined by ``+``."""


class Hangup(Exception):
    """The connection ends here."""


class Connection:
    """One client's connection."""

    def __init__(self, sock: socket.socket, closing: threading.Event) -> None:
        self.sock, self.closing, self._buffer = sock, closing, b""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read(self) -> Request | None:
        """Return the next request, None at the end; raise Hangup if it isn't HTTP."""
        while b"\r\n\r\n" not in self._buffer:
            if len(self._buffer) > 1 << 16:
                raise Hangup
            more = self.sock.recv(1 << 16)
            if not more:
                return None
            self._buffer += more
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        try:
            method, target, _ = first.split(" ")
            length = int(headers.get("content-length", "0"))
        except ValueError:
            raise Hangup from None
        while len(self._buffer) < length:
            more = self.sock.recv(1 << 16)
            if not more:
                return None
            self._buffer += more
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return Request(method=method, target=target, headers=headers, body=body)

    def send(self, request: Request, reply: Reply, record: Record, fault: Fault | None) -> None:
        """Send *reply*, with *fault* in its body; raise Hangup where the connection must end."""
        headers = {"Content-Length": str(reply.length), **reply.headers}
        bodiless = request.method == "HEAD" or reply.status in (204, 304)
        if fault and not bodiless:
            self._send_wrongly(reply, headers, record, fault)
        elif bodiless or isinstance(reply.content, Memory):
            body = b"" if bodiless else b"".join(reply.content.pieces(reply.start, reply.stop))
            record.sent = len(body)
            self.sock.sendall(_head(reply.status, headers) + body)
        else:
            self.sock.sendall(_head(reply.status, headers))
            self._send_file(reply, record)
        if request.headers.get("connection", "").lower() == "close":
            raise Hangup

    def _send_file(self, reply: Reply, record: Record) -> None:
        if not isinstance(reply.content, OnDisk):
            self._send_all(reply.content.pieces(reply.start, reply.stop), record)
            return
        with reply.content.path.open("rb", buffering=0) as file:
            at = reply.start
            while at < reply.stop:
                asked = min(_PIECE, reply.stop - at)
                record.sent += asked  # before it is sent: a client may look at the log at once
                sent = 0
                try:
                    sent = os.sendfile(self.sock.fileno(), file.fileno(), at, asked)
                finally:
                    record.sent -= asked - sent
                if not sent:
                    raise Hangup
                at += sent

    def _send_all(self, pieces: Iterable[bytes], record: Record) -> None:
        for piece in pieces:
            record.sent += len(piece)
            self.sock.sendall(piece)

    def _send_wrongly(
        self, reply: Reply, headers: dict[str, str], record: Record, fault: Fault
    ) -> None:
        length = reply.length
        if fault.kind == "body":
            reply = Reply(reply.status, reply.headers, Memory(fault.body))
            headers["Content-Length"] = str(reply.length)
        elif fault.kind == "short":
            reply.stop = max(reply.start, reply.stop - fault.extra)
            headers["Content-Length"] = str(reply.length)
        elif fault.kind in ("long", "wrong_length"):
            headers["Content-Length"] = str(max(0, length + fault.extra))
        elif fault.kind == "endless":
            del headers["Content-Length"]
            headers["Transfer-Encoding"] = "chunked"
        pieces = reply.content.pieces(reply.start, reply.stop)
        self.sock.sendall(_head(reply.status, headers))
        match fault.kind:
            case "cut" | "reset" | "stall":
                point = fault.point(length)
                self._send_all(reply.content.pieces(reply.start, reply.start + point), record)
                if fault.kind == "stall":
                    self.wait(fault.seconds)
                    pieces = reply.content.pieces(reply.start + point, reply.stop)
                    self._send_all(pieces, record)
                    return
                if fault.kind == "reset":
                    self.wait(0.05)  # a reset overtakes what was not read yet
                    self.sock.setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                    )
                raise Hangup
            case "trickle":
                self._trickle(pieces, record, fault.rate)
            case "corrupt":
                self._send_all(_flip(pieces, min(fault.point(length), length - 1)), record)
            case "endless":
                self._send_endlessly(pieces, record)
            case _:
                self._send_all(pieces, record)
                if fault.kind == "long":
                    self._send_all([b"\n" * fault.extra], record)
                elif fault.kind == "wrong_length":
                    raise Hangup

    def _trickle(self, pieces: Iterable[bytes], record: Record, rate: int) -> None:
        step = max(1, rate // 20)
        for piece in pieces:
            for at in range(0, len(piece), step):
                self._send_all([piece[at : at + step]], record)
                self.wait(step / rate)

    def _send_endlessly(self, pieces: Iterable[bytes], record: Record) -> None:
        filler = b"\n" * 65_536
        for piece in pieces:
            record.sent += len(piece)
            self.sock.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
        while True:
            self.sock.sendall(b"%x\r\n%b\r\n" % (len(filler), filler))
            record.sent += len(filler)
            self.wait(0.002)  # about 30 MB/s: endless, but no flood

    def wait(self, seconds: float) -> None:
        """Sleep, unless the server closes."""
        if self.closing.wait(seconds):
            raise Hangup


def _flip(pieces: Iterable[bytes], at: int) -> Iterator[bytes]:
    """Yield *pieces* with one bit of byte *at* flipped."""
    for piece in pieces:
        if 0 <= at < len(piece):
            piece = piece[:at] + bytes([piece[at] ^ 1]) + piece[at + 1 :]
        at -= len(piece)
        yield piece


def _head(status: int, headers: dict[str, str]) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {text}" for name, text in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8")


class Origin:
    """One listening address, which can refuse for a while and come back."""

    def __init__(self, host: str, port: int, serve: Callable[[Connection], None]) -> None:
        """Listen on *host* and *port* (0: a free one); *serve* gets each connection."""
        self.host, self.port, self._serve = host, port, serve
        self._lock, self._open = threading.Lock(), set[socket.socket]()
        self._listener: socket.socket | None = None
        self._closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def start(self) -> None:
        """Listen, on the same port as before."""
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.host, self.port))
        listener.listen(512)
        self.port = listener.getsockname()[1]
        self._listener, self._closing = listener, threading.Event()
        args = (listener, self._closing)
        threading.Thread(target=self._accept, args=args, daemon=True).start()

    def stop(self) -> None:
        """Refuse connections and end those that are open."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        self._closing.set()
        try:
            listener.shutdown(socket.SHUT_RDWR)  # wakes accept on Linux
        except OSError:
            socket.create_connection((self.host, self.port), 1).close()  # and elsewhere
        listener.close()
        with self._lock:
            for sock in self._open:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue

    def _accept(self, listener: socket.socket, closing: threading.Event) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                if closing.is_set():
                    return
                time.sleep(0.01)  # out of descriptors, or the client is gone already
                continue
            with self._lock:
                if closing.is_set():
                    sock.close()
                    return
                self._open.add(sock)
            threading.Thread(target=self._run, args=(sock, closing), daemon=True).start()

    def _run(self, sock: socket.socket, closing: threading.Event) -> None:
        try:
            self._serve(Connection(sock, closing))
        except (Hangup, OSError):
            pass  # a client that hangs up is no error of ours
        finally:
            with self._lock:
                self._open.discard(sock)
            sock.close()
