"""Xet: large files as the Hub stores them, put together by hf_xet's download stream.

Nothing rests on it. The Hub answers the plain GET for these files too, so what fails here
without a byte gained is asked for there, and after ``_FAILURES`` of those in a row this
call asks here no more. The bytes are as untrusted as any others.

hf_xet (1.8, measured) gives a file in pieces of up to 64 MiB, and one that waits for its next
piece hears neither Ctrl-C nor a stop, nor even `abort` of its group: only `sigint_abort`,
which ends a whole session. So each thread that fetches has a session of its own, and a
second thread waits for the pieces. A group that failed once fails for ever: each try has its
own. A stream may end early without an error.
"""

from __future__ import annotations

import queue
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cas.errors import CasError, SourceError

from .faults import Asked, Fault, Stopped, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .line import Limits, Line
    from .snapshot import HubFile

__all__ = ["Xet"]

_FAILURES = 2
_AHEAD = 1  # pieces held beside the one being written
_POLL = 0.25  # seconds between two looks at the stop
_MARGIN = 60  # seconds; a token that ends sooner is not used any more
_BUFFER = 128 << 20  # bytes that a session keeps ahead; hf_xet's own default is 1.5 GB


@dataclass(frozen=True, slots=True)
class _Grant:
    """Where the chunks of a repository are, and the token that reads them."""

    url: str
    token: str
    end: int
    """Unix time, in seconds."""


class Xet:
    """What the files of one call share; safe to use from several threads."""

    def __init__(self, line: Line) -> None:
        from huggingface_hub import constants

        self._line = line
        self._off = bool(constants.HF_HUB_DISABLE_XET)
        self._lock = threading.Lock()
        self._grants: dict[str, _Grant] = {}
        self._failures = 0
        self._own = threading.local()

    def serves(self, file: HubFile) -> bool:
        """Say whether to ask for *file* here."""
        return file.xet is not None and not self._off

    def failed(self) -> None:
        """Count a try that gained nothing."""
        self._failures += 1
        if self._failures >= _FAILURES:
            self._give_up()

    @contextmanager
    def pieces(self, file: HubFile, asked: Asked, start: int) -> Iterator[Iterator[bytes]]:
        """Give the bytes of *file* from *start* on, in order.

        They may end early. Raises Fault for whatever goes wrong, and Stopped.
        """
        grant, session = self._grant(asked), self._session()
        stream = _Stream(session, grant, file, start, self._line)
        self._line.enlist(stream, stream.hang_up)
        try:
            yield stream.read(asked)
            self._failures = 0
        finally:
            if not stream.ended:
                self._own.session = None
            stream.close()
            self._line.delist(stream)

    def _session(self) -> Any:
        session = getattr(self._own, "session", None)
        if session is None:
            try:
                session = self._own.session = _new_session(self._line.limits)
            except Exception as error:  # noqa: BLE001 - absent, broken, or of another version
                self._give_up(said=not isinstance(error, ImportError))
                raise Fault(SourceError(f"hf_xet: {one_line(error)}"), at_once=True) from None
        return session

    def _grant(self, asked: Asked) -> _Grant:
        where = f"{asked.kind}s/{asked.repo}/xet-read-token/{asked.revision}"
        with self._lock:
            if self._off:
                raise Fault(SourceError(f"{asked}: Xet is not used"), at_once=True)
            grant = self._grants.get(where)
            if grant is None or grant.end < time.time() + _MARGIN:
                grant = self._grants[where] = self._ask(where, asked)
            return grant

    def _ask(self, where: str, asked: Asked) -> _Grant:
        line = self._line
        try:
            response = line.open(f"{line.endpoint}/api/{where}", asked)
        except Stopped:
            raise
        except (Fault, CasError) as error:  # the plain GET will say what it is
            self._give_up()
            raise Fault(SourceError(one_line(error)), at_once=True) from None
        line.close(response)
        headers = response.headers
        url, token = headers.get("x-xet-cas-url", ""), headers.get("x-xet-access-token", "")
        end = headers.get("x-xet-token-expiration", "")
        # hf_xet takes a `local://` path too, and would write there
        schemes = ("https",) if urlsplit(line.endpoint).scheme == "https" else ("https", "http")
        if _scheme(url) not in schemes or not (end.isascii() and end.isdigit()):
            self._give_up()
            raise Fault(SourceError(f"{asked}: the Hub names no store for Xet"), at_once=True)
        return _Grant(url, token, int(end[:12]))

    def _give_up(self, *, said: bool = True) -> None:
        news, self._off = not self._off, True
        if news and said:
            self._line.say("Xet can't be used here: large files come by plain HTTP")


class _Stream:
    """One file on its way: a thread reads hf_xet's stream, another takes the pieces."""

    def __init__(self, session: Any, grant: _Grant, file: HubFile, start: int, line: Line) -> None:
        self._session, self._grant, self._line = session, grant, line
        self._file, self._start = file, start
        self._came: queue.SimpleQueue[bytes | BaseException | None] = queue.SimpleQueue()
        self._room = threading.Semaphore(1 + _AHEAD)
        self._closed = threading.Event()
        self.ended = False
        """The stream came to its end, and its session is of use still."""
        threading.Thread(target=self._pump, name="cas-hub-xet", daemon=True).start()

    def read(self, asked: Asked) -> Iterator[bytes]:
        """Yield the pieces."""
        while True:
            piece = self._next(asked)
            if piece is None:
                self.ended = True
                return
            if isinstance(piece, BaseException):
                self._line.check()
                raise Fault(SourceError(f"{asked}: hf_xet: {one_line(piece)}"))
            yield piece
            self._room.release()

    def hang_up(self) -> None:
        """Wake the thread that waits for a piece."""
        self._came.put(Stopped("stopped"))

    def close(self) -> None:
        """Throw away what is still to come."""
        self._closed.set()
        self._room.release()
        if not self.ended:
            try:
                self._session.sigint_abort()
            except Exception:  # noqa: BLE001, S110 - nothing of it is used any more
                pass

    def _next(self, asked: Asked) -> bytes | BaseException | None:
        # A line that is dead fails in hf_xet itself, by its read timeout. One that trickles
        # shows nothing until a piece is whole: it is left to the plain GET, which sees bytes.
        limit = self._line.limits.slow_time
        end = time.monotonic() + limit
        while (left := end - time.monotonic()) > 0:
            self._line.check()
            try:
                return self._came.get(timeout=min(left, _POLL))
            except queue.Empty:
                continue
        raise Fault(SourceError(f"{asked}: hf_xet brought nothing for {limit:g} s"))

    def _pump(self) -> None:
        from hf_xet import XetFileInfo

        grant, file = self._grant, self._file
        try:
            group = self._session.new_download_stream_group(
                endpoint=grant.url,
                token=grant.token,
                token_expiry_unix_secs=grant.end,
                custom_headers=self._line.headers,
            )
            info = XetFileInfo(file.xet, file.size)
            for piece in group.download_stream(info, start=self._start):
                self._room.acquire()
                if self._closed.is_set():
                    return
                self._came.put(piece)
        except BaseException as error:  # noqa: BLE001 - an abort comes as KeyboardInterrupt
            self._came.put(error)
        else:
            self._came.put(None)


def _scheme(url: str) -> str:
    try:
        return urlsplit(url).scheme
    except ValueError:  # no IPv6 address
        return ""


def _new_session(limits: Limits) -> Any:
    from hf_xet import XetConfig, XetSession

    return XetSession(
        XetConfig().with_config(
            {
                "client.connect_timeout": f"{limits.connect * 1000:.0f}ms",
                "client.read_timeout": f"{limits.silence * 1000:.0f}ms",
                "client.retry_max_attempts": 1,  # what fails twice is for our own patience
                "client.retry_base_delay": f"{limits.backoff * 1000:.0f}ms",
                "reconstruction.download_buffer_size": _BUFFER,
                "reconstruction.download_buffer_perfile_size": _BUFFER,
                "reconstruction.download_buffer_limit": 2 * _BUFFER,
                "telemetry.enabled": False,
            }
        )
    )
