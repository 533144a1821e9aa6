"""Meta: the few forms of YAML that MLflow's ``meta.yaml`` has, read without a YAML package.

Lines ``key: value`` of text (plain, in single or in double quotes, perhaps folded over several
lines), whole numbers, ``null``, ``true`` and ``false``. Lists and tables are passed over.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["parse_meta"]

_LINE = re.compile(r"(['\"]?)([A-Za-z_]\w*)\1:(?: (.*)|)")  # a key that is a word of YAML is quoted
_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|[^xuU])")
_ESCAPES = {
    "0": "\0", "a": "\a", "b": "\b", "t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r",
    "e": "\x1b", "N": "\x85", "_": "\xa0", "L": "\u2028", "P": "\u2029",
}  # fmt: skip
_WORDS = {"null": None, "~": None, "": None, "true": True, "false": False}


def parse_meta(text: str) -> dict[str, Any]:
    """Return the keys of *text*; raise ValueError for what is none of the forms above."""
    entries: list[tuple[str, list[str]]] = []
    for line in text.split("\n"):
        match = _LINE.fullmatch(line)
        if match and not (entries and _is_open(entries[-1][1])):
            entries.append((match[2], [match[3] or ""]))
        elif entries:
            entries[-1][1].append(line)
        elif line.strip() and not line.startswith(("#", "---")):
            raise ValueError(f"meta.yaml: expected 'key: value', found {line!r:.60}")
    if not entries:
        raise ValueError("meta.yaml is empty")
    result = {}
    for key, lines in entries:
        if lines[0][:1] in ("[", "{", "|", ">", "&", "*", "!") or _is_list(lines):
            continue
        result[key] = _value(key, lines)
    return result


def _is_list(lines: list[str]) -> bool:
    return not lines[0] and any(line.strip() for line in lines[1:])


def _is_open(lines: list[str]) -> bool:
    """Say whether the value began a quote that has not ended."""
    quote = lines[0][:1]
    if quote not in ("'", '"'):
        return False
    body = "\n".join(lines)[1:].rstrip()
    if quote == "'":
        return not re.fullmatch(r"(?:[^']|'')*'", body)
    return not re.fullmatch(r'(?:[^"\\]|\\.)*"', body, re.S)


def _value(key: str, lines: list[str]) -> Any:
    if _is_open(lines):
        raise ValueError(f"meta.yaml: the quote of {key!r} does not end")
    while len(lines) > 1 and not lines[-1].strip():
        lines = lines[:-1]
    quote = lines[0][:1]
    if quote == '"':
        return _double(lines)
    text = _fold(lines)
    if quote == "'":
        return text[1:-1].replace("''", "'")
    if text in _WORDS:
        return _WORDS[text]
    return int(text) if re.fullmatch(r"-?\d{1,30}", text) else text


def _fold(lines: list[str]) -> str:
    """Return lines as YAML folds them: a break is a space, an empty line a break."""
    text, empty = lines[0].rstrip(" ") if len(lines) > 1 else lines[0], 0
    for number, line in enumerate(lines[1:], 1):
        part = line.strip(" ") if number < len(lines) - 1 else line.lstrip(" ")
        if not part:
            empty += 1
            continue
        text += ("\n" * empty or " ") + part
        empty = 0
    return text


def _double(lines: list[str]) -> str:
    text = lines[0]
    empty = 0
    for line in lines[1:]:
        part = line.lstrip(" ")
        if not part:
            empty += 1
            continue
        if text.endswith("\\") and (len(text) - len(text.rstrip("\\"))) % 2:
            text = text[:-1] + "\n" * empty + part  # the break was escaped: nothing between
        else:
            text = text.rstrip(" ") + ("\n" * empty or " ") + part
        empty = 0
    return _ESCAPE.sub(_character, text.rstrip(" ")[1:-1])


def _character(match: re.Match[str]) -> str:
    code = match[1]
    if code[0] in "xuU":
        return chr(int(code[1:], 16))
    return _ESCAPES.get(code, code)
