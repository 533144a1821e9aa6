"""The front: who answers a request of the program, the locked assets or the real Hub.

What is locked is answered here, and noted as a use of the process that asked. What is not is
refused, with the command that adds it said on stderr, since a program's own message may hide
it; or locked on the spot (``--add``), or passed on and recorded as unlocked
(``--allow-unlocked``). Writes go to the real Hub, and then so do reads of what was written. So
does all that is about no repository: who the user is, searches.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from cas.errors import CasError, typed
from cas.serve.answers import Refused, refusal
from cas.serve.guard import header
from cas.serve.run.apart import apart
from cas.serve.run.onward import Answered, Unreachable, pass_on
from cas.serve.run.routes import Asked, asked_of, made_of
from cas.serve.run.view import use_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from cas.progress import Progress
    from cas.project import Used
    from cas.project.ledger import Ledger
    from cas.serve.answers import ASGI, Receive, Scope, Send
    from cas.serve.catalogue import Catalogue, Repository, Snapshot
    from cas.serve.guard import Guard
    from cas.serve.run.peers import Peers
    from cas.serve.run.view import CacheView

__all__ = ["Front", "Unlocked"]

PATIENCE = 2.0  # seconds until a refusal is told: push_to_hub asks for what it then makes
AGAIN = 0.25  # seconds in which a use of one process is noted once
COMMIT = re.compile(r"[0-9a-f]{40}")
BUSY = (429, 500, 502, 503, 504)
MADE = ("/api/repos/create", "/api/repos/move")


class Unlocked(Protocol):
    """What is done about a repository that is not locked."""

    refusal: str
    """Why it is refused, as in ``… is not in assets.lock``."""
    hints: bool
    """Whether ``cas add`` would help."""
    passes: bool
    """Whether it is passed on to the real Hub."""

    def lock(self, asked: Asked) -> bool:
        """Lock it, and say whether it was; raise CasError where it can't be."""

    def used(self, kind: str, id: str, commit: str) -> Used | None:
        """Return the use of what was passed on, or None where it can't be recorded."""


@dataclass(slots=True)
class Front:
    """The ASGI application of one run."""

    app: ASGI
    """The ASGI application that serves what is locked."""
    catalogue: Catalogue
    view: CacheView
    ledger: Ledger
    guard: Guard
    peers: Peers
    unlocked: Unlocked
    tell: Callable[[str, str | None], None]
    """Says an error and its hint."""
    progress: Progress
    lacking: dict[str, set[str]] = field(default_factory=dict)
    """Name → files that were asked for and are not among the locked."""
    _unasked: str | None = None
    """Why the real Hub could not be asked what is about no repository."""
    _written: set[tuple[str, str]] = field(default_factory=set)
    _refused: dict[tuple[str, ...], tuple[str, str | None]] = field(default_factory=dict)
    _told: set[tuple[str, ...]] = field(default_factory=set)
    _noted: dict[tuple[str, str, str], float] = field(default_factory=dict)
    _locking: dict[tuple[str, str], asyncio.Lock] = field(default_factory=dict)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        process, ours = self.peers.who(scope)
        try:
            self.guard.check(scope)
            if not ours:
                raise refusal(403, "this server is another user's")
            if header(scope, b"sec-fetch-site") not in ("", "none", "same-origin"):
                raise refusal(403, "a web page can't ask this server")
        except Refused as refused:
            await refused.answer(scope, receive, send)
            return
        raw = scope.get("raw_path") or scope["path"].encode()
        asked = asked_of(scope["method"], raw.decode("latin-1"))
        if asked.writes:
            await self._write(scope, receive, send, asked)
        elif (
            not asked.kind
            or (asked.kind, asked.id) in self._written
            or header(scope, b"user-agent").startswith("cas/")  # cas itself asks for the Hub's
        ):
            await self._pass_on(scope, receive, send, asked)
        else:
            await self._read(scope, receive, send, asked, process)

    async def _read(
        self, scope: Scope, receive: Receive, send: Send, asked: Asked, process: str
    ) -> None:
        found = self._locked(asked)
        if found is None and await self._lock(asked):
            found = self._locked(asked)
        if found is not None:
            repository, snapshot = found
            if self.view.lacks(asked.kind, asked.id, repository):
                await asyncio.to_thread(self._fill_in, asked, repository)
            self._note(asked, snapshot, process)
        elif self.unlocked.passes:
            self.view.lead_out(asked.kind, asked.id)

            def heard(answer: Answered) -> None:
                if answer.status in BUSY and _chooses_rows(scope, asked):
                    raise Unreachable(f"it answered {answer.status}")
                if answer.commit and answer.status < 400:
                    self._note_unlocked(asked, answer.commit, process)

            await self._pass_on(scope, receive, send, asked, heard)
            return
        else:
            self._refuse(asked)
            if _of_datasets(scope, asked):
                missing = refusal(404, f"{asked.id!r} is not locked", "RevisionNotFound")
                await missing.answer(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _locked(self, asked: Asked) -> tuple[Repository, Snapshot] | None:
        repository = self.catalogue.repository(asked.kind, asked.id)
        snapshot = repository.at(asked.revision) if repository else None
        return (repository, snapshot) if repository and snapshot else None

    def _fill_in(self, asked: Asked, repository: Repository) -> None:
        try:
            self.view.fill_in(asked.kind, asked.id, repository)
        except (CasError, OSError):
            pass  # whoever asks for a file of it is told

    def _note(self, asked: Asked, snapshot: Snapshot, process: str) -> None:
        assets = snapshot.assets
        try:
            having = [one for one in assets if not asked.path or asked.path in one.files]
        except CasError:
            return  # its tree went: whoever asked is told
        if not having:
            self.lacking.setdefault(assets[0].name, set()).add(asked.path)
        for one in having or assets[:1]:
            self._hand_out(use_of(one), process)

    def _note_unlocked(self, asked: Asked, commit: str, process: str) -> None:
        key = "unlocked", asked.kind, asked.id, commit
        if key not in self._told:
            self._told.add(key)
            self.progress.note(
                f"the program uses {asked.kind} {asked.id!r} as the Hub has it, commit "
                f"{commit[:12]}, which is not locked: {_command(asked)}"
            )
        try:
            used = self.unlocked.used(asked.kind, asked.id, commit)
        except CasError as error:
            self._once(("unrecorded", asked.kind, asked.id), str(error), error.hint)
        else:
            if used:
                self._hand_out(used, process)

    def _hand_out(self, used: Used, process: str) -> None:
        key, now = (process, used.name, used.tree), time.monotonic()
        if now - self._noted.get(key, -AGAIN) >= AGAIN:
            self._noted[key] = now
            self.ledger.hand_out(used, process)

    async def _lock(self, asked: Asked) -> bool:
        """Lock what is not locked, if that is wanted; requests for it meanwhile wait."""
        async with self._locking.setdefault((asked.kind, asked.id), asyncio.Lock()):
            if self._locked(asked):
                return True
            try:
                return await apart(partial(self.unlocked.lock, asked))
            except CasError as error:
                self._refused_for(asked, str(error), error.hint)
                return False

    def _refuse(self, asked: Asked) -> None:
        at = f" at {asked.revision!r:.100}" if asked.revision not in (None, "main") else ""
        why, hint = self.unlocked.refusal, _command(asked) if self.unlocked.hints else None
        if repository := self.catalogue.repository(asked.kind, asked.id):
            why = f"which is locked at commit {repository.assets[0].commit[:12]}"
            if hint:
                hint += f" --name {asked.kind}s/NAME locks it beside that"
        message = f"the program asked for {asked.kind} {asked.id!r:.200}{at}, {why}"
        self._refused_for(asked, message, hint)

    def _refused_for(self, asked: Asked, message: str, hint: str | None) -> None:
        key = asked.kind, asked.id, asked.revision or "main"
        if ("refused", *key) not in self._told and key not in self._refused:
            self._refused[key] = message, hint
            asyncio.get_running_loop().call_later(PATIENCE, self.tell_refused)

    def tell_rest(self, *, failed: bool) -> None:
        """Say what was not told yet, of a program that ended, and may have *failed*."""
        self.tell_refused()
        if failed and self._unasked and ("unreachable",) not in self._told:
            self.progress.note(self._unasked)

    def tell_refused(self) -> None:
        """Say what was refused so far, but for what the program has made itself since."""
        for key, (message, hint) in self._refused.items():
            if key[:2] not in self._written:
                self._once(("refused", *key), message, hint)
        self._refused.clear()

    def _once(self, key: tuple[str, ...], message: str, hint: str | None) -> None:
        if key not in self._told:
            self._told.add(key)
            self.tell(message, hint)

    async def _write(self, scope: Scope, receive: Receive, send: Send, asked: Asked) -> None:
        """Pass a write on, and note which repository is the run's own from now on."""
        if asked.changes:
            self._own(asked.kind, asked.id)
        if scope["path"] not in MADE:
            await self._pass_on(scope, receive, send, asked)
            return
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break

        async def again() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        def heard(answer: Answered) -> None:
            made = made_of(_document(body), answer.document())
            if made and answer.status in (200, 201, 409):
                self._own(*made)

        await self._pass_on(scope, again, send, asked, heard)

    def _own(self, kind: str, id: str) -> None:
        if (kind, id) in self._written:
            return
        self._written.add((kind, id))
        if self.catalogue.repository(kind, id) is None:
            self.view.lead_out(kind, id)
        else:
            self.progress.note(f"the program writes to {kind} {id!r}, which is locked: it reads it "
                               "from the Hub from now on")  # fmt: skip

    async def _pass_on(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        asked: Asked,
        heard: Callable[[Answered], None] | None = None,
    ) -> None:
        try:
            await pass_on(scope, receive, send, heard=heard)
        except Unreachable as error:
            message = f"the real Hub can't be asked: {error}"
            if asked.kind or asked.writes:
                self._once(("unreachable",), message, None)
            else:  # huggingface_hub asks for such things by itself, and goes on without
                self._unasked = message
            said = (
                refusal(404, message, "RevisionNotFound")
                if _chooses_rows(scope, asked)
                else refusal(502, message)
            )
            await said.answer(scope, receive, send)


def _command(asked: Asked) -> str:
    if asked.kind == "kernel":
        return "a kernel can't be locked; cas run --allow-unlocked lets the program have it"
    revision = asked.revision if asked.revision not in (None, "main") else None
    at = f" --revision {typed(revision)}" if revision else ""
    return f"cas add {asked.kind}:{typed(asked.id)}{at}"


def _of_datasets(scope: Scope, asked: Asked) -> bool:
    """Say whether ``load_dataset`` asks for a dataset.

    Where that has no repository it takes the rows of any revision that an earlier run left in its
    Arrow cache, and goes on; where it has no such revision, it fails.
    """
    agent = header(scope, b"user-agent")
    return asked.kind == "dataset" and bool(asked.path) and agent.startswith("datasets/")


def _chooses_rows(scope: Scope, asked: Asked) -> bool:
    """Say whether ``load_dataset`` asks for what decides which rows it takes.

    Where that fails as a server does, it takes those of its Arrow cache, whatever commit they
    are of. The files of a commit are not meant: by then it is decided, and the client tries again.
    """
    if asked.kind != "dataset" or not header(scope, b"user-agent").startswith("datasets/"):
        return False
    of_commit = COMMIT.fullmatch(asked.revision or "") and asked.path
    return not of_commit or asked.path.endswith(".py")


def _document(body: bytes) -> dict[str, object]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
