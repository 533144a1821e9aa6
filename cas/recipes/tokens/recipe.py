"""The parameters of the recipe ``tokens``, and its id."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar, Literal

from cas.digest import Digest, hash_bytes, parse_digest
from cas.errors import RecipeError
from cas.recipes.selection import kind_of, select, split_of
from cas.recipes.semantic import canonical

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Self

    from cas.recipes.stretches import Stretch
    from cas.recipes.tokens.tokenizer import TokenizerFile

__all__ = ["TokensRecipe"]

_SPLITS = ("train", "all")
_ERRORS = ("strict", "replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokensRecipe:
    """Token shards of a dataset, every parameter settled."""

    name: ClassVar[str] = "tokens"
    version: ClassVar[int] = 1
    """Raised by every change that makes other bytes of the same text."""

    split: str = "train"
    """``train`` or ``all``"""
    files: tuple[str, ...] = ()
    """Patterns; none: the rule for text files."""
    column: str | None = None
    errors: Literal["strict", "replace"] = "strict"
    """What becomes of bytes that are not UTF-8."""
    eos: str | None = None
    """The token that ends a document; None: the tokenizer's own."""

    @classmethod
    def parse(cls, options: Mapping[str, object]) -> Self:
        """Return the recipe of a request's *options*; raise RecipeError with the place."""
        known = [item.name for item in fields(cls)]
        for key in options:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                expected = f"near {near[0]!r}" if near else f"expected one of {', '.join(known)}"
                raise RecipeError(f"tokens: unknown key {key!r}, {expected}")
        read = dict(options)
        if "files" in read:
            read["files"] = _patterns(read["files"])
        recipe = cls(**read)  # type: ignore[arg-type]
        for key, choices in (("split", _SPLITS), ("errors", _ERRORS)):
            if (value := getattr(recipe, key)) not in choices:
                expected = " or ".join(map(repr, choices))
                raise _error(key, f"expected {expected}, found {value!r:.60}", choices[1])
        for key, example in (("column", "text"), ("eos", "'<|endoftext|>'")):
            value = getattr(recipe, key)
            if value is not None and not (isinstance(value, str) and value):
                raise _error(key, f"expected a string, found {value!r:.60}", example)
        return recipe

    def select(self, listing: Iterable[str]) -> list[str]:
        """Return the files of a dataset that are read, sorted; *listing* has its paths."""
        return select(listing, split=self.split, patterns=self.files)

    def by_split(
        self, listing: Iterable[str], splits: Sequence[str] | None = None
    ) -> dict[str, list[str]]:
        """Return split → the files that are read for it.

        *splits* are those wanted instead of the recipe's own: the first must be there, of the
        others those that are. A file whose name says no split counts as ``train``.

        Raises:
            RecipeError: there are no files of it.
        """
        paths = list(listing)
        found: dict[str, list[str]] = {}
        if splits is None:
            for path in self.select(paths):
                split = self.split if self.split != "all" else split_of(path) or "train"
                found.setdefault(split, []).append(path)
            return found
        for split in splits:
            try:
                found[split] = select(paths, split=split, patterns=self.files)
            except RecipeError:
                if split == splits[0]:
                    raise
        return found

    def id(
        self, read: Mapping[str, Mapping[str, str]], semantic: Digest, eos: int, dtype: str
    ) -> str:
        """Return the recipe's id, ``r1:`` and 64 digits.

        *read* is split → path → SHA-256. The hash is of canonical JSON of the recipe, its
        version, the files, the tokenizer's semantic hash, and what else decides the bytes.
        """
        chosen = {
            split: sorted([path, parse_digest(digest)] for path, digest in files.items())
            for split, files in read.items()
        }
        units = sorted({_unit(path) for files in read.values() for path in files})
        meaning = {
            "recipe": self.name,
            "version": self.version,
            "files": chosen,
            "tokenizer": semantic,
            "column": self.column,
            "errors": self.errors,
            "unit": units,
            "eos": eos,
            "dtype": dtype,
        }
        return f"r1:{hash_bytes(canonical(meaning))}"

    def text_key(self, path: str, digest: str, stretch: Stretch | None) -> Digest:
        """Return the hash of what decides which documents a shard has, whatever their ids."""
        return hash_bytes(
            canonical(
                {
                    "version": self.version,
                    "file": digest,
                    "stretch": [stretch.start, stretch.end] if stretch else None,
                    "unit": _unit(path),
                    "column": self.column,
                    "errors": self.errors,
                }
            )
        )

    def shard_key(self, text: Digest, tokenizer: TokenizerFile) -> Digest:
        """Return the hash of all that decides the bytes of a shard."""
        return hash_bytes(
            canonical(
                {
                    "recipe": self.name,
                    "version": self.version,
                    "text": text,
                    "tokenizer": tokenizer.semantic,
                    "eos": tokenizer.eos,
                    "dtype": tokenizer.dtype,
                }
            )
        )


def _unit(path: str) -> str:
    """Return what one document of a file is."""
    kind = kind_of(path)
    return "between separators" if kind == "txt" else f"{kind} row"


def _patterns(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) and v for v in value):
        raise _error("files", f"expected a list of strings, found {value!r:.60}", "PATTERN")
    return tuple(value)


def _error(place: str, what: str, example: str) -> RecipeError:
    return RecipeError(f"tokens: {place}: {what}", hint=f"--{place} {example}")
