"""rm: the view, the pin and the request of an asset go; its bytes stay until gc."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cas.errors import CasError
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
    for user, request in made.items():
        if user not in names and isinstance(request, RecipeRequest):
            for name in request.inputs.values():
                if name in names:
                    raise CasError(f"{user!r} is made of {name!r}", hint=f"cas rm {name} {user}")
    with one_writer(project):
        left = [(name, unlink_view(project, name)) for name in names]
        change_lock(project, without=names)
        change_requests(project, dict.fromkeys(names))
        if project.edited() & set(names):
            project.set_edited(project.edited() - set(names))
    needs_of(project)
    return left
