"""Refresh: bring an index up to what lies in its directory, one process at a time."""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cas import files, warm
from cas.digest import hash_bytes
from cas.experiments.naming import record_name
from cas.experiments.pack import LARGEST, Pack, file_name, from_records, regroup
from cas.experiments.read import FEW, list_files, read_files
from cas.progress import QUIET, Progress

from . import manifest as kept
from .manifest import FileState, Manifest, PackFiles, Skipped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa

    from cas.experiments.footer import Record

__all__ = ["Found", "find_packs", "read_packs"]

MANY = 5_000  # files; above it a file that keeps its inode is not looked at
STEP = 1000  # files that are read before what they say is kept
PATIENCE = 300.0  # seconds to wait for another process's refresh; then without the index
TRIES = 5  # to open packs that others replace meanwhile


@dataclass(frozen=True, slots=True)
class Found:
    """The records of a directory."""

    packs: list[Pack]
    """oldest first, across packs too"""
    skipped: dict[str, Skipped]
    """file → why it is in no pack"""
    live: bool
    """whether there are runs that are not finished; they are in no pack"""


def find_packs(
    directory: Path, removed: frozenset[str] = frozenset(), progress: Progress = QUIET
) -> Found:
    """Return the records of *directory* but the *removed* ids, by its index if one can be kept.

    Raises ExperimentError where the directory can't be read.
    """
    listed, live = list_files(directory)
    if len(listed) <= FEW:
        return read_packs(directory, removed, progress)
    real = os.path.realpath(directory)
    try:
        place = warm.make_cache_dir(os.path.join("experiments", hash_bytes(os.fsencode(real))[:32]))
    except OSError:
        return read_packs(directory, removed, progress)
    for _ in range(TRIES):
        known = kept.read(place, real)
        if known is None or known.removed != removed or len(known) != len(listed):
            break
        if _Change.of(directory, listed, known):
            break
        packs = _load(place, known)
        if packs is not None:
            return Found(packs, known.skipped, live)
    try:
        with _mutex(place) as held:
            if held:
                return _Refresh(place, real, directory, progress).run(removed, (listed, live))
    except OSError:
        pass  # a cache that can't be written, or is full
    return read_packs(directory, removed, progress)


def read_packs(
    directory: Path, removed: frozenset[str] = frozenset(), progress: Progress = QUIET
) -> Found:
    """Return what ``find_packs`` does, without an index."""
    listed, live = list_files(directory)
    names = sorted(listed)
    accepted: dict[str, tuple[str, tuple[Record, pa.Table]]] = {}
    skipped: dict[str, Skipped] = {}
    for name, outcome in zip(names, _read(directory, names, progress), strict=True):
        if isinstance(outcome, str):
            skipped[name] = Skipped(outcome)
        elif outcome is not None and outcome[0].experiment_id in removed:
            skipped[name] = Skipped("", hidden=outcome[0].experiment_id)
        elif outcome is not None:
            first, _ = accepted.setdefault(outcome[0].experiment_id, (name, outcome))
            if first != name:
                skipped[name] = Skipped("", first)
    return Found(from_records([one for _, one in accepted.values()]), skipped, live)


def _read(
    directory: Path, names: Sequence[str], progress: Progress
) -> list[tuple[Record, pa.Table] | str | None]:
    if len(names) <= FEW:
        return read_files(directory, names)
    progress.begin("reading experiments", files=len(names))
    try:
        return read_files(directory, names, lambda count: progress.advance(0, files=count))
    finally:
        progress.end()


def _load(place: str, known: Manifest) -> list[Pack] | None:
    import pyarrow as pa

    try:
        return [kept.load_pack(place, pack) for pack in known.packs]
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        return None


@contextmanager
def _mutex(place: str) -> Iterator[bool]:
    """Hold the mutex of refreshers; yield whether it is held, False after ``PATIENCE``."""
    path = os.path.join(place, "mutex")
    end = time.monotonic() + PATIENCE
    while True:
        with files.hold(path, wait=False) as held:
            if held or time.monotonic() > end:
                yield held
                return
        time.sleep(0.01)


@dataclass(slots=True)
class _Change:
    """How a directory differs from what a manifest says."""

    gone: set[str] = field(default_factory=set)
    """files that are known and went, or have changed"""
    new: dict[str, FileState] = field(default_factory=dict)

    @classmethod
    def of(cls, directory: Path, listed: dict[str, int], known: Manifest) -> _Change | None:
        """Return what changed, or None."""
        every = len(listed) <= MANY
        if not every and not known.skipped and known.lists(listed):
            return None
        files_known = known.files()
        change = cls(gone=files_known.keys() - listed.keys())
        try:
            fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return change if change.gone else None
        try:
            for name, inode in listed.items():
                before = files_known.get(name)
                if before and before[2] == inode and not every and name not in known.skipped:
                    continue
                try:
                    now = os.stat(name, dir_fd=fd)
                except OSError:
                    if before:
                        change.gone.add(name)
                    continue
                if before is None or before[:2] != (now.st_size, now.st_mtime_ns):
                    change.new[name] = (now.st_size, now.st_mtime_ns, inode)
                    if before:
                        change.gone.add(name)
        finally:
            os.close(fd)
        return change if change.gone or change.new else None


class _Refresh:
    """One refresh, by the process that holds the mutex."""

    def __init__(self, place: str, real: str, directory: Path, progress: Progress) -> None:
        self.place, self.real, self.directory, self.progress = place, real, directory, progress
        known = kept.read(place, real)
        packs = _load(place, known) if known else None
        if known is None or packs is None:
            known, packs = kept.new([], {}, {}), []
        self.packs: list[tuple[Pack, PackFiles | None]] = list(zip(packs, known.packs, strict=True))
        self.states = known.files()
        self.skipped = dict(known.skipped)
        self.known = known

    def run(self, removed: frozenset[str], seen: tuple[dict[str, int], bool]) -> Found:
        """Read what is new, in steps that are kept, and return all but the *removed* ids.

        *seen* is what ``list_files`` gave before the mutex was held.
        """
        self.removed = removed
        listed, live = seen
        change = _Change.of(self.directory, listed, self.known)
        if change is not None and change.gone:  # or another process saw what came later
            listed, live = list_files(self.directory)
            change = _Change.of(self.directory, listed, self.known)
        self.listed = listed
        if change is not None or removed != self.known.removed:
            self._apply(change or _Change())
        return Found([pack for pack, _ in self.packs], self.skipped, live)

    def _apply(self, change: _Change) -> None:
        again = {
            name
            for name, skip in self.skipped.items()
            if skip.same_as in change.gone or (skip.hidden and skip.hidden not in self.removed)
        } - change.gone
        for name in again:  # it may count now
            change.new[name] = self.states[name]
        for name in change.gone | again:
            self.states.pop(name, None)
            self.skipped.pop(name, None)
        self.ids = {
            key: name
            for pack, _ in self.packs
            for key, name in zip(
                pack.runs.column("experiment_id").to_pylist(), _names(pack), strict=True
            )
            if name not in change.gone
        }
        hidden = {self.ids.pop(key): key for key in self.removed & self.ids.keys()}
        copies = {n: hidden[s.same_as] for n, s in self.skipped.items() if s.same_as in hidden}
        aside = {**hidden, **copies}
        self.skipped |= {name: Skipped("", hidden=key) for name, key in aside.items()}
        # by time, so that a first index that is stopped goes on from whole packs
        order = sorted(change.new, key=lambda name: ((record_name(name) or ("", ""))[1], name))
        if len(order) > FEW:
            self.progress.begin("indexing experiments", files=len(order))
        try:
            gone = change.gone | hidden.keys()
            for start in range(0, max(len(order), 1), STEP):
                part = order[start : start + STEP]
                found = read_files(
                    self.directory, part, lambda count: self.progress.advance(0, files=count)
                )
                self._take({name: change.new[name] for name in part}, found, gone)
                gone = set()
        finally:
            self.progress.end()

    def _take(
        self,
        new: dict[str, FileState],
        outcomes: Sequence[tuple[Record, pa.Table] | str | None],
        gone: set[str],
    ) -> None:
        """Take files into packs, and what is gone out of them, and keep that."""
        accepted: dict[str, tuple[Record, pa.Table]] = {}
        out = set(gone)
        for (name, state), outcome in zip(new.items(), outcomes, strict=True):
            if outcome is None:
                continue
            self.states[name] = state
            if isinstance(outcome, str):
                self.skipped[name] = Skipped(outcome)
                continue
            if outcome[0].experiment_id in self.removed:
                self.skipped[name] = Skipped("", hidden=outcome[0].experiment_id)
                continue
            first = self.ids.setdefault(outcome[0].experiment_id, name)
            if first < name:
                self.skipped[name] = Skipped("", first)
                continue
            accepted[name] = outcome
            if first != name:  # the first by name is the one that counts
                self.ids[outcome[0].experiment_id] = name
                for other, skip in list(self.skipped.items()):
                    if skip.same_as == first:
                        self.skipped[other] = Skipped("", name)
                self.skipped[first] = Skipped("", name)
                out.add(first)
                accepted.pop(first, None)
        self.packs = _placed(self.packs, out, from_records(list(accepted.values())))
        self._write()

    def _write(self) -> None:
        self.packs = [(p, known or kept.store_pack(self.place, p)) for p, known in self.packs]
        self.skipped = {name: self.skipped[name] for name in sorted(self.skipped)}
        states = {name: self.states[name] for name in self.listed if name in self.states}
        packs = [known for _, known in self.packs if known]
        manifest = kept.new(packs, states, self.skipped, self.removed)
        kept.write(self.place, self.real, manifest)
        kept.sweep(self.place, manifest)


def _names(pack: Pack) -> list[str]:
    return [file_name(text) for text in pack.runs.column("file").to_pylist()]


def _placed(
    packs: list[tuple[Pack, PackFiles | None]], out: set[str], new: list[Pack]
) -> list[tuple[Pack, PackFiles | None]]:
    """Return packs without the files *out* and with the records of *new*, in order."""
    fresh = [(key, pack, i) for pack in new for i, key in enumerate(pack.keys())]
    result: list[tuple[Pack, PackFiles | None]] = []
    done = 0
    for pack, known in packs:
        last = pack.key(-1)
        end = bisect_left(fresh, last, lo=done, key=lambda one: one[0])
        stay = [name not in out for name in _names(pack)] if out else []
        if end == done and all(stay):
            result.append((pack, known))
            continue
        own = [(key, pack, i) for i, key in enumerate(pack.keys()) if not stay or stay[i]]
        order = sorted([*own, *fresh[done:end]], key=lambda one: one[0])
        result += [(part, None) for part in regroup([(p, i) for _, p, i in order])]
        done = end
    rest = regroup([(pack, i) for _, pack, i in fresh[done:]]) if done else new
    result += [(part, None) for part in rest]
    return _merged(result)


def _merged(
    packs: list[tuple[Pack, PackFiles | None]],
) -> list[tuple[Pack, PackFiles | None]]:
    """Join the last packs while they are of like size: so they stay few, and writes too."""
    while len(packs) > 1:
        (one, _), (other, _) = packs[-2:]
        counts = one.runs.num_rows, other.runs.num_rows
        if sum(counts) > LARGEST or counts[1] * 2 < counts[0]:
            break
        joined = regroup([(p, i) for p in (one, other) for i in range(p.runs.num_rows)])
        if len(joined) != 1:
            break
        packs = [*packs[:-2], (joined[0], None)]
    return packs
