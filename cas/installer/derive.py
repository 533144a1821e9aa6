"""Build derived assets: inputs that stand in the store become files of the store.

A recipe's id says all that decides its bytes, so what was made by that id is found again and
not made anew: the store keeps id → files as a hint, and it counts only where all of them are
usable. Of processes that want the same id, one builds and the others wait.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cas import registry
from cas.digest import Digest
from cas.errors import NotReproducible, RecipeError, SourceError, StoreError, typed
from cas.files import sweep, temporary_name
from cas.installer.local import import_path
from cas.listing import Listing, tree_id
from cas.progress import QUIET
from cas.request import RecipeRequest
from cas.store import (
    one_download,
    open_store,
    read_listing,
    rebuilt_listing,
    recall,
    remember,
)
from cas.warm import tree_of_link

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cas.installer.bring import Bringer
    from cas.lockfile import Asset
    from cas.recipes import BpeRecipe
    from cas.recipes.tokens import TokenizerFile
    from cas.shards import TokensPlan
    from cas.store import Store

__all__ = ["Input", "Made", "build_again", "build_recipe", "from_recipe", "inputs_of", "recipe_id"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One input of a recipe; its tree stands."""

    name: str
    tree: Digest
    path: str
    listing: Listing
    asset: Asset | None
    """Its pin; None where what was locked is not pinned any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a recipe made; its files are in the store, its tree is not built yet."""

    listing: Listing
    sizes: tuple[int, ...]
    """bytes of each file, in the order of the listing"""
    identity: str
    """``r1:`` and the hash of all that decides the bytes."""
    semantic: str | None
    """Tokenizers: the hash of all that decides ids."""
    made_with: str | None
    warnings: tuple[str, ...]
    """What a person should be told."""


def from_recipe(bringer: Bringer, asset: Asset) -> Listing:
    """Build a locked derived asset of the inputs that it was locked with.

    Raises:
        SourceError: an input moved, and what it was is not here any more.
        NotReproducible: it has other bytes than those locked.
    """
    request = _request(asset)
    inputs = inputs_of(bringer, asset.name, request, asset.inputs)
    made = build_recipe(bringer, asset.name, request, inputs, wanted=asset.tree)
    _compare(asset, made)
    return made.listing


def build_again(bringer: Bringer, asset: Asset) -> Made:
    """Build a locked derived asset anew, whatever is known of it, and compare.

    Raises NotReproducible where it has other bytes than those locked.
    """
    request = _request(asset)
    inputs = inputs_of(bringer, asset.name, request, asset.inputs)
    made = build_recipe(bringer, asset.name, request, inputs, anew=True)
    _compare(asset, made)
    return made


def inputs_of(
    bringer: Bringer,
    name: str,
    request: RecipeRequest,
    locked: Mapping[str, Digest] | None = None,
) -> dict[str, Input]:
    """Make the inputs of a recipe stand in the store; return role → input.

    They are the trees of their pins, or those that *locked* says. Raises SourceError where
    those moved and are not here any more, and all that bringing an input raises.
    """
    found = {}
    for role, word in request.inputs.items():
        source = bringer.lock.assets.get(word)
        wanted = (locked or {}).get(role) or (source.tree if source else None)
        if word in bringer.making or word == name:
            raise SourceError(f"{name!r} is made of {word!r}, which is made of it",
                              hint=f"cas rm {typed(name)}")  # fmt: skip
        if source is not None and source.tree == wanted:
            here = bringer.project.tree_of(source)
            path = here[0] if here else _brought(bringer, name, source)
        elif wanted is not None and (stands := bringer.project.stores.where(wanted)):
            path = stands[0].tree(wanted)  # it moved, and what it was is still here
        else:
            raise _gone(name, word, source)
        tree = Digest(wanted)
        listing = bringer.project.stores.listing(tree) or _listing_at(bringer.store, tree, path)
        if listing is None:
            raise StoreError(f"the listing of {word!r} is lost", hint="cas verify --repair")
        found[role] = Input(name=word, tree=tree, path=path, listing=listing, asset=source)
    return found


def build_recipe(
    bringer: Bringer,
    name: str,
    request: RecipeRequest,
    inputs: Mapping[str, Input],
    *,
    wanted: Digest | None = None,
    anew: bool = False,
) -> Made:
    """Run a recipe on its inputs, or find what it made before.

    What was made before counts only where it is the tree *wanted*, if one is, and not at all
    with *anew*: then all of it is built. Raises RecipeError naming the input that it is not
    right for, or that can't be read.
    """
    plan = _plan(bringer, request, inputs)
    store = bringer.store
    key = Digest(plan.identity.partition(":")[2])

    def before() -> Made | None:
        known = None if anew else _recalled(store, plan.identity, key)
        return known if known and wanted in (None, known.listing.digest) else None

    made = before()
    if made is None:
        store.need_writable()
        with one_download(store, key, name, bringer.progress) as waited:
            made = before() if waited else None
            made = made or _run(bringer, name, plan, inputs["text"], anew=anew)
        remember(store, key, _table(made))
    for warning in made.warnings:
        bringer.progress.note(f"{name}: {warning}")
    return made


def _listing_at(store: Store, tree: Digest, path: str) -> Listing | None:
    """Return the listing of the tree at *path*, which may lie in a store that only a view names."""
    if (place := tree_of_link(path)) and place[0] != store.root:
        store = open_store(place[0], create=False, named=False)
    return read_listing(store, tree) or rebuilt_listing(store, tree)


def recipe_id(bringer: Bringer, request: RecipeRequest, assets: Mapping[str, Asset]) -> str | None:
    """Return the id that a recipe has on its inputs' pins as they are; None: it can't be told.

    *assets* is role → pin. Nothing is fetched: the listings, and what is read of a tokenizer,
    have to be in the store.
    """
    inputs = {}
    for role, asset in assets.items():
        listing = bringer.project.stores.listing(asset.tree)
        if listing is None:
            return None
        here = bringer.project.tree_of(asset)
        inputs[role] = Input(
            name=asset.name,
            tree=asset.tree,
            path=here[0] if here else "",
            listing=listing,
            asset=asset,
        )
    try:
        return _plan(bringer, request, inputs).identity
    except RecipeError:
        return None


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a recipe will read, and its id."""

    identity: str
    training: tuple[BpeRecipe, list[str]] | None = None
    """Of ``bpe``: the recipe, and the files that it reads."""
    tokens: TokensPlan | None = None
    """Of ``tokens``: what is encoded with what."""


def _plan(bringer: Bringer, request: RecipeRequest, inputs: Mapping[str, Input]) -> _Plan:
    from cas import recipes

    text = inputs["text"]
    digests: dict[str, str] = dict(text.listing.entries)
    settled = registry.defaults(bringer.project, text.name, text.asset, digests)
    recipe = recipes.parse(request.recipe, settled | dict(request.options))
    with _within(text.name):
        files = recipe.select(digests)
    if isinstance(recipe, recipes.TokensRecipe):
        from cas.shards import plan_tokens

        tokens = plan_tokens(recipe, digests, _tokenizer(inputs["tokenizer"], recipe.eos))
        return _Plan(tokens.identity, tokens=tokens)
    identity = recipe.id({path: digests[path] for path in files})
    return _Plan(identity, training=(recipe, files))


def _tokenizer(source: Input, eos: str | None) -> TokenizerFile:
    from cas.recipes.tokens import read_tokenizer

    if not source.path:
        raise RecipeError(f"{source.name}: it is not here", hint=f"cas pull {typed(source.name)}")
    with _within(source.name):
        return read_tokenizer(Path(source.path), eos=eos)


@contextmanager
def _within(name: str) -> Iterator[None]:
    """Put the name of the input in front of what a recipe says of it."""
    try:
        yield
    except RecipeError as error:
        raise RecipeError(f"{name}: {error}", hint=error.hint) from None


def _run(bringer: Bringer, name: str, plan: _Plan, text: Input, *, anew: bool) -> Made:
    sweep(bringer.store.place("staging"))  # what killed builds left
    with _within(text.name):
        if plan.tokens:
            return _encode(bringer, plan.tokens, text, anew=anew)
        if plan.training:
            return _train(bringer, name, *plan.training, plan.identity, text)
    raise AssertionError


def _encode(bringer: Bringer, plan: TokensPlan, text: Input, *, anew: bool) -> Made:
    from cas.installer.afar import reaching
    from cas.shards.build import build_tokens

    shards = build_tokens(
        bringer.store,
        plan,
        Path(text.path),
        progress=bringer.progress,
        executor=reaching(bringer, dict(text.listing.entries)),
        anew=anew,
    )
    return Made(
        listing=shards.listing,
        sizes=shards.sizes,
        identity=plan.identity,
        semantic=None,
        made_with=shards.made_with,
        warnings=(),
    )


def _train(
    bringer: Bringer, name: str, recipe: BpeRecipe, files: list[str], identity: str, text: Input
) -> Made:
    from cas.installer.afar import reaching

    progress = bringer.progress
    work = bringer.store.place("staging", temporary_name())
    os.mkdir(work, 0o700)
    counted = 0

    def count(done: int, total: int) -> None:
        nonlocal counted
        progress.advance(done - counted)
        counted = done
        os.utime(work)  # who waits for it sees that it goes on

    try:
        size = sum(os.path.getsize(os.path.join(text.path, file)) for file in files)
        progress.begin(f"build {name}", size=size)
        executor = reaching(bringer, dict(text.listing.entries))
        try:
            built = recipe.build(Path(text.path), files, Path(work), count, executor)
        finally:
            progress.end()
        imported = import_path(bringer.store, work, progress=QUIET)  # three small files
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Made(
        listing=imported.listing,
        sizes=imported.sizes,
        identity=identity,
        semantic=built.semantic,
        made_with=built.made_with,
        warnings=built.warnings,
    )


def _table(made: Made) -> dict[str, Any]:
    return {
        "files": dict(made.listing.entries),
        "semantic": made.semantic,
        "made_with": made.made_with,
        "warnings": list(made.warnings),
    }


def _recalled(store: Store, identity: str, key: Digest) -> Made | None:
    table = recall(store, key)
    if table is None:
        return None
    listing = Listing.of(table["files"].items())
    try:
        sizes = tuple(os.lstat(store.object(entry.digest)).st_size for entry in listing)
    except FileNotFoundError:
        return None
    return Made(
        listing=listing,
        sizes=sizes,
        identity=identity,
        semantic=table.get("semantic"),
        made_with=table.get("made_with"),
        warnings=tuple(table.get("warnings", ())),
    )


def _compare(asset: Asset, made: Made) -> None:
    if made.listing.digest == asset.tree:
        return
    same = made.made_with == asset.made_with
    renew = f"cas lock --update {typed(asset.name)} --build pins what it makes now"
    hint = renew
    if not same and asset.made_with:
        package = typed(asset.made_with.replace(" ", "=="))
        hint = f"pip install {package} makes what is locked, if that made the difference; {renew}"
    recipe = "" if made.identity == asset.recipe else " by another recipe"
    raise NotReproducible(
        f"{asset.name!r}, built with {made.made_with} (locked with {asset.made_with}){recipe}, "
        "is not reproducible here",
        expected=f"tree {asset.tree_id}",
        actual=tree_id(made.listing.digest),
        hint=hint,
    )


def _brought(bringer: Bringer, name: str, source: Asset) -> str:
    """Bring an input of *name*, and return the path of its tree."""
    bringer.making.add(name)
    try:
        return bringer.bring(source)
    finally:
        bringer.making.discard(name)


def _gone(name: str, word: str, source: Asset | None) -> SourceError:
    if source is None:
        return SourceError(
            f"{name!r} is not in the store, and {word!r}, of which it is made, is not locked",
            hint="cas lock",
        )
    return SourceError(
        f"{name!r} is not in the store, and its input {word!r} has moved, so it can't be built "
        "as it was",
        hint=f"cas lock --update {typed(word)} --build",
    )


def _request(asset: Asset) -> RecipeRequest:
    if not isinstance(asset.request, RecipeRequest):
        raise SourceError(f"{asset.name!r} has no recipe")
    return asset.request
