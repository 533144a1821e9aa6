"""The row of `cas run`."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from .measure import Contestant, NotDone, Run
from .noops import bare_python, make_project
from .place import CAS, PYTHON, Place, hash_files

if TYPE_CHECKING:
    from collections.abc import Iterator

ASK = """\
import hashlib, os, sys, urllib.request
url = os.environ["HF_ENDPOINT"] + "/datasets/data-03/resolve/main/" + sys.argv[1]
print(hashlib.sha256(urllib.request.urlopen(url).read()).hexdigest())
"""


@contextmanager
def run(place: Place) -> Iterator[list[Contestant]]:
    """Run a program that does nothing, with ten assets locked."""
    place.clear_caches()
    project, _ = make_project(place, 10, 10)
    path, digest = next(iter(hash_files(project / "sources/data-03").items()))
    env = place.env()

    def check(run: Run) -> None:
        if run.stdout.strip() != digest:
            raise NotDone(f"{path} has {run.stdout!r}, expected {digest}")

    yield [
        Contestant(
            name="cas run -- python -c pass",
            argv=[CAS, "run", "--", PYTHON, "-c", "pass"],
            role="cas",
            env=env,
            cwd=project,
            check=lambda _: None,
        ),
        bare_python(project, env),
        Contestant(
            name="the same, and a file of 1 KB by HTTP",
            argv=[CAS, "run", "--", PYTHON, "-c", ASK, path],
            role="also",
            env=env,
            cwd=project,
            check=check,
        ),
    ]
