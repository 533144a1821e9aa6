"""Bytes from the Hub: one GET a file, resumed where it was cut, never more than promised.

What the Hub keeps in Xet comes from there, and by GET where that fails. The bytes go to a
sink that the caller makes, hashes and keeps. This room enforces the size while they come;
whether they are the right ones is for the hash to say.
"""

from __future__ import annotations

import queue
import re
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol, TypeVar
from urllib.parse import quote

from cas.errors import AccessDenied, CasError, IntegrityError, Offline, SourceError

from .faults import Asked, ConnectionLost, Fault, NotOnHub
from .line import LIMITS, Limits, Line, Pace, Patience
from .snapshot import HubFile, Snapshot, web_path
from .xet import Xet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from httpx2 import Response

    from .lean import Answer

__all__ = ["Sink", "fetch", "fetch_many"]

_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)", re.ASCII)
_Value = TypeVar("_Value", int, str)
_LEAST = 1 << 16  # bytes; a try that gains this much, or 1 % of the file, made progress


class Sink(Protocol):
    """Where the bytes of one file go."""

    @property
    def offset(self) -> int:
        """Bytes held already; above 0 at the start where an earlier run was cut."""

    def write(self, data: bytes) -> None:
        """Take the next bytes."""

    def restart(self) -> None:
        """Forget all bytes held."""


def fetch(
    snapshot: Snapshot,
    file: HubFile,
    sink: Sink,
    *,
    progress: Callable[[int], None] | None = None,
    notice: Callable[[str], None] | None = None,
    stop: threading.Event | None = None,
    xet: bool = True,
    limits: Limits = LIMITS,
) -> None:
    """Bring *sink* to the whole of *file*, from where it stands.

    *progress* is called with the bytes of each piece, and with a negative number when bytes
    held are thrown away; *notice* with a sentence for the user when the Hub makes us wait.
    On an error the sink keeps a prefix that a later call goes on from. An empty file needs
    no request. What *sink* raises is passed through. A file that the Hub keeps in Xet comes
    through hf_xet, if *xet* and it can; say no where its bytes were wrong the last time.

    Raises IntegrityError when more bytes or another size come than the listing said,
    NotOnHub, AccessDenied, Offline, Stopped, SourceError.
    """
    with Line(limits, notice=notice, stop=stop) as line:
        _fetch(line, Xet(line) if xet else None, snapshot, file, sink, progress or _ignore)


def fetch_many(
    snapshot: Snapshot,
    items: Iterable[tuple[HubFile, Callable[[], Sink]]],
    *,
    done: Callable[[HubFile, Sink], None],
    jobs: int = 8,
    progress: Callable[[int], None] | None = None,
    notice: Callable[[str], None] | None = None,
    xet: bool = True,
    limits: Limits = LIMITS,
) -> list[tuple[HubFile, CasError]]:
    """Fetch many files at a time, the largest first; return those that failed and why.

    Each file's sink is made on the thread that fetches it, and given to *done* on the
    calling thread when it is whole. At most ``2 * jobs`` sinks are open or on their way to
    *done*. Calls of *progress* and *notice* come from the threads, one at a time. Every
    item is either given to *done* or returned: after an error that all would meet (access,
    no connection, no such repository, a Hub that only fails), the rest is returned with it,
    once what is under way has ended.

    An exception of a sink, or of *done*, ends everything and is raised; so is Ctrl-C. No
    sink is touched any more once this has returned or raised. Raises Offline where nothing
    may be asked, AccessDenied for a token that can't be sent.
    """
    todo = deque(sorted(items, key=lambda item: -item[0].size))
    count = len(todo)  # now: the threads take from it
    jobs = max(1, min(jobs, count))
    lock = threading.Lock()
    line = Line(limits, notice=_one_at_a_time(notice, lock))
    lender = Xet(line) if xet else None
    results: queue.SimpleQueue[tuple[HubFile, Sink | None, BaseException | None]]
    results = queue.SimpleQueue()
    slots = threading.Semaphore(2 * jobs)
    counted = _one_at_a_time(progress, lock)

    def work() -> None:
        while slots.acquire() and not line.stop.is_set():
            sink = None
            try:
                file, make = todo.popleft()
            except IndexError:
                return
            try:
                sink = make()
                _fetch(line, lender, snapshot, file, sink, counted)
            except BaseException as error:  # noqa: BLE001 - it is raised on the calling thread
                results.put((file, sink, error))
            else:
                results.put((file, sink, None))

    threads = [threading.Thread(target=work, name=f"cas-hub-{n}", daemon=True) for n in range(jobs)]
    try:
        for thread in threads:
            thread.start()
        failed = _collect(count, todo, results, slots, done, in_a_row=2 * jobs)
    finally:
        line.stop.set()
        slots.release(2 * jobs)
        line.hang_up()
    for thread in threads:
        thread.join()
    return failed


def _collect(
    left: int,
    todo: deque[tuple[HubFile, Callable[[], Sink]]],
    results: queue.SimpleQueue[tuple[HubFile, Sink | None, BaseException | None]],
    slots: threading.Semaphore,
    done: Callable[[HubFile, Sink], None],
    *,
    in_a_row: int,
) -> list[tuple[HubFile, CasError]]:
    failed: list[tuple[HubFile, CasError]] = []
    row = 0
    while left:
        file, sink, error = results.get()
        left -= 1
        if error is None and sink is not None:
            done(file, sink)
            row = 0
        elif isinstance(error, SourceError | IntegrityError):
            failed.append((file, error))
            row += not isinstance(error, NotOnHub | IntegrityError)  # those are about one file
            if _ends_all(error) or row >= in_a_row:
                while todo:
                    try:
                        failed.append((todo.popleft()[0], error))
                    except IndexError:  # a thread was faster
                        break
                    left -= 1
        elif error is not None:
            raise error
        slots.release()
    return failed


def _ends_all(error: CasError) -> bool:
    if isinstance(error, NotOnHub):
        return error.what != "file"
    return isinstance(error, AccessDenied | Offline | ConnectionLost)


def _fetch(
    line: Line,
    xet: Xet | None,
    snapshot: Snapshot,
    file: HubFile,
    sink: Sink,
    progress: Callable[[int], None],
) -> None:
    where = f"{web_path(snapshot.kind, snapshot.repo)}/resolve/{snapshot.commit}"
    url = f"{line.endpoint}/{where}/{quote(file.path)}"
    asked = Asked(snapshot.kind, snapshot.repo, line.endpoint, snapshot.commit, file.path)
    if sink.offset > file.size:
        _restart(sink, progress)
    patience = Patience(line, asked)
    best = sink.offset
    least = max(1, min(_LEAST, file.size // 100))
    by_xet = xet is not None and xet.serves(file)
    while (offset := sink.offset) < file.size:
        line.pause()
        begin = time.monotonic()
        try:
            if by_xet and xet is not None:
                _try_xet(xet, line, asked, file, sink, progress)
            else:
                _try(line, url, asked, file, sink, progress)
        except Fault as fault:
            if sink.offset >= file.size:
                return  # the last byte came before the fault
            if sink.offset - best >= least:
                patience.progressed()
            elif by_xet and xet is not None:
                xet.failed()
                by_xet = False
                continue  # at once: it is another server
            best = max(best, sink.offset)
            patience.after(fault, time.monotonic() - begin)
        else:
            if sink.offset <= offset and file.size:
                message = f"{asked}: the sink took no bytes"
                raise RuntimeError(message)


def _try(
    line: Line,
    url: str,
    asked: Asked,
    file: HubFile,
    sink: Sink,
    progress: Callable[[int], None],
) -> None:
    import httpx2

    held = sink.offset
    headers = {"accept-encoding": "identity"}
    if held:
        headers["range"] = f"bytes={held}-"
    response = line.open(url, asked, headers=headers, good=(200, 206, 416))
    try:
        held = _begin(response, asked, file, sink, progress)
        _take(line, response.iter_raw(), held, asked, file, sink, progress)
    except httpx2.HTTPError as error:
        raise line.fault(asked, error) from None
    finally:
        line.close(response)


def _try_xet(
    xet: Xet,
    line: Line,
    asked: Asked,
    file: HubFile,
    sink: Sink,
    progress: Callable[[int], None],
) -> None:
    held = sink.offset
    with xet.pieces(file, asked, held) as pieces:
        try:
            _take(line, pieces, held, asked, file, sink, progress)
        except IntegrityError as error:
            if sink.offset:  # the sink's own
                raise
            raise Fault(error) from None


def _take(
    line: Line,
    pieces: Iterable[bytes],
    held: int,
    asked: Asked,
    file: HubFile,
    sink: Sink,
    progress: Callable[[int], None],
) -> None:
    pace = Pace(line.limits, asked)
    for data in pieces:
        line.check()
        held += len(data)
        if held > file.size:
            _restart(sink, progress)  # then the first ones are not trusted either
            raise IntegrityError(str(asked), expected=f"{file.size} bytes", actual="more than that")
        sink.write(data)
        progress(len(data))
        pace.took(len(data))
    if held < file.size:
        raise Fault(SourceError(f"{asked}: the body ended at byte {held} of {file.size}"))


def _begin(
    response: Response | Answer,
    asked: Asked,
    file: HubFile,
    sink: Sink,
    progress: Callable[[int], None],
) -> int:
    """Check what the answer says of its body; return the offset of the body's first byte."""
    held, status, headers = sink.offset, response.status_code, response.headers
    if headers.get("content-encoding", "identity") != "identity":
        raise Fault(SourceError(f"{asked}: came encoded, which was not asked for"))
    if status == 416:
        _restart(sink, progress)
        raise Fault(SourceError(f"{asked}: the Hub has no byte {held} of it"), at_once=True)
    length = headers.get("content-length", "")
    if status == 206:
        match = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
        if not match or int(match[1]) != held or match[3] not in ("*", str(file.size)):
            _restart(sink, progress)
            raise Fault(
                SourceError(
                    f"{asked}: asked for the bytes from {held} of {file.size},"
                    f" found {headers.get('content-range')!r:.80}"
                ),
                at_once=True,
            )
        if length.isdigit() and length != str(int(match[2]) - held + 1):
            raise Fault(SourceError(f"{asked}: {length:.20} bytes came as {match[0]!r}"))
        return held
    if length.isdigit() and length != str(file.size):
        error = IntegrityError(
            str(asked), expected=f"{file.size} bytes", actual=f"{length:.20} bytes"
        )
        raise Fault(error)  # an error page of something on the way, perhaps
    if held:
        _restart(sink, progress)  # the whole file comes, whatever was asked for
    return 0


def _restart(sink: Sink, progress: Callable[[int], None]) -> None:
    held = sink.offset
    sink.restart()
    if held:
        progress(-held)


def _ignore(_: object) -> None:
    pass


def _one_at_a_time(
    call: Callable[[_Value], None] | None, lock: threading.Lock
) -> Callable[[_Value], None]:
    if call is None:
        return _ignore

    def locked(value: _Value) -> None:
        with lock:
            call(value)

    return locked
