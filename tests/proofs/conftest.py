from __future__ import annotations

import pytest

from tests.hubserver import Hub

from . import alter, box, shim


@pytest.fixture(scope="module")
def hub():
    with Hub() as server:
        yield server


@pytest.fixture(scope="session")
def code(tmp_path_factory):
    """A copy of cas as it is now, so that all points of a run test one state of it."""
    if shim.library() is None:
        pytest.skip("a C compiler makes the library that injects faults, and there is none")
    return box.freeze(tmp_path_factory.mktemp("code"))


@pytest.fixture(scope="session")
def hasty(code, tmp_path_factory):
    """A copy that soon goes on alone where it waits for a process that was stopped."""
    return alter.alter(box.freeze(tmp_path_factory.mktemp("hasty")), alter.HASTE)


@pytest.fixture(scope="session")
def loose(code, tmp_path_factory):
    """A copy in which every mutex is a no-op."""
    changes = (*alter.HASTE, *alter.NO_MUTEX)
    return alter.alter(box.freeze(tmp_path_factory.mktemp("loose")), changes)
