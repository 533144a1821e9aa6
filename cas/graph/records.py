"""Records: what the experiments of some projects used and made, without reading a row.

The uses of each directory stay one Arrow table; a step of a walk is one pass over it, so that
10,000 experiments cost milliseconds.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cas.errors import CasError
from cas.experiments import scan
from cas.experiments.arrays import build
from cas.project.core import EXPERIMENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pyarrow as pa

__all__ = ["EARLIER", "OUTPUT", "Record", "Records", "UseOf"]

EARLIER = "earlier"
OUTPUT = "output"


@dataclass(frozen=True, slots=True)
class Record:
    """One experiment, by its id."""

    id: str
    name: str
    commit: str | None
    """of git"""


@dataclass(frozen=True, slots=True)
class UseOf:
    """One asset that one experiment used (or made, where the role is ``output``)."""

    experiment: str
    name: str
    tree: str
    role: str
    commit: str | None


class Records:
    """The records of the projects at *roots*, the own one first; ``earlier`` counts for nothing.

    Raises ExperimentError where those of the first can't be read.
    """

    def __init__(self, roots: Iterable[str], warn: Callable[[str], None] | None = None) -> None:
        self._uses: list[pa.Table] = []
        self._runs: list[pa.Table] = []
        for number, root in enumerate(roots):
            directory = os.path.join(root, EXPERIMENTS)
            if not os.path.isdir(directory):
                continue
            try:
                found = scan.tables(Path(directory), warn, columns=())
            except CasError:
                if number == 0:
                    raise
                continue  # another user's, perhaps: it takes nothing from this project
            self._runs.append(found.runs)
            self._uses.append(_without_earlier(found.uses))

    def of_trees(self, trees: Iterable[str]) -> list[UseOf]:
        """Return every use of some trees."""
        return self._where("tree", trees)

    def of_experiments(self, ids: Iterable[str]) -> list[UseOf]:
        """Return every use by some experiments."""
        return self._where("experiment_id", ids)

    def named(self, ids: Iterable[str]) -> dict[str, Record]:
        """Return the experiments that have some ids."""
        return {r.id: r for table in self._picked("experiment_id", ids) for r in _records(table)}

    def find(self, word: str) -> list[Record]:
        """Return the newest experiment of that name, else those whose id begins with *word*."""
        import pyarrow.compute as pc

        exact = [r for table in self._picked("experiment_name", [word]) for r in _records(table)]
        if exact:
            return [max(exact, key=lambda record: record.id)]
        if len(word) < 6 or word.strip("0123456789abcdef-"):
            return []
        return [
            record
            for table in self._runs
            for record in _records(table.filter(pc.starts_with(table["experiment_id"], word)))
        ]

    def trees_of(self, name: str) -> list[tuple[str, str | None]]:
        """Return (tree, commit) of all that had the name of an asset, the last used one first."""
        last: dict[tuple[str, str | None], str] = {}
        for use in self._where("name", [name]):
            key = use.tree, use.commit
            last[key] = max(last.get(key, ""), use.experiment)
        return sorted(last, key=lambda key: last[key], reverse=True)

    def names(self) -> dict[str, list[tuple[str, str | None]]]:
        """Return asset name → (tree, commit) of all that had it, the last used one first."""
        last: dict[tuple[str, str, str | None], str] = {}
        for table in self._uses:
            columns = (table[c].to_pylist() for c in ("name", "tree", "commit", "experiment_id"))
            for name, tree, commit, experiment in zip(*columns, strict=True):
                key = name, tree, commit  # Arrow's group_by would import pandas
                last[key] = max(last.get(key, ""), experiment)
        found: dict[str, list[tuple[str, str | None]]] = {}
        for name, tree, commit in sorted(last, key=lambda key: last[key], reverse=True):
            found.setdefault(name, []).append((tree, commit))
        return found

    def experiment_names(self) -> set[str]:
        """Return the names of all experiments."""
        return {n for table in self._runs for n in table["experiment_name"].to_pylist()}

    def _where(self, column: str, values: Iterable[str]) -> list[UseOf]:
        import pyarrow as pa
        import pyarrow.compute as pc

        wanted = build(sorted(values), pa.string())
        if not len(wanted):
            return []
        found: list[UseOf] = []
        for table in self._uses:
            hits = table.filter(pc.is_in(table[column], value_set=wanted))
            columns = ("experiment_id", "name", "tree", "role", "commit")
            found += map(UseOf, *(hits[c].to_pylist() for c in columns))
        return found

    def _picked(self, column: str, values: Iterable[str]) -> list[pa.Table]:
        import pyarrow as pa
        import pyarrow.compute as pc

        wanted = build(sorted(values), pa.string())
        return [table.filter(pc.is_in(table[column], value_set=wanted)) for table in self._runs]


def _without_earlier(uses: pa.Table) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    earlier = build([EARLIER], pa.string())[0]  # a plain text would import pandas
    at = uses.column_names.index("experiment_id")
    uses = uses.set_column(at, "experiment_id", uses["experiment_id"].cast(pa.string()))
    return uses.filter(pc.not_equal(uses["role"], earlier))


def _records(runs: pa.Table) -> list[Record]:
    import pyarrow.compute as pc

    commits = pc.struct_field(runs["captured"], "git_commit")
    columns = (runs["experiment_id"], runs["experiment_name"], commits)
    return list(map(Record, *(column.to_pylist() for column in columns)))
