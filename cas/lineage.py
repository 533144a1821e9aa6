"""What a record of an experiment takes from its project, and what the store keeps for it.

The assets that this process used, at the trees it was given; the state of git, the list of
packages and the lock, as objects; and a line in the project's root, so that gc keeps them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cas.digest import Digest, hash_bytes
from cas.errors import CasError, ExperimentError, NoProject, StoreError, typed
from cas.listing import parse_tree_id, tree_id
from cas.names import kind_of
from cas.project import git_at_first_use
from cas.store import (
    Publisher,
    Staging,
    add_bytes,
    announce,
    end,
    read_root,
    settle,
    shared_gc_mutex,
    standing,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import pyarrow as pa

    from cas.experiments import Run, Use
    from cas.project import Project

__all__ = ["query", "save"]


def save(
    project: Project,
    name: str,
    results: Any,
    *,
    metadata: Mapping[str, Any] | None = None,
    assets: Iterable[str] | None = None,
    tags: Iterable[str] = (),
    if_exists: str | None = None,
    tell: Callable[[str], None],
) -> Path:
    """Write one record with the assets that this process used since the record before.

    *assets* (names, or ``t1:`` ids of trees that are in the store) decides otherwise. *tell*
    is given one line on what was recorded.

    Raises:
        ExperimentError: results, metadata or a name that can't be saved; an unknown tree.
    """
    from cas import experiments

    experiments.check_experiment_name(name)
    uses = _uses(project) if assets is None else _given(project, assets)
    kept: set[Digest] = set()

    def put(data: bytes) -> str:
        publisher = Publisher(project.store)
        digest = add_bytes(project.store, Staging(project.store), data, publisher)
        publisher.flush()
        kept.add(digest)
        return digest

    trees = {parse_tree_id(use.tree) for use in uses}
    call = None
    store = project.store
    root = ""
    if not store.readonly:
        root = project.root_id(draw=True) or ""
        try:
            record = read_root(store, root)
        except StoreError:
            record = None  # damaged: settle writes it again
        held = {*record.trees, *record.experiments} if record else set()
        if trees - held:
            with shared_gc_mutex(store):
                call = announce(store, root, path=project.root, trees=trees)
    try:
        run = _run(project, None if store.readonly else put, tell)
        path = experiments.save(
            Path(project.experiments),
            name,
            results,
            metadata=metadata,
            uses=uses,
            run=run,
            tags=tuple(tags),
            if_exists=if_exists,
            warn=tell,
        )
        if not store.readonly:
            lock = project.lock_bytes()
            settle(
                store,
                root,
                path=project.root,
                lock=hash_bytes(lock),
                trees=[asset.tree for asset in project.read_lock()],
                experiments=trees | kept,
                keep_experiments=True,
            )
    finally:
        if call:
            end(call)
    named = ", ".join(f"{use.name} ({use.role})" for use in uses if use.role != "earlier")
    tell(f"saved {name}: {named or 'no assets'}")
    return path


def query(
    project: Project,
    sql: str,
    *,
    params: Any = None,
    frames: Mapping[str, Any] | None = None,
    timeout: float = 30,
    memory: str = "2GB",
    warn: Callable[[str], None],
) -> pa.Table:
    """Run one SELECT over the project's views: experiments, the assets they used, runs.

    Raises UsageError for SQL that is not one SELECT, ExperimentError where it fails.
    """
    from cas import experiments

    return experiments.query(
        Path(project.experiments),
        sql,
        assets=list(project.assets_for_sql()),
        params=params,
        frames=frames,
        timeout=timeout,
        memory=memory,
        warn=warn,
    )


def _uses(project: Project) -> list[Use]:
    from cas.experiments import Use

    current, earlier = project.uses.take()
    rows = [(used, used.role) for used in current] + [(used, "earlier") for used in earlier]
    return [
        Use(name=u.name, kind=kind_of(u.name), role=role, tree=u.tree, commit=u.commit)
        for u, role in rows
    ]


def _given(project: Project, assets: Iterable[str]) -> list[Use]:
    from cas.experiments import Use

    project.uses.take()
    lock = project.read_lock()
    found = []
    for word in assets:
        if word.startswith("t1:"):
            try:
                digest = parse_tree_id(word)
            except ValueError as error:
                raise ExperimentError(f"assets: {error}") from None
            known = next((asset for asset in lock if asset.tree == digest), None)
            name, commit = (known.name, known.commit) if known else (word, None)
        else:
            asset = lock.find(word)
            name, digest, commit = asset.name, asset.tree, asset.commit
        if standing(project.store, digest)[0] is None:
            raise ExperimentError(
                f"assets: {word!r}: its tree {tree_id(digest)[:15]}… is not in the store",
                hint=f"cas pull {typed(name)}",
            )
        kind = kind_of(name) if "/" in name else "trees"
        found.append(Use(name=name, kind=kind, role="input", tree=tree_id(digest), commit=commit))
    return found


def _run(project: Project, put: Callable[[bytes], str] | None, tell: Callable[[str], None]) -> Run:
    from cas.experiments import capture

    since = git_at_first_use(project.root)
    try:
        lock = project.lock_bytes()
    except (CasError, NoProject):
        lock = None
    return capture(Path(project.root), put=put, lock=lock, since=since, warn=tell)
