"""What a program asks of its project: ``cas.add``, ``cas.pull``, ``cas.path`` and the like.

The functions are public as ``cas.…``. Nothing heavy is imported before one is called.
"""

from __future__ import annotations

from cas import handy
from cas.errors import NotPulled, UsageError
from cas.project import current

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Executor
    from datetime import timedelta
    from pathlib import Path
    from typing import Any

__all__ = [
    "add",
    "drop",
    "gc",
    "init",
    "lock",
    "path",
    "pull",
    "push",
    "status",
    "uses",
    "verify",
]

_paths: dict[str, Path] = {}
"""A Path takes longer to make than all that its asset is looked at for."""


def init(directory: str | Path = ".") -> Path:
    """Make *directory* a project, or complete one, and return its root.

    A ``[tool.cas]`` table in pyproject.toml, assets.lock, ``assets/`` with README stubs, and
    the rules that keep git from it. What is there already stays.
    """
    from pathlib import Path

    from cas import project

    project.forget_current()
    return Path(project.init(str(directory)).root)


def add(
    what: str | Path | None = None,
    /,
    *,
    from_: str | None = None,
    kind: str | None = None,
    name: str | None = None,
    revision: str | None = None,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    group: Iterable[str] = (),
    recipe: str | None = None,
    input: str | None = None,
    tokenizer: str | None = None,
    follow: bool = False,
    skip_special: bool = False,
    move: bool = False,
    no_pull: bool = False,
    dry_run: bool = False,
    offline: bool = False,
    jobs: int = 8,
    executor: Executor | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """Request, pin and pull one asset (``cas add``); return what moved.

    *what* is a Hub id, a path (it begins with ``./``, ``../``, ``/`` or ``~``, or is a file),
    or a derived asset's name; *options* are a recipe's own, such as ``vocab_size=4096``.
    The work of recipes is done by *executor*, any ``concurrent.futures.Executor`` whose workers
    share the store, or a remote of the project. ``cas.add(from_="exp_002")`` makes an asset of
    what an experiment put out, and *what* says which output where there are more (``--from``:
    ``from`` is a word of Python). The answer is that of ``cas add --json``: ``[{name, old, new,
    commit, files, size}]``, sizes in bytes.

    Raises:
        UsageError, SourceError, AccessDenied, Offline, ViewBlocked: nothing was changed.
    """
    from pathlib import Path

    from cas import resolver

    settled = resolver.AddOptions(
        kind=kind, name=name, revision=revision, include=handy.texts(include),
        exclude=handy.texts(exclude), groups=handy.texts(group), recipe=recipe, input=input,
        tokenizer=tokenizer, options=handy.settled(options), follow=follow,
        skip_special=skip_special, move=move, pull=not no_pull, dry_run=dry_run,
        offline=offline, jobs=handy.number_of(jobs), executor=handy.executor_of(executor),
    )  # fmt: skip
    word = str(what.absolute()) if isinstance(what, Path) else what
    if from_ is not None:
        moves = resolver.add_from(current(), from_, word, settled)
    elif word is None:
        raise UsageError("add: expected what to add", hint="cas.add('roneneldan/TinyStories')")
    else:
        moves = resolver.add(current(), word, settled)
    return [moved.json() for moved in moves]


def lock(
    *,
    update: Iterable[str] = (),
    update_all: bool = False,
    build: bool = False,
    rebuild: Iterable[str] = (),
    check: bool = False,
    dry_run: bool = False,
    offline: bool = False,
    executor: Executor | None = None,
) -> list[dict[str, Any]]:
    """Pin what is new or changed in the requests (``cas lock``); return what moved.

    ``update=["roneneldan/TinyStories"]`` resolves these again, *build* builds what is made of
    them, with the work done by *executor*. ``rebuild=[…]`` builds derived assets again
    and raises NotReproducible where they are not the bytes that are locked. With *check*
    nothing is written and OutOfStep is raised where the lock is not what the requests ask for.
    """
    from cas import resolver

    if check:
        resolver.check(current())
        return []
    options = resolver.LockOptions(
        update=handy.texts(update),
        update_all=update_all,
        build=build,
        rebuild=handy.texts(rebuild),
        dry_run=dry_run,
        offline=offline,
        executor=handy.executor_of(executor),
    )
    return [move.json() for move in resolver.lock(current(), options)]


def pull(
    *names: str,
    group: Iterable[str] = (),
    frozen: bool = False,
    offline: bool = False,
    force: bool = False,
    no_views: bool = False,
    relink: bool = False,
    jobs: int = 8,
    experiments: bool = False,
) -> dict[str, Any]:
    """Bring locked assets into the store and make their views (``cas pull``).

    Returns ``{assets, downloaded_files, downloaded_bytes, linked}``. With *experiments* those of
    the remotes instead, with what they name, and ``{new_files, trees, downloaded_files,
    downloaded_bytes, gone}``.

    Raises:
        OutOfStep: the requests ask for something else than is pinned.
        CasError: what can't be had, when all the rest is in place.
    """
    from cas import installer

    jobs = handy.number_of(jobs)
    if experiments:
        if names or group:
            raise UsageError("pull: expected no names with experiments")
        taken = installer.pull_experiments(current(), jobs=jobs)
        if taken.errors:
            raise taken.errors[0]
        return taken.json()
    pulled = installer.pull(
        current(), names, groups=handy.texts(group), frozen=frozen, offline=offline, force=force,
        views=not no_views, relink=relink, jobs=jobs,
    )  # fmt: skip
    pulled.raise_if_incomplete()
    return pulled.json()


def push(
    *names: str, remote: str | None = None, jobs: int = 16, experiments: bool = False
) -> dict[str, Any]:
    """Put locked assets (all, without names) on a remote, the first or *remote* (``cas push``).

    Returns ``{remote, assets, uploaded_objects, uploaded_bytes}``. With *experiments* their
    records instead, after what they name, and ``{remote, files, new_files, uploaded_objects,
    uploaded_bytes}``.

    Raises:
        UsageError: the project has no such remote.
        CasError: what is not there, when all the rest is.
    """
    from cas import installer

    jobs = handy.number_of(jobs)
    if experiments:
        if names:
            raise UsageError("push: expected no names with experiments")
        sent = installer.push_experiments(current(), remote=remote, jobs=jobs)
        sent.raise_if_incomplete()
        return sent.json()
    done = installer.push(current(), names, remote=remote, jobs=jobs)
    done.raise_if_incomplete()
    return done.json()


def drop(*names: str, dry_run: bool = False) -> list[dict[str, Any]]:
    """Remove the local copies of assets that another source has (``cas drop``).

    Returns ``[{name, tree, sources, bytes, dropped}]``; what no source has whole stays.
    """
    from cas import installer

    return [row.json() for row in installer.drop(current(), names, dry_run=dry_run)]


def status(*, remote: bool = False) -> dict[str, Any]:
    """Return how every asset stands (``cas status --json``); *remote* asks the remotes too."""
    from cas import overview

    return overview.status(current(), ask=remote)


def verify(
    *names: str,
    fast: bool = False,
    full: bool = False,
    repair: bool = False,
    cold: bool = False,
    remote: str | None = None,
) -> dict[str, Any]:
    """Read back assets, or the whole store, or what *remote* has (``cas verify --json``).

    By size, mode and mtime; *fast*: by XXH3 of every byte; *full*: by SHA-256. *cold* reads the
    disk, and not what memory holds of it.
    """
    from cas import installer

    if fast and full:
        raise UsageError("verify: expected fast or full, found both")
    if remote is not None:
        if fast or cold:
            raise UsageError("verify: expected full or nothing with remote, found fast or cold")
        result, held = installer.verify_remote(
            current(), names, remote=remote, full=full, repair=repair
        )
        return installer.verify_json(result, held)
    result, held = installer.verify_assets(
        current(), names, level="full" if full else "fast" if fast else "stat", repair=repair,
        cold=cold,
    )  # fmt: skip
    return installer.verify_json(result, held)


def gc(
    *,
    dry_run: bool = False,
    older_than: timedelta | str | None = None,
    local_too: bool = False,
    ignore_experiments: bool = False,
) -> dict[str, Any]:
    """Remove from the store what nothing refers to (``cas gc --json``).

    What was used or published within *older_than* stays: a timedelta, or a text such as ``30d``;
    14 days by default. It needs no project.
    """
    from datetime import timedelta

    from cas import installer
    from cas.project import open_user_store

    if not isinstance(older_than, timedelta):
        older_than = timedelta(seconds=handy.seconds("14d" if older_than is None else older_than))
    collected = installer.collect_garbage(
        open_user_store(),
        older_than=older_than,
        dry_run=dry_run,
        local_too=local_too,
        ignore_experiments=ignore_experiments,
    )
    collected.raise_if_incomplete()
    return collected.json()


def path(name: str, *, pull: bool = False) -> Path:
    """Return the tree of a pulled asset (a single-file asset: its file), and note the use.

    The path lies in the store, read-only, and never changes: a later pull does not change
    the bytes under a process that runs. ``pull=True`` fetches what is locked and absent.

    Raises:
        UnknownAsset: the name fits no asset, or more than one.
        NotPulled: it is locked and not here.
        Edited: its view is a writable copy.
    """
    project = current()
    try:
        found = project.path(name)
    except NotPulled:
        if not pull:
            raise
    else:
        if not project.uses.watched:
            from cas.project import watch_git

            watch_git(project.root)
            project.uses.watched = True
        if found not in _paths:
            from pathlib import Path

            _paths[found] = Path(found)
        return _paths[found]
    from cas import installer

    installer.pull(project, [project.read_lock().find(name).name]).raise_if_incomplete()
    return path(name)


def uses() -> list[tuple[str, str]]:
    """Return (name, tree id) of every asset that this process was given."""
    return [(used.name, used.tree) for used in current().uses.all()]
