"""The record of versions, the outcome of each version, and the figures it is measured from."""

from __future__ import annotations

import datetime as dt
import threading
import time

from hypothesis import given
from hypothesis import strategies as st

from feedsvc.feed import reader
from feedsvc.formats import percentile
from feedsvc.planning import watch
from feedsvc.planning.change import rollback
from feedsvc.routing import delivery_lag, versions
from feedsvc.store.redis import usage
from feedsvc.store.sql.database import now
from tests import past
from tests.past import count_pages
from tests.thresholds import backdate, set_limits, set_threshold

# The record


def test_a_version_names_the_one_before_it_and_the_one_it_rolls_back_to(stores):
    assert versions.current(stores).previous is None
    set_threshold(stores, 5)
    set_threshold(stores, 6, rollout_percent=50)
    rollback(stores, version=2, reason="back", changed_by="test", if_match=3)
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
    assert watch.measure_due(stores) == 2
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
    assert watch.measure_due(stores) == 1
    assert watch.measure_due(stores) == 0


def test_the_settings_are_measured_over_the_day_before_they_were_replaced(stores):
    past.fan_outs(stores, [1.0], ago_seconds=80_000)
    past.fan_outs(stores, [1.0], ago_seconds=90_000)
    set_threshold(stores, 5)
    watch.measure_due(stores)
    found = versions.history(stores, None, 10).items[1]
    assert (found.version, found.measured["posts"]) == (1, 1)


def test_an_outcome_counts_the_pages_of_all_its_minutes(stores):
    count_pages(stores, 98, 0.001, minutes_ago=3)
    count_pages(stores, 2, 0.5, minutes_ago=2)
    stores.redis.hincrby(f"figures:{int(time.time()) // 60 - 2}", "lists", 250)
    found = watch.measure(stores, now() - dt.timedelta(minutes=10), now())
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
    monkeypatch.setattr(usage, "_HAND_OVER_SECONDS", 0)
    world.add_followers(9, [1])
    world.post(9)
    began = now() - dt.timedelta(minutes=1)
    for _ in range(3):
        reader.home_page(world.stores, 1, None, 5)
    world.stores.usage.hand_over(world.stores.redis)
    found = usage.between(world.stores.redis, began, now() + dt.timedelta(minutes=1))
    assert (found.pages, found.lists_per_read) == (3, 1.0)
    assert found.processor_seconds is not None


def test_reads_that_several_threads_count_are_all_handed_over(stores, monkeypatch):
    monkeypatch.setattr(usage, "_HAND_OVER_SECONDS", 0)

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


def test_the_delivery_lag_counts_unfinished_fan_outs_with_their_age(stores):
    past.fan_outs(stores, [1.0, 2.0, None], ago_seconds=60)
    found = delivery_lag.recent(stores)
    assert (found.posts, found.p50_seconds, round(found.p99_seconds)) == (3, 2.0, 60)
    assert round(found.oldest_unfinished_seconds) == 60
