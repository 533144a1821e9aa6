"""The text of pyproject.toml with one entry of a table below ``[tool.cas]`` put in or taken out.

Everything else is left byte for byte: what was written is read again, and must differ in that
entry alone.
"""

from __future__ import annotations

from cas.errors import RequestError
from cas.project.requests.document import end_of_table, headers, line_of
from cas.project.requests.settings import load, settings_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["edit_entry"]


def edit_entry(data: bytes | None, table: str, key: str, value: str | None) -> bytes:
    """Return pyproject.toml with ``[tool.cas.<table>]`` saying *key*: *value*; None: not at all.

    Raises RequestError where it can't be edited, with the line to put in by hand.
    """
    before = load(data or b"")
    there = settings_of(before).table.get(table, {})
    there = there if isinstance(there, dict) else {}
    if there.get(key) == value:
        return data or b""
    text = (data or b"").decode()
    of_windows = text.count("\r\n") == text.count("\n") > 0
    plain = text.replace("\r\n", "\n")
    wanted = {name: said for name, said in there.items() if name != key or value is not None}
    wanted |= {key: value} if value is not None else {}
    for attempt in (_by_lines, _by_keys):
        after = attempt(plain, table, key, value, there=there)
        if after is None:
            continue
        if of_windows:
            after = after.replace("\n", "\r\n")
        try:
            found = load(after.encode())
            now = settings_of(found).table.get(table, {})
        except RequestError:
            continue
        if now == wanted and _without(found, table) == _without(before, table):
            return after.encode()
    raise RequestError(
        f"pyproject.toml: [tool.cas.{table}] is written in a way that cas can't edit",
        hint=f"put in by hand: {line_of(key, value)}" if value else f"take out by hand: {key}",
    )


def _by_lines(
    text: str, table: str, key: str, value: str | None, *, there: dict[str, Any]
) -> str | None:
    """Edit the table where it has a header of its own, or make it where there is none."""
    lines = text.split("\n")
    if lines[-1]:
        lines.append("")  # the last line had no end
    heads = headers(lines)
    its = [at for at, where in heads if where == [table]]
    if not its:
        if there or value is None:
            return None
        at = end_of_table(lines, heads[-1][0]) if heads else len(lines) - 1
        gap = [""] if at and lines[at - 1].strip() else []
        below = [""] if at < len(lines) - 1 and lines[at].strip() else []
        new = [*gap, f"[tool.cas.{table}]", line_of(key, value), *below]
        return "\n".join(lines[:at] + new + lines[at:])
    at = end_of_table(lines, its[-1])
    new = [line_of(key, value)] if value is not None else []
    if key in there:
        body = range(its[-1] + 1, at)
        old = [n for n in body if lines[n].partition("=")[0].strip().strip("\"'") == key]
        if len(old) != 1:
            return None
        lines[old[0] : old[0] + 1] = new
    else:
        lines[at:at] = new
    return "\n".join(lines)


def _by_keys(
    text: str, table: str, key: str, value: str | None, *, there: dict[str, Any]
) -> str | None:
    """Edit the table where it is written inline, or by dotted keys."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    del there
    try:
        document: Any = tomlkit.parse(text)
        its = document["tool"]["cas"][table]
        if value is None:
            del its[key]
        else:
            its[key] = value
        return tomlkit.dumps(document)
    except (TOMLKitError, LookupError, TypeError, ValueError, AttributeError):
        return None


def _without(document: dict[str, Any], table: str) -> dict[str, Any]:
    """Return the document without that table, as something that can be compared."""
    tool = document.get("tool")
    tool = dict(tool) if isinstance(tool, dict) else {}
    cas = tool.pop("cas", {})
    cas = {key: value for key, value in cas.items() if key != table}
    return {"rest": {k: v for k, v in document.items() if k != "tool"}, "tool": tool, "cas": cas}
