"""Stores beside the one that is filled: stacked ones, and the user's own beside a shared one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hubserver import Hub

from .shared import ANN, BEN, Account, holders, machine, owners, share
from .stores import REPOSITORY

FILES = {"a.txt": b"alpha\n", "sub/b.bin": os.urandom(300_000)}
WEIGHTS = os.urandom(1_000_000)
SECRET = b'{"secret": true}'
root_only = pytest.mark.skipif(os.getuid() != 0, reason="only root can be several users")


@pytest.fixture(scope="module")
def hub():
    with Hub() as server:
        public = {"config.json": b"{}", "model.safetensors": WEIGHTS}
        server.repo("org/open").commit(public)
        for name, how in (("org/gated", {"gated": True}), ("org/private", {"private": True})):
            files = {"config.json": SECRET + name.encode(), "model.safetensors": WEIGHTS[::-1]}
            server.repo(name, **how).commit(files)
        server.repo("org/text", "dataset", gated=True).commit({"train.txt": b"Once upon.\n" * 500})
        yield server


@pytest.fixture
def top():
    with machine() as place:
        yield place


class Place:
    """This user, with projects and stores below one directory."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(top / "home"),
            "CAS_STORE": str(top / "own"),
            "PYTHONPATH": str(REPOSITORY),
        }

    def cas(self, project: str, *words: str, code: int = 0, **env: str) -> str:
        (self.top / project).mkdir(exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", "cas", *words], cwd=self.top / project, env=self.env | env,
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == code, done
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def files(self, room: str) -> dict[str, tuple[int, int]]:
        """Return every path of a store with its mtime and inode."""
        below = (self.top / room).rglob("*")
        return {str(p): (p.lstat().st_mtime_ns, p.lstat().st_ino) for p in below}


@pytest.fixture
def stacked(top):
    """A project whose asset lies in the administrator's store, and another that takes its lock."""
    at = Place(top)
    at.cas("admin", "init")
    for path, data in FILES.items():
        place = top / "admin/source" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    at.cas("admin", "add", "./source", CAS_STORE=str(top / "data"))
    (top / "p").mkdir()
    for name in ("assets.lock", "pyproject.toml"):
        shutil.copy(top / "admin" / name, top / "p" / name)
    at.env["CAS_STORE_PATH"] = f"{top}/nowhere::{top}/data:{top}/own"
    return at


def test_a_stacked_store_serves_and_is_never_written(stacked, top):
    before = stacked.files("data")
    stacked.cas("p", "pull")
    view = top / "p/assets/datasets/source"
    assert os.readlink(view).startswith(f"{top}/data/trees/")
    assert stacked.cas("p", "path", "source").strip() == os.readlink(view)
    assert {p: (view / p).read_bytes() for p in FILES} == FILES
    assert "1 asset in place" in stacked.cas("p", "pull")
    assert "sub/b.bin" in stacked.cas("p", "files", "source")
    for words in (["status"], ["list"], ["export", "source", "out"], ["verify"],
                  ["gc", "--older-than", "0d", "--local-too"], ["pull", "--frozen"]):  # fmt: skip
        stacked.cas("p", *words)
    said = stacked.cas("p", "drop", "source", code=1)
    assert "it is read only, as CAS_STORE_PATH names it" in said
    assert f"cas: hint: CAS_STORE={top}/data CAS_STORE_PATH= cas drop datasets/source" in said
    assert stacked.files("data") == before
    code = "import cas; print(cas.path('source')); cas.save_experiment('one', [{'a': 1}])"
    done = subprocess.run([sys.executable, "-c", code], cwd=top / "p", env=stacked.env,
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout.strip() == os.readlink(view)
    assert "datasets/source" in stacked.cas("p", "experiments", "show", "one")
    assert stacked.files("data") == before
    assert not any(p.is_file() for p in (top / "own/trees").rglob("*"))


@pytest.mark.full
def test_what_is_made_of_a_stacked_input_goes_to_the_own_store(stacked, top):
    text = top / "admin/words/train.txt"
    text.parent.mkdir()
    text.write_text("Once upon a time there was a word.\n" * 200)
    stacked.cas("admin", "add", "./words", CAS_STORE=str(top / "data"), CAS_STORE_PATH="")
    for name in ("assets.lock", "pyproject.toml"):
        shutil.copy(top / "admin" / name, top / "p" / name)
    before = stacked.files("data")
    stacked.cas("p", "pull")
    stacked.cas("p", "add", "tokenizers/words_bpe_300")
    view = os.readlink(top / "p/assets/models/tokenizers/words_bpe_300")
    assert view.startswith(f"{top}/own/trees/")
    assert stacked.files("data") == before


def test_a_view_into_a_stacked_store_that_went_is_not_moved_without_a_word(stacked, top):
    stacked.cas("p", "pull")
    (top / "data").rename(top / "away")
    said = stacked.cas("p", "pull", code=1)
    assert "can't be seen from here" in said
    (top / "away").rename(top / "data")
    stacked.cas("p", "pull")


def test_objects_of_a_stacked_store_are_not_fetched_again(top, hub):
    at = Place(top)
    at.env["HF_ENDPOINT"] = hub.endpoint
    at.cas("admin", "init")
    at.cas("admin", "add", "model:org/open", CAS_STORE=str(top / "data"))
    at.cas("p", "init")
    at.env["CAS_STORE_PATH"] = str(top / "data")
    at.cas("p", "add", "model:org/open", "--no-pull")
    for path in (top / "data/trees").rglob("*"):
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(top / "data/trees")  # its objects are all that is left
    (top / "data/trees").mkdir()
    hub.reset_log()
    at.cas("p", "pull", "--offline")
    assert [record for record in hub.log if record.kind == "cdn"] == []
    assert len(holders(top / "own", WEIGHTS)) == 2


@pytest.fixture
def lab(top, hub):
    """A user whose store is a shared one, logged in to the Hub."""
    share(top)
    ann = Account(ANN, top)
    ann.env |= {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": hub.token}
    ann.cas("init")
    return ann


@root_only
@pytest.mark.parametrize("repo", ["org/gated", pytest.param("org/private", marks=pytest.mark.full)])
def test_a_gated_or_private_asset_goes_to_the_own_store(lab, top, repo):
    store, name = top / "store", f"models/{repo}"
    said = lab.cas("add", f"model:{repo}")
    assert "it goes to your own store" in said
    access = repo.partition("/")[2]
    assert f'access = "{access}"' in (lab.project / "assets.lock").read_text()
    lab.cas("add", "model:org/open")
    assert str(lab.place(name)).startswith(str(lab.home / ".local/share/cas/store"))
    assert str(lab.place("models/org/open")).startswith(str(store))
    assert "2 assets in place" in lab.cas("pull")
    lab.cas("lock", "--update-all")
    lab.cas("status")
    assert holders(store, WEIGHTS[::-1]) == holders(store, SECRET + repo.encode()) == []
    lab.cas("gc", "--older-than", "0d")
    assert lab.read(name)["model.safetensors"] == WEIGHTS[::-1]
    # a pull into an empty own store, and gc there when the asset is not needed any more
    own = lab.home / ".local/share/cas/store"
    lab.must("sh", "-c", f"chmod -R u+w {own} && rm -rf {own}")
    lab.cas("pull")
    assert lab.read(name)["model.safetensors"] == WEIGHTS[::-1]
    lab.cas("rm", name)
    gone = json.loads(lab.cas("gc", "--older-than", "0d", "--json", "-q"))
    assert gone["trees"] == 1
    assert holders(own, WEIGHTS[::-1]) == []


@root_only
def test_a_project_may_share_what_is_gated(lab, top):
    with (lab.project / "pyproject.toml").open("a") as file:
        file.write('\n[tool.cas]\nshare = ["models/org/gated"]\n')
    text = (lab.project / "pyproject.toml").read_text()
    text = text.replace("[tool.cas.assets]\n", "")
    (lab.project / "pyproject.toml").write_text(text + "[tool.cas.assets]\n")
    lab.cas("add", "model:org/gated")
    assert str(lab.place("models/org/gated")).startswith(str(top / "store"))
    wrong = text.replace('["models/org/gated"]', '"all"')
    (lab.project / "pyproject.toml").write_text(wrong)
    assert "tool.cas.share: expected a list of names" in lab.cas("status", code=1)


@root_only
@pytest.mark.full
def test_what_is_made_of_a_gated_asset_stays_with_it(lab, top):
    lab.cas("add", "dataset:org/text")
    lab.cas("add", "tokenizers/text_bpe_300")
    lab.cas("add", "tokens/text_300", "--recipe", "tokens", "--input", "datasets/org/text",
            "--tokenizer", "tokenizers/text_bpe_300")  # fmt: skip
    for name in ("datasets/org/text", "tokenizers/text_bpe_300", "tokens/text_300"):
        assert str(lab.place(name)).startswith(str(lab.home)), name
    assert owners(top / "store", "objects") == owners(top / "store", "recipes") == set()


@root_only
@pytest.mark.full
def test_an_adopted_gated_directory_is_never_in_the_shared_store(lab, top):
    for repo, weights, config in (
        ("gated", WEIGHTS[::-1], SECRET + b"org/gated"),
        ("open", WEIGHTS, b"{}"),
    ):
        files = {"config.json": config, "model.safetensors": weights}
        lab.write(f"assets/models/org/{repo}", files)
    lab.must("mkdir", "-p", "assets/models")
    subprocess.run(["chown", "-R", f"{ANN}:{ANN}", lab.project / "assets"], check=True)
    lab.cas("adopt")
    assert str(lab.place("models/org/gated")).startswith(str(lab.home))
    assert str(lab.place("models/org/open")).startswith(str(top / "store"))
    assert holders(top / "store", WEIGHTS[::-1]) == []


@root_only
def test_without_a_store_of_his_own_a_gated_asset_is_refused(lab, top):
    lab.env["CAS_OWN_STORE"] = lab.env["CAS_STORE"]
    said = lab.cas("add", "model:org/gated", code=1)
    assert "is shared, and there is no other one of your own" in said
    assert "CAS_OWN_STORE=DIR" in said
    assert owners(top / "store", "objects") == set()
    lab.env["CAS_OWN_STORE"] = str(lab.home / "mine")
    lab.cas("add", "model:org/gated")
    assert str(lab.place("models/org/gated")).startswith(str(lab.home / "mine"))


@root_only
def test_a_user_without_access_is_denied_whatever_the_other_has(lab, top):
    lab.cas("add", "model:org/gated")
    ben = Account(BEN, top)
    ben.env["HF_ENDPOINT"] = lab.env["HF_ENDPOINT"]
    ben.takes_lock_of(lab)
    ben.cas("pull", code=4)
