"""The file system that fsspec calls: read-only, its paths are names of assets."""

from __future__ import annotations

import io
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

# the class that fsspec asks for is one of its own, and only fsspec imports this room
from fsspec.spec import AbstractFileSystem, make_instance  # noqa: TID253

from cas.errors import NoProject
from cas.filesystem.faults import IsDirectory, NotThere, ReadOnly
from cas.filesystem.fetch import Locked
from cas.project import Project, current

if TYPE_CHECKING:
    from collections.abc import Callable

    from cas.filesystem.place import Place
    from cas.lockfile import Asset

__all__ = ["CasFileSystem"]

Info = dict[str, Any]


class LockedFile(io.BufferedReader):
    """One locked file, open for reading."""

    def __init__(self, local: str, path: str) -> None:
        super().__init__(io.FileIO(local))
        self.path = path
        self.size = os.fstat(self.fileno()).st_size
        """bytes"""


def _read_only(what: str) -> ReadOnly:
    return ReadOnly(
        f"{what}: cas:// can only be read",
        hint="write to a path of your own, then: cas add PATH --name NAME",
    )


def _refusal(what: str) -> Callable[..., NoReturn]:
    def refuse(
        self: CasFileSystem, path: object = "", *rest: object, **options: object
    ) -> NoReturn:
        del self, rest, options
        raise _read_only(f"{what} {path!s:.300}")

    refuse.__doc__ = "Raise ReadOnly."
    return refuse


class CasFileSystem(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Locked files by name: ``cas://datasets/roneneldan/TinyStories/data/train.parquet``.

    *project* is a directory in the project whose lock counts; by default that of the working
    directory, as for ``cas.path()``. Opening a file, or asking for its ``info``, notes the use
    of its asset: a program that keeps copies of its own asks for no more than that.
    """

    protocol = "cas"
    root_marker = ""

    def __init__(self, project: str | os.PathLike[str] | None = None, **options: Any) -> None:
        super().__init__(project=project, **options)
        self._named = os.fspath(project) if project is not None else None
        self._locked: Locked | None = None

    @property
    def locked(self) -> Locked:
        """The files of the project; raises NoProject."""
        if self._named is None:
            project = current()
            if self._locked is None or self._locked.project is not project:
                self._locked = Locked(project)
        elif self._locked is None:
            ours = _current_root()
            found = Project.find(self._named)
            self._locked = Locked(current() if found.root == ours else found)
        return self._locked

    def __reduce__(self) -> tuple[Any, ...]:
        # a worker may have another working directory: it takes the project of this process
        options = dict(self.storage_options)
        try:
            options["project"] = self.locked.project.root
        except NoProject:
            pass
        return make_instance, (type(self), (), options)

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        found = super()._strip_protocol(path)
        return found if isinstance(found, list) else found.strip("/")

    # Reading

    def ls(self, path: str, detail: bool = True, **options: Any) -> list[Any]:  # noqa: FBT001, FBT002
        """Return what is in a directory: names, or with *detail* a table of each."""
        del options
        path = self._strip_protocol(path)
        place = self.locked.names().place(path)
        if place.asset is None:
            rows = self._names_in(path)
        else:
            rows = self._files_in(place.asset, place.inside, path)
        return rows if detail else [row["name"] for row in rows]

    def info(self, path: str, **options: Any) -> Info:
        """Return ``name``, ``size`` in bytes, ``type``, and of a file ``sha256`` and ``ETag``.

        The use of the asset that a file belongs to is noted.
        """
        del options
        place, row = self._look(path)
        if row["type"] == "file" and place.asset is not None:
            self.locked.note(place.asset)
        return row

    def glob(self, path: str, maxdepth: int | None = None, **options: Any) -> Any:
        """Return the names that fit a pattern; with ``detail=True`` a table of each.

        There names of files begin with the tree that they are in: ``datasets``, which asks so,
        keeps copies by name alone, and would go on with those of an earlier lock.
        """
        found = super().glob(path, maxdepth, **options)
        if not isinstance(found, dict):
            return found
        place = self.locked.names().place
        names = {
            name: place(name).pinned(name) if row["type"] == "file" else name
            for name, row in found.items()
        }
        return {new: found[name] | {"name": new} for name, new in names.items()}

    def exists(self, path: str, **options: Any) -> bool:
        """Say whether something is there; no use is noted."""
        del options
        try:
            self._look(path)
        except NotThere:
            return False
        return True

    def isfile(self, path: str) -> bool:
        """Say whether a file is there; no use is noted."""
        return self.exists(path) and self._look(path)[1]["type"] == "file"

    def isdir(self, path: str) -> bool:
        """Say whether a directory is there; no use is noted."""
        return self.exists(path) and self._look(path)[1]["type"] == "directory"

    def ukey(self, path: str) -> str:
        """Return the SHA-256 of a file: what a program's own cache may go by."""
        return str(self.info(path).get("sha256") or super().ukey(path))

    def modified(self, path: str) -> datetime:
        """Return when assets.lock last changed: until then each file is what it was."""
        self._look(path)
        return datetime.fromtimestamp(os.stat(self.locked.lock_path).st_mtime, UTC)

    def invalidate_cache(self, path: str | None = None) -> None:
        """Forget what the Hub and the lock said."""
        super().invalidate_cache(path)
        if self._locked is not None:
            self._locked.forget()

    # Writing

    mkdir = _refusal("mkdir")
    makedirs = _refusal("makedirs")
    rmdir = _refusal("rmdir")
    rm = _refusal("rm")
    rm_file = _refusal("rm_file")
    _rm = _refusal("rm")
    touch = _refusal("touch")
    cp_file = _refusal("cp_file")
    copy = _refusal("copy")
    mv = _refusal("mv")
    put = _refusal("put")
    put_file = _refusal("put_file")
    pipe = _refusal("pipe")
    pipe_file = _refusal("pipe_file")

    # What these are made of

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,  # noqa: FBT001, FBT002
        cache_options: Any = None,
        **options: Any,
    ) -> LockedFile:
        del block_size, autocommit, cache_options, options
        path = self._strip_protocol(path)
        if mode != "rb":
            raise _read_only(f"cas://{path} was opened to write (mode {mode!r})")
        asset, inside = self._file(path)
        return LockedFile(self.locked.local(asset, inside), path)

    def _file(self, path: str) -> tuple[Asset, str]:
        """Return the asset and the path in its tree of a file."""
        place = self.locked.names().place(path)
        if place.asset is not None:
            files = self.locked.files(place.asset)
            inside = files.path(place.inside)
            if inside in files.digests:
                return place.asset, inside
        raise IsDirectory(f"cas://{path} is a directory", hint=f"cas://{path}/FILE names a file")

    def _look(self, path: str) -> tuple[Place, Info]:
        path = self._strip_protocol(path)
        place = self.locked.names().place(path)
        asset = place.asset
        if asset is None:
            return place, _directory(path)
        files = self.locked.files(asset)
        inside = files.path(place.inside)
        if inside not in files.digests:
            return place, _directory(path)
        return place, self._rows(asset, {path: inside})[0]

    def _names_in(self, path: str) -> list[Info]:
        names = self.locked.names()
        rows = []
        for part, ends in sorted(names.inside(path).items()):
            name = f"{path}/{part}" if path else part
            single = ends and names.lock.assets[name].file is not None
            rows.append(self._look(name)[1] if single else _directory(name))
        return rows

    def _files_in(self, asset: Asset, inside: str, path: str) -> list[Info]:
        files = self.locked.files(asset)
        inside = files.path(inside)
        children = files.children(inside)
        if children is None:
            return self._rows(asset, {path: inside})
        below = f"{inside}/" if inside else ""
        rows = [_directory(f"{path}/{part}") for part, ends in children.items() if not ends]
        rows += self._rows(
            asset, {f"{path}/{part}": below + part for part, ends in children.items() if ends}
        )
        return sorted(rows, key=lambda row: str(row["name"]))

    def _rows(self, asset: Asset, paths: dict[str, str]) -> list[Info]:
        digests = self.locked.files(asset).digests
        sizes = self.locked.sizes(asset, paths.values())
        return [
            {
                "name": name,
                "size": sizes[inside],
                "type": "file",
                "sha256": digests[inside],
                "ETag": digests[inside],
            }
            for name, inside in paths.items()
        ]


def _directory(path: str) -> Info:
    return {"name": path, "size": 0, "type": "directory"}


def _current_root() -> str | None:
    try:
        return current().root
    except NoProject:
        return None
