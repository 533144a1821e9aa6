"""`cas serve`, asked by the true clients: huggingface_hub, datasets, transformers, hf, and cas."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving import LINES, SECOND, lab, run, serving


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    with lab(tmp_path_factory.mktemp("clients")) as made:
        yield made


@pytest.fixture(scope="module")
def url(here):
    with serving(here) as (found, _):
        here.hub.offline()  # nobody may ask it
        yield found
        here.hub.online()


HUB = """
import json, sys
from pathlib import Path
from huggingface_hub import HfApi, HfFileSystem, auth_check, hf_hub_download, snapshot_download
from huggingface_hub import errors, get_hf_file_metadata, hf_hub_url, login
facts, data = json.load(open("facts.json")), dict(repo_id="org/data", repo_type="dataset")
api = HfApi()

def refused(kind, call, *words, **more):
    try:
        call(*words, **more)
    except errors.HfHubHTTPError as error:
        assert type(error).__name__ == kind, error
    else:
        raise AssertionError(kind)

assert api.model_info("gpt2").id == "openai-community/gpt2"
assert api.model_info("gpt2").sha == facts["gpt2"]
for revision in (None, "main", facts["second"], facts["second"][:8]):
    assert api.repo_info(**data, revision=revision).sha == facts["second"], revision
assert api.dataset_info("org/data", revision="v1").sha == facts["first"]
files = {s.rfilename: s for s in api.repo_info(**data, files_metadata=True).siblings}
assert files.keys() == facts["files"].keys()
for path, (size, sha256) in facts["files"].items():
    assert (files[path].size, files[path].lfs.sha256) == (size, sha256)
for expand in (False, True):
    entries = list(api.list_repo_tree(**data, recursive=True, expand=expand))
    assert {e.path for e in entries} >= facts["files"].keys()
    deep = [e.path for e in api.list_repo_tree(**data, path_in_repo="deep")]
    assert deep == ["deep/a", "deep/a.txt"]
    infos = api.get_paths_info(**data, paths=["README.md", "deep", "nowhere"], expand=expand)
    assert [e.path for e in infos] == ["README.md", "deep"]
refs = api.list_repo_refs(**data, include_pull_requests=True)
branches = {r.name: r.target_commit for r in refs.branches}
assert branches == {"main": facts["second"], "v1": facts["first"]}
assert [c.commit_id for c in api.list_repo_commits(**data)] == [facts["second"]]
assert api.file_exists(**data, filename="README.md")
assert not api.file_exists(**data, filename="no")
assert "m.pt" in [m.id for m in api.list_models()]
auth_check("gpt2")
for path, (size, sha256) in facts["files"].items():
    place = Path(hf_hub_download(**data, filename=path))
    assert place.stat().st_size == size
    assert place.resolve().name == sha256, path
meta = get_hf_file_metadata(hf_hub_url("org/data", "README.md", repo_type="dataset"))
assert (meta.commit_hash, meta.etag) == (facts["second"], facts["files"]["README.md"][1])
folder = Path(snapshot_download(**data, revision="v1"))
assert (folder / "README.md").read_bytes() == b"first\\n" and folder.name == facts["first"]
result = api.verify_repo_checksums(**data, revision="v1")
assert result.checked_count == len(list(p for p in folder.rglob("*") if p.is_file()))
assert not (result.mismatches or result.missing_paths or result.extra_paths)
assert Path(hf_hub_download("m.pt", "m.pt")).read_bytes() == b"weights"
assert Path(hf_hub_download("tokenizers/mine", "tokenizer.json")).read_bytes() == b"{}"
refused("RepositoryNotFoundError", api.model_info, "org/nowhere")
refused("RepositoryNotFoundError", hf_hub_download, "org/nowhere", "x")
refused("RevisionNotFoundError", api.dataset_info, "org/data", revision="nowhere")
refused("RevisionNotFoundError", hf_hub_download, **data, filename="README.md", revision="nowhere")
refused("RemoteEntryNotFoundError", hf_hub_download, **data, filename="nowhere")
refused("HfHubHTTPError", api.create_repo, "org/new")
refused("HfHubHTTPError", api.delete_repo, **data)
system = HfFileSystem()
found = {p.removeprefix("datasets/org/data/") for p in system.find("datasets/org/data")}
assert found == facts["files"].keys()
with system.open("datasets/org/data/data/train.txt", "rb", block_size=100) as file:
    file.seek(1015)
    assert file.read(8) == b"line 125"
login("hf_anything")
"""


def test_huggingface_hub_is_content(here, url, tmp_path):
    import hashlib

    files = {path: [len(data), hashlib.sha256(data).hexdigest()] for path, data in SECOND.items()}
    facts = {"first": here.first, "second": here.second, "gpt2": here.gpt2, "files": files}
    (tmp_path / "facts.json").write_text(json.dumps(facts))
    run(here, HUB, url, tmp_path)


def test_hf_download_is_content(here, url, tmp_path):
    hf = Path(sys.executable).with_name("hf")
    for words in (["gpt2", "--local-dir", "out"], ["m.pt"]):
        done = subprocess.run(
            [hf, "download", *words], cwd=tmp_path, capture_output=True, text=True, check=False,
            env=here.env | {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "hf")},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out/config.json").read_text())["model_type"] == "gpt2"


DATASETS = """
from datasets import load_dataset
for name, more in (("txt", {}), ("parquet", {"streaming": True}), ("parquet", {"revision": "v1"})):
    rows = load_dataset("org/data", data_files=f"data/train.{name}", split="train", **more)
    assert next(iter(rows))["text"] == "line 0"
assert rows.num_rows == ROWS
"""


def test_datasets_is_content(here, url, tmp_path):
    run(here, DATASETS.replace("ROWS", str(len(LINES))), url, tmp_path)


TRANSFORMERS = """
from transformers import AutoModelForCausalLM, AutoTokenizer
tokens = AutoTokenizer.from_pretrained("gpt2")("Once", return_tensors="pt")
assert AutoModelForCausalLM.from_pretrained("gpt2")(**tokens).logits.shape == (1, 4, 257)
"""


@pytest.mark.full
def test_transformers_is_content(here, url, tmp_path):
    pytest.importorskip("transformers")
    run(here, TRANSFORMERS, url, tmp_path)


CAS = """
import cas
cas.init(".")
for name, more in (("gpt2", {}), ("dataset:org/data", {"revision": "v1"}), ("model:m.pt", {}),
                   ("model:tokenizers/mine", {"name": "tokenizers/mine"})):
    cas.add(name, **more)
"""


def test_cas_itself_is_content_and_has_the_same_trees(here, url, tmp_path):
    import tomllib

    run(here, CAS, url, tmp_path, CAS_STORE=str(tmp_path / "store"), XDG_CACHE_HOME=str(tmp_path))
    rows = tomllib.loads((tmp_path / "assets.lock").read_text())["asset"]
    ours = {row["name"]: row["tree"] for row in rows}
    theirs = {name: row["tree"] for name, row in here.lock().items()}
    assert ours == {
        "datasets/org/data": theirs["datasets/org/data_v1"],
        "models/gpt2": theirs["models/gpt2"],
        "models/m.pt": theirs["models/m.pt"],
        "tokenizers/mine": theirs["tokenizers/mine"],
    }
    commits = {row["name"]: row["commit"] for row in rows}
    assert commits["models/gpt2"] == here.gpt2
    assert commits["models/m.pt"] == theirs["models/m.pt"][3:43]
