"""Taken: what an experiment made becomes an asset (``cas add --from EXPERIMENT``).

Its bytes are in the store already, so nothing is imported: the request is that of a local
file, whose ``local`` is only the output's own name, and the pin is the tree that the record has.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from cas.errors import ExperimentError, ListingError, NotPulled, UnknownAsset, UsageError, typed
from cas.installer import Bringer
from cas.listing import parse_tree_id
from cas.lockfile import Asset
from cas.names import check_name, check_names, find
from cas.progress import QUIET
from cas.request import LocalRequest
from cas.resolver.add import publish
from cas.resolver.meaning import AddOptions
from cas.resolver.pin import Move, move_of
from cas.resolver.write import check_writable
from cas.store import read_listing, standing

if TYPE_CHECKING:
    from cas.experiments import Use
    from cas.progress import Progress
    from cas.project import Project

__all__ = ["add_from"]


def add_from(
    project: Project,
    experiment: str,
    word: str | None = None,
    options: AddOptions | None = None,
    *,
    progress: Progress = QUIET,
) -> list[Move]:
    """Make an asset of an output of an experiment's newest record; return what moved.

    *word* is the output's name, or a part of it that ``names.find`` takes; it can be left out
    where there is one. ``options.name`` gives the asset another name.

    Raises:
        ExperimentError: no such experiment, or it made no such output.
        UsageError: it made more than one, a name that can't be taken, or other options.
        NotPulled: the output is not in the store any more.
    """
    options = options or AddOptions()
    plain = AddOptions(name=options.name, groups=options.groups, pull=options.pull,
                       dry_run=options.dry_run, offline=options.offline,
                       jobs=options.jobs)  # fmt: skip
    if options != plain:
        raise UsageError("--from takes an output as it is: only --name, --group, --no-pull and "
                         "--dry-run fit it", hint="cas add --help")  # fmt: skip
    if not options.dry_run:
        check_writable(project)
    use = _output(project, experiment, word)
    name = options.name or use.name
    lock = project.read_lock()
    try:
        check_name(name)
        check_names({*project.read_settings().requests, name})
    except ListingError as error:
        raise UsageError(
            str(error), hint=f"cas add --from {typed(experiment)} --name KIND/NAME"
        ) from None
    digest = parse_tree_id(use.tree)
    sidecar, why = standing(project.store, digest)
    listing = read_listing(project.store, digest)
    if sidecar is None or listing is None:
        raise NotPulled(
            f"{use.name!r} of {experiment!r} can't be had: {why or 'its listing is lost'}"
        )
    first = listing.entries[0].path
    # one file is the asset itself, unless it is the only one of a directory that was put in
    single = len(listing) == 1 and Path(first).suffix == Path(use.name).suffix and "/" not in first
    new = Asset(
        name=name,
        request=LocalRequest(local=os.path.basename(use.name), groups=options.groups),
        tree=digest,
        files=len(listing),
        size=sidecar.size,
        file=first if single else None,
    )
    old = lock.assets.get(name)
    bringer = Bringer(project, lock, progress=progress, offline=options.offline, jobs=options.jobs)
    if not options.dry_run:
        publish(project, bringer, new, options, own_view=False)
    return [] if old == new else [move_of(bringer, name, old, new)]


def _output(project: Project, experiment: str, word: str | None) -> Use:
    from cas.experiments import events
    from cas.experiments.scan import records

    directory = Path(project.experiments)
    known = {experiment_id for _, experiment_id in events.visible(directory, experiment)}
    found = [record for record in records(directory) if record.experiment_id in known]
    made = {use.name: use for use in (found[-1].assets if found else ()) if use.role == "output"}
    if not made:
        raise ExperimentError(
            f"experiment {experiment!r} has no outputs", hint="run.output(path, name='models/…')"
        )
    if word is None:
        if len(made) > 1:
            raise UsageError(
                f"experiment {experiment!r} has {len(made)} outputs: {', '.join(sorted(made))}",
                hint=f"cas add --from {typed(experiment)} {typed(min(made))}",
            )
        return next(iter(made.values()))
    try:
        return made[find(word, dict.fromkeys(made))]
    except UnknownAsset as error:
        raise ExperimentError(
            f"experiment {experiment!r} has no output {word!r}, it has {', '.join(sorted(made))}"
        ) from error
