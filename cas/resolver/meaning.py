"""What a word of ``cas add`` means: an asset's name, its request, and where local files are."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cas import registry
from cas.errors import (
    CasError,
    Offline,
    RequestError,
    SourceError,
    UnknownAsset,
    UsageError,
    typed,
)
from cas.names import KINDS, find, kind_of, near
from cas.project import look
from cas.request import HubRequest, LocalRequest, Request, check_repo, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from concurrent.futures import Executor
    from typing import Any

    from cas.listing import Listing
    from cas.lockfile import Lockfile
    from cas.project import Project

__all__ = ["AddOptions", "default_name", "meaning"]

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
    tokenizer: str | None = None
    options: tuple[tuple[str, Any], ...] = ()
    """The recipe's own options."""
    follow: bool = False
    skip_special: bool = False
    move: bool = False
    pull: bool = True
    dry_run: bool = False
    offline: bool = False
    jobs: int = 8
    executor: Executor | None = None
    """Where the work of recipes is done; None: processes of this machine."""


def meaning(
    project: Project,
    lock: Lockfile,
    requests: Mapping[str, Request],
    word: str,
    options: AddOptions,
) -> tuple[str, Request, str]:
    """Return (name, request, place of a local source or ``""``) for what was typed."""
    if "\0" in word or not word:
        raise UsageError(f"{word!r}: expected a path, a Hub id or a name")
    if options.kind not in (None, *HUB_KINDS):
        raise UsageError(f"kind: expected one of {', '.join(HUB_KINDS)}, found {options.kind!r}")
    kind, colon, rest = word.partition(":")
    if colon and kind in HUB_KINDS:
        return _known(project, requests, kind, rest, options) or _hub(kind, rest, options)
    if options.recipe or options.input or options.tokenizer:
        return _derived(lock, word, options)
    begins = word.startswith(("./", "../", "/", "~")) or word in (".", "..")
    if begins or (os.path.lexists(word) and not os.path.isdir(word)):
        return _local(project, os.path.expanduser(word), options)
    if word.partition("/")[0] in ("tokenizers", "tokens"):
        if word in requests and not options.options:
            old = requests[word]
            return _again(project, word, old, options)
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
    kinds = (options.kind,) if options.kind else HUB_KINDS
    for kind in kinds:
        if again := _known(project, requests, kind, word, options, local=True):
            return again
    return _hub(options.kind, word, options)


def _known(
    project: Project,
    requests: Mapping[str, Request],
    kind: str,
    repo: str,
    options: AddOptions,
    *,
    local: bool = False,
) -> tuple[str, Request, str] | None:
    """Read a Hub id that is an asset already under its default name: its options change.

    With *local* also one that has this name and came from a file or directory.
    """
    name = f"{HUB_KINDS[kind]}/{repo}"
    old = requests.get(name)
    is_it = (isinstance(old, HubRequest) and old.repo == repo) or (
        local and isinstance(old, LocalRequest)
    )
    if old is None or not is_it or options.name not in (None, name):
        return None
    return _again(project, name, old, options)


def _again(
    project: Project, name: str, old: Request, options: AddOptions
) -> tuple[str, Request, str]:
    """Read an asset's own name: its new bytes (local), or its options (Hub).

    Of a local asset whose source is not there any more, its groups.
    """
    if isinstance(old, LocalRequest):
        place = os.path.join(project.root, old.local)
        is_source = os.path.lexists(place) and look(project.root, old.local).state != "link"
        if options.groups and not is_source:  # it was taken in; only its groups can be meant
            return name, replace(old, groups=options.groups), ""
        options = replace(
            options,
            name=name,
            follow=options.follow or old.follow,
            skip_special=options.skip_special or old.skip_special,
            groups=options.groups or old.groups,
        )
        return _local(project, place, options)
    if isinstance(old, HubRequest):
        _no_recipe(name, options)
        return name, HubRequest(
            kind=old.kind,
            repo=old.repo,
            revision=options.revision or old.revision,
            include=options.include or old.include,
            exclude=options.exclude or old.exclude,
            groups=options.groups or old.groups,
        ), ""  # fmt: skip
    _no_hub(name, options)
    return name, replace(old, groups=options.groups or old.groups), ""


def _hub(kind: str | None, repo: str, options: AddOptions) -> tuple[str, Request, str]:
    try:
        check_repo(repo, place=repr(repo))
    except RequestError as error:
        raise UsageError(
            f"{repo!r:.120} is no file, no asset's name and no Hub id",
            hint=_of_url(repo) or "cas add ORG/NAME, cas add ./PATH, or cas list",
        ) from error
    _no_recipe(repo, options)
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


def _no_recipe(word: str, options: AddOptions) -> None:
    if options.options or options.recipe or options.input or options.tokenizer:
        raise UsageError(f"{word!r}: --recipe, --vocab-size and the like are a recipe's options",
                         hint="cas add tokenizers/NAME_bpe_4096")  # fmt: skip


def _kind_on_hub(repo: str, *, offline: bool) -> str:
    from cas import hub

    if offline:
        raise Offline(f"{repo}: the network is needed, and --offline is set")
    kinds = hub.kinds_of(repo)
    if not kinds:
        message = f"the Hub has no model, dataset or space {repo!r}, or none that you may see"
        hint = "check the name; hf auth login, if it is private"
        if files := _near_files(repo):
            message += f", and there is no such file; near: {', '.join(map(repr, files))}"
            hint = f"cas add {typed(files[0])}"
        elif repo.endswith(CHECKPOINTS):
            message += f", and there is no file {repo!r} here"
        hint = registry.suggestion(repo) or hint
        raise SourceError(message, hint=hint)
    if len(kinds) > 1:
        ways = ", ".join(f"cas add {kind}:{repo}" for kind in kinds)
        raise UsageError(f"{repo!r} is a {' and a '.join(kinds)} on the Hub", hint=ways)
    return kinds[0]


def _of_url(word: str) -> str | None:
    """Return the command that a pasted address of the Hub means."""
    scheme, found, rest = word.partition("://")
    if not found:
        return None
    parts = [part for part in rest.split("/") if part]
    if scheme in ("http", "https"):
        parts = parts[1:]
    kind = {"datasets": "dataset", "spaces": "space"}.get(parts[0] if parts else "", "model")
    parts = parts[1:] if kind != "model" or parts[:1] == ["models"] else parts
    repo = "/".join(parts[:2])
    return f"cas add {kind}:{repo}" if repo and _could_be_hub(repo) else None


def _near_files(word: str) -> list[str]:
    """Return the files beside a path that was mistyped."""
    directory = os.path.dirname(word)
    if not os.path.isdir(directory or "."):
        return []
    names = os.listdir(directory or ".")
    return [os.path.join(directory, name) for name in near(os.path.basename(word), names)]


def _no_hub(word: str, options: AddOptions) -> None:
    if options.revision or options.include or options.exclude:
        raise UsageError(f"{word!r} is made by a recipe: --revision, --include and --exclude "
                         "don't fit it", hint="--files PATTERN chooses what is read")  # fmt: skip


def _derived(lock: Lockfile, word: str, options: AddOptions) -> tuple[str, Request, str]:
    from cas import recipes

    name = options.name or word
    said = recipes.parse_name(word)
    kind = kind_of(name)
    _no_hub(word, options)
    table: dict[str, Any] = {}
    if options.recipe:
        table = {"recipe": options.recipe}
    elif said:
        table = dict(said[1])
    elif kind == "tokens":
        table = {"recipe": "tokens"}
    source = options.input or (said[0] if said else None)
    if not table or not source:
        raise UsageError(
            f"{word!r} does not say its {'recipe' if not table else 'input'}",
            hint=f"cas add {typed(word)} "
            + ("--input DATASET --tokenizer TOKENIZER" if kind == "tokens"
               else "--recipe bpe --input DATASET --vocab-size 4096"),
        )  # fmt: skip
    if (kind == "tokens") != (table["recipe"] == "tokens"):
        raise UsageError(
            f"{name!r}: recipe {table['recipe']!r} makes no {kind}",
            hint=f"cas add {'tokens' if table['recipe'] == 'tokens' else 'tokenizers'}/NAME …",
        )
    table |= {k: list(v) if isinstance(v, tuple) else v for k, v in options.options}
    table["input"] = _input(lock, source, without=("tokens", "tokenizers"))
    if options.tokenizer:
        table["tokenizer"] = _input(lock, options.tokenizer, without=("tokens", "datasets"))
    elif table["recipe"] == "tokens":
        raise UsageError(
            f"{word!r} does not say which tokenizer makes the tokens",
            hint=f"cas add {typed(word)} --input {typed(source)} --tokenizer TOKENIZER",
        )
    if options.groups:
        table["groups"] = list(options.groups)
    return name, parse(table, place=name), ""


def _input(lock: Lockfile, word: str, *, without: Iterable[str]) -> str:
    """Return the name of the asset that an input is; of kinds *without* only where none fits."""
    known = {asset.name: asset.hub_ids for asset in lock}
    likely = {name: ids for name, ids in known.items() if kind_of(name) not in without}
    try:
        return find(word, likely)
    except UnknownAsset as error:
        if "fits" in str(error):
            raise
    try:
        return find(word, known)
    except UnknownAsset as error:
        raise UnknownAsset(str(error), hint=registry.suggestion(word) or error.hint) from None


def _local(project: Project, place: str, options: AddOptions) -> tuple[str, Request, str]:
    if not os.path.lexists(place):
        raise UsageError(f"{place!r} is not there", hint="cas add PATH")
    if options.revision or options.include or options.exclude or options.options:
        raise UsageError(f"{place!r} is a local path: --revision, --include, --exclude and a "
                         "recipe's options don't fit it")  # fmt: skip
    absolute = os.path.abspath(place)
    inside = os.path.relpath(os.path.realpath(os.path.dirname(absolute)), project.root)
    last = os.path.basename(absolute)
    path = last if inside == "." else f"{inside}/{last}"
    view = look(project.root, path) if path.startswith("assets/") else None
    if view and view.state == "link":
        raise UsageError(f"{path} is a view, and nothing in it was edited",
                         hint=f"cas edit {typed(path)}")  # fmt: skip
    local = last if inside.split("/")[0] == ".." else path
    name = options.name or default_name(place)
    if name.partition("/")[0] not in KINDS:
        raise UsageError(
            f"--name {name!r}: expected '<kind>/<name>' with a kind of {', '.join(KINDS)}",
            hint=f"cas add {typed(place)} --name {typed(default_name(place))}",
        )
    request = LocalRequest(
        local=local, follow=options.follow, skip_special=options.skip_special, groups=options.groups
    )
    return name, request, place


def default_name(place: str, listing: Listing | None = None) -> str:
    """Return the name of a local file or directory.

    models/ for weights, tokenizers/ for a tokenizer without them, datasets/ else.
    """
    last = os.path.basename(os.path.abspath(place).rstrip("/"))
    if os.path.isdir(place):
        names = [e.path for e in listing] if listing else _top(place)
        if any(n == "config.json" or n.endswith(CHECKPOINTS) for n in names):
            return f"models/{last}"
        return f"{'tokenizers' if 'tokenizer.json' in names else 'datasets'}/{last}"
    return f"{'models' if last.lower().endswith(CHECKPOINTS) else 'datasets'}/{last}"


def _top(place: str) -> list[str]:
    try:
        return os.listdir(place)
    except OSError as error:
        raise UsageError(f"{place!r} can't be read: {error.strerror}") from None


def _could_be_hub(word: str) -> bool:
    try:
        check_repo(word, place=word)
    except CasError:
        return False
    return True
