"""add: a new request, its pin and its bytes, in one go.

The two files are written last, after every byte is verified: an ``add`` that fails changes
neither, and the same one can be tried again.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cas.errors import CasError, ListingError, RequestError, SourceError, StoreError, UsageError
from cas.files import discard, temporary_name
from cas.installer import Bringer, link_views
from cas.installer.link import Linked, check_views
from cas.installer.local import take_away
from cas.names import KINDS, check_name, check_names, find, view_of
from cas.progress import QUIET
from cas.request import HubRequest, LocalRequest, RecipeRequest, Request, check_repo, parse
from cas.resolver import pin
from cas.resolver.lock import announced
from cas.resolver.pin import Move, move_of
from cas.resolver.write import change_lock, change_requests, check_writable, one_writer
from cas.store import Vanished

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from cas.listing import Listing
    from cas.lockfile import Asset, Lockfile
    from cas.progress import Progress
    from cas.project import Project

__all__ = ["AddOptions", "add", "default_name", "publish"]

CHECKPOINTS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".gguf", ".onnx")
HUB_KINDS = {"dataset": "datasets", "model": "models", "space": "spaces"}


@dataclass(frozen=True, slots=True, kw_only=True)
class AddOptions:
    """The options of ``cas add``."""

    kind: str | None = None
    """dataset, model or space, where the Hub id is ambiguous"""
    name: str | None = None
    revision: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    recipe: str | None = None
    input: str | None = None
    options: tuple[tuple[str, Any], ...] = ()
    """The recipe's own options."""
    follow: bool = False
    skip_special: bool = False
    move: bool = False
    pull: bool = True
    dry_run: bool = False
    offline: bool = False
    jobs: int = 8


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
    name, request, place = _meaning(project, lock, requests, word, options)
    try:
        check_name(name)
        check_names({*requests, name})
    except ListingError as error:
        raise UsageError(str(error), hint=f"cas add {word} --name KIND/NAME") from None
    pin.check_request(request)
    bringer = Bringer(project, lock, progress=progress, offline=options.offline, jobs=options.jobs)
    old = lock.assets.get(name)
    shell = old or _shell(name, request)
    own_view = bool(place) and os.path.abspath(place) == os.path.join(project.root, view_of(name))
    seen = Linked()
    if options.pull and not options.dry_run and not own_view:
        _, seen = check_views(project, [shell], relink=True, force=False)
        if name in seen.kept_edits:
            raise UsageError(
                f"{name!r} is being edited, so it was left as it is",
                hint=f"cas add {view_of(name)} --name {name} takes the edit in",
            )
        if seen.refused:
            raise seen.refused[0][1]
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
    else:
        raise StoreError(f"the store {project.store.root} loses what is put into it",
                         hint="cas verify")  # fmt: skip
    if options.move and place and not own_view:
        take_away(project.store, place, new)
    if old == new and requests.get(name) == request:
        return []
    return [move_of(bringer, name, old, new)]


def default_name(place: str, listing: Listing | None = None) -> str:
    """Return the name of a local file or directory: models/ for weights, datasets/ else."""
    last = os.path.basename(os.path.abspath(place).rstrip("/"))
    if os.path.isdir(place):
        names = [e.path for e in listing] if listing else _top(place)
        model = any(n == "config.json" or n.endswith(CHECKPOINTS) for n in names)
        return f"{'models' if model else 'datasets'}/{last}"
    return f"{'models' if last.lower().endswith(CHECKPOINTS) else 'datasets'}/{last}"


def _top(place: str) -> list[str]:
    try:
        return os.listdir(place)
    except OSError as error:
        raise UsageError(f"{place!r} can't be read: {error.strerror}") from None


def _meaning(
    project: Project,
    lock: Lockfile,
    requests: Mapping[str, Request],
    word: str,
    options: AddOptions,
) -> tuple[str, Request, str]:
    """Return (name, request, place of a local source or ``""``) for what was typed."""
    if "\0" in word or not word:
        raise UsageError(f"{word!r}: expected a path, a Hub id or a name")
    kind, colon, rest = word.partition(":")
    if colon and kind in HUB_KINDS:
        return _hub(kind, rest, options)
    if options.recipe or options.input:
        return _derived(lock, word, options)
    begins = word.startswith(("./", "../", "/", "~")) or word in (".", "..")
    if begins or (os.path.lexists(word) and not os.path.isdir(word)):
        return _local(project, os.path.expanduser(word), options)
    if word.partition("/")[0] in ("tokenizers", "tokens"):
        if word in requests and not options.options:
            old = requests[word]
            if isinstance(old, LocalRequest):
                return _local(project, os.path.join(project.root, old.local),
                              _named(options, word))  # fmt: skip
            return word, old, ""
        return _derived(lock, word, options)
    if word in requests and (options.name in (None, word)):
        return _again(project, word, requests[word], options)
    if os.path.isdir(word):
        if _could_be_hub(word):
            raise UsageError(
                f"{word!r} is a directory, and could be a Hub id",
                hint=f"cas add ./{word}, or: cas add dataset:{word} (model:{word})",
            )
        return _local(project, word, options)
    return _hub(options.kind, word, options)


def _again(
    project: Project, name: str, old: Request, options: AddOptions
) -> tuple[str, Request, str]:
    """Read an asset's own name: its new bytes (local), or its options (Hub)."""
    if isinstance(old, LocalRequest):
        return _local(project, os.path.join(project.root, old.local), _named(options, name))
    if isinstance(old, HubRequest):
        return name, HubRequest(
            kind=old.kind,
            repo=old.repo,
            revision=options.revision or old.revision,
            include=options.include or old.include,
            exclude=options.exclude or old.exclude,
            groups=options.groups or old.groups,
        ), ""  # fmt: skip
    return name, old, ""


def _named(options: AddOptions, name: str) -> AddOptions:
    from dataclasses import replace

    return replace(options, name=name)


def _hub(kind: str | None, repo: str, options: AddOptions) -> tuple[str, Request, str]:
    try:
        check_repo(repo, place=repr(repo))
    except RequestError as error:
        raise UsageError(
            f"{repo!r:.120} is no file, no asset's name and no Hub id",
            hint="cas add ORG/NAME, cas add ./PATH, or cas list",
        ) from error
    if options.options:
        raise UsageError(f"{repo!r}: --vocab-size and the like are a recipe's options",
                         hint="cas add tokenizers/NAME_bpe_4096")  # fmt: skip
    if kind is None:
        kind = _kind_on_hub(repo, offline=options.offline)
    request = HubRequest(
        kind=kind,
        repo=repo,
        revision=options.revision,
        include=options.include,
        exclude=options.exclude,
        groups=options.groups,
    )
    parse(request.table(), place=f"cas add {repo}")
    return options.name or f"{HUB_KINDS[kind]}/{repo}", request, ""


def _kind_on_hub(repo: str, *, offline: bool) -> str:
    from cas import hub
    from cas.errors import Offline

    if offline:
        raise Offline(f"{repo}: the network is needed, and --offline is set")
    kinds = hub.kinds_of(repo)
    if not kinds:
        raise SourceError(
            f"the Hub has no model, dataset or space {repo!r}, or none that you may see",
            hint="check the name; hf auth login, if it is private",
        )
    if len(kinds) > 1:
        ways = ", ".join(f"cas add {kind}:{repo}" for kind in kinds)
        raise UsageError(f"{repo!r} is a {' and a '.join(kinds)} on the Hub", hint=ways)
    return kinds[0]


def _derived(lock: Lockfile, word: str, options: AddOptions) -> tuple[str, Request, str]:
    from cas import recipes

    name = options.name or word
    known = {asset.name: asset.hub_ids for asset in lock}
    said = recipes.parse_name(word)
    table: dict[str, Any] = {}
    if options.recipe:
        table = {"recipe": options.recipe}
    elif said:
        table = dict(said[1])
    source = options.input or (said[0] if said else None)
    if not table or not source:
        raise UsageError(
            f"{word!r} does not say its recipe",
            hint=f"cas add {word} --recipe bpe --input DATASET --vocab-size 4096",
        )
    table |= dict(options.options)
    table["input"] = find(source, known)
    if options.groups:
        table["groups"] = list(options.groups)
    return name, parse(table, place=name), ""


def _local(project: Project, place: str, options: AddOptions) -> tuple[str, Request, str]:
    if not os.path.lexists(place):
        raise UsageError(f"{place!r} is not there", hint="cas add PATH")
    if options.revision or options.include or options.exclude or options.options:
        raise UsageError(f"{place!r} is a local path: --revision, --include, --exclude and a "
                         "recipe's options don't fit it")  # fmt: skip
    absolute = os.path.abspath(place)
    inside = os.path.relpath(os.path.realpath(os.path.dirname(absolute)), project.root)
    last = os.path.basename(absolute)
    if inside.split("/")[0] in ("..", "assets"):
        local = last  # outside, or a view of its own: not where it can be imported again
    else:
        local = last if inside == "." else f"{inside}/{last}"
    name = options.name or default_name(place)
    if name.partition("/")[0] not in KINDS:
        raise UsageError(
            f"--name {name!r}: expected '<kind>/<name>' with a kind of {', '.join(KINDS)}",
            hint=f"cas add {place} --name {default_name(place)}",
        )
    return name, LocalRequest(local=local, groups=options.groups), place


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
        new = pin.pin_local(
            bringer,
            name,
            request,
            place,
            follow=options.follow,
            skip_special=options.skip_special,
            move=options.move,
            dry_run=options.dry_run,
        )
        return replace(new, extra=old.extra) if old else new
    if isinstance(request, RecipeRequest):
        source = bringer.lock.find(request.input)
        if old and old.request == request and source.tree in old.inputs.values():
            return old
        return pin.pin_recipe(bringer, name, request, source)
    if old and old.request == request:
        return old  # add keeps a pin; lock --update moves it
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
    """Put the view in the place of the files that the asset was just made of."""
    path = os.path.join(project.root, view_of(asset.name))
    aside = os.path.join(os.path.dirname(path), temporary_name())
    os.rename(path, aside)
    try:
        seen = link_views(project, [(asset, tree)], Linked())
        if seen.refused:
            raise seen.refused[0][1]
    except BaseException:
        os.rename(aside, path)
        raise
    discard(aside)
    if asset.name in project.edited():
        project.set_edited(project.edited() - {asset.name})


def _shell(name: str, request: Request) -> Asset:
    """Return a pin-shaped stand-in that only says which view an asset will have."""
    from cas.digest import Digest
    from cas.lockfile import Asset

    return Asset(name=name, request=request, tree=Digest("0" * 64), files=1, size=0)


def _could_be_hub(word: str) -> bool:
    try:
        check_repo(word, place=word)
    except CasError:
        return False
    return True
