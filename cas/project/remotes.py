"""The remotes of a project: ``[tool.cas.remotes]``, name → URL, in the order they are asked."""

from __future__ import annotations

import os

from cas.errors import LockfileError, RequestError, UsageError, remedy
from cas.project.requests.entries import edit_entry
from cas.project.requests.settings import load
from cas.remote import Place, check_remote_name, parse_place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cas.project.core import Project

__all__ = ["find_remote", "places", "set_remote"]


def places(project: Project) -> list[Place]:
    """Return the project's remotes in the order in which they are asked; raise RequestError.

    Only this table is read: a request that can't be taken does not keep a pull from them.
    """
    table = _table(project).get("remotes", {})
    if not isinstance(table, dict):
        raise RequestError("pyproject.toml: tool.cas.remotes: expected a table of URLs")
    found = []
    for name, url in table.items():
        if not isinstance(url, str):
            raise RequestError(f"pyproject.toml: tool.cas.remotes.{name!r}: expected a URL")
        try:
            found.append(parse_place(name, url))
        except UsageError as error:
            raise RequestError(f"pyproject.toml: tool.cas.remotes: {error}",
                               hint=error.hint) from None  # fmt: skip
    return found


def find_remote(project: Project, name: str | None) -> Place:
    """Return the remote of that name, the first one without; raise UsageError."""
    found = places(project)
    if not found:
        raise UsageError("this project has no remote", hint="cas remote add lab s3://BUCKET/PATH")
    for place in found:
        if name in (None, place.name):
            return place
    names = ", ".join(place.name for place in found)
    raise UsageError(f"no remote {name!r:.80}, expected {names}", hint="cas remote list")


def set_remote(project: Project, name: str, url: str | None) -> None:
    """Write a remote into pyproject.toml, or (None) take it out.

    Raises UsageError for a URL that can't be one, or a name that is not there; RequestError,
    LockfileError where the file can't be written.
    """
    from cas.files import hold, replace

    check_remote_name(name)
    if url is not None:
        url = parse_place(name, url).url
    else:
        find_remote(project, name)
    path = os.path.realpath(os.path.join(project.root, "pyproject.toml"))
    with hold(project.mutex()):
        before = project.requests_bytes()
        after = edit_entry(before, "remotes", name, url)
        if after == before:
            return
        try:
            replace(path, after)
        except OSError as error:
            raise LockfileError(
                f"{path} can't be written: {error.strerror}", hint=remedy(error)
            ) from None


def _table(project: Project) -> dict[str, Any]:
    data = project.requests_bytes()
    document = load(data) if data is not None else {}
    try:
        table = document.get("tool", {}).get("cas", {})
    except AttributeError:
        table = None
    if not isinstance(table, dict):
        raise RequestError("pyproject.toml: tool.cas: expected a table")
    return table
