"""How many lists a near cache holds and misses, by formula and against a simulated cache."""

from __future__ import annotations

import random
from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedsvc.planning.near_cache import Lists, cached_lists, room_for_lists

alike = st.builds(
    Lists,
    number=st.floats(0, 1e6),
    entries=st.floats(0, 800),
    reads=st.just(0.0) | st.floats(1e-3, 1e6),
)
several = st.lists(alike, max_size=10)


@given(several, st.integers(0, 10**9))
def test_a_process_holds_some_of_the_lists_that_are_read(lists, budget):
    found = cached_lists(lists, budget)
    read = sum(each.number for each in lists if each.reads)
    assert -1e-6 <= found.lists <= read * (1 + 1e-9)
    assert 0 <= found.missed_share <= 1 + 1e-9
    if found.fits:
        assert found.missed_share == 0
        assert found.lists == pytest.approx(read)


@given(several, st.integers(0, 10**8), st.integers(0, 10**8))
def test_a_larger_near_cache_misses_no_more(lists, one, other):
    smaller, larger = (cached_lists(lists, budget) for budget in sorted((one, other)))
    assert larger.missed_share <= smaller.missed_share + 1e-6
    assert larger.lists + 1e-6 >= smaller.lists * (1 - 1e-6)


@given(several, st.integers(0, 10**8), st.floats(0.01, 100))
def test_the_unit_of_time_has_no_effect(lists, budget, times):
    faster = [each._replace(reads=each.reads * times) for each in lists]
    found, same = cached_lists(lists, budget), cached_lists(faster, budget)
    assert same.missed_share == pytest.approx(found.missed_share, rel=0.2, abs=0.02)


def test_the_misses_are_those_of_a_simulated_cache():
    source = random.Random(1)
    popularity = [1 / rank for rank in range(1, 2_001)]
    lists = [Lists(1, 10, reads) for reads in popularity]
    budget = next(
        budget
        for budget in range(0, 10**7, 100)
        if room_for_lists(budget, 2_000) >= 500 * lists[0].bytes_each
    )
    cache: OrderedDict[int, None] = OrderedDict()
    missed = 0
    reads = source.choices(range(2_000), popularity, k=60_000)
    for number, at in enumerate(reads):
        if at in cache:
            cache.move_to_end(at)
            continue
        missed += number >= 20_000
        cache[at] = None
        if len(cache) > 500:
            cache.popitem(last=False)
    found = cached_lists(lists, budget)
    assert found.missed_share == pytest.approx(missed / 40_000, rel=0.05)
    assert found.lists == pytest.approx(500, rel=0.01)
