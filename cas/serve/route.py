"""Routes: what a request's path asks for.

::

    /api/{models,datasets,spaces}/ID[/revision/REV]       info
    /api/…/ID/{tree,paths-info,commits}/REV[/PATH]         /api/…/ID/refs   /api/…/ID/auth-check
    [/datasets|/spaces]/ID/resolve/REV/PATH                a file

A revision is one part of the path, its slashes quoted (``%2F``); ``refs/pr/1`` and
``refs/convert/x`` are taken unquoted as well. An id has one part or two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_to_bytes

if TYPE_CHECKING:
    from cas.serve.answers import Scope

__all__ = ["BadPath", "Route", "find_route", "raw_path"]

KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}
VERBS = ("revision", "tree", "paths-info", "refs", "commits", "auth-check")


class BadPath(ValueError):
    """A path that could leave what it is in, or that nothing can be named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What one request asks for."""

    verb: str
    """``info``, ``tree``, ``paths-info``, ``refs``, ``commits``, ``auth-check``, ``resolve``,
    ``whoami``, ``list``; empty where nothing is there."""
    kind: str = ""
    """model, dataset or space"""
    id: str = ""
    revision: str | None = None
    path: str = ""
    """Inside the repository."""


NOWHERE = Route(verb="")


def raw_path(scope: Scope) -> bytes:
    """Return a request's path as it was sent; a server that does not say has unquoted it."""
    return scope.get("raw_path") or quote(scope["path"]).encode()


def find_route(path: bytes) -> Route:
    """Return what a request for the quoted path asks for; raise BadPath."""
    parts = [_unquoted(part) for part in path.removesuffix(b"/").split(b"/")[1:]]
    if parts[:1] != ["api"]:
        return _resolve(parts)
    if parts[1:] == ["whoami-v2"]:
        return Route(verb="whoami")
    if len(parts) < 2 or parts[1] not in KINDS:
        return NOWHERE
    kind, rest = KINDS[parts[1]], parts[2:]
    if not rest:
        return Route(verb="list", kind=kind)
    length = 1 if len(rest) == 1 or rest[1] in VERBS else 2
    name, rest = _joined(rest[:length]), rest[length:]
    if not rest:
        return Route(verb="info", kind=kind, id=name)
    verb, rest = rest[0], rest[1:]
    if verb not in VERBS:
        return NOWHERE
    revision, inside = _revision(rest)
    return Route(
        verb="info" if verb == "revision" else verb,
        kind=kind,
        id=name,
        revision=revision,
        path=_joined(inside),
    )


def _resolve(parts: list[str]) -> Route:
    kind = KINDS.get(parts[0], "") if parts else ""
    rest = parts[1:] if kind else parts
    for length in (2, 1):
        if len(rest) > length + 2 and rest[length] == "resolve":
            revision, path = _revision(rest[length + 1 :])
            return Route(
                verb="resolve",
                kind=kind or "model",
                id=_joined(rest[:length]),
                revision=revision,
                path=_joined(path),
            )
    return NOWHERE


def _revision(parts: list[str]) -> tuple[str | None, list[str]]:
    if parts[:1] == ["refs"] and len(parts) > 2:
        return "/".join(parts[:3]), parts[3:]
    return (parts[0], parts[1:]) if parts else (None, [])


def _joined(parts: list[str]) -> str:
    path = "/".join(parts)
    if path and any(part in ("", ".", "..") for part in path.split("/")):
        raise BadPath(f"the path {path!r:.200} has an empty part, '.' or '..'")
    return path


def _unquoted(part: bytes) -> str:
    try:
        text = unquote_to_bytes(part).decode()
    except UnicodeDecodeError:
        raise BadPath("the path is not UTF-8") from None
    if any(c < " " or c in "\x7f\\" for c in text):
        raise BadPath("the path has a control character or a backslash")
    return text
