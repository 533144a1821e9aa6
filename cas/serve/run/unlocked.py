"""What is not locked: refused, locked on the spot, or passed on and recorded."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

from cas.errors import ListingError, typed
from cas.listing import Listing, tree_id
from cas.names import check_name
from cas.project import Used

if TYPE_CHECKING:
    from cas.progress import Progress
    from cas.project import Project
    from cas.serve.run.routes import Asked

__all__ = ["ROLE", "Locking", "Passing", "Refusing"]

ROLE = "unlocked"
"""The role of what a run used and no lock has."""
NOT_LOCKED = "which is not in assets.lock"


class Refusing:
    """Refuses it."""

    passes = False

    def __init__(self, refusal: str = NOT_LOCKED, *, hints: bool = True) -> None:
        self.refusal = refusal
        self.hints = hints

    @property
    def busy(self) -> bool:
        """Whether something is being locked."""
        return False

    def lock(self, asked: Asked) -> bool:
        """Lock nothing."""
        del asked
        return False

    def used(self, kind: str, id: str, commit: str) -> Used | None:
        """Record nothing: nothing was passed on."""
        del kind, id, commit
        return None


class Locking(Refusing):
    """Locks it at what the Hub has now (``cas add``), and brings it here."""

    def __init__(self, project: Project, progress: Progress) -> None:
        super().__init__("which could not be locked", hints=False)
        self._project = project
        self._progress = progress
        self._one = threading.Lock()

    @property
    def busy(self) -> bool:
        """Whether something is being locked."""
        return self._one.locked()

    def lock(self, asked: Asked) -> bool:
        """Add a repository that is not locked at all; raise CasError where it can't be had."""
        from cas import resolver

        if asked.kind == "kernel":
            return False
        word = f"{asked.kind}:{asked.id}"
        revision = asked.revision if asked.revision != "main" else None
        with self._one:
            lock = self._project.read_lock()
            if any(asked.id in one.hub_ids.split() for one in lock
                   if one.name.startswith(f"{asked.kind}s/")):  # fmt: skip
                return False  # one name can't be two commits: that is for a person to say
            options = resolver.AddOptions(revision=revision)
            moves = resolver.add(self._project, word, options, progress=self._progress)
        for move in moves:
            if move.new:
                commit = f"commit {move.new.commit[:12]}" if move.new.commit else move.new.tree_id
                self._progress.note(f"locked {move.name} at {commit}: the program asked for it")
        return True


class Passing(Refusing):
    """Passes it on to the real Hub, and records its repository and commit."""

    passes = True

    def __init__(self, project: Project) -> None:
        super().__init__()
        self._project = project
        self._known: dict[tuple[str, str, str], Used] = {}

    def used(self, kind: str, id: str, commit: str) -> Used | None:
        """Return the use of a repository at a commit; raise StoreError.

        Which of its files were read is not known, so its tree is one small file that says
        where they came from.
        """
        from cas.store import Publisher, Staging, add_bytes, build

        name = f"{kind}s/{id}"
        try:
            check_name(name)
        except ListingError:
            return None
        if (kind, id, commit) not in self._known:
            store = self._project.store
            store.need_writable()
            data = json.dumps({"hub": f"{kind}:{id}", "commit": commit}).encode() + b"\n"
            staging, publisher = Staging(store), Publisher(store)
            listing = Listing.of([("unlocked.json", add_bytes(store, staging, data, publisher))])
            add_bytes(store, staging, listing.data(), publisher)
            publisher.flush()
            build(store, listing, {"local": f"unlocked {typed(id)}"})
            used = Used(name, tree_id(listing.digest), commit, ROLE)
            self._known[kind, id, commit] = used
        return self._known[kind, id, commit]
