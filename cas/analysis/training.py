"""Tokenizers of several sizes from one count and one training."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from cas.errors import RecipeError, UsageError
from cas.recipes import BpeRecipe
from cas.recipes.layout import write_tokenizer
from cas.recipes.merging import learn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


__all__ = ["check_sizes", "train"]


def check_sizes(sizes: Sequence[int]) -> dict[int, BpeRecipe]:
    """Return the recipe of each size; raise UsageError for one that can't be trained."""
    found: dict[int, BpeRecipe] = {}
    for size in sizes:
        if size in found:
            raise UsageError(f"--sizes: {size} is there twice")
        try:
            found[size] = BpeRecipe.parse({"vocab_size": size})
        except RecipeError as error:
            reason = str(error).removeprefix("bpe: vocab_size: ")
            raise UsageError(f"--sizes: {reason}", hint="--sizes 1024,4096,16384") from None
    return found


def train(words: Mapping[str, int], wanted: Mapping[int, BpeRecipe]) -> Iterator[tuple[int, str]]:
    """Yield each size and the tokenizer.json that its recipe makes of these words.

    *words* is how often each occurs between special tokens. After the special tokens and the
    bytes each merge makes one token, the next one, so a smaller size is a beginning of the
    greatest.
    """
    recipe = wanted[max(wanted)]
    tokens, merges = learn(
        words, recipe.special, vocab_size=recipe.vocab_size, min_frequency=recipe.min_frequency
    )
    first = len(tokens) - len(merges)
    for size in wanted:
        yield size, _text(tokens[:size], merges[: size - first], recipe.special)


def _text(tokens: Sequence[str], merges: Sequence[tuple[str, str]], special: Sequence[str]) -> str:
    with tempfile.TemporaryDirectory(prefix="cas-tokens-") as scratch:
        return write_tokenizer(Path(scratch), tokens, merges, special).decode()
