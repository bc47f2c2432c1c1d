"""Merged pages: the ids are those that a merge of all sources would give."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feedsvc.feed import merge
from feedsvc.feed.merge import Merged
from feedsvc.store.near_cache import recent_posts
from feedsvc.store.near_cache.recent_posts import RecentPosts
from feedsvc.store.near_cache.snapshot import CachedList
from feedsvc.store.redis.lists import Decimals, FloorList

ids = st.integers(1, 40)
repeated_ids = st.lists(st.integers(1, 8), max_size=30).map(sorted)
some_ids = st.lists(ids, max_size=30).map(lambda found: sorted(set(found)))
counts = st.integers(1, 4)
sizes = st.sampled_from([0, 1, 2, 5, 12])
horizons = st.just(0) | ids
positions = ids | st.just(2**63 - 1)


@st.composite
def authors_lists(draw):
    """Draw author -> ids, ascending; each post has one author."""
    posts = draw(some_ids)
    return {
        author: [post for post in posts if post % 6 == author]
        for author in {post % 6 for post in posts}
    }


@pytest.fixture
def tiny(monkeypatch):
    """Limits so small that the recent posts lack some posts, and that a scan of them ends early."""
    monkeypatch.setattr(recent_posts, "_OF_EACH", 2)
    monkeypatch.setattr(recent_posts, "_FEW", 2)
    monkeypatch.setattr(merge, "_SCAN_PER_LIST", 3)


@pytest.fixture
def merged(tiny):
    def make(lists, followed, others, horizon, late, most):
        """Merge lists, of which the viewer follows some.

        `late`: pairs of author and post that were put one by one after the lists were cached.
        `most`: how many posts the index of recent posts may have.
        """
        cached = {
            author: [post for post in posts if (author, post) not in late]
            for author, posts in lists.items()
        }
        found = RecentPosts(most).with_lists(cached)
        for author, post in late:
            found = found.with_post(post, author)
        return Merged(
            [CachedList.of(FloorList(lists[author], 0)) for author in followed],
            others,
            horizon,
            found,
            frozenset(followed),
        )

    return make


def everything(lists, followed, others, horizon):
    sources = [*(lists[author] for author in followed), *others]
    return sorted({post_id for source in sources for post_id in source if post_id > horizon})


def drawn(data):
    lists = data.draw(authors_lists())
    followed = data.draw(st.lists(st.sampled_from(sorted(lists)), unique=True)) if lists else []
    late = (
        data.draw(
            st.lists(
                st.sampled_from([(a, p) for a, posts in lists.items() for p in posts]), unique=True
            )
        )
        if lists
        else []
    )
    return (
        lists,
        followed,
        data.draw(st.lists(some_ids | repeated_ids, min_size=1, max_size=3)),
        data.draw(horizons),
        late,
        data.draw(sizes),
    )


@given(st.data(), positions, counts)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_page_downwards_has_the_highest_ids_below_a_position(merged, data, position, count):
    *sources, horizon, late, most = drawn(data)
    below = [post_id for post_id in everything(*sources, horizon) if post_id < position]
    assert merged(*sources, horizon, late, most).below(position, count) == below[::-1][:count]


@given(st.data(), st.integers(0, 120), st.none() | st.integers(0, 12))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_page_upwards_has_the_lowest_ids_above_a_position(merged, data, position, count):
    *sources, horizon, late, most = drawn(data)
    above = [post_id for post_id in everything(*sources, horizon) if post_id > position]
    assert merged(*sources, horizon, late, most).above(position, count) == above[:count]


@given(st.lists(authors_lists(), max_size=4), sizes)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_recent_posts_are_complete_above_their_floor_which_only_rises(tiny, several, most):
    """Lists may come again, as after an eviction, with other posts than before."""
    found, posts = RecentPosts(most), set()
    for lists in several:
        floor, found = found.floor, found.with_lists(lists)
        posts |= {post for each in lists.values() for post in each}
        assert found.floor >= floor
        assert sorted(post for post in posts if post > found.floor) == list(found.ids)
        assert len(found.ids) == len(found.authors) <= most


@given(st.lists(st.integers(1, 2**63 - 1)), st.integers(0, 2**63), st.integers(0, 5))
def test_decimal_ids_are_in_numeric_order(numbers, position, count):
    found = Decimals([b"%d" % number for number in numbers])
    assert list(found) == sorted(numbers)
    assert found[count:] == sorted(numbers)[count:]


def test_an_id_that_a_list_has_many_times_counts_once():
    found = Merged([], [[3, 5, 5, 5, 7, 7, 7, 7]], 0, RecentPosts(0), frozenset())
    assert found.below(9, 2) == [7, 5]
    assert found.above(3, 2) == [5, 7]
