"""Views: the tables that SQL sees, made of what a scan found.

What a record says once stands in each of its rows here, and is in memory once: text as a
dictionary, lists as views of shared items, missing columns as nulls that share their bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .arrays import build, from_numpy, is_null, joined, to_numpy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from .scan import Tables

__all__ = ["SQL", "TABLES", "VIEWS", "view_tables"]

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
ROWS, USES, ASSETS, EDGES, KNOWN = TABLES = (
    "_rows", "_uses", "_project_assets", "_recipe_edges", "_assets",
)  # fmt: skip
"""What views are made of: all rows, all uses, and what comes from above (``_at`` counts rows);
and every asset, a table so that a join knows how few they are."""
LATEST = "run__text"
"""Of a row: whether its record is the newest of its name. No result has a column of that name:
none may end so, and ``run`` is no result's that could have text beside it."""
SQL = f"""
CREATE VIEW all_experiments AS SELECT * EXCLUDE ({LATEST}) FROM {ROWS};
CREATE VIEW experiments AS SELECT * EXCLUDE ({LATEST}) FROM {ROWS} WHERE {LATEST};
CREATE VIEW all_experiment_assets AS SELECT * EXCLUDE (_at) FROM {USES};
CREATE VIEW experiment_assets AS SELECT * FROM all_experiment_assets WHERE role <> 'earlier';
CREATE TABLE {KNOWN} AS
    WITH used AS (
        SELECT tree, min(_at) AS first,
            arg_max(struct_pack(name := name, kind := kind, commit := commit), _at) AS last
        FROM {USES} GROUP BY tree
    ), both_known AS (
        SELECT *, p.name IS NULL AND last IS NOT NULL AS unnamed
        FROM {ASSETS} p FULL JOIN used USING (tree)
    )
    SELECT CASE WHEN unnamed THEN last.name ELSE name END AS name,
        CASE WHEN unnamed THEN last.kind ELSE kind END AS kind,
        repository,
        CASE WHEN unnamed THEN last.commit ELSE commit END AS commit,
        tree, files, size,
        CASE WHEN _at IS NULL THEN false ELSE locked END AS locked,
        CASE WHEN _at IS NULL THEN false ELSE present END AS present
    FROM both_known ORDER BY _at NULLS LAST, first;
CREATE VIEW assets AS SELECT * FROM {KNOWN};
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

    uses = found.uses.drop_columns(["run"])
    runs = [name for name in found.runs.column_names if name not in ("run", "captured")]
    return {
        ROWS: _whole(found.rows, found.runs),
        "runs": found.runs.select([*runs, "captured"]).rename_columns([*runs, "run"]),
        USES: uses.append_column("_at", _count(uses.num_rows)),
        ASSETS: _assets(assets),
        EDGES: pa.table(
            {
                name: build([edge[name] for edge in edges], pa.string())
                for name in ("input_tree", "output_tree", "via")
            }
        ),
    }


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
        within = from_numpy((position[start:stop] - first).astype(np.int32))
        parts.append(_part(rows.slice(start, stop - start), runs.slice(first, count), within))
        first += count
    return pa.concat_tables(parts)


def _part(rows: pa.Table, runs: pa.Table, positions: pa.Array) -> pa.Table:
    import pyarrow as pa

    def spread(name: str) -> pa.Array:
        return _spread(_one(runs.column(name)), positions)

    # this one looks at the positions, for all the columns that are spread by them
    ids = pa.DictionaryArray.from_arrays(positions, _one(runs.column("experiment_id")))
    columns = {"experiment_id": ids, "experiment_name": spread("experiment_name")}
    columns["row_index"] = rows.column("row_index")
    columns["created_at"] = spread("created_at")
    for name in rows.column_names:
        if name not in ("run", "row_index"):
            columns[name] = rows.column(name)
    for name in ("status", "tags", "metadata", "assets"):
        columns[name] = spread(name)
    columns["run"] = spread("captured")
    latest = to_numpy(_one(runs.column("latest")))
    columns[LATEST] = from_numpy(latest[to_numpy(positions)])
    return pa.table(columns)


def _one(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array: its chunk, or a copy."""
    return column.chunk(0) if column.num_chunks == 1 else joined(column.chunks, column.type)


def _spread(values: pa.Array, positions: pa.Array) -> pa.Array:
    """Return ``values.take(positions)`` that shares the values, and the items of lists.

    No position may be beyond the values.
    Not one dictionary of nested values: DuckDB 2.0 fails on a dictionary of one struct.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.types as types

    kind = values.type
    at = to_numpy(positions)
    missing = from_numpy(is_null(values)[at]) if values.null_count else None
    if types.is_struct(kind):
        children = [_spread(values.field(i), positions) for i in range(kind.num_fields)]
        return pa.StructArray.from_arrays(children, fields=_fields(children, kind), mask=missing)
    if types.is_list(kind):
        offsets = to_numpy(values.offsets)
        starts, sizes = offsets[:-1][at], np.diff(offsets)[at]
        return pa.ListViewArray.from_arrays(
            from_numpy(starts), from_numpy(sizes), values.values, mask=missing
        )
    return pa.DictionaryArray.from_arrays(positions, values, safe=False)


def _fields(children: Sequence[pa.Array], kind: pa.DataType) -> list[pa.Field]:
    import pyarrow as pa

    return [pa.field(f.name, c.type) for f, c in zip(kind.fields, children, strict=True)]


def _assets(given: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return the project's rows, one a tree: the locked one before others."""
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
    columns = [build([row[f.name] for row in rows.values()], f.type) for f in schema]
    table = pa.Table.from_arrays(columns, schema=schema)
    return table.append_column("_at", _count(len(rows)))


def _count(rows: int) -> pa.Array:
    import numpy as np

    return from_numpy(np.arange(rows))
