"""The tree of a dataset's shards, put together from what is in the store, else made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cas.listing import Listing, tree_id
from cas.shards.build import build_tokens
from cas.store import (
    Publisher,
    Staging,
    add_bytes,
    announce,
    build,
    end,
    one_download,
    recall,
    remember,
    shared_gc_mutex,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Executor
    from pathlib import Path

    from cas.digest import Digest
    from cas.lockfile import Asset
    from cas.progress import Progress
    from cas.project import Project
    from cas.shards.plan import TokensPlan
    from cas.store import Store

__all__ = ["make_tree"]


def make_tree(
    project: Project,
    store: Store,
    text: Asset,
    plan: TokensPlan,
    key: Digest,
    tree: Path,
    *,
    subset: Mapping[str, int | None] | None,
    executor: Executor | None,
    progress: Progress,
) -> Digest:
    """Build the tree of a plan, and its shards where they are not in the store; return its digest.

    *key* is what it is found again by, *tree* where the dataset is. Of processes that want
    the same, one encodes and the others wait.
    """
    origin = {"recipe": plan.identity, "inputs": {"text": tree_id(text.tree)}}
    if (listing := _recalled(store, key)) is not None:
        _put_listing(store, listing)
        build(store, listing, origin)
        return listing.digest
    store.need_writable()
    root = project.root_id(draw=True) or ""
    with shared_gc_mutex(store):
        call = announce(store, root, path=project.root, trees=[text.tree])
    try:
        with one_download(store, key, f"shards of {text.name}", progress) as waited:
            listing = _recalled(store, key) if waited else None
            if listing is None:
                made = build_tokens(
                    store, plan, tree, progress=progress, executor=executor, subset=subset
                )
                listing = made.listing
                _put_listing(store, listing)
                table = {"semantic": None, "made_with": made.made_with}
                remember(store, key, {"files": dict(listing.entries), **table})
            build(store, listing, origin)
    finally:
        end(call)
    return listing.digest


def _recalled(store: Store, key: Digest) -> Listing | None:
    table = recall(store, key)
    return None if table is None else Listing.of(table["files"].items())


def _put_listing(store: Store, listing: Listing) -> None:
    publisher = Publisher(store)
    add_bytes(store, Staging(store), listing.data(), publisher)
    publisher.flush()
