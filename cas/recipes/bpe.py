"""The recipe ``bpe``: a byte-level BPE tokenizer trained on the text of a dataset.

=========================  ==============================================================
``tokenizer.json``         for ``tokenizers``: vocabulary, merges, special tokens
``tokenizer_config.json``  for transformers: which class, which token has which role
``special_tokens_map.json``  the roles alone
=========================  ==============================================================

GPT-2's pre-tokenizer without a prefix space, no normalizer, the whole byte alphabet, so no
text is unencodable. Special tokens come first in the vocabulary and count in its size. What
trains is the text between special tokens and separators: neither is ever learnt as words.
The files depend on the text and the parameters only: not on the order of files and
documents, cores, the library's version, times or paths. They are those that ``tokenizers``
trains, at a fraction of its time: ``counting`` counts words, ``merging`` learns from them.
"""

from __future__ import annotations

import difflib
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, ClassVar

from cas.digest import hash_bytes, parse_digest
from cas.errors import RecipeError, remedy
from cas.recipes.layout import BYTES, roles, write_tokenizer
from cas.recipes.selection import select
from cas.recipes.semantic import canonical, semantic_hash
from cas.recipes.stretches import SEPARATOR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import Executor
    from pathlib import Path
    from typing import Literal, Self

    from cas.digest import Digest

__all__ = ["BpeRecipe", "Built"]

_LARGEST = 1_000_000
_SPLITS = ("train", "all")
_LATER = ("subset", "errors")
_ERRORS = ("strict", "replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What a build made, beside the files."""

    semantic: Digest
    """Hash of all that decides ids."""
    made_with: str
    """The library and its version: provenance, not identity."""
    vocab_size: int
    """Tokens, at most those asked for."""
    warnings: tuple[str, ...]
    """What a person should be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BpeRecipe:
    """A byte-level BPE tokenizer, every parameter settled."""

    name: ClassVar[str] = "bpe"
    version: ClassVar[int] = 1
    """Raised by every change that makes other bytes of the same text."""

    vocab_size: int
    """Tokens, the 256 bytes and the special tokens among them."""
    min_frequency: int = 2
    """A pair that occurs less often is not merged."""
    special: tuple[str, ...] = (SEPARATOR, "<|pad|>")
    split: str = "train"
    """``train`` or ``all``"""
    files: tuple[str, ...] = ()
    """Patterns; none: the rule for text files."""
    column: str | tuple[str, ...] | None = None
    """The column that is the text, or several, joined by a blank line; None: by its name."""
    subset: float = 1.0
    """The part of the documents that counts, chosen by a hash of each: see ``counting.is_in``."""
    errors: Literal["strict", "replace"] = "strict"
    """What becomes of bytes that are not UTF-8: an error, or U+FFFD."""

    @classmethod
    def parse(cls, options: Mapping[str, object]) -> Self:
        """Return the recipe of a request's *options*; raise RecipeError with the place."""
        known = {item.name: item for item in fields(cls)}
        for key in options:
            if key not in known:
                raise _unknown(key, known)
        for key, item in known.items():
            if key not in options and item.default is MISSING:
                raise _error(key, "expected a whole number, found nothing", "--vocab-size 4096")
        read: dict[str, object] = dict(options)
        for key in ("special", "files"):
            if key in read:
                read[key] = _strings(key, read[key])
        if isinstance(read.get("column"), list | tuple):
            read["column"] = _strings("column", read["column"])
        if "subset" in read:
            read["subset"] = _rate(read["subset"])
        recipe = cls(**read)  # type: ignore[arg-type]
        recipe._check()
        return recipe

    def _check(self) -> None:
        _check_special(self.special)
        least = len(BYTES) + len(self.special)
        _check_number("vocab_size", self.vocab_size, least, _LARGEST)
        _check_number("min_frequency", self.min_frequency, 1, 2**31 - 1)
        if self.split not in _SPLITS:
            expected = " or ".join(map(repr, _SPLITS))
            raise _error("split", f"expected {expected}, found {self.split!r}", "--split all")
        if self.errors not in _ERRORS:
            expected = " or ".join(map(repr, _ERRORS))
            what = f"expected {expected}, found {self.errors!r:.60}"
            raise _error("errors", what, "--errors replace")
        if self.column is not None and not (
            isinstance(self.column, tuple) or _is_text(self.column)
        ):
            what = f"expected the name of a column, found {self.column!r}"
            raise _error("column", what, "--column text")

    def select(self, listing: Iterable[str]) -> list[str]:
        """Return the files of an input that are read, sorted; *listing* has its paths."""
        return select(listing, split=self.split, patterns=self.files)

    def id(self, read: Mapping[str, str]) -> str:
        """Return the recipe's id, ``r1:`` and 64 digits; *read* is path → SHA-256.

        The hash is of canonical JSON of the recipe, its version, every parameter with its
        default, and under ``files`` what the patterns chose: sorted ``[path, sha256]``.
        ``subset`` and ``errors`` are younger than the ids: at their defaults they are left out.
        """
        chosen = sorted([path, parse_digest(digest)] for path, digest in read.items())
        parameters = {
            item.name: getattr(self, item.name)
            for item in fields(self)
            if item.name not in _LATER or getattr(self, item.name) != item.default
        }
        meaning = {**parameters, "recipe": self.name, "version": self.version, "files": chosen}
        return f"r1:{hash_bytes(canonical(meaning))}"

    def build(
        self,
        tree: Path,
        files: Sequence[str],
        out: Path,
        progress: Callable[[int, int], None] | None = None,
        executor: Executor | None = None,
    ) -> Built:
        """Train on *files* of the directory *tree*, and write into the directory *out*.

        *progress* gets bytes read and bytes in all. The words are counted through *executor*,
        whose processes have to see *tree*; without one, on the cores of this machine. Nothing
        is written unless it succeeds.

        Raises:
            RecipeError: a file can't be read as text, there is no text, or *out* can't be
                written.
        """
        import tokenizers

        from cas.recipes.counting import Reading, count
        from cas.recipes.merging import learn

        reading = Reading(
            column=self.column,
            errors=self.errors,
            subset=self.subset,
            apart=(SEPARATOR, *self.special),
        )
        words = count(tree, files, reading, executor=executor, progress=progress)
        vocabulary, merges = learn(
            words, self.special, vocab_size=self.vocab_size, min_frequency=self.min_frequency
        )
        try:
            written = write_tokenizer(out, vocabulary, merges, self.special)
        except OSError as error:
            message = f"{str(error.filename or out)!r} can't be written: {error.strerror}"
            raise RecipeError(message, hint=remedy(error)) from error
        return Built(
            semantic=semantic_hash(written),
            made_with=f"tokenizers {tokenizers.__version__}",
            vocab_size=len(vocabulary),
            warnings=tuple(self._warnings(len(vocabulary))),
        )

    def _warnings(self, size: int) -> Iterator[str]:
        if size < self.vocab_size:
            yield (
                f"the text fills {size} of the {self.vocab_size} tokens asked for:"
                f" no more pairs occur {self.min_frequency} times"
            )
        if "eos_token" not in roles(self.special):
            yield "no special token is named as the end of a document, such as '<|endoftext|>'"


# The request -----------------------------------------------------------------------------


def _error(place: str, what: str, hint: str) -> RecipeError:
    return RecipeError(f"bpe: {place}: {what}", hint=hint)


def _unknown(key: str, known: Iterable[str]) -> RecipeError:
    near = difflib.get_close_matches(key.replace("-", "_"), known, n=2)
    if near:
        message = f"bpe: unknown key {key!r}, near {' and '.join(map(repr, near))}"
        return RecipeError(message, hint=f"--{near[0].replace('_', '-')}")
    expected = ", ".join(map(repr, known))
    return RecipeError(f"bpe: unknown key {key!r}, expected one of {expected}")


def _strings(place: str, value: object) -> tuple[str, ...]:
    flags = {"special": "--special '<|endoftext|>'", "files": "--files PATTERN"}
    flag = flags.get(place, "--column NAME")
    if not isinstance(value, list | tuple):
        what = f"expected a list of strings, found {value!r:.60}"
        raise _error(place, what, flag)
    for index, item in enumerate(value):
        if not _is_text(item):
            what = f"expected a string that is not empty, found {item!r:.60}"
            raise _error(f"{place}[{index}]", what, flag)
    return tuple(value)


def _rate(value: object) -> float:
    """Return a part of the documents: a number, or the text of one."""
    try:
        rate = float(value) if isinstance(value, str | int | float) else 0.0
    except (ValueError, OverflowError):
        rate = 0.0
    if isinstance(value, bool) or not 0 < rate <= 1:
        what = f"expected a part of the documents, above 0 and up to 1, found {value!r:.60}"
        raise _error("subset", what, "--subset 0.1")
    return rate


def _is_text(value: object) -> bool:
    """Say whether *value* is a string that has characters, all of which UTF-8 can write."""
    surrogate = any("\ud800" <= c <= "\udfff" for c in value) if isinstance(value, str) else True
    return bool(value) and not surrogate


def _check_number(place: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        expected = f"expected a whole number from {least} to {most}"
        if place == "vocab_size":
            expected += f" ({len(BYTES)} bytes and {least - len(BYTES)} special tokens)"
        flag = f"--{place.replace('_', '-')}"
        raise _error(place, f"{expected}, found {value!r:.60}", f"{flag} {max(least, 2)}")


def _check_special(special: Sequence[str]) -> None:
    hint = "--special '<|endoftext|>'"
    for index, token in enumerate(special):
        place = f"special[{index}]"
        if token in special[:index]:
            raise _error(place, f"expected each token once, found {token!r} again", hint)
        if any(c.isspace() or not c.isprintable() for c in token):
            what = f"expected no white space or control characters, found {token!r}"
            raise _error(place, what, hint)
        # In the vocabulary such a string is also the name of some bytes: one id for both.
        if BYTES.issuperset(token) and (len(token) == 1 or not token.isascii()):
            what = f"expected a string that is no token of the bytes, found {token!r}"
            raise _error(place, what, hint)
