"""Experiments: results in Parquet that name the assets they used, and SQL over them.

One record is one immutable file, ``<name>.<experiment_id>.parquet``: files survive rsync, git
and the death of any server. Its rows are the results; beside them stand the columns of
``record.STANDARD``, and the footer repeats under the key ``cas``, as JSON, all that is not a
row, so a record without rows keeps it. This room knows Parquet, DuckDB and git; it knows no
store, no project and no lockfile: paths, mappings and callables come down to it.

plain     values as JSON has them
arrays    values as Arrow has them, without pandas
columns   the few types that a column has, and what becomes of a mixed one
frame     what people hand in → columns
record    the format of a record; its only writer
capture   git, packages, host, command
mask      takes secrets out of text
read      one file, checked
pack      many records as two tables, and back
index     packs in the user's cache, refreshed by themselves
scan      directory → three Arrow tables
views     those tables as SQL sees them
query     one SELECT on a locked connection
board     the best of each experiment; the list
compare   one experiment whole, two where they differ
importers runs of other programs → records
exporters records → one table, for programs and papers
"""

from cas.lazy import open_rooms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .board import best, direction_of, list_records
    from .capture import capture
    from .compare import Changes, compare, show
    from .naming import check_experiment_name
    from .query import query
    from .record import RESERVED, Run, Use, save
    from .scan import References, references

__all__ = [
    "RESERVED",
    "Changes",
    "References",
    "Run",
    "Use",
    "best",
    "capture",
    "check_experiment_name",
    "compare",
    "direction_of",
    "list_records",
    "query",
    "references",
    "save",
    "show",
]

open_rooms(
    __name__,
    board="best direction_of list_records",
    capture="capture",
    compare="Changes compare show",
    naming="check_experiment_name",
    query="query",
    record="RESERVED Run Use save",
    scan="References references",
)
