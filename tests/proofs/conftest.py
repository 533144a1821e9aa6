from __future__ import annotations

import pytest

from tests.hubserver import Hub

from . import box, shim


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
