"""Worktree: a directory in which an experiment can be run again.

A git worktree at its commit, with the changes that it had, its assets.lock, views of its
trees, and its list of packages; and the command that it was. What can't be had is told.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cas import experiments
from cas.errors import CasError, StoreError, UsageError, typed
from cas.files import make_dirs, replace, sync_all
from cas.installer.pull import needs_of
from cas.progress import QUIET
from cas.project import Project
from cas.reproduce.trees import bring_trees, read_kept, worst
from cas.reproduce.views import link, place_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cas.progress import Progress
    from cas.reproduce.trees import Had

__all__ = ["Reproduced", "reproduce"]

GIT_SECONDS = 600
MASKED = "***"
PACKAGES = "assets/outputs/packages.txt"


@dataclass(slots=True, kw_only=True)
class Reproduced:
    """What was had of an experiment."""

    name: str
    id: str
    directory: str
    """where its command is to be run: its project in the worktree"""
    command: str | None
    missing: dict[str, str] = field(default_factory=dict)
    """What can't be had → why: ``code``, ``changes``, ``lock``, ``packages``, ``command``."""
    packages: str | None = None
    """The file that lists them as pip does."""
    trees: list[Had] = field(default_factory=list)

    def json(self) -> dict[str, Any]:
        """Return it as ``cas reproduce --json`` says it."""
        return {
            "name": self.name,
            "id": self.id,
            "directory": self.directory,
            "command": self.command,
            "packages": self.packages,
            "missing": self.missing,
            "assets": [had.json() for had in self.trees],
        }

    def error(self) -> CasError | None:
        """Return one error for all that can't be had."""
        if not self.missing:
            return worst(self.trees)
        told = "".join(f"\n  {part}: {why}" for part, why in self.missing.items())
        of_trees = worst(self.trees)
        return CasError(
            f"{self.name!r} can't be had whole:{told}" + (f"\n  {of_trees}" if of_trees else "")
        )


def reproduce(
    project: Project,
    word: str,
    directory: str,
    *,
    offline: bool = False,
    progress: Progress = QUIET,
) -> Reproduced:
    """Make *directory* a worktree in which an experiment can be run again.

    Raises:
        ExperimentError: there is no such experiment.
        UsageError: *directory* is there, and not empty.
    """
    shown = experiments.show(Path(project.experiments), word, progress.note)
    top = os.path.abspath(directory)
    if os.path.lexists(top) and not (os.path.isdir(top) and not os.listdir(top)):
        raise UsageError(f"{directory!r}: expected an empty or no directory")
    run = shown["run"]
    argv = run["argv"]
    made = Reproduced(
        name=shown["name"],
        id=shown["id"],
        directory=top,
        command=shlex.join(argv) if argv else None,
    )
    if not argv:
        made.missing["command"] = "the record does not say it"
    elif any(MASKED in part for part in argv):
        made.missing["command"] = f"secrets in it were masked as {MASKED}"
    made.trees = bring_trees(project, shown, outputs=False, offline=offline, progress=progress)
    inside = _code(project, run, top, made)
    made.directory = os.path.join(top, inside) if inside else top
    make_dirs(made.directory)
    _lock(project, run, made)
    _packages(project, run, made)
    _views(made)
    return made


def _code(project: Project, run: Mapping[str, Any], top: str, made: Reproduced) -> str:
    """Make the worktree; return where the project is in it."""
    commit = run["git_commit"]
    if not commit:
        made.missing["code"] = "the record names no commit"
        return ""
    prefix = _git(project.root, "rev-parse", "--show-prefix")
    if isinstance(prefix, StoreError):
        made.missing["code"] = str(prefix)
        return ""
    inside = os.fsdecode(prefix).strip().rstrip("/")
    # no hook of the repository runs
    added = _git(project.root, "-c", "core.hooksPath=/dev/null", "worktree", "add", "--detach",
                 top, commit)  # fmt: skip
    if isinstance(added, StoreError):
        made.missing["code"] = f"{added} (git fetch may bring the commit)"
        return inside
    if not run["git_dirty"]:
        return inside
    changes = read_kept(project, run["git_diff"])
    if changes is None:
        made.missing["changes"] = "the tree had changes, and they were not kept or are gone"
    elif isinstance(applied := _git(top, "apply", "--whitespace=nowarn", "-", given=changes),
                    StoreError):  # fmt: skip
        made.missing["changes"] = str(applied)
    elif MASKED.encode() in changes:
        made.missing["changes"] = f"secrets in them may have been masked as {MASKED}"
    return inside


def _lock(project: Project, run: Mapping[str, Any], made: Reproduced) -> None:
    data = read_kept(project, run["lock"])
    if data is not None:
        replace(os.path.join(made.directory, "assets.lock"), data)
    else:
        made.missing["lock"] = "the record's assets.lock was not kept, or is gone"


def _packages(project: Project, run: Mapping[str, Any], made: Reproduced) -> None:
    data = read_kept(project, run["packages"])
    if data is None:
        made.missing["packages"] = "the list was not kept, or is gone"
        return
    made.packages = os.path.join(made.directory, PACKAGES)
    make_dirs(os.path.dirname(made.packages))
    replace(made.packages, data)


def _views(made: Reproduced) -> None:
    """Link the trees where the project's views are, and let the store know of the project."""
    base = os.path.join(made.directory, "assets")
    touched = []
    for had in made.trees:
        if had.target is not None:
            had.path = link(base, place_of(had), had.target)
            touched.append(os.path.dirname(had.path))
    if touched:
        sync_all(dict.fromkeys(touched), on=made.directory)
    if "lock" not in made.missing:
        new = Project(made.directory)
        if not new.store.readonly:
            needs_of(new)


def _git(where: str, *words: str, given: bytes = b"") -> bytes | StoreError:
    """Return what git says, or the error that it ends with."""
    hidden = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_EXTERNAL_DIFF")
    environment = {k: v for k, v in os.environ.items() if k not in hidden} | {"LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", "-C", where, *words], input=given, env=environment, timeout=GIT_SECONDS,
            capture_output=True, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        return StoreError(f"git can't be asked: {error}")
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        return StoreError(f"git {typed(words[0])}: {said[-1] if said else 'it failed'}")
    return done.stdout
