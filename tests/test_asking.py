"""Commands that ask the experiments: what they load, the order of their steps, how they end."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from cas import experiments as room
from cas.cli import run
from cas.errors import UsageError
from cas.experiments.arrays import to_list
from cas.experiments.read import FEW

END = "import atexit, sys; atexit.register(print, 'taken apart'); sys.argv = ['cas', *sys.argv[1:]]"
START = f"{END}; from cas.__main__ import start; start()"
LOADED = """\
import os, sys
sys.argv = ["cas", *sys.argv[1:]]
from cas.cli import run
code = run(sys.argv[1:])
print("loaded", *sorted({"pandas", "torch"} & set(sys.modules)), file=sys.stderr)
sys.exit(code)
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project; the working directory is in it, and the cache and the store are apart."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CAS_STORE", str(tmp_path / "store"))
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.chdir(root)
    assert run(["init"]) == 0
    return root


def records(project: Path) -> Path:
    return project / "assets/outputs/experiments"


def fill(project: Path, count: int = FEW + 4) -> None:
    use = room.Use(name="datasets/org/d", kind="datasets", role="input", tree="t1:" + "7" * 64)
    for number in range(count):
        rows = [{"loss": number + step / 10, "step": step} for step in range(3)]
        room.save(records(project), f"e{number}", rows, metadata={"lr": 0.1}, uses=[use])


def child(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-c", code, *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)


ASKS = (
    ("query", "SELECT * FROM experiments"),
    ("query", "--format", "csv", "SELECT created_at FROM runs"),
    ("query", "SELECT * FROM assets"),
    ("experiments",),
    ("experiments", "--json"),
    ("experiments", "best", "loss"),
    ("experiments", "best", "loss", "--show", "lr,step", "--since", "1d", "--where", "loss > 1"),
    ("stale", "--json"),
    ("lineage", "d"),
)


@pytest.mark.parametrize("words", ASKS, ids=" ".join)
def test_a_command_that_reads_experiments_does_not_load_pandas(project, words) -> None:
    fill(project)
    done = child(LOADED, *words)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "loaded"


def test_a_query_where_no_experiment_is_does_not_load_pandas(project) -> None:
    for sql in ("SELECT * FROM experiments", "SELECT * FROM runs", "SELECT * FROM asset_edges"):
        done = child(LOADED, "query", sql)
        assert done.returncode == 0, done.stderr
        assert done.stderr.splitlines()[-1] == "loaded"


def test_sql_that_is_refused_is_told_before_a_first_index_is_made(project, monkeypatch) -> None:
    fill(project)
    ready: list[str] = []
    for sql in ("DROP TABLE experiments", "SELECT 1; SELECT 2"):
        with pytest.raises(UsageError, match="one SELECT"):
            room.query(records(project), sql, ready=lambda: ready.append("ready"))
    assert not (project.parent / "cache/cas/experiments").exists()
    assert ready == []
    room.query(records(project), "SELECT 1", ready=lambda: ready.append("ready"))
    assert (project.parent / "cache/cas/experiments").exists()
    assert ready == ["ready"]


def test_a_command_of_experiments_ends_at_once_and_with_all_that_it_said(project) -> None:
    long = child(START, "query", "--json", "SELECT range AS n, repeat('x', 99) x FROM range(9999)")
    assert long.returncode == 0, long.stderr
    assert [row["n"] for row in json.loads(long.stdout)] == list(range(9999))
    for words, code in ((("lineage", "none"), 1), (("query", "DROP TABLE x"), 2), (("stale",), 0)):
        done = child(START, *words)
        assert (done.returncode, "taken apart" in done.stdout) == (code, False), done.stderr
        assert done.stderr
    assert "taken apart" in child(START, "list").stdout
    with open("/dev/full", "w", encoding="utf-8") as full:
        argv = [sys.executable, "-m", "cas", "query", "SELECT 1"]
        done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert "No space left" in done.stderr


def test_a_program_of_cas_run_keeps_the_threads_of_its_numpy(project, monkeypatch) -> None:
    told = "import os; print(os.environ.get('OPENBLAS_NUM_THREADS'))"
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    done = child(START, "run", "--", sys.executable, "-c", told)
    assert done.stdout.splitlines()[0] == "None", done.stderr


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_times_are_the_ones_that_arrow_makes_of_them(zone) -> None:
    kind = pa.timestamp("us", zone)
    moments = [0, -1, 1_700_000_000_123_456, None, -62_135_596_800_000_000, 253_402_300_799_999_999]
    column = pa.chunked_array([pa.array(moments, kind), pa.array(moments, kind).slice(1, 3)], kind)
    assert to_list(column) == column.to_pylist()
    assert to_list(column.slice(2, 6)) == column.slice(2, 6).to_pylist()
    if zone:
        assert to_list(column)[0] == datetime(1970, 1, 1, tzinfo=UTC)
    with pytest.raises(OverflowError):
        to_list(pa.chunked_array([pa.array([2**62], kind)]))


@pytest.mark.parametrize("values", [(True, False, None), (1, 2, 3, None), (0.5, 1.5, "nan", "inf")])
@pytest.mark.parametrize("towards", ["min", "max"])
def test_the_board_is_what_a_sort_of_all_rows_gives(tmp_path, monkeypatch, values, towards) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    draw = random.Random(f"{values}{towards}")
    expected = []
    for number in range(30):
        drawn = [draw.choice(values) for _ in range(draw.randint(1, 9))]
        drawn = [float(v) if isinstance(v, str) else v for v in drawn]
        room.save(tmp_path / "e", f"n{number:02}", [{"m": value, "x": 1} for value in drawn])
        finite = [(v, i) for i, v in enumerate(drawn) if v is not None and abs(v) < 9]
        if finite:
            sign = 1 if towards == "min" else -1
            key, row, value = min((sign * v, i, v) for v, i in finite)
            expected.append((key, f"n{number:02}", row, value))
    expected.sort(key=lambda one: one[0])
    told = room.best(tmp_path / "e", "m", top=99, direction=towards)["experiments"]
    assert [(r["name"], r["row_index"], r["value"]) for r in told] == [e[1:] for e in expected]
    assert told[:3] == room.best(tmp_path / "e", "m", top=3, direction=towards)["experiments"]
