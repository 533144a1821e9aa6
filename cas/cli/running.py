"""The command that runs a program with what is locked."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from cas.cli.options import command
from cas.cli.program import run_program

if TYPE_CHECKING:
    from collections.abc import Callable

    from cas.cli.terminal import Terminal

__all__ = ["COMMANDS", "HANDLERS"]

COMMANDS: dict[str, tuple[str, str, Callable[[argparse.ArgumentParser], None]]] = {}


@command(
    "run",
    "run a program whose Hugging Face names mean what is locked",
    """\
cas run -- python train.py
cas run --add -- python train.py
cas run --allow-unlocked -- python train.py
cas run --at exp_001 -- python eval.py""",
    into=COMMANDS,
)
def _run_options(p: argparse.ArgumentParser) -> None:
    p.add_argument("--add", action="store_true",
                   help="lock what it asks for, at what the Hub has now")  # fmt: skip
    p.add_argument("--allow-unlocked", action="store_true",
                   help="let it have from the Hub what is not locked, and record that")  # fmt: skip
    p.add_argument("--at", metavar="EXPERIMENT", help="names mean what that experiment used")
    p.add_argument("--frozen", action="store_true", help="do not compare with pyproject.toml")
    p.add_argument("program", nargs=argparse.REMAINDER, metavar="-- CMD…",
                   help="the program and its arguments")  # fmt: skip


def _run(args: argparse.Namespace, out: Terminal) -> int:
    return run_program(
        args.program[1:] if args.program[:1] == ["--"] else args.program,
        out,
        where=args.project,
        add=args.add,
        allow_unlocked=args.allow_unlocked,
        at=args.at,
        frozen=args.frozen,
    )


HANDLERS: dict[str, Callable[[argparse.Namespace, Terminal], int]] = {"run": _run}
