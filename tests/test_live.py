"""Live runs: what is logged survives, the end is one record, and what is said of it later."""

from __future__ import annotations

import json
import math
import os
import random
import resource
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

import cas
from cas.cli import run as command
from cas.errors import CasError, ExperimentError, UsageError
from cas.experiments import list_records
from cas.experiments.events import apply
from cas.experiments.live import live_runs, read_live
from cas.experiments.naming import experiment_files, new_id
from cas.experiments.scan import records
from cas.project import current, forget_current
from cas.runs import recover
from cas.store import settle
from tests.scratch import new_project

WAIT = 120  # seconds that a child may take on a machine that does much else


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project with three local assets; the working directory is in it."""
    root = new_project(monkeypatch, tmp_path, "a", "b", "c")
    yield root
    forget_current()


def here() -> Path:
    return Path(current().experiments)


def files(ending: str = "") -> list[str]:
    return sorted(file for file, _, _ in experiment_files(here()) if file.endswith(ending))


def listed(name: str) -> dict[str, Any]:
    """Return what the list says of the newest record of a name."""
    return next(row for row in list_records(here()) if row["name"] == name)


def roles(name: str) -> dict[str, str]:
    """Return asset → role of the newest record of a name, ``earlier`` too."""
    record = [one for one in records(here()) if one.experiment_name == name][-1]
    return {use.name: use.role for use in record.assets}


def rows(name: str, *columns: str) -> list[tuple[Any, ...]]:
    table = cas.query_experiments_arrow(
        f"SELECT {', '.join(columns)} FROM all_experiments WHERE experiment_name = $1 "
        "ORDER BY experiment_id, row_index",
        params=[name],
    )
    return [tuple(row.values()) for row in table.to_pylist()]


def cli(*words: str) -> int:
    forget_current()
    return command(list(words))


def child(code: str, *words: str) -> subprocess.Popen[str]:
    """Start a Python program in the project."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def grow_old() -> None:
    """Let the heart of every live run have stopped an hour ago."""
    for file in files(".live"):
        os.utime(here() / file, (time.time() - 3600, time.time() - 3600))


KILLED = """
import os, signal, cas
run = cas.experiment("exp_001", {"lr": 0.1}, tags=["x"]).start()
for step in range(5):
    run.log(step=step, loss=1 / (step + 1))
os.kill(os.getpid(), signal.SIGKILL)
"""


def killed() -> None:
    """Leave a run behind whose process was killed after five rows."""
    process = child(KILLED)
    process.communicate(timeout=WAIT)
    assert process.returncode == -signal.SIGKILL


# A run


def test_a_run_is_one_record_with_rows_uses_and_outputs(project, capsys):
    with cas.experiment("exp_002", {"lr": 0.1}, tags=["ablation"]) as run:
        cas.path("a")
        assert run.use("b", role="train") == cas.path("b")
        run.log(step=1, loss=2.5, when=datetime(2025, 1, 31, tzinfo=UTC), day=date(2025, 1, 31))
        run.log({"eval/loss": math.nan, "step": 2, "sizes": [1, 2]}, note="text")
        Path("best.pt").write_bytes(b"weights")
        assert run.output("best.pt", name="models/exp_002.pt").read_bytes() == b"weights"
        run.tag("good")
        run.update(seed=7)
        run.note("a note")
        assert run.path.name == f"exp_002.{run.id}.live"
    assert files() == [f"exp_002.{run.id}.parquet"]
    assert run.path == here() / files()[0]
    told = listed("exp_002")
    assert (told["id"], told["status"], told["rows"]) == (run.id, "finished", 2)
    assert (told["tags"], told["note"]) == (["ablation", "good"], "a note")
    record = records(here())[0]
    assert json.loads(record.metadata) == {"lr": 0.1, "seed": 7}
    assert {(u.name, u.role) for u in record.assets} == {
        ("datasets/a", "input"), ("datasets/b", "train"), ("datasets/b", "input"),
        ("models/exp_002.pt", "output"),
    }  # fmt: skip
    first, second = rows("exp_002", "step", "loss", '"eval/loss"', "day", "sizes")
    assert first == (1, 2.5, None, date(2025, 1, 31), None)
    assert second[:2] == (2, None)
    assert math.isnan(second[2])
    assert second[4] == [1, 2]
    assert "saved exp_002: " in capsys.readouterr().err


def test_a_run_that_goes_on_is_seen_as_running(project):
    run = cas.experiment("exp_001").start()
    run.log(step=0, loss=1.0)
    run.log(step=1, loss=0.5)
    assert (listed("exp_001")["status"], listed("exp_001")["rows"]) == ("running", 2)
    assert rows("exp_001", "step", "status") == [(0, "running"), (1, "running")]
    run.finish()
    assert rows("exp_001", "step", "status") == [(0, "finished"), (1, "finished")]


def test_a_run_has_the_uses_since_the_record_before_and_its_own(project):
    cas.path("a")
    with cas.experiment("one"):
        cas.path("b")
    assert roles("one") == {"datasets/a": "input", "datasets/b": "input"}
    with cas.experiment("two"):
        cas.path("c")
    assert roles("two") == {
        "datasets/c": "input", "datasets/a": "earlier", "datasets/b": "earlier",
    }  # fmt: skip
    with cas.experiment("three"):
        pass  # a sweep that opens its data once
    assert roles("three") == roles("two")
    cas.save_experiment("four", {"loss": 1.0})
    assert roles("four") == roles("two")


def test_two_runs_of_two_threads_have_their_own_uses(project):
    barrier = threading.Barrier(2, timeout=WAIT)

    def train(name: str, asset: str) -> None:
        with cas.experiment(name) as run:
            barrier.wait()
            cas.path(asset)
            run.log(loss=1.0)
            barrier.wait()

    threads = [threading.Thread(target=train, args=pair) for pair in (("x", "a"), ("y", "b"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert roles("x")["datasets/a"] == "input"
    assert roles("y")["datasets/b"] == "input"
    assert roles("x").get("datasets/b") != "input"
    assert roles("y").get("datasets/a") != "input"


def test_an_error_in_the_block_makes_it_failed_and_is_the_one_seen(project):
    def train() -> None:
        with cas.experiment("exp_001") as run:
            run.log(loss=1.0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train()
    assert (listed("exp_001")["status"], listed("exp_001")["rows"]) == ("failed", 1)
    assert not files(".live")


def test_a_program_that_forgets_to_finish_is_finished_at_its_end(project):
    code = "import cas\nrun = cas.experiment({name!r}).start()\nrun.log(loss=1.0)\n{end}"
    for name, end, status in (("good", "", "finished"), ("bad", "1 / 0", "failed")):
        child(code.format(name=name, end=end)).communicate(timeout=WAIT)
        assert (listed(name)["status"], listed(name)["rows"]) == (status, 1)


def test_a_fork_of_the_process_does_not_end_its_run(project):
    code = """
import os, sys, cas
with cas.experiment("exp_001") as run:
    run.log(step=0)
    if os.fork() == 0:
        sys.exit(3)
    os.wait()
    run.log(step=1)
"""
    process = child(code)
    assert process.communicate(timeout=WAIT)[1].count("saved exp_001") == 1
    assert process.returncode == 0
    assert rows("exp_001", "step") == [(0,), (1,)]


def test_what_is_not_started_or_is_over_says_so(project):
    run = cas.experiment("exp_001")
    with pytest.raises(UsageError, match="not started"):
        run.log(loss=1.0)
    run.start()
    with pytest.raises(UsageError, match="started before"):
        run.start()
    run.finish()
    with pytest.raises(UsageError, match="is finished"):
        run.log(loss=1.0)


# Bad input


@pytest.mark.parametrize("name", ["", " ", "a/b", "..", ".x", "a\0b", "a\nb", "x" * 300, "\ud800"])
def test_a_name_that_can_name_no_file_is_refused_and_nothing_is_written(project, name):
    with pytest.raises(CasError):
        cas.experiment(name).start()
    assert not here().exists() or not files()


def test_a_row_that_can_not_be_saved_is_refused_and_the_run_goes_on(project):
    with cas.experiment("exp_001") as run:
        run.log(step=0, Loss=1.0)
        for bad in ({"loss": 1.0}, {"run": 1}, {"": 1}, {"x__text": 1}, {"x": 1j}, {"x": b""},
                    {3: 1}, {"a\nb": 1}, {"n" * 300: 1},
                    {f"c{i}": 0 for i in range(10_001)}):  # fmt: skip
            with pytest.raises(ExperimentError):
                run.log(bad)
        run.log({"step": 1, "Loss": 0.5, "ünïcode 🎉": "🎉", "big": 1 << 80, "inf": math.inf})
        with pytest.raises(ExperimentError):
            run.update(x=object())
        for role in ("output", "earlier", "", "a\nb", 3):
            with pytest.raises(UsageError):
                run.use("a", role=role)
        for path, output in (("none.pt", None), ("a.txt", "../x"), ("a.txt", "x"), (".", None)):
            with pytest.raises(CasError):
                run.output(path, name=output)
        with pytest.raises(UsageError):
            run.tag("a\nb")
    assert rows("exp_001", "step", "Loss") == [(0, 1.0), (1, 0.5)]
    assert [u.role for u in records(here())[0].assets] == []


def test_bad_metadata_or_tags_begin_nothing(project):
    with pytest.raises(ExperimentError):
        cas.experiment("exp_001", {"x": object()}).start()
    with pytest.raises(UsageError):
        cas.experiment("exp_001", tags="text").start()
    assert not files()
    cas.path("a")
    cas.save_experiment("next", {"loss": 1.0})
    assert roles("next") == {"datasets/a": "input"}


# What ends a process


def test_a_killed_run_is_left_alone_while_its_heart_beat_lately_then_recovered(project, capsys):
    killed()
    assert listed("exp_001")["status"] == "running"
    assert cli("experiments", "recover") == 0
    assert "left alone" in capsys.readouterr().err
    assert files(".live")
    assert not files(".parquet")
    grow_old()
    assert cli("experiments", "recover", "--json") == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["name"], told["rows"]) == ("exp_001", 5)
    assert not files(".live")
    assert (listed("exp_001")["status"], listed("exp_001")["tags"]) == ("recovered", ["x"])
    assert rows("exp_001", "step") == [(step,) for step in range(5)]
    assert cli("experiments", "recover") == 0


def test_recover_leaves_alone_a_run_whose_process_lives(project):
    run = cas.experiment("exp_001").start()
    run.log(step=0)
    grow_old()
    made, left = recover(current(), now=True, tell=print)
    assert (made, left) == ([], files(".live"))
    run.log(step=1)
    run.finish()
    assert rows("exp_001", "step") == [(0,), (1,)]


@pytest.mark.parametrize(
    "damage",
    [b'{"row":{"step":5,"lo', b"\0" * 300, b'{"row":[1]}\n{"row":{"x":{"no":"x"}}}\n[]\n7\n'],
    ids=["half a line", "zeros", "lines that are none"],
)
def test_what_is_torn_loses_no_other_row(project, damage):
    killed()
    (file,) = files(".live")
    with open(here() / file, "ab") as live:
        live.write(damage)
    with cas.experiment("exp_001", resume=True) as run:
        run.log(step=6)
    assert rows("exp_001", "step") == [(0,), (1,), (2,), (3,), (4,), (6,)]


def test_a_file_that_is_no_live_run_is_named_and_left(project, capsys):
    here().mkdir(parents=True)
    for number, data in enumerate((b"", b"{}\n", b"[1]\n", b"\xff\xfe\n", b'{"live": 2}\n')):
        (here() / f"bad{number}.{new_id()[0]}.live").write_bytes(data)
    os.mkfifo(here() / f"fifo.{new_id()[0]}.live")
    grow_old()
    there = files(".live")
    assert cli("experiments", "recover") == 0
    assert capsys.readouterr().err.count("skipped") >= 6
    assert files(".live") == there
    cas.save_experiment("exp_001", {"loss": 1.0})
    assert listed("exp_001")["rows"] == 1


HEAD: dict[str, Any] = {
    "live": 1, "experiment_id": "01a20d93-23f1-77fc-9c18-e9c53229503f", "experiment_name": "x",
    "created_at": "2026-01-01T00:00:00.000000Z", "tags": [], "metadata": {}, "assets": [],
    "kept": [], "earlier": [], "run": {},
}  # fmt: skip


def foreign(lines: list[Any], **head: Any) -> Path:
    """Write the file of a live run as a stranger's git repository may hold it; return it."""
    here().mkdir(parents=True, exist_ok=True)
    path = here() / f"x.{HEAD['experiment_id']}.live"
    path.write_text("".join(json.dumps(one) + "\n" for one in [{**HEAD, **head}, *lines]))
    grow_old()
    return path


@pytest.mark.parametrize(
    "head",
    [
        {"experiment_name": "../../../outside"}, {"experiment_name": "y"}, {"experiment_name": 1},
        {"experiment_name": "\x1b[31m"}, {"experiment_id": "../../x"}, {"experiment_id": 1},
        {"created_at": "0001-01-01T00:00:00+14:00"}, {"created_at": "2026-01-01T00:00:00"},
        {"created_at": 5}, {"tags": [1]}, {"metadata": {"a": "\ud800"}}, {"run": {"seed": 2**70}},
        {"run": {"argv": "abc"}}, {"run": []}, {"assets": None},
    ],
    ids=str,
)  # fmt: skip
def test_a_live_file_that_no_run_wrote_is_named_and_writes_nothing(project, capsys, head):
    path = foreign([{"row": {"a": 1}}], **head)
    before = sorted(project.parent.rglob("*.parquet"))
    for words in (("list",), ("recover",)):
        assert cli("experiments", *words) == 0
        assert str(path) in capsys.readouterr().err
    assert cas.query_experiments_arrow("FROM experiments").num_rows == 0
    assert sorted(project.parent.rglob("*.parquet")) == before
    assert path.exists()


def test_a_line_that_no_run_wrote_loses_no_other(project):
    lines = [{"row": row} for row in (
        {"run": 1}, {"a__text": "x"}, {"a": {"zoned": "0001-01-01T00:00:00+14:00"}}, {"": 1},
        {"a\0": 1}, {"\ud800": 1}, dict.fromkeys(map(str, range(20_000)), 1),
    )]  # fmt: skip
    lines += [{"use": {}}, {"tags": [1]}, {"metadata": {"a": "\ud800"}},
              {"use": {**dict.fromkeys(("kind", "role"), "x"), "name": "\ud800",
                       "tree": "t1:" + "0" * 64}}]  # fmt: skip
    foreign([{"row": {"a": 1}}, *lines, {"moved": True}, {"row": {"a": 2}}])
    assert [row["rows"] for row in list_records(here())] == [2]
    ((_, live),), _ = recover(current(), tell=print)
    assert live.torn == len(lines)
    assert rows("x", "a", "run.git_moved") == [(1, True), (2, True)]


def test_a_stop_between_the_record_and_the_removal_of_the_live_file_counts_once(project):
    killed()
    (file,) = files(".live")
    shutil.copy(here() / file, project / "kept")
    assert len(recover(current(), now=True, tell=print)[0]) == 1
    shutil.copy(project / "kept", here() / file)
    assert [row["status"] for row in list_records(here(), every=True)] == ["recovered"]
    grow_old()
    recover(current(), tell=print)
    assert len(files()) == 1
    assert rows("exp_001", "step") == [(step,) for step in range(5)]


KILLS = """
import os, sys, cas
import cas.runs, cas.installer.local, cas.experiments, cas.store, pyarrow.parquet
from cas.project import current
current().store
for line in sys.stdin:  # one run a line, each in a fork
    child = os.fork()
    if child == 0:
        out = int(line)
        with cas.experiment("exp_001") as run:
            os.write(out, b"s")
            for step in range(40):
                run.log(step=step, loss=1.0)
                os.write(out, b"r")
                if step == 20:
                    run.output("a.txt", name="models/x.pt")
                    os.write(out, b"o")
        os.write(out, b"f")
        os._exit(0)
    print(child, flush=True)
    os.waitpid(child, 0)
    print("over", flush=True)
"""


def test_a_kill_at_any_point_loses_no_row_that_was_logged(project):
    chance = random.Random(6)
    driver = subprocess.Popen(
        [sys.executable, "-c", KILLS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        pass_fds=(pipe := os.pipe()),
    )  # fmt: skip
    ends: set[str] = set()
    # the points: while it begins, after some of the 42 signs, while it ends
    points = [0] * 8 + [chance.randint(1, 41) for _ in range(8)] + [42] * 8
    try:
        for signs in points:
            driver.stdin.write(f"{pipe[1]}\n")
            driver.stdin.flush()
            process = int(driver.stdout.readline())
            said = ""
            while len(said) < signs:
                assert select.select([pipe[0]], [], [], WAIT)[0], f"only {said!r} came"
                said += os.read(pipe[0], signs - len(said)).decode()
            time.sleep(chance.uniform(0, 0.1 if signs == 0 else 0.003 if signs < 42 else 0.05))
            with suppress(ProcessLookupError):  # it was done before
                os.kill(process, signal.SIGKILL)
            assert driver.stdout.readline() == "over\n"
            while select.select([pipe[0]], [], [], 0)[0]:
                said += os.read(pipe[0], 4096).decode()
            live = files(".live")
            made, left = recover(current(), now=True, tell=print)
            deadline = time.monotonic() + WAIT
            while left and time.monotonic() < deadline:  # git, which it had just started
                made, left = recover(current(), now=True, tell=print)
            assert not files(".live")
            assert len(made) == len(live) <= 1
            if said:
                record = records(here())[-1]
                assert record.status in ("recovered", "finished")
                assert record.rows - said.count("r") in (0, 1)
                outputs = [use.role for use in record.assets].count("output")
                assert outputs - said.count("o") in (0, 1)
                steps = [step for (step,) in rows("exp_001", "step")][-record.rows or 10**9 :]
                assert steps == list(range(record.rows))
            ends.add(said[-1:])
            for file in files():
                (here() / file).unlink()
    finally:
        driver.stdin.close()
        driver.wait(WAIT)
        for fd in pipe:
            os.close(fd)
    assert "r" in ends
    assert not [name for name in os.listdir(here()) if name.endswith(".live")]


def test_eight_processes_log_at_once_and_nothing_is_lost(project):
    code = """
import os, cas, cas.runs, cas.experiments, pyarrow.parquet
for rank in range(8):
    if os.fork() == 0:
        with cas.experiment(f"exp_{rank}") as run:
            run.use("a")
            for step in range(100):
                run.log(step=step, rank=rank)
        with cas.experiment("shared") as run:
            run.log(rank=rank)
        os._exit(0)
for rank in range(8):
    assert os.wait()[1] == 0
"""
    process = child(code)
    err = process.communicate(timeout=WAIT)[1]
    assert process.returncode == 0, err
    for rank in range(8):
        assert rows(f"exp_{rank}", "step", "rank") == [(step, rank) for step in range(100)]
    assert sorted(rows("shared", "rank")) == [(rank,) for rank in range(8)]
    assert not files(".live")


def test_rows_that_a_full_disk_does_not_take_wait_for_room(project, capsys):
    run = cas.experiment("exp_001").start()
    run.log(step=0)
    size = run.path.stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, hard))
    try:
        run.log(step=1)
        run.log(step=2)
        with pytest.raises(ExperimentError, match="can't write"):
            run.finish()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert capsys.readouterr().err.count("wait in memory") == 1
    assert read_live(run.path).rows == [{"step": 0}]
    run.log(step=3)
    assert [row["step"] for row in read_live(run.path).rows] == [0, 1, 2, 3]
    run.finish()
    assert rows("exp_001", "step") == [(0,), (1,), (2,), (3,)]


# resume


def test_resume_goes_on_with_the_unfinished_run_of_a_name(project):
    killed()
    (before,) = live_runs(here())
    with cas.experiment("exp_001", {"try": 2}, tags=["again"], resume=True) as run:
        assert run.id == before.document["experiment_id"]
        with pytest.raises(ExperimentError, match="differ only in case"):
            run.log(Step=5)
        run.log(step=5, loss=0.1)
        cas.path("a")
    assert rows("exp_001", "step") == [(step,) for step in range(6)]
    told = listed("exp_001")
    assert (told["id"], told["status"], told["tags"]) == (run.id, "finished", ["x", "again"])
    assert json.loads(records(here())[0].metadata) == {"lr": 0.1, "try": 2}
    assert roles("exp_001") == {"datasets/a": "input"}
    with cas.experiment("exp_001", resume=True) as another:
        pass  # nothing is unfinished: a new one
    assert another.id != run.id


def test_resume_is_refused_while_the_run_goes_on(project):
    first = cas.experiment("exp_001").start()
    with pytest.raises(ExperimentError, match="still running"):
        cas.experiment("exp_001", resume=True).start()
    first.finish()


# Events


def test_tags_and_notes_are_of_the_newest_record_and_the_file_stays_as_it_is(project, capsys):
    cas.save_experiment("exp_001", {"loss": 1.0}, tags=["own", "old"])
    before = (here() / files()[0]).read_bytes()
    assert cli("experiments", "tag", "exp_001", "good", "ablation") == 0
    assert cli("experiments", "tag", "exp_001", "old", "good", "--remove") == 0
    assert cli("experiments", "tag", "exp_001", "good") == 0
    assert cli("experiments", "note", "exp_001", "diverged", "late") == 0
    told = listed("exp_001")
    assert (told["tags"], told["note"]) == (["own", "ablation", "good"], "diverged late")
    assert (here() / files()[0]).read_bytes() == before
    assert rows("exp_001", "tags") == [(["own", "ablation", "good"],)]
    assert cli("experiments", "note", "exp_001", "") == 0
    assert listed("exp_001")["note"] is None
    cas.save_experiment("exp_001", {"loss": 0.5})
    assert listed("exp_001")["tags"] == []
    capsys.readouterr()
    assert cli("experiments", "tag", told["id"], "by_id", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"name": "exp_001", "id": told["id"]}
    older = next(row for row in list_records(here(), every=True) if row["id"] == told["id"])
    assert older["tags"] == ["own", "ablation", "good", "by_id"]


def test_what_was_removed_is_hidden_and_a_name_begins_anew(project, capsys):
    cas.save_experiment("exp_001", {"loss": 1.0})
    cas.save_experiment("exp_001", {"loss": 2.0})
    cas.save_experiment("other", {"loss": 3.0})
    assert cli("experiments", "rm", "exp_001") == 0
    assert "2 records of exp_001" in capsys.readouterr().err
    assert len(files()) == 3
    assert [row["name"] for row in list_records(here(), every=True)] == ["other"]
    assert rows("exp_001", "loss") == []
    assert cli("experiments", "rm", "exp_001") == 1
    cas.save_experiment("exp_001", {"loss": 4.0})
    assert rows("exp_001", "loss") == [(4.0,)]


def test_purge_removes_the_files_and_a_copy_that_comes_back_stays_hidden(project):
    cas.save_experiment("exp_001", {"loss": 1.0})
    (file,) = files()
    data = (here() / file).read_bytes()
    assert cli("experiments", "rm", "exp_001") == 0
    assert cli("experiments", "rm", "exp_001", "--purge") == 0
    assert files() == []
    (here() / file).write_bytes(data)
    assert list_records(here()) == []
    path = cas.save_experiment("exp_003", {"loss": 1.0})  # purged at once, not hidden before
    data = path.read_bytes()
    assert cli("experiments", "rm", "exp_003", "--purge") == 0
    path.write_bytes(data)
    assert list_records(here()) == []
    run = cas.experiment("exp_002").start()
    assert cli("experiments", "rm", "exp_002", "--purge") == 1
    assert files(".live")
    run.finish()


def test_words_that_can_not_be_taken_say_what_is_near(project, capsys):
    cas.save_experiment("exp_001", {"loss": 1.0})
    capsys.readouterr()
    for code, words in (
        (1, ("tag", "exp_01", "x")), (1, ("rm", "nothing")), (1, ("note", "../x", "y")),
        (1, ("rm", "exp_001", "nothing")),
        (2, ("tag", "exp_001")), (2, ("tag", "exp_001", "a\nb")), (2, ("rm",)), (2, ("tga",)),
        (2, ("note", "exp_001", "\0")), (2, ("recover", "x")),
        (2, ("tag", "exp_001", "x", "--now")),
    ):  # fmt: skip
        assert cli("experiments", *words) == code, words
    err = capsys.readouterr().err
    assert "near: 'exp_001'" in err
    assert "near: tag" in err
    assert not (here() / ".events").exists()


def test_the_beginning_of_an_id_means_its_record(project):
    paths = [cas.save_experiment(f"exp_00{n}", {"loss": 1.0}) for n in (1, 2)]
    first, second = (path.name.split(".")[1] for path in paths)
    same = next(n for n in range(len(first)) if first[n] != second[n])
    for word in (first[:5], first[:same]):  # too short; of both
        assert cli("experiments", "tag", word, "none") == 1
    assert cli("experiments", "tag", first[:-1], "one") == 0
    assert listed("exp_001")["tags"] == ["one"]
    assert cli("experiments", "rm", first[:-1]) == 0
    assert [row["name"] for row in list_records(here())] == ["exp_002"]


def test_an_event_that_can_not_be_read_is_named_and_skipped(project):
    cas.save_experiment("exp_001", {"loss": 1.0}, tags=["own"])
    assert cli("experiments", "tag", "exp_001", "good") == 0
    events = here() / ".events"
    good = json.loads(next(events.iterdir()).read_bytes())
    bad = [b"", b"{", b"[]", b"\xff", json.dumps({**good, "action": "explode"}).encode(),
           json.dumps({**good, "version": 2}).encode(), json.dumps({**good, "tags": 3}).encode(),
           json.dumps({**good, "experiment_ids": [1]}).encode(), b"[" * 100_000,
           json.dumps({**good, "tags": ["\ud800"]}).encode(), b" " * (2 << 20)]  # fmt: skip
    for number, data in enumerate(bad):
        (events / f"{new_id()[0]}.json").write_bytes(data)
        assert number < len(bad)
    os.mkfifo(events / f"{new_id()[0]}.json")
    (events / ".hidden.json").write_bytes(b"{")
    told: list[str] = []
    apply([], here(), told.append)
    assert len(told) == len(bad) + 1
    assert listed("exp_001")["tags"] == ["own", "good"]


# What the store holds, and what becomes an asset


def test_gc_keeps_what_a_live_run_and_its_record_name_until_it_is_purged(project):
    store = current().store
    run = cas.experiment("exp_001").start()
    Path("best.pt").write_bytes(b"weights")
    tree = run.output("best.pt", name="models/exp_001.pt").parent
    run.use("a")

    def collect() -> None:
        assert cli("gc", "--older-than", "0s", "--local-too") == 0

    collect()
    assert (tree / "best.pt").read_bytes() == b"weights"
    run.finish()
    collect()
    assert (tree / "best.pt").read_bytes() == b"weights"
    named = records(here())[0].run["packages"]
    assert Path(store.object(named)).exists()
    cas.save_experiment("exp_002", {"loss": 1.0})
    assert cli("experiments", "rm", "exp_001", "--purge") == 0
    collect()
    assert not tree.exists()
    assert cas.path("a").read_bytes() == b"a"
    assert Path(store.object(records(here())[0].run["packages"])).exists()


def test_gc_reads_what_live_runs_name_where_the_store_knows_nothing_of_it(project):
    run = cas.experiment("exp_001").start()
    Path("best.pt").write_bytes(b"weights")
    tree = run.output("best.pt", name="models/exp_001.pt").parent
    here = current()
    settle(
        here.store, here.root_id(draw=False) or "", path=here.root, lock=None,
        trees=[asset.tree for asset in here.read_lock()],
    )  # fmt: skip
    assert cli("gc", "--older-than", "0s", "--local-too") == 0
    assert tree.exists()
    run.finish()


def test_an_output_becomes_an_asset(project, capsys):
    with cas.experiment("exp_002") as run:
        Path("best.pt").write_bytes(b"weights")
        Path("dir").mkdir()
        Path("dir/config.json").write_text("{}")
        run.output("best.pt", name="models/exp_002.pt")
        run.output("dir", name="models/exp_002")
    lock = Path("assets.lock").read_bytes()
    for code, words in ((2, ("exp_002",)), (1, ("exp_02",)), (1, ("exp_002", "none")),
                        (2, ("exp_002", "exp_002.pt", "--kind", "model")),
                        (2, ("exp_002", "exp_002.pt", "--name", "../x")),
                        (0, ("exp_002", "exp_002.pt", "--dry-run"))):  # fmt: skip
        assert cli("add", "--from", *words) == code, words
        assert Path("assets.lock").read_bytes() == lock
    Path("best.pt").unlink()
    assert cli("add", "--from", "exp_002", "exp_002.pt") == 0
    assert cli("add", "--from", "exp_002", "models/exp_002", "--name", "models/final") == 0
    (moved,) = cas.add("models/exp_002", from_="exp_002", name="models/python")
    assert (moved["name"], moved["old"]) == ("models/python", None)
    assert Path("assets/models/python/config.json").read_text() == "{}"
    for given in ({}, {"from_": "exp_002"}):  # nothing to add; two outputs
        with pytest.raises(UsageError):
            cas.add(**given)
    capsys.readouterr()
    assert cli("status") == 0
    assert cli("lock", "--check") == 0
    assert cas.path("exp_002.pt").read_bytes() == b"weights"
    assert Path("assets/models/exp_002.pt").read_bytes() == b"weights"
    assert (cas.path("final") / "config.json").read_text() == "{}"
    assert cli("add", "--from", "exp_002", "exp_002.pt") == 0  # nothing is left to do
    assert cli("experiments", "rm", "exp_002") == 0
    assert cli("add", "--from", "exp_002", "exp_002.pt") == 1


@pytest.mark.full
@pytest.mark.parametrize("fails", [False, True])
def test_the_trainer_of_transformers_logs_into_a_run(project, fails):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    import torch

    class Numbers(torch.utils.data.Dataset):
        def __len__(self):
            return 16

        def __getitem__(self, position):
            return {"input_ids": torch.arange(8), "labels": torch.arange(8)}

    class Stop(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if fails and state.global_step == 5:
                raise ValueError("stop")

    def trainer():
        shape = transformers.GPT2Config(vocab_size=8, n_positions=8, n_embd=8, n_layer=1, n_head=1)
        options = transformers.TrainingArguments(
            "out", max_steps=8, logging_steps=2, save_steps=4, report_to=[],
            per_device_train_batch_size=4, use_cpu=True,
        )  # fmt: skip
        return transformers.Trainer(
            transformers.GPT2LMHeadModel(shape), options, train_dataset=Numbers(),
            callbacks=[cas.TrainerCallback("exp_001", {"what": "toy"}, tags=["t"]), Stop()],
        )  # fmt: skip

    cas.path("a")
    if not fails:
        trainer().train()
    else:
        one = trainer()
        with pytest.raises(ValueError, match="stop"):
            one.train()
        assert listed("exp_001")["status"] == "running"
        recover(current(), now=True, tell=print)
        return
    told = listed("exp_001")
    assert (told["status"], told["tags"]) == ("finished", ["t"])
    assert [step for (step,) in rows("exp_001", "step")] == [2, 4, 6, 8, 8]
    assert all(loss is None or loss > 0 for (loss,) in rows("exp_001", "loss"))
    metadata = json.loads(records(here())[0].metadata)
    assert (metadata["what"], metadata["training"]["max_steps"]) == ("toy", 8)
    assert roles("exp_001") == {"datasets/a": "input", "models/exp_001": "output"}
    assert cli("add", "--from", "exp_001") == 0
    assert (cas.path("models/exp_001") / "config.json").exists()
