"""Bad: the trees that ``[tool.cas.bad]`` marks, ``"t1:…" = "reason"``, and what is made of them.

``cas mark bad`` writes it. A marked tree stays usable: whoever is given it, or something that
was made of it, is told once.
"""

from __future__ import annotations

from cas.errors import RequestError
from cas.listing import parse_tree_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cas.project.core import Project
    from cas.project.requests import Settings

__all__ = ["bad_marks", "tell_if_bad", "why_bad"]


def bad_marks(settings: Settings) -> dict[str, str]:
    """Return tree id → reason; raise RequestError naming the entry that can't be taken."""
    table = settings.table.get("bad", {})
    if not isinstance(table, dict):
        raise RequestError("pyproject.toml: tool.cas.bad: expected a table of trees")
    for tree, reason in table.items():
        try:
            parse_tree_id(tree)
        except ValueError as error:
            raise RequestError(f"pyproject.toml: tool.cas.bad: {error}") from None
        if not isinstance(reason, str) or not reason.strip():
            raise RequestError(f'pyproject.toml: tool.cas.bad."{tree}": expected a reason')
    return dict(table)


def why_bad(project: Project, tree: str) -> str | None:
    """Return what is to be told of a tree: that it, or something that it was made of, is bad.

    It was made of what the lock or its sidecar says, and of what the experiment used that has
    it as output. None where nothing is marked, without a look at anything but the marks.
    """
    marks = bad_marks(project.read_settings())
    if not marks:
        return None
    if tree in marks:
        return f"it is marked bad: {marks[tree]}"
    done = {tree}
    todo = [tree]
    sources = _Sources(project)
    while todo:
        for source in sources.of(todo.pop()):
            if source in marks:
                return f"it was made of {source[:15]}…, which is marked bad: {marks[source]}"
            if source not in done:
                done.add(source)
                todo.append(source)
    return None


def tell_if_bad(project: Project, name: str, tree: str) -> None:
    """Say on stderr what is bad about an asset that is being handed out."""
    import sys

    if why := why_bad(project, tree):
        sys.stderr.write(f"cas: warning: {name}: {why}\n")


class _Sources:
    """What trees were made of, one step at a time."""

    def __init__(self, project: Project) -> None:
        from pathlib import Path

        from cas.experiments import scan

        self.store = project.store
        self.locked = {asset.tree_id: asset for asset in project.read_lock()}
        self.made: dict[str, set[str]] = {}
        for record in scan.records(Path(project.experiments)):
            used = {use.tree for use in record.assets if use.role not in ("output", "earlier")}
            for use in record.assets:
                if use.role == "output":
                    self.made.setdefault(use.tree, set()).update(used)

    def of(self, tree: str) -> set[str]:
        from cas.digest import Digest
        from cas.listing import tree_id
        from cas.store import read_sidecar

        found = set(self.made.get(tree, ()))
        if asset := self.locked.get(tree):
            found.update(map(tree_id, asset.inputs.values()))
        sidecar = read_sidecar(self.store, Digest(tree.removeprefix("t1:")))
        inputs = sidecar.origin.get("inputs") if sidecar else None
        if isinstance(inputs, dict):
            found.update(str(source) for source in inputs.values())
        return found
