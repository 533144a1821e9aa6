"""What ``cas pull`` does with its words.

A pull of everything, which is what is typed all day, is read here without the parser of all
commands: to make that takes longer than the pull of what the store has.
"""

from __future__ import annotations

from cas.cli.terminal import Terminal, count, human

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from cas.installer import Pulled

__all__ = ["plainly", "pull"]


def plainly(words: Sequence[str]) -> int:
    """Pull everything; *words* are of ``warm.PLAIN``."""
    from cas import installer
    from cas.project import Project

    out = Terminal(quiet=not {"-q", "--quiet"}.isdisjoint(words), colour="auto",
                   json="--json" in words)  # fmt: skip
    try:
        pulled = installer.pull(
            Project.find(),
            frozen="--frozen" in words,
            offline="--offline" in words,
            progress=out,
        )
        return _tell(pulled, out)
    finally:
        out.end()


def pull(args: argparse.Namespace, out: Terminal) -> int:
    """Pull what the words name."""
    from cas import installer
    from cas.project import Project

    if args.experiments:
        from cas.cli.remotes import pull_experiments

        return pull_experiments(args, out)
    pulled = installer.pull(
        Project.find(args.project),
        args.names,
        groups=args.groups,
        frozen=args.frozen,
        offline=args.offline,
        force=args.force,
        views=not args.no_views,
        relink=args.relink,
        jobs=args.jobs,
        progress=out,
    )
    return _tell(pulled, out)


def _tell(pulled: Pulled, out: Terminal) -> int:
    if out.json:
        out.document(pulled.json())
    what = f"{count(pulled.assets, 'asset')} in place"
    if pulled.linked:
        what += f", {pulled.linked} linked"
    if pulled.downloaded_files:
        what += f"; {count(pulled.downloaded_files)}, {human(pulled.downloaded_bytes)} downloaded"
    out.say(what)
    pulled.raise_if_incomplete()
    return 0
