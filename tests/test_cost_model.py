"""Properties of the cost model: more work costs more, and a recommendation keeps its limits."""

from __future__ import annotations

import datetime as dt
import json
import math
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from feedsvc.fanout import micro_batches, queues
from feedsvc.planning import rates
from feedsvc.planning.costs import (
    Batches,
    Pulling,
    Pushing,
    base_seconds,
    job_seconds,
    list_bytes,
    list_units,
    posts_per_micro_batch,
    pull_seconds,
    push_seconds,
    seconds_to_last_follower,
    wait_seconds,
)
from feedsvc.planning.learning import DEFAULTS
from feedsvc.planning.prediction import Prediction, saving
from feedsvc.planning.recommendation import advise, broken_limits, choose
from feedsvc.planning.situation import Lines, Processes, Situation
from feedsvc.planning.survey.aggregates import Cell, ListsAt, NamedAccount, Survey, grid
from feedsvc.routing.guardrails import Guardrails
from feedsvc.routing.versions import PolicyInfo
from feedsvc.store.redis.work import Tally

DEFAULT_COSTS = DEFAULTS.costs
amounts = st.floats(0, 1e9)
shares = st.floats(0, 1)
followers = st.integers(0, 200)
pushings = st.builds(
    Pushing,
    posts=amounts,
    small_posts=amounts,
    micro_batches=amounts,
    links=amounts,
    follower_ids=amounts,
    empty_fetches=amounts,
)
pullings = st.builds(Pulling, **dict.fromkeys(vars(Pulling()), amounts))
BATCHES = Batches(batch=30, small=10)
PROCESSES = Processes(working=2, reading=2, near_cache_bytes=10**6)
NOON = dt.datetime(2026, 11, 25, 12, tzinfo=dt.UTC)


def close(one, other):
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)


@given(pushings, shares, st.floats(0, 100))
def test_the_cost_of_pushing_is_proportional_to_its_amount(work, share, times):
    more = Pushing(**{name: value * times for name, value in vars(work).items()})
    assert close(
        push_seconds(DEFAULT_COSTS, more, share), times * push_seconds(DEFAULT_COSTS, work, share)
    )


@given(pullings, pullings)
def test_the_cost_of_pulling_is_the_sum_of_its_parts(one, other):
    both = Pulling(**{name: value + getattr(other, name) for name, value in vars(one).items()})
    assert close(
        pull_seconds(DEFAULT_COSTS, both),
        pull_seconds(DEFAULT_COSTS, one) + pull_seconds(DEFAULT_COSTS, other),
    )


@given(st.integers(0, 10**7), shares)
def test_a_skipped_push_costs_less_than_a_push_into_a_feed(ids, share):
    work = Pushing(posts=1, follower_ids=ids)
    none, some, all_ = (push_seconds(DEFAULT_COSTS, work, part) for part in (0, share, 1))
    assert none <= some + 1e-9
    assert some <= all_ + 1e-9


def test_the_formulas_give_the_sums_made_by_hand():
    costs = DEFAULT_COSTS
    pushed = push_seconds(
        costs,
        Pushing(
            posts=2, small_posts=1, micro_batches=1, links=3, follower_ids=1000, empty_fetches=6
        ),
        0.25,
    )
    by_hand = 2 * (costs.message_us + costs.take_off_us)
    by_hand += costs.micro_batch_us + costs.small_post_us + 3 * costs.link_us
    by_hand += 1000 * (costs.follower_us + 0.25 * costs.push_us + 0.75 * costs.skip_us)
    by_hand += 6 * (costs.fetch_us + costs.fetched_list_us)
    assert close(pushed, by_hand / 1e6)
    pulled = pull_seconds(
        costs,
        Pulling(look_ups=9, merging_reads=5, list_units=20, fetches=2, fetched_lists=3),
    )
    by_hand = 9 * costs.look_up_us + 5 * costs.first_list_us + 20 * costs.list_us
    by_hand += 2 * costs.fetch_us + 3 * costs.fetched_list_us
    assert close(pulled, by_hand / 1e6)
    base = base_seconds(costs, posts=2, reads=7, processes=3)
    assert close(base, (2 * (costs.upload_us + 3 * costs.learn_us) + 7 * costs.read_us) / 1e6)
    assert list_bytes(2, 10) == 2 * 80 + 10 * 10.2


@given(st.floats(0, 1e5), st.floats(0, 1e5), st.floats(0, 1e6))
def test_more_lists_cost_more_up_to_the_root_of_the_cached_lists(one, other, cached):
    less, more = (list_units(lists, cached) for lists in sorted((one, other)))
    assert less <= more <= list_units(math.sqrt(cached), cached) + 1e-9
    assert list_units(one, 0) == 0


@given(st.floats(1, 1e5), st.floats(1, 1e5))
def test_twice_the_lists_cost_less_than_twice_as_much(lists, cached):
    assert list_units(2 * lists, cached) < 2 * list_units(lists, cached)


@given(st.floats(0, 2), st.floats(0, 2))
def test_busier_workers_make_jobs_wait_longer(one, other):
    less, more = sorted((one, other))
    waits = [wait_seconds(busy, busy * 0.1) for busy in (less, more)]
    assert waits[0] <= waits[1]
    assert math.isinf(waits[1]) == (more >= 1)


def test_the_wait_is_that_of_pollaczek_and_khinchine():
    # Equal jobs of 0.1 s, five a second, wait half as long as jobs of exponential length (M/M/1).
    assert close(wait_seconds(0.5, 5 * 0.1**2), 0.05)
    assert close(wait_seconds(0.5, 5 * 2 * 0.1**2), 0.1)


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_more_followers_are_reached_later(one, other):
    less, more = sorted((one, other))
    times = [
        seconds_to_last_follower(DEFAULT_COSTS, count, 1.0, BATCHES, 0.0) for count in (less, more)
    ]
    if BATCHES.links(less) > 0 or BATCHES.links(more) == 0:
        assert times[0] <= times[1] + 1e-12
    assert job_seconds(DEFAULT_COSTS, less, 1.0, BATCHES) > 0


@given(st.floats(0, 1000), st.floats(0, 1000), st.floats(0, 0.1))
def test_a_micro_batch_delivers_the_posts_of_its_wait_or_of_the_micro_batch_before_it(
    one, other, each
):
    less, more = (
        posts_per_micro_batch(DEFAULT_COSTS, 2, rate, each) for rate in sorted((one, other))
    )
    assert 1 <= less <= more <= micro_batches.MAX_POSTS
    if less < micro_batches.MAX_POSTS:
        rate = min(one, other)
        gathered, while_one_ran = (
            1 + rate * queues.GATHER_SECONDS,
            rate / 2 * (DEFAULT_COSTS.micro_batch_us / 1e6 + less * each),
        )
        assert close(less, gathered) or (less > gathered and close(less, while_one_ran))


@given(st.integers(0, 10**9))
def test_the_grid_ascends_past_the_largest_account(largest):
    points = grid(largest)
    assert points[0] == 1
    assert points == sorted(set(points))
    assert points[-1] > largest
    assert len(points) == 1 or points[-2] <= largest


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(1, 10**7), st.integers(1, 10**7))
def test_the_share_of_a_cell_shrinks_as_the_threshold_rises(low, width, one, other):
    cell = a_cell(low, low + width)
    lower, higher = sorted((one, other))
    assert 0 <= cell.share_from(higher) <= cell.share_from(lower) <= 1
    assert (cell.share_from(low), cell.share_from(low + width)) == (1, 0)


def a_cell(low, high):
    return Cell(
        low=low,
        high=high,
        accounts=2,
        posted=2,
        pulled=1,
        followers=2 * low,
        posts=3.0,
        follower_ids=3.0 * low,
        entries=4.0,
    )


@st.composite
def situations(draw):
    """Draw a situation in which each account is named.

    A read merges lists in proportion to the follows of the pulled accounts.
    """
    accounts = draw(
        st.lists(
            st.tuples(followers, st.floats(0, 100), st.sampled_from([None, "push", "pull"])),
            min_size=1,
            max_size=12,
        )
    )
    pins = draw(st.sampled_from([None, "push", "pull"]))
    named = [
        NamedAccount(
            account_id=number + 1,
            follower_count=count,
            posts=posts if route else 0.0,
            entries=min(10.0, 1 + posts) if route else 0.0,
            last_route=route,
            pin=pins if number == 0 else None,
        )
        for number, (count, posts, route) in enumerate(accounts)
    ]
    points = grid(max(count for count, _, _ in accounts))
    survey = Survey(
        taken_at=NOON,
        window_seconds=86_400.0,
        accounts=len(named),
        largest=points[-1] - 1,
        posts=sum(each.posts for each in named),
        reads=draw(st.floats(0, 1e6)),
        reads_margin=0.0,
        viewers_sampled=100,
        materialised_feeds=50.0,
        materialised_share=draw(shares),
        materialised_margin=0.01,
        reading_processes=2,
        working_processes=2,
        work={"link": {9: Tally(1, 300, 0, 2_000)}},
        assumed=[],
        complete_from=0,
        cells=[],
        named=named,
        lists=[_lists(point, named) for point in points],
    )
    lines = st.integers(1, 250)
    one, other = draw(lines), draw(lines)
    today = Lines(max(one, other), min(one, other))
    processes = Processes(
        working=2,
        reading=draw(st.integers(1, 200)),
        near_cache_bytes=draw(st.sampled_from([0, 5_000, 10**6])),
    )
    return Situation(survey, DEFAULT_COSTS, DEFAULT_COSTS.share(0.1), processes, BATCHES, today)


def _lists(point, named):
    merged = [
        each
        for each in named
        if each.entries
        and each.pin != "push"
        and (each.follower_count >= point or each.pin == "pull")
    ]
    count = sum(each.follower_count for each in merged) / 200
    pushed = sum(each.posts for each in named if each not in merged)
    share = min(1.0, count)
    return ListsAt(
        promote_at=point,
        mean=count,
        mean_margin=count / 20,
        p50=int(count),
        p50_margin=0.0,
        p99=int(2 * count),
        p99_margin=1.0,
        largest=len(merged),
        shares=[1 - share, share],
        parts=[0.0, count],
        feed_entries=min(10.0, pushed),
    )


@given(situations(), st.integers(1, 250), st.integers(1, 250))
def test_a_higher_threshold_pushes_more_and_pulls_less(situation, one, other):
    low, high = (Prediction(situation, Lines(line, line)) for line in sorted((one, other)))
    assert low.deliveries.value <= high.deliveries.value + 1e-6
    assert low.push_seconds.value <= high.push_seconds.value + 1e-6
    assert low.lists.mean + 1e-9 >= high.lists.mean
    pulled = [each.pulled(lambda cell: cell.accounts) for each in (low, high)]
    assert pulled[0] >= pulled[1]


@given(situations())
def test_every_post_is_pushed_or_pulled(situation):
    found = Prediction(situation, situation.today)
    pulled = found.pulled(lambda cell: cell.posts)
    assert close(found.pushing.posts + pulled, situation.survey.posts)


@given(situations())
def test_a_threshold_saves_nothing_over_itself_with_no_margin(situation):
    found = Prediction(situation, situation.today)
    assert saving(found, found) == (0, 0)


@given(situations(), st.integers(1, 250), st.integers(1, 250))
def test_the_saving_of_one_threshold_over_another_is_the_extra_cost_of_the_other(
    situation, one, other
):
    first, second = (Prediction(situation, Lines(line, line)) for line in (one, other))
    assert close(saving(first, second).value, -saving(second, first).value)
    assert close(saving(first, second).margin, saving(second, first).margin)


limits = st.none() | st.floats(0.001, 100)


@given(
    situations(),
    st.builds(
        Guardrails,
        max_delivery_seconds=limits,
        max_lists_per_read=limits,
        max_memory_bytes=st.none() | st.just(5000),
    ),
)
def test_the_choice_is_the_cheapest_threshold_that_keeps_the_limits_if_any_does(situation, wanted):
    curve = [
        Prediction(situation, Lines(at.promote_at, at.promote_at)) for at in situation.survey.lists
    ]
    choice = choose(curve, Prediction(situation, situation.today), wanted)
    allowed = [each.total_seconds.value for each in curve if not broken_limits(wanted, each)]
    assert choice.keeps_limits == bool(allowed)
    if allowed:
        assert not broken_limits(wanted, choice.best)
        assert choice.best.total_seconds.value == min(allowed)
        unlimited = min(each.total_seconds.value for each in curve)
        assert (choice.binding is None) == (choice.best.total_seconds.value == unlimited)


def advice_for(situation, wanted):
    lines = {
        "promote_at": situation.today.promote_at,
        "demote_at": situation.today.demote_at,
        "rollout_percent": 100,
    }
    now = PolicyInfo(version=1, **lines, reason="", changed_by="", changed_at=NOON)
    return advise(situation, DEFAULTS, now, wanted)


@given(situations())
def test_a_reason_claims_the_least_cost_only_if_no_threshold_costs_less(situation):
    for at in situation.survey.lists:
        of_today = replace(situation, today=Lines(at.promote_at, at.promote_at))
        wanted = Guardrails(max_lists_per_read=at.p99)
        advice = advice_for(of_today, wanted)
        if "No other threshold costs less" in advice.why:
            assert advice.today.total <= min(point.total for point in advice.curve) + 1e-9


@given(
    situations(),
    st.builds(Guardrails, max_delivery_seconds=limits, max_lists_per_read=limits),
)
def test_a_recommendation_is_consistent_and_gives_a_reason(situation, wanted):
    advice = advice_for(situation, wanted)
    assert advice.why
    assert advice.per_account.saves_per_day >= 0
    assert (
        advice.per_account.processor_seconds_per_day
        <= min(point.total for point in advice.curve) + 1e-6
    )
    if advice.keep:
        assert advice.recommended == advice.today
        assert advice.today.breaks == []
    assert all(
        misfit.saves_per_day > 0 for misfit in advice.large_but_silent + advice.small_but_talkative
    )
    assert all(misfit.route == "pull" for misfit in advice.large_but_silent)


@given(situations())
def test_a_survey_survives_json(situation):
    assert Survey.from_json(json.loads(json.dumps(situation.survey.to_json()))) == situation.survey


def test_a_large_silent_account_and_a_small_talkative_one_are_misfits():
    silent = NamedAccount(
        account_id=1, follower_count=1000, posts=0.0, entries=5.0, last_route="pull", pin=None
    )
    talkative = NamedAccount(
        account_id=2, follower_count=50, posts=500.0, entries=10.0, last_route="push", pin=None
    )
    named = [silent, talkative]
    lists = [_lists(point, named) for point in grid(1000)]
    survey = Survey(
        taken_at=NOON,
        window_seconds=86_400.0,
        accounts=2,
        largest=1000,
        posts=500.0,
        reads=1000.0,
        reads_margin=0.0,
        viewers_sampled=10,
        materialised_feeds=10.0,
        materialised_share=1.0,
        materialised_margin=0.0,
        reading_processes=2,
        working_processes=2,
        work={},
        assumed=[],
        complete_from=0,
        cells=[],
        named=named,
        lists=lists,
    )
    situation = Situation(
        survey, DEFAULT_COSTS, DEFAULT_COSTS.share(0.1), PROCESSES, BATCHES, Lines(100, 100)
    )
    assert [misfit.account_id for misfit in rates.misfits(situation, "pull")] == [1]
    assert [misfit.account_id for misfit in rates.misfits(situation, "push")] == [2]
