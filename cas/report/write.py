"""Write: the report as a file that appears whole."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cas.errors import CasError, UsageError, remedy, typed
from cas.files import replace
from cas.progress import QUIET
from cas.report.collect import collect
from cas.report.page import page

if TYPE_CHECKING:
    from collections.abc import Callable

    from cas.progress import Progress
    from cas.project import Project

__all__ = ["Written", "report"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A report that was written."""

    path: str
    experiments: int
    """records, those that a newer one of their name follows too"""
    assets: int
    """trees"""
    bytes: int

    def json(self) -> dict[str, Any]:
        """Return the ``--json`` document."""
        return {
            "path": self.path,
            "experiments": self.experiments,
            "assets": self.assets,
            "bytes": self.bytes,
        }


def report(
    project: Project,
    path: str | os.PathLike[str],
    *,
    warn: Callable[[str], None],
    progress: Progress = QUIET,
) -> Written:
    """Write the report of a project to *path*, over what is there.

    Raises:
        UsageError: *path* is a directory, or lies in one that doesn't exist.
        CasError: it can't be written.
    """
    place = os.fspath(path)
    if os.path.isdir(place):
        raise UsageError(f"-o {place!r}: expected a file, found a directory")
    if os.path.lexists(place) and not os.path.isfile(place):
        raise UsageError(f"-o {place!r}: expected a file, found what is none")
    if not os.path.isdir(os.path.dirname(place) or "."):
        raise UsageError(f"-o {place!r}: its directory doesn't exist",
                         hint=f"mkdir -p {typed(os.path.dirname(place))}")  # fmt: skip
    document = collect(project, warn, progress=progress)
    data = page(document).encode()
    try:
        replace(place, data)
    except OSError as error:
        raise CasError(f"{place}: {error.strerror or error}", hint=remedy(error)) from error
    return Written(
        path=place,
        experiments=document["count"],
        assets=len(document["trees"]),
        bytes=len(data),
    )
