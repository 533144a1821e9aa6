"""A proxy before an S3 server that does what networks and servers do wrong, and keeps a log."""

from __future__ import annotations

import http.client
import math
import socket
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BadLine"]


@dataclass
class Fault:
    kind: str
    """cut, stall, hold (no answer until ``reset``), corrupt, whole (not the range), short,
    content-range, etag, or a status"""
    method: str
    part: str
    """of the path"""
    times: int
    at: int
    """byte of the body"""
    hits: int = 0
    then: Callable[[], object] | None = None
    """called before the body goes out"""
    wait: float | None = None
    """seconds, told as Retry-After: all is refused until they are over, from the first HEAD on"""
    until: float = math.inf

    def fits(self, method: str, path: str) -> bool:
        if self.wait is None:
            return self.method == method and self.part in path and self.hits < self.times
        if method == "HEAD":
            self.until = min(self.until, time.monotonic() + self.wait)
        return time.monotonic() < self.until


@dataclass
class BadLine:
    """``with BadLine(endpoint) as line``: the server again, at ``line.endpoint``."""

    target: str
    faults: list[Fault] = field(default_factory=list)
    log: list[tuple[str, str]] = field(default_factory=list)
    """(method, path with its query) of every request"""

    def fault(self, kind, *, method="GET", part="/objects/", times=1, at=1000) -> Fault:
        made = Fault(str(kind), method, part, times, at)
        self.faults.append(made)
        return made

    def busy(self, status: int, wait: float) -> Fault:
        """Refuse everything, and say for how long, until that is over for who heard it."""
        self.faults.append(made := Fault(str(status), "", "", 0, 0, wait=wait))
        return made

    def count(self, method: str, part: str = "") -> int:
        return sum(m == method and part in path for m, path in self.log)

    def reset(self) -> None:
        self.faults.clear()
        self.log.clear()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> BadLine:
        self._closing = threading.Event()
        line = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                line._answer(self)

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = handle_any

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        method, path = request.command, request.path
        self.log.append((method, path))
        body = request.rfile.read(int(request.headers.get("content-length") or 0))
        fault = next((f for f in self.faults if f.fits(method, path)), None)
        if fault:
            fault.hits += 1
            if fault.kind.isdigit():
                request.send_response(int(fault.kind))
                if fault.wait is not None:
                    request.send_header("retry-after", f"{math.ceil(fault.wait)}")
                request.send_header("content-length", "0")
                request.end_headers()
                return
            until = time.monotonic() + 60
            while fault.kind == "hold" and fault in self.faults and time.monotonic() < until:
                time.sleep(0.02)  # nothing is answered until the faults are reset
        try:
            self._forward(request, method, path, body, fault)
        except OSError:
            request.close_connection = True

    def _forward(self, request, method, path, body, fault) -> None:
        kind = fault.kind if fault else ""
        parts = urlsplit(self.target)
        upstream = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
        try:
            upstream.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers.items():
                if (kind, name.lower()) != ("whole", "range"):
                    upstream.putheader(name, value)  # Host too: it is signed
            upstream.endheaders(body)
            answer = upstream.getresponse()
            data = answer.read()
        finally:
            upstream.close()
        request.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() == kind:
                request.send_header(name, value + "0")
            elif (kind, name.lower()) == ("short", "content-length"):
                request.send_header(name, str(fault.at))
            elif name.lower() not in ("transfer-encoding", "connection", "date", "server"):
                request.send_header(name, value)
        request.end_headers()
        if method == "HEAD":
            return
        if fault and fault.then:
            fault.then()
        if kind == "corrupt" and len(data) > fault.at:
            data = data[: fault.at] + bytes([data[fault.at] ^ 1]) + data[fault.at + 1 :]
        if kind in ("content-range", "etag"):
            data = bytes(len(data))
        if kind == "short":
            data = data[: fault.at]
        if kind in ("cut", "stall"):
            request.wfile.write(data[: fault.at])
            request.wfile.flush()
            if kind == "stall":
                until = time.monotonic() + 60
                while time.monotonic() < until and not self._closing.wait(0.1):
                    pass
            request.connection.shutdown(socket.SHUT_RDWR)
            request.close_connection = True
            return
        request.wfile.write(data)
