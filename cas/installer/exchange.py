"""Experiments travel: records and their events, with the trees and objects that they name.

Union by name: a file that is there already is left as it is, here and there. What a record
names goes first, so a record that arrived leads to it; what is hidden here stays hidden.
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cas.digest import Digest, hash_bytes, is_digest, open_to_read
from cas.errors import CasError, SourceError, StoreError
from cas.files import discard, make_dirs, umask, write_new
from cas.installer.bring import Bringer
from cas.installer.kept import bring_kept
from cas.installer.push import Load, Pushed, push_loads, usable_remote
from cas.installer.remotes import bring_tree
from cas.progress import QUIET
from cas.project.held import named_by_experiments
from cas.project.requests import shared_names
from cas.remote import each
from cas.store import (
    announce,
    end,
    read_listing,
    settle,
    shared_gc_mutex,
)

if TYPE_CHECKING:
    from cas.progress import Progress
    from cas.project import Project
    from cas.remote import Remote
    from cas.store import Store

__all__ = ["Exchanged", "Taken", "pull_experiments", "push_experiments"]

EVENT = re.compile(r"\.events/[0-9a-f-]{36}\.json")
LARGEST = 2 << 30  # bytes that a record may have


@dataclass(slots=True)
class Exchanged(Pushed):
    """What a push of experiments did."""

    files: int = 0
    """Records and events that are on the remote now."""
    new_files: int = 0

    def json(self) -> dict[str, Any]:
        """Return it as ``cas push --experiments --json`` says it."""
        return {"remote": self.remote, "files": self.files, "new_files": self.new_files,
                "uploaded_objects": self.uploaded_objects,
                "uploaded_bytes": self.uploaded_bytes}  # fmt: skip


@dataclass(slots=True)
class Taken:
    """What a pull of experiments did."""

    new_files: int = 0
    """Records and events that came."""
    trees: int = 0
    """Trees that they name and that are here now."""
    downloaded_files: int = 0
    downloaded_bytes: int = 0
    gone: list[str] = field(default_factory=list)
    """What they name and no remote has: tree ids, digests."""
    errors: list[CasError] = field(default_factory=list)

    def json(self) -> dict[str, Any]:
        """Return it as ``cas pull --experiments --json`` says it."""
        return {"new_files": self.new_files, "trees": self.trees,
                "downloaded_files": self.downloaded_files,
                "downloaded_bytes": self.downloaded_bytes, "gone": self.gone}  # fmt: skip


def push_experiments(
    project: Project, *, remote: str | None = None, jobs: int = 8, progress: Progress = QUIET
) -> Exchanged:
    """Put the records of experiments on a remote, after the trees and objects that they name.

    Live runs stay: they still change. A tree that is not here and not there is told; what is
    gated or private is not pushed unless the project says ``share``.
    """
    target = usable_remote(project, remote, progress)
    done = Exchanged(target.name)
    directory = Path(project.experiments)
    here = _files(directory)
    there = target.experiment_files()
    for name in sorted(here.keys() & there.keys()):
        if here[name] != there[name]:
            progress.note(f"{name!r} is another one on {target.name}: both stay as they are")
    new = sorted(here.keys() - there.keys(), key=lambda name: (name.startswith("."), name))
    if new:
        _push_named(project, target, done, jobs=jobs, progress=progress)
        done.raise_if_incomplete()
    stop = threading.Event()

    def put(name: str) -> bool:
        with open(open_to_read(directory / name), "rb") as file:
            return target.put_experiment_file(name, file.read())

    for name, fresh, error in each(new, put, jobs=target.jobs(jobs), stop=stop):
        if error is not None:
            done.failed.append((name, error))
        else:
            done.new_files += bool(fresh)
    target.settle()
    done.files = len(here) - len(done.failed)
    return done


def _push_named(
    project: Project, target: Remote, done: Exchanged, *, jobs: int, progress: Progress
) -> None:
    named, unreadable = named_by_experiments(Path(project.experiments))
    if unreadable:
        progress.note(f"{len(unreadable)} records can't be read, as {unreadable[0]!r}: what they "
                      "name is not known")  # fmt: skip
    shared = shared_names(project.requests_bytes())
    loads, objects, absent = [], [], []
    for digest in sorted(named):
        found = project.stores.where(digest)
        if found is not None:
            store, sidecar = found
            if (access := sidecar.origin.get("access")) and _name(sidecar.origin) not in shared:
                progress.note(f"{_name(sidecar.origin)} is {access}, and was not pushed")
                continue
            loads.append(Load(name=f"t1:{digest[:12]}…", tree=digest, store=store))
        elif project.store.has(digest) and read_listing(project.store, digest) is None:
            objects.append(digest)
        else:
            absent.append(digest)
    push_loads(target, loads, done, jobs=jobs, progress=progress)
    done.assets = 0
    _push_objects(project.store, target, objects, done, jobs)
    if absent:
        stop = threading.Event()
        there = each(absent, target.size, jobs=target.jobs(jobs), stop=stop)
        gone = [digest for digest, size, _ in there if size is None]
        if gone:
            progress.note(f"{len(gone)} trees or objects that experiments name are neither here "
                          f"nor on {target.name}, as {min(gone)[:12]}…")  # fmt: skip


def _push_objects(
    store: Store, target: Remote, objects: list[Digest], done: Exchanged, jobs: int
) -> None:
    stop = threading.Event()
    there = target.sizes(objects, stop=stop)

    def put(digest: Digest) -> int:
        path = store.object(digest)
        return os.lstat(path).st_size if target.put(digest, path, stop=stop) else -1

    todo = [digest for digest in objects if digest not in there]
    for digest, size, error in each(todo, put, jobs=target.jobs(jobs), stop=stop):
        if error is not None:
            done.failed.append((digest, error))
        elif size is not None and size >= 0:
            done.uploaded_objects += 1
            done.uploaded_bytes += size
    target.settle(there)


def pull_experiments(project: Project, *, jobs: int = 8, progress: Progress = QUIET) -> Taken:
    """Bring the records that the remotes have and this project does not, and what they name.

    A file that is here stays as it is, whatever a remote has under its name; a record that was
    purged here does not come back. Raises UsageError where there is no remote.
    """
    from cas.project.remotes import find_remote

    find_remote(project, None)
    project.store.need_writable()
    bringer = Bringer(project, project.read_lock(), progress=progress, offline=False, jobs=jobs)
    taken = Taken()
    directory = Path(project.experiments)
    make_dirs(directory)
    incoming = Path(tempfile.mkdtemp(prefix=".cas-incoming-", dir=directory))
    try:
        for remote in bringer.remotes:
            try:
                _pull_files(remote, directory, incoming, jobs, progress)
            except SourceError as error:
                taken.errors.append(error)
        taken.errors += bringer.remotes.errors.values()
        _bring_named(project, bringer, incoming, taken)
        _place(directory, incoming, taken)
    finally:
        discard(incoming)
    taken.downloaded_files, taken.downloaded_bytes = bringer.files, bringer.bytes
    return taken


def _pull_files(
    remote: Remote, directory: Path, incoming: Path, jobs: int, progress: Progress
) -> None:
    from cas.experiments import events
    from cas.experiments.read import read_files

    hidden = events.read(directory).removed
    here = _files(directory).keys() | _files(incoming).keys()
    names = [
        name
        for name, size in remote.experiment_files().items()
        if name not in here and _is_ours(name) and size <= LARGEST and _id(name) not in hidden
    ]
    make_dirs(incoming / ".events")
    stop = threading.Event()

    def get(name: str) -> bool:
        data = remote.read_experiment_file(name, LARGEST)
        if data is None:
            return False
        (incoming / name).write_bytes(data)
        return True

    progress.begin(f"experiments from {remote.name}", files=len(names))
    try:
        for _, _, error in each(names, get, jobs=remote.jobs(jobs), stop=stop):
            if error is not None:
                raise error
            progress.advance(0, files=1)
    finally:
        progress.end()
    records = [name for name in names if not name.startswith(".") and (incoming / name).exists()]
    for name, found in zip(records, read_files(incoming, records), strict=True):
        why = found if isinstance(found, str) else ""
        if isinstance(found, tuple) and found[0].experiment_id != _id(name):
            why = "it is the record of another experiment"
        if why:
            progress.note(f"{name!r} of {remote} was not taken: {why}")
            (incoming / name).unlink()


def _bring_named(project: Project, bringer: Bringer, incoming: Path, taken: Taken) -> None:
    """Bring what the records that came name into the store, held by the project's root."""
    from cas.experiments.read import read_files

    records = [name for name in _files(incoming) if not name.startswith(".")]
    trees: dict[Digest, str] = {}
    objects: set[Digest] = set()
    for found in read_files(incoming, records):
        if isinstance(found, tuple):
            record = found[0]
            for use in record.assets:
                if is_digest(use.tree.removeprefix("t1:")):
                    trees[Digest(use.tree.removeprefix("t1:"))] = use.name
            kept = (record.run.get(key) for key in ("git_diff", "packages", "lock"))
            objects |= {Digest(str(digest)) for digest in kept if is_digest(digest)}
    if not trees and not objects:
        return
    store = project.store
    root = project.root_id(draw=True) or ""
    with shared_gc_mutex(store):
        call = announce(store, root, path=project.root, trees=[*trees, *objects])
    try:
        left, errors = bring_kept(bringer, objects)
        taken.errors += errors
        taken.gone += sorted(left)
        for digest, name in trees.items():
            if project.stores.where(digest) is None:
                _bring_tree(bringer, digest, name, taken)
            else:
                taken.trees += 1
        settle(store, root, path=project.root, lock=hash_bytes(project.lock_bytes()),
               trees=[asset.tree for asset in project.read_lock()],
               experiments={*trees, *objects}, keep_experiments=True)  # fmt: skip
    finally:
        end(call)


def _bring_tree(bringer: Bringer, digest: Digest, name: str, taken: Taken) -> None:
    try:
        whole = bring_tree(bringer, digest, name)
    except CasError as error:
        taken.errors.append(error)
        whole = False
    if whole:
        taken.trees += 1
    else:
        taken.gone.append(f"t1:{digest}")


def _place(directory: Path, incoming: Path, taken: Taken) -> None:
    """Give what came its names, records first; a name that is taken meanwhile stays."""
    for name in sorted(_files(incoming), key=lambda name: (name.startswith("."), name)):
        make_dirs((directory / name).parent)
        try:
            data = (incoming / name).read_bytes()
            write_new(directory / name, data, mode=0o644 & ~umask())
        except FileExistsError:
            continue
        except OSError as error:
            raise StoreError(f"{directory / name}: {error.strerror}") from None
        taken.new_files += 1


def _files(directory: Path) -> dict[str, int]:
    """Return name → bytes of the records and events of a directory."""
    found = {}
    for inner in ("", ".events/"):
        try:
            with os.scandir(directory / inner) as entries:
                for entry in entries:
                    name = inner + entry.name
                    if _is_ours(name) and entry.is_file(follow_symlinks=False):
                        found[name] = entry.stat(follow_symlinks=False).st_size
        except FileNotFoundError:
            continue
    return found


def _is_ours(name: str) -> bool:
    """Say whether *name* is that of a record or an event: it leads nowhere else."""
    from cas.experiments.naming import check_experiment_name, record_name

    if EVENT.fullmatch(name):
        return True
    split = record_name(name)
    try:
        return split is not None and check_experiment_name(split[0]) == split[0]
    except CasError:
        return False


def _id(name: str) -> str | None:
    from cas.experiments.naming import record_name

    split = record_name(name)
    return split[1] if split else None


def _name(origin: Any) -> str:
    hub = origin.get("hub") if isinstance(origin, dict) else None
    return f"{hub.get('kind')}s/{hub.get('repo')}" if isinstance(hub, dict) else "a tree"
