"""Pins of derived assets: which are to be built, and whether they are the same again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cas.errors import NotReproducible, RequestError, UsageError, typed
from cas.installer.derive import build_again, recipe_id
from cas.request import RecipeRequest, Request
from cas.resolver import pin as pins

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cas.installer import Bringer
    from cas.lockfile import Asset

__all__ = ["inputs_first", "made_of", "pin_derived", "rebuild", "same_derived"]


def inputs_first(requests: Mapping[str, Request]) -> list[tuple[str, Request]]:
    """Return the requests by name, what is made of others after them.

    Raises RequestError where one is made of itself, or of what is not requested.
    """
    ordered: dict[str, Request] = {}

    def take(name: str, above: tuple[str, ...]) -> None:
        request = requests[name]
        if name in above:
            raise RequestError(f"pyproject.toml: {name!r} is made of itself",
                               hint=f"cas rm {typed(name)}")  # fmt: skip
        for source in _sources(request):
            if source not in requests:
                raise RequestError(
                    f"pyproject.toml: {name!r} is made of {source!r}, which is not requested",
                    hint=f"cas add {source.partition('/')[2]}, or: cas rm {typed(name)}",
                )
            if source not in ordered:
                take(source, (*above, name))
        ordered.setdefault(name, request)

    for name in sorted(requests):
        take(name, ())
    return list(ordered.items())


def _sources(request: Request) -> list[str]:
    return list(request.inputs.values()) if isinstance(request, RecipeRequest) else []


def made_of(requests: Mapping[str, Request], chosen: set[str]) -> set[str]:
    """Return *chosen*, and all that is made of them, directly or not."""
    found = set(chosen)
    for name, request in inputs_first(requests):
        if found & set(_sources(request)):
            found.add(name)
    return found


def pin_derived(
    bringer: Bringer,
    name: str,
    request: RecipeRequest,
    old: Asset | None,
    *,
    moved: bool,
    named: bool,
    build: bool,
    dry_run: bool,
    extra: Mapping[str, Any],
) -> Asset | None:
    """Return the pin of a derived asset; *old* is the one that its request has already.

    One that is *named* and to be built is made again also where nothing moved: so a pin goes
    on to what another version of a library makes.
    """
    known = bringer.lock.assets
    sources = {role: known[word] for role, word in request.inputs.items() if word in known}
    anew = build and named
    if old is not None and not anew:
        same = replace(old, request=request)
        trees = {role: source.tree for role, source in sources.items()}
        if trees == old.inputs and not moved:
            return same
        if pin := same_derived(bringer, same):
            return pin
        if not (build or moved) or (request.keep and not named):
            return same
    if dry_run:
        bringer.progress.note(f"{name} would be built of {' and '.join(request.inputs.values())}")
        return old
    return replace(pins.pin_recipe(bringer, name, request, anew=anew), extra=extra)


def same_derived(bringer: Bringer, old: Asset) -> Asset | None:
    """Return the pin of what reads the same of its inputs as before, whatever else moved there.

    None where it reads something else, or that can't be told.
    """
    request = old.request
    if not isinstance(request, RecipeRequest):
        return None
    known = bringer.lock.assets
    sources = {role: known[word] for role, word in request.inputs.items() if word in known}
    if recipe_id(bringer, request, sources) != old.recipe:
        return None
    return replace(old, inputs={role: source.tree for role, source in sources.items()})


def rebuild(bringer: Bringer, assets: Iterable[Asset]) -> None:
    """Build derived assets again and say of each whether it is the same.

    Raises NotReproducible for the first that differs, when all were built.
    """
    differing: list[NotReproducible] = []
    for asset in assets:
        if not isinstance(asset.request, RecipeRequest):
            raise UsageError(f"{asset.name!r} is not made by a recipe", hint="cas list")
        try:
            made = build_again(bringer, asset)
        except NotReproducible as error:
            differing.append(error)
            continue
        bringer.progress.note(
            f"{asset.name} was built again: the same bytes, so it is reproducible "
            f"({made.made_with})"
        )
    for other in differing[1:]:
        bringer.progress.note(str(other))
    if differing:
        raise differing[0]
