"""What a request is about: a repository that is read or written, or none.

Only as much as decides who answers: the locked assets, or the real Hub.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote

__all__ = ["Asked", "asked_of", "made_of"]

KINDS = {"models": "model", "datasets": "dataset", "spaces": "space", "kernels": "kernel"}
READING = ("GET", "HEAD", "OPTIONS")
READ_BY_POST = ("paths-info", "auth-check")
WRITTEN_BY_GET = ("xet-write-token",)
CHANGING = ("commit", "preupload", "branch", "tag", "super-squash", "lfs-files", *WRITTEN_BY_GET)
"""Verbs after which a repository is another; a like or a discussion changes no file."""
VERBS = (
    *("revision", "tree", "paths-info", "refs", "commits", "auth-check", "compare", "treesize"),
    *("discussions", "xet-read-token", "xet-write-token", "preupload", "commit", "branch", "tag"),
    *("settings", "super-squash", "lfs-files", "like", "likers", "leaderboard", "duplicate"),
    *("safetensors-metadata", "user-access-request", "secrets", "variables", "runtime", "logs"),
    *("hardware", "sleeptime", "pause", "dev-mode", "restart", "volumes"),
)
"""What may follow an id of one part."""


class Asked(NamedTuple):
    """What one request is about."""

    kind: str
    """model, dataset, space or kernel; empty where it is about no repository."""
    id: str
    revision: str | None
    path: str
    """The file, where one is asked for."""
    writes: bool
    """Whether it changes something on the Hub, or is made to."""
    changes: bool = False
    """Whether that is what the repository holds."""


def asked_of(method: str, target: str) -> Asked:
    """Return what a request is about; *target* is its path, quoted as it came."""
    parts = target.partition("?")[0].strip("/").split("/")
    writes = method not in READING
    if parts[0] == "api":
        if len(parts) < 3 or parts[1] not in KINDS:
            return Asked("", "", None, "", writes)
        kind, rest = KINDS[parts[1]], parts[2:]
        length = 1 if len(rest) == 1 or rest[1] in VERBS else 2
        repo, rest = "/".join(map(unquote, rest[:length])), rest[length:]
        verb = rest[0] if rest else ""
        writes = (writes and verb not in READ_BY_POST) or verb in WRITTEN_BY_GET
        revision = None
        if verb in ("revision", "tree", "paths-info", "commits", "xet-read-token") and rest[1:]:
            revision = _revision(rest[1:])[0]
        return Asked(kind, repo, revision, "", writes, writes and verb in CHANGING)
    kind = KINDS.get(parts[0], "")
    rest = parts[1:] if kind else parts
    for length in (2, 1):
        if len(rest) > length + 1 and rest[length] in ("resolve", "raw", "blob"):
            revision, path = _revision(rest[length + 1 :])
            repo = "/".join(map(unquote, rest[:length]))
            return Asked(kind or "model", repo, revision, "/".join(path), writes)
        if len(rest) > length and rest[length - 1].endswith(".git"):
            repo = "/".join(map(unquote, rest[:length])).removesuffix(".git")
            return Asked(kind or "model", repo, None, "", writes, writes)
    return Asked("", "", None, "", writes)


def made_of(asked: dict[str, object], answered: dict[str, object]) -> tuple[str, str] | None:
    """Return (kind, id) of the repository that ``/api/repos/create`` or ``move`` made.

    *asked* and *answered* are the bodies of the request and of its answer.
    """
    kind = str(asked.get("type") or "model")
    named = answered.get("id") or answered.get("name") or asked.get("toRepo")
    url = answered.get("url")
    if isinstance(url, str):
        rest = url.partition("://")[2].split("/")[1:]
        named = "/".join(rest[1:] if rest[:1] and rest[0] in KINDS else rest)
    if not isinstance(named, str) or not named:
        named = asked.get("name")
        if isinstance(asked.get("organization"), str):
            named = f"{asked['organization']}/{named}"
    return (kind, named) if isinstance(named, str) and named else None


def _revision(parts: list[str]) -> tuple[str, list[str]]:
    """Return (revision, the rest); ``refs/pr/1`` is taken unquoted as well, as the Hub does."""
    plain = [unquote(part) for part in parts]
    if plain[0] == "refs" and len(plain) > 2:
        return "/".join(plain[:3]), plain[3:]
    return plain[0], plain[1:]
