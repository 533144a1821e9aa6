"""Recipes: assets made of other assets, the same bytes on every run.

A recipe is a pure function of some files and its parameters. This room parses a request's
options, says which files of the input are read, gives the recipe's id, and builds. It knows
tokenizers and text, and no store, project or lockfile: directories, digests and plain
mappings come from above. ``bpe`` trains a tokenizer: byte-level BPE is the only
training that gives the same bytes each time. ``tokens`` encodes a dataset with one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cas.errors import RecipeError
from cas.recipes.bpe import BpeRecipe, Built
from cas.recipes.columns import text_columns
from cas.recipes.reading import name_files
from cas.recipes.selection import kind_of, select, split_of
from cas.recipes.semantic import semantic_hash
from cas.recipes.text import documents
from cas.recipes.tokens import TokensRecipe

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "RECIPES",
    "BpeRecipe",
    "Built",
    "Recipe",
    "TokensRecipe",
    "documents",
    "kind_of",
    "name_files",
    "parse",
    "parse_name",
    "select",
    "semantic_hash",
    "split_of",
    "text_columns",
]

Recipe = BpeRecipe | TokensRecipe

RECIPES: Mapping[str, type[Recipe]] = {"bpe": BpeRecipe, "tokens": TokensRecipe}

_NAME = re.compile(r"tokenizers/(?P<dataset>.+)_bpe_(?P<size>[1-9][0-9]{0,8})", re.ASCII)


def parse(kind: str, options: Mapping[str, object]) -> Recipe:
    """Return the recipe *kind* with every parameter settled.

    *options* are the request's keys without ``recipe``, ``input``, ``groups`` and ``keep``.

    Raises:
        RecipeError: no such recipe, an unknown key, a missing one, or a value that can't be
            taken; the message begins with the place, such as ``bpe: vocab_size``.
    """
    recipe = RECIPES.get(kind)
    if recipe is None:
        message = f"recipe: expected {' or '.join(map(repr, RECIPES))}, found {kind!r}"
        if kind.lower() in {"wordpiece", "unigram", "sentencepiece"}:
            message += ", which gives other bytes on every run"
            raise RecipeError(message, hint="train it yourself, then: cas add ./DIRECTORY")
        raise RecipeError(message, hint="cas add tokenizers/NAME --recipe bpe --input DATASET")
    return recipe.parse(options)


def parse_name(name: str) -> tuple[str, dict[str, object]] | None:
    """Return the dataset and the options that an asset's name says, or None.

    ``tokenizers/tinystories_bpe_4096`` gives ``tinystories`` and
    ``{"recipe": "bpe", "vocab_size": 4096}``.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    return match["dataset"], {"recipe": "bpe", "vocab_size": int(match["size"])}
