"""Taint: what is made of the assets that pyproject.toml marks bad, through however many steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cas.graph.draw import plain
from cas.graph.known import Known
from cas.graph.records import Records
from cas.graph.walk import Walk
from cas.project.bad import bad_marks

if TYPE_CHECKING:
    from cas.project import Project

__all__ = ["Taint", "tainted"]


@dataclass(frozen=True, slots=True)
class Taint:
    """Why a tree or an experiment can't be relied on."""

    name: str
    """of the tree or experiment"""
    source: str
    """the name of the asset that is marked bad"""
    tree: str
    """the tree that is marked bad"""
    reason: str
    itself: bool
    """whether it is the marked tree itself"""

    @property
    def why(self) -> str:
        """What a warning says of it."""
        if self.itself:
            return plain(f"{self.name} is marked bad: {self.reason}")
        source = f"{self.source} (tree {self.tree[3:11]})"
        return plain(f"{self.name} was made of {source}, which is marked bad: {self.reason}")


def tainted(project: Project) -> dict[str, Taint]:
    """Return tree or id of an experiment → why, for all that is bad and all made of it.

    Where nothing is marked, nothing else is looked at.
    """
    marks = bad_marks(project.read_settings())
    if not marks:
        return {}
    known = Known(project)
    records = Records(known.roots)
    found: dict[str, Taint] = {}
    for tree, reason in marks.items():
        walk = Walk(known, records)
        walk.down([tree])
        nodes, _ = walk.document()
        names = {node["id"]: str(node["name"]) for node in nodes}
        for node, name in names.items():
            if node == tree:
                found[node] = Taint(name, names[tree], tree, reason, itself=True)
            else:
                found.setdefault(node, Taint(name, names[tree], tree, reason, itself=False))
    return found
