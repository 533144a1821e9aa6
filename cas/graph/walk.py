"""Walk: from one tree or experiment to all that it was made of, and all that was made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cas.errors import UnknownAsset
from cas.graph.known import Known
from cas.graph.records import OUTPUT, Records
from cas.names import find, kind_of, near

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from cas.graph.records import Record, UseOf
    from cas.project import Project

__all__ = ["Walk", "lineage", "tree_of_word"]

SHORTEST = 6  # hexadecimal digits of a tree, or of a commit
HEXADECIMAL = "0123456789abcdef"


class Walk:
    """The nodes that were reached and the edges between them, in the order of their finding."""

    def __init__(self, known: Known, records: Records) -> None:
        self.known = known
        self.records = records
        self.nodes: dict[str, None] = {}
        """Trees and ids of experiments."""
        self.edges: dict[tuple[str, str, str], None] = {}
        """(from, to, role): what was read or used, then what it went into"""
        self.experiments: dict[str, Record] = {}
        self.names: dict[str, tuple[str, str | None]] = {}
        """Tree → the name and commit that a record has for it."""

    def up(self, nodes: Iterable[str]) -> None:
        """Add all that *nodes* were made of."""
        self._walk(nodes, self._above)

    def down(self, nodes: Iterable[str]) -> None:
        """Add all that was made of *nodes*."""
        self._walk(nodes, self._below)

    def _walk(
        self, nodes: Iterable[str], step: Callable[[list[str], list[str]], Iterator[str]]
    ) -> None:
        todo = list(nodes)
        done: set[str] = set()
        while todo:
            fresh = [node for node in dict.fromkeys(todo) if node not in done]
            done.update(fresh)
            todo = list(step(*self._sorted(fresh)))

    def _above(self, trees: list[str], runs: list[str]) -> Iterator[str]:
        """Add what *trees* and *runs* were made of, and yield it."""
        for tree in trees:
            for role, source in self.known.of(tree).inputs.items():
                self._edge(source, tree, role)
                yield source
        for use in self.records.of_trees(trees):
            if use.role == OUTPUT:
                self._made(use)
                yield use.experiment
        for use in self.records.of_experiments(runs):
            if use.role != OUTPUT:
                self._used(use)
                yield use.tree

    def _below(self, trees: list[str], runs: list[str]) -> Iterator[str]:
        """Add what was made of *trees* and *runs*, and yield it."""
        for tree in trees:
            for role, made in self.known.made_of(tree):
                self._edge(tree, made, role)
                yield made
        for use in self.records.of_trees(trees):
            if use.role != OUTPUT:
                self._used(use)
                yield use.experiment
        for use in self.records.of_experiments(runs):
            if use.role == OUTPUT:
                self._made(use)
                yield use.tree

    def _made(self, use: UseOf) -> None:
        self.note(use)
        self._edge(use.experiment, use.tree, use.role)

    def _used(self, use: UseOf) -> None:
        self.note(use)
        self._edge(use.tree, use.experiment, use.role)

    def note(self, use: UseOf) -> None:
        """Keep the name that a record has for a tree."""
        if "/" in use.name:
            self.names[use.tree] = use.name, use.commit

    def name_experiments(self) -> None:
        """Look up the experiments that were reached."""
        self.experiments = self.records.named(n for n in self.nodes if not n.startswith("t1:"))

    def document(self) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
        """Return (nodes, edges) as ``cas lineage --json`` says them."""
        self.name_experiments()
        edges = [{"from": a, "to": b, "role": role} for a, b, role in self.edges]
        return [self.node(node) for node in self.nodes], edges

    def node(self, node: str) -> dict[str, Any]:
        """Return one node as ``cas lineage --json`` says it."""
        if not node.startswith("t1:"):
            record = self.experiments[node]
            return {
                "id": node, "type": "experiment", "name": record.name, "kind": "experiments",
                "tree": None, "commit": record.commit, "present": True, "locked": False,
            }  # fmt: skip
        tree = self.known.of(node)
        name, commit = tree.name, tree.commit
        if not tree.locked and node in self.names:
            name, commit = self.names[node]
        return {
            "id": node,
            "type": "asset",
            "name": name or f"{node[:15]}…",
            "kind": kind_of(name) if name else "trees",
            "tree": node,
            "commit": commit,
            "present": self.known.present(node),
            "locked": tree.locked,
        }

    def _sorted(self, nodes: list[str]) -> tuple[list[str], list[str]]:
        self.nodes.update(dict.fromkeys(nodes))
        trees = [node for node in nodes if node.startswith("t1:")]
        return trees, [node for node in nodes if not node.startswith("t1:")]

    def _edge(self, source: str, target: str, role: str) -> None:
        self.edges[source, target, role] = None


def lineage(
    project: Project,
    word: str,
    *,
    direction: str = "both",
    every: bool = False,
    warn: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Return what *word* was made of (``up``), what was made of it (``down``), or both.

    ``{root, direction, nodes: [{id, type, name, kind, tree, commit, present, locked}], edges:
    [{from, to, role}]}``, edges in the direction in which bytes went. *word* is a name (the
    locked tree, else the last that had it), ``NAME@COMMIT``, at least six digits of a tree, a
    commit or an experiment's id, or an experiment's name. *every*: all trees that had the
    name; the first of them is the root. Raises UnknownAsset.
    """
    known = Known(project)
    records = Records(known.roots, warn)
    roots = roots_of(known, records, word, every=every)
    walk = Walk(known, records)
    walk.nodes.update(dict.fromkeys(roots))
    if direction in ("up", "both"):
        walk.up(roots)
    if direction in ("down", "both"):
        walk.down(roots)
    nodes, edges = walk.document()
    return {"root": roots[0], "direction": direction, "nodes": nodes, "edges": edges}


def tree_of_word(project: Project, word: str) -> tuple[str, str]:
    """Return (tree id, name) of the asset that *word* means, as ``lineage`` has it.

    Raises UnknownAsset, also for an experiment.
    """
    known = Known(project)
    records = Records(known.roots)
    root = roots_of(known, records, word, every=False)[0]
    if not root.startswith("t1:"):
        raise UnknownAsset(f"{word!r} is an experiment, expected an asset", hint="cas list")
    walk = Walk(known, records)
    for use in records.of_trees([root]):
        walk.note(use)
    return root, str(walk.node(root)["name"])


def roots_of(known: Known, records: Records, word: str, *, every: bool) -> list[str]:
    """Return the nodes that *word* means, the locked or last one first; raise UnknownAsset."""
    bare, _, commit = word.rpartition("@")
    if bare and commit and not commit.strip(HEXADECIMAL):
        trees = [t for t, c in _had_name(known, records, bare) if c and c.startswith(commit)]
        if not trees:
            raise UnknownAsset(
                f"no asset {bare!r} at commit {commit!r} is known here",
                hint="cas lineage --any NAME shows every tree that had the name",
            )
        return list(dict.fromkeys(trees))[: None if every else 1]
    try:
        trees = [tree for tree, _ in _had_name(known, records, word)]
        return list(dict.fromkeys(trees))[: None if every else 1]
    except UnknownAsset:
        others = records.find(word) or _by_hash(known, records, word)
        if not others:
            close = near(word, records.experiment_names())
            if not close:
                raise
            raise UnknownAsset(
                f"no asset or experiment {word!r:.200}; near: {', '.join(map(repr, close))}",
                hint="cas list shows the assets, cas experiments the experiments",
            ) from None
    ids = [one if isinstance(one, str) else one.id for one in others]
    if len(ids) > 1:
        raise UnknownAsset(f"{word!r} fits {len(ids)} hashes: {', '.join(sorted(ids)[:4])}")
    return ids


def _had_name(known: Known, records: Records, word: str) -> list[tuple[str, str | None]]:
    """Return (tree, commit) of all that had the name that *word* means, the locked one first."""
    held: dict[str, list[tuple[str, str | None]]] = {}
    ids: dict[str, str | None] = {}
    locked: dict[str, str | None] = {}
    for one in known.trees.values():
        if one.name:
            ids[one.name] = one.repository or ids.get(one.name)
            held.setdefault(one.name, []).append((one.tree, one.commit))
            if one.locked:
                locked[one.name] = one.repository
    used = records.trees_of(word)
    if word not in held and not used:
        try:
            word = find(word, locked)
        except UnknownAsset as unknown:
            if "fits" in str(unknown):
                raise
            word = find(word, {name: None for name in records.names() if "/" in name} | ids)
        used = records.trees_of(word)
    rows = held.get(word, [])
    pinned = [row for row in rows if known.of(row[0]).locked]
    return [*pinned, *used, *rows]


def _by_hash(known: Known, records: Records, word: str) -> list[str]:
    digits = word.removeprefix("t1:")
    if len(digits) < SHORTEST or digits.strip(HEXADECIMAL):
        return []
    from cas.listing import tree_id

    rows = {(one.tree, one.commit) for one in known.trees.values()}
    rows |= {row for held in records.names().values() for row in held}
    rows |= {(tree_id(digest), None) for digest, _ in known.store.trees()}
    return sorted(
        {
            tree
            for tree, commit in rows
            if tree.startswith(f"t1:{digits}") or (commit and commit.startswith(digits))
        }
    )
