"""Ask: one SELECT over a project's experiments, the assets they used, and what made these."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cas import experiments
from cas.graph.known import asset_rows, edge_rows

if TYPE_CHECKING:
    import pyarrow as pa

    from cas.project import Project

__all__ = ["query"]


def query(project: Project, sql: str, **options: Any) -> pa.Table:
    """Run one SELECT over the project's views; *options* are those of ``experiments.query``.

    Raises UsageError for SQL that is not one SELECT, ExperimentError where it fails.
    """
    return experiments.query(
        Path(project.experiments),
        sql,
        assets=asset_rows(project),
        edges=edge_rows(project) if re.search("asset_edges|lineage_", sql, re.I) else (),
        **options,
    )
