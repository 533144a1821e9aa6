"""``cas://``: locked files by name, for the programs that read through fsspec."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import fsspec
import pytest

import cas
from cas.errors import CasError, Edited, IntegrityError, NotPulled, Offline, StoreError
from cas.project import forget_current
from cas.store import open_store, read_listing
from tests.hubserver import Hub
from tests.scratch import move_in

A, B, CSV = "data/a.parquet", "data/b.parquet", "rows.csv"
NAME = "datasets/o/Corpus"
LIMIT = 120  # seconds that a process may take on a busy machine


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, bytes]:
    """The files of a dataset."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    top = tmp_path_factory.mktemp("made")
    for name, first in (("a", 0), ("b", 1000)):
        table = pa.table({"n": range(first, first + 1000), "text": ["some words"] * 1000})
        pq.write_table(table, top / f"{name}.parquet")
    return {
        A: (top / "a.parquet").read_bytes(),
        B: (top / "b.parquet").read_bytes(),
        CSV: b"n,text\n" + b"".join(b"%d,words\n" % n for n in range(500)),
        "README.md": b"# corpus\n",
        "notes/deep/one.txt": b"one\n",
    }


@pytest.fixture(scope="module")
def server():
    with Hub() as hub:
        yield hub


@pytest.fixture
def hub(tmp_path, monkeypatch, server, made):
    """A Hub with a dataset, and an empty project that is the working directory."""
    from huggingface_hub import constants

    move_in(monkeypatch, tmp_path)
    monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
    monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf/hub"))
    monkeypatch.delenv("CAS_PROJECT", raising=False)
    (tmp_path / "p").mkdir()
    monkeypatch.chdir(tmp_path / "p")
    server.repos.clear()
    server.clear_faults()
    server.repo("o/Corpus", "dataset").commit(made, "one")
    server.reset_log()
    cas.init()
    yield server
    forget_current()


@pytest.fixture
def fs(hub):
    found = fsspec.filesystem("cas")
    found.invalidate_cache()
    return found


def python(code: str, *words: str, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=LIMIT,
        env=os.environ | env,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def command(*words: str) -> None:
    subprocess.run([Path(sys.executable).parent / "cas", *words], check=True, capture_output=True)


def files_here() -> list[str]:
    """Return the paths of the dataset whose objects are in the store."""
    store, tree = open_store(os.environ["CAS_STORE"]), cas.status()["assets"][0]["tree"]
    return [entry.path for entry in read_listing(store, tree[3:]) if store.has(entry.digest)]


def go_offline(monkeypatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")


def state() -> str:
    return cas.status()["assets"][0]["state"]


# Names, and what fsspec asks --------------------------------------------------------------


def test_a_pulled_file_is_read_by_every_form_of_the_assets_name_and_its_use_is_noted(hub, fs, made):
    cas.add("o/Corpus")
    hub.reset_log()
    forget_current()
    for word in (NAME, "assets/datasets/o/Corpus", "o/Corpus", "Corpus", "corpus", "/o/corpus"):
        with fsspec.open(f"cas://{word}/{A}") as file:
            assert file.read() == made[A]
            assert file.size == len(made[A])
    assert cas.uses() == [(NAME, cas.status()["assets"][0]["tree"])]
    assert fs.open(f"{NAME}/{CSV}", "r").readline() == "n,text\n"
    assert hub.log == []


def test_listing_finding_and_asking_answer_as_a_directory_of_those_names_would(hub, fs, made):
    cas.add("o/Corpus")
    (Path.cwd() / "exp.pt").write_bytes(b"weights")
    cas.add("./exp.pt")
    forget_current()
    assert fs.ls("cas://", detail=False) == ["datasets", "models"]
    assert fs.ls("datasets", detail=False) == ["datasets/o"]
    assert fs.ls("datasets/o", detail=False) == [NAME]
    assert fs.ls(NAME, detail=False) == [
        f"{NAME}/README.md", f"{NAME}/data", f"{NAME}/notes", f"{NAME}/rows.csv",
    ]  # fmt: skip
    assert sorted(fs.find("corpus")) == sorted(f"corpus/{path}" for path in made)
    assert fs.glob("cas://corpus/data/*.parquet") == [f"corpus/{A}", f"corpus/{B}"]
    assert fs.glob("corpus/**/*.txt") == ["corpus/notes/deep/one.txt"]
    assert fs.glob("datasets/*/*/rows.csv") == [f"{NAME}/rows.csv"]
    assert [(top, sorted(dirs)) for top, dirs, _ in fs.walk(f"{NAME}/notes")] == [
        (f"{NAME}/notes", ["deep"]), (f"{NAME}/notes/deep", []),
    ]  # fmt: skip
    for path in ("", "datasets/o", NAME, f"{NAME}/data", "models/exp.pt", f"{NAME}/{A}"):
        assert fs.exists(path)
        assert fs.isfile(path) == (path.endswith(("pt", "parquet")))
        assert fs.isdir(path) != fs.isfile(path)
    assert cas.uses() == [], "to look around is no use"
    assert fs.du(NAME) == sum(map(len, made.values()))
    assert fs.ls("models") == [fs.info("models/exp.pt")]
    assert fs.cat_file("exp.pt") == b"weights"
    row = fs.info(f"corpus/{A}")
    assert (row["name"], row["size"], row["type"]) == (f"corpus/{A}", len(made[A]), "file")
    assert row["ETag"] == row["sha256"] == fs.ukey(f"corpus/{A}")
    assert {name for name, _ in cas.uses()} == {"models/exp.pt", NAME}
    changed = fs.modified("corpus/rows.csv").timestamp() - os.stat("assets.lock").st_mtime
    assert abs(changed) < 0.001


def test_parts_of_files_are_read_as_they_are_asked(hub, fs, made, tmp_path):
    cas.add("o/Corpus")
    forget_current()
    paths = [f"corpus/{CSV}", f"corpus/{CSV}", f"corpus/{A}"]
    assert fs.cat_ranges(paths, [0, 10, 4], [6, 20, None]) == [
        made[CSV][:6], made[CSV][10:20], made[A][4:],
    ]  # fmt: skip
    assert fs.cat_file(f"corpus/{CSV}", -9, None) == made[CSV][-9:]
    assert fs.cat(["corpus/README.md", "corpus/notes/deep/one.txt"]) == {
        "corpus/README.md": b"# corpus\n", "corpus/notes/deep/one.txt": b"one\n",
    }  # fmt: skip
    fs.get("corpus/data", str(tmp_path / "out"), recursive=True)
    assert (tmp_path / "out/b.parquet").read_bytes() == made[B]
    with fs.open(f"corpus/{A}") as file:
        file.seek(-4, 2)
        assert file.read() == b"PAR1"


def test_what_is_not_there_is_a_file_not_found_that_says_what_is_near(hub, fs, monkeypatch):
    cas.add("o/Corpus")
    hub.repo("other/Corpus", "model").commit({"config.json": b"{}"})
    cas.add("model:other/Corpus")
    forget_current()
    for path, near in (
        ("datasets/o/Corpsu/rows.csv", "cas://datasets/o/Corpus"),
        ("corps/rows.csv", "cas://"),
        (f"{NAME}/rows.csw", "rows.csv"),
        (f"{NAME}/a.parquet", "data/a.parquet"),
        (f"{NAME}/data/c.parquet", "data/a.parquet"),
        ("Corpus/rows.csv", "fits 2 assets"),
    ):
        assert not fs.exists(path)
        with pytest.raises(FileNotFoundError, match=near.replace(".", r"\.")) as raised:
            fs.open(path)
        assert isinstance(raised.value, CasError)
        assert raised.value.hint
        assert pickle.loads(pickle.dumps(raised.value)).args == raised.value.args
    with pytest.raises(IsADirectoryError):
        fs.open(f"{NAME}/data")
    for path in ("nothing/at/all", f"{NAME}/../../../../p/assets.lock", f"{NAME}/.", "../p", ".."):
        assert not fs.exists(path)
    forget_current()
    monkeypatch.chdir("/")
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "/x.py", raising=False)
    with pytest.raises(CasError, match=r"no assets\.lock"):
        fs.ls("")


def test_nothing_can_be_written(hub, fs, tmp_path):
    cas.add("o/Corpus")
    (tmp_path / "x").write_text("x")
    path, tree = f"{NAME}/{CSV}", cas.path("corpus")
    for write in (
        lambda: fs.open(path, "wb"), lambda: fs.open(path, "w"), lambda: fs.open(path, "ab"),
        lambda: fs.open(path, "r+b"), lambda: fs.rm(path), lambda: fs.rm_file(path),
        lambda: fs.rm(NAME, recursive=True), lambda: fs.mkdir("datasets/new"),
        lambda: fs.makedirs("datasets/new/dir", exist_ok=True), lambda: fs.rmdir(f"{NAME}/data"),
        lambda: fs.touch(path), lambda: fs.cp(path, f"{NAME}/copy"), lambda: fs.mv(path, "x/y"),
        lambda: fs.put(str(tmp_path / "x"), f"{NAME}/x"), lambda: fs.pipe(f"{NAME}/x", b"x"),
        lambda: fs.put_file(str(tmp_path / "x"), f"{NAME}/x"), lambda: fs.delete(path),
        lambda: fs.rename(path, "x"), lambda: fs.pipe_file(path, b""),
    ):  # fmt: skip
        with pytest.raises(PermissionError, match="can only be read") as raised:
            write()
        assert raised.value.hint.startswith("write to a path of your own")
    assert cas.path("corpus") == tree
    assert cas.verify(full=True)["bad"] == []


# Files that are not here ------------------------------------------------------------------


def test_a_file_that_is_not_here_is_fetched_alone_and_held_while_its_asset_stays_not_pulled(
    hub, fs, made
):
    cas.add("o/Corpus", no_pull=True)
    hub.reset_log()
    forget_current()
    assert fs.cat_file(f"corpus/{A}") == made[A]
    assert [record.file for record in hub.requests(kind="resolve")] == [A]
    assert A in files_here()
    assert B not in files_here()
    assert state() == "not pulled"
    assert cas.uses() == [(NAME, cas.status()["assets"][0]["tree"])]
    assert not list(Path(os.environ["CAS_STORE"], "staging").iterdir())
    cas.gc(older_than=timedelta(0), local_too=True)
    hub.reset_log()
    code = "import sys, fsspec; sys.stdout.write(str(len(fsspec.open(sys.argv[1]).open().read())))"
    assert python(code, f"cas://{NAME}/{A}", HF_ENDPOINT="http://127.0.0.1:9") == str(len(made[A]))
    assert hub.log == []
    assert cas.pull()["downloaded_files"] == 1, "the other large file"
    assert state() == "ok"
    assert fs.cat_file(f"corpus/{B}") == made[B]


def test_sizes_of_what_is_not_here_are_the_hubs_and_unknown_without_it(hub, fs, made, monkeypatch):
    cas.add("o/Corpus", no_pull=True)
    forget_current()
    rows = {row["name"]: row["size"] for row in fs.ls("corpus/data")}
    assert rows == {f"corpus/{A}": len(made[A]), f"corpus/{B}": len(made[B])}
    assert hub.count(kind="resolve") == 3, "what is small came with the lock"
    go_offline(monkeypatch)
    fs.invalidate_cache()
    assert {row["size"] for row in fs.ls("corpus/data")} == {None}
    assert fs.info("corpus/README.md")["size"] == 9


def test_where_the_listing_is_not_here_it_is_made_again_first(hub, fs, made, tmp_path, monkeypatch):
    cas.add("o/Corpus", no_pull=True)
    hub.repos[("dataset", "o/Corpus")].commit({A: b"moved on"}, "two")
    monkeypatch.setenv("CAS_STORE", str(tmp_path / "another"))
    forget_current()
    hub.reset_log()
    assert sorted(fs.find("corpus")) == sorted(f"corpus/{path}" for path in made)
    assert [record.file for record in hub.requests(kind="resolve") if record.file in (A, B)] == []
    assert fs.cat_file(f"corpus/{B}") == made[B]
    assert sorted(files_here()) == sorted({*made} - {A})
    assert state() == "not pulled"
    cas.gc(older_than=timedelta(0))
    go_offline(monkeypatch)
    fs.invalidate_cache()
    assert fs.cat_file(f"corpus/{B}") == made[B]
    with pytest.raises(Offline):
        fs.cat_file(f"corpus/{A}")


def test_a_listing_that_is_not_the_locked_one_is_refused(hub, fs, tmp_path, monkeypatch):
    cas.add("o/Corpus", no_pull=True)
    lock = Path("assets.lock").read_text()
    tree = cas.status()["assets"][0]["tree"]
    Path("assets.lock").write_text(lock.replace(tree, "t1:" + "0" * 64))
    monkeypatch.setenv("CAS_STORE", str(tmp_path / "another"))
    forget_current()
    with pytest.raises(IntegrityError, match="expected tree t1:000"):
        fs.ls("corpus")
    with pytest.raises(IntegrityError):
        fs.open(f"corpus/{A}")
    assert not open_store(tmp_path / "another").has("0" * 64)


def test_a_squashed_history_serves_while_the_branch_has_the_locked_files(hub, fs, made):
    cas.add("o/Corpus", no_pull=True)
    hub.repos[("dataset", "o/Corpus")].squash()
    forget_current()
    hub.reset_log()
    assert fs.cat_file(f"corpus/{A}") == made[A]
    assert hub.count(kind="resolve") == 1


def test_a_squashed_history_that_moved_on_is_told_as_pull_tells_it_and_a_remote_serves(
    hub, fs, made, tmp_path, monkeypatch
):
    cas.add("o/Corpus")
    command("remote", "add", "lab", f"file://{tmp_path}/lab")
    command("push")
    repo = hub.repos[("dataset", "o/Corpus")]
    repo.commit({A: made[B]}, "two")
    repo.squash()
    shutil.rmtree("assets/datasets")
    (tmp_path / "lab").rename(tmp_path / "away")
    for number in range(2):  # where the listing is here, and where it is not
        monkeypatch.setenv("CAS_STORE", str(tmp_path / f"empty-{number}"))
        forget_current()
        fs.invalidate_cache()
        if number == 0:
            (tmp_path / "away").rename(tmp_path / "lab")
            fs.ls("corpus")
            (tmp_path / "lab").rename(tmp_path / "away")
        with pytest.raises(CasError) as pulled:
            cas.pull()
        with pytest.raises(CasError) as read:
            fs.cat_file(f"corpus/{A}")
        assert type(read.value) is type(pulled.value)
        assert read.value.hint == pulled.value.hint
        head = str(pulled.value).partition("found")[0]
        assert "'datasets/o/Corpus' at o/Corpus@" in head
        assert str(read.value).startswith(head)
    (tmp_path / "away").rename(tmp_path / "lab")
    fs.invalidate_cache()
    assert fs.cat_file(f"corpus/{A}") == made[A]


def test_wrong_bytes_are_fetched_again_once_and_never_kept(hub, fs, made):
    cas.add("o/Corpus", no_pull=True)
    forget_current()
    hub.fault("corrupt", path=A, times=1)
    assert fs.cat_file(f"corpus/{A}") == made[A]
    hub.fault("corrupt", path=B, times=None)
    with pytest.raises(IntegrityError):
        fs.cat_file(f"corpus/{B}")
    assert B not in files_here()
    hub.clear_faults()
    assert fs.cat_file(f"corpus/{B}") == made[B]


def test_a_damaged_object_is_not_read_but_fetched_again(hub, fs, made):
    cas.add("o/Corpus", no_pull=True)
    forget_current()
    fs.cat_file(f"corpus/{A}")
    place = open_store(os.environ["CAS_STORE"]).object(fs.ukey(f"corpus/{A}"))
    os.chmod(place, 0o644)
    Path(place).write_bytes(b"x" * len(made[A]))
    assert fs.cat_file(f"corpus/{A}") == made[A]


def test_readers_at_once_download_a_file_once(hub, fs, made):
    cas.add("o/Corpus", no_pull=True)
    forget_current()
    hub.reset_log()
    hub.fault("trickle", path=A, rate=len(made[A]), times=None)
    code = "import sys, fsspec; sys.stdout.write(str(len(fsspec.open(sys.argv[1]).open().read())))"
    other = subprocess.Popen([sys.executable, "-c", code, f"cas://corpus/{A}"],
                             stdout=subprocess.PIPE)  # fmt: skip
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(fs.cat_file, [f"corpus/{A}"] * 8)) == {made[A]}
    assert other.communicate(timeout=LIMIT)[0] == str(len(made[A])).encode()
    assert [record.file for record in hub.requests(kind="resolve")] == [A]


def test_a_file_comes_from_a_remote_first_alone_whatever_its_asset_is(
    hub, fs, made, tmp_path, monkeypatch
):
    Path("dir").mkdir()
    Path("dir/x.txt").write_text("mine")
    cas.add("./dir", name="datasets/dir")
    cas.add("o/Corpus")
    command("remote", "add", "gone", f"file://{tmp_path}/not/there")
    command("remote", "add", "lab", f"file://{tmp_path}/lab")
    (tmp_path / "lab").mkdir()
    command("push", "--remote", "lab")
    forget_current()
    wrong = tmp_path / "lab/objects" / f"{(it := fs.ukey(f'corpus/{B}'))[:2]}/{it[2:]}"
    wrong.chmod(0o644)
    wrong.write_bytes(b"x" * len(made[B]))
    shutil.rmtree("dir")
    shutil.rmtree("assets/datasets")
    monkeypatch.setenv("CAS_STORE", str(tmp_path / "another"))
    forget_current()
    hub.reset_log()
    assert fs.cat_file("datasets/dir/x.txt") == b"mine"
    assert fs.cat_file(f"corpus/{CSV}") == made[CSV]
    assert hub.log == []
    assert len(list((tmp_path / "another/objects").glob("*/*"))) == 4, "two files, two listings"
    assert fs.cat_file(f"corpus/{B}") == made[B]
    assert [record.file for record in hub.requests(kind="resolve")] == [B], "a remote that lies"
    shutil.rmtree(tmp_path / "lab/objects")
    go_offline(monkeypatch)
    fs.invalidate_cache()
    with pytest.raises(CasError, match=r"no connection.*the remotes:\n.*'gone'"):
        fs.cat_file(f"corpus/{A}")


def test_what_the_hub_does_not_have_is_pulled_or_not_read(hub, fs):
    Path("notes.txt").write_text("mine")
    cas.add("./notes.txt")
    Path("dir").mkdir()
    Path("dir/x.txt").write_text("x")
    cas.add("./dir", name="datasets/dir")
    shutil.rmtree("assets/datasets")
    os.environ["CAS_STORE"] += "-empty"
    forget_current()
    assert fs.ls("", detail=False) == ["datasets"]
    assert fs.isdir("datasets")
    for path in ("datasets/notes.txt", "datasets/dir/x.txt"):
        with pytest.raises(NotPulled) as raised:
            fs.open(path)
        assert raised.value.hint == f"cas pull {path.removesuffix('/x.txt')}"


def test_an_edited_asset_and_a_store_that_cant_be_written_are_told(hub, fs, made):
    cas.add("o/Corpus")
    command("edit", "corpus")
    forget_current()
    with pytest.raises(Edited):
        fs.open(f"corpus/{A}")
    cas.pull("corpus", force=True)
    cas.add("o/Corpus", include=["data/*"], no_pull=True)
    shutil.rmtree("assets/datasets")
    store = Path(os.environ["CAS_STORE"])
    (store / "VERSION").write_text("cas-store 99\n")
    forget_current()
    assert fs.cat_file(f"corpus/{A}") == made[A], "an object of the tree before"
    os.unlink(open_store(store).object(fs.ukey(f"corpus/{A}")))
    with pytest.raises(StoreError, match="version 99"):
        fs.cat_file(f"corpus/{A}")


def test_it_goes_to_other_processes_with_its_project(hub, fs, made, tmp_path):
    cas.add("o/Corpus")
    forget_current()
    sent = pickle.dumps((fs, fs.open(f"corpus/{CSV}").path, fsspec.open(f"cas://corpus/{CSV}")))
    (tmp_path / "sent").write_bytes(sent)
    code = """
import os, pickle, sys
os.chdir("/")
fs, path, opened = pickle.loads(open(sys.argv[1], "rb").read())
with opened as file:
    print(fs.cat_file(path) == file.read(), fs.locked.project.root)
"""
    assert python(code, str(tmp_path / "sent")) == f"True {Path.cwd()}\n"
    named = fsspec.filesystem("cas", project=str(Path.cwd()))
    assert named.cat_file(f"corpus/{CSV}") == made[CSV]
    assert named.locked.project is fs.locked.project, "uses are noted where cas.uses() looks"


# Programs ---------------------------------------------------------------------------------

FRAMES = """
import duckdb, fsspec, json
import pandas as pd, polars as pl, pyarrow.dataset as ds, pyarrow.parquet as pq
import cas

fs = fsspec.filesystem("cas")
con = duckdb.connect()
con.register_filesystem(fs)
found = {
    "pandas csv": len(pd.read_csv("cas://corpus/rows.csv")),
    "pandas parquet": int(pd.read_parquet("cas://datasets/o/Corpus/data/b.parquet")["n"].min()),
    "pandas columns": list(pd.read_parquet("cas://corpus/data/a.parquet", columns=["n"])),
    "pyarrow": pq.read_table("corpus/data/a.parquet", filesystem=fs).num_rows,
    "pyarrow dataset": ds.dataset("corpus/data", filesystem=fs, format="parquet").count_rows(),
    "duckdb": con.execute("SELECT sum(n) FROM 'cas://corpus/data/*.parquet'").fetchone()[0],
    "duckdb csv": con.execute("SELECT count(*) FROM 'cas://corpus/rows.csv'").fetchone()[0],
    "polars": pl.read_parquet(fs.open("corpus/data/a.parquet"))["n"].sum(),
}
try:
    pd.DataFrame({"x": [1]}).to_csv("cas://corpus/new.csv")
except PermissionError as error:
    found["refused"] = isinstance(error, cas.CasError)
print(json.dumps([found, cas.uses()]))
"""


def test_pandas_pyarrow_duckdb_and_polars_read_locked_files_by_name(hub):
    cas.add("o/Corpus", no_pull=True)
    found, uses = json.loads(python(FRAMES))
    assert found == {
        "pandas csv": 500, "pandas parquet": 1000, "pandas columns": ["n"], "pyarrow": 1000,
        "pyarrow dataset": 2000, "duckdb": 1999000, "duckdb csv": 500, "polars": 499500,
        "refused": True,
    }  # fmt: skip
    assert [name for name, _ in uses] == [NAME]
    assert state() == "not pulled"


def test_a_lock_that_moves_is_seen_and_names_that_carry_the_tree_are_refused_then(hub, fs, made):
    import duckdb

    cas.add("o/Corpus")
    forget_current()
    con = duckdb.connect()
    con.register_filesystem(fs)
    query = f"SELECT min(n) FROM 'cas://corpus/{A}'"
    assert con.execute(query).fetchone() == (0,)
    (pinned,) = fs.glob(f"corpus/{A}", detail=True)
    assert pinned == f"t1-{cas.status()['assets'][0]['tree'][3:]}/corpus/{A}"
    assert fs.cat_file(f"cas://{pinned}") == made[A]
    assert fs.info(pinned) == fs.info(f"corpus/{A}") | {"name": pinned}
    assert list(fs.glob("datasets/*", detail=True)) == ["datasets/o"]
    hub.repos[("dataset", "o/Corpus")].commit({A: made[B]}, "two")
    cas.lock(update=["corpus"])
    assert con.execute(query).fetchone() == (1000,)
    assert fs.cat_file(f"corpus/{A}") == made[B]
    with pytest.raises(FileNotFoundError, match="locked at another tree"):
        fs.cat_file(pinned)


def test_datasets_loads_locked_files_by_name_and_never_an_earlier_copy(hub, fs, made, tmp_path):
    from datasets import load_dataset

    def load(files, **more):
        return load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "arrow"),
                            split="train", **more)  # fmt: skip

    def rows() -> tuple[int, int]:
        found = load(f"cas://corpus/{A}")
        return found.num_rows, found[0]["n"]

    cas.add("o/Corpus", no_pull=True)
    forget_current()
    assert rows() == (1000, 0)
    assert cas.uses() == [(NAME, cas.status()["assets"][0]["tree"])]
    assert load("cas://o/Corpus/data/*.parquet").num_rows == 2000
    stream = load(f"cas://corpus/{B}", streaming=True)
    assert sum(row["n"] for row in stream) == 1499500
    assert state() == "not pulled"
    forget_current()
    hub.reset_log()
    assert rows() == (1000, 0)
    assert [name for name, _ in cas.uses()] == [NAME], "its own copy serves, the use is noted"
    assert hub.count(kind="resolve") == 0
    hub.repos[("dataset", "o/Corpus")].commit({A: made[B]}, "two")
    cas.lock(update=["corpus"])
    assert rows() == (1000, 1000)


DASK = """
import dask.dataframe as dd, json
from dask.distributed import Client, LocalCluster

if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        with Client(cluster):
            import cas
            table = dd.read_parquet("cas://corpus/data")
            print(json.dumps([
                int(table["n"].sum().compute()), table.npartitions,
                int(dd.read_csv("cas://corpus/rows.csv")["n"].max().compute()), len(cas.uses()),
            ]))
"""


@pytest.mark.full
def test_dask_reads_locked_files_in_its_workers(hub, tmp_path):
    cas.add("o/Corpus", no_pull=True)
    (tmp_path / "p/work.py").write_text(DASK)
    done = subprocess.run([sys.executable, "work.py"], capture_output=True, text=True,
                          timeout=LIMIT)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [1999000, 2, 499, 1]
    assert state() == "not pulled"


def test_importing_cas_does_not_import_fsspec(hub):
    code = "import sys, cas; print('fsspec' in sys.modules, cas.uses())"
    assert python(code) == "False []\n"
