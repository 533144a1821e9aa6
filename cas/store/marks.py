"""Marks: the objects that a gc must keep, in 8 to 16 bytes each, for a store may have millions.

A digest is kept by its first 72 bits. Two that share them (by chance one pair in 2**72) are
kept together: a mark may leak an object, and never loses one.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cas.digest import Digest

__all__ = ["Marks"]

FIRST = 256  # marks of one prefix before they are looked through for repeated ones


class Marks:
    """A set of digests that is asked in the order of their prefixes."""

    def __init__(self) -> None:
        self._rows = {f"{n:02x}": array("Q") for n in range(256)}
        self._most = dict.fromkeys(self._rows, FIRST)
        self._asked = ""
        self._row: frozenset[int] = frozenset()

    def update(self, digests: Iterable[Digest]) -> None:
        """Mark *digests*."""
        rows, most = self._rows, self._most
        for digest in digests:
            prefix = digest[:2]
            row = rows[prefix]
            row.append(int(digest[2:18], 16))
            if len(row) > most[prefix]:  # trees share objects: a mark is kept once
                rows[prefix] = array("Q", set(row))
                most[prefix] = max(FIRST, 2 * len(rows[prefix]))
        self._asked = ""

    def __contains__(self, digest: Digest) -> bool:
        """Say whether *digest* is marked; quick while the prefix stays the same."""
        if digest[:2] != self._asked:
            self._asked = digest[:2]
            self._row = frozenset(self._rows[self._asked])
        return int(digest[2:18], 16) in self._row
