"""I6, I7: what exit 0 said is there after the power went, and a cut in the middle loses nothing."""

from __future__ import annotations

import os

import pytest

from . import disks, report
from .peers import Kept, cut_peer, peers
from .scenarios import SCENARIOS

ROUNDS = int(os.environ.get("PROOF_ROUNDS", "4"))  # cuts of one kind


@pytest.mark.full
@pytest.mark.parametrize("wait", disks.WAITS)
@pytest.mark.parametrize("kind", disks.SIZES)
def test_what_was_acknowledged_outlives_a_cut(kind, wait, hub, code, record_property):
    if why := disks.why_not(kind):
        pytest.skip(why)
    which = [(name, wait) for name in disks.ACKNOWLEDGED] * ROUNDS
    result = disks.cuts(kind, hub, code, which)
    report.record(record_property, result)
    assert not result.violations, "\n".join(result.violations)


def cut_amid(kind, name, hub, code, record_property, **how):
    if why := disks.why_not(kind):
        pytest.skip(why)
    result = disks.cuts_amid(kind, hub, code, name, **how)
    report.record(record_property, result)
    assert not result.violations, "\n".join(result.violations)
    assert result.points


@pytest.mark.parametrize("name", ["pull-moved", "edit"])
def test_a_cut_in_the_middle_loses_nothing_and_the_same_command_converges(
    name, hub, code, record_property
):
    cut_amid("ext4", name, hub, code, record_property, calls=1, moments=1)


@pytest.mark.full
@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("kind", disks.SIZES)
def test_so_does_a_cut_at_spread_calls_and_moments(kind, name, hub, code, record_property):
    cut_amid(kind, name, hub, code, record_property, calls=3 * ROUNDS // 4, moments=ROUNDS // 4)


@pytest.mark.full
@pytest.mark.parametrize("peer", peers())
@pytest.mark.parametrize("kind", disks.SIZES)
def test_beside_it_others_are_measured(kind, peer, hub, record_property):
    if why := disks.why_not(kind):
        pytest.skip(why)
    kept = Kept(peer)
    for wait in disks.WAITS:
        cut_peer(peer, kind, hub, wait, kept)
    record_property("peer", f"{kind} {peer}: whole after {kept.whole} of {kept.cuts} cuts, "
                            f"wrong bytes given after {kept.wrong}")  # fmt: skip
