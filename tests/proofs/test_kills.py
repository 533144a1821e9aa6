"""I7: a command killed before any of its calls loses nothing, and the same command goes on."""

from __future__ import annotations

import pytest

from . import report
from .scenarios import SCENARIOS
from .sweep import kill_points, kill_sweep, spread, stage

QUICK = 17  # one point in so many


def sweep(name, hub, code, record_property, share):
    with stage(SCENARIOS[name], hub, code) as at:
        points = spread(kill_points(at), share, offset=len(name))
        result = kill_sweep(at, points)
    report.record(record_property, result)
    assert not result.violations, "\n".join(result.violations)
    assert result.points > 0.8 * len(points), f"{result.missed} of {len(points)} were not reached"


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_kill_loses_nothing_and_the_same_command_converges(name, hub, code, record_property):
    sweep(name, hub, code, record_property, QUICK)


@pytest.mark.full
@pytest.mark.parametrize("name", SCENARIOS)
def test_so_does_a_kill_before_every_call(name, hub, code, record_property):
    sweep(name, hub, code, record_property, 1)
