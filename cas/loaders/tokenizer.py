"""What a loader's tokenizer is: an object, a path or an asset's name, and the asset that it is.

A tokenizer object is the locked asset that has its semantic hash: setting a padding token or
truncation on it changes nothing, adding a token does. Where none fits its ``tokenizer.json``
is kept in the store as a tree of its own, so that a record can name what was used.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cas.digest import hash_bytes, parse_digest
from cas.errors import RecipeError, StoreError, UnknownAsset, UsageError
from cas.recipes.tokens import TokenizerFile, read_tokenizer, tokenizer_of
from cas.store import noted, read_listing, remember

if TYPE_CHECKING:
    from cas.digest import Digest
    from cas.lockfile import Asset, Lockfile
    from cas.project import Project
    from cas.store import Store

__all__ = ["UNLOCKED", "Given", "given_tokenizer", "keep_unlocked"]

UNLOCKED = "tokenizers/unlocked"
"""What a record calls a tokenizer that is no locked asset."""

_FILE = "tokenizer.json"
_HINT = 1  # raised by whatever changes how a semantic hash, an EOS or a pad is found
_NUMBERS = ("eos", "pad", "vocab_size")  # of a ``TokenizerFile``


class Given(NamedTuple):
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
        file = read_tokenizer(path, parse=partial(_tokenizer_of, project.store))
        return Given(file=file, pad=file.pad, asset=asset or _asset_of(project, lock, file))
    data, eos, pad = _read_object(tokenizer)
    file = _tokenizer_of(project.store, data, eos)
    return Given(
        file=file,
        pad=file.pad if pad is None else pad,
        asset=_asset_of(project, lock, file),
    )


def keep_unlocked(project: Project, file: TokenizerFile) -> Digest:
    """Put a tokenizer.json into the store as a tree of one file; return the tree."""
    from cas.listing import Listing
    from cas.store import Publisher, Staging, add_bytes, build

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


def _tokenizer_of(store: Store, data: bytes, eos: str | int | None) -> TokenizerFile:
    """Return what ``tokenizer_of`` does, which is most of what a loader's beginning costs.

    So the store keeps a hint of it, by the bytes and what they were read with.
    """
    digest = hash_bytes(data)
    key = hash_bytes(f"tokenizer {_HINT} {digest} {eos!r}".encode())
    if (known := noted(store, key)) is not None:
        numbers = {name: known[name] for name in _NUMBERS}
        return TokenizerFile(data=data, semantic=parse_digest(known["semantic"]), **numbers)
    file = tokenizer_of(data, eos)
    known = {"semantic": file.semantic, **{name: getattr(file, name) for name in _NUMBERS}}
    try:
        remember(store, key, {"files": {_FILE: digest}, **known})
    except (StoreError, OSError):
        pass  # who can't write a hint reads the tokenizer again next time
    return file


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
