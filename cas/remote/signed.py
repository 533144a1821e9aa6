"""Requests of our own to a bucket, signed by obstore: for what it hands on slowly, or not at all.

obstore gives a body on by copying it into memory that it clears before, which for a large
object takes as long as to receive and write it. And of a refusal it hides the headers.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from http.client import HTTPResponse

__all__ = ["ask", "open_body"]

VALID = timedelta(minutes=5)  # of a signature: it is used at once


def ask(
    store: Any,
    method: Literal["GET", "HEAD"],
    key: str,
    *,
    timeout: float,
    headers: Mapping[str, str] | None = None,
) -> HTTPResponse:
    """Return the answer to one request; *timeout* is in seconds without a byte.

    Raises OSError and HTTPException, as urlopen does, and obstore's errors where a store has
    no keys that can sign.
    """
    if "skip_signature" in store.config:  # else the machine's role is asked for
        raise PermissionError(f"nothing is signed here: {key}")
    from urllib.request import Request, urlopen

    import obstore

    url = obstore.sign(store, method, key, VALID)
    asked = Request(url, method=method, headers=dict(headers or {}))  # noqa: S310 - its endpoint
    answer: HTTPResponse = urlopen(asked, timeout=timeout)  # noqa: S310
    return answer


def open_body(
    store: Any, key: str, meta: Mapping[str, Any], offset: int, timeout: float
) -> HTTPResponse | None:
    """Return an answer that promises the bytes of the object that *meta* is of, from *offset*.

    None where there is none, or where it is of another object or other bytes of it: whoever
    asks has another way.
    """
    from urllib.error import HTTPError

    size = meta["size"]
    try:
        answer = ask(store, "GET", key, timeout=timeout, headers={"Range": f"bytes={offset}-"})
    except HTTPError as error:
        error.close()
        return None
    except Exception:  # noqa: BLE001 - obstore's own too, which can't sign everywhere
        return None
    said = answer.headers.get
    if (
        answer.status == 206
        and said("content-range") == f"bytes {offset}-{size - 1}/{size}"
        and said("content-length") == str(size - offset)
        and said("content-encoding", "identity") == "identity"
        and said("etag") == meta["e_tag"]
    ):
        return answer
    answer.close()
    return None
