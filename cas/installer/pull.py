"""pull: assets.lock → store → views. It reads the lock, and never writes it.

First the requests are compared with the pins, then views are looked at, then trees are
announced, looked for, brought, and last linked. What can't be had is told at the end;
everything else is there.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cas import lockfile
from cas.digest import hash_bytes
from cas.errors import (
    AccessDenied,
    CasError,
    LockfileError,
    NotPulled,
    Offline,
    StoreError,
)
from cas.files import sweep
from cas.installer.link import Linked, check_views, link_views, sweep_project
from cas.installer.step import check_in_step, in_step, stale_inputs
from cas.names import view_of
from cas.progress import QUIET, human
from cas.project import look
from cas.request import RecipeRequest
from cas.store import (
    Vanished,
    announce,
    end,
    make_durable,
    note_use,
    read_root,
    settle,
    shared_gc_mutex,
    standing,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cas.digest import Digest
    from cas.installer.bring import Bringer
    from cas.lockfile import Asset, Lockfile
    from cas.progress import Progress
    from cas.project import Project
    from cas.store import Call, Store

__all__ = ["Pulled", "needs_of", "pull"]

Standing = tuple[str, "dict[str, int]"]
"""The path of a tree that stands, and the mtime_ns of each of its directories."""

TRIES = 5  # of a call whose objects vanish under it, where a file system's locks lie


@dataclass(slots=True)
class Pulled:
    """What a pull did."""

    assets: int = 0
    """Assets that are in place now."""
    downloaded_files: int = 0
    downloaded_bytes: int = 0
    linked: int = 0
    """Views that were made or moved."""
    failed: list[tuple[Asset, CasError]] = field(default_factory=list)
    stand: dict[str, Standing] = field(default_factory=dict)
    """Name → where its tree stands, of what is in place."""

    def json(self) -> dict[str, Any]:
        """Return it as ``cas pull --json`` says it."""
        return {
            "assets": self.assets,
            "downloaded_files": self.downloaded_files,
            "downloaded_bytes": self.downloaded_bytes,
            "linked": self.linked,
        }

    def raise_if_incomplete(self) -> None:
        """Raise one error for all that could not be had; its exit code is theirs.

        3 only where every one was offline, 4 only where every one was denied.
        """
        if not self.failed:
            return
        if len(self.failed) == 1:
            raise self.failed[0][1]
        errors = [error for _, error in self.failed]
        kinds: list[type[CasError]] = [Offline, AccessDenied]
        kind = next((k for k in kinds if all(isinstance(e, k) for e in errors)), CasError)
        size = sum(asset.size for asset, _ in self.failed)
        lines = "".join(f"\n  {asset.name}: {error}" for asset, error in self.failed)
        raise kind(
            f"{len(errors)} of {self.assets + len(errors)} assets are not in place "
            f"({human(size)}):{lines}",
            hint=next((error.hint for error in errors if error.hint), None),
        )


def pull(
    project: Project,
    words: Iterable[str] = (),
    *,
    groups: Iterable[str] = (),
    frozen: bool = False,
    offline: bool = False,
    force: bool = False,
    views: bool = True,
    relink: bool = False,
    jobs: int = 8,
    progress: Progress = QUIET,
) -> Pulled:
    """Bring *words* and *groups* (all, if none is given) into the store and link them.

    Args:
        project: whose lock is pulled.
        words: names, globs or Hub ids.
        groups: groups that requests name.
        frozen: do not compare with the requests in pyproject.toml.
        offline: take nothing from the network.
        force: replace views that are writable copies (``cas edit``).
        views: make views; else only the store is filled.
        relink: also move views that lead to a store which can't be seen.
        jobs: downloads at a time.
        progress: is told how it goes.

    Raises:
        OutOfStep: the requests ask for something else than is pinned.
        UnknownAsset, LockfileError, StoreError.
    """
    lock_bytes, requests_bytes = project.lock_bytes(), project.requests_bytes()
    lock = lockfile.parse(lock_bytes)
    if project.past:  # an experiment's lock stands in: the views stay the project's own
        views, frozen = False, True
    sweep_project(project, lock.assets)
    words, groups = list(words), list(groups)
    if not frozen:
        check_in_step(project, lock, words, groups)
    assets = lock.select(words, groups)
    for name, source in stale_inputs(lock).items():
        if name in {asset.name for asset in assets}:
            progress.note(
                f"{name} is stale: it was made of an earlier {source}; "
                f"cas lock --update {source} --build"
            )
    if views:
        wanted, seen = check_views(project, assets, relink=relink, force=force)
    else:
        wanted, seen = assets, Linked()
    for name in seen.kept_edits:
        progress.note(f"{name} is being edited: {view_of(name)} was left as it is")
    project.stores.listen(progress.note)

    def bringer() -> Bringer:
        from cas.installer.bring import Bringer

        return Bringer(project, lock, progress=progress, offline=offline, jobs=jobs)

    def settle() -> None:
        _settle(project, lock, lock_bytes, progress)

    for _ in range(TRIES):
        try:
            result = _call(project, lock, wanted, seen, bringer, settle, link=views, force=force)
            break
        except Vanished:
            continue
    else:
        raise StoreError(f"the store {project.store.root} loses what is put into it",
                         hint="cas verify")  # fmt: skip
    result.failed += seen.refused
    result.assets += len(seen.kept_edits)
    whole = not result.failed and not seen.kept_edits
    if whole and views and in_step(requests_bytes, lock):
        project.keep_warm(lock_bytes, requests_bytes, lock, result.stand)
    return result


def _call(
    project: Project,
    lock: Lockfile,
    wanted: list[Asset],
    seen: Linked,
    open_bringer: Callable[[], Bringer],
    settle: Callable[[], None],
    *,
    link: bool,
    force: bool,
) -> Pulled:
    """Do one try of a pull: announce, look, bring, look again, link, settle.

    Where every tree stands nothing is brought, and what brings is not even loaded.
    """
    store = project.store
    call: Call | None = None
    if not store.readonly and wanted and not _nothing_to_do(project, wanted, link=link):
        root = project.root_id(draw=True) or ""
        with shared_gc_mutex(store):
            call = announce(store, root, path=project.root, trees=_needed(lock, wanted))
        sweep(store.place("staging"))
    result = Pulled()
    bringer: Bringer | None = None
    try:
        stand: list[tuple[Asset, str]] = []
        for asset in sorted(wanted, key=lambda a: isinstance(a.request, RecipeRequest)):
            found = project.tree_of(asset)
            try:
                if found:
                    result.stand[asset.name] = found
                    path = found[0]
                else:
                    bringer = bringer or open_bringer()
                    path = _bring(bringer, asset)
            except Vanished:
                raise
            except CasError as error:
                result.failed.append((asset, error))
                continue
            stand.append((asset, path))
        for asset, path in stand:
            if bringer:  # it took its time
                found = project.tree_of(asset)
                if found is None:
                    raise Vanished(f"tree {asset.tree_id} went while it was being linked")
                result.stand[asset.name] = found
            for one in project.stores.written:
                if path == one.tree(asset.tree):
                    note_use(one, asset.tree, time.time())
        if link:
            if call:
                for one in project.stores.written:
                    make_durable(one, [asset.tree for asset, _ in stand])
            link_views(project, stand, seen, force=force)
        result.assets = len(stand)
        result.linked = seen.changed
        if bringer:
            result.downloaded_files, result.downloaded_bytes = bringer.files, bringer.bytes
        settle()
    finally:
        if call:
            end(call)
    return result


def _bring(bringer: Bringer, asset: Asset) -> str:
    from cas.installer.apart import goes_apart

    if bringer.store.readonly and not goes_apart(bringer, asset):
        _, why = standing(bringer.store, asset.tree)
        raise NotPulled(
            f"{asset.name!r}: {why}, and the store {bringer.store.root} can't be written: "
            f"{bringer.store.readonly}",
            hint="CAS_STORE=DIR names another store",
        )
    return bringer.bring(asset)


def _nothing_to_do(project: Project, wanted: list[Asset], *, link: bool) -> bool:
    for asset in wanted:
        lies = look(project.root, view_of(asset.name))
        if link and lies.tree != asset.tree:  # before the tree is looked at: that takes longer
            return False
        found = project.tree_of(asset)
        if found is None or (link and lies.target != project.target_of(asset, found[0])):
            return False
    return True


def _needed(lock: Lockfile, wanted: list[Asset]) -> set[Digest]:
    """Return the trees of *wanted*, of what they are made of, and so on."""
    trees: set[Digest] = set()
    todo = list(wanted)
    while todo:
        asset = todo.pop()
        trees |= {asset.tree, *asset.inputs.values()}
        if isinstance(asset.request, RecipeRequest):
            sources = (lock.assets.get(name) for name in asset.request.inputs.values())
            todo += [source for source in sources if source and source.tree not in trees]
    return trees


def needs_of(project: Project) -> None:
    """Write down what the project's lock, as it is now, needs of the store."""
    _settle(project, project.read_lock(), b"", QUIET)


def _settle(project: Project, lock: Lockfile, of: bytes, progress: Progress) -> None:
    """Write down what the project needs of the store now.

    The lock is read again: it may have moved during a long pull, and what it names now counts.
    *lock*, parsed *of* these bytes, stands in where it can't be parsed.
    """
    lock_bytes = project.present_lock_bytes()
    if lock_bytes != of:
        try:
            lock = lockfile.parse(lock_bytes)
        except LockfileError:
            pass
    for store in project.stores.written:
        if not store.readonly:
            _settle_in(store, project, lock, hash_bytes(lock_bytes))
        elif os.path.isdir(store.root):
            progress.note(
                f"the store {store.root} can't be written ({store.readonly}): "
                "its gc does not know of this project"
            )


def _settle_in(store: Store, project: Project, lock: Lockfile, sha256: Digest) -> None:
    root = project.root_id(draw=True) or ""
    try:
        read_root(store, root)
        experiments: set[Digest] = set()
    except StoreError:
        from cas.project.held import holds

        found = holds(project.root)  # the root is damaged: ask the records themselves
        experiments = found[1] if found else set()
    settle(
        store,
        root,
        path=project.root,
        lock=sha256,
        trees=[asset.tree for asset in lock],
        experiments=experiments,
        keep_experiments=True,
    )
