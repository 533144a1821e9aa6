"""The rows of experiments: a leaderboard, a join on the tree, the index, many saves at once."""

# ruff: noqa: RUF002 - text has a multiplication sign

from __future__ import annotations

import json
import sqlite3
import subprocess
import venv
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from .measure import Contestant, NotDone, Run
from .place import CAS, HOME, PYTHON, Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

RECORDS = 10_000
PROCESSES = 8
EACH = 25
"""saves of each process"""

MAKE = """\
import random, sys
from pathlib import Path
from cas.experiments import Run, Use, save
directory, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
trees = [Use(name=f"datasets/d{n}", kind="datasets", role="input", tree=f"t1:{n:064x}")
         for n in range(50)]
run = Run(git_commit="a" * 40, git_branch="main", git_dirty=False, host="node", user="user",
          python="3.11", argv=("train.py", "--lr", "1e-3"), seed=1)
for number in range(first, last):
    draw = random.Random(number)
    rest = {f"c{n}": draw.random() for n in range(18)}
    rows = [{"step": s, "perplexity": 1 + 50 * draw.random(), **rest} for s in range(10)]
    save(directory, f"exp_{number:06d}", rows, metadata={"model": "m", "lr": 0.1, "seed": number},
         uses=[trees[number % 50], trees[number * 7 % 50]], run=run)
"""

DUCKDB = """\
import sys, json, duckdb
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


def make_records(place: Place) -> tuple[Path, Path]:
    """Make a project of many records; return it and their directory."""
    project = place.root / "project"
    project.mkdir()
    place.run(CAS, "init", cwd=project)
    records = project / "assets/outputs/experiments"
    place.run(PYTHON, "-c", MAKE, str(records), "0", str(RECORDS), cwd=project)
    return project, records


def _pairs(run: Run) -> list[list[object]]:
    found = json.loads(run.stdout)
    return [list(row.values()) if isinstance(row, dict) else row for row in found]


def _same(wanted: list[list[object]]) -> Callable[[Run], None]:
    def check(run: Run) -> None:
        if _pairs(run) != wanted:
            raise NotDone(f"another answer: {run.stdout[-400:]}")

    return check


def _asked(place: Place, sql: str, sql_of_files: str) -> list[Contestant]:
    project, records = make_records(place)
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
def leaderboard(place: Place) -> Iterator[list[Contestant]]:
    """Ask for the five best of many experiments."""
    contestants = _asked(place, BEST.format("experiments"), BEST.format("EXPERIMENTS"))
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
def query_join(place: Place) -> Iterator[list[Contestant]]:
    """Join many experiments with what they used, on the tree."""
    yield _asked(place, JOIN, JOIN_FILES)


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


SAVERS = """\
import subprocess, sys, time
each, count = int(sys.argv[1]), int(sys.argv[2])
start = [sys.executable, "-c", sys.argv[3], str(each)]
workers = [subprocess.Popen([*start, str(n), *sys.argv[4:]], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, text=True) for n in range(count)]
for worker in workers:
    while worker.stdout.readline() != "ready\\n":
        if worker.poll() is not None:
            sys.exit("a worker ended before it began")
began = time.perf_counter()
for worker in workers:
    worker.stdin.write("go\\n")
    worker.stdin.flush()
codes = [worker.wait() for worker in workers]
print(each * count / (time.perf_counter() - began))
sys.exit(any(codes))
"""

SAVE_CAS = """\
import sys
each, worker, directory = int(sys.argv[1]), sys.argv[2], sys.argv[3]
import cas
rows = [{"step": s, **{f"c{n}": s + n / 10 for n in range(19)}} for s in range(10)]
cas.save_experiment(f"warm_{worker}", rows, metadata={"lr": 0.1})
print("ready", flush=True)
sys.stdin.readline()
for number in range(each):
    cas.save_experiment(f"w{worker}_{number}", rows, metadata={"lr": 0.1, "seed": number})
"""

SAVE_MLFLOW = """\
import sys, time
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
each, worker, uri = int(sys.argv[1]), sys.argv[2], sys.argv[3]
client = MlflowClient(tracking_uri=uri)
def save(name):
    run = client.create_run("0", run_name=name)
    metrics = [Metric(f"c{n}", s + n / 10, int(time.time() * 1000), s)
               for s in range(10) for n in range(20)]
    client.log_batch(run.info.run_id, metrics=metrics, params=[Param("lr", "0.1")])
    client.set_terminated(run.info.run_id)
save(f"warm_{worker}")
print("ready", flush=True)
sys.stdin.readline()
for number in range(each):
    save(f"w{worker}_{number}")
"""


def find_mlflow() -> tuple[str | None, str]:
    """Return the Python of MLflow, installed into ``.bench`` on first use, or None and why not."""
    folder = HOME / "mlflow"
    python = folder / "bin/python"
    asks = [python, "-c", "import mlflow, sqlalchemy; print(mlflow.__version__)"]
    if not python.exists() or subprocess.run(asks, capture_output=True, check=False).returncode:
        try:
            venv.create(folder, with_pip=True, clear=True)
            packages = ["mlflow-skinny", "sqlalchemy", "alembic"]
            pip = [str(python), "-m", "pip", "install", "--quiet", *packages]
            subprocess.run(pip, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", None) or str(error)
            return None, f"mlflow could not be installed: {said.strip()[-200:]}"
    said = subprocess.run(asks, capture_output=True, text=True, check=False)
    return (str(python), said.stdout.strip()) if not said.returncode else (None, said.stderr[-200:])


@contextmanager
def saves(place: Place) -> Iterator[list[Contestant]]:
    """Save from several processes at once, each run of 10 rows × 20 columns."""
    project = place.root / "project"
    project.mkdir()
    place.run(CAS, "init", cwd=project)
    records = project / "assets/outputs/experiments"
    words = [str(EACH), str(PROCESSES)]
    total = PROCESSES * (EACH + 1)

    def clear() -> None:
        for record in records.glob("*.parquet"):
            record.unlink()

    def check_cas(run: Run) -> dict[str, float]:
        there = len(list(records.glob("*.parquet")))
        if there != total:
            raise NotDone(f"cas: {there} records of {total}")
        return {"saves_per_second": float(run.stdout)}

    contestants = [
        Contestant(
            name="cas.save_experiment",
            argv=[PYTHON, "-c", SAVERS, *words, SAVE_CAS, str(records)],
            role="cas",
            env=place.env(),
            cwd=project,
            before=clear,
            check=check_cas,
        )
    ]
    python, version = find_mlflow()
    if python is None:
        place.note = "; ".join(filter(None, (place.note, version)))
        yield contestants
        return
    database = place.root / "mlflow.db"
    uri = f"sqlite:///{database}"
    begin = (
        f"from mlflow import MlflowClient; MlflowClient(tracking_uri={uri!r}).get_experiment('0')"
    )

    def make_database() -> None:
        database.unlink(missing_ok=True)
        place.run(python, "-c", begin, cwd=place.root)

    def check_mlflow(run: Run) -> dict[str, float]:
        with closing(sqlite3.connect(database)) as connection:
            ((there,),) = connection.execute("SELECT count(*) FROM runs WHERE status = 'FINISHED'")
        if there != total:
            raise NotDone(f"mlflow: {there} runs of {total}")
        return {"saves_per_second": float(run.stdout)}

    mlflow = Contestant(
        name=f"MLflow on SQLite ({version})",
        argv=[python, "-c", SAVERS, *words, SAVE_MLFLOW, uri],
        env=place.env(),
        cwd=place.root,
        before=make_database,
        check=check_mlflow,
    )
    yield [*contestants, mlflow]
