"""The names of assets, and where their views go.

A name is ``<kind>/<path>``: ``datasets/roneneldan/TinyStories``. It becomes a path below
``assets/`` in every checkout, so it is stricter than a path inside a tree: it must be a
name on every system, and no two names of a project may be one there.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from .errors import ListingError, UnknownAsset
from .listing import check_path, unportable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["KINDS", "check_name", "check_names", "find", "kind_of", "near", "view_of"]

KINDS = ("datasets", "models", "spaces", "tokenizers", "tokens")

_VIEW = {"tokenizers": "models/tokenizers", "tokens": "datasets/tokens"}


def check_name(name: str) -> str:
    """Return *name*; raise ListingError if it can't be an asset's name everywhere."""
    kind, slash, rest = name.partition("/")
    if kind not in KINDS or not slash or not rest:
        raise ListingError(
            f"asset name {name!r:.200}: expected '<kind>/<name>' with a kind of {', '.join(KINDS)}"
        )
    try:
        check_path(name)
    except ListingError as error:
        raise ListingError(f"asset name: {error}") from None
    reason = unportable(name)
    if any(part.startswith(".") for part in name.split("/")):
        reason = "a part of it begins with a dot"
    elif unicodedata.normalize("NFC", name) != name:
        reason = "it is not in Unicode form NFC"
    if reason:
        raise ListingError(f"asset name {name!r:.200}: {reason}")
    return name


def check_names(names: Iterable[str]) -> None:
    """Raise ListingError where two names are one view, or one view lies inside another."""
    views: dict[str, str] = {}
    for name in sorted(names):
        key = unicodedata.normalize("NFC", view_of(name)).casefold()
        if key in views:
            raise ListingError(f"asset names {views[key]!r} and {name!r} have one view")
        views[key] = name
    for key, name in views.items():
        cut = key.find("/", len("assets/"))
        while cut > 0:
            if key[:cut] in views:
                raise ListingError(
                    f"asset name {name!r}: its view lies inside that of {views[key[:cut]]!r}"
                )
            cut = key.find("/", cut + 1)


def kind_of(name: str) -> str:
    """Return the kind of an asset, the plural first part of its name."""
    return name.partition("/")[0]


def view_of(name: str) -> str:
    """Return where the view of an asset is, relative to the project."""
    kind, _, rest = name.partition("/")
    return f"assets/{_VIEW.get(kind, kind)}/{rest}"


def find(word: str, assets: Mapping[str, str | None]) -> str:
    """Return the one name that *word* means; *assets* is name → the Hub's id or None.

    A name, a view's path, a Hub id, a last part, each also in lower case. Raises
    UnknownAsset where none fits, or more than one.
    """
    if word in assets:
        return word
    plain = word.strip("/")
    for fold in (str, str.lower):
        fits = [
            name
            for name, repo in assets.items()
            if fold(plain) in {fold(form) for form in _forms(name, repo)}
        ]
        if len(fits) == 1:
            return fits[0]
        if fits:
            raise UnknownAsset(
                f"{word!r} fits {len(fits)} assets: {', '.join(sorted(fits))}",
                hint="say one of these names in full",
            )
    close = near(word, [form for name, repo in assets.items() for form in _forms(name, repo)])
    known = sorted({name for name, repo in assets.items() if set(_forms(name, repo)) & set(close)})
    raise UnknownAsset(
        f"no asset {word!r} in assets.lock" + (f"; near: {', '.join(known)}" if known else ""),
        hint="cas list shows the assets; cas add NAME adds one",
    )


def near(word: str, words: Iterable[str], *, most: int = 3) -> list[str]:
    """Return the words that are nearest to *word*, best first."""
    import difflib

    by_lower: dict[str, str] = {}
    for candidate in words:
        by_lower.setdefault(candidate.lower(), candidate)
    close = difflib.get_close_matches(word.lower(), by_lower, n=most, cutoff=0.6)
    return [by_lower[key] for key in close]


def _forms(name: str, repo: str | None) -> list[str]:
    rest = name.partition("/")[2]
    forms = [name, rest, rest.rpartition("/")[2], view_of(name)]
    return [*forms, repo, repo.rpartition("/")[2]] if repo else forms
