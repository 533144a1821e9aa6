"""The Hub: two origins over repositories that it makes, with a log, quotas and faults."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import unquote

from .api import answer_api
from .faults import Fault, Faults, Hit
from .files import Links, answer_cdn, answer_resolve
from .git import Memory, object_id
from .repo import LFS_OVER, LFS_PATTERNS, Kind, Repo
from .route import Refused, Route, find_route, refuse
from .wire import Connection, Hangup, Origin, Record, Reply, Request
from .writes import answer_write
from .xet import KINDS, Xets, answer_token, answer_xet

if TYPE_CHECKING:
    from types import TracebackType


NOWHERE = Route(kind="api", verb="")


class Hub:
    """A Hub on this machine; use it as a context manager.

    Attributes may be set at any time and hold for the next request.
    """

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0, cdn_port: int = 0) -> None:
        """Make a Hub that listens once it is entered or started."""
        self.token: str | None = "hf_test"
        """The one token that is accepted."""
        self.resolve_cache = False
        """Whether small files go through a 307 to ``/api/resolve-cache``, as on the real Hub."""
        self.gzip = False
        """Whether small files are compressed for clients that say they take gzip."""
        self.bare_401 = False
        """Whether the 401 of a missing or private repository comes without X-Error-Code."""
        self.page_size = 1000
        """Entries a page of a listing."""
        self.link_seconds = 3600.0
        """How long a link to an LFS file is good."""
        self.xet = False
        """Whether LFS files are offered through Xet too."""
        self.xet_seconds = 3600.0
        """How long a token for Xet is good."""
        self.xet_url: str | None = None
        """Where set, what a token's answer says is the store of chunks."""
        self.prefix = ""
        """A path before all of the API's, as of a mirror: ``/mirror/hf``."""
        self.next_page: str | None = None
        """Where set, what the links to the next page of a listing name instead of `endpoint`."""
        self.latency = 0.0
        """Seconds before each answer."""
        self.quota: tuple[int, float] | Mapping[str, tuple[int, float]] | None = None
        """(requests, seconds of the window), for ``api`` and ``resolve`` each, or by class."""
        self.repos: dict[tuple[str, str], Repo] = {}
        self.redirects: dict[tuple[str, str], tuple[str, int]] = {}
        self.uploads: dict[str, bytes] = {}
        """SHA-256 → bytes of LFS files that were put here and may be committed."""
        self.faults = Faults()
        self._links, self._xets = Links(), Xets()
        self.credentials: set[str] = set()
        """What Authorization headers said to the second origin."""
        self._api = Origin(host, port, self._serve_api)
        self._cdn = Origin(host, cdn_port, self._serve_cdn)
        self._folder = tempfile.TemporaryDirectory(prefix="hubserver-", ignore_cleanup_errors=True)
        self._log: list[Record] = []
        self._windows: dict[str, tuple[float, int]] = {}
        self._lock, self._numbers = threading.Lock(), itertools.count(1)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        """Listen on both origins."""
        self._api.start()
        self._cdn.start()

    online = start

    def offline(self) -> None:
        """Refuse all connections and end those that are open, until `online`."""
        self._api.stop()
        self._cdn.stop()

    def close(self) -> None:
        """Stop, and remove the generated files."""
        self.offline()
        self._folder.cleanup()

    @property
    def endpoint(self) -> str:
        """The URL for ``HF_ENDPOINT``."""
        return self._api.url + self.prefix

    @property
    def port(self) -> int:
        """The port of the API's origin."""
        return self._api.port

    @property
    def cdn_endpoint(self) -> str:
        """The URL of the second origin."""
        return self._cdn.url

    def repo(
        self,
        name: str,
        kind: Kind = "model",
        *,
        gated: bool | Literal["auto", "manual"] = False,
        private: bool = False,
        allowed: bool = True,
        lfs: Iterable[str] = LFS_PATTERNS,
        lfs_over: int = LFS_OVER,
    ) -> Repo:
        """Make the repository *name*, empty; see `Repo` for the options."""
        folder = Path(self._folder.name)
        repo = Repo(
            name,
            kind=kind,
            gated=gated,
            private=private,
            allowed=allowed,
            lfs=lfs,
            lfs_over=lfs_over,
            folder=folder,
        )
        self.repos[kind, name] = repo
        return repo

    def redirect(self, old: str, new: str, kind: Kind = "model", *, status: int = 307) -> None:
        """Answer for the renamed repository *old* with a redirect to *new*."""
        self.redirects[kind, old] = (new, status)

    def add_listing_paths(self, repo: Repo, entries: Iterable[str | Mapping[str, Any]]) -> None:
        """Put raw entries into *repo*'s listings, whatever they say.

        An entry is a path, or a mapping as the tree answers it: it may set ``path``,
        ``size``, ``oid``, ``type``, ``lfs`` to anything. What it leaves out is filled in as
        for a regular file. ``content`` gives the bytes that resolve serves for its path.
        """
        for raw in entries:
            entry: dict[str, Any] = {"path": raw} if isinstance(raw, str) else dict(raw)
            data = entry.pop("content", None)
            if data is not None:
                repo.extra_bytes[entry["path"]] = data
            shown = data or b""
            filled = {"type": "file", "oid": object_id("blob", shown), "size": len(shown)}
            repo.extra.append(filled | entry)

    def fault(
        self,
        kind: str,
        *,
        path: str = "*",
        on: str | None = None,
        repo: Repo | str | None = None,
        method: str | None = None,
        times: int | None = 1,
        at: float = 0.5,
        seconds: float = 30.0,
        rate: int = 10_000,
        extra: int = 1,
        status: int = 503,
        headers: Mapping[str, str] | None = None,
        code: str | None = None,
        retry_after: int | None = None,
        body: bytes = b"",
        value: str = "../../x",
        files: Mapping[str, bytes] | None = None,
    ) -> Fault:
        """Arm a fault and return it; its `hits` count the strikes.

        Which requests: *path* is matched (fnmatch) against the file's path in its
        repository, or, of an API request, against the URL's unquoted path; *on* is ``api``,
        ``resolve``, ``cdn``, ``xet-plan`` (how a file is put together) or ``xet`` (its
        chunks); *times* None is for ever.

        What happens: ``cut``, ``reset`` and ``stall`` (for *seconds*, then it goes on)
        strike *at* a fraction of the body (float) or a byte (int), where ``corrupt`` flips a
        bit; ``trickle`` sends *rate* bytes a second; ``short`` and ``long`` are whole
        answers that lack or have *extra* bytes; with ``wrong_length`` only Content-Length
        is off by *extra*, with ``wrong_size`` only what the metadata say; ``endless`` never
        ends; ``body`` answers *body* instead; ``wrong_etag`` and ``evil_etag`` (*value*);
        ``status`` answers *status*, *headers*, X-Error-Code *code*, a 429 with the headers
        of a quota that ends in *retry_after* seconds; ``drop`` hangs up unanswered;
        ``no_range`` answers 200; ``moved_branch`` commits *files* to main, once the request
        has its answer.
        """
        head = dict(headers or {})
        if code:
            head["X-Error-Code"] = code
        if status == 429 or retry_after is not None:
            head["Retry-After"] = str(1 if retry_after is None else retry_after)
        made = Fault(
            kind=kind,
            path=path,
            on=on,
            repo=repo.id if isinstance(repo, Repo) else repo,
            method=method,
            times=times,
            at=at,
            seconds=seconds,
            rate=rate,
            extra=extra,
            status=status,
            headers=head,
            body=body,
            value=value,
            files=files or {},
        )
        self.faults.add(made)
        return made

    def clear_faults(self) -> None:
        """Disarm all faults."""
        self.faults.clear()

    @property
    def faults_hit(self) -> list[Hit]:
        """Each strike of a fault since the last `clear_faults`."""
        return self.faults.hits

    @property
    def log(self) -> list[Record]:
        """Every request since the last `reset_log`, in order of arrival."""
        with self._lock:
            return [dataclasses.replace(record) for record in self._log]

    def requests(self, **wanted: Any) -> list[Record]:
        """Return the requests whose fields equal *wanted* (see `Record`)."""
        items = wanted.items()
        return [r for r in self.log if all(getattr(r, name) == value for name, value in items)]

    def count(self, **wanted: Any) -> int:
        """Count the requests whose fields equal *wanted*."""
        return len(self.requests(**wanted))

    def reset_log(self) -> None:
        """Forget the requests so far."""
        with self._lock:
            self._log.clear()

    def _serve_api(self, connection: Connection) -> None:
        while request := connection.read():
            if not request.target.startswith(self.prefix + "/"):
                connection.send(request, Reply(404), self._record(request, NOWHERE), None)
                continue
            target = request.target.removeprefix(self.prefix)
            request = dataclasses.replace(request, target=target)
            route = find_route(request)
            path = route.path if route.verb == "resolve" else unquote(request.path)
            self._serve(connection, request, route, path)

    def _serve_cdn(self, connection: Connection) -> None:
        while request := connection.read():
            kind = KINDS.get(request.segments[0], "cdn")
            self.credentials.add(request.headers.get("authorization", ""))
            link = self._links.find(request) or self._xets.find(request)
            repo, path = (link.repo, link.path) if link else ("", unquote(request.path))
            route = Route(kind=kind, verb="cdn", repo=repo, path=path)
            self._serve(connection, request, route, path)

    def _serve(self, connection: Connection, request: Request, route: Route, path: str) -> None:
        record = self._record(request, route)
        if self.latency:
            connection.wait(self.latency)
        on = "resolve" if route.kind == "resolve-cache" else route.kind

        def take(stage: str) -> Fault | None:
            fault = self.faults.take(stage, on, route.repo or None, request.method, path)
            if fault:
                record.fault = f"{record.fault}+{fault.kind}" if record.fault else fault.kind
            return fault

        limits, wait = self._count_quota(route.kind)
        before = take("before")
        if before:
            reply = _answer_status(before, on)
        elif wait is not None:
            message = "You have reached your rate limit"
            reply = refuse(429, message, headers={"Retry-After": str(wait)}).reply
        else:
            reply = self._answer(request, route)
        if reply.status == 206 and take("range"):
            plain = {name: text for name, text in request.headers.items() if name != "range"}
            reply = self._answer(dataclasses.replace(request, headers=plain), route)
            reply.headers.pop("Accept-Ranges", None)
        if route.kind != "api" and {"ETag", "X-Linked-Etag"} & reply.headers.keys():
            _mislabel(reply, request, take("headers"))
        has_body = request.method != "HEAD" and reply.status in (200, 206) and reply.length
        spoilt = take("body") if has_body else None
        repo = self.repos.get((route.repo_kind, route.repo))
        if repo and reply.status < 400 and (moved := take("after")):
            repo.commit(moved.files or {"moved.txt": b"%d\n" % moved.hits}, "moved")
        number = {"X-Request-Id": f"Root=1-{next(self._numbers):08x}"}
        reply.headers = {**limits, **number, **reply.headers}
        record.status = reply.status
        connection.send(request, reply, record, spoilt)

    def _record(self, request: Request, route: Route) -> Record:
        """Put a request into the log, before its answer: a client may look at once."""
        record = Record(
            origin="cdn" if route.verb == "cdn" else "api",
            kind=route.kind,
            method=request.method,
            path=request.target,
            range=request.headers.get("range"),
            authorization="authorization" in request.headers,
            agent=request.headers.get("user-agent", ""),
            repo=route.repo or None,
            file=None if route.kind == "api" else route.path,
        )
        with self._lock:
            self._log.append(record)
        return record

    def _answer(self, request: Request, route: Route) -> Reply:
        try:
            if route.kind == "cdn":
                return answer_cdn(self._links, request)
            if route.verb == "resolve":
                return answer_resolve(self, self._links, self._xets, request, route)
            if route.kind in ("xet", "xet-plan"):
                return answer_xet(self, self._xets, request)
            if route.verb == "xet-read-token":
                return answer_token(self, self._xets, request, route)
            return answer_write(self, request) or answer_api(self, self._xets, request, route)
        except Refused as refused:
            return refused.reply
        except Exception:
            print(f"hubserver: {request.method} {request.target}", file=sys.stderr)
            traceback.print_exc()
            return Reply(500, {"X-Error-Message": "the test hub itself failed"})

    def _count_quota(self, kind: str) -> tuple[dict[str, str], int | None]:
        """Count a request; return its headers, and how long to wait if it is over the quota."""
        quota = self.quota.get(kind) if isinstance(self.quota, Mapping) else self.quota
        if quota is None or kind not in ("api", "resolve"):
            return {}, None
        limit, seconds = quota
        now = time.monotonic()
        with self._lock:
            start, count = self._windows.get(kind, (now, 0))
            if now - start >= seconds:
                start, count = now, 0
            self._windows[kind] = (start, count + 1)
        wait = math.ceil(start + seconds - now)
        headers = {
            "RateLimit": f'"{kind}";r={max(0, limit - count - 1)};t={wait}',
            "RateLimit-Policy": f'"fixed window";"{kind}";q={limit};w={math.ceil(seconds)}',
        }
        return headers, wait if count >= limit else None


def _answer_status(fault: Fault, on: str) -> Reply:
    if fault.kind == "drop":
        raise Hangup
    head = dict(fault.headers)
    if fault.status == 429:
        head.setdefault("RateLimit", f'"{on}";r=0;t={head.get("Retry-After", 1)}')
        head.setdefault("RateLimit-Policy", f'"fixed window";"{on}";q=500;w=300')
    return Reply(fault.status, head, Memory(fault.body or b"a fault of the test hub"))


def _mislabel(reply: Reply, request: Request, fault: Fault | None) -> None:
    """Make a reply's metadata lie."""
    if fault is None:
        return
    name = "X-Linked-Etag" if "X-Linked-Etag" in reply.headers else "ETag"
    true = reply.headers[name]
    if fault.kind == "evil_etag":
        reply.headers[name] = f'"{fault.value}"'
    elif fault.kind == "wrong_etag":
        wrong = hashlib.sha256(b"wrong" + true.encode()).hexdigest()
        reply.headers[name] = f'"{wrong[: len(true.strip(chr(34)))]}"'
    elif "X-Linked-Size" in reply.headers:
        reply.headers["X-Linked-Size"] = str(int(reply.headers["X-Linked-Size"]) + fault.extra)
    elif request.method == "HEAD":
        reply.headers["Content-Length"] = str(reply.length + fault.extra)
