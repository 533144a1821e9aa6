"""The rows of `cas pull` from the Hub."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .hub import HubProcess
from .measure import Contestant, NotDone, Run
from .place import (
    CAS,
    PYTHON,
    Place,
    check_same,
    hash_files,
    make_file,
    make_files,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SNAPSHOT = """\
import sys
from huggingface_hub import snapshot_download
print(snapshot_download(sys.argv[1], repo_type="dataset", revision=sys.argv[2]))
"""


class HubAsset:
    """A dataset on the Hub of this run, a project that has it locked, and fresh copies of it."""

    def __init__(
        self, place: Place, hub: HubProcess, repos: list[str], *, listed: bool = True
    ) -> None:
        """Lock *repos*, which lie under ``seed/datasets/``; hash their files if *listed*."""
        self.place, self.hub, self.repos = place, hub, repos
        place.clear_caches()
        locked = place.root / "locked"
        locked.mkdir()
        place.run(CAS, "init", cwd=locked)
        for repo in repos:
            argv = (CAS, "add", f"dataset:{repo}", "--no-pull")
            place.run(*argv, cwd=locked, HF_ENDPOINT=hub.endpoint)
        self.lock = (locked / "assets.lock").read_text()
        self._locked = locked
        self.commit = self.lock.partition('commit = "')[2].partition('"')[0]
        hashed = repos if listed else []
        self.wanted = {repo: hash_files(place.root / "seed/datasets" / repo) for repo in hashed}
        self.files = sum(map(len, self.wanted.values()))

    @property
    def env(self) -> dict[str, str]:
        return self.place.env(HF_ENDPOINT=self.hub.endpoint)

    def fresh(self, name: str, *, cold: bool) -> Callable[[], None]:
        """Return what makes *name* the project as git would clone it."""

        def make() -> None:
            self.place.clear(name)
            if cold:
                self.place.clear_caches()
            project = self.place.root / name
            project.mkdir()
            for file in ("assets.lock", "pyproject.toml"):
                shutil.copy(self._locked / file, project / file)
            self.hub.reset()

        return make

    def cas(
        self, name: str, says: str, *, cold: bool = True, role: Literal["cas", "also"] = "cas"
    ) -> Contestant:
        """Return the pull of a fresh copy of the project."""
        project = self.place.root / name

        def check(_: Run) -> dict[str, float]:
            requests = self.hub.requests()["all"]
            for repo, wanted in self.wanted.items():
                check_same(hash_files(project / "assets/datasets" / repo), wanted, says)
            if (project / "assets.lock").read_text() != self.lock:
                raise NotDone(f"{says}: assets.lock was changed")
            return {"requests a file": requests / self.files}

        return Contestant(
            name=says,
            argv=[CAS, "pull"],
            role=role,
            env=self.env,
            cwd=self.place.root / name,
            before=self.fresh(name, cold=cold),
            check=check,
        )

    def snapshot(self) -> Contestant:
        """Return huggingface_hub's own download of the one repository, into an empty cache."""
        (repo,) = self.repos

        def before() -> None:
            self.place.clear("project")
            self.place.clear_caches()
            self.hub.reset()

        def check(run: Run) -> dict[str, float]:
            requests = self.hub.requests()["all"]
            path = Path(run.stdout.strip().splitlines()[-1])
            check_same(hash_files(path), self.wanted[repo], "snapshot_download")
            return {"requests a file": requests / self.files}

        return Contestant(
            name="snapshot_download",
            argv=[PYTHON, "-c", SNAPSHOT, repo, self.commit],
            env=self.env,
            cwd=self.place.root,
            before=before,
            check=check,
        )


def curl(place: Place, asset: HubAsset) -> list[Contestant]:
    """Return curl of the bare files of the one repository: nothing hashed, nothing synced."""
    program = shutil.which("curl")
    if program is None:
        return []
    (repo,) = asset.repos
    folder, config = place.root / "curled", place.scratch / "curl.conf"
    base = f"{asset.hub.endpoint}/datasets/{repo}/resolve/{asset.commit}"
    config.write_text("".join(
        f'url = "{base}/{path}"\noutput = "{folder / path}"\n' for path in asset.wanted[repo]
    ))  # fmt: skip

    def before() -> None:
        place.clear("curled", "project")
        place.clear_caches()
        asset.hub.reset()

    def check(_: Run) -> dict[str, float]:
        requests = asset.hub.requests()["all"]
        check_same(hash_files(folder), asset.wanted[repo], "curl")
        place.clear("curled")
        return {"requests a file": requests / asset.files}

    argv = [program, "-sSfLZ", "--parallel-max", "16", "--create-dirs", "-K", str(config)]
    return [
        Contestant(
            name="curl -Z to files" if asset.files > 1 else "curl to a file",
            argv=argv,
            env=place.env(),
            cwd=place.root,
            before=before,
            check=check,
        )
    ]


@contextmanager
def cold_small(
    place: Place, count: int = 2000, size: int = 16 << 10, *, peers: bool = True
) -> Iterator[list[Contestant]]:
    """Pull many small files with nothing here."""
    make_files(place.root / "seed/datasets/bench/small", count, size)
    with HubProcess(place.root / "seed") as hub:
        asset = HubAsset(place, hub, ["bench/small"])
        others = [asset.snapshot(), *curl(place, asset)] if peers else []
        yield [replace(asset.cas("project", "cas pull"), watched=not peers), *others]


@contextmanager
def cold_large(
    place: Place, size: int = 1 << 30, *, peers: bool = True
) -> Iterator[list[Contestant]]:
    """Pull one large file with nothing here; without peers it is of zeros, quickly made."""
    large = place.root / "seed/datasets/bench/large/large.bin"
    if peers:
        make_file(large, size)
    else:
        large.parent.mkdir(parents=True)
        with large.open("wb") as file:
            file.truncate(size)
    with HubProcess(place.root / "seed") as hub:
        asset = HubAsset(place, hub, ["bench/large"])
        others = [asset.snapshot(), *curl(place, asset)] if peers else []
        yield [replace(asset.cas("project", "cas pull"), watched=not peers), *others]


@contextmanager
def second_project(place: Place) -> Iterator[list[Contestant]]:
    """Pull into a second project what a first one has brought to the store."""
    names = [f"bench/many-{number}" for number in range(10)]
    for name in names:
        make_files(place.root / "seed/datasets" / name, 1000, 1024)
    with HubProcess(place.root / "seed") as hub:
        asset = HubAsset(place, hub, names)
        second = asset.cas("second", "cas pull, second project", cold=False)

        def check(run: Run) -> dict[str, float]:
            extra = dict(second.check(run) or {})
            links = [place.root / "second/assets/datasets" / name for name in names]
            if extra["requests a file"] or not all(link.is_symlink() for link in links):
                raise NotDone("the second project asked the Hub, or has no links")
            return extra

        yield [
            asset.cas("project", "cas pull, first project, cold", role="also"),
            replace(second, check=check),
        ]
