"""One download of a tree at a time.

It saves bandwidth, and nothing rests on it: whoever waits for a process that makes no
progress any more (it was stopped, or its locks lie) goes on alone.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from cas.files import hold, host

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cas.digest import Digest
    from cas.progress import Progress
    from cas.store import Store

__all__ = ["one_download"]

STUCK = 20.0  # seconds without a byte more in staging
LOOK = 0.2  # seconds between two looks


@contextmanager
def one_download(store: Store, tree: Digest, what: str, progress: Progress) -> Iterator[bool]:
    """Take the turn to download a tree; yield whether another process had it before.

    Then the caller looks again: the other one has brought it, or failed.
    """
    store.make_dir(store.place("mutex"))
    place = store.place("mutex", tree)
    began = time.monotonic()
    seen: frozenset[tuple[str, int, int]] | None = None
    waited = alone = False
    while True:
        with ExitStack() as turn:
            try:
                held = turn.enter_context(hold(place, wait=False))
            except OSError:  # another user made it what can't be held
                held = True
            if held or alone:
                yield waited
                return
        now = _under_way(store)
        if not waited:
            progress.note(f"{what}: {_who(now)} brings it already; waiting for that")
            waited = True
        if now != seen:
            seen, began = now, time.monotonic()
        elif time.monotonic() - began > STUCK:
            progress.note(f"{what}: {_who(now)} makes no progress; going on alone")
            alone = True
        time.sleep(LOOK)


def _under_way(store: Store) -> frozenset[tuple[str, int, int]]:
    """Return (name, size, mtime in ns) of every partial download, and of builds under way."""
    found = set()
    with os.scandir(store.place("staging")) as entries:
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
                found.add((entry.name, status.st_size, status.st_mtime_ns))
            except FileNotFoundError:
                continue
    return frozenset(found)


def _who(partials: frozenset[tuple[str, int, int]]) -> str:
    """Name the processes that have partial downloads here: ``<key>.<host>-<pid>-<random>``."""
    ours = f"{host()}-{os.getpid()}-"
    writers = set()
    for name, _, _ in partials:
        writer = name.partition(".")[2]
        if writer and not writer.startswith(ours):
            writers.add(writer.rpartition("-")[0])
    machines = [
        f"process {w.rpartition('-')[2]} of {w.rpartition('-')[0]}" for w in sorted(writers)
    ]
    return machines[0] if len(machines) == 1 else "another process"
