"""Capture: what can be known of a run without being asked: git, packages, host, command.

Nothing here may stop or slow an experiment: git has 2 seconds in all, then what it would
have said is null; what can't be read is null. No package is imported to ask it something:
torch is asked for the seed and the device only where the program has it loaded. Secrets in
the command line and in the diff are masked before they leave this room.
"""

from __future__ import annotations

import os
import re
import sys
import time
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from cas.errors import CasError
from cas.gitstate import GitState, look

from .mask import mask, mask_argv
from .record import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["capture"]

TORCH_UNSEEDED = 67280421310721  # what torch.initial_seed() says where nobody set one
STILL = 3_000_000_000  # ns since a directory changed; some file systems keep times to 2 seconds


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
    state, diff = look(root) or (None, None)
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
        git_diff=kept(_masked(diff) if diff else None),
        packages=kept("".join(sorted(f"{n}=={v}\n" for n, v in packages.items())).encode()),
        lock=kept(lock),
        host=os.uname().nodename,
        user=_user(os.getuid()),
        python=".".join(map(str, sys.version_info[:3])),
        argv=mask_argv(sys.orig_argv if argv is None else argv),
        seed=_seed(),
        gpu=_gpu(),
        cas=getattr(sys.modules.get("cas"), "__version__", None) or packages.get("cas-assets"),
    )


@lru_cache(maxsize=1)
def _masked(diff: bytes) -> bytes:
    """Mask a diff; a path or a line that is not UTF-8 comes back as it was."""
    return mask(diff.decode(errors="surrogateescape")).encode(errors="surrogateescape")


def _packages() -> dict[str, str]:
    """Return the installed distributions by the names of their directories alone.

    Reading their metadata costs 80 ms of CPU, their names 0.4 ms. The first on the path wins.
    Directories that stand as they stood are not listed again.
    """
    places = tuple((place, _changed(place)) for place in dict.fromkeys(sys.path))
    still = max((at for _, at in places), default=0) < time.time_ns() - STILL
    return _listed(places) if still else _listed.__wrapped__(places)


def _changed(directory: str) -> int:
    try:
        return os.stat(directory or ".").st_ctime_ns
    except OSError:
        return 0


@lru_cache(maxsize=1)
def _listed(places: tuple[tuple[str, int], ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for place, _ in places:
        try:
            names = os.listdir(place or ".")
        except OSError:
            continue
        for directory in names:
            if directory.endswith(".dist-info"):
                name, _, version = directory.removesuffix(".dist-info").partition("-")
                found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), version)
    return found


@cache
def _user(number: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:  # a container's number without a name
        return str(number)


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
