"""The words of the command line: commands, options, help with examples."""

from __future__ import annotations

import argparse

from cas.cli import experiments, hooks, lineage, remotes, report, running, serving
from cas.cli.options import COMMANDS, Parser, command, count, general, numbers, seconds
from cas.errors import UsageError
from cas.names import near

__all__ = ["COMMANDS", "build", "options_of", "parse"]

OVERVIEW = """\
A content-addressed asset cache with a lockfile: datasets, models and tokenizers are stored
once by what they hold, assets.lock says exactly which bytes a project uses, and every
experiment records the assets it used.

  cas init                                begin a project
  cas add roneneldan/TinyStories          request, pin and pull a dataset or model of the Hub
  cas add runs/exp_001.pt                 take in a local file or directory by content
  cas add tokenizers/tinystories_bpe_4096 train a tokenizer on what is locked
  cas pull                                the lock → the store → views under assets/
  cas status                              is everything as it is locked
  cas query "SELECT …"                    ask the experiments, joined on asset hash
"""


def parse(argv: list[str]) -> argparse.Namespace:
    """Return what *argv* says; raise UsageError for a word that can't be taken."""
    parser = build(argv[0] if argv and argv[0] in COMMANDS else None)
    args: argparse.Namespace
    args, rest = parser.parse_known_args(argv)
    if rest:
        close = near(rest[0].partition("=")[0], options_of(parser)[args.command])
        meant = f"; near: {close[0]}" if close else ""
        raise UsageError(
            f"cas {args.command}: unexpected {rest[0]!r}{meant}", hint=f"cas {args.command} --help"
        )
    return args


def options_of(parser: Parser) -> dict[str, list[str]]:
    """Return the long options of each command."""
    return {
        name: sorted(o for one in sub._actions for o in one.option_strings if o[:2] == "--")
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for name, sub in action.choices.items()
    }


def build(only: str | None = None) -> Parser:
    """Return the whole parser, or the one of a single command: to make all takes 10 ms."""
    from cas import __version__

    parser = Parser(
        prog="cas", description=OVERVIEW, allow_abbrev=False, parents=[general(top=True)],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"cas {__version__}")
    subparsers = parser.add_subparsers(
        metavar="COMMAND", dest="command", required=True, parser_class=Parser
    )
    for name in [only] if only else COMMANDS:
        summary, examples, function = COMMANDS[name]
        lines = "\n".join(f"  {line}" for line in examples.strip().splitlines())
        sub = subparsers.add_parser(
            name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=f"examples:\n{lines}", allow_abbrev=False, parents=[general(top=False)],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        function(sub)
    return parser


@command("init", "make this directory a project", "cas init\ncas init papers/my_paper")
def _init(p: argparse.ArgumentParser) -> None:
    p.add_argument("directory", nargs="?", default=".", metavar="DIR")


@command(
    "add",
    "request, pin and pull an asset",
    """\
cas add roneneldan/TinyStories --include 'data/*.parquet'
cas add gpt2 --include '*.json' --include merges.txt --include model.safetensors
cas add dataset:glue --revision main
cas add runs/exp_001.pt
cas add ./corpus --name datasets/my_corpus
cas add tokenizers/tinystories_bpe_4096
cas add tokenizers/small --recipe bpe --input tinystories --vocab-size 3000
cas add tokens/tinystories_4096 --input tinystories --tokenizer tinystories_bpe_4096
cas add --from exp_002 models/exp_002.pt""",
)
def _add(p: argparse.ArgumentParser) -> None:
    p.add_argument("words", nargs="*", metavar="WHAT",
                   help="a Hub id, a path, or a derived asset's name")  # fmt: skip
    p.add_argument("--from", dest="source", metavar="EXPERIMENT",
                   help="WHAT is an output of it (the one there is)")  # fmt: skip
    p.add_argument("--kind", choices=("model", "dataset", "space"), help="of the Hub id")
    p.add_argument("--name", help="the asset's name, <kind>/<path>")
    p.add_argument("--revision", help="a branch, tag, refs/pr/N or commit")
    p.add_argument("--include", action="append", default=[], metavar="PATTERN",
                   help="only files that fit one; repeat it for more")  # fmt: skip
    p.add_argument("--exclude", action="append", default=[], metavar="PATTERN",
                   help="no files that fit one")  # fmt: skip
    p.add_argument("--group", action="append", default=[], metavar="GROUP", dest="groups",
                   help="a group for cas pull --group")  # fmt: skip
    p.add_argument("--no-pull", action="store_true", help="only pin it")
    p.add_argument("--dry-run", action="store_true", help="say files and bytes, change nothing")
    p.add_argument("--offline", action="store_true", help="take nothing from the network")
    p.add_argument("--jobs", type=count, default=8, metavar="N", help="downloads at a time (8)")
    local = p.add_argument_group("local files")
    local.add_argument("--move", action="store_true", help="take the files in, leave no copy")
    local.add_argument("--follow", action="store_true", help="import what symlinks point to")
    local.add_argument("--skip-special", action="store_true", help="leave out symlinks, FIFOs, …")
    recipe = p.add_argument_group("derived assets")
    recipe.add_argument(
        "--recipe", metavar="RECIPE", help="bpe or tokens; by default as the name says"
    )
    recipe.add_argument("--input", metavar="ASSET", help="the dataset whose text is read")
    recipe.add_argument("--tokenizer", metavar="ASSET", help="tokens: what encodes the text")
    recipe.add_argument("--vocab-size", type=int, metavar="N", help="bpe: tokens in all")
    recipe.add_argument("--min-frequency", type=int, metavar="N",
                        help="bpe: of a merged pair, 2 by default")  # fmt: skip
    recipe.add_argument("--special", action="append", metavar="TOKEN",
                        help="bpe: a special token; repeat it for more")  # fmt: skip
    recipe.add_argument("--subset", type=float, metavar="RATE",
                        help="bpe: a share of the documents, such as 0.1")  # fmt: skip
    recipe.add_argument("--eos", metavar="TOKEN",
                        help="tokens: what ends a document")  # fmt: skip
    recipe.add_argument("--errors", choices=("strict", "replace"),
                        help="of bytes that are not UTF-8; strict refuses them")  # fmt: skip
    recipe.add_argument("--split", metavar="SPLIT", help="train by default, or all")
    recipe.add_argument("--files", action="append", metavar="PATTERN",
                        help="the files to read; repeat it for more")  # fmt: skip
    recipe.add_argument("--column", metavar="COLUMN", help="the column that holds the text")


@command(
    "lock",
    "pin what the requests ask for, and write assets.lock",
    """\
cas lock
cas lock --update roneneldan/TinyStories
cas lock --update-all --dry-run
cas lock --update tinystories --build
cas lock --rebuild tokenizers/tinystories_bpe_4096
cas lock --check
cas lock --theirs""",
)
def _lock(p: argparse.ArgumentParser) -> None:
    p.add_argument("--update", nargs="+", action="extend", default=[], metavar="NAME",
                   help="resolve these again")  # fmt: skip
    p.add_argument("--update-all", action="store_true", help="resolve all again")
    p.add_argument("--build", action="store_true",
                   help="build again what is made of them, or all that is stale")  # fmt: skip
    p.add_argument("--rebuild", nargs="+", action="extend", default=[], metavar="NAME",
                   help="build derived assets again and compare with their lock")  # fmt: skip
    p.add_argument("--check", action="store_true",
                   help="no network, no write: is the lock what the requests ask for")  # fmt: skip
    p.add_argument("--dry-run", action="store_true", help="say what would move")
    p.add_argument("--offline", action="store_true", help="take nothing from the network")
    side = p.add_mutually_exclusive_group()
    side.add_argument("--ours", action="store_const", const="ours", dest="side",
                      help="decide what git's conflict markers leave open")  # fmt: skip
    side.add_argument("--theirs", action="store_const", const="theirs", dest="side",
                      help="by one side's pins")  # fmt: skip


@command(
    "pull",
    "bring locked assets into the store and make their views",
    """\
cas pull
cas pull gpt2 'datasets/nampdn-ai/*'
cas pull --group my_paper
cas pull --frozen --offline
cas pull --experiments""",
)
def _pull(p: argparse.ArgumentParser) -> None:
    p.add_argument("names", nargs="*", metavar="NAME", help="names or globs; all by default")
    p.add_argument("--group", action="append", default=[], metavar="GROUP", dest="groups",
                   help="all whose requests name it")  # fmt: skip
    p.add_argument("--frozen", action="store_true", help="do not compare with pyproject.toml")
    p.add_argument("--offline", action="store_true", help="take nothing from the network")
    p.add_argument("--force", action="store_true", help="replace views that are being edited")
    p.add_argument("--no-views", action="store_true", help="fill the store only")
    p.add_argument("--relink", action="store_true",
                   help="also move views into a store that can't be seen")  # fmt: skip
    p.add_argument("--jobs", type=count, default=8, metavar="N", help="downloads at a time (8)")
    p.add_argument("--experiments", action="store_true",
                   help="experiments of the remotes instead, with what they name")  # fmt: skip


@command(
    "status", "tell whether everything is as it is locked",
    "cas status\ncas status --json\ncas status --remote",
)  # fmt: skip
def _status(p: argparse.ArgumentParser) -> None:
    p.add_argument("--remote", action="store_true",
                   help="ask the remotes what they have; what has no second copy")  # fmt: skip


@command("list", "list the pinned assets", "cas list\ncas list --json")
def _list(p: argparse.ArgumentParser) -> None:
    del p


@command("files", "list the files of an asset", "cas files gpt2\ncas files tinystories --json")
def _files(p: argparse.ArgumentParser) -> None:
    p.add_argument("name", metavar="NAME")


@command("path", "print where the bytes of an asset are", "cas path tinystories")
def _path(p: argparse.ArgumentParser) -> None:
    p.add_argument("name", metavar="NAME")


@command("diff", "show what differs between two locks", "cas diff\ncas diff main\ncas diff v1 v2")
def _diff(p: argparse.ArgumentParser) -> None:
    p.add_argument("revisions", nargs="*", metavar="REV",
                   help="none: git's HEAD and the file; one: it and the file")  # fmt: skip


@command("outdated", "ask the Hub which pins would move", "cas outdated\ncas outdated gpt2")
def _outdated(p: argparse.ArgumentParser) -> None:
    p.add_argument("names", nargs="*", metavar="NAME")


@command("why", "tell what a hash is and who refers to it", "cas why 3f2a9c\ncas why gpt2")
def _why(p: argparse.ArgumentParser) -> None:
    p.add_argument("hash", metavar="HASH", help="six digits or more, or a name")


@command(
    "edit",
    "replace a view by a writable copy",
    """\
cas edit gpt2
cas add assets/models/gpt2 --name models/gpt2   # take the edit in
cas pull --force gpt2                           # or go back""",
)
def _edit(p: argparse.ArgumentParser) -> None:
    p.add_argument("name", metavar="NAME")


@command(
    "export",
    "copy an asset out, complete and writable",
    """\
cas export gpt2 /tmp/gpt2
cas export --all /tmp/assets""",
)
def _export(p: argparse.ArgumentParser) -> None:
    p.add_argument("words", nargs="+", metavar="NAME DIR")
    p.add_argument("--all", action="store_true", help="every asset, each below DIR by its name")


@command("rm", "take assets out of the project", "cas rm gpt2")
def _rm(p: argparse.ArgumentParser) -> None:
    p.add_argument("names", nargs="+", metavar="NAME")


@command(
    "adopt",
    "make assets of files that lie under assets/ already",
    """\
cas adopt --dry-run
cas adopt
cas adopt assets/datasets/roneneldan/TinyStories --no-hub""",
)
def _adopt(p: argparse.ArgumentParser) -> None:
    p.add_argument("paths", nargs="*", metavar="PATH")
    p.add_argument("--dry-run", action="store_true", help="only say what it would do")
    p.add_argument("--no-hub", action="store_true", help="do not ask the Hub for the same files")


COMMANDS.update(remotes.COMMANDS)


@command(
    "verify",
    "read back what is stored",
    """\
cas verify
cas verify --full
cas verify gpt2 --fast --repair
cas verify --remote lab --full --repair""",
)
def _verify(p: argparse.ArgumentParser) -> None:
    p.add_argument("names", nargs="*", metavar="NAME", help="the whole store by default")
    how = p.add_mutually_exclusive_group()
    how.add_argument("--fast", action="store_const", const="fast", dest="level",
                     help="XXH3 of every byte")  # fmt: skip
    how.add_argument("--full", action="store_const", const="full", dest="level",
                     help="SHA-256 of every byte")  # fmt: skip
    p.add_argument("--repair", action="store_true", help="fetch damaged files again")
    p.add_argument("--cold", action="store_true",
                   help="read the disk, not what memory holds of it")  # fmt: skip
    p.add_argument("--remote", metavar="REMOTE",
                   help="what a remote has of the locked assets, instead of the store")  # fmt: skip


@command(
    "gc",
    "remove from the store what nothing refers to",
    """\
cas gc --dry-run
cas gc
cas gc --older-than 30d""",
)
def _gc(p: argparse.ArgumentParser) -> None:
    p.add_argument("--dry-run", action="store_true", help="only say what would go")
    p.add_argument("--older-than", type=seconds, default=seconds("14d"), metavar="14d",
                   help="keep what was used or published since")  # fmt: skip
    p.add_argument("--local-too", action="store_true",
                   help="also what no other source is known to have")  # fmt: skip
    p.add_argument("--ignore-experiments", action="store_true",
                   help="do not keep what experiments used")  # fmt: skip


@command(
    "store",
    "tell where the store is and what it holds",
    """\
cas store
cas store --largest 10
cas store move /data/cas
cas store init --shared /data/cas --group ml
cas store rm""",
)
def _store(p: argparse.ArgumentParser) -> None:
    p.add_argument("action", nargs="*", metavar="init | move DIR | rm")
    p.add_argument("--largest", type=count, nargs="?", const=10, default=0, metavar="N",
                   help="also the N largest trees (10)")  # fmt: skip
    p.add_argument("--shared", metavar="DIR", help="init: a store that a group writes together")
    p.add_argument("--group", metavar="GROUP", help="init: that group, by name or number")
    p.add_argument("--local-too", action="store_true",
                   help="rm: also what no other source is known to have")  # fmt: skip


@command(
    "tokens",
    "say what tokenizers make of a dataset's text",
    """\
cas tokens tinystories
cas tokens tinystories --tokenizer gpt2 --tokenizer tinystories_bpe_4096
cas tokens tinystories --sizes 1024,4096,16384 --plot report
cas tokens tinystories --parquet tokens.parquet --json""",
)
def _tokens(p: argparse.ArgumentParser) -> None:
    p.add_argument("name", metavar="NAME", help="the dataset")
    p.add_argument("--tokenizer", action="append", default=[], metavar="TOKENIZER",
                   dest="tokenizers", help="an asset, or a path to a tokenizer.json; repeat it "
                   "for more (gpt2 if locked, else those made of the dataset)")  # fmt: skip
    p.add_argument("--sizes", type=numbers, default=(), metavar="N,N",
                   help="also train byte-level BPE of these vocabulary sizes")  # fmt: skip
    p.add_argument("--split", default="train", metavar="SPLIT", help="train by default, or all")
    p.add_argument("--column", metavar="COLUMN", help="the column that holds the text")
    p.add_argument("--plot", metavar="DIR", help="write plots and one page with them")
    p.add_argument("--parquet", metavar="FILE", help="write one row a tokenizer")


COMMANDS.update(experiments.COMMANDS)
COMMANDS.update(lineage.COMMANDS)
COMMANDS.update(report.COMMANDS)
COMMANDS.update(running.COMMANDS)
COMMANDS.update(hooks.COMMANDS)
COMMANDS.update(serving.COMMANDS)


@command(
    "completion",
    "print a script that completes cas's words",
    """\
cas completion bash > ~/.local/share/bash-completion/completions/cas
cas completion zsh > ~/.zfunc/_cas
cas completion fish > ~/.config/fish/completions/cas.fish""",
)
def _completion(p: argparse.ArgumentParser) -> None:
    p.add_argument("shell", choices=("bash", "zsh", "fish"))
