"""The commands on assets and the store."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from cas.cli import results
from cas.cli.terminal import human, join

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from cas.cli.terminal import Terminal
    from cas.lockfile import Asset
    from cas.project import Project
    from cas.resolver import Move

__all__ = ["HANDLERS"]

RECIPE_OPTIONS = ("vocab_size", "min_frequency", "special", "split", "files", "column")


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

    options = {key: getattr(args, key) for key in RECIPE_OPTIONS if getattr(args, key) is not None}
    moves = resolver.add(
        _project(args),
        args.word,
        resolver.AddOptions(
            kind=args.kind,
            name=args.name,
            revision=args.revision,
            include=tuple(args.include),
            exclude=tuple(args.exclude),
            groups=tuple(args.groups),
            recipe=args.recipe,
            input=args.input,
            options=tuple(sorted((k, tuple(v) if isinstance(v, list) else v)
                                 for k, v in options.items())),
            follow=args.follow,
            skip_special=args.skip_special,
            move=args.move,
            pull=not args.no_pull,
            dry_run=args.dry_run,
            offline=args.offline,
            jobs=args.jobs,
        ),
        progress=out,
    )  # fmt: skip
    _print_moves(moves, out, nothing="it is there already", dry_run=args.dry_run)
    return 0


def _lock(args: argparse.Namespace, out: Terminal) -> int:
    from cas import resolver

    project = _project(args)
    if args.check:
        resolver.check(project)
        out.say("assets.lock is what pyproject.toml asks for")
        return 0
    moves = resolver.lock(
        project,
        update=args.update,
        update_all=args.update_all,
        build=args.build,
        dry_run=args.dry_run,
        side=args.side,
        rebuild=args.rebuild,
        offline=args.offline,
        progress=out,
    )
    _print_moves(moves, out, nothing="nothing moved", dry_run=args.dry_run)
    return 0


def _print_moves(moves: list[Move], out: Terminal, *, nothing: str, dry_run: bool) -> None:
    if out.json:
        out.document([move.json() for move in moves])
        return
    if not moves:
        out.say(nothing)
    for move in moves:
        old, new = move.old, move.new
        if new is None:
            out.data(f"{out.paint('-', 'red')} {move.name}")
            continue
        pins = " → ".join(_pin(asset) for asset in (old, new) if asset)
        mark = "+" if old is None else "~"
        out.data(f"{out.paint(mark, 'green')} {move.name}  {pins}")
        sizes = _sizes(new)
        if old is not None:
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
    return f"{asset.files} file{'s' * (asset.files != 1)}, {human(asset.size)}"


def _pin(asset: Asset) -> str:
    return f"commit {asset.commit[:12]}" if asset.commit else f"{asset.tree_id[:15]}"


def _pull(args: argparse.Namespace, out: Terminal) -> int:
    from cas import installer

    pulled = installer.pull(
        _project(args),
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
    if out.json:
        out.document(pulled.json())
    what = f"{pulled.assets} assets in place"
    if pulled.linked:
        what += f", {pulled.linked} linked"
    if pulled.downloaded_files:
        what += f"; {pulled.downloaded_files} files, {human(pulled.downloaded_bytes)} downloaded"
    out.say(what)
    pulled.raise_if_incomplete()
    return 0


def _status(args: argparse.Namespace, out: Terminal) -> int:
    from cas import overview

    report = overview.status(_project(args))
    wrong = [row for row in report["assets"] if row["state"] not in ("ok",)]
    if out.json:
        out.document(report)
    else:
        for row in wrong:
            out.data(f"{row['name']}  {out.paint(row['state'], 'yellow')}  {row['detail']}")
        alone = [row["name"] for row in report["assets"] if row["second_copy"] is False]
        if not wrong:
            out.say(f"{len(report['assets'])} assets are as they are locked")
        if alone:
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
                row["commit"][:12] if row["commit"] else "-",
                row["tree"][:15],
                "yes" if row["present"] else "no",
            )
            for row in rows
        ],
        ("NAME", "FILES", "SIZE", "COMMIT", "TREE", "HERE"),
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


def _why(args: argparse.Namespace, out: Terminal) -> int:
    from cas import installer
    from cas.errors import NoProject
    from cas.project import open_user_store

    try:
        project = _project(args)
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


def _edit(args: argparse.Namespace, out: Terminal) -> int:
    from cas import installer

    project = _project(args)
    path = installer.edit(project, args.name, progress=out)
    if out.json:
        out.document({"path": path})
    else:
        out.data(path)
    name = project.read_lock().find(args.name).name
    out.say(f"it is a writable copy; cas add {path} --name {name} takes it in, "
            f"cas pull --force {name} goes back")  # fmt: skip
    return 0


def _export(args: argparse.Namespace, out: Terminal) -> int:
    from cas import installer
    from cas.errors import UsageError

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

    project = _project(args)
    gone = []
    for name in args.names:
        asset, left = resolver.remove(project, name)
        gone.append(asset.name)
        if left:
            out.note(f"{left} is your own, and was left alone")
    if out.json:
        out.document([{"name": name} for name in gone])
    else:
        for name in gone:
            out.data(f"{out.paint('-', 'red')} {name}")
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
        return 0
    if not rows:
        out.say("nothing lies under assets/ that could be adopted")
    for row in rows:
        pin = f"  {_pin(row.move.new)}" if row.move and row.move.new else ""
        out.data(f"{row.path} → {row.name}  {row.files} files, {human(row.size)}{pin}")
    if args.dry_run and rows:
        out.say("nothing was done: cas adopt does it")
    return 0


def _verify(args: argparse.Namespace, out: Terminal) -> int:
    from cas import installer

    result, names = installer.verify_assets(
        _project(args),
        args.names,
        level=args.level or "stat",
        repair=args.repair,
        progress=out,
    )
    report = installer.verify_json(result, names)
    if out.json:
        out.document(report)
    else:
        for bad in report["bad"]:
            of = f" ({join(bad['assets'])})" if bad["assets"] else ""
            out.data(f"{bad['hash']}  {out.paint('bad', 'red')}  {bad['reason']}{of}")
    out.say(f"{report['objects']} objects, {human(report['bytes'])}: {len(report['bad'])} bad")
    if report["bad"] and not args.repair:
        out.say("cas verify --repair fetches them again")
    return 1 if report["bad"] else 0


def _gc(args: argparse.Namespace, out: Terminal) -> int:
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
    out.say(f"{collected.trees} trees and {collected.objects} objects {what}, "
            f"{human(collected.bytes)}")  # fmt: skip
    if collected.only_copies:
        out.note(f"{len(collected.only_copies)} trees were kept, because no other source is known "
                 "to have them: cas gc --local-too")  # fmt: skip
    return 0


def _store(args: argparse.Namespace, out: Terminal) -> int:
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
        case ["rm"]:
            report = {"path": remove_store(open_user_store(), local_too=args.local_too)}
            out.say(f"{report['path']} was removed")
        case _:
            raise UsageError(f"{' '.join(args.action)!r}: expected 'move DIR' or 'rm'",
                             hint="cas store --help")  # fmt: skip
    if out.json:
        out.document(report)
    elif not args.action:
        _print_store(report, out)
    return 0


def _print_store(report: dict[str, Any], out: Terminal) -> None:
    out.data(report["path"])
    out.data(f"{report['objects']} objects, {human(report['bytes'])}, in {report['trees']} trees")
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


def _completion(args: argparse.Namespace, out: Terminal) -> int:
    from cas.cli.completion import script

    out.data(script(args.shell))
    return 0


HANDLERS: dict[str, Callable[[argparse.Namespace, Terminal], int]] = {
    "init": _init,
    "add": _add,
    "lock": _lock,
    "pull": _pull,
    "status": _status,
    "list": _list,
    "files": _files,
    "path": _path,
    "diff": _diff,
    "outdated": _outdated,
    "why": _why,
    "edit": _edit,
    "export": _export,
    "rm": _rm,
    "adopt": _adopt,
    "verify": _verify,
    "gc": _gc,
    "store": _store,
    "experiments": results.experiments,
    "query": results.query,
    "completion": _completion,
}
