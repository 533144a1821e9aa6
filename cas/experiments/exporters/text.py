"""Text: a sheet as LaTeX and as Markdown, the best of each metric in bold.

Names and values are foreign text: what either language reads as markup is escaped.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .choice import Column, Sheet

__all__ = ["latex_text", "markdown_text", "to_latex", "to_markdown"]

ABSENT = "-"
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "[": "{[}", "]": "{]}", "*": "{*}",  # after a row's end each of them is an argument of it
    "`": r"\textasciigrave{}", "'": r"\textquotesingle{}",
}  # fmt: skip
_MARKDOWN = re.compile(r"[\\`*_{}\[\]<>#|~!$]")
_SPACES = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029]+")
_EXPONENT = re.compile(r"(-?[\d.]+)e([+-])0*(\d+)")


def to_latex(sheet: Sheet) -> bytes:
    """Return a ``tabular`` that needs the package ``booktabs``."""
    columns = [column for column in sheet.columns if column.text]
    arrows = {"min": r" $\downarrow$", "max": r" $\uparrow$", None: ""}
    heads = [latex_text(c.name) + arrows[c.direction] for c in columns]
    cells = [_cells(column, _latex_cell, r"\textbf{{{}}}".format) for column in columns]
    lines = [
        "% needs \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{{''.join('r' if _is_numbers(c) else 'l' for c in columns)}}}",
        "\\toprule",
        " & ".join(heads) + r" \\",
        "\\midrule",
        *(" & ".join(row) + r" \\" for row in zip(*cells, strict=True)),
        "\\bottomrule",
        "\\end{tabular}",
    ]
    return ("\n".join(lines) + "\n").encode()


def to_markdown(sheet: Sheet) -> bytes:
    """Return a table as GitHub's Markdown has it."""
    columns = [column for column in sheet.columns if column.text]
    arrows = {"min": " ↓", "max": " ↑", None: ""}
    heads = [markdown_text(c.name) + arrows[c.direction] for c in columns]
    rules = ["---:" if _is_numbers(column) else "---" for column in columns]
    cells = [_cells(column, _markdown_cell, "**{}**".format) for column in columns]
    rows = [heads, rules, *zip(*cells, strict=True)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows).encode()


def latex_text(text: str) -> str:
    """Return *text* so that LaTeX prints it as it is, on one line."""
    escaped = "".join(_LATEX.get(character, character) for character in _line(text))
    return escaped.replace("--", "-{}-").replace("--", "-{}-")  # else LaTeX draws one dash


def markdown_text(text: str) -> str:
    """Return *text* so that Markdown shows it as it is, in a table's cell."""
    return _MARKDOWN.sub(r"\\\g<0>", _line(text).replace("&", "&amp;"))


def _cells(
    column: Column, shown: Callable[[Any], str], bold: Callable[[str], str]
) -> Sequence[str]:
    finite = [v for v in column.values if isinstance(v, int | float) and math.isfinite(v)]
    winner = None
    if column.direction and len(finite) > 1:
        winner = min(finite) if column.direction == "min" else max(finite)
    return [
        bold(shown(value)) if winner is not None and value == winner else shown(value)
        for value in column.values
    ]


def _is_numbers(column: Column) -> bool:
    return all(v is None or isinstance(v, int | float) for v in column.values)


def _line(text: str) -> str:
    return _SPACES.sub(" ", text).strip()


def _printed(value: Any) -> str:
    if value is None:
        return ABSENT
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 10_000 else f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)


def _latex_cell(value: Any) -> str:
    text = "--" if value is None else _printed(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        if value == math.inf or value == -math.inf:
            return r"$\infty$" if value > 0 else r"$-\infty$"
        if power := _EXPONENT.fullmatch(text):
            sign = "-" if power[2] == "-" else ""
            return rf"${power[1]} \times 10^{{{sign}{power[3]}}}$"
        return f"${text}$" if text.startswith("-") else text
    return text if value is None else latex_text(text)


def _markdown_cell(value: Any) -> str:
    return markdown_text(_printed(value))
