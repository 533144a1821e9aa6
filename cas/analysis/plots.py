"""The five plots of an analysis, each an SVG document."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from cas.analysis.figures import coverage_curve
from cas.analysis.svg import COLOURS, Canvas, Frame, clip, percent, short

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    import numpy.typing as npt

    from cas.analysis.analyse import Analysis, Figures
    from cas.analysis.figures import Lengths
    from cas.analysis.svg import Scale

    Numbers = npt.NDArray[np.int64]
    Edges = npt.NDArray[np.floating[Any]]

__all__ = ["plots"]

_POINTS = 240  # of a curve; more are no longer seen
_NAME = 44  # characters of a tokenizer's name in a legend
_BARS = 72
_PANELS = 12
_RINGS = 3  # of the same curves, so many are seen around the last
_LEFT, _RIGHT, _HIGH = 76, 736, 300
"""px: the edges of a single panel, and its height."""


def plots(analysis: Analysis) -> dict[str, str]:
    """Return file name → SVG: compression, coverage, zipf, lengths, max_lengths."""
    return {
        "compression.svg": _compression(analysis),
        "coverage.svg": _coverage(analysis),
        "zipf.svg": _zipf(analysis),
        "lengths.svg": _lengths(analysis),
        "max_lengths.svg": _max_lengths(analysis),
    }


def _names(analysis: Analysis) -> list[str]:
    return [clip(figures.name, _NAME) for figures in analysis.tokenizers]


def _under(analysis: Analysis) -> list[int]:
    """Return under how many later curves that are the same each tokenizer's lie."""
    import numpy as np

    curves = [
        (np.sort(f.uses[f.uses > 0]), f.lengths.tokens, f.lengths.documents)
        for f in analysis.tokenizers
    ]
    found = (
        sum(all(map(np.array_equal, curve, other)) for other in curves[number + 1 :])
        for number, curve in enumerate(curves)
    )
    return [min(number, _RINGS) for number in found]


def _begin(
    analysis: Analysis, slug: str, title: str, subtitle: str, description: str
) -> tuple[Canvas, Frame]:
    """Return a canvas with heading and legend, and the frame below them."""
    canvas = Canvas(slug, title, f"{description} Dataset: {analysis.dataset}.")
    top = canvas.legend(_names(analysis), canvas.heading(subtitle)) + 34
    canvas.height = top + _HIGH + 54
    return canvas, Frame(_LEFT, top, _RIGHT, top + _HIGH)


def _compression(analysis: Analysis) -> str:
    points = [
        (figures.vocab_size, analysis.bytes / figures.tokens, number, figures)
        for number, figures in enumerate(analysis.tokenizers)
        if figures.tokens
    ]
    told = "; ".join(f"{f.name}: {rate:.2f} at {size:,}" for size, rate, _, f in points)
    trained = sorted((size, rate) for size, rate, _, figures in points if figures.trained)
    subtitle = "Bytes of text in a token, on average: more is better"
    if len(trained) > 1:
        subtitle += "; the line joins what was trained here"
    canvas, frame = _begin(
        analysis,
        "compression",
        "Compression against vocabulary size",
        subtitle,
        f"Bytes a token by vocabulary size. {told}.",
    )
    if not points:
        return _without(canvas, frame, "no tokenizer made a token of this text")
    sizes, rates = [p[0] for p in points], [p[1] for p in points]
    x = frame.x(min(sizes) / 1.25, max(sizes) * 1.25, log=True)
    margin = max((max(rates) - min(rates)) * 0.12, max(rates) * 0.04)
    y = frame.y(max(0, min(rates) - margin), max(rates) + margin)
    ticks = x.powers_of_two() if x.high / x.low > 3 else x.ticks(5)
    _axes(canvas, frame, x, ticks, y, "vocabulary size (tokens, logarithmic)", "bytes a token")
    if len(trained) > 1:
        canvas.parts.append('<g stroke-opacity=".45">')
        canvas.line([(x(s), y(r)) for s, r in trained], _first_trained(analysis), "trained here")
        canvas.parts.append("</g>")
    for size, rate, number, figures in points:
        name = f"{figures.name}: {rate:.3f} bytes a token, {size:,} tokens"
        under = sum((s, r) == (size, rate) for s, r, n, _ in points if n > number)
        canvas.dot(x(size), y(rate), number, name, size=6 + 3 * min(under, _RINGS))
    return canvas.svg()


def _first_trained(analysis: Analysis) -> int:
    return next(n for n, figures in enumerate(analysis.tokenizers) if figures.trained)


def _coverage(analysis: Analysis) -> str:
    curves = [coverage_curve(figures.uses) for figures in analysis.tokenizers]
    under = _under(analysis)
    canvas, frame = _begin(
        analysis,
        "coverage",
        "Coverage of the text by the most used tokens",
        "How much of the text the most used tokens make up; the dots are at 90, 99 and 99.9%",
        "Share of the tokens in the text that the most used entries of the vocabulary make up.",
    )
    most = max(map(len, curves))
    if not most:
        return _without(canvas, frame, "no tokenizer made a token of this text")
    x, y = frame.x(1, max(most, 10), log=True), frame.y(0, 1)
    ticks = [0, 0.2, 0.4, 0.6, 0.8, 0.9, 1]
    _axes(canvas, frame, x, x.ticks(), y, "most used tokens (logarithmic)", "share of the text",
          y_ticks=ticks, share=True)  # fmt: skip
    for number, (curve, figures) in enumerate(zip(curves, analysis.tokenizers, strict=True)):
        if not len(curve):
            continue
        at = [(n, int(curve[n - 1]) / int(curve[-1])) for n in _spread(len(curve))]
        points = [(x(n), y(share)) for n, share in at]
        canvas.line(points, number, figures.name, under=under[number])
        for share in (0.9, 0.99, 0.999):
            n = int(curve.searchsorted(share * float(curve[-1]) * (1 - 1e-12))) + 1
            told = f"{figures.name}: {n:,} tokens make up {100 * share:g}%"
            canvas.dot(x(n), y(int(curve[n - 1]) / int(curve[-1])), number, told)
    return canvas.svg()


def _zipf(analysis: Analysis) -> str:
    canvas, frame = _begin(
        analysis,
        "zipf",
        "Uses of each token by rank",
        "Both axes logarithmic: a straight line is Zipf's law; a steep end is tokens that hardly "
        "occur",
        "How often each token occurs, the most used first.",
    )
    import numpy as np

    used = [np.sort(f.uses[f.uses > 0])[::-1] for f in analysis.tokenizers]
    under = _under(analysis)
    most = max(map(len, used))
    if not most:
        return _without(canvas, frame, "no tokenizer made a token of this text")
    highest = max(int(one[0]) for one in used if len(one))
    x, y = frame.x(1, max(most, 10), log=True), frame.y(1, max(highest * 1.3, 10), log=True)
    _axes(canvas, frame, x, x.ticks(), y, "rank of the token", "uses")
    for number, (uses, figures) in enumerate(zip(used, analysis.tokenizers, strict=True)):
        points = [(x(n), y(int(uses[n - 1]))) for n in _spread(len(uses))]
        if len(points) == 1:
            canvas.dot(*points[0], number, figures.name)
        else:
            canvas.line(points, number, figures.name, under=under[number])
    return canvas.svg()


def _spread(number: int) -> list[int]:
    """Return ranks from 1 to *number*, evenly on a logarithmic axis."""
    if number <= 1:
        return [1] * number
    top = math.log(number)
    return sorted({round(math.exp(top * n / (_POINTS - 1))) for n in range(_POINTS)})


# Lengths of documents --------------------------------------------------------------------


def _lengths(analysis: Analysis) -> str:
    canvas, upper = _begin(
        analysis,
        "lengths",
        "Lengths of the documents",
        f"{analysis.documents:,} document{'s' * (analysis.documents != 1)}, in tokens with the "
        "token that ends each; the dots are at p50, p95 and p99",
        "How many documents have which length, and below it the cumulative share.",
    )
    every = [figures.lengths for figures in analysis.tokenizers]
    under = _under(analysis)
    edges, log = _edges(every)
    upper = Frame(upper.left, upper.top, upper.right, upper.top + 200)
    lower = Frame(upper.left, upper.bottom + 62, upper.right, upper.bottom + 222)
    canvas.height = lower.bottom + 54
    counted = [_binned(lengths, edges) for lengths in every]
    x = upper.x(float(edges[0]), float(edges[-1]), log=log)
    y = upper.y(0, max(max(shares) for shares in counted) * 1.08)
    ticks = x.powers_of_two() if log else [t for t in x.ticks(8) if t == int(t)]
    _axes(canvas, upper, x, ticks, y, "", "share of the documents", share=True, y_most=4)
    for number, (shares, figures) in enumerate(zip(counted, analysis.tokenizers, strict=True)):
        steps = [(x(float(edges[0])), y(0))]
        for n, share in enumerate(shares):
            steps += [(x(float(edges[n])), y(share)), (x(float(edges[n + 1])), y(share))]
        steps.append((x(float(edges[-1])), y(0)))
        if len(every) == 1:
            canvas.area(steps, f"area f{number % COLOURS}", figures.name)
        canvas.line(steps, number, figures.name, under=under[number])
    y = lower.y(0, 1)
    named = "length of a document (tokens" + (", logarithmic)" if log else ")")
    _axes(canvas, lower, x, ticks, y, named, "cumulative share",
          y_ticks=[0, 0.25, 0.5, 0.75, 1], share=True)  # fmt: skip
    for number, (lengths, figures) in enumerate(zip(every, analysis.tokenizers, strict=True)):
        points = _cumulative(lengths, x, y)
        canvas.line(points, number, figures.name, under=under[number])
        for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
            at = lengths.quantile(share)
            canvas.dot(x(at), y(_below(lengths, at)), number, f"{figures.name}: {name} is {at:,}")
    return canvas.svg()


def _edges(every: Sequence[Lengths]) -> tuple[Edges, bool]:
    """Return the edges of bars that hold all lengths, and whether they grow in ratio."""
    import numpy as np

    least = min(int(lengths.tokens[0]) for lengths in every)
    longest = max(int(lengths.tokens[-1]) for lengths in every)
    middle = max(lengths.quantile(0.5) for lengths in every)
    if longest > 12 * middle:
        low = math.floor(2 * math.log2(max(least, 1))) / 2
        high = math.ceil(2 * math.log2(longest + 1)) / 2
        step = 0.5 if high - low > 12 else 0.25
        # halfway between whole numbers, so that a bar of small lengths is not empty by rounding
        edges = np.exp2(np.arange(low, high + step, step))
        return np.unique(np.floor(edges) - 0.5 * (np.floor(edges) > 1)), True
    low = 0 if least < 0.5 * longest else max(0, least - (longest - least) // 2 - 2)
    high = longest + 1 if longest > least else longest + max(2, longest - low)
    wide = max(1, _nice_width((high - low) / _BARS))
    first = low // wide * wide
    return np.arange(first, high + wide, wide) - 0.5 * (wide == 1), False


def _nice_width(raw: float) -> int:
    unit = int(10 ** max(0, math.floor(math.log10(max(raw, 1)))))
    return next(unit * m for m in (1, 2, 5, 10) if unit * m >= raw)


def _binned(lengths: Lengths, edges: Edges) -> list[float]:
    """Return the share of the documents between each two edges, the lower one included."""
    import numpy as np

    found, _ = np.histogram(lengths.tokens, bins=edges, weights=lengths.documents.astype(float))
    return [float(share) for share in found / lengths.documents.sum()]


def _below(lengths: Lengths, at: int) -> float:
    """Return the share of the documents that are not longer than *at*."""
    upto = lengths.documents[lengths.tokens <= at].sum()
    return float(upto) / float(lengths.documents.sum())


def _cumulative(lengths: Lengths, x: Scale, y: Scale) -> Iterator[tuple[float, float]]:
    import numpy as np

    upto = np.cumsum(lengths.documents) / lengths.documents.sum()
    yield x(x.low), y(0)
    before = 0.0
    number = len(lengths.tokens)
    for n in range(0, number, max(1, number // _POINTS)):
        at = x(float(lengths.tokens[n]))
        if number <= _POINTS:
            yield at, y(before)
        before = float(upto[n])
        yield at, y(before)
    yield x(float(lengths.tokens[-1])), y(1)
    yield x(x.high), y(1)


# What a max_length costs -----------------------------------------------------------------


def _max_lengths(analysis: Analysis) -> str:
    shown = analysis.tokenizers[:_PANELS]
    more = len(analysis.tokenizers) - len(shown)
    title = "What a max_length costs"
    subtitle = "One document a row: positions that hold tokens, padding, and tokens cut off"
    if more:
        subtitle += f"; the first {_PANELS} of {len(analysis.tokenizers)} tokenizers"
    told = "; ".join(f"{f.name}: {f.lengths.suggested():,} is suggested" for f in shown)
    canvas = Canvas("max-lengths", title, f"{subtitle}. {told}. Dataset: {analysis.dataset}.")
    top = canvas.legend(
        ["useful", "padding", "cut off"],
        canvas.heading(subtitle),
        kinds=("useful", "padded", "cut"),
    )
    columns = 1 if len(shown) == 1 else 2
    gap, high = 64, 300 if columns == 1 else 190
    wide = (_RIGHT - _LEFT + 16 - gap * (columns - 1)) / columns
    for number, figures in enumerate(shown):
        left = _LEFT - 16 + number % columns * (wide + gap)
        upper = top + 42 + number // columns * (high + 86)
        _panel(canvas, Frame(left, upper, left + wide, upper + high), figures)
    rows = -(-len(shown) // columns)
    canvas.height = top + 42 + rows * (high + 86) - 28
    return canvas.svg()


def _panel(canvas: Canvas, frame: Frame, figures: Figures) -> None:
    """Draw one tokenizer's shares, stacked to a whole."""
    import numpy as np

    lengths = figures.lengths
    tried = lengths.candidates()
    low, high = max(1, int(tried[0]) // 2), int(tried[-1]) * 2
    x, y = frame.x(low, high, log=True), frame.y(0, 1)
    sizes = np.unique(np.geomspace(low, high, 160).round().astype(np.int64))
    kept = lengths.kept(sizes)
    whole = int(lengths.documents.sum()) * sizes + lengths.total - kept
    useful, padded = kept / whole, (int(lengths.documents.sum()) * sizes - kept) / whole
    at = [x(int(size)) for size in sizes]
    zero = [y(0)] * len(at)
    first = [y(float(share)) for share in useful]
    second = [y(float(share)) for share in useful + padded]
    for kind, below, above in (
        ("useful", zero, first),
        ("padded", first, second),
        ("cut", second, [y(1)] * len(at)),
    ):
        upper = list(zip(at, above, strict=True))
        lower = list(zip(at, below, strict=True))
        canvas.area([*upper, *reversed(lower)], kind, {"cut": "cut off"}.get(kind, kind))
    _axes(canvas, frame, x, x.powers_of_two(8 if frame.right - frame.left < 400 else 12), y,
          "max_length", "", y_ticks=[0, 0.25, 0.5, 0.75, 1], share=True)  # fmt: skip
    canvas.text(frame.left, frame.top - 12, clip(figures.name, 30), kind="panel")
    best = lengths.suggested()
    canvas.rule(x(best), frame.top - 4, x(best), frame.bottom, "guide")
    right = x(best) < (frame.left + frame.right) / 2
    canvas.text(x(best) + (5 if right else -5), frame.top + 16, f"suggested {best:,}",
                kind="halo", anchor="start" if right else "end")  # fmt: skip


# -----------------------------------------------------------------------------------------


def _axes(
    canvas: Canvas,
    frame: Frame,
    x: Scale,
    x_ticks: Sequence[float],
    y: Scale,
    x_name: str,
    y_name: str,
    *,
    y_ticks: Sequence[float] | None = None,
    y_most: int = 6,
    share: bool = False,
) -> None:
    ticks = y.ticks(y_most) if y_ticks is None else y_ticks
    texts = [percent(tick) for tick in ticks] if share else _texts(ticks)
    canvas.axes(
        frame,
        (x, x_ticks, _texts(x_ticks)),
        (y, ticks, texts),
        x_name=x_name,
        y_name=y_name,
    )


def _texts(ticks: Sequence[float]) -> list[str]:
    """Return the texts of ticks, in full where short ones would be the same."""
    texts = [short(tick) for tick in ticks]
    return texts if len({*texts}) == len(texts) else [f"{tick:,.12g}" for tick in ticks]


def _without(canvas: Canvas, frame: Frame, why: str) -> str:
    """Return a plot that says why it has no data."""
    middle = (frame.left + frame.right) / 2
    canvas.text(middle, frame.top + 60, why, kind="soft", anchor="middle")
    return canvas.svg()
