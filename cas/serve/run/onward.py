"""Onward: a request passed on to the real Hub, and its answer passed back.

What a program writes goes there with the program's own token, and so does what it reads of
the repositories that it writes. The line is huggingface_hub's own session: endpoint, proxies,
TLS settings and the offline switch are the user's. Redirects are left to the program, whose
client keeps its token from other hosts.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from functools import partial
from typing import TYPE_CHECKING, Any

from cas.serve.run.apart import apart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from httpx2 import Response

    from cas.serve.answers import Receive, Scope, Send

__all__ = ["Answered", "Unreachable", "pass_on"]

IN_MEMORY = 8 << 20  # bytes of a request's body; more goes through a temporary file
PIECE = 1 << 18
KEPT = 1 << 20  # bytes of an answer of the API that are looked into
CONNECT, SILENCE = 10.0, 120.0  # seconds; a commit of many files takes the Hub its time
OF_A_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization te trailer "
    b"transfer-encoding upgrade host content-length".split()
)


class Unreachable(Exception):
    """The real Hub could not be asked; the message says why."""


class Answered:
    """What the real Hub answered."""

    def __init__(self, status: int, headers: Mapping[str, str], start: bytes) -> None:
        self.status = status
        self.commit = headers.get("x-repo-commit", "")
        """The commit that a file was resolved at, or ``""``."""
        self._start = start

    def document(self) -> dict[str, Any]:
        """Return the answer as JSON, ``{}`` where it is none, or a long one."""
        try:
            found = json.loads(self._start)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


async def pass_on(
    scope: Scope, receive: Receive, send: Send, *, heard: Callable[[Answered], None] | None = None
) -> None:
    """Pass a request on, and the answer back as it comes.

    *heard* is told of the answer before the program has all of it. Raises Unreachable, with
    nothing sent.
    """
    with tempfile.SpooledTemporaryFile(IN_MEMORY) as body:
        size = 0
        more = True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return  # the program went away
            piece = message.get("body", b"")
            size += len(piece)
            await asyncio.to_thread(body.write, piece) if size > IN_MEMORY else body.write(piece)
            more = message.get("more_body", False)
        body.seek(0)
        response = await apart(partial(_open, scope, body, size))
        try:
            await _answer(response, send, heard, head=scope["method"] == "HEAD")
        finally:
            await apart(response.close)


def _open(scope: Scope, body: Any, size: int) -> Response:
    import httpx2
    from huggingface_hub import constants, get_session
    from huggingface_hub.errors import OfflineModeIsEnabled

    path = (scope.get("raw_path") or scope["path"].encode()).partition(b"?")[0].decode("latin-1")
    query = scope["query_string"].decode("latin-1")
    url = constants.ENDPOINT.rstrip("/") + path + (f"?{query}" if query else "")
    headers = [(name, value) for name, value in scope["headers"] if name not in OF_A_HOP]
    if size or scope["method"] in ("POST", "PUT", "PATCH"):
        headers.append((b"content-length", str(size).encode()))
    content = _pieces(body) if size else None
    try:
        session = get_session()
        request = session.build_request(
            scope["method"], url, headers=headers, content=content,
            timeout=httpx2.Timeout(SILENCE, connect=CONNECT),
        )  # fmt: skip
        for name in [n for n in request.headers if n.encode().lower() not in dict(headers)]:
            if name.lower() != "host":
                del request.headers[name]  # the session's own: its agent, its cookies
        return session.send(request, stream=True, follow_redirects=False)
    except OfflineModeIsEnabled:
        raise Unreachable("offline mode is on (HF_HUB_OFFLINE)") from None
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        raise Unreachable(f"{constants.ENDPOINT}: {error or type(error).__name__}") from None


def _pieces(body: Any) -> Iterator[bytes]:
    while piece := body.read(PIECE):
        yield piece


async def _answer(
    response: Response, send: Send, heard: Callable[[Answered], None] | None, *, head: bool
) -> None:
    pieces = response.iter_raw(PIECE)
    start = b"" if head else await apart(partial(next, pieces, b""))
    if heard:
        heard(Answered(response.status_code, response.headers, start[:KEPT]))
    await send(
        {
            "type": "http.response.start",
            "status": response.status_code,
            "headers": list(_headers(response)),
        }
    )
    while start:
        await send({"type": "http.response.body", "body": start, "more_body": True})
        start = await apart(partial(next, pieces, b""))
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _headers(response: Response) -> Iterator[tuple[bytes, bytes]]:
    """Yield the headers that are the answer's own; redirects on the Hub stay with us."""
    from huggingface_hub import constants

    for name, value in response.headers.raw:
        lower = name.lower()
        if lower == b"location":
            own = constants.ENDPOINT.rstrip("/").encode() + b"/"
            yield lower, b"/" + value[len(own) :] if value.startswith(own) else value
        elif lower not in OF_A_HOP or lower == b"content-length":
            yield lower, value
