"""run: a program, and for as long as it runs a Hub whose ``main`` is what is locked."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from cas import warm
from cas.errors import UsageError, typed
from cas.project.ledger import Ledger
from cas.request import HubRequest
from cas.serve.catalogue import Catalogue
from cas.serve.run.child import run_child, signals_held
from cas.serve.run.door import Door
from cas.serve.run.place import environment, place_of_run
from cas.serve.run.view import CacheView, use_of, user_hub_cache

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cas.lockfile import Lockfile
    from cas.progress import Progress
    from cas.project import Project
    from cas.serve.answers import Receive, Scope, Send
    from cas.serve.run.front import Front
    from cas.serve.run.unlocked import Refusing

__all__ = ["RunOptions", "run"]

A_DAY = 86400  # seconds; then a pull that has nothing to do still says that the project is there


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The options of ``cas run``."""

    add: bool = False
    """Lock what the program asks for and is not locked, at what the Hub has now."""
    allow_unlocked: bool = False
    """Pass on to the real Hub what is not locked, and record it."""
    at: str | None = None
    """An experiment: names mean what it used."""
    frozen: bool = False
    """Do not compare the lock with the requests in pyproject.toml."""


def run(
    project: Project,
    argv: Sequence[str],
    options: RunOptions,
    *,
    progress: Progress,
    tell: Callable[[str, str | None], None],
) -> int:
    """Run a program to its end with the locked assets; return its exit code.

    That is 1 instead of 0 where the program asked for assets and no server could be started: its
    libraries may have gone on with what they had in caches of their own.

    *tell* says an error and its hint while the program runs.

    Raises:
        UsageError: options that don't go together.
        NotStarted: the program can't be run.
        OutOfStep, ExperimentError, and all that a pull raises: it was not started.
    """
    if options.at and (options.add or options.allow_unlocked):
        raise UsageError("--at is what an experiment used: --add and --allow-unlocked don't fit it")
    if options.add and options.allow_unlocked:
        raise UsageError("--add locks what --allow-unlocked leaves unlocked: expected one of them")
    past: Lockfile | None = None
    name = ""
    if options.at:
        from cas.serve.run.past import past_lock

        name, past = past_lock(project, options.at, progress)
    else:
        _bring(project, frozen=options.frozen, progress=progress)
    data = past.text().encode() if past is not None else None
    with place_of_run(project.root, data) as directory:
        unlocked = _unlocked(project, options, name, progress)
        hub = _Hub(project, directory, past, unlocked, progress=progress, tell=tell)
        try:
            with signals_held() as signals, Door(hub, hub.failed) as door, hub.view.filling():
                hub.port = door.port
                told = environment(
                    directory, project.root, door.port, hub.lock, patient=options.add
                )
                code = run_child(argv, told, signals)
        finally:
            for used in hub.ledger.all():
                project.uses.note(used)  # for the run that this one may be part of
        code = code or int(hub.broken)  # what it had was none of what is locked
        hub.tell_rest(failed=code != 0)
    if unlocked.busy:  # its threads would be waited for; what came is kept, as after a kill
        progress.note("what was being locked is not, for the program ended; --add goes on")
        os._exit(code)
    return code


class _Hub:
    """The ASGI application of a run, made when the program asks for the first time."""

    def __init__(
        self,
        project: Project,
        directory: str,
        past: Lockfile | None,
        unlocked: Refusing,
        *,
        progress: Progress,
        tell: Callable[[str, str | None], None],
    ) -> None:
        self.port = 0
        self.broken = False
        """Whether the program asked and could not be answered."""
        self.lock = past if past is not None else project.read_lock()
        self.ledger = Ledger(directory)
        self._catalogue = Catalogue.of_project(project)
        if past is not None:
            self._catalogue = Catalogue(lambda: [(project, past)])
        self.view = CacheView(
            f"{directory}/hub", self._catalogue, own=user_hub_cache(),
            filled=lambda asset, place: self.ledger.offer(use_of(asset), place),
        )  # fmt: skip
        self._unlocked, self._progress, self._tell = unlocked, progress, tell
        self._front: Front | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if self._front is None:
            self._front = self._made()
        await self._front(scope, receive, send)

    def _made(self) -> Front:
        from cas.serve.app import application
        from cas.serve.guard import Guard
        from cas.serve.run.front import Front
        from cas.serve.run.peers import Peers

        return Front(
            app=application(self._catalogue),
            catalogue=self._catalogue,
            view=self.view,
            ledger=self.ledger,
            guard=Guard(token=None, hosts=None),
            peers=Peers(self.port),
            unlocked=self._unlocked,
            tell=self._tell,
            progress=self._progress,
        )

    def failed(self, error: Exception) -> None:
        """Say that nothing can be served."""
        self.broken = True
        self._tell(f"the locked assets can't be served: {error or type(error).__name__}", None)

    def tell_rest(self, *, failed: bool) -> None:
        """Say what was refused and not told yet.

        Of a program that *failed* also which files of locked assets it asked for that their
        requests leave out.
        """
        if self._front is None:
            return
        self._front.tell_rest(failed=failed)
        for name, paths in self._front.lacking.items() if failed else ():
            asset = self.lock.assets.get(name)
            if asset is None or not isinstance(asset.request, HubRequest):
                continue
            left = sorted(path for path in paths if _left_out(asset.request, path))
            if left:
                more = f" and {len(left) - 3} more" if len(left) > 3 else ""
                self._tell(
                    f"the program asked for {', '.join(map(repr, left[:3]))}{more} of {name!r}, "
                    "which its request leaves out",
                    f"cas add {typed(name)} {_with_one_more(asset.request)}",
                )


def _left_out(request: HubRequest, path: str) -> bool:
    taken = not request.include or any(fnmatchcase(path, one) for one in request.include)
    return not taken or any(fnmatchcase(path, one) for one in request.exclude)


def _with_one_more(request: HubRequest) -> str:
    """Return the options that take a file more; options given replace what a request had."""
    if not request.include:
        return "--exclude PATTERN leaves out other files"
    had = " ".join(f"--include {typed(one)}" for one in request.include)
    return f"{had} --include FILE takes FILE too"


def _bring(project: Project, *, frozen: bool, progress: Progress) -> None:
    """Pull what is locked and not here; views that a person's own files block are no error."""
    kept = warm.load(project.root)
    new = kept is not None and 0 <= time.time() - kept.stamp < A_DAY
    if kept and new and kept.in_place(project.root):
        return
    from cas import installer

    pulled = installer.pull(project, frozen=frozen, progress=progress)
    blocked = [(asset, error) for asset, error in pulled.failed if project.tree_of(asset)]
    for _, error in blocked:
        progress.note(str(error))
    pulled.failed = [one for one in pulled.failed if one not in blocked]
    pulled.raise_if_incomplete()


def _unlocked(project: Project, options: RunOptions, at: str, progress: Progress) -> Refusing:
    from cas.serve.run.unlocked import Locking, Passing, Refusing

    if options.add:
        return Locking(project, progress)
    if options.allow_unlocked:
        return Passing(project)
    if at:
        return Refusing(f"which is nothing that {at} used or had locked", hints=False)
    return Refusing()
