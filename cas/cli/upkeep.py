"""The commands on the store as a whole: why, verify, gc, store; and completion."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from cas.cli import remotes, stores
from cas.cli.terminal import count, human, join
from cas.project import Project

if TYPE_CHECKING:
    import argparse

    from cas.cli.terminal import Terminal
    from cas.store import Level

__all__ = ["completion", "gc", "store", "verify", "why"]


def why(args: argparse.Namespace, out: Terminal) -> int:
    """Tell what a hash is and who refers to it."""
    from cas import installer
    from cas.errors import NoProject
    from cas.project import open_user_store

    try:
        project: Project | None = Project.find(args.project)
    except NoProject:
        project = None
    told = installer.why(project, project.store if project else open_user_store(), args.hash)
    if out.json:
        out.document(told)
        return 0
    out.data(f"{told['kind']} {told['hash']}")
    for key in ("assets", "projects", "experiments"):
        for name in told[key]:
            out.data(f"  {key.removesuffix('s')}  {name}")
    return 0


def verify(args: argparse.Namespace, out: Terminal) -> int:
    """Read back what is stored; exit 1 for damage."""
    from cas import installer

    if args.remote:
        return remotes.verify(args, out)
    level: Level = args.level or "stat"
    result, names = installer.verify_assets(
        Project.find(args.project),
        args.names,
        level=level,
        repair=args.repair,
        cold=args.cold,
        progress=out,
    )
    report = installer.verify_json(result, names)
    remotes.tell_bad(report, out)
    how = {"stat": "by size, time and mode; --full reads every byte", "fast": "by XXH3"}
    told = f" ({how[level]})" if level in how else ""
    out.say(
        f"{report['objects']} objects, {human(report['bytes'])}: {len(report['bad'])} bad{told}"
    )
    if report["bad"] and args.repair:
        reason = report["bad"][-1]["reason"]
        out.error(f"{len(report['bad'])} could not be repaired: {reason}", result.hint)
    if report["bad"] and not args.repair:
        out.say("cas verify --repair fetches them again")
    return 1 if report["bad"] else 0


def gc(args: argparse.Namespace, out: Terminal) -> int:
    """Remove from the store what nothing refers to."""
    from cas import installer
    from cas.project import open_user_store

    collected = installer.collect_garbage(
        open_user_store(),
        older_than=timedelta(seconds=args.older_than),
        dry_run=args.dry_run,
        local_too=args.local_too,
        ignore_experiments=args.ignore_experiments,
    )
    if out.json:
        out.document(collected.json())
    what = "would go" if args.dry_run else "went"
    out.say(f"{count(collected.trees, 'tree')} and {count(collected.objects, 'object')} {what}, "
            f"{human(collected.bytes)}")  # fmt: skip
    if collected.only_copies:
        kept = join((f"t1:{digest[:12]}" for digest in collected.only_copies), 3)
        what = "tree that is" if len(collected.only_copies) == 1 else "trees that are"
        out.note(f"kept {len(collected.only_copies)} {what} known to no other source ({kept}): "
                 "cas gc --local-too")  # fmt: skip
    collected.raise_if_incomplete()
    return 0


def store(args: argparse.Namespace, out: Terminal) -> int:
    """Tell where the store is and what it holds; move or remove it."""
    from cas import overview
    from cas.errors import UsageError
    from cas.installer import move_store, remove_store
    from cas.project import open_user_store

    match args.action:
        case []:
            report = overview.store_report(open_user_store(), largest=args.largest)
        case ["move", directory]:
            report = {"path": move_store(open_user_store(), directory, progress=out)}
            out.say(f"the store is {report['path']} now")
        case ["init"]:
            report = stores.init(args, out)
        case ["rm"]:
            report = {"path": remove_store(open_user_store(), local_too=args.local_too)}
            out.say(f"{report['path']} was removed")
        case _:
            raise UsageError(f"{' '.join(args.action)!r}: expected 'init', 'move DIR' or 'rm'",
                             hint="cas store --help")  # fmt: skip
    if out.json:
        out.document(report)
    elif not args.action:
        _print_store(report, out)
    return 0


def _print_store(report: dict[str, Any], out: Terminal) -> None:
    out.data(report["path"])
    for line in stores.told(report):
        out.data(line)
    out.data(f"{count(report['objects'], 'object')}, {human(report['bytes'])}, "
             f"in {count(report['trees'], 'tree')}")  # fmt: skip
    if report["projects"]:
        out.table(
            [
                (r["path"], r["trees"], human(r["bytes"]), r["last_seen"])
                for r in report["projects"]
            ],
            ("PROJECT", "TREES", "SIZE", "LAST SEEN"),
            " rr",
        )
    for row in report.get("largest", []):
        out.data(f"{human(row['bytes']):>10}  {row['tree'][:15]}  {row['origin']}")


def completion(args: argparse.Namespace, out: Terminal) -> int:
    """Print a completion script."""
    from cas.cli.completion import script

    out.data(script(args.shell))
    return 0
