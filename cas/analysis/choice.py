"""Which tokenizers are analysed, and how the figures of each can be had."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cas.errors import RecipeError, UnknownAsset, UsageError, typed
from cas.request import RecipeRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cas.lockfile import Asset
    from cas.project import Project

__all__ = ["Choice", "chosen", "defaults", "read_tokenizer"]

_FILE = "tokenizer.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One tokenizer."""

    name: str
    """The asset's name, the path that was given, or ``bpe_<size>`` of one trained here."""
    tree: str | None
    """``t1:…`` of an asset."""
    text: str
    """Its tokenizer.json, without truncation and padding."""
    tokenizer: Any
    """As ``tokenizers`` loads it."""
    added: tuple[str, ...]
    """Tokens that are taken out of a text before it is cut into words."""
    exact: bool
    """Whether its ids are those of the words, one after the other: byte-level BPE over GPT-2's
    pattern, and nothing that changes the text before."""

    @property
    def vocab_size(self) -> int:
        """Ids, added tokens among them."""
        return int(self.tokenizer.get_vocab_size())


def read_tokenizer(name: str, text: str, *, tree: str | None = None) -> Choice:
    """Return the tokenizer of a tokenizer.json's *text*; raise RecipeError if it is none."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str(text)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        text = tokenizer.to_str()
        table = json.loads(text)
    except Exception as error:  # noqa: BLE001 - the library raises Exception itself
        message = f"{name!r}: expected a tokenizer.json, found something else: {error!s:.120}"
        raise RecipeError(message, hint="cas verify --full, or another --tokenizer") from None
    return Choice(
        name=name,
        tree=tree,
        text=text,
        tokenizer=tokenizer,
        added=tuple(token["content"] for token in table["added_tokens"]),
        exact=_is_exact(table),
    )


def _is_exact(table: dict[str, Any]) -> bool:
    model, cut = table["model"], table["pre_tokenizer"]
    if cut and cut["type"] == "Sequence" and len(cut["pretokenizers"]) == 1:
        cut = cut["pretokenizers"][0]
    return bool(
        model["type"] == "BPE"
        and not model.get("dropout")
        and table["normalizer"] is None
        and cut
        and cut["type"] == "ByteLevel"
        and not cut["add_prefix_space"]
        and cut.get("use_regex", True)
    )


def chosen(project: Project, words: Sequence[str | os.PathLike[str]]) -> list[Choice]:
    """Return the tokenizers that *words* mean: names of assets, or paths that begin so.

    Raises:
        UsageError: one of them twice.
        UnknownAsset, NotPulled: an asset that isn't there.
        RecipeError: no tokenizer.json.
    """
    found: dict[str, Choice] = {}
    for word in words:
        choice = _one(project, word)
        if choice.name in found:
            raise UsageError(f"--tokenizer {os.fspath(word)!r}: {choice.name!r} is there already")
        found[choice.name] = choice
    return list(found.values())


def defaults(project: Project, dataset: Asset) -> list[Choice]:
    """Return GPT-2's tokenizer where it is locked, else those made of *dataset*."""
    lock = project.read_lock()
    try:
        gpt2: list[Asset] = [lock.find("gpt2")]
    except UnknownAsset:
        gpt2 = []
    own = [asset for asset in lock if _is_made_of(asset, dataset)]
    return [_of_asset(project, asset) for asset in gpt2 or own]


def _is_made_of(asset: Asset, dataset: Asset) -> bool:
    return (
        asset.name.startswith("tokenizers/")
        and isinstance(asset.request, RecipeRequest)
        and dataset.name in asset.request.inputs.values()
    )


def _one(project: Project, word: str | os.PathLike[str]) -> Choice:
    if isinstance(word, str) and not word.startswith(("./", "../", "/", "~")):
        return _of_asset(project, project.read_lock().find(word, kind="tokenizers"))
    path = os.path.expanduser(os.fspath(word))
    return read_tokenizer(os.fspath(word), _read(path, os.fspath(word)))


def _of_asset(project: Project, asset: Asset) -> Choice:
    path = project.path(asset.name)
    return read_tokenizer(asset.name, _read(path, asset.name), tree=asset.tree_id)


def _read(path: str, name: str) -> str:
    place = os.path.join(path, _FILE) if os.path.isdir(path) else path
    try:
        with open(place, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        message = f"{name!r}: expected a {_FILE}, found none"
        hint = f"cas files {typed(name)}" if place != path else "--tokenizer PATH"
        raise RecipeError(message, hint=hint) from None
    except UnicodeDecodeError:
        raise RecipeError(f"{name!r}: expected a {_FILE}, found no text") from None


def added_tokens(choices: Iterable[Choice]) -> set[str]:
    """Return every added token of some tokenizers."""
    return {token for choice in choices for token in choice.added}
