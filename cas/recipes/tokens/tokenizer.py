"""The tokenizer of some shards: its file, which ids it has, and which one ends a document."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cas.errors import RecipeError
from cas.recipes.layout import roles
from cas.recipes.semantic import read_meaning
from cas.recipes.tokens.format import dtype_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from cas.digest import Digest

__all__ = ["TokenizerFile", "read_tokenizer", "tokenizer_of"]

_ROLES = ("special_tokens_map.json", "tokenizer_config.json")
_SHOWN = 6  # tokens in an error


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerFile:
    """The bytes of a ``tokenizer.json``, and what shards need to know of it."""

    data: bytes
    semantic: Digest
    """Hash of all that decides ids."""
    eos: int
    """The id that is put after each document."""
    pad: int
    """The id of the token that is for padding by its name; that of EOS where none is."""
    vocab_size: int
    """One more than the greatest id."""

    @property
    def dtype(self) -> str:
        """``uint16`` or ``uint32``."""
        return dtype_of(self.vocab_size)


def read_tokenizer(
    path: Path,
    *,
    eos: str | None = None,
    parse: Callable[[bytes, str | int | None], TokenizerFile] | None = None,
) -> TokenizerFile:
    """Return the tokenizer at *path*: a ``tokenizer.json``, or a directory that has one.

    *eos* is the token that ends a document; without it the files beside say which, or the
    names of the special tokens. *parse* stands in for ``tokenizer_of``.

    Raises:
        RecipeError: there is no such file, it can't be read as one, or no token ends documents.
    """
    place = path / "tokenizer.json" if path.is_dir() else path
    if path.is_dir() and not place.exists() and len(alone := list(path.glob("*.json"))) == 1:
        place = alone[0]  # a file that was added by another name
    try:
        data = place.read_bytes()
    except OSError as error:
        message = f"{str(path)!r}: expected a tokenizer.json: {error.strerror}"
        raise RecipeError(message, hint="AutoTokenizer saves one: save_pretrained") from None
    try:
        return (parse or tokenizer_of)(data, eos or _eos_beside(place))
    except RecipeError as error:
        if place.name == "tokenizer.json":
            raise
        raise RecipeError(f"{place.name!r}: {error}", hint=error.hint) from error


def tokenizer_of(data: bytes, eos: str | int | None = None) -> TokenizerFile:
    """Return the tokenizer whose ``tokenizer.json`` has the bytes *data*; *eos* may be an id.

    Raises:
        RecipeError: it is no tokenizer.json, it is random, or no token ends documents.
    """
    table, semantic = read_meaning(data)
    if table["model"].get("dropout"):
        message = f"expected a tokenizer without dropout, found {table['model']['dropout']}"
        raise RecipeError(f"tokenizer: {message}: its ids differ on every run")
    ids = _ids(table)
    if isinstance(eos, int) and eos in ids.values():
        end = eos
    elif isinstance(eos, str) and eos in ids:
        end = ids[eos]
    else:
        end = _by_name(table, ids, eos)
    padding = roles([token["content"] for token in table.get("added_tokens") or ()])
    pad = ids[padding["pad_token"]] if "pad_token" in padding else end
    vocab_size = max(ids.values()) + 1
    return TokenizerFile(data=data, semantic=semantic, eos=end, pad=pad, vocab_size=vocab_size)


def _ids(table: Mapping[str, Any]) -> dict[str, int]:
    vocabulary = table["model"]["vocab"]
    if isinstance(vocabulary, list):  # Unigram: pairs of token and score
        ids = {token: number for number, (token, _) in enumerate(vocabulary)}
    else:
        ids = dict(vocabulary)
    return ids | {token["content"]: token["id"] for token in table.get("added_tokens") or ()}


def _by_name(table: Mapping[str, Any], ids: Mapping[str, int], asked: str | int | None) -> int:
    special = [t["content"] for t in table.get("added_tokens") or () if t.get("special")]
    found = roles(special).get("eos_token")
    if asked is None and found is not None:
        return ids[found]
    shown = ", ".join(map(repr, special[:_SHOWN])) or "none"
    if asked is None:
        message = f"tokenizer: no token ends a document, among the special tokens {shown}"
    else:
        message = f"eos: no token {asked!r} in the tokenizer, whose special tokens are {shown}"
    near = next((t for t in special if "sep" in t.lower()), special[0] if special else "TOKEN")
    raise RecipeError(message, hint=f"--eos '{near}' (from Python: tokenizer.eos_token = …)")


def _eos_beside(place: Path) -> str | None:
    """Return the EOS token that the files beside a ``tokenizer.json`` name."""
    for name in _ROLES:
        try:
            table = json.loads((place.parent / name).read_bytes())
            token = table.get("eos_token")
        except (OSError, ValueError, AttributeError, RecursionError):
            continue
        token = token.get("content") if isinstance(token, dict) else token
        if isinstance(token, str):
            return token
    return None
