"""What gc must keep for a project.

That is what its lockfiles name, on its branches too, and what its experiments name. Trees are
looked for as text, so that a lock of another version, or one with conflict markers, still
holds all that it names.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from cas.digest import Digest
from cas.errors import StoreError
from cas.files import read_plain
from cas.project.reading import MOST

__all__ = ["holds", "named_by_experiments"]

_TREE = re.compile(rb"t1:([0-9a-f]{64})(?![0-9a-f])")
GIT_SECONDS = 20


def holds(root: str, *, experiments: bool = True) -> tuple[set[Digest], set[Digest]] | None:
    """Return (trees that the project's lockfiles name now, what its experiments name).

    None if there is no project at *root* any more. Raises CasError where it can't tell.
    """
    try:
        locks = [read_plain(os.path.join(root, "assets.lock"), MOST)]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StoreError(f"{root}/assets.lock can't be read: {error.strerror}") from None
    locks += _locks_of_branches(root)
    trees = {_digest(found) for lock in locks for found in _TREE.findall(lock)}
    if not experiments:
        return trees, set()
    named, unreadable = named_by_experiments(Path(root, "assets/outputs/experiments"))
    if unreadable:
        raise StoreError(
            f"{len(unreadable)} records of experiments can't be read, as "
            f"{unreadable[0]!r}, so what they name is not known",
            hint="remove them, or: cas gc --ignore-experiments",
        )
    return trees, named


def named_by_experiments(directory: Path) -> tuple[set[Digest], list[str]]:
    """Return (trees and objects that records and live runs name, files that can't be read)."""
    from cas.experiments import references
    from cas.experiments.live import live_references

    live, torn = live_references(directory)  # first: one that is finished meanwhile is a record
    found = references(directory)
    named = {tree.removeprefix("t1:") for tree in found.trees} | found.objects | live
    return set(map(Digest, named)), [*found.unreadable, *torn]


def _digest(found: bytes) -> Digest:
    return Digest(found.decode())


def _locks_of_branches(root: str) -> list[bytes]:
    """Return every different assets.lock at the tips of git's branches; none without git.

    Raises StoreError where there is a repository and git does not answer.
    """
    if not _in_repository(root):
        return []
    try:
        inside = _git(root, "rev-parse", "--show-prefix").decode().strip()
        refs = _git(root, "for-each-ref", "--format=%(refname)", "refs/heads", "refs/remotes")
        wanted = b"".join(ref + b":" + inside.encode() + b"assets.lock\n" for ref in refs.split())
        answers = _git(root, "cat-file", "--batch-check=%(objectname) %(objecttype)", given=wanted)
        lines = [line.split() for line in answers.splitlines()]
        blobs = {line[0] for line in lines if line[1:2] == [b"blob"]}
        return [_git(root, "cat-file", "blob", blob.decode()) for blob in sorted(blobs)]
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError) as error:
        raise StoreError(
            f"git can't be asked which assets.lock the branches of {root} have: {error}",
            hint=f"git -C {root} for-each-ref tells why",
        ) from None


def _git(root: str, *words: str, given: bytes = b"") -> bytes:
    # the repository may be another user's: it is only read, by commands that run nothing of it,
    # and git may not fetch what it lacks, for the repository says by which program
    nothing = {"GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1"}
    done = subprocess.run(
        ["git", "-c", "safe.directory=*", "-C", root, *words],
        env=os.environ | nothing,
        input=given,
        capture_output=True,
        timeout=GIT_SECONDS,
        check=True,
    )
    return done.stdout


def _in_repository(root: str) -> bool:
    while not os.path.lexists(os.path.join(root, ".git")):
        parent = os.path.dirname(root)
        if parent == root:
            return False
        root = parent
    return True
