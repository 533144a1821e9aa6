"""git-annex, beside `cas add` and `cas verify`: it too keeps each file once, by its SHA-256."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from .measure import Contestant, NotDone, Run
from .place import hash_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .place import Place

WHO = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a",
       "GIT_COMMITTER_EMAIL": "a@b"}  # fmt: skip
SETUP = (["git", "init", "--quiet"], ["git", "annex", "init", "--quiet"])


def find_annex() -> bool:
    """Say whether git-annex is here; it is no package of Python's, so it isn't installed."""
    return shutil.which("git-annex") is not None


def add(place: Place, bring: Callable[..., Callable[[], None]], source: Path) -> Contestant:
    """Return `git annex add` of the file *source*, which *bring* puts into a fresh repository."""
    project = place.root / "annex"

    def check(_: Run) -> None:
        brought = project / source.name
        if hash_file(brought) != hash_file(source):
            raise NotDone("git annex add: the file has other bytes")
        if ".git/annex/objects" not in str(brought.resolve()):
            raise NotDone("git annex add: the file is not in the annex")

    return Contestant(
        name="git annex add",
        argv=["/usr/bin/env", "git", "annex", "add", "--quiet", source.name],
        env=place.env(**WHO),
        cwd=project,
        before=bring(project, *SETUP, **WHO),
        check=check,
    )


def fsck(place: Place, source: Path, count: int) -> Contestant:
    """Return `git annex fsck` by two jobs, of *count* files that are annexed here."""
    project = place.root / "annex"
    project.mkdir()
    for argv in SETUP:
        place.run(*argv, cwd=project, **WHO)
    shutil.copytree(source, project / source.name)
    place.run("git", "annex", "add", "--quiet", ".", cwd=project, **WHO)

    def check(run: Run) -> None:
        proved = run.stdout.count('"success":true')
        if proved != count or '"success":false' in run.stdout:
            raise NotDone(f"git annex fsck: {proved} files of {count}")

    return Contestant(
        name="git annex fsck -J2",
        argv=["/usr/bin/env", "git", "annex", "fsck", "-J2", "--json", "."],
        env=place.env(**WHO),
        cwd=project,
        check=check,
    )
