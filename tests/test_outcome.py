"""The record of versions: the outcome of each version, and the rollback of a watched change."""

from __future__ import annotations

import datetime as dt
import threading
import time

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from feedsvc.feed import reader
from feedsvc.formats import percentile
from feedsvc.planning import change, outcome, watch
from feedsvc.routing import delivery_lag, guardrails, load_shedding, versions
from feedsvc.routing.guardrails import Guardrails
from feedsvc.store.redis import usage
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Policy
from tests import past

DAY = dt.timedelta(days=1)


def set_threshold(stores, promote_at, **more):
    values = {
        "promote_at": promote_at,
        "demote_at": promote_at,
        "rollout_percent": 100,
        "reason": "test",
        "changed_by": "test",
        **more,
    }
    return change.change(stores, **values, if_match=None)


def set_limits(stores, **limits):
    guardrails.change(stores, Guardrails(**limits), reason="x", changed_by="x", if_match=None)


def backdate(stores, version, *, ago_seconds):
    """Move the time at which a version was set into the past."""
    with stores.sql.writing() as connection:
        at = now() - dt.timedelta(seconds=ago_seconds)
        connection.execute(sa.update(Policy).where(Policy.version == version).values(changed_at=at))


def count_pages(stores, count, seconds, *, minutes_ago=1):
    """Count pages of one duration in a minute that is over."""
    minute = int(time.time()) // 60 - minutes_ago
    stores.redis.hincrby(f"figures:{minute}", str(usage.bucket(seconds)), count)


# The record


def test_a_version_names_the_one_before_it_and_the_one_it_rolls_back_to(stores):
    assert versions.current(stores).previous is None
    set_threshold(stores, 5)
    set_threshold(stores, 6, rollout_percent=50)
    change.rollback(stores, version=2, reason="back", changed_by="test", if_match=3)
    shown = [
        (info.version, info.previous and info.previous.promote_at, info.rolled_back_to)
        for info in versions.history(stores, None, 10).items
    ]
    assert shown == [(4, 6, 2), (3, 5, None), (2, 1000, None), (1, None, None)]
    assert versions.history(stores, None, 1).items[0].previous == versions.PolicyLines(6, 6, 50)
    assert versions.current(stores) == versions.history(stores, None, 1).items[0]


def test_a_change_returns_the_version_as_the_record_shows_it(stores):
    set_limits(stores, roll_back_delivery_seconds=5, max_promote_at=4)
    assert set_threshold(stores, 5, force=True) == versions.current(stores)


def test_the_record_is_shown_over_http(client, auth):
    headers = {**auth(1, "admin:write"), "If-Match": "*"}
    answer = client.put(
        "/v1/admin/threshold",
        json={"promote_at": 5, "demote_at": 3, "reason": "x"},
        headers=headers,
    ).json
    assert answer["from"] == {"promote_at": 1000, "demote_at": 1000, "rollout_percent": 100}
    assert (answer["forced"], answer["watch"], answer["measured"], answer["rolled_back_to"]) == (
        False,
        None,
        None,
        None,
    )
    assert client.get("/v1/admin/threshold/history", headers=headers).json["data"][0] == answer
    assert client.get("/v1/admin/threshold", headers=headers).json == answer


# Outcomes


def test_a_version_is_measured_once_after_a_day_or_after_its_replacement(stores):
    set_threshold(stores, 5)
    set_threshold(stores, 6)
    backdate(stores, 1, ago_seconds=9_000)
    backdate(stores, 2, ago_seconds=6_000)
    backdate(stores, 3, ago_seconds=3_000)
    past.fan_outs(stores, [1.0, 3.0], ago_seconds=4_000, delivered=10)
    past.fan_outs(stores, [0.0], ago_seconds=4_000, author=8, pulled=True)
    assert outcome.measure_due(stores) == 2
    newest, second, _ = versions.history(stores, None, 10).items
    assert newest.measured is None, "it is the latest version, and has not held for a day"
    figures_of = {
        name: second.measured[name]
        for name in ("posts", "deliveries", "delivery_p50_seconds", "delivery_p99_seconds", "reads")
    }
    assert figures_of == {
        "posts": 3,
        "deliveries": 20,
        "delivery_p50_seconds": 1.0,
        "delivery_p99_seconds": 3.0,
        "reads": 0,
    }
    backdate(stores, 3, ago_seconds=90_000)
    assert outcome.measure_due(stores) == 1
    assert outcome.measure_due(stores) == 0


def test_the_settings_are_measured_over_the_day_before_they_were_replaced(stores):
    past.fan_outs(stores, [1.0], ago_seconds=80_000)
    past.fan_outs(stores, [1.0], ago_seconds=90_000)
    set_threshold(stores, 5)
    outcome.measure_due(stores)
    found = versions.history(stores, None, 10).items[1]
    assert (found.version, found.measured["posts"]) == (1, 1)


def test_an_outcome_counts_the_pages_of_all_its_minutes(stores):
    count_pages(stores, 98, 0.001, minutes_ago=3)
    count_pages(stores, 2, 0.5, minutes_ago=2)
    stores.redis.hincrby(f"figures:{int(time.time()) // 60 - 2}", "lists", 250)
    found = outcome.measure(stores, now() - dt.timedelta(minutes=10), now())
    assert (found.reads, found.lists_per_read) == (100, 2.5)
    assert 0.001 <= found.read_p50_seconds <= 0.001_2
    assert 0.5 <= found.read_p99_seconds <= 0.6


# Counters of reads


@given(st.floats(0.000_1, 100))
def test_a_bucket_is_at_most_19_per_cent_wide(seconds):
    bound = usage.upper_bound(usage.bucket(seconds))
    assert seconds <= bound * (1 + 1e-9)
    assert bound <= seconds * 1.19 * (1 + 1e-9)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=300).map(sorted), st.integers(1, 100))
def test_a_percentile_is_the_smallest_value_that_its_share_of_values_does_not_exceed(
    values, per_cent
):
    found = percentile(values, per_cent)
    assert sum(value <= found for value in values) * 100 >= per_cent * len(values)
    assert sum(value < found for value in values) * 100 < per_cent * len(values)


def test_a_read_counts_with_the_lists_that_it_merged(world, monkeypatch):
    monkeypatch.setattr(usage, "_BETWEEN_SECONDS", 0)
    world.crowd(9, [1])
    world.post(9)
    began = now() - dt.timedelta(minutes=1)
    for _ in range(3):
        reader.home_page(world.stores, 1, None, 5)
    world.stores.usage.hand_over(world.stores.redis)
    found = usage.between(world.stores.redis, began, now() + dt.timedelta(minutes=1))
    assert (found.pages, found.lists_per_read) == (3, 1.0)
    assert found.processor_seconds is not None


def test_reads_that_several_threads_count_are_all_handed_over(stores, monkeypatch):
    monkeypatch.setattr(usage, "_BETWEEN_SECONDS", 0)

    def count():
        for _ in range(200):
            stores.usage.note(0.001, 2)
            stores.usage.hand_over(stores.redis)

    began = now() - dt.timedelta(minutes=1)
    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = usage.between(stores.redis, began, now() + dt.timedelta(minutes=1))
    assert (found.pages, found.lists_per_read) == (800, 2.0)


# Watches


@pytest.fixture
def watched(stores):
    """Return stores with version 2, set five minutes ago and watched.

    It is rolled back above a delivery lag of 20 s or a read of 0.1 s.
    """
    set_limits(stores, roll_back_delivery_seconds=20, roll_back_read_p99_seconds=0.1)
    set_threshold(stores, 5)
    backdate(stores, 2, ago_seconds=300)
    return stores


def rolled_back(stores):
    change.roll_back_if_broken(stores)
    latest = versions.current(stores)
    return (latest.changed_by, latest.reason) if latest.version == 3 else None


def test_a_change_is_not_watched_without_a_limit(stores):
    assert set_threshold(stores, 5).watch is None


def test_a_watched_change_is_rolled_back_when_delivery_is_late(watched):
    past.fan_outs(watched, [*[5.0] * 18, None, None], ago_seconds=60)
    by, why = rolled_back(watched)
    assert (by, "over 20 posts, the limit is 20 s" in why) == ("guardrail", True)
    latest = versions.current(watched)
    assert (latest.promote_at, latest.rolled_back_to, latest.watch) == (1000, 1, None)


def test_the_guard_task_sheds_load_rolls_back_and_records_outcomes(app):
    services = app.extensions["feedsvc"]
    stores = services.stores
    set_limits(stores, roll_back_delivery_seconds=20, relief_delivery_seconds=20)
    set_threshold(stores, 500)
    backdate(stores, 2, ago_seconds=300)
    past.fan_outs(stores, [None] * 20, ago_seconds=60)
    services.celery.tasks["feedsvc.guard"]()
    newest, watched, _ = versions.history(stores, None, 5).items
    assert (newest.changed_by, newest.rolled_back_to) == ("guardrail", 1)
    assert watched.measured is not None
    assert load_shedding.current(stores).pull_from == 250


def test_posts_that_are_not_late_yet_do_not_hide_late_posts(watched):
    past.fan_outs(watched, [None] * 20, ago_seconds=60)
    past.fan_outs(watched, [None] * delivery_lag.MAX_FANOUTS, ago_seconds=0)
    assert change.roll_back_if_broken(watched)


def test_a_watched_change_is_rolled_back_when_reads_are_slow(watched):
    count_pages(watched, 98, 0.01)
    count_pages(watched, 2, 0.4)
    assert "read p99 0.4" in rolled_back(watched)[1]


@pytest.mark.parametrize(
    ("lags", "ago_seconds"),
    [
        ([19.0] * 200, 60),
        ([39.0] * 19, 60),
        ([*[1.0] * 99, 39.0], 60),
        ([39.0] * 50, 400),
        ([None] * 50, 1),
    ],
    ids=[
        "all in time",
        "too few posts",
        "one per cent late",
        "uploaded before the change",
        "not late yet",
    ],
)
def test_a_watched_change_that_keeps_its_limits_stays(watched, lags, ago_seconds):
    past.fan_outs(watched, lags, ago_seconds=ago_seconds)
    count_pages(watched, 99, 0.4)  # one page fewer than a judgement needs
    assert rolled_back(watched) is None


def test_a_watch_ends(watched, monkeypatch):
    past.fan_outs(watched, [39.0] * 30, ago_seconds=60)
    monkeypatch.setattr(change, "now", lambda: now() + dt.timedelta(hours=2))
    assert rolled_back(watched) is None


def test_a_limit_that_was_broken_before_a_change_is_not_watched(stores):
    past.fan_outs(stores, [39.0] * 30, ago_seconds=60)
    set_limits(
        stores,
        roll_back_delivery_seconds=20,
        roll_back_read_p99_seconds=0.1,
        roll_back_within_seconds=60,
    )
    begun = set_threshold(stores, 5).watch
    assert (begun.delivery_seconds, begun.read_p99_seconds) == (None, 0.1)
    count_pages(stores, 200, 0.4)
    assert set_threshold(stores, 6).watch is None


def test_one_of_several_checking_workers_rolls_back(watched, make_stores):
    past.fan_outs(watched, [39.0] * 30, ago_seconds=60)
    rolled, barrier = [], threading.Barrier(4)

    def check(stores):
        barrier.wait()
        rolled.append(change.roll_back_if_broken(stores))

    threads = [threading.Thread(target=check, args=(make_stores(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(rolled) == [False, False, False, True]
    assert versions.current(watched).version == 3


def test_a_version_added_during_a_check_is_not_rolled_back(watched, monkeypatch):
    past.fan_outs(watched, [39.0] * 30, ago_seconds=60)
    broken = watch.broken

    def slow_check(*args):
        set_threshold(watched, 7)
        return broken(*args)

    monkeypatch.setattr(watch, "broken", slow_check)
    assert not change.roll_back_if_broken(watched)
    assert (versions.current(watched).version, versions.current(watched).promote_at) == (3, 7)


def test_the_delivery_lag_counts_unfinished_fan_outs_with_their_age(stores):
    past.fan_outs(stores, [1.0, 2.0, None], ago_seconds=60)
    found = delivery_lag.recent(stores)
    assert (found.posts, found.p50_seconds, round(found.p99_seconds)) == (3, 2.0, 60)
    assert round(found.oldest_unfinished_seconds) == 60
