"""The names of assets, and where their views go.

A name is ``<kind>/<path>``: ``datasets/roneneldan/TinyStories``. It becomes a path below
``assets/`` in every checkout, so it is stricter than a path inside a tree: it must be a
name on every system, and no two names of a project may be one there.

``cas.path()`` needs this room for each word, and the start of a warm command is all that it
costs: what only the checks need is imported by them.
"""

from __future__ import annotations

from cas.errors import ListingError, UnknownAsset

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["KINDS", "check_name", "check_names", "find", "kind_of", "near", "view_of"]

KINDS = ("datasets", "models", "spaces", "tokenizers", "tokens")
MAX_WORD = 256  # characters; a longer word is near to nothing, and comparing takes time

_VIEW = {"tokenizers": "models/tokenizers", "tokens": "datasets/tokens"}


def check_name(name: str) -> str:
    """Return *name*; raise ListingError if it can't be an asset's name everywhere."""
    import unicodedata

    from cas.listing import check_path, unportable

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
    elif not unicodedata.is_normalized("NFC", name):
        reason = "it is not in Unicode form NFC"
    if reason:
        raise ListingError(f"asset name {name!r:.200}: {reason}")
    return name


def check_names(names: Iterable[str]) -> None:
    """Raise ListingError where two names are one view, or one view lies inside another."""
    from cas.listing import fold

    views: dict[str, str] = {}
    for name in sorted(names):
        key = fold(view_of(name))
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


def find(word: str, assets: Mapping[str, str | None], *, kind: str = "") -> str:
    """Return the one name that *word* means; *assets* is name → Hub ids, by spaces, or None.

    A name, a view's path; then what follows the kind; then a Hub id (the Hub's own or the
    requested one) or a last part; where none of them fits, each in lower case. Of several that
    fit, the one of *kind*, where that is what is wanted. Raises UnknownAsset where none fits, or
    more than one.
    """
    if word in assets:
        return word
    plain = word.removeprefix("./").strip("/")
    for fold, forms in ((str, _exact), (str, _forms), (str.lower, _exact), (str.lower, _forms)):
        meant = fold(plain)
        fits = [
            name
            for name, ids in assets.items()
            if any(fold(form) == meant for form in forms(name, ids))
        ]
        if len(fits) > 1:
            fits = [name for name in fits if kind_of(name) == kind] or fits
        if len(fits) == 1:
            return fits[0]
        if fits:
            raise UnknownAsset(
                f"{word!r} fits {len(fits)} assets: {', '.join(map(repr, sorted(fits)))}",
                hint="say one of these names in full",
            )
    named: dict[str, list[str]] = {}
    for name, ids in assets.items():
        for form in _forms(name, ids):
            named.setdefault(form, []).append(name)
    close = [name for form in near(plain, named) for name in named[form]]
    shown = ", ".join(map(repr, dict.fromkeys(close[:5])))
    raise UnknownAsset(
        f"no asset {word!r:.200} in assets.lock" + (f"; near: {shown}" if shown else ""),
        hint="cas list shows the assets; cas add NAME adds one",
    )


def near(word: str, words: Iterable[str], *, most: int = 3) -> list[str]:
    """Return the words that are nearest to *word*, best first, whatever their case."""
    if len(word) > MAX_WORD:
        return []
    import difflib

    by_lower: dict[str, list[str]] = {}
    for candidate in words:
        if len(candidate) <= MAX_WORD:
            by_lower.setdefault(candidate.lower(), []).append(candidate)
    close = difflib.get_close_matches(word.lower(), by_lower, n=most, cutoff=0.6)
    return [candidate for key in close for candidate in dict.fromkeys(by_lower[key])][:most]


def _exact(name: str, ids: str | None) -> list[str]:
    del ids
    return [name, name.partition("/")[2], view_of(name)]


def _forms(name: str, ids: str | None) -> list[str]:
    rest = name.partition("/")[2]
    forms = [name, rest, rest.rpartition("/")[2], view_of(name)]
    for one in ids.split(" ") if ids else ():
        forms += (one, one.rpartition("/")[2])
    return forms
