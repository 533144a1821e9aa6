"""The rows of a `cas pull` that has nothing to do, and of `import cas`."""

# ruff: noqa: RUF001 - tables have a multiplication sign

from __future__ import annotations

import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .hub import HubProcess
from .measure import Contestant, NotDone, Run
from .peers import find, find_dvc
from .place import CAS, PYTHON, Place, check_same, hash_files, make_files

if TYPE_CHECKING:
    from collections.abc import Iterator

FIRST_AND_AGAIN = """\
import sys, time
import cas
if sys.argv[2:]:
    import pathlib, threading  # as in every program that loads a library
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


def make_project(
    place: Place, assets: int, files: int, name: str = "project"
) -> tuple[Path, dict[str, str]]:
    """Make a project with local assets of 1 KB files, all pulled; return it and their hashes."""
    project = place.root / name
    project.mkdir()
    place.run(CAS, "init", cwd=project)
    wanted: dict[str, str] = {}
    requests = []
    for number in range(assets):
        source = project / f"sources/data-{number:02d}"
        make_files(source, files, 1024)
        requests.append(f'"datasets/{source.name}" = {{ local = "sources/{source.name}" }}')
        wanted |= {f"{source.name}/{path}": digest for path, digest in hash_files(source).items()}
    # `cas add` for each would take minutes
    head, table, rest = (project / "pyproject.toml").read_text().partition("[tool.cas.assets]\n")
    (project / "pyproject.toml").write_text(head + table + "\n".join((*requests, rest)))
    place.run(CAS, "lock", cwd=project)
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


def pull_nothing(
    place: Place, project: Path, assets: int, wanted: dict[str, str],
    name: str = "cas pull", *, role: Literal["cas", "also"] = "cas",
) -> Contestant:  # fmt: skip
    """Return the pull of a project in which all is in place."""
    proved: list[str] = []

    def check(run: Run) -> None:
        if f"{assets} asset{'s' * (assets > 1)} in place" not in run.stderr:
            raise NotDone(f"cas pull said {run.stderr!r}")
        if not proved:  # nothing writes there afterwards, and 100,000 files take seconds
            check_same(views_of(project), wanted, "cas pull")
            proved.append(name)

    return Contestant(
        name=name, argv=[CAS, "pull"], role=role, env=place.env(), cwd=project, check=check
    )


@contextmanager
def noop(place: Place) -> Iterator[list[Contestant]]:
    """Pull where there is nothing to do, beside what others do with the same files."""
    place.clear_caches()
    project, wanted = make_project(place, 10, 10)
    sources = project / "sources"
    contestants = [
        pull_nothing(place, project, 10, wanted),
        bare_python(project, place.env()),
        bare_python(project, place.env(), "-I"),
    ]
    for found, said in (uv_sync(place), dvc_status(place, sources)):
        if found:
            contestants.append(found)
        else:
            place.note = "; ".join(filter(None, (place.note, said)))
    shutil.copytree(sources, place.root / "seed/datasets/bench/same")
    with HubProcess(place.root / "seed") as hub:
        yield [*contestants, hf_download(place, hub, wanted)]


@contextmanager
def noop_many(place: Place, each: int = 10_000, many: int = 1000) -> Iterator[list[Contestant]]:
    """Pull where there is nothing to do, with many files and with many assets."""
    place.clear_caches()
    few, wanted_few = make_project(place, 10, 10, "few")
    files, wanted_files = make_project(place, 10, each, "files")
    assets, wanted_assets = make_project(place, many, 1, "assets")
    yield [
        pull_nothing(place, files, 10, wanted_files, f"cas pull, 10 assets of {each:,} files"),
        pull_nothing(place, few, 10, wanted_few, "10 assets of 10 files", role="also"),
        pull_nothing(place, assets, many, wanted_assets, f"{many:,} assets of one", role="also"),
        bare_python(few, place.env()),
    ]


def uv_sync(place: Place) -> tuple[Contestant | None, str]:
    """Return `uv sync` of a project with no package to install, which uv has to find out."""
    uv, said = find("uv")
    if uv is None:
        return None, said
    project = place.root / "uv"
    project.mkdir()
    (project / "pyproject.toml").write_text('[project]\nname = "nothing"\nversion = "1"\n')
    env = {"UV_PYTHON": PYTHON, "UV_CACHE_DIR": str(place.root / "uv-cache"), "UV_OFFLINE": "1"}
    place.run(uv, "sync", cwd=project, **env)

    def check(run: Run) -> None:
        if not (project / "uv.lock").exists() or "nstalled" in run.stderr:
            raise NotDone(f"uv sync said {run.stderr!r}")

    return Contestant(
        name=f"uv sync, no packages ({said})",
        argv=[uv, "sync"],
        env=place.env(**env),
        cwd=project,
        check=check,
    ), ""


def dvc_status(place: Place, sources: Path) -> tuple[Contestant | None, str]:
    """Return `dvc status` of the same directories, all as they were added."""
    dvc, said = find_dvc()
    if dvc is None:
        return None, said
    project = place.root / "dvc"
    shutil.copytree(sources, project)
    env = {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(place.root / "dvc-site")}
    place.run(dvc, "init", "--no-scm", "--quiet", cwd=project, **env)
    place.run(dvc, "add", "--quiet", *sorted(p.name for p in sources.iterdir()), cwd=project, **env)

    def check(run: Run) -> None:
        if "up to date" not in run.stdout:
            raise NotDone(f"dvc status said {run.stdout!r}")

    return Contestant(
        name=f"dvc status ({said})",
        argv=[dvc, "status"],
        env=place.env(**env),
        cwd=project,
        check=check,
    ), ""


def hf_download(place: Place, hub: HubProcess, wanted: dict[str, str]) -> Contestant:
    """Return `hf download` of the same files, in one repository, all in its cache."""
    argv = [PYTHON, "-m", "huggingface_hub.cli.hf", "download", "bench/same", "--type", "dataset"]
    env = {"HF_ENDPOINT": hub.endpoint}
    place.run(*argv, cwd=place.root, **env)

    def check(run: Run) -> None:
        (path,) = (place.root / "hf/hub/datasets--bench--same/snapshots").iterdir()
        check_same(hash_files(path), wanted, "hf download")

    return Contestant(
        name="hf download, one repository",
        argv=argv,
        env=place.env(**env),
        cwd=place.root,
        check=check,
    )


@contextmanager
def imports(place: Place) -> Iterator[list[Contestant]]:
    """Import cas, and ask it for a path."""
    place.clear_caches()
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
        Contestant(
            name="the same, pathlib and threading loaded before",
            argv=[PYTHON, "-c", FIRST_AND_AGAIN, "datasets/data-03", "loaded"],
            role="also",
            env=env,
            cwd=project,
            check=check,
        ),
    ]
