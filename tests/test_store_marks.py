"""Marks of a gc: a set of digests in little memory, which may leak and never loses one."""

from __future__ import annotations

import random
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from cas.digest import Digest
from cas.store.marks import FIRST, Marks

DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64).map(Digest)


def digests(count: int, seed: int) -> list[Digest]:
    chance = random.Random(seed)
    return [Digest(chance.randbytes(32).hex()) for _ in range(count)]


@given(st.lists(DIGESTS), st.lists(DIGESTS))
def test_what_was_marked_is_marked_and_nothing_else(inside, others):
    marks = Marks()
    marks.update(inside)
    assert [one in marks for one in (*inside, *others)] == [
        one in {*inside} for one in (*inside, *others)
    ]


def test_marks_of_shared_objects_take_little_memory():
    shared = digests(40_000, 1)
    tracemalloc.start()
    marks = Marks()
    for _ in range(6):  # generations of one dataset
        marks.update(shared)
    size, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert all(one in marks for one in sorted(shared))
    assert not any(one in marks for one in sorted(digests(20_000, 2)))
    assert size < 24 * len(shared)
    assert most < 2 << 20


def test_repeated_marks_of_one_prefix_are_kept_once():
    row = [Digest("ab" + one[2:]) for one in digests(3 * FIRST, 3)]
    marks = Marks()
    for _ in range(4):
        marks.update(row)
    assert all(one in marks for one in row)
