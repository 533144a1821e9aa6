"""The harnesses are proved: each finds the faults that were put into a copy of cas for it."""

from __future__ import annotations

from pathlib import Path

import pytest

import cas

from . import disks, report
from .alter import HASTE, NO_MUTEX, altered
from .mutants import HARNESS, MUTANTS, is_caught, words

QUICK = [one for one in MUTANTS if one.harness == "order"]
SLOW = [one for one in MUTANTS if one.harness != "order"]


def prove(mutant, hub, tmp_path, record_property):
    found = is_caught(mutant, hub, tmp_path)
    report.record_seeded(record_property, HARNESS[mutant.harness], caught=bool(found))
    assert found, f"nothing was found of: {mutant.name}"


@pytest.mark.parametrize("mutant", QUICK, ids=[words(one.name) for one in QUICK])
def test_missing_syncs_are_seen(mutant, hub, code, tmp_path, record_property):
    prove(mutant, hub, tmp_path, record_property)


@pytest.mark.parametrize("mutant", MUTANTS, ids=[words(one.name) for one in MUTANTS])
def test_every_seeded_fault_still_applies(mutant):
    altered(mutant.change, Path(cas.__file__).parent)


@pytest.mark.parametrize("change", [*HASTE, *NO_MUTEX], ids=lambda change: words(change[1]))
def test_every_other_change_still_applies(change):
    altered(change, Path(cas.__file__).parent)


@pytest.mark.full
@pytest.mark.parametrize("mutant", SLOW, ids=[words(one.name) for one in SLOW])
def test_a_seeded_fault_is_caught(mutant, hub, code, tmp_path, record_property):
    if mutant.harness in ("power", "amid") and (why := disks.why_not()):
        pytest.skip(why)
    prove(mutant, hub, tmp_path, record_property)
