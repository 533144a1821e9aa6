"""Requests: what a project asks for, as one table an asset.

::

    { hub = "dataset:roneneldan/TinyStories", include = ["data/*.parquet"] }
    { recipe = "bpe", input = "datasets/roneneldan/TinyStories", vocab_size = 4096 }
    { recipe = "tokens", input = "datasets/roneneldan/TinyStories", tokenizer = "models/gpt2" }
    { local = "runs/exp_001.pt" }

The set of keys is closed in ``pyproject.toml``. The same table stands, echoed, in
``assets.lock``, so whether the two are in step is a comparison; there a key that only a newer
cas knows is kept (``extra``), so that what it pinned can still be pulled.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from .errors import ListingError, RequestError
from .names import check_name, near

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "HubRequest",
    "LocalRequest",
    "RecipeRequest",
    "Request",
    "check_repo",
    "parse",
    "shown",
]

HUB_KINDS = ("dataset", "model", "space")

_KEYS = {
    "hub": ("hub", "revision", "include", "exclude", "groups"),
    "local": ("local", "follow", "skip_special", "groups"),
    "recipe": ("recipe", "input", "tokenizer", "vocab_size", "min_frequency", "special", "split",
               "files", "column", "subset", "errors", "eos", "keep", "groups"),
}  # fmt: skip
TWO_INPUTS = ("tokens",)
"""Recipes that take a tokenizer beside the text."""
_FRACTIONS = ("subset",)
MAX_TEXT = 4096  # characters
MAX_INTEGER = 1 << 63

_REPO = re.compile(r"(\b[\w.-]+\b/)?\b[\w.-]{1,96}\b", re.ASCII)  # as huggingface_hub has it
_REVISION = re.compile(r"(?![-/])(?!.*(\.\.|//|@\{))[^ ~^:?*\[\\]+(?<![/.])")  # git's rules
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class HubRequest:
    """Files of a Hub repository."""

    kind: str
    """dataset, model or space"""
    repo: str
    revision: str | None = None
    """A branch, tag, ``refs/pr/N`` or commit; None is ``main``."""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, Any], ...] = ()
    """In assets.lock: keys that a newer cas wrote, kept as they are."""

    def table(self) -> dict[str, Any]:
        """Return the request as it is written, keys in their fixed order."""
        out: dict[str, Any] = {"hub": f"{self.kind}:{self.repo}"}
        if self.revision is not None:
            out["revision"] = self.revision
        return out | (
            _lists(include=self.include, exclude=self.exclude, groups=self.groups)
            | dict(self.extra)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalRequest:
    """A file or directory that was imported by content."""

    local: str
    """Where it was, relative to the project; its last part only, if that is outside."""
    follow: bool = False
    """What symlinks point to was imported."""
    skip_special: bool = False
    """Symlinks, FIFOs, sockets and devices were left out."""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, Any], ...] = ()
    """In assets.lock: keys that a newer cas wrote, kept as they are."""

    def table(self) -> dict[str, Any]:
        """Return the request as it is written."""
        out: dict[str, Any] = {"local": self.local}
        out |= {key: True for key in ("follow", "skip_special") if getattr(self, key)}
        return out | _lists(groups=self.groups) | dict(self.extra)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeRequest:
    """Something that is made of other assets."""

    recipe: str
    input: str
    """The name of the asset whose text it is made of."""
    tokenizer: str | None = None
    """The name of the asset that encodes the text, where the recipe takes one."""
    options: tuple[tuple[str, Any], ...] = ()
    """The recipe's own keys and values, sorted; lists are tuples."""
    keep: bool = False
    """Keep the pin when the input moves."""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, Any], ...] = ()
    """In assets.lock: keys that a newer cas wrote, kept as they are."""

    @property
    def inputs(self) -> dict[str, str]:
        """Return role → the name of the asset that has it, the text first."""
        roles = {"text": self.input}
        return roles | ({"tokenizer": self.tokenizer} if self.tokenizer else {})

    def table(self) -> dict[str, Any]:
        """Return the request as it is written."""
        out: dict[str, Any] = {"recipe": self.recipe, "input": self.input}
        if self.tokenizer is not None:
            out["tokenizer"] = self.tokenizer
        out |= {k: list(v) if isinstance(v, tuple) else v for k, v in self.options}
        if self.keep:
            out["keep"] = True
        return out | _lists(groups=self.groups) | dict(self.extra)


Request = HubRequest | LocalRequest | RecipeRequest


def parse(table: object, *, place: str, keep_unknown: bool = False) -> Request:
    """Return the request that *table* says; raise RequestError naming *place*.

    A key that is not of the set is refused, or with *keep_unknown* kept in ``extra``.
    """
    if not isinstance(table, dict):
        raise RequestError(
            f'{place}: expected a table such as {{ hub = "dataset:ID" }}, found {shown(table)}'
        )
    sources = [key for key in ("hub", "local", "recipe") if key in table]
    if len(sources) != 1:
        raise RequestError(
            f"{place}: expected exactly one of 'hub', 'local', 'recipe', "
            f"found {', '.join(map(repr, sources)) or 'none'}"
        )
    source = sources[0]
    known = {key: value for key, value in table.items() if key in _KEYS[source]}
    extra = tuple((key, value) for key, value in table.items() if key not in known)
    if extra and not keep_unknown:
        key = extra[0][0]
        close = near(str(key), _KEYS[source])
        raise RequestError(
            f"{place}: unknown key {shown(key)}, expected {', '.join(_KEYS[source])}"
            + (f"; near: {', '.join(map(repr, close))}" if close else "")
        )
    read = _Reader(known, place)
    groups = read.texts("groups")
    if source == "hub":
        return HubRequest(**read.hub(), groups=groups, extra=extra)
    if source == "local":
        return LocalRequest(
            local=read.local(),
            follow=read.flag("follow"),
            skip_special=read.flag("skip_special"),
            groups=groups,
            extra=extra,
        )
    fixed = ("recipe", "input", "tokenizer", "keep", "groups")
    recipe = read.text("recipe")
    if "tokenizer" in known and recipe not in TWO_INPUTS and not keep_unknown:
        raise RequestError(f"{place}.tokenizer: recipe {shown(recipe)} takes none")
    return RecipeRequest(
        recipe=recipe,
        input=read.name("input"),
        tokenizer=read.name("tokenizer") if "tokenizer" in known or recipe in TWO_INPUTS else None,
        options=tuple(sorted((key, read.option(key)) for key in known if key not in fixed)),
        keep=read.flag("keep"),
        groups=groups,
        extra=extra,
    )


def check_repo(repo: str, *, place: str) -> str:
    """Return *repo*; raise RequestError if it is no Hub id."""
    if (
        not _REPO.fullmatch(repo)
        or ".." in repo
        or "--" in repo
        or repo.endswith(".git")
        or len(repo) > 193
    ):
        raise RequestError(f"{place}: expected a Hub id such as 'org/name', found {shown(repo)}")
    return repo


def shown(value: object, most: int = 80) -> str:
    """Return *value* as an error shows it: by repr, and at most so many characters of it."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of 5,000 digits; lists in one another
        return f"a value too large to show ({type(value).__name__})"
    return text if len(text) <= most else f"{text[:most]}…"


def _lists(**lists: tuple[str, ...]) -> dict[str, Any]:
    return {key: list(value) for key, value in lists.items() if value}


class _Reader:
    """Typed values of one table, each error with its place."""

    def __init__(self, table: Mapping[str, Any], place: str) -> None:
        self._table = table
        self._place = place

    def text(self, key: str) -> str:
        value = self._table.get(key)
        if not _is_text(value):
            self._refuse(key, "a text", value)
        return str(value)

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._table.get(key, [])
        if not isinstance(value, list) or not all(map(_is_text, value)):
            self._refuse(key, "a list of texts", value)
        return tuple(value)

    def flag(self, key: str) -> bool:
        value = self._table.get(key, False)
        if not isinstance(value, bool):
            self._refuse(key, "true or false", value)
        return value

    def option(self, key: str) -> str | float | bool | tuple[str, ...]:
        value = self._table[key]
        if isinstance(value, list):
            return self.texts(key)
        if isinstance(value, bool) or _is_text(value):
            return value  # type: ignore[no-any-return]
        if isinstance(value, int) and -MAX_INTEGER <= value < MAX_INTEGER:
            return value
        if isinstance(value, float) and key in _FRACTIONS and math.isfinite(value):
            return value
        return self._refuse(key, "a text, a number, true or false, or a list of texts", value)

    def name(self, key: str) -> str:
        try:
            return check_name(self.text(key))
        except ListingError as error:
            raise RequestError(f"{self._place}.{key}: {error}") from None

    def local(self) -> str:
        value = self.text("local")
        if value.startswith("/") or ".." in value.split("/"):
            self._refuse("local", "a path inside the project", value)
        return value

    def hub(self) -> dict[str, Any]:
        kind, colon, repo = self.text("hub").partition(":")
        if not colon or kind not in HUB_KINDS:
            self._refuse("hub", "'dataset:ID', 'model:ID' or 'space:ID'", self._table["hub"])
        revision = self.text("revision") if "revision" in self._table else None
        if revision is not None and not _REVISION.fullmatch(revision):
            self._refuse("revision", "a branch, a tag, 'refs/pr/N' or a commit", revision)
        return {
            "kind": kind,
            "repo": check_repo(repo, place=f"{self._place}.hub"),
            "revision": revision,
            "include": self.texts("include"),
            "exclude": self.texts("exclude"),
        }

    def _refuse(self, key: str, expected: str, value: object) -> NoReturn:
        found = "none" if value is None else shown(value)
        raise RequestError(f"{self._place}.{key}: expected {expected}, found {found}")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_TEXT and not _UNSAFE.search(value)
