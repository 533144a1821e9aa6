"""A content-addressed asset cache with a lockfile: uv for datasets, models and tokenizers.

The functions here act on the project that the working directory is in (else the main
script), which is found once. ``import cas`` loads nothing heavy: each function imports what
it needs when it is called. Every error derives from ``cas.CasError``.
"""

from __future__ import annotations

from cas import handy
from cas.callback import TrainerCallback
from cas.errors import CasError
from cas.training import (
    analyse_tokens,
    discover_local_datasets,
    download_dataset,
    download_model,
    get_dataset_config,
    list_datasets,
    load_dataset,
    load_tokenizer,
    load_training_data,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from concurrent.futures import Executor
    from datetime import timedelta
    from pathlib import Path
    from typing import Any

    import pandas as pd
    import pyarrow as pa

    from cas.runs import LiveRun

__all__ = [
    "CasError",
    "TrainerCallback",
    "__version__",
    "add",
    "analyse_tokens",
    "discover_local_datasets",
    "download_dataset",
    "download_model",
    "experiment",
    "export_experiments",
    "gc",
    "get_dataset_config",
    "import_experiments",
    "init",
    "list_datasets",
    "load_dataset",
    "load_tokenizer",
    "load_training_data",
    "lock",
    "path",
    "pull",
    "query_experiments",
    "query_experiments_arrow",
    "query_experiments_polars",
    "save_experiment",
    "status",
    "uses",
    "verify",
]

__version__ = "0.1.0"


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
    what: str | Path,
    /,
    *,
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
    Shards of tokens are made by *executor*, any ``concurrent.futures.Executor`` whose workers
    share the store. The answer is that of ``cas add --json``: ``[{name, old, new, commit,
    files, size}]``, sizes in bytes.

    Raises:
        UsageError, SourceError, AccessDenied, Offline, ViewBlocked: nothing was changed.
    """
    from pathlib import Path

    from cas import resolver
    from cas.project import current

    settled = resolver.AddOptions(
        kind=kind, name=name, revision=revision, include=handy.texts(include),
        exclude=handy.texts(exclude), groups=handy.texts(group), recipe=recipe, input=input,
        tokenizer=tokenizer, options=handy.settled(options), follow=follow,
        skip_special=skip_special, move=move, pull=not no_pull, dry_run=dry_run,
        offline=offline, jobs=jobs, executor=executor,
    )  # fmt: skip
    word = str(what.absolute()) if isinstance(what, Path) else what
    return [moved.json() for moved in resolver.add(current(), word, settled)]


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
    them, with shards of tokens made by *executor*. ``rebuild=[…]`` builds derived assets again
    and raises NotReproducible where they are not the bytes that are locked. With *check*
    nothing is written and OutOfStep is raised where the lock is not what the requests ask for.
    """
    from cas import resolver
    from cas.project import current

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
        executor=executor,
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
) -> dict[str, Any]:
    """Bring locked assets into the store and make their views (``cas pull``).

    Returns ``{assets, downloaded_files, downloaded_bytes, linked}``.

    Raises:
        OutOfStep: the requests ask for something else than is pinned.
        CasError: what can't be had, when all the rest is in place.
    """
    from cas import installer
    from cas.project import current

    pulled = installer.pull(
        current(), names, groups=handy.texts(group), frozen=frozen, offline=offline, force=force,
        views=not no_views, relink=relink, jobs=jobs,
    )  # fmt: skip
    pulled.raise_if_incomplete()
    return pulled.json()


def status() -> dict[str, Any]:
    """Return how every asset stands (``cas status --json``)."""
    from cas import overview
    from cas.project import current

    return overview.status(current())


def verify(
    *names: str, fast: bool = False, full: bool = False, repair: bool = False
) -> dict[str, Any]:
    """Read back assets, or the whole store (``cas verify --json``).

    By size, mode and mtime; *fast*: by XXH3 of every byte; *full*: by SHA-256.
    """
    from cas import installer
    from cas.errors import UsageError
    from cas.project import current

    if fast and full:
        raise UsageError("verify: expected fast or full, found both")
    result, held = installer.verify_assets(
        current(), names, level="full" if full else "fast" if fast else "stat", repair=repair
    )
    return installer.verify_json(result, held)


def gc(
    *,
    dry_run: bool = False,
    older_than: timedelta | None = None,
    local_too: bool = False,
    ignore_experiments: bool = False,
) -> dict[str, Any]:
    """Remove from the store what nothing refers to (``cas gc --json``).

    What was used or published within *older_than* (14 days) stays.
    """
    from datetime import timedelta

    from cas import installer
    from cas.project import current

    collected = installer.collect_garbage(
        current().store,
        older_than=timedelta(days=14) if older_than is None else older_than,
        dry_run=dry_run,
        local_too=local_too,
        ignore_experiments=ignore_experiments,
    )
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
    from pathlib import Path

    from cas.errors import NotPulled
    from cas.project import current

    project = current()
    try:
        found = Path(project.path(name))
    except NotPulled:
        if not pull:
            raise
    else:
        if not project.uses.watched:
            from cas.project import watch_git

            watch_git(project.root)
            project.uses.watched = True
        return found
    from cas import installer

    installer.pull(project, [project.read_lock().find(name).name]).raise_if_incomplete()
    return path(name)


def uses() -> list[tuple[str, str]]:
    """Return (name, tree id) of every asset that this process was given."""
    from cas.project import current

    return [(used.name, used.tree) for used in current().uses.all()]


def save_experiment(
    name: str,
    results: Any,
    metadata: Mapping[str, Any] | None = None,
    *,
    assets: Iterable[str] | None = None,
    tags: Iterable[str] = (),
    if_exists: str | None = None,
) -> Path:
    """Write a record of an experiment with the assets that this process used; return its path.

    *results*: a pandas or polars frame, an Arrow table, a list of dicts, or one dict. What
    was recorded is said on stderr; ``assets=[…]`` (names or tree ids) decides otherwise.

    Raises:
        ExperimentError: results, metadata or a name that can't be saved; nothing was written.
    """
    from cas import lineage
    from cas.project import current

    return lineage.save(
        current(),
        name,
        results,
        metadata=metadata,
        assets=assets,
        tags=tags,
        if_exists=if_exists,
        tell=handy.say,
    )


def experiment(
    name: str,
    metadata: Mapping[str, Any] | None = None,
    *,
    tags: Iterable[str] = (),
    resume: bool = False,
) -> LiveRun:
    """Return a live run: its rows, assets and outputs are recorded as they come.

    ``with cas.experiment("exp_002") as run: run.log(step=10, loss=2.1)``, or ``.start()`` and
    ``.finish()``. What is logged survives the end of the process: ``cas experiments recover``
    makes a record of it, *resume* goes on with the unfinished run of the name (a requeued job).

    Raises UsageError for a name that can't be taken.
    """
    from cas.project import current
    from cas.runs import LiveRun

    return LiveRun(current(), name, metadata=metadata, tags=tags, resume=resume, tell=handy.say)


def import_experiments(path: str | Path, *, source: str) -> dict[str, Any]:
    """Save the runs that *source* (mlflow, trackio, csv, parquet) has at *path* as records.

    What was imported before is skipped. ``{source, imported: [{name, id, source_id, rows,
    renamed}], skipped: [{name, source_id, reason}], bad: [{path, reason}]}``.

    Raises:
        ExperimentError: no such path, or a record can't be written; those before it are whole.
    """
    from pathlib import Path

    from cas.experiments import importers
    from cas.project import current

    return importers.import_runs(Path(current().experiments), source, Path(path))


def export_experiments(
    file: str | Path,
    *,
    format: str | None = None,
    show: Iterable[str] = (),
    best: str | None = None,
    direction: str | None = None,
    where: str | None = None,
    tag: Iterable[str] = (),
    rows: bool = False,
    all: bool = False,
) -> Path:
    """Write the experiments as one table to *file*, and return its path.

    One row an experiment, with all metrics or the columns and parameters of *show*; all
    *rows* otherwise. The format is that of the file's ending: .parquet, .csv, .jsonl, .tex, .md.

    Raises UsageError for a format that is none, ExperimentError for a column that is not there.
    """
    from pathlib import Path

    from cas import files
    from cas.experiments import exporters
    from cas.project import current

    form = exporters.format_of(format, file)
    choice = exporters.Choice(
        show=handy.texts(show), best=best, direction=direction, where=where,
        tags=handy.texts(tag), every=all,
    )  # fmt: skip
    directory = Path(current().experiments)
    files.replace(Path(file), exporters.export(directory, form, choice, rows=rows, warn=handy.say))
    return Path(file)


def query_experiments(
    sql: str, *, frames: Mapping[str, Any] | None = None, params: Any = None
) -> pd.DataFrame:
    """Run one SELECT over ``experiments``, ``experiment_assets``, ``assets``, ``runs``.

    Raises UsageError for anything but one SELECT, ExperimentError where it fails.
    """
    handy.optional("pandas")
    frame: pd.DataFrame = query_experiments_arrow(sql, frames=frames, params=params).to_pandas()
    return frame


def query_experiments_arrow(
    sql: str, *, frames: Mapping[str, Any] | None = None, params: Any = None
) -> pa.Table:
    """Run one SELECT as ``query_experiments`` does, and return an Arrow table."""
    from cas import lineage
    from cas.project import current

    return lineage.query(current(), sql, frames=frames, params=params, warn=handy.say)


def query_experiments_polars(
    sql: str, *, frames: Mapping[str, Any] | None = None, params: Any = None
) -> Any:
    """Run one SELECT as ``query_experiments`` does, and return a polars frame."""
    return handy.optional("polars").from_arrow(
        query_experiments_arrow(sql, frames=frames, params=params)
    )
