"""Views: the trees of an experiment, linked beside the current ones."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from cas import experiments
from cas.errors import CasError, ListingError, ViewBlocked, typed
from cas.files import make_dirs, replace_symlink, sync_all
from cas.names import check_name, view_of
from cas.progress import QUIET
from cas.project.views import make_parents
from cas.reproduce.trees import bring_trees, worst
from cas.warm import tree_of_link

if TYPE_CHECKING:
    from cas.progress import Progress
    from cas.project import Project
    from cas.reproduce.trees import Had

__all__ = ["CHECKOUTS", "checkout", "link", "place_of"]

CHECKOUTS = "assets/checkouts"


def checkout(
    project: Project,
    word: str,
    *,
    to: str | None = None,
    offline: bool = False,
    progress: Progress = QUIET,
) -> tuple[list[Had], CasError | None]:
    """Make views of the exact trees that an experiment used and made.

    They lie below ``assets/checkouts/<name>/``, or *to*, as the project's views lie below
    ``assets/``. Returns what became of each, and one error for what is gone; the rest is there.

    Raises:
        ExperimentError: there is no such experiment.
        ViewBlocked: something that is not ours lies where a view goes.
    """
    shown = experiments.show(Path(project.experiments), word, progress.note)
    name = experiments.check_experiment_name(shown["name"])
    base = os.path.abspath(to) if to else os.path.join(project.root, CHECKOUTS, name)
    found = bring_trees(project, shown, outputs=True, offline=offline, progress=progress)
    if to is None:
        make_parents(project.root, f"{CHECKOUTS}/{name}/view")
    touched = []
    taken: set[str] = set()
    for had in found:
        if had.target is None:
            continue
        place = place_of(had)
        if place in taken:  # one name at two trees
            place = f"{place}@{had.tree[3:11]}"
        taken.add(place)
        had.path = link(base, place, had.target)
        touched.append(os.path.dirname(had.path))
    if touched:
        sync_all(dict.fromkeys([*touched, base]), on=base)
    return found, worst(found)


def place_of(had: Had) -> str:
    """Return where the view of a tree goes, below ``assets/``; a record's names are not trusted."""
    try:
        return view_of(check_name(had.name)).partition("/")[2]
    except ListingError:
        return f"trees/{had.tree[3:15]}"


def link(base: str, place: str, target: str) -> str:
    """Point the view at *place* below *base* to its tree, and return its path.

    Raises ViewBlocked where something lies there, or on the way, that is not ours; no link
    below *base* is followed.
    """
    path = os.path.join(base, place)
    above = base
    for part in place.split("/")[:-1]:
        above = os.path.join(above, part)
        if os.path.islink(above):
            raise ViewBlocked(f"{above} is a link, so no view is made below it")
    if os.path.lexists(path) and not (os.path.islink(path) and tree_of_link(os.readlink(path))):
        raise ViewBlocked(
            f"{path} is nothing that cas made, so it was left alone",
            hint=f"mv {typed(path)} elsewhere",
        )
    try:
        make_dirs(os.path.dirname(path))
        replace_symlink(path, target)
    except OSError as error:
        raise ViewBlocked(f"the view {path} can't be made: {error.strerror}") from None
    return path
