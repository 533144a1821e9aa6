"""The graph: lineage both ways and across projects, stale experiments, assets marked bad."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest

import cas
from cas import experiments, graph
from cas.cli import run
from cas.experiments import Use
from cas.project import Project, current, forget_current
from tests.scratch import move_in

BIN = Path(sys.executable).parent
STORY = "once upon a time there was a cat\n\nand a dog who ran after it\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two projects of one store, copied for each test: raw → tokenizer → shards → two runs.

    ``first`` trained on the shards and made ``models/best``; ``other/second`` used that.
    """
    place = tmp_path_factory.mktemp("graph")
    with pytest.MonkeyPatch.context() as patch:
        begin(patch, place)
        (place / "p/raw.txt").write_text(STORY * 60)
        (place / "p/best.pt").write_text("weights")
        patch.chdir(place / "p")
        cas.init()
        cas.add("./raw.txt", name="datasets/raw")
        cas.add("./best.pt", name="models/best")
        cas.add("tokenizers/t", recipe="bpe", input="datasets/raw", vocab_size=270)
        cas.add("tokens/s", input="datasets/raw", tokenizer="tokenizers/t")
        forget_current()
        record("first", inputs=["tokens/s"], outputs=["models/best"], loss=2.0)
        record("apart", inputs=[], outputs=[], loss=1.0)
        patch.chdir(place / "other")
        cas.init()
        forget_current()
        cas.add(str(place / "p/best.pt"), name="models/start")
        record("second", inputs=["models/start"], outputs=[], loss=3.0)
        forget_current()
    return place


def begin(patch: pytest.MonkeyPatch, place: Path) -> None:
    move_in(patch, place)
    for name in ("p", "other"):
        (place / name).mkdir(exist_ok=True)


def record(name: str, *, inputs: list[str], outputs: list[str], loss: float) -> Path:
    """Write a record as a run does that used and made locked assets."""
    project = current()
    lock = project.read_lock()
    uses = [
        Use(name=n, kind=n.partition("/")[0], role=role, tree=lock.find(n).tree_id)
        for role, names in (("input", inputs), ("output", outputs))
        for n in names
    ]
    return experiments.save(
        Path(project.experiments), name, [{"loss": loss}], uses=uses, warn=lambda _: None
    )


@pytest.fixture
def project(made, monkeypatch):
    """The first project, read only: nothing of it is changed by the test."""
    begin(monkeypatch, made)
    monkeypatch.chdir(made / "p")
    forget_current()
    yield current()
    forget_current()


@pytest.fixture
def changing(tmp_path, monkeypatch):
    """A project of its own, with a dataset and a tokenizer of it."""
    begin(monkeypatch, tmp_path)
    monkeypatch.chdir(tmp_path / "p")
    cas.init()
    Path("raw.txt").write_text(STORY * 20)
    cas.add("./raw.txt", name="datasets/raw")
    cas.add("tokenizers/t", recipe="bpe", input="datasets/raw", vocab_size=262)
    forget_current()
    yield current()
    forget_current()


def said(capfd, *words: str) -> tuple[int, str, str]:
    """Run one command in this process."""
    code = run(list(words))
    found = capfd.readouterr()
    return code, found.out, found.err


def names(found) -> set[str]:
    return {node["name"] for node in found["nodes"]}


def edges(found) -> set[tuple[str, str, str]]:
    of = {node["id"]: node["name"] for node in found["nodes"]}
    return {(of[edge["from"]], of[edge["to"]], edge["role"]) for edge in found["edges"]}


CHAIN = {
    ("datasets/raw", "tokenizers/t", "text"),
    ("datasets/raw", "tokens/s", "text"),
    ("tokenizers/t", "tokens/s", "tokenizer"),
    ("tokens/s", "first", "input"),
    ("first", "models/best", "output"),
}


def test_a_chain_is_walked_up_from_a_checkpoint_to_the_raw_data(project):
    found = graph.lineage(project, "models/best", direction="up")
    assert edges(found) == CHAIN
    assert found["root"] == project.read_lock().find("models/best").tree_id
    assert found["direction"] == "up"


def test_a_chain_is_walked_down_from_the_raw_data_into_another_project(project):
    found = graph.lineage(project, "raw", direction="down")
    assert edges(found) == CHAIN | {("models/best", "second", "input")}
    assert "apart" not in names(found)


def test_both_ways_from_the_middle_and_from_the_other_project(project, made):
    middle = graph.lineage(project, "tokens/s")
    assert edges(middle) == CHAIN - {("datasets/raw", "tokenizers/t", "text")} | {
        ("datasets/raw", "tokenizers/t", "text"),
        ("models/best", "second", "input"),
    }
    other = Project(str(made / "other"))
    found = graph.lineage(other, "models/start", direction="up")
    assert {(a, b) for a, b, _ in edges(found)} >= {
        ("tokens/s", "first"),
        ("datasets/raw", "tokens/s"),
    }


def test_a_node_says_what_it_is(project, capfd):
    code, out, _ = said(capfd, "lineage", "models/best", "--up", "--json")
    found = json.loads(out)
    assert code == 0
    assert set(found) == {"root", "direction", "nodes", "edges"}
    nodes = {node["name"]: node for node in found["nodes"]}
    raw = project.read_lock().find("datasets/raw")
    assert nodes["datasets/raw"] == {
        "id": raw.tree_id, "type": "asset", "name": "datasets/raw", "kind": "datasets",
        "tree": raw.tree_id, "commit": None, "present": True, "locked": True,
    }  # fmt: skip
    first = nodes["first"]
    assert (first["type"], first["kind"], first["tree"]) == ("experiment", "experiments", None)
    assert all(set(edge) == {"from", "to", "role"} for edge in found["edges"])


def test_an_experiment_a_hash_and_an_id_are_roots_too(project):
    tree = project.read_lock().find("tokens/s").tree_id
    by_name = graph.lineage(project, "first", direction="up")
    assert names(by_name) == {"first", "tokens/s", "tokenizers/t", "datasets/raw"}
    assert graph.lineage(project, by_name["root"][:30], direction="up") == by_name
    for word in (tree, tree[:20], tree[3:12]):
        assert graph.lineage(project, word)["root"] == tree


@pytest.mark.parametrize("word", ["nothing", "t1:" + "0" * 64, "datasets/raw@abcdef0", "abcdef"])
def test_what_is_not_known_is_an_error(project, capfd, word):
    code, out, err = said(capfd, "lineage", word)
    assert (code, out) == (1, "")
    assert "cas: error:" in err
    assert "Traceback" not in err


def test_a_misspelt_experiment_is_told_the_near_ones(project, capfd):
    assert "'first'" in said(capfd, "lineage", "frist")[2]


def test_the_terminal_shows_a_tree(project, capfd):
    code, out, _ = said(capfd, "lineage", "tokens/s")
    lock = project.read_lock()
    ids = {name: lock.find(name).tree_id[:15] for name in lock.assets}
    assert code == 0
    assert out.splitlines() == [
        f"tokens/s  {ids['tokens/s']}",
        "made of",
        f"├─ text: datasets/raw  {ids['datasets/raw']}",
        f"└─ tokenizer: tokenizers/t  {ids['tokenizers/t']}",
        f"   └─ text: datasets/raw  {ids['datasets/raw']}",
        "went into",
        "└─ input: experiment first",
        f"   └─ output: models/best  {ids['models/best']}",
        "      └─ input: experiment second",
    ]
    assert said(capfd, "lineage", "raw", "--down", "--experiments")[1] == "first\nsecond\n"


def test_mermaid_and_svg_name_every_node_and_escape_what_they_name(project, capfd):
    out = said(capfd, "lineage", "tokens/s", "--mermaid")[1]
    assert out.startswith("flowchart LR\n")
    assert len(re.findall(r"-->\|\w+\|", out)) == len(graph.lineage(project, "tokens/s")["edges"])
    root = ElementTree.fromstring(said(capfd, "lineage", "tokens/s", "--svg")[1])
    text = " ".join(root.itertext())
    assert all(name in text for name in ("datasets/raw", "tokenizers/t", "first", "second"))
    hostile = {
        "root": "e", "direction": "up", "edges": [{"from": "e", "to": "e", "role": '"]|<x'}],
        "nodes": [{"id": "e", "type": "experiment", "name": '<script>"]-->', "kind": "experiments",
                   "tree": None, "commit": None, "present": True, "locked": False}],
    }  # fmt: skip
    assert "<script" not in graph.as_svg(hostile)
    ElementTree.fromstring(graph.as_svg(hostile))
    assert not re.search(r'[<>]|"\]-', graph.as_mermaid(hostile).replace("-->|", ""))


def test_an_experiment_that_made_what_it_used_ends_every_walk(changing, capfd):
    record("loop", inputs=["tokenizers/t"], outputs=["tokenizers/t"], loss=1.0)
    for way in ("up", "down", "both"):
        assert "loop" in names(graph.lineage(changing, "tokenizers/t", direction=way))
    for form in ([], ["--svg"], ["--mermaid"]):
        assert said(capfd, "lineage", "loop", *form)[0] == 0


def test_earlier_uses_are_no_lineage(changing):
    tree = changing.read_lock().find("datasets/raw").tree_id
    use = Use(name="datasets/raw", kind="datasets", role="earlier", tree=tree)
    experiments.save(Path(changing.experiments), "later", [{"loss": 1.0}], uses=[use])
    assert "later" not in names(graph.lineage(changing, "datasets/raw"))
    assert graph.stale(changing) == []


def test_many_experiments_below_one_asset_are_counted_on_a_terminal(changing, capfd):
    for number in range(25):
        record(f"run{number:02}", inputs=["tokenizers/t"], outputs=[], loss=1.0)
    lines = said(capfd, "lineage", "tokenizers/t", "--down")[1].splitlines()
    assert len(lines) == 22
    assert "5 more experiments" in lines[-1]
    out = said(capfd, "lineage", "tokenizers/t", "--down", "--experiments")[1]
    assert len(out.splitlines()) == 25


# --- what moved on -----------------------------------------------------------------------------


def test_stale_names_what_the_lock_pins_no_more(changing, capfd):
    record("old", inputs=["datasets/raw", "tokenizers/t"], outputs=[], loss=1.0)
    used = changing.read_lock()
    assert said(capfd, "stale", "--check")[:2] == (0, "")
    Path("raw.txt").write_text(STORY * 25)
    cas.lock(update=["datasets/raw"])
    record("new", inputs=["datasets/raw"], outputs=[], loss=1.0)
    now = changing.read_lock()
    code, out, _ = said(capfd, "stale", "--json")
    (row,) = json.loads(out)
    assert code == 0
    assert row.pop("id")
    assert row == {
        "name": "old", "asset": "datasets/raw", "used": used.find("raw").tree_id,
        "locked": now.find("raw").tree_id,
    }  # fmt: skip
    code, out, _ = said(capfd, "stale", "--check")
    assert code == 1
    assert re.search(r"old +datasets/raw", out)
    record("old", inputs=["datasets/raw"], outputs=[], loss=1.0)  # run again: no more stale
    assert graph.stale(changing) == []


def test_an_asset_that_left_the_lock_is_stale_and_what_was_made_never_is(changing, capfd):
    record("old", inputs=["datasets/raw"], outputs=["tokenizers/t"], loss=1.0)
    assert said(capfd, "rm", "tokenizers/t", "datasets/raw")[0] == 0
    (row,) = graph.stale(changing)
    assert (row["asset"], row["locked"]) == ("datasets/raw", None)


def test_the_name_means_the_locked_tree_and_any_means_all_that_had_it(changing, capfd):
    old = changing.read_lock().find("raw").tree_id
    record("before", inputs=["datasets/raw"], outputs=[], loss=1.0)
    Path("raw.txt").write_text(STORY * 25)
    cas.lock(update=["datasets/raw"])
    assert graph.lineage(changing, "raw")["root"] == changing.read_lock().find("raw").tree_id
    record("after", inputs=["datasets/raw"], outputs=[], loss=1.0)
    assert names(graph.lineage(changing, "raw", direction="down")) == {"datasets/raw", "after"}
    every = graph.lineage(changing, "raw", direction="down", every=True)
    assert names(every) == {"datasets/raw", "after", "before", "tokenizers/t"}
    assert every["root"] == changing.read_lock().find("raw").tree_id != old
    locked = {
        node["id"]: node["locked"] for node in every["nodes"] if node["name"] == "datasets/raw"
    }
    assert locked == {every["root"]: True, old: False}
    assert said(capfd, "lineage", "raw", "--any", "--down")[1].count("datasets/raw  t1:") == 2
    said(capfd, "rm", "tokenizers/t", "datasets/raw")
    assert graph.lineage(changing, "datasets/raw")["root"] == every["root"]  # the last that had it


def test_a_commit_says_which_tree_of_a_name(changing):
    trees = [f"t1:{digit * 64}" for digit in "12"]
    for tree, commit in zip(trees, ("aaaa" * 10, "bbbb" * 10), strict=True):
        use = Use(name="datasets/o/n", kind="datasets", role="input", tree=tree, commit=commit)
        experiments.save(Path(changing.experiments), f"on_{commit[0]}", [{"x": 1}], uses=[use])
    assert graph.lineage(changing, "datasets/o/n")["root"] == trees[1]
    assert graph.lineage(changing, "datasets/o/n@aaaaaaa")["root"] == trees[0]
    assert graph.lineage(changing, "aaaaaaaa")["root"] == trees[0]
    (node, *_) = graph.lineage(changing, "datasets/o/n@aaaa")["nodes"]
    assert (node["commit"], node["present"], node["locked"]) == ("aaaa" * 10, False, False)


# --- marked bad --------------------------------------------------------------------------------


def test_a_mark_is_written_and_told_wherever_it_matters(changing, capfd):
    record("exp", inputs=["tokenizers/t"], outputs=[], loss=1.0)
    before = Path("pyproject.toml").read_text()
    code, out, _ = said(
        capfd, "mark", "bad", "raw", "--reason", "train contains validation", "--json"
    )
    marked = json.loads(out)
    tree = changing.read_lock().find("raw").tree_id
    assert code == 0
    assert marked == {
        "name": "datasets/raw", "tree": tree, "reason": "train contains validation",
        "assets": ["tokenizers/t"], "experiments": ["exp"],
    }  # fmt: skip
    after = Path("pyproject.toml").read_text()
    assert after.startswith(before)
    assert tomllib.loads(after)["tool"]["cas"]["bad"] == {tree: "train contains validation"}
    told = "which is marked bad: train contains validation"
    for words in (["status"], ["experiments", "best", "loss"], ["stale"],
                  ["lineage", "tokenizers/t"], ["experiments", "show", "exp"],
                  ["checkout", "exp"]):  # fmt: skip
        code, _, err = said(capfd, *words)
        assert (code, told in err) == (0, True), words
    forget_current()
    cas.path("tokenizers/t")
    cas.path("tokenizers/t")
    err = capfd.readouterr().err
    assert err.count(told) == 1
    done = subprocess.run([BIN / "cas", "path", "raw"], capture_output=True, text=True, check=True)
    assert "is marked bad: train contains validation" in done.stderr


def test_what_an_experiment_made_of_bad_data_is_told_when_it_is_handed_out(changing, capfd):
    Path("best.pt").write_text("weights")
    cas.add("./best.pt", name="models/best")
    record("exp", inputs=["tokenizers/t"], outputs=["models/best"], loss=1.0)
    said(capfd, "mark", "bad", "raw", "--reason", "cut off")
    forget_current()
    cas.path("models/best")
    assert "marked bad: cut off" in capfd.readouterr().err


def test_nothing_is_told_of_what_has_nothing_to_do_with_it(changing, capfd):
    Path("good.txt").write_text("good")
    cas.add("./good.txt", name="datasets/good")
    record("fine", inputs=["datasets/good"], outputs=[], loss=1.0)
    said(capfd, "mark", "bad", "raw", "--reason", "cut off")
    forget_current()
    capfd.readouterr()
    cas.path("good")
    assert "bad" not in said(capfd, "experiments", "show", "fine")[2]
    assert "bad" not in said(capfd, "lineage", "good")[2]


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_mark_leaves_the_rest_of_the_file_and_a_second_one_replaces_the_first(
    changing, capfd, ends
):
    text = Path("pyproject.toml").read_text()
    text = f"# mine\n{text}\n[tool.other]  # kept\nx = 1\n".replace("\n", ends)
    Path("pyproject.toml").write_bytes(text.encode())
    for reason in ("first", "second 'quoted' \"one\"", "second 'quoted' \"one\""):
        assert said(capfd, "mark", "bad", "raw", "--reason", reason)[0] == 0
    after = Path("pyproject.toml").read_bytes().decode()
    assert [line for line in text.split(ends) if line not in after.split(ends)] == []
    assert "\n" not in after.replace(ends, "")
    assert list(tomllib.loads(after)["tool"]["cas"]["bad"].values()) == ["second 'quoted' \"one\""]
    assert said(capfd, "mark", "bad", "tokenizers/t", "--reason", "other")[0] == 0
    assert len(tomllib.loads(Path("pyproject.toml").read_text())["tool"]["cas"]["bad"]) == 2


@pytest.mark.parametrize("words", [
    ["bad", "raw", "--reason", " "], ["bad", "raw", "--reason", "two\nlines"],
    ["bad", "nothing", "--reason", "x"], ["bad", "raw"], ["good", "raw", "--reason", "x"],
])  # fmt: skip
def test_a_mark_that_can_not_be_made_changes_nothing(changing, capfd, words):
    before = Path("pyproject.toml").read_bytes()
    code, out, err = said(capfd, "mark", *words)
    assert code in (1, 2)
    assert out == ""
    assert "error:" in err
    assert Path("pyproject.toml").read_bytes() == before


@pytest.mark.parametrize("table", ['"t1:abc" = "x"', '"x" = "y"', '"t1:%s" = 1' % ("0" * 64)])
def test_a_mark_by_hand_that_is_none_is_an_error(changing, capfd, table):
    with Path("pyproject.toml").open("a") as file:
        file.write(f"[tool.cas.bad]\n{table}\n")
    code, _, err = said(capfd, "status")
    assert code == 1
    assert "tool.cas.bad" in err


# --- rows for SQL ------------------------------------------------------------------------------


def test_the_rows_of_assets_are_one_a_tree_and_tell_what_is_locked_and_here(changing):
    old = changing.read_lock().find("raw")
    Path("raw.txt").write_text(STORY * 25)
    cas.lock(update=["datasets/raw"])
    rows = {row["tree"]: row for row in graph.asset_rows(changing)}
    new = changing.read_lock().find("raw")
    assert rows[new.tree_id] == {
        "name": "datasets/raw", "kind": "datasets", "repository": None, "commit": None,
        "tree": new.tree_id, "files": 1, "size": new.size, "locked": True, "present": True,
    }  # fmt: skip
    assert (rows[old.tree_id]["locked"], rows[old.tree_id]["present"]) == (False, True)
    assert rows[old.tree_id]["size"] == old.size


def test_the_rows_of_edges_outlive_the_lock(changing):
    wanted = {
        (tree, asset.tree_id, asset.recipe)
        for asset in changing.read_lock()
        for tree in (f"t1:{digest}" for digest in asset.inputs.values())
    }
    assert wanted

    def rows() -> set[tuple[str, str, str]]:
        found = graph.edge_rows(changing)
        assert all(set(row) == {"input_tree", "output_tree", "via"} for row in found)
        return {(row["input_tree"], row["output_tree"], row["via"]) for row in found}

    assert rows() == wanted
    run(["rm", "tokenizers/t"])
    assert rows() == wanted  # the sidecar in the store says so
    below = graph.lineage(changing, "datasets/raw", direction="down")
    assert {edge["to"] for edge in below["edges"]} == {tree for _, tree, _ in wanted}


def test_a_project_that_is_gone_or_damaged_takes_nothing_from_the_others(changing, tmp_path):
    place = tmp_path / "other"
    (place / "x.txt").write_text("x")
    cas.init(place)
    words = ["add", "./x.txt", "--name", "datasets/theirs"]
    subprocess.run([BIN / "cas", *words], cwd=place, capture_output=True, check=True)
    rows = {row["name"]: row for row in graph.asset_rows(changing)}
    assert (rows["datasets/theirs"]["locked"], rows["datasets/raw"]["locked"]) == (False, True)
    (place / "assets.lock").write_text("<<<<<<< ours\n")
    assert "tokenizers/t" in names(graph.lineage(changing, "raw"))
    shutil.rmtree(place)
    assert "tokenizers/t" in names(graph.lineage(changing, "raw"))
