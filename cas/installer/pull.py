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
    OutOfStep,
    StoreError,
)
from cas.files import sweep
from cas.installer.apart import goes_apart
from cas.installer.bring import Bringer
from cas.installer.link import Linked, check_views, link_views, sweep_project
from cas.names import view_of
from cas.progress import QUIET, human
from cas.project import holds, look
from cas.project.requests import parse_settings
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
    from collections.abc import Iterable, Mapping

    from cas.digest import Digest
    from cas.lockfile import Asset, Lockfile
    from cas.progress import Progress
    from cas.project import Project
    from cas.request import Request
    from cas.store import Call, Store

__all__ = ["Pulled", "check_in_step", "needs_of", "out_of_step", "pull", "stale_inputs"]

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


def out_of_step(requests: Mapping[str, Request], lock: Lockfile) -> dict[str, str]:
    """Return name → how its request and its pin differ, for all that are out of step."""
    found = {}
    for name in sorted({*requests, *lock.assets}):
        if name not in lock.assets:
            found[name] = "is requested and not locked"
        elif name not in requests:
            found[name] = "is locked and not requested"
        elif requests[name] != lock.assets[name].request:
            found[name] = "has another request than it was locked with"
    return found


def stale_inputs(lock: Lockfile) -> dict[str, str]:
    """Return name → the input that moved since it was built, for derived assets.

    Of a text and a tokenizer that both moved it is the text.
    """
    found: dict[str, str] = {}
    for asset in lock:
        if isinstance(asset.request, RecipeRequest) and not asset.request.keep:
            for role, name in asset.request.inputs.items():
                source = lock.assets.get(name)
                if source is None or source.tree != asset.inputs.get(role):
                    found.setdefault(asset.name, name)
    return found


def check_in_step(
    project: Project, lock: Lockfile, words: Iterable[str] = (), groups: Iterable[str] = ()
) -> None:
    """Raise OutOfStep if a request and its pin differ, for *words* and *groups*, or all."""
    requests = project.read_settings().requests
    differing = out_of_step(requests, lock)
    words, groups = list(words), set(groups)
    if (words or groups) and differing:
        wanted = {word for word in words if word in differing}
        for word in words:
            wanted |= {asset.name for asset in lock.select([word])} if _fits(lock, word) else set()
        both = [*requests.items(), *((asset.name, asset.request) for asset in lock)]
        wanted |= {name for name, request in both if groups & set(request.groups)}
        differing = {name: how for name, how in differing.items() if name in wanted}
    if differing:
        names = "".join(f"\n  {name} {how}" for name, how in differing.items())
        raise OutOfStep(
            f"assets.lock is out of step with pyproject.toml:{names}",
            hint="cas lock, or: cas pull --frozen",
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
                f"{name} was made of an earlier {source}: cas lock --update {source} --build"
            )
    if views:
        wanted, seen = check_views(project, assets, relink=relink, force=force)
    else:
        wanted, seen = assets, Linked()
    for name in seen.kept_edits:
        progress.note(f"{name} is being edited: {view_of(name)} was left as it is")
    project.stores.listen(progress.note)
    for _ in range(TRIES):
        bringer = Bringer(project, lock, progress=progress, offline=offline, jobs=jobs)
        try:
            result = _call(project, lock, wanted, seen, bringer, link=views, force=force)
            break
        except Vanished:
            continue
    else:
        raise StoreError(f"the store {project.store.root} loses what is put into it",
                         hint="cas verify")  # fmt: skip
    result.failed += seen.refused
    result.assets += len(seen.kept_edits)
    _settle(project, lock, progress)
    whole = not result.failed and not seen.kept_edits
    if whole and views and _in_step(requests_bytes, lock):
        project.keep_warm(lock_bytes, requests_bytes, lock)
    return result


def _in_step(requests_bytes: bytes | None, lock: Lockfile) -> bool:
    """Say whether the next pull would have nothing to tell: only then it may be the short one."""
    try:
        requests = parse_settings(requests_bytes).requests
    except CasError:
        return False
    return not out_of_step(requests, lock) and not stale_inputs(lock)


def _call(
    project: Project,
    lock: Lockfile,
    wanted: list[Asset],
    seen: Linked,
    bringer: Bringer,
    *,
    link: bool,
    force: bool,
) -> Pulled:
    """Do one try of a pull: announce, look, bring, look again, link."""
    store = project.store
    call: Call | None = None
    if not store.readonly and wanted and not _nothing_to_do(project, wanted, link=link):
        root = project.root_id(draw=True) or ""
        with shared_gc_mutex(store):
            call = announce(store, root, path=project.root, trees=_needed(lock, wanted))
        sweep(store.place("staging"))
    result = Pulled()
    try:
        stand: list[tuple[Asset, str]] = []
        for asset in sorted(wanted, key=lambda a: isinstance(a.request, RecipeRequest)):
            found = project.tree_of(asset)
            try:
                path = found[0] if found else _bring(bringer, asset)
            except Vanished:
                raise
            except CasError as error:
                result.failed.append((asset, error))
                continue
            stand.append((asset, path))
        written = project.stores.written
        for asset, path in stand:
            if project.tree_of(asset) is None:
                raise Vanished(f"tree {asset.tree_id} went while it was being linked")
            for one in written:
                if path == one.tree(asset.tree):
                    note_use(one, asset.tree, time.time())
        if link:
            if call:
                for one in written:
                    make_durable(one, [asset.tree for asset, _ in stand])
            link_views(project, stand, seen, force=force)
        result.assets = len(stand)
        result.linked = seen.changed
        result.downloaded_files, result.downloaded_bytes = bringer.files, bringer.bytes
        if call:
            _settle(project, lock, bringer.progress)
    finally:
        if call:
            end(call)
    return result


def _bring(bringer: Bringer, asset: Asset) -> str:
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
        found = project.tree_of(asset)
        if found is None:
            return False
        target = project.target_of(asset, found[0])
        if link and look(project.root, view_of(asset.name)).target != target:
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
    _settle(project, project.read_lock(), QUIET)


def _settle(project: Project, lock: Lockfile, progress: Progress) -> None:
    """Write down what the project needs of the store now.

    The lock is read again: it may have moved during a long pull, and what it names now counts.
    *lock* stands in where it can't be parsed.
    """
    lock_bytes = project.present_lock_bytes()
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


def _fits(lock: Lockfile, word: str) -> bool:
    try:
        lock.select([word])
    except CasError:
        return False
    return True
