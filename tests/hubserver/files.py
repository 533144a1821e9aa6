"""Files: resolve on the API's origin, and the second origin that serves LFS files.

A regular file is answered in place, or, with `Hub.resolve_cache`, by a 307 to
``/api/resolve-cache``. An LFS file is a 302 to a signed link on the second origin, which
knows no repository and refuses a request that carries an Authorization header, as S3 does.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from . import xet
from .git import Content, File, Memory
from .route import KINDS, Refused, Route, Shelf, check_gate, find_commit, open_repo, refuse
from .wire import Reply, Request

if TYPE_CHECKING:
    from .repo import Repo

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_PLURAL = {kind: plural for plural, kind in KINDS.items()}


@dataclass(frozen=True)
class Link:
    """What a path on the second origin stands for."""

    repo: str
    path: str
    content: Content


@dataclass
class Links:
    """The signed links of one Hub, by their path."""

    _links: dict[str, Link] = field(default_factory=dict)
    _lock: Any = field(default_factory=threading.Lock)

    def make(self, hub: Shelf, repo: Repo, path: str, file: File) -> str:
        """Return the URL, good for `Hub.link_seconds`, of an LFS file."""
        key = hashlib.sha256(f"{repo.url}\0{path}".encode()).hexdigest()
        place = f"/repos/{key[:2]}/{key[2:4]}/{key}/{file.content.sha256}"
        with self._lock:
            self._links[place] = Link(repo.id, path, file.content)
        expires = str(int(time.time() + hub.link_seconds))
        name = path.rpartition("/")[2]
        query = {
            "response-content-disposition": f"inline; filename*=UTF-8''{quote(name)};",
            "Expires": expires,
            "Signature": _sign(place, expires),
            "Key-Pair-Id": "KTESTHUB",
        }
        return f"{hub.cdn_endpoint}{place}?{urlencode(query)}"

    def find(self, request: Request) -> Link | None:
        """Return what *request* to the second origin asks for, whatever its signature."""
        return self._links.get(request.path)


def _sign(place: str, expires: str) -> str:
    return hashlib.sha256(f"test hub\0{place}\0{expires}".encode()).hexdigest()


def answer_resolve(
    hub: Shelf, links: Links, xets: xet.Xets, request: Request, route: Route
) -> Reply:
    """Answer a request for a file on the API's origin; raise Refused."""
    repo = open_repo(hub, request, route)
    check_gate(hub, request, repo)
    if request.method not in ("GET", "HEAD"):
        raise refuse(405, f"Method {request.method} not allowed")
    commit = find_commit(repo, route.revision)
    headers = {"X-Repo-Commit": commit.sha}
    if route.path in repo.extra_bytes:
        file = File(Memory(repo.extra_bytes[route.path]), lfs=False)
    elif route.path in commit.files:
        file = commit.files[route.path]
    else:
        raise refuse(404, "Entry not found", "EntryNotFound", headers)
    content = file.content
    etag = f'"{content.sha256 if file.lfs else content.blob}"'
    if file.lfs:
        headers |= {
            "X-Linked-Etag": etag,
            "X-Linked-Size": str(content.size),
            "Location": links.make(hub, repo, route.path, file),
            "Accept-Ranges": "bytes",
        }
        if hub.xet:
            headers |= xet.links(hub, route, commit.sha, xets.keep(repo.id, route.path, content))
        return Reply(302, headers, Memory(b"Found. Redirecting to the file's store"))
    if hub.resolve_cache and route.kind == "resolve":
        place = f"/api/resolve-cache/{_PLURAL[repo.kind]}/{repo.id}/{commit.sha}/{route.path}"
        headers |= {
            "X-Linked-Etag": etag,
            "X-Linked-Size": str(content.size),
            "Location": f"{hub.prefix}{quote(place)}?{urlencode({request.path: '', 'etag': etag})}",
        }
        return Reply(307, headers, Memory(b"Temporary Redirect. Redirecting to the cache"))
    headers["Content-Disposition"] = _disposition(route.path)
    headers["Content-Type"] = "text/plain; charset=utf-8"
    reply = _serve(request, content, etag, headers)
    if hub.gzip and reply.status == 200 and "gzip" in request.headers.get("accept-encoding", ""):
        body = gzip.compress(b"".join(content.pieces(0, content.size)), 6, mtime=0)
        packed = {"ETag": f"W/{etag}", "Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        return Reply(200, reply.headers | packed, Memory(body))
    return reply


def answer_cdn(links: Links, request: Request) -> Reply:
    """Answer a request to the second origin; raise Refused."""
    link = links.find(request)
    query = dict(request.query)
    if "authorization" in request.headers:
        raise _refuse_cdn(400, "InvalidArgument", "Only one auth mechanism allowed")
    expires = query.get("Expires", "")
    if link is None or query.get("Signature") != _sign(request.path, expires):
        raise _refuse_cdn(403, "AccessDenied", "Access denied")
    if int(expires) < time.time():
        raise _refuse_cdn(403, "AccessDenied", "Request has expired")
    if request.method not in ("GET", "HEAD"):
        raise _refuse_cdn(405, "MethodNotAllowed", "The method is not allowed")
    headers = {"Content-Type": "binary/octet-stream"}
    if disposition := query.get("response-content-disposition"):
        headers["Content-Disposition"] = disposition
    # S3's ETag is no sha256: a client has to use X-Linked-Etag
    return _serve(request, link.content, f'"{link.content.sha256[::2]}"', headers)


def _refuse_cdn(status: int, code: str, message: str) -> Refused:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Refused(Reply(status, {"Content-Type": "application/xml"}, Memory(body.encode())))


def _disposition(path: str) -> str:
    name = path.rpartition("/")[2]
    plain = re.sub(r"[^ !#-\[\]-~]", "_", name)
    return f"inline; filename*=UTF-8''{quote(name)}; filename=\"{plain}\";"


def _serve(request: Request, content: Content, etag: str, headers: dict[str, str]) -> Reply:
    """Return the reply for a file that is here: 200, 206, 304 or 416."""
    headers = {**headers, "ETag": etag, "Accept-Ranges": "bytes"}
    if request.headers.get("if-none-match") == etag:
        return Reply(304, headers)
    wanted = _RANGE.fullmatch(request.headers.get("range", ""))
    unchanged = request.headers.get("if-range", etag) == etag
    if request.method != "GET" or not unchanged or not wanted or wanted.group() == "bytes=-":
        return Reply(200, headers, content)
    first, last = wanted.groups()
    size = content.size
    start = int(first) if first else max(0, size - int(last))
    stop = min(size, int(last) + 1) if first and last else size
    if start >= size or (last and first and int(last) < start) or (not first and last == "0"):
        headers["Content-Range"] = f"bytes */{size}"
        return Reply(416, headers, Memory(b"Range Not Satisfiable"))
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    return Reply(206, headers, content, start, stop)
