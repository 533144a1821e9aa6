"""The rows of remotes: push and pull, against s5cmd and dvc, on one SeaweedFS on loopback."""

from __future__ import annotations

import json
import shutil
import subprocess
import venv
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .measure import Contestant, NotDone, Run
from .place import CAS, HOME, Place, check_same, hash_file, hash_files, make_file, make_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.bucket import Bucket

LARGE = 1 << 30  # bytes
FILES, SMALL = 5000, 4096
MANY, TINY = 100_000, 64
BUCKET = "s3://bench-bucket"


@dataclass(frozen=True)
class Rivals:
    """Everything that a row needs: the server, the data, and the programs."""

    place: Place
    bucket: Bucket
    data: Path
    """A file, or a directory; the asset is ``datasets/data``."""
    s5cmd: str
    dvc: str | None

    @property
    def project(self) -> Path:
        return self.place.root / "project"

    @property
    def dvc_project(self) -> Path:
        return self.place.root / "dvc"

    def env(self) -> dict[str, str]:
        return self.place.env(
            **self.bucket.environment,
            S3_ENDPOINT_URL=self.bucket.endpoint,
            AWS_REGION="us-east-1",
            DVC_NO_ANALYTICS="1",
            DVC_SITE_CACHE_DIR=str(self.place.root / "dvc-site"),
        )

    def run(self, *argv: str, cwd: Path | None = None) -> str:
        return self.place.run(*argv, cwd=cwd or self.place.root, **self.env())

    def empty(self, name: str) -> None:
        """Remove what lies below a name in the bucket."""
        subprocess.run(
            [self.s5cmd, "rm", f"{BUCKET}/{name}/*"], env=self.env(), capture_output=True,
            check=False,
        )  # fmt: skip

    def copy(self, source: Path, name: str) -> None:
        """Put a directory into the bucket, below a name."""
        self.run(self.s5cmd, "--log", "error", "cp", f"{source}/", f"{BUCKET}/{name}/")

    def check_data(self, found: Path) -> None:
        if self.data.is_dir():
            check_same(hash_files(found), hash_files(self.data), str(found))
        elif hash_file(found) != hash_file(self.data):
            raise NotDone(f"{found}: other bytes came")


@contextmanager
def _rivals(place: Place, make: Callable[[Path], object]) -> Iterator[Rivals]:
    """Start the server, make the data, and add it to a project of cas and one of dvc."""
    try:
        from tests.bucket import Bucket, NotStarted, why_not
    except ImportError as error:
        raise NotDone(str(error)) from None
    if why := why_not():
        raise NotDone(why)
    s5cmd = shutil.which("s5cmd") or shutil.which("s5cmd", path=str(HOME / "s5cmd/bin"))
    if not s5cmd:
        s5cmd = _install("s5cmd", "s5cmd")
    if not s5cmd:
        raise NotDone("s5cmd could not be installed")
    data = place.root / "data"
    make(data)
    try:
        bucket = Bucket(above=place.root, volumes=1000)
    except NotStarted as error:
        raise NotDone(str(error)) from None
    try:
        rivals = Rivals(place, bucket, data, s5cmd, _install("dvc[s3]", "dvc"))
        place.clear_caches()
        rivals.project.mkdir()
        rivals.run(s5cmd, "mb", BUCKET)
        rivals.run(CAS, "init", cwd=rivals.project)
        rivals.run(CAS, "remote", "add", "lab", f"{BUCKET}/cas", cwd=rivals.project)
        rivals.run(CAS, "add", "../data", "--name", "datasets/data", cwd=rivals.project)
        if rivals.dvc:
            _dvc_project(rivals, rivals.dvc)
        yield rivals
    finally:
        bucket.close()


def _dvc_project(rivals: Rivals, dvc: str) -> None:
    project = rivals.dvc_project
    project.mkdir()
    rivals.run(dvc, "init", "--no-scm", "--quiet", cwd=project)
    rivals.run(dvc, "remote", "add", "-d", "lab", f"{BUCKET}/dvc", cwd=project)
    rivals.run(dvc, "remote", "modify", "lab", "endpointurl", rivals.bucket.endpoint, cwd=project)
    copy = shutil.copytree if rivals.data.is_dir() else shutil.copyfile
    copy(rivals.data, project / "data")
    rivals.run(dvc, "add", "--quiet", "data", cwd=project)


def _push(rivals: Rivals) -> list[Contestant]:
    whole = rivals.data.is_dir()
    source = f"{rivals.data}/*" if whole else str(rivals.data)
    made = [
        Contestant(
            name="cas push", argv=[CAS, "push", "--json"], role="cas", env=rivals.env(),
            cwd=rivals.project, before=lambda: rivals.empty("cas"),
            check=lambda run: _sent(run, rivals),
        ),
        Contestant(
            name="s5cmd cp", argv=[rivals.s5cmd, "--log", "error", "cp", source, f"{BUCKET}/s5/"],
            env=rivals.env(), cwd=rivals.place.root, before=lambda: rivals.empty("s5"),
            check=lambda _: _listed(rivals),
        ),
    ]  # fmt: skip
    if rivals.dvc:
        made.append(
            Contestant(
                name="dvc push", argv=[rivals.dvc, "push", "--quiet"], env=rivals.env(),
                cwd=rivals.dvc_project, before=lambda: rivals.empty("dvc"), check=lambda _: None,
            )
        )  # fmt: skip
    return made


def _pull(rivals: Rivals) -> list[Contestant]:
    source = f"{BUCKET}/s5/*" if rivals.data.is_dir() else f"{BUCKET}/s5/data"
    target = "out/" if rivals.data.is_dir() else "out/data"
    argv = [rivals.s5cmd, "--log", "error", "cp"]
    rivals.run(CAS, "push", cwd=rivals.project)
    whole = f"{rivals.data}/*" if rivals.data.is_dir() else str(rivals.data)
    rivals.run(*argv, whole, f"{BUCKET}/s5/")
    if rivals.dvc:
        rivals.run(rivals.dvc, "push", "--quiet", cwd=rivals.dvc_project)

    def forget_cas() -> None:
        rivals.place.clear("store", "cache")

    def forget_dvc() -> None:
        rivals.place.clear("dvc/.dvc/cache", "dvc/data", "dvc-site")

    def forget_s5() -> None:
        rivals.place.clear("out")
        (rivals.place.root / "out").mkdir()

    view = rivals.project / "assets/datasets/data"
    made = [
        Contestant(
            name="cas pull", argv=[CAS, "pull", "--json"], role="cas", env=rivals.env(),
            cwd=rivals.project, before=forget_cas,
            check=lambda _: rivals.check_data(view.resolve()),
        ),
        Contestant(
            name="s5cmd cp", argv=[*argv, source, target], env=rivals.env(),
            cwd=rivals.place.root, before=forget_s5,
            check=lambda _: rivals.check_data(rivals.place.root / target.rstrip("/")),
        ),
    ]  # fmt: skip
    if rivals.dvc:
        made.append(
            Contestant(
                name="dvc pull", argv=[rivals.dvc, "pull", "--quiet"], env=rivals.env(),
                cwd=rivals.dvc_project, before=forget_dvc,
                check=lambda _: rivals.check_data(rivals.dvc_project / "data"),
            )
        )  # fmt: skip
    return made


@contextmanager
def push_large(place: Place) -> Iterator[list[Contestant]]:
    """Push one file of 1 GiB."""
    with _rivals(place, lambda path: make_file(path, LARGE)) as rivals:
        yield _push(rivals)


@contextmanager
def pull_large(place: Place) -> Iterator[list[Contestant]]:
    """Pull one file of 1 GiB."""
    with _rivals(place, lambda path: make_file(path, LARGE)) as rivals:
        yield _pull(rivals)


@contextmanager
def push_small(place: Place) -> Iterator[list[Contestant]]:
    """Push 5,000 files of 4 KB."""
    with _rivals(place, lambda path: make_files(path, FILES, SMALL)) as rivals:
        yield _push(rivals)


@contextmanager
def pull_small(place: Place) -> Iterator[list[Contestant]]:
    """Pull 5,000 files of 4 KB."""
    with _rivals(place, lambda path: make_files(path, FILES, SMALL)) as rivals:
        yield _pull(rivals)


@contextmanager
def push_again(place: Place) -> Iterator[list[Contestant]]:
    """Push 5,000 files that are all there."""
    with _rivals(place, lambda path: make_files(path, FILES, SMALL)) as rivals:
        rivals.run(CAS, "push", cwd=rivals.project)
        if rivals.dvc:
            rivals.run(rivals.dvc, "push", "--quiet", cwd=rivals.dvc_project)
        yield _again(rivals)


@contextmanager
def push_again_many(place: Place) -> Iterator[list[Contestant]]:
    """Push 100,000 files that are all there: s5cmd put them, as each program lays them out."""
    with _rivals(place, lambda path: make_files(path, MANY, TINY)) as rivals:
        rivals.copy(rivals.place.store / "objects", "cas/objects")
        if rivals.dvc:
            rivals.copy(rivals.dvc_project / ".dvc/cache/files/md5", "dvc/files/md5")
        yield _again(rivals)


def _again(rivals: Rivals) -> list[Contestant]:
    made = [
        Contestant(
            name="cas push", argv=[CAS, "push", "--json"], role="cas", env=rivals.env(),
            cwd=rivals.project, check=_nothing,
        )
    ]  # fmt: skip
    if rivals.dvc:
        made.append(
            Contestant(
                name="dvc push", argv=[rivals.dvc, "push"], env=rivals.env(),
                cwd=rivals.dvc_project, check=_up_to_date,
            )
        )  # fmt: skip
    return made


def _sent(run: Run, rivals: Rivals) -> None:
    told = json.loads(run.stdout)
    wanted = 1 + (FILES if rivals.data.is_dir() else 1)
    if told["uploaded_objects"] != wanted:
        raise NotDone(f"cas push: {told['uploaded_objects']} objects, expected {wanted}")


def _nothing(run: Run) -> None:
    told = json.loads(run.stdout)
    if (told["assets"], told["uploaded_objects"]) != (1, 0):
        raise NotDone(f"cas push: {told}")


def _up_to_date(run: Run) -> None:
    if "up to date" not in run.stdout:
        raise NotDone(f"dvc push: {run.stdout}")


def _listed(rivals: Rivals) -> None:
    lines = rivals.run(rivals.s5cmd, "ls", f"{BUCKET}/s5/*").splitlines()
    wanted = FILES if rivals.data.is_dir() else 1
    if len(lines) != wanted:
        raise NotDone(f"s5cmd: {len(lines)} objects, expected {wanted}")


def _install(package: str, program: str) -> str | None:
    """Return a program of a package, installed into ``.bench`` on first use, or None."""
    folder = HOME / f"{program}-s3"
    found = folder / "bin" / program
    if not found.exists():
        try:
            venv.create(folder, with_pip=True, clear=True)
            pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", package]
            subprocess.run(pip, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            return None
    return str(found)
