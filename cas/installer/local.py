"""Local files into the store: walked without following links, hashed as they are copied."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cas.digest import hash_path
from cas.errors import CasError, ListingError, UsageError, remedy, typed
from cas.files import discard, fsync_dir, named, temporary_name
from cas.installer.space import check_space
from cas.listing import Listing, check_path, is_left_out
from cas.store import add_files, check_twins, read_listing

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from cas.digest import Digest, Sums
    from cas.lockfile import Asset
    from cas.progress import Progress
    from cas.store import Store

__all__ = ["Imported", "check_source", "files_below", "import_path", "measure_path", "take_away"]


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a local file or directory."""

    listing: Listing
    sizes: tuple[int, ...]
    """bytes of each file, in the order of the listing"""
    file: str | None
    """The file's own name, if it is a single file."""


def import_path(
    store: Store,
    path: str,
    *,
    progress: Progress,
    follow: bool = False,
    skip_special: bool = False,
    move: bool = False,
) -> Imported:
    """Put a file or a directory into the store, durable; its listing is not stored yet.

    *follow* imports what symlinks point to, *skip_special* leaves out symlinks, FIFOs,
    sockets and devices; without them such a thing is refused. With *move* the files become
    the objects themselves, where they can; the caller removes the old names afterwards.

    Raises:
        UsageError: nothing is there, or something that can't be an asset.
        ListingError: a name that can't be in a tree.
    """
    single, found = _sources(path, follow=follow, skip_special=skip_special)
    needed = sum(size for _, _, size in found)
    check_space(store, 0 if move else needed)
    check_twins(store, (name for name, _, _ in found))
    progress.begin(f"import {os.path.basename(path.rstrip('/'))}", files=len(found), size=needed)
    sources = [(os.path.realpath(place) if follow else place, size) for _, place, size in found]
    try:
        sums = add_files(store, sources, move=move, progress=progress)
    except OSError as error:
        raise _unreadable(error, dict(sources)) from None
    finally:
        progress.end()
    return _imported(dict(zip((name for name, _, _ in found), sums, strict=True)), single)


def measure_path(
    path: str, *, progress: Progress, follow: bool = False, skip_special: bool = False
) -> Imported:
    """Return what ``import_path`` would, and put nothing anywhere: the files are only hashed."""
    single, found = _sources(path, follow=follow, skip_special=skip_special)
    progress.begin(f"hash {os.path.basename(path.rstrip('/'))}", files=len(found),
                   size=sum(size for _, _, size in found))  # fmt: skip
    entries = {}
    try:
        for name, place, size in found:
            source = os.path.realpath(place) if follow else place
            try:
                with named(source):
                    entries[name] = hash_path(source)
            except OSError as error:
                raise _unreadable(error, (source,)) from None
            progress.advance(size, files=1)
    finally:
        progress.end()
    return _imported(entries, single)


def _imported(entries: Mapping[str, Sums], single: str | None) -> Imported:
    listing = Listing.of((name, sums.sha256) for name, sums in entries.items())
    return Imported(listing, tuple(entries[entry.path].size for entry in listing), single)


def _unreadable(error: OSError, sources: Container[str]) -> Exception:
    """Return our error for a source that can't be read; any other is the store's, as it is."""
    if error.filename in sources:
        return CasError(f"{error.filename!r} can't be read: {error.strerror}", hint=remedy(error))
    return error


def _sources(
    path: str, *, follow: bool, skip_special: bool
) -> tuple[str | None, list[tuple[str, str, int]]]:
    """Return (a single file's own name, what ``files_below`` says of it or of a directory)."""
    try:
        status = os.stat(path) if follow else os.lstat(path)
    except OSError as error:
        raise UsageError(f"{path!r}: {error.strerror}") from None
    if stat.S_ISLNK(status.st_mode):
        raise UsageError(
            f"{path!r} is a symlink, so its bytes are another file's",
            hint=f"cas add --follow {typed(path)}",
        )
    single = None
    if stat.S_ISREG(status.st_mode):
        single = os.path.basename(path)
        found = [(single, path, status.st_size)]
        check_path(single)
    elif stat.S_ISDIR(status.st_mode):
        found = files_below(path, follow=follow, skip_special=skip_special)
    else:
        raise UsageError(f"{path!r} is no file and no directory: {_kind(status)}")
    if not found:
        raise UsageError(f"{path!r} holds no file that could be imported")
    return single, found


def files_below(
    path: str, *, follow: bool = False, skip_special: bool = False
) -> list[tuple[str, str, int]]:
    """Return (name in the tree, path, bytes) of every file below *path*, sorted by name.

    Raises UsageError for symlinks and what is no file (the first five named), ListingError
    for a name that can't be in a tree.
    """
    found: list[tuple[str, str, int]] = []
    special: list[str] = []
    todo = [("", path)]
    seen: set[tuple[int, int]] = set()
    while todo:
        inner, place = todo.pop()
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in seen:
            raise UsageError(f"{place!r}: a symlink leads back to a directory above it")
        if follow:
            seen.add((status.st_dev, status.st_ino))
        try:
            entries = list(os.scandir(place))
        except OSError as error:
            raise CasError(
                f"{place!r} can't be read: {error.strerror}", hint=remedy(error)
            ) from None
        for entry in entries:
            name = f"{inner}{entry.name}"
            if is_left_out(name) or is_left_out(name + "/"):
                continue
            if entry.is_dir(follow_symlinks=follow):
                if name == ".cache" or entry.name == ".git":
                    _check_name(name, entry.path)
                todo.append((name + "/", entry.path))
            elif entry.is_file(follow_symlinks=follow):
                _check_name(name, entry.path)
                found.append((name, entry.path, entry.stat(follow_symlinks=follow).st_size))
            elif not skip_special:
                special.append(f"{name!r} ({_kind(entry.stat(follow_symlinks=False))})")
    if special:
        more = f" and {len(special) - 5} more" if len(special) > 5 else ""
        raise UsageError(
            f"{path!r} holds what is no regular file: {', '.join(sorted(special)[:5])}{more}",
            hint="--follow imports what symlinks point to, --skip-special leaves all of them out",
        )
    return sorted(found)


def take_away(store: Store, place: str, asset: Asset, progress: Progress) -> None:
    """Remove the old names of what was moved in: all of them in one step, or none.

    A directory that was half taken away would be another asset to the next ``add`` of it. So
    where something in it was left out, or is not what was taken in, all of it stays.
    """
    listing = read_listing(store, asset.tree)
    taken = dict(listing.entries) if listing else {}
    found = {asset.file or "": place} if asset.file else _everything_below(place)
    if found.keys() != taken.keys() or not all(
        _is_object(store, old, taken[path]) for path, old in found.items()
    ):
        progress.note(f"{place!r} was taken in and stays: not all that is in it is in the asset")
        return
    parent = os.path.dirname(os.path.abspath(place))
    aside = os.path.join(parent, temporary_name())
    os.rename(place, aside)
    fsync_dir(parent)
    discard(aside)


def _everything_below(place: str) -> dict[str, str]:
    """Return name → path of all that is below a directory and is no directory."""
    found = {}
    for directory, directories, files in os.walk(place):
        links = [name for name in directories if os.path.islink(os.path.join(directory, name))]
        for name in (*files, *links):
            path = os.path.join(directory, name)
            found[os.path.relpath(path, place)] = path
    return found


def _is_object(store: Store, path: str, digest: Digest) -> bool:
    try:
        status, its = os.lstat(path), os.lstat(store.object(digest))
        return os.path.samestat(status, its) or (
            stat.S_ISREG(status.st_mode) and hash_path(path).sha256 == digest
        )
    except OSError:
        return False


def _check_name(name: str, place: str) -> None:
    try:
        check_path(name)
    except ListingError as error:
        raise ListingError(f"{place!r}: {error}") from None


def check_source(store: Store, path: str) -> None:
    """Raise UsageError if a directory is a project, or the store lies in it, or it in the store."""
    if not os.path.isdir(path):
        return
    real = os.path.realpath(path)
    if os.path.lexists(os.path.join(real, "assets.lock")):
        raise UsageError(f"{path!r} is a project, expected a directory of files")
    for inner, outer in ((store.root, real), (real, store.root)):
        if inner == outer or inner.startswith(outer.rstrip("/") + "/"):
            raise UsageError(f"{path!r} and the store {store.root} lie in each other")


def _kind(status: os.stat_result) -> str:
    for test, word in (
        (stat.S_ISLNK, "symlink"),
        (stat.S_ISFIFO, "FIFO"),
        (stat.S_ISSOCK, "socket"),
        (stat.S_ISBLK, "device"),
        (stat.S_ISCHR, "device"),
    ):
        if test(status.st_mode):
            return word
    return "special file"
