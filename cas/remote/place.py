"""Places: the names and URLs of remotes, checked before anything is asked of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from cas.errors import UsageError

__all__ = ["Place", "check_remote_name", "parse_place"]

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_CONTROL = re.compile(r"[\x00-\x20\x7f-\x9f\\]")
_BUCKETS = ("s3", "gs", "az")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a remote is."""

    name: str
    """What the project calls it."""
    scheme: str
    host: str
    """The bucket or container, or the server with its user and port; of file:// empty."""
    path: str
    """Below it, without slashes at the ends; of file:// the absolute path."""

    @property
    def url(self) -> str:
        """The URL, which holds no secret."""
        if self.scheme == "file":
            return f"file://{self.path}"
        return f"{self.scheme}://{self.host}" + (f"/{self.path}" if self.path else "")

    def __str__(self) -> str:
        return f"remote {self.name!r} ({self.url})"


def check_remote_name(name: str) -> str:
    """Return *name* if a remote can be called so; else raise UsageError."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"remote name {name!r:.80}: expected lower-case letters, digits, '.', '_' and '-'",
            hint="cas remote add lab s3://BUCKET/PATH",
        )
    return name


def parse_place(name: str, url: str) -> Place:
    """Return the place that *url* says; raise UsageError for one that can't be a remote.

    A password, a query and a fragment are refused: keys belong into the environment or a
    profile, for pyproject.toml is everybody's. What was refused is not shown.
    """
    check_remote_name(name)
    what = f"remote {name!r}"
    if _CONTROL.search(url):
        raise UsageError(f"{what}: expected a URL, found one with a space or control character")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise UsageError(f"{what}: expected a URL such as s3://BUCKET/PATH") from None
    scheme = parts.scheme
    if parts.password is not None or parts.query or parts.fragment or "?" in url or "#" in url:
        raise UsageError(
            f"{what}: its URL holds a password, a query or a fragment",
            hint="put keys into the environment or a profile: AWS_PROFILE, AWS_ACCESS_KEY_ID, …",
        )
    if scheme in ("http", "https"):
        raise UsageError(
            f"{what}: {scheme}:// is no remote",
            hint="for an S3 server: s3://BUCKET/PATH, with AWS_ENDPOINT_URL in the environment",
        )
    if not scheme or "://" not in url:
        raise UsageError(
            f"{what}: expected a URL such as s3://BUCKET/PATH, found {url!r:.80}",
            hint="a directory is file:///DIR",
        )
    if scheme == "file":
        path = unquote(parts.path)
        if host not in ("", "localhost") or not path.startswith("/") or not path.strip("/"):
            raise UsageError(f"{what}: expected file:///DIR, an absolute path, found {url!r:.80}")
        return Place(name=name, scheme=scheme, host="", path="/" + _parts(what, path))
    if not host and scheme != "memory":
        raise UsageError(f"{what}: {url!r:.80} names no bucket or server")
    if scheme in _BUCKETS and (parts.username or port):
        raise UsageError(
            f"{what}: expected {scheme}://BUCKET/PATH, found {url!r:.80}",
            hint="the server's address goes into AWS_ENDPOINT_URL",
        )
    return Place(name=name, scheme=scheme, host=parts.netloc, path=_parts(what, parts.path))


def _parts(what: str, path: str) -> str:
    parts = [part for part in path.split("/") if part]
    if "." in parts or ".." in parts:
        raise UsageError(f"{what}: its path has a part '.' or '..'")
    return "/".join(parts)
