"""Experiments one by one and in pairs, and had again: show, compare, checkout, reproduce."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import cas
from cas import experiments, graph
from cas.cli import run
from cas.digest import Digest
from cas.errors import ExperimentError
from cas.experiments import Use
from cas.project import Project, current, forget_current
from tests.hubserver import Hub
from tests.scratch import new_project

BIN = Path(sys.executable).parent
TRAIN = """\
import sys
import cas

data = cas.path("datasets/raw").read_bytes()
cas.save_experiment("exp", [{"step": i, "loss": len(data) / (i + 1) + float(sys.argv[1])}
                            for i in range(3)], {"rate": float(sys.argv[1])})
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project with a store of its own; the working directory is in it."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    new_project(monkeypatch, tmp_path)
    yield current()
    forget_current()


def said(capfd, *words: str) -> tuple[int, str, str]:
    """Run one command in this process."""
    capfd.readouterr()
    code = run(list(words))
    found = capfd.readouterr()
    return code, found.out, found.err


def document(capfd, *words: str):
    code, out, err = said(capfd, *words, "--json")
    assert code == 0, err
    return json.loads(out)


def command(*words: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BIN / "cas", *words], capture_output=True, text=True, **options)


def local(name: str, **files: str) -> None:
    """Make or change a directory and add it as an asset."""
    place = Path("sources", name.replace("/", "_"))
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for path, text in files.items():
        (place / path).write_text(text)
    cas.add(f"./{place}", name=name)


# --- show --------------------------------------------------------------------------------------


def test_show_tells_all_of_the_newest_record_of_a_name(project, capfd):
    local("datasets/d", a="1")
    cas.path("datasets/d")
    cas.save_experiment("exp", [{"loss": 5.0}], {"old": True})
    rows = [
        {"loss": 2.0, "acc": 0.1, "n": 1, "text": "x"},
        {"loss": 1.0, "acc": float("nan"), "n": 3, "text": "y"},
        {"loss": 1.5, "acc": 0.4, "n": 2, "text": "z"},
    ]
    path = cas.save_experiment("exp", rows, {"model": {"layers": 2}}, tags=["good"])
    shown = document(capfd, "experiments", "show", "exp")
    assert set(shown) >= {
        "name", "id", "created_at", "status", "rows", "tags", "note", "git_commit", "git_dirty",
        "assets", "metadata", "metrics", "path",
    }  # fmt: skip
    assert (shown["name"], shown["rows"], shown["tags"]) == ("exp", 3, ["good"])
    assert shown["metadata"] == {"model": {"layers": 2}}
    assert shown["path"] == str(path)
    assert [use["name"] for use in shown["assets"]] == ["datasets/d"]
    assert shown["metrics"] == {
        "loss": {"last": 1.5, "min": 1.0, "max": 2.0, "best": 1.0},
        "acc": {"last": 0.4, "min": 0.1, "max": 0.4, "best": 0.4},
        "n": {"last": 2, "min": 1, "max": 3, "best": None},
    }
    text = said(capfd, "experiments", "show", "exp")[1]
    for part in ("exp", str(path), "datasets/d (input)", "loss", "1.5", "good"):
        assert part in text
    assert document(capfd, "experiments", "show", shown["id"])["id"] == shown["id"]


def test_a_name_that_is_not_there_is_told_with_the_near_ones(project, capfd):
    cas.save_experiment("exp_001", {"loss": 1.0})
    for words in (["show", "exp_01"], ["compare", "exp_001", "exp_01"]):
        code, out, err = said(capfd, "experiments", *words)
        assert (code, out) == (1, "")
        assert "'exp_001'" in err
    assert said(capfd, "experiments", "compare", "exp_001")[0] == 2
    with pytest.raises(ExperimentError):
        experiments.show(Path(project.experiments), "")


def test_what_a_record_says_does_nothing_to_a_terminal(project, capfd):
    cas.save_experiment("exp", {"loss": 1.0}, {"x": "\x1b[31mred\nline"})
    cas.save_experiment("other", {"loss": 1.0}, {"x": "\x1b]0;title\x07"})
    for words in (["show", "exp"], ["compare", "exp", "other"]):
        out = said(capfd, "experiments", *words)[1]
        assert "\x1b" not in out
        assert "\x07" not in out


# --- compare -----------------------------------------------------------------------------------


def test_compare_tells_only_what_differs(project, capfd):
    local("datasets/same", a="1")
    local("datasets/d", kept="1", gone="2", other="3")
    cas.path("same")
    cas.path("d")
    cas.save_experiment("a", [{"loss": 2.0}, {"loss": 1.0}], {"lr": 1, "m": {"k": 1, "s": 2}})
    first = project.read_lock().find("d").tree_id
    local("datasets/d", kept="1", new="2", other="4")
    forget_current()
    cas.path("same")
    cas.path("d")
    cas.save_experiment("b", [{"loss": 0.5, "f1": 0.9}], {"lr": 1, "m": {"k": 2, "s": 2}, "x": []})
    second = project.read_lock().find("d").tree_id
    found = document(capfd, "experiments", "compare", "a", "b")
    assert set(found) == {"experiments", "metadata", "assets", "git", "packages", "metrics"}
    assert [one["name"] for one in found["experiments"]] == ["a", "b"]
    assert found["metadata"] == {"m.k": [1, 2], "x": [None, []]}
    assert found["assets"] == [{
        "name": "datasets/d", "role": "input", "trees": [first, second],
        "added": ["new"], "removed": ["gone"], "changed": ["other"],
    }]  # fmt: skip
    assert (found["git"], found["packages"]) == ({}, {})
    assert [one and one["best"] for one in found["metrics"]["loss"]] == [1.0, 0.5]
    assert found["metrics"]["f1"][0] is None
    out = said(capfd, "experiments", "compare", "a", "b")[1]
    assert "m.k" in out
    assert "m.s" not in out
    assert "datasets/same" not in out
    for line in ("    + new", "    - gone", "    ~ other"):
        assert line in out.splitlines()
    assert "nothing differs" in said(capfd, "experiments", "compare", "a", "a")[2]


def test_compare_tells_an_asset_that_only_one_used_and_one_whose_listing_is_lost(project, capfd):
    local("datasets/d", a="1")
    tree = project.read_lock().find("d").tree_id
    unknown = "t1:" + "0" * 64
    for name, uses in (("none", []), ("one", [tree]), ("lost", [unknown])):
        used = [Use(name="datasets/d", kind="datasets", role="input", tree=t) for t in uses]
        experiments.save(Path(project.experiments), name, {"loss": 1.0}, uses=used)
    (row,) = document(capfd, "experiments", "compare", "none", "one")["assets"]
    assert (row["trees"], row["added"], row["removed"]) == ([None, tree], ["a"], [])
    (row,) = document(capfd, "experiments", "compare", "one", "lost")["assets"]
    assert (row["trees"], row["added"]) == ([tree, unknown], None)
    code, _, err = said(capfd, "experiments", "compare", "one", "lost")
    assert code == 0
    assert "listings" in err


def test_compare_tells_git_and_packages(project, capfd, tmp_path):
    git(".", "init", "-q")
    commit("one")
    cas.save_experiment("a", {"loss": 1.0})
    Path("train.py").write_text("x = 1\n")
    commit("two")
    Path("train.py").write_text("x = 2\n")
    (tmp_path / "site/brand_new-1.5.dist-info").mkdir(parents=True)
    sys.path.append(str(tmp_path / "site"))
    try:
        cas.save_experiment("b", {"loss": 1.0})
    finally:
        sys.path.remove(str(tmp_path / "site"))
    found = document(capfd, "experiments", "compare", "a", "b")
    assert found["packages"] == {"brand-new": [None, "1.5"]}
    assert set(found["git"]) == {"commit", "dirty", "diff"}
    assert found["git"]["dirty"] == [False, True]


# --- checkout ----------------------------------------------------------------------------------


def test_checkout_makes_views_of_the_old_trees_beside_the_current_ones(project, capfd):
    local("datasets/d", a="old")
    Path("w.pt").write_text("weights")
    cas.add("./w.pt", name="models/w.pt")
    cas.path("d")
    cas.path("models/w.pt")
    cas.save_experiment("exp", {"loss": 1.0})
    local("datasets/d", a="new")
    rows = document(capfd, "checkout", "exp")
    base = Path(project.root, "assets/checkouts/exp")
    assert [(r["name"], r["state"], r["path"]) for r in rows] == [
        ("datasets/d", "here", str(base / "datasets/d")),
        ("models/w.pt", "here", str(base / "models/w.pt")),
    ]
    assert (base / "datasets/d/a").read_text() == "old"
    assert (base / "models/w.pt").read_text() == "weights"
    assert Path("assets/datasets/d/a").read_text() == "new"
    assert document(capfd, "checkout", "exp", "--to", "there")[0]["path"] == str(
        Path("there/datasets/d").absolute()
    )
    assert said(capfd, "checkout", "exp", "--to", "there")[0] == 0  # ours: made again
    assert said(capfd, "status")[0] == 0


def test_what_a_live_run_made_is_in_its_lineage_and_in_its_checkout(project, capfd):
    local("datasets/d", a="1")
    Path("best.pt").write_text("weights")
    with cas.experiment("live", {"lr": 1}) as run_:
        run_.use("datasets/d", role="train")
        run_.log(loss=2.0)
        run_.output("best.pt", name="models/live.pt")
    found = graph.lineage(project, "datasets/d", direction="down")
    of = {node["id"]: node["name"] for node in found["nodes"]}
    assert {(of[e["from"]], of[e["to"]], e["role"]) for e in found["edges"]} == {
        ("datasets/d", "live", "train"), ("live", "models/live.pt", "output"),
    }  # fmt: skip
    states = {row["name"]: row["state"] for row in document(capfd, "checkout", "live")}
    assert states == {"datasets/d": "here", "models/live.pt": "here"}
    assert Path("assets/checkouts/live/models/live.pt").read_text() == "weights"


def test_checkout_leaves_alone_what_is_not_ours(project, capfd):
    local("datasets/d", a="1")
    cas.path("d")
    cas.save_experiment("exp", {"loss": 1.0})
    place = Path("there/datasets/d")
    place.mkdir(parents=True)
    (place / "mine").write_text("mine")
    code, _, err = said(capfd, "checkout", "exp", "--to", "there")
    assert code == 1
    assert "left alone" in err
    assert (place / "mine").read_text() == "mine"


def test_a_record_from_elsewhere_writes_nothing_outside_its_checkout(project, capfd):
    local("datasets/d", a="1")
    tree = project.read_lock().find("d").tree_id
    names = ("../../../evil", "datasets/../../../evil", "/abs", "datasets/d", "datasets/d/inner")
    uses = [Use(name=n, kind="datasets", role="input", tree=tree) for n in names]
    experiments.save(Path(project.experiments), "exp", {"loss": 1.0}, uses=uses)
    before = {p for p in Path(project.root).parent.rglob("*") if "checkouts" not in str(p)}
    said(capfd, "checkout", "exp")
    after = {p for p in Path(project.root).parent.rglob("*") if "checkouts" not in str(p)}
    assert {p.name for p in after - before if "CACHE" not in str(p) and "roots" not in str(p)} <= {
        f"{tree[5:]}.used"
    }


def forget(store, tree: str, *, listing: bool) -> None:
    """Take a tree and the objects that it alone has out of the store, as a purger would."""
    digest = Digest(tree.removeprefix("t1:"))
    for path, _, files in os.walk(store.tree(digest)):
        os.chmod(path, 0o700)
        for name in files:
            os.unlink(os.path.join(path, name))
    shutil.rmtree(store.tree(digest))
    from cas.store import read_listing

    for entry in read_listing(store, digest) or ():
        os.unlink(store.object(entry.digest))
    if listing:
        os.unlink(store.object(digest))
        os.unlink(store.tree(digest) + ".json")


@pytest.fixture
def hub():
    with Hub() as server:
        yield server


@pytest.mark.parametrize("lock_is_gone", [False, True])
def test_checkout_fetches_the_commit_that_the_experiment_used(
    project, capfd, hub, monkeypatch, lock_is_gone
):
    repo = hub.repo("o/n", "dataset")
    first = repo.commit({"a.txt": "old", "b.txt": "more"})
    online = {**os.environ, "HF_ENDPOINT": hub.endpoint}
    include = () if lock_is_gone else ("--include", "a.txt")  # the lock knows the patterns
    assert command("add", "o/n", *include, env=online).returncode == 0
    cas.path("o/n")
    cas.save_experiment("exp", {"loss": 1.0})
    use = document(capfd, "experiments", "show", "exp")["assets"][0]
    assert use["commit"] == first
    repo.commit({"a.txt": "new"})
    assert command("lock", "--update", "o/n", env=online).returncode == 0
    forget(project.store, use["tree"], listing=True)
    if lock_is_gone:
        os.unlink(
            project.store.object(experiments.show(Path(project.experiments), "exp")["run"]["lock"])
        )
    done = command("checkout", "exp", "--json", "--offline", env=online)
    assert done.returncode == 3, done.stderr
    (row,) = json.loads(done.stdout)
    assert (row["state"], row["path"]) == ("gone", None)
    done = command("checkout", "exp", "--json", env=online)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert row["state"] == "fetched"
    assert Path(row["path"], "a.txt").read_text() == "old"


def test_checkout_builds_what_was_derived_again(project, capfd):
    Path("raw.txt").write_text("once upon a time\n\n" * 40)
    cas.add("./raw.txt", name="datasets/raw")
    cas.add("tokenizers/t", recipe="bpe", input="datasets/raw", vocab_size=262)
    cas.path("tokenizers/t")
    cas.save_experiment("exp", {"loss": 1.0})
    tree = project.read_lock().find("tokenizers/t").tree_id
    assert said(capfd, "rm", "tokenizers/t")[0] == 0
    forget(project.store, tree, listing=True)
    (row,) = document(capfd, "checkout", "exp")
    assert (row["state"], row["tree"]) == ("fetched", tree)
    assert Path(row["path"], "tokenizer.json").stat().st_size > 0


def test_checkout_tells_what_nobody_has_and_makes_the_rest(project, capfd):
    local("datasets/lost", a="1")
    local("datasets/kept", a="2")
    cas.path("lost")
    cas.path("kept")
    cas.save_experiment("exp", {"loss": 1.0})
    forget(project.store, project.read_lock().find("lost").tree_id, listing=True)
    shutil.rmtree("sources")
    code, out, err = said(capfd, "checkout", "exp", "--json")
    assert code == 1
    assert {row["name"]: row["state"] for row in json.loads(out)} == {
        "datasets/lost": "gone", "datasets/kept": "here",
    }  # fmt: skip
    assert "datasets/lost" in err
    assert Path("assets/checkouts/exp/datasets/kept/a").read_text() == "2"


# --- reproduce ---------------------------------------------------------------------------------


def git(where: str | Path, *words: str) -> str:
    named = ("-c", "user.name=n", "-c", "user.email=e@example.org")
    done = subprocess.run(["git", *named, *words], cwd=where, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def commit(message: str) -> None:
    git(".", "add", "-A")
    git(".", "commit", "-q", "-m", message)


def trained(tmp_path: Path) -> Path:
    """Commit a project and train in it with an uncommitted change and an untracked file."""
    git(".", "init", "-q")
    ignored = Path(".gitignore").read_text().replace("# !assets", "!assets")
    Path(".gitignore").write_text(ignored)  # records are kept in git, as the comment offers
    Path("raw.txt").write_text("once upon a time")
    cas.add("./raw.txt", name="datasets/raw")
    Path("train.py").write_text("raise SystemExit('not yet')\n")
    commit("one")
    Path("train.py").write_text("import helper\n" + TRAIN)
    Path("helper.py").write_text("VALUE = 1\n")
    words = [sys.executable, "train.py", "0.5"]
    subprocess.run(words, check=True, capture_output=True)
    git(".", "add", "-A", "assets/outputs")
    git(".", "commit", "-q", "-m", "the record")
    return Path(git(".", "rev-parse", "--show-toplevel").strip())


def losses(root: Path) -> list[dict]:
    table = experiments.query(
        Path(Project(str(root)).experiments), "SELECT step, loss FROM experiments ORDER BY step"
    )
    return table.to_pylist()


def test_an_experiment_is_reproduced_in_a_fresh_clone_without_the_hub(project, capfd, tmp_path):
    top = trained(tmp_path)
    wanted = losses(top)
    assert len(wanted) == 3
    Path("raw.txt").write_text("another text")  # what came later changes nothing
    cas.lock(update=["datasets/raw"])
    git(tmp_path, "clone", "-q", str(top), "clone")
    clone = tmp_path / "clone"
    done = command("reproduce", "exp", str(tmp_path / "again"), "--json", cwd=clone)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made["missing"] == {}
    assert [row["state"] for row in made["assets"]] == ["here"]
    again = Path(made["directory"])
    assert again == tmp_path / "again"
    assert (again / "helper.py").read_text() == "VALUE = 1\n"
    assert "numpy==" in Path(made["packages"]).read_text()
    assert shlex.split(made["command"])[1:] == ["train.py", "0.5"]
    assert command("status", cwd=again).returncode == 0
    shutil.rmtree(again / "assets/outputs/experiments", ignore_errors=True)
    subprocess.run(shlex.split(made["command"]), cwd=again, check=True, capture_output=True)
    assert losses(again) == wanted


def test_reproduce_says_what_can_not_be_had_and_does_the_rest(project, capfd, tmp_path):
    trained(tmp_path)
    run_ = experiments.show(Path(project.experiments), "exp")["run"]
    os.unlink(project.store.object(run_["git_diff"]))
    os.unlink(project.store.object(run_["packages"]))
    code, out, err = said(capfd, "reproduce", "exp", str(tmp_path / "again"), "--json")
    made = json.loads(out)
    assert code == 1
    assert set(made["missing"]) == {"changes", "packages"}
    assert "changes" in err
    assert (tmp_path / "again/assets/datasets/raw").read_text() == "once upon a time"
    cas.save_experiment("nogit", {"loss": 1.0})
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine").write_text("mine")
    code, _, err = said(capfd, "reproduce", "exp", str(tmp_path / "full"))
    assert code == 2
    assert "empty" in err
    assert os.listdir(tmp_path / "full") == ["mine"]


def test_reproduce_without_git_gives_the_trees_and_says_that_the_code_is_missing(
    project, capfd, tmp_path
):
    local("datasets/d", a="1")
    cas.path("d")
    cas.save_experiment("exp", {"loss": 1.0})
    code, out, _ = said(capfd, "reproduce", "exp", str(tmp_path / "again"), "--json")
    assert code == 1
    assert set(json.loads(out)["missing"]) == {"code"}
    assert (tmp_path / "again/assets/datasets/d/a").read_text() == "1"
    assert (tmp_path / "again/assets.lock").read_bytes() == Path("assets.lock").read_bytes()


def test_the_pair_is_compared_in_python_too(project):
    cas.save_experiment("a", {"loss": 1.0}, {"lr": 1})
    cas.save_experiment("b", {"loss": 1.0}, {"lr": 2})
    assert graph.compare(project, "a", "b")["metadata"] == {"lr": [1, 2]}
