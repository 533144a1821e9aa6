"""Live runs: an experiment that is written while it goes on (``cas.experiment``).

Rows go to the live file of ``experiments.live`` as they come, so a crash loses at most the one
that was being written; the end makes the one immutable record of it. Assets that the process
is given meanwhile are the run's, outputs go into the store and into the record.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cas import lineage
from cas.errors import CasError, ExperimentError, ListingError, UsageError
from cas.gitstate import GitState
from cas.listing import parse_tree_id
from cas.names import check_name, kind_of
from cas.progress import QUIET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    from cas.digest import Digest
    from cas.experiments import Use
    from cas.experiments.append import Writer
    from cas.experiments.live import Live
    from cas.project import Project
    from cas.project.uses import Used

__all__ = ["LiveRun", "recover"]

BEAT_EVERY = 30.0  # seconds between two heartbeats; a run is dead after 600 without one


class LiveRun:
    """One run of an experiment; made by ``cas.experiment``, used in ``with``, or by start."""

    def __init__(
        self,
        project: Project,
        name: str,
        *,
        metadata: Mapping[str, Any] | None,
        tags: Iterable[str],
        resume: bool,
        tell: Callable[[str], None],
    ) -> None:
        from cas.experiments import check_experiment_name

        self.name = check_experiment_name(name)
        self.id: str | None = None
        """The experiment's id, once it is started."""
        self._project = project
        self._metadata = metadata
        self._tags = tags if isinstance(tags, str) else tuple(tags or ())
        self._resume = resume
        self._tell = tell
        self._mutex = threading.RLock()
        self._writer: Writer | None = None
        self._path = Path()
        self._captured: dict[str, Any] = {}
        self._known: dict[str, Any] = {}
        self._git: GitState | None = None
        self._trees: set[Digest] = set()
        self._process = 0
        self._over = threading.Event()
        self._waits = False

    def __enter__(self) -> LiveRun:
        """Start the run."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the run: ``failed`` where the block raised; that error stays the one seen."""
        if self._over.is_set() or not self._is_mine():
            return
        if kind is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
            self.finish()
            return
        try:
            self.finish("failed")
        except (CasError, OSError) as second:
            self._tell(f"experiment {self.name!r} was not saved: {second}")

    def start(self) -> LiveRun:
        """Begin the run, durably; in a notebook, where ``with`` does not span cells.

        With ``resume`` the newest unfinished run of the name goes on, if there is one.

        Raises ExperimentError for a run that goes on in another process, or what can't be
        written, UsageError for a run that was started before.
        """
        if self._process:
            raise UsageError(
                f"experiment {self.name!r} was started before",
                hint=f"cas.experiment({self.name!r}) begins another run",
            )
        directory = Path(self._project.experiments)
        self._git = GitState.read(Path(self._project.root))
        since, kept, earlier = self._project.uses.begin(self._take)
        try:
            writer = self._resumed(directory) if self._resume else None
            if writer is None:
                writer = self._created(directory, since, kept, earlier)
            else:
                for used in since:
                    self._used(lineage.use_of(used))
        except BaseException as error:
            self._project.uses.close(self._take)
            if isinstance(error, OSError):
                raise ExperimentError(
                    f"experiment {self.name!r}: can't write to {os.fspath(directory)!r}: "
                    f"{error.strerror}"
                ) from error
            raise
        self._process = os.getpid()
        threading.Thread(target=self._beat, name="cas-heartbeat", daemon=True).start()
        atexit.register(self._at_exit)
        return self

    @property
    def path(self) -> Path:
        """Where the run is written: the live file, then its record."""
        return self._path

    def use(self, asset: str, *, role: str = "input") -> Path:
        """Return the path of an asset and record that this run used it, in *role*.

        *asset* is a name, as ``cas.path`` takes it, or the ``t1:`` id of a tree in the store.
        """
        self._open()
        told = isinstance(role, str) and role.strip() and role.isprintable()
        if not told or role in ("earlier", "output"):
            raise UsageError(f"role {role!r}: expected a word such as 'input' or 'train'")
        if asset.startswith("t1:"):
            (use,) = lineage.given_uses(self._project, [asset], role)
            self._used(use)
            digest = parse_tree_id(use.tree)
            found = self._project.stores.where(digest)
            return Path((found[0] if found else self._project.store).tree(digest))
        with self._project.uses.given_to(self._take):
            return Path(self._project.path(asset, role=role))

    def log(self, values: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Append one row, ``run.log(step=10, loss=2.1)`` or ``run.log({"eval/loss": 2.1})``.

        When this returns the row survives the end of this process. What a full disk does not
        take waits in memory for the next row, and that is told.

        Raises ExperimentError for a column or value that can't be saved; the row is left out.
        """
        row = {**(values or {}), **more}
        with self._mutex:
            self._said(self._open().row(row))

    def output(self, path: str | os.PathLike[str], *, name: str | None = None) -> Path:
        """Put a file or directory into the store, as the record's ``output``; return where it lies.

        *name* is ``<kind>/<path>``, by default ``models/<experiment>/<its own name>``. Requests
        and lock stay as they are: ``cas add --from EXPERIMENT NAME`` makes an asset of it.

        Raises UsageError for a path or a name that can't be taken; StoreError.
        """
        from cas.experiments import Use
        from cas.installer.local import check_source, import_path
        from cas.store import Publisher, Staging, add_bytes, build

        self._open()
        place = os.path.realpath(os.path.expanduser(path))
        name = name or f"models/{self.name}/{os.path.basename(os.path.abspath(path))}"
        try:
            check_name(name)
        except ListingError as error:
            raise UsageError(str(error), hint="name='models/exp_002.pt'") from None
        store = self._project.store
        store.need_writable()
        check_source(store, place)
        trees: set[Digest] = set()
        with lineage.held(self._project, trees, publishes=True):
            taken = import_path(store, place, progress=QUIET)
            publisher = Publisher(store)
            add_bytes(store, Staging(store), taken.listing.data(), publisher)
            publisher.flush()
            tree, _ = build(store, taken.listing, {"local": True}, single=taken.file is not None)
            digest = taken.listing.digest
            trees.add(digest)
            self._used(Use(name=name, kind=kind_of(name), role="output", tree=f"t1:{digest}"))
        return Path(tree, taken.file) if taken.file else Path(tree)

    def note(self, text: str) -> None:
        """Write the run's note, shown with it; the last one counts."""
        from cas.experiments import events

        self._open()
        events.note(Path(self._project.experiments), self.id or "", text)

    def tag(self, *tags: str) -> None:
        """Add tags."""
        from cas.experiments.record import check_tags

        check_tags(tags)
        self._append({"tags": list(tags)})

    def update(self, **metadata: Any) -> None:
        """Add to the metadata, or replace what has the same key."""
        self._more(metadata)

    def finish(self, status: str = "finished") -> Path:
        """End the run and return the path of its record, durable; *status* or ``failed``.

        Raises ExperimentError where the record can't be written: the live file stays, and
        ``cas experiments recover`` makes the record of it later.
        """
        if status not in ("finished", "failed"):
            raise UsageError(f"status: expected 'finished' or 'failed', found {status!r}")
        with self._mutex:
            writer = self._open()
            self._project.uses.gather()
            self._note_moved(writer)
            live = self._made(writer, status)
            self._over.set()
            writer.close()
            self._project.uses.close(self._take)
            atexit.unregister(self._at_exit)
        named = [f"{use['name']} ({use['role']})" for use in live.document["assets"]
                 if use["role"] != "earlier"]  # fmt: skip
        self._tell(f"saved {self.name}: {', '.join(named) or 'no assets'}")
        return self._path

    def _made(self, writer: Writer, status: str) -> Live:
        from cas.experiments.live import finish

        try:
            writer.flush()
            with lineage.held(self._project, self._trees):
                self._path, live = finish(self._path, status)
        except OSError as error:
            raise ExperimentError(
                f"experiment {self.name!r}: can't write {error.filename or 'its record'!r}: "
                f"{error.strerror}",
                hint="when there is room: cas experiments recover",
            ) from error
        return live

    def _created(
        self, directory: Path, since: list[Used], kept: list[Used], earlier: list[Used]
    ) -> Writer:
        from cas.experiments.append import Writer
        from cas.experiments.record import as_metadata, check_tags, tell_older

        check_tags(self._tags)
        self._known = as_metadata(self._metadata)
        tell_older(directory, self.name, if_exists=None, warn=self._tell)
        self._trees = {parse_tree_id(used.tree) for used in (*since, *kept, *earlier)}
        with lineage.held(self._project, self._trees) as put:
            run = lineage.captured(self._project, put, self._tell)
            writer, self.id = Writer.create(
                directory,
                self.name,
                metadata=self._known,
                tags=self._tags,
                run=run,
                assets=[lineage.use_of(used) for used in since],
                kept=[lineage.use_of(used) for used in kept],
                earlier=[lineage.use_of(used) for used in earlier],
            )
        self._writer, self._path, self._captured = writer, writer.path, run.document()
        return writer

    def _resumed(self, directory: Path) -> Writer | None:
        """Take over the newest unfinished run of the name, or return None."""
        from cas.experiments import events
        from cas.experiments.append import Writer
        from cas.experiments.live import live_runs

        hidden = events.read(directory).hidden
        runs = [
            live
            for live in live_runs(directory, self._tell)
            if live.document["experiment_name"] == self.name
            and not hidden(live.document["experiment_id"])
        ]
        if not runs:
            return None
        live = runs[-1]
        try:
            writer = Writer.open(Path(live.path))
        except FileNotFoundError:
            return None
        if writer is None:
            raise ExperimentError(
                f"experiment {self.name!r} is still running, in {os.path.basename(live.path)!r}",
                hint="wait until it ends, or start another run without resume=True",
            )
        self._writer, self._path = writer, writer.path
        self.id = live.document["experiment_id"]
        self._captured = live.document["run"]
        self._trees = _trees(live)
        writer.know(live.rows)
        self._known = live.document["metadata"]
        self._more(self._metadata or {})
        if self._tags:
            self.tag(*self._tags)
        self._tell(f"going on with {self.name}, which has {len(live.rows)} rows")
        return writer

    def _note_moved(self, writer: Writer) -> None:
        """Write down whether git's state is another than when the run began."""
        now, began = GitState.read(Path(self._project.root)), self._captured
        if now is not None and began["git_commit"]:
            same = (now.commit, now.branch) == (began["git_commit"], began["git_branch"])
            still = self._git is None or not now.moved(self._git)
            writer.append({"moved": bool(began["git_moved"]) or not same or not still})

    def _more(self, metadata: Mapping[str, Any]) -> None:
        from cas.experiments.record import as_metadata

        self._open()
        self._known = as_metadata({**self._known, **metadata})
        fresh = {str(key): self._known[str(key)] for key in metadata}
        if fresh:
            self._append({"metadata": fresh})

    def _append(self, line: dict[str, Any]) -> None:
        with self._mutex:
            self._said(self._open().append(line))

    def _take(self, used: Used) -> None:
        if self._writer is not None and not self._over.is_set():
            self._used(lineage.use_of(used))

    def _used(self, use: Use) -> None:
        self._trees.add(parse_tree_id(use.tree))
        self._append({"use": asdict(use)})

    def _said(self, trouble: str | None) -> None:
        if trouble and not self._waits:
            self._tell(f"experiment {self.name!r}: {trouble}: its rows wait in memory")
        self._waits = trouble is not None

    def _open(self) -> Writer:
        if self._writer is None:
            raise UsageError(
                f"experiment {self.name!r} is not started",
                hint=f"with cas.experiment({self.name!r}) as run: …, or run.start()",
            )
        if self._over.is_set():
            raise UsageError(f"experiment {self.name!r} is finished")
        return self._writer

    def _is_mine(self) -> bool:
        """Say whether this is the process that started the run, and no fork of it."""
        return self._process == os.getpid()

    def _beat(self) -> None:
        while not self._over.wait(BEAT_EVERY):
            with self._mutex:
                if self._writer is not None and not self._over.is_set():
                    self._project.uses.gather()
                    self._said(self._writer.beat())

    def _at_exit(self) -> None:
        """Finish a run that the program did not: failed, if an error ended it."""
        if self._over.is_set() or not self._is_mine():
            return
        failed = getattr(sys, "last_value", None) is not None
        try:
            self.finish("failed" if failed else "finished")
        except (CasError, OSError) as error:
            self._tell(f"experiment {self.name!r} was not saved: {error}")


def recover(
    project: Project, *, now: bool = False, tell: Callable[[str], None]
) -> tuple[list[tuple[Path, Live]], list[str]]:
    """Make records of the runs whose process is gone (``experiments.live.recover``)."""
    from cas.experiments.live import live_runs
    from cas.experiments.live import recover as recover_files

    directory = Path(project.experiments)
    trees = {tree for live in live_runs(directory) for tree in _trees(live)}
    with lineage.held(project, trees):
        return recover_files(directory, now=now, warn=tell)


def _trees(live: Live) -> set[Digest]:
    return {parse_tree_id(use["tree"]) for use in live.document["assets"]}
