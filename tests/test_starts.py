"""What a start loads: a module that a call does not use takes time of everybody's."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from importlib import import_module
from pathlib import Path

import pytest

import cas
from cas.project import forget_current
from tests.scratch import new_project

ROOT = Path(cas.__file__).parents[1]
START = f"""\
import os, sys
sys.path += [{str(ROOT)!r}, {sysconfig.get_path("purelib")!r}]  # no editable finder, no site
before = set(sys.modules)
"""
SAY = "print(*sorted(set(sys.modules) - before))"

LIBRARIES = """
    argparse asyncio concurrent.futures ctypes http logging pathlib shutil sqlite3 subprocess
    tempfile traceback urllib
    duckdb filelock fsspec huggingface_hub numpy obstore platformdirs pyarrow tokenizers tomlkit
    xxhash
""".split()  # noqa: SIM905 - a list of words is read as words
ROOMS = """
    cas.assets cas.cli.commands cas.cli.parser cas.crew cas.experiments cas.gitstate cas.hub
    cas.installer.apart cas.installer.bring cas.installer.derive cas.recipes cas.registry
    cas.remote cas.resolver cas.store.gc cas.store.intake cas.store.objects cas.store.staging
    cas.store.trees cas.store.verify
""".split()  # noqa: SIM905


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with a pulled asset; the working directory is in it."""
    root = new_project(monkeypatch, tmp_path, "x")
    cas.pull()
    yield root
    forget_current()


def loaded_by(code: str) -> set[str]:
    """Return the modules that code loads in a Python that has loaded next to nothing."""
    argv = [sys.executable, "-I", "-S", "-c", f"{START}{code}\n{SAY}"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def pull(*options: str) -> set[str]:
    words = ["cas", "pull", "-q", *options]
    return loaded_by(f"sys.argv = {words}\nfrom cas.__main__ import main\nassert main() == 0")


def test_import_cas_loads_no_module_but_its_own_two():
    assert loaded_by("import cas") == {"cas", "cas.lazy"}


def test_a_pull_with_nothing_to_do_loads_two_modules_more(project):
    pull()
    assert pull() <= {"cas", "cas.lazy", "cas.__main__", "cas.warm", "time", "zlib"}


def test_a_pull_that_only_moves_a_view_loads_nothing_that_brings_or_parses_options(project):
    locks = [(project / "assets.lock").read_bytes()]
    (project / "x.txt").write_text("y")
    cas.lock(update_all=True)
    cas.pull()
    locks.append((project / "assets.lock").read_bytes())
    view = project / "assets/datasets/x"
    for lock, text in zip(locks, "xy", strict=True):
        (project / "assets.lock").write_bytes(lock)
        loaded = pull("--frozen")
        assert view.read_text() == text
        assert not loaded & {*LIBRARIES, *ROOMS}


def test_a_second_project_loads_nothing_that_brings(project, tmp_path, monkeypatch):
    second = tmp_path / "second"
    second.mkdir()
    for name in ("assets.lock", "pyproject.toml"):
        (second / name).write_bytes((project / name).read_bytes())
    monkeypatch.chdir(second)
    assert not pull() & {*LIBRARIES, *ROOMS}
    assert (second / "assets/datasets/x").read_text() == "x"


def test_a_path_loads_neither_store_nor_lockfile(project):
    loaded = loaded_by("from cas.project import current\ncurrent().path('x')")
    assert not loaded & {"cas.store", "cas.lockfile", "dataclasses", "typing", "re", "contextlib"}
    assert not loaded & {*LIBRARIES, *ROOMS}


def test_a_verify_loads_nothing_that_brings_what_it_might_miss(project):
    code = "sys.argv = ['cas', 'verify', '-q']\nfrom cas.__main__ import main\nassert main() == 0"
    loaded = loaded_by(code)
    assert "cas.store.verify" in loaded
    assert not loaded & {
        "asyncio", "http", "tempfile", "huggingface_hub", "obstore", "pyarrow", "cas.hub",
        "cas.installer.bring", "cas.installer.pull", "cas.installer.repairing", "cas.recipes",
        "cas.remote", "cas.resolver", "cas.store.gc", "cas.store.intake", "cas.store.trees",
    }  # fmt: skip


PACKAGES = ["cas", "cas.files", "cas.installer", "cas.project", "cas.project.requests", "cas.store"]


@pytest.mark.parametrize("package", PACKAGES)
def test_each_public_name_of_a_package_is_there_when_it_is_asked_for(package):
    module = import_module(package)
    names = set(module.__all__) - {"__version__"}
    assert names <= set(dir(module))
    assert set(vars(module)["_room_of"]) == names
    for name in names:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match=r"has no attribute 'nothing'"):
        _ = module.nothing


@pytest.mark.parametrize("name", ["cas.store.verify", "cas.store.mend", "cas.installer.pull"])
def test_a_function_that_is_called_as_its_room_is_the_function_whichever_came_first(name):
    package, _, function = name.rpartition(".")
    code = f"import {name}\nfrom {package} import {function}\nassert callable({function})"
    assert name in loaded_by(code)
