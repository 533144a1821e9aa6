"""Runs of MLflow, Trackio and tables come in whole and once; experiments go out as one table.

The golden files were written by the real packages: ``golden/make_exchange.py``.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import sqlite3
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

import cas
from cas.cli import run
from cas.errors import ExperimentError, UsageError
from cas.experiments import Use, best, query, save
from cas.experiments.exporters import Choice, export
from cas.experiments.exporters.text import latex_text, markdown_text
from cas.experiments.importers import import_runs
from cas.experiments.importers.meta import parse_meta
from cas.project import forget_current

GOLDEN = Path(__file__).parent / "golden" / "exchange.zip"
TREE = "t1:" + "ab" * 32
TEXTS = st.text(max_size=40) | st.text(st.sampled_from("ab \\`*_{}[]<>#|~!$%&^'\"-\n"), max_size=20)


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("golden")
    with zipfile.ZipFile(GOLDEN) as archive:
        archive.extractall(directory)
    return directory


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "experiments"


def ask(directory: Path, sql: str) -> list[dict[str, object]]:
    return list(query(directory, sql).to_pylist())


def names(told: dict[str, list[dict[str, object]]], part: str = "imported") -> list[object]:
    return [one["name"] for one in told[part]]


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.glob("*.parquet")}


@pytest.fixture
def command(tmp_path, monkeypatch, capfd):
    """The command line in a project of its own; gives what it said on stdout and on stderr."""
    monkeypatch.setenv("CAS_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    project = cas.init(tmp_path / "project")
    monkeypatch.chdir(project)
    before = signal.getsignal(signal.SIGTERM)

    def call(*words: object, code: int = 0) -> tuple[str, str]:
        capfd.readouterr()
        assert run([str(word) for word in words]) == code
        return capfd.readouterr()

    yield call
    signal.signal(signal.SIGTERM, before)
    forget_current()


# MLflow


@pytest.mark.parametrize("place", ["mlflow.db", "mlruns"])
def test_mlflow_runs_come_with_parameters_metrics_and_status(golden, directory, place):
    told = import_runs(directory, "mlflow", golden / place)
    first, *others = names(told)
    assert first == "baseline"
    assert re.fullmatch(r"baseline-[0-9a-f]{8}", str(others[0]))
    assert others[1:] == ["runs-odd: é 🙂", "empty", "failed", "killed", "going"]
    assert {one["reason"] for one in told["skipped"]} == {"deleted in MLflow"}
    assert "deleted" in names(told, "skipped")
    assert told["bad"] == []

    (run,) = ask(directory, "SELECT * FROM runs WHERE experiment_name = 'baseline'")
    metadata = json.loads(run["metadata"])
    about = metadata.pop("cas_import")
    assert metadata == {
        "lr": 0.001, "layers": 12, "model": "gpt", "tied": True, "clip": None,
        "zip": "007", "typed": "1e-3", "imported": "yes", "prompt": "a\nb: 'c'",
    }  # fmt: skip
    assert about["from"] == "mlflow"
    assert re.fullmatch("[0-9a-f]{32}", about["id"])
    assert (about["experiment"], about["tags"]["team"]) == ("tiny", "nlp")
    assert about["started_at"].startswith("2026-11-24T10:01:")
    assert run["run"]["git_commit"] == "a" * 40
    assert (run["run"]["user"], run["tags"]) == ("ada", ["team=nlp"])

    rows = ask(directory, "FROM experiments WHERE experiment_name = 'baseline' ORDER BY row_index")
    told_rows = [(row["step"], row["loss"], row["eval/accuracy"]) for row in rows]
    assert repr(told_rows) == repr([
        (0, 3.0, 0.5), (0, None, 0.25), (1, 2.5, None), (2, math.nan, None),
        (3, math.inf, None), (4, -math.inf, None),
    ])  # fmt: skip
    assert all(row["timestamp"].year == 2026 for row in rows)

    statuses = ask(directory, "SELECT experiment_name AS name, status, rows FROM runs")
    by_name = {row["name"]: (row["status"], row["rows"]) for row in statuses}
    assert by_name["failed"] == ("failed", 1)
    assert by_name["killed"] == ("failed", 0)
    assert by_name["going"] == ("running", 0)
    assert by_name["empty"] == ("finished", 0)


def test_metrics_that_no_column_can_be_called_are_renamed_and_told(golden, directory):
    told = import_runs(directory, "mlflow", golden / "mlflow.db")
    odd = next(one for one in told["imported"] if one["name"] == "runs-odd: é 🙂")
    assert odd["renamed"] == {
        "step": "metric_step", "status": "metric_status",
        "Loss": "Loss_2", "loss__text": "loss_text",
    }  # fmt: skip
    (row,) = ask(directory, "FROM experiments WHERE experiment_name LIKE 'runs-odd%'")
    assert [row[n] for n in (*odd["renamed"].values(), "loss", "a.b c")] == [1.5] * 6
    metadata = json.loads(row["metadata"])
    assert metadata["cas_import"]["renamed"] == odd["renamed"]
    assert metadata["cas_import"]["name"] == "runs/odd: é 🙂"


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("mlflow", "mlflow.db"),
        ("mlflow", "mlruns"),
        ("trackio", "trackio"),
        ("trackio", "trackio-old"),
    ],
)
def test_a_second_import_takes_nothing(golden, directory, source, place):
    first = import_runs(directory, source, golden / place)
    before = files(directory)
    again = import_runs(directory, source, golden / place)
    assert names(again) == again["bad"] == []
    already = [one for one in again["skipped"] if one["reason"] == "already imported"]
    assert names({"imported": already}) == names(first)
    assert files(directory) == before


def test_one_experiment_or_one_run_of_the_file_store_can_be_imported(golden, directory, tmp_path):
    (store,) = (p for p in (golden / "mlruns").iterdir() if p.name.isdigit() and p.name != "0")
    run = next(p for p in store.iterdir() if (p / "params" / "prompt").exists())
    assert names(import_runs(directory, "mlflow", run)) == ["baseline"]
    assert len(names(import_runs(directory, "mlflow", store))) == 6
    outer = tmp_path / "project"
    shutil.copytree(golden / "mlruns", outer / "mlruns")
    assert names(import_runs(directory, "mlflow", outer)) == []


def test_a_run_that_went_on_is_saved_again_under_its_name(golden, directory, tmp_path):
    database = tmp_path / "mlflow.db"
    shutil.copy(golden / "mlflow.db", database)
    import_runs(directory, "mlflow", database)
    with sqlite3.connect(database) as connection:
        key = "(SELECT run_uuid FROM runs WHERE name = 'going')"
        connection.execute(f"INSERT INTO metrics VALUES ('loss', 1.0, 0, {key}, 5, 0)")
        connection.execute("UPDATE runs SET status = 'FINISHED' WHERE name = 'going'")
    connection.close()
    assert names(import_runs(directory, "mlflow", database)) == ["going"]
    rows = ask(directory, "SELECT latest, status, rows FROM runs WHERE experiment_name = 'going'")
    assert sorted((r["latest"], r["status"], r["rows"]) for r in rows) == [
        (False, "running", 0),
        (True, "finished", 1),
    ]


def test_a_bad_run_of_the_file_store_is_named_and_all_others_come(golden, directory, tmp_path):
    shutil.copytree(golden / "mlruns", tmp_path / "mlruns")
    loss = next(p for p in tmp_path.rglob("metrics/loss") if "nan" in p.read_text())
    loss.write_text(loss.read_text() + "no numbers here\n")
    empty = next(p for p in tmp_path.rglob("tags/mlflow.runName") if p.read_text() == "empty")
    (empty.parent.parent / "meta.yaml").unlink()
    told = import_runs(directory, "mlflow", tmp_path / "mlruns")
    assert sorted(one["path"] for one in told["bad"]) == sorted(
        str(p.parent.parent) for p in (loss, empty)
    )
    assert len(told["imported"]) == 5
    loss.write_text(loss.read_text().replace("no numbers here\n", ""))
    assert len(import_runs(directory, "mlflow", tmp_path / "mlruns")["imported"]) == 1


def test_a_torn_database_gives_nothing_at_all(golden, directory, tmp_path):
    data = bytearray((golden / "mlflow.db").read_bytes())
    torn = tmp_path / "torn.db"
    torn.write_bytes(data[: len(data) // 2])
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 4096] = b"\xff" * 4096
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(data)
    for bad in (torn, damaged, GOLDEN, golden / "trackio" / "tiny.db"):
        told = import_runs(directory, "mlflow", bad)
        assert [one["path"] for one in told["bad"]] == [str(bad)]
        assert told["bad"][0]["reason"]
        assert files(directory) == {}


@given(
    st.dictionaries(
        st.from_regex(r"[a-z_]{1,12}", fullmatch=True),
        st.text(
            st.characters(exclude_categories=["Cs"], exclude_characters="\x85\u2028\u2029"),
            max_size=120,
        )
        | st.integers(-(10**15), 10**15)
        | st.none()
        | st.booleans(),
        min_size=1,
    )
)
@example({"_": "", "no": None, "y": 1})
@example({"name": "it's: 'one'", "long": "a b: " * 40, "other": '"' * 3 + "\\", "number": "12"})
@settings(deadline=None, max_examples=100)
def test_meta_yaml_is_read_as_yaml_reads_it(values):
    for unicode in (True, False):
        text = yaml.safe_dump(values, default_flow_style=False, allow_unicode=unicode)
        assert parse_meta(text) == values


# Trackio


@pytest.mark.parametrize(
    ("place", "second"), [("trackio", r"baseline-[0-9a-f]{8}"), ("trackio-old", "dainty-sunset-0")]
)
def test_trackio_runs_come_with_their_settings(golden, directory, place, second):
    told = import_runs(directory, "trackio", golden / place)
    assert told["bad"] == told["skipped"] == []
    assert names(told)[:2] == ["second", "baseline"]
    assert re.fullmatch(second, str(names(told)[2]))
    assert import_runs(directory, "trackio", golden / place / "tiny.db")["imported"] == []

    rows = ask(directory, "FROM experiments WHERE experiment_name = 'baseline' ORDER BY row_index")
    seen = [(row["step"], row["loss"], row["eval/accuracy"], row["comment"]) for row in rows]
    assert repr(seen) == repr([
        (0, 3.0, 0.501, None), (1, 2.5, 0.501, None), (2, math.nan, 0.501, None),
        (3, math.inf, 0.501, None), (4, -math.inf, 0.501, None),
        (9, None, None, "NaN is a text here"),
    ])  # fmt: skip
    metadata = json.loads(rows[0]["metadata"])
    about = metadata.pop("cas_import")
    assert metadata == {"lr": 0.001, "optimizer": {"name": "adamw", "betas": [0.9, 0.99]}}
    assert (about["from"], about["project"]) == ("trackio", "tiny")
    assert best(directory, "loss")["experiments"][0]["name"] == "second"


def test_the_source_is_left_as_it_was(golden, directory, tmp_path):
    copy = tmp_path / "trackio"
    shutil.copytree(golden / "trackio", copy)
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    import_runs(directory, "trackio", copy)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before


def test_what_a_running_program_has_logged_so_far_comes_too(golden, directory, tmp_path):
    copy = tmp_path / "tiny.db"
    shutil.copy(golden / "trackio" / "tiny.db", copy)
    writer = sqlite3.connect(copy)
    writer.execute("PRAGMA wal_autocheckpoint = 0")
    writer.execute(
        "INSERT INTO metrics (run_id, timestamp, run_name, step, metrics)"
        " VALUES ('r1', '2026-01-01T00:00:00', 'live', 1, '{\"loss\": 0.5}')"
    )
    writer.commit()
    assert os.path.getsize(f"{copy}-wal")
    assert "live" in names(import_runs(directory, "trackio", copy))
    writer.close()


# Tables


def test_csv_and_jsonl_files_become_one_experiment_each(directory, tmp_path):
    logs = tmp_path / "logs"
    (logs / "version_0").mkdir(parents=True)
    (logs / "version_0" / "metrics.csv").write_text(
        '﻿step,loss,status,note\n1,3,ok,"two\nlines"\n2,2.5,,NA\n3,nan,ok,\n'
    )
    (logs / "b.jsonl").write_text(
        '{"step": 1, "loss": 2, "n": {"a": 1}}\n\n{"step": 2, "acc": 1}\n'
    )
    (logs / "bad.csv").write_text("a,b\n1,2\n3\n")
    (logs / "bad.jsonl").write_text('{"step": 1}\n{"step": \n')
    (logs / "notes.txt").write_text("not a table")
    told = import_runs(directory, "csv", logs)
    assert sorted(names(told)) == ["b", "version_0-metrics"]
    assert sorted(Path(one["path"]).name for one in told["bad"]) == ["bad.csv", "bad.jsonl"]
    assert "line 2" in told["bad"][1]["reason"]
    rows = ask(directory, "FROM experiments WHERE experiment_name LIKE 'v%' ORDER BY row_index")
    assert repr([(r["step"], r["loss"], r["metric_status"], r["note"]) for r in rows]) == repr(
        [(1, 3.0, "ok", "two\nlines"), (2, 2.5, None, None), (3, math.nan, "ok", None)]
    )
    assert names(import_runs(directory, "csv", logs)) == []

    (logs / "b.jsonl").write_text('{"step": 1, "loss": 1.5}\n')
    assert names(import_runs(directory, "csv", logs)) == ["b"]
    assert best(directory, "loss")["experiments"][0]["value"] == 1.5


def test_a_type_that_changes_late_in_a_csv_and_a_huge_cell_are_taken(directory, tmp_path):
    path = tmp_path / "long.csv"
    lines = [f"{i},1,{'x' * 3_000_000 * (i == 9)}\n" for i in range(50_000)]
    path.write_text("step,loss,text\n" + "".join(lines) + "50000,0.25,\n")
    told = import_runs(directory, "csv", path)
    assert told["bad"] == []
    assert told["imported"][0]["rows"] == 50_001
    assert best(directory, "loss")["experiments"][0]["value"] == 0.25


def test_two_files_of_one_name_are_two_experiments(directory, tmp_path):
    for number in (1, 2):
        place = tmp_path / f"run{number}" / "metrics.csv"
        place.parent.mkdir()
        place.write_text(f"loss\n{number}\n")
        told = import_runs(directory, "csv", place)
        assert re.fullmatch("metrics" if number == 1 else "metrics-[0-9a-f]{8}", names(told)[0])
    assert len(best(directory, "loss")["experiments"]) == 2


def test_parquet_comes_with_its_types_and_a_record_of_cas_as_it_is(directory, tmp_path):
    there = tmp_path / "there"
    use = Use(name="datasets/a/b", kind="datasets", role="input", tree=TREE)
    record = save(there, "exp", [{"loss": 1.5}], metadata={"lr": 1}, uses=[use], tags=["t"])
    foreign = pa.table({"step": pa.array([1, 2], pa.int32()), "ok": [True, None]})
    pq.write_table(foreign, there / "foreign.parquet")
    (there / "torn.parquet").write_bytes(record.read_bytes()[:-9])
    told = import_runs(directory, "parquet", there)
    assert sorted(names(told)) == ["exp", "foreign"]
    assert [Path(one["path"]).name for one in told["bad"]] == ["torn.parquet"]
    assert (directory / record.name).read_bytes() == record.read_bytes()
    assert ask(directory, "SELECT tree FROM experiment_assets") == [{"tree": TREE}]
    assert ask(directory, "SELECT step, ok FROM experiments WHERE step IS NOT NULL ORDER BY 1") == [
        {"step": 1, "ok": True}, {"step": 2, "ok": None},
    ]  # fmt: skip
    again = import_runs(directory, "parquet", there)
    assert names(again) == []
    assert sorted(names(again, "skipped")) == ["exp", "foreign"]


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
def test_what_is_exported_by_rows_can_be_imported_elsewhere(directory, tmp_path, form):
    use = Use(name="datasets/a/b", kind="datasets", role="train", tree=TREE, commit="c" * 40)
    for name in ("one", 'two, "quoted" | more'):
        save(
            directory, name, [{"step": i, "loss": 2.5 - i} for i in range(2)],
            metadata={"lr": 0.1, "deep": {"a": [1]}}, uses=[use], tags=["x"], status="failed",
        )  # fmt: skip
    out = tmp_path / f"all.{form}"
    out.write_bytes(export(directory, form, Choice(), rows=True))
    source = "parquet" if form == "parquet" else "csv"
    assert names(import_runs(directory, source, out)) == []
    there = tmp_path / "there"
    assert len(names(import_runs(there, source, out))) == 2
    sql = "SELECT experiment_name, step, loss, status, tags, assets FROM experiments ORDER BY 1, 2"
    assert ask(there, sql) == ask(directory, sql)
    metadata = json.loads(ask(there, "SELECT metadata FROM runs")[0]["metadata"])
    assert (metadata["lr"], metadata["deep"]) == (0.1, {"a": [1]})
    assert names(import_runs(there, source, out)) == []


# Whole or not there


def test_what_was_removed_here_does_not_come_back(golden, command):
    words = ("experiments", "import", "--from", "mlflow", golden / "mlflow.db")
    command(*words)
    command("experiments", "rm", "failed")
    out, err = command(*words)
    assert "skipped 1, removed here: failed" in err
    assert out == ""


def test_an_unknown_source_or_path_is_an_error(directory, tmp_path):
    with pytest.raises(UsageError, match="expected one of mlflow, trackio, csv, parquet"):
        import_runs(directory, "wandb", tmp_path)
    with pytest.raises(ExperimentError, match="no such file"):
        import_runs(directory, "csv", tmp_path / "none.csv")
    (told,) = import_runs(directory, "mlflow", tmp_path)["bad"]
    assert "no MLflow store" in told["reason"]
    (told,) = import_runs(directory, "trackio", tmp_path)["bad"]
    assert "no Trackio database" in told["reason"]


# Exports


@pytest.fixture
def board(directory: Path) -> Path:
    curves = {
        "a": (
            {"lr": 0.1, "opt": {"name": "adam"}},
            [(1, 3.0, 0.2, 10), (2, 1.0, 0.6, 20), (3, 2.0, 0.5, 30)],
        ),
        "b_c & d": ({"lr": 0.2}, [(1, 4.0, 0.9, 5), (2, math.nan, math.nan, 6)]),
        "none": ({}, []),
    }  # fmt: skip
    for name, (metadata, rows) in curves.items():
        save(
            directory, name,
            [{"step": s, "loss": x, "accuracy": y, "tokens": z} for s, x, y, z in rows],
            metadata=metadata, tags=["paper"] if name != "none" else [],
        )  # fmt: skip
    return directory


def rows_of(directory: Path, choice: Choice, **more: bool) -> list[dict[str, object]]:
    text = export(directory, "jsonl", choice, **more).decode()
    return [json.loads(line) for line in text.splitlines()]


def test_an_experiment_is_a_row_with_each_metric_at_its_best(board):
    rows = rows_of(board, Choice())
    assert [(r["experiment_name"], r["loss"], r["accuracy"], r["tokens"]) for r in rows] == [
        ("a", 1.0, 0.6, 30), ("b_c & d", 4.0, 0.9, 6), ("none", None, None, None),
    ]  # fmt: skip
    assert list(rows[0]) == [
        "experiment_name", "experiment_id", "created_at", "status", "tags", "git_commit",
        "loss", "accuracy", "tokens", "metadata",
    ]  # fmt: skip
    assert rows[0]["metadata"] == {"lr": 0.1, "opt": {"name": "adam"}}


def test_by_best_the_row_of_the_best_value_decides(board):
    rows = rows_of(board, Choice(best="accuracy", show=["lr", "opt.name", "loss", "tokens"]))
    keys = ("experiment_name", "lr", "opt.name", "loss", "tokens")
    assert [tuple(row[key] for key in keys) for row in rows] == [
        ("b_c & d", 0.2, None, 4.0, 5), ("a", 0.1, "adam", 1.0, 20),
    ]  # fmt: skip
    worst = rows_of(board, Choice(best="accuracy", direction="min"))
    assert [(r["experiment_name"], r["accuracy"]) for r in worst] == [("a", 0.2), ("b_c & d", 0.9)]


def test_conditions_choose_rows_and_experiments(board):
    (row,) = rows_of(board, Choice(where="step >= 3 -- last"))
    assert (row["experiment_name"], row["loss"]) == ("a", 2.0)
    assert len(rows_of(board, Choice(tags=["paper"]))) == 2
    assert len(rows_of(board, Choice(where="loss < 3"), rows=True)) == 2
    assert list(rows_of(board, Choice(show=["LOSS"]), rows=True)[0]) == [
        "experiment_name", "experiment_id", "row_index", "loss",
    ]  # fmt: skip
    save(board, "a", [{"loss": 9.0}])
    assert [r["loss"] for r in rows_of(board, Choice(show=["loss"]))] == [4.0, None, 9.0]
    assert len(rows_of(board, Choice(show=["loss"], every=True))) == 4


def test_what_can_not_be_chosen_is_an_error(board):
    with pytest.raises(ExperimentError, match="'los'") as error:
        export(board, "md", Choice(show=["los"]))
    assert error.value.hint == "did you mean 'loss'"
    for rows in (True, False):
        with pytest.raises(ExperimentError):
            export(board, "md", Choice(show=["nothing_like_it"]), rows=rows)
    with pytest.raises(ExperimentError):
        export(board, "md", Choice(best="accurasy"))
    with pytest.raises(UsageError):
        export(board, "md", Choice(best="tokens"))
    with pytest.raises((ExperimentError, UsageError)):
        export(board, "md", Choice(where="1) FROM experiments; COPY experiments TO 'x' --"))


def test_markdown_and_latex_say_what_is_best(board):
    choice = Choice(best="loss", show=["lr", "loss", "accuracy"])
    assert export(board, "md", choice).decode() == (
        "| experiment\\_name | lr | loss ↓ | accuracy ↑ |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| a | 0.1 | **1** | 0.6 |\n"
        "| b\\_c &amp; d | 0.2 | 4 | **0.9** |\n"
    )
    assert export(board, "latex", choice).decode() == (
        "% needs \\usepackage{booktabs}\n"
        "\\begin{tabular}{lrrr}\n"
        "\\toprule\n"
        "experiment\\_name & lr & loss $\\downarrow$ & accuracy $\\uparrow$ \\\\\n"
        "\\midrule\n"
        "a & 0.1 & \\textbf{1} & 0.6 \\\\\n"
        "b\\_c \\& d & 0.2 & 4 & \\textbf{0.9} \\\\\n"
        "\\bottomrule\n"
        "\\end{tabular}\n"
    )


def test_numbers_are_printed_as_a_paper_has_them(directory):
    values = {"n": 12_345_678, "x": 1.23456e-05, "minus": -0.5, "big": -math.inf, "no": math.nan}
    save(directory, "e", [values])
    choice = Choice(show=list(values))
    assert export(directory, "latex", choice).decode().splitlines()[5] == (
        r"e & 12345678 & $1.235 \times 10^{-5}$ & $-0.5$ & $-\infty$ & nan \\"
    )
    assert (
        "| e | 12345678 | 1.235e-05 | -0.5 | -inf | nan |"
        in export(directory, "md", choice).decode()
    )


@given(TEXTS)
@settings(deadline=None, max_examples=150)
def test_markdown_shows_any_text_as_it_is_in_one_cell(text):
    shown = markdown_text(text)
    table = f"| head | tail |\n| --- | --- |\n| {shown} | x |\n"
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(table)
    cells = [t for t in tokens if t.type == "inline"]
    assert [t.content for t in cells[:2]] == ["head", "tail"]
    assert len(cells) == 4
    children = cells[2].children or []
    assert {child.type for child in children} <= {"text", "text_special"}
    plain = "".join(child.content for child in children)
    assert plain.split() == re.sub(r"[\x00-\x20\x7f-\x9f\u2028\u2029]+", " ", text).split()


@given(TEXTS)
def test_latex_text_has_no_character_that_does_anything(text):
    shown = latex_text(text)
    assert not re.search(r"[\x00-\x1f\x7f]|--", shown)
    commands = r"\\text(backslash|ascii(circum|tilde|grave)|less|greater|bar|quote(dbl|single))\{\}"
    rest = re.sub(commands + r"|\\[{}$&#%_]|\{[\[\]*]\}|-\{\}", "", shown)
    assert not re.search(r"[\\{}$&#%_^~\[\]*<>|\"'`]", rest)


def test_csv_and_parquet_can_be_read_by_others(board, tmp_path):
    (tmp_path / "a.parquet").write_bytes(export(board, "parquet", Choice()))
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.schema.field("loss").type == pa.float64()
    assert table.schema.field("tokens").type == pa.int64()
    assert table.schema.field("git_commit").type == pa.string()
    (tmp_path / "a.csv").write_bytes(export(board, "csv", Choice(), rows=True))
    rows = pyarrow.csv.read_csv(tmp_path / "a.csv").to_pylist()
    assert [r["loss"] for r in rows[:3]] == [3.0, 1.0, 2.0]
    assert json.loads(rows[0]["metadata"])["lr"] == 0.1
    assert rows[0]["tags"] == '["paper"]'


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl", "latex", "md"])
@pytest.mark.parametrize("rows", [True, False])
def test_without_experiments_there_is_an_empty_table(directory, form, rows):
    assert isinstance(export(directory, form, Choice(), rows=rows), bytes)


# The command line


def test_the_commands(golden, command, tmp_path):
    source = golden / "trackio"
    out, err = command("experiments", "import", "--from", "trackio", source)
    assert out.splitlines()[:2] == ["second  1 row", "baseline  6 rows"]
    assert "3 experiments imported, 0 skipped, 0 bad" in err

    broken = tmp_path / "broken.csv"
    broken.write_text("a,b\n1\n")
    _, err = command("experiments", "import", "--from", "csv", broken, code=1)
    assert f"cas: error: '{broken}' was not imported: " in err
    out, _ = command("experiments", "import", "--json", "--from", "trackio", source)
    assert len(json.loads(out)["skipped"]) == 3
    assert "--from is missing" in command("experiments", "import", source, code=2)[1]

    words = ("experiments", "export", "--best", "loss", "--show", "lr", "-o", "table.tex")
    assert "wrote table.tex" in command(*words)[1]
    assert r"\textbf{1.25}" in Path("table.tex").read_text()
    out, _ = command("experiments", "export", "--format", "csv", "--rows", "--since", "1d")
    assert out.startswith('"experiment_id","experiment_name"')
    assert len(out.splitlines()) == 14
    _, err = command("experiments", "export", "-o", "table.xls", code=2)
    assert "cas: hint: cas experiments export --format md" in err
    assert not Path("table.xls").exists()
    for words in (
        ["--min"],
        ["--rows", "--best", "loss"],
        ["--json"],
        ["--tag", "x", "--top", "3"],
    ):
        command("experiments", "export", "--format", "md", *words, code=2)


def test_the_functions(golden, command):
    told = cas.import_experiments(golden / "mlruns", source="mlflow")
    assert len(told["imported"]) == 7
    path = cas.export_experiments("best.md", best="loss", show=["lr"], where="step > 0")
    assert path.read_text().count("\n") == 6
    assert "| runs-odd: é 🙂 | - | **1.5** |" in path.read_text()
