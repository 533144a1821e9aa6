"""Afar: work of a recipe on machines that share nothing with this one but a remote.

An executor's worker that sees the store works in it. One that does not takes the file that it
reads, and the tokenizer, from the project's remotes by hash into its own store; what it makes
it puts on the remote, and this machine fetches it from there, by hash again. So what a recipe
reads has to be on a remote (``cas push``).
"""

from __future__ import annotations

import os
import shutil
import socket
import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cas.errors import CasError, SourceError, StoreError
from cas.files import temporary_name
from cas.installer.remotes import missing_of
from cas.listing import Listing
from cas.progress import QUIET
from cas.project.places import open_user_store
from cas.project.remotes import places
from cas.remote import open_remote
from cas.shards.work import ShardJob
from cas.store import Publisher, Staging, open_store, recall, remember, usable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cas.digest import Digest
    from cas.installer.bring import Bringer
    from cas.remote import Place, Remote
    from cas.store import Store

__all__ = ["reaching"]

ANY = 1 << 50  # bytes that an object may have: its hash decides
FETCHES = 4  # of what workers made, at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class _Needs:
    """What a worker that sees nothing of this machine has to fetch."""

    places: tuple[Place, ...]
    path: str
    """The file in the tree that is read."""
    file: Digest
    tokenizer: Digest | None


@dataclass(frozen=True, slots=True)
class _Made:
    """What a worker put on a remote, and what its function returned."""

    result: Any
    table: Mapping[str, Any]


def reaching(bringer: Bringer, digests: Mapping[str, Digest]) -> Executor | None:
    """Return the bringer's executor, such that its workers need not see the store.

    *digests* are the files that are read, path → SHA-256. Without remotes they have to.
    """
    if bringer.executor is None or not (found := places(bringer.project)):
        return bringer.executor
    return _Reaching(bringer, bringer.executor, digests, tuple(found))


class _Reaching(Executor):
    """Passes jobs on to an executor, and takes what came of them from the remotes."""

    def __init__(
        self,
        bringer: Bringer,
        inner: Executor,
        digests: Mapping[str, Digest],
        found: tuple[Place, ...],
    ) -> None:
        self._bringer, self._inner, self._digests, self._places = bringer, inner, digests, found
        self._fetches = ThreadPoolExecutor(FETCHES, thread_name_prefix="cas-afar")

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run ``fn(job)`` where the executor runs it; the job says what it reads."""
        (job,) = args
        path = job.path if isinstance(job, ShardJob) else job.name
        needs = _Needs(
            places=self._places,
            path=path,
            file=self._digests[path],
            tokenizer=job.tokenizer if isinstance(job, ShardJob) else None,
        )
        inner = self._inner.submit(_work, fn, job, needs, **kwargs)
        outer: Future[Any] = Future()
        inner.add_done_callback(lambda done: self._fetches.submit(self._take, done, outer, job))
        outer.add_done_callback(lambda done: inner.cancel() if done.cancelled() else None)
        return outer

    def _take(self, inner: Future[Any], outer: Future[Any], job: Any) -> None:
        if not outer.set_running_or_notify_cancel():
            return
        try:
            result = inner.result()
            if isinstance(result, _Made):
                self._fetch(result.table["files"])
                remember(self._bringer.store, job.key, result.table)
                result = result.result
        except BaseException as error:  # noqa: BLE001 - whoever waits for it raises it
            outer.set_exception(error)
        else:
            outer.set_result(result)

    def _fetch(self, files: Mapping[str, Digest]) -> None:
        """Bring the objects that a worker made into the store."""
        from cas.installer.bring import Bringer

        ours = self._bringer
        bringer = Bringer(ours.project, ours.lock, progress=QUIET, offline=False, jobs=FETCHES)
        bringer.enter(ours.store)
        made = Listing.of(files.items())
        bringer.remotes.bring(bringer, made.digest, "what a worker made", made)
        if missing_of(bringer.store, made):
            said = "".join(f"\n  {error}" for error in bringer.remotes.errors.values())
            raise SourceError(f"what a worker made is on none of the remotes:{said}")


# On the worker --------------------------------------------------------------------------


def _work(fn: Callable[[Any], Any], job: Any, needs: _Needs) -> Any:
    """Do a job where it is sent to: in the store of whoever sent it, where that can be seen."""
    sees = os.path.exists(os.path.join(job.tree, needs.path))
    if sees and (needs.tokenizer is None or _holds(job.store, needs.tokenizer)):
        return fn(job)
    store = open_user_store()
    store.need_writable()
    remote = _remote(needs.places, job)
    wanted = [needs.file] + ([needs.tokenizer] if needs.tokenizer else [])
    for digest in wanted:
        _have(store, remote, digest, needs)
    tree = store.place("staging", temporary_name())
    os.makedirs(os.path.dirname(os.path.join(tree, needs.path)))
    try:
        os.symlink(store.object(needs.file), os.path.join(tree, needs.path))
        if not isinstance(job, ShardJob):
            return fn(replace(job, tree=tree))
        result = fn(replace(job, tree=tree, store=store.root))
    finally:
        shutil.rmtree(tree, ignore_errors=True)
    table = recall(store, job.key)
    if table is None:
        raise StoreError(f"a shard of {needs.path!r} went from {store.root} at once")
    stop = threading.Event()
    for digest in table["files"].values():
        remote.put(digest, store.object(digest), stop=stop)
    remote.settle()
    return _Made(result, table)


def _holds(store: str, digest: Digest) -> bool:
    return open_store(store, create=False, named=False).has(digest)


def _remote(found: tuple[Place, ...], job: Any) -> Remote:
    """Return the first remote that can be used from here; raise SourceError."""
    said = []
    for place in found:
        try:
            remote = open_remote(place)
            if remote.begin():
                return remote
        except CasError as error:
            said.append(f"\n  {error}")
    raise SourceError(
        f"the worker {socket.gethostname()} does not see {job.tree}, nor a remote:{''.join(said)}",
        hint="give its workers the store, or a remote: cas remote add NAME URL, then cas push",
    )


def _have(store: Store, remote: Remote, digest: Digest, needs: _Needs) -> None:
    if digest in usable(store, {digest: None}):
        return
    staged = Staging(store).open(f"object {digest} of {remote}", sha256=digest)
    publisher = Publisher(store)
    try:
        if not remote.fetch(digest, staged, limit=ANY, stop=threading.Event()):
            raise SourceError(
                f"{needs.path!r}, or the tokenizer, is not on the {remote}, and the worker "
                f"{socket.gethostname()} sees nothing else",
                hint="cas push",
            )
        staged.finish()
    except BaseException:
        staged.abandon()
        raise
    publisher.add(staged)
    publisher.flush()
