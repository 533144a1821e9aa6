"""Query: one SELECT over the records, on a connection that can reach nothing else.

Views: ``experiments`` (rows of the newest record of each name), ``all_experiments``,
``experiment_assets`` (without the role ``earlier``), ``all_experiment_assets``, ``runs`` (one
row a record), ``assets`` (one row a tree), ``asset_edges`` (input_tree, output_tree, via: of
what each derived or put-out tree was made); and the macros ``lineage_up(h)`` and
``lineage_down(h)``: tree, depth. SQL is not trusted: the database is in memory and
fresh, the tables are handed to it first, then files, network, extensions and settings are
closed, and a statement that is not one SELECT is refused before it runs. The limits of time
and memory are DuckDB's own: a single huge string can pass them by, so a program that runs
foreign SQL sets the operating system's limits too.
"""

from __future__ import annotations

import difflib
import re
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cas.errors import ExperimentError, UsageError
from cas.progress import QUIET, Progress

from .frame import to_table
from .scan import tables
from .views import SQL, TABLES, VIEWS, view_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    import duckdb
    import pyarrow as pa

__all__ = ["query"]

BATCH = 65_536  # rows of a result that are taken at a time
TAKEN = "Query interrupted"
"""What DuckDB says when Ctrl-C came while it ran: it takes the KeyboardInterrupt for itself."""
INTERRUPT_AGAIN = 0.05  # seconds; an interrupt that comes between two steps is lost

_SIZE = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*(k|m|g|t)(i?)b", re.I)
_GAP = r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)*"
_EXPLAIN = re.compile(
    rf"{_GAP}explain\b{_GAP}(?:analyze\b{_GAP})?(?:\([^()]*\){_GAP})?", re.I | re.S
)
_READS = re.compile(rf"{_GAP}(?:\({_GAP})*(select|from|with|pivot)\b", re.I | re.S)
_WRITES = re.compile(r"\b(create|copy|insert|update|delete|merge|attach|install|load)\b", re.I)


def _open(memory: str) -> duckdb.DuckDBPyConnection:
    """Return an empty database, opened while this thread imports Arrow, and numpy for it.

    DuckDB makes its catalogue without Python's lock: 20 ms beside 60.
    """
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as aside:
        opening = aside.submit(_database, memory)
        import pyarrow as pa  # noqa: F401 - whoever needs it finds it loaded
    return opening.result()


def _database(memory: str) -> duckdb.DuckDBPyConnection:
    """Return an empty database within its limit, that loads and spills nothing."""
    import duckdb

    return duckdb.connect(
        ":memory:",
        config={
            "python_enable_replacements": "false",
            "memory_limit": f"{_bytes(memory) // 1024}KiB",
            "temp_directory": "",  # nothing is spilled beside the user's files
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
        },
    )


def _fill(
    connection: duckdb.DuckDBPyConnection, tables: Mapping[str, pa.Table], views: str
) -> None:
    """Make *views*, in SQL, of *tables*, then close the database to all else."""
    import duckdb

    try:
        connection.execute("SET TimeZone = 'UTC'")
        for name, table in tables.items():
            connection.register(name, table)
        connection.execute(views)
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
    except duckdb.Error as error:
        raise ExperimentError(f"the views over the experiments can't be made: {error}") from error


def query(
    directory: Path,
    sql: str,
    *,
    assets: Sequence[Mapping[str, Any]] = (),
    edges: Sequence[Mapping[str, Any]] = (),
    params: Sequence[Any] | Mapping[str, Any] | None = None,
    frames: Mapping[str, Any] | None = None,
    timeout: float = 30,
    memory: str = "2GB",
    ready: Callable[[], None] = lambda: None,
    warn: Callable[[str], None] | None = None,
    progress: Progress = QUIET,
) -> pa.Table:
    """Run one SELECT, or the EXPLAIN of one, over *directory*, and return its result.

    *assets* are the project's rows of the view ``assets``; trees that only records know are
    added. *edges* are what derived assets were made of. *frames* become tables of those names.
    *ready* is called once the records are found, which may have taken a first index, and before
    anything of *sql* runs.

    Raises UsageError for SQL that is anything else, and a frame's name that can't be taken;
    ExperimentError where it fails, takes longer than *timeout* seconds, or needs more than
    *memory*, and where the directory can't be read.
    """
    import duckdb

    if not 0 < timeout < threading.TIMEOUT_MAX:
        raise UsageError(f"timeout: expected seconds above 0, found {timeout!r}")
    connection = _open(memory)
    import pyarrow as pa

    try:
        _check_sql(connection, sql)
        given = _frames(frames)
        found = tables(directory, warn, progress=progress)
        ready()
        _fill(connection, {**view_tables(found, assets, edges), **given}, SQL)
        with _deadline(connection, timeout):
            relation = connection.sql(sql, params=params)
            if relation is None:
                raise UsageError("expected a SELECT, found a statement without a result")
            reader = _reader(relation)
            limit = _bytes(memory)
            batches, size = [], 0
            for batch in reader:
                size += batch.nbytes
                if size > limit:
                    raise ExperimentError(
                        f"the result is larger than {memory}", hint="add a LIMIT, or --memory 8GB"
                    )
                batches.append(batch)
            return _told_apart(_narrow(pa.Table.from_batches(batches, schema=reader.schema)))
    except duckdb.InterruptException:
        raise ExperimentError(
            f"the query took longer than {timeout:g} s and was stopped",
            hint=f"--timeout {timeout * 4:g}, or ask for less",
        ) from None
    except duckdb.OutOfMemoryException:
        raise ExperimentError(
            f"the query needs more memory than {memory}", hint="ask for less, or --memory 8GB"
        ) from None
    except (duckdb.Error, pa.ArrowException, OverflowError, RuntimeError) as error:
        if str(error) == TAKEN:
            raise KeyboardInterrupt from None
        raise _failed(error, connection) from error
    finally:
        connection.close()


def _check_sql(parser: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Raise UsageError unless *sql* is one SELECT or the EXPLAIN of one.

    *parser* is any connection. Raises ExperimentError for SQL that can't be parsed.
    """
    import duckdb

    if not isinstance(sql, str) or not _is_text(sql):
        raise UsageError(f"expected SQL as text, found {sql!r:.80}")
    try:
        statements = parser.extract_statements(sql)
        if len(statements) != 1:
            raise UsageError(
                f"expected one SELECT, found {len(statements)} statements",
                hint='cas query "SELECT * FROM experiments LIMIT 10"',
            )
        _check_statement(parser, statements[0])
    except duckdb.Error as error:
        raise ExperimentError(f"the query can't be parsed: {_short(str(error))}") from None


def _is_text(sql: str) -> bool:
    try:
        return b"\0" not in sql.encode()
    except UnicodeEncodeError:  # bytes of a command line that are no UTF-8
        return False


def _check_statement(parser: duckdb.DuckDBPyConnection, statement: Any) -> None:
    kind = statement.type.name
    if kind == "SELECT":
        return
    if explained := _EXPLAIN.match(statement.query):
        # EXPLAIN ANALYZE runs what it explains, a COPY too
        inner = parser.extract_statements(statement.query[explained.end() :])
        if len(inner) == 1 and inner[0].type.name != "EXPLAIN":
            _check_statement(parser, inner[0])
            return
    elif kind == "MULTI" and _READS.match(statement.query):
        # a PIVOT without its values: a type is made of them first, then it is a SELECT
        if not _WRITES.search(_without_quotes(statement.query)):
            return
        raise UsageError(
            "expected one SELECT, found a PIVOT beside a word that changes data",
            hint="name the values: PIVOT … ON column IN ('a', 'b')",
        )
    raise UsageError(
        f"expected one SELECT, found {kind.replace('_', ' ')}",
        hint="a query reads; it can't change, load or write anything",
    )


def _without_quotes(sql: str) -> str:
    return re.sub(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/", " ", sql, flags=re.S)


@contextmanager
def _deadline(connection: duckdb.DuckDBPyConnection, seconds: float) -> Iterator[None]:
    """Interrupt *connection* when the time is up, again and again until it has stopped."""
    ended = threading.Event()

    def watch() -> None:
        wait = seconds
        while not ended.wait(wait):
            connection.interrupt()
            wait = INTERRUPT_AGAIN

    watcher = threading.Thread(target=watch, name="cas-query", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _reader(relation: Any) -> Any:
    make = getattr(relation, "to_arrow_reader", None) or relation.fetch_arrow_reader
    return make(BATCH)


def _narrow(table: pa.Table) -> pa.Table:
    """Return sums of integers, HUGEINT in DuckDB, as BIGINT where they fit."""
    import pyarrow as pa

    for position, field in enumerate(table.schema):
        if pa.types.is_decimal(field.type) and field.type.scale == 0:
            try:
                column = table.column(position).cast(pa.int64())
            except pa.ArrowInvalid:
                continue
            table = table.set_column(position, field.name, column)
    return table


def _told_apart(table: pa.Table) -> pa.Table:
    """Return a table with ``name_1`` for a second ``name``: ``u.*, a.*`` of a join has such."""
    names: dict[str, None] = {}
    taken = set(table.column_names)
    for name in table.column_names:
        free, number = name, 0
        while free in names or (number and free in taken):
            number += 1
            free = f"{name}_{number}"
        names[free] = None
    return table.rename_columns(list(names)) if len(taken) < len(names) else table


def _frames(frames: Mapping[str, Any] | None) -> dict[str, pa.Table]:
    result: dict[str, pa.Table] = {}
    for name, frame in (frames or {}).items():
        if not isinstance(name, str) or not name.isidentifier():
            raise UsageError(f"frames: expected a plain word as a name, found {name!r:.80}")
        if name.lower() in (*VIEWS, *TABLES):
            raise UsageError(f"frames: {name!r} is one of cas's views", hint="name it otherwise")
        if name.lower() in {other.lower() for other in result}:
            raise UsageError(f"frames: {name!r} is there twice, but for its case")
        result[name] = to_table(frame)
    return result


def _bytes(memory: str) -> int:
    match = _SIZE.fullmatch(memory.strip()) if isinstance(memory, str) else None
    if match is None:
        raise UsageError(f"memory: expected a size such as '2GB', found {memory!r:.40}")
    base = 1024 if match[3] else 1000
    size = int(float(match[1]) * base ** ("kmgt".index(match[2].lower()) + 1))
    if size < 16 << 20:
        raise UsageError(f"memory: expected at least 16MiB, found {memory!r}")
    return size


def _failed(error: Exception, connection: duckdb.DuckDBPyConnection) -> ExperimentError:
    """Return DuckDB's error in one line, with the names that are near the one it missed."""
    import duckdb

    text = str(error)
    hint = None
    missed = re.search(r'(?:column named|[Cc]olumn|with name|field) ["\']?([^"\'\s!]+)["\']?', text)
    if missed is not None:
        try:
            found = """SELECT DISTINCT column_name FROM duckdb_columns()
                WHERE NOT internal AND NOT list_contains(?, table_name)"""
            names = connection.execute(found, [list(TABLES)]).fetchall()
        except duckdb.Error:
            names = []
        known = [*VIEWS, *(str(name) for (name,) in names)]
        near = _near(missed[1].rpartition(".")[2], known)
        if near:
            hint = "did you mean " + " or ".join(repr(name) for name in near)
    return ExperimentError(f"the query failed: {_short(text)}", hint=hint)


def _short(message: str) -> str:
    """Return the first line of DuckDB's message, without its kind and its full stop."""
    first = next((line for line in message.splitlines() if line.strip()), "unknown error")
    first = re.sub(r"^[A-Z][\w ]* Error: ", "", first).rstrip(".! ")
    if not first[1:2].isupper():  # GROUP BY …
        first = first[:1].lower() + first[1:]
    return first[:300]


def _near(word: str, names: Sequence[str]) -> list[str]:
    by_lower = {name.lower(): name for name in names}
    found = difflib.get_close_matches(word.lower(), by_lower, n=3, cutoff=0.6)
    return [by_lower[name] for name in found]
