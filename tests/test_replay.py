"""The replay of posts and reads.

It loses no post and no read, its queues behave as theory says, and the same seed gives the same
result.
"""

from __future__ import annotations

import random
from array import array
from collections import Counter
from dataclasses import asdict, replace
from statistics import mean
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedsvc.planning.costs import UnitCosts, list_units
from feedsvc.planning.replay import write_path
from feedsvc.planning.replay.follow_graph import follow_graph_of
from feedsvc.planning.replay.simulation import (
    distribution,
    pulled_accounts,
    simulate,
    thresholds_at,
)
from feedsvc.planning.replay.workload import (
    Rates,
    Workload,
    arrivals,
    counted_viewers,
    generate,
)
from feedsvc.planning.replay.write_path import Deployment, Push, WritePath
from feedsvc.routing.policy import Thresholds

FREE = UnitCosts(**dict.fromkeys(UnitCosts.__dataclass_fields__, 0.0))
COSTS = replace(
    FREE,
    small_post_us=2_400,
    link_us=2_500,
    follower_us=400,
    push_us=3_000,
    skip_us=500,
    read_us=600,
    list_us=12,
)
DEPLOYMENT = Deployment(
    workers=2,
    batch=3,
    slice=2,
    large=6,
    lanes=lambda followers: max(1, min(8, followers // 3)),
    take_off_seconds=3.5,
    cap=4,
    readers=2,
    near_cache_bytes=10**6,
    costs=COSTS,
)


def graph_of(follows, count):
    """Return a graph of accounts 1 … `count`. `follows` maps a followee to its followers."""
    ids = range(1, count + 1)
    followers = [(followee, sorted(follows[followee])) for followee in sorted(follows)]
    return follow_graph_of(
        ids, followers, last_routes=[None] * count, posts=array("I", bytes(4 * count))
    )


def workload(graph, posts=(), reads=(), *, has_feed=None, before=()):
    """Return a workload. `posts` and `reads` are pairs of seconds and an account id."""
    columns = [list(zip(*sorted(events), strict=True)) or [(), ()] for events in (posts, reads)]
    (post_seconds, authors), (read_seconds, viewers) = columns
    return Workload(
        post_seconds=array("d", post_seconds),
        authors=array("I", (author - 1 for author in authors)),
        read_seconds=array("d", read_seconds),
        viewers=array("I", (viewer - 1 for viewer in viewers)),
        has_feed=bytearray([1] * len(graph) if has_feed is None else has_feed),
        posts_before=array("I", [before.count(ident) for ident in graph.ids]),
    )


seconds = st.floats(0, 100, allow_nan=False)
COUNT = 10
accounts = st.integers(1, COUNT)
graphs = st.dictionaries(accounts, st.sets(accounts, max_size=COUNT), max_size=3).map(
    lambda found: graph_of(
        {followee: followers - {followee} for followee, followers in found.items()}, COUNT
    )
)
events = st.lists(st.tuples(seconds, accounts), max_size=20)


@given(
    graphs,
    events,
    events,
    st.lists(st.integers(0, 1), min_size=COUNT, max_size=COUNT),
    st.lists(st.integers(0, 1), min_size=COUNT, max_size=COUNT),
)
def test_every_post_is_pulled_or_reaches_every_follower_once(graph, posts, reads, pulled, has_feed):
    found = simulate(
        graph, workload(graph, posts, reads, has_feed=has_feed), bytearray(pulled), DEPLOYMENT
    )
    pushed = [author - 1 for _, author in posts if not pulled[author - 1]]
    assert found.pushed_posts == len(pushed)
    assert found.deliveries == sum(
        has_feed[follower] for author in pushed for follower in graph.followers(author)
    )
    assert found.deliveries + found.skipped == sum(map(graph.follower_count, pushed))
    assert found.lists_per_read.count == len(reads)
    assert found.seconds_to_last_follower.count == len(pushed)
    assert found.seconds_to_last_follower.max < float("inf")


@given(graphs, events, events, st.lists(st.integers(0, 1), min_size=COUNT, max_size=COUNT))
def test_a_read_merges_the_lists_that_hold_a_post_at_that_moment(graph, posts, reads, pulled):
    """Pushes take no time here, and micro-batches do not gather.

    So each pushed post is listed for `take_off_seconds`, and a simple count of listed authors gives
    the lists that each read merges.
    """
    instant = replace(DEPLOYMENT, costs=FREE)
    merged = []
    for at, viewer in reads:
        seen = {
            author
            for author in graph.ids
            if author == viewer or viewer - 1 in graph.followers(author - 1)
        }
        listed = {
            author
            for posted, author in posts
            if author in seen
            and posted <= at
            and (pulled[author - 1] or at < posted + instant.take_off_seconds)
        }
        merged.append(len(listed))
    with patch.object(write_path, "GATHER_SECONDS", 0.0):
        found = simulate(graph, workload(graph, posts, reads), bytearray(pulled), instant)
    assert found.lists_per_read == distribution(Counter(merged))


@given(graphs, events, st.lists(accounts, max_size=5))
def test_reads_merge_no_list_without_pulled_accounts_and_pushes_under_way(graph, reads, before):
    found = simulate(graph, workload(graph, [], reads, before=before), bytearray(COUNT), DEPLOYMENT)
    assert found.lists_per_read.max == 0
    assert found.processor_seconds.pull == 0


def test_posts_from_before_are_on_the_list_of_a_pulled_account():
    graph = graph_of({1: {2}}, 2)
    events = workload(graph, [(1, 1)], [(0, 2), (2, 2)], before=[1, 1])
    costs = replace(FREE, first_list_us=1e6, list_us=1e6)
    found = simulate(graph, events, bytearray([1, 0]), replace(DEPLOYMENT, costs=costs))
    assert found.lists_per_read.mean == 1
    assert found.processor_seconds.pull == pytest.approx(2 * (1 + list_units(1, 1)))


def test_reads_fetch_the_lists_that_exceed_the_near_cache():
    graph = graph_of({1: {3}, 2: {3}}, 3)
    events = workload(graph, [], [(0, 3), (1, 3)], before=[1, 2])
    costs = replace(FREE, fetch_us=1e6, fetched_list_us=1e6)
    fits, none_fits = (
        simulate(
            graph,
            events,
            bytearray([1, 1, 0]),
            replace(DEPLOYMENT, costs=costs, near_cache_bytes=room),
        )
        for room in (10**6, 0)
    )
    assert (fits.missed_lists_per_read, fits.processor_seconds.pull) == (0, 0)
    assert (none_fits.missed_lists_per_read, none_fits.processor_seconds.pull) == (2, 2 * (1 + 2))


@given(graphs, st.lists(st.tuples(seconds, accounts), min_size=1, max_size=20), st.floats(1, 10))
def test_lag_never_falls_when_work_takes_longer(graph, posts, slower):
    """One worker serves fan-outs in the order of arrival."""
    # Micro-batches of one post each.
    one = replace(DEPLOYMENT, workers=1, slice=100, batch=1, lanes=lambda _: 1)
    costs = replace(COSTS, **{name: value * slower for name, value in vars(COSTS).items()})
    # With a delay, a post that arrives while a micro-batch runs would not wait for it.
    with patch.object(write_path, "GATHER_SECONDS", 0.0):
        found = simulate(graph, workload(graph, posts), bytearray(COUNT), one)
        loaded = simulate(
            graph, workload(graph, posts), bytearray(COUNT), replace(one, costs=costs)
        )
    assert loaded.seconds_to_last_follower.mean >= found.seconds_to_last_follower.mean * (1 - 1e-9)


@pytest.mark.parametrize("utilisation", [0.3, 0.6, 0.8])
def test_the_mean_wait_for_one_worker_is_that_of_pollaczek_and_khinchine(utilisation):
    """Links that take one second each form an M/D/1 queue.

    At random times they wait u / 2(1 - u) seconds on average (Kleinrock, 1975, 5.6).
    """
    source = random.Random(7)
    path = WritePath(
        replace(
            DEPLOYMENT, workers=1, batch=10, lanes=lambda _: 1, costs=replace(FREE, link_us=1e6)
        )
    )
    at, pushes = 0.0, []
    for _ in range(100_000):
        at += source.expovariate(utilisation)
        pushes.append(Push(0, at, followers=3, with_feed=3))
    path.run(pushes)
    assert path.links == len(pushes)
    assert mean(path.waits) == pytest.approx(utilisation / (2 * (1 - utilisation)), rel=0.05)
    assert path.busy_seconds == pytest.approx(len(pushes))


def test_workers_share_the_lanes_of_a_large_fan_out():
    costs = replace(FREE, link_us=1e6)
    done_at = []
    for workers in (1, 2, 4):
        push = Push(0, 0.0, followers=24, with_feed=24)  # 8 lanes of a link each
        WritePath(replace(DEPLOYMENT, workers=workers, costs=costs)).run([push])
        done_at.append(push.done_at)
    assert done_at == [8, 4, 2]


def test_redis_takes_one_slice_at_a_time():
    costs = replace(FREE, push_us=1e6)
    push = Push(0, 0.0, followers=24, with_feed=24)
    WritePath(replace(DEPLOYMENT, workers=8, costs=costs)).run([push])
    assert push.done_at == 24


def test_small_fan_outs_that_wait_go_into_one_micro_batch():
    path = WritePath(
        replace(DEPLOYMENT, workers=1, batch=4, costs=replace(FREE, small_post_us=1e6))
    )
    pushes = [Push(0, at, followers=1, with_feed=1) for at in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)]
    path.run(pushes)
    assert [push.done_at for push in pushes] == [4.5, 4.5, 4.5, 4.5, 6.5, 6.5], (
        "half a second later a batch of followers, then the rest"
    )
    assert path.small_posts == len(pushes)


def test_a_small_fan_out_waits_for_one_link_of_the_largest_accounts():
    path = WritePath(
        replace(
            DEPLOYMENT,
            workers=1,
            lanes=lambda _: 1,
            costs=replace(FREE, link_us=1e6, small_post_us=1e6),
        )
    )
    large = [Push(0, 0.0, followers=30, with_feed=30), Push(0, 0.0, followers=30, with_feed=30)]
    # Its micro-batch is enqueued while the first link runs.
    small = Push(1, 0.25, followers=1, with_feed=1)
    path.run([*large, small])
    assert small.done_at == 2
    assert max(push.done_at for push in large) == 21


def test_workers_that_cannot_keep_up_leave_fan_outs_unfinished():
    graph = graph_of({1: {2}}, 2)
    slow = replace(DEPLOYMENT, costs=replace(FREE, small_post_us=10e6))
    found = simulate(graph, workload(graph, [(at, 1) for at in range(30)]), bytearray(2), slow)
    assert found.unfinished > 20
    assert found.seconds_to_last_follower.max > 100
    assert found.workers_busy > 0.4


GRAPH = graph_of(
    {followee: set(range(1, 1 + 3 * followee)) - {followee} for followee in range(1, 60)}, 200
)


def test_the_same_seed_draws_the_same_events():
    drawn = [generate(GRAPH, 2_000, Rates(1, 100), seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    pulled = pulled_accounts(GRAPH, Thresholds(1, 60, 60), Thresholds(1, 60, 60), {})
    assert asdict(simulate(GRAPH, drawn[0], pulled, DEPLOYMENT)) == asdict(
        simulate(GRAPH, drawn[1], pulled, DEPLOYMENT)
    )


def test_generated_events_keep_their_rates_in_the_order_of_time():
    drawn = generate(GRAPH, 50_500, Rates(2, 200), 3)
    assert (len(drawn.post_seconds), len(drawn.read_seconds)) == (500, 50_000)
    assert list(drawn.read_seconds) == sorted(drawn.read_seconds)
    assert drawn.read_seconds[-1] == pytest.approx(250, rel=0.05)
    assert drawn.post_seconds[-1] == pytest.approx(250, rel=0.2)
    assert sum(drawn.has_feed) == pytest.approx(140, rel=0.15)
    assert set(drawn.viewers) == {number for number, has in enumerate(drawn.has_feed) if has}
    assert all(GRAPH.follower_count(author) for author in drawn.authors)
    assert [posts > 0 for posts in drawn.posts_before] == [
        GRAPH.follower_count(number) > 0 for number in range(200)
    ]


def test_accounts_without_followers_do_not_post():
    drawn = generate(graph_of({}, 1), 10, Rates(1, 1), 1)
    assert (len(drawn.authors), len(drawn.viewers), len(drawn)) == (0, 10, 10)


def test_drawn_viewers_read_as_often_as_the_counted_ones_did():
    source = random.Random(5)
    counted = {3: 10, 7: 30, **dict.fromkeys(range(500, 531), 0)}
    viewers = counted_viewers(1_000, counted, 16, source)
    seconds, accounts = arrivals(source, 40.0, 4_000, viewers.accounts, viewers.weights)
    assert accounts.count(7) == pytest.approx(3_000, rel=0.05)
    assert set(accounts) == {3, 7}
    assert sum(viewers.has_feed) == pytest.approx(528, rel=0.1)
    assert seconds[-1] == pytest.approx(100, rel=0.1)


def test_thresholds_pins_and_gradual_rollouts_decide_which_accounts_are_pulled():
    graph = graph_of({1: range(2, 12), 2: range(3, 9), 3: range(4, 9), 4: range(5, 7)}, 20)
    graph.last_routes[1:3] = ["pull", "push"]
    lines = Thresholds(1, 10, 5)
    assert list(pulled_accounts(graph, lines, lines, {4: "pull"})[:5]) == [1, 1, 0, 1, 0]
    assert not any(
        pulled_accounts(graph, replace(lines, rollout_percent=0), Thresholds(0, 100, 100), {})
    )


def test_another_threshold_keeps_the_ratio_of_todays_two():
    today = Thresholds(7, 100_000, 80_000)
    assert thresholds_at(1_000, today) == Thresholds(7, 1_000, 800)


@given(st.lists(st.integers(0, 9), min_size=1))
def test_a_percentile_is_the_least_value_that_its_share_of_values_does_not_exceed(values):
    found = distribution(Counter(values))
    assert found.mean == pytest.approx(mean(values))
    assert found.count == len(values)
    for percent, value in ((50, found.p50), (90, found.p90), (99, found.p99), (100, found.max)):
        assert value in values
        assert sum(each <= value for each in values) * 100 >= percent * len(values)
        assert sum(each < value for each in values) * 100 < percent * len(values)


def test_a_distribution_without_values_is_all_zeros():
    assert set(asdict(distribution({})).values()) == {0}
