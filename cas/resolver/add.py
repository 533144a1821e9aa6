"""add: a new request, its pin and its bytes, in one go.

The two files are written last, after every byte is verified: an ``add`` that fails changes
neither, and the same one can be tried again.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cas.errors import ListingError, StoreError, UsageError, typed
from cas.files import discard, exchange, fsync_dir, temporary_name
from cas.installer import Bringer, link_views
from cas.installer.apart import into_own
from cas.installer.link import Linked, check_views, sweep_project
from cas.installer.local import take_away
from cas.installer.step import stale_inputs
from cas.names import check_name, check_names, view_of
from cas.progress import QUIET
from cas.request import LocalRequest, RecipeRequest, Request
from cas.resolver import pin
from cas.resolver.derived import same_derived
from cas.resolver.lock import announced, same_request, tell_stale
from cas.resolver.meaning import AddOptions, meaning
from cas.resolver.pin import Move, move_of
from cas.resolver.write import change_lock, change_requests, check_writable, one_writer
from cas.store import Spoiled, Vanished, make_durable

if TYPE_CHECKING:
    from cas.lockfile import Asset
    from cas.progress import Progress
    from cas.project import Project

__all__ = ["add", "publish"]


def add(
    project: Project,
    word: str,
    options: AddOptions | None = None,
    *,
    progress: Progress = QUIET,
) -> list[Move]:
    """Request, pin and pull one asset; return what moved, nothing if it was so already.

    *word* is a path (it begins with ``./ ../ / ~`` or is a file), ``model:ID``,
    ``dataset:ID``, ``space:ID``, a derived asset's name, an asset's name, or a Hub id.

    Raises:
        UsageError: *word* could mean two things, or options don't fit it.
        SourceError, AccessDenied, Offline: it can't be had.
        ViewBlocked: something that is not ours lies where its view goes.
    """
    options = options or AddOptions()
    if not options.dry_run:
        check_writable(project)
    lock = project.read_lock()
    requests = project.read_settings().requests
    if not options.dry_run:
        sweep_project(project)
    name, request, place = meaning(project, lock, requests, word, options)
    try:
        check_name(name)
        check_names({*requests, name})
    except ListingError as error:
        raise UsageError(str(error), hint=f"cas add {typed(word)} --name KIND/NAME") from None
    pin.check_request(request)
    bringer = Bringer(
        project,
        lock,
        progress=progress,
        offline=options.offline,
        jobs=options.jobs,
        executor=options.executor,
    )
    old = lock.assets.get(name)
    shell = old or _shell(name, request)
    own_view = bool(place) and os.path.abspath(place) == os.path.join(project.root, view_of(name))
    seen = Linked()
    if options.pull and not options.dry_run and not own_view:
        _, seen = check_views(project, [shell], relink=True, force=False)
        if name in seen.kept_edits:
            raise UsageError(
                f"{name!r} is being edited, so it was left as it is",
                hint=f"cas add {typed(view_of(name))} --name {typed(name)} takes the edit in",
            )
        if seen.refused:
            raise seen.refused[0][1]
    if options.dry_run and isinstance(request, RecipeRequest):
        sources = " and ".join(request.inputs.values())
        progress.note(f"{name} would be built of {sources}; its files are known after that")
        return []
    if options.dry_run:
        new = _pin(bringer, name, request, old, place, options)
        return [move_of(bringer, name, old, new)]
    for _ in range(5):
        try:
            with announced(project, ()):  # what this call publishes is held from here on
                new = _pin(bringer, name, request, old, place, options)
                publish(project, bringer, new, options, own_view=own_view)
            break
        except Vanished:
            continue
        except Spoiled as error:
            if bringer.store is not project.store:
                raise
            progress.note(f"{name}: {error}; it goes to your own store")
            bringer = into_own(bringer)
    else:
        raise StoreError(f"the store {project.store.root} loses what is put into it",
                         hint="cas verify")  # fmt: skip
    if options.move and place and not own_view:
        take_away(bringer.store, place, new, progress)
    if old and old.tree != new.tree:
        _settle_users(bringer, name)
    if old == new and requests.get(name) == request:
        return []
    return [move_of(bringer, name, old, new)]


def _settle_users(bringer: Bringer, moved: str) -> None:
    """Pin again what reads the same of *moved* as before; tell of the rest that it is stale."""
    project = bringer.project
    with one_writer(project):
        bringer.lock = project.read_lock()
        same = []
        for user in stale_inputs(bringer.lock):
            if kept := same_derived(bringer, bringer.lock.find(user)):
                same.append(kept)
                bringer.lock = bringer.lock.with_assets([kept])
        change_lock(project, same)
    for user, source in stale_inputs(bringer.lock).items():
        if source == moved:
            tell_stale(user, source, bringer.progress)


def _pin(
    bringer: Bringer,
    name: str,
    request: Request,
    old: Asset | None,
    place: str,
    options: AddOptions,
) -> Asset:
    from dataclasses import replace

    if isinstance(request, LocalRequest):
        if old and not place and same_request(old.request, request):
            return replace(old, request=request)
        place = place or pin.local_place(bringer, request)
        new = pin.pin_local(
            bringer,
            name,
            request,
            place,
            move=options.move,
            dry_run=options.dry_run,
        )
        return replace(new, extra=old.extra) if old else new
    if isinstance(request, RecipeRequest):
        trees = {role: bringer.lock.find(word).tree for role, word in request.inputs.items()}
        if old and same_request(old.request, request) and trees == old.inputs:
            return replace(old, request=request)
        return pin.pin_recipe(bringer, name, request)
    if old and same_request(old.request, request):
        return replace(old, request=request)  # add keeps a pin; lock --update moves it
    return pin.pin_hub(bringer, name, request, old, pin.resolve(bringer, request))


def publish(
    project: Project, bringer: Bringer, new: Asset, options: AddOptions, *, own_view: bool
) -> None:
    """Bring the bytes, make the view, then write request and lock.

    Where the bytes came from the view's own place, the files there go last: a stop before
    that leaves them, and the same command goes on.
    """
    with announced(project, {new.tree, *new.inputs.values()}):
        if options.pull:
            found = project.tree_of(new)
            path = found[0] if found else bringer.bring(new)
            for store in project.stores.written:  # who built it may have been stopped there
                make_durable(store, [new.tree])
            if not own_view:
                seen = link_views(project, [(new, path)], Linked())
                if seen.refused:
                    raise seen.refused[0][1]
        with one_writer(project):
            change_requests(project, {new.name: new.request})
            change_lock(project, [new])
        if options.pull and own_view:
            _swap(project, new, path)


def _swap(project: Project, asset: Asset, tree: str) -> None:
    """Put the view in the place of the files that the asset was just made of, in one step."""
    path = os.path.join(project.root, view_of(asset.name))
    work = os.path.join(os.path.dirname(path), temporary_name())
    os.symlink(project.target_of(asset, tree), work)
    try:
        exchange(work, path)
        fsync_dir(os.path.dirname(path))
    finally:
        discard(work)  # the link, or the files that it stands for now
    if asset.name in project.edited():
        project.set_edited(project.edited() - {asset.name})


def _shell(name: str, request: Request) -> Asset:
    """Return a pin-shaped stand-in that only says which view an asset will have."""
    from cas.digest import Digest
    from cas.lockfile import Asset

    return Asset(name=name, request=request, tree=Digest("0" * 64), files=1, size=0)
