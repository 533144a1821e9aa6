"""Roots: what each project, and each call under way, needs of the store.

A call announces its trees in a file of its own before it looks for them; ``root.json``
names what the project needs when the call has ended, and then the call's file goes. So gc
reads the calls' files first: what it misses there stands in ``root.json`` already.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cas.digest import Digest, is_digest
from cas.errors import StoreError
from cas.files import (
    discard,
    fsync_dir,
    hold,
    host,
    is_temporary,
    read_plain,
    replace,
    sweep,
    writer_is_alive,
)
from cas.store.seal import seal, unseal

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping

    from cas.store.layout import Store

__all__ = [
    "Call",
    "Root",
    "announce",
    "calls_under_way",
    "end",
    "named_now",
    "read_root",
    "root_ids",
    "settle",
    "shared_gc_mutex",
]

GENERATIONS = 3
SEEN_NOTED = timedelta(days=1)
MOST = 1 << 30  # bytes of what names trees; one takes 69

_durable: dict[str, tuple[int, int]] = {}
"""The root.json files whose names this process has synced, by inode and time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """What one project needs, as its last call left it."""

    machine: str
    path: str
    lock: str | None
    """SHA-256 of assets.lock then"""
    trees: tuple[Digest, ...]
    experiments: tuple[Digest, ...] = ()
    """Trees and objects that the project's experiments name."""
    generations: tuple[tuple[datetime, tuple[Digest, ...]], ...] = ()
    """Earlier sets of trees with the time they ended, newest first, three at most."""
    last_seen: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True, slots=True)
class Call:
    """The announcement of one call."""

    root: str
    """Id of the project's root."""
    path: str


@contextmanager
def shared_gc_mutex(store: Store) -> Iterator[None]:
    """Hold the gc mutex with others: no gc marks or sweeps meanwhile."""
    store.make_dir(store.place("mutex"))
    place = store.place("mutex", "gc")
    with hold(place, shared=True, wait=False) as held:
        if held:
            yield
            return
    if store.tell:
        store.tell(f"a gc or drop runs in the store, or another process holds {place}: waiting")
    with hold(place, shared=True):
        yield


def announce(
    store: Store, root: str, *, path: str, trees: Iterable[Digest], call: Call | None = None
) -> Call:
    """Name the trees that a call is about to use, durably; call it under the gc mutex.

    Given an earlier announcement of the same call, its file is replaced.
    """
    store.need_writable()
    directory = _directory(store, root)
    name = f"{host()}-{os.getpid()}-{os.urandom(6).hex()}.json"
    place = call.path if call else os.path.join(directory, name)
    table = {"version": 1, "machine": host(), "path": path, "trees": sorted(set(trees))}
    replace(place, seal(table, indent=1), mode=0o644)
    if call is None:
        for swept in (store.root, directory):  # of what a killed call left
            sweep(swept)
    return Call(root, place)


def settle(
    store: Store,
    root: str,
    *,
    path: str,
    lock: str | None,
    trees: Iterable[Digest],
    experiments: Iterable[Digest] = (),
    keep_experiments: bool = False,
    forget: Iterable[Digest] = (),
) -> None:
    """Write what the project needs now, and read it back.

    *keep_experiments*: what the root says that experiments hold stays but for *forget*, and
    *experiments* are added. Nothing is written when it says so already and was seen within a
    day. Two writers of one root take turns, so that neither loses what the other added.
    """
    store.need_writable()
    directory = _directory(store, root)
    store.make_dir(store.place("mutex"))
    with hold(store.place("mutex", f"root-{root}")):
        _settle(
            store, root, os.path.join(directory, "root.json"), path=path, lock=lock, trees=trees,
            experiments=experiments, keep_experiments=keep_experiments, forget=forget,
        )  # fmt: skip


def _settle(
    store: Store,
    root: str,
    place: str,
    *,
    path: str,
    lock: str | None,
    trees: Iterable[Digest],
    experiments: Iterable[Digest],
    keep_experiments: bool,
    forget: Iterable[Digest],
) -> None:
    wanted = tuple(sorted(set(trees)))
    try:
        old = read_root(store, root)
    except StoreError:
        old = None  # damaged: this call knows what the project needs, and writes it again
    kept = {*old.experiments}.difference(forget) if old and keep_experiments else ()
    held = tuple(sorted({*experiments, *kept}))
    now = datetime.now(UTC)
    same = old is not None and (old.machine, old.path, old.lock, old.trees, old.experiments) == (
        host(), path, lock, wanted, held,
    )  # fmt: skip
    if old is not None and same and now - old.last_seen < SEEN_NOTED:
        _make_durable(place)
        return
    generations = old.generations if old else ()
    if old and old.trees != wanted:
        ended = (now, old.trees)
        others = tuple(g for g in generations if g[1] not in (wanted, old.trees))
        generations = (ended, *others)[:GENERATIONS]
    table = {
        "version": 1,
        "machine": host(),
        "path": path,
        "lock": lock,
        "trees": list(wanted),
        "experiments": list(held),
        "generations": [
            {"ended": at.isoformat(timespec="seconds"), "trees": list(named)}
            for at, named in generations
        ],
        "last_seen": now.isoformat(timespec="seconds"),
    }
    try:
        replace(place, seal(table, indent=1), mode=0o644)
    except PermissionError:
        if not (store.shared and old and old.path == path):
            raise
        return  # another user's of the same directory: gc reads the lock there as it is now
    back = read_root(store, root)
    if back is None or back.trees != wanted:
        raise StoreError(f"root {place}: it does not read back as it was written")


def _make_durable(place: str) -> None:
    """Sync the name of a root.json that is right: its writer may have been killed before that.

    Once for each that this process finds there; whoever saves many runs finds the same one.
    """
    status = os.stat(place)
    which = status.st_ino, status.st_mtime_ns
    if _durable.get(place) != which:
        fsync_dir(os.path.dirname(place))
        _durable[place] = which


def end(call: Call) -> None:
    """Take an announcement back: root.json names what it named, or the call failed."""
    discard(call.path)


def root_ids(store: Store) -> list[str]:
    """Return the ids of all roots; a link is none, wherever another user lets it lead."""
    try:
        with os.scandir(store.place("roots")) as entries:
            return sorted(
                entry.name
                for entry in entries
                if is_root_id(entry.name) and entry.is_dir(follow_symlinks=False)
            )
    except FileNotFoundError:
        return []


def is_root_id(text: str) -> bool:
    """Say whether *text* can be a root's id: 32 lower-case hexadecimal digits."""
    return len(text) == 32 and not text.strip("0123456789abcdef")


def read_root(store: Store, root: str) -> Root | None:
    """Return what root.json says, or None if it is absent.

    Raises StoreError if it is damaged: then nobody may believe what it names.
    """
    place = store.place("roots", f"{root}/root.json")
    table = read_sealed(place)
    if table is None:
        return None
    try:
        return Root(
            machine=str(table["machine"]),
            path=str(table["path"]),
            lock=table["lock"],
            trees=digests(table["trees"]),
            experiments=digests(table["experiments"]),
            generations=tuple(
                (_time(g["ended"]), digests(g["trees"])) for g in table["generations"]
            ),
            last_seen=_time(table["last_seen"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"root {place}: it is not as cas writes it ({error})") from None


def read_sealed(place: str) -> dict[str, Any] | None:
    """Return the table in a file that ends in its own sum; None if there is no file.

    Raises StoreError if it is damaged.
    """
    try:
        return unseal(read_plain(place, MOST))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StoreError(
            f"root {place}: it can't be read ({error})",
            hint="cas pull in its project writes it again; nothing is deleted while it is so",
        ) from None


def named_now(store: Store, ended: Mapping[str, datetime], over: Container[str]) -> set[Digest]:
    """Return the trees that calls' files and root.json name; raise StoreError.

    *ended* are roots whose root.json counts only if it was seen since, *over* files of calls
    that count no more. Calls' files are read first, for root.json names what a call needed
    before its file goes.
    """
    found: set[Digest] = set()
    for root in root_ids(store):
        for name in _listed(store.place("roots", root)):
            place = store.place("roots", f"{root}/{name}")
            if name.endswith(".json") and name != "root.json" and not is_temporary(name):
                if place in over:
                    continue
                table = read_sealed(place) or {"trees": []}
                try:
                    found.update(digests(table.get("trees")))
                except ValueError as error:
                    raise StoreError(f"root {place}: {error}") from None
        record = read_root(store, root)
        if record and (root not in ended or record.last_seen > ended[root]):
            found.update(record.trees)
    return found


def calls_under_way(store: Store) -> list[str]:
    """Return the paths of the projects whose calls use the store now, as far as can be told."""
    found = []
    for root in root_ids(store):
        for name in _listed(store.place("roots", root)):
            if name != "root.json" and name.endswith(".json"):
                place = store.place("roots", f"{root}/{name}")
                if writer_is_alive(name.removesuffix(".json")):
                    try:
                        found.append(str((read_sealed(place) or {}).get("path", place)))
                    except StoreError:
                        found.append(place)
    return found


def digests(values: object) -> tuple[Digest, ...]:
    """Return a list of digests, checked; raise ValueError."""
    if not isinstance(values, list) or not all(is_digest(value) for value in values):
        message = "expected a list of digests"
        raise ValueError(message)
    return tuple(values)


def _directory(store: Store, root: str) -> str:
    directory = store.place("roots", root)
    if not os.path.isdir(directory):
        store.make_dir(store.place("roots"))
        store.make_dir(directory)
        fsync_dir(store.place("roots"))
    return directory


def _listed(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _time(text: str) -> datetime:
    """Return a time with its zone; raise ValueError for one without."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        message = f"{text!r} has no zone"
        raise ValueError(message)
    return found
