"""The text of pyproject.toml with requests put in, changed or taken out.

Comments, order, line ends and everything outside ``[tool.cas.assets]`` stay as they are, byte
for byte. A new request is one line below the last one; a changed one keeps the form that it
has, a line or a table of its own. That is done by lines, so that nothing else can move; where
requests are written in rarer ways (an inline table, dotted keys), tomlkit does it. What was
written is read again, and must differ in the requests alone: else nothing is written, and the
error says what to put in by hand.
"""

from __future__ import annotations

from cas.errors import CasError, ListingError, RequestError
from cas.project.requests.settings import load, settings_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from cas.request import Request

    _Requests = Mapping[str, Request]
    _Changes = Mapping[str, Request | None]

__all__ = ["edit", "end_of_table", "headers", "line_of"]


def edit(data: bytes | None, changes: Mapping[str, Request | None]) -> bytes:
    """Return pyproject.toml with requests put in, changed, or (None) taken out.

    No changes make the table, where there is none. Raises RequestError.
    """
    _check(changes)
    before = load(data or b"")
    there = settings_of(before).requests
    news = {name: new for name, new in changes.items() if there.get(name) != new}
    if not news and (changes or _has_assets(before)):
        return data or b""
    text = (data or b"").decode()
    of_windows = text.count("\r\n") == text.count("\n") > 0
    for attempt in (_by_lines, _by_keys, _anew):
        after = _attempted(attempt, text.replace("\r\n", "\n") if of_windows else text, there, news)
        if after is None:
            continue
        if of_windows:
            after = after.replace("\n", "\r\n")
        if _is_edit(before, after, news):
            return after.encode()
    lines = "; ".join(line_of(name, new.table()) for name, new in news.items() if new)
    raise RequestError(
        "pyproject.toml: [tool.cas.assets] is written in a way that cas can't edit",
        hint=f"put in by hand: {lines}" if lines else "take it out by hand, then: cas lock",
    )


def _has_assets(document: dict[str, Any]) -> bool:
    return "assets" in document.get("tool", {}).get("cas", {})


def _check(changes: Mapping[str, Request | None]) -> None:
    """Raise RequestError for a request that would not read back."""
    from cas.names import check_name
    from cas.request import parse

    for name, request in changes.items():
        if request is not None:
            try:
                check_name(name)
            except ListingError as error:
                raise RequestError(str(error)) from None
            parse(request.table(), place=name)


def _is_edit(before: dict[str, Any], after: str, changes: Mapping[str, Request | None]) -> bool:
    """Say whether *after* says what *before* says, but for the changes."""
    try:
        document = load(after.encode())
        requests = settings_of(document).requests
    except (CasError, UnicodeEncodeError):
        return False
    wanted = {**settings_of(before).requests, **changes}
    if requests != {n: r for n, r in wanted.items() if r}:
        return False
    old, new = _others(before), _others(document)
    try:
        return repr(old) == repr(new)  # a NaN of another tool is not equal to itself
    except ValueError:  # nor has an integer of 5,000 digits a repr
        return old == new


def _others(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document without the requests, and without tables that only held them."""
    tool = dict(document.get("tool", {}))
    cas = {key: value for key, value in tool.pop("cas", {}).items() if key != "assets"}
    return {"tool": tool, "cas": cas} | {k: v for k, v in document.items() if k != "tool"}


def _attempted(
    attempt: Callable[[str, _Requests, _Changes], str],
    text: str,
    there: _Requests,
    news: _Changes,
) -> str | None:
    """Return the text with the changes, or None where it can't be done in this way."""
    from tomlkit.exceptions import TOMLKitError

    try:
        return attempt(text, there, news)
    except (TOMLKitError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None


def _by_lines(text: str, there: _Requests, news: _Changes) -> str:
    text, left = _edit_lines(text, there, {n: new for n, new in news.items() if n in there})
    if left:
        text = _change(text, left, whole=False)
    fresh = {name: new for name, new in news.items() if name not in there and new}
    return _put_lines(text, fresh) if fresh or not news else text


def _by_keys(text: str, there: _Requests, news: _Changes) -> str:
    if old := {name: new for name, new in news.items() if name in there}:
        text = _change(text, old, whole=True)
    fresh = {name: new for name, new in news.items() if name not in there and new}
    return _put_keys(text, fresh)


def _anew(text: str, there: _Requests, news: _Changes) -> str:
    text, _ = _edit_lines(text, there, {name: None for name in news if name in there})
    return _put_lines(text, {name: new for name, new in news.items() if new})


def _edit_lines(text: str, there: _Requests, old: _Changes) -> tuple[str, dict[str, Any]]:
    """Change requests that are lines or tables of their own; return the text, and what is left."""
    left = dict(old)
    lines = text.split("\n")
    for number, where in reversed(headers(lines)):
        if where == ["assets"]:
            for first, end, table in reversed(_entries(lines, number)):
                (name,) = table if len(table) == 1 else ("",)
                if name in old and old[name] is None:
                    _cut(lines, first, end)
                    left.pop(name, None)
                elif (new := left.get(name)) and table == {name: there[name].table()}:
                    lines[first:end] = [_changed(lines[first:end], name, new)]
                    del left[name]
        elif where[:1] == ["assets"] and where[1] in old:
            name, end = where[1], end_of_table(lines, number)
            new = old[name]
            if new is None:
                _cut(lines, number, end + (end < len(lines) and not lines[end].strip()))
                left.pop(name, None)
            else:  # tomlkit would put a new key below what stands above the next table
                known = there[name].table()
                lines[end:end] = [line_of(k, v) for k, v in new.table().items() if k not in known]
    return "\n".join(lines), left


def _cut(lines: list[str], first: int, end: int) -> None:
    lines[first:end] = [""] if end == len(lines) else []


def headers(lines: list[str]) -> list[tuple[int, list[str]]]:
    """Return (number, keys below ``tool.cas``) of each header there: ``["assets", name]``."""
    import tomllib

    found = []
    for number, line in enumerate(_shadow(lines)):
        if not line.lstrip().startswith("["):
            continue
        try:
            table = tomllib.loads(line).get("tool", {}).get("cas")
        except (ValueError, AttributeError):
            continue
        keys = []
        while isinstance(table, dict) and table:
            ((key, table),) = table.items()
            keys.append(key)
        if isinstance(table, dict):
            found.append((number, keys))
    return found


def _shadow(lines: list[str]) -> list[str]:
    """Return the lines with strings of many lines blanked: what looks like a header is one."""
    from cas.lockfile import without_long_strings

    return without_long_strings("\n".join(lines)).split("\n")


def _entries(lines: list[str], head: int) -> list[tuple[int, int, dict[str, Any]]]:
    """Return (first line, line after the last, table) of each key of a table."""
    import tomllib

    found = []
    first, end = head + 1, end_of_table(lines, head)
    while first < end:
        for after in range(first + 1, end + 1):
            try:
                table = tomllib.loads("\n".join(lines[first:after]) + "\n")
            except ValueError:
                continue
            if table:
                found.append((first, after, table))
            first = after
            break
        else:
            break
    return found


def _changed(lines: list[str], name: str, new: Request) -> str:
    """Return a request's line with the indent and the comment of the one before."""
    import tomllib

    line, last = line_of(name, new.table()), lines[-1]
    said = tomllib.loads("\n".join(lines))
    for at in (at for at, character in enumerate(last) if character == "#"):
        before = "\n".join([*lines[:-1], last[:at]])
        try:
            if tomllib.loads(before) == said:
                line += last[len(last[:at].rstrip()) :]
                break
        except ValueError:
            continue
    return lines[0][: len(lines[0]) - len(lines[0].lstrip())] + line


def _change(text: str, old: _Changes, *, whole: bool) -> str:
    """Change or take out requests that are there, each in its form (or *whole*: as one line)."""
    import tomlkit
    from tomlkit.items import InlineTable

    document: Any = tomlkit.parse(text)
    if tomlkit.dumps(document) != text:
        message = "tomlkit does not write what it read"
        raise ValueError(message)
    assets = document["tool"]["cas"]["assets"]
    for name, request in old.items():
        if request is None:
            del assets[name]
            continue
        table, there = request.table(), assets[name]
        if whole or isinstance(there, InlineTable):
            assets[name] = _value(table)
            continue
        for key in [key for key in there if key not in table]:
            del there[key]
        for key, value in table.items():
            if key not in there or there[key].unwrap() != value:
                there[key] = _value(value)
    return tomlkit.dumps(document)


def _put_lines(text: str, fresh: Mapping[str, Request]) -> str:
    """Put new requests in as lines: below the last one, or in a table made for them."""
    lines = text.split("\n")
    if lines[-1]:
        lines.append("")  # the last line had no end
    heads = headers(lines)
    new = [line_of(name, request.table()) for name, request in fresh.items()]
    if table := [at for at, where in heads if where == ["assets"]]:
        at = end_of_table(lines, table[-1])
        first = next((line for line in lines[table[-1] + 1 : at] if _says(line)), "")
        indent = first[: len(first) - len(first.lstrip())]
        new = [indent + line for line in new]
    else:
        at = end_of_table(lines, heads[-1][0]) if heads else len(lines) - 1
        gap = [""] if at and lines[at - 1].strip() else []
        below = [""] if at < len(lines) - 1 and lines[at].strip() else []
        new = [*gap, "[tool.cas.assets]", *new, *below]
    return "\n".join(lines[:at] + new + lines[at:])


def _put_keys(text: str, fresh: Mapping[str, Request]) -> str:
    """Put new requests in where the table is an inline one, or made of dotted keys."""
    import tomlkit
    from tomlkit.items import InlineTable

    document: Any = tomlkit.parse(text)
    tool = document.setdefault("tool", tomlkit.table(is_super_table=True))
    cas = tool.setdefault("cas", tomlkit.table(is_super_table="cas" not in tool))
    inline = isinstance(cas, InlineTable)
    assets = cas.setdefault("assets", tomlkit.inline_table() if inline else tomlkit.table())
    for name, request in fresh.items():
        assets[name] = _value(request.table())
    return tomlkit.dumps(document)


def end_of_table(lines: list[str], head: int) -> int:
    """Return the number of the line after a table's last key.

    What a person wrote above the next header (a comment, an empty line) belongs to that; a
    comment right below this table's own header belongs to this.
    """
    end = head + 1
    while end < len(lines) and lines[end].lstrip().startswith("#"):
        end += 1
    for number, line in enumerate(_shadow(lines)[head + 1 :], head + 1):
        if line.lstrip().startswith("["):
            break
        if _says(line):
            end = number + 1
    return end


def _says(line: str) -> bool:
    return not line.lstrip().startswith("#") and bool(line.strip())


def line_of(key: str, value: Any) -> str:
    """Return a key and its value as a line of TOML."""
    from cas.lockfile import toml, toml_key

    return f"{toml_key(key)} = {toml(value)}"


def _value(value: Any) -> Any:
    import tomlkit

    from cas.lockfile import toml

    return tomlkit.parse(f"value = {toml(value)}\n")["value"]
