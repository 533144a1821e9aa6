"""Put git's hooks in and take them out.

A hook that is there already stays: into a shell script our lines go at its top, whatever else
it is gets another name beside and is run last; one that git does not run is not run then either.
The directory is git's own answer, so worktrees and ``core.hooksPath`` are served. Doing it twice
changes nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cas.errors import CasError, remedy, typed
from cas.files import discard, make_dirs, replace
from cas.hooks.checks import HOOKS
from cas.hooks.git import git, git_text
from cas.hooks.script import BEGIN, END, block, driver

if TYPE_CHECKING:
    from cas.project import Project

__all__ = ["Installed", "install", "uninstall"]

ATTRIBUTES = ("assets.lock merge=cas", "pyproject.toml merge=cas")
OLD = ".before-cas"
BARE = "#!/bin/sh\n"
_SHELL = re.compile(rb"#! ?\S*(?:/|/env )(?:ba|da|k|z)?sh(?: .*)?\n")
_OURS = re.compile(rf"^{re.escape(BEGIN)}\n.*?^{re.escape(END)}\n", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Installed:
    """What ``install`` or ``uninstall`` found and did."""

    directory: str
    """Where git looks for hooks."""
    hooks: list[str]
    """The hooks that were put in or taken out; of an install, also those that were there."""
    kept: list[str] = field(default_factory=list)
    """Those of them that had a hook of the user's own, which goes on."""

    def json(self) -> dict[str, Any]:
        """Return it as ``cas hook --json`` says it."""
        return {"directory": self.directory, "hooks": self.hooks, "kept": self.kept}


def install(project: Project) -> Installed:
    """Put the hooks and the merge driver into the repository that the project is in.

    Raises CasError outside of one, where ``core.hooksPath`` is set for all repositories of the
    user, and where a file can't be written.
    """
    directory = _directory(project)
    made = Installed(directory, list(HOOKS))
    try:
        make_dirs(directory)
        for hook in HOOKS:
            if _put_in(directory, hook):
                made.kept.append(hook)
        _attributes(project, present=True)
    except OSError as error:
        raise _failed(error) from None
    git("config", "--local", "cas.command", _command(), at=project.root)
    git("config", "--local", "merge.cas.name", "assets and requests by name", at=project.root)
    git("config", "--local", "merge.cas.driver", driver(), at=project.root)
    return made


def uninstall(project: Project) -> Installed:
    """Take the hooks and the merge driver out; what was there before is as it was."""
    directory = _directory(project)
    gone = Installed(directory, [])
    try:
        for hook in HOOKS:
            if _take_out(directory, hook):
                gone.hooks.append(hook)
                if os.path.lexists(os.path.join(directory, hook)):
                    gone.kept.append(hook)
        _attributes(project, present=False)
    except OSError as error:
        raise _failed(error) from None
    git_text("config", "--local", "--remove-section", "merge.cas", at=project.root)
    git_text("config", "--local", "--unset-all", "cas.command", at=project.root)
    return gone


def _directory(project: Project) -> str:
    """Return where git looks for hooks of this repository."""
    top = git_text("rev-parse", "--show-toplevel", at=project.root)
    if top is None:
        raise CasError(f"{project.root} is in no git repository", hint="git init")
    scoped = git_text("config", "--show-scope", "--get", "core.hooksPath", at=project.root)
    scope, _, path = (scoped or "").partition("\t")
    if scope in ("global", "system", "command"):
        raise CasError(
            f"core.hooksPath is {path!r} for all your repositories ({scope}), so hooks put there "
            "would be asked in each of them",
            hint="git config --local core.hooksPath DIR gives this repository its own",
        )
    found = git("rev-parse", "--git-path", "hooks", at=top).decode().rstrip("\n")
    return os.path.normpath(os.path.join(top, found))


def _command() -> str:
    """Return the command cas of this Python, for the time when it is not on the PATH."""
    beside = os.path.join(os.path.dirname(sys.executable), "cas")
    return beside if os.access(beside, os.X_OK) else shutil.which("cas") or beside


def _put_in(directory: str, hook: str) -> bool:
    """Put our lines into one hook; say whether it has lines of the user's own."""
    place = os.path.join(directory, hook)
    old = place + OLD
    text = _script(place)
    if text is None and os.path.lexists(place):
        if os.path.lexists(old):
            raise CasError(f"{place} is no shell script that runs, and {old} is there already",
                           hint="cas hook uninstall, or give one of them another name")  # fmt: skip
        os.rename(place, old)
    chained = hook + OLD if os.path.lexists(old) else None
    lines = block(hook, chained=chained)
    first, _, rest = (text or BARE).partition("\n")
    rest = _OURS.sub("", rest)
    wanted = f"{first}\n{lines}{rest}"
    if wanted != text:
        replace(place, wanted.encode("utf-8", "surrogateescape"))
    os.chmod(place, os.stat(place).st_mode & 0o777 | 0o111)
    return bool(chained or rest.strip())


def _take_out(directory: str, hook: str) -> bool:
    """Take our lines out of one hook; say whether they were there."""
    place = os.path.join(directory, hook)
    text = _script(place)
    if text is None or not _OURS.search(text):
        return False
    left = _OURS.sub("", text)
    if left != BARE:
        replace(place, left.encode("utf-8", "surrogateescape"))
    elif os.path.lexists(place + OLD):
        os.replace(place + OLD, place)
    else:
        os.unlink(place)
    return True


def _script(place: str) -> str | None:
    """Return the text of a shell script that git runs, or that is ours; None for all else."""
    try:
        status = os.lstat(place)
        if not stat.S_ISREG(status.st_mode):
            return None
        with open(place, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return None
    if not _SHELL.match(data) or not (status.st_mode & 0o111 or BEGIN.encode() in data):
        return None
    return data.decode("utf-8", "surrogateescape")


def _attributes(project: Project, *, present: bool) -> None:
    """Name the merge driver in the project's .gitattributes, or take its lines out."""
    place = os.path.join(project.root, ".gitattributes")
    if os.path.islink(place):  # git reads none, and what it leads to may be nobody else's to see
        if present:
            raise CasError(f"{place} is a link, and git reads no attributes through one",
                           hint=f"rm {typed(place)}")  # fmt: skip
        return
    try:
        with open(place, encoding="utf-8", errors="surrogateescape", newline="") as file:
            lines = file.read().split("\n")
    except FileNotFoundError:
        lines = [""]
    before = list(lines)
    if present:
        missing = [line for line in ATTRIBUTES if line not in lines]
        lines = [*lines[: None if lines[-1] else -1], *missing, ""] if missing else lines
    else:
        lines = [line for line in lines if line not in ATTRIBUTES]
    if lines == before:
        return
    text = "\n".join(lines)
    if text:
        replace(place, text.encode("utf-8", "surrogateescape"))
    else:
        discard(place)


def _failed(error: OSError) -> CasError:
    return CasError(f"{error.filename}: {error.strerror}", hint=remedy(error))
