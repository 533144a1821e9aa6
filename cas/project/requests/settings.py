"""``[tool.cas]`` of pyproject.toml, read strictly: unknown keys are errors with the near ones."""

from __future__ import annotations

from cas.errors import CasError, ListingError, RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from cas.request import Request

__all__ = ["Settings", "load", "parse_settings", "settings_of", "shared_names"]

_KEYS = ("assets", "bad", "datasets", "remotes", "share")
MAX_BYTES = 2 << 20  # tomlkit takes a second for 4 MB

_NO_MARK = r"sed -i '1s/^\xEF\xBB\xBF//' pyproject.toml"


class Settings:
    """What ``[tool.cas]`` says."""

    def __init__(self, table: Mapping[str, Any], requests: dict[str, Request]) -> None:
        self.requests = requests
        """Name → request, sorted by name."""
        self.table = table
        """The whole of ``[tool.cas]``."""


def parse_settings(data: bytes | None) -> Settings:
    """Return what the bytes of pyproject.toml say; None is no file.

    Raises RequestError naming the place.
    """
    return settings_of(load(data) if data is not None else {})


def load(data: bytes) -> dict[str, Any]:
    """Return the tables of pyproject.toml; raise RequestError."""
    from cas.lockfile import load_toml

    if len(data) > MAX_BYTES:
        raise RequestError(f"pyproject.toml: {len(data)} bytes, more than {MAX_BYTES}")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise RequestError(f"pyproject.toml: not UTF-8 at byte {error.start}") from None
    try:
        return load_toml(text)
    except ValueError as error:
        for number, line in enumerate(text.split("\n"), 1):
            if line.startswith(("<<<<<<< ", "||||||| ", ">>>>>>> ")):
                raise RequestError(
                    f"pyproject.toml, line {number}: git's conflict marker {line.rstrip():.40}",
                    hint="resolve it in your editor, then: cas lock",
                ) from None
        hint = _NO_MARK if text.startswith("\ufeff") else None
        raise RequestError(f"pyproject.toml: {error}", hint=hint) from None


def settings_of(document: dict[str, Any]) -> Settings:
    """Return what ``[tool.cas]`` of a document says; raise RequestError naming the place."""
    from cas.lockfile import check_values
    from cas.names import check_name, check_names, near
    from cas.request import parse, shown

    tool = document.get("tool", {})
    table = tool.get("cas", {}) if isinstance(tool, dict) else None
    if not isinstance(table, dict):
        raise RequestError("pyproject.toml: tool.cas: expected a table")
    try:
        check_values(table, within="tool.cas")
    except ValueError as error:
        raise RequestError(f"pyproject.toml: {error}") from None
    for key in table:
        if key not in _KEYS:
            close = near(key, _KEYS)
            raise RequestError(
                f"pyproject.toml: tool.cas: unknown key {shown(key)}, expected {', '.join(_KEYS)}"
                + (f"; near: {close[0]!r}" if close else "")
            )
    _names_of_share(table)
    assets = table.get("assets", {})
    if not isinstance(assets, dict):
        raise RequestError("pyproject.toml: tool.cas.assets: expected a table of requests")
    requests = {}
    try:
        for name in sorted(assets):
            check_name(name)
            requests[name] = parse(assets[name], place=f'tool.cas.assets."{name}"')
        check_names(requests)
    except ListingError as error:
        raise RequestError(f"pyproject.toml: tool.cas.assets: {error}", hint=error.hint) from None
    except CasError as error:
        raise RequestError(f"pyproject.toml: {error}", hint=error.hint) from None
    return Settings(table, requests)


def shared_names(data: bytes | None) -> frozenset[str]:
    """Return what ``share`` names: gated and private assets that may leave the user's own store.

    Whatever else the bytes of pyproject.toml say; raise RequestError.
    """
    tool = load(data).get("tool", {}) if data is not None else {}
    table = tool.get("cas", {}) if isinstance(tool, dict) else {}
    return _names_of_share(table) if isinstance(table, dict) else frozenset()


def _names_of_share(table: Mapping[str, Any]) -> frozenset[str]:
    names = table.get("share", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RequestError(
            "pyproject.toml: tool.cas.share: expected a list of names of assets",
            hint='share = ["models/ORG/NAME"]',
        )
    return frozenset(names)
