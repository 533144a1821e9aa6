"""The words of everything on experiments: their options, and which function each one calls.

``cas experiments`` has words of its own (``cas experiments tag exp_001 good``). All its options
stand in one parser; ``WORDS`` says which word takes how many arguments and which options.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cas.cli import exchange, live, pairs, results
from cas.cli.options import command, count, seconds
from cas.errors import UsageError
from cas.names import near

if TYPE_CHECKING:
    from collections.abc import Callable

    from cas.cli.terminal import Terminal

__all__ = ["COMMANDS", "HANDLERS", "WORDS", "Word"]

COMMANDS: dict[str, tuple[str, str, Callable[[argparse.ArgumentParser], None]]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One word of ``cas experiments``."""

    call: Callable[[argparse.Namespace, list[str], Terminal], int]
    """given the options, the arguments after the word, and where to print; returns the exit code"""
    takes: str = ""
    """the arguments after the word, as a person reads them"""
    least: int = 0
    most: int | None = 0
    """how many arguments; None: any number"""
    options: frozenset[str] = frozenset()
    """the options' names in the namespace"""


WORDS: dict[str, Word] = {
    "list": Word(call=results.show_list, options=frozenset({"list_all", "all", "tag", "since"})),
    "best": Word(
        call=results.show_best,
        takes="METRIC",
        least=1,
        most=1,
        options=frozenset({"best", "top", "direction", "show", "where", "tag", "since"}),
    ),
    "show": Word(call=pairs.show_one, takes="NAME", least=1, most=1),
    "compare": Word(call=pairs.show_differences, takes="NAME NAME", least=2, most=2),
    "tag": Word(
        call=live.tag, takes="NAME TAG…", least=2, most=None, options=frozenset({"remove"})
    ),
    "note": Word(call=live.note, takes="NAME TEXT", least=2, most=None),
    "rm": Word(call=live.rm, takes="NAME…", least=1, most=None, options=frozenset({"purge"})),
    "recover": Word(call=live.recover, options=frozenset({"now"})),
    "import": Word(
        call=exchange.import_runs, takes="PATH", least=1, most=1, options=frozenset({"source"})
    ),
    "export": Word(
        call=exchange.export,
        options=frozenset(
            {"format", "output", "rows", "show", "best", "direction", "where", "tag", "since"}
        )
        | {"all"},
    ),
}


@command(
    "experiments",
    "list experiments, or rank them by a metric",
    """\
cas experiments --list
cas experiments --best perplexity --top 5 --show lr,seed
cas experiments best accuracy --max
cas experiments tag exp_001 ablation baseline
cas experiments note exp_001 'diverged after step 900'
cas experiments rm exp_001 --purge
cas experiments recover
cas experiments import --from mlflow mlflow.db
cas experiments export --best perplexity --show lr,seed -o table.tex""",
    into=COMMANDS,
)
def _experiments_options(p: argparse.ArgumentParser) -> None:
    p.add_argument("words", nargs="*", metavar="WORD",
                   help=" | ".join(f"{name} {word.takes}".rstrip()
                                   for name, word in WORDS.items()))  # fmt: skip
    p.add_argument("--list", action="store_true", dest="list_all", help="list them (the default)")
    p.add_argument("--best", metavar="METRIC", help="rank by a column")
    p.add_argument("--top", type=count, default=10, metavar="N", help="how many (10)")
    way = p.add_mutually_exclusive_group()
    way.add_argument("--min", action="store_const", const="min", dest="direction",
                     help="the least is best")  # fmt: skip
    way.add_argument("--max", action="store_const", const="max", dest="direction",
                     help="the greatest is best")  # fmt: skip
    p.add_argument("--all", action="store_true", help="every record of a name, not the newest")
    p.add_argument("--remove", action="store_true", help="tag: take the tags away")
    p.add_argument("--purge", action="store_true", help="rm: remove the files too, for good")
    p.add_argument("--now", action="store_true",
                   help="recover: also what beat lately, if its process is gone")  # fmt: skip
    p.add_argument("--from", choices=("mlflow", "trackio", "csv", "parquet"), dest="source",
                   help="import: what wrote it; csv takes JSONL too")  # fmt: skip
    p.add_argument("--format", choices=("parquet", "csv", "jsonl", "latex", "md"),
                   help="export: by default as the file's ending says")  # fmt: skip
    p.add_argument("-o", "--output", metavar="FILE", help="export: to a file, not to stdout")
    p.add_argument("--rows", action="store_true",
                   help="export: all rows, not one for each experiment")  # fmt: skip
    p.add_argument("--show", metavar="NAME,NAME", help="these columns or parameters")
    p.add_argument("--where", metavar="SQL", help="only rows that meet a condition")
    p.add_argument("--tag", action="append", default=[], metavar="TAG",
                   help="only those that have the tag; repeat it for more")  # fmt: skip
    p.add_argument("--since", type=seconds, metavar="7d", help="only what was saved since")


def _experiments(args: argparse.Namespace, out: Terminal) -> int:
    """Call what a word of ``cas experiments`` stands for."""
    words = list(args.words)
    if not words:
        words = ["best", args.best] if args.best else ["list"]
    name, given = words[0], words[1:]
    word = WORDS.get(name)
    if word is None:
        close = near(name, WORDS)
        raise UsageError(
            f"cas experiments: no word {name!r}" + (f"; near: {', '.join(close)}" if close else ""),
            hint="cas experiments --help",
        )
    if len(given) < word.least or (word.most is not None and len(given) > word.most):
        raise UsageError(
            f"cas experiments {name}: expected {word.takes or 'nothing after it'}, "
            f"found {repr(' '.join(given)) if given else 'nothing'}",
            hint="cas experiments --help",
        )
    _check_options(args, name, word)
    return word.call(args, given, out)


def _check_options(args: argparse.Namespace, name: str, word: Word) -> None:
    """Raise UsageError for an option that another word has."""
    parser = argparse.ArgumentParser(add_help=False)
    _experiments_options(parser)
    for action in parser._actions:
        taken = not action.option_strings or action.dest in word.options
        if not taken and getattr(args, action.dest) != action.default:
            raise UsageError(
                f"cas experiments {name}: it takes no {action.option_strings[-1]}",
                hint="cas experiments --help",
            )


@command(
    "query",
    "ask the experiments by one SELECT",
    """\
cas query "SELECT experiment_name, MIN(perplexity) FROM experiments GROUP BY 1"
cas query --format csv "SELECT * FROM assets" """,
    into=COMMANDS,
)
def _query_options(p: argparse.ArgumentParser) -> None:
    p.add_argument("sql", metavar="SQL")
    p.add_argument("--format", choices=("table", "csv", "json", "parquet"), default="table")
    p.add_argument("--timeout", type=float, default=30, metavar="SECONDS", help="30 by default")
    p.add_argument("--memory", default="2GB", metavar="SIZE", help="2GB by default")


HANDLERS: dict[str, Callable[[argparse.Namespace, Terminal], int]] = {
    "experiments": _experiments,
    "query": results.query,
}
