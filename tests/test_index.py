"""The index of experiments: the same answers as reading every file, only sooner."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from cas import experiments as room
from cas.errors import ExperimentError
from cas.experiments import events, scan
from cas.experiments.read import FEW
from cas.experiments.record import Use
from tests.scratch import move_in

TREE = "t1:" + "0" * 63


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A directory of experiments; the user's cache is in ``tmp_path/cache``."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    directory = tmp_path / "experiments"
    directory.mkdir()
    return directory


def fill(here: Path, count: int = FEW + 4, **more) -> None:
    for number in range(count):
        room.save(here, f"e{number}", [{"loss": number + step / 10} for step in range(3)], **more)


def index_of(here: Path) -> Path:
    (place,) = (here.parent / "cache/cas/experiments").iterdir()
    return place


def losses(here: Path, warn=None) -> dict[str, float]:
    sql = "SELECT experiment_name AS n, min(loss) AS l FROM experiments GROUP BY 1 ORDER BY 1"
    return {row["n"]: row["l"] for row in room.query(here, sql, warn=warn).to_pylist()}


def snapshot(here: Path) -> str:
    """Return all that a scan gives and says, as text in which NaN equals NaN."""
    said: list[str] = []
    found = scan.tables(here, said.append)
    tables = (found.rows, found.runs, found.uses, scan.uses(here))
    parts = [str(table.schema) + repr(table.to_pylist()) for table in tables]
    named = scan.references(here)
    lists = [sorted(named.trees), sorted(named.objects), named.unreadable]
    return "\n".join([*parts, repr(lists), repr(scan.records(here)), *said])


def without_index(here: Path, monkeypatch) -> str:
    """Return the snapshot where no cache can be kept: every file is read."""
    blocked = here.parent / "blocked"
    blocked.touch()
    with monkeypatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(blocked / "no"))
        return snapshot(here)


VALUES = (
    lambda draw: draw.randint(-5, 5),
    lambda draw: draw.random(),
    lambda draw: float("nan"),
    lambda draw: float("inf"),
    lambda draw: None,
    lambda draw: str(draw.randint(0, 9)),
    lambda draw: f"x{draw.randint(0, 3)}",
    lambda draw: True,
    lambda draw: 2**53 + draw.randint(0, 9),
    lambda draw: [1, 2],
    lambda draw: [0.5],
    lambda draw: ["a"],
    lambda draw: date(2024, 1, draw.randint(1, 28)),
)
NAMES = ("loss", "Loss", "LOSS", "acc", "x", "X", "val/loss")


def some_rows(draw: random.Random) -> list[dict[str, object]]:
    columns: dict[str, object] = {}
    for name in draw.sample(NAMES, draw.randint(0, 4)):
        if name.lower() not in {other.lower() for other in columns}:
            columns[name] = draw.choice(VALUES)
    return [
        {
            name: (kind if draw.random() < 0.9 else draw.choice(VALUES[:8]))(draw)
            for name, kind in columns.items()
        }
        for _ in range(draw.randint(0, 3))
    ]


def change(here: Path, draw: random.Random) -> None:
    """Do to a directory what time does: save, remove, tear, copy, tag, hide."""
    for _ in range(draw.choice([1, 2, 22])):
        use = Use(
            name="datasets/a",
            kind="datasets",
            role=draw.choice(["input", "earlier", "output"]),
            tree=TREE + draw.choice("0123"),
        )
        name = draw.choice("abcdefgh")
        try:
            room.save(here, name, some_rows(draw), uses=[use][: draw.randint(0, 1)])
        except ExperimentError:
            continue
    files = sorted(here.glob("*.parquet"))
    if draw.random() < 0.5:
        draw.choice(files).unlink()
    one = draw.choice(files)
    if one.exists() and draw.random() < 0.5:
        one.write_bytes(one.read_bytes()[:-5])
    one = draw.choice(files)
    if one.exists() and draw.random() < 0.5:
        shutil.copy(one, here / f"{draw.choice('0z')}{draw.random()}.parquet")
    if draw.random() < 0.5:
        shown = scan.records(here)
        if shown:
            events.remove(here, draw.choice(shown).experiment_id)
            events.tag(here, draw.choice(scan.records(here)).experiment_id, ["t"])


@pytest.mark.parametrize("seed", range(3))
def test_the_index_gives_what_reading_every_file_gives(here, monkeypatch, seed) -> None:
    draw = random.Random(seed)
    fill(here, FEW)
    for _ in range(4):
        change(here, draw)
        first = snapshot(here)
        assert first == without_index(here, monkeypatch)
        assert snapshot(here) == first  # by the packs alone


@pytest.mark.full
@pytest.mark.parametrize("seed", range(100, 130))
def test_the_index_gives_what_reading_every_file_gives_often(here, monkeypatch, seed) -> None:
    test_the_index_gives_what_reading_every_file_gives(here, monkeypatch, seed)


def test_packs_are_read_where_nothing_changed(here) -> None:
    fill(here)
    losses(here)
    place = index_of(here)
    before = {file.name: file.stat().st_mtime_ns for file in place.iterdir()}
    assert losses(here)["e3"] == 3.0
    assert {file.name: file.stat().st_mtime_ns for file in place.iterdir()} == before


def test_few_files_need_no_index(here) -> None:
    fill(here, 3)
    assert losses(here) == {"e0": 0.0, "e1": 1.0, "e2": 2.0}
    assert not (here.parent / "cache").exists()


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def blank(file: Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def scribble(file: Path) -> None:
    data = bytearray(file.read_bytes())
    middle = slice(len(data) // 10, len(data) * 8 // 10)
    data[middle] = bytes(byte ^ 1 for byte in data[middle])
    file.write_bytes(data)


def another_value(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(struct.pack("<d", 2.0), struct.pack("<d", -7.0)))


def of_another_version(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b"cas-experiments 1 ", b"cas-experiments 9 "))


@pytest.mark.parametrize("ending", ["manifest", "*.rows", "*.runs"])
@pytest.mark.parametrize(
    "harm", [Path.unlink, truncate, blank, scribble, another_value, of_another_version]
)
def test_an_index_that_was_harmed_is_made_again(here, ending, harm) -> None:
    fill(here)
    before = losses(here)
    (file,) = index_of(here).glob(ending)
    harm(file)
    assert losses(here) == before
    assert len(list(index_of(here).glob("*.rows"))) == 1


def test_a_deleted_index_is_made_again(here) -> None:
    fill(here)
    before = losses(here)
    shutil.rmtree(here.parent / "cache")
    assert losses(here) == before


def test_one_new_record_is_added_and_packs_stay_few(here) -> None:
    fill(here)
    losses(here)
    (old,) = index_of(here).glob("*.rows")
    room.save(here, "new", {"loss": -1.0})
    assert losses(here)["new"] == -1.0
    assert old.exists()  # what is there is not written again
    for number in range(12):
        room.save(here, f"more{number}", {"loss": -2.0})
        assert len(losses(here)) == FEW + 6 + number
    assert len(list(index_of(here).glob("*.rows"))) < 6


def test_an_older_record_that_arrives_later_stands_in_its_place(here, tmp_path) -> None:
    fill(here, 5)
    room.save(here, "late", {"loss": 50.0})
    (late,) = here.glob("late.*")
    aside = shutil.move(late, tmp_path / late.name)
    fill(here)
    losses(here)
    shutil.move(aside, late)
    names = [record.experiment_name for record in scan.records(here)]
    assert names.index("late") == 5


def test_what_is_removed_replaced_or_hidden_is_seen(here, tmp_path) -> None:
    fill(here)
    losses(here)
    (gone,) = here.glob("e0.*")
    gone.unlink()
    assert "e0" not in losses(here)
    (one,), (other,) = here.glob("e1.*"), here.glob("e2.*")
    shutil.copy(other, tmp_path / "copy")
    os.replace(tmp_path / "copy", one)  # two files are one record now: the first by name counts
    said: list[str] = []
    assert losses(here, said.append)["e2"] == 2.0
    assert said == [f"skipped {str(other)!r}: the same record as {one.name!r}"]
    events.remove(here, "e3")
    assert "e3" not in losses(here)
    assert len(scan.references(here).unreadable) == 0
    shutil.rmtree(here / events.EVENTS)
    assert losses(here)["e3"] == 3.0


def test_a_hidden_record_is_still_a_reference(here) -> None:
    fill(here)
    use = Use(name="datasets/a", kind="datasets", role="input", tree=TREE + "7")
    room.save(here, "hidden", {"loss": 1.0}, uses=[use])
    events.remove(here, "hidden")
    assert scan.references(here).trees == {use.tree}


def test_a_bad_file_is_named_each_time_and_tried_again_when_it_changes(here) -> None:
    fill(here)
    (file,) = here.glob("e4.*")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    for _ in range(2):
        said: list[str] = []
        assert "e4" not in losses(here, said.append)
        assert len(said) == 1
        assert repr(str(file)) in said[0]
    file.write_bytes(whole)
    said = []
    assert losses(here, said.append)["e4"] == 4.0
    assert said == []


def test_a_cache_that_cannot_be_written_is_done_without(here, monkeypatch) -> None:
    fill(here)
    losses(here)
    assert snapshot(here) == without_index(here, monkeypatch)
    shutil.rmtree(index_of(here))
    place = here.parent / "cache/cas/experiments"
    shutil.rmtree(place)
    place.touch()  # in the way of the directory, for root too
    assert losses(here)["e5"] == 5.0


READER = """
import sys
from pathlib import Path
from cas import experiments
here = Path(sys.argv[1])
print("ready", flush=True)
most = 0
while most < int(sys.argv[2]):
    sql = "SELECT count(*) AS rows, count(DISTINCT experiment_id) AS runs FROM all_experiments"
    (found,) = experiments.query(here, sql, warn=lambda text: print(text, flush=True)).to_pylist()
    if found["rows"] != 2 * found["runs"] or found["runs"] < most:
        sys.exit(f"{found}, after {most}")
    most = found["runs"]
"""


def start(program: str, *argv: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, argv)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_many_processes_refresh_and_read_while_records_come(here) -> None:
    for number in range(FEW + 4):
        room.save(here, f"e{number}", [{"x": 1}, {"x": 2}])
    readers = [start(READER, here, FEW + 34) for _ in range(3)]
    try:
        for reader in readers:
            assert reader.stdout.readline() == "ready\n"
        for number in range(30):
            room.save(here, f"f{number}", [{"x": 1}, {"x": "text"}])
        for reader in readers:
            output, _ = reader.communicate(timeout=120)
            assert (reader.returncode, output) == (0, "")
    finally:
        for reader in readers:
            reader.kill()
            reader.wait()
    listed = {file.suffix for file in index_of(here).iterdir()}
    assert listed == {"", ".rows", ".runs"}


def test_a_refresh_that_is_killed_leaves_an_index_that_works(here) -> None:
    fill(here, 60)
    for moment in (0.0, 0.02, 0.05):
        shutil.rmtree(here.parent / "cache", ignore_errors=True)
        reader = start(READER, here, 1000)
        assert reader.stdout.readline() == "ready\n"
        time.sleep(moment)
        reader.send_signal(signal.SIGKILL)
        reader.communicate()
        assert len(losses(here)) == 60


def test_a_live_run_is_there_with_what_it_logged(here) -> None:
    fill(here)
    head = {
        "live": 1,
        "experiment_id": "019a0000-0000-7000-8000-000000000000",
        "experiment_name": "running",
        "created_at": "2026-01-01T00:00:00.000000Z",
        "tags": [],
        "metadata": {},
        "assets": [],
        "kept": [],
        "earlier": [],
        "run": {},
    }
    lines = [head, {"row": {"loss": -9.0}}, {"row": {"loss": -8.0}}]
    path = here / f"running.{head['experiment_id']}.live"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert losses(here)["running"] == -9.0
    assert scan.records(here)[-1].status == "running"


def test_the_board_takes_conditions_and_shows_settings(here) -> None:
    for number in range(4):
        room.save(
            here,
            f"e{number}",
            [{"loss": number + step, "step": step} for step in (1, 2)],
            metadata={"optimizer": {"lr": number / 10}},
            tags=["odd"] if number % 2 else [],
        )
    board = room.best(here, "loss", show=["step", "optimizer.lr"], where="step > 1 -- later")
    assert [(r["name"], r["value"], r["show"]) for r in board["experiments"]][:2] == [
        ("e0", 2.0, {"step": 2, "optimizer.lr": 0.0}),
        ("e1", 3.0, {"step": 2, "optimizer.lr": 0.1}),
    ]
    assert [r["name"] for r in room.best(here, "loss", tags=["odd"])["experiments"]] == ["e1", "e3"]
    later = datetime.now(UTC) + timedelta(hours=1)
    assert room.best(here, "loss", since=later)["experiments"] == []
    assert [r["name"] for r in room.list_records(here, tags=["odd"])] == ["e3", "e1"]
    with pytest.raises(ExperimentError, match="'lrr'"):
        room.best(here, "loss", show=["lrr"])


def test_large_and_least_integers_are_ranked_exactly(here) -> None:
    for name, value in (("a", 2**53 + 1), ("b", 2**53), ("c", -(2**63)), ("d", 2**63 - 1)):
        room.save(here, name, {"reward": value})
    board = room.best(here, "reward")
    assert [r["name"] for r in board["experiments"]] == ["d", "a", "b", "c"]
    assert board["experiments"][-1]["value"] == -(2**63)


def test_lineage_goes_up_and_down_in_sql(here) -> None:
    def use(letter: str, role: str) -> Use:
        return Use(name=f"models/{letter}", kind="models", role=role, tree="t1:" + letter * 64)

    room.save(here, "train", {"x": 1}, uses=[use("a", "input"), use("b", "output")])
    room.save(here, "tune", {"x": 1}, uses=[use("b", "input"), use("c", "output")])
    room.save(here, "round", {"x": 1}, uses=[use("c", "input"), use("a", "output")])
    edges = [{"input_tree": "t1:" + "d" * 64, "output_tree": "t1:" + "a" * 64, "via": "r1:0"}]

    def walk(macro: str, letter: str) -> list[tuple[str, int]]:
        sql = f"SELECT tree[4:4] AS t, depth FROM {macro}('{letter * 64}')"
        return [(r["t"], r["depth"]) for r in room.query(here, sql, edges=edges).to_pylist()]

    assert walk("lineage_up", "c") == [("c", 0), ("b", 1), ("a", 2), ("d", 3)]
    assert walk("lineage_down", "d") == [("d", 0), ("a", 1), ("b", 2), ("c", 3)]
    via = room.query(here, "SELECT DISTINCT via FROM asset_edges", edges=edges).column("via")
    assert "r1:0" in via.to_pylist()
    assert len(via) == 4


# The command line


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with records; returns what runs cas in it."""
    move_in(monkeypatch, tmp_path)
    root = tmp_path / "p"
    root.mkdir()

    def cas(*words: str) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-m", "cas", *words]
        return subprocess.run(program, cwd=root, capture_output=True, text=True, timeout=120)

    assert cas("init").returncode == 0
    fill(root / "assets/outputs/experiments", metadata={"lr": 0.5}, tags=["t"])
    return cas


def test_the_command_takes_conditions_and_shows_settings(project) -> None:
    words = ("experiments", "best", "loss", "--top", "1", "--show", "lr", "--tag", "t")
    done = project(*words, "--where", "loss > 3", "--since", "1d", "--json")
    assert done.returncode == 0, done.stderr
    (first,) = json.loads(done.stdout)["experiments"]
    assert (first["name"], first["value"], first["show"]) == ("e3", 3.1, {"lr": 0.5})
    assert project("experiments", "list", "--tag", "none", "--json").stdout.strip() == "[]"


def test_every_type_is_printed_in_every_format(project) -> None:
    sql = (
        "SELECT 1 AS a, 2 AS a, timestamp 'infinity' b, date '-infinity' c, interval 1 month d,"
        " 'x'::blob e, [timestamp '290000-01-01'] f, 170141183460469231731687303715884105727 g"
    )
    told = {form: project("query", "--format", form, sql) for form in ("table", "csv", "json")}
    for form, done in told.items():
        assert (done.returncode, done.stderr) == (0, ""), form
        assert "170141183460469231731687303715884105727" in done.stdout
    (row,) = json.loads(told["json"].stdout)
    assert (row["a"], row["a_1"], row["b"], row["f"]) == (1, 2, "out of range", "out of range")


def test_what_a_record_says_does_nothing_to_a_terminal(project) -> None:
    sql = "SELECT chr(13) || chr(27) || '[31m' || chr(155) || chr(8238) || 'é' AS \"\x1b[2Jx\""
    done = project("query", sql)
    assert done.stdout.splitlines() == ["\\x1b[2Jx", "\\r\\x1b[31m\\x9b\\u202eé"]
    done = project("experiments", "show", "a\u202eb\rc")
    assert "a\\u202eb\\rc" in done.stderr


@pytest.mark.parametrize("seconds", ["nan", "inf", "1e30", "0", "-1"])
def test_a_time_that_no_query_has_is_a_usage_error(project, seconds) -> None:
    done = project("query", f"--timeout={seconds}", "SELECT 1")
    assert done.returncode == 2
    assert "--timeout" in done.stderr
    assert "Traceback" not in done.stderr


def test_one_huge_text_ends_within_the_limits(project) -> None:
    started = time.monotonic()
    sql = (
        "SELECT length(repeat('x', 1000000000) || repeat('y', 1000000000) || loss) FROM experiments"
    )
    done = project("query", "--timeout", "5", "--memory", "500MB", sql)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert time.monotonic() - started < 100


def test_columns_of_results_may_have_any_of_our_inner_names(here) -> None:
    names = ("_latest", "latest", "_at", "first", "last")
    for number in range(2):
        room.save(here, "again", {name: float(number) for name in names})
    sql = "SELECT {} FROM {} ORDER BY created_at"
    words = ", ".join(f'"{name}"' for name in names)
    newest = room.query(here, sql.format(words, "experiments")).to_pylist()
    assert newest == [dict.fromkeys(names, 1.0)]
    every = room.query(here, sql.format(words, "all_experiments")).to_pylist()
    assert every == [dict.fromkeys(names, 0.0), dict.fromkeys(names, 1.0)]
    views = [room.query(here, f"SELECT * FROM {name}") for name in ("experiments", "runs")]
    assert not any("__text" in column for view in views for column in view.column_names)


def test_an_asset_has_the_name_of_the_lock_else_of_its_last_use(here) -> None:
    def use(name: str, digit: str) -> Use:
        return Use(name=name, kind="datasets", role="input", tree="t1:" + digit * 64)

    room.save(here, "e0", {"x": 1}, uses=[use("datasets/old", "1"), use("datasets/b", "2")])
    room.save(here, "e1", {"x": 1}, uses=[use("datasets/new", "1"), use("datasets/c", "3")])
    given = [
        {"tree": "t1:" + "9" * 64, "name": None, "present": True},
        {"tree": "t1:" + "2" * 64, "name": None, "present": True, "size": 5},
        {"tree": "t1:" + "3" * 64, "name": "datasets/lock", "kind": "datasets", "locked": True},
    ]
    sql = "SELECT name, tree[4] AS tree, size, locked, present FROM assets"
    rows = [tuple(row.values()) for row in room.query(here, sql, assets=given).to_pylist()]
    assert rows == [
        (None, "9", None, False, True),
        ("datasets/b", "2", 5, False, True),
        ("datasets/lock", "3", None, True, None),
        ("datasets/new", "1", None, False, False),
    ]
