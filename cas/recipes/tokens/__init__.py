"""The recipe ``tokens``: the text of a dataset as the ids of a tokenizer, in shards.

``format`` the files and how they are read · ``recipe`` the parameters and the id ·
``tokenizer`` its file and its EOS · ``engine`` text to ids · ``write`` one shard · ``counts``
statistics
"""

from __future__ import annotations

from cas.recipes.tokens.format import Meta, Shard, ShardMeta, TokenTree, open_tokens
from cas.recipes.tokens.recipe import TokensRecipe
from cas.recipes.tokens.tokenizer import TokenizerFile, read_tokenizer, tokenizer_of

__all__ = [
    "Meta",
    "Shard",
    "ShardMeta",
    "TokenTree",
    "TokenizerFile",
    "TokensRecipe",
    "open_tokens",
    "read_tokenizer",
    "tokenizer_of",
]
