"""Views: the tables that SQL sees, made of what a scan found.

What a record says once stands in each of its rows here, and is in memory once: text as a
dictionary, lists as views of shared items, missing columns as nulls that share their bytes.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from .arrays import build, from_numpy, to_numpy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from .scan import Tables

__all__ = ["EDGES", "SQL", "VIEWS", "view_tables"]

DEEPEST = 100  # steps of a lineage; experiments that use what they made go round
VIEWS = (
    "experiments",
    "all_experiments",
    "experiment_assets",
    "all_experiment_assets",
    "runs",
    "assets",
    "asset_edges",
)
EDGES = "_recipe_edges"
"""The table of the edges that come from above; ``asset_edges`` has those of experiments too."""
SQL = f"""
CREATE VIEW experiment_assets AS SELECT * FROM all_experiment_assets WHERE role <> 'earlier';
CREATE VIEW asset_edges AS
    SELECT input_tree, output_tree, via FROM {EDGES}
    UNION
    SELECT i.tree, o.tree, i.experiment_id
    FROM experiment_assets i JOIN experiment_assets o USING (experiment_id)
    WHERE o.role = 'output' AND i.role <> 'output';
CREATE MACRO lineage_up(h) AS TABLE
    WITH RECURSIVE walk(tree, depth) AS (
        SELECT CASE WHEN h LIKE 't1:%' THEN h ELSE 't1:' || h END, 0
        UNION
        SELECT e.input_tree, depth + 1
        FROM walk JOIN asset_edges e ON e.output_tree = walk.tree WHERE depth < {DEEPEST}
    ) SELECT tree, min(depth) AS depth FROM walk GROUP BY tree ORDER BY depth, tree;
CREATE MACRO lineage_down(h) AS TABLE
    WITH RECURSIVE walk(tree, depth) AS (
        SELECT CASE WHEN h LIKE 't1:%' THEN h ELSE 't1:' || h END, 0
        UNION
        SELECT e.output_tree, depth + 1
        FROM walk JOIN asset_edges e ON e.input_tree = walk.tree WHERE depth < {DEEPEST}
    ) SELECT tree, min(depth) AS depth FROM walk GROUP BY tree ORDER BY depth, tree;
"""  # noqa: S608 - names of ours
MANY_CELLS = 50_000_000  # above it the rows of the newest records are not copied


def view_tables(
    found: Tables,
    assets: Sequence[Mapping[str, Any]],
    edges: Sequence[Mapping[str, Any]] = (),
) -> dict[str, pa.Table]:
    """Return the tables behind the views' names; ``SQL`` makes the rest of them.

    *assets* are the project's rows; what only records know comes after them. *edges* are what
    derived assets were made of: input_tree, output_tree, via.
    """
    import pyarrow as pa

    newest = found.rows
    if not all(chunk.true_count == len(chunk) for chunk in found.runs.column("latest").chunks):
        chosen = found.runs.column("latest").take(newest.column("run"))
        if newest.num_rows * newest.num_columns < MANY_CELLS:
            newest = newest.filter(chosen)
        else:
            newest = _picked(newest, chosen.to_pylist())
    every = found.uses
    uses = every.drop_columns(["run"])
    whole = _whole(found.rows, found.runs)
    runs = [name for name in found.runs.column_names if name not in ("run", "captured")]
    return {
        "experiments": whole if newest is found.rows else _whole(newest, found.runs),
        "all_experiments": whole,
        "all_experiment_assets": uses,
        "runs": found.runs.select([*runs, "captured"]).rename_columns([*runs, "run"]),
        "assets": _assets(assets, every),
        EDGES: pa.table(
            {
                name: build([edge[name] for edge in edges], pa.string())
                for name in ("input_tree", "output_tree", "via")
            }
        ),
    }


def _picked(rows: pa.Table, chosen: Sequence[bool]) -> pa.Table:
    """Return the chosen rows as slices, so that nulls that share their memory still do."""
    import pyarrow as pa

    slices, start = [rows.slice(0, 0)], 0
    for keep, run in groupby(chosen):
        count = len(list(run))
        if keep:
            slices.append(rows.slice(start, count))
        start += count
    return pa.concat_tables(slices)


def _whole(rows: pa.Table, runs: pa.Table) -> pa.Table:
    """Return rows with what their records say around them, kept once however many rows."""
    import numpy as np
    import pyarrow as pa

    position = to_numpy(_one(rows.column("run")))
    parts: list[pa.Table] = []
    first = 0
    for chunk in runs.column("experiment_id").chunks or [None]:
        count = 0 if chunk is None else len(chunk)
        start, stop = np.searchsorted(position, (first, first + count)).tolist()
        within = from_numpy(position[start:stop] - first)
        parts.append(_part(rows.slice(start, stop - start), runs.slice(first, count), within))
        first += count
    return pa.concat_tables(parts)


def _part(rows: pa.Table, runs: pa.Table, within: pa.Array) -> pa.Table:
    import pyarrow as pa

    positions = within.cast(pa.int32())

    def spread(name: str) -> pa.Array:
        return _spread(_one(runs.column(name)), positions)

    columns = {name: spread(name) for name in ("experiment_id", "experiment_name")}
    columns["row_index"] = rows.column("row_index")
    columns["created_at"] = spread("created_at")
    for name in rows.column_names:
        if name not in ("run", "row_index"):
            columns[name] = rows.column(name)
    for name in ("status", "tags", "metadata", "assets"):
        columns[name] = spread(name)
    columns["run"] = spread("captured")
    return pa.table(columns)


def _one(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array: its chunk, or a copy."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _spread(values: pa.Array, positions: pa.Array) -> pa.Array:
    """Return ``values.take(positions)`` that shares what is large: text, and the items of lists.

    Not one dictionary of nested values: DuckDB 2.0 fails on a dictionary of one struct.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as types

    kind = values.type
    missing = values.is_null().take(positions) if values.null_count else None
    if types.is_struct(kind):
        children = [_spread(values.field(i), positions) for i in range(kind.num_fields)]
        return pa.StructArray.from_arrays(children, fields=_fields(children, kind), mask=missing)
    if types.is_list(kind):
        starts = values.offsets.slice(0, len(values)).take(positions)
        ends = values.offsets.slice(1, len(values)).take(positions)
        sizes = pc.subtract(ends, starts)
        return pa.ListViewArray.from_arrays(starts, sizes, values.values, mask=missing)
    if types.is_string(kind) or types.is_timestamp(kind):
        return pa.DictionaryArray.from_arrays(positions, values)
    return values.take(positions)


def _fields(children: Sequence[pa.Array], kind: pa.DataType) -> list[pa.Field]:
    import pyarrow as pa

    return [pa.field(f.name, c.type) for f, c in zip(kind.fields, children, strict=True)]


def _assets(given: Sequence[Mapping[str, Any]], uses: pa.Table) -> pa.Table:
    """Return one row a tree: the project's, then what only records know, by its last use."""
    import pyarrow as pa

    schema = pa.schema([
        ("name", pa.string()), ("kind", pa.string()), ("repository", pa.string()),
        ("commit", pa.string()), ("tree", pa.string()), ("files", pa.int64()),
        ("size", pa.int64()), ("locked", pa.bool_()), ("present", pa.bool_()),
    ])  # fmt: skip
    rows: dict[str, dict[str, Any]] = {}
    for asset in given:
        row = {name: asset.get(name) for name in schema.names}
        row["locked"] = bool(row["locked"])
        known = rows.get(str(row["tree"]))
        if known is None or (row["locked"] and not known["locked"]):
            rows[str(row["tree"])] = row
    last = {
        tree: {
            "name": name,
            "kind": kind,
            "tree": tree,
            "commit": commit,
            "locked": False,
            "present": False,
        }  # the project's rows have every tree that is here
        for name, kind, tree, commit in zip(
            *(uses.column(c).to_pylist() for c in ("name", "kind", "tree", "commit")), strict=True
        )
    }
    for tree, row in last.items():
        known = rows.setdefault(tree, row)
        if known["name"] is None:  # the store has it, and the lock not any more
            known |= {key: row[key] for key in ("name", "kind", "commit")}
    columns = [build([row.get(f.name) for row in rows.values()], f.type) for f in schema]
    return pa.Table.from_arrays(columns, schema=schema)
