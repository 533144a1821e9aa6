"""What goes wrong on the way to a remote, as errors of ours.

Messages name the remote by its URL, which holds no secret. The text of another library's
error may quote a signed URL or a header, so only what is known to be safe is taken from it:
a status, a server's code, the system's word for an error number.
"""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING

from cas.errors import AccessDenied, Offline, SourceError

if TYPE_CHECKING:
    from .place import Place

__all__ = ["Busy", "Stopped", "Transient", "fault_of", "fault_of_system", "no_credentials"]

_STATUS = re.compile(r"\bstatus: (\d{3})\b|status code: (\d{3})\b")
_CODE = re.compile(r"<Code>([A-Za-z]{3,60})</Code>|\"code\": ?\"([A-Za-z]{3,60})\"")
_KIND = re.compile(r"\bkind: (Connect|Timeout|Request|Body|Decode|Interrupted)\b")
_NUMBER = re.compile(r"\bos error (\d{1,4})\b")
_EXPIRED = ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired")
_KEYS = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "AuthFailure")
_ELSEWHERE = ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraint")
_FULL = ("QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "StorageFull")
_MACHINE = re.compile(r"://(169\.254\.(169\.254|170\.2)|metadata\.google)", re.ASCII)
_NOBODY = re.compile(r"[Cc]redential|Account must be specified", re.ASCII)


class Transient(SourceError):
    """The remote failed in a way that another try may not meet."""


class Busy(Transient):
    """The remote takes no more requests for now."""


class Stopped(SourceError):
    """The caller asked for a stop."""


def fault_of(place: Place, error: BaseException) -> SourceError:
    """Return the error for an exception of obstore."""
    text = str(error)
    status = next((one or other for one, other in _STATUS.findall(text)), "")
    code = next((one or other for one, other in _CODE.findall(text)), "")
    kinds = _KIND.findall(text)
    if _MACHINE.search(text):  # its role was asked for, and is not to be had
        return no_credentials(place)
    denied = type(error).__name__ in ("PermissionDeniedError", "UnauthenticatedError")
    if code in ("NoSuchBucket", "ContainerNotFound"):
        return SourceError(f"{place}: there is no such bucket", hint="make it, or see the URL: "
                           "cas remote list")  # fmt: skip
    if code in _ELSEWHERE or status == "301":
        return SourceError(f"{place}: the bucket is in another region ({code or status})",
                           hint="AWS_REGION=REGION names its own")  # fmt: skip
    if code in _FULL or status == "507":
        return SourceError(f"{place}: it is full ({code or status})")
    if denied or code in _EXPIRED or status in ("401", "403"):
        return _denied(place, code or status)
    if not status and _NOBODY.search(text):
        return no_credentials(place)
    if match := _NUMBER.search(text):
        number = int(match[1])
        if not status and number not in (errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE):
            return fault_of_system(place, OSError(number, os.strerror(number)))
    if "Connect" in kinds or "dns error" in text:
        return Offline(f"no connection to {place}", hint="check the network and its endpoint")
    if "Timeout" in kinds or "timed out" in text or "TimedOut" in text:
        return Transient(f"{place}: it did not answer in time")
    if status in ("408", "429") or status.startswith("5"):
        kind = Busy if status in ("429", "503") else Transient
        return kind(f"{place}: it answered {status}{f' ({code})' if code else ''}")
    if kinds:
        return Transient(f"{place}: the connection was cut")
    if status:
        return SourceError(f"{place}: it answered {status}{f' ({code})' if code else ''}")
    return SourceError(f"{place}: it failed ({type(error).__name__})")


def fault_of_system(place: Place, error: OSError) -> SourceError:
    """Return the error for one of the system: a shared directory, or what fsspec reached."""
    said = error.strerror or type(error).__name__
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return SourceError(f"{place}: it is full ({said})")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) or isinstance(
        error, PermissionError
    ):
        return AccessDenied(f"{place}: it refused access ({said})", hint="see whose it is, and "
                            "what you may write there")  # fmt: skip
    if isinstance(error, ConnectionRefusedError):
        return Offline(f"no connection to {place}: {said}", hint="check the network")
    if isinstance(error, ConnectionError | TimeoutError):
        return Transient(f"{place}: the connection was cut ({said})")
    return SourceError(f"{place}: {said}")


def no_credentials(place: Place) -> AccessDenied:
    """Return the error for a remote that wants keys where there are none."""
    hints = {
        "s3": "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; AWS_SKIP_SIGNATURE="
        "true for a bucket that everybody may read",
        "gs": "set GOOGLE_APPLICATION_CREDENTIALS, or: gcloud auth application-default login",
        "az": "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or: az login",
    }
    return AccessDenied(f"{place}: no credentials were found", hint=hints.get(place.scheme))


def _denied(place: Place, said: str) -> AccessDenied:
    if said in _EXPIRED:
        return AccessDenied(
            f"{place}: the credentials have expired",
            hint="log in again (aws sso login), or renew AWS_SESSION_TOKEN",
        )
    if said in _KEYS:
        return AccessDenied(f"{place}: it does not know these credentials ({said})",
                            hint="check AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
                            "AWS_SECRET_ACCESS_KEY")  # fmt: skip
    return AccessDenied(f"{place}: it refused access ({said})",
                        hint="see what this account may do there")  # fmt: skip
