"""The uses of this process: which assets it was given, at which tree, and when.

A record of an experiment takes what was used since the record before it; what is older is
``earlier``. A record without newer uses keeps the inputs of the one before (a sweep that
opens its data once).
"""

from __future__ import annotations

__all__ = ["Used", "Uses"]


class Used:
    """One use of an asset."""

    __slots__ = ("commit", "name", "role", "tree")

    def __init__(self, name: str, tree: str, commit: str | None, role: str) -> None:
        self.name = name
        self.tree = tree
        """``t1:<64 hex>``"""
        self.commit = commit
        self.role = role

    @property
    def key(self) -> tuple[str, str, str]:
        """What a record counts once."""
        return self.name, self.role, self.tree


class Uses:
    """The uses of one process, in their order."""

    def __init__(self) -> None:
        self.watched = False
        """Whether the state of git at the first use is being read (``lineage``)."""
        self._since: dict[tuple[str, str, str], Used] = {}
        self._inputs: dict[tuple[str, str, str], Used] = {}
        self._all: dict[tuple[str, str, str], Used] = {}

    def note(self, used: Used) -> None:
        """Note one use."""
        self._since[used.key] = used
        self._all[used.key] = used

    def all(self) -> list[Used]:
        """Return every use, first ones first."""
        return list(self._all.values())

    def take(self) -> tuple[list[Used], list[Used]]:
        """Return (uses of the record being made, earlier ones), and begin the next stretch."""
        if self._since:
            self._inputs = self._since
            self._since = {}
        current = list(self._inputs.values())
        return current, [used for key, used in self._all.items() if key not in self._inputs]
