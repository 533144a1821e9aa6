"""The commands on remotes: remote, push, drop; and what others do with one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cas.cli.options import command, count
from cas.cli.terminal import count as counted
from cas.cli.terminal import human, join
from cas.errors import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from cas.cli.terminal import Terminal

__all__ = ["COMMANDS", "HANDLERS", "pull_experiments", "tell_bad", "tell_copies", "verify"]

COMMANDS: dict[str, tuple[str, str, Callable[[argparse.ArgumentParser], None]]] = {}


@command(
    "remote",
    "name the buckets and directories that the project shares",
    """\
cas remote add lab s3://lab-bucket/cas
cas remote add share file:///shared/cas
cas remote list
cas remote rm lab""",
    into=COMMANDS,
)
def _remote(p: argparse.ArgumentParser) -> None:
    p.add_argument("words", nargs="*", metavar="add NAME URL | list | rm NAME")


@command(
    "push",
    "put locked assets on a remote",
    """\
cas push
cas push gpt2 'datasets/nampdn-ai/*' --remote lab
cas push --experiments""",
    into=COMMANDS,
)
def _push(p: argparse.ArgumentParser) -> None:
    p.add_argument("names", nargs="*", metavar="NAME", help="names or globs; all by default")
    p.add_argument("--remote", metavar="REMOTE", help="which one; the first by default")
    p.add_argument("--experiments", action="store_true",
                   help="experiments instead, with what they name")  # fmt: skip
    p.add_argument("--jobs", type=count, default=16, metavar="N", help="uploads at a time (16)")


@command(
    "drop",
    "remove the local copy of what another source was just seen to have",
    """\
cas drop roneneldan/TinyStories
cas drop 'models/*' --dry-run""",
    into=COMMANDS,
)
def _drop(p: argparse.ArgumentParser) -> None:
    p.add_argument("names", nargs="+", metavar="NAME", help="names or globs")
    p.add_argument("--dry-run", action="store_true", help="only look, and say what would go")


def remote(args: argparse.Namespace, out: Terminal) -> int:
    """Add, list or remove remotes."""
    from cas.project import Project
    from cas.project.remotes import places, set_remote

    project = Project.find(args.project)
    match args.words:
        case ["add", name, url]:
            set_remote(project, name, url)
            out.say(f"{name} is a remote: cas push puts the locked assets there")
        case ["rm", name]:
            set_remote(project, name, None)
            out.say(f"{name} is no remote of this project any more; what is there stays")
        case ["list"] | []:
            found = places(project)
            if out.json:
                out.document([{"name": place.name, "url": place.url} for place in found])
            elif not found:
                out.say("no remotes yet: cas remote add lab s3://BUCKET/PATH")
            else:
                out.table([(place.name, place.url) for place in found], ("NAME", "URL"))
        case _:
            raise UsageError(
                f"{' '.join(args.words[:1])!r}: expected 'add NAME URL', 'list' or 'rm NAME'",
                hint="cas remote --help",
            )
    return 0


def push(args: argparse.Namespace, out: Terminal) -> int:
    """Put locked assets, or experiments, on a remote."""
    from cas import installer
    from cas.project import Project

    project = Project.find(args.project)
    if args.experiments:
        if args.names:
            raise UsageError("cas push --experiments: expected no NAME", hint="cas push --help")
        sent = installer.push_experiments(project, remote=args.remote, jobs=args.jobs, progress=out)
        if out.json:
            out.document(sent.json())
        out.say(f"{counted(sent.files, 'file')} of experiments on {sent.remote}, "
                f"{sent.new_files} new; {counted(sent.uploaded_objects, 'object')}, "
                f"{human(sent.uploaded_bytes)} uploaded")  # fmt: skip
        sent.raise_if_incomplete()
        return 0
    done = installer.push(project, args.names, remote=args.remote, jobs=args.jobs, progress=out)
    if out.json:
        out.document(done.json())
    out.say(f"{counted(done.assets, 'asset')} on {done.remote}; "
            f"{counted(done.uploaded_objects, 'object')}, "
            f"{human(done.uploaded_bytes)} uploaded")  # fmt: skip
    done.raise_if_incomplete()
    return 0


def drop(args: argparse.Namespace, out: Terminal) -> int:
    """Remove the local copy of assets that another source has."""
    from cas import installer
    from cas.project import Project

    rows = installer.drop(
        Project.find(args.project), args.names, dry_run=args.dry_run, progress=out
    )
    if out.json:
        out.document([row.json() for row in rows])
    for row in rows:
        if row.error is not None:
            out.error(str(row.error), row.error.hint)
        elif not out.json:
            out.data(f"{row.name}  {human(row.bytes)} freed, {join(row.sources)} has it")
    if args.dry_run and rows:
        out.say("nothing was removed; without --dry-run a remote's bytes are read back first")
    worst = [row.error.exit_code for row in rows if row.error]
    return (worst[0] if len(set(worst)) == 1 else 1) if worst else 0


def pull_experiments(args: argparse.Namespace, out: Terminal) -> int:
    """Bring the experiments of the remotes, with what they name."""
    from cas import installer
    from cas.project import Project

    if args.names or args.groups:
        raise UsageError("cas pull --experiments: expected no NAME", hint="cas pull --help")
    taken = installer.pull_experiments(Project.find(args.project), jobs=args.jobs, progress=out)
    if out.json:
        out.document(taken.json())
    out.say(f"{counted(taken.new_files, 'new file')} of experiments; {counted(taken.trees, 'tree')}"
            f" here that they name; {counted(taken.downloaded_files)}, "
            f"{human(taken.downloaded_bytes)} downloaded")  # fmt: skip
    if taken.gone:
        out.note(f"{len(taken.gone)} trees or objects that they name are on no remote: "
                 f"{join((name[:15] for name in taken.gone), 3)}")  # fmt: skip
    if taken.errors:
        raise taken.errors[0]
    return 0


def verify(args: argparse.Namespace, out: Terminal) -> int:
    """Compare what a remote has with what is locked; exit 1 for what it lacks or has wrong."""
    from cas import installer
    from cas.project import Project

    if args.level == "fast" or args.cold:
        raise UsageError("cas verify --remote: expected --full or neither, found --fast or --cold",
                         hint="cas verify --help")  # fmt: skip
    result, names = installer.verify_remote(
        Project.find(args.project), args.names, remote=args.remote, full=bool(args.level),
        repair=args.repair, progress=out,
    )  # fmt: skip
    report = installer.verify_json(result, names)
    tell_bad(report, out)
    how = "" if args.level else " (by size; --full reads every byte)"
    out.say(f"{report['objects']} objects, {human(report['bytes'])} on {args.remote}: "
            f"{len(report['bad'])} bad{how}")  # fmt: skip
    if report["bad"]:
        out.say(result.hint or "")
    return 1 if report["bad"] else 0


def tell_bad(report: dict[str, Any], out: Terminal) -> None:
    """Tell what a verify, of the store or of a remote, found bad."""
    if out.json:
        out.document(report)
        return
    for bad in report["bad"]:
        of = f" ({join(bad['assets'])})" if bad["assets"] else ""
        out.data(f"{bad['hash']}  {out.paint('bad', 'red')}  {bad['reason']}{of}")


def tell_copies(report: dict[str, Any], out: Terminal) -> None:
    """Tell which assets the remotes have, and which have no second copy."""
    rows = [row for row in report["assets"] if row["tree"]]
    out.table(
        [
            (
                row["name"],
                join(row["remotes"]) or "-",
                {True: "yes", False: out.paint("no", "yellow"), None: "can be built"}[
                    row["second_copy"]
                ],
            )
            for row in rows
        ],
        ("NAME", "REMOTES", "SECOND COPY"),
    )


HANDLERS: dict[str, Callable[[argparse.Namespace, Terminal], int]] = {
    "remote": remote,
    "push": push,
    "drop": drop,
}
