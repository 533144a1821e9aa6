"""The requests in pyproject.toml: ``[tool.cas]`` read strictly, written with a person's care.

Comments, order and everything outside ``[tool.cas.assets]`` stay as they are (tomlkit).
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

from cas.errors import CasError, RequestError
from cas.lockfile import toml
from cas.names import check_name, check_names, near
from cas.request import Request, parse

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Settings", "edit", "parse_settings"]

_KEYS = ("assets", "bad", "datasets", "remotes", "share")
MAX_BYTES = 16 << 20


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
    table: dict[str, Any] = _tool_cas(_load(data)) if data is not None else {}
    for key in table:
        if key not in _KEYS:
            close = near(key, _KEYS)
            raise RequestError(
                f"pyproject.toml: tool.cas: unknown key {key!r}, expected {', '.join(_KEYS)}"
                + (f"; near: {close[0]!r}" if close else "")
            )
    assets = table.get("assets", {})
    if not isinstance(assets, dict):
        raise RequestError("pyproject.toml: tool.cas.assets: expected a table of requests")
    requests = {}
    try:
        for name in sorted(assets):
            check_name(name)
            requests[name] = parse(assets[name], place=f'tool.cas.assets."{name}"')
        check_names(requests)
    except CasError as error:
        raise RequestError(f"pyproject.toml: {error}", hint=error.hint) from None
    return Settings(table, requests)


def edit(data: bytes | None, changes: Mapping[str, Request | None]) -> bytes:
    """Return pyproject.toml with requests put in, changed, or (None) taken out."""
    import tomlkit

    _load(data or b"")
    document = tomlkit.parse((data or b"").decode())
    tool = document.setdefault("tool", tomlkit.table(is_super_table=True))
    cas = tool.setdefault("cas", tomlkit.table(is_super_table="cas" not in tool))
    assets = cas.setdefault("assets", tomlkit.table())
    for name, request in changes.items():
        if request is None:
            assets.pop(name, None)
            continue
        if name in assets and assets[name].unwrap() == request.table():
            continue
        assets[name] = tomlkit.parse(f"request = {toml(request.table())}\n")["request"]
    text = tomlkit.dumps(document).encode()
    parse_settings(text)  # what is written must read back
    return text


def _load(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_BYTES:
        raise RequestError(f"pyproject.toml: {len(data)} bytes, more than {MAX_BYTES}")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise RequestError(f"pyproject.toml: not UTF-8 at byte {error.start}") from None
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(("<<<<<<< ", ">>>>>>> ")):
            raise RequestError(
                f"pyproject.toml, line {number}: git's conflict marker {line[:40]!r}",
                hint="resolve it in your editor, then: cas lock",
            )
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        detail = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise RequestError(f"pyproject.toml: {detail:.300}") from None


def _tool_cas(document: dict[str, Any]) -> dict[str, Any]:
    tool = document.get("tool", {})
    table = tool.get("cas", {}) if isinstance(tool, dict) else None
    if not isinstance(table, dict):
        raise RequestError("pyproject.toml: tool.cas: expected a table")
    return table
