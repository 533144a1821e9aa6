"""A call that fails ends the command with 1 and one message, and the same command goes on."""

from __future__ import annotations

import os

import pytest

from . import report
from .scenarios import FIRST, SCENARIOS
from .sweep import corrupt_sweep, error_points, error_sweep, spread, stage

QUICK = 150  # one point in so many
FULL = int(os.environ.get("PROOF_SHARE", "8"))


def sweep(name, hub, code, record_property, share):
    with stage(SCENARIOS[name], hub, code) as at:
        points = spread(error_points(at), share, offset=7 * len(name))
        result = error_sweep(at, points)
    report.record(record_property, result)
    assert not result.violations, "\n".join(result.violations)
    assert result.points >= 0.8 * len(points), f"{result.missed} of {len(points)} were not reached"


@pytest.mark.parametrize("name", SCENARIOS)
def test_an_error_is_told_and_the_same_command_converges(name, hub, code, record_property):
    sweep(name, hub, code, record_property, QUICK)


@pytest.mark.full
@pytest.mark.parametrize("name", SCENARIOS)
def test_so_is_an_error_at_every_call(name, hub, code, record_property):
    sweep(name, hub, code, record_property, FULL)


def test_corrupt_bytes_never_enter(hub, code, record_property):
    with stage(SCENARIOS["pull"], hub, code) as at:
        result = corrupt_sweep(at, hub, [name for name in FIRST if FIRST[name]])
    report.record(record_property, result)
    assert not result.violations, "\n".join(result.violations)
