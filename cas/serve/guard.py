"""Who may ask: the names that a request may call this server by, and the token.

A web page that a user of this machine looks at can send requests to it under a name of its own
(DNS rebinding): so a request's Host is the address that it came to, a loopback address, this
host's name, or one that was allowed.
"""

from __future__ import annotations

import hmac
import socket
from typing import TYPE_CHECKING

from cas.serve.answers import refusal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cas.serve.answers import Scope

__all__ = ["Guard", "header"]

LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Guard:
    """Refuses a request that calls this server by another's name, or lacks the token."""

    def __init__(self, *, token: str | None, hosts: Iterable[str] | None) -> None:
        """Ask for *token* where there is one; *hosts* are names besides this host's own."""
        name = socket.gethostname().lower()
        self._token = token
        self._hosts = {*LOOPBACK, name, name.partition(".")[0], *(h.lower() for h in hosts or ())}

    def check(self, scope: Scope) -> None:
        """Raise Refused: 421 for a foreign Host, 401 without the token or with a wrong one."""
        host = _host_of(header(scope, b"host"))
        server = scope.get("server")
        own = _plain(str(server[0])) if server else ""
        if not host or (host not in self._hosts and host != own):
            message = f"this server is not called {host[:100]!r}: cas serve --allow-host NAME"
            raise refusal(421, message)
        if self._token is None:
            return
        given = header(scope, b"authorization")
        scheme, _, word = given.partition(" ")
        same = hmac.compare_digest(word.strip().encode(), self._token.encode())
        if scheme.lower() != "bearer" or not same:
            message = "Invalid credentials in Authorization header"  # the Hub's own words
            if not given:
                message = "this server wants its token, as HF_TOKEN"  # ASCII: it goes into a header
            raise refusal(401, message, headers=[("WWW-Authenticate", "Bearer")])


def header(scope: Scope, name: bytes) -> str:
    """Return the first header of that name (lower case), ``""`` if there is none."""
    for one, text in scope["headers"]:
        if one == name:
            return bytes(text).decode("latin-1")
    return ""


def _host_of(text: str) -> str:
    """Return the name or address in a Host header, without its port."""
    if text.startswith("["):
        return _plain(text[1:].partition("]")[0].lower())
    return _plain(text.partition(":")[0].lower().removesuffix("."))


def _plain(address: str) -> str:
    return address.removeprefix("::ffff:").partition("%")[0]
