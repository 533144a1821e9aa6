"""Stores and projects on file systems of other kinds, each mounted by the test itself.

What can't be mounted here (no root, no tool, no kernel support) is skipped, and says so.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from cas.files import file_system

from .stores import REPOSITORY

CAS = [sys.executable, "-m", "cas"]
FIEMAP, SHARED = 0xC020660B, 0x2000
FILES = {"a.txt": b"alpha\n", "empty": b"", "sub/b.bin": os.urandom(300_000)}
MAKE = {
    # kind: how it is made, and how the file system of a loop device is mounted
    "xfs": (["mkfs.xfs", "-q"], ["mount"]),
    "btrfs": (["mkfs.btrfs", "-q"], ["mount"]),
    "ext4": (["mkfs.ext4", "-q"], ["mount"]),
    "vfat": (["mkfs.vfat"], ["mount"]),
    "casefold": (["mkfs.ext4", "-q", "-O", "casefold"], ["mount"]),
    "exfat": (["mkfs.exfat"], ["mount.exfat-fuse"]),
    "ntfs": (["mkntfs", "-q", "-Q", "-F"], ["lowntfs-3g", "-o", "ignore_case,permissions"]),
}
SIZE = {"xfs": 320 << 20, "btrfs": 128 << 20}


@contextmanager
def mounted(kind: str):
    """Mount a fresh file system of that kind, and yield where; skip where it can't be done."""
    if os.geteuid():
        pytest.skip("only root can mount")
    make, mount = MAKE[kind]
    for tool in (make[0], mount[0], "losetup"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")
    top = Path(tempfile.mkdtemp(prefix=f"cas-{kind}-"))
    image, place = top / "image", top / "mnt"
    place.mkdir()
    device = ""
    try:
        with image.open("wb") as file:
            file.truncate(SIZE.get(kind, 64 << 20))
        device = must("losetup", "-f", "--show", image).strip()
        must(*make, device)
        must(*mount, device, place)
        try:
            if kind == "casefold":
                (place / "folded").mkdir()
                must("chattr", "+F", place / "folded")
            yield place / "folded" if kind == "casefold" else place
        finally:
            subprocess.run(["umount", place], check=False)
    finally:
        if device:
            subprocess.run(["losetup", "-d", device], check=False)
        shutil.rmtree(top, ignore_errors=True)


def must(*argv) -> str:
    """Run what sets the scene; skip where this machine can't."""
    done = subprocess.run([*map(str, argv)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{argv[0]}: {done.stderr.strip()[-200:] or done.returncode}")
    return done.stdout


class Person:
    """Somebody with a project and a store, wherever these are."""

    def __init__(self, project: Path, store: Path, home: Path) -> None:
        self.project, self.store = project, store
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "XDG_CACHE_HOME": str(home / "cache"),
            "HF_HOME": str(home / "hf"),
            "CAS_STORE": str(store),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(REPOSITORY),
        }
        project.mkdir(parents=True, exist_ok=True)
        self.must("init")

    def cas(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*CAS, *words], cwd=self.project, env=self.env, check=False,
                              capture_output=True, text=True)  # fmt: skip

    def must(self, *words: str) -> str:
        done = self.cas(*words)
        assert done.returncode == 0, done
        return done.stdout

    def source(self, files: dict[str, bytes] = FILES, name: str = "source") -> Path:
        for path, data in files.items():
            place = self.project / name / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        return self.project / name

    def read(self, name: str = "datasets/source") -> dict[str, bytes]:
        top = Path(self.must("path", name).strip())
        return {str(p.relative_to(top)): p.read_bytes() for p in top.rglob("*") if p.is_file()}

    def left(self) -> list[str]:
        """Return the temporary names that lie about."""
        tops = [top for top in (self.project, self.store) if top.is_dir()]
        return [str(p) for top in tops for p in top.rglob(".cas-*")]


def said(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    """Check that a command failed with one error that has all of *parts*, and a hint."""
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    assert done.stderr.count("cas: error:") == 1, done.stderr
    assert "hint:" in done.stderr, done.stderr
    for part in parts:
        assert part in done.stderr, (part, done.stderr)


def shares_blocks(path: Path) -> bool:
    """Say whether every extent of a file is shared with another file (FIEMAP)."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        answer = bytearray(struct.pack("=QQLLLL", 0, 1 << 62, 1, 0, 64, 0) + bytes(64 * 56))
        fcntl.ioctl(file, FIEMAP, answer)
    count = struct.unpack_from("=L", answer, 20)[0]
    flags = [struct.unpack_from("=L", answer, 32 + n * 56 + 40)[0] for n in range(count)]
    return bool(flags) and all(flag & SHARED for flag in flags)


@pytest.mark.parametrize("kind", ["xfs", "btrfs", "ext4"])
def test_blocks_are_shared_where_the_file_system_can_and_copied_where_not(kind):
    with mounted(kind) as place:
        one = Person(place / "project", place / "store", place / "home")
        data = os.urandom(4 << 20)  # above what is read whole
        source = one.source({"big.bin": data, "small.txt": b"small\n"})
        one.must("add", "./source", "--name", "datasets/source")
        reflinks = kind != "ext4"
        assert shares_blocks(source / "big.bin") is reflinks
        tree = Path(one.must("path", "source").strip())
        assert (tree / "big.bin").stat().st_nlink == 2  # of the object, not of the person's file
        copy = Path(one.must("edit", "source").strip())
        assert shares_blocks(copy / "big.bin") is reflinks
        with (copy / "big.bin").open("r+b") as file:
            file.write(b"changed")
        (source / "big.bin").write_bytes(b"changed too")
        assert (tree / "big.bin").read_bytes() == data
        one.must("verify", "--full")
        one.must("pull", "--force", "source")
        assert one.read() == {"big.bin": data, "small.txt": b"small\n"}
        assert one.left() == []


@pytest.mark.parametrize("store_here", [True, False])
def test_store_and_project_lie_on_different_file_systems(store_here, tmp_path):
    with mounted("ext4") as place:
        places = (tmp_path, place) if store_here else (place, tmp_path)
        one = Person(places[0] / "project", places[1] / "store", tmp_path / "home")
        source = one.source()
        one.must("add", "./source", "--move")  # can't be renamed: copied, then taken away
        assert not source.exists()
        assert one.read() == FILES
        copy = Path(one.must("edit", "source").strip())
        (copy / "a.txt").write_bytes(b"mine\n")
        one.must("add", str(copy), "--name", "datasets/source")
        assert one.read() == FILES | {"a.txt": b"mine\n"}
        one.must("export", "source", "out")
        assert (one.project / "out/sub/b.bin").read_bytes() == FILES["sub/b.bin"]
        one.must("verify", "--full")
        one.must("gc", "--older-than", "0d")
        assert one.left() == []


def test_a_read_only_store_serves_a_project_and_says_what_it_cant_do(tmp_path):
    with mounted("ext4") as place:
        first = Person(tmp_path / "first", place / "store", tmp_path / "home")
        first.source()
        first.must("add", "./source")
        second = tmp_path / "second"
        second.mkdir()
        for name in ("assets.lock", "pyproject.toml"):
            shutil.copy(tmp_path / "first" / name, second / name)
        must("mount", "-o", "remount,ro", place)
        one = Person(second, place / "store", tmp_path / "home2")
        pulled = one.cas("pull")
        assert pulled.returncode == 0, pulled
        assert "can't be written (its file system is read-only)" in pulled.stderr
        assert one.read() == FILES
        assert "1 asset is as it is locked" in one.cas("status").stderr
        one.must("list"), one.must("files", "source"), one.must("store")
        one.must("verify", "--full")
        copy = Path(one.must("edit", "source").strip())  # in the project, which can be written
        (copy / "a.txt").write_bytes(b"mine\n")
        lock = (second / "assets.lock").read_bytes()
        mine, theirs = str(copy), str(tmp_path / "first/source")
        for words in (
            ["add", mine, "--name", "datasets/source"],
            ["add", theirs, "--name", "datasets/other"],
            ["gc"],
        ):
            said(one.cas(*words), str(place / "store"), "its file system is read-only", "CAS_STORE")
        assert (copy / "a.txt").read_bytes() == b"mine\n"
        assert (second / "assets.lock").read_bytes() == lock
        one.must("pull", "--force", "source")
        assert one.read() == FILES
        assert one.left() == []


@pytest.mark.parametrize("kind", ["vfat", "exfat"])
def test_a_store_where_permissions_are_not_kept_is_refused_before_anything_is_made(kind, tmp_path):
    with mounted(kind) as place:
        one = Person(tmp_path / "project", place / "store", tmp_path / "home")
        source = one.source()
        lock = (one.project / "assets.lock").read_bytes()
        for _ in range(2):
            said(one.cas("add", "./source"), "keeps no permissions", "0444", "CAS_STORE=DIR")
        assert (one.project / "assets.lock").read_bytes() == lock
        assert [*(place / "store").iterdir()] == []
        assert (source / "a.txt").read_bytes() == FILES["a.txt"]
        one.env["CAS_STORE"] = str(tmp_path / "store")
        one.must("add", "./source")
        assert one.read() == FILES


@pytest.mark.parametrize("kind", ["vfat", "exfat"])
def test_a_project_without_symbolic_links_is_told_so_and_keeps_what_is_its_own(kind, tmp_path):
    with mounted(kind) as place:
        one = Person(place / "project", tmp_path / "store", tmp_path / "home")
        source = one.source()
        before = (one.project / "assets.lock").read_bytes()
        said(one.cas("add", "./source"), "expected a file system with symbolic links",
             str(place / "project"), "cas export")  # fmt: skip
        assert (one.project / "assets.lock").read_bytes() == before
        one.must("add", "./source", "--no-pull")  # from there on it can be used without a view
        said(one.cas("pull"), "symbolic links", "cas path datasets/source")
        assert one.read() == FILES
        copy = Path(one.must("edit", "source").strip())
        (copy / "a.txt").write_bytes(b"mine\n")
        said(one.cas("pull", "--force", "source"), "symbolic links")
        assert (copy / "a.txt").read_bytes() == b"mine\n"  # no view can take its place
        one.must("export", "source", "out")
        assert (one.project / "out/sub/b.bin").read_bytes() == FILES["sub/b.bin"]
        assert (source / "a.txt").read_bytes() == FILES["a.txt"]
        assert one.left() == []


TWINS = {"Readme.md": b"one\n", "readme.md": b"two\n", "sub/x": b"x\n"}
FOLDERS = {"Data/x": b"one\n", "data/y": b"two\n"}


@pytest.mark.parametrize("files", [TWINS, FOLDERS], ids=["files", "directories"])
@pytest.mark.parametrize("kind", ["casefold", "ntfs"])
def test_two_names_that_a_store_cant_tell_apart_are_refused_before_any_byte_is_taken(
    kind, files, tmp_path
):
    with mounted(kind) as place:
        one = Person(tmp_path / "project", place / "store", tmp_path / "home")
        one.source()
        one.must("add", "./source")
        lock = (one.project / "assets.lock").read_bytes()
        held = sorted((place / "store/objects").rglob("*"))
        twin = one.source(files, "twins")
        first, second, *_ = sorted(files)
        names = (repr(first.partition("/")[0]), repr(second.partition("/")[0]))
        told = ("does not tell their names apart", str(place / "store"), "CAS_STORE=DIR")
        said(one.cas("add", "./twins"), *told, *names)
        assert (one.project / "assets.lock").read_bytes() == lock
        assert sorted((place / "store/objects").rglob("*")) == held
        assert {str(p.relative_to(twin)) for p in twin.rglob("*") if p.is_file()} == {*files}
        assert one.left() == []
        assert one.read() == FILES
        one.must("verify", "--full")
        # a colleague's lock names it, and its bytes come from there
        one.env["CAS_STORE"] = str(tmp_path / "other")
        one.must("add", "./twins")
        one.env["CAS_STORE"] = str(place / "store")
        shutil.rmtree(one.project / "assets/datasets")
        said(one.cas("pull"), *told)
        assert one.read() == FILES  # the other asset is there
        assert one.left() == []


@pytest.mark.parametrize("kind", ["casefold", "ntfs", "exfat"])
def test_a_copy_of_two_names_that_a_project_cant_tell_apart_is_refused_whole(kind, tmp_path):
    with mounted(kind) as place:
        one = Person(place / "project", tmp_path / "store", tmp_path / "home")
        (tmp_path / "twins").mkdir()
        (tmp_path / "twins/Readme.md").write_bytes(b"one\n")
        (tmp_path / "twins/readme.md").write_bytes(b"two\n")
        one.must("add", str(tmp_path / "twins"), "--no-pull", "--name", "datasets/twins")
        said(one.cas("edit", "twins"), "does not tell them apart", "'readme.md'", "cas export")
        said(one.cas("export", "twins", "out"), "does not tell them apart")
        assert not (one.project / "out").exists()
        assert not (one.project / "assets/datasets/twins").exists()
        assert one.left() == []
        one.must("export", "twins", str(tmp_path / "out"))
        assert len(list((tmp_path / "out").iterdir())) == 2


def test_where_locks_cant_be_trusted_a_gc_keeps_its_14_days(tmp_path):
    with mounted("ntfs") as place:
        assert file_system(place).startswith("fuse")
        one = Person(tmp_path / "project", place / "store", tmp_path / "home")
        one.source()
        one.must("add", "./source")
        one.must("rm", "datasets/source")
        refused = one.cas("gc", "--older-than", "0d", "--local-too")
        assert refused.returncode == 2
        assert "no locks to trust" in refused.stderr
        one.must("gc", "--local-too")
        one.must("add", "./source")
        assert one.read() == FILES
        one.must("verify", "--full")
