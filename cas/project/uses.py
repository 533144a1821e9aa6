"""The uses of this process: which assets it was given, at which tree, and when.

A record of an experiment takes what was used since the record before it; what is older is
``earlier``. A record without newer uses keeps the inputs of the one before (a sweep that
opens its data once). While a live run is open, uses are its own: of several, those of the
thread that opened one last, else of the last one. Under ``cas run`` the processes of a run
tell each other theirs (``ledger``).
"""

from __future__ import annotations

import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cas.project.ledger import Ledger

__all__ = ["Used", "Uses"]


class Used:
    """One use of an asset."""

    __slots__ = ("commit", "key", "name", "role", "tree")

    def __init__(self, name: str, tree: str, commit: str | None, role: str) -> None:
        self.name = name
        self.tree = tree
        """``t1:<64 hex>``"""
        self.commit = commit
        self.role = role
        self.key = name, role, tree
        """What a record counts once."""


class _Open:
    """A live run that is open."""

    __slots__ = ("inputs", "take", "thread")

    def __init__(
        self, take: Callable[[Used], None], inputs: dict[tuple[str, str, str], Used]
    ) -> None:
        self.thread = threading.get_ident()
        self.take = take
        self.inputs = inputs


class _GivenTo:
    """A stretch of one thread whose uses go to one run; ``contextlib`` takes 2 ms to load."""

    def __init__(self, own: threading.local, run: _Open | None) -> None:
        self._own, self._run = own, run

    def __enter__(self) -> None:
        self._own.run = self._run

    def __exit__(self, *_: object) -> None:
        self._own.run = None


class Uses:
    """The uses of one process, in their order."""

    def __init__(self, ledger: Ledger | None = None) -> None:
        self.watched = False
        """Whether the state of git at the first use is being read (``lineage``)."""
        self._ledger = ledger
        self._told: set[tuple[str, str, str]] = set()
        self._since: dict[tuple[str, str, str], Used] = {}
        self._inputs: dict[tuple[str, str, str], Used] = {}
        self._all: dict[tuple[str, str, str], Used] = {}
        self._runs: list[_Open] = []
        self._own = threading.local()

    def note(self, used: Used) -> None:
        """Note one use, and tell it to the other processes of a ``cas run``."""
        self._note(used)
        if self._ledger and used.key not in self._told:
            self._told.add(used.key)
            self._ledger.note(used)

    def gather(self) -> None:
        """Note what other processes of a ``cas run``, or its Hub, gave to this one."""
        if self._ledger is None:
            return
        mine, others = self._ledger.read()
        for used in mine:
            self._note(used)
        for used in others:
            self._all.setdefault(used.key, used)

    def _note(self, used: Used) -> None:
        self._all[used.key] = used
        run = getattr(self._own, "run", None) or self._run()
        if run is None:
            self._since[used.key] = used
        else:
            run.inputs[used.key] = used
            run.take(used)

    def begin(self, take: Callable[[Used], None]) -> tuple[list[Used], list[Used], list[Used]]:
        """Open a live run, whose uses from now on are given to *take*.

        Returns (uses since the record before, which are the run's own; where there are none,
        the inputs of that record; all others of the process).
        """
        self.gather()
        since = list(self._since.values())
        kept = [] if since else list(self._inputs.values())
        known = {used.key for used in (*since, *kept)}
        earlier = [used for key, used in self._all.items() if key not in known]
        self._runs.append(_Open(take, self._since))
        self._since = {}
        return since, kept, earlier

    def close(self, take: Callable[[Used], None]) -> None:
        """Close a live run: what is used from now on is another record's."""
        if self._ledger:
            self._ledger.take()
            self._told.clear()
        for run in [run for run in self._runs if run.take == take]:
            self._runs.remove(run)
            self._inputs = run.inputs or self._inputs

    def given_to(self, take: Callable[[Used], None]) -> _GivenTo:
        """Give what this thread uses meanwhile to one run, whichever others are open."""
        run = next((run for run in self._runs if run.take == take), None)
        return _GivenTo(self._own, run)

    def _run(self) -> _Open | None:
        if not self._runs:
            return None
        own = [run for run in self._runs if run.thread == threading.get_ident()]
        every = own or self._runs
        return every[-1] if every else None

    def all(self) -> list[Used]:
        """Return every use, first ones first."""
        self.gather()
        return list(self._all.values())

    def take(self) -> tuple[list[Used], list[Used]]:
        """Return (uses of the record being made, earlier ones), and begin the next stretch."""
        self.gather()
        if self._ledger:
            self._ledger.take()
            self._told.clear()
        if self._since:
            self._inputs = self._since
            self._since = {}
        run = self._run()
        inputs = run.inputs if run and run.inputs else self._inputs
        return list(inputs.values()), [u for key, u in self._all.items() if key not in inputs]
