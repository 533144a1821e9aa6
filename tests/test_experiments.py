"""Experiments: the record's format, what is refused, what survives, and SQL that stays inside."""

from __future__ import annotations

import datetime as dt
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from decimal import Decimal
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cas import experiments as room
from cas.digest import hash_bytes
from cas.errors import CasError, ExperimentError, StoreError, UsageError
from cas.experiments.arrays import build
from cas.experiments.mask import mask, mask_argv
from cas.experiments.naming import new_id
from cas.experiments.record import RESERVED
from cas.gitstate import GitState

ROOT = Path(__file__).parent.parent
TREE = "t1:" + "a" * 64
OTHER = "t1:" + "b" * 64
STORIES = room.Use(
    name="datasets/roneneldan/TinyStories",
    kind="datasets",
    role="input",
    tree=TREE,
    commit="c" * 40,
)
WALK = """SELECT a.name, e.experiment_name, MIN(e.perplexity) FROM experiments e
    JOIN experiment_assets u USING (experiment_id) JOIN assets a ON a.tree = u.tree GROUP BY ALL"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "assets" / "outputs" / "experiments"


def rows(directory: Path, sql: str, **options: object) -> list[dict]:
    return room.query(directory, sql, **options).to_pylist()


def column(directory: Path, name: str) -> list:
    return [row[name] for row in rows(directory, f'SELECT "{name}" FROM all_experiments')]


# The record


def test_a_record_is_read_by_plain_pyarrow_and_duckdb(here: Path) -> None:
    run = room.Run(
        git_commit="d" * 40, git_dirty=True, host="node", argv=("python", "a.py"), seed=7
    )
    path = room.save(
        here,
        "exp_001",
        [{"step": 1, "loss": 2.5}, {"step": 2, "loss": 1.5}],
        metadata={"model": "custom-transformer", "lr": 0.1},
        uses=[STORIES],
        run=run,
        tags=["ablation"],
    )
    assert re.fullmatch(r"exp_001\.[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f-]{21}\.parquet", path.name)
    schema = pq.read_schema(path)
    told = dict(zip(schema.names, map(str, schema.types), strict=True))
    words = ("name", "kind", "role", "tree", "commit")
    assert told["experiment_id"] == told["experiment_name"] == told["metadata"] == "string"
    assert told["row_index"] == told["step"] == "int64"
    assert told["created_at"] == "timestamp[us, tz=UTC]"
    struct = pa.struct([(word, pa.string()) for word in words])
    assert schema.field("assets").type.value_type == struct
    assert set(RESERVED) <= set(schema.names)
    assert [f.name for f in schema.field("run").type] == [
        "git_commit", "git_branch", "git_dirty", "git_moved", "git_diff", "packages", "lock",
        "host", "user", "python", "argv", "seed", "gpu", "cas",
    ]  # fmt: skip

    plain = duckdb.sql(
        "SELECT experiment_name, row_index, loss, metadata->>'model' AS model, run.seed AS seed,"
        f" assets[1].tree AS tree, tags, status FROM '{path}' ORDER BY row_index"
    ).fetchall()
    assert plain == [
        ("exp_001", 0, 2.5, "custom-transformer", 7, TREE, ["ablation"], "finished"),
        ("exp_001", 1, 1.5, "custom-transformer", 7, TREE, ["ablation"], "finished"),
    ]
    document = json.loads(pq.read_metadata(path).metadata[b"cas"])
    assert document["run"]["git_commit"] == "d" * 40
    assert document["run"]["argv"] == ["python", "a.py"]
    assert document["metadata"] == {"model": "custom-transformer", "lr": 0.1}
    assert document["assets"][0]["tree"] == TREE
    first = pq.read_table(path).to_pylist()[0]
    assert document["experiment_id"] == first["experiment_id"] in path.name
    moment = dt.datetime.fromisoformat(document["created_at"])
    assert moment == first["created_at"]
    assert abs((dt.datetime.now(dt.UTC) - moment).total_seconds()) < 60


@pytest.mark.parametrize("nothing", [None, [], {}, pd.DataFrame(), pd.DataFrame({"loss": []})])
def test_a_record_without_rows_keeps_its_run(here: Path, nothing: object) -> None:
    run = room.Run(git_commit="d" * 40)
    room.save(here, "empty", nothing, metadata={"note": "died"}, uses=[STORIES], run=run)
    (record,) = room.list_records(here)
    assert (record["name"], record["rows"], record["git_commit"]) == ("empty", 0, "d" * 40)
    assert record["assets"][0]["tree"] == TREE
    (found,) = rows(here, "SELECT rows, metadata->>'note' AS note, run.git_commit AS c FROM runs")
    assert found == {"rows": 0, "note": "died", "c": "d" * 40}
    assert rows(here, "SELECT * FROM experiments") == []


def test_every_kind_of_results_gives_the_same_rows(here: Path) -> None:
    expected = [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}]
    columns = {"step": [1, 2], "loss": [0.5, 0.25]}
    kinds = [
        expected,
        columns,
        pd.DataFrame(columns),
        pa.table(columns),
        pa.RecordBatch.from_pydict(columns),
        pd.DataFrame(columns).astype({"step": "Int64", "loss": "Float32"}),
    ]
    for number, results in enumerate(kinds):
        room.save(here, f"kind{number}", results)
        found = rows(
            here, f"SELECT step, loss FROM experiments WHERE experiment_name='kind{number}'"
        )
        assert found == expected
    room.save(here, "one", {"step": 3, "loss": 1})
    assert rows(here, "SELECT step FROM experiments WHERE experiment_name = 'one'") == [{"step": 3}]
    grouped = pd.DataFrame({"lr": [1, 1, 2], "acc": [0.0, 1.0, 1.0]}).groupby("lr").mean()
    room.save(here, "grouped", grouped)
    found = rows(here, "SELECT lr, acc FROM experiments WHERE experiment_name = 'grouped'")
    assert found == [{"lr": 1, "acc": 0.5}, {"lr": 2, "acc": 1.0}]


def test_polars_frames_are_taken(here: Path) -> None:
    polars = pytest.importorskip("polars")
    room.save(here, "polars", polars.DataFrame({"loss": [0.5], "who": ["x"]}))
    assert rows(here, "SELECT loss, who FROM experiments") == [{"loss": 0.5, "who": "x"}]


def test_values_of_many_types_are_saved_in_a_sensible_type(here: Path) -> None:
    noon = dt.datetime(2025, 1, 1, 12, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    frame = pd.DataFrame({
        "nan": [math.nan, 1.0],
        "infinite": [math.inf, -math.inf],
        "category": pd.Categorical(["a", "b"]),
        "zoned": pd.to_datetime([noon, noon], utc=False),
        "day": [dt.date(2025, 1, 1), None],
        "took": pd.to_timedelta(["1.5s", None]),
        "flag": [True, None],
        "missing": [None, None],
        "text": ["🎉", None],
        "curve": [[1, 2.5], None],
        "nested": [{"a": [1, math.nan]}, None],
        "wide": np.array([2**64 - 1, 1], dtype="uint64"),
    })  # fmt: skip
    path = room.save(here, "types", frame)
    first = pq.read_table(path).to_pylist()[0]
    assert math.isnan(first["nan"])
    assert first["infinite"] == math.inf
    assert first["category"] == "a"
    assert first["zoned"] == dt.datetime(2025, 1, 1, 10, tzinfo=dt.UTC)
    assert first["day"] == dt.date(2025, 1, 1)
    assert first["took"] == 1.5
    assert first["flag"] is True
    assert first["text"] == "🎉"
    assert first["curve"] == [1.0, 2.5]
    assert json.loads(first["nested"]) == {"a": [1, None]}
    assert first["wide"] == 2.0**64
    assert first["wide__text"] == str(2**64 - 1)
    assert pq.read_schema(path).field("missing").type == pa.float64()
    assert len(rows(here, "SELECT * FROM experiments")) == 2


def test_values_at_the_edge_of_their_type_are_what_they_say(here: Path) -> None:
    periods = pd.DataFrame({"month": pd.period_range("2020-01", periods=2, freq="M")})
    assert pq.read_table(room.save(here, "p", periods))["month"].to_pylist() == [
        "2020-01",
        "2020-02",
    ]
    path = room.save(here, "edge", {
        "step": range(2),
        "when": [np.datetime64("2025-01-31"), np.datetime64("NaT")],
        "exact": [np.datetime64("2025-01-31T00:00:00.000001999"), None],
        "took": [np.timedelta64(1500, "ms"), np.timedelta64("NaT")],
        "long": [np.longdouble(1.5), 2],
        "decimal": [Decimal("sNaN"), Decimal("1e999999999")],
    })  # fmt: skip
    table = pq.read_table(path)
    assert table["step"].to_pylist() == [0, 1]
    assert table["when"].to_pylist() == [dt.datetime(2025, 1, 31), None]
    assert table["exact"].to_pylist() == [dt.datetime(2025, 1, 31, 0, 0, 0, 1), None]
    assert table["took"].to_pylist() == [1.5, None]
    assert table["long"].to_pylist() == [1.5, 2.0]
    first, second = table["decimal"].to_pylist()
    assert math.isnan(first)
    assert second == math.inf


def test_numbers_and_text_in_one_column_are_kept_apart(here: Path) -> None:
    path = room.save(here, "mixed", {"loss": [9.5, "10.0", "diverged", None, True]})
    table = pq.read_table(path)
    assert table["loss"].to_pylist() == [9.5, 10.0, None, None, 1.0]
    assert table["loss__text"].to_pylist() == [None, None, "diverged", None, None]
    big = room.save(here, "big", {"seed": [2**53 + 1, 0.5]})
    table = pq.read_table(big)
    assert table["seed__text"].to_pylist() == [str(2**53 + 1), None]


@pytest.mark.parametrize(
    ("results", "told"),
    [
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "'a' is there twice"),
        (pd.DataFrame([[1, 2]], columns=["Loss", "loss"]), "differ only in case"),
        (pd.DataFrame([[1]], columns=[0]), "expected text as its name"),
        ({"": 1}, "the name is empty"),
        ({"  ": 1}, "the name is empty"),
        ({"a\nb": 1}, "control character"),
        ({"x" * 256: 1}, "longer than 255 bytes"),
        ({"loss__text": 1}, "end in '__text'"),
        ({"Run": 1}, "one of cas's own"),
        *[({name: 1}, "one of cas's own") for name in sorted(RESERVED)],
        ({"z": 1j}, "column 'z', row 0: a value of type 'complex'"),
        (pd.DataFrame({"z": [1j]}), "'complex'"),
        ({"z": b"x"}, "a value of type 'bytes'"),
        ({"z": object()}, "a value of type 'object'"),
        ({"z": 10**5000}, "column 'z', row 0: an integer of more than 4300 digits"),
        ({"z": dt.datetime.max.replace(tzinfo=dt.timezone(-dt.timedelta(hours=1)))}, "no time in"),
        ({"z": np.datetime64("99999")}, "99999 is beyond the times that can be saved"),
        ({"z": np.datetime64(2**62, "s")}, "beyond the times that can be saved"),
        ({"z": np.timedelta64(2**62, "s")}, "beyond the times that can be saved"),
        ({"a": [1, 2], "b": [1]}, "differ in length"),
        ({"a": [1, 2], "b": 1}, "mix one value"),
        ([1, 2], r"results\[0\]: expected a dict"),
        ("text", "expected a frame"),
        ({f"c{i}": 1 for i in range(1_000_000)}, "at most 10000 columns, found 1000000"),
        ([{f"c{i}": 1} for i in range(20_000)], "at most 10000 columns"),
    ],
)
def test_results_that_cannot_be_saved_are_refused_whole(
    here: Path, results: object, told: str
) -> None:
    with pytest.raises(ExperimentError, match=told):
        room.save(here, "bad", results)
    assert not here.exists() or not list(here.iterdir())


def test_an_error_about_a_reserved_name_says_how_to_go_on(here: Path) -> None:
    with pytest.raises(ExperimentError) as caught:
        room.save(here, "bad", {"status": 1})
    assert "rename" in str(caught.value.hint)


def test_metadata_that_is_not_json_names_the_key(here: Path) -> None:
    with pytest.raises(ExperimentError, match=r"metadata\.model\.net: a value of type 'object'"):
        room.save(here, "bad", None, metadata={"model": {"net": object()}})
    looped: dict = {}
    looped["self"] = looped
    with pytest.raises(ExperimentError, match="inside itself") as caught:
        room.save(here, "bad", None, metadata=looped)
    assert len(str(caught.value)) < 300
    with pytest.raises(ExperimentError, match=r"metadata\.big: an integer of more than 4300"):
        room.save(here, "bad", None, metadata={"big": 10**5000})
    with pytest.raises(ExperimentError, match="not valid Unicode") as caught:
        room.save(here, "bad", None, metadata={"\ud800": 1})
    str(caught.value).encode()
    with pytest.raises(ExperimentError, match="expected a mapping"):
        room.save(here, "bad", None, metadata=[1])  # type: ignore[arg-type]
    with pytest.raises(ExperimentError, match="most of them in 'blob'"):
        room.save(here, "bad", None, metadata={"blob": "x" * (5 << 20)})
    assert not here.exists()
    room.save(here, "good", None, metadata={"nan": math.nan, "path": Path("a"), 1: (1, 2),
                                                   "decimal": Decimal("sNaN")})  # fmt: skip
    (found,) = rows(here, "SELECT metadata FROM runs")
    assert json.loads(found["metadata"]) == {
        "nan": None, "path": "a", "1": [1, 2], "decimal": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["", " ", ".hidden", "..", "a/b", "../x", "a\\b", "a\0b", "a\nb", "a\x7f", "x" * 201, "é" * 101,
     "\ud800", 1, None],
)  # fmt: skip
def test_names_that_are_not_one_part_of_a_path_are_refused(here: Path, name: object) -> None:
    with pytest.raises(UsageError):
        room.save(here, name, {"a": 1})  # type: ignore[arg-type]
    assert not here.exists()


@pytest.mark.parametrize(
    "name", ["x" * 200, "é" * 100, "a.b.parquet", "a b", "🎉", "lr=0.1,seed=2"]
)
def test_names_that_are_one_part_of_a_path_come_back(here: Path, name: str) -> None:
    room.save(here, name, {"a": 1})
    assert [record["name"] for record in room.list_records(here)] == [name]


def test_a_name_saved_again_keeps_both_and_shows_the_newest(here: Path) -> None:
    told: list[str] = []
    room.save(here, "exp", {"loss": [1.0, 2.0]}, warn=told.append)
    room.save(here, "exp.2", {"loss": 5.0}, warn=told.append)
    assert told == []
    room.save(here, "exp", {"loss": [3.0]}, warn=told.append)
    (message,) = told
    assert "'exp' was saved 1 time before" in message
    assert "all_experiments" in message
    found = rows(here, "SELECT loss FROM experiments WHERE experiment_name = 'exp'")
    assert found == [{"loss": 3.0}]
    assert len(column(here, "loss")) == 4
    assert len(room.list_records(here)) == 2
    assert len(room.list_records(here, every=True)) == 3
    before = sorted(os.listdir(here))
    with pytest.raises(ExperimentError, match="already saved"):
        room.save(here, "exp", {"loss": 1.0}, if_exists="error")
    assert sorted(os.listdir(here)) == before


def test_arguments_that_cannot_be_taken_are_usage_errors(here: Path) -> None:
    for options in ({"status": "done"}, {"tags": "abl"}, {"tags": [""]}, {"if_exists": "replace"}):
        with pytest.raises(UsageError):
            room.save(here, "exp", {"a": 1}, **options)  # type: ignore[arg-type]
    bad = room.Use(name="datasets/x", kind="datasets", role="input", tree="t1:beef")
    with pytest.raises(ExperimentError, match="tree id"):
        room.save(here, "exp", {"a": 1}, uses=[bad])


def test_ids_sort_by_time_within_a_process(here: Path) -> None:
    for number in range(200):
        room.save(here, f"e{number}", None)
    found = rows(here, "SELECT experiment_name, experiment_id FROM runs ORDER BY experiment_id")
    assert [row["experiment_name"] for row in found] == [f"e{number}" for number in range(200)]


def test_ids_never_go_back_whatever_the_clock_does(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time_ns()
    clock = iter([*[now] * 1000, *range(now, now - 10**9, -(10**6)), *[now] * 100])
    monkeypatch.setattr(time, "time_ns", lambda: next(clock))
    drawn = [new_id() for _ in range(2100)]
    assert len(set(drawn)) == 2100
    assert sorted(drawn) == drawn


def test_a_long_record_is_written_in_groups(here: Path) -> None:
    count = 150_000
    path = room.save(here, "long", {"step": list(range(count))}, uses=[STORIES] * 3)
    assert pq.read_metadata(path).num_row_groups == 3
    (found,) = rows(
        here, "SELECT count(*) AS n, max(row_index) AS last, max(step) AS s FROM experiments"
    )
    assert found == {"n": count, "last": count - 1, "s": count - 1}
    assert len(rows(here, "FROM experiment_assets")) == 1


SCALARS = {
    pa.bool_(): st.booleans(),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float64(): st.floats(allow_nan=False),
    pa.string(): st.text(),
    pa.timestamp("us"): st.datetimes(),
    pa.timestamp("us", "UTC"): st.datetimes(timezones=st.just(dt.UTC)),
    pa.date32(): st.dates(),
    pa.time64("us"): st.times(),
}


@pytest.mark.parametrize("kind", SCALARS, ids=str)
@settings(deadline=None)
@given(data=st.data())
def test_arrays_made_of_buffers_are_those_of_pyarrow(
    kind: pa.DataType, data: st.DataObject
) -> None:
    values = data.draw(st.lists(st.none() | SCALARS[kind]))
    array = build(values, kind)
    array.validate(full=True)
    assert array.equals(pa.array(values, kind))
    nested = pa.list_(pa.struct([("a", kind), ("b", pa.list_(kind))]))
    lists = [None, [], [None, {"a": values[0] if values else None, "b": values}]]
    array = build(lists, nested)
    array.validate(full=True)
    assert array.equals(pa.array(lists, nested))


# Faults


def script(body: str, *words: str) -> subprocess.Popen[str]:
    head = "import sys, os, time\nfrom pathlib import Path\nfrom cas import experiments as room\n"
    return subprocess.Popen(
        [sys.executable, "-c", head + body, *words],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["'w' + sys.argv[2] + '_' + str(i)", "'same'"])
def test_eight_processes_saving_at_once_lose_nothing(here: Path, name: str) -> None:
    body = f"for i in range(25): room.save(Path(sys.argv[1]), {name}, {{'i': i, 'w': sys.argv[2]}})"
    workers = [script(body, str(here), str(number)) for number in range(8)]
    for worker in workers:
        _, errors = worker.communicate(timeout=120)
        assert worker.returncode == 0, errors
    told: list[str] = []
    found = rows(here, "SELECT w, i FROM all_experiments", warn=told.append)
    assert told == []
    assert {(row["w"], row["i"]) for row in found} == {
        (str(w), i) for w in range(8) for i in range(25)
    }
    assert [entry for entry in os.listdir(here) if not entry.endswith(".parquet")] == []


def test_a_killed_save_leaves_no_partial_record(here: Path) -> None:
    body = (
        "room.save(Path(sys.argv[1]), f'first{os.getpid()}', {'x': list(range(20000))})\n"
        "print('go', flush=True)\n"
        "for i in range(10**6): room.save(Path(sys.argv[1]), f'e{i}', {'x': list(range(20000))})"
    )
    for round_ in range(6):
        worker = script(body, str(here))
        assert worker.stdout is not None
        worker.stdout.readline()
        time.sleep(0.05 + 0.03 * round_)
        worker.send_signal(signal.SIGKILL)
        worker.communicate()
    told: list[str] = []
    records = room.list_records(here, every=True, warn=told.append)
    assert told == []
    assert records
    assert all(record["rows"] == 20000 for record in records)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_record_has_its_name_when_it_is_synced_and_the_name_is_too(
    here: Path, tmp_path: Path
) -> None:
    body = f"""import sys
from pathlib import Path
from cas import experiments as room
room.save(Path({str(here)!r}), "e", {{"x": [1, 2]}})"""
    log = tmp_path / "calls"
    traced = ["strace", "-f", "-qq", "-y", "-o", log, "-e", "trace=openat,link,linkat,fsync"]
    subprocess.run([*traced, sys.executable, "-c", body], check=True, cwd=ROOT)
    calls = [line for line in log.read_text().splitlines() if " = -1 " not in line]
    (record,) = here.glob("*.parquet")
    (linked,) = (n for n, call in enumerate(calls) if "link" in call and record.name in call)
    temporary = re.findall(r'"([^"]*)"', calls[linked])[0]
    assert any("fsync" in call and os.path.basename(temporary) in call for call in calls[:linked])
    assert any("fsync" in call and f"<{here}>" in call for call in calls[linked:])
    assert not any("O_CREAT" in call and record.name in call for call in calls)


def test_what_each_row_repeats_takes_no_room(here: Path) -> None:
    text = np.random.default_rng(1).bytes(100_000).hex()  # nothing to make smaller but itself
    record = room.save(here, "e", {"x": list(range(900))}, metadata={"text": text})
    assert record.stat().st_size < 1 << 20
    assert column(here, "metadata")[899] == json.dumps({"text": text}, separators=(",", ":"))


@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o000, 0o644), (0o022, 0o644)])
def test_a_record_is_never_writable_by_all(here: Path, umask: int, mode: int) -> None:
    worker = script(f"os.umask({umask})\nroom.save(Path(sys.argv[1]), 'e', None)", str(here))
    _, errors = worker.communicate(timeout=60)
    assert worker.returncode == 0, errors
    (path,) = here.iterdir()
    assert path.stat().st_mode & 0o777 == mode


def test_a_directory_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ExperimentError, match="can't write"):
        room.save(tmp_path / "file" / "experiments", "exp", None)


def test_files_that_are_no_records_are_skipped_and_named(here: Path) -> None:
    good = room.save(here, "good", {"loss": 1.0})
    torn = here / good.name.replace("good", "torn")
    torn.write_bytes(good.read_bytes()[:-40])
    holed = here / good.name.replace("good", "holed")
    data = bytearray(good.read_bytes())
    data[4:200] = bytes(196)
    holed.write_bytes(data)
    (here / "empty.parquet").write_bytes(b"")
    pq.write_table(pa.table({"a": [1]}), here / "foreign.parquet")
    for name, footer in {
        "newer": b'{"version": 99}',
        "broken": b"{",
        "deep": b"[" * 100_000,
        "list": b"[]",
        "wrong": b'{"version": 1, "run": {"seed": "x"}, "metadata": {}}',
        "poor": b'{"version": 1, "run": 3}',
    }.items():
        schema = pa.schema([("a", pa.int64())], metadata={b"cas": footer})
        pq.write_table(pa.table({"a": [1]}, schema=schema), here / f"{name}.parquet")
    (here / "copy.parquet").write_bytes(good.read_bytes())
    os.mkfifo(here / "fifo.parquet")
    (here / ".cas-x.parquet").write_bytes(b"temporary")
    (here / "README.md").write_text("not mine")
    told: list[str] = []
    assert len(rows(here, "SELECT loss FROM experiments", warn=told.append)) == 1
    named = {re.findall(r"/([^/']+)'", message)[0].partition(".")[0] for message in told}
    expected = {"torn", "empty", "foreign", "newer", "broken", "deep", "list", "wrong", "poor"}
    assert expected <= named
    assert named - expected <= {"good", "copy", "holed"}
    assert any("a newer cas wrote it" in message for message in told)
    assert len(room.references(here).unreadable) >= len(expected)


def test_references_are_what_the_store_must_keep(here: Path) -> None:
    objects = [hash_bytes(word) for word in (b"diff", b"packages", b"lock")]
    run = room.Run(git_diff=objects[0], packages=objects[1], lock=objects[2])
    earlier = room.Use(name="models/x", kind="models", role="earlier", tree=OTHER)
    room.save(here, "exp", None, uses=[STORIES, earlier], run=run)
    found = room.references(here)
    assert found.trees == {TREE, OTHER}
    assert found.objects == set(objects)
    assert found.unreadable == ()


# SQL


def test_the_walk_joins_experiments_and_assets_on_the_tree(here: Path) -> None:
    room.save(here, "exp_001", {"perplexity": [9.5, 8.5]}, uses=[STORIES])
    room.save(here, "exp_002", {"perplexity": [7.5]}, uses=[STORIES])
    assets = [
        {"name": "datasets/roneneldan/TinyStories", "kind": "datasets", "tree": TREE,
         "locked": True, "present": True,
         "repository": "roneneldan/TinyStories", "files": 2, "size": 10},
        {"name": "models/unused", "kind": "models", "tree": OTHER, "locked": True,
         "present": False},
    ]  # fmt: skip
    found = {tuple(row.values()) for row in rows(here, WALK, assets=assets)}
    assert found == {
        ("datasets/roneneldan/TinyStories", "exp_001", 8.5),
        ("datasets/roneneldan/TinyStories", "exp_002", 7.5),
    }
    assert len(rows(here, "SELECT * FROM assets", assets=assets)) == 2
    (known,) = rows(here, "SELECT * FROM assets")
    assert known == {
        "name": STORIES.name, "kind": "datasets", "repository": None, "commit": "c" * 40,
        "tree": TREE, "files": None, "size": None, "locked": False, "present": False,
    }  # fmt: skip


def test_without_experiments_the_views_are_there_and_empty(here: Path) -> None:
    for view in ("experiments", "all_experiments"):
        table = room.query(here, f"SELECT * FROM {view}")
        assert (table.num_rows, set(RESERVED) - set(table.column_names)) == (0, set())
        assert table.schema.field("created_at").type == pa.timestamp("us", "UTC")
    for view in ("experiment_assets", "all_experiment_assets", "runs", "assets"):
        assert room.query(here, f"SELECT * FROM {view}").num_rows == 0
    assert rows(here, WALK.replace("MIN(e.perplexity)", "count(*)")) == []
    assert room.list_records(here) == []
    assert room.best(here, "perplexity")["experiments"] == []
    assert not here.exists()


def test_uses_are_kept_once_and_earlier_ones_left_out(here: Path) -> None:
    earlier = room.Use(name="models/x", kind="models", role="earlier", tree=OTHER)
    room.save(here, "exp", {"loss": 1.0}, uses=[STORIES, STORIES, earlier])
    assert len(rows(here, "FROM experiment_assets")) == 1
    assert len(rows(here, "FROM all_experiment_assets")) == 2
    assert [use["role"] for use in room.list_records(here)[0]["assets"]] == ["input"]
    assert [use["role"] for use in room.best(here, "loss")["experiments"][0]["assets"]] == ["input"]


def test_numbers_win_when_records_differ_in_type(here: Path) -> None:
    room.save(here, "a", {"loss": [8]})
    room.save(here, "b", {"Loss": [9.5]})
    room.save(here, "c", {"LOSS": ["10.0", "n/a"]})
    room.save(here, "d", {"loss": [[1.0, 2.0]]})
    room.save(here, "e", {"loss": [None]})
    room.save(here, "f", {"loss": [True], "other": ["x"]})
    assert rows(
        here, "SELECT MIN(loss) AS m, MAX(loss) AS x, typeof(ANY_VALUE(loss)) AS t FROM experiments"
    ) == [{"m": 1.0, "x": 10.0, "t": "DOUBLE"}]
    assert [text for text in column(here, "loss__text") if text] == ["n/a", "[1.0, 2.0]"]


def test_a_null_column_has_no_say_and_large_integers_keep_their_digits(here: Path) -> None:
    room.save(here, "a", {"who": [None], "seed": [2**60 + 1]})
    room.save(here, "b", {"who": ["x"], "seed": [0.5]})
    assert column(here, "who") == [None, "x"]
    assert column(here, "seed") == [float(2**60), 0.5]
    assert column(here, "seed__text") == [str(2**60 + 1), None]
    names = room.query(here, "SELECT * FROM experiments").column_names
    assert "who__text" not in names


def test_lists_and_times_of_different_kinds_do_not_kill_a_query(here: Path) -> None:
    room.save(here, "a", {"v": [[1, 2]], "t": [dt.datetime(2025, 1, 1)], "w": [["x"]]})
    room.save(here, "b", {"v": [[0.5]], "t": [dt.datetime(2025, 1, 1, tzinfo=dt.UTC)], "w": [[1]]})
    room.save(here, "c", {"val.loss": [1.0], "val": [2.0], "a b": [1], 'q"q': [1]})
    assert column(here, "v") == [[1.0, 2.0], [0.5], None]
    assert column(here, "t") == ["2025-01-01T00:00:00", "2025-01-01T00:00:00+00:00", None]
    assert column(here, "w") == ['["x"]', "[1]", None]
    assert column(here, "val.loss") == [None, None, 1.0]
    assert column(here, "val") == [None, None, 2.0]


def test_a_wide_record_beside_a_long_one_fits_in_memory(here: Path) -> None:
    room.save(here, "wide", {f"w{number}": [1.0] for number in range(5000)})
    room.save(here, "long", {"w1": [0.5] * 200_000})
    room.save(here, "wide", {f"w{number}": [2.0] for number in range(5000)})
    sql = "SELECT max(w7) AS a, min(w1) AS b, count(*) AS n FROM experiments"
    body = (
        f"print(room.query(Path(sys.argv[1]), {sql!r}).to_pylist())\n"
        "status = open('/proc/self/status').read()\n"
        "print(status.partition('VmHWM:')[2].split()[0])\n"  # of this program, not its parent's
    )
    output, errors = script(body, str(here)).communicate(timeout=120)
    found, kilobytes = output.splitlines()
    assert found == "[{'a': 2.0, 'b': 0.5, 'n': 200001}]", errors
    assert int(kilobytes) < 2_000_000  # 8 GB of nulls, were they not shared


def test_rows_come_in_the_order_of_their_records(here: Path) -> None:
    for name in ("b", "a", "c"):
        room.save(here, name, {"x": list(range(5))})
    found = rows(here, "SELECT experiment_name, row_index FROM experiments")
    assert found == [{"experiment_name": n, "row_index": i} for n in "bac" for i in range(5)]


HOSTILE = [
    "COPY experiments TO '{}/stolen.csv'",
    "ATTACH '{}/stolen.db' AS z",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "RESET lock_configuration",
    "PRAGMA version",
    "PRAGMA enable_profiling",
    "CALL pragma_version()",
    "EXPORT DATABASE '{}/stolen'",
    "IMPORT DATABASE '{}/stolen'",
    "CREATE TABLE t AS SELECT 1",
    "INSERT INTO experiments VALUES (1)",
    "DELETE FROM experiments",
    "DROP VIEW experiments",
    "CHECKPOINT",
    "VACUUM",
    "SELECT 1; SELECT 2",
    "SELECT 1; COPY (SELECT 1) TO '{}/stolen.csv'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{}/stolen.csv'",
    "/* x */ EXPLAIN -- y\n ANALYZE COPY (SELECT 1) TO '{}/stolen.csv'",
    "EXPLAIN (FORMAT json) COPY (SELECT 1) TO '{}/stolen.csv'",
    "COPY (PIVOT experiments ON loss USING count(*)) TO '{}/stolen.csv'",
    "EXPLAIN COPY (PIVOT experiments ON loss USING count(*)) TO '{}/stolen.csv'",
    "WITH a AS (COPY (PIVOT experiments ON loss USING count(*)) TO '{}/x') SELECT * FROM a",
    "PREPARE a AS SELECT 1",
    "",
    "-- nothing",
    "SELECT 1\0",
    "SELECT '\udcff'",
]
FAILING = [
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob('/etc/passwd')",
    "SELECT * FROM read_json('/etc/passwd')",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM '{}/file.parquet'",
    "SELECT * FROM parquet_metadata('{}/file.parquet')",
    "SELECT * FROM read_csv('https://example.org/x.csv')",
    "SELECT getenv('HOME')",
    "SELECT * FROM python_variable",
    "SELECT * FROM query('COPY (SELECT 1) TO ''{}/stolen.csv''')",
    "WITH a AS (COPY (SELECT 1) TO '{}/stolen.csv') SELECT 1",
    "SELECT * FROM enable_logging(storage='file', storage_path='{}/stolen')",
    "SELECT * FROM enable_profiling(save_location='{}/stolen')",
    "SELECT * FROM arrow_scan(1, 2, 3)",
    "SELEC 1",
    "WITH a AS (DELETE FROM experiments RETURNING *) SELECT * FROM a",
    "WITH a AS (INSERT INTO experiments VALUES (1) RETURNING *) SELECT * FROM a",
    "EXPLAIN EXPLAIN SELECT 1",
    "SELECT " + "(" * 5000 + "1" + ")" * 5000,
]


@pytest.mark.parametrize("sql", HOSTILE)
def test_sql_that_is_not_one_select_is_a_usage_error(here: Path, tmp_path: Path, sql: str) -> None:
    room.save(here, "exp", {"loss": [1.0]})
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError):
        room.query(here, sql.replace("{}", str(tmp_path)))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("sql", FAILING, ids=lambda sql: sql[:60])
def test_sql_that_reaches_outside_fails(here: Path, tmp_path: Path, sql: str) -> None:
    python_variable = pa.table({"secret": [1]})
    room.save(here, "exp", {"loss": [1.0]})
    pq.write_table(python_variable, tmp_path / "file.parquet")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ExperimentError) as caught:
        room.query(here, sql.replace("{}", str(tmp_path)))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1;",
        "FROM experiments",
        "TABLE experiments",
        "WITH a AS (SELECT 1 AS x) SELECT * FROM a",
        "EXPLAIN SELECT * FROM experiments",
        "EXPLAIN ANALYZE SELECT * FROM experiments",
        "EXPLAIN (FORMAT json) SELECT 1",
        "PIVOT experiments ON loss USING count(*)",
        "-- c\n PIVOT experiments ON experiment_name USING min(loss)",
        "WITH p AS (PIVOT experiments ON loss USING count(*)) SELECT * FROM p",
        "DESCRIBE experiments",
        "SHOW TABLES",
        "SUMMARIZE SELECT loss FROM experiments",
        "SELECT metadata->>'m', run.host, created_at > now() - INTERVAL 7 DAY FROM experiments",
    ],
)
def test_sql_that_only_reads_is_answered(here: Path, sql: str) -> None:
    room.save(here, "exp", {"loss": [1.0]})
    assert room.query(here, sql).num_columns > 0


def test_an_endless_query_is_stopped_at_its_deadline(here: Path) -> None:
    room.save(here, "exp", {"loss": [1.0]})
    many = ", ".join(f"range(1000000) {name}" for name in "abc")
    sql = f"SELECT count(*) FROM {many} WHERE a.range + b.range + c.range = -1"
    started = time.monotonic()
    with pytest.raises(ExperimentError, match=r"longer than 0\.5 s"):
        room.query(here, sql, timeout=0.5)
    assert time.monotonic() - started < 10
    assert not [thread for thread in threading.enumerate() if thread.name == "cas-query"]


def test_a_query_that_needs_too_much_memory_is_stopped(here: Path) -> None:
    with pytest.raises(ExperimentError, match="more memory than 64MB"):
        room.query(here, "SELECT * FROM range(100000000) ORDER BY random()", memory="64MB")
    with pytest.raises(ExperimentError, match="larger than 64MB"):
        room.query(here, "SELECT range, range, range FROM range(100000000)", memory="64MB")
    for word in ("", "2", "2 GBs", "-1GB", "1KB"):
        with pytest.raises(UsageError):
            room.query(here, "SELECT 1", memory=word)
    with pytest.raises(UsageError):
        room.query(here, "SELECT 1", timeout=0)


def test_a_misspelt_column_or_view_gives_the_near_name(here: Path) -> None:
    room.save(here, "exp", {"perplexity": [1.0]})
    for sql, near in {
        "SELECT perplexty FROM experiments": "'perplexity'",
        "SELECT e.perplexty FROM experiments e": "'perplexity'",
        "SELECT * FROM experiment": "'experiments'",
    }.items():
        with pytest.raises(ExperimentError) as caught:
            room.query(here, sql)
        assert near in str(caught.value.hint)


def test_params_and_frames_are_bound(here: Path) -> None:
    room.save(here, "exp", {"loss": [1.0, 2.0]})
    assert rows(here, "SELECT loss FROM experiments WHERE loss > ?", params=[1.5]) == [
        {"loss": 2.0}
    ]
    named = rows(here, "SELECT loss FROM experiments WHERE loss < $most", params={"most": 1.5})
    assert named == [{"loss": 1.0}]
    frames = {"mine": pd.DataFrame({"x": [3]}), "plain": [{"status": "a"}]}
    assert rows(here, "SELECT x, status FROM mine, plain", frames=frames) == [
        {"x": 3, "status": "a"}
    ]
    for name in ("experiments", "RUNS", "a b", "x;y", 3):
        with pytest.raises(UsageError):
            room.query(here, "SELECT 1", frames={name: [{"x": 1}]})  # type: ignore[dict-item]
    assert rows(here, "SELECT sum(x) AS s FROM mine", frames=frames) == [{"s": 3}]


def test_the_columns_of_a_join_are_told_apart(here: Path) -> None:
    room.save(here, "exp", {"name": 1, "name_1": 2}, uses=[STORIES])
    joined = "FROM experiments e JOIN experiment_assets u USING (experiment_id)"
    (row,) = rows(here, f"SELECT u.name, e.name, e.name_1, u.tree, u.tree {joined}")
    assert row == {
        "name": STORIES.name, "name_2": 1, "name_1": 2, "tree": TREE, "tree_1": TREE,
    }  # fmt: skip
    whole = rows(here, "SELECT u.*, a.* FROM experiment_assets u JOIN assets a USING (tree)")
    assert {"name", "name_1", "kind", "kind_1"} <= set(whole[0])


# Leaderboard


def test_the_best_row_of_each_names_newest_record(here: Path) -> None:
    room.save(here, "old", {"perplexity": [1.0]})
    room.save(here, "old", {"perplexity": [5.0, 4.0, math.nan]}, uses=[STORIES])
    room.save(here, "tie", {"perplexity": [4.0, -math.inf]})
    room.save(here, "best", {"Perplexity": [3.5, None, 3.5]})
    room.save(here, "lost", {"perplexity": [math.nan, math.inf]})
    board = room.best(here, "perplexity")
    assert (board["metric"], board["direction"], board["guessed"]) == ("perplexity", "min", True)
    assert board["skipped_rows"] == 4
    found = [(e["rank"], e["name"], e["value"], e["row_index"]) for e in board["experiments"]]
    assert found == [(1, "best", 3.5, 0), (2, "old", 4.0, 1), (3, "tie", 4.0, 0)]
    assert board["experiments"][1]["assets"][0]["tree"] == TREE
    json.dumps(board, allow_nan=False)
    board = room.best(here, "PERPLEXITY", direction="max", top=1)
    assert [e["name"] for e in board["experiments"]] == ["old"]
    assert (board["direction"], board["guessed"]) == ("max", False)


def test_the_board_shows_ten_and_checks_its_arguments(here: Path) -> None:
    for number in range(12):
        room.save(here, f"e{number:02}", {"loss": number, "what": "x"})
    assert [e["name"] for e in room.best(here, "loss")["experiments"]] == [
        f"e{n:02}" for n in range(10)
    ]
    with pytest.raises(ExperimentError) as caught:
        room.best(here, "los", direction="min")
    assert "'loss'" in str(caught.value.hint)
    with pytest.raises(ExperimentError, match="not numbers"):
        room.best(here, "what", direction="min")
    for top in (0, -1, True, "5"):
        with pytest.raises(UsageError):
            room.best(here, "loss", top=top)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        room.best(here, "loss", direction="down")


@pytest.mark.parametrize(
    ("direction", "names"),
    [
        ("min", "loss eval_loss val/perplexity ppl test_error wer CER mse rmse mae nll"
                " bits_per_byte latency_ms step_time"
                " valLoss eval.loss top1_error error_rate losses PPL"),
        ("max", "acc accuracy top1_acc f1 f1_macro eval_f1 bleu bleu4 rouge rougeL rouge2 auc AUC"
                " precision recall ndcg@10 reward exact_match tokens_per_second accuracy_top5"),
    ],
)  # fmt: skip
def test_the_direction_is_read_from_the_metrics_name(direction: str, names: str) -> None:
    for name in names.split():
        assert room.direction_of(name) == direction, name


@pytest.mark.parametrize("name", ["score", "lr", "bits_per_second", "glossary", "space", "classes"])
def test_a_name_that_does_not_tell_asks_for_the_direction(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        room.direction_of(name)
    assert "--min or --max" in str(caught.value.hint)


# Capture


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    (root / "train.py").write_text("lr = 1\n")
    (root / ".gitignore").write_text("ignored\n")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "first")
    return root


def git(root: Path, *words: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    done = subprocess.run(
        ["git", *identity, *words], cwd=root, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


class Objects(dict):
    def put(self, data: bytes) -> str:
        digest = hash_bytes(data)
        self[digest] = data
        return digest


def test_a_clean_tree_is_its_commit_and_no_diff(project: Path) -> None:
    objects = Objects()
    run = room.capture(project, put=objects.put, lock=b"lock", since=GitState.read(project))
    assert (run.git_commit, run.git_branch) == (git(project, "rev-parse", "HEAD"), "main")
    assert (run.git_dirty, run.git_moved, run.git_diff) == (False, False, None)
    assert objects[run.lock] == b"lock"
    packages = objects[run.packages].decode().splitlines()
    assert packages == sorted(packages)
    assert f"pyarrow=={pa.__version__}" in packages
    assert run.python == ".".join(map(str, sys.version_info[:3]))
    assert run.host
    assert run.user
    assert run.argv


def test_the_diff_gives_the_tree_back_untracked_text_too(project: Path, tmp_path: Path) -> None:
    (project / "train.py").write_text("lr = 2\n")
    (project / "new dir").mkdir()
    (project / "new dir" / "ünï\tcode.py").write_text("a\nb")
    (project / "empty.txt").write_text("")
    (project / "run.sh").write_text("echo\n")
    (project / "run.sh").chmod(0o755)
    (project / "binary").write_bytes(b"\0\1")
    (project / "ignored").write_text("x")
    os.mkfifo(project / "fifo")
    (project / "link").symlink_to("train.py")
    (project / "secret.env").write_text('HF_TOKEN="hf_abcdefghijklmnopqrstuvwx"\n')
    objects = Objects()
    run = room.capture(project, put=objects.put, lock=None)
    diff = objects[run.git_diff]
    assert b"hf_abc" not in diff
    assert run.git_dirty is True
    again = tmp_path / "again"
    git(tmp_path, "clone", "-q", str(project), str(again))
    (tmp_path / "diff").write_bytes(diff)
    git(again, "apply", str(tmp_path / "diff"))
    assert (again / "train.py").read_text() == "lr = 2\n"
    assert (again / "new dir" / "ünï\tcode.py").read_text() == "a\nb"
    assert (again / "empty.txt").read_text() == ""
    assert os.access(again / "run.sh", os.X_OK)
    assert not (again / "binary").exists()
    assert not (again / "ignored").exists()


def test_code_that_moves_under_a_run_is_seen(project: Path) -> None:
    first = GitState.read(project)
    (project / "output.txt").write_text("untracked output moves nothing")
    assert room.capture(project, put=None, lock=None, since=first).git_moved is False
    (project / "train.py").write_text("lr = 3\n")
    assert room.capture(project, put=None, lock=None, since=first).git_moved is True
    second = GitState.read(project)
    (project / "train.py").write_text("lr = 4\n")
    assert room.capture(project, put=None, lock=None, since=second).git_moved is True
    git(project, "commit", "-q", "-a", "-m", "second")
    assert room.capture(project, put=None, lock=None, since=first).git_moved is True


def test_without_git_or_a_store_a_run_is_still_captured(
    tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = room.capture(tmp_path, put=None, lock=b"x")
    assert (run.git_commit, run.git_dirty, run.packages, run.lock) == (None, None, None, None)
    assert run.host

    def refuse(data: bytes) -> str:
        raise StoreError("the store is read-only")

    told: list[str] = []
    run = room.capture(project, put=refuse, lock=b"x", warn=told.append)
    assert (run.lock, run.git_branch) == (None, "main")
    assert "read-only" in told[0]

    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "git").write_text("#!/bin/sh\nexec sleep 30\n")
    (tools / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    started = time.monotonic()
    assert room.capture(project, put=None, lock=None).git_commit is None
    assert time.monotonic() - started < 5


def test_secrets_are_masked_and_model_words_are_not() -> None:
    argv = ["train.py", "--hf-token", "abc", "--password=x", "--api_key=k", "--lr=1", "--eos-token",
            "<s>", "hf_abcdefghijklmnopqrst", "--url=https://u:pw@host/x", "--num-tokens", "5",
            "--token"]  # fmt: skip
    assert mask_argv(argv) == (
        "train.py", "--hf-token", "***", "--password=***", "--api_key=***", "--lr=1", "--eos-token",
        "<s>", "***", "--url=https://u:***@host/x", "--num-tokens", "5", "--token",
    )  # fmt: skip
    for secret in (
        "AKIAABCDEFGHIJKLMNOP",
        'password = "hunter22"',
        "WANDB_API_KEY=0123456789abcdef0123",
        "Authorization: Bearer abcdefghijklmnop",
        "https://b.s3.amazonaws.com/x?X-Amz-Signature=abcdef0123",
        "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
        "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----",
    ):
        masked = mask(secret)
        assert "***" in masked, secret
    for plain in (
        'eos_token="<|endoftext|>"',
        "tokenizer = load('tokenizers/tinystories_bpe_4096')",
        "max_tokens = 4096",
        "password = getpass()",
        "secretary: text",
        "commit 0123456789abcdef0123456789abcdef01234567",
    ):
        assert mask(plain) == plain


# Weight


def test_saving_plain_results_loads_no_pandas_and_no_duckdb(here: Path) -> None:
    body = (
        "assert not {'pyarrow', 'duckdb', 'pandas', 'numpy'} & set(sys.modules)\n"
        "room.save(Path(sys.argv[1]), 'e', [{'a': 1}, {'a': 'x'}])\n"
        "print(sorted({'duckdb', 'pandas', 'torch'} & set(sys.modules)))\n"
        "room.query(Path(sys.argv[1]), 'FROM experiments')\n"
        "assert 'pandas' not in sys.modules\n"
    )
    worker = script(body, str(here))
    output, errors = worker.communicate(timeout=60)
    assert worker.returncode == 0, errors
    assert output.strip() == "[]"


def test_a_thousand_records_are_queried_in_seconds(here: Path) -> None:
    row = {f"c{number}": float(number) for number in range(18)}
    for number in range(1000):
        steps = [{"step": step, "loss": number + step, **row} for step in range(10)]
        room.save(here, f"e{number}", steps, uses=[STORIES], metadata={"n": number})
    room.query(here, "SELECT 1")
    started = time.process_time()
    sql = "SELECT experiment_name, MIN(loss) AS m FROM experiments GROUP BY 1 ORDER BY 2 LIMIT 1"
    assert rows(here, sql) == [{"experiment_name": "e0", "m": 0.0}]
    assert time.process_time() - started < 4  # CPU seconds of both cores; 1.4 when measured


def test_errors_are_ours_to_catch() -> None:
    assert issubclass(ExperimentError, CasError)
