"""The text of pyproject.toml with a tree marked bad, everything else left byte for byte."""

from __future__ import annotations

from cas.errors import RequestError
from cas.project.requests.document import end_of_table, headers, line_of
from cas.project.requests.settings import load, settings_of

__all__ = ["edit_bad"]


def edit_bad(data: bytes | None, tree: str, reason: str) -> bytes:
    """Return pyproject.toml with *tree* in ``[tool.cas.bad]``; raise RequestError."""
    before = load(data or b"")
    marks = settings_of(before).table.get("bad", {})
    if isinstance(marks, dict) and marks.get(tree) == reason:
        return data or b""
    text = (data or b"").decode()
    of_windows = text.count("\r\n") == text.count("\n") > 0
    after = _put(text.replace("\r\n", "\n"), tree, reason, there=tree in marks)
    if of_windows:
        after = after.replace("\n", "\r\n")
    wanted = {**_without(before), "bad": {**marks, tree: reason}}
    try:
        found = load(after.encode())
        same = {**_without(found), "bad": settings_of(found).table.get("bad")} == wanted
    except RequestError:
        same = False
    if not same:
        raise RequestError(
            "pyproject.toml: [tool.cas.bad] is written in a way that cas can't edit",
            hint=f"put in by hand: {line_of(tree, reason)}",
        )
    return after.encode()


def _put(text: str, tree: str, reason: str, *, there: bool) -> str:
    lines = text.split("\n")
    if lines[-1]:
        lines.append("")  # the last line had no end
    heads = headers(lines)
    table = [at for at, where in heads if where == ["bad"]]
    if not table:
        at = end_of_table(lines, heads[-1][0]) if heads else len(lines) - 1
        gap = [""] if at and lines[at - 1].strip() else []
        below = [""] if at < len(lines) - 1 and lines[at].strip() else []
        new = [*gap, "[tool.cas.bad]", line_of(tree, reason), *below]
        return "\n".join(lines[:at] + new + lines[at:])
    at = end_of_table(lines, table[-1])
    if there:
        kept = [n for n in range(table[-1] + 1, at) if tree not in lines[n]]
        body = [lines[n] for n in kept]
        lines[table[-1] + 1 : at] = [*body, line_of(tree, reason)]
    else:
        lines.insert(at, line_of(tree, reason))
    return "\n".join(lines)


def _without(document: dict[str, object]) -> dict[str, object]:
    """Return the document without the marks, as something that can be compared."""
    tool = document.get("tool")
    tool = dict(tool) if isinstance(tool, dict) else {}
    cas = tool.pop("cas", {})
    cas = {key: value for key, value in cas.items() if key != "bad"}
    return {"rest": {k: v for k, v in document.items() if k != "tool"}, "tool": tool, "cas": cas}
