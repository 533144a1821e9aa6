"""What the hooks look at. Only ``pre-commit`` can stop git; the others tell, and git goes on.

Every project of the repository counts: a directory with an assets.lock, or with a
pyproject.toml that requests assets. What a commit will hold is read from the index.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cas import lockfile
from cas.errors import CasError, UsageError, typed
from cas.hooks.git import git, git_text
from cas.installer import out_of_step
from cas.installer.step import stale_inputs
from cas.lockfile import Lockfile
from cas.names import view_of
from cas.overview import status
from cas.progress import human
from cas.project import Project, look
from cas.project.requests import parse_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["HOOKS", "Told", "run"]

LARGE = 50_000_000  # bytes; what is larger belongs to an asset, for git keeps it for ever
_LOCK, _REQUESTS = "assets.lock", "pyproject.toml"
_NAMED = 5  # things that are named in one line


@dataclass(slots=True)
class Told:
    """What a hook found."""

    refused: list[tuple[str, str | None]] = field(default_factory=list)
    """(why git shall stop, what to do about it)"""
    notes: list[str] = field(default_factory=list)
    """What is only said."""


def run(hook: str, words: list[str]) -> Told:
    """Do what git asks of one hook, in the directory that git runs it in.

    *words* are those that git gives to it. Raises UsageError for a hook that is none of ours,
    and CasError where git can't be asked.
    """
    if hook not in HOOKS:
        raise UsageError(f"no hook {hook!r}: expected {', '.join(HOOKS)}")
    told = Told()
    HOOKS[hook](git("rev-parse", "--show-toplevel").decode().rstrip("\n"), words, told)
    return told


# pre-commit ------------------------------------------------------------------------------


def _pre_commit(top: str, words: list[str], told: Told) -> None:
    del words
    changed = _staged(top)
    _find_large(top, changed, told)
    here = {path for path in _index(top) if os.path.basename(path) in (_LOCK, _REQUESTS)}
    touched = {path for path in changed if os.path.basename(path) in (_LOCK, _REQUESTS)}
    for directory in sorted({os.path.dirname(path) for path in touched}):
        _check_project(top, directory, here, told)


def _staged(top: str) -> dict[str, str]:
    """Return path → blob of what the commit adds or changes; "" for what it removes."""
    words = ("--cached", "--raw", "-z", "--no-renames", "--no-abbrev")
    parts = git("diff", *words, at=top).split(b"\0")
    found = {}
    for about, path in zip(parts[::2], parts[1::2], strict=False):
        _, mode, _, blob, _ = about.decode().split(" ")
        if mode != "160000":  # a submodule's commit
            found[os.fsdecode(path)] = blob if mode != "000000" else ""
    return found


def _index(top: str) -> Iterable[str]:
    """Return the paths of all lockfiles and pyproject.tomls of the index."""
    names = (f":(glob)**/{name}" for name in (_LOCK, _REQUESTS))
    return map(os.fsdecode, git("ls-files", "-z", *names, at=top).split(b"\0")[:-1])


def _find_large(top: str, changed: dict[str, str], told: Told) -> None:
    blobs = {blob: path for path, blob in changed.items() if blob.strip("0")}
    asked = git("cat-file", "--batch-check=%(objectname) %(objectsize)", at=top,
                given="".join(f"{blob}\n" for blob in blobs).encode())  # fmt: skip
    for line in asked.decode().splitlines():
        blob, _, size = line.partition(" ")
        if size.isdigit() and int(size) > LARGE:
            path = blobs[blob]
            told.refused.append((
                f"{path!r} has {human(int(size))}, more than {human(LARGE)}",
                f"git rm --cached {_word(path)} && cas add {typed(f'./{path}')}",
            ))  # fmt: skip


def _check_project(top: str, directory: str, here: set[str], told: Told) -> None:
    """Say whether the lock that is staged is what the staged requests ask for."""
    lock_path, requests_path = (os.path.join(directory, name) for name in (_LOCK, _REQUESTS))
    at = f" in {directory}" if directory else ""
    add = f"git add {_word(requests_path)} {_word(lock_path)}"
    try:
        staged = _blob(top, requests_path) if requests_path in here else None
        requests = parse_settings(staged).requests
        if lock_path not in here:
            if requests:
                told.refused.append((f"pyproject.toml requests assets{at}, and no assets.lock is "
                                     "in the commit", f"cas lock && {add}"))  # fmt: skip
            return
        lock = lockfile.parse(_blob(top, lock_path))
    except CasError as error:
        told.refused.append((f"as it is staged{at}: {error}", error.hint))
        return
    if differing := out_of_step(requests, lock):
        lines = "".join(f"\n  {name} {how}" for name, how in differing.items())
        told.refused.append((
            f"assets.lock, as it is staged{at}, is not what the staged pyproject.toml asks "
            f"for:{lines}", f"cas lock && {add}",
        ))  # fmt: skip
    for name, source in stale_inputs(lock).items():
        told.notes.append(f"{name} is stale: {source} moved; cas lock --update {source} --build")


def _word(path: str) -> str:
    """Return a path as it is typed; one that git would take for an option is none then."""
    return typed(f"./{path}" if path.startswith("-") else path)


def _blob(top: str, path: str) -> bytes:
    return git("cat-file", "blob", f":{path}", at=top)


# post-checkout, post-merge ---------------------------------------------------------------


def _post_checkout(top: str, words: list[str], told: Told) -> None:
    before, after, of_branch = [*words, "", "", ""][:3]
    if of_branch == "1":
        _say_pull(top, before, after, told)


def _post_merge(top: str, words: list[str], told: Told) -> None:
    del words
    _say_pull(top, "ORIG_HEAD", "HEAD", told)


def _say_pull(top: str, before: str, after: str, told: Told) -> None:
    """Say of each project whose lock moved how many of its assets are not here as locked."""
    new = not before.strip("0")  # a new worktree
    for path in _index(top):
        directory, name = os.path.split(path)
        if name != _LOCK:
            continue
        old = Lockfile() if new else _lock_at(top, before, path)
        now = _lock_at(top, after, path)
        root = os.path.join(top, directory)
        known = {asset.name: asset.tree for asset in old}
        moved = [asset for asset in now if known.get(asset.name) != asset.tree]
        lacking = [a.name for a in moved if look(root, view_of(a.name)).tree != a.tree]
        if lacking:
            where = f" --project {typed(directory)}" if directory else ""
            told.notes.append(f"assets.lock moved, and this is not here as it says: "
                              f"{_listed(lacking)}; cas pull{where}")  # fmt: skip


def _lock_at(top: str, revision: str, path: str) -> Lockfile:
    text = git_text("cat-file", "blob", f"{revision}:{path}", at=top)
    try:
        return lockfile.parse(text) if text else Lockfile()
    except CasError:
        return Lockfile()  # every other command says what is wrong with it


# pre-push --------------------------------------------------------------------------------


def _pre_push(top: str, words: list[str], told: Told) -> None:
    del words
    for path in _index(top):
        directory, name = os.path.split(path)
        if name != _LOCK or not os.path.exists(os.path.join(top, path)):
            continue
        try:
            rows = status(Project(os.path.join(top, directory)))["assets"]
        except CasError:
            continue  # cas status says why
        alone = [row["name"] for row in rows if row["second_copy"] is False]
        if alone:
            told.notes.append(f"no second copy is known of {_listed(alone)}: who pulls "
                              "what you push will not have it; cas push")  # fmt: skip


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_NAMED])
    if len(names) > _NAMED:
        shown += f" and {len(names) - _NAMED} more"
    return shown


HOOKS: dict[str, Callable[[str, list[str], Told], None]] = {
    "pre-commit": _pre_commit,
    "post-checkout": _post_checkout,
    "post-merge": _post_merge,
    "pre-push": _pre_push,
}
"""Hook → what it does."""
