"""The settings of S3, as its usual programs have them: the environment, then a profile.

Keys come from ``AWS_ACCESS_KEY_ID`` and its companions, else from the profile (``AWS_PROFILE``,
by default ``default``) in ``~/.aws/credentials`` and ``~/.aws/config``; so do the region and
the endpoint. A profile that is logged in by other means (SSO, a role, a process) needs boto3.
Where nothing is said and the endpoint is Amazon's own, the machine's role is asked.
"""

from __future__ import annotations

import os
from configparser import Error as ConfigError
from configparser import RawConfigParser
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cas.errors import AccessDenied, UsageError

from .faults import no_credentials

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .place import Place

__all__ = ["settings_of"]

_BY_OTHER_MEANS = ("sso_session", "sso_start_url", "role_arn", "credential_process",
                   "web_identity_token_file")  # fmt: skip
_ROLES = ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
          "AWS_CONTAINER_CREDENTIALS_FULL_URI")  # fmt: skip
_YES = ("1", "true", "yes", "on")


def settings_of(place: Place) -> tuple[dict[str, Any], bool, Any]:
    """Return (obstore's configuration, whether plain http is allowed, a credential provider).

    Raises AccessDenied where keys are needed and there are none, UsageError for an endpoint
    that would send them in the clear.
    """
    profile = _profile(place)
    config: dict[str, Any] = {
        "region": os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        or profile.get("region") or "us-east-1",
    }  # fmt: skip
    endpoint = (
        os.environ.get("AWS_ENDPOINT_URL_S3")
        or os.environ.get("AWS_ENDPOINT_URL")
        or os.environ.get("AWS_ENDPOINT")
        or profile.get("endpoint_url")
    )
    plain = False
    if endpoint:
        plain = _check_endpoint(place, endpoint)
        config["endpoint"] = endpoint.rstrip("/")
    if _yes("AWS_SKIP_SIGNATURE"):
        return config | {"skip_signature": True}, plain, None
    keys: Mapping[str, str] = _keys_of_environment() or profile
    if keys.get("aws_access_key_id") and keys.get("aws_secret_access_key"):
        config["access_key_id"] = keys["aws_access_key_id"]
        config["secret_access_key"] = keys["aws_secret_access_key"]
        if token := keys.get("aws_session_token"):
            config["session_token"] = token
        return config, plain, None
    if any(key in profile for key in _BY_OTHER_MEANS):
        return config, plain, _boto3(place)
    if any(os.environ.get(name) for name in _ROLES):
        return config, plain, None
    if endpoint or _yes("AWS_EC2_METADATA_DISABLED"):
        raise no_credentials(place)
    return config, plain, None


def _keys_of_environment() -> dict[str, str]:
    if os.environ.get("AWS_PROFILE"):
        return {}
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    found = {name.lower(): os.environ.get(name, "") for name in names}
    return found if found["aws_access_key_id"] else {}


def _check_endpoint(place: Place, endpoint: str) -> bool:
    """Say whether an endpoint is plain http; raise UsageError for one that may not be."""
    try:
        parts = urlsplit(endpoint)
        host = parts.hostname or ""
    except ValueError:
        host, parts = "", urlsplit("")
    if parts.scheme not in ("http", "https") or not host:
        raise UsageError(f"{place}: the endpoint is no http or https URL",
                         hint="AWS_ENDPOINT_URL=https://HOST")  # fmt: skip
    if parts.username or parts.password:
        raise UsageError(f"{place}: the endpoint's URL holds a user or a password",
                         hint="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY hold them")  # fmt: skip
    if parts.scheme == "https":
        return False
    loopback = host == "localhost" or host == "::1" or host.startswith("127.")
    if not loopback and not _yes("AWS_ALLOW_HTTP"):
        raise UsageError(
            f"{place}: the endpoint {parts.scheme}://{host} is not encrypted",
            hint="https://, or AWS_ALLOW_HTTP=true if you trust the network",
        )
    return True


def _profile(place: Place) -> dict[str, str]:
    """Return what the profile says in the user's two files; nothing where there is none."""
    name = os.environ.get("AWS_PROFILE") or "default"
    home = os.path.expanduser("~/.aws")
    files = (
        (os.environ.get("AWS_CONFIG_FILE") or f"{home}/config",
         (f"profile {name}",) if name != "default" else ("default", "profile default")),
        (os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or f"{home}/credentials", (name,)),
    )  # fmt: skip
    found: dict[str, str] = {}
    for path, sections in files:
        parser = RawConfigParser(strict=False)
        try:
            with open(os.path.expanduser(path), encoding="utf-8") as file:
                parser.read_file(file)
        except FileNotFoundError:
            continue
        except (OSError, ConfigError, UnicodeDecodeError):  # its text may be a key
            raise AccessDenied(f"{place}: {path} can't be read as a profile file") from None
        for section in sections:
            if parser.has_section(section):
                found.update(parser.items(section))
    if not found and os.environ.get("AWS_PROFILE"):
        raise AccessDenied(f"{place}: there is no profile {name!r:.80}",
                           hint="aws configure list-profiles, and AWS_PROFILE")  # fmt: skip
    return found


def _boto3(place: Place) -> Any:
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        raise AccessDenied(
            f"{place}: its profile is logged in by other means than keys, which needs boto3",
            hint='pip install boto3, or: eval "$(aws configure export-credentials --format env)"',
        ) from None
    try:
        return Boto3CredentialProvider()
    except Exception as error:  # noqa: BLE001 - boto3's own, whose text may hold what it was given
        raise AccessDenied(
            f"{place}: its profile can't be used ({type(error).__name__})", hint="aws sso login"
        ) from None


def _yes(name: str) -> bool:
    return os.environ.get(name, "").lower() in _YES
