"""Pair: two experiments compared, with what the store holds of their assets and packages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cas import experiments
from cas.digest import Digest, is_digest
from cas.errors import CasError
from cas.listing import parse_tree_id
from cas.store import read_listing, read_object

if TYPE_CHECKING:
    from collections.abc import Callable

    from cas.experiments import Changes
    from cas.listing import Listing
    from cas.project import Project
    from cas.store import Store

__all__ = ["compare", "packages_of"]


def compare(
    project: Project, first: str, second: str, warn: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """Return what differs between two experiments, as ``cas experiments compare --json`` says it.

    Raises ExperimentError for one that is not there.
    """
    return experiments.compare(
        Path(project.experiments),
        (first, second),
        changes=lambda before, after: _changes(project.store, before, after),
        packages=lambda digest: packages_of(project.store, digest),
        warn=warn,
    )


def packages_of(store: Store, digest: str) -> dict[str, str] | None:
    """Return name → version of the packages that a record names; None if they are gone."""
    try:
        text = read_object(store, Digest(digest)).decode() if is_digest(digest) else None
    except (CasError, UnicodeDecodeError):
        return None
    if text is None:
        return None
    parts = (line.partition("==") for line in text.splitlines())
    return {name: version for name, _, version in parts}


def _changes(store: Store, before: str | None, after: str | None) -> Changes | None:
    """Return the paths (added, removed, changed) between two trees; None where one is not known."""
    old, new = _listing(store, before), _listing(store, after)
    if (before and old is None) or (after and new is None):
        return None
    if old is not None and new is not None:
        return old.changes(new)
    return [entry.path for entry in new or ()], [entry.path for entry in old or ()], []


def _listing(store: Store, tree: str | None) -> Listing | None:
    return read_listing(store, parse_tree_id(tree)) if tree else None
