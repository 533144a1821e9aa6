"""What the public functions of ``cas`` have in common. It imports next to nothing."""

from __future__ import annotations

from cas.errors import CasError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import Any

__all__ = ["download", "optional", "plain", "say", "texts"]


def download(kind: str, repo: str, options: dict[str, Any]) -> Path:
    """Return the tree of a dataset or model of the Hub, added and pulled where it is not."""
    import cas
    from cas import names
    from cas.errors import UnknownAsset
    from cas.project import current

    kinds = {"dataset": ("datasets", "tokens"), "model": ("models", "tokenizers")}[kind]
    bare = repo.removeprefix(f"{kind}:")
    if not options:
        known = {a.name: a.repo for a in current().read_lock() if names.kind_of(a.name) in kinds}
        try:
            return cas.path(names.find(bare, known), pull=True)
        except UnknownAsset as error:
            if "fits" in str(error):
                raise
    moves = cas.add(f"{kind}:{bare}", **options)
    name = moves[0]["name"] if moves else options.get("name") or f"{kind}s/{bare}"
    return cas.path(name, pull=True)


def texts(words: Iterable[str]) -> tuple[str, ...]:
    """Return a list of texts; one text alone would be read letter by letter."""
    return (words,) if isinstance(words, str) else tuple(words)


def plain(value: Any) -> Any:
    """Return a recipe's option as a request has it: a list is a tuple."""
    return tuple(value) if isinstance(value, list) else value


def optional(module: str) -> Any:
    """Import a package that only some functions need; raise CasError where it is absent."""
    from importlib import import_module

    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        what = "polars" if module == "polars" else "'cas-assets[train]'"
        raise CasError(f"the package {module!r} is needed", hint=f"pip install {what}") from None


def say(message: str) -> None:
    """Tell something on stderr, as the functions of ``cas`` promise to."""
    import sys

    print(f"cas: {message}", file=sys.stderr)  # noqa: T201 - it is said on stderr by contract
