"""The rows of saving: one run after the other, and many processes at once.

Each run is 10 rows × 20 columns, with its parameters; cas also records the assets that were used.
"""

# ruff: noqa: RUF002 - text has a multiplication sign

from __future__ import annotations

import sqlite3
import subprocess
import venv
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from .measure import Contestant, NotDone, Run
from .place import CAS, HOME, PYTHON, Place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ALONE = 20
"""saves of the one process, whose median counts"""
PROCESSES = 8
EACH = 25
"""saves of each of several processes"""

# starts the savers, lets them begin together, and prints saves a second and a save's median ms
TOGETHER = """\
import statistics, subprocess, sys, time
each, count = int(sys.argv[1]), int(sys.argv[2])
start = [sys.executable, "-c", sys.argv[3], str(each)]
workers = [subprocess.Popen([*start, str(n), *sys.argv[4:]], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, text=True) for n in range(count)]
for worker in workers:
    while worker.stdout.readline() != "ready\\n":  # a peer has more to say
        if worker.poll() is not None:
            sys.exit("a worker ended before it began")
began = time.perf_counter()
for worker in workers:
    worker.stdin.write("go\\n")
    worker.stdin.flush()
told = [worker.communicate()[0].splitlines() for worker in workers]
seconds = time.perf_counter() - began
took = [float(line.split()[1]) for lines in told for line in lines if line.startswith("took ")]
median = statistics.median(took)
print(each * count / seconds, median)
sys.exit(any(worker.returncode for worker in workers))
"""

SAVER = """\
import sys, time
{imports}
each, worker = int(sys.argv[1]), sys.argv[2]
{save}
save(f"warm_{{worker}}", -1)
print("ready", flush=True)
sys.stdin.readline()
for number in range(each):
    began = time.perf_counter()
    save(f"w{{worker}}_{{number}}", number)
    print("took", (time.perf_counter() - began) * 1e3, flush=True)
"""

BY_CAS = SAVER.format(
    imports="import cas",
    save="""\
rows = [{"step": s, **{f"c{n}": s + n / 10 for n in range(19)}} for s in range(10)]
cas.path("datasets/d")
def save(name, number):
    cas.save_experiment(name, rows, metadata={"lr": 0.1, "seed": number})
""",
)

BY_MLFLOW = SAVER.format(
    imports="from mlflow import MlflowClient\nfrom mlflow.entities import Metric, Param",
    save="""\
client = MlflowClient(tracking_uri=sys.argv[3])
def save(name, number):
    run = client.create_run("0", run_name=name)
    metrics = [Metric(f"c{n}", s + n / 10, int(time.time() * 1000), s)
               for s in range(10) for n in range(20)]
    params = [Param("lr", "0.1"), Param("seed", str(number))]
    client.log_batch(run.info.run_id, metrics=metrics, params=params)
    client.set_terminated(run.info.run_id)
""",
)

BY_TRACKIO = SAVER.format(
    imports="import trackio",
    save="""\
def save(name, number):
    config = {"lr": 0.1, "seed": number}
    trackio.init(project="bench", name=name, config=config, embed=False)
    for step in range(10):
        trackio.log({f"c{n}": step + n / 10 for n in range(20)}, step=step)
    trackio.finish()
""",
)


@contextmanager
def saves(place: Place, processes: int = PROCESSES, each: int = EACH) -> Iterator[list[Contestant]]:
    """Save *each* runs from each of *processes*."""
    total = processes * (each + 1)
    peers = [_of_cas(place, total), _of_mlflow(place, total), _of_trackio(place, total)]
    words = [str(each), str(processes)]
    contestants = []
    for peer in peers:
        if isinstance(peer, str):
            place.note = "; ".join(filter(None, (place.note, peer)))
            continue
        contestants.append(peer.contestant(words))
    yield contestants


class _Peer:
    """One way to save: its Python, its code, and how many runs its files show."""

    def __init__(self, place: Place, name: str, python: str, code: str, *words: str) -> None:
        self.place, self.name, self.python = place, name, python
        self.code, self.words = code, words
        self.total = 0
        self.directory = place.root

    def clear(self) -> None:
        """Remove what earlier turns saved."""
        raise NotImplementedError

    def count(self) -> int:
        """Return how many runs are there, whole."""
        raise NotImplementedError

    def contestant(self, words: list[str]) -> Contestant:
        """Return it as the row takes it."""
        return Contestant(
            name=self.name,
            argv=[self.python, "-c", TOGETHER, *words, self.code, *self.words],
            role="cas" if isinstance(self, _Cas) else "peer",
            env=self.place.env(TRACKIO_DIR=str(self.place.root / "trackio")),
            cwd=self.directory,
            before=self.clear,
            check=self._check,
        )

    def _check(self, run: Run) -> dict[str, float]:
        there = self.count()
        if there != self.total:
            raise NotDone(f"{self.name}: {there} runs of {self.total}")
        rate, median = map(float, run.stdout.split())
        return {"saves_per_second": rate, "a save, ms": median}


class _Cas(_Peer):
    def clear(self) -> None:
        for record in self._records():
            record.unlink()

    def count(self) -> int:
        return len(self._records())

    def _records(self) -> list[Path]:
        return list((self.directory / "assets/outputs/experiments").glob("*.parquet"))


class _Mlflow(_Peer):
    def clear(self) -> None:
        (self.place.root / "mlflow.db").unlink(missing_ok=True)
        begin = (
            "from mlflow import MlflowClient; import sys; MlflowClient(tracking_uri=sys.argv[1])"
        )
        self.place.run(
            self.python, "-c", f"{begin}.get_experiment('0')", *self.words, cwd=self.directory
        )

    def count(self) -> int:
        sql = "SELECT count(*) FROM runs WHERE status = 'FINISHED'"
        with closing(sqlite3.connect(self.place.root / "mlflow.db")) as connection:
            return int(connection.execute(sql).fetchone()[0])


class _Trackio(_Peer):
    def clear(self) -> None:
        self.place.clear("trackio")

    def count(self) -> int:
        sql = "SELECT count(*) FROM (SELECT 1 FROM metrics GROUP BY run_name HAVING count(*) = 10)"
        (database,) = (self.place.root / "trackio").glob("bench*.db")
        with closing(sqlite3.connect(database)) as connection:
            return int(connection.execute(sql).fetchone()[0])


def _of_cas(place: Place, total: int) -> _Peer:
    project = place.root / "project"
    project.mkdir()
    (place.root / "data.csv").write_text("a,b\n1,2\n")
    place.run(CAS, "init", cwd=project)
    place.run(CAS, "add", "../data.csv", "--name", "datasets/d", cwd=project)
    peer = _Cas(place, "cas.save_experiment", PYTHON, BY_CAS)
    peer.total, peer.directory = total, project
    return peer


def _of_mlflow(place: Place, total: int) -> _Peer | str:
    python, version = find("mlflow", ["mlflow-skinny", "sqlalchemy", "alembic"])
    if python is None:
        return version
    uri = f"sqlite:///{place.root / 'mlflow.db'}"
    peer = _Mlflow(place, f"MLflow on SQLite ({version})", python, BY_MLFLOW, uri)
    peer.total = total
    return peer


def _of_trackio(place: Place, total: int) -> _Peer | str:
    python, version = find("trackio", ["trackio"])
    if python is None:
        return version
    peer = _Trackio(place, f"Trackio ({version})", python, BY_TRACKIO)
    peer.total = total
    return peer


def find(name: str, packages: list[str]) -> tuple[str | None, str]:
    """Return the Python of a peer, installed into ``.bench`` on first use, or None and why not."""
    folder = HOME / name
    python = folder / "bin/python"
    asks = [python, "-c", f"import {name}; print({name}.__version__)"]
    if not python.exists() or subprocess.run(asks, capture_output=True, check=False).returncode:
        try:
            venv.create(folder, with_pip=True, clear=True)
            pip = [str(python), "-m", "pip", "install", "--quiet", *packages]
            subprocess.run(pip, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", None) or str(error)
            return None, f"{name} could not be installed: {said.strip()[-200:]}"
    said = subprocess.run(asks, capture_output=True, text=True, check=False)
    return (str(python), said.stdout.strip()) if not said.returncode else (None, said.stderr[-200:])
