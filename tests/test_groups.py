"""Groups: a part of a project's assets, as ``groups = [...]`` in their requests says."""

from __future__ import annotations

import json
import subprocess

import pytest

from cas.lockfile import parse
from tests.hubserver import Hub
from tests.test_walk import Walk


@pytest.fixture(scope="module")
def hub():
    with Hub() as server:
        for name in ("one", "two", "three"):
            server.repo(f"o/{name}", "dataset").commit({f"{name}.txt": name * 2000})
        yield server


@pytest.fixture
def walk(tmp_path, hub):
    """A project of three datasets, in two groups, on a machine that has none of them."""
    made = Walk(tmp_path, hub)
    made.sh(
        """
        cas init
        cas add o/one --no-pull --group my_paper --group talk
        cas add o/two --no-pull --group my_paper
        cas add o/three --no-pull
        """
    )
    hub.reset_log()
    return made


def states(walk: Walk) -> dict[str, str]:
    done = subprocess.run(["cas", "status", "--json"], cwd=walk.root, env=walk.env,
                          capture_output=True, text=True)  # fmt: skip
    return {row["name"].rpartition("/")[2]: row["state"]
            for row in json.loads(done.stdout)["assets"]}  # fmt: skip


def groups(walk: Walk) -> dict[str, tuple[str, ...]]:
    lock = parse((walk.root / "assets.lock").read_bytes())
    return {asset.name.rpartition("/")[2]: asset.request.groups for asset in lock}


def test_a_group_is_pulled_and_nothing_else(walk, hub):
    assert 'groups = ["my_paper", "talk"]' in (walk.root / "pyproject.toml").read_text()
    walk.sh("cas pull --group my_paper")
    assert "2 assets in place, 2 linked" in walk.stderr
    assert states(walk) == {"one": "ok", "two": "ok", "three": "not pulled"}
    assert {record.repo for record in hub.requests(kind="resolve")} <= {"o/one", "o/two"}
    walk.sh("cas pull --group talk --offline --frozen")
    walk.sh("cas pull three --group talk")
    assert states(walk) == dict.fromkeys(("one", "two", "three"), "ok")


def test_a_group_that_no_request_names_is_an_error_also_beside_one_that_does(walk):
    for words in ("--group my_papre", "--group talk --group my_papre", "one --group my_papre"):
        walk.sh(f"cas pull {words}", code=1)
        assert "no asset is in the group 'my_papre'; near: 'my_paper'" in walk.stderr
    assert set(states(walk).values()) == {"not pulled"}
    walk.sh("cas pull --group other", code=1)
    assert "near" not in walk.stderr


def test_requests_edited_by_hand_are_regrouped_without_the_network(walk, hub):
    place = walk.root / "pyproject.toml"
    text = place.read_text().replace('"dataset:o/three"', '"dataset:o/three", groups = ["late"]')
    place.write_text(text.replace(', "talk"', ""))
    walk.sh("cas pull --group late", code=1)
    assert "datasets/o/three has another request than it was locked with" in walk.stderr
    walk.sh("cas pull --group late --frozen", code=1)
    assert "no asset is in the group 'late'" in walk.stderr
    walk.sh("HF_ENDPOINT=http://127.0.0.1:9 cas lock && cas pull --group late")
    assert states(walk) == {"one": "not pulled", "two": "not pulled", "three": "ok"}
    assert groups(walk) == {"one": ("my_paper",), "two": ("my_paper",), "three": ("late",)}
    place.write_text(text.replace('groups = ["late"]', "groups = late"))
    walk.sh("cas pull --group late", code=1)


def test_adding_again_with_other_groups_keeps_the_pin_and_asks_nobody(walk, hub):
    before = (walk.root / "assets.lock").read_text()
    hub.repos[("dataset", "o/one")].commit({"two.txt": "moved on"})
    moves = json.loads(walk.sh("cas add datasets/o/one --no-pull --group late --json"))
    assert [(move["old"] == move["new"], move["name"]) for move in moves] == [
        (True, "datasets/o/one")
    ]
    assert groups(walk)["one"] == ("late",)
    walk.sh("cas add datasets/o/one --no-pull --group my_paper --group talk")
    assert (walk.root / "assets.lock").read_text() == before
    assert hub.log == []


@pytest.mark.parametrize("source", ["there", "elsewhere"])
def test_a_local_asset_gets_groups_by_its_short_name_and_the_hub_is_not_asked(walk, hub, source):
    place = walk.root if source == "there" else walk.top
    (place / "exp.pt").write_bytes(b"weights")
    walk.sh(f"cas add {place}/exp.pt")
    walk.sh("mkdir -p below")
    before = parse((walk.root / "assets.lock").read_bytes()).assets["models/exp.pt"]
    hub.reset_log()
    walk.sh("cas add exp.pt --group late", cwd=walk.root / "below")
    after = parse((walk.root / "assets.lock").read_bytes()).assets["models/exp.pt"]
    assert (after.tree, after.request.groups) == (before.tree, ("late",))
    assert hub.log == []


def test_an_out_of_step_asset_of_another_group_does_not_keep_a_group_from_being_pulled(walk):
    place = walk.root / "pyproject.toml"
    place.write_text(place.read_text().replace('"dataset:o/three"', '"dataset:o/other"'))
    walk.sh("cas pull --group my_paper")
    walk.sh("cas pull", code=1)
    assert "out of step" in walk.stderr


def test_what_is_local_and_what_is_derived_has_groups_and_a_group_brings_its_inputs(walk):
    lines = "".join(f"a story of {n} words and more words\n<|endoftext|>\n" for n in range(300))
    (walk.root / "text.txt").write_text(lines)
    walk.sh(
        """
        cas add ./text.txt --name datasets/text.txt
        cas add tokenizers/small --recipe bpe --input text.txt --vocab-size 300 --group my_paper
        rm -r assets/models/tokenizers assets/datasets/text.txt
        """
    )
    walk.sh("cas pull --group my_paper")
    assert (walk.root / "assets/models/tokenizers/small/tokenizer.json").exists()
    assert not (walk.root / "assets/datasets/text.txt").is_symlink(), "an input is no member"
    walk.sh("cas add tokenizers/small --group talk && cas add ./text.txt --group talk")
    assert groups(walk)["small"] == groups(walk)["text.txt"] == ("talk",)
    walk.sh(
        f"rm -r assets/models assets/datasets && CAS_STORE={walk.top}/new cas pull --group talk"
    )
    assert (walk.root / "assets/models/tokenizers/small/tokenizer.json").exists()
