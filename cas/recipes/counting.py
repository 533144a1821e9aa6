"""Counts the words of a dataset: stretch by stretch, on all cores, then added up.

Counts of words add up, so it does not matter how the text was shared out, to whom, or in
which order it was done.
"""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cas.crew import Crew, cores
from cas.errors import RecipeError
from cas.recipes.reading import File, name_files
from cas.recipes.stretches import Stretch, stretches
from cas.recipes.text import documents, parts, passages
from cas.recipes.words import WordCounter

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
    from concurrent.futures import Executor

__all__ = ["Reading", "count", "is_in"]

_STRETCH = 16 << 20  # bytes: half a second of work
_MOST = 8  # processes; each takes some 100 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How the text of files is read."""

    column: str | tuple[str, ...] | None = None
    errors: Literal["strict", "replace"] = "strict"
    subset: float = 1.0
    """The part of the documents that counts."""
    apart: tuple[str, ...] = ()
    """Strings that are cut out: special tokens."""


@dataclass(frozen=True, slots=True)
class _Task:
    tree: str
    name: str
    stretch: Stretch
    reading: Reading


@dataclass(frozen=True, slots=True)
class _Counted:
    words: Mapping[str, int]
    documents: int
    """Those that there are, and those of the subset."""
    chosen: int


def count(
    tree: Path,
    files: Sequence[str],
    reading: Reading,
    *,
    executor: Executor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Counter[str]:
    """Return how often each word occurs in the text of *files*, paths below *tree*.

    Without an *executor* large text is counted in processes of our own, as many as there are
    cores. *progress* gets bytes read and bytes in all, in the thread of the caller.

    Raises:
        RecipeError: a file can't be read as text, there are no documents, or none is in the
            subset.
    """
    tasks = [task for name in sorted(files) for task in _tasks(tree, name, reading)]
    words: Counter[str] = Counter()
    found = dict.fromkeys(sorted(files), 0)
    chosen = 0
    # closed at once, whatever ends it: its processes end with it
    with closing(_run(tasks, executor, _Progress(tasks, progress))) as answers:
        for task, counted in answers:
            words.update(counted.words)
            found[task.name] += counted.documents
            chosen += counted.chosen
    for name, many in found.items():
        if not many:  # where a file has rows but no text this says so
            next(iter(_documents(tree, name, reading)), None)
    if not any(found.values()):
        message = f"expected documents, found none in {name_files(files)}"
        raise RecipeError(message, hint="--files PATTERN, or --column NAME")
    if not chosen:
        message = f"none of the {sum(found.values())} documents is in the subset {reading.subset}"
        raise RecipeError(message, hint="--subset RATE, a greater one")
    return words


def is_in(text: str, subset: float) -> bool:
    """Say whether a document is in a subset: by its text alone, and so in every greater one.

    By the second 8 bytes of its SHA-256, for the first decide about validation.
    """
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[8:16], "little") < subset * 2**64


def _tasks(tree: Path, name: str, reading: Reading) -> Iterator[_Task]:
    file = File(tree / name, name, None)
    # whether a document is in a subset is known when it has been read
    for stretch in stretches(file, _STRETCH, inside=reading.subset == 1):
        yield _Task(str(tree), name, stretch, reading)


class _Progress:
    """Says how far the tasks are, taken together."""

    def __init__(self, tasks: list[_Task], told: Callable[[int, int], None] | None) -> None:
        self._told = told
        self._total = sum(task.stretch.size for task in tasks)
        self._done = 0
        self.moved(0)

    def moved(self, position: int) -> None:
        """Say how far the only task under way is."""
        if self._told is not None:
            self._told(min(self._done + position, self._total), self._total)

    def ended(self, task: _Task) -> None:
        self._done += task.stretch.size
        self.moved(0)


def _run(
    tasks: list[_Task], executor: Executor | None, progress: _Progress
) -> Generator[tuple[_Task, _Counted]]:
    """Yield each task with what was counted, in the order in which they end."""
    many = min(cores(), _MOST, len(tasks)) if sys.executable else 1
    if executor is not None:
        yield from _shared(tasks, executor, progress)
    elif many > 1 and sum(task.stretch.size for task in tasks) > 2 * _STRETCH:
        with Crew(many) as crew:
            yield from _shared(tasks, crew, progress)
    else:
        for task in tasks:
            counted = _count(task, progress.moved)
            progress.ended(task)
            yield task, counted


def _shared(
    tasks: list[_Task], executor: Executor, progress: _Progress
) -> Generator[tuple[_Task, _Counted]]:
    under_way: dict[Future[_Counted], _Task] = {}
    left = iter(tasks)
    ahead = 2 * max(cores(), _MOST)  # so that answers don't pile up here
    try:
        while True:
            while len(under_way) < ahead and (task := next(left, None)):
                under_way[executor.submit(_count, task)] = task
            if not under_way:
                return
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                task = under_way.pop(future)
                counted = future.result()
                progress.ended(task)
                yield task, counted
    finally:
        for future in under_way:
            future.cancel()


def _count(task: _Task, moved: Callable[[int], None] | None = None) -> _Counted:
    """Count one stretch; this is what runs in other processes."""
    counter = WordCounter(task.reading.apart)
    seen = chosen = 0
    reading = task.reading
    for text in _documents(Path(task.tree), task.name, reading, task.stretch, moved):
        seen += 1
        if reading.subset == 1:
            counter.add((text,))
        elif is_in(text, reading.subset):
            counter.add(parts(text))
        else:
            continue
        chosen += 1
    return _Counted(dict(counter.result()), seen, chosen)


def _documents(tree: Path, name: str, reading: Reading, *more: Any) -> Iterator[str]:
    read = passages if reading.subset == 1 else documents
    stretch, moved = more or (None, None)
    return read(
        tree / name,
        reading.column,
        name=name,
        moved=moved,
        stretch=stretch,
        errors=reading.errors,
    )
