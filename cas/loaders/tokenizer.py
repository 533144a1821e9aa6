"""What a loader's tokenizer is: an object, a path or an asset's name, and the asset that it is.

A tokenizer object is the locked asset that has its semantic hash: setting a padding token or
truncation on it changes nothing, adding a token does. Where none fits its ``tokenizer.json``
is kept in the store as a tree of its own, so that a record can name what was used.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cas.digest import hash_bytes
from cas.errors import RecipeError, UnknownAsset, UsageError
from cas.listing import Listing
from cas.recipes.tokens import read_tokenizer, tokenizer_of
from cas.store import Publisher, Staging, add_bytes, build, read_listing

if TYPE_CHECKING:
    from cas.digest import Digest
    from cas.lockfile import Asset, Lockfile
    from cas.project import Project
    from cas.recipes.tokens import TokenizerFile

__all__ = ["UNLOCKED", "Given", "given_tokenizer", "keep_unlocked"]

UNLOCKED = "tokenizers/unlocked"
"""What a record calls a tokenizer that is no locked asset."""

_FILE = "tokenizer.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A tokenizer that was given to a loader."""

    file: TokenizerFile
    pad: int
    """The id that pads have; that of EOS where there is no padding token."""
    asset: Asset | None
    """The locked asset that it is."""


def given_tokenizer(project: Project, lock: Lockfile, tokenizer: Any) -> Given:
    """Return the tokenizer that an object, a path or an asset's name means.

    Raises:
        UsageError: it is none of these, or a slow tokenizer, which has no tokenizer.json.
        UnknownAsset: no such asset, and no such path.
        RecipeError: it can't be read, or no token of it ends a document.
        NotPulled, Edited: the asset can't be used here.
    """
    if isinstance(tokenizer, str | os.PathLike):
        path, asset = _place(project, lock, os.fspath(tokenizer))
        file = read_tokenizer(path)
        return Given(file=file, pad=_pad(file), asset=asset or _asset_of(project, lock, file))
    data, eos, pad = _read_object(tokenizer)
    file = tokenizer_of(data, eos=eos)
    return Given(
        file=file,
        pad=_pad(file) if pad is None else pad,
        asset=_asset_of(project, lock, file),
    )


def keep_unlocked(project: Project, file: TokenizerFile) -> Digest:
    """Put a tokenizer.json into the store as a tree of one file; return the tree."""
    store = project.store
    staging, publisher = Staging(store), Publisher(store)
    listing = Listing.of([(_FILE, add_bytes(store, staging, file.data, publisher))])
    add_bytes(store, staging, listing.data(), publisher)
    publisher.flush()
    build(store, listing, {"local": UNLOCKED})
    return listing.digest


def _place(project: Project, lock: Lockfile, word: str) -> tuple[Path, Asset | None]:
    """Return where the tokenizer that *word* names is, and its asset."""
    if not word.startswith(("./", "../", "/", "~")):
        try:
            asset = lock.find(word, kind="tokenizers")
        except UnknownAsset:
            if not os.path.exists(word):
                raise
        else:
            return Path(project.path(asset.name)), asset
    path = Path(word).expanduser()
    if not path.exists():
        message = f"tokenizer: nothing is at {word!r}"
        raise UsageError(message, hint="a directory with a tokenizer.json, or an asset's name")
    return path, None


def _read_object(tokenizer: Any) -> tuple[bytes, int | str | None, int | None]:
    """Return the tokenizer.json, EOS and pad of an object of transformers or tokenizers."""
    kind = type(tokenizer).__name__
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if getattr(tokenizer, "is_fast", None) is False:
        raise UsageError(
            f"tokenizer: expected a fast one, found the slow {kind}, whose ids no file decides",
            hint="AutoTokenizer.from_pretrained(…, use_fast=True)",
        )
    if backend is None and hasattr(tokenizer, "to_str"):
        return tokenizer.to_str().encode(), None, None  # tokenizers' own
    if backend is None or not hasattr(backend, "to_str"):
        raise UsageError(
            f"tokenizer: expected a fast tokenizer of transformers, a path or the name of an "
            f"asset, found {kind}",
            hint='cas.load_training_data(NAME, "gpt2")',
        )
    return backend.to_str().encode(), tokenizer.eos_token_id, tokenizer.pad_token_id


def _pad(file: TokenizerFile) -> int:
    """Return the id of the token that is for padding by its name, else that of EOS."""
    import json

    from cas.recipes.layout import roles

    added = {one["content"]: one["id"] for one in json.loads(file.data).get("added_tokens") or ()}
    pad = roles(list(added)).get("pad_token")
    return file.eos if pad is None else int(added[pad])


def _asset_of(project: Project, lock: Lockfile, file: TokenizerFile) -> Asset | None:
    """Return the locked asset, of those that are here, that has the same ids for every text."""
    for asset in lock:
        if asset.semantic == file.semantic and project.tree_of(asset):
            return asset
    own = hash_bytes(file.data)
    for asset in lock:
        if asset.semantic is not None or not asset.name.startswith(("models/", "tokenizers/")):
            continue
        listing = read_listing(project.store, asset.tree)
        digest = dict(listing.entries).get(_FILE) if listing else None
        found = project.tree_of(asset) if digest else None
        if found and (digest == own or _semantic(Path(found[0])) == file.semantic):
            return asset
    return None


def _semantic(tree: Path) -> Digest | None:
    try:
        return read_tokenizer(tree).semantic
    except RecipeError:
        return None  # another model's, that no loader could use
