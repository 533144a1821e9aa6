"""Git's answer is given again only while nothing that git looked at has changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from cas import experiments
from cas.gitstate import GitState, look

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GIT = shutil.which("git") or "git"


def git(root: Path, *words: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    identity += ["-c", "protocol.file.allow=always"]
    done = subprocess.run(
        [GIT, *identity, *words], cwd=root, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def make(root: Path) -> Path:
    (root / "code" / "part").mkdir(parents=True)
    (root / "empty").mkdir()
    git(root, "init", "-q", "-b", "main")
    (root / "train.py").write_text("lr = 1\n")
    (root / "code" / "part" / "model.py").write_text("depth = 2\n")
    (root / ".gitignore").write_text("ignored\n")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "first")
    git(root, "pack-refs", "--all")
    (root / "notes.txt").write_text("untracked\n")
    (root / "ignored").write_text("x")
    return root


def edit(name: str, text: str) -> Callable[[Path], object]:
    return lambda root: (root / name).write_text(text)


def in_git(*words: str) -> Callable[[Path], object]:
    return lambda root: git(root, *words)


CHANGES: dict[str, Callable[[Path], object]] = {
    "a line of the same length": edit("train.py", "lr = 2\n"),
    "a line further down": edit("code/part/model.py", "depth = 3\n"),
    "a mode": lambda root: (root / "train.py").chmod(0o755),
    "a file that goes": lambda root: (root / "code" / "part" / "model.py").unlink(),
    "a file that another one replaces": lambda root: os.replace(
        root / "notes.txt", root / "train.py"
    ),
    "a new file": edit("new.py", "x"),
    "a new file where only directories were": edit("code/new.py", "x"),
    "another untracked line": edit("notes.txt", "untrackeD\n"),
    "what is ignored": edit(".gitignore", "notes.txt\n"),
    "what is ignored here alone": edit(".git/info/exclude", "notes.txt\n"),
    "what is staged": in_git("add", "notes.txt"),
    "a commit of nothing": in_git("commit", "-q", "--allow-empty", "-m", "second"),
    "a branch": in_git("switch", "-q", "-c", "other"),
    "no branch": in_git("checkout", "-q", "--detach"),
}


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory of repositories in which nothing has changed for a while."""
    top = tmp_path_factory.mktemp("still")
    for name in (*CHANGES, "bound"):
        make(top / name)
    os.mkdir(top / "packages")
    make(top / "main")
    git(top / "main", "worktree", "add", "-q", str(top / "linked"))
    make(top / "with")
    git(top / "with", "submodule", "--quiet", "add", str(top / "main"), "sub")
    time.sleep(3.2)
    return top


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Return what tells how often git was asked since it was called last."""
    log = tmp_path / "asked"
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "git").write_text(f'#!/bin/sh\necho >> "{log}"\nexec {GIT} "$@"\n')
    (tools / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")

    def count() -> int:
        said = log.read_text() if log.exists() else ""
        log.write_text("")
        return len(said)

    return count


def kept(root: Path, asked: Callable[[], int]) -> tuple[GitState, bytes | None]:
    """Return git's answer once it is one that is given again; on a slow machine try again."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        look(root)
        asked()
        told = look(root)
        assert told is not None
        if not asked():
            return told
    pytest.fail("git was asked each time")


@pytest.mark.parametrize("what", CHANGES)
def test_what_changes_in_a_work_tree_is_seen_at_once(
    still: Path, asked: Callable[[], int], what: str
) -> None:
    root = still / what
    before = kept(root, asked)
    CHANGES[what](root)
    after = look(root)
    assert after is not None
    assert after != before
    assert after[0].commit == git(root, "rev-parse", "HEAD")
    assert after[0].dirty == bool(git(root, "status", "--porcelain"))


def test_what_git_said_is_a_second_old_at_most(still: Path, asked: Callable[[], int]) -> None:
    root = still / "bound"
    kept(root, asked)
    (root / "empty" / "code.py").write_text("in a directory of which git said nothing")
    time.sleep(1.01)
    told = look(root)
    assert told is not None
    assert b"empty/code.py" in (told[1] or b"")


def test_what_changed_just_now_may_change_again_unseen(
    tmp_path: Path, asked: Callable[[], int]
) -> None:
    root = make(tmp_path / "fresh")
    for _ in range(4):
        look(root)
        assert asked()


@pytest.mark.parametrize("name", ["linked", "with"])
def test_where_gits_files_lie_elsewhere_it_is_asked_each_time(
    still: Path, asked: Callable[[], int], name: str
) -> None:
    for _ in range(4):
        assert look(still / name)
        assert asked()


def test_without_a_repository_above_git_is_not_asked(
    tmp_path: Path, asked: Callable[[], int]
) -> None:
    assert look(tmp_path) is None
    assert not asked()
    inner = make(tmp_path / "repository") / "code"
    (tmp_path / "link").symlink_to(inner)
    assert GitState.read(tmp_path / "link") == GitState.read(inner) != None  # noqa: E711


def test_a_package_that_is_installed_between_two_saves_is_seen(
    still: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(still / "packages"))

    def packages() -> bytes:
        (found,) = (data for data in stored if b"==" in data)
        stored.clear()
        return found

    stored: list[bytes] = []
    put = lambda data: stored.append(data) or "0" * 64  # noqa: E731
    for _ in range(2):
        experiments.capture(still, put=put, lock=None)
        assert b"fresh==" not in packages()
    for version in ("1", "2"):
        (still / "packages" / f"fresh-{version}.dist-info").mkdir()
        experiments.capture(still, put=put, lock=None)
        assert b"fresh==%s\n" % version.encode() in packages()
        (still / "packages" / f"fresh-{version}.dist-info").rmdir()
