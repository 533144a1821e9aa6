"""lock: bring assets.lock in step with the requests, and move pins when asked to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cas import lockfile
from cas.errors import (
    CasError,
    LockfileError,
    OutOfStep,
    UnknownAsset,
    UsageError,
    typed,
)
from cas.installer import Bringer, out_of_step
from cas.installer.pull import needs_of
from cas.installer.step import stale_inputs
from cas.progress import QUIET
from cas.request import HubRequest, LocalRequest, RecipeRequest, Request
from cas.resolver import pin
from cas.resolver.derived import inputs_first, made_of, pin_derived, rebuild
from cas.resolver.pin import Move, move_of
from cas.resolver.write import change_lock, check_writable, one_writer
from cas.store import announce, end, shared_gc_mutex

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from concurrent.futures import Executor

    from cas.lockfile import Asset, Lockfile
    from cas.progress import Progress
    from cas.project import Project

__all__ = ["LockOptions", "check", "lock", "merge", "outdated", "same_request"]


def check(project: Project) -> None:
    """Raise OutOfStep unless the lock is what the requests ask for, and nothing is stale.

    No network, nothing written.
    """
    now = project.read_lock()
    differing, stale = out_of_step(project.read_settings().requests, now), stale_inputs(now)
    lines = [f"{name} {how}" for name, how in differing.items()]
    lines += [f"{name} is stale: {source} moved" for name, source in stale.items()]
    if lines:
        listed = "".join(f"\n  {line}" for line in lines)
        sources = " ".join(sorted(set(stale.values())))
        raise OutOfStep(
            f"assets.lock is not what pyproject.toml asks for:{listed}",
            hint="cas lock" if differing else f"cas lock --update {sources} --build",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LockOptions:
    """The options of ``cas lock``."""

    update: tuple[str, ...] = ()
    """Names or Hub ids that are resolved again."""
    update_all: bool = False
    build: bool = False
    """Build again what is made of the updated assets, or (none is named) all that is stale."""
    rebuild: tuple[str, ...] = ()
    """Derived assets that are built again and compared with their lock."""
    side: str | None = None
    """``ours`` or ``theirs``, for what conflict markers leave undecided."""
    dry_run: bool = False
    offline: bool = False
    executor: Executor | None = None
    """Where the work of recipes is done; None: processes of this machine."""


def lock(
    project: Project, options: LockOptions | None = None, *, progress: Progress = QUIET
) -> list[Move]:
    """Pin what is new or changed in the requests, and keep every other pin.

    Returns what moved; an error before the end leaves the lock as it was.

    Raises:
        UnknownAsset, RequestError, LockfileError, and all that pinning raises.
    """
    options = options or LockOptions()
    if options.dry_run:
        return _lock(project, options, progress)
    check_writable(project)
    with announced(project, ()):  # what this call publishes is held from here on
        return _lock(project, options, progress)


def _lock(project: Project, options: LockOptions, progress: Progress) -> list[Move]:
    settings = project.read_settings()
    requests = settings.requests
    text = project.lock_bytes()
    merged = lockfile.has_conflict(text.decode("utf-8", "replace"))
    before = (
        merge(_utf8(text), options.side, requests, () if options.update_all else options.update)
        if merged
        else lockfile.parse(text)
    )
    if before.assets and "assets" not in settings.table:
        raise OutOfStep(  # a lost file must not take every pin with it
            f"pyproject.toml has no [tool.cas.assets], and assets.lock pins {len(before)}",
            hint="git checkout pyproject.toml gets it back; cas rm NAME takes an asset out",
        )
    bringer = Bringer(
        project, before, progress=progress, offline=options.offline, jobs=8,
        executor=options.executor,
    )  # fmt: skip
    chosen = _chosen(before, requests, options.update, update_all=options.update_all)
    rebuild(bringer, [before.find(name) for name in options.rebuild])
    building = made_of(requests, chosen or set(requests)) if options.build else set()
    moves: list[Move] = []
    now = before.with_assets([], without=[n for n in before.assets if n not in requests])
    moves += [move_of(bringer, n, a, None) for n, a in before.assets.items() if n not in requests]
    for name, request in inputs_first(requests):
        old = now.assets.get(name)
        bringer.lock = now
        new = _pin(
            bringer, name, request, old, moved=name in chosen,
            named=name in chosen and not options.update_all and not _globs(options.update),
            build=name in building,
            dry_run=options.dry_run,
        )  # fmt: skip
        if new is None:
            continue
        if new != old:
            now = now.with_assets([new])
        if old is None or new.tree != old.tree or new.commit != old.commit:
            moves.append(move_of(bringer, name, old, new))
    if not options.dry_run:
        _write(project, bringer, before, now, whole=now if merged else None)
    for name, source in stale_inputs(now).items():
        tell_stale(name, source, progress, "would be stale" if options.dry_run else "is stale now")
    return sorted(moves, key=lambda move: move.name)


def tell_stale(name: str, source: str, progress: Progress, state: str = "is stale now") -> None:
    """Say that *name* was made of what *source* was before it moved, and what builds it again."""
    progress.note(
        f"{name} {state}: it was made of an earlier {source}; cas lock --update {source} --build"
    )


def _utf8(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise LockfileError(f"assets.lock: not UTF-8 at byte {error.start}") from None


def merge(
    text: str, side: str | None, requests: Mapping[str, Request], update: Sequence[str]
) -> Lockfile:
    """Return the union by name of both sides of a lockfile with conflict markers.

    Raises LockfileError where one name has two pins, *side* does not decide, and *update* does
    not name it: what is named is resolved again, or fails.
    """
    ours, theirs = (lockfile.parse(half) for half in lockfile.sides(text))
    if side == "theirs":
        ours, theirs = theirs, ours
    union = ours.with_assets([a for a in theirs if a.name not in ours.assets])
    named = () if _globs(update) else update
    again = _chosen(union, requests, named, update_all=False)
    differing = [a for a in theirs if union.assets[a.name] != a and a.name not in again]
    if differing and side is None:
        lines = "".join(
            f"\n  {a.name}: ours {_pin_text(ours.assets[a.name])}, theirs {_pin_text(a)}"
            for a in differing
        )
        raise LockfileError(
            f"assets.lock: two pins for one name:{lines}",
            hint="cas lock --ours, cas lock --theirs, or cas lock --update NAME",
        )
    return union


def outdated(
    project: Project, words: Iterable[str] = (), *, progress: Progress = QUIET
) -> list[dict[str, Any]]:
    """Return, for each Hub asset whose revision moved, what it is now; nothing is written."""
    now = project.read_lock()
    bringer = Bringer(project, now, progress=progress, offline=False, jobs=8)
    rows = []
    for asset in now.select(words):
        if isinstance(asset.request, HubRequest):
            snapshot = pin.resolve(bringer, asset.request)
            if snapshot.commit != asset.commit:
                rows.append(
                    {
                        "name": asset.name,
                        "revision": asset.request.revision or "main",
                        "locked": asset.commit,
                        "now": snapshot.commit,
                        "files": len(snapshot.files),
                        "size": sum(file.size for file in snapshot.files),
                    }
                )
    return rows


def _chosen(
    before: Lockfile, requests: Mapping[str, Request], words: Iterable[str], *, update_all: bool
) -> set[str]:
    """Return the names to be resolved again; a request that has no pin yet may be named."""
    if update_all:
        return set(before.assets)
    chosen = set()
    for word in words:
        try:
            chosen |= {asset.name for asset in before.select([word])}
        except UnknownAsset:
            if word not in requests:  # it has no pin yet, and gets one anyway
                raise
    return chosen


def _globs(words: Iterable[str]) -> bool:
    return any(char in word for word in words for char in "*?[")


def _pin(
    bringer: Bringer,
    name: str,
    request: Request,
    old: Asset | None,
    *,
    moved: bool,
    named: bool,
    build: bool,
    dry_run: bool,
) -> Asset | None:
    """Return the pin of one request: the old one unless it is new, changed, or to be moved.

    A local source that is gone is an error only for what is new or was *named* by itself.
    None is what a *dry_run* would have to build first.
    """
    from dataclasses import replace

    pin.check_request(request)
    fresh = old is None or not same_request(old.request, request)
    if isinstance(request, RecipeRequest):
        kept = None if fresh else old
        return pin_derived(
            bringer, name, request, kept, moved=moved, named=named, build=build, dry_run=dry_run,
            extra=old.extra if old else {},
        )  # fmt: skip
    if old is not None and not (fresh or moved):
        return replace(old, request=request)
    if isinstance(request, LocalRequest):
        try:
            place = pin.local_place(bringer, request)
        except CasError as error:
            if old is not None and not (fresh or named):
                bringer.progress.note(f"{name} keeps its pin: {error}")
                return replace(old, request=request)
            raise CasError(f"{name}: {error}", hint=error.hint) from None
        try:
            new = pin.pin_local(bringer, name, request, place, dry_run=dry_run)
        except UsageError as error:
            raise UsageError(f"{name}: {error}",
                             hint=f"cas add {typed(place)} --name {typed(name)} --follow, or "
                             "--skip-special") from None  # fmt: skip
        return replace(new, extra=old.extra) if old else new
    snapshot = pin.resolve(bringer, request)
    if old is not None and not fresh and snapshot.commit == old.commit:
        return replace(old, request=request, repo=snapshot.repo, access=snapshot.access)
    return pin.pin_hub(bringer, name, request, old, snapshot)


def same_request(old: Request, new: Request) -> bool:
    """Say whether two requests pin the same: groups and keep decide no bytes."""
    loose = ("groups", "keep")
    a, b = old.table(), new.table()
    return {k: v for k, v in a.items() if k not in loose} == {
        k: v for k, v in b.items() if k not in loose
    }


def _write(
    project: Project,
    bringer: Bringer,
    before: Lockfile,
    now: Lockfile,
    *,
    whole: Lockfile | None,
) -> None:
    """Write the pins that changed, announced to gc until the project's root names them."""
    changed = [asset for asset in now if before.assets.get(asset.name) != asset]
    gone = [name for name in before.assets if name not in now.assets]
    if not changed and not gone and whole is None:
        with one_writer(project):
            change_lock(project)
        return
    with announced(project, {asset.tree for asset in changed}), one_writer(project):
        change_lock(project, changed, without=gone, whole=whole)


class announced:  # noqa: N801 - it is used as a context manager, a verb
    """Announce trees to gc, and write what the project needs when the block has ended."""

    def __init__(self, project: Project, trees: Iterable[Any]) -> None:
        self.project = project
        self.trees = set(trees)

    def __enter__(self) -> None:
        store = self.project.store
        store.need_writable()
        root = self.project.root_id(draw=True) or ""
        with shared_gc_mutex(store):
            self.call = announce(store, root, path=self.project.root, trees=self.trees)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if kind is None:
                needs_of(self.project)
        finally:
            end(self.call)


def _pin_text(asset: Asset) -> str:
    return f"{asset.tree_id[:15]}…" + (f" at commit {asset.commit[:12]}" if asset.commit else "")
