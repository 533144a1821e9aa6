"""One request → one pin: what it is now, and exactly which bytes that is."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cas.errors import CasError, UsageError
from cas.installer import check_source, import_path, origin_of
from cas.installer.apart import into_own
from cas.installer.derive import build_recipe, inputs_of
from cas.installer.local import measure_path
from cas.listing import Listing, twins, unportable
from cas.lockfile import Asset
from cas.project import look
from cas.project.access import access_of, is_apart
from cas.request import HubRequest, LocalRequest, RecipeRequest, Request
from cas.store import build

if TYPE_CHECKING:
    from cas.hub import Snapshot
    from cas.installer import Bringer

__all__ = ["Move", "move_of", "pin_hub", "pin_local", "pin_recipe"]

CODE = (".py", ".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt", ".so", ".sh", ".joblib", ".npy")
"""Formats that can run code when they are loaded; one that is new is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """What a call did to one pin."""

    name: str
    old: Asset | None
    new: Asset | None
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    @property
    def code(self) -> list[str]:
        """The files that came and can run code when they are loaded."""
        return [path for path in self.added if path.lower().endswith(CODE)]

    def json(self) -> dict[str, Any]:
        """Return it as ``cas lock --json`` says it."""
        return {
            "name": self.name,
            "old": self.old.tree_id if self.old else None,
            "new": self.new.tree_id if self.new else None,
            "commit": self.new.commit if self.new else None,
            "files": self.new.files if self.new else None,
            "size": self.new.size if self.new else None,
        }


def move_of(bringer: Bringer, name: str, old: Asset | None, new: Asset | None) -> Move:
    """Return what moved between two pins, with their files where both listings are here."""
    stores = bringer.project.stores
    before = stores.listing(old.tree) if old else None
    after = stores.listing(new.tree) if new else None
    changes: tuple[list[str], list[str], list[str]] = ([], [], [])
    if before and after:
        changes = before.changes(after)
    elif after and not old:
        changes = ([entry.path for entry in after], [], [])
    added, removed, changed = map(tuple, changes)
    return Move(name=name, old=old, new=new, added=added, removed=removed, changed=changed)


def pin_hub(
    bringer: Bringer, name: str, request: HubRequest, old: Asset | None, snapshot: Snapshot
) -> Asset:
    """Pin what a snapshot of the Hub holds; only files without a known SHA-256 are fetched."""
    if not snapshot.files:
        raise UsageError(f"{name}: {snapshot.repo} has no file that the patterns leave")
    if is_apart(bringer.project, name, snapshot.access):
        bringer.progress.note(
            f"{name} is {snapshot.access}: it goes to your own store, for "
            f"{bringer.store.root} is shared"
        )
        bringer = into_own(bringer)
    before = bringer.project.stores.listing(old.tree) if old else None
    listing, sizes = bringer.digests_of(snapshot, before, name)
    _tell_unportable(bringer, name, listing)
    bringer.put_listing(listing)
    return Asset(
        name=name,
        request=request,
        tree=listing.digest,
        files=len(listing),
        size=sum(sizes.values()),
        repo=snapshot.repo,
        commit=snapshot.commit,
        access=snapshot.access,
        extra=old.extra if old else {},
    )


def resolve(bringer: Bringer, request: HubRequest, *, revision: str | None = None) -> Snapshot:
    """Ask the Hub what a request's revision is now."""
    from cas import hub
    from cas.errors import Offline

    if bringer.offline:
        raise Offline(f"{request.repo}: the network is needed, and --offline is set")
    return hub.resolve(
        request.kind,  # type: ignore[arg-type]  # parsed to one of the three kinds
        request.repo,
        revision or request.revision,
        include=request.include,
        exclude=request.exclude,
        notice=bringer.progress.note,
    )


def pin_local(
    bringer: Bringer,
    name: str,
    request: LocalRequest,
    place: str,
    *,
    move: bool = False,
    tree: bool = True,
    dry_run: bool = False,
) -> Asset:
    """Import a file or directory by content, and build its *tree*; *dry_run* only hashes it."""
    check_source(bringer.store, place)
    if dry_run:
        imported = measure_path(
            place,
            progress=bringer.progress,
            follow=request.follow,
            skip_special=request.skip_special,
        )
    else:
        imported = import_path(
            bringer.store,
            place,
            progress=bringer.progress,
            follow=request.follow,
            skip_special=request.skip_special,
            move=move,
        )
    listing = imported.listing
    _tell_unportable(bringer, name, listing)
    bringer.put_listing(listing)
    if tree and not dry_run:
        build(bringer.store, listing, {"local": True}, single=imported.file is not None)
    return Asset(
        name=name,
        request=request,
        tree=listing.digest,
        files=len(listing),
        size=sum(imported.sizes),
        file=imported.file,
    )


def pin_recipe(bringer: Bringer, name: str, request: RecipeRequest, *, anew: bool = False) -> Asset:
    """Build a derived asset of the pins of its inputs, and its tree.

    What its recipe made of them before is taken, but with *anew* it is made again.
    """
    sources = [bringer.lock.find(word) for word in request.inputs.values()]
    access = next((a for a in (access_of(bringer.lock, one) for one in sources) if a), None)
    if is_apart(bringer.project, name, access):
        bringer = into_own(bringer)
    inputs = inputs_of(bringer, name, request)
    made = build_recipe(bringer, name, request, inputs, anew=anew)
    bringer.put_listing(made.listing)
    asset = Asset(
        name=name,
        request=request,
        tree=made.listing.digest,
        files=len(made.listing),
        size=sum(made.sizes),
        recipe=made.identity,
        inputs={role: source.tree for role, source in inputs.items()},
        semantic=made.semantic,
        made_with=made.made_with,
    )
    build(bringer.store, made.listing, origin_of(asset))
    return asset


def check_request(request: Request) -> None:
    """Raise RecipeError if a recipe's options can't be taken, before any work is done."""
    if isinstance(request, RecipeRequest):
        from cas import recipes

        recipes.parse(request.recipe, dict(request.options))


def local_place(bringer: Bringer, request: LocalRequest) -> str:
    """Return where a local request's source is; raise CasError if it is not there."""
    root = bringer.project.root
    place = os.path.join(root, request.local)
    if look(root, request.local).state == "link":
        raise CasError(
            f"its bytes were taken in from {request.local!r}, which is a view now",
            hint=f"cas edit {shlex.quote(request.local)}",
        )
    if not os.path.lexists(place):
        raise CasError(
            f"the source {request.local!r} is not there to be imported again"
            + ("" if "/" in request.local else ", or it was outside the project"),
            hint="cas add PATH --name NAME",
        )
    parent = os.path.realpath(os.path.dirname(place))
    if parent != root and not parent.startswith(root.rstrip("/") + "/"):
        raise CasError(  # a committed symlink must not decide which files are taken in
            f"the source {request.local!r} leads out of the project, to {parent!r}",
            hint=f"cas add {os.path.join(parent, os.path.basename(place))} --name NAME",
        )
    return place


def _tell_unportable(bringer: Bringer, name: str, listing: Listing) -> None:
    paths = [entry.path for entry in listing]
    strange = [(path, why) for path in paths if (why := unportable(path))]
    if strange:
        path, why = strange[0]
        bringer.progress.note(
            f"{name} is not portable: {len(strange)} of its paths, as {path!r}: {why}"
        )
    if pairs := twins(paths):
        one, other = pairs[0]
        bringer.progress.note(
            f"{name} is not portable: {one!r} and {other!r} are one path where case or "
            "Unicode form don't count"
        )
