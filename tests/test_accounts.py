"""Two ordinary accounts on one store: what each may, and that nobody changes what is there.

As root each account is a uid of its own; anybody else can't have a second one, and skips.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from .stores import REPOSITORY, readable_by

FIRST, SECOND, GROUP = 64001, 64002, 64100
FILES = {"a.txt": b"alpha\n", "sub/b.bin": os.urandom(300_000), "empty": b""}
OTHER = {"a.txt": b"alpha\n", "own.txt": b"of the second\n"}
pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can be two other users")


class Account:
    """One user with a home, a project and the store that both have."""

    def __init__(self, uid: int, top: Path, group: int) -> None:
        if not readable_by(uid):
            pytest.skip(f"{sys.executable} can't be run by another user")
        self.uid, self.group = uid, group
        self.home = top / f"home-{uid}"
        self.project = self.home / "project"
        self.store = top / "store"
        self.home.mkdir()
        os.chown(self.home, uid, group)
        self.home.chmod(0o755)
        self.must("mkdir", str(self.project))
        self.cas_must("init")

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "HF_HOME": str(self.home / "hf"),
            "CAS_STORE": str(self.store),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(REPOSITORY),
        }
        cwd = self.project if self.project.is_dir() else self.home
        return subprocess.run(argv, env=env, cwd=cwd, user=self.uid, group=self.group, check=False,
                              extra_groups=[], capture_output=True, text=True,
                              errors="replace")  # fmt: skip

    def must(self, *argv: str) -> str:
        done = self.run(*argv)
        assert done.returncode == 0, done
        return done.stdout

    def cas(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "cas", *words)

    def cas_must(self, *words: str) -> subprocess.CompletedProcess[str]:
        done = self.cas(*words)
        assert done.returncode == 0, done
        return done

    def write(self, name: str, files: dict[str, bytes]) -> None:
        for path, data in files.items():
            place = self.project / name / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        subprocess.run(["chown", "-R", f"{self.uid}:{self.group}", self.project / name], check=True)

    def takes_lock_of(self, other: Account) -> None:
        for name in ("assets.lock", "pyproject.toml"):
            self.must("cp", str(other.project / name), str(self.project / name))

    def read(self, name: str) -> dict[str, bytes]:
        top = Path(self.cas_must("path", name).stdout.strip())
        self.must("find", "-L", str(top), "-type", "f", "-exec", "cat", "{}", "+")
        return {str(p.relative_to(top)): p.read_bytes() for p in top.rglob("*") if p.is_file()}


def said(done: subprocess.CompletedProcess[str], *parts: str, code: int = 1) -> None:
    """Check that a command failed with one error that has all of *parts*, and a hint."""
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr
    assert done.stderr.count("cas: error:") == 1, done.stderr
    assert "hint:" in done.stderr, done.stderr
    for part in parts:
        assert part in done.stderr, (part, done.stderr)


def stands(store: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Return every object, tree and root of a store: mode, owner, inode and bytes."""
    found = {}
    for room in ("objects", "trees", "roots"):
        for place in (store / room).rglob("*"):
            status = place.lstat()
            data = place.read_bytes() if place.is_file() else b""
            found[str(place)] = (status.st_mode, status.st_uid, status.st_ino, data)
    return found


@pytest.fixture
def top():
    place = Path(tempfile.mkdtemp(prefix="cas-accounts-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


@pytest.fixture
def first(top):
    """The one who makes the store, with an asset in it."""
    (top / "store").mkdir()
    os.chown(top / "store", FIRST, FIRST)
    one = Account(FIRST, top, FIRST)
    one.write("source", FILES)
    one.cas_must("add", "./source")
    return one


@pytest.fixture
def second(top, first):
    """The one who has the lock of the first."""
    other = Account(SECOND, top, SECOND)
    other.takes_lock_of(first)
    return other


@pytest.fixture
def lab(top):
    """Two of one group, whose store an administrator opened to it."""
    (top / "store").mkdir()
    os.chown(top / "store", FIRST, GROUP)
    (top / "store").chmod(0o3775)
    one = Account(FIRST, top, GROUP)
    one.write("source", FILES)
    one.cas_must("add", "./source")
    other = Account(SECOND, top, GROUP)
    return one, other


def test_the_second_reads_and_links_what_the_first_published(first, second):
    before = stands(first.store)
    pulled = second.cas_must("pull")
    assert "can't be written (permission denied)" in pulled.stderr
    view = second.project / "assets/datasets/source"
    assert os.readlink(view).startswith(str(first.store / "trees"))
    assert second.read("source") == FILES
    assert "1 asset is as it is locked" in second.cas_must("status").stderr
    for words in (["list"], ["files", "source"], ["why", "source"], ["store"], ["pull"],
                  ["verify", "--full"], ["export", "source", "out"]):  # fmt: skip
        second.cas_must(*words)
    assert (second.project / "out/sub/b.bin").read_bytes() == FILES["sub/b.bin"]
    assert stands(first.store) == before


TRY = """
import os, sys
def put_beside(p): open(os.path.dirname(p) + "/mine", "wb").close()
def remove_the_tree(p): d = os.path.dirname(os.path.realpath(p)); os.rename(d, d + ".moved")
CHANGES = {
    "write": lambda p: open(p, "ab").write(b"x"),
    "overwrite": lambda p: open(p, "wb"),
    "truncate": lambda p: os.truncate(p, 0),
    "unlink": os.unlink,
    "rename": lambda p: os.rename(p, p + ".moved"),
    "put beside": put_beside,
    "chmod": lambda p: os.chmod(p, 0o666),
    "chown": lambda p: os.chown(p, os.getuid(), -1),
    "utime": lambda p: os.utime(p, (1, 1)),
    "setxattr": lambda p: os.setxattr(p, "user.x", b"x"),
    "remove the tree": remove_the_tree,
}
for what in set(CHANGES) - set(sys.argv[2].split(",")):
    try:
        CHANGES[what](sys.argv[1])
    except OSError:
        continue
    print(what)
"""
OWNERS = "chmod,chown,utime,remove the tree"
"""What the system lets an owner do to his own files, whatever their mode."""
NAMES = "unlink,rename"
"""What he who may write a directory does to his own files in it."""


@pytest.mark.parametrize("store", ["own", "lab"])
def test_nobody_can_change_what_is_published(store, request):
    if store == "own":
        one, other = request.getfixturevalue("first"), request.getfixturevalue("second")
    else:
        one, other = request.getfixturevalue("lab")
        other.takes_lock_of(one)
    other.cas_must("pull")
    before = stands(one.store)
    views = [account.project / "assets/datasets/source/a.txt" for account in (one, other)]
    inode = views[0].stat().st_ino
    (obj,) = (p for p in (one.store / "objects").rglob("*") if p.lstat().st_ino == inode)
    beside = "put beside"  # a new name among the objects: its owner's right, or the group's
    for account, but in ((other, ""), (one, OWNERS)):
        for place, more in ((views[0], ""), (views[1], ""), (obj, beside)):
            left_out = ",".join((but, more, NAMES if account is one and place == obj else ""))
            done = account.must(sys.executable, "-c", TRY, str(place), left_out)
            assert done == "", (account.uid, place, done)
            assert stands(one.store) == before, (account.uid, place)


def test_the_seconds_gc_repair_rm_and_edit_say_what_they_may(first, second):
    second.cas_must("pull")
    store = str(first.store)
    said(second.cas("gc"), store, "permission denied", "CAS_STORE=DIR")
    said(second.cas("store", "rm"), store, "permission denied")
    said(second.cas("store", "move", str(second.home / "elsewhere")), store, "permission denied")
    second.cas_must("gc", "--dry-run")
    copy = Path(second.cas_must("edit", "source").stdout.strip())
    assert (copy / "a.txt").stat().st_uid == SECOND
    second.must("sh", "-c", f"echo mine > {copy}/a.txt")
    said(second.cas("add", str(copy), "--name", "datasets/source"), store, "permission denied")
    assert (copy / "a.txt").read_bytes() == b"mine\n"
    second.cas_must("pull", "--force", "source")
    assert second.read("source") == FILES
    second.cas_must("rm", "datasets/source")
    assert not os.path.lexists(second.project / "assets/datasets/source")
    assert first.read("source") == FILES


def test_damage_in_the_firsts_store_is_found_by_the_second_and_mended_by_the_first(first, second):
    second.cas_must("pull")
    (obj,) = (p for p in (first.store / "objects").rglob("*") if p.is_file()
              and p.read_bytes() == FILES["sub/b.bin"])  # fmt: skip
    obj.chmod(0o644)
    with obj.open("r+b") as file:
        file.write(b"damage")
    obj.chmod(0o444)
    found = second.cas("verify", "--full")
    assert found.returncode == 1
    assert obj.name in found.stdout
    said(second.cas("verify", "--full", "--repair"), str(first.store), "permission denied")
    said(second.cas("path", "source"), "damage was found")  # he can mark it for himself only
    assert "damaged" in second.cas("status").stdout
    first.cas_must("path", "source")
    assert first.cas("verify", "--full").returncode == 1
    said(first.cas("path", "source"), "damage was found")
    first.cas_must("verify", "--full", "--repair")
    assert first.read("source") == FILES
    second.cas_must("verify", "source", "--repair")  # as the hint says
    assert second.read("source") == FILES


def test_a_pull_of_what_is_missing_says_whose_store_it_is_and_goes_on_elsewhere(first, second):
    second.write("more", OTHER)
    second.cas_must("pull")
    said(second.cas("add", "./more"), str(first.store), "permission denied", "CAS_STORE=DIR")
    second.store = second.home / "store"
    second.cas_must("add", "./more")
    second.cas_must("pull")  # one view leads to his own store, the other to the first's
    assert second.read("source") == FILES
    assert second.read("more") == OTHER
    second.cas_must("status")


def test_two_of_a_group_publish_into_one_store_and_copy_what_they_cant_link(lab):
    one, other = lab
    other.write("more", OTHER)
    other.cas_must("add", "./more")
    assert other.read("more") == OTHER
    tree = Path(other.cas_must("path", "more").stdout.strip())
    protected = Path("/proc/sys/fs/protected_hardlinks").read_text().strip() == "1"
    assert (tree / "a.txt").stat().st_uid == (SECOND if protected else FIRST)
    assert (tree / "own.txt").stat().st_nlink == 2
    for number in range(2):  # directories that either made are written by both
        account = lab[number]
        account.write("many", {f"{n}": f"{number} {n}".encode() for n in range(200)})
        account.cas_must("add", "./many")
    one.takes_lock_of(other)
    one.cas_must("pull")
    assert one.read("more") == OTHER
    for account in lab:
        account.cas_must("verify", "--full")
        account.cas_must("gc", "--older-than", "0d", "--local-too")
        account.cas_must("status")
    assert one.read("more") == OTHER
