"""Derived assets as they are typed: tokenizers and token shards, locked by their inputs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from cas.digest import Digest, hash_path
from cas.lockfile import parse
from cas.store import open_store, remember
from tests import stories
from tests.hubserver import Hub
from tests.hubserver.seed import seed_gpt2
from tests.test_walk import Walk

DATA, TOKENIZER, TOKENS = "datasets/o/tales", "tokenizers/tales_bpe_400", "tokens/tales_400"
ADD = f"cas add {TOKENS} --input tales --tokenizer tales_bpe_400"
LIMIT = 90  # seconds that a condition is waited for


def text(count: int, seed: int) -> bytes:
    rows = stories.stories(count, seed)
    return "".join(f"{row}\n{stories.SEPARATOR}\n" for row in rows).encode()


def commit(hub: Hub, **files: bytes) -> None:
    names = {"train": "tales-train.txt", "more": "more-train.txt", "valid": "tales-valid.txt"}
    repo = hub.repos.get(("dataset", "o/tales")) or hub.repo("o/tales", "dataset")
    repo.commit({names.get(key, f"{key}.md"): data for key, data in files.items()}, "tales")


def begin(walk: Walk) -> Walk:
    """Make a project with a dataset, a tokenizer of it, and its tokens."""
    walk.sh(f"cas init && cas add o/tales && cas add {TOKENIZER} && {ADD}")
    return walk


@pytest.fixture
def walk(tmp_path):
    """A user, and a Hub that has a dataset."""
    with Hub() as hub:
        commit(hub, train=text(150, 1), valid=text(20, 2), README=b"tales\n")
        yield Walk(tmp_path, hub)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project with a dataset, a tokenizer and tokens; who changes them puts them back."""
    with Hub() as hub:
        seed_gpt2(hub)
        commit(hub, train=text(150, 1), more=text(40, 2), valid=text(20, 3), README=b"tales\n")
        yield begin(Walk(tmp_path_factory.mktemp("made"), hub))


def locked(walk: Walk):
    return parse((walk.root / "assets.lock").read_bytes()).assets


def files(walk: Walk) -> tuple[bytes, ...]:
    return tuple((walk.root / name).read_bytes() for name in ("pyproject.toml", "assets.lock"))


@contextmanager
def empty_store(walk: Walk):
    """Be a machine that has nothing yet."""
    env, store = walk.env, walk.top / os.urandom(4).hex()
    walk.env = env | {"CAS_STORE": str(store)}
    walk.sh("rm -rf assets/datasets assets/models")
    yield
    walk.env = env
    walk.sh("rm -rf assets/datasets assets/models")


# The walk --------------------------------------------------------------------------------


def test_tokens_are_locked_by_their_text_and_their_tokenizer(made):
    assets = locked(made)
    tokens = assets[TOKENS]
    assert tokens.request.table() == {"recipe": "tokens", "input": DATA, "tokenizer": TOKENIZER}
    assert tokens.inputs == {"text": assets[DATA].tree, "tokenizer": assets[TOKENIZER].tree}
    assert re.fullmatch(r"r1:[0-9a-f]{64}", tokens.recipe)
    assert tokens.made_with.startswith("tokenizers ")
    meta = json.loads(made.sh("cat assets/datasets/tokens/tales_400/meta.json"))
    assert (meta["documents"], meta["tokenizer"]) == (190, assets[TOKENIZER].semantic)
    before = files(made)
    made.sh(f"{ADD} && cas lock && cas lock --check && cas status")
    assert files(made) == before
    made.sh("cas rm tales_bpe_400", code=1)
    assert f"'{TOKENS}' is made of '{TOKENIZER}'" in made.stderr
    made.sh(f"cas rm {DATA}", code=1)
    assert f"hint: cas rm {DATA} {TOKENIZER} {TOKENS}\n" in made.stderr


def test_pull_builds_what_nobody_has_and_proves_that_it_is_what_is_locked(made):
    before = files(made)
    with empty_store(made):
        made.sh(f"cas pull {TOKENS}")  # alone: its tokenizer and their text are brought for it
        assert made.stderr.startswith("1 asset in place, 1 linked")
        names = [row["name"] for row in json.loads(made.sh("cas list --json")) if row["present"]]
        assert {DATA, TOKENIZER, TOKENS} <= set(names)
        made.hub.reset_log()
        made.sh(f"cas pull {DATA} {TOKENIZER} && cas verify --full")
        assert made.hub.count() == 0
    made.sh("cas pull && cas status && cas lock --check")
    assert files(made) == before


def test_an_added_readme_makes_nothing_stale_and_an_added_story_does(walk):
    folder = walk.root / "own"
    folder.mkdir()
    (folder / "train.txt").write_text("once upon a time there was a cat\n" * 50)
    walk.sh("cas init && cas add ./own --name datasets/own")
    walk.sh("cas add tokenizers/own --recipe bpe --input own --vocab-size 270")
    walk.sh("cas add tokens/own --input own --tokenizer tokenizers/own")
    (folder / "README.md").write_text("ours\n")
    walk.sh("cas add ./own --name datasets/own")
    assert "stale" not in walk.stderr
    walk.sh("cas lock --check && cas status")
    (folder / "train.txt").write_text("once upon a time there was a dog\n" * 50)
    walk.sh("cas add ./own --name datasets/own")
    for name in ("tokenizers/own", "tokens/own"):
        assert f"{name} is stale now: it was made of an earlier datasets/own" in walk.stderr
    walk.sh("cas lock --check", code=1)


def test_an_update_names_what_is_stale_and_build_makes_the_whole_chain_anew(walk):
    old = locked(begin(walk))
    commit(walk.hub, README=b"more\n", valid=text(30, 4))  # neither is read
    walk.sh("cas lock --update o/tales")
    assert "stale" not in walk.stderr
    assert locked(walk)[TOKENS].tree == old[TOKENS].tree
    walk.sh("cas lock --check && cas pull && cas status")
    commit(walk.hub, more=text(50, 5))
    walk.sh("cas lock --update o/tales --build --dry-run")
    assert f"{TOKENIZER} would be built of {DATA}" in walk.stderr
    assert locked(walk)[TOKENIZER].inputs["text"] == locked(walk)[DATA].tree
    out = walk.sh("cas lock --update o/tales")
    assert out.startswith(f"~ {DATA}")
    for name in (TOKENIZER, TOKENS):
        assert f"{name} is stale now: it was made of an earlier {DATA}" in walk.stderr
        assert locked(walk)[name].tree == old[name].tree
    walk.sh("cas lock --check", code=1)
    assert f"cas lock --update {DATA} --build" in walk.stderr
    walk.sh("cas pull")  # its bytes are pinned: a warning
    assert f"{TOKENS} is stale: it was made of an earlier {DATA}" in walk.stderr
    rows = json.loads(walk.sh("cas status --json", code=1))["assets"]
    assert {r["name"]: r["state"] for r in rows} == {
        DATA: "ok", TOKENIZER: "stale", TOKENS: "stale",
    }  # fmt: skip
    walk.sh(f"cas lock --rebuild {TOKENS}")  # the text that it was made of is still here
    assert f"{TOKENS} was built again: the same bytes" in walk.stderr
    with empty_store(walk):
        walk.sh("cas pull", code=1)
        assert f"its input '{DATA}' has moved" in walk.stderr
        assert f"cas lock --update {DATA} --build" in walk.stderr
    out = walk.sh("cas lock --update o/tales --build")  # it does not move any more
    assert [line.split()[1] for line in out.splitlines() if line[0] == "~"] == [TOKENIZER, TOKENS]
    new = locked(walk)
    assert new[TOKENS].inputs == {"text": new[DATA].tree, "tokenizer": new[TOKENIZER].tree}
    assert new[TOKENIZER].tree != old[TOKENIZER].tree
    walk.sh("cas pull && cas status && cas lock --check")
    meta = json.loads(walk.sh("cat assets/datasets/tokens/tales_400/meta.json"))
    assert (meta["documents"], meta["tokenizer"]) == (200, new[TOKENIZER].semantic)


def test_build_makes_only_what_is_made_of_the_updated_assets(walk):
    other = walk.hub.repo("o/other", "dataset")
    other.commit({"a.txt": text(60, 7)}, "one")
    begin(walk).sh("cas add o/other && cas add tokenizers/other_bpe_300")
    place, old = walk.root / "pyproject.toml", locked(walk)
    place.write_text(place.read_text().replace("vocab_size = 400", "vocab_size = 400, keep = true"))
    other.commit({"a.txt": text(70, 7)}, "two")
    commit(walk.hub, train=text(160, 1))
    walk.sh("cas lock --update other tales")
    walk.sh("cas lock --update other --build")
    assert "tokenizers/other_bpe_300 is stale" not in walk.stderr
    assert f"{TOKENS} is stale now" in walk.stderr
    assert f"{TOKENIZER} is stale now" not in walk.stderr, "its request says keep"
    walk.sh("cas lock --build && cas lock --check")  # without a name: all that is stale
    new = locked(walk)
    assert new[TOKENIZER].tree == old[TOKENIZER].tree
    assert new[TOKENS].inputs == {"text": new[DATA].tree, "tokenizer": old[TOKENIZER].tree}
    walk.sh(f"cas lock --update {TOKENIZER} --build")  # named by itself
    assert locked(walk)[TOKENIZER].tree != old[TOKENIZER].tree
    place.write_text(place.read_text().replace("vocab_size = 400", "vocab_size = 420"))
    walk.sh("cas lock")  # a tokenizer that moves makes its tokens stale too
    assert f"{TOKENS} is stale now: it was made of an earlier {TOKENIZER}" in walk.stderr
    walk.sh(f"cas lock --update {TOKENIZER} --build && cas pull && cas status")
    new = locked(walk)
    assert new[TOKENS].inputs == {"text": new[DATA].tree, "tokenizer": new[TOKENIZER].tree}
    walk.sh(f"cas add {TOKENIZER} --vocab-size 410")  # as one that is added again does
    assert f"{TOKENS} is stale now: it was made of an earlier {TOKENIZER}" in walk.stderr


# What was made before, and what is made again --------------------------------------------


def test_what_a_recipe_made_is_found_again_unless_it_is_to_be_built(walk):
    make = "cas add tokenizers/NAME --recipe bpe --input tales --vocab-size "
    walk.sh(f"cas init && cas add o/tales && cas add {TOKENIZER}")
    walk.sh(make.replace("NAME", "other") + "300")
    assets, other = locked(walk), locked(walk)["tokenizers/other"]
    # a hint that is wrong shows who believes it
    store = open_store(str(walk.top / "store"))
    tree = Path(store.tree(other.tree))
    listing = {path.name: hash_path(str(path)).sha256 for path in tree.iterdir()}
    key = Digest(assets[TOKENIZER].recipe.removeprefix("r1:"))
    wrong = {"files": listing, "semantic": other.semantic, "made_with": "a hint"}
    remember(store, key, wrong)
    walk.sh(make.replace("NAME", "again") + "400")
    assert locked(walk)["tokenizers/again"].tree == other.tree, "it was found, not made"
    walk.sh(f"cas lock --rebuild {TOKENIZER}")
    assert f"{TOKENIZER} was built again: the same bytes, so it is reproducible" in walk.stderr
    walk.sh("cas lock --rebuild tokenizers/again", code=1)
    assert locked(walk)["tokenizers/again"].tree == other.tree, "comparing writes nothing"
    remember(store, key, wrong)
    there = store.tree(assets[TOKENIZER].tree)
    os.unlink(store.object(hash_path(f"{there}/tokenizer.json").sha256))
    walk.sh(f"chmod -R u+w {there} && rm -rf {there} && cas pull")  # it is not what is locked
    walk.sh("cas verify --full && cas status")
    # and it counts only where all of it is there
    remember(store, key, wrong)
    for digest in listing.values():
        os.unlink(store.object(digest))
    walk.sh(make.replace("NAME", "third") + "400")
    assert locked(walk)["tokenizers/third"].tree == assets[TOKENIZER].tree


def test_rebuild_says_what_was_expected_and_found_and_what_to_do(made):
    before = files(made)
    assets, place = locked(made), made.root / "assets.lock"
    tokenizer, other = assets[TOKENIZER], assets[DATA]
    made.sh(f"cas lock --rebuild {TOKENS} {TOKENIZER}")
    for name in (TOKENS, TOKENIZER):
        assert f"{name} was built again: the same bytes, so it is reproducible" in made.stderr
    # a lock that another version of the library made
    wrong = place.read_text().replace(tokenizer.made_with, "tokenizers 0.20.3")
    place.write_text(wrong.replace(f'tree = "{tokenizer.tree_id}"', f'tree = "{other.tree_id}"'))
    made.sh(f"cas lock --rebuild {TOKENIZER}", code=1)
    said = (
        f"{TOKENIZER!r}, built with {tokenizer.made_with} (locked with tokenizers 0.20.3), is not "
        f"reproducible here: expected tree {other.tree_id}, found {tokenizer.tree_id}"
    )
    assert said in made.stderr
    assert "pip install tokenizers==0.20.3" in made.stderr
    place.write_text(wrong.replace(tokenizer.tree, "0" * 64))
    with empty_store(made):
        made.sh("cas pull", code=1)
        assert f"found {tokenizer.tree_id}" in made.stderr
        assert (made.root / "assets/datasets/o/tales").is_symlink(), "the rest is in place"
        made.sh(f"cas lock --update {TOKENIZER} --build")  # what it makes now is pinned
        assert locked(made)[TOKENIZER].tree == tokenizer.tree
    made.sh("cas lock --rebuild tales", code=2)
    assert "is not made by a recipe" in made.stderr
    place.write_bytes(before[1])
    made.sh("cas pull && cas status")


def test_a_killed_build_leaves_the_files_as_they_were_and_is_done_again(walk):
    commit(walk.hub, train=text(5_000, 1))
    walk.sh("cas init && cas add o/tales")
    staging = walk.top / "store/staging"
    for line in (f"cas add {TOKENIZER}", ADD):
        before = files(walk)
        process = subprocess.Popen(
            [sys.executable, "-m", *line.split()], cwd=walk.root, env=walk.env,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        ends = time.monotonic() + LIMIT
        while not any(staging.iterdir()) and process.poll() is None:
            assert time.monotonic() < ends
            time.sleep(0.002)
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        if process.wait() == -signal.SIGKILL:
            assert files(walk) == before
        walk.sh(line)
    assert not [name for name in os.listdir(staging) if name.startswith(".cas-")]
    walk.sh("cas status && cas verify --full && cas lock --check")


# From Python -----------------------------------------------------------------------------

EXECUTOR = """\
import cas, json
from concurrent.futures import ThreadPoolExecutor


class Counted(ThreadPoolExecutor):
    jobs = 0

    def submit(self, *args, **kwargs):
        Counted.jobs += 1
        return super().submit(*args, **kwargs)


with Counted(2) as pool:
    cas.lock(rebuild=["tokens/tales_400"], executor=pool)
    first = Counted.jobs
    new = cas.add("tokens/t", input="tales", tokenizer="gpt2", eos=None, executor=pool)
    both = Counted.jobs
print(json.dumps([new, first, both]))
cas.lock(rebuild=["tokens/t"])
"""


def test_an_executor_makes_the_shards_of_any_tokenizer(made):
    before = files(made)
    made.sh("cas add gpt2")
    (new,), first, both = json.loads(made.python(EXECUTOR).splitlines()[-1])
    assert (new["name"], new["old"], first, both) == ("tokens/t", None, 2, 4)
    assets = locked(made)
    assert assets["tokens/t"].inputs["tokenizer"] == assets["models/gpt2"].tree
    made.sh(
        """
        cp -rL assets/models/tokenizers/tales_bpe_400 mine && chmod -R u+w mine
        cas add ./mine && cas add tokens/b --input tales --tokenizer mine
        """
    )
    assets = locked(made)
    assert assets["tokenizers/mine"].tree == assets[TOKENIZER].tree
    assert assets["tokens/b"].recipe == assets[TOKENS].recipe
    assert assets["tokens/b"].tree == assets[TOKENS].tree
    made.sh("cas rm tokens/b tokens/t gpt2 mine")
    assert files(made) == before


# Bad input -------------------------------------------------------------------------------

T = "cas add tokens/x --input tales --tokenizer tales_bpe_400"
B = "cas add tokenizers/x --recipe bpe --input tales --vocab-size 300"
NO_COLUMN = "datasets/rows: 'a.jsonl': no column 'body', found 'text', 'title'"
WRONG = [
    (T.replace("tales ", "nothing "), 1, "no asset 'nothing'"),
    (T.replace("tales_bpe_400", "nothing"), 1, "no asset 'nothing'"),
    (T.replace("tales ", "tinystories "), 1, "cas add roneneldan/TinyStories --include 'Tiny"),
    ("cas add tokens/x --input tales", 2, "does not say which tokenizer"),
    ("cas add tokens/x --tokenizer tales_bpe_400", 2, "does not say its input"),
    (B.replace("tokenizers/x", "tokens/x"), 2, "recipe 'bpe' makes no tokens"),
    (T.replace("tokens/x", "tokenizers/x --recipe tokens"), 2, "'tokens' makes no tokenizers"),
    (f"{B} --tokenizer tales_bpe_400", 1, "recipe 'bpe' takes none"),
    (T.replace("tales_bpe_400", "datasets/rows"), 1, "tokenizer.json"),
    (f"{T} --vocab-size 9", 1, "unknown key 'vocab_size'"),
    (f"{T} --eos '<end>'", 1, "no token '<end>'"),
    (f"{T} --files 'nothing*'", 1, "no text file fits 'nothing*'"),
    (f"{T} --include a", 2, "--files PATTERN"),
    (T.replace("tales ", "rows ") + " --column body", 1, NO_COLUMN),
    (B.replace("tales ", "rows ") + " --column body", 1, NO_COLUMN),
    (T.replace("tales ", "void ") + " --column text", 1, "datasets/void: 'a.jsonl': column 'text'"),
    (B.replace("tales ", "broken "), 1, "datasets/broken: 'a.parquet': can't be read"),
]
IN_ONE = """\
import contextlib, io, json, shlex, sys
from cas.cli import run

for line in json.load(sys.stdin):
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = run(shlex.split(line)[1:])
    print(json.dumps([code, said.getvalue()]))
"""


def test_what_can_not_be_made_changes_nothing_and_says_why(made):
    start = files(made)
    made.sh(
        """mkdir rows void broken
        echo '{"text": "once upon a time", "title": "t"}' > rows/a.jsonl
        echo '{"text": null}' > void/a.jsonl
        echo PAR1 > broken/a.parquet
        cas add ./rows && cas add ./void && cas add ./broken"""
    )
    before = files(made)
    done = subprocess.run(
        [sys.executable, "-c", IN_ONE], cwd=made.root, env=made.env, text=True,
        input=json.dumps([line for line, _, _ in WRONG]), capture_output=True, check=True,
    )  # fmt: skip
    for (line, code, said), answer in zip(WRONG, done.stdout.splitlines(), strict=True):
        found, stderr = json.loads(answer)
        assert (found, said in stderr) == (code, True), (line, stderr)
        assert "Traceback" not in stderr, line
    assert files(made) == before
    made.sh("cas rm rows void broken")
    assert files(made) == start


# The registry ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """A project with an entry of its own, a dataset that it fits, and another one."""
    with Hub() as hub:
        walk = Walk(tmp_path_factory.mktemp("known"), hub)
        row = {"body": "once upon a time there was a fox", "text": "a title"}
        walk.sh("cas init && mkdir rows notes")
        (walk.root / "rows/a.jsonl").write_text(json.dumps(row) + "\n")
        (walk.root / "rows/b.jsonl").write_text(json.dumps({**row, "body": "and a bear"}) + "\n")
        (walk.root / "notes/one-train.csv").write_text("id,content\n1,hello\n")
        (walk.root / "notes/one-valid.csv").write_text("id,content\n2,world\n")
        walk.sh("cas add ./rows && cas add ./notes")
        with (walk.root / "pyproject.toml").open("a") as file:
            file.write(
                '\n[tool.cas.datasets.mine]\npath = "datasets/rows"\nfiles = ["a*"]\n'
                'text_column = "body"\ndescription = "rows of mine"\n'
            )
        yield walk


def asked(walk: Walk, call: str):
    return json.loads(walk.python(f"import cas, json; print(json.dumps({call}))").splitlines()[-1])


def test_the_registry_knows_datasets_built_in_of_the_project_and_locked(known):
    names = asked(known, "cas.list_datasets()")
    built_in = ["tinystories", "tiny-textbooks", "tiny-strange-textbooks", "tiny-codes",
                "fineweb-edu-10b"]  # fmt: skip
    assert list(names) == [*built_in, "mine", "datasets/notes"]
    assert names["mine"] == "rows of mine"
    assert all(isinstance(text, str) and text for text in names.values())
    tinystories = asked(known, "cas.get_dataset_config('tinystories')")
    assert tinystories | {"description": ""} == {
        "path": "roneneldan/TinyStories", "files": ["TinyStoriesV2-GPT4-*.txt"],
        "text_column": "text", "train_split": "train", "val_split": "validation",
        "description": "",
    }  # fmt: skip
    assert asked(known, "cas.get_dataset_config('tiny-codes')['text_column']") == [
        "prompt", "response",
    ]  # fmt: skip
    mine = asked(known, "[cas.get_dataset_config(n) for n in ('mine', 'rows', 'datasets/rows')]")
    assert mine[0] == mine[1] == mine[2]
    assert (mine[0]["files"], mine[0]["text_column"]) == (["a*"], "body")
    guessed = asked(known, "cas.discover_local_datasets()")
    assert list(guessed) == ["datasets/notes", "datasets/rows"]
    assert guessed["datasets/notes"] == {
        "path": "datasets/notes", "files": ["one-train.csv", "one-valid.csv"],
        "text_column": "content", "train_split": "train", "val_split": "validation",
        "description": "locked, of local files",
    }  # fmt: skip
    said = known.python(
        "import cas\ntry:\n    cas.get_dataset_config('tinystory')\n"
        "except cas.CasError as error:\n    print(type(error).__name__, error)"
    )
    assert said.startswith("UnknownAsset no dataset 'tinystory'")
    assert "near: 'tinystories'" in said


def test_a_recipe_takes_files_and_column_from_the_registry(known):
    known.sh("cas add tokenizers/rows_bpe_270")
    vocabulary = known.sh("cat assets/models/tokenizers/rows_bpe_270/tokenizer.json")
    recipe = locked(known)["tokenizers/rows_bpe_270"].recipe
    line = "cas add tokenizers/said --recipe bpe --input rows --vocab-size 270 "
    known.sh(line + "--files 'a*' --column body")
    assert locked(known)["tokenizers/said"].recipe == recipe
    known.sh(line.replace("said", "title") + "--column text")
    title = known.sh("cat assets/models/tokenizers/title/tokenizer.json")
    assert title != vocabulary, "what is said counts before the registry"
    table = locked(known)["tokenizers/rows_bpe_270"].request.table()
    assert table == {"recipe": "bpe", "input": "datasets/rows", "vocab_size": 270}


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("x = 3", 'datasets."x": expected a table with a path, found 3'),
        ("x = {}", 'datasets."x".path: expected a Hub id or the name of an asset, found none'),
        ('x = {path = "a", text_colum = "b"}', "unknown key 'text_colum'"),
        ('x = {path = "a", text_colum = "b"}', "near: 'text_column'"),
        ('x = {path = "a", text_column = 3}',
         'datasets."x".text_column: expected a text or a list of texts, found 3'),
        ('x = {path = "a", files = "b"}', "files: expected a list of texts, found 'b'"),
        ('x = {path = "", files = ["b"]}', "datasets.\"x\".path: expected a text, found ''"),
    ],
)  # fmt: skip
def test_a_bad_entry_is_named_with_its_place(tmp_path, monkeypatch, entry, said):
    import cas
    from cas.project import forget_current

    (tmp_path / "assets.lock").write_text("version = 1\n")
    (tmp_path / "pyproject.toml").write_text(f"[tool.cas.datasets]\n{entry}\n")
    monkeypatch.chdir(tmp_path)
    forget_current()
    try:
        with pytest.raises(cas.CasError) as caught:
            cas.list_datasets()
    finally:
        forget_current()
    assert "pyproject.toml: tool.cas.datasets" in str(caught.value)
    assert said in str(caught.value)
