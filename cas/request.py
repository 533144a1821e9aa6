"""Requests: what a project asks for, as one table an asset.

::

    { hub = "dataset:roneneldan/TinyStories", include = ["data/*.parquet"] }
    { recipe = "bpe", input = "datasets/roneneldan/TinyStories", vocab_size = 4096 }
    { local = "runs/exp_001.pt" }

The set of keys is closed. The same table stands in ``pyproject.toml`` and, echoed, in
``assets.lock``, so whether the two are in step is a comparison.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from .errors import RequestError
from .names import check_name, near

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["HubRequest", "LocalRequest", "RecipeRequest", "Request", "check_repo", "parse"]

HUB_KINDS = ("dataset", "model", "space")

_KEYS = {
    "hub": ("hub", "revision", "include", "exclude", "groups"),
    "local": ("local", "groups"),
    "recipe": ("recipe", "input", "vocab_size", "min_frequency", "special", "split", "files",
               "column", "keep", "groups"),
}  # fmt: skip
_REPO = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
_CONTROL = re.compile("[\x00-\x1f\x7f]")


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

    def table(self) -> dict[str, Any]:
        """Return the request as it is written, keys in their fixed order."""
        out: dict[str, Any] = {"hub": f"{self.kind}:{self.repo}"}
        if self.revision is not None:
            out["revision"] = self.revision
        return out | _lists(include=self.include, exclude=self.exclude, groups=self.groups)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalRequest:
    """A file or directory that was imported by content."""

    local: str
    """Where it was, relative to the project; its last part only, if that is outside."""
    groups: tuple[str, ...] = ()

    def table(self) -> dict[str, Any]:
        """Return the request as it is written."""
        return {"local": self.local} | _lists(groups=self.groups)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeRequest:
    """Something that is made of another asset."""

    recipe: str
    input: str
    """The name of the asset that it is made of."""
    options: tuple[tuple[str, Any], ...] = ()
    """The recipe's own keys and values, sorted; lists are tuples."""
    keep: bool = False
    """Keep the pin when the input moves."""
    groups: tuple[str, ...] = ()

    def table(self) -> dict[str, Any]:
        """Return the request as it is written."""
        out: dict[str, Any] = {"recipe": self.recipe, "input": self.input}
        out |= {k: list(v) if isinstance(v, tuple) else v for k, v in self.options}
        if self.keep:
            out["keep"] = True
        return out | _lists(groups=self.groups)


Request = HubRequest | LocalRequest | RecipeRequest


def parse(table: object, *, place: str) -> Request:
    """Return the request that *table* says; raise RequestError naming *place*."""
    if not isinstance(table, dict):
        raise RequestError(f"{place}: expected a table such as {{ hub = \"dataset:ID\" }}, "
                           f"found {table!r:.80}")  # fmt: skip
    sources = [key for key in ("hub", "local", "recipe") if key in table]
    if len(sources) != 1:
        raise RequestError(
            f"{place}: expected exactly one of 'hub', 'local', 'recipe', "
            f"found {', '.join(map(repr, sources)) or 'none'}"
        )
    source = sources[0]
    for key in table:
        if key not in _KEYS[source]:
            close = near(str(key), _KEYS[source])
            meant = f"; near: {', '.join(map(repr, close))}" if close else ""
            raise RequestError(
                f"{place}: unknown key {key!r}, expected {', '.join(_KEYS[source])}{meant}"
            )
    read = _Reader(table, place)
    groups = read.texts("groups")
    if source == "hub":
        kind, colon, repo = read.text("hub").partition(":")
        if not colon or kind not in HUB_KINDS:
            raise RequestError(
                f"{place}.hub: expected 'dataset:ID', 'model:ID' or 'space:ID', "
                f"found {table['hub']!r:.120}"
            )
        return HubRequest(
            kind=kind,
            repo=check_repo(repo, place=f"{place}.hub"),
            revision=read.text("revision") if "revision" in table else None,
            include=read.texts("include"),
            exclude=read.texts("exclude"),
            groups=groups,
        )
    if source == "local":
        return LocalRequest(local=read.text("local"), groups=groups)
    fixed = ("recipe", "input", "keep", "groups")
    return RecipeRequest(
        recipe=read.text("recipe"),
        input=check_name(read.text("input")),
        options=tuple(sorted((k, read.option(k)) for k in table if k not in fixed)),
        keep=read.flag("keep"),
        groups=groups,
    )


def check_repo(repo: str, *, place: str) -> str:
    """Return *repo*; raise RequestError if it is no Hub id."""
    if not _REPO.fullmatch(repo) or ".." in repo or "--" in repo or len(repo) > 193:
        raise RequestError(f"{place}: expected a Hub id such as 'org/name', found {repo!r:.120}")
    return repo


def _lists(**lists: tuple[str, ...]) -> dict[str, Any]:
    return {key: list(value) for key, value in lists.items() if value}


class _Reader:
    """Typed values of one table, each error with its place."""

    def __init__(self, table: Mapping[str, Any], place: str) -> None:
        self._table = table
        self._place = place

    def text(self, key: str) -> str:
        value = self._table.get(key)
        if not isinstance(value, str) or not value or _CONTROL.search(value) or len(value) > 4096:
            self._refuse(key, "a text", value)
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._table.get(key, [])
        if not isinstance(value, list) or not all(
            isinstance(item, str) and item and not _CONTROL.search(item) for item in value
        ):
            self._refuse(key, "a list of texts", value)
        return tuple(value)

    def flag(self, key: str) -> bool:
        value = self._table.get(key, False)
        if not isinstance(value, bool):
            self._refuse(key, "true or false", value)
        return value

    def option(self, key: str) -> str | int | bool | tuple[str, ...]:
        value = self._table[key]
        if isinstance(value, list):
            return self.texts(key)
        if not isinstance(value, bool | int | str) or _CONTROL.search(str(value)):
            self._refuse(key, "a text, a number, true or false, or a list of texts", value)
        return value

    def _refuse(self, key: str, expected: str, value: object) -> NoReturn:
        raise RequestError(f"{self._place}.{key}: expected {expected}, found {value!r:.80}")
