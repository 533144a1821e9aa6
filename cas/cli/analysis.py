"""The command on tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cas.cli.terminal import human

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from cas.cli.terminal import Terminal

__all__ = ["tokens"]


def tokens(args: argparse.Namespace, out: Terminal) -> int:
    """Say what tokenizers make of a dataset's text."""
    from cas import analysis
    from cas.project import Project

    made = analysis.report(
        Project.find(args.project),
        args.name,
        args.tokenizers,
        args.sizes,
        split=args.split,
        column=args.column,
        plot=args.plot,
        parquet=args.parquet,
        progress=out,
    )
    report = made.json()
    if out.json:
        out.document(report)
    else:
        out.say(
            f"{report['dataset']}: {report['documents']:,} documents, {human(report['bytes'])}, "
            f"{report['words']:,} words"
        )
        _print(report["tokenizers"], out)
    if args.plot:
        out.say(f"plots: {args.plot.rstrip('/')}/index.html")
    return 0


def _print(rows: Sequence[dict[str, Any]], out: Terminal) -> None:
    out.table(
        [(r["tokenizer"], r["vocab_size"], r["tokens"], _rate(r["bytes_per_token"]),
          _rate(r["tokens_per_word"]), _share(r["one_token_words"]), r["unused"], r["rare"])
         for r in rows],
        ("TOKENIZER", "VOCAB", "TOKENS", "BYTES/TOKEN", "TOKENS/WORD", "ONE-TOKEN", "UNUSED",
         "RARE"),
        " rrrrrrr",
    )  # fmt: skip
    out.data("")
    out.table(
        [(r["tokenizer"], *r["coverage"].values(), *r["lengths"].values(),
          r["suggested_max_length"]) for r in rows],
        ("TOKENIZER", *(f"{100 * float(share):g}%" for share in rows[0]["coverage"]),
         *(name.upper() for name in rows[0]["lengths"]), "SUGGESTED"),
        " rrrrrrrrr",
    )  # fmt: skip
    out.data("")
    tried = sorted({one["max_length"] for r in rows for one in r["max_lengths"]})
    costs = [{one["max_length"]: one for one in r["max_lengths"]} for r in rows]
    out.table(
        [(size, *(_cost(cost.get(size)) for cost in costs)) for size in tried],
        ("PADDING/CUT AT", *(r["tokenizer"].rpartition("/")[2] for r in rows)),
        "r" * (1 + len(rows)),
    )


def _rate(number: float | None) -> str | None:
    return None if number is None else f"{number:.3f}"


def _share(share: float) -> str:
    return f"{100 * share:.1f}%"


def _cost(one: dict[str, Any] | None) -> str | None:
    return None if one is None else f"{_share(one['padding'])}/{_share(one['truncated'])}"
