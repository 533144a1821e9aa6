"""What a first user tripped over, each as a rule that holds now."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import cas
from cas.errors import UnknownAsset
from cas.names import find
from tests.hubserver import Hub
from tests.scratch import homes


class Desk:
    """A project, a store and a Hub, and `cas` as it is typed."""

    def __init__(self, place: Path, hub: Hub) -> None:
        self.place, self.hub = place / "project", hub
        self.place.mkdir()
        self.env = {
            **os.environ,
            "HF_ENDPOINT": hub.endpoint,
            "HF_HUB_DISABLE_XET": "1",
            **homes(place),
        }
        self.cas("init")

    def cas(self, *words: str, code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "cas", *words],
            cwd=self.place, env=self.env | env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return done

    def python(self, code: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=self.place, env=self.env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def requests(self) -> str:
        return (self.place / "pyproject.toml").read_text()


@pytest.fixture
def desk(tmp_path):
    with Hub() as hub:
        yield Desk(tmp_path, hub)


def test_a_hub_id_that_is_an_asset_already_keeps_the_patterns_it_was_added_with(desk):
    repo = desk.hub.repo("org/m", kind="model")
    repo.commit({"config.json": b"{}", "model.bin": b"x" * 100, "README.md": b"r"})
    desk.cas("add", "model:org/m", "--include", "*.json")
    desk.cas("add", "org/m", "--revision", "main")
    assert 'include = ["*.json"]' in desk.requests()
    assert [row["path"] for row in json.loads(desk.cas("files", "m", "--json").stdout)] == [
        "config.json"
    ]


def test_one_local_source_that_is_gone_does_not_stop_an_update_of_all(desk):
    repo = desk.hub.repo("org/d", kind="dataset")
    repo.commit({"a.txt": b"1"})
    desk.cas("add", "dataset:org/d")
    (desk.place / "run.pt").write_bytes(b"weights")
    desk.cas("add", "run.pt")
    (desk.place / "run.pt").unlink()
    repo.commit({"a.txt": b"2"})
    done = desk.cas("lock", "--update-all")
    assert "~ datasets/org/d" in done.stdout
    assert "models/run.pt keeps its pin" in done.stderr
    desk.cas("lock", "--update", "models/run.pt", code=1)


def test_a_lost_pyproject_does_not_take_the_pins_with_it(desk):
    (desk.place / "run.pt").write_bytes(b"weights")
    desk.cas("add", "run.pt")
    lock = (desk.place / "assets.lock").read_bytes()
    (desk.place / "pyproject.toml").unlink()
    assert "git checkout pyproject.toml" in desk.cas("lock", code=1).stderr
    assert (desk.place / "assets.lock").read_bytes() == lock


def test_special_files_that_were_left_out_are_left_out_again_elsewhere(desk, tmp_path):
    (desk.place / "corpus").mkdir()
    (desk.place / "corpus/a.txt").write_text("a")
    (desk.place / "corpus/link").symlink_to("a.txt")
    desk.cas("add", "./corpus", "--skip-special")
    assert "skip_special = true" in desk.requests()
    (desk.place / "assets/datasets/corpus").unlink()
    desk.cas("pull", CAS_STORE=str(tmp_path / "other"))  # a store that has never seen it
    desk.cas("lock", "--update-all")


def test_lists_of_a_recipe_reach_the_request(desk):
    corpus = desk.place / "corpus"
    corpus.mkdir()
    (corpus / "train.txt").write_text("one two three\n" * 2000)
    (corpus / "other.txt").write_text("four five six\n" * 2000)
    desk.cas("add", "./corpus")
    desk.cas("add", "tokenizers/t", "--recipe", "bpe", "--input", "corpus", "--vocab-size", "300",
             "--special", "<|end|>", "--special", "<pad>", "--files", "train.txt")  # fmt: skip
    assert 'special = ["<|end|>", "<pad>"], files = ["train.txt"]' in desk.requests().replace(
        'files = ["train.txt"], special = ["<|end|>", "<pad>"]',
        'special = ["<|end|>", "<pad>"], files = ["train.txt"]',
    )


def test_gc_and_a_save_work_in_one_process(desk):
    (desk.place / "run.pt").write_bytes(b"weights")
    desk.cas("add", "run.pt")
    out = desk.python(
        "import cas; cas.path('run.pt'); cas.save_experiment('e', {'loss': 1.0}); print(cas.gc())"
    )
    assert "'trees': 0" in out


def test_why_knows_commits_and_names_that_only_experiments_know_any_more(desk):
    repo = desk.hub.repo("org/d", kind="dataset")
    first = repo.commit({"a.txt": b"1"})
    desk.cas("add", "dataset:org/d")
    desk.python("import cas; cas.path('d'); cas.save_experiment('e', {'loss': 1.0})")
    repo.commit({"a.txt": b"2"})
    desk.cas("lock", "--update", "d")
    desk.cas("pull")
    told = json.loads(desk.cas("why", first, "--json").stdout)
    assert (told["kind"], told["hash"]) == ("commit", first)
    assert told["assets"] == ["datasets/org/d"]
    assert told["experiments"] == ["e"]


def test_moved_in_bytes_that_the_store_has_already_leave_no_copy_either(desk):
    (desk.place / "run.pt").write_bytes(b"w" * 2_000_000)
    desk.cas("add", "run.pt")
    desk.cas("add", "run.pt", "--move")
    assert not (desk.place / "run.pt").exists()
    assert (desk.place / "assets/models/run.pt").read_bytes() == b"w" * 2_000_000


def test_what_is_being_edited_is_kept_out_of_git(desk):
    desk.hub.repo("org/d", kind="dataset").commit({"README.md": b"r", "a.txt": b"1"})
    desk.cas("add", "dataset:org/d")
    subprocess.run(["git", "init", "-q"], cwd=desk.place, check=True)
    desk.cas("edit", "d")
    said = subprocess.run(
        ["git", "status", "--porcelain", "-uall"],
        cwd=desk.place, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "org/d" not in said
    desk.cas("pull", "--force", "d")
    assert "org/d" not in (desk.place / "assets/.gitignore").read_text()


def test_verify_says_which_assets_lie_in_another_store(desk, tmp_path):
    (desk.place / "run.pt").write_bytes(b"weights")
    desk.cas("add", "run.pt")
    done = desk.cas("verify", "--full", CAS_STORE=str(tmp_path / "empty"))
    assert "1 of the assets lie in the store" in done.stderr


def test_a_store_that_the_environment_names_leaves_a_link_when_it_moves(desk, tmp_path):
    (desk.place / "run.pt").write_bytes(b"weights")
    desk.cas("add", "run.pt")
    desk.cas("store", "move", str(tmp_path / "moved"))
    assert os.readlink(tmp_path / "store") == str(tmp_path / "moved")
    desk.cas("status")
    assert (desk.place / "assets/models/run.pt").read_bytes() == b"weights"


def test_a_pasted_address_and_a_mistyped_path_are_answered_with_the_right_words(desk):
    done = desk.cas("add", "https://huggingface.co/datasets/org/d", code=2)
    assert "cas add dataset:org/d" in done.stderr
    (desk.place / "runs").mkdir()
    (desk.place / "runs/exp_001.pt").write_bytes(b"w")
    assert "cas add runs/exp_001.pt" in desk.cas("add", "runs/exp_01.pt", code=1).stderr


def test_a_name_with_spaces_is_quoted_in_hints(desk):
    (desk.place / "best model.pt").write_bytes(b"w")
    done = desk.cas("add", "best model.pt")
    assert "models/best model.pt" in done.stdout
    assert "/assets/models/best model.pt' --name 'models/best model.pt'" in (
        desk.cas("edit", "best model.pt").stderr
    )


def test_what_follows_the_kind_wins_over_a_last_part():
    known = {"models/gpt2": "openai-community/gpt2 gpt2", "models/openai-community/gpt2": None}
    assert find("gpt2", known) == "models/gpt2"
    assert find("openai-community/gpt2", known) == "models/openai-community/gpt2"
    with pytest.raises(UnknownAsset, match="fits 2"):
        find("d", {"datasets/a/d": None, "datasets/b/d": None})


def test_an_error_in_python_carries_its_hint():
    assert cas.CasError("no", hint="cas pull").__notes__ == ["hint: cas pull"]


def test_a_missing_extra_is_named_with_the_command_that_brings_it(desk):
    out = desk.python(
        "import sys; sys.modules['datasets'] = None\n"
        "import cas\n"
        "try: cas.load_dataset('x')\n"
        "except cas.CasError as error: print(error.hint)\n"
    )
    assert out.strip() == "pip install 'cas-assets[train]'"


def test_a_query_in_json_is_json(desk):
    desk.python("import cas; cas.save_experiment('e', {'loss': float('nan')}, assets=[])")
    rows = json.loads(
        desk.cas("query", "--json", "SELECT loss, created_at, 1.5 AS d FROM experiments").stdout
    )
    assert rows[0]["loss"] is None
    assert rows[0]["d"] == 1.5
    assert rows[0]["created_at"].endswith("Z")
