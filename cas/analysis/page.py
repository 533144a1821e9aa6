"""One HTML page with the table and the plots of an analysis; it needs no other file."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cas.analysis.analyse import Analysis

__all__ = ["page"]

_STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1f2328;--soft:#59636e;--edge:#d8dee4}
@media (prefers-color-scheme:dark){:root{--paper:#14181d;--ink:#e8ecf1;--soft:#a3adb8;
--edge:#2d343c}}
body{margin:0 auto;max-width:1180px;padding:24px 20px 48px;background:var(--paper);
color:var(--ink);font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'Liberation Sans',
'DejaVu Sans',sans-serif}
h1{font-size:24px;margin:0 0 4px}h2{font-size:18px;margin:36px 0 10px}
p{margin:6px 0}.soft{color:var(--soft)}code{font-size:13px;overflow-wrap:anywhere}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:13px;
font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--soft);padding-bottom:6px}
th,td{padding:5px 10px;border-bottom:1px solid var(--edge);text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}thead th{vertical-align:bottom;font-weight:600}
tbody th{font-weight:400}
figure{margin:28px 0 0}figure svg{max-width:100%;height:auto;border:1px solid var(--edge);
border-radius:6px}
"""

_LINES = (
    ("compression.svg", "A vocabulary that is too small cuts words to pieces; one that is too "
     "large holds tokens that the text hardly trains."),
    ("coverage.svg", "Where a curve ends well left of the size of its vocabulary, the rest of "
     "that vocabulary is unused."),
    ("zipf.svg", "Tokens of fewer than ten uses have embeddings that were hardly trained."),
    ("lengths.svg", "Where most documents are much shorter than max_length, rows of one document "
     "are padding; packed rows are not."),
    ("max_lengths.svg", "Padding costs time, what is cut off is never learnt. The suggestion is "
     "the greatest share of positions used times the square of the share of tokens kept."),
)  # fmt: skip


def page(analysis: Analysis, plots: Mapping[str, str]) -> str:
    """Return the page; *plots* are file name → SVG."""
    report = analysis.json()
    title = f"Tokens of {analysis.dataset}"
    figures = "\n".join(
        f"<figure>\n{plots[name]}<figcaption class=soft>{escape(line)}</figcaption>\n</figure>"
        for name, line in _LINES
    )
    counted = (
        f"{report['documents']:,} documents, {report['bytes']:,} bytes, "
        f"{report['characters']:,} characters, {report['words']:,} words; split {analysis.split}"
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
<p class="soft">{escape(counted)}</p>
<p class="soft"><code>{escape(analysis.tree)}</code></p>
<h2>Figures</h2>
{_table(_FIGURES, map(_figures, report["tokenizers"]), "A word is a pre-token of GPT-2.")}
<h2>Coverage</h2>
{
        _table(
            _COVERAGE,
            map(_coverage, report["tokenizers"]),
            "How many tokens of the vocabulary make up so much of the text.",
        )
    }
<h2>Lengths</h2>
{_table(_LENGTHS, map(_lengths, report["tokenizers"]), "In tokens, EOS included.")}
<h2>Plots</h2>
{figures}
</body>
</html>
"""


_FIGURES = ("tokenizer", "vocabulary", "tokens", "bytes a token", "tokens a word",
            "one-token words", "unused", "used 1 to 9 times")  # fmt: skip
_COVERAGE = ("tokenizer", "vocabulary", "90%", "95%", "99%", "99.9%")
_LENGTHS = ("tokenizer", "p50", "p95", "p99", "max", "suggested max_length", "padding", "cut off")


def _figures(row: Mapping[str, Any]) -> Sequence[str]:
    return (row["tokenizer"], _number(row["vocab_size"]), _number(row["tokens"]),
            _rate(row["bytes_per_token"]), _rate(row["tokens_per_word"]),
            _share(row["one_token_words"]), _number(row["unused"]),
            _number(row["rare"]))  # fmt: skip


def _coverage(row: Mapping[str, Any]) -> Sequence[str]:
    covered = [_number(number) for number in row["coverage"].values()]
    return (row["tokenizer"], _number(row["vocab_size"]), *covered)


def _lengths(row: Mapping[str, Any]) -> Sequence[str]:
    best = row["suggested_max_length"]
    at = next(one for one in row["max_lengths"] if one["max_length"] == best)
    quantiles = [_number(number) for number in row["lengths"].values()]
    return (row["tokenizer"], *quantiles, _number(best), _share(at["padding"]),
            _share(at["truncated"]))  # fmt: skip


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str) -> str:
    heads = "".join(f'<th scope="col">{_wrapped(one)}</th>' for one in head)
    body = "\n".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for name, *cells in rows
    )
    return (
        '<div class="wide" tabindex="0" role="region" aria-label="table">\n<table>\n'
        f"<caption>{escape(caption)}</caption>\n<thead><tr>{heads}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody>\n</table>\n</div>"
    )


def _wrapped(text: str) -> str:
    return escape(text).replace(" ", "<br>", 1)


def _number(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _share(share: float) -> str:
    return f"{100 * share:.1f}%"


def _rate(number: float | None) -> str:
    return "-" if number is None else f"{number:.3f}"
