"""The whole walk as it is typed, against a Hub, with the real datasets and transformers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hubserver import Hub
from tests.hubserver.seed import seed_gpt2, seed_stories
from tests.scratch import homes

BIN = Path(sys.executable).parent
STORIES = "datasets/roneneldan/TinyStories"

TRAIN = """\
import cas
import pandas as pd

data, tokenizer = cas.path("tinystories"), cas.load_tokenizer("tokenizers/tinystories_bpe_512")
assert tokenizer("Once upon a time")["input_ids"]
results = pd.DataFrame({"step": [1, 2], "perplexity": [9.5, NUMBER]})
cas.save_experiment("NAME", results, metadata={"model": "custom-transformer"})
"""

READ = """\
import cas, json, warnings
from datasets import load_dataset
from transformers import AutoModel, PreTrainedTokenizerFast as T

plain = load_dataset(str(cas.path("tinystories")))
print(json.dumps({
    "rows": plain["train"].num_rows,
    "cas": cas.load_dataset("tinystories", split="validation").num_rows,
    "model": type(AutoModel.from_pretrained(cas.path("gpt2"))).__name__,
    "ids": T.from_pretrained("assets/models/tokenizers/tinystories_bpe_512")("Once upon a")[
        "input_ids"],
    "back": cas.load_tokenizer("tinystories_bpe_512").decode(
        cas.load_tokenizer("tinystories_bpe_512")("Once upon a time")["input_ids"]),
    "uses": sorted(cas.uses()),
}))
"""


class Walk:
    """One user on one machine."""

    def __init__(self, top: Path, hub: Hub) -> None:
        self.hub, self.top, self.root = hub, top, top / "p"
        self.root.mkdir()
        self.env = os.environ | {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            **homes(top),
            "HF_ENDPOINT": hub.endpoint,
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "TOKENIZERS_PARALLELISM": "false",
        }

    def sh(self, line: str, *, cwd: Path | None = None, code: int = 0) -> str:
        """Run a line of sh, and return its stdout; it must exit with *code*."""
        done = subprocess.run(
            ["bash", "-ec", line], cwd=cwd or self.root, env=self.env,
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == code, f"{line}\n{done.stdout}\n{done.stderr}"
        self.stderr = done.stderr
        return done.stdout

    def python(self, code: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=self.root, env=self.env,
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    """A project after the first part of the walk."""
    with Hub() as hub:
        seed_stories(hub, stage=1, count=300)
        seed_gpt2(hub)
        walk = Walk(tmp_path_factory.mktemp("walk"), hub)
        walk.sh(
            """
            cas init
            cas add roneneldan/TinyStories --include 'data/*.parquet'
            cas add gpt2 --include '*.json' --include merges.txt --include model.safetensors
            mkdir runs && head -c 3000 /dev/urandom > runs/exp_001.pt
            cas add runs/exp_001.pt
            cas add tokenizers/tinystories_bpe_512
            cas lock --check && cas status && cas list && cas files datasets/roneneldan/TinyStories
            git init -q -b main . && git add -A
            git -c user.name=t -c user.email=t@t commit -qm one
            """
        )
        yield walk


@pytest.fixture(scope="module")
def trained(walk):
    """The project after its training script, twice."""
    for name, number in (("exp_001", "7.5"), ("exp_002", "8.5")):
        code = TRAIN.replace("NAME", name).replace("NUMBER", number)
        (walk.root / "train.py").write_text(code)
        walk.python(code)
    return walk


def test_a_pull_from_the_store_asks_nobody_and_sha256sum_agrees(walk):
    walk.hub.reset_log()
    walk.sh("rm -rf assets/datasets assets/models && cas pull")
    assert walk.stderr == "4 assets in place, 4 linked\n"
    assert walk.hub.count() == 0
    for asset in json.loads(walk.sh("cas list --json")):
        digest = asset["tree"].removeprefix("t1:")
        listing = f"$CAS_STORE/objects/{digest[:2]}/{digest[2:]}"
        tree = f"$CAS_STORE/trees/{digest[:2]}/{digest[2:]}"
        assert walk.sh(f"sha256sum < {listing}").split()[0] == digest
        walk.sh(f"cd {tree} && sha256sum -c --quiet {listing} 2>/dev/null")
    assert walk.sh("cas init && git status --porcelain") == ""


def test_datasets_and_transformers_read_what_is_locked(walk):
    seen = json.loads(walk.python(READ).splitlines()[-1])
    assert seen["rows"] == 300
    assert seen["cas"] == 15
    assert seen["model"] == "GPT2Model"
    assert seen["ids"]
    assert seen["back"] == "Once upon a time"
    locked = {row["name"]: row["tree"] for row in json.loads(walk.sh("cas list --json"))}
    assert seen["uses"] == sorted(
        [name, locked[name]] for name in (STORIES, "models/gpt2", "tokenizers/tinystories_bpe_512")
    )


def test_experiments_join_on_the_tree(trained):
    out = trained.sh("cas experiments --list")
    assert [line.split()[0] for line in out.splitlines()] == ["NAME", "exp_002", "exp_001"]
    best = json.loads(trained.sh("cas experiments --best perplexity --top 5 --json"))
    assert [(row["name"], row["value"]) for row in best["experiments"]] == [
        ("exp_001", 7.5),
        ("exp_002", 8.5),
    ]
    rows = json.loads(
        trained.sh(
            'cas query --json "SELECT a.name, e.experiment_name, MIN(e.perplexity) AS best '
            "FROM experiments e JOIN experiment_assets u USING (experiment_id) "
            'JOIN assets a ON a.tree = u.tree GROUP BY ALL ORDER BY best, a.name"'
        )
    )
    assert [(row["name"], row["best"]) for row in rows] == [
        (STORIES, 7.5),
        ("tokenizers/tinystories_bpe_512", 7.5),
        (STORIES, 8.5),
        ("tokenizers/tinystories_bpe_512", 8.5),
    ]
    tree = json.loads(trained.sh("cas list --json"))[0]["tree"]
    told = json.loads(trained.sh(f"cas why --json {tree}"))
    assert told["experiments"] == ["exp_001", "exp_002"]
    trained.sh('cas query "DROP TABLE experiments"', code=2)
    trained.sh('cas query "SELECT nothing FROM experiments"', code=1)


def test_a_paper_uses_the_assets_of_its_monorepo(walk):
    paper = walk.root / "papers/my_paper"
    paper.mkdir(parents=True)
    walk.sh("ln -s ../../assets/datasets/roneneldan/TinyStories data", cwd=paper)
    assert "data" in walk.sh("ls data/", cwd=paper)
    assert walk.sh("cas path tinystories", cwd=paper) == walk.sh("cas path tinystories")


def test_an_update_says_what_moved_and_what_is_stale(trained):
    before = json.loads(trained.sh("cas list --json"))
    seed_stories(trained.hub, stage=2, count=300)
    out = trained.sh("cas lock --update roneneldan/TinyStories")
    head = trained.hub.repos["dataset", "roneneldan/TinyStories"].head()
    assert f"→ commit {head[:12]}" in out
    assert "    ~ data/validation-00000-of-00001.parquet\n" in out
    assert "stale" not in trained.stderr, "the tokenizer reads the train split only"
    (row,) = json.loads(trained.sh("cas diff --json"))
    assert (row["name"], row["old"]) == (STORIES, before[0]["tree"])
    assert row["changed"] == ["data/validation-00000-of-00001.parquet"]
    trained.hub.reset_log()
    trained.sh("cas pull")
    assert trained.stderr.startswith("4 assets in place, 1 linked; 1 file, ")
    assert trained.hub.count(kind="resolve") == 1, "only what changed"
    trained.sh("cas lock --check && cas status")
    rows = json.loads(
        trained.sh(
            'cas query --json "SELECT DISTINCT e.experiment_name AS n FROM experiments e '
            f"JOIN experiment_assets u USING (experiment_id) WHERE u.tree = '{row['old']}' "
            'ORDER BY n"'
        )
    )
    assert [one["n"] for one in rows] == ["exp_001", "exp_002"], "the runs on the old data"
    # the train split moves: now it is stale, and --build makes it again
    repo = trained.hub.repos["dataset", "roneneldan/TinyStories"]
    one = "data/train-00000-of-00004.parquet"
    repo.commit({one: repo.commits[repo.head()].files["data/train-00001-of-00004.parquet"]
                 .content.data}, "other stories")  # fmt: skip
    trained.sh("cas lock --update tinystories")
    assert "tokenizers/tinystories_bpe_512 is stale now" in trained.stderr
    trained.sh("cas lock --check", code=1)
    out = trained.sh("cas lock --update tinystories --build")
    assert out.startswith("~ tokenizers/tinystories_bpe_512  t1:")
    trained.sh("cas pull && cas status && cas lock --check")


def test_a_second_clone_takes_no_download_and_one_symlink_an_asset(trained):
    trained.sh("git add -A && git -c user.name=t -c user.email=t@t commit -qm two")
    trained.hub.reset_log()
    clone = trained.top / "clone"
    trained.sh(f"git clone -q . {clone}")
    trained.sh("cas pull", cwd=clone)
    assert trained.stderr == "4 assets in place, 4 linked\n"
    assert trained.hub.count() == 0
    links = [p for p in (clone / "assets").rglob("*") if p.is_symlink()]
    assert len(links) == 4
    trained.sh("cas status", cwd=clone)


def test_a_machine_that_has_nothing_gets_all_but_the_local_checkpoint(trained):
    env, trained.env = trained.env, trained.env | {"CAS_STORE": str(trained.top / "other")}
    try:
        clone = trained.top / "elsewhere"
        trained.sh(f"git clone -q . {clone}")
        (clone / "runs/exp_001.pt").unlink()
        trained.sh("cas pull", cwd=clone, code=1)
        assert "models/exp_001.pt" in trained.stderr
        trained.sh("cas status", cwd=clone, code=1)
        states = json.loads(trained.sh("cas status --json || true", cwd=clone))["assets"]
        assert {row["name"]: row["state"] for row in states} == {
            STORIES: "ok",
            "models/exp_001.pt": "not pulled",
            "models/gpt2": "ok",
            "tokenizers/tinystories_bpe_512": "ok",
        }
    finally:
        trained.env = env


def test_verify_gc_why_edit_export_rm(trained):
    trained.sh("cas verify --full && cas verify --fast && cas gc --dry-run && cas verify")
    commit = json.loads(trained.sh("cas list --json"))[0]["commit"]
    assert trained.sh(f"cas why {commit[:10]}").startswith(f"commit {commit}\n  asset  {STORIES}\n")
    out = trained.top / "exported"
    trained.sh(f"cas edit gpt2 && echo >> assets/models/gpt2/config.json && cas export gpt2 {out}")
    assert sorted(p.name for p in out.iterdir()) == sorted(
        row["path"] for row in json.loads(trained.sh("cas files gpt2 --json"))
    )
    trained.sh("cas pull --force gpt2 && cas rm gpt2 && cas lock --check && cas status")
    assert not os.path.lexists(trained.root / "assets/models/gpt2")


def test_a_folder_as_people_have_it_today_is_adopted(trained):
    from huggingface_hub import snapshot_download

    root = trained.top / "today"
    place = root / "assets/datasets/roneneldan/TinyStories"
    snapshot_download("roneneldan/TinyStories", repo_type="dataset", local_dir=place,
                      endpoint=trained.hub.endpoint)  # fmt: skip
    assert (place / ".cache/huggingface").is_dir()
    commit = trained.hub.repos["dataset", "roneneldan/TinyStories"].head()
    trained.sh("cas init && cas adopt --dry-run", cwd=root)
    assert not place.is_symlink()
    trained.hub.reset_log()
    out = trained.sh("cas adopt", cwd=root)
    assert f"commit {commit[:12]}" in out
    assert trained.hub.count(kind="resolve") == 0, "what is here is not fetched"
    assert place.is_symlink()
    trained.sh("cas status && cas lock --check && cas verify --full", cwd=root)
    shutil.rmtree(root / "assets/datasets")
    trained.sh("cas pull", cwd=root)
