"""A content-addressed asset cache with a lockfile: uv for datasets, models and tokenizers.

The functions here act on the project that the working directory is in (else the main
script), which is found once. ``import cas`` loads nothing heavy: each function imports what
it needs when it is called. Every error derives from ``cas.CasError``.
"""

from __future__ import annotations

from cas.errors import CasError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path
    from typing import Any, Literal

    import pandas as pd
    import pyarrow as pa
    from transformers import PreTrainedTokenizerFast

__all__ = [
    "CasError",
    "__version__",
    "add",
    "download_dataset",
    "download_model",
    "gc",
    "init",
    "load_dataset",
    "load_tokenizer",
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
    name: str | Path,
    *,
    kind: str | None = None,
    as_name: str | None = None,
    revision: str | None = None,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    groups: Iterable[str] = (),
    recipe: str | None = None,
    input: str | None = None,
    follow: bool = False,
    skip_special: bool = False,
    move: bool = False,
    pull: bool = True,
    dry_run: bool = False,
    **options: Any,
) -> list[dict[str, Any]]:
    """Request, pin and pull one asset (``cas add``); return what moved.

    *options* are the recipe's own, such as ``vocab_size=4096``. The answer is that of
    ``cas add --json``: ``[{name, old, new, commit, files, size}]``, sizes in bytes.

    Raises:
        UsageError, SourceError, AccessDenied, Offline, ViewBlocked: nothing was changed.
    """
    from cas import resolver
    from cas.project import current

    settled = resolver.AddOptions(
        kind=kind,
        name=as_name,
        revision=revision,
        include=tuple(include),
        exclude=tuple(exclude),
        groups=tuple(groups),
        recipe=recipe,
        input=input,
        options=tuple(sorted(options.items())),
        follow=follow,
        skip_special=skip_special,
        move=move,
        pull=pull,
        dry_run=dry_run,
    )
    return [move.json() for move in resolver.add(current(), str(name), settled)]


def lock(
    *,
    update: Iterable[str] = (),
    update_all: bool = False,
    build: bool = False,
    check: bool = False,
    dry_run: bool = False,
) -> list[dict[str, Any]]:
    """Pin what is new or changed in the requests (``cas lock``); return what moved.

    ``update=["roneneldan/TinyStories"]`` resolves these again, *build* what is made of them.
    With *check* nothing is written and OutOfStep is raised where the lock is not what the
    requests ask for.
    """
    from cas import resolver
    from cas.project import current

    if check:
        resolver.check(current())
        return []
    moves = resolver.lock(
        current(), update=update, update_all=update_all, build=build, dry_run=dry_run
    )
    return [move.json() for move in moves]


def pull(
    *names: str,
    groups: Iterable[str] = (),
    frozen: bool = False,
    offline: bool = False,
    force: bool = False,
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
        current(),
        names,
        groups=groups,
        frozen=frozen,
        offline=offline,
        force=force,
        jobs=jobs,
    )
    pulled.raise_if_incomplete()
    return pulled.json()


def status() -> dict[str, Any]:
    """Return how every asset stands (``cas status --json``)."""
    from cas import overview
    from cas.project import current

    return overview.status(current())


def verify(
    *names: str, level: Literal["stat", "fast", "full"] = "stat", repair: bool = False
) -> dict[str, Any]:
    """Read back assets, or the whole store (``cas verify --json``).

    *level* is ``stat``, ``fast`` (XXH3 of every byte) or ``full`` (SHA-256).
    """
    from cas import installer
    from cas.errors import UsageError
    from cas.project import current

    if level not in ("stat", "fast", "full"):
        raise UsageError(f"level: expected 'stat', 'fast' or 'full', found {level!r}")
    return installer.verify_json(*installer.verify_assets(
        current(), names, level=level, repair=repair
    ))  # fmt: skip


def gc(
    *,
    dry_run: bool = False,
    older_than_days: float = 14,
    local_too: bool = False,
    ignore_experiments: bool = False,
) -> dict[str, Any]:
    """Remove from the store what nothing refers to (``cas gc --json``)."""
    from datetime import timedelta

    from cas import installer
    from cas.project import current

    collected = installer.collect_garbage(
        current().store,
        older_than=timedelta(days=older_than_days),
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
    if not project.uses.watched:
        from cas.lineage import watch_git

        watch_git(project)
        project.uses.watched = True
    try:
        return Path(project.path(name))
    except NotPulled:
        if not pull:
            raise
    from cas import installer

    asset = project.read_lock().find(name)
    installer.pull(project, [asset.name]).raise_if_incomplete()
    return Path(project.path(name))


def uses() -> list[tuple[str, str]]:
    """Return (name, tree id) of every asset that this process was given."""
    from cas.project import current

    return [(used.name, used.tree) for used in current().uses.all()]


def download_dataset(name: str, **options: Any) -> Path:
    """Add and pull a dataset of the Hub, and return its tree.

    What is locked and present makes no request. *options* are those of ``add``.
    """
    return _download("dataset", name, options)


def download_model(repo_id: str, **options: Any) -> Path:
    """Add and pull a model of the Hub, and return its tree, as ``download_dataset`` does."""
    return _download("model", repo_id, options)


def load_dataset(name: str, *args: Any, **options: Any) -> Any:
    """Return ``datasets.load_dataset`` of a locked dataset; arguments are its own.

    The Arrow cache is one of the tree's own: that of ``datasets`` is keyed by the last part
    of a path, and would serve the rows of an earlier tree.
    """
    import os

    import datasets

    from cas import warm

    tree = path(name)
    split = warm.tree_of_link(str(tree))
    digest = split[1] if split else tree.name
    options.setdefault("cache_dir", os.path.join(warm.cache_dir(), "arrow", digest))
    return datasets.load_dataset(str(tree), *args, **options)


def load_tokenizer(name: str, **options: Any) -> PreTrainedTokenizerFast:
    """Return a locked tokenizer as transformers' fast one; *options* are its own."""
    from transformers import PreTrainedTokenizerFast

    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(
        str(path(name)), **options
    )
    return tokenizer


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
        tell=_say,
    )


def query_experiments(
    sql: str, *, frames: Mapping[str, Any] | None = None, params: Any = None
) -> pd.DataFrame:
    """Run one SELECT over ``experiments``, ``experiment_assets``, ``assets``, ``runs``.

    Raises UsageError for anything but one SELECT, ExperimentError where it fails.
    """
    frame: pd.DataFrame = query_experiments_arrow(sql, frames=frames, params=params).to_pandas()
    return frame


def query_experiments_arrow(
    sql: str, *, frames: Mapping[str, Any] | None = None, params: Any = None
) -> pa.Table:
    """Run one SELECT as ``query_experiments`` does, and return an Arrow table."""
    from cas import lineage
    from cas.project import current

    return lineage.query(current(), sql, frames=frames, params=params, warn=_say)


def query_experiments_polars(
    sql: str, *, frames: Mapping[str, Any] | None = None, params: Any = None
) -> Any:
    """Run one SELECT as ``query_experiments`` does, and return a polars frame."""
    import polars

    return polars.from_arrow(query_experiments_arrow(sql, frames=frames, params=params))


def _download(kind: str, repo: str, options: dict[str, Any]) -> Path:
    from cas.errors import NoProject, NotPulled, UnknownAsset
    from cas.project import current

    try:
        if not options:
            return path(repo)
    except (UnknownAsset, NotPulled, NoProject):
        pass
    name = next((a.name for a in current().read_lock() if a.name == repo or a.repo == repo), None)
    if name and not options:
        return path(name, pull=True)
    moves = add(f"{kind}:{repo}" if ":" not in repo else repo, **options)
    return path(moves[0]["name"] if moves else repo, pull=True)


def _say(message: str) -> None:
    import sys

    print(f"cas: {message}", file=sys.stderr)  # noqa: T201 - it is said on stderr by contract
