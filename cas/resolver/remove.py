"""rm: the view, the pin and the request of an asset go; its bytes stay until gc."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cas.errors import CasError, typed
from cas.installer import unlink_view
from cas.installer.pull import needs_of
from cas.request import RecipeRequest
from cas.resolver.write import change_lock, change_requests, check_writable, one_writer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cas.project import Project

__all__ = ["remove"]


def remove(project: Project, words: Iterable[str]) -> list[tuple[str, str | None]]:
    """Remove views, pins and requests of assets; their bytes stay until gc.

    Returns, for each, its name and what lies where its view was, if that is a person's own.
    Raises UnknownAsset, or CasError where something that stays is made of one; then nothing
    was removed.
    """
    check_writable(project)
    lock = project.read_lock()
    requests = project.read_settings().requests
    names = list(dict.fromkeys(w if w in requests else lock.find(w).name for w in words))
    made = {a.name: a.request for a in lock} | dict(requests)
    inputs = {n: r.inputs.values() for n, r in made.items() if isinstance(r, RecipeRequest)}
    above = list(names)
    for name in above:  # it grows by what is made of each
        above += [n for n, used in inputs.items() if name in used and n not in above]
    for user in above[len(names) :]:
        name = next(name for name in above if name in inputs[user])
        hint = f"cas rm {' '.join(map(typed, above))}"
        raise CasError(f"{user!r} is made of {name!r}", hint=hint)
    with one_writer(project):
        left = [(name, unlink_view(project, name)) for name in names]
        change_lock(project, without=names)
        change_requests(project, dict.fromkeys(names))
        if project.edited() & set(names):
            project.set_edited(project.edited() - set(names))
    needs_of(project)
    return left
