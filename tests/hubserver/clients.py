"""Checks of a Hub by its true clients, run in a process of their own.

The clients read every ``HF_`` variable when they are imported. So a test starts
``python -m tests.hubserver.clients GROUP`` with the variables set and the facts of its Hub
as JSON on stdin; this runs the group's checks and prints {check: null or its traceback}.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Check = Callable[[dict[str, Any]], None]

GROUPS: dict[str, list[Check]] = {"hub": [], "datasets": [], "transformers": []}

DATA = {"repo_id": "org/data", "repo_type": "dataset"}


def _in(group: str) -> Callable[[Check], Check]:
    def add(check: Check) -> Check:
        GROUPS[group].append(check)
        return check

    return add


@contextlib.contextmanager
def _refused(name: str, status: int, message: str = "") -> Iterator[None]:
    """Expect the error class *name* of huggingface_hub, itself and no other, with *status*."""
    from huggingface_hub import errors

    found: tuple[str, int, str] | None = None
    try:
        yield
    except errors.HfHubHTTPError as error:
        found = (type(error).__name__, error.response.status_code, str(error))
    assert found, f"expected {name}"
    assert found[:2] == (name, status), f"expected {name} {status}, found {found}"
    assert message in found[2], found[2]


@_in("hub")
def info_of_each_kind(facts: dict[str, Any]) -> None:
    from huggingface_hub import HfApi

    api = HfApi()
    assert api.model_info("org/model").sha == facts["model"]
    assert api.dataset_info("org/data").sha == facts["second"]
    assert api.space_info("org/app").sha == facts["space"]
    assert api.repo_info("org/data", repo_type="dataset").id == "org/data"
    info = api.dataset_info("org/data", expand=["sha", "gated"])
    assert (info.sha, info.gated, info.siblings) == (facts["second"], False, None)
    assert api.model_info("org/model", securityStatus=True).security_repo_status["scansDone"]


@_in("hub")
def info_of_every_sort_of_revision(facts: dict[str, Any]) -> None:
    from huggingface_hub import HfApi

    for revision in ("v1", "feature/x", "refs/pr/1", "refs/convert/parquet", facts["first"][:8]):
        assert HfApi().repo_info(**DATA, revision=revision).sha == facts["first"], revision
    for revision in (None, "main", facts["second"]):
        assert HfApi().repo_info(**DATA, revision=revision).sha == facts["second"], revision


@_in("hub")
def info_with_blobs(facts: dict[str, Any]) -> None:
    from huggingface_hub import HfApi

    files = {s.rfilename: s for s in HfApi().repo_info(**DATA, files_metadata=True).siblings}
    assert files.keys() == facts["files"].keys()
    for path, (size, blob, sha256) in facts["files"].items():
        assert (files[path].size, files[path].blob_id) == (size, blob)
        assert (files[path].lfs and files[path].lfs.sha256) == sha256


@_in("hub")
def tree_over_pages(facts: dict[str, Any]) -> None:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile, RepoFolder

    for expand in (False, True):
        entries = list(HfApi().list_repo_tree(**DATA, recursive=True, expand=expand))
        found = {
            e.path: [e.size, e.blob_id, e.lfs and e.lfs.sha256]
            for e in entries
            if isinstance(e, RepoFile)
        }
        assert found == facts["files"]
        folders = {e.path: e.tree_id for e in entries if isinstance(e, RepoFolder)}
        assert folders == facts["folders"]
        if expand:
            last = {entry.path: entry.last_commit.oid for entry in entries}
            assert last["README.md"] == facts["second"]
            assert last["data/train.txt"] == facts["first"]


@_in("hub")
def tree_of_one_folder(facts: dict[str, Any]) -> None:
    from huggingface_hub import HfApi

    paths = [entry.path for entry in HfApi().list_repo_tree(**DATA, path_in_repo="deep")]
    assert paths == ["deep/a", "deep/a.txt"], paths
    with _refused("RemoteEntryNotFoundError", 404):
        list(HfApi().list_repo_tree(**DATA, path_in_repo="nowhere"))


@_in("hub")
def refs_and_commits(facts: dict[str, Any]) -> None:
    from huggingface_hub import HfApi

    refs = HfApi().list_repo_refs(**DATA, include_pull_requests=True)
    found = {ref.ref: ref.target_commit for ref in [*refs.branches, *refs.converts, *refs.tags]}
    found |= {ref.ref: ref.target_commit for ref in refs.pull_requests or []}
    assert found == facts["refs"]
    assert HfApi().list_repo_refs(**DATA).pull_requests is None
    commits = HfApi().list_repo_commits(**DATA, formatted=True)
    assert [commit.commit_id for commit in commits] == [facts["second"], facts["first"]]
    assert (commits[1].title, commits[1].message) == ("one", "the first")
    assert len(HfApi().list_repo_commits("org/model")) == facts["model_commits"]


@_in("hub")
def paths_info(facts: dict[str, Any]) -> None:
    from huggingface_hub import HfApi

    wanted = ["README.md", "data/train.txt", "deep", "nowhere"]
    for expand in (False, True):
        entries = HfApi().get_paths_info(**DATA, paths=wanted, expand=expand)
        assert [entry.path for entry in entries] == wanted[:3]


@_in("hub")
def every_file_downloads(facts: dict[str, Any]) -> None:
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.utils.sha import git_hash, sha_fileobj

    for path, (_, blob, sha256) in facts["files"].items():
        data = Path(hf_hub_download(**DATA, filename=path)).read_bytes()
        if sha256:
            with tempfile.TemporaryFile() as file:
                file.write(data)
                file.seek(0)
                assert sha_fileobj(file).hex() == sha256, path
        else:
            assert git_hash(data) == blob, path
    old = hf_hub_download(**DATA, filename="README.md", revision="v1")
    assert Path(old).read_bytes() == b"first\n"
    assert HfApi().file_exists(**DATA, filename="README.md")
    assert not HfApi().file_exists(**DATA, filename="nowhere")


@_in("hub")
def a_snapshot_downloads_and_verifies(facts: dict[str, Any]) -> None:
    from huggingface_hub import HfApi, snapshot_download

    with tempfile.TemporaryDirectory() as cache:
        folder = snapshot_download(
            **DATA, cache_dir=cache, allow_patterns=["data/*", "*.md"], ignore_patterns="*.jsonl"
        )
        found = {p.relative_to(folder).as_posix() for p in Path(folder).rglob("*") if p.is_file()}
        assert found == {"README.md", "data/train.txt", "data/train.parquet"}, found
        assert HfApi().verify_repo_checksums(**DATA, cache_dir=cache).missing_paths
    with tempfile.TemporaryDirectory() as cache:
        snapshot_download(**DATA, cache_dir=cache)
        result = HfApi().verify_repo_checksums(**DATA, cache_dir=cache)
        assert result.checked_count == len(facts["files"])
        assert not (result.mismatches)
        assert not (result.missing_paths)
        assert not (result.extra_paths)


@_in("hub")
def cut_downloads_end_well(facts: dict[str, Any]) -> None:
    from huggingface_hub import hf_hub_download

    for path, sha256 in facts["cut"].items():
        data = Path(hf_hub_download("org/cut", path)).read_bytes()
        assert hashlib.sha256(data).hexdigest() == sha256, path


@_in("hub")
def what_is_missing(facts: dict[str, Any]) -> None:
    from huggingface_hub import HfApi, hf_hub_download

    with _refused("RepositoryNotFoundError", 401):
        HfApi().model_info("org/nowhere", token=False)
    with _refused("RepositoryNotFoundError", 404):
        HfApi().model_info("org/nowhere", token=facts["token"])
    with _refused("RepositoryNotFoundError", 404):
        hf_hub_download("org/nowhere", "README.md", token=facts["token"])
    for revision in ("nowhere", "0" * 40, facts["squashed"]):
        with _refused("RevisionNotFoundError", 404):
            HfApi().model_info("org/squash", revision=revision)
    with _refused("RevisionNotFoundError", 404):
        list(HfApi().list_repo_tree(**DATA, revision="nowhere"))
    with _refused("RemoteEntryNotFoundError", 404):
        hf_hub_download(**DATA, filename="nowhere.txt")


@_in("hub")
def private_and_gated_repositories(facts: dict[str, Any]) -> None:
    from huggingface_hub import HfApi, auth_check, hf_hub_download, snapshot_download

    token = facts["token"]
    with _refused("RepositoryNotFoundError", 401):
        HfApi().model_info("org/private", token=False)
    assert HfApi().model_info("org/private", token=token).private
    assert Path(hf_hub_download("org/private", "w.bin", token=token)).stat().st_size == 3000
    assert HfApi().model_info("org/gated", token=False).gated == "auto"
    with _refused("GatedRepoError", 401):
        hf_hub_download("org/gated", "w.bin", token=False)
    assert Path(snapshot_download("org/gated", token=token), "w.bin").stat().st_size == 3000
    with _refused("GatedRepoError", 403):
        hf_hub_download("org/refused", "w.bin", token=token)
    with _refused("GatedRepoError", 403):
        auth_check("org/refused", token=token)
    with _refused("HfHubHTTPError", 401):
        HfApi().model_info("org/model", token="hf_wrong")
    assert HfApi().whoami(token=token)["name"] == "tester"


@_in("hub")
def a_renamed_repository(facts: dict[str, Any]) -> None:
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download

    assert HfApi().model_info("old").id == "org/model"
    assert len(list(HfApi().list_repo_tree("old", revision="main"))) == 2
    assert HfApi().get_paths_info("old", ["w.bin"])[0].size == 3000
    assert Path(hf_hub_download("old", "w.bin")).stat().st_size == 3000
    assert len(list(Path(snapshot_download("old")).iterdir())) == 2


@_in("hub")
def the_file_system(facts: dict[str, Any]) -> None:
    from huggingface_hub import HfFileSystem

    system = HfFileSystem()
    found = {path.removeprefix("datasets/org/data/") for path in system.find("datasets/org/data")}
    assert found == facts["files"].keys()
    with system.open("datasets/org/data/data/train.txt", "rb", block_size=100) as file:
        file.seek(1015)
        assert file.read(8) == b"line 125"
    assert system.glob("datasets/org/data@v1/data/*.jsonl") == [
        "datasets/org/data@v1/data/train.jsonl"
    ]


@_in("hub")
def a_quota(facts: dict[str, Any]) -> None:
    from huggingface_hub import HfApi

    message = "your 'api' rate limit.\nRetry after 7 seconds (0/500 requests remaining"
    with _refused("HfHubHTTPError", 429, message):
        HfApi().model_info("org/limited")


@_in("datasets")
def text_jsonl_and_parquet(facts: dict[str, Any]) -> None:
    from datasets import load_dataset

    for suffix in ("txt", "jsonl", "parquet"):
        rows = load_dataset("org/data", data_files=f"data/train.{suffix}", split="train")
        assert rows[125]["text"] == "line 125", suffix


@_in("datasets")
def a_whole_repository(facts: dict[str, Any]) -> None:
    from datasets import load_dataset

    loaded = load_dataset("roneneldan/TinyStories")
    assert {name: len(rows) for name, rows in loaded.items()} == {"train": 400, "validation": 40}


@_in("datasets")
def streaming_and_revision(facts: dict[str, Any]) -> None:
    from datasets import load_dataset

    loaded = load_dataset("roneneldan/TinyStories", revision="v1", streaming=True)
    assert sum(1 for _ in loaded["validation"]) == 20
    rows = load_dataset("org/data", data_files="data/train.txt", split="train", streaming=True)
    assert next(iter(rows))["text"] == "line 0"


@_in("transformers")
def a_real_model(facts: dict[str, Any]) -> None:
    from transformers import AutoModel, AutoTokenizer

    name = "sentence-transformers/all-MiniLM-L6-v2"
    tokens = AutoTokenizer.from_pretrained(name)("Once upon a time", return_tensors="pt")
    assert tokens["input_ids"].tolist() == [[101, 2320, 2588, 1037, 2051, 102]]
    assert AutoModel.from_pretrained(name)(**tokens).last_hidden_state.shape == (1, 6, 384)


@_in("transformers")
def a_renamed_model(facts: dict[str, Any]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained("gpt2")("Once", return_tensors="pt")
    assert AutoModelForCausalLM.from_pretrained("gpt2")(**tokens).logits.shape == (1, 4, 257)


def main() -> None:
    """Run one group's checks."""
    facts, results = json.load(sys.stdin), dict[str, str | None]()
    for check in GROUPS[sys.argv[1]]:
        try:
            check(facts)
            results[check.__name__] = None
        except Exception:
            results[check.__name__] = traceback.format_exc()
    print(json.dumps(results))


if __name__ == "__main__":
    main()
