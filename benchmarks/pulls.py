"""The rows of `cas pull` and of `import cas`."""

# ruff: noqa: RUF001 - tables have a multiplication sign

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
    hash_file,
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

FIRST_AND_AGAIN = """\
import sys, time
import cas
start = time.perf_counter_ns()
path = cas.path(sys.argv[1])
first = time.perf_counter_ns() - start
again = []
for _ in range(2000):
    start = time.perf_counter_ns()
    cas.path(sys.argv[1])
    again.append(time.perf_counter_ns() - start)
again.sort()
print(first / 1000, again[1000] / 1000, path)
"""


def bare_python(cwd: Path, env: dict[str, str], *flags: str) -> Contestant:
    """Return the floor of everything in Python: an interpreter that does nothing."""
    name = " ".join(("python", *flags, "-c pass"))
    argv = [PYTHON, *flags, "-c", "pass"]
    return Contestant(name=name, argv=argv, role="floor", env=env, cwd=cwd, check=lambda _: None)


def make_project(place: Place, assets: int, files: int) -> tuple[Path, dict[str, str]]:
    """Make a project with local assets of 1 KB files, all pulled; return it and their hashes."""
    project = place.root / "project"
    project.mkdir()
    place.clear_caches()
    place.run(CAS, "init", cwd=project)
    wanted = {}
    for number in range(assets):
        name = f"data-{number:02d}"
        make_files(place.root / name, files, 1024)
        source = place.root / name
        place.run(CAS, "add", str(source), "--name", f"datasets/{name}", cwd=project)
        for path, digest in hash_files(source).items():
            wanted[f"{name}/{path}"] = digest
    for _ in range(2):  # the second one is the first that has nothing to do
        place.run(CAS, "pull", cwd=project)
    return project, wanted


def views_of(project: Path) -> dict[str, str]:
    """Return the hash of every file of the project's datasets, through their views."""
    found: dict[str, str] = {}
    for view in sorted((project / "assets/datasets").iterdir()):
        if view.is_symlink():
            hashes = hash_files(view)
            found |= {f"{view.name}/{path}": digest for path, digest in hashes.items()}
    return found


@contextmanager
def noop(place: Place) -> Iterator[list[Contestant]]:
    """Pull where there is nothing to do."""
    project, wanted = make_project(place, 10, 10)
    env = place.env()

    def check(run: Run) -> None:
        if "10 assets in place" not in run.stderr:
            raise NotDone(f"cas pull said {run.stderr!r}")
        check_same(views_of(project), wanted, "cas pull")

    yield [
        Contestant(
            name="cas pull", argv=[CAS, "pull"], role="cas", env=env, cwd=project, check=check
        ),
        bare_python(project, env),
        bare_python(project, env, "-I"),
    ]


@contextmanager
def imports(place: Place) -> Iterator[list[Contestant]]:
    """Import cas, and ask it for a path."""
    project, wanted = make_project(place, 10, 10)
    env = place.env()

    def check_import(run: Run) -> None:
        if not run.stdout.endswith("/cas/__init__.py\n"):
            raise NotDone(f"import cas said {run.stdout!r}")

    def check(run: Run) -> dict[str, float]:
        first, again, path = run.stdout.split(maxsplit=2)
        found = {f"data-03/{name}": value for name, value in hash_files(Path(path.strip())).items()}
        check_same(found, {k: v for k, v in wanted.items() if k.startswith("data-03/")}, "cas.path")
        return {"first call, µs": float(first), "again, µs": float(again)}

    yield [
        Contestant(
            name="python -c 'import cas'",
            argv=[PYTHON, "-c", "import cas; print(cas.__file__)"],
            role="cas",
            env=env,
            cwd=project,
            check=check_import,
        ),
        bare_python(project, env),
        Contestant(
            name="the same, then 2,001 × cas.path()",
            argv=[PYTHON, "-c", FIRST_AND_AGAIN, "datasets/data-03"],
            role="also",
            env=env,
            cwd=project,
            check=check,
        ),
    ]


class HubAsset:
    """A dataset on the Hub of this run, a project that has it locked, and fresh copies of it."""

    def __init__(self, place: Place, hub: HubProcess, repos: list[str]) -> None:
        """Lock *repos*, which lie under ``seed/datasets/``."""
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
        self.wanted = {repo: hash_files(place.root / "seed/datasets" / repo) for repo in repos}
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


@contextmanager
def cold_small(place: Place) -> Iterator[list[Contestant]]:
    """Pull many small files with nothing here."""
    make_files(place.root / "seed/datasets/bench/small", 2000, 16 << 10)
    with HubProcess(place.root / "seed") as hub:
        asset = HubAsset(place, hub, ["bench/small"])
        yield [asset.cas("project", "cas pull"), asset.snapshot()]


@contextmanager
def cold_large(place: Place) -> Iterator[list[Contestant]]:
    """Pull one large file with nothing here."""
    large = place.root / "seed/datasets/bench/large/large.bin"
    make_file(large, 1 << 30)
    digest = hash_file(large)
    with HubProcess(place.root / "seed") as hub:
        asset = HubAsset(place, hub, ["bench/large"])
        contestants = [asset.cas("project", "cas pull"), asset.snapshot()]
        if curl := shutil.which("curl"):
            target = place.root / "curled.bin"

            def before() -> None:
                place.clear("curled.bin", "project")
                place.clear_caches()
                hub.reset()

            def check(_: Run) -> dict[str, float]:
                if hash_file(target) != digest:
                    raise NotDone("curl: other bytes came")
                target.unlink()
                return {"requests a file": hub.requests()["all"]}

            url = f"{hub.endpoint}/datasets/bench/large/resolve/{asset.commit}/large.bin"
            curl_argv = [curl, "-sSfL", "-o", str(target), url]
            contestants.append(
                Contestant(
                    name="curl to a file",
                    argv=curl_argv,
                    env=place.env(),
                    cwd=place.root,
                    before=before,
                    check=check,
                )
            )
        yield contestants


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
