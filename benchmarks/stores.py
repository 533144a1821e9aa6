"""The rows of a store that holds the files already: verify, and what a lock moves."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from . import annex
from .hub import HubProcess
from .measure import Contestant, NotDone, Role, Run
from .noops import bare_python, make_project, pull_nothing
from .peers import find_dvc
from .place import CAS, PYTHON, Place, check_same, hash_files, make_file, make_files
from .pulls import HubAsset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# what two cores can do at most: SHA-256 of mapped files, in as many threads
TWO_FLOORS = """\
import hashlib, mmap, os, sys
from concurrent.futures import ThreadPoolExecutor
def digest(path):
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
        return hashlib.sha256(data).hexdigest()
paths = [os.path.join(at, name) for at, _, names in os.walk(sys.argv[1]) for name in names]
with ThreadPoolExecutor(2) as pool:
    print(len(list(pool.map(digest, paths))))
"""

TREE = """\
import sys
from huggingface_hub import HfApi
print(sum(1 for _ in HfApi().list_repo_tree(sys.argv[1], repo_type="dataset", recursive=True,
                                            revision=sys.argv[2])))
"""


@contextmanager
def verify(place: Place, *, large: bool) -> Iterator[list[Contestant]]:
    """Read back what is stored: four files of 512 MiB, or 20,000 of 1 KB."""
    source, project = place.root / "data", place.root / "project"
    if large:
        for number in range(4):
            make_file(source / f"{number}.bin", 512 << 20)
    else:
        make_files(source, 20_000, 1024)
    count = sum(len(names) for _, _, names in os.walk(source))
    place.clear_caches()
    project.mkdir()
    place.run(CAS, "init", cwd=project)
    place.run(CAS, "add", str(source), "--name", "datasets/data", cwd=project)

    def one(name: str, argv: list[str], says: str, role: Role = "peer") -> Contestant:
        def check(run: Run) -> None:
            if says not in run.stdout + run.stderr:
                raise NotDone(f"{name}: expected {says!r}, found {run.stdout[-200:]!r}")

        return Contestant(
            name=name, argv=argv, role=role, env=place.env(), cwd=project, check=check
        )

    # each object, and the listing
    said = f"{count + 1} objects"
    contestants = [
        one("cas verify --full", [CAS, "verify", "--full"], said, "cas"),
        one("cas verify --fast", [CAS, "verify", "--fast"], said, "also"),
    ]
    for peer in ("sha256sum", "b3sum"):
        if shutil.which(peer):
            script = f"find {source} -type f -print0 | xargs -0 {peer}"
            contestants.append(one(peer, ["/bin/sh", "-c", script], str(source)))
    if large and annex.find_annex():  # to add the small ones takes it minutes
        contestants.append(annex.fsck(place, source, count))
    floor = [PYTHON, "-I", "-c", TWO_FLOORS, str(source)]
    contestants.append(
        Contestant(
            name="SHA-256 in two threads, nothing else",
            argv=floor,
            role="floor",
            env=place.env(),
            cwd=project,
            check=lambda run: _expect(int(run.stdout), count),
        )
    )
    yield contestants


def _expect(found: int, wanted: int) -> None:
    if found != wanted:
        raise NotDone(f"expected {wanted} files, found {found}")


@contextmanager
def switch(place: Place, files: int = 100_000) -> Iterator[list[Contestant]]:
    """Let a view go to another tree that is here: of one file, and of many."""
    place.clear_caches()
    idle, wanted = make_project(place, 1, 1, "idle")
    contestants = []
    for count in (1, files):
        project, _ = make_project(place, 1, count, f"of-{count}")
        contestants.append(_switch(place, project, count))
    small, many = contestants
    yield [many, small, pull_nothing(place, idle, 1, wanted, "the no-op", role="also")]


def _switch(place: Place, project: Path, count: int) -> Contestant:
    lock, view = project / "assets.lock", project / "assets/datasets/data-00"
    path = project / "sources/data-00/part-000/file-00000.dat"
    locks = [lock.read_bytes()]
    path.write_bytes(b"another")
    place.run(CAS, "lock", "--update-all", cwd=project)
    locks.append(lock.read_bytes())
    place.run(CAS, "pull", cwd=project)
    targets: list[str] = []

    def before() -> None:
        locks.append(locks.pop(0))
        lock.write_bytes(locks[-1])
        targets.append(os.readlink(view))

    def check(_: Run) -> None:
        digest = locks[-1].partition(b"t1:")[2][:64].decode()
        if digest[2:] not in os.readlink(view) or os.readlink(view) == targets[-1]:
            raise NotDone(f"the view leads to {os.readlink(view)}")

    return Contestant(
        name=f"cas pull, a view of {count:,} file{'s' * (count > 1)} moves",
        argv=[CAS, "pull"],
        role="cas" if count > 1 else "also",
        env=place.env(),
        cwd=project,
        before=before,
        check=check,
    )


@contextmanager
def second_project_100k(place: Place, files: int = 10_000) -> Iterator[list[Contestant]]:
    """Pull ten assets that are in the store into a second project, beside dvc's links."""
    place.clear_caches()
    first, wanted = make_project(place, 10, files)
    second = place.root / "second"

    def before() -> None:
        place.clear("second")
        second.mkdir()
        for name in ("assets.lock", "pyproject.toml"):
            shutil.copy(first / name, second / name)

    def check(_: Run) -> None:
        found = {
            f"{view.name}/{path}": digest
            for view in (second / "assets/datasets").iterdir()
            if view.is_symlink()
            for path, digest in hash_files(view).items()
        }
        check_same(found, wanted, "cas pull")

    contestants = [
        Contestant(
            name="cas pull, second project",
            argv=[CAS, "pull"],
            role="cas",
            env=place.env(),
            cwd=second,
            before=before,
            check=check,
        ),
        bare_python(first, place.env()),
    ]
    dvc, said = find_dvc()
    if dvc:
        contestants.append(_dvc_checkout(place, dvc, said, wanted))
    else:
        place.note = "; ".join(filter(None, (place.note, said)))
    yield contestants


def _dvc_checkout(place: Place, dvc: str, version: str, wanted: dict[str, str]) -> Contestant:
    """Return `dvc checkout` with symlinks to a cache that another project filled."""
    first, second = place.root / "dvc-first", place.root / "dvc-second"
    env = {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(place.root / "dvc-site")}

    def begin(project: Path) -> None:
        project.mkdir()
        for words in (["init", "--no-scm", "--quiet"], ["cache", "dir", str(place.root / "dvc")],
                      ["config", "cache.type", "symlink"]):  # fmt: skip
            place.run(dvc, *words, cwd=project, **env)

    begin(first)
    os.rename(place.root / "project/sources", first / "data")
    place.run(dvc, "add", "--quiet", "data", cwd=first, **env)

    def before() -> None:
        place.clear("dvc-second")
        begin(second)
        shutil.copy(first / "data.dvc", second / "data.dvc")

    return Contestant(
        name=f"dvc checkout, symlinks ({version})",
        argv=[dvc, "checkout", "--quiet"],
        env=place.env(**env),
        cwd=second,
        before=before,
        check=lambda _: check_same(hash_files(second / "data"), wanted, "dvc checkout"),
    )


@contextmanager
def lock(place: Place, count: int = 100_000) -> Iterator[list[Contestant]]:
    """Pin a repository of many LFS files, none of which is fetched."""
    folder = place.root / "seed/datasets/bench/listed"
    for number in range(count):
        path = folder / f"part-{number // 1000:03d}/{number:06d}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number)
    with HubProcess(place.root / "seed") as hub:
        asset = HubAsset(place, hub, ["bench/listed"], listed=False)
        project = place.root / "project"

        def requests() -> dict[str, float]:
            return {"requests": hub.requests()["all"]}

        def again(make: Callable[[], None]) -> Callable[[], None]:
            def before() -> None:
                make()
                (project / "assets.lock").write_text("version = 1\n")

            return before

        def check(_: Run) -> dict[str, float]:
            if f"files = {count}\n" not in (project / "assets.lock").read_text():
                raise NotDone("cas lock: the lock has another number of files")
            return requests()

        def check_tree(run: Run) -> dict[str, float]:
            if int(run.stdout) < count:
                raise NotDone(f"list_repo_tree found {run.stdout} files and directories")
            return requests()

        yield [
            Contestant(
                name="cas lock",
                argv=[CAS, "lock"],
                role="cas",
                env=asset.env,
                cwd=project,
                before=again(asset.fresh("project", cold=True)),
                check=check,
            ),
            Contestant(
                name="list_repo_tree",
                argv=[PYTHON, "-c", TREE, "bench/listed", asset.commit],
                env=asset.env,
                cwd=place.root,
                before=asset.fresh("other", cold=True),
                check=check_tree,
            ),
        ]
