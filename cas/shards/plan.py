"""What shards are to be made: the files that are read, and the id of all that decides the bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cas.recipes.tokens import TokenizerFile, TokensRecipe

__all__ = ["TokensPlan", "plan_tokens"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokensPlan:
    """What is encoded with what, and the id of it."""

    recipe: TokensRecipe
    tokenizer: TokenizerFile
    read: Mapping[str, Mapping[str, str]]
    """split → path → SHA-256"""
    identity: str
    """``r1:`` and the hash of all that decides the bytes."""

    @property
    def files(self) -> list[str]:
        """The files that are read."""
        return [path for files in self.read.values() for path in files]


def plan_tokens(
    recipe: TokensRecipe,
    digests: Mapping[str, str],
    tokenizer: TokenizerFile,
    splits: Sequence[str] | None = None,
) -> TokensPlan:
    """Return what a recipe reads of a dataset, whose files *digests* are path → SHA-256.

    *splits*: those wanted instead of the recipe's own; only the first must be there.

    Raises:
        RecipeError: no file fits.
    """
    chosen = recipe.by_split(digests, splits)
    read = {split: {path: digests[path] for path in paths} for split, paths in chosen.items()}
    identity = recipe.id(read, tokenizer.semantic, tokenizer.eos, tokenizer.dtype)
    return TokensPlan(recipe=recipe, tokenizer=tokenizer, read=read, identity=identity)
