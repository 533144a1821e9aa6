"""What goes wrong on the way to the Hub, as errors of ours.

An error that ends the matter is raised as it is. ``Fault`` carries one that another try may
make good: it never leaves this package. Messages name the file, the repository and at most
a host: a URL may be signed, and a header may hold a token.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote, urlsplit

from cas.errors import AccessDenied, CasError, Offline, SourceError
from cas.limits import retry_after

from .snapshot import Kind, web_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from httpx2 import Response

    from .lean import Answer

__all__ = [
    "OFFLINE",
    "Asked",
    "ConnectionLost",
    "Fault",
    "Gated",
    "NotOnHub",
    "Stopped",
    "fault_of_answer",
    "fault_of_exception",
    "no_client",
    "no_connection",
    "one_line",
]

OFFLINE = "offline mode is on"

_TRANSIENT = frozenset((408, 429, 500, 502, 503, 504))
_LONGEST = 10**9  # seconds
_SECRET = re.compile(r"hf_\w+|\?\S+|//[^/\s]+@")


class NotOnHub(SourceError):
    """The Hub has no such repository, revision or file, or hides it from this account."""

    def __init__(
        self,
        what: Literal["repository", "revision", "file"],
        message: str,
        *,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.what = what


class Gated(AccessDenied):
    """The repository is there, and its terms are not accepted by this account."""


class ConnectionLost(SourceError):
    """No connection can be made any more to a Hub that has answered before."""


class Stopped(SourceError):
    """The caller asked for a stop."""


class Fault(Exception):
    """One try failed, and the next may not. ``error`` is what to raise after the last."""

    def __init__(
        self,
        error: CasError,
        *,
        wait: float | None = None,
        window: bool = False,
        reached: bool = True,
        at_once: bool = False,
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.wait = wait
        """Seconds that the server asked for."""
        self.window = window
        """It is a quota: waiting for it is no failed try."""
        self.reached = reached
        """A connection was made."""
        self.at_once = at_once
        """Waiting would change nothing: the next try asks for something else."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request is for, as messages name it."""

    kind: Kind
    repo: str
    endpoint: str
    revision: str | None = None
    path: str | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return f"{self.path!r} of {self.repo!r}"
        return f"{self.kind} {self.repo!r}"

    @property
    def url(self) -> str:
        """The URL that is asked first, of a file or of the repository."""
        if self.path is None:
            return f"{_plain(self.endpoint)}/api/{self.kind}s/{self.repo}"
        return f"{self.page}/resolve/{self.revision}/{quote(self.path)}"

    @property
    def page(self) -> str:
        """The URL of the repository's page."""
        return f"{_plain(self.endpoint)}/{web_path(self.kind, self.repo)}"


def fault_of_answer(asked: Asked, response: Response | Answer, *, home: bool) -> CasError | Fault:
    """Return the error for an answer that is none of the good ones.

    ``home`` says that the Hub itself answered. Elsewhere a refusal is no word about access:
    a signed URL ages, and the next try gets a fresh one.
    """
    status, headers = response.status_code, response.headers
    host = "the Hub" if home else repr(urlsplit(str(response.url)).hostname)
    error = SourceError(f"{asked}: {host} answered {status}{_said(headers)}")
    if status == 429:
        return _quota(asked, headers)
    if status in _TRANSIENT or not home:
        return Fault(error, wait=retry_after(headers.get("retry-after")))
    code = headers.get("x-error-code")
    if code == "GatedRepo":
        return Gated(
            f"{asked}: the repository is gated, and this account has no access",
            hint=f"accept its terms on {asked.page}, then `hf auth login`",
        )
    if code == "RepoNotFound" or (status == 404 and code is None and asked.path is None):
        return NotOnHub(
            "repository",
            f"no {asked.kind} {asked.repo!r} on the Hub, or none that this account may see",
            hint=f"check the name, log in with `hf auth login`, or try {_others(asked)}",
        )
    if code == "RevisionNotFound":
        return NotOnHub(
            "revision",
            f"{asked.kind} {asked.repo!r} has no revision {asked.revision!r}",
            hint=f"see its branches and commits on {asked.page}",
        )
    if status == 404:
        return NotOnHub("file", f"{asked}: the Hub has no such file at {asked.revision!r}")
    if status in (401, 403):
        return AccessDenied(
            f"{asked}: the Hub refused access ({status}){_said(headers)}",
            hint="log in with `hf auth login`, or see what the token in HF_TOKEN may read",
        )
    return error


def fault_of_exception(asked: Asked, error: Exception, *, silence: float) -> CasError | Fault:
    """Return the error for an exception of the client's session."""
    import httpx2

    if tls := _tls_error(error):
        found = SourceError(
            f"{_plain(asked.endpoint)}: TLS failed: {tls}",
            hint="set SSL_CERT_FILE to your organisation's certificates, or check HF_ENDPOINT",
        )
        return found if isinstance(tls, ssl.SSLCertVerificationError) else Fault(found)
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout):
        return Fault(no_connection(asked.endpoint, one_line(error) or "timed out"), reached=False)
    if isinstance(error, httpx2.ProxyError):
        return Fault(
            SourceError(
                f"{asked}: the proxy answered {one_line(error)!r}",
                hint="check HTTPS_PROXY, HTTP_PROXY and NO_PROXY",
            )
        )
    if isinstance(error, httpx2.TimeoutException):
        return Fault(SourceError(f"{asked}: not a byte for {silence:g} s"))
    if isinstance(error, httpx2.NetworkError | httpx2.RemoteProtocolError | httpx2.DecodingError):
        return Fault(SourceError(f"{asked}: the connection was cut"))
    # what is left are requests that can't be sent; their messages may quote headers
    return SourceError(
        f"{asked}: the request can't be made ({type(error).__name__})",
        hint="check HF_ENDPOINT and the proxy variables",
    )


def no_client(endpoint: str, error: Exception) -> SourceError:
    """Return the error for an environment that the client's session can't be made in."""
    return SourceError(
        f"{_plain(endpoint)}: no request can be made: {one_line(error)}",
        hint="check the proxy variables, SSL_CERT_FILE and SSL_CERT_DIR",
    )


def no_connection(endpoint: str, reason: str) -> Offline:
    """Return the error for a Hub that can't be reached."""
    hint = "check the network, HF_ENDPOINT and the proxy variables"
    if reason == OFFLINE:
        hint = "unset HF_HUB_OFFLINE TRANSFORMERS_OFFLINE"
    return Offline(f"no connection to {_plain(endpoint)}: {reason}", hint=hint)


def _quota(asked: Asked, headers: Mapping[str, str]) -> Fault:
    # it is there, and left out of the package's list of names
    from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]

    # the header is on every answer; it is the reason where nothing remains, or none is given
    wait = retry_after(headers.get("retry-after"))
    try:
        quota = parse_ratelimit_headers(headers)
    except ValueError:  # more digits than a number may have
        quota = None
    if quota and (quota.remaining == 0 or wait is None):
        wait = min(quota.reset_in_seconds, _LONGEST) + 1.0  # it rounds
    span = "" if wait is None else f" for {wait:.0f} s"
    error = SourceError(
        f"{asked}: the Hub takes no more requests{span} (429)",
        hint="try again later; `hf auth login` gives a larger quota",
    )
    return Fault(error, wait=wait, window=wait is not None)


def _others(asked: Asked) -> str:
    kinds: tuple[Kind, ...] = ("dataset", "model")
    return " or ".join(f"`cas add {kind}:{asked.repo}`" for kind in kinds if kind != asked.kind)


def _said(headers: Mapping[str, str]) -> str:
    text = headers.get("x-error-message")
    return f": {_SECRET.sub('…', text)[:200]!r}" if text else ""


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    for _ in range(8):
        if error is None or isinstance(error, ssl.SSLError):
            return error
        error = error.__cause__ or error.__context__
    return None


def one_line(error: BaseException) -> str:
    """Return what an error says, on one line and without secrets."""
    return _SECRET.sub("…", " ".join(str(error).split()))[:200]


def _plain(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")
