"""The command on git's hooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cas.cli.options import command
from cas.errors import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from cas.cli.terminal import Terminal

__all__ = ["COMMANDS", "HANDLERS"]

COMMANDS: dict[str, tuple[str, str, Callable[[argparse.ArgumentParser], None]]] = {}


@command(
    "hook",
    "let git look after assets.lock",
    """\
cas hook install
cas hook uninstall
cas hook run pre-commit""",
    into=COMMANDS,
)
def _hook(p: argparse.ArgumentParser) -> None:
    p.add_argument("action", nargs="+", metavar="install | uninstall | run HOOK")


def hook(args: argparse.Namespace, out: Terminal) -> int:
    """Put git's hooks in, take them out, or be one of them."""
    from cas import hooks
    from cas.project import Project

    match args.action:
        case ["install"]:
            done = hooks.install(Project.find(args.project))
            out.say(f"git asks cas at {', '.join(done.hooks)} and at merges of assets.lock; "
                    "commit .gitattributes, so that others' merges do too")  # fmt: skip
        case ["uninstall"]:
            done = hooks.uninstall(Project.find(args.project))
            out.say(f"taken out: {', '.join(done.hooks)}" if done.hooks else "there was none")
        case ["run", name, *words]:
            return _run(name, words, out)
        case ["merge", base, ours, theirs, path]:
            return _merge([base, ours, theirs], path, out)
        case _:
            raise UsageError(f"{' '.join(args.action)!r}: expected install, uninstall or run HOOK",
                             hint="cas hook --help")  # fmt: skip
    if done.kept:
        out.say(f"your own hooks go on: {', '.join(done.kept)}")
    if out.json:
        out.document(done.json())
    return 0


def _run(name: str, words: list[str], out: Terminal) -> int:
    from cas import hooks
    from cas.hooks.script import REFUSED

    told = hooks.run(name, words)
    for note in told.notes:
        out.note(note)
    for why, hint in told.refused:
        out.error(why, hint)
    if told.refused:
        out.say(f"nothing was committed; git commit --no-verify passes the {name} hook over")
    return REFUSED if told.refused else 0


def _merge(files: list[str], path: str, out: Terminal) -> int:
    """Be git's merge driver; 1 leaves the files to git's own merge of text."""
    from cas import hooks
    from cas.hooks.script import REFUSED

    if path.endswith("pyproject.toml"):
        return 0 if hooks.merge_requests(*files) else 1
    undecided = hooks.merge_locks(*files)
    if not undecided:
        return 0
    out.error(
        f"assets.lock: both sides moved {', '.join(undecided)}",
        "cas lock --ours or cas lock --theirs decides, then: git add assets.lock",
    )
    return REFUSED


HANDLERS: dict[str, Callable[[argparse.Namespace, Terminal], int]] = {"hook": hook}
