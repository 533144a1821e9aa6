"""The picture of the table: what every contestant of a row takes, as a multiple of cas."""

# ruff: noqa: RUF001 - tables have a multiplication sign

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LEFT, WIDTH, RIGHT = 150, 520, 430  # px: names of rows, the scale, who stands where on it
STEP, HEAD = 30, 74  # px of a row, and above the first
LEAST, MOST = 0.1, 100.0  # times cas; what lies further out is drawn at the edge
STYLE = (
    "text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,'Liberation Sans',sans-serif}"
    ".t{font-size:15px;font-weight:600}.s{font-size:11px}"
    ".bg{fill:#fff}text{fill:#1f2328}.s,.soft{fill:#59636e}.grid{stroke:#e3e7ec}"
    ".cas{stroke:#0a5fd0;stroke-width:2}.limit{stroke:#c2410c;stroke-width:3}"
    ".peer{fill:#57606a;stroke:#fff}"
    "@media(prefers-color-scheme:dark){.bg{fill:#14181d}text{fill:#e8ecf1}.s,.soft{fill:#a3adb8}"
    ".grid{stroke:#2d343c}.cas{stroke:#6cb0ff}.limit{stroke:#ff9b6a}"
    ".peer{fill:#adb6bf;stroke:#14181d}}"
)

Result = dict[str, Any]


def write_plot(path: Path, rows: list[Result]) -> None:
    """Write the picture of all *rows* that have a peer or a floor."""
    shown = [row for row in rows if any(one["role"] in ("peer", "floor") for one in _others(row))]
    height = HEAD + STEP * len(shown) + 34
    width = LEFT + WIDTH + RIGHT
    words = "The time of each contestant of a benchmark, as a multiple of what cas takes"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img"><title>{words}</title><style>{STYLE}</style>'
        f'<rect class="bg" width="{width}" height="{height}"/>',
        _text(LEFT, 22, "Time, as a multiple of what cas takes", "t"),
        _text(LEFT, 40, "dots: peers, right of the blue line they take longer than cas", "s"),
        _text(LEFT, 54, "orange bars: floors, what no program of its kind can be faster than", "s"),
        _text(LEFT + WIDTH + 12, 54, "from left to right", "s"),
        *_axis(height),
    ]
    for number, row in enumerate(shown):
        parts += _row(row, HEAD + STEP * number + STEP / 2)
    parts.append("</svg>\n")
    path.write_text("\n".join(parts), encoding="utf-8")


def _axis(height: int) -> Iterator[str]:
    for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100):
        x = _x(tick)
        kind = "cas" if tick == 1 else "grid"
        yield f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{HEAD}" y2="{height - 30}"/>'
        yield _text(x, height - 12, f"{tick:g} ×" if tick != 1 else "cas", "s", "middle")


def _row(row: Result, y: float) -> Iterator[str]:
    base = next(one for one in row["contestants"] if one["role"] == "cas")
    yield _text(LEFT - 10, y + 4, row["row"], "", "end")
    words = []
    for one in sorted(_others(row), key=_cost):
        times = _cost(one) / _cost(base)
        words.append(f"{one['name'].partition(' (')[0]} {times:.2g} ×")
        x, said = _x(times), f"<title>{escape(one['name'])}: {times:.3g} ×</title>"
        if one["role"] == "floor":
            at = f'x1="{x:.1f}" x2="{x:.1f}" y1="{y - 8}" y2="{y + 8}"'
            yield f'<line class="limit" {at}>{said}</line>'
        else:
            yield f'<circle class="peer" cx="{x:.1f}" cy="{y}" r="5">{said}</circle>'
    yield _text(LEFT + WIDTH + 12, y + 4, " · ".join(words), "s")


def _cost(one: Result) -> float:
    """Return what stands for the time: the wall's, or what the row itself measured instead."""
    for key, value in one["extra"].items():
        if key.endswith("per CPU-s"):
            return 1 / float(value)
        if key == "first, ms":
            return float(value)
    return float(one["wall"])


def _others(row: Result) -> list[Result]:
    return [one for one in row["contestants"] if one["role"] in ("peer", "floor")]


def _x(times: float) -> float:
    inside = min(max(times, LEAST), MOST)
    return LEFT + WIDTH * math.log(inside / LEAST) / math.log(MOST / LEAST)


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'
    )
