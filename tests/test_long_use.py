"""A store that grew costs what is asked about a project nothing, and gc little memory."""

from __future__ import annotations

import pytest

from benchmarks.long_use import measure
from benchmarks.place import make_environment

SMALL, LARGE = 1_000, 50_000


@pytest.mark.full
def test_what_is_asked_about_a_project_does_not_grow_with_the_store(tmp_path):
    make_environment()
    found, _ = measure(tmp_path, (SMALL, LARGE), 3)
    assert {"cas status", "cas verify NAME", "cas store"} <= found.keys()
    for command, by_size in found.items():
        small, large = by_size[SMALL], by_size[LARGE]
        if command.startswith(("cas gc", "cas store", "cas verify, of all")):
            assert large["cpu"] < 2 * LARGE / SMALL * small["cpu"], (command, small, large)
        else:
            assert large["cpu"] < 2 * small["cpu"] + 0.1, (command, small, large)
        # 100 bytes an object would be 5 MB; the whole listing of a store some 20
        assert large["peak"] < small["peak"] + 12, (command, small, large)
