"""I8, I9: whichever of two commands comes first at a call, both succeed and nothing breaks."""

from __future__ import annotations

import os

import pytest

from . import report
from .orders import ORDERS, forced, order_sweep
from .sweep import CHANGES, spread

SHARE = int(os.environ.get("PROOF_SHARE", "1"))
BOTH = [(name, swapped) for name, order in ORDERS.items()
        for swapped in ((False, True) if order.one != order.two else (False,))]  # fmt: skip
QUICK = [
    # who is stopped (True: the second that the order names), and at how many points
    ("gc and a pull of what it collects", True, 4),
    ("gc and a pull of what it collects", False, 3),
    ("gc and a pull of what it collects, no mutex", False, 3),
]


def sweep(name, swapped, hub, code, record_property, points_of):
    with forced(ORDERS[name], hub, code, swapped=swapped) as at:
        points = points_of(at.points)
        result = order_sweep(at, points)
    report.record(record_property, result)
    assert not result.violations, "\n".join(result.violations)
    assert result.points > 0.8 * len(points), f"{result.missed} of {len(points)} were not reached"


@pytest.mark.parametrize(("name", "swapped", "count"), QUICK)
def test_the_other_command_may_run_amid_one(
    name, swapped, count, hub, hasty, loose, record_property
):
    def some(points):
        # in the latter half is what was looked at and is not yet used
        late = [point for point in points if point.kind in CHANGES][len(points) // 4 :]
        return spread(late, max(1, len(late) // count), offset=len(late) // (2 * count))[:count]

    code = hasty if ORDERS[name].mutexes else loose
    sweep(name, swapped, hub, code, record_property, some)


@pytest.mark.full
@pytest.mark.parametrize(("name", "swapped"), BOTH)
def test_so_it_may_at_every_call(name, swapped, hub, hasty, loose, record_property):
    code = hasty if ORDERS[name].mutexes else loose
    sweep(name, swapped, hub, code, record_property, lambda points: spread(list(points), SHARE))
