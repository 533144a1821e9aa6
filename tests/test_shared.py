"""A store that several users of one group share: modes, trust, damage, gc, one download.

As root each account is a uid of its own, without an entry in the list of users; anybody else
can't have a second one, and skips.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hubserver import Hub

from .shared import (
    ANN,
    BEN,
    EVE,
    GROUP,
    STRANGER,
    Account,
    holders,
    machine,
    overwrite,
    owners,
    share,
)

FILES = {"a.txt": b"alpha\n", "sub/b.bin": os.urandom(300_000), "empty": b""}
OTHER = {"a.txt": b"alpha\n", "own.txt": b"of the second\n"}
HUB = {"config.json": b"{}", "model.safetensors": os.urandom(2_000_000)}
WRONG = bytes(len(FILES["sub/b.bin"]))
pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can be several users")


@pytest.fixture(scope="module")
def hub():
    with Hub() as server:
        server.repo("org/model").commit(HUB)
        yield server


@pytest.fixture
def top():
    with machine() as place:
        yield place


@pytest.fixture
def lab(top):
    """Two users of one shared store; the first has put an asset there."""
    share(top)
    ann, ben = Account(ANN, top), Account(BEN, top)
    ann.begin(FILES)
    ben.takes_lock_of(ann)
    return ann, ben


def test_init_opens_every_directory_to_the_group_whatever_the_umask(top):
    root = Account(0, top)
    store = top / "store"
    init = ("store", "init", "--shared", str(store), "--group", str(GROUP))
    assert f"is shared with the group {GROUP}" in root.cas(*init, umask=0o077)
    before = {p: (p.stat().st_mode, p.stat().st_gid) for p in (store, *store.rglob("*"))}
    for path, (mode, gid) in before.items():
        expected = 0o3775 if path.is_dir() else 0o664 if path.parent.name == "mutex" else 0o644
        assert (stat.S_IMODE(mode), gid) == (expected, GROUP), path
    assert len(list((store / "objects").iterdir())) == 256
    (store / "objects/ab").chmod(0o755)  # and mends what went wrong
    root.cas(*init)
    assert {p: (p.stat().st_mode, p.stat().st_gid) for p in before} == before


def test_what_users_of_umask_077_make_is_open_to_the_others(top):
    store = share(top)
    ann, ben = Account(ANN, top), Account(BEN, top)
    for account in (ann, ben):
        account.cas("init", umask=0o077)
        account.write("source", FILES | {"own": b"%d" % account.uid})
        account.cas("add", "./source", umask=0o077)
    for path in store.rglob("*"):
        status = path.lstat()
        if path.is_dir() and not set(path.parts) & {"trees"}:
            assert stat.S_IMODE(status.st_mode) == 0o3775, path
        assert status.st_gid == GROUP, path
        assert status.st_mode & stat.S_IRGRP, path
    for account in (ann, ben):
        account.cas("verify", "--full", umask=0o077)


@pytest.mark.full
def test_init_says_what_it_can_not_do(top):
    ann = Account(ANN, top)
    ben = Account(BEN, top)
    assert "there is no group 'nosuch'" in ann.cas(
        "store", "init", "--shared", "x", "--group", "nosuch", code=2
    )
    assert "--shared DIR and --group" in ann.cas("store", "init", code=2)
    mine = str(ann.project / "store")
    said = ann.cas("store", "init", "--shared", mine, "--group", str(STRANGER), code=1)
    assert f"can't be given to the group {STRANGER}" in said
    assert not os.path.lexists(mine)  # an ordinary store there would be filled next
    ann.cas("store", "init", "--shared", mine, "--group", str(GROUP))
    ann.home.chmod(0o755)
    said = ben.cas("store", "init", "--shared", mine, "--group", str(GROUP), code=1)
    assert f"is user {ANN}'s, who alone can share it" in said
    (ann.project / "full").mkdir()
    (ann.project / "full/x").touch()
    full = str(ann.project / "full")
    assert "neither empty nor a store" in ann.cas(
        "store", "init", "--shared", full, "--group", str(GROUP), code=1
    )


def test_the_second_user_pulls_uses_and_adds(lab):
    ann, ben = lab
    store = Path(ann.env["CAS_STORE"])
    ben.cas("pull")
    assert str(ben.place("source")).startswith(str(store))
    assert ben.read("source") == FILES
    assert ben.place("source").stat().st_uid == ANN  # used where it lies
    assert "1 asset in place" in ben.cas("pull")
    ben.write("more", OTHER)
    ben.cas("add", "./more")
    ann.takes_lock_of(ben)
    ann.cas("pull")
    assert ann.read("more") == OTHER
    for account in (ann, ben):
        account.cas("status")
        account.cas("verify", "--full")
    assert f"shared with the group {GROUP}, trust = 'hash'" in ben.cas("store")


def test_files_of_others_are_copied_and_never_linked(lab):
    ann, ben = lab
    ben.write("more", OTHER)
    ben.cas("add", "./more")
    tree = ben.place("more")
    assert (tree / "a.txt").stat().st_uid == BEN  # its object is Ann's
    assert (tree / "own.txt").stat().st_nlink == 2
    objects = {p.stat().st_ino: p for p in holders(Path(ann.env["CAS_STORE"]), OTHER["a.txt"])}
    assert len(objects) == 2  # Ann's object, which her tree links, and Ben's copy


def test_who_may_not_write_reads_and_is_told_what_to_do(lab, top):
    ann, _ = lab
    out = Account(STRANGER, top, groups=())
    out.takes_lock_of(ann)
    assert "can't be written (permission denied: it is the group" in out.cas("pull")
    assert out.read("source") == FILES
    out.write("more", OTHER)
    said = out.cas("add", "./more", code=1)
    assert f"it is the group {GROUP}'s, and this account is not in it" in said
    assert "hint: CAS_STORE=DIR CAS_STORE_PATH=" in said
    (Path(ann.env["CAS_STORE"]) / "trees").chmod(0o3755)
    ann.write("more", OTHER)
    said = ann.cas("add", "./more", code=1)
    assert "may not write" in said
    assert "cas store init --shared" in said


@pytest.mark.parametrize("what", [pytest.param("tree", marks=pytest.mark.full), "object and tree"])
def test_wrong_bytes_of_a_co_user_are_found_before_the_first_use(what, top, hub):
    store = share(top)
    ann, ben = Account(ANN, top), Account(BEN, top)
    ann.env["HF_ENDPOINT"] = ben.env["HF_ENDPOINT"] = hub.endpoint
    ann.cas("init")
    ann.cas("add", "model:org/model")
    ben.takes_lock_of(ann)
    weights = "model.safetensors"
    found = holders(store, HUB[weights])
    tree = next(p for p in found if "trees" in p.parts)
    if what == "tree":  # other bytes under the name in the tree; the object stays right
        tree.parent.chmod(0o755)
        times = tree.parent.stat()
        tree.unlink()
        tree.write_bytes(bytes(len(HUB[weights])))
        tree.chmod(0o444)
        os.chown(tree, ANN, GROUP)
        tree.parent.chmod(0o555)
        os.utime(tree.parent, ns=(times.st_atime_ns, times.st_mtime_ns))
    else:
        overwrite([tree], bytes(len(HUB[weights])))  # one inode
    assert ann.read("model") != HUB  # he who did it may believe it
    hub.reset_log()
    said = ben.cas("pull")
    assert "it goes to your own store" in said
    assert ben.read("model") == HUB
    assert str(ben.place("model")).startswith(str(ben.home))
    fetched = [record for record in hub.log if record.kind == "cdn"]
    assert len(fetched) == (0 if what == "tree" else 1)
    assert "1 asset in place" in ben.cas("pull")
    ben.cas("status")
    # his own gc keeps it, and so does everybody else's
    ben.cas("gc", "--older-than", "0d")
    assert ben.read("model") == HUB
    if what == "object and tree":
        assert f"user {ANN} put it there" in said
        ann.cas("verify", "--full", "--repair")
        assert ann.read("model") == HUB


def test_a_tree_with_a_file_more_is_refused(lab):
    ann, ben = lab
    tree = ann.place("source")
    times = tree.stat()
    tree.chmod(0o755)
    (tree / "more.py").write_bytes(b"import os\n")
    os.chown(tree / "more.py", ANN, GROUP)
    tree.chmod(0o555)
    os.utime(tree, ns=(times.st_atime_ns, times.st_mtime_ns))
    said = ben.cas("pull")
    assert "it goes to your own store" in said
    assert ben.read("source") == FILES


@pytest.mark.full
def test_a_local_import_that_meets_wrong_bytes_ends_right(lab):
    ann, ben = lab
    overwrite(holders(Path(ann.env["CAS_STORE"]), FILES["sub/b.bin"]), WRONG)
    ben.write("again", FILES)
    assert "it goes to your own store" in ben.cas("add", "./again")
    assert ben.read("again") == FILES


def test_each_user_hashes_once_and_remembers(lab):
    ann, ben = lab
    ben.cas("pull")
    bad = [p for p in holders(Path(ann.env["CAS_STORE"]), FILES["sub/b.bin"]) if "trees" in p.parts]
    overwrite(bad, WRONG)  # Ann can still harm him later …
    ben.cas("status")
    assert ben.read("source") != FILES
    ben.cas("verify", "--full", code=1)  # … and verify finds it
    assert "damage was found" in ben.cas("path", "source", code=1)
    assert "who alone can remove it" in ben.cas("verify", "--full", "--repair", code=1)
    shutil.rmtree(ben.home / ".cache")
    ben.write("source", FILES)
    ben.cas("pull")  # a lost index costs a second look
    assert ben.read("source") == FILES


@pytest.mark.full
def test_trust_group_believes_and_trust_own_copies(top):
    for trust in ("group", "own"):
        with machine() as place:
            store = share(place, trust=trust)
            ann, ben = Account(ANN, place), Account(BEN, place)
            ann.begin(FILES)
            ben.takes_lock_of(ann)
            if trust == "group":
                overwrite(holders(store, FILES["sub/b.bin"]), WRONG)
            ben.cas("pull")
            assert (ben.read("source") == FILES) == (trust == "own")
            assert str(ben.place("source")).startswith(str(ben.home)) == (trust == "own")
            assert "1 asset in place" in ben.cas("pull")


def test_settings_of_a_co_user_are_not_believed(top):
    store = share(top)
    (store / "settings.toml").unlink()
    ann, ben = Account(ANN, top), Account(BEN, top)
    ann.must("sh", "-c", f"echo 'trust = \"group\"' > {store}/settings.toml")
    ann.begin(FILES)
    overwrite(holders(store, FILES["sub/b.bin"]), WRONG)
    ben.takes_lock_of(ann)
    said = ben.cas("pull", code=1)
    assert "its source './source' is gone" in said or "are not in the store" in said
    (store / "settings.toml").unlink()
    (store / "settings.toml").write_text("trust = 3\n")
    assert "expected 'hash', 'group' or 'own', found 3" in ben.cas("store", code=1)


def test_a_view_into_a_strangers_store_is_hashed_too(top):
    """A committed link must not decide what the bytes are."""
    eve, ben = Account(EVE, top), Account(BEN, top)
    eve.env["CAS_STORE"] = str(eve.home / "store")
    eve.home.chmod(0o755)
    eve.begin(FILES)
    overwrite(holders(eve.home / "store", FILES["sub/b.bin"]), WRONG)
    ben.env["CAS_STORE"] = str(ben.home / "store")
    ben.takes_lock_of(eve)
    ben.write("source", FILES)
    view = os.readlink(eve.project / "assets/datasets/source")
    ben.must("mkdir", "-p", "assets/datasets")
    ben.must("ln", "-s", view, "assets/datasets/source")
    ben.cas("pull")
    assert ben.read("source") == FILES
    assert not os.readlink(ben.project / "assets/datasets/source").startswith(str(eve.home))


def test_each_users_gc_removes_only_what_is_his(top):
    store = share(top)
    ann, ben = Account(ANN, top), Account(BEN, top)
    for account in (ann, ben):
        account.begin({"of": b"%d" % account.uid})
        account.home.chmod(0o700)  # the other one can't look into his project
    for account in (ann, ben):
        account.write("old", {"old": b"old %d" % account.uid})
        account.cas("add", "./old")
        account.cas("rm", "old")
    for account, left in ((ann, {BEN}), (ben, set())):
        account.cas("gc", "--older-than", "0d", "--local-too")
        assert {p.stat().st_uid for p in holders(store, b"old %d" % ANN)} == set()
        found = holders(store, b"old %d" % BEN)
        assert {p.stat().st_uid for p in found} == left
    for account in (ann, ben):
        assert account.read("source") == {"of": b"%d" % account.uid}
        account.cas("verify", "--full")


@pytest.mark.full
def test_the_administrators_gc_removes_what_anybody_left(top):
    store = share(top)
    ann = Account(ANN, top)
    ann.begin(FILES)
    ann.cas("rm", "source")
    root = Account(0, top)
    root.cas("gc", "--older-than", "0d", "--local-too")
    assert owners(store, "objects") == owners(store, "trees") == set()


@pytest.mark.full
def test_another_users_use_counts_for_the_gc_of_the_owner(lab):
    ann, ben = lab
    tree = ann.place("source")
    used = Path(f"{tree}.used")
    os.utime(used, (1, 1))
    ben.cas("pull")
    assert used.stat().st_mtime > 1
    ann.cas("rm", "source")
    ann.cas("gc", "--older-than", "0d", "--local-too")  # Ben's root names it
    assert ben.read("source") == FILES


def test_a_shared_store_is_its_owners_to_move_or_remove(lab, top):
    _, ben = lab
    for words in (["rm", "--local-too"], ["move", str(top / "elsewhere")]):
        assert "is shared, and user 0's to move or remove" in ben.cas("store", *words, code=1)


@pytest.mark.full
def test_two_users_of_one_project_directory(lab):
    ann, ben = lab
    ann.must("chmod", "-R", "a+rwX", str(ann.project))
    ann.home.chmod(0o755)
    ben.project = ann.project
    ben.cas("pull")
    assert ben.read("source") == FILES
    ann.cas("pull")


def test_an_account_without_name_and_home_works(lab):
    _, ben = lab
    del ben.env["HOME"]
    ben.env["HF_HOME"] = str(ben.home / "hf")
    ben.cas("pull")
    assert ben.read("source") == FILES
    assert not (ben.project / "~").exists()
    del ben.env["CAS_STORE"]
    said = ben.cas("store", code=1)
    assert "has no home directory" in said
    assert "CAS_STORE=DIR" in said


def test_many_pulls_by_several_users_are_one_download(top, hub):
    share(top)
    first, *others = [Account(uid, top) for uid in (ANN, BEN, EVE)]
    for account in (first, *others):
        account.env["HF_ENDPOINT"] = hub.endpoint
    first.cas("init")
    first.cas("add", "model:org/model", "--no-pull")
    for account in others:
        account.takes_lock_of(first)
    hub.reset_log()
    latency, hub.latency = hub.latency, 0.5
    argv = (sys.executable, "-m", "cas", "pull", "--jobs", "2")
    running = [
        account.popen(*argv, umask=mask) for account in (first, *others) for mask in (0o022, 0o077)
    ]
    for process in running:
        out, err = process.communicate(timeout=300)
        hub.latency = latency
        assert process.returncode == 0, (out, err)
    assert len([record for record in hub.log if record.kind == "cdn"]) == 1
    for account in (first, *others):
        assert account.read("model") == HUB
    maker = first.place("model").stat().st_uid
    other = next(account for account in (first, *others) if account.uid != maker)
    assert "is another user's" in other.cas("drop", "model", code=1)
    assert other.read("model") == HUB


@pytest.mark.full
def test_pulls_on_several_nodes_are_one_download(top, hub):
    """Nodes have names and process tables of their own, and share the store's locks."""
    if not shutil.which("unshare"):
        pytest.skip("unshare is not here")
    share(top)
    ann = Account(ANN, top)
    ann.env["HF_ENDPOINT"] = hub.endpoint
    ann.cas("init")
    ann.cas("add", "model:org/model", "--no-pull")
    hub.reset_log()
    latency, hub.latency = hub.latency, 0.5
    running = []
    for number in range(12):
        user = (ANN, BEN, EVE)[number % 3]
        project = top / f"node-{number}"
        project.mkdir()
        for name in ("assets.lock", "pyproject.toml"):
            shutil.copy(ann.project / name, project / name)
        subprocess.run(["chown", "-R", f"{user}:{user}", project], check=True)
        drop = ["setpriv", f"--reuid={user}", f"--regid={user}", f"--groups={GROUP}"]
        node = ["unshare", "--uts", "--pid", "--fork", "--mount-proc", "sh", "-c",
                f'hostname node{number}; exec "$@"', "sh"]  # fmt: skip
        home = {"HOME": str(project), "XDG_CACHE_HOME": str(project / "cache")}
        running.append(subprocess.Popen(
            [*node, *drop, sys.executable, "-m", "cas", "pull", "--jobs", "4"], cwd=project,
            env=ann.env | home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        ))  # fmt: skip
    told = []
    for process in running:
        out, err = process.communicate(timeout=600)
        hub.latency = latency  # the first has ended, so the download has
        assert process.returncode == 0, (out, err)
        told.append(err)
    assert len([record for record in hub.log if record.kind == "cdn"]) == 1
    assert any("brings it already; waiting" in err for err in told)
    ann.cas("pull")
    assert ann.read("model") == HUB


@pytest.mark.full
def test_no_file_of_a_shared_store_is_opened_to_be_made_or_taken(lab):
    """Under fs.protected_regular O_CREAT fails on another user's file, unless with O_EXCL."""
    if not shutil.which("strace"):
        pytest.skip("strace is not here")
    ann, ben = lab
    ben.write("more", OTHER)
    seen = ""
    for words in (["pull"], ["add", "./more"], ["gc", "--older-than", "0d"], ["rm", "more"]):
        trace = ["strace", "-f", "-qq", "-o", str(ben.home / "trace"), "-e", "trace=openat"]
        ben.must(*trace, sys.executable, "-m", "cas", *words)
        seen += (ben.home / "trace").read_text()
    store = ann.env["CAS_STORE"]
    made = [line for line in seen.splitlines() if f'"{store}/' in line and "O_CREAT" in line]
    assert made
    assert [line for line in made if "O_EXCL" not in line] == []


@pytest.mark.full
def test_a_large_file_of_another_user_is_linked_by_name(top):
    share(top)
    ann, ben, eve = (Account(uid, top) for uid in (ANN, BEN, EVE))
    large = os.urandom(1 << 20) * 65
    ann.begin({"large.bin": large})
    ben.cas("init")
    ben.write("more", {"large.bin": large, "own.txt": b"of the second\n"})
    ben.cas("add", "./more")
    tree = ben.place("more")
    assert (tree / "large.bin").is_symlink()
    assert (tree / "large.bin").stat().st_uid == ANN
    eve.takes_lock_of(ben)
    said = eve.cas("pull")
    assert "are hashed once before their first use" in said
    assert f"user {BEN} put it there" in said
    assert eve.read("more")["large.bin"] == large
    ann.cas("rm", "source")
    ann.cas("gc", "--older-than", "0d", "--local-too")  # Ben's root holds it
    for account in (ben, eve):
        account.cas("verify", "--full")
    tree.chmod(0o755)
    (tree / "large.bin").unlink()
    (tree / "large.bin").symlink_to("/etc/hostname")
    os.chown(tree / "large.bin", BEN, GROUP, follow_symlinks=False)
    tree.chmod(0o555)
    assert "damaged" in eve.cas("status", code=1)


def test_a_tree_of_mine_that_another_user_gave_another_name_is_refused(top):
    """Who owns a directory of the store, as where somebody opened it by hand, can rename in it."""
    share(top)
    ann, ben = Account(ANN, top), Account(BEN, top)
    ann.begin(FILES)
    ben.takes_lock_of(ann)
    tree = ann.place("source")
    times = {p: p.stat() for p in (tree, tree / "sub")}
    (tree / "sub/b.bin").unlink()
    (tree / "sub/b.bin").write_bytes(WRONG)
    for path in (tree, *tree.rglob("*")):
        os.chown(path, BEN, GROUP)
    for path, status in times.items():
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    ben.write("source", FILES)
    assert "damaged" not in ben.cas("status", code=1)  # his own is believed …
    os.chown(tree.parent, ANN, GROUP)
    assert "damaged" in ben.cas("status", code=1)  # … where nobody else could name it so
