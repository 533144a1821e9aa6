"""The commands on assets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cas.cli import (
    analysis,
    experiments,
    hooks,
    lineage,
    pulling,
    remotes,
    report,
    running,
    serving,
    upkeep,
)
from cas.cli.terminal import count, human, join
from cas.errors import UsageError, typed

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from cas.cli.terminal import Terminal
    from cas.lockfile import Asset
    from cas.project import Project
    from cas.resolver import Move

__all__ = ["HANDLERS"]

RECIPE_OPTIONS = (
    "vocab_size", "min_frequency", "special", "split", "files", "column", "subset", "errors", "eos",
)  # fmt: skip
_PULL = "cas pull brings what is missing"
WAY_BACK = {
    "not locked": "cas lock pins what is requested",
    "not pulled": _PULL,
    "view missing": _PULL,
    "view differs": _PULL,
    "damaged": "cas verify --repair fetches damaged files again",
    "blocked": "cas adopt takes in what lies in the place of a view",
    "edited": "cas add VIEW --name NAME takes an edit in; cas pull --force NAME goes back",
    "stale": "cas lock --build makes again what is stale",
}


def _project(args: argparse.Namespace) -> Project:
    from cas.project import Project

    return Project.find(args.project)


def _init(args: argparse.Namespace, out: Terminal) -> int:
    from cas import project

    made = project.init(args.directory)
    out.say(f"{made.root} is a project: pyproject.toml [tool.cas], assets.lock, assets/")
    return 0


def _add(args: argparse.Namespace, out: Terminal) -> int:
    from cas import resolver

    if len(args.words) != 1 and not (args.source and not args.words):
        raise UsageError(
            f"cas add: expected one WHAT, found {' '.join(args.words) or 'none'}",
            hint="cas add --help",
        )
    word = args.words[0] if args.words else None
    recipe = {key: getattr(args, key) for key in RECIPE_OPTIONS if getattr(args, key) is not None}
    options = resolver.AddOptions(
        kind=args.kind,
        name=args.name,
        revision=args.revision,
        include=tuple(args.include),
        exclude=tuple(args.exclude),
        groups=tuple(args.groups),
        recipe=args.recipe,
        input=args.input,
        tokenizer=args.tokenizer,
        options=tuple(sorted((k, tuple(v) if isinstance(v, list) else v)
                             for k, v in recipe.items())),
        follow=args.follow,
        skip_special=args.skip_special,
        move=args.move,
        pull=not args.no_pull,
        dry_run=args.dry_run,
        offline=args.offline,
        jobs=args.jobs,
    )  # fmt: skip
    if args.source:
        moves = resolver.add_from(_project(args), args.source, word, options, progress=out)
    else:
        moves = resolver.add(_project(args), word or "", options, progress=out)
    _print_moves(
        moves, out, nothing="" if args.dry_run else "it is there already", dry_run=args.dry_run
    )
    return 0


def _lock(args: argparse.Namespace, out: Terminal) -> int:
    from cas import resolver

    project = _project(args)
    if args.check:
        resolver.check(project)
        out.say("assets.lock is what pyproject.toml asks for")
        return 0
    options = resolver.LockOptions(
        update=tuple(args.update),
        update_all=args.update_all,
        build=args.build,
        dry_run=args.dry_run,
        side=args.side,
        rebuild=tuple(args.rebuild),
        offline=args.offline,
    )
    moves = resolver.lock(project, options, progress=out)
    _print_moves(moves, out, nothing="nothing moved", dry_run=args.dry_run)
    if any(move.new for move in moves) and not args.dry_run:
        out.say("cas pull brings it here")
    return 0


def _print_moves(moves: list[Move], out: Terminal, *, nothing: str, dry_run: bool) -> None:
    if out.json:
        out.document([move.json() for move in moves])
        return
    if not moves and nothing:
        out.say(nothing)
    for move in moves:
        old, new = move.old, move.new
        if new is None:
            out.data(f"{out.paint('-', 'red')} {move.name}")
            continue
        pins = " → ".join(dict.fromkeys(_pin(asset) for asset in (old, new) if asset))
        if old is not None and old.tree == new.tree:
            pins += "  the same bytes, another request"
        mark = "+" if old is None else "~"
        out.data(f"{out.paint(mark, 'green')} {move.name}  {pins}")
        sizes = _sizes(new)
        if old is not None and old.tree != new.tree:
            sizes = f"{_sizes(old)} → {sizes}"
            for sign, paths in (("+", move.added), ("-", move.removed), ("~", move.changed)):
                for path in paths[:20]:
                    out.data(f"    {sign} {path}")
                if len(paths) > 20:
                    out.data(f"    {sign} … {len(paths) - 20} more")
        out.data(f"    {sizes}" + (" (nothing was written)" if dry_run else ""))
        if old is not None and move.code:
            out.note(f"{move.name}: came with files that can run code when they are loaded: "
                     f"{join(move.code)}")  # fmt: skip


def _sizes(asset: Asset) -> str:
    return f"{count(asset.files)}, {human(asset.size)}"


def _pin(asset: Asset) -> str:
    return f"commit {asset.commit[:12]}" if asset.commit else f"{asset.tree_id[:15]}"


def _status(args: argparse.Namespace, out: Terminal) -> int:
    from cas import overview

    project = _project(args)
    report = overview.status(project, ask=args.remote, progress=out)
    lineage.warn_of_bad(project, {row["tree"] for row in report["assets"]}, out)
    wrong = [row for row in report["assets"] if row["state"] not in ("ok",)]
    if out.json:
        out.document(report)
    else:
        for row in wrong:
            out.data(f"{row['name']}  {out.paint(row['state'], 'yellow')}  {row['detail']}")
        alone = [row["name"] for row in report["assets"] if row["second_copy"] is False]
        if not wrong:
            are = "is as it is" if len(report["assets"]) == 1 else "are as they are"
            out.say(f"{count(len(report['assets']), 'asset')} {are} locked")
        for way in dict.fromkeys(WAY_BACK[row["state"]] for row in wrong):
            out.say(way)
        if args.remote:
            remotes.tell_copies(report, out)
        elif alone and args.verbose:
            out.note(f"no second copy is known of {join(alone)}")
    return 1 if wrong else 0


def _list(args: argparse.Namespace, out: Terminal) -> int:
    from cas import overview

    rows = overview.assets(_project(args))
    if out.json:
        out.document(rows)
        return 0
    if not rows:
        out.say("no assets yet: cas add ORG/NAME")
        return 0
    out.table(
        [
            (
                row["name"],
                row["files"],
                human(row["size"]),
                "yes" if row["present"] else "no",
                row["commit"][:12] if row["commit"] else "-",
                row["tree"][:15],
            )
            for row in rows
        ],
        ("NAME", "FILES", "SIZE", "HERE", "COMMIT", "TREE"),
        " rr",
    )
    return 0


def _files(args: argparse.Namespace, out: Terminal) -> int:
    from cas import overview

    rows = overview.files(_project(args), args.name)
    if out.json:
        out.document(rows)
        return 0
    out.table(
        [(r["sha256"][:12], human(r["size"]) if r["size"] is not None else None, r["path"])
         for r in rows],
        ("SHA256", "SIZE", "PATH"),
        " r",
    )  # fmt: skip
    return 0


def _path(args: argparse.Namespace, out: Terminal) -> int:
    found = _project(args).path(args.name)
    if out.json:
        out.document({"path": found})
    else:
        out.data(found)
    return 0


def _diff(args: argparse.Namespace, out: Terminal) -> int:
    from cas import overview

    rows = overview.changes(_project(args), args.revisions)
    if out.json:
        out.document(rows)
        return 0
    if not rows:
        out.say("nothing differs")
    for row in rows:
        mark = "+" if row["old"] is None else "-" if row["new"] is None else "~"
        trees = " → ".join(tree[:15] for tree in (row["old"], row["new"]) if tree)
        out.data(f"{mark} {row['name']}  {trees}")
        if row["added"] is None:
            out.note(
                f"{row['name']}: its listings are not all in the store, so its files are not told"
            )
            continue
        for sign, key in (("+", "added"), ("-", "removed"), ("~", "changed")):
            for path in row[key]:
                out.data(f"    {sign} {path}")
    return 0


def _outdated(args: argparse.Namespace, out: Terminal) -> int:
    from cas import resolver

    rows = resolver.outdated(_project(args), args.names, progress=out)
    if out.json:
        out.document(rows)
    elif not rows:
        out.say("every pin is what its revision is now")
    else:
        out.table(
            [(r["name"], r["revision"], r["locked"][:12], r["now"][:12], human(r["size"]))
             for r in rows],
            ("NAME", "REVISION", "LOCKED", "NOW", "SIZE"),
        )  # fmt: skip
    return 0


def _edit(args: argparse.Namespace, out: Terminal) -> int:
    from cas import installer

    project = _project(args)
    path = installer.edit(project, args.name, progress=out)
    if out.json:
        out.document({"path": path})
    else:
        out.data(path)
    name = project.read_lock().find(args.name).name
    takes, back = f"cas add {typed(path)} --name {typed(name)}", f"cas pull --force {typed(name)}"
    out.say(f"it is a writable copy; {takes} takes it in, {back} goes back")
    return 0


def _export(args: argparse.Namespace, out: Terminal) -> int:
    from cas import installer

    if len(args.words) != (1 if args.all else 2):
        raise UsageError("expected NAME DIR, or --all DIR", hint="cas export --help")
    word = None if args.all else args.words[0]
    paths = installer.export(_project(args), word, args.words[-1], progress=out)
    if out.json:
        out.document(paths)
    else:
        for path in paths:
            out.data(path)
    return 0


def _rm(args: argparse.Namespace, out: Terminal) -> int:
    from cas import resolver

    gone = resolver.remove(_project(args), args.names)
    if out.json:
        out.document([{"name": name} for name, _ in gone])
    for name, left in gone:
        if not out.json:
            out.data(f"{out.paint('-', 'red')} {name}")
        if left:
            out.note(f"{left} is your own, and was left alone")
    return 0


def _adopt(args: argparse.Namespace, out: Terminal) -> int:
    from cas import resolver

    rows = resolver.adopt(
        _project(args),
        args.paths,
        ask_hub=not args.no_hub,
        dry_run=args.dry_run,
        progress=out,
    )
    if out.json:
        out.document(
            [
                {
                    "name": row.name,
                    "path": row.path,
                    "files": row.files,
                    "size": row.size,
                    "tree": row.move.new.tree_id if row.move and row.move.new else None,
                    "commit": row.move.new.commit if row.move and row.move.new else None,
                }
                for row in rows
            ]
        )
    elif not rows:
        out.say("nothing lies under assets/ that could be adopted")
    for row in rows:
        if row.error:
            out.error(str(row.error), row.error.hint)
        elif not out.json:
            pin = f"  {_pin(row.move.new)}" if row.move and row.move.new else ""
            out.data(f"{row.path} → {row.name}  {count(row.files)}, {human(row.size)}{pin}")
    if args.dry_run and rows:
        out.say("nothing was done: cas adopt does it")
    return 1 if any(row.error for row in rows) else 0


HANDLERS: dict[str, Callable[[argparse.Namespace, Terminal], int]] = {
    "init": _init,
    "add": _add,
    "lock": _lock,
    "pull": pulling.pull,
    "status": _status,
    "list": _list,
    "files": _files,
    "path": _path,
    "diff": _diff,
    "outdated": _outdated,
    "why": upkeep.why,
    "edit": _edit,
    "export": _export,
    "rm": _rm,
    "adopt": _adopt,
    "verify": upkeep.verify,
    "gc": upkeep.gc,
    "store": upkeep.store,
    "tokens": analysis.tokens,
    **experiments.HANDLERS,
    **lineage.HANDLERS,
    **report.HANDLERS,
    **remotes.HANDLERS,
    **running.HANDLERS,
    **hooks.HANDLERS,
    **serving.HANDLERS,
    "completion": upkeep.completion,
}
