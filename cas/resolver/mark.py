"""Mark: write into pyproject.toml that a tree can't be relied on, and say what it touches."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from cas.errors import LockfileError, UsageError, remedy
from cas.files import replace
from cas.project.requests import edit_bad
from cas.resolver.write import one_writer

if TYPE_CHECKING:
    from cas.project import Project

__all__ = ["mark_bad"]


def mark_bad(project: Project, word: str, reason: str) -> dict[str, Any]:
    """Write ``[tool.cas.bad]`` for the tree that *word* means, and return what is made of it.

    ``{name, tree, reason, assets, experiments}``: the names of all trees and experiments that
    were made of it. Raises UnknownAsset; UsageError for a reason that is no line of text.
    """
    from cas import graph  # and experiments with it, which no other command of this room needs

    reason = reason.strip()
    if not reason or not reason.isprintable():
        raise UsageError(f"--reason: expected one line of text, found {reason!r:.80}")
    tree, name = graph.tree_of_word(project, word)
    path = os.path.realpath(os.path.join(project.root, "pyproject.toml"))
    with one_writer(project):
        before = project.requests_bytes()
        after = edit_bad(before, tree, reason)
        if after != before:
            try:
                replace(path, after)
            except OSError as error:
                raise LockfileError(
                    f"{path} can't be written: {error.strerror}", hint=remedy(error)
                ) from None
    nodes = graph.lineage(project, tree, direction="down")["nodes"]
    others = [node for node in nodes if node["id"] != tree]
    return {
        "name": name,
        "tree": tree,
        "reason": reason,
        "assets": sorted({n["name"] for n in others if n["type"] == "asset"}),
        "experiments": sorted({n["name"] for n in others if n["type"] == "experiment"}),
    }
