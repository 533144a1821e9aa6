"""Many: local files into the store, those that are small by all cores at once.

Almost all that a small file costs is the kernel's work on its inode and names, and Python's:
threads would wait for each other. So processes take the files in, a part at a time, each as
if it were a command of its own: it publishes what it took, and another one may have the same.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from cas.progress import QUIET
from cas.store.intake import SMALL, add_file
from cas.store.objects import Publisher
from cas.store.staging import Staging

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cas.digest import Sums
    from cas.progress import Progress
    from cas.store.layout import Store

__all__ = ["add_files"]

MANY = 4000  # small files; below it the start of processes costs more than they give
PART_FILES = 2500  # a process's turn; it ends with two syncs
PART_BYTES = 256 << 20
MOST_PROCESSES = 8


def add_files(
    store: Store, sources: Sequence[tuple[str, int]], *, move: bool, progress: Progress
) -> list[Sums]:
    """Put files (path, about so many bytes) into the store, durable; return the sums of each.

    With *move* as ``add_file`` does. Where one can't be taken, what came before it may stay.

    Raises:
        StoreError: one is no regular file, or changes while it is read.
        OSError: of a source where ``filename`` is its path, else of the store.
    """
    parts = [] if move else _parts(sources)
    apart = {number for part in parts for number in part}
    rest = [number for number in range(len(sources)) if number not in apart]
    paths = [path for path, _ in sources]
    if not parts:
        return _add(store, paths, move=move, progress=progress)
    from cas.crew import Crew, cores

    found: dict[int, Sums] = {}
    try:
        with Crew(min(cores(), len(parts), MOST_PROCESSES)) as crew:
            coming = [
                crew.submit(_add, store, [paths[n] for n in part], move=False, progress=QUIET)
                for part in parts
            ]
            large = _add(store, [paths[n] for n in rest], move=False, progress=progress)
            found.update(zip(rest, large, strict=True))
            for part, answer in zip(parts, coming, strict=True):
                sums: list[Sums] = answer.result()
                found.update(zip(part, sums, strict=True))
                progress.advance(sum(one.size for one in sums), files=len(sums))
    except BaseException:
        with contextlib.suppress(OSError):
            Staging(store)  # it takes away what processes left that were ended
        raise
    return [found[number] for number in range(len(sources))]


def _parts(sources: Sequence[tuple[str, int]]) -> list[list[int]]:
    """Return the numbers of the small files in parts, where there are enough of them."""
    from cas.crew import cores

    small = [number for number, (_, size) in enumerate(sources) if size <= SMALL]
    if len(small) < MANY or cores() == 1:
        return []
    parts: list[list[int]] = []
    weight = PART_BYTES
    for number in small:
        if weight >= PART_BYTES or len(parts[-1]) >= PART_FILES:
            parts.append([])
            weight = 0
        parts[-1].append(number)
        weight += sources[number][1]
    return parts


def _add(store: Store, paths: list[str], *, move: bool, progress: Progress) -> list[Sums]:
    staging, publisher = Staging(store), Publisher(store)
    found = []
    try:
        for path in paths:
            found.append(
                add_file(store, staging, publisher, path, move=move, progress=progress.advance)
            )
            progress.advance(0, files=1)
        publisher.flush()
    finally:
        publisher.give_up()
    return found
