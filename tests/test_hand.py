"""Assets in a person's hands, and the store as a whole: edit, export, move, rm, why, gc."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import cas
from cas import store as S
from cas.digest import hash_bytes
from cas.errors import CasError, Edited, NotPulled, StoreError, UnknownAsset, UsageError
from cas.installer import collect_garbage, edit, export, move_store, pull, remove_store, why
from cas.lineage import save
from cas.project import Project
from cas.resolver import add, remove
from tests.scratch import move_in

from .stores import pins, program, whole

FILES = {"config.json": b"{}", "d/e/weights.bin": b"w" * 1000, "empty": b""}


@pytest.fixture
def place(tmp_path, monkeypatch):
    move_in(monkeypatch, tmp_path)
    return tmp_path


@pytest.fixture
def project(place, monkeypatch):
    root = place / "project"
    root.mkdir()
    monkeypatch.chdir(root)
    cas.init()
    for name, data in FILES.items():
        (root / "net" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "net" / name).write_bytes(data)
    (root / "run.pt").write_bytes(b"checkpoint")
    add(Project(str(root)), "./net")
    add(Project(str(root)), "./run.pt")
    return Project(str(root))


def read(directory):
    return {
        str(p.relative_to(directory)): p.read_bytes()
        for p in Path(directory).rglob("*")
        if p.is_file()
    }


def test_edit_makes_a_complete_writable_copy_that_leaves_the_store_alone(project):
    path = Path(edit(project, "net"))
    assert path == Path(project.root, "assets/models/net")
    assert not path.is_symlink()
    assert read(path) == FILES
    (path / "config.json").write_text("{1}")
    (path / "d/new").write_text("x")
    assert whole(project.store) == []
    with pytest.raises(Edited):
        project.path("net")
    assert edit(project, "net") == str(path)
    assert (path / "config.json").read_text() == "{1}"


def test_edit_of_a_single_file_makes_a_file(project):
    path = Path(edit(project, "run.pt"))
    assert path.is_file()
    assert not path.is_symlink()
    path.write_bytes(b"changed")
    assert whole(project.store) == []


def test_a_readers_view_is_never_absent_while_an_edit_begins(project):
    (asset, _) = project.read_lock()
    view = Path(project.root, "assets/models/net")
    code = """
import time
end = time.time() + 20; missing = 0
print('go', flush=True)
while not os.path.exists(sys.argv[2]) and time.time() < end:
    missing += not os.path.exists(sys.argv[1] + '/config.json')
print(missing)
"""
    from .stores import HEAD

    watch = subprocess.Popen(
        [os.sys.executable, "-c", HEAD + code, view, project.root + "/stop"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    watch.stdout.readline()
    for _ in range(10):
        edit(project, "net")
        project.set_edited(set())
        aside = view.with_name("aside")
        from cas.files import exchange

        aside.symlink_to(project.store.tree(asset.tree))
        exchange(aside, view)
        shutil.rmtree(aside)
    Path(project.root, "stop").write_text("")
    assert watch.communicate()[0] == "0\n"


def test_edit_leaves_what_is_not_a_view_alone(project):
    view = Path(project.root, "assets/models/net")
    view.unlink()
    view.mkdir()
    (view / "mine").write_text("x")
    with pytest.raises(CasError, match="left alone"):
        edit(project, "net")
    assert (view / "mine").read_text() == "x"


def test_an_edit_that_fails_leaves_the_view_and_nothing_else(project):
    done = program(
        """
from cas.project import Project
from cas.installer import edit
os.environ['CAS_STORE'] = sys.argv[2]
edit(Project(sys.argv[1]), 'net')
""",
        project.root, project.store.root, check=False,
        strace=["trace=copy_file_range", "inject=copy_file_range:error=ENOSPC"],
    )  # fmt: skip
    assert "No space left" in done.stderr
    assert Path(project.root, "assets/models/net").is_symlink()
    assert not [n for n in os.listdir(project.root + "/assets/models") if n.startswith(".cas-")]
    assert not project.edited()


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_copy_has_the_permissions_of_new_files(project, umask):
    done = program(
        """
from cas.project import Project
from cas.installer import export
os.environ['CAS_STORE'] = sys.argv[2]
export(Project(sys.argv[1]), 'net', sys.argv[3])
""",
        project.root, project.store.root, project.root + "/out", umask=umask,
    )  # fmt: skip
    assert done.returncode == 0
    out = Path(project.root, "out")
    for path in [out, *out.rglob("*")]:
        full = 0o777 if path.is_dir() else 0o666
        assert stat.S_IMODE(path.stat().st_mode) == full & ~umask, path


def test_export_is_complete_and_has_no_links_into_the_store(project, place):
    paths = export(project, "net", str(place / "new/out"))
    assert paths == [str(place / "new/out")]
    assert read(place / "new/out") == FILES
    assert not [p for p in (place / "new/out").rglob("*") if p.is_symlink()]
    assert {p.stat().st_nlink for p in (place / "new/out").rglob("*") if p.is_file()} == {1}


def test_export_of_a_single_file_goes_into_the_directory(project, place):
    assert export(project, "run.pt", str(place / "out")) == [str(place / "out/run.pt")]
    assert read(place / "out") == {"run.pt": b"checkpoint"}


def test_export_of_all_goes_by_name(project, place):
    paths = export(project, None, str(place / "out"))
    assert sorted(paths) == [str(place / "out/models/net"), str(place / "out/models/run.pt")]
    assert read(place / "out/models/net") == FILES
    assert (place / "out/models/run.pt").read_bytes() == b"checkpoint"


def test_export_into_an_empty_directory_keeps_that_directory(project, place):
    (place / "out").mkdir()
    inode = (place / "out").stat().st_ino
    export(project, "net", str(place / "out"))
    assert (place / "out").stat().st_ino == inode
    assert read(place / "out") == FILES
    assert sorted(os.listdir(place / "out")) == ["config.json", "d", "empty"]


@pytest.mark.parametrize("what", ["full", "file", "dangling"])
def test_export_is_refused_where_something_is(project, place, what):
    target = place / "out"
    if what == "full":
        target.mkdir()
        (target / "mine").write_text("x")
    elif what == "file":
        target.write_text("x")
    else:
        target.symlink_to("nowhere")
    with pytest.raises(UsageError, match="absent or empty"):
        export(project, "net", str(target))
    assert what != "full" or os.listdir(target) == ["mine"]


def test_export_of_what_is_not_here_makes_nothing(project, place):
    from cas.files import discard

    (net, _) = project.read_lock()
    discard(project.store.tree(net.tree))
    with pytest.raises(NotPulled):
        export(project, None, str(place / "out"))
    assert not (place / "out").exists()


# The store as a whole


def check_moved(project, place, new):
    assert not (place / "store").exists()
    store = S.open_store(new)
    assert whole(store) == []
    assert len(list(store.trees())) == 2
    view = os.readlink(project.root + "/assets/models/net")
    assert view.startswith(f"{new}/trees/")
    assert read(Path(project.root, "assets/models/net")) == FILES
    assert S.read_root(store, project.root_id(draw=False)).trees


def test_a_store_moves_by_rename_with_its_views_and_its_index(project, place, monkeypatch):
    monkeypatch.delenv("CAS_STORE")
    (place / "config/cas").mkdir(parents=True)
    config = place / "config/cas/config.toml"
    config.write_text(f'# mine\nstore = "{place}/store"\n')
    inode = os.stat(project.store.root).st_ino
    new = move_store(S.open_store(place / "store"), str(place / "other/new"))
    assert os.stat(new).st_ino == inode
    check_moved(project, place, new)
    assert config.read_text() == f'# mine\nstore = "{place}/other/new"\n'
    fresh = Project(project.root)
    assert pull(fresh).linked == 0
    assert fresh.path("net").startswith(new)


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no second file system")
def test_a_store_moves_to_another_file_system_by_copy(project, place):
    new = f"/dev/shm/cas-test-{os.getpid()}"
    try:
        assert move_store(project.store, new) == new
        check_moved(project, place, new)
    finally:
        from cas.files import discard

        discard(new)


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no second file system")
def test_a_damaged_store_is_not_moved_by_copy_and_stays_as_it_was(project, place):
    digest = hash_bytes(FILES["d/e/weights.bin"])
    os.chmod(project.store.object(digest), 0o644)
    Path(project.store.object(digest)).write_bytes(b"x" * 1000)
    new = f"/dev/shm/cas-test-{os.getpid()}"
    with pytest.raises(CasError, match="expected sha256"):
        move_store(project.store, new)
    assert not os.path.exists(new)
    assert len(list(project.store.trees())) == 2


def test_a_move_is_refused_where_something_is_or_while_a_call_is_under_way(project, place):
    (place / "full").mkdir()
    (place / "full/x").write_text("x")
    with pytest.raises(UsageError, match="absent or empty"):
        move_store(project.store, str(place / "full"))
    with pytest.raises(UsageError, match="lies in the store"):
        move_store(project.store, str(place / "store/objects2"))
    with S.shared_gc_mutex(project.store):
        call = S.announce(project.store, "b" * 32, path="/p", trees=[])
    for action in (lambda: move_store(project.store, str(place / "new")),
                   lambda: remove_store(project.store, local_too=True)):  # fmt: skip
        with pytest.raises(StoreError, match="in use by /p"):
            action()
    S.end(call)
    move_store(project.store, str(place / "new"))


def test_rm_refuses_only_copies_and_leaves_files_that_are_not_the_stores(project, place):
    with pytest.raises(StoreError, match="known to no other source"):
        remove_store(project.store)
    assert whole(project.store) == []
    (place / "store/mine").write_text("x")
    remove_store(project.store, local_too=True)
    assert os.listdir(place / "store") == ["mine"]
    os.unlink(place / "store/mine")
    S.open_store(place / "store")


def test_an_rm_that_was_stopped_can_be_repeated(project, place):
    done = program(
        "from cas.installer import remove_store\n"
        "remove_store(S.open_store(sys.argv[1]), local_too=True)",
        place / "store", check=False,
        strace=["trace=rmdir", "inject=rmdir:signal=SIGKILL:when=6"],
    )  # fmt: skip
    assert done.returncode
    remove_store(S.open_store(place / "store"), local_too=True)
    assert not (place / "store").exists()


# why and gc, with a real project


def test_why_says_what_a_hash_is_and_who_holds_it(project):
    (net, _) = project.read_lock()
    digest = hash_bytes(FILES["config.json"])
    told = why(project, project.store, digest[:12])
    assert told == {
        "hash": digest, "kind": "object", "assets": ["models/net"],
        "projects": [project.root], "experiments": [],
    }  # fmt: skip
    assert why(project, project.store, digest[:12].upper()) == told
    assert why(project, project.store, net.tree_id)["kind"] == "tree"
    assert why(project, project.store, "net")["hash"] == net.tree
    with pytest.raises(UsageError, match="at least 6"):
        why(project, project.store, digest[:5])
    with pytest.raises(UnknownAsset):
        why(project, project.store, "f" * 64)


def test_why_finds_the_objects_of_experiments(project):
    pins(project.store, "b" * 32, [], path="/other", experiments=[hash_bytes(b"diff")])
    S.add_bytes(project.store, S.Staging(project.store), b"diff", p := S.Publisher(project.store))
    p.flush()
    assert why(project, project.store, hash_bytes(b"diff"))["projects"] == ["/other"]


def gc(project, **more):
    return collect_garbage(project.store, older_than=timedelta(0), local_too=True, **more)


def test_gc_keeps_what_the_lock_names_now_and_on_git_branches(project):
    def git(*words):
        subprocess.run(
            ["git", "-c", "user.name=x", "-c", "user.email=x@y", *words], cwd=project.root,
            check=True, capture_output=True,
        )  # fmt: skip

    (old, _) = project.read_lock()
    git("init", "-q", "-b", "main")
    git("add", "-A")
    git("commit", "-qm", "x")
    git("checkout", "-qb", "next")
    Path("net/config.json").write_text("{2}")
    add(project, "./net")
    (new, _) = project.read_lock()
    assert old.tree != new.tree
    assert gc(project).trees == 0
    git("branch", "-D", "main")
    git("add", "-A")
    git("commit", "-qm", "y")
    assert gc(project).trees == 1
    assert S.standing(project.store, new.tree)[0]
    assert not S.standing(project.store, old.tree)[0]


def test_gc_keeps_the_trees_of_experiments_until_told(project):
    with_it = project.read_lock().find("net").tree
    project.path("net")
    save(project, "exp", [{"loss": 1.0}], tell=lambda line: None)
    remove(project, ["net"])
    assert gc(project).trees == 0
    assert S.standing(project.store, with_it)[0]
    assert gc(project, ignore_experiments=True).trees == 1


def test_a_project_that_was_made_anew_at_the_same_place_does_not_keep_the_old_ones_trees(project):
    (net, pt) = project.read_lock()
    first = project.root_id(draw=False)
    shutil.rmtree(project.root)
    os.mkdir(project.root)
    os.chdir(project.root)
    cas.init()
    Path("other.pt").write_bytes(b"other")
    again = Project(project.root)
    add(again, "./other.pt")
    assert again.root_id(draw=False) != first
    now = datetime.now(UTC)
    assert gc(again, now=now + timedelta(days=29)).trees == 0
    assert gc(again, now=now + timedelta(days=31)).trees == 2
    assert S.standing(project.store, again.read_lock().find("other.pt").tree)[0]
    assert {net.tree, pt.tree} & {t for t, _ in project.store.trees()} == set()


# The project's id in the store -------------------------------------------------------------------

ADD = "import cas; cas.add('./run.pt', name='models/again.pt')"


def test_an_id_that_cannot_be_read_for_a_moment_is_not_drawn_again(project):
    place = Path(project.root, "assets/.cas/root")
    drawn = place.read_text()
    once = ["-P", str(place), "-e", "inject=openat:error=EMFILE:when=1"]
    if not shutil.which("strace"):
        pytest.skip("strace is not here")
    said = subprocess.run(
        ["strace", "-f", "-qq", "-o", "/dev/null", *once, sys.executable, "-c", ADD],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Too many open files" in said.stderr
    assert place.read_text() == drawn
