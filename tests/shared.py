"""Several accounts of one machine for the tests of shared stores, each with home and project."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cas.store.shared import share_store

from .stores import REPOSITORY, readable_by

ANN, BEN, EVE, STRANGER = 64011, 64012, 64013, 64014
GROUP = 64110
SECONDS = 300


class Account:
    """One user, who has no entry in the list of users, with a home and a project."""

    def __init__(self, uid: int, top: Path, *, groups: tuple[int, ...] = (GROUP,)) -> None:
        if not readable_by(uid):
            pytest.skip(f"{sys.executable} can't be run by another user")
        self.uid, self.groups = uid, groups
        self.home = top / f"home-{uid}"
        self.project = self.home / "project"
        self.home.mkdir()
        os.chown(self.home, uid, uid)
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "CAS_STORE": str(top / "store"),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(REPOSITORY),
        }
        self.must("mkdir", str(self.project))

    def popen(self, *argv: str, umask: int = 0o022) -> subprocess.Popen[str]:
        return subprocess.Popen(
            argv, env=self.env, cwd=self.project if self.project.is_dir() else self.home,
            user=self.uid, group=self.uid, extra_groups=self.groups, umask=umask,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
        )  # fmt: skip

    def run(self, *argv: str, umask: int = 0o022) -> subprocess.CompletedProcess[str]:
        with self.popen(*argv, umask=umask) as process:
            out, err = process.communicate(timeout=SECONDS)
        return subprocess.CompletedProcess(argv, process.returncode, out, err)

    def must(self, *argv: str, umask: int = 0o022) -> str:
        done = self.run(*argv, umask=umask)
        assert done.returncode == 0, done
        return done.stdout

    def cas(self, *words: str, code: int = 0, umask: int = 0o022) -> str:
        """Run cas; it must end with *code*. Returns stdout and stderr together."""
        done = self.run(sys.executable, "-m", "cas", *words, umask=umask)
        assert done.returncode == code, done
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout + done.stderr

    def python(self, code: str) -> str:
        return self.must(sys.executable, "-c", code)

    def write(self, name: str, files: dict[str, bytes]) -> None:
        for path, data in files.items():
            place = self.project / name / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        subprocess.run(["chown", "-R", f"{self.uid}:{self.uid}", self.project / name], check=True)

    def begin(self, files: dict[str, bytes]) -> None:
        """Make the project and add ./source, in one process."""
        self.write("source", files)
        self.python("import cas; cas.init(); cas.add('./source')")

    def takes_lock_of(self, other: Account) -> None:
        for name in ("assets.lock", "pyproject.toml"):
            data = (other.project / name).read_bytes()
            (self.project / name).write_bytes(data)
            os.chown(self.project / name, self.uid, self.uid)

    def place(self, name: str) -> Path:
        return Path(self.cas("path", name).splitlines()[0])

    def read(self, name: str) -> dict[str, bytes]:
        """Return path → bytes of an asset, which this user can read."""
        top = self.place(name)
        self.must("find", "-L", str(top), "-type", "f", "-exec", "cat", "{}", "+")
        return {str(p.relative_to(top)): p.read_bytes() for p in top.rglob("*") if p.is_file()}


@contextmanager
def machine() -> Iterator[Path]:
    """Yield a directory that every account can enter."""
    place = Path(tempfile.mkdtemp(prefix="cas-shared-"))
    place.chmod(0o755)
    try:
        yield place
    finally:
        shutil.rmtree(place)


def share(top: Path, *, trust: str = "") -> Path:
    """Make the store that all share, *top*/store, as root does."""
    share_store(str(top / "store"), str(GROUP))
    if trust:
        (top / "store/settings.toml").write_text(f'trust = "{trust}"\n')
    return top / "store"


def owners(store: Path, room: str) -> set[int]:
    """Return who owns the files of a room of a store."""
    return {p.lstat().st_uid for p in (store / room).rglob("*") if p.is_file()}


def holders(store: Path, data: bytes) -> list[Path]:
    """Return every file in the rooms of objects and trees that has these bytes."""
    rooms = (store / "objects", store / "trees")
    return [p for room in rooms for p in room.rglob("*") if p.is_file() and p.read_bytes() == data]


def overwrite(paths: list[Path], data: bytes) -> None:
    """Change the bytes of files as their owner can; size, mode and mtime stay as they were."""
    for path in paths:
        status = path.stat()
        assert len(data) == status.st_size
        path.chmod(0o644)
        path.write_bytes(data)
        path.chmod(0o444)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
