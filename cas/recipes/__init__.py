"""Recipes: assets made of other assets, the same bytes on every run.

A recipe is a pure function of some files and its parameters. This room parses a request's
options, says which files of the input are read, gives the recipe's id, and builds. It knows
tokenizers and text, and no store, project or lockfile: directories, digests and plain
mappings come from above. ``bpe`` trains a tokenizer: byte-level BPE is the only
training that gives the same bytes each time. ``tokens`` encodes a dataset with one. ``named``
knows both by name.
"""

from cas.lazy import open_rooms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cas.recipes.bpe import BpeRecipe, Built
    from cas.recipes.columns import text_columns
    from cas.recipes.named import parse, parse_name
    from cas.recipes.reading import name_files
    from cas.recipes.selection import kind_of, select, split_of
    from cas.recipes.semantic import semantic_hash
    from cas.recipes.text import documents
    from cas.recipes.tokens import TokensRecipe

__all__ = [
    "BpeRecipe",
    "Built",
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

open_rooms(
    __name__,
    bpe="BpeRecipe Built",
    columns="text_columns",
    named="parse parse_name",
    reading="name_files",
    selection="kind_of select split_of",
    semantic="semantic_hash",
    text="documents",
    tokens="TokensRecipe",
)
