"""The tree of a dataset's shards: found where it was made before, else made."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cas.digest import Digest, hash_bytes, parse_digest
from cas.errors import NotPulled, RecipeError, StoreError, typed
from cas.listing import Listing
from cas.progress import QUIET
from cas.project.access import store_for
from cas.shards.plan import plan_tokens
from cas.store import Vanished, note_use, noted, standing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Executor

    from cas.lockfile import Asset
    from cas.progress import Progress
    from cas.project import Project
    from cas.recipes.tokens import TokenizerFile
    from cas.shards.plan import TokensPlan

__all__ = ["tokens_tree"]

_TRIES = 5  # of a build whose objects vanish under it


def tokens_tree(
    project: Project,
    text: Asset,
    tokenizer: TokenizerFile,
    *,
    splits: Sequence[str] = ("train",),
    files: Sequence[str] = (),
    column: str | None = None,
    errors: str = "strict",
    subset: Mapping[str, int | None] | None = None,
    executor: Executor | None = None,
    progress: Progress = QUIET,
) -> tuple[Path, Digest]:
    """Return the token shards of a locked dataset, made where they are not there: path, tree.

    A locked ``tokens/…`` asset of the same text and tokenizer is used; else the tree is kept
    in the store, found again by the recipe's id, and collected when it was not used for 14
    days. Of processes that want the same, one builds and the others wait. *files* and
    *column* default to what the registry says; *subset* is as in ``build_tokens``.

    Raises:
        NotPulled: the dataset is not here.
        RecipeError: it can't be read as text, or has no such split.
    """
    from cas import recipes, registry

    store = project.store
    found = project.tree_of(text)
    if found is None:
        raise NotPulled(f"{text.name!r} is not here", hint=f"cas pull {typed(text.name)}")
    listing = project.stores.listing(text.tree)
    if listing is None:
        from cas.store import rebuilt_listing

        listing = rebuilt_listing(store, text.tree)
    if listing is None:
        raise StoreError(f"the listing of {text.name!r} is lost", hint="cas verify --repair")
    digests: dict[str, str] = dict(listing.entries)
    options: dict[str, Any] = registry.defaults(project, text.name, text, digests)
    options["errors"] = errors
    if files:
        options["files"] = tuple(files)
    if column is not None:
        options["column"] = column
    recipe = recipes.parse("tokens", options)
    try:
        plan = plan_tokens(recipe, digests, tokenizer, splits)  # type: ignore[arg-type]
        if not any((subset or {}).values()):
            subset = None
            for asset in project.read_lock():
                if asset.recipe == plan.identity and (here := project.tree_of(asset)):
                    note_use(store, asset.tree, time.time())
                    return Path(here[0]), asset.tree
        for attempt in range(_TRIES):
            try:
                return _found_or_made(
                    project, text, plan, Path(found[0]), subset, executor, progress
                )
            except Vanished:
                if attempt == _TRIES - 1:
                    raise
    except RecipeError as error:
        raise RecipeError(f"{text.name}: {error}", hint=error.hint) from None
    raise AssertionError


def _found_or_made(
    project: Project,
    text: Asset,
    plan: TokensPlan,
    tree: Path,
    subset: Mapping[str, int | None] | None,
    executor: Executor | None,
    progress: Progress,
) -> tuple[Path, Digest]:
    store = store_for(project, project.read_lock(), text)
    key = _tree_key(plan.identity, subset)
    table = noted(store, key)
    digest = Listing.of(table["files"].items()).digest if table else None
    if digest is None or not standing(store, digest)[0]:
        from cas.shards.make import make_tree

        digest = make_tree(
            project, store, text, plan, key, tree,
            subset=subset, executor=executor, progress=progress,
        )  # fmt: skip
    note_use(store, digest, time.time())
    return Path(store.tree(digest)), digest


def _tree_key(identity: str, subset: Mapping[str, int | None] | None) -> Digest:
    """Return what a tree is found again by: the recipe's id alone where all is in it."""
    if subset is None:
        return parse_digest(identity.partition(":")[2])
    return hash_bytes(f"{identity} {sorted(subset.items())}".encode())
