"""TOML as cas reads and writes it: read within limits, written on one line a value.

``tomllib`` takes time that grows with the square of a dotted key's parts, keeps integers of
any length where they are written in hexadecimal, and makes tables so deep that nothing can
print them. A file that anybody may have committed is held to limits before and after it.
"""

from __future__ import annotations

import datetime
import re
import tomllib
from typing import Any

__all__ = ["check_values", "load_toml", "toml", "toml_key", "without_long_strings"]

MAX_PARTS = 100  # of a dotted key; 5,000 take tomllib 0.15 s, 20,000 take it 2.5 s
MAX_VALUES = 150_000  # an asset has about ten; tomllib takes 9 µs and 250 bytes, for an escape too
MAX_LINES = 1_000_000
MAX_DIGITS = 10_000  # of a number, or letters of a bare word; 10 MB of them take tomllib 1.1 GB
MAX_DEPTH = 32  # of tables and lists in one another
MAX_INTEGER = 1 << 63  # what TOML promises

# no repeated group is possessive: in Python 3.11.2 such a one matches wrongly
# no repeated group is possessive: in Python 3.11.2 such a one matches wrongly
_STRING = re.compile(
    r'"""(?:[^"\\]++|\\.|"(?!""))*"{3,5}'
    r"|'''(?:[^']++|'(?!''))*'{3,5}"
    r'|"(?:[^"\\\n]++|\\.)*"'
    r"|'[^'\n]*+'"
    r"|#[^\n]*+",
    re.DOTALL,
)
_DOTTED = re.compile(r"[\w-]++(?:[ \t]*+\.[ \t]*+[\w-]++)*")
_WORD = re.compile(r"\w++")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
# what a text is not written with as it is: what breaks TOML, ends a line for some reader, or
# changes the direction of what a person sees
_ESCAPED = re.compile('["\\\\\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]')


def load_toml(text: str) -> dict[str, Any]:
    """Return what *text* says, in time that grows with its length; raise ValueError."""
    if text.startswith("\ufeff"):
        message = "it begins with a byte order mark"
        raise ValueError(message)
    for signs, most, what in (("=,[{\\", MAX_VALUES, "values"), ("\n", MAX_LINES, "lines")):
        if sum(map(text.count, signs)) > most:
            message = f"more than {most:,} {what}"
            raise ValueError(message)
    lines = text.split("\n")
    if any(line.count(".") > MAX_PARTS for line in lines):
        for key in _DOTTED.findall(_STRING.sub("s", text)):
            if key.count(".") > MAX_PARTS:
                message = f"a key of more than {MAX_PARTS} parts: {key[:40]}…"
                raise ValueError(message)
    if any(len(line) > MAX_DIGITS for line in lines):
        for word in _WORD.findall(_STRING.sub("s", text)):
            if len(word) > MAX_DIGITS:
                message = f"a word of more than {MAX_DIGITS:,} characters: {word[:40]}…"
                raise ValueError(message)
    try:
        return tomllib.loads(text)
    except RecursionError:
        message = "it is nested too deep"
    except ValueError as error:
        message = f"{error!s:.300}"
        if message.startswith("Exceeds the limit"):
            message = "an integer of more than 64 bits"
    raise ValueError(message)


def check_values(table: dict[str, Any], *, within: str = "") -> None:
    """Raise ValueError naming the place of a value that is too deep or too large to keep."""
    todo: list[tuple[Any, int, Any]] = [(table, 0, None)]
    while todo:
        value, depth, place = todo.pop()
        if isinstance(value, dict | list):
            if depth > MAX_DEPTH:
                message = f"{_place(place, within)}: nested deeper than {MAX_DEPTH}"
                raise ValueError(message)
            items = value.items() if isinstance(value, dict) else enumerate(value)
            todo += [(item, depth + 1, (place, key)) for key, item in items]
        elif isinstance(value, int) and not -MAX_INTEGER <= value < MAX_INTEGER:
            message = f"{_place(place, within)}: an integer of more than 64 bits"
            raise ValueError(message)


def without_long_strings(text: str) -> str:
    """Return *text* with each string of many lines made a letter and empty lines."""
    return _STRING.sub(lambda m: "s" + "\n" * m[0].count("\n") if "\n" in m[0] else m[0], text)


def toml(value: Any) -> str:
    """Return *value* as TOML on one line; tables are inline ones.

    Raises ValueError for a text that is not UTF-8, TypeError for what TOML does not have.
    """
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return _text(value)
        case int() | float():
            return repr(value)
        case list() | tuple():
            return "[" + ", ".join(map(toml, value)) + "]"
        case dict():
            inside = ", ".join(f"{toml_key(k)} = {toml(v)}" for k, v in value.items())
            return f"{{ {inside} }}" if inside else "{}"
        case datetime.datetime() | datetime.date() | datetime.time():
            return value.isoformat()
    message = f"no TOML for {value!r:.80}"
    raise TypeError(message)


def toml_key(key: str) -> str:
    """Return *key* as TOML."""
    return key if _BARE.fullmatch(key) else _text(key)


def _text(value: str) -> str:
    # json.dumps is not a TOML writer: it makes surrogates of emoji, and leaves DEL as it is
    return f'"{_ESCAPED.sub(_escape, value)}"'


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    if character in '"\\':
        return "\\" + character
    if "\ud800" <= character <= "\udfff":
        message = f"{match.string!r:.120} is not UTF-8"
        raise ValueError(message)
    return f"\\u{ord(character):04x}"


def _place(place: Any, within: str) -> str:
    text = ""
    while place is not None:
        place, key = place
        text = f"[{key}]{text}" if isinstance(key, int) else f".{toml_key(key):.80}{text}"
    text = f"{within}{text}".removeprefix(".")
    return text if len(text) <= 200 else f"{text[:100]}…"
