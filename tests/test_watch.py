"""A watched change is rolled back when it breaks a limit, and only then."""

from __future__ import annotations

import datetime as dt
import threading

import pytest

from feedsvc.planning import change, watch
from feedsvc.routing import delivery_lag, load_shedding, versions
from feedsvc.store.sql import clock
from feedsvc.store.sql.database import now
from tests import past
from tests.past import count_pages
from tests.thresholds import backdate, set_limits, set_threshold


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
    monkeypatch.setattr(clock, "now", lambda _: now() + dt.timedelta(hours=2))
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


def test_a_rollback_takes_every_account_off_the_broken_thresholds(stores):
    set_limits(stores, roll_back_delivery_seconds=20)
    set_threshold(stores, 5, rollout_percent=10)
    set_threshold(stores, 5)
    backdate(stores, 3, ago_seconds=300)
    past.fan_outs(stores, [39.0] * 30, ago_seconds=60)
    assert change.roll_back_if_broken(stores)
    latest = versions.current(stores)
    assert (latest.promote_at, latest.rollout_percent, latest.rolled_back_to) == (1000, 100, 1)


def test_a_broken_partial_rollout_returns_to_the_newest_version_for_all_accounts(stores):
    set_limits(stores, roll_back_delivery_seconds=20)
    set_threshold(stores, 500)
    set_threshold(stores, 50, rollout_percent=10)
    set_threshold(stores, 5, rollout_percent=10)
    backdate(stores, 4, ago_seconds=300)
    past.fan_outs(stores, [39.0] * 30, ago_seconds=60)
    assert change.roll_back_if_broken(stores)
    latest = versions.current(stores)
    assert (latest.promote_at, latest.rollout_percent, latest.rolled_back_to) == (500, 100, 2)


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
