"""Plots by hand: scales with nice ticks, axes, legends, and the SVG document around them.

No script, no font or file from elsewhere. Colours are classes, light by default and dark where
the reader's system is dark; each document has a title and a description for who can't see it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["COLOURS", "Canvas", "Frame", "Scale", "clip", "percent", "short"]

_LIGHT = ("#0a5fd0", "#c2410c", "#0f7b4f", "#8b3fc7", "#9a6700", "#0e7490", "#b4236c", "#57606a")
_DARK = ("#6cb0ff", "#ff9b6a", "#4fd08c", "#cb9bff", "#e3b341", "#56c8dd", "#ff8ab8", "#adb6bf")
COLOURS = len(_LIGHT)
_DASHES = ("", "7 3", "2 3", "9 3 2 3")
"""A second round of colours differs by these."""

_CHARACTER = 6.7  # px of a digit or letter at 12 px, about


def _rules(
    paper: str, ink: str, soft: str, grid: str, series: Iterable[str], shares: Sequence[str]
) -> str:
    rules = [
        f".bg{{fill:{paper}}}text{{fill:{ink}}}.soft{{fill:{soft}}}",
        f".grid{{stroke:{grid}}}.axis{{stroke:{soft}}}.guide{{stroke:{soft}}}",
        f".halo{{stroke:{paper}}}",
    ]
    rules += [f".l{n}{{stroke:{c}}}.f{n}{{fill:{c}}}" for n, c in enumerate(series)]
    rules += [f".{name}{{fill:{c}}}" for name, c in zip(_SHARES, shares, strict=True)]
    return "".join(f".cas-plot {rule}}}" for rule in "".join(rules).split("}") if rule)


_SHARES = ("useful", "padded", "cut")
_STYLE = (
    ".cas-plot text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,'Liberation Sans',"
    "'DejaVu Sans',sans-serif}"
    ".cas-plot .title{font-size:16px;font-weight:600}.cas-plot .panel{font-weight:600}"
    ".cas-plot .line{fill:none;stroke-width:2;stroke-linejoin:round}"
    ".cas-plot .grid,.cas-plot .axis{stroke-width:1}"
    ".cas-plot .guide{stroke-width:1.2;stroke-dasharray:4 3}"
    ".cas-plot .halo{stroke-width:3;paint-order:stroke;stroke-linejoin:round}"
    ".cas-plot .dot{stroke-width:1.5}.cas-plot .area{opacity:.28}"
    + _rules("#ffffff", "#1f2328", "#59636e", "#e3e7ec", _LIGHT, ("#2f7fd6", "#c8ced6", "#e07b39"))
    + "@media (prefers-color-scheme:dark){"
    + _rules("#14181d", "#e8ecf1", "#a3adb8", "#2d343c", _DARK, ("#3f8ee0", "#4a535e", "#d9783a"))
    + "}"
)


def short(number: float) -> str:
    """Return a number as an axis shows it: ``16,384``, ``131k``, ``2.5M``, ``0.05``."""
    for limit, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= max(limit, 1e5):
            return f"{number / limit:.3g}{unit}"
    return f"{number:,.0f}" if number == int(number) else f"{number:.3g}"


def percent(share: float) -> str:
    """Return a share of 1 as per cent."""
    value = 100 * share
    return f"{value:.0f}%" if value == 0 or abs(value) >= 10 else f"{value:.2g}%"


def clip(text: str, most: int) -> str:
    """Return a text of at most so many characters, its end kept: ends differ, beginnings don't."""
    return text if len(text) <= most else "…" + text[-(most - 1) :]


def width(text: str, size: float = 12) -> float:
    """Return about how wide a text is, px; characters of East Asia are twice as wide."""
    units = sum(2 if ord(c) > 0x2E7F else 1 for c in text)
    return units * _CHARACTER * size / 12


@dataclass(frozen=True, slots=True)
class Scale:
    """Values → px along one axis."""

    low: float
    high: float
    start: float
    """px of *low*"""
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return where *value* is, px."""
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        share = (at - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """Return round values within the scale."""
        if not self.log:
            return nice(self.low, self.high, most)
        decades = math.log10(self.high / self.low)
        if decades < 0.6:
            return [t for t in nice(self.low, self.high, most) if t > 0] or [self.low]
        every = max(1, math.ceil(decades / most))
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        steps = (1, 2, 5) if decades * 2.2 <= most else (1, 3) if decades * 2 <= most else (1,)
        found = [s * 10.0**e for e in range(first, last + 1) if e % every == 0 for s in steps]
        return [t for t in found if self.low * 0.999 <= t <= self.high * 1.001]

    def powers_of_two(self, most: int = 9) -> list[float]:
        """Return powers of two within the scale."""
        first, last = math.ceil(math.log2(self.low)), math.floor(math.log2(self.high))
        every = max(1, math.ceil((last - first + 1) / most))
        return [2.0**n for n in range(first, last + 1) if (last - n) % every == 0]


def nice(low: float, high: float, most: int = 6) -> list[float]:
    """Return at most about so many round values from *low* to *high*."""
    if high <= low:
        return [low]
    raw = (high - low) / most
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * m for m in (1, 2, 2.5, 5, 10) if unit * m >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(n * step, 12) for n in range(first, last + 1)]


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a panel's data goes, px."""

    left: float
    top: float
    right: float
    bottom: float

    def x(self, low: float, high: float, *, log: bool = False) -> Scale:
        """Return the horizontal scale."""
        return Scale(low, high, self.left, self.right, log)

    def y(self, low: float, high: float, *, log: bool = False) -> Scale:
        """Return the vertical scale."""
        return Scale(low, high, self.bottom, self.top, log)


@dataclass(slots=True)
class Canvas:
    """One SVG document under way."""

    slug: str
    title: str
    description: str
    width: float = 760
    height: float = 440
    parts: list[str] = field(default_factory=list)

    def svg(self) -> str:
        """Return the document."""
        w, h = f"{self.width:g}", f"{self.height:g}"
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="cas-plot" role="img" '
            f'viewBox="0 0 {w} {h}" width="{w}" height="{h}" '
            f'aria-labelledby="{self.slug}-title {self.slug}-desc">\n'
            f'<title id="{self.slug}-title">{escape(self.title)}</title>\n'
            f'<desc id="{self.slug}-desc">{escape(self.description)}</desc>\n'
            f"<style>{_STYLE}</style>\n"
            f'<rect class="bg" width="{w}" height="{h}"/>\n'
        )
        return head + "\n".join(self.parts) + "\n</svg>\n"

    def text(self, x: float, y: float, text: str, *, kind: str = "", anchor: str = "start") -> None:
        """Write a text with its baseline at *y*."""
        named = f' class="{kind}"' if kind else ""
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{named}>{escape(text)}</text>'
        )

    def rule(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        """Draw a straight line."""
        self.parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'
        )

    def line(
        self, points: Iterable[tuple[float, float]], series: int, name: str, *, under: int = 0
    ) -> None:
        """Draw a series; *name* is shown under the pointer. It is seen *under* so many others."""
        dash = _DASHES[series // COLOURS % len(_DASHES)]
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        if under:
            dashed += f' style="stroke-width:{2 + 4 * under}"'
        self.parts.append(
            f'<polyline class="line l{series % COLOURS}"{dashed} points="{_points(points)}">'
            f"<title>{escape(name)}</title></polyline>"
        )

    def area(self, points: Iterable[tuple[float, float]], kind: str, name: str) -> None:
        """Fill a polygon."""
        self.parts.append(
            f'<polygon class={quoteattr(kind)} points="{_points(points)}">'
            f"<title>{escape(name)}</title></polygon>"
        )

    def dot(self, x: float, y: float, series: int, name: str, *, size: float = 4.5) -> None:
        """Mark a point; *name* is shown under the pointer. A second round of colours is square."""
        kind = f'class="dot f{series % COLOURS} halo"'
        title = f"<title>{escape(name)}</title>"
        if series < COLOURS:
            mark = f'<circle {kind} cx="{x:.1f}" cy="{y:.1f}" r="{size}">{title}</circle>'
        else:
            corner = f'x="{x - size:.1f}" y="{y - size:.1f}"'
            mark = f'<rect {kind} {corner} width="{2 * size}" height="{2 * size}">{title}</rect>'
        self.parts.append(mark)

    def heading(self, subtitle: str) -> float:
        """Write title and subtitle; return where what follows may begin, px."""
        self.text(24, 30, self.title, kind="title")
        self.text(24, 50, subtitle, kind="soft")
        return 62

    def legend(self, names: Sequence[str], top: float, *, kinds: Sequence[str] = ()) -> float:
        """Write a legend in rows; return its bottom, px. *kinds* are areas; else lines."""
        x, y = 24.0, top + 14
        for number, name in enumerate(names):
            wide = 30 + width(name) + 18
            if x > 24 and x + wide > self.width - 16:
                x, y = 24.0, y + 19
            if kinds:
                self.parts.append(
                    f'<rect class="{kinds[number]}" x="{x:.1f}" y="{y - 10:.1f}" '
                    'width="22" height="11" rx="2"/>'
                )
            else:
                self.line([(x, y - 4), (x + 22, y - 4)], number, name)
                self.dot(x + 11, y - 4, number, name, size=3.5)
            self.text(x + 29, y, name)
            x += wide
        return y + 8

    def axes(
        self,
        frame: Frame,
        x: tuple[Scale, Sequence[float], Sequence[str]],
        y: tuple[Scale, Sequence[float], Sequence[str]],
        *,
        x_name: str = "",
        y_name: str = "",
    ) -> None:
        """Draw both axes, each a scale with its ticks and their texts."""
        scale, ticks, texts = y
        for tick, text in zip(ticks, texts, strict=True):
            at = scale(tick)
            self.rule(frame.left, at, frame.right, at, "grid")
            self.text(frame.left - 8, at + 4, text, kind="soft", anchor="end")
        scale, ticks, texts = x
        free = -math.inf
        for tick, text in zip(ticks, texts, strict=True):
            at = scale(tick)
            self.rule(at, frame.bottom, at, frame.bottom + 5, "axis")
            if at - width(text) / 2 > free:
                self.text(at, frame.bottom + 19, text, kind="soft", anchor="middle")
                free = at + width(text) / 2 + 6
        self.rule(frame.left, frame.bottom, frame.right, frame.bottom, "axis")
        if x_name:
            middle = (frame.left + frame.right) / 2
            self.text(middle, frame.bottom + 38, x_name, anchor="middle")
        if y_name:
            self.text(24 if frame.left < 120 else frame.left, frame.top - 12, y_name)


def _points(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
