"""Remotes as a user has them: push, pull with the Hub off, drop, verify, status, experiments."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import obstore
import pytest

from cas.cli import run
from cas.digest import hash_bytes
from cas.project import forget_current
from tests import bucket as buckets
from tests.badline import BadLine
from tests.hubserver import Hub
from tests.stores import remove

CAS = [sys.executable, "-m", "cas"]


class Machine:
    """A user with a project, a store, and a Hub that can be switched off."""

    def __init__(self, top: Path, hub: Hub, project: str = "p") -> None:
        self.top, self.root, self.store = top, top / project, top / "store"
        self.env = {
            name: value for name, value in os.environ.items() if not name.startswith("AWS_")
        } | {
            "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(top / "hf"), "CAS_STORE": str(self.store),
            "XDG_CACHE_HOME": str(top / "cache"), "XDG_CONFIG_HOME": str(top / "config"),
            "XDG_DATA_HOME": str(top / "data"), "HOME": str(top),
            "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip
        self.run("init", str(self.root), cwd=top)

    def start(self, *words: str, cwd: Path | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*CAS, *words], cwd=cwd or self.root, env=self.env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *words: str, code: int = 0, cwd: Path | None = None) -> str:
        """Run a command in this process; return its stdout, or where it fails its stderr."""
        from huggingface_hub import constants

        out, said = io.StringIO(), io.StringIO()
        endpoint = self.env["HF_ENDPOINT"]
        before = os.getcwd()
        forget_current()
        with (
            patch.dict(os.environ, self.env, clear=True),
            patch.object(constants, "ENDPOINT", endpoint),
            redirect_stdout(out),
            redirect_stderr(said),
        ):
            os.chdir(cwd or self.root)
            try:
                ended = run(list(words))
            finally:
                os.chdir(before)
                forget_current()
        assert ended == code, (words, ended, out.getvalue(), said.getvalue())
        self.said = said.getvalue()
        self.out = out.getvalue()
        return self.said if code else self.out

    def json(self, *words: str, code: int = 0):
        self.run(*words, "--json", code=code)
        return json.loads(self.out)

    def hub_off(self) -> None:
        self.env["HF_ENDPOINT"] = "http://127.0.0.1:1"

    def read(self, view: str) -> bytes:
        return (self.root / "assets" / view).read_bytes()

    def forget_store(self) -> None:
        remove(self.store)


@pytest.fixture(scope="module")
def hub():
    with Hub() as server:
        repo = server.repo("o/n", "dataset")
        repo.commit({"small.txt": "small\n", "README.md": "# n\n"})
        repo.commit({"large.bin": os.urandom(3 << 20)})
        yield server


@pytest.fixture
def machine(tmp_path, hub):
    """A project with a local and a Hub asset, both here, and a directory as its remote."""
    made = Machine(tmp_path, hub)
    (made.root / "corpus").mkdir()
    for name in ("a.txt", "b.txt", "same.txt"):
        (made.root / "corpus" / name).write_text("b.txt" if name == "same.txt" else name)
    made.run("add", "./corpus")
    made.run("add", "dataset:o/n")
    made.run("remote", "add", "lab", f"file://{tmp_path}/shared")
    yield made
    made.forget_store()


def objects(shared: Path) -> dict[str, Path]:
    """Return digest → file of what lies on a shared directory."""
    return {p.parent.name + p.name: p for p in (shared / "objects").glob("*/*")}


def spoil(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


# --- the walk -------------------------------------------------------------------------------------


def test_push_then_pull_with_the_hub_and_the_sources_gone(machine, tmp_path):
    pushed = machine.json("push")
    assert pushed["remote"] == "lab"
    assert pushed["assets"] == 2
    assert pushed["uploaded_objects"] == len(objects(tmp_path / "shared"))
    large = machine.read("datasets/o/n/large.bin")
    machine.hub_off()
    shutil.rmtree(machine.root / "corpus")
    machine.run("store", "rm")  # the local asset has a second copy now
    pulled = machine.json("pull")
    assert pulled["assets"] == 2
    assert pulled["downloaded_files"] == 6 - 1  # two files of the corpus are one object
    assert machine.read("datasets/o/n/large.bin") == large
    assert machine.read("datasets/corpus/a.txt") == b"a.txt"
    machine.run("status")
    machine.run("verify", "--full")
    again = machine.json("push")
    assert (again["assets"], again["uploaded_objects"], again["uploaded_bytes"]) == (2, 0, 0)
    listing = machine.json("status")["assets"]
    assert [row["second_copy"] for row in listing] == [True, True]


def test_every_object_on_a_remote_is_named_by_its_bytes_and_whole(machine, tmp_path):
    machine.run("push")
    found = objects(tmp_path / "shared")
    assert all(hash_bytes(path.read_bytes()) == digest for digest, path in found.items())
    assert (tmp_path / "shared/VERSION").read_text() == "cas-remote 1\n"
    assert not list((tmp_path / "shared").rglob(".cas-*"))


def test_remotes_are_written_into_pyproject_and_taken_out_again(machine):
    before = (machine.root / "pyproject.toml").read_text()
    machine.run("remote", "add", "other", "s3://bucket/cas")
    assert machine.json("remote", "list")[1] == {"name": "other", "url": "s3://bucket/cas"}
    machine.run("remote", "add", "other", "gs://bucket/cas")
    assert "s3://" not in (machine.root / "pyproject.toml").read_text()
    machine.run("remote", "rm", "other")
    assert (machine.root / "pyproject.toml").read_text() == before
    said = machine.run("remote", "add", "x", "s3://key:hush@bucket/p", code=2)
    assert "hush" not in said
    machine.run("remote", "rm", "nobody", code=2)
    machine.run("push", "--remote", "nobody", code=2)
    machine.run("remote", "rm", "lab")
    assert "no remote" in machine.run("push", code=2)


# --- remotes as sources ---------------------------------------------------------------------------


def test_remotes_are_asked_in_order_and_each_miss_falls_through(machine, tmp_path, hub):
    machine.run("push", "corpus")  # the Hub's asset is on no remote
    machine.run("remote", "add", "empty", f"file://{tmp_path}/empty")
    (tmp_path / "empty").mkdir()
    machine.forget_store()
    shutil.rmtree(machine.root / "corpus")
    hub.reset_log()
    assert machine.json("pull")["assets"] == 2
    assert "note" not in machine.said
    assert hub.requests(file="large.bin")


def test_a_remote_that_is_down_is_a_warning_where_another_source_serves(machine, tmp_path):
    machine.run("push")
    shutil.move(tmp_path / "shared", tmp_path / "away")
    machine.run("remote", "add", "second", f"file://{tmp_path}/away")
    machine.forget_store()
    assert machine.json("pull")["assets"] == 2
    assert machine.said.count("it is asked no more") == 1
    assert "remote 'lab'" in machine.said


def test_nothing_reachable_ends_with_3_and_names_the_remote(machine, tmp_path):
    machine.run("push")
    machine.hub_off()
    shutil.move(tmp_path / "shared", tmp_path / "away")
    machine.forget_store()
    shutil.rmtree(machine.root / "corpus")
    assert "remote 'lab'" in machine.run("pull", code=3)


def test_an_object_that_is_gone_on_the_remote_comes_from_the_hub(machine, tmp_path, hub):
    machine.run("push")
    large = hash_bytes(machine.read("datasets/o/n/large.bin"))
    objects(tmp_path / "shared")[large].unlink()
    machine.forget_store()
    hub.reset_log()
    assert machine.json("pull")["assets"] == 2
    assert len(hub.requests(file="large.bin")) >= 1
    assert not hub.requests(file="small.txt")


@pytest.mark.parametrize("how", ["bytes", "shorter", "longer", "listing", "listing of another"])
def test_a_remote_that_lies_harms_nothing(machine, tmp_path, how):
    machine.run("push")
    found = objects(tmp_path / "shared")
    large = machine.read("datasets/o/n/large.bin")
    victim = found[hash_bytes(large)]
    listings = [p for p in found.values() if p.read_bytes().startswith(b"# cas-tree")]
    match how:
        case "bytes":
            spoil(victim, bytes([large[0] ^ 1]) + large[1:])
        case "shorter":
            spoil(victim, large[:-1])
        case "longer":
            spoil(victim, large + b"x" * 9_000_000)
        case "listing":
            for path in listings:
                spoil(path, b"# cas-tree 1\nnonsense\n")
        case "listing of another":
            both = [path.read_bytes() for path in listings]
            for path, data in zip(listings, reversed(both), strict=True):
                spoil(path, data)
    machine.forget_store()
    assert machine.json("pull")["assets"] == 2  # the Hub, and the source, have the right ones
    assert machine.read("datasets/o/n/large.bin") == large
    assert "remote 'lab'" in machine.said
    machine.run("verify", "--full")


def test_a_stopped_push_and_a_stopped_pull_go_on(tmp_path, hub):
    machine = Machine(tmp_path, hub)
    try:
        data = os.urandom(1 << 20) * 80
        (machine.root / "m.pt").write_bytes(data)
        for n in range(3):
            (machine.root / f"f{n}.txt").write_text(str(n))
            machine.run("add", f"./f{n}.txt")
        machine.run("add", "./m.pt")
        machine.run("remote", "add", "lab", f"file://{tmp_path}/shared")
        process = machine.start("push")
        until = time.monotonic() + 60
        while time.monotonic() < until and process.poll() is None:
            if any((tmp_path / "shared").rglob("objects/*/*")):
                process.send_signal(signal.SIGINT)
                break
            time.sleep(0.002)
        process.communicate(timeout=60)
        assert process.returncode in (0, 130)
        assert not list((tmp_path / "shared").rglob(".cas-*"))
        assert machine.json("push")["assets"] == 4
        (machine.root / "m.pt").unlink()
        machine.forget_store()
        process = machine.start("pull")
        while time.monotonic() < until and process.poll() is None:
            if any(p.stat().st_size for p in (machine.store / "staging").glob("*")):
                process.kill()
                break
            time.sleep(0.002)
        process.communicate(timeout=60)
        machine.run("pull")
        assert machine.read("models/m.pt") == data
    finally:
        machine.forget_store()


# --- push ----------------------------------------------------------------------------------------


def test_damage_in_the_store_is_not_pushed_and_gets_no_listing(machine, tmp_path):
    large = hash_bytes(machine.read("datasets/o/n/large.bin"))
    spoil(machine.store / "objects" / large[:2] / large[2:], b"x" * (3 << 20))
    assert "expected sha256" in machine.run("push", code=1)
    found = objects(tmp_path / "shared")
    assert large not in found
    listings = [p.read_bytes() for p in found.values() if p.read_bytes().startswith(b"# cas-tree")]
    assert len(listings) == 1
    assert b"a.txt" in listings[0]


def test_what_is_not_here_is_told_and_the_rest_is_pushed(machine):
    shutil.rmtree(machine.root / "corpus")
    machine.run("push", "o/n")
    machine.run("drop", "o/n")
    assert "cas pull" in machine.run("push", code=1)
    assert machine.json("status", "--remote", code=1)["assets"][0]["remotes"] == ["lab"]


def test_a_gated_asset_stays_unless_the_project_shares_it(machine, tmp_path):
    lock = machine.root / "assets.lock"
    text = lock.read_text()
    lock.write_text(text.replace('repo = "o/n"\n', 'repo = "o/n"\naccess = "gated"\n'))
    assert machine.json("push")["assets"] == 1
    assert "is gated" in machine.said
    project = machine.root / "pyproject.toml"
    project.write_text(f'{project.read_text()}\n[tool.cas]\nshare = ["datasets/o/n"]\n')
    assert machine.json("push")["assets"] == 2


# --- drop, verify, status -------------------------------------------------------------------------


def test_drop_frees_what_a_remote_or_the_hub_has_and_nothing_else(machine, tmp_path):
    said = machine.run("drop", "corpus", code=1)
    assert "was not dropped" in said
    assert machine.read("datasets/corpus/a.txt") == b"a.txt"
    (row,) = machine.json("drop", "o/n", "--dry-run")
    assert row["sources"][0].startswith("o/n@")
    assert machine.read("datasets/o/n/small.txt") == b"small\n"
    (row,) = machine.json("drop", "o/n")
    assert row["dropped"]
    assert row["bytes"] > 3 << 20
    assert not (machine.root / "assets/datasets/o/n").is_symlink()
    states = {r["name"]: r["state"] for r in machine.json("status", code=1)["assets"]}
    assert states == {"datasets/corpus": "ok", "datasets/o/n": "not pulled"}
    machine.run("push", "corpus")
    machine.run("drop", "corpus")
    shutil.rmtree(machine.root / "corpus")
    assert machine.json("pull")["assets"] == 2
    machine.run("verify", "--full")


@pytest.mark.parametrize("lack", ["an object", "bytes of one", "the listing"])
def test_drop_looks_for_every_byte_now(machine, tmp_path, lack):
    machine.run("push", "corpus")
    found = objects(tmp_path / "shared")
    (listing,) = [p for p in found.values() if p.read_bytes().startswith(b"# cas-tree")]
    victim = found[hash_bytes(b"a.txt")]
    match lack:
        case "an object":
            victim.unlink()
        case "bytes of one":
            spoil(victim, b"a.tx")
        case _:
            listing.unlink()
    assert "'lab' lacks" in machine.run("drop", "corpus", code=1)
    assert machine.read("datasets/corpus/a.txt") == b"a.txt"


def test_drop_leaves_what_another_project_needs(machine, tmp_path, hub):
    machine.run("push")
    other = Machine(tmp_path, hub, "q")
    other.run("add", "dataset:o/n")
    assert "also needed by" in machine.run("drop", "o/n", code=1)
    assert other.read("datasets/o/n/small.txt") == b"small\n"
    shared = machine.root / "x.txt"
    shared.write_text("small\n")  # one object of two trees
    machine.run("add", "./x.txt")
    machine.run("push", "x.txt")
    machine.run("drop", "x.txt")
    assert other.read("datasets/o/n/small.txt") == b"small\n"


def test_verify_of_a_remote_finds_and_repairs_what_it_lacks_or_has_wrong(machine, tmp_path):
    (tmp_path / "shared").mkdir()
    assert len(machine.json("verify", "--remote", "lab", code=1)["bad"]) > 3  # nothing was pushed
    machine.run("push")
    assert machine.json("verify", "--remote", "lab", "--full")["bad"] == []
    found = objects(tmp_path / "shared")
    large = hash_bytes(machine.read("datasets/o/n/large.bin"))
    found[hash_bytes(b"a.txt")].unlink()
    spoil(found[large], b"x" * (3 << 20))
    by_size = machine.json("verify", "--remote", "lab", code=1)["bad"]
    assert [bad["hash"] for bad in by_size] == [hash_bytes(b"a.txt")]
    assert by_size[0]["assets"] == ["datasets/corpus"]
    by_bytes = machine.json("verify", "--remote", "lab", "--full", code=1)["bad"]
    assert {bad["hash"] for bad in by_bytes} == {large, hash_bytes(b"a.txt")}
    machine.run("verify", "--remote", "lab", "--full", "--repair")
    assert machine.json("verify", "--remote", "lab", "--full")["bad"] == []
    assert hash_bytes(objects(tmp_path / "shared")[large].read_bytes()) == large


def test_verify_of_a_remote_needs_nothing_here(machine):
    machine.run("push")
    machine.forget_store()
    assert machine.json("verify", "--remote", "lab", "--full")["objects"] == 7


def test_status_asks_the_remotes_for_second_copies(machine, tmp_path):
    rows = {r["name"]: r for r in machine.json("status", "--remote")["assets"]}
    assert rows["datasets/corpus"]["second_copy"] is False
    assert rows["datasets/corpus"]["remotes"] == []
    assert rows["datasets/o/n"]["second_copy"] is True
    machine.run("push")
    rows = {r["name"]: r for r in machine.json("status", "--remote")["assets"]}
    assert [row["remotes"] for row in rows.values()] == [["lab"], ["lab"]]
    assert rows["datasets/corpus"]["second_copy"] is True
    shutil.rmtree(tmp_path / "shared")
    rows = {r["name"]: r for r in machine.json("status", "--remote")["assets"]}
    assert rows["datasets/corpus"]["second_copy"] is True  # nobody knows better
    (tmp_path / "shared").mkdir()
    rows = {r["name"]: r for r in machine.json("status", "--remote")["assets"]}
    assert rows["datasets/corpus"]["second_copy"] is False


def test_what_was_dropped_and_came_back_from_a_remote_has_its_second_copy_there(machine):
    machine.run("push")
    machine.run("drop", "corpus")
    shutil.rmtree(machine.root / "corpus")
    machine.run("pull")
    rows = {r["name"]: r["second_copy"] for r in machine.json("status")["assets"]}
    assert rows["datasets/corpus"] is True
    machine.run("store", "rm")  # nothing in it is the only copy


# --- experiments ----------------------------------------------------------------------------------

SAVE = """
import cas, sys
cas.path("corpus")
cas.save_experiment(sys.argv[1], [{"loss": 1.0}], metadata={"lr": 0.1})
"""


def save(machine: Machine, name: str) -> None:
    subprocess.run([sys.executable, "-c", SAVE, name], cwd=machine.root, env=machine.env,
                   check=True, timeout=120)  # fmt: skip


def test_experiments_travel_with_what_they_name_and_nothing_is_overwritten(machine, tmp_path, hub):
    save(machine, "exp_001")
    machine.run("experiments", "tag", "exp_001", "good")
    pushed = machine.json("push", "--experiments")
    assert pushed["new_files"] == 2
    assert machine.json("push", "--experiments")["new_files"] == 0
    other = Machine(tmp_path / "far", hub) if (tmp_path / "far").mkdir() is None else None
    try:
        other.run("remote", "add", "lab", f"file://{tmp_path}/shared")
        other.hub_off()
        taken = other.json("pull", "--experiments")
        assert taken["new_files"] == 2
        assert taken["gone"] == []
        assert taken["trees"] == 1
        (row,) = other.json("experiments", "--list")
        assert (row["name"], row["tags"]) == ("exp_001", ["good"])
        shown = other.json("checkout", "exp_001")
        assert [use["state"] for use in shown] == ["here"]
        other.run("gc", "--older-than", "0d")
        assert [use["state"] for use in other.json("checkout", "exp_001")] == ["here"]
        (record,) = (other.root / "assets/outputs/experiments").glob("*.parquet")
        spoil(record, b"mine")
        assert other.json("pull", "--experiments")["new_files"] == 0
        assert record.read_bytes() == b"mine"
    finally:
        other.forget_store()


def test_what_a_record_kept_comes_back_from_a_remote_when_the_store_is_lost(machine, tmp_path):
    git = ["git", "-c", "user.name=n", "-c", "user.email=n@localhost"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], cwd=machine.root, env=machine.env, check=True, timeout=60)
    (machine.root / "train.py").write_text("lr = 0.1\n")
    save(machine, "exp_001")
    machine.run("push")
    machine.run("push", "--experiments")
    machine.run("store", "rm", "--local-too")
    made = machine.json("reproduce", "exp_001", str(tmp_path / "again"), "--offline")
    assert made["missing"] == {}
    assert [row["state"] for row in made["assets"]] == ["fetched"]
    assert (tmp_path / "again/train.py").read_text() == "lr = 0.1\n"


def test_a_record_of_a_remote_that_is_none_or_leads_elsewhere_is_not_taken(machine, tmp_path, hub):
    save(machine, "exp_001")
    machine.run("push", "--experiments")
    (record,) = (tmp_path / "shared/experiments").glob("exp_001.*.parquet")
    name = record.name
    shutil.copy(record, record.with_name(name.replace("exp_001", "..")))
    record.with_name(name[:-9] + "0.parquet").write_bytes(b"no id")
    spoil(record, b"PAR1 nonsense PAR1")
    (machine.root / "assets/outputs/experiments" / name).unlink()
    machine.json("pull", "--experiments")
    assert not list((machine.root / "assets").rglob("*..*"))
    assert not (machine.root / "assets/outputs/experiments" / name).exists()
    assert "was not taken" in machine.said


def test_a_purged_record_does_not_come_back(machine):
    save(machine, "exp_001")
    machine.run("push", "--experiments")
    machine.run("experiments", "rm", "exp_001", "--purge")
    assert machine.json("pull", "--experiments")["new_files"] == 0


# --- a real server --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server():
    with buckets.running() as made:
        yield made


def test_the_walk_on_a_real_bucket_costs_a_request_a_tree(machine, server):
    with BadLine(server.endpoint) as line:
        machine.env |= server.environment | {"AWS_ENDPOINT_URL": line.endpoint}
        machine.run("remote", "rm", "lab")
        machine.run("remote", "add", "lab", f"s3://lab-bucket/{os.urandom(4).hex()}")
        machine.run("push")
        assert line.count("GET", "list-type") == 1
        assert line.count("HEAD") == 2
        assert line.count("PUT") == 1 + 7  # VERSION, five objects, two listings
        line.log.clear()
        machine.run("push")
        assert sorted(method for method, _ in line.log) == ["GET", "HEAD", "HEAD"]
        machine.hub_off()
        shutil.rmtree(machine.root / "corpus")
        machine.forget_store()
        line.log.clear()
        assert machine.json("pull")["assets"] == 2
        assert line.count("GET") == 1 + 7
        assert line.count("HEAD") == 0
        machine.run("verify", "--remote", "lab", "--full")
        machine.run("drop", "corpus")
        line.fault("corrupt", times=1, at=0)
        assert machine.json("pull")["assets"] == 2  # asked once more
        machine.env["AWS_SECRET_ACCESS_KEY"] = "hush-hush"
        said = machine.run("push", code=4)
        assert "hush" not in said
        assert "cas: hint:" in said


def test_a_large_object_that_is_swapped_while_it_comes_is_not_taken(
    tmp_path, hub, server, monkeypatch
):
    monkeypatch.setattr("cas.remote.bucket.DIRECT", 1 << 20)
    machine = Machine(tmp_path, hub)
    data = os.urandom(3 << 20)
    prefix, key = os.urandom(4).hex(), hash_bytes(data)
    key = f"objects/{key[:2]}/{key[2:]}"
    bucket = server.store(prefix=prefix)
    (machine.root / "m.pt").write_bytes(data)
    with BadLine(server.endpoint) as line:
        machine.env |= server.environment | {"AWS_ENDPOINT_URL": line.endpoint}
        machine.run("add", "./m.pt")
        machine.run("remote", "add", "lab", f"s3://lab-bucket/{prefix}")
        machine.run("push")
        machine.forget_store()
        (machine.root / "m.pt").unlink()
        swap = line.fault("cut", part="X-Amz-Signature", at=2 << 20)
        swap.then = lambda: obstore.put(bucket, key, bytes(len(data)), use_multipart=False)
        said = machine.run("pull", code=1)
        assert swap.hits == 1
        assert "remote 'lab'" in said
        assert not (machine.store / key).exists()
        line.reset()
        obstore.put(bucket, key, data, use_multipart=False)
        line.fault("corrupt", part="X-Amz-Signature", at=2 << 20)
        assert machine.json("pull")["assets"] == 1  # asked once more
        assert machine.read("models/m.pt") == data
        assert line.count("GET", "X-Amz-Signature") == 2
    machine.forget_store()
