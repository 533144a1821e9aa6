"""The tests of experiments are proved: each of them finds the fault that is named beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

import cas

from .alter import altered
from .mutants import words
from .seeded import SEEDED, copied, failing, seed

IDS = [words(one.name) for one in SEEDED]
FAILED = 1  # pytest's exit code where tests ran and some did not pass


@pytest.mark.parametrize("fault", SEEDED, ids=IDS)
def test_every_seeded_fault_still_applies(fault):
    altered(fault.change, Path(cas.__file__).parent)


@pytest.mark.full
def test_without_a_fault_the_named_tests_pass(tmp_path):
    code, said = failing(copied(tmp_path), sorted({one.test for one in SEEDED}))
    assert code == 0, said


@pytest.mark.full
@pytest.mark.parametrize("fault", SEEDED, ids=IDS)
def test_a_seeded_fault_is_found_by_its_test(fault, tmp_path):
    code, said = failing(seed(copied(tmp_path), fault), [fault.test])
    assert code == FAILED, f"nothing was found of: {fault.name}\n{said}"
