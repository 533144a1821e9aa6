"""Where a row happens: its directory, its environment, and the files it works on."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import sys
import sysconfig
import time
import venv
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .measure import NotDone

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".bench"
BIN = HOME / "plain/bin"
CAS = str(BIN / "cas")
PYTHON = str(BIN / "python")
LOOP_SIZE = 4 << 30  # bytes of a sparse image
PIECE = 1 << 20


@dataclass
class Place:
    """One row's directory; everything below it goes when the row has ended."""

    root: Path
    note: str = ""
    """What the table should say of the file system."""
    scratch: Path = field(init=False)

    def __post_init__(self) -> None:
        self.scratch = self.root / "scratch"
        self.scratch.mkdir()

    @property
    def store(self) -> Path:
        return self.root / "store"

    def env(self, **more: str) -> dict[str, str]:
        """Return an environment with nothing of the user's: no settings, tokens or caches."""
        return {
            "PATH": f"{BIN}:{os.environ.get('PATH', os.defpath)}",
            "LANG": "C.UTF-8",
            "HOME": str(self.root / "home"),
            "XDG_CACHE_HOME": str(self.root / "cache"),
            "CAS_STORE": str(self.store),
            "HF_HOME": str(self.root / "hf"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",  # cas shows none either, off a terminal
            **more,
        }

    def clear(self, *names: str) -> None:
        """Remove files and directories of the row, read-only ones too."""
        for name in names:
            remove(self.root / name)

    def clear_caches(self) -> None:
        """Make the store and every cache empty, as on a machine that never saw the assets."""
        self.clear("store", "cache", "hf", "home")
        (self.root / "home").mkdir()

    def run(self, *argv: str, cwd: Path, **more: str) -> str:
        """Run a program that only prepares something; return its stdout."""
        said = subprocess.run(
            argv, cwd=cwd, env=self.env(**more), capture_output=True, text=True, check=False
        )
        if said.returncode:
            raise NotDone(f"{' '.join(argv)}: exit code {said.returncode}\n{said.stderr[-1200:]}")
        return said.stdout


def make_environment() -> None:
    """Make ``.bench/plain``, where cas and its dependencies are found as after `pip install`.

    An editable installation, as `make` has it, loads setuptools' finder into every Python
    that starts: 13 ms for cas and for bare Python alike, twice what that costs without, which
    would flatter every ratio to bare Python. Here they are directories on the path, no more.
    """
    remove(HOME / "plain")
    venv.create(HOME / "plain", with_pip=False, symlinks=True)
    site = BIN.parent / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    packages = HOME / "plain/cas"
    packages.mkdir()
    (packages / "cas").symlink_to(ROOT / "cas")  # not ROOT: tests and benchmarks lie there too
    (site / "plain.pth").write_text(f"{packages}\n{sysconfig.get_path('purelib')}\n")
    script = f"#!{PYTHON}\nimport sys\nfrom cas.__main__ import start\nsys.exit(start())\n"
    Path(CAS).write_text(script)
    Path(CAS).chmod(0o755)


@contextmanager
def open_place(
    work: Path, name: str, *, small_files: bool, size: int = LOOP_SIZE, inodes: int | None = None
) -> Iterator[Place]:
    """Make the directory of a row, and remove it at the end.

    *small_files*: on a fresh ext4 of its own where that can be mounted. The root file system
    of a virtual machine may take ten times as long to make an inode as a fresh one, and would
    be what is measured.
    """
    root = work / name
    if root.is_mount():
        _unmount(root)  # an earlier run was killed
    remove(root)
    root.mkdir(parents=True)
    image = work / f"{name}.img"
    try:
        why = _mount(image, root, size, inodes) if small_files else ""
        mounted = small_files and not why
        note = "on a fresh ext4 in a loop device" if mounted else ""
        if why:
            note = f"not on a fresh ext4: {why}"
        try:
            yield Place(root, note)
        finally:
            if mounted:
                _unmount(root)
    finally:
        remove(root)
        image.unlink(missing_ok=True)


def _mount(image: Path, root: Path, size: int, inodes: int | None) -> str:
    """Mount a fresh ext4 at *root*; return why that can't be, or ``""``."""
    if os.geteuid() != 0:
        return "only root may mount one"
    with image.open("wb") as file:
        file.truncate(size)
    # or the kernel goes on writing inode tables while somebody is timed
    many = ["-N", str(inodes)] if inodes else []
    eager = "lazy_itable_init=0,lazy_journal_init=0"
    for argv in (
        ["mkfs.ext4", "-q", "-F", "-E", eager, *many, str(image)],
        ["mount", "-o", "loop", str(image), str(root)],
    ):
        try:
            subprocess.run(argv, check=True, capture_output=True, text=True)
        except OSError as error:
            return f"{argv[0]}: {error.strerror}"
        except subprocess.CalledProcessError as error:
            return f"{argv[0]}: {error.stderr.strip()[-200:]}"
    return ""


def _unmount(root: Path) -> None:
    for _ in range(20):  # a process that was killed lets go a moment later
        if not subprocess.run(["umount", root], check=False, capture_output=True).returncode:
            return
        time.sleep(0.1)
    subprocess.run(["umount", "--lazy", root], check=True)


def remove(path: Path) -> None:
    """Remove a file or a directory tree, read-only directories too."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        if os.geteuid() != 0:
            for folder, _, _ in os.walk(path):
                os.chmod(folder, 0o700)
        shutil.rmtree(path)


def make_files(folder: Path, count: int, size: int, *, per_directory: int = 100) -> list[str]:
    """Write *count* files of *size* random bytes, all different; return their paths, sorted."""
    chance = random.Random(f"{folder.name}:{count}:{size}")
    paths = []
    for number in range(count):
        path = f"part-{number // per_directory:03d}/file-{number:05d}.dat"
        place = folder / path
        if number % per_directory == 0:
            place.parent.mkdir(parents=True)
        place.write_bytes(chance.randbytes(size))
        paths.append(path)
    return paths


def make_file(path: Path, size: int) -> None:
    """Write one file of *size* random bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    chance = random.Random(f"{path.name}:{size}")
    with path.open("wb") as file:
        for _ in range(size // PIECE):
            file.write(chance.randbytes(PIECE))


def hash_file(path: Path, name: str = "sha256") -> str:
    """Return the hexadecimal hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, name).hexdigest()


def hash_files(folder: Path, name: str = "sha256") -> dict[str, str]:
    """Return path → hash of every file below *folder*, which may itself be a link."""
    found = {}
    for directory, _, files in os.walk(f"{folder}/"):
        for file in files:
            path = Path(directory) / file
            found[str(path.relative_to(folder))] = hash_file(path, name)
    return found


def check_same(found: dict[str, str], wanted: dict[str, str], what: str) -> None:
    """Raise NotDone unless both have the same files with the same hashes."""
    if found != wanted:
        missing = len(wanted.keys() - found.keys())
        other = sum(found[path] != wanted[path] for path in found.keys() & wanted.keys())
        extra = len(found.keys() - wanted.keys())
        raise NotDone(f"{what}: {missing} files missing, {other} wrong, {extra} too many")
