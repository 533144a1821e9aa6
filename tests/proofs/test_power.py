"""I6: what exit 0 said is there after the power went, at once or after 8 s."""

from __future__ import annotations

import os

import pytest

from . import disks, report
from .peers import Kept, cut_peer, peers

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
