"""Repositories: commits, refs and files, named as git names them.

A repository lives in memory, apart from the files that were given as paths. Its ids depend
on nothing but what was committed: author and dates are fixed, a minute from commit to
commit. What a hostile Hub would say instead is kept beside it, raw (`info_sha`, `extra`).
"""

from __future__ import annotations

import fnmatch
import hashlib
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from .git import PIECE, File, as_content, commit_id, make_trees

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

Kind = Literal["model", "dataset", "space"]

AUTHOR = "Hub Tester <tester@hub.test>"
EPOCH = 1_700_000_000
"""The date of a repository's first commit, in seconds (2023-11-14 22:13:20 UTC)."""

LFS_PATTERNS = (
    *("*.7z", "*.arrow", "*.bin", "*.bz2", "*.ckpt", "*.gz", "*.h5", "*.joblib", "*.model"),
    *("*.msgpack", "*.npy", "*.npz", "*.onnx", "*.parquet", "*.pb", "*.pickle", "*.pkl", "*.pt"),
    *("*.pth", "*.safetensors", "*.tar", "*.tflite", "*.wasm", "*.xz", "*.zip", "*.zst"),
)
"""The names that the Hub's own ``.gitattributes`` gives to LFS."""

LFS_OVER = 10_000_000
"""bytes; any larger file is an LFS file"""


@dataclass(frozen=True, kw_only=True)
class Commit:
    """One state of a repository."""

    sha: str
    parents: tuple[str, ...]
    seconds: int
    message: str
    files: Mapping[str, File]
    changed: Mapping[str, str]
    """For each file the commit that changed it last."""
    trees: Mapping[str, str]
    """For each directory its git tree id, ``""`` being the root."""

    @property
    def date(self) -> str:
        when = datetime.fromtimestamp(self.seconds, UTC)
        return when.strftime("%Y-%m-%dT%H:%M:%S.000Z")

    @property
    def title(self) -> str:
        return self.message.partition("\n")[0]

    @cached_property
    def _paths(self) -> list[str]:
        paths = [*self.files, *(folder for folder in self.trees if folder)]
        return sorted(paths, key=lambda path: path.split("/"))

    def list_paths(self, folder: str, *, recursive: bool) -> list[str]:
        """Return the files and directories of *folder*, a directory before what is in it."""
        prefix = f"{folder}/" if folder else ""
        paths = [path for path in self._paths if path.startswith(prefix)]
        return paths if recursive else [p for p in paths if "/" not in p[len(prefix) :]]


class Repo:
    """One repository of a Hub; made by `Hub.repo`."""

    def __init__(
        self,
        name: str,
        *,
        kind: Kind = "model",
        gated: bool | Literal["auto", "manual"] = False,
        private: bool = False,
        allowed: bool = True,
        lfs: Iterable[str] = LFS_PATTERNS,
        lfs_over: int = LFS_OVER,
        folder: Path | None = None,
    ) -> None:
        """Make an empty repository.

        A gated one answers 401 to who has no token, and 403 to a valid one unless
        *allowed*. *folder* is where `generate` puts files too large for memory.
        """
        self.id, self.kind = name, kind
        self.gated: bool | str = "auto" if gated is True else gated
        self.private, self.allowed = private, allowed
        self.lfs, self.lfs_over = tuple(lfs), lfs_over
        self.commits: dict[str, Commit] = {}
        self.refs: dict[str, str] = {}
        """``refs/heads/main`` and so on → commit id."""
        self.info_sha: Any = None
        """Where set, what info answers as ``sha``, whatever the truth."""
        self.extra: list[dict[str, Any]] = []
        """Raw entries put into each listing (`Hub.add_listing_paths`)."""
        self.extra_bytes: dict[str, bytes] = {}
        """Bytes served for paths among `extra`."""
        self._folder, self._made, self._lock = folder, 0, threading.RLock()

    @property
    def url(self) -> str:
        """The path of its files on the Hub: ``datasets/org/name``."""
        return self.id if self.kind == "model" else f"{self.kind}s/{self.id}"

    def commit(
        self,
        files: Mapping[str, bytes | str | os.PathLike[str]] | None = None,
        message: str = "update",
        *,
        branch: str = "main",
        delete: Iterable[str] = (),
    ) -> str:
        """Add and replace *files*, delete some, and return the id of the new commit.

        A branch that doesn't exist starts from main. A path's file is read where it is.
        """
        with self._lock:
            ref = f"refs/heads/{branch}"
            parent = self.commits.get(self.refs.get(ref) or self.refs.get("refs/heads/main", ""))
            kept = dict(parent.files) if parent else {}
            for path in delete:
                del kept[path]
            new = {path: self._file(path, value) for path, value in (files or {}).items()}
            changed = {path for path, file in new.items() if kept.get(path) != file}
            kept.update(new)
            return self._record(ref, parent, message, kept, changed)

    def _file(self, path: str, value: bytes | str | os.PathLike[str]) -> File:
        parts = path.split("/")
        if any(part in ("", ".", "..", ".git") for part in parts) or "\0" in path:
            raise ValueError(f"git has no path {path!r}: use Hub.add_listing_paths")
        content = as_content(value)
        return File(content, content.size > self.lfs_over or self.takes_as_lfs(path))

    def takes_as_lfs(self, path: str) -> bool:
        """Say whether a file of that name is an LFS file, whatever its size."""
        return any(fnmatch.fnmatchcase(path.rpartition("/")[2], p) for p in self.lfs)

    def _record(
        self,
        ref: str,
        parent: Commit | None,
        message: str,
        files: dict[str, File],
        changed: set[str],
    ) -> str:
        trees = make_trees((path, file.oid) for path, file in files.items())
        for path in files:
            if path in trees:
                raise ValueError(f"'{path}' would be a file and a directory")
        parents = (parent.sha,) if parent else ()
        seconds = EPOCH + 60 * self._made
        sha = commit_id(trees[""], parents, AUTHOR, seconds, message)
        before = parent.changed if parent else {}
        self.commits[sha] = Commit(
            sha=sha,
            parents=parents,
            seconds=seconds,
            message=message,
            files={path: files[path] for path in sorted(files)},
            changed={path: sha if path in changed else before[path] for path in files},
            trees=trees,
        )
        self._made += 1
        self.refs[ref] = sha
        return sha

    def tag(self, name: str, sha: str) -> None:
        """Set the tag *name*."""
        self._point(f"refs/tags/{name}", sha)

    def branch(self, name: str, sha: str) -> None:
        """Set the branch *name*, which may contain slashes."""
        self._point(f"refs/heads/{name}", sha)

    def pull_request(self, number: int, sha: str) -> None:
        """Set the head of a pull request."""
        self._point(f"refs/pr/{number}", sha)

    def convert(self, name: str, sha: str) -> None:
        """Set a ref of converted files, such as ``parquet``."""
        self._point(f"refs/convert/{name}", sha)

    def _point(self, ref: str, sha: str) -> None:
        with self._lock:
            self.refs[ref] = self.commits[sha].sha

    def drop(self, ref: str) -> None:
        """Delete a ref, given in full; commits that only it held are gone."""
        with self._lock:
            del self.refs[ref]
            self._sweep()

    def squash(self, branch: str = "main", message: str = "super-squash") -> str:
        """Replace a branch's history by one commit; commits that no ref holds are gone."""
        with self._lock:
            ref = f"refs/heads/{branch}"
            files = dict(self.commits[self.refs[ref]].files)
            sha = self._record(ref, None, message, files, set(files))
            self._sweep()
            return sha

    def _sweep(self) -> None:
        held: set[str] = set()
        for head in self.refs.values():
            held.update(commit.sha for commit in self.history(head))
        for sha in self.commits.keys() - held:
            del self.commits[sha]

    def history(self, sha: str) -> Iterator[Commit]:
        """Yield the commit *sha* and those before it, newest first."""
        at: str | None = sha
        while at:
            commit = self.commits[at]
            yield commit
            at = commit.parents[0] if commit.parents else None

    def find(self, revision: str) -> Commit | None:
        """Return the commit of a branch, tag, full ref, or commit id of 7 digits or more."""
        with self._lock:
            for ref in (f"refs/heads/{revision}", f"refs/tags/{revision}", revision):
                if ref in self.refs:
                    return self.commits[self.refs[ref]]
            if revision in self.commits:
                return self.commits[revision]
            near = [sha for sha in self.commits if len(revision) >= 7 and sha.startswith(revision)]
            return self.commits[near[0]] if len(near) == 1 else None

    def head(self, branch: str = "main") -> str:
        """Return the commit id of a branch."""
        return self.refs[f"refs/heads/{branch}"]

    def generate(
        self,
        count: int,
        size: int,
        *,
        prefix: str = "data/file-",
        suffix: str = ".dat",
        seed: int = 0,
    ) -> dict[str, bytes | Path]:
        """Return *count* files of *size* pseudo-random bytes, for `commit`.

        The bytes depend on *seed*, *size* and the number alone. More than 64 MiB in all, or
        files of more than 1 MiB, are written to the Hub's folder.
        """
        on_disk = self._folder is not None and (size > 1 << 20 or count * size > 64 << 20)
        files: dict[str, bytes | Path] = {}
        for number in range(count):
            pieces = random_pieces(f"{seed}:{size}:{number}", size)
            name = f"{prefix}{number:05d}{suffix}"
            if not on_disk or self._folder is None:
                files[name] = b"".join(pieces)
                continue
            path = self._folder / f"{seed}-{size}-{number}"
            if not path.exists():
                with path.open("wb") as out:
                    out.writelines(pieces)
            files[name] = path
        return files


def random_pieces(seed: str, size: int) -> Iterator[bytes]:
    """Yield *size* pseudo-random bytes in all, the same for the same *seed*."""
    for at in range(0, size, PIECE):
        yield hashlib.shake_128(f"{seed}:{at}".encode()).digest(min(PIECE, size - at))
