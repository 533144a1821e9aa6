"""What git says of a work tree: commit, branch, changes, and the diff.

It may not stop or slow an experiment: git has 2 seconds in all, and what it would have said
is None afterwards. Nothing is written, the index of git neither.

A program that saves one run after the other asks the same each time, and git takes as long as
all else of a save. So an answer is given again for a second, to the same process, while nothing
that git looked at has changed: the change times of each tracked and untracked file, of their
directories, and of git's own files say so. The second bounds what these can't say: git's
settings in the home directory, and files in directories of which git said nothing.
"""

from __future__ import annotations

import math
import os
import re
import stat
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cas.digest import hash_bytes

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["GitState", "look"]

GIT_SECONDS = 2.0  # all calls of one look together
MAX_DIFF = 16 << 20  # bytes of `git diff`; above it the diff is None
MAX_UNTRACKED_FILE = 1 << 20  # bytes; larger text is data more often than code
MAX_UNTRACKED = 500  # files
AGAIN = 1.0  # seconds for which an answer may be given again
STILL = 3.0  # seconds without a change before it: some file systems keep times to 2 seconds
MAX_WATCHED = 2000  # paths; where there are more, git itself is as quick
GIT_FILES = ("HEAD", "index", "packed-refs", "config", "info/exclude", "info/attributes",
             "reftable/tables.list")  # fmt: skip
SUBMODULE = b"160000 "  # the mode that git's index has for one

_tops: dict[Path, bytes] = {}
"""Where the work tree of a directory begins, which git was asked once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GitState:
    """What git says of a work tree: enough to see that the code moved under a run.

    Read once at the first use of an asset and once at the save; where the two differ in
    ``commit``, ``branch`` or ``changes``, the run's ``git_moved`` is true. Untracked files
    make a tree dirty, but a run's own outputs are untracked files, so they move nothing.
    """

    commit: str | None
    branch: str | None
    dirty: bool
    changes: str | None
    """SHA-256 of ``git diff HEAD``, None for no change"""

    @classmethod
    def read(cls, root: Path) -> GitState | None:
        """Ask git; None where there is no git, no repository, or no answer in 2 seconds."""
        told = look(root)
        return told[0] if told else None

    def moved(self, since: GitState) -> bool:
        """Say whether the code is another than it was at *since*."""
        return (self.commit, self.branch, self.changes) != (
            since.commit,
            since.branch,
            since.changes,
        )


@dataclass(slots=True, kw_only=True)
class _Answer:
    """What git said, and what it stands on. Times are seconds of the monotonic clock."""

    state: GitState
    diff: bytes | None
    untracked: list[str]
    asked: float
    given: float
    """When it was given last."""
    tried: float = -math.inf
    """When it was last looked up, here or for one before, what an answer stands on."""
    watched: dict[bytes, int] | None = None
    """Each path and its change time; None for an answer that is not given again."""

    def stands(self) -> bool:
        """Say whether git would say the same again."""
        watched = self.watched
        return watched is not None and [*map(_changed, watched)] == [*watched.values()]


_answers: dict[Path, _Answer] = {}


def look(root: Path) -> tuple[GitState, bytes | None] | None:
    """Return git's state and the diff, untracked text files included; None as ``read`` does.

    The diff alone is None where it is more than 16 MB. It may hold secrets.
    """
    last, now = _answers.get(root), time.monotonic()
    if last and now - last.asked < AGAIN and last.stands():
        last.given = now
        return last.state, last.diff
    deadline, wall = now + GIT_SECONDS, time.time()
    answer = _ask(root, deadline)
    if answer is None:
        _answers.pop(root, None)
        return None
    if last and now - last.given < AGAIN:  # who saves once need not pay for the next time
        answer.tried = last.tried
        if now - last.tried >= AGAIN:
            answer.tried = now
            watched = _watched(root, deadline, answer)
            if watched and max(watched.values()) < (wall - STILL) * 1e9:
                answer.watched = watched
    _answers[root] = answer
    return answer.state, answer.diff


def _watched(root: Path, deadline: float, answer: _Answer) -> dict[bytes, int] | None:
    """Return what an answer stands on; None where that is too much, or can't be told.

    It can't where ``.git`` is a file: git's own files then lie elsewhere, and are shared.
    """
    top = _top(root, deadline)
    tracked = _git(root, deadline, "ls-files", "--stage", "--full-name", "-z", ":/")
    if top is None or tracked is None or not os.path.isdir(top + b"/.git"):
        return None
    names = {os.fsencode(name) for name in answer.untracked}
    for entry in tracked.split(b"\0")[:-1]:
        if entry.startswith(SUBMODULE):  # what changed in it is to be asked there
            return None
        names.add(entry.partition(b"\t")[2])
    for name in list(names):
        while (name := os.path.dirname(name)) and name not in names:
            names.add(name)
    if len(names) > MAX_WATCHED:
        return None
    of_git = [*GIT_FILES, f"refs/heads/{answer.state.branch}"]
    paths = [top, *(b"%s/%s" % (top, name) for name in names)]
    paths += [b"%s/.git/%s" % (top, os.fsencode(name)) for name in of_git]
    return {path: _changed(path) for path in paths}


def _changed(path: bytes) -> int:
    """Return the change time of a path in ns, which no program can set; 0 where nothing is."""
    try:
        return os.lstat(path).st_ctime_ns
    except OSError:
        return 0


def _ask(root: Path, deadline: float) -> _Answer | None:
    if not _may_be_in_one(root):
        return None
    now = time.monotonic()
    all_files = ("--porcelain=v2", "--branch", "--untracked-files=all", "-z")
    # how far a branch is from another, and what was renamed, nobody asks for
    status = _git(root, deadline, "status", "--no-ahead-behind", "--no-renames", *all_files)
    if status is None:
        return None
    commit = branch = None
    tracked = False
    untracked: list[str] = []
    for entry in status.decode(errors="surrogateescape").split("\0"):
        if entry.startswith("# branch.oid "):
            commit = entry[13:] if entry[13:] != "(initial)" else None
        elif entry.startswith("# branch.head "):
            branch = entry[14:] if entry[14:] != "(detached)" else None
        elif entry.startswith("? "):
            untracked.append(entry[2:])
        elif entry[:2] in ("1 ", "2 ", "u "):
            tracked = True
    diff = b""
    if tracked and commit:
        plain = ("--no-ext-diff", "--no-textconv", "--no-color")
        told = _git(root, deadline, "diff", *plain, "HEAD")
        if told is None:
            return None
        diff = told
    changes = hash_bytes(diff) if diff else None
    state = GitState(
        commit=commit, branch=branch, dirty=tracked or bool(untracked), changes=changes
    )
    whole: bytes | None = None
    if len(diff) <= MAX_DIFF:
        whole = (diff + _untracked(root, untracked, deadline)) or None
    return _Answer(state=state, diff=whole, untracked=untracked, asked=now, given=now)


def _may_be_in_one(root: Path) -> bool:
    """Say whether *root* may be in a work tree: without a ``.git`` above, no git need be asked."""
    place = os.path.realpath(root)
    while not os.path.lexists(os.path.join(place, ".git")):
        if place == (place := os.path.dirname(place)):
            return False
    return True


def _top(root: Path, deadline: float) -> bytes | None:
    """Return the directory where the work tree begins; git is asked once."""
    if root not in _tops:
        told = _git(root, deadline, "rev-parse", "--show-toplevel")
        if told is None:
            return None
        _tops[root] = told.removesuffix(b"\n")
    return _tops[root]


def _git(root: Path, deadline: float, *words: str) -> bytes | None:
    left = deadline - time.monotonic()
    if left <= 0:
        return None
    # a hook's variables name another repository; status must not write the index meanwhile
    hidden = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_EXTERNAL_DIFF")
    environment = {k: v for k, v in os.environ.items() if k not in hidden}
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    command = ["git", "-c", "core.fsmonitor=false", "-c", "core.quotePath=true", *words]
    try:
        done = subprocess.run(
            command, cwd=root, env=environment, timeout=left, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None


def _untracked(root: Path, names: list[str], deadline: float) -> bytes:
    """Return untracked text files as ``git diff`` would show them, had they been added."""
    directory = _top(root, deadline) if names else None
    if directory is None:
        return b""
    parts = []
    for name in map(os.fsencode, names[:MAX_UNTRACKED]):
        if name.endswith(b"/") or time.monotonic() > deadline:
            continue
        data = _read_text(os.path.join(directory, name))
        if data is not None:
            parts.append(_as_added(name, *data))
    return b"".join(parts)


def _read_text(path: bytes) -> tuple[bytes, int] | None:
    """Return the bytes and mode of a small regular text file, or None for any other."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with open(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_UNTRACKED_FILE:
            return None
        try:
            data = file.read(MAX_UNTRACKED_FILE + 1)
        except OSError:
            return None
    if b"\0" in data or len(data) > MAX_UNTRACKED_FILE:
        return None
    return data, status.st_mode


def _as_added(name: bytes, data: bytes, mode: int) -> bytes:
    old, new = _quoted(b"a/" + name), _quoted(b"b/" + name)
    head = b"diff --git %s %s\nnew file mode %s\n" % (
        old,
        new,
        b"100755" if mode & stat.S_IXUSR else b"100644",
    )
    if not data:
        return head + b"index 0000000..e69de29\n"
    lines = data.split(b"\n")
    ending = b""
    if lines[-1]:
        ending = b"\\ No newline at end of file\n"
    else:
        lines.pop()
    count = b"" if len(lines) == 1 else b",%d" % len(lines)
    hunk = b"--- /dev/null\n+++ %s\n@@ -0,0 +1%s @@\n" % (new, count)
    return head + hunk + b"".join(b"+" + line + b"\n" for line in lines) + ending


def _quoted(name: bytes) -> bytes:
    """Return a path as git writes it: in C quotes where it has anything but plain bytes."""
    if re.fullmatch(rb'[^\x00-\x1f"\\\x7f-\xff]*', name):
        return name
    special = {b"\\": b"\\\\", b'"': b'\\"', b"\n": b"\\n", b"\t": b"\\t"}
    quoted = [
        special.get(c, c if b" " <= c < b"\x7f" else b"\\%03o" % c[0])
        for c in (bytes([byte]) for byte in name)
    ]
    return b'"' + b"".join(quoted) + b'"'
