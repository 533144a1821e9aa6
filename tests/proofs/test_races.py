"""Many processes on one store, killed at random: nothing breaks, and nothing is left over."""

from __future__ import annotations

import os

import pytest

from . import report
from .box import Box
from .days import lived
from .oracle import look
from .races import many_pulls, race
from .readers import read_through
from .scenarios import LOCAL
from .shim import Fault
from .sweep import Result

SECONDS = float(os.environ.get("PROOF_SECONDS", "60"))


def check(result, record_property):
    report.record(record_property, result)
    assert not result.violations, "\n".join(result.violations)


def run(hub, code, seconds, record_property, *, mutexes):
    seed = int(os.environ.get("PROOF_SEED", "0")) or int.from_bytes(os.urandom(3))
    result = race(hub, code, seconds, seed, mutexes=mutexes)
    check(result, record_property)
    return result


def test_pulls_adds_updates_rms_and_gcs_with_kills_break_nothing(hub, hasty, record_property):
    run(hub, hasty, 8, record_property, mutexes=True)


def test_nor_do_they_where_every_mutex_is_a_no_op(hub, loose, record_property):
    run(hub, loose, 5, record_property, mutexes=False)


@pytest.mark.full
@pytest.mark.parametrize("mutexes", [True, False], ids=["mutexes", "no mutexes"])
def test_nor_do_they_in_a_minute(mutexes, hub, hasty, loose, record_property):
    result = run(hub, hasty if mutexes else loose, SECONDS, record_property, mutexes=mutexes)
    assert result.kills, "nothing was killed"
    assert result.gcs, "no gc ended"
    assert result.reads, "nobody read"


@pytest.mark.full
def test_fifty_pulls_of_one_asset_make_one_download(hub, code, record_property):
    check(many_pulls(hub, code, 50), record_property)


@pytest.mark.parametrize("rounds", [8, pytest.param(100, marks=pytest.mark.full)])
def test_readers_never_mix_versions(rounds, hub, code, record_property):
    result = read_through(hub, code, rounds)
    check(result, record_property)
    assert result.naive == rounds, "the reader through the view has to mix them"


@pytest.mark.parametrize("seeds", [range(2), pytest.param(range(2, 40), marks=pytest.mark.full)])
def test_gc_keeps_day_by_day_what_is_needed_and_nothing_else(seeds, code, record_property):
    found = [one for seed in seeds for one in lived(code, seed)]
    check(Result("days of gc", 24 * len(seeds), 0, found), record_property)


def test_what_a_killed_first_add_locked_is_kept(hub, code, tmp_path_factory):
    box = Box(tmp_path_factory.mktemp("killed"), code, hub.endpoint)
    box.make()
    for path, data in LOCAL.items():
        place = box.project / "corpus" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    box.save()
    words = ("add", "./corpus", "--name", "datasets/corpus")
    renames = [call for call in box.cas(*words, trace=True).calls if call.kind == "rename"]
    (last,) = [call.n for call in renames if call.other.endswith("/root.json")]
    for n, kept in ((last - 1, 0), (last, 1)):  # before the lock, and after it
        box.restore()
        assert box.cas(*words, fault=Fault("rename", n, "kill")).code == -9
        for _ in range(2):
            box.must("gc", "--older-than", "0d", "--local-too")
            assert len(look(box).good) == kept
