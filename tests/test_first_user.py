"""What a first user tripped over, each as a rule that holds now."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import cas
from cas.errors import UnknownAsset
from cas.names import find
from tests.hubserver import Hub
from tests.scratch import homes
from tests.stores import remove


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
    (desk.place / "run.pt").write_bytes(b"newer")
    desk.cas("add", "run.pt")  # by the link: what writes goes on as well
    assert (desk.place / "assets/models/run.pt").read_bytes() == b"newer"


def test_a_store_may_be_a_link_to_a_directory(desk, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "store").symlink_to("disk")
    (desk.place / "run.pt").write_bytes(b"weights")
    desk.cas("add", "run.pt")
    desk.cas("rm", "run.pt")
    desk.cas("gc", "--older-than", "0d", "--local-too")
    desk.cas("add", "run.pt")
    desk.cas("verify", "--full")
    assert (desk.place / "assets/models/run.pt").read_bytes() == b"weights"
    desk.cas("store", "rm", "--local-too")
    assert not (tmp_path / "disk/objects").exists()
    desk.cas("pull")
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


SAVE = "import cas; cas.save_experiment('exp_001', [{'loss': 1.0}])"


def test_a_note_without_its_text_takes_no_note_away(desk):
    desk.python(SAVE)
    desk.cas("experiments", "note", "exp_001", "diverged")
    assert "NAME TEXT" in desk.cas("experiments", "note", "exp_001", code=2).stderr
    assert json.loads(desk.cas("experiments", "--json").stdout)[0]["note"] == "diverged"
    desk.cas("experiments", "note", "exp_001", "")
    assert json.loads(desk.cas("experiments", "--json").stdout)[0]["note"] is None


def test_a_file_in_a_directory_that_is_not_there_is_refused_with_the_way_to_make_it(desk):
    desk.python(SAVE)
    for words in (["experiments", "export"], ["report"]):
        done = desk.cas(*words, "-o", "out/table.csv", code=2)
        assert "hint: mkdir -p out\n" in done.stderr
    assert not (desk.place / "out").exists()


def test_what_git_lacks_for_a_diff_is_told_as_a_command(desk):
    git = ["git", "-c", "user.name=n", "-c", "user.email=n@localhost"]
    assert "hint: git init\n" in desk.cas("diff", code=1).stderr
    subprocess.run([*git, "init", "-q"], cwd=desk.place, check=True)
    assert "hint: git add assets.lock" in desk.cas("diff", code=1).stderr
    subprocess.run([*git, "add", "-A"], cwd=desk.place, check=True)
    subprocess.run([*git, "commit", "-qm", "one"], cwd=desk.place, check=True)
    desk.cas("diff")
    assert "hint: git log" in desk.cas("diff", "v1", code=1).stderr


def test_status_says_the_way_back_of_each_state(desk):
    (desk.place / "run.pt").write_bytes(b"weights")
    (desk.place / "other.pt").write_bytes(b"other")
    desk.cas("add", "run.pt")
    desk.cas("add", "other.pt")
    desk.cas("edit", "run.pt")
    (desk.place / "assets/models/other.pt").unlink()
    (desk.place / "assets/models/other.pt").write_bytes(b"mine")
    said = desk.cas("status", code=1).stderr.splitlines()
    assert [line.partition(" ")[0] for line in said] == ["cas", "cas"]
    assert any("pull --force" in line for line in said)
    assert any("cas adopt" in line for line in said)
    (desk.place / "pyproject.toml").write_text(desk.requests().replace("run.pt", "gone.pt"))
    assert "cas lock pins" in desk.cas("status", code=1).stderr


def test_a_store_that_is_gone_is_not_said_to_hold_what_was_not_read(desk, tmp_path):
    (desk.place / "run.pt").write_bytes(b"weights")
    desk.cas("add", "run.pt")
    remove(tmp_path / "store")
    assert "were not read" not in desk.cas("verify", code=1).stderr


def test_offline_by_the_environment_is_told_how_it_is_ended(desk):
    done = desk.cas("add", "model:gpt2", code=3, HF_HUB_OFFLINE="1")
    assert "hint: unset HF_HUB_OFFLINE" in done.stderr


@pytest.mark.parametrize(
    ("number", "code", "says"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_a_signal_ends_a_query_that_does_not_look_up(desk, number, code, says):
    sql = "SELECT count(*) FROM range(1000000000) a, range(1000) b"
    with subprocess.Popen(
        [sys.executable, "-m", "cas", "query", sql],
        cwd=desk.place, env=desk.env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    ) as running:  # fmt: skip
        time.sleep(1.5)  # mostly it runs by then; if not, it ends the same way
        running.send_signal(number)
        began = time.monotonic()
        assert running.wait(timeout=60) == code
        assert time.monotonic() - began < 20  # left to DuckDB it would be 30
        assert says in running.stderr.read().decode()


def test_ctrl_c_in_a_query_from_python_is_a_keyboard_interrupt(desk):
    said = desk.python(
        "import cas, os, signal, threading\n"
        "threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "try: cas.query_experiments_arrow('SELECT sum(a.range) FROM range(10000000000) a')\n"
        "except KeyboardInterrupt: print('interrupted')\n"
    )
    assert said == "interrupted\n"


def test_ctrl_c_while_a_pull_starts_has_no_traceback(desk):
    code = (
        "import builtins, sys\n"
        "import cas.__main__ as main\n"
        "plain = builtins.__import__\n"
        "def slow(name, globals=None, locals=None, fromlist=(), level=0):\n"
        "    if 'warm' in (fromlist or ()): raise KeyboardInterrupt\n"
        "    return plain(name, globals, locals, fromlist, level)\n"
        "builtins.__import__ = slow\n"
        "sys.argv = ['cas', 'pull']\n"
        "print(main.main())\n"
    )
    assert desk.python(code) == "130\n"


def test_a_run_that_is_left_alone_is_told_with_the_way_to_take_it(desk):
    subprocess.run(
        [sys.executable, "-c",
         "import cas, os, signal\n"
         "run = cas.experiment('killed').start(); run.log(loss=1.0)\n"
         "os.kill(os.getpid(), signal.SIGKILL)\n"],
        cwd=desk.place, env=desk.env, check=False,
    )  # fmt: skip
    assert "--now" in desk.cas("experiments", "recover").stderr
    desk.cas("experiments", "recover", "--now")
    assert json.loads(desk.cas("experiments", "--json").stdout)[0]["status"] == "recovered"
