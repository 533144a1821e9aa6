"""The line to the Hub: huggingface_hub's own session, with limits, redirects and retries.

Endpoint, token, proxies, TLS settings and the offline switch are the client's. What it has
not are timeouts on every call, a stop, and a promise about tokens: here the authorization
header goes to the endpoint's own origin, and once a redirect has left it, nowhere.
"""

from __future__ import annotations

import random
import socket
import threading
import time
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Self
from urllib.parse import urljoin, urlsplit

from cas import limits
from cas.errors import AccessDenied, Offline, SourceError

from .faults import (
    OFFLINE,
    Asked,
    ConnectionLost,
    Fault,
    Stopped,
    fault_of_answer,
    fault_of_exception,
    no_client,
    no_connection,
)
from .lean import Answer, Lean, Unusable, origin_of, shut

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping

    from httpx2 import Response

__all__ = ["LIMITS", "Limits", "Line", "Pace", "Patience"]

_SMALL = 1 << 16  # bytes; a body up to this is read to its end, which keeps the connection
_REDIRECTS = frozenset((301, 302, 303, 307, 308))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits(limits.Limits):
    """How long to wait for what, and how much to take. Times are in seconds."""

    backoff: float = 0.5
    redirects: int = 5
    answer: int = 16 << 20
    """Bytes of one answer of the API; a page of 1,000 files has about 300 KB, and what is read
    of it takes ten times as much memory."""
    offline: bool = False
    """Ask nobody."""


LIMITS = Limits()


class Line:
    """What the requests of one call share; safe to use from several threads.

    Leave it, as a context manager, and the connections that it kept are closed.

    Raises Offline if huggingface_hub or the limits say so, before anything is sent.
    """

    def __init__(
        self,
        limits: Limits = LIMITS,
        *,
        notice: Callable[[str], None] | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        import httpx2
        from huggingface_hub import __version__, constants, get_token

        self.limits = limits
        self.stop = stop or threading.Event()
        self.endpoint = constants.ENDPOINT
        self.answered = False
        """Somebody has answered: what fails from now on is no lack of a network."""
        if limits.offline or constants.is_offline_mode():
            raise no_connection(self.endpoint, OFFLINE)
        # not build_hf_headers: it asks the Hub for a registry, once a day, to fill user-agent in
        token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
        if token and not (token.isascii() and token.isprintable()):
            raise AccessDenied(
                "the Hub's token has characters that no token has",
                hint="log in again with `hf auth login`, or check HF_TOKEN",
            )
        self._authorization = f"Bearer {token}" if token else None
        self.headers = {"user-agent": f"cas/{_version()}; hf_hub/{__version__}"}
        self._timeout = httpx2.Timeout(limits.silence, connect=limits.connect, pool=limits.connect)
        self._home = _origin(self.endpoint)
        self._notice = notice
        self._lean = Lean(limits)
        self._lock = threading.Condition()
        self._live: dict[object, Callable[[], None]] = {}
        self._held_until = 0.0

    def open(
        self,
        url: str,
        asked: Asked,
        *,
        headers: Mapping[str, str] | None = None,
        good: Container[int] = (200,),
    ) -> Response | Answer:
        """Send one GET and follow its redirects; return the answer, its body unread.

        Give the answer back by `close`. Raises Fault, or the error that ends the matter.
        """
        home = True
        for _ in range(self.limits.redirects + 1):
            home = home and _origin(url) == self._home
            response = self._send(url, asked, headers, home=home)
            location = response.headers.get("location")
            if response.status_code in _REDIRECTS and location is not None:
                self._drain(response, asked)
                url = _target(url, location, asked)
                continue
            if response.status_code in good:
                try:
                    self.enlist(response, partial(_shut, response))
                except Stopped:
                    response.close()
                    raise
                return response
            self._drain(response, asked)
            raise fault_of_answer(asked, response, home=home)
        raise SourceError(f"{asked}: more than {self.limits.redirects} redirects")

    def close(self, response: Response | Answer) -> None:
        """Take an answer back; what was not read of its body is thrown away."""
        response.close()
        self.delist(response)

    def enlist(self, reader: object, wake: Callable[[], None]) -> None:
        """Count *reader* among those that `hang_up` wakes and waits for, until `delist`."""
        with self._lock:
            self.check()
            self._live[reader] = wake

    def delist(self, reader: object) -> None:
        """Count *reader* out."""
        with self._lock:
            self._live.pop(reader, None)
            self._lock.notify_all()

    def fault(self, asked: Asked, error: Exception) -> Exception:
        """Return the error for an exception that came while a body was read."""
        return fault_of_exception(asked, error, silence=self.limits.silence)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lean.close()

    def check(self) -> None:
        """Raise Stopped if the caller asked for a stop."""
        if self.stop.is_set():
            raise Stopped("stopped")

    def sleep(self, seconds: float) -> None:
        """Wait; raise Stopped as soon as the caller asks for a stop."""
        if self.stop.wait(seconds):
            self.check()

    def pause(self) -> None:
        """Wait until the Hub's quota is open again."""
        while (left := self._held_until - time.monotonic()) > 0:
            self.sleep(left + _jitter(0, min(1.0, left / 10)))  # not all at the same instant
        self.check()

    def hold(self, seconds: float) -> None:
        """Make all threads of this line wait, and say so once a window."""
        until = time.monotonic() + seconds
        with self._lock:
            news = until > self._held_until + 1
            self._held_until = max(until, self._held_until)
        if news:
            self.say(f"the Hub takes no more requests for {seconds:.0f} s: waiting")

    def say(self, sentence: str) -> None:
        """Tell the user."""
        if self._notice:
            self._notice(sentence)

    def hang_up(self) -> None:
        """Stop, and return when no body is being read any more.

        A shut socket wakes its reader at once. A thread that still waits for an answer is
        not waited for: when that comes, the thread gets Stopped.
        """
        self.stop.set()
        with self._lock:
            for wake in self._live.values():
                wake()
            self._lock.wait_for(lambda: not self._live)
        self._lean.close()

    def _send(
        self, url: str, asked: Asked, headers: Mapping[str, str] | None, *, home: bool
    ) -> Response | Answer:
        import httpx2
        from huggingface_hub.errors import OfflineModeIsEnabled

        self.check()
        every = {**self.headers, **(headers or {})}
        if home and self._authorization:
            every["authorization"] = self._authorization
        try:
            lean = self._lean.serves(url)
            response = self._leanly(url, every) if lean else self._by_session(url, every)
        except OfflineModeIsEnabled:
            raise no_connection(self.endpoint, OFFLINE) from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise self.fault(asked, error) from None
        self.answered = True
        return response

    def _by_session(self, url: str, headers: Mapping[str, str]) -> Response:
        from huggingface_hub import get_session

        try:
            session = get_session()  # each time: huggingface_hub may have closed the last one
        except Exception as error:  # noqa: BLE001 - a proxy or certificates that it can't use
            raise no_client(self.endpoint, error) from None
        request = session.build_request("GET", url, headers=headers, timeout=self._timeout)
        return session.send(request, stream=True, follow_redirects=False)

    def _leanly(self, url: str, headers: Mapping[str, str]) -> Answer:
        from huggingface_hub import constants

        if constants.is_offline_mode():
            raise no_connection(self.endpoint, OFFLINE)
        try:
            return self._lean.get(url, headers)
        except Unusable as error:
            raise no_client(self.endpoint, error) from None

    def _drain(self, response: Response | Answer, asked: Asked) -> None:
        import httpx2

        length = response.headers.get("content-length", "")
        try:
            if length.isascii() and length.isdigit() and int(length[:20]) <= _SMALL:
                response.read()
        except httpx2.HTTPError as error:
            raise self.fault(asked, error) from None
        finally:
            response.close()


class Patience:
    """Counts the tries of one thing that made no progress, and waits between them."""

    def __init__(self, line: Line, asked: Asked) -> None:
        self._line, self._asked = line, asked
        self.progressed()

    def progressed(self) -> None:
        """Count from the beginning again."""
        self._tries, self._spent = 0, 0.0
        self._windows, self._quota = 0, 0.0

    def after(self, fault: Fault, took: float) -> None:
        """Wait for the next try, after one of *took* seconds failed; raise if it was the last."""
        limits, line = self._line.limits, self._line
        line.check()
        if fault.window and fault.wait is not None:
            self._quota += fault.wait
            self._windows += 1
            if self._quota > limits.quota or self._windows > limits.tries:
                raise self._last(fault) from None
            line.hold(max(fault.wait, limits.backoff))
            return
        self._tries += 1
        self._spent += took if self._tries > 1 else 0.0  # the first is no retry
        begun = fault.reached or line.answered
        delay = min(limits.backoff_most, limits.backoff * 2 ** (self._tries - 1))
        delay *= _jitter(0.5, 1.0)
        delay = 0.0 if fault.at_once else max(delay, fault.wait or 0.0)
        self._spent += delay
        if self._tries >= (limits.tries if begun else limits.first_tries):
            raise self._last(fault) from None
        if self._spent > limits.patience:
            raise self._last(fault) from None
        line.sleep(delay)

    def _last(self, fault: Fault) -> Exception:
        error = fault.error
        if not fault.reached and self._line.answered:
            error = ConnectionLost(f"{error}; it answered before", hint=error.hint)
        if not isinstance(error, Offline):  # that one names the endpoint
            error.args = (f"{error}, at {self._asked.url}", *error.args[1:])
        return error


class Pace(limits.Pace):
    """Tells a body that trickles from one that flows."""

    def took(self, count: int) -> None:
        """Count bytes that came; raise Fault if they come too slowly."""
        try:
            super().took(count)
        except SourceError as error:
            raise Fault(error) from None


def _shut(response: Response | Answer) -> None:
    if isinstance(response, Answer):
        response.shut()
        return
    stream = response.extensions.get("network_stream")
    sock = stream.get_extra_info("socket") if stream is not None else None
    if isinstance(sock, socket.socket):
        shut(sock)


def _origin(url: str) -> tuple[str, str, int | None]:
    return _parsed(origin_of(url))


@lru_cache
def _parsed(origin: str) -> tuple[str, str, int | None]:
    try:
        parts = urlsplit(origin)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:  # no port, or no IPv6 address: the session will say what is wrong
        return ("", origin, None)
    return (parts.scheme, parts.hostname or "", port)


def _target(url: str, location: str, asked: Asked) -> str:
    try:
        target = urljoin(url, location)
        scheme = urlsplit(target).scheme
    except ValueError:
        scheme = ""
    if scheme not in ("http", "https"):
        raise SourceError(f"{asked}: redirected to what is no http URL")
    return target


def _jitter(least: float, most: float) -> float:
    return random.uniform(least, most)  # noqa: S311 - no secret


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("cas-assets")
    except metadata.PackageNotFoundError:  # run from a checkout
        return "0"
