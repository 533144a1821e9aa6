"""Routes: what a request's path asks for, and who may have it.

A revision is one part of the path, its slashes quoted (``%2F``); ``refs/pr/1`` and
``refs/convert/x`` are taken unquoted as well, as the Hub does. A repository's id has one
part or two.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from .git import Memory
from .wire import Reply, Request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .repo import Commit, Repo

KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}

_COMMIT = re.compile("[0-9a-f]{40}")

VERBS = (
    *("revision", "tree", "paths-info", "refs", "commits", "auth-check", "resolve"),
    "xet-read-token",
)


class Shelf(Protocol):
    """What the routes need to know of the Hub."""

    token: str | None
    resolve_cache: bool
    bare_401: bool
    gzip: bool
    link_seconds: float
    page_size: int
    prefix: str
    next_page: str | None
    xet: bool
    xet_seconds: float
    xet_url: str | None
    repos: dict[tuple[str, str], Repo]
    redirects: dict[tuple[str, str], tuple[str, int]]

    @property
    def endpoint(self) -> str: ...

    @property
    def cdn_endpoint(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Route:
    """What one request asks for."""

    kind: str
    """``api``, ``resolve``, ``resolve-cache``, ``cdn``, ``xet-plan`` or ``xet``"""
    verb: str
    """Of the API: ``info``, ``tree`` and so on; ``whoami``; empty where nothing is there."""
    repo_kind: str = ""
    repo: str = ""
    revision: str | None = None
    path: str = ""


class Refused(Exception):
    """The request is answered by an error, `reply`."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


def answer_json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """Return a reply of JSON."""
    head = {"Content-Type": "application/json; charset=utf-8", **(headers or {})}
    return Reply(status, head, Memory(json.dumps(value).encode()))


def refuse(
    status: int, message: str, code: str | None = None, headers: Mapping[str, str] | None = None
) -> Refused:
    """Return the error that the Hub would answer, to raise."""
    head = {"X-Error-Message": message, **(headers or {})}
    if code:
        head["X-Error-Code"] = code
    return Refused(answer_json({"error": message}, status, head))


def find_route(request: Request) -> Route:
    """Return what a request to the API's origin asks for."""
    parts = request.segments
    if parts[0] != "api":
        kind = KINDS.get(parts[0], "")
        rest = parts[1:] if kind else parts
        for length in (2, 1):
            if len(rest) > length + 2 and rest[length] == "resolve":
                revision, path = _split_revision(rest[length + 1 :])
                return Route(
                    kind="resolve",
                    verb="resolve",
                    repo_kind=kind or "model",
                    repo="/".join(rest[:length]),
                    revision=revision,
                    path="/".join(path),
                )
        return Route(kind="api", verb="")
    if parts[1:] == ["whoami-v2"]:
        return Route(kind="api", verb="whoami")
    if parts[1:2] == ["resolve-cache"] and len(parts) > 5:
        length = 1 if _COMMIT.fullmatch(parts[4]) else 2
        return Route(
            kind="resolve-cache",
            verb="resolve",
            repo_kind=KINDS.get(parts[2], ""),
            repo="/".join(parts[3 : 3 + length]),
            revision=parts[3 + length],
            path="/".join(parts[4 + length :]),
        )
    if len(parts) < 3 or parts[1] not in KINDS:
        return Route(kind="api", verb="")
    length = 1 if len(parts) == 3 or parts[3] in VERBS else 2
    name, rest = "/".join(parts[2 : 2 + length]), parts[2 + length :]
    verb = rest[0] if rest else "info"
    at, path = _split_revision(rest[1:]) if len(rest) > 1 else (None, [])
    return Route(
        kind="api",
        verb=verb if verb in (*VERBS, "info") else "",
        repo_kind=KINDS[parts[1]],
        repo=name,
        revision=at,
        path="/".join(path),
    )


def _split_revision(parts: list[str]) -> tuple[str, list[str]]:
    if parts[0] == "refs" and len(parts) > 2:
        return "/".join(parts[:3]), parts[3:]
    return parts[0], parts[1:]


def check_token(hub: Shelf, request: Request) -> bool:
    """Say whether the request carries the Hub's token; refuse a wrong one."""
    given = request.headers.get("authorization")
    if given is None:
        return False
    if hub.token is None or given != f"Bearer {hub.token}":
        raise refuse(401, "Invalid credentials in Authorization header")
    return True


def open_repo(hub: Shelf, request: Request, route: Route) -> Repo:
    """Return the repository that a request names.

    Refuses as the Hub does: a repository that isn't there and a private one look the same,
    401 without a token and 404 with one; a renamed one redirects.
    """
    known = check_token(hub, request)
    moved = hub.redirects.get((route.repo_kind, route.repo))
    if moved:
        new, status = moved
        location = request.target.replace(f"/{quote(route.repo)}", f"/{quote(new)}", 1)
        location = hub.prefix + location
        message = f"Temporary Redirect. Redirecting to {location}"
        head = {"Location": location, "Content-Type": "text/plain; charset=utf-8"}
        raise Refused(Reply(status, head, Memory(message.encode())))
    repo = hub.repos.get((route.repo_kind, route.repo))
    if repo is None or (repo.private and not known):
        if known:
            raise refuse(404, "Repository not found", "RepoNotFound")
        code = None if hub.bare_401 else "RepoNotFound"
        headers = {"WWW-Authenticate": 'Bearer realm="Authentication required", charset="UTF-8"'}
        raise refuse(401, "Invalid username or password.", code, headers)
    return repo


def check_gate(hub: Shelf, request: Request, repo: Repo) -> None:
    """Refuse the files of a gated repository to who is not let in."""
    if not repo.gated:
        return
    label = f"{repo.kind} {repo.id}"
    if not check_token(hub, request):
        message = (
            f"Access to {label} is restricted. You must have access to it and be authenticated "
            "to access it. Please log in."
        )
        raise refuse(401, message, "GatedRepo")
    if not repo.allowed:
        message = (
            f"Access to {label} is restricted and you are not in the authorized list. "
            f"Visit {hub.endpoint}/{repo.url} to ask for access."
        )
        raise refuse(403, message, "GatedRepo")


def find_commit(repo: Repo, revision: str | None) -> Commit:
    """Return the commit of a revision, main if None."""
    commit = repo.find(revision if revision is not None else "main")
    if commit is None:
        raise refuse(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    return commit
