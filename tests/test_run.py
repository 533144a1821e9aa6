"""``cas run``: unmodified Hugging Face programs get what is locked, and lineage knows of it.

The programs are real ones, with the real ``datasets``, ``transformers``, ``huggingface_hub`` and
``hf``, each in a process of its own. The Hub's branches move after they were locked.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.hubserver import Hub
from tests.hubserver.seed import GPT2, STORIES, seed_gpt2, seed_stories
from tests.scratch import homes

BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parent.parent
SECONDS = 180

LIBRARIES = """
import json, os, subprocess, sys
from datasets import load_dataset
from huggingface_hub import hf_hub_download, snapshot_download
from transformers import AutoModelForCausalLM, AutoTokenizer

facts = {}
name = "roneneldan/TinyStories"
loaded = load_dataset(name)
facts["rows"] = {split: len(rows) for split, rows in loaded.items()}
split = load_dataset(name, split="validation")
facts["split"] = len(split)
facts["streamed"] = sum(1 for _ in load_dataset(name, split="validation", streaming=True))
facts["mapped"] = sum(split.map(lambda row: {"n": len(row["text"])})["n"])
facts["characters"] = sum(map(len, split["text"]))
tokenizer = AutoTokenizer.from_pretrained("gpt2")
model = AutoModelForCausalLM.from_pretrained("gpt2")
facts["logits"] = list(model(**tokenizer("Once", return_tensors="pt")).logits.shape)
facts["snapshot"] = snapshot_download("openai-community/gpt2")
facts["file"] = hf_hub_download(name, "README.md", repo_type="dataset")
facts["copies"] = [
    os.path.join(place, file)
    for place, _, files in os.walk(os.environ["HF_HUB_CACHE"])
    for file in files
    if "/blobs" in place and not os.path.islink(os.path.join(place, file))
]
split.select(range(5)).push_to_hub("tester/few", token="hf_test")
facts["pushed"] = len(load_dataset("tester/few", split="validation", token="hf_test"))

import cas
worker = "import cas, sys; cas.path('datasets/words.txt')"
subprocess.run([sys.executable, "-c", worker], check=True)
cas.save_experiment("exp_001", [{"loss": 1.0}])
print(json.dumps(facts))
"""


class World:
    """A Hub, and a project that has two repositories and a file locked."""

    def __init__(self, scratch: Path, hub: Hub) -> None:
        self.scratch, self.hub = scratch, hub
        self.root = self.project("project")
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "CAS_"))}
        self.env = clean | {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            **homes(scratch),
            "TMPDIR": str(self.project("tmp")),
            "HF_ENDPOINT": hub.endpoint,
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "PYTHONPATH": str(ROOT),
        }

    def project(self, name: str) -> Path:
        """Make a directory."""
        place = self.scratch / name
        place.mkdir()
        return place

    def cas(self, *words, cwd=None, code=0, timeout=SECONDS, **env):
        """Run the command; it must end with *code*."""
        done = subprocess.run(
            [BIN / "cas", *words], cwd=cwd or self.root, env=self.env | env, capture_output=True,
            text=True, timeout=timeout,
        )  # fmt: skip
        assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def run(self, program, *options, **more):
        """Run a Python program under ``cas run``."""
        return self.cas("run", *options, "--", sys.executable, "-c", program, **more)

    def lock(self, cwd=None):
        """Return name → what ``cas list --json`` says of each locked asset."""
        rows = json.loads(self.cas("list", "--json", cwd=cwd).stdout)
        return {row["name"]: row for row in rows}

    def uses(self, experiment, cwd=None):
        """Return (name, role, tree, commit) of each use that a record names."""
        sql = f"""SELECT a.name, a.role, a.tree, a."commit" FROM all_experiment_assets a
            JOIN runs USING (experiment_id) WHERE experiment_name = '{experiment}'"""
        rows = json.loads(self.cas("query", sql, "--json", cwd=cwd).stdout)
        return {(row["name"], row["role"], row["tree"], row["commit"]) for row in rows}

    def begin(self, *words):
        """Start ``cas run`` and return the process, once the program said ``ready``."""
        process = subprocess.Popen(
            [BIN / "cas", "run", "--", *words], cwd=self.root, env=self.env,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout.readline() == "ready\n", process.communicate()
        return process


@pytest.fixture(scope="module")
def world():
    scratch = Path(tempfile.mkdtemp(prefix="cas-run-"))
    with Hub() as hub:
        world = World(scratch, hub)
        stories = seed_stories(hub, stage=1, count=200)
        seed_gpt2(hub)
        hub.repo("org/other").commit({"config.json": b'{"a": 1}', "w.bin": b"w" * 300}, "one")
        world.cas("init")
        (world.root / "words.txt").write_text("one two three\n")
        world.cas("add", f"dataset:{STORIES}")
        world.cas("add", "gpt2")
        world.cas("add", "./words.txt")
        stories.commit({"README.md": b"moved\n", "data/validation-00000-of-00001.parquet": b"no"})
        hub.repos["model", GPT2].commit({"config.json": b"{}"}, "moved")
        yield world
    subprocess.run(["chmod", "-R", "u+w", scratch], check=False)
    shutil.rmtree(scratch, ignore_errors=True)


@pytest.fixture(scope="module")
def trained(world):
    """The facts that a program with all the libraries printed, and what the Hub was asked."""
    world.hub.reset_log()
    done = world.run(LIBRARIES)
    return json.loads(done.stdout.splitlines()[-1]), world.hub.log, done.stderr


def test_programs_get_the_locked_rows_and_weights(world, trained):
    facts, _, _ = trained
    lock = world.lock()
    assert facts["rows"] == {"train": 200, "validation": 10}
    assert (facts["split"], facts["streamed"]) == (10, 10)
    assert facts["mapped"] == facts["characters"]
    assert facts["logits"] == [1, 4, 257]
    assert lock["models/gpt2"]["commit"] in facts["snapshot"]


def test_files_are_links_into_the_store_and_nothing_was_copied(world, trained):
    facts, _, _ = trained
    assert facts["copies"] == []
    assert facts["file"].endswith("/README.md")
    assert not Path(facts["file"]).exists()  # the view goes with the run


def test_no_file_bytes_of_what_is_locked_come_from_the_hub(trained):
    _, log, _ = trained
    others = [one for one in log if one.repo in (STORIES, GPT2, "gpt2")]
    assert [(one.method, one.path) for one in others] == []


def test_push_to_hub_reaches_the_real_hub_and_is_read_back_from_there(world, trained):
    facts, log, _ = trained
    assert facts["pushed"] == 5
    files = world.hub.repos["dataset", "tester/few"].find("main").files
    assert any(path.endswith(".parquet") for path in files)
    assert any(one.method == "POST" and one.authorization for one in log)


def test_a_record_names_what_the_hub_gave_and_what_a_worker_used(world, trained):
    del trained
    wanted = {
        (name, "input", row["tree"], row["commit"])
        for name, row in world.lock().items()
        if name in (f"datasets/{STORIES}", "models/gpt2", "datasets/words.txt")
    }
    assert world.uses("exp_001") == wanted


def test_hf_cache_rm_and_prune_leave_the_store_whole(world):
    line = (
        "set -e; hf download gpt2 config.json >/dev/null; "
        f"until test -e $HF_HUB_CACHE/datasets--{STORIES.replace('/', '--')}/refs/main; "
        "do sleep 0.1; done; "
        f"hf cache rm --yes model/gpt2 dataset/{STORIES} >&2; hf cache prune --yes >&2; "
        "ls $HF_HUB_CACHE; hf download gpt2 config.json"
    )
    done = world.cas("run", "--", "sh", "-c", line)
    # of two that share a commit the client may delete the other one
    assert len(re.findall("^models--.*gpt2$", done.stdout, re.M)) == 1
    assert re.search(f"^datasets--{STORIES.replace('/', '--')}$", done.stdout, re.M) is None
    assert "config.json" in done.stdout
    world.cas("verify", "--full")
    world.cas("status")


def test_hf_cache_rm_of_one_of_two_revisions_deletes_links_and_no_object(world):
    repo = world.hub.repo("org/two")
    first = repo.commit({"a.bin": b"a" * 500, "both.bin": b"b" * 500})
    repo.commit({"a.bin": b"c" * 500})
    place = world.project("two")
    world.cas("init", cwd=place)
    world.cas("add", "model:org/two", cwd=place)
    # a name of three parts has no id of its own, in which the client could delete instead
    name = "models/two/as/before"
    world.cas("add", "model:org/two", "--revision", first, "--name", name, cwd=place)
    line = (
        "set -e; hf download org/two >/dev/null; cd $HF_HUB_CACHE/models--org--two; ls snapshots; "
        f"hf cache rm --yes {first} >/dev/null; ls snapshots; ls blobs | wc -l"
    )
    done = world.cas("run", "--", "sh", "-c", line, cwd=place)
    assert done.stdout.split() == [*sorted([first, repo.head()]), repo.head(), "2"]
    world.cas("verify", "--full", cwd=place)
    world.cas("status", cwd=place)
    assert (place / "assets/models/two/as/before/a.bin").read_bytes() == b"a" * 500


ASK = """
import sys
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import RepositoryNotFoundError
try:
    print(len(open(hf_hub_download("org/other", "w.bin")).read()))
    print(open(hf_hub_download("org/other", "config.json")).read())
except RepositoryNotFoundError:
    print("refused")
"""


def test_what_is_not_locked_is_refused_with_the_command_that_adds_it(world):
    world.hub.reset_log()
    done = world.run(ASK)
    assert done.stdout == "refused\n"
    assert "the program asked for model 'org/other', which is not in assets.lock" in done.stderr
    assert done.stderr.count("cas: hint: cas add model:org/other") == 1
    assert world.hub.count() == 0


def test_rows_of_what_is_not_locked_do_not_come_from_an_arrow_cache(world):
    ask = f"from datasets import load_dataset\nprint(load_dataset('{STORIES}', split='train'))"
    world.run(ask)
    bare = world.project("another")
    world.cas("init", cwd=bare)
    done = world.run(ask, cwd=bare, code=1)
    assert done.stdout == ""
    assert done.stderr.count(f"cas: hint: cas add dataset:{STORIES}") == 1


def test_a_refusal_is_told_once_however_the_program_asks(world):
    ask = """
from huggingface_hub import HfApi, hf_hub_download
for ask in (lambda: HfApi().model_info("org/other"), lambda: hf_hub_download("org/other", "w.bin")):
    try:
        ask()
    except Exception as error:
        print(type(error).__name__)
"""
    done = world.run(ask)
    assert done.stdout == "RepositoryNotFoundError\n" * 2
    assert done.stderr.count("cas: error:") == done.stderr.count("cas: hint:") == 1


def test_add_locks_what_is_asked_for_in_a_project_that_never_heard_of_cas(world):
    fresh = world.project("fresh")
    ask = "import cas\n" + ASK + "cas.save_experiment('e', [{'a': 1}])"
    done = world.run(ask, "--add", cwd=fresh)
    assert done.stdout == '300\n{"a": 1}\n'
    row = world.lock(fresh)["models/org/other"]
    assert row["commit"] == world.hub.repos["model", "org/other"].head()
    assert "locked models/org/other at commit" in done.stderr
    assert world.uses("e", fresh) == {("models/org/other", "input", row["tree"], row["commit"])}
    assert 'hub = "model:org/other"' in (fresh / "pyproject.toml").read_text()
    world.hub.reset_log()
    assert world.run(ASK, cwd=fresh).stdout == '300\n{"a": 1}\n'
    assert world.hub.count() == 0


def test_unlocked_use_is_passed_on_told_and_recorded(world):
    ask = "import cas\n" + ASK + "cas.save_experiment('unlocked', [{'a': 1}])"
    done = world.run(ask, "--allow-unlocked")
    commit = world.hub.repos["model", "org/other"].head()
    assert done.stdout == '300\n{"a": 1}\n'
    assert f"uses model 'org/other' as the Hub has it, commit {commit[:12]}" in done.stderr
    (used,) = world.uses("unlocked")
    assert (used[0], used[1], used[3]) == ("models/org/other", "unlocked", commit)
    kept = world.scratch / "hf/hub/models--org--other/snapshots" / commit / "config.json"
    assert kept.read_text() == '{"a": 1}'  # in the user's own cache, for the next run
    assert "models/org/other" not in world.lock()
    done = world.run(ASK, "--at", "unlocked")
    assert done.stdout == "refused\n"
    assert "models/org/other was not locked when unlocked used it" in done.stderr
    assert "which is nothing that unlocked used or had locked" in done.stderr


@pytest.mark.parametrize("how", ["dead", pytest.param("503", marks=pytest.mark.full)])
def test_unlocked_rows_do_not_come_unrecorded_from_an_arrow_cache(world, how):
    ask = f"""
import cas
from datasets import load_dataset
print(len(load_dataset('org/rows-{how}', split='train')))
cas.save_experiment('rows', [{{'a': 1}}])
"""
    world.hub.repo(f"org/rows-{how}", "dataset").commit({"train.csv": b"n\n1\n2\n"}, "one")
    bare = world.project(f"bare-{how}")
    world.cas("init", cwd=bare)
    assert world.run(ask, "--allow-unlocked", cwd=bare).stdout == "2\n"
    assert [use[1] for use in world.uses("rows", bare)] == ["unlocked"]
    more = {"HF_ENDPOINT": "http://127.0.0.1:9"} if how == "dead" else {}
    if how == "503":
        world.hub.fault("status", status=503, times=1000)
    try:
        done = world.run(ask, "--allow-unlocked", cwd=bare, code=1, **more)
    finally:
        world.hub.clear_faults()
    assert done.stdout == ""
    assert "the real Hub can't be asked" in done.stderr


def test_a_program_that_ends_while_something_is_locked_is_not_held_up(world):
    repo = world.hub.repo("org/slow")
    repo.commit({"config.json": b"{}", "w.bin": b"w" * 100_000})
    fresh, flag = world.project("slow"), world.scratch / "stalled"
    stall = world.hub.fault("stall", path="w.bin", on="cdn", seconds=600.0)
    leave = f"""
import os, threading, time
from huggingface_hub import hf_hub_download
threading.Thread(target=hf_hub_download, args=("org/slow", "w.bin"), daemon=True).start()
while not os.path.exists({str(flag)!r}):
    time.sleep(0.05)
os._exit(5)
"""
    process = subprocess.Popen(
        [BIN / "cas", "run", "--add", "--", sys.executable, "-c", leave],
        cwd=fresh, env=world.env, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until = time.monotonic() + SECONDS
    while not stall.hits:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)
    flag.touch()
    _, said = process.communicate(timeout=60)
    world.hub.clear_faults()
    assert process.returncode == 5, said
    assert "--add goes on" in said
    assert "org/slow" not in (fresh / "assets.lock").read_text()
    again = "from huggingface_hub import hf_hub_download as d; d('org/slow', 'w.bin')"
    world.run(again, "--add", cwd=fresh)
    assert "org/slow" in (fresh / "assets.lock").read_text()


WRITE = """
import cas, os
from huggingface_hub import HfApi, hf_hub_download
api = HfApi(token="hf_test")
made = api.create_repo("made", exist_ok=True)
api.upload_file(path_or_fileobj=b"weights", path_in_repo="w.txt", repo_id="tester/made")
print(made.repo_id, open(hf_hub_download("tester/made", "w.txt", token="hf_test")).read())
print(api.whoami()["name"])
"""


def test_writes_reach_the_real_hub_and_their_reads_too(world):
    done = world.run(WRITE)
    assert done.stdout == "tester/made weights\ntester\n"
    assert "w.txt" in world.hub.repos["model", "tester/made"].find("main").files
    assert "error" not in done.stderr


AT = """
import cas
from huggingface_hub import HfApi, hf_hub_download
print(HfApi().model_info("gpt2").sha)
print(cas.path("models/gpt2").name)
try:
    cas.path("datasets/later.txt")
except cas.CasError:
    print("not then")
cas.save_experiment("again", [{"loss": 1.0}])
"""


def test_at_means_what_the_experiment_used(world, trained):
    before = world.lock()
    moved = world.project("moved")
    subprocess.run(["cp", "-a", f"{world.root}/.", moved], check=True)
    world.cas("lock", "--update", "models/gpt2", cwd=moved)
    (moved / "later.txt").write_text("later\n")
    world.cas("add", "./later.txt", cwd=moved)
    world.cas("pull", cwd=moved)
    after = world.lock(moved)
    assert after["models/gpt2"]["commit"] != before["models/gpt2"]["commit"]
    text = (moved / "assets.lock").read_bytes()
    done = world.run(AT, "--at", "exp_001", cwd=moved)
    then = before["models/gpt2"]
    assert done.stdout == f"{then['commit']}\n{then['tree'][5:]}\nnot then\n"
    assert world.uses("again", moved) == {("models/gpt2", "input", then["tree"], then["commit"])}
    assert (moved / "assets.lock").read_bytes() == text
    refused = "import cas\ncas.add('./later.txt', name='datasets/x.txt')"
    assert "cas run --at" in world.run(refused, "--at", "exp_001", cwd=moved, code=1).stderr
    world.cas("run", "--at", "exp_001", "--add", "--", "true", cwd=moved, code=2)
    assert "exp_000" in world.cas("run", "--at", "exp_000", "--", "true", code=1).stderr


def test_processes_hand_uses_on_and_take_them_back(world):
    gpt2, words = world.lock()["models/gpt2"], world.lock()["datasets/words.txt"]
    use = "import cas; cas.path('datasets/words.txt')"
    save = "import cas; cas.save_experiment('{}', [{{'a': 1}}])"
    ask = "from huggingface_hub import hf_hub_download as d; d('gpt2', 'config.json')"
    hold = f"{use}; {ask}; print('used', flush=True); import time; time.sleep(600)"
    line = f"""
        set -e
        {sys.executable} -c "{use}"                       # ended before: the next one's
        {sys.executable} -c "{save.format("piped")}"
        {sys.executable} -c "{save.format("later")}"      # a record took it already
        {sys.executable} -c "{hold}" > said &
        until grep -q used said; do sleep 0.1; done
        {sys.executable} -c "{save.format("beside")}"     # another one, still running
        kill $!
    """
    world.cas("run", "--", "bash", "-c", line)
    assert world.uses("piped") == {("datasets/words.txt", "input", words["tree"], None)}
    earlier = ("datasets/words.txt", "earlier", words["tree"], None)
    assert world.uses("later") == {earlier}
    assert world.uses("beside") == {
        earlier,
        ("models/gpt2", "earlier", gpt2["tree"], gpt2["commit"]),
    }
    live = """
import cas, subprocess, sys
from huggingface_hub import hf_hub_download
cas.path("datasets/words.txt")
child = "import cas; cas.save_experiment('below', [{'a': 1}])"
subprocess.run([sys.executable, "-c", child], check=True)
with cas.experiment("live") as run:
    hf_hub_download("gpt2", "config.json")
    run.log(loss=1.0)
"""
    world.run(live)
    assert world.uses("below") == {("datasets/words.txt", "input", words["tree"], None)}
    assert world.uses("live") == {
        ("datasets/words.txt", "input", words["tree"], None),
        ("models/gpt2", "input", gpt2["tree"], gpt2["commit"]),
    }


def test_what_is_opened_without_a_request_is_noted_too(world):
    if os.statvfs(world.scratch).f_flag & os.ST_NOATIME:
        pytest.skip("access times are not kept here")
    lock = world.lock()
    commit = lock[f"datasets/{STORIES}"]["commit"]
    ask = f"""
import os, time
import cas
from huggingface_hub import hf_hub_download
for place in ("models--gpt2", "datasets--{STORIES.replace("/", "--")}"):
    while not os.path.exists(os.path.join(os.environ["HF_HUB_CACHE"], place, "refs/main")):
        time.sleep(0.05)
print(cas.uses())
hf_hub_download("gpt2", "config.json", local_files_only=True)
hf_hub_download("{STORIES}", "README.md", repo_type="dataset", revision="{commit}")
print(sorted(cas.uses()))
"""
    used = [(name, lock[name]["tree"]) for name in (f"datasets/{STORIES}", "models/gpt2")]
    assert world.run(ask).stdout == f"[]\n{used}\n"


def test_another_revision_of_what_is_locked_is_refused_with_its_own_hint(world):
    ask = "from huggingface_hub import HfApi; HfApi().model_info('gpt2', revision='v9')"
    done = world.run(ask, code=1)
    commit = world.lock()["models/gpt2"]["commit"]
    assert f"'gpt2' at 'v9', which is locked at commit {commit[:12]}" in done.stderr
    assert "cas add model:gpt2 --revision v9 --name models/NAME" in done.stderr


def test_the_environment_leads_to_the_run_and_leaves_the_rest(world):
    env = json.loads(
        world.run(
            "import json, os; print(json.dumps(dict(os.environ)))",
            HF_HUB_OFFLINE="1", NO_PROXY="corp.test", HF_TOKEN="hf_mine",
        ).stdout
    )  # fmt: skip
    assert env["HF_ENDPOINT"].startswith("http://127.0.0.1:")
    assert env["HF_ENDPOINT"] != world.hub.endpoint
    assert (env["HF_HOME"], env["HF_TOKEN"]) == (world.env["HF_HOME"], "hf_mine")
    assert env["NO_PROXY"] == "corp.test,127.0.0.1,localhost"
    assert env["CAS_PROJECT"] == str(world.root)
    assert env["HF_HUB_CACHE"].startswith(env["CAS_RUN"])
    assert "HF_HUB_OFFLINE" not in env
    assert not Path(env["CAS_RUN"]).exists()


def test_offline_the_locked_assets_are_served_and_nothing_else_is_asked(world):
    world.hub.offline()
    try:
        ask = """
from huggingface_hub import HfApi, hf_hub_download
print(HfApi().dataset_info("roneneldan/TinyStories").sha)
try:
    HfApi(token="hf_test").create_repo("x")
except Exception as error:
    print(type(error).__name__)
"""
        done = world.run(ask, HF_HUB_OFFLINE="1")
    finally:
        world.hub.online()
    commit = world.lock()[f"datasets/{STORIES}"]["commit"]
    assert done.stdout == f"{commit}\nHfHubHTTPError\n"
    assert "the real Hub can't be asked: offline mode is on" in done.stderr


WHO = """
import sys
from huggingface_hub import HfApi
print(HfApi().dataset_info("roneneldan/TinyStories").id)
try:
    HfApi(token="hf_test").whoami()
except Exception as error:
    print(type(error).__name__)
sys.exit(int(sys.argv[1]))
"""


@pytest.mark.parametrize("code", [0, 1])
def test_a_hub_that_is_down_is_told_of_only_where_it_may_matter(world, code):
    program = [sys.executable, "-c", WHO, str(code)]
    done = world.cas("run", "--", *program, code=code, HF_ENDPOINT="http://127.0.0.1:9")
    assert done.stdout == f"{STORIES}\nHfHubHTTPError\n"
    assert "cas: error:" not in done.stderr
    assert done.stderr.count("note: the real Hub can't be asked: http://127.0.0.1:9") == code


def test_a_silent_hub_does_not_hold_up_the_end(world):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        ask = """
import os, httpx2
try:
    httpx2.get(os.environ["HF_ENDPOINT"] + "/api/whoami-v2", timeout=1)
except httpx2.ReadTimeout:
    print("gave up")
"""
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        done = world.run(ask, HF_ENDPOINT=endpoint, timeout=60)
    assert done.stdout == "gave up\n"


def test_a_program_that_could_not_be_answered_did_not_succeed(world):
    broken = world.project("broken")
    (broken / "uvicorn.py").write_text("raise ImportError('this installation is broken')")
    ask = """
import os, httpx2
try:
    httpx2.get(os.environ["HF_ENDPOINT"] + "/api/models/gpt2")
except httpx2.HTTPError:
    print("goes on")
"""
    done = world.run(ask, code=1, PYTHONPATH=f"{broken}:{ROOT}")
    assert done.stdout == "goes on\n"
    assert "can't be served: this installation is broken" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["sh", "-c", "exit 7"], 7, ""),
        (["sh", "-c", "kill -9 $$"], 137, ""),
        (["nowhere-to-be-found"], 127, "cas: error: no command 'nowhere-to-be-found'"),
        (["./words.txt"], 126, "cas: hint: chmod +x ./words.txt"),
        ([], 2, "expected a command after --"),
    ],
)
def test_exit_codes_are_the_programs(world, words, code, said):
    done = world.cas("run", "--", *words, code=code)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert os.listdir(world.scratch / "tmp" / f"cas-{os.geteuid()}") == []


def test_without_a_lock_it_says_how_to_begin(world):
    empty = world.project("empty")
    done = world.cas("run", "--", "true", cwd=empty, code=1)
    assert "cas: hint: cas init" in done.stderr


def test_a_lock_out_of_step_is_refused_unless_frozen(world):
    clone = world.project("clone")
    subprocess.run(["cp", "-a", f"{world.root}/.", clone], check=True)
    (clone / "pyproject.toml").write_text("[tool.cas.assets]\n")
    assert "out of step" in world.cas("run", "--", "true", cwd=clone, code=1).stderr
    world.cas("run", "--frozen", "--", "true", cwd=clone)


def test_what_is_missing_is_pulled_first(world):
    bare = world.project("bare")
    for name in ("pyproject.toml", "assets.lock"):
        shutil.copy(world.root / name, bare)
    store = str(world.scratch / "other-store")
    ask = "from huggingface_hub import hf_hub_download as d; print(len(open(d('gpt2', 'merges.txt')).read()))"  # noqa: E501
    os.symlink(world.root / "words.txt", bare / "words.txt")
    shutil.copytree(world.scratch / "store", store, symlinks=True)
    subprocess.run(["chmod", "-R", "u+w", f"{store}/trees", f"{store}/objects"], check=True)
    shutil.rmtree(f"{store}/trees")
    assert world.run(ask, cwd=bare, CAS_STORE=store).stdout == "14\n"
    assert (bare / "assets/models/gpt2").is_symlink()


def test_without_a_free_port_it_says_so(world):
    if os.geteuid() or not shutil.which("unshare"):
        pytest.skip("it takes root, and unshare")
    taken = f"""
import socket, subprocess, sys
open("/proc/sys/net/ipv4/ip_local_port_range", "w").write("40000 40001")
held = [socket.create_server(("127.0.0.1", port)) for port in (40000, 40001)]
sys.exit(subprocess.run([{str(BIN / "cas")!r}, "run", "--", "true"]).returncode)
"""
    done = subprocess.run(
        ["unshare", "-n", sys.executable, "-c", taken], cwd=world.root, env=world.env,
        capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip
    if "unshare" in done.stderr:
        pytest.skip("unshare can't make a network here")
    assert done.returncode == 1, done.stderr
    assert "cas: error: no port of 127.0.0.1 can be had: Address already in use" in done.stderr


# many short sleeps: Python sees a signal that comes just before a long one only at its end
TRAP = (
    "import signal, sys, time; {}; print('ready', flush=True)\nfor _ in 'x' * 6000: time.sleep(0.1)"
)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signals_sent_to_it_are_passed_on(world, number):
    handle = f"signal.signal({int(number)}, lambda *_: sys.exit(9))"
    process = world.begin(sys.executable, "-c", TRAP.format(handle))
    process.send_signal(number)
    _, errors = process.communicate(timeout=SECONDS)
    assert (process.returncode, errors) == (9, "")


def test_a_terminals_interrupt_reaches_the_program_once(world):
    program = """
import signal, sys
signal.signal(signal.SIGINT, lambda *_: print("heard", flush=True))
print("ready", flush=True)
sys.stdin.readline()
"""
    # it is stopped until the program has heard the key: passed on, that would be a second time
    terminal = f"""
import os, pty, signal, time
pid, keys = pty.fork()
if pid == 0:
    os.execv({str(BIN / "cas")!r}, ["cas", "run", "--", {sys.executable!r}, "-c", {program!r}])
said = b""
def until(word):
    global said
    while word not in said:
        said += os.read(keys, 4096)
until(b"ready")
os.kill(pid, signal.SIGSTOP)
os.waitpid(pid, os.WUNTRACED)
os.write(keys, b"\x03")
until(b"heard")
os.kill(pid, signal.SIGCONT)
time.sleep(1)
os.write(keys, b"end\\n")
try:
    while piece := os.read(keys, 4096):
        said += piece
except OSError:
    pass
print(said.count(b"heard"), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", terminal], cwd=world.root, env=world.env,
                          capture_output=True, text=True, timeout=SECONDS)  # fmt: skip
    assert done.stdout == "1 0\n", done.stderr


def test_what_a_killed_run_left_goes_with_the_next(world):
    process = world.begin("sh", "-c", "echo ready; exec sleep 600 <&- >&- 2>&-")
    top = world.scratch / "tmp" / f"cas-{os.geteuid()}"
    (left,) = os.listdir(top)
    child = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())
    process.kill()
    process.wait()
    os.kill(child, signal.SIGKILL)
    process.communicate()
    assert os.listdir(top) == [left]
    world.cas("run", "--", "true")
    assert os.listdir(top) == []


def test_another_users_processes_are_refused(world):
    if os.geteuid():
        pytest.skip("it takes root to be another user")
    process = world.begin("sh", "-c", "echo ready; echo $HF_ENDPOINT; exec sleep 600")
    endpoint = process.stdout.readline().strip()
    port = endpoint.rpartition(":")[2]
    fetch = """
import socket, sys
source, target, port, more = sys.argv[1:]
mapped = ":" in target
line = socket.socket(socket.AF_INET6 if mapped else socket.AF_INET)
line.bind((source, 0))
line.connect((target, int(port)))
line.sendall(f"GET /api/models/gpt2 HTTP/1.1\\r\\nHost: localhost\\r\\n{more}\\r\\n".encode())
print(line.recv(12).decode().partition(" ")[2])
"""
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable

    def asked(source, target, more="", **who):
        words = [python, "-c", fetch, source, target, port, more]
        return subprocess.run(words, capture_output=True, text=True, **who).stdout.strip()

    other = {"user": 1000, "group": 1000, "extra_groups": []}
    ways = [("127.0.0.1", "127.0.0.1"), ("127.0.0.2", "127.0.0.1"), ("::", "::ffff:127.0.0.1")]
    codes = [(asked(*way), asked(*way, **other)) for way in ways]
    from_a_page = asked(*ways[0], "Sec-Fetch-Site: cross-site\r\n")
    process.terminate()
    process.communicate()
    assert codes == [("200", "403")] * 3
    assert from_a_page == "403"


def test_files_that_the_request_leaves_out_are_told_when_the_program_fails(world):
    part = world.project("part")
    world.cas("init", cwd=part)
    world.cas("add", "model:org/other", "--include", "*.json", "--name", "models/part", cwd=part)
    ask = "from huggingface_hub import hf_hub_download; hf_hub_download('org/other', '{}')"
    done = world.run(ask.format("w.bin"), cwd=part, code=1)
    assert "asked for 'w.bin' of 'models/part', which its request leaves out" in done.stderr
    assert "cas add models/part --include '*.json' --include FILE takes" in done.stderr
    done = world.run(ask.format("nothing.json"), cwd=part, code=1)
    assert "leaves out" not in done.stderr


ROWS = """
import datasets
print(len(datasets.load_dataset("org/parts", split="train")))
"""


def test_arrow_files_are_those_of_the_tree_and_never_older_rows(world):
    repo = world.hub.repo("org/parts", "dataset")
    repo.commit({"data/train-a.txt": b"a\n" * 3, "data/train-b.txt": b"b\n" * 4}, "one")
    place = world.project("parts")
    world.cas("init", cwd=place)
    world.cas("add", "dataset:org/parts", "--include", "data/train-a.txt", cwd=place)
    assert world.run(ROWS, cwd=place).stdout == "3\n"
    world.cas("add", "dataset:org/parts", "--include", "data/*", cwd=place)
    assert world.run(ROWS, cwd=place).stdout == "7\n"
