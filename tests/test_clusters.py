"""Recipes on a cluster of dask: the same bytes, whatever its workers see of this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap

import pytest

from cas.lockfile import parse
from tests import stories
from tests.hubserver import Hub
from tests.test_walk import Walk

pytestmark = pytest.mark.full

TOKENS, TOKENIZER = "tokens/tales_400", "tokenizers/tales_bpe_400"
SECONDS = 240

WORK = """
import json, os, subprocess, sys
import cas
from dask.distributed import Client, LocalCluster

SHARED, FAR = {shared}, {far!r}

if __name__ == "__main__":
    with LocalCluster(n_workers=2 * SHARED, threads_per_worker=1, dashboard_address=None) as local:
        worker = None
        if not SHARED:
            line = (f"mount -t tmpfs none {{os.environ['CAS_STORE']}} && exec {{sys.executable}} "
                    f"-m distributed.cli.dask_worker {{local.scheduler_address}} --nthreads 2 "
                    "--no-nanny --no-dashboard")
            env = os.environ | {{"CAS_STORE": FAR, "XDG_CACHE_HOME": FAR + "-cache"}}
            worker = subprocess.Popen(["unshare", "-m", "sh", "-c", line], env=env,
                                      stderr=open(FAR + ".log", "w"))
        try:
            with Client(local) as client:
                client.wait_for_workers(1, timeout=120)
                pool = client.get_executor()
                {call}
        except cas.CasError as error:
            print(json.dumps([type(error).__name__, str(error), error.hint]))
        else:
            print(json.dumps(None))
        finally:
            if worker:
                worker.terminate()
                worker.wait(60)
"""
CALL = """
cas.add("tokenizers/tales_bpe_400", executor=pool)
cas.add("tokens/tales_400", input="tales", tokenizer="tales_bpe_400", executor=pool)
cas.lock(rebuild=["tokens/tales_400"], executor=pool)
"""


def text(count: int, seed: int) -> bytes:
    rows = stories.stories(count, seed)
    return "".join(f"{row}\n{stories.SEPARATOR}\n" for row in rows).encode()


@pytest.fixture
def walk(tmp_path):
    """A project with a dataset on a remote, and the trees that recipes make of it here."""
    with Hub() as hub:
        repo = hub.repo("o/tales", "dataset")
        repo.commit({"a-train.txt": text(150, 1), "b-train.txt": text(80, 2)}, "tales")
        walk = Walk(tmp_path, hub)
        (tmp_path / "lab").mkdir()
        walk.sh(
            f"""
            cas init && cas add o/tales && cas remote add lab file://{tmp_path}/lab
            cas add {TOKENIZER} && cas add {TOKENS} --input tales --tokenizer tales_bpe_400
            cas push tales {TOKENIZER}
            """
        )
        yield walk


def trees(walk: Walk) -> dict[str, str]:
    lock = parse((walk.root / "assets.lock").read_bytes())
    return {asset.name: asset.tree_id for asset in lock}


def on_dask(walk: Walk, call: str, *, shared: bool) -> object:
    """Run a call in a project and store that have only the dataset; return the error it ends in."""
    walk.sh(f"cas rm {TOKENS} {TOKENIZER}")
    walk.env = walk.env | {"CAS_STORE": str(walk.top / "second")}
    if not shared:  # else its view leads into the first store, where it is read
        walk.sh("rm -r assets/datasets")
    walk.sh("cas pull")
    lines = textwrap.indent(textwrap.dedent(call).strip(), " " * 16).strip()
    code = WORK.format(shared=shared, far=str(walk.top / "far"), call=lines)
    (walk.root / "work.py").write_text(code)
    done = subprocess.run([sys.executable, "work.py"], cwd=walk.root, env=walk.env,
                          capture_output=True, text=True, timeout=SECONDS)  # fmt: skip
    log = walk.top / "far.log"
    assert done.returncode == 0, done.stderr + (log.read_text() if log.exists() else "")
    return json.loads(done.stdout.splitlines()[-1])


def test_workers_that_see_the_store_make_the_same_bytes(walk):
    before = trees(walk)
    assert on_dask(walk, CALL, shared=True) is None
    assert trees(walk) == before


needs_namespaces = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="hides the store by a mount: root"
)


@needs_namespaces
def test_workers_that_share_only_a_remote_fetch_what_they_read_and_push_what_they_make(walk):
    before = trees(walk)
    assert on_dask(walk, CALL, shared=False) is None
    assert trees(walk) == before
    far = sum(1 for _ in (walk.top / "far/objects").glob("*/*"))
    assert far >= 2 + 1 + 2 * 3, "two texts, the tokenizer, the files of two shards"
    walk.sh("cas verify --full && cas status")


@needs_namespaces
def test_a_loader_encodes_on_workers_that_share_only_a_remote(walk):
    call = """
    cas.add("tokenizers/tales_bpe_400", executor=pool)
    train, _ = cas.load_training_data("tales", "tales_bpe_400", max_length=32, executor=pool)
    assert sum(batch["labels"].numel() for batch in train) > 5000
    """
    assert on_dask(walk, call, shared=False) is None
    made = sum(1 for _ in (walk.top / "far/objects").glob("*/*"))
    assert made >= 2 + 1 + 2 * 3, "two texts, the tokenizer, the files of two shards"


@needs_namespaces
def test_what_a_far_worker_cant_have_is_told_with_what_to_do(walk):
    call = 'cas.add("tokenizers/tales_bpe_400", executor=pool)'
    shutil.rmtree(walk.top / "lab/objects")
    walk.sh("cas verify --remote lab", code=1)
    kind, message, hint = on_dask(walk, call, shared=False)
    assert (kind, hint) == ("SourceError", "cas push")
    assert "is not on the remote 'lab'" in message
    assert TOKENIZER not in trees(walk)
