"""The command that writes the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cas.cli.options import command
from cas.cli.terminal import count, human

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from cas.cli.terminal import Terminal

__all__ = ["COMMANDS", "HANDLERS"]

COMMANDS: dict[str, tuple[str, str, Callable[[argparse.ArgumentParser], None]]] = {}


@command(
    "report",
    "write experiments, assets and lineage as one HTML file",
    "cas report\ncas report -o experiments.html",
    into=COMMANDS,
)
def _report_options(p: argparse.ArgumentParser) -> None:
    p.add_argument("-o", "--output", default="report.html", metavar="FILE",
                   help="report.html by default; what is there is replaced")  # fmt: skip


def _report(args: argparse.Namespace, out: Terminal) -> int:
    from cas import report
    from cas.project import Project

    made = report.report(Project.find(args.project), args.output, warn=out.note, progress=out)
    if out.json:
        out.document(made.json())
    else:
        out.say(
            f"{made.path}: {count(made.experiments, 'experiment')}, "
            f"{count(made.assets, 'asset')}, {human(made.bytes)}"
        )
    return 0


HANDLERS: dict[str, Callable[[argparse.Namespace, Terminal], int]] = {"report": _report}
