"""Capture: what can be known of a run without being asked: git, packages, host, command.

Nothing here may stop or slow an experiment: git has 2 seconds in all, then what it would
have said is null; what can't be read is null. No package is imported to ask it something:
torch is asked for the seed and the device only where the program has it loaded. Secrets in
the command line and in the diff are masked before they leave this room.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cas.digest import hash_bytes
from cas.errors import CasError

from .mask import mask, mask_argv
from .record import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["GitState", "capture"]

GIT_SECONDS = 2.0  # all calls of one capture together
MAX_DIFF = 16 << 20  # bytes of `git diff`; above it the diff is null
MAX_UNTRACKED_FILE = 1 << 20  # bytes; larger text is data more often than code
MAX_UNTRACKED = 500  # files
TORCH_UNSEEDED = 67280421310721  # what torch.initial_seed() says where nobody set one


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
        told = _ask(root, time.monotonic() + GIT_SECONDS)
        return told[0] if told else None

    def moved(self, since: GitState) -> bool:
        """Say whether the code is another than it was at *since*."""
        return (self.commit, self.branch, self.changes) != (
            since.commit,
            since.branch,
            since.changes,
        )


def capture(
    root: Path,
    *,
    put: Callable[[bytes], str] | None,
    lock: bytes | None,
    since: GitState | None = None,
    argv: Sequence[str] | None = None,
    warn: Callable[[str], None] | None = None,
) -> Run:
    """Return what can be known of this process and of the project at *root*.

    *put* stores bytes as an object and returns its SHA-256; without it, or where it fails,
    the diff, the packages and the lock are null. *since* is the git state at the first use.
    """
    told = _ask(root, time.monotonic() + GIT_SECONDS)
    state, diff = told or (None, None)
    packages = _packages()

    def kept(data: bytes | None) -> str | None:
        if put is None or not data:
            return None
        try:
            return str(put(data))
        except (CasError, OSError) as error:
            if warn is not None:
                warn(f"the record goes without its diff, packages or lock: {error}")
            return None

    return Run(
        git_commit=state.commit if state else None,
        git_branch=state.branch if state else None,
        git_dirty=state.dirty if state else None,
        git_moved=state.moved(since) if state and since else None,
        git_diff=kept(diff),
        packages=kept("".join(sorted(f"{n}=={v}\n" for n, v in packages.items())).encode()),
        lock=kept(lock),
        host=os.uname().nodename,
        user=_user(),
        python=".".join(map(str, sys.version_info[:3])),
        argv=mask_argv(sys.orig_argv if argv is None else argv),
        seed=_seed(),
        gpu=_gpu(),
        cas=getattr(sys.modules.get("cas"), "__version__", None) or packages.get("cas-assets"),
    )


def _ask(root: Path, deadline: float) -> tuple[GitState, bytes | None] | None:
    """Return git's state and the masked diff, or None where git doesn't answer in time."""
    status = _git(root, deadline, "status", "--porcelain=v2", "--branch", "-z")
    if status is None:
        return None
    commit = branch = None
    tracked = untracked = False
    for entry in status.decode(errors="surrogateescape").split("\0"):
        if entry.startswith("# branch.oid "):
            commit = entry[13:] if entry[13:] != "(initial)" else None
        elif entry.startswith("# branch.head "):
            branch = entry[14:] if entry[14:] != "(detached)" else None
        elif entry.startswith("? "):
            untracked = True
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
    state = GitState(commit=commit, branch=branch, dirty=tracked or untracked, changes=changes)
    if len(diff) > MAX_DIFF:
        return state, None
    if untracked:
        diff += _untracked(root, deadline)
    # a path or a line that is not UTF-8 comes back as it was
    masked = mask(diff.decode(errors="surrogateescape")).encode(errors="surrogateescape")
    return state, masked or None


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


def _untracked(root: Path, deadline: float) -> bytes:
    """Return untracked text files as ``git diff`` would show them, had they been added."""
    top = _git(root, deadline, "rev-parse", "--show-toplevel")
    names = _git(
        root, deadline, "ls-files", "--others", "--exclude-standard", "--full-name", "-z", ":/"
    )
    if top is None or names is None:
        return b""
    directory = top.removesuffix(b"\n")
    parts = []
    for name in names.split(b"\0")[:MAX_UNTRACKED]:
        if not name or name.endswith(b"/") or time.monotonic() > deadline:
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


def _packages() -> dict[str, str]:
    """Return the installed distributions by the names of their directories alone.

    Reading their metadata costs 80 ms of CPU, their names 0.4 ms. The first on the path wins.
    """
    found: dict[str, str] = {}
    for place in dict.fromkeys(sys.path):
        try:
            names = os.listdir(place or ".")
        except OSError:
            continue
        for directory in names:
            if directory.endswith(".dist-info"):
                name, _, version = directory.removesuffix(".dist-info").partition("-")
                found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), version)
    return found


def _user() -> str | None:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's number without a name
        return str(os.getuid())


def _torch() -> Any:
    return sys.modules.get("torch")


def _seed() -> int | None:
    torch = _torch()
    try:
        seed = int(torch.initial_seed())
    except (AttributeError, RuntimeError, TypeError, ValueError):
        return None
    return seed if seed != TORCH_UNSEEDED and seed < 1 << 63 else None


def _gpu() -> str | None:
    torch = _torch()
    try:
        if torch.cuda.is_initialized():
            names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
            return _counted(names)
    except (AttributeError, RuntimeError, AssertionError):
        pass
    names = []
    try:
        directory = "/proc/driver/nvidia/gpus"
        for device in sorted(os.listdir(directory)):
            with open(f"{directory}/{device}/information", encoding="utf-8") as file:
                names += [ln.partition(":")[2].strip() for ln in file if ln.startswith("Model:")]
    except (OSError, UnicodeDecodeError):
        pass
    return _counted(names)


def _counted(names: Sequence[str]) -> str | None:
    counts = {name: names.count(name) for name in names}
    return ", ".join(f"{n} x {name}" if n > 1 else name for name, n in counts.items()) or None
