"""What a record of an experiment takes from its project, and what the store keeps for it.

The assets that this process used, at the trees it was given; the state of git, the list of
packages and the lock, as objects; and a line in the project's root, so that gc keeps them.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cas import lockfile
from cas.digest import Digest, hash_bytes
from cas.errors import CasError, ExperimentError, NoProject, StoreError, UsageError, typed
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
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from cas.experiments import Run, Use
    from cas.project import Project
    from cas.project.uses import Used

__all__ = ["captured", "given_uses", "held", "purge", "save", "use_of"]


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
    current, earlier = project.uses.take()
    uses = [*map(use_of, current), *(use_of(used, "earlier") for used in earlier)]
    if assets is not None:
        uses = given_uses(project, assets)
    with held(project, {parse_tree_id(use.tree) for use in uses}) as put:
        path = experiments.save(
            Path(project.experiments),
            name,
            results,
            metadata=metadata,
            uses=uses,
            run=captured(project, put, tell),
            tags=tags if isinstance(tags, str) else tuple(tags or ()),
            if_exists=if_exists,
            warn=tell,
        )
    named = ", ".join(f"{use.name} ({use.role})" for use in uses if use.role != "earlier")
    tell(f"saved {name}: {named or 'no assets'}")
    return path


@contextmanager
def held(
    project: Project, trees: set[Digest], *, publishes: bool = False
) -> Iterator[Callable[[bytes], str] | None]:
    """Hold *trees* for the project while the block runs, and after it, unless it fails.

    The block may add to *trees* what it *publishes*. Yields what puts bytes into the store as
    an object, held too, and returns its SHA-256; None where the store can't be written.
    """
    store = project.store
    if store.readonly:
        yield None
        return
    kept: set[Digest] = set()

    def put(data: bytes) -> str:
        publisher = Publisher(store)
        digest = add_bytes(store, Staging(store), data, publisher)
        publisher.flush()
        kept.add(digest)
        return digest

    root = project.root_id(draw=True) or ""
    try:
        record = read_root(store, root)
    except StoreError:
        record = None  # damaged: settle writes it again
    call = None
    if publishes or trees - ({*record.trees, *record.experiments} if record else set()):
        with shared_gc_mutex(store):
            call = announce(store, root, path=project.root, trees=trees)
    try:
        yield put
        _settle(project, root, experiments=trees | kept)
    finally:
        if call:
            end(call)


def purge(project: Project, word: str) -> list[tuple[str, str]]:
    """Remove the records of an experiment for good (``events.remove``); return names and ids.

    What they alone named in the store is not held any more, unless a record can't be read:
    it may name the same. Raises ExperimentError for an unknown experiment, or one that runs.
    """
    from cas.experiments import events
    from cas.project.held import named_by_experiments

    directory = Path(project.experiments)
    before, _ = named_by_experiments(directory)
    gone = events.remove(directory, word, purge=True)
    after, unsure = named_by_experiments(directory)
    root = project.root_id(draw=False)
    if root and not unsure and not project.store.readonly:
        _settle(project, root, experiments=(), forget=before - after)
    return gone


def _settle(
    project: Project, root: str, *, experiments: Iterable[Digest], forget: Iterable[Digest] = ()
) -> None:
    now = project.present_lock_bytes()
    settle(
        project.store,
        root,
        path=project.root,
        lock=hash_bytes(now),
        trees=_trees_of(now),
        experiments=experiments,
        keep_experiments=True,
        forget=forget,
    )


@lru_cache(maxsize=1)
def _trees_of(lock: bytes) -> tuple[Digest, ...]:
    return tuple(asset.tree for asset in lockfile.parse(lock))


def use_of(used: Used, role: str | None = None) -> Use:
    """Return a use of this process as a record has it."""
    from cas.experiments import Use

    return Use(
        name=used.name,
        kind=kind_of(used.name),
        role=role or used.role,
        tree=used.tree,
        commit=used.commit,
    )


def given_uses(project: Project, assets: Iterable[str], role: str = "input") -> list[Use]:
    """Return uses of assets by name, or by ``t1:`` ids of trees that are in the store.

    Raises ExperimentError for a tree that is not there, UnknownAsset for a name that is none.
    """
    from cas.experiments import Use

    lock = project.read_lock()
    found = []
    for word in assets:
        if not isinstance(word, str):
            raise UsageError(f"assets: expected names or tree ids, found {word!r:.80}")
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
        if project.stores.where(digest) is None:
            raise ExperimentError(
                f"assets: {word!r}: its tree {tree_id(digest)[:15]}… is not in the store",
                hint=None if name.startswith("t1:") else f"cas pull {typed(name)}",
            )
        kind = kind_of(name) if "/" in name else "trees"
        found.append(Use(name=name, kind=kind, role=role, tree=tree_id(digest), commit=commit))
    return found


def captured(
    project: Project, put: Callable[[bytes], str] | None, tell: Callable[[str], None]
) -> Run:
    """Return what can be known of this process and project (``experiments.capture``)."""
    from cas.experiments import capture

    since = git_at_first_use(project.root)
    try:
        lock = project.lock_bytes()
    except (CasError, NoProject):
        lock = None
    return capture(Path(project.root), put=put, lock=lock, since=since, warn=tell)
