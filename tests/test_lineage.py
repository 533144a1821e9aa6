"""What a record takes from its project: the assets of this process, and what gc keeps for it."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

import cas
from cas.errors import ExperimentError, UnknownAsset, UsageError
from cas.experiments import list_records
from cas.project import current, forget_current
from tests.scratch import new_project


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with three local assets, pulled; the working directory is in it."""
    root = new_project(monkeypatch, tmp_path, "a", "b", "c")
    yield root
    forget_current()


def used(name: str) -> dict[str, str]:
    """Return name → role of what the newest record of *name* says it used."""
    table = cas.query_experiments_arrow(
        "SELECT u.name, u.role FROM all_experiment_assets u JOIN runs r USING (experiment_id) "
        "WHERE r.experiment_name = $1 AND r.latest",
        params=[name],
    )
    return {row["name"]: row["role"] for row in table.to_pylist()}


def trees() -> dict[str, str]:
    return {asset.name: asset.tree_id for asset in current().read_lock()}


def test_a_record_takes_the_uses_since_the_record_before(project, capsys):
    cas.path("a")
    cas.save_experiment("one", {"loss": 1.0})
    assert used("one") == {"datasets/a": "input"}
    assert "saved one: datasets/a (input)" in capsys.readouterr().err
    cas.path("b")
    cas.path("b")
    cas.save_experiment("two", {"loss": 2.0})
    assert used("two") == {"datasets/b": "input", "datasets/a": "earlier"}
    assert cas.uses() == [(f"datasets/{n}", trees()[f"datasets/{n}"]) for n in ("a", "b")]
    assert all(isinstance(one, tuple) for one in cas.uses())


def test_a_sweep_that_opens_its_data_once_keeps_its_inputs(project):
    cas.path("a")
    cas.path("c")
    for name in ("s1", "s2", "s3"):
        cas.save_experiment(name, {"loss": 1.0})
        assert used(name) == {"datasets/a": "input", "datasets/c": "input"}


def test_a_save_that_failed_loses_no_use(project):
    cas.path("a")
    with pytest.raises(ExperimentError):
        cas.save_experiment("bad", {"experiment_id": 1.0})
    with pytest.raises(UsageError):
        cas.save_experiment("a/b", {"loss": 1.0})
    cas.save_experiment("good", {"loss": 1.0})
    assert used("good") == {"datasets/a": "input"}
    assert len(list((project / "assets/outputs/experiments").glob("*.parquet"))) == 1


def test_assets_that_are_named_decide(project):
    cas.path("a")
    cas.save_experiment("named", {"loss": 1.0}, assets=["b", trees()["datasets/c"]])
    assert used("named") == {"datasets/b": "input", "datasets/c": "input"}
    cas.save_experiment("none", {"loss": 1.0}, assets=[])
    assert used("none") == {}


def test_one_text_is_one_name_and_no_list_of_letters(project):
    cas.save_experiment("exp_001", {"loss": 1.0}, assets="datasets/a", tags=None)
    (row,) = list_records(Path(current().experiments))
    assert [use["name"] for use in row["assets"]] == ["datasets/a"]
    for given in ({"tags": "abc"}, {"assets": [None]}):
        with pytest.raises(UsageError):
            cas.save_experiment("exp_002", {"loss": 1.0}, **given)
    assert len(list_records(Path(current().experiments))) == 1


def test_a_tree_that_is_not_in_the_store_is_refused_and_nothing_is_written(project):
    before = sorted((project / "assets/outputs").rglob("*"))
    for word in ("t1:" + "0" * 64, "t1:short"):
        with pytest.raises(ExperimentError):
            cas.save_experiment("x", {"loss": 1.0}, assets=[word])
    with pytest.raises(UnknownAsset):
        cas.save_experiment("x", {"loss": 1.0}, assets=["nothing"])
    assert sorted((project / "assets/outputs").rglob("*")) == before


def test_the_view_leaves_earlier_uses_out_and_joins_on_the_tree(project):
    cas.path("a")
    cas.save_experiment("one", [{"perplexity": 9.0}, {"perplexity": 7.0}], {"model": "m"})
    cas.path("b")
    cas.save_experiment("two", [{"perplexity": 8.0}])
    rows = cas.query_experiments_arrow(
        "SELECT a.name, e.experiment_name AS run, MIN(e.perplexity) AS best FROM experiments e "
        "JOIN experiment_assets u USING (experiment_id) JOIN assets a ON a.tree = u.tree "
        "GROUP BY ALL ORDER BY best"
    ).to_pylist()
    assert rows == [
        {"name": "datasets/a", "run": "one", "best": 7.0},
        {"name": "datasets/b", "run": "two", "best": 8.0},
    ]


def test_a_use_keeps_its_tree_when_the_asset_moves_on(project):
    old = trees()["datasets/a"]
    path = cas.path("a")
    (project / "a.txt").write_text("a moved")
    cas.lock(update=["datasets/a"])
    cas.pull()
    assert path.read_text() == "a", "a process goes on reading what it was given"
    cas.save_experiment("one", {"loss": 1.0})
    rows = cas.query_experiments_arrow("SELECT tree FROM experiment_assets").to_pylist()
    assert rows == [{"tree": old}] != [{"tree": trees()["datasets/a"]}]


def test_gc_keeps_what_a_record_used_after_it_left_the_lock(project):
    from datetime import timedelta

    from cas.resolver import remove

    tree = cas.path("a")
    cas.save_experiment("one", {"loss": 1.0})
    remove(current(), ["a", "b"])
    collected = cas.gc(older_than=timedelta(0), local_too=True)
    assert collected["trees"] == 1, "that of b, which no record used"
    assert tree.read_text() == "a"
    collected = cas.gc(older_than=timedelta(0), local_too=True, ignore_experiments=True)
    assert collected["trees"] == 1
    assert not tree.exists()


def test_the_root_alone_holds_what_a_record_used_while_its_project_is_away(project, monkeypatch):
    """A disk that is not mounted, a directory that moved: gc sees neither lock nor record."""
    from datetime import timedelta

    from cas.installer import collect_garbage
    from cas.resolver import remove

    tree = cas.path("a")
    cas.save_experiment("one", {"loss": 1.0})
    (run,) = cas.query_experiments_arrow("SELECT run.packages p, run.lock l FROM runs").to_pylist()
    store = current().store
    objects = [Path(store.object(digest)) for digest in run.values()]
    remove(current(), ["a", "b"])
    monkeypatch.chdir(project.parent)
    project.rename("away")
    forget_current()
    collected = collect_garbage(store, older_than=timedelta(0), local_too=True)
    assert collected.trees == 1, "that of b, which no record used"
    assert tree.read_text() == "a"
    assert all(one.is_file() for one in objects)


def test_the_run_says_the_state_of_git_and_moves_are_told(project):
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-qm", "one"], check=True)
    code = (
        "import cas, time, pathlib; cas.path('a'); time.sleep(1);"
        "pathlib.Path('b.txt').write_text('edited'); cas.save_experiment('one', {'loss': 1.0})"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    (row,) = cas.query_experiments_arrow(
        "SELECT run.git_commit c, run.git_dirty d, run.git_moved m, run.lock l FROM runs"
    ).to_pylist()
    assert len(row["c"]) == 40
    assert row["d"] is True
    assert row["m"] is True
    lock = Path(current().store.object(row["l"]))
    assert lock.read_bytes() == (project / "assets.lock").read_bytes()


def test_a_store_that_can_not_be_written_still_gets_its_record(project, monkeypatch):
    (project.parent / "store" / "VERSION").write_text("cas-store 2\n")
    cas.path("a")
    cas.save_experiment("one", {"loss": 1.0})
    assert used("one") == {"datasets/a": "input"}


def test_threads_that_use_assets_at_once_are_all_noted(project):
    threads = [threading.Thread(target=cas.path, args=(n,)) for n in ("a", "b", "c") * 8]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cas.save_experiment("one", {"loss": 1.0})
    assert used("one") == dict.fromkeys(("datasets/a", "datasets/b", "datasets/c"), "input")
