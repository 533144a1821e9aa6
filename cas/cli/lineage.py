"""The words on what was made of what: lineage, stale, mark, checkout, reproduce."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cas.cli.options import command
from cas.cli.terminal import count, join
from cas.errors import typed

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from cas.cli.terminal import Terminal
    from cas.project import Project
    from cas.reproduce import Had

__all__ = ["COMMANDS", "HANDLERS", "warn_of_bad"]

MOST_TOLD = 10  # warnings of one command

COMMANDS: dict[str, tuple[str, str, Callable[[argparse.ArgumentParser], None]]] = {}


@command(
    "lineage",
    "show what an asset was made of, and what was made of it",
    """\
cas lineage models/exp_002.pt --up
cas lineage roneneldan/TinyStories --down
cas lineage roneneldan/TinyStories@0123abc --down --experiments
cas lineage roneneldan/TinyStories --down --any
cas lineage tinystories_bpe_4096 --svg > lineage.svg""",
    into=COMMANDS,
)
def _lineage_options(p: argparse.ArgumentParser) -> None:
    p.add_argument("name", metavar="NAME", help="an asset, NAME@COMMIT, a hash, or an experiment")
    way = p.add_mutually_exclusive_group()
    way.add_argument("--up", action="store_const", const="up", dest="direction",
                     help="what it was made of")  # fmt: skip
    way.add_argument("--down", action="store_const", const="down", dest="direction",
                     help="what was made of it (both, by default)")  # fmt: skip
    p.add_argument("--any", action="store_true", help="every tree that had the name")
    form = p.add_mutually_exclusive_group()
    form.add_argument("--experiments", action="store_true", help="print experiments' names only")
    form.add_argument("--svg", action="store_true", help="print one SVG")
    form.add_argument("--mermaid", action="store_true", help="print a Mermaid flowchart")


def _lineage(args: argparse.Namespace, out: Terminal) -> int:
    from cas import graph

    project = _project(args)
    found = graph.lineage(
        project, args.name, direction=args.direction or "both", every=args.any, warn=out.note
    )
    warn_of_bad(project, {node["id"] for node in found["nodes"]}, out)
    if out.json:
        out.document(found)
    elif args.experiments:
        for name in dict.fromkeys(n["name"] for n in found["nodes"] if n["type"] == "experiment"):
            out.data(graph.plain(name))
    elif args.svg:
        out.data(graph.as_svg(found).rstrip("\n"))
    elif args.mermaid:
        out.data(graph.as_mermaid(found).rstrip("\n"))
    else:
        for line in graph.as_tree(found):
            out.data(line)
    return 0


@command(
    "stale",
    "list experiments whose assets are no longer what the lock pins",
    "cas stale\ncas stale --check",
    into=COMMANDS,
)
def _stale_options(p: argparse.ArgumentParser) -> None:
    p.add_argument("--check", action="store_true", help="exit 1 if there are any")


def _stale(args: argparse.Namespace, out: Terminal) -> int:
    from cas import graph

    project = _project(args)
    rows = graph.stale(project, out.note)
    warn_of_bad(project, None, out)
    if out.json:
        out.document(rows)
    elif not rows:
        out.say("every experiment used what the lock pins")
    else:
        out.table(
            [(r["name"], r["asset"], r["used"][3:15], r["locked"] and r["locked"][3:15])
             for r in rows],
            ("EXPERIMENT", "ASSET", "USED", "LOCKED"),
        )  # fmt: skip
    return 1 if rows and args.check else 0


@command(
    "mark",
    "mark an asset bad, and tell what was made of it",
    """\
cas mark bad roneneldan/TinyStories --reason 'train contains validation'
cas mark bad roneneldan/TinyStories@0123abc --reason 'cut off at 1 GB'""",
    into=COMMANDS,
)
def _mark_options(p: argparse.ArgumentParser) -> None:
    p.add_argument("how", choices=("bad",), help="the only mark there is")
    p.add_argument("name", metavar="NAME", help="an asset, NAME@COMMIT, or a hash")
    p.add_argument("--reason", required=True, metavar="TEXT", help="what everybody is told")


def _mark(args: argparse.Namespace, out: Terminal) -> int:
    from cas import resolver

    marked = resolver.mark_bad(_project(args), args.name, args.reason)
    if out.json:
        out.document(marked)
        return 0
    out.data(f"{marked['name']}  {marked['tree'][:15]}  {marked['reason']}")
    for key, what in (("assets", "asset"), ("experiments", "experiment")):
        if marked[key]:
            out.data(f"  {count(len(marked[key]), what)} made of it: {join(marked[key], 20)}")
    out.say("it is in pyproject.toml, [tool.cas.bad]; a line taken out there unmarks it")
    return 0


@command(
    "checkout",
    "make views of the exact trees that an experiment used",
    """\
cas checkout exp_001
cas checkout exp_001 --to /tmp/exp_001 --offline""",
    into=COMMANDS,
)
def _checkout_options(p: argparse.ArgumentParser) -> None:
    p.add_argument("name", metavar="EXPERIMENT", help="its name, or at least 6 digits of its id")
    p.add_argument("--to", metavar="DIR", help="instead of assets/checkouts/EXPERIMENT")
    p.add_argument("--offline", action="store_true", help="take nothing from the network")


def _checkout(args: argparse.Namespace, out: Terminal) -> int:
    from cas import reproduce

    project = _project(args)
    found, error = reproduce.checkout(
        project, args.name, to=args.to, offline=args.offline, progress=out
    )
    warn_of_bad(project, {had.tree for had in found}, out)
    if out.json:
        out.document([had.json() for had in found])
    elif found:
        _table_of_trees(found, out)
    else:
        out.say("it used no assets")
    if error:
        raise error
    return 0


def _table_of_trees(found: list[Had], out: Terminal) -> None:
    out.table(
        [(had.name, had.tree[:15], had.state, had.path) for had in found],
        ("NAME", "TREE", "STATE", "PATH"),
    )


@command(
    "reproduce",
    "make a directory in which an experiment can be run again",
    "cas reproduce exp_001 /tmp/exp_001\ncas reproduce exp_001 ../again --offline",
    into=COMMANDS,
)
def _reproduce_options(p: argparse.ArgumentParser) -> None:
    p.add_argument("name", metavar="EXPERIMENT", help="its name, or at least 6 digits of its id")
    p.add_argument("directory", metavar="DIR", help="absent or empty; it becomes a git worktree")
    p.add_argument("--offline", action="store_true", help="take nothing from the network")


def _reproduce(args: argparse.Namespace, out: Terminal) -> int:
    from cas import reproduce

    made = reproduce.reproduce(
        _project(args), args.name, args.directory, offline=args.offline, progress=out
    )
    if out.json:
        out.document(made.json())
    else:
        if made.trees:
            _table_of_trees(made.trees, out)
        if made.packages:
            out.say(f"its packages: pip install -r {typed(made.packages)}")
        if made.command:
            out.data(f"cd {typed(made.directory)} && {made.command}")
    if error := made.error():
        raise error
    return 0


def warn_of_bad(project: Project, nodes: set[str] | None, out: Terminal) -> None:
    """Tell which of *nodes* (trees, ids of experiments; None: any) are bad, or made of such."""
    from cas.project.bad import bad_marks

    if not bad_marks(project.read_settings()):
        return
    from cas import graph

    taints = graph.tainted(project).items()
    told = list(dict.fromkeys(t.why for node, t in taints if nodes is None or node in nodes))
    for why in told[:MOST_TOLD]:
        out.note(why)
    if len(told) > MOST_TOLD:
        out.note(f"and {len(told) - MOST_TOLD} more are bad, or made of what is")


def _project(args: argparse.Namespace) -> Project:
    from cas.project import Project

    return Project.find(args.project)


HANDLERS: dict[str, Callable[[argparse.Namespace, Terminal], int]] = {
    "lineage": _lineage,
    "stale": _stale,
    "mark": _mark,
    "checkout": _checkout,
    "reproduce": _reproduce,
}
