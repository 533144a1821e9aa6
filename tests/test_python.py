"""The functions of assets in Python: their arguments are the long options of the commands."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import cas
from cas.errors import UsageError
from cas.project import Project, forget_current
from cas.serve.catalogue import Catalogue
from tests.scratch import new_project

OPTIONS = {
    "pull": "group frozen offline force no_views relink jobs experiments",
    "push": "remote jobs experiments",
    "status": "remote",
    "verify": "fast full repair cold remote",
    "gc": "dry_run older_than local_too ignore_experiments",
    "drop": "dry_run",
    "lock": "update update_all build rebuild check dry_run offline",
}


@pytest.fixture
def root(tmp_path, monkeypatch):
    place = new_project(monkeypatch, tmp_path, "d")
    yield place
    forget_current()


@pytest.mark.parametrize("name", OPTIONS)
def test_every_long_option_is_an_argument(name):
    assert set(OPTIONS[name].split()) <= set(inspect.signature(getattr(cas, name)).parameters)


def test_what_the_command_refuses_is_refused(root):
    for call in (
        lambda: cas.gc(older_than="soon"),
        lambda: cas.gc(older_than=14),
        lambda: cas.pull(jobs=0),
        lambda: cas.push(jobs=2000),
        lambda: cas.add("./d.txt", jobs="many"),
        lambda: cas.add("o/n", kind="datasets"),
        lambda: cas.verify(remote="lab", cold=True),
        lambda: cas.verify(remote="lab"),
        lambda: cas.pull("d", experiments=True),
        lambda: cas.push("d", experiments=True),
    ):
        with pytest.raises(UsageError):
            call()


def test_gc_takes_a_text_and_needs_no_project(root, monkeypatch):
    cas.add("./d.txt", name="datasets/e")
    for name in ("pyproject.toml", "assets.lock"):
        Path(name).unlink()
    monkeypatch.chdir(root.parent)
    forget_current()
    assert cas.gc(older_than="1d", local_too=True)["trees"] == 0
    assert cas.gc(older_than="99999999999d", local_too=True)["trees"] == 0
    assert cas.gc(dry_run=True, older_than="0d", local_too=True)["dry_run"] is True


def test_what_remotes_have_is_asked_in_python_too(root, tmp_path):
    with (root / "pyproject.toml").open("a") as file:
        file.write(f'\n[tool.cas.remotes]\nlab = "file://{tmp_path}/lab"\n')
    cas.save_experiment("one", [{"loss": 1.0}], assets=["d"])
    assert cas.push()["assets"] == 1
    assert cas.status(remote=True)["assets"][0]["remotes"] == ["lab"]
    assert cas.verify(remote="lab", full=True)["bad"] == []
    assert cas.verify(cold=True)["bad"] == []
    assert cas.push(experiments=True)["new_files"] == 1
    assert cas.pull(experiments=True)["new_files"] == 0


@pytest.mark.parametrize("word", ["gpt2", "model:gpt2", "models/gpt2", "org/other"])
def test_options_of_a_recipe_are_refused_for_what_the_hub_has(root, word):
    with (root / "pyproject.toml").open("a") as file:
        file.write('"models/gpt2" = { hub = "model:gpt2" }\n')
    with pytest.raises(UsageError, match="are a recipe's options"):
        cas.add(word, vocab_size=300)
    if word == "model:gpt2":
        with pytest.raises(UsageError, match="are a recipe's options"):
            cas.add(word, recipe="bpe", input="d")


@pytest.mark.parametrize("option", ["revision", "include", "exclude"])
def test_options_of_the_hub_are_refused_for_what_a_recipe_makes(root, option):
    with (root / "pyproject.toml").open("a") as file:
        file.write('"tokenizers/d" = { recipe = "bpe", input = "datasets/d", vocab_size = 300 }\n')
    with pytest.raises(UsageError, match="don't fit it"):
        cas.add("tokenizers/d", **{option: "main"})


def test_what_is_made_of_a_gated_asset_is_served_as_gated(root):
    cas.add("tokenizers/d_bpe_258", recipe="bpe", input="d", vocab_size=258)
    served = Catalogue.of_project(Project(str(root)))
    open_to_all = served.repository("model", "tokenizers/d_bpe_258")
    assert open_to_all.assets[0].access is None
    lock = (root / "assets.lock").read_text()
    name = 'name = "datasets/d"\n'
    (root / "assets.lock").write_text(lock.replace(name, f'{name}access = "gated"\n'))
    kept = served.repository("model", "tokenizers/d_bpe_258")
    assert kept.assets[0].access == "gated"
