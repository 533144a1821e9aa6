"""The ASGI application: the Hub's protocol over a catalogue, read-only.

It needs no framework and no more of its server than HTTP. What touches the disk runs in a
thread, so that one client's long listing or slow disk is not everybody's.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from cas.errors import CasError, typed
from cas.names import kind_of
from cas.serve import api
from cas.serve.answers import FileAnswer, Pieces, Refused, json_answer, refusal
from cas.serve.catalogue import own_id
from cas.serve.guard import Guard, header
from cas.serve.route import BadPath, Route, find_route, raw_path

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from cas.serve.answers import ASGI, Receive, Scope, Send
    from cas.serve.catalogue import Catalogue, Repository, Served, Snapshot

__all__ = ["Application", "application"]

BODY = 8 << 20  # bytes of a form
LARGE_BODY = 64 << 10  # bytes; of thousands of clients each may send as much at once …
LARGE_BODIES = 8  # … and that many of them more
BODY_SECONDS = 60.0
DERIVED = ("tokenizers", "tokens")  # kinds of names, served as models and datasets


def application(
    catalogue: Catalogue,
    *,
    token: str | None = None,
    hosts: Iterable[str] | None = None,
    restricted: bool = True,
) -> Application:
    """Return the ASGI application that serves *catalogue*.

    *token*: what every request has to carry. *hosts*: names that this server may be called by,
    besides loopback, this host's name and the address that a request came to. *restricted*:
    serve gated and private assets too.
    """
    return Application(catalogue, Guard(token=token, hosts=hosts), restricted=restricted)


class Application:
    """See ``application``."""

    def __init__(self, catalogue: Catalogue, guard: Guard, *, restricted: bool) -> None:
        self._catalogue = catalogue
        self._guard = guard
        self._restricted = restricted
        self._pieces = Pieces()
        self._large = 0  # forms that are held now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        try:
            answer = await self._answer(scope, receive)
            await answer(scope, receive, send)
        except Refused as refused:
            await refused.answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> ASGI:
        self._guard.check(scope)
        try:
            route = find_route(raw_path(scope))
        except BadPath as error:
            raise refusal(400, str(error)) from None
        form = route.verb == "paths-info"
        if scope["method"] not in (("POST",) if form else ("GET", "HEAD")):
            message = "this server is read-only: it serves what a project has locked"
            allowed = "POST" if form else "GET, HEAD"
            raise refusal(405, message, headers=[("Allow", allowed)])
        if not form:
            return await asyncio.to_thread(self._look_up, scope, route, b"")
        async with self._form(receive) as body:
            return await asyncio.to_thread(self._look_up, scope, route, body)

    @asynccontextmanager
    async def _form(self, receive: Receive) -> AsyncIterator[bytes]:
        """Yield a request's body; raise Refused if it is too large, or does not come."""
        found = bytearray()
        large = False
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for piece in _pieces(receive):
                    found += piece
                    if len(found) > BODY:
                        raise refusal(413, f"a form has at most {BODY} bytes")
                    if len(found) > LARGE_BODY and not large:
                        if self._large >= LARGE_BODIES:
                            raise refusal(503, "too many large forms at once")
                        large = True
                        self._large += 1
            yield bytes(found)
        except TimeoutError:
            raise refusal(408, "the form did not come") from None
        finally:
            self._large -= large

    def _look_up(self, scope: Scope, route: Route, body: bytes) -> ASGI:
        try:
            if not route.id:
                return self._general(scope, route)
            repository, snapshot = self._find(route)
            return self._of(scope, route, repository, snapshot, body)
        except CasError as error:
            message = f"{error}; {error.hint}" if error.hint else str(error)
            raise refusal(503, message) from None

    def _general(self, scope: Scope, route: Route) -> ASGI:
        if route.verb == "whoami":
            return api.whoami()
        if route.verb != "list":
            raise refusal(404, "there is nothing here: this server has the Hub's API for reading")
        shown = (
            one
            for one in self._catalogue.repositories
            if one.kind == route.kind and not self._hidden(one.assets[:1])
        )
        return api.listed(shown, api.query_of(scope))

    def _find(self, route: Route) -> tuple[Repository, Snapshot]:
        """Return what is asked for; raise Refused."""
        repository = self._catalogue.repository(route.kind, route.id)
        if repository is None:
            absent = self._absent(route)
            raise refusal(404, absent or "Repository not found", "RepoNotFound")
        snapshot = repository.at(route.revision)
        if snapshot is None:
            message = f"{route.revision!r} is not locked: main is {repository.assets[0].commit}"
            raise refusal(404, message, "RevisionNotFound")
        if hidden := self._hidden(snapshot.assets):
            raise hidden
        return repository, snapshot

    def _absent(self, route: Route) -> str | None:
        """Return why an asset of that id is not served, if one is locked."""
        for name, reason in self._catalogue.absent.items():
            if route.id in (name, own_id(name)) and kind_of(name) in (f"{route.kind}s", *DERIVED):
                return f"{name!r} is locked, but {reason}: cas pull {typed(name)}"
        return None

    def _hidden(self, assets: Iterable[Served]) -> Refused | None:
        """Return the refusal of what is not for everybody, if that is not served."""
        access = set() if self._restricted else {one.access for one in assets} - {None}
        if "private" in access:
            return refusal(404, "Repository not found", "RepoNotFound")
        if access:
            return refusal(401, "it is gated: cas serve needs CAS_SERVE_TOKEN to give it out",
                           "GatedRepo")  # fmt: skip
        return None

    def _of(
        self, scope: Scope, route: Route, repository: Repository, snapshot: Snapshot, body: bytes
    ) -> ASGI:
        match route.verb:
            case "info":
                return api.info(repository, snapshot, api.query_of(scope))
            case "tree":
                return api.tree(scope, snapshot, route.path, _base(scope))
            case "paths-info":
                return api.paths_info(scope, snapshot, body)
            case "refs":
                return api.refs(repository, api.query_of(scope))
            case "commits":
                return api.commits(snapshot)
            case "auth-check":
                return json_answer({})
        return self._file(snapshot, route.path)

    def _file(self, snapshot: Snapshot, path: str) -> FileAnswer:
        commit = ("X-Repo-Commit", snapshot.commit)
        file = snapshot.files.get(path)
        if file is None:
            raise refusal(404, "Entry not found", "EntryNotFound", [commit])
        if file.asset.damaged:
            name = file.asset.name
            raise refusal(503, f"damage was found in {name!r}: cas verify {typed(name)} --repair")
        etag = f'"{file.sha256}"'
        return FileAnswer(
            top=file.asset.directory,
            path=path,
            instead=file.object,
            size=file.size,
            etag=etag,
            headers=[
                commit,
                ("X-Linked-Etag", etag),
                ("X-Linked-Size", str(file.size)),
            ],
            pieces=self._pieces,
        )


def _base(scope: Scope) -> str:
    """Return how the client calls us; what ends TLS for us says so."""
    scheme = "https" if header(scope, b"x-forwarded-proto") == "https" else scope["scheme"]
    return f"{scheme}://{header(scope, b'host')}"


async def _pieces(receive: Receive) -> AsyncIterator[bytes]:
    """Yield a request's body as it comes; raise Refused if the client goes away first."""
    while (message := await receive())["type"] == "http.request":
        yield message.get("body", b"")
        if not message.get("more_body"):
            return
    raise refusal(408, "the form did not come")
