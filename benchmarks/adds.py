"""The rows of `cas add`."""

from __future__ import annotations

import hashlib
import re
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from . import annex
from .measure import Contestant, NotDone, Run
from .peers import find_dvc
from .place import (
    CAS,
    PYTHON,
    Place,
    check_same,
    hash_file,
    hash_files,
    make_file,
    make_files,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SHA256 = """\
import hashlib, mmap, sys
with open(sys.argv[1], "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
    print(hashlib.sha256(data).hexdigest())
"""


class Bring:
    """Puts a fresh copy of the row's data into a fresh project, the same for all."""

    def __init__(self, place: Place, source: Path) -> None:
        self.place, self.source = place, source

    def into(self, project: Path, *setup: list[str], **env: str) -> Callable[[], None]:
        """Return what makes *project* anew, by *setup*, with the data in it."""

        def make() -> None:
            for other in ("cas", "dvc", "git", "annex", "copied"):
                self.place.clear(other)
            self.place.clear_caches()
            self.place.clear("copy", "dvc-site")
            project.mkdir()
            for argv in setup:
                self.place.run(*argv, cwd=project, **env)
            target = project / self.source.name
            if self.source.is_dir():
                shutil.copytree(self.source, target)
            else:
                shutil.copyfile(self.source, target)

        return make


def cas_add(place: Place, bring: Bring, name: str, check: Callable[[Path], None]) -> Contestant:
    """Return `cas add` of the data, into a fresh store; *check* gets the view."""
    project, what = place.root / "cas", bring.source.name
    return Contestant(
        name="cas add",
        argv=[CAS, "add", f"./{what}", "--name", name],
        role="cas",
        env=place.env(),
        cwd=project,
        before=bring.into(project, [CAS, "init"]),
        check=lambda _: check(project / "assets" / name),
    )


def dvc_add(
    place: Place, dvc: str, version: str, bring: Bring, check: Callable[[Path], None]
) -> Contestant:
    """Return `dvc add` of the data, into a fresh cache; *check* gets the repository."""
    project = place.root / "dvc"
    apart = {
        "DVC_SITE_CACHE_DIR": str(place.root / "dvc-site"),  # or it remembers earlier hashes
        "DVC_SYSTEM_CONFIG_DIR": str(place.root / "home"),
        "DVC_NO_ANALYTICS": "1",
    }
    return Contestant(
        name=f"dvc add ({version})",
        argv=[dvc, "add", bring.source.name],
        env=place.env(**apart),
        cwd=project,
        before=bring.into(project, [dvc, "init", "--no-scm", "--quiet"], **apart),
        check=lambda _: check(project),
    )


@contextmanager
def add_large(place: Place) -> Iterator[list[Contestant]]:
    """Add one large local file."""
    source = place.root / "large.bin"
    make_file(source, 2 << 30)
    sha256, md5 = hash_file(source), hash_file(source, "md5")
    bring = Bring(place, source)

    def check_cas(view: Path) -> None:
        if hash_file(view) != sha256:
            raise NotDone("cas add: the view has other bytes")
        if view.stat().st_mode & 0o222 or place.store not in view.resolve().parents:
            raise NotDone("cas add: the view leads to no read-only file of the store")

    def check_dvc(project: Path) -> None:
        if md5 not in (project / "large.bin.dvc").read_text():
            raise NotDone("dvc add: large.bin.dvc has another md5")
        if hash_file(project / ".dvc/cache/files/md5" / md5[:2] / md5[2:]) != sha256:
            raise NotDone("dvc add: its cache has other bytes")

    def check_floor(run: Run) -> None:
        if run.stdout.strip() != sha256:
            raise NotDone("the SHA-256 floor found another hash")

    def check_copy(_: Run) -> None:
        if hash_file(place.root / "copy") != sha256:
            raise NotDone("cp: the copy has other bytes")
        place.clear("copy")

    contestants = [cas_add(place, bring, "models/large.bin", check_cas)]
    dvc, said = find_dvc()
    if dvc:
        contestants.append(dvc_add(place, dvc, said, bring, check_dvc))
    else:
        place.note = "; ".join(filter(None, (place.note, said)))
    if annex.find_annex():
        contestants.append(annex.add(place, bring.into, source))
    env = place.env()
    contestants += [
        Contestant(
            name="SHA-256 of it, nothing else",
            argv=[PYTHON, "-I", "-c", SHA256, str(source)],
            role="floor",
            env=env,
            cwd=place.root,
            check=check_floor,
        ),
        Contestant(
            name="cp, then sync of the copy",
            argv=["/bin/sh", "-c", "cp large.bin ../copy && sync ../copy"],
            role="floor",
            env=env,
            cwd=place.root / "copied",
            before=bring.into(place.root / "copied"),  # as for cas: memory is as full
            check=check_copy,
        ),
    ]
    yield contestants


@contextmanager
def add_small(place: Place) -> Iterator[list[Contestant]]:
    """Add a directory of many small local files."""
    source = place.root / "small"
    paths = make_files(source, 20_000, 1024)
    wanted = hash_files(source)
    md5s = set(hash_files(source, "md5").values())
    blobs = {f"small/{path}": blob_id((source / path).read_bytes()) for path in paths}
    bring = Bring(place, source)

    def check_cas(view: Path) -> None:
        check_same(hash_files(view), wanted, "cas add")
        if place.store not in view.resolve().parents:
            raise NotDone("cas add: the view leads to no tree of the store")

    def check_dvc(project: Path) -> None:
        said = re.search(r"nfiles: (\d+)", (project / "small.dvc").read_text())
        cache = hash_files(project / ".dvc/cache/files/md5", "md5")
        wrong = [path for path, md5 in cache.items() if path.replace("/", "")[:32] != md5]
        if not said or int(said[1]) != len(wanted) or wrong or not md5s <= set(cache.values()):
            raise NotDone("dvc add: not all of the files are in its cache")

    def check_git(_: Run) -> None:
        found = {}
        for line in place.run("git", "ls-files", "-s", cwd=place.root / "git").splitlines():
            head, path = line.split("\t", 1)
            found[path] = head.split()[1]
        check_same(found, blobs, "git add")
        place.run("git", "fsck", "--no-dangling", cwd=place.root / "git")
        objects = sum(1 for _ in (place.root / "git/.git/objects").glob("??/*"))
        if objects != len(set(blobs.values())):
            raise NotDone(f"git add: {objects} objects")

    contestants = [cas_add(place, bring, "datasets/small", check_cas)]
    dvc, said = find_dvc()
    if dvc:
        contestants.append(dvc_add(place, dvc, said, bring, check_dvc))
    else:
        place.note = "; ".join(filter(None, (place.note, said)))
    if git := shutil.which("git"):
        project = place.root / "git"
        contestants.append(
            Contestant(
                name="git add",
                argv=[git, "add", "small"],
                env=place.env(),
                cwd=project,
                before=bring.into(project, [git, "init", "--quiet"]),
                check=check_git,
            )
        )
    yield contestants


def blob_id(data: bytes) -> str:
    """Return the name that git gives a file of these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
