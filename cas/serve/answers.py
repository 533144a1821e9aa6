"""Answers: each is an ASGI application that sends itself.

A file goes out in pieces, read from memory where the system has it there, else by a thread, so
that a slow disk holds up nobody else. A piece is smaller the more files go out at once: what
they hold together is bounded. A client that goes away stops the reading.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, MutableMapping

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
    ASGI = Callable[[Scope, Receive, Send], Awaitable[None]]
    Headers = Iterable[tuple[str, str]]

__all__ = ["Answer", "FileAnswer", "Pieces", "Refused", "json_answer", "refusal"]

HELD = 64 << 20  # bytes that all pieces hold together, as long as there are no more than 1,024
SMALLEST, LARGEST = 64 << 10, 1 << 19  # bytes of a piece
_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")
_NOWAIT = getattr(os, "RWF_NOWAIT", 0)  # Linux: read only what is in memory


class Refused(Exception):
    """The request is answered by an error, ``answer``."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


@dataclass(frozen=True)
class Answer:
    """A status, headers, and a body that is in memory."""

    status: int
    headers: Headers = ()
    body: bytes = b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        del receive
        headers = [*self.headers, ("Content-Length", str(len(self.body)))]
        if self.status == 304:
            headers.pop()
        await _start(send, self.status, headers)
        body = b"" if scope["method"] == "HEAD" else self.body
        await send({"type": "http.response.body", "body": body})


def json_answer(value: object, status: int = 200, headers: Headers = ()) -> Answer:
    """Return an answer of JSON."""
    kind = ("Content-Type", "application/json; charset=utf-8")
    return Answer(status, (kind, *headers), json.dumps(value).encode())


def refusal(status: int, message: str, code: str | None = None, headers: Headers = ()) -> Refused:
    """Return the error to raise: *code* is the Hub's, such as RepoNotFound."""
    shown = message.encode("ascii", "backslashreplace").decode()
    head = [("X-Error-Message", re.sub(r"[^ -~]", "?", shown)), *headers]
    if code:
        head.append(("X-Error-Code", code))
    return Refused(json_answer({"error": message}, status, head))


class Pieces:
    """How large a piece of a file may be, by how many go out at once."""

    def __init__(self) -> None:
        self.sending = 0
        """Files that go out now."""

    @property
    def size(self) -> int:
        """Bytes of the next piece."""
        return max(SMALLEST, min(LARGEST, HELD // max(1, self.sending)))


@dataclass(frozen=True, kw_only=True)
class FileAnswer:
    """A file: whole, a range of it, or only what its headers say."""

    top: str
    """The directory that the file is in, or below."""
    path: str
    """Inside its repository, and below *top*."""
    instead: str
    """What a link with its name has to lead to: the object."""
    size: int
    """bytes"""
    etag: str
    headers: Headers
    pieces: Pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        asked = {name: text.decode("latin-1") for name, text in scope["headers"]}
        headers = [
            *self.headers,
            ("ETag", self.etag),
            ("Accept-Ranges", "bytes"),
            ("Content-Type", "application/octet-stream"),
            ("Content-Disposition", _disposition(self.path)),
        ]
        if asked.get(b"if-none-match") == self.etag:
            await Answer(304, headers)(scope, receive, send)
            return
        bounds: tuple[int, int] | None = None
        if scope["method"] == "GET" and asked.get(b"if-range", self.etag) == self.etag:
            bounds = _bounds(asked.get(b"range", ""), self.size)
        start, stop = bounds or (0, self.size)
        if start >= stop and bounds:
            headers.append(("Content-Range", f"bytes */{self.size}"))
            await Answer(416, headers)(scope, receive, send)
            return
        if bounds:
            headers.append(("Content-Range", f"bytes {start}-{stop - 1}/{self.size}"))
        headers.append(("Content-Length", str(stop - start)))
        fd = self._open()
        try:
            await _start(send, 206 if bounds else 200, headers)
            if scope["method"] == "HEAD":
                await send({"type": "http.response.body", "body": b""})
            else:
                await self._send(fd, start, stop, receive, send)
        finally:
            os.close(fd)

    def _open(self) -> int:
        """Open the file; raise Refused if it is not what its listing says."""
        try:
            fd = _open_below(self.top, self.path, self.instead)
        except OSError as error:
            raise refusal(503, f"{self.path!r} can't be read: {error.strerror}") from None
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size != self.size:
            os.close(fd)
            raise refusal(503, f"{self.path!r} is not as it was: cas verify --repair")
        return fd

    async def _send(self, fd: int, start: int, stop: int, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(_gone(receive))
        self.pieces.sending += 1
        try:
            while start < stop and not gone.done():
                size = min(self.pieces.size, stop - start)
                piece = _cached(fd, start, size)
                if not piece:
                    piece = await asyncio.to_thread(os.pread, fd, size, start)
                if not piece:
                    raise OSError(f"{self.top}/{self.path} ends {stop - start} bytes early")
                start += len(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                await asyncio.sleep(0)  # a client that takes all at once leaves others their turn
            if start == stop:
                await send({"type": "http.response.body", "body": b""})
        finally:
            self.pieces.sending -= 1
            gone.cancel()


def _open_below(top: str, path: str, instead: str) -> int:
    """Open a file through no link but that to its object: it leads whoever owns it anywhere."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    above = os.open(top, flags | os.O_DIRECTORY)
    try:
        *directories, name = path.split("/")
        for one in directories:
            inner = os.open(one, flags | os.O_DIRECTORY, dir_fd=above)
            os.close(above)
            above = inner
        return os.open(name, flags, dir_fd=above)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return os.open(instead, flags)
    finally:
        os.close(above)


async def _gone(receive: Receive) -> None:
    """Return when the client has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _cached(fd: int, offset: int, size: int) -> bytes:
    """Return *size* bytes that are in memory; none where the disk would have to be read.

    They count as being in memory if their first and last one are: files are read ahead.
    """
    if not _NOWAIT:
        return b""
    probe = [bytearray(1)]
    try:
        for one in (offset, offset + size - 1):
            os.preadv(fd, probe, one, _NOWAIT)
    except OSError:  # not in memory, or a file system that can't tell
        return b""
    return os.pread(fd, size, offset)


async def _start(send: Send, status: int, headers: Headers) -> None:
    raw = [(name.lower().encode(), text.encode("latin-1")) for name, text in headers]
    await send({"type": "http.response.start", "status": status, "headers": raw})


def _bounds(text: str, size: int) -> tuple[int, int] | None:
    """Return (start, stop) of the one range that *text* asks for; start = stop: it can't be had."""
    wanted = _RANGE.fullmatch(text)
    if not wanted or text == "bytes=-":
        return None
    first, last = wanted.groups()
    if not first:
        return max(0, size - int(last)), size
    start, stop = int(first), min(size, int(last) + 1) if last else size
    if last and int(last) < int(first):
        return None
    return (start, stop) if start < size else (0, 0)


def _disposition(path: str) -> str:
    name = path.rpartition("/")[2]
    plain = re.sub(r"[^ !#-\[\]-~]", "_", name)
    return f"inline; filename*=UTF-8''{quote(name)}; filename=\"{plain}\";"
