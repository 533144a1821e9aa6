"""Xet: the store of chunks that the Hub keeps large files in, on the second origin.

A file is cut into chunks of 64 KiB, 1,024 of them a xorb, each behind a header of 8 bytes,
uncompressed. ``/v1/reconstructions/<hash>`` says which chunks of which xorbs a range of a
file needs, ``/xorbs/<hash>`` serves them. The true client checks none of the hashes on the
way down, so they are made up here: no file is named by a hash that another protocol uses.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .git import Content, Memory
from .route import Refused, Route, Shelf, answer_json, check_gate, find_commit, open_repo, refuse
from .wire import Reply, Request

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = {"v1": "xet-plan", "v2": "xet-plan", "xorbs": "xet"}
"""The kinds of request, by the first part of their path."""

CHUNK = 1 << 16
XORB = 1024
"""chunks"""
HEAD = 8
"""bytes before each chunk: version, stored size, scheme, size"""

_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


def xet_hash(content: Content) -> str:
    """Return the name of a file in the store of chunks."""
    return hashlib.sha256(f"xet {content.sha256}".encode()).hexdigest()


@dataclass(frozen=True)
class Xorb:
    """Chunks *first* to *last* of a file, as they are stored: a content of its own."""

    file: Content
    first: int
    last: int

    @property
    def name(self) -> str:
        return hashlib.sha256(f"xorb {self.file.sha256} {self.first}".encode()).hexdigest()

    @property
    def size(self) -> int:
        return self.place(self.last)

    @property
    def blob(self) -> str:
        return self.name[:40]

    @property
    def sha256(self) -> str:
        return self.name

    def place(self, chunk: int) -> int:
        """Return the offset of a chunk; of the one after the last, the xorb's size."""
        start = self.first * CHUNK
        stop = min(chunk * CHUNK, self.file.size)
        return stop - start + HEAD * (chunk - self.first)

    def pieces(self, start: int, stop: int) -> Iterator[bytes]:
        for chunk in range(self.first, self.last):
            at, end = self.place(chunk), self.place(chunk + 1)
            if at < stop and end > start:
                yield self._stored(chunk)[max(0, start - at) : stop - at]

    def _stored(self, chunk: int) -> bytes:
        begin = chunk * CHUNK
        data = b"".join(self.file.pieces(begin, min(begin + CHUNK, self.file.size)))
        size = len(data).to_bytes(3, "little")
        return b"\0" + size + b"\0" + size + data


@dataclass(frozen=True)
class Kept:
    """A file in the store of chunks, and whose it is."""

    repo: str
    path: str
    content: Content

    def xorbs(self) -> list[Xorb]:
        chunks = -(-self.content.size // CHUNK)
        firsts = range(0, chunks, XORB)
        return [Xorb(self.content, at, min(at + XORB, chunks)) for at in firsts]


@dataclass
class Xets:
    """The store of chunks of one Hub."""

    kept: dict[str, Kept] = field(default_factory=dict)
    """Files by their name here."""
    xorbs: dict[str, tuple[Kept, Xorb]] = field(default_factory=dict)
    tokens: dict[str, float] = field(default_factory=dict)
    """Tokens and when they end."""
    _lock: Any = field(default_factory=threading.Lock)
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    def keep(self, repo: str, path: str, content: Content) -> str:
        """Keep a file, and return its name."""
        name = xet_hash(content)
        with self._lock:
            if name not in self.kept:
                kept = self.kept[name] = Kept(repo, path, content)
                self.xorbs |= {xorb.name: (kept, xorb) for xorb in kept.xorbs()}
        return name

    def find(self, request: Request) -> Kept | None:
        """Return the file that a request to the store is for."""
        name = request.path.rpartition("/")[2]
        if request.path.startswith("/xorbs/"):
            found = self.xorbs.get(name)
            return found[0] if found else None
        return self.kept.get(name)

    def grant(self, seconds: float) -> tuple[str, int]:
        """Return a new token and the second at which it ends."""
        end = int(time.time() + seconds)
        token = f"xet_{next(self._numbers)}"
        self.tokens[token] = time.time() + seconds
        return token, end


def answer_token(hub: Shelf, xets: Xets, request: Request, route: Route) -> Reply:
    """Answer for the token that reads a repository's files."""
    repo = open_repo(hub, request, route)
    check_gate(hub, request, repo)
    find_commit(repo, route.revision)
    if not hub.xet:
        raise refuse(404, "Sorry, we can't find the page you are looking for.")
    token, end = xets.grant(hub.xet_seconds)
    url = hub.xet_url or hub.cdn_endpoint
    headers = {
        "X-Xet-Cas-Url": url,
        "X-Xet-Access-Token": token,
        "X-Xet-Token-Expiration": str(end),
    }
    return answer_json({"casUrl": url, "accessToken": token, "exp": end}, headers=headers)


def links(hub: Shelf, route: Route, commit: str, name: str) -> dict[str, str]:
    """Return the headers by which the answer for a file says that it is here too."""
    auth = f"{hub.endpoint}/api/{route.repo_kind}s/{route.repo}/xet-read-token/{commit}"
    there = f"{hub.cdn_endpoint}/v1/reconstructions/{name}"
    link = f'<{auth}>; rel="xet-auth", <{there}>; rel="xet-reconstruction-info"'
    return {"X-Xet-Hash": name, "Link": link}


def answer_xet(hub: Shelf, xets: Xets, request: Request) -> Reply:
    """Answer a request to the store of chunks."""
    if request.path.startswith("/xorbs/"):
        return _xorb(xets, request)
    if not request.path.startswith("/v1/reconstructions/"):
        raise Refused(Reply(404))
    given = request.headers.get("authorization", "").removeprefix("Bearer ")
    if xets.tokens.get(given, 0.0) < time.time():
        raise Refused(Reply(401, {}, Memory(b"expired or unknown token")))
    kept = xets.find(request)
    if kept is None:
        raise Refused(Reply(404, {}, Memory(b"no such file")))
    size = kept.content.size
    wanted = _RANGE.fullmatch(request.headers.get("range", ""))
    start, stop = (int(wanted[1]), min(size, int(wanted[2]) + 1)) if wanted else (0, size)
    if start >= size:
        raise Refused(Reply(416))
    terms, places = [], {}
    for xorb in kept.xorbs():
        first, last = max(xorb.first, start // CHUNK), min(xorb.last, -(-stop // CHUNK))
        if first >= last:
            continue
        chunks = {"start": first - xorb.first, "end": last - xorb.first}
        length = min(last * CHUNK, size) - first * CHUNK
        terms.append({"hash": xorb.name, "unpacked_length": length, "range": chunks})
        places[xorb.name] = [
            {
                "range": chunks,
                "url": f"{hub.cdn_endpoint}/xorbs/{xorb.name}",
                "url_range": {"start": xorb.place(first), "end": xorb.place(last) - 1},
            }
        ]
    answer = {"offset_into_first_range": start % CHUNK, "terms": terms, "fetch_info": places}
    return Reply(200, {"Content-Type": "application/json"}, Memory(json.dumps(answer).encode()))


def _xorb(xets: Xets, request: Request) -> Reply:
    found = xets.xorbs.get(request.path.rpartition("/")[2])
    wanted = _RANGE.fullmatch(request.headers.get("range", ""))
    if found is None or wanted is None:
        raise Refused(Reply(403))
    xorb = found[1]
    start, stop = int(wanted[1]), min(xorb.size, int(wanted[2]) + 1)
    headers = {"Content-Range": f"bytes {start}-{stop - 1}/{xorb.size}"}
    return Reply(206, headers, xorb, start, stop)
