"""The rows of experiments: a leaderboard, a join on the tree, the index, lineage."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from .measure import Contestant, NotDone, Run
from .place import CAS, PYTHON, Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

RECORDS = 10_000
PART = 5_000
"""records that one process makes"""

MAKE = """\
import os, random, sys
from pathlib import Path
from cas.experiments import Run, Use, save
directory, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
os.fsync = os.fdatasync = lambda fd: None  # they are made to be read
trees = [Use(name=f"datasets/d{n}", kind="datasets", role="input", tree=f"t1:{n:064x}")
         for n in range(50)]
run = Run(git_commit="a" * 40, git_branch="main", git_dirty=False, host="node", user="user",
          python="3.11", argv=("train.py", "--lr", "1e-3"), seed=1)
made = Use(name="models/m", kind="models", role="output", tree=f"t1:{1 << 200:064x}")
for number in range(first, last):
    draw = random.Random(number)
    rest = {f"c{n}": draw.random() for n in range(18)}
    rows = [{"step": s, "perplexity": 1 + 50 * draw.random(), **rest} for s in range(10)]
    save(directory, f"exp_{number:06d}", rows, metadata={"model": "m", "lr": 0.1, "seed": number},
         uses=[trees[number % 50], trees[number * 7 % 50], *[made] * (number == 77)], run=run)
"""

DUCKDB = """\
import sys, json, duckdb
duckdb.sql("SET enable_progress_bar = false")
files = f"read_parquet('{sys.argv[1]}/*.parquet', union_by_name=true)"
rows = duckdb.sql(sys.argv[2].replace("EXPERIMENTS", files)).fetchall()
print(json.dumps([[row[0], row[1]] for row in rows]))
"""

BEST = "SELECT experiment_name AS n, min(perplexity) AS v FROM {} GROUP BY 1 ORDER BY 2 LIMIT 5"
JOIN = """SELECT a.name || ' ' || e.experiment_name AS n, min(e.perplexity) AS v FROM experiments e
JOIN experiment_assets u USING (experiment_id) JOIN assets a ON a.tree = u.tree
GROUP BY ALL ORDER BY v, n LIMIT 5"""
JOIN_FILES = """WITH e AS (SELECT * FROM EXPERIMENTS),
u AS (SELECT DISTINCT experiment_id, unnest(assets) AS a FROM e)
SELECT u.a.name || ' ' || e.experiment_name AS n, min(e.perplexity) AS v
FROM e JOIN u USING (experiment_id) GROUP BY ALL ORDER BY v, n LIMIT 5"""


def make_records(place: Place, count: int = RECORDS) -> tuple[Path, Path]:
    """Make a project of many records; return it and their directory."""
    project = place.root / "project"
    project.mkdir()
    place.run(CAS, "init", cwd=project)
    records = project / "assets/outputs/experiments"

    def make(first: int) -> None:
        last = min(first + PART, count)
        place.run(PYTHON, "-c", MAKE, str(records), str(first), str(last), cwd=project)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(make, range(0, count, PART)))
    return project, records


def _pairs(run: Run) -> list[list[object]]:
    found = json.loads(run.stdout)
    return [list(row.values()) if isinstance(row, dict) else row for row in found]


def _same(wanted: list[list[object]]) -> Callable[[Run], None]:
    def check(run: Run) -> None:
        if _pairs(run) != wanted:
            raise NotDone(f"another answer: {run.stdout[-400:]}")

    return check


def _asked(place: Place, sql: str, sql_of_files: str, count: int) -> list[Contestant]:
    project, records = make_records(place, count)
    env = place.env()
    argv = [CAS, "query", "--timeout", "600", "--json", sql]
    wanted = [list(row.values()) for row in json.loads(place.run(*argv, cwd=project))]
    check = _same(wanted)
    files = [PYTHON, "-c", DUCKDB, str(records), sql_of_files]
    return [
        Contestant(name="cas query", argv=argv, role="cas", env=env, cwd=project, check=check),
        Contestant(name="DuckDB over the files", argv=files, env=env, cwd=project, check=check),
    ]


@contextmanager
def leaderboard(place: Place, count: int = RECORDS) -> Iterator[list[Contestant]]:
    """Ask for the five best of *count* experiments."""
    contestants = _asked(place, BEST.format("experiments"), BEST.format("EXPERIMENTS"), count)
    cas = contestants[0]
    words = ["experiments", "best", "perplexity", "--top", "5", "--json"]

    def check(run: Run) -> None:
        if len(json.loads(run.stdout)["experiments"]) != 5:
            raise NotDone("cas experiments best: not five")

    best = Contestant(
        name="cas experiments best",
        argv=[CAS, *words],
        role="also",
        env=cas.env,
        cwd=cas.cwd,
        check=check,
    )
    yield [*contestants, best]


@contextmanager
def query_join(place: Place, count: int = RECORDS) -> Iterator[list[Contestant]]:
    """Join *count* experiments with what they used, on the tree."""
    yield _asked(place, JOIN, JOIN_FILES, count)


@contextmanager
def lineage(place: Place) -> Iterator[list[Contestant]]:
    """Walk from a dataset down to all that used it, and from a model up."""
    project, _ = make_records(place)
    env = place.env()
    place.run(CAS, "query", "--timeout", "600", "--json", "SELECT 1 AS n", cwd=project)

    def walk(name: str, way: str, least: int, role: Literal["cas", "also"]) -> Contestant:
        def check(run: Run) -> None:
            found = len(json.loads(run.stdout)["nodes"])
            if found < least:
                raise NotDone(f"lineage {name} {way}: {found} nodes of {least}")

        argv = [CAS, "lineage", name, way, "--json"]
        return Contestant(
            name=f"cas lineage {way}", argv=argv, role=role, env=env, cwd=project, check=check
        )

    # two of fifty datasets a record, of which seven are the same one
    yield [walk("datasets/d7", "--down", 300, "cas"), walk("models/m", "--up", 4, "also")]


@contextmanager
def index(place: Place) -> Iterator[list[Contestant]]:
    """Make the index of many records, and add one record to it."""
    project, records = make_records(place)
    env = place.env()
    argv = [CAS, "query", "--timeout", "600", "--json", "SELECT count(*) AS n FROM runs"]
    count = [RECORDS]

    def check(run: Run) -> None:
        if _pairs(run) != [[count[0]]]:
            raise NotDone(f"expected {count[0]} records, found {run.stdout[-200:]}")

    def save_one() -> None:
        place.run(*argv, cwd=project)
        number = str(count[0])
        count[0] += 1
        place.run(PYTHON, "-c", MAKE, str(records), number, str(count[0]), cwd=project)

    yield [
        Contestant(
            name="the first query, without an index",
            argv=argv,
            role="cas",
            env=env,
            cwd=project,
            before=lambda: place.clear("cache"),
            check=check,
        ),
        Contestant(
            name="the query after one more record",
            argv=argv,
            role="also",
            env=env,
            cwd=project,
            before=save_one,
            check=check,
        ),
        Contestant(
            name="the query after that",
            argv=argv,
            role="also",
            env=env,
            cwd=project,
            before=lambda: place.run(*argv, cwd=project) and None,
            check=check,
        ),
    ]
