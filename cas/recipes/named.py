"""Recipes by their names: the one that a request names, and the one that an asset's name says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cas.errors import RecipeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cas.recipes.bpe import BpeRecipe
    from cas.recipes.tokens import TokensRecipe

    Recipe = BpeRecipe | TokensRecipe

__all__ = ["parse", "parse_name"]

_NAME = r"tokenizers/(?P<dataset>.+)_bpe_(?P<size>[1-9][0-9]{0,8})"


def parse(kind: str, options: Mapping[str, object]) -> Recipe:
    """Return the recipe *kind* with every parameter settled.

    *options* are the request's keys without ``recipe``, ``input``, ``groups`` and ``keep``.

    Raises:
        RecipeError: no such recipe, an unknown key, a missing one, or a value that can't be
            taken; the message begins with the place, such as ``bpe: vocab_size``.
    """
    if kind == "bpe":
        from cas.recipes.bpe import BpeRecipe

        return BpeRecipe.parse(options)
    if kind == "tokens":
        from cas.recipes.tokens import TokensRecipe

        return TokensRecipe.parse(options)
    message = f"recipe: expected 'bpe' or 'tokens', found {kind!r}"
    if kind.lower() in {"wordpiece", "unigram", "sentencepiece"}:
        message += ", which gives other bytes on every run"
        raise RecipeError(message, hint="train it yourself, then: cas add ./DIRECTORY")
    raise RecipeError(message, hint="cas add tokenizers/NAME --recipe bpe --input DATASET")


def parse_name(name: str) -> tuple[str, dict[str, object]] | None:
    """Return the dataset and the options that an asset's name says, or None.

    ``tokenizers/tinystories_bpe_4096`` gives ``tinystories`` and
    ``{"recipe": "bpe", "vocab_size": 4096}``.
    """
    match = re.fullmatch(_NAME, name, re.ASCII)
    if match is None:
        return None
    return match["dataset"], {"recipe": "bpe", "vocab_size": int(match["size"])}
