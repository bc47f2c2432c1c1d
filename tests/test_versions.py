"""Routing: an upload decides by the policy; the policy changes at run time and is recorded."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedsvc.errors import Invalid, NotFound, StaleVersion
from feedsvc.planning.change import rollback
from feedsvc.routing import pins, versions
from feedsvc.routing.policy import Thresholds, bucket, decide, governing
from feedsvc.store.sql.database import now
from tests.thresholds import set_threshold

counts = st.integers(0, 10**9)
routes = st.sampled_from([None, "push", "pull"])


@given(counts, counts, counts, routes)
def test_the_thresholds_decide_and_an_account_between_them_keeps_its_route(
    followers, one, other, last_route
):
    policy = Thresholds(1, max(one, other), min(one, other))
    route = decide(followers, last_route, policy, None).route
    if followers >= policy.promote_at:
        assert route == "pull"
    elif followers < policy.demote_at:
        assert route == "push"
    else:
        assert route == (last_route or "push")


@given(counts, routes, st.sampled_from(["push", "pull"]))
def test_a_pin_decides_before_the_threshold(followers, last_route, pinned):
    assert decide(followers, last_route, Thresholds(1, 5, 5), pinned).route == pinned


@given(st.integers(1, 2**63 - 1), st.integers(0, 100), st.integers(0, 100))
def test_a_wider_rollout_only_adds_accounts(account, one, other):
    settled, narrow, wide = (
        Thresholds(1, 9, 9),
        Thresholds(2, 5, 5, min(one, other)),
        Thresholds(2, 5, 5, max(one, other)),
    )
    if governing(account, narrow, settled) is narrow:
        assert governing(account, wide, settled) is wide


def test_accounts_spread_evenly_over_the_rollout_buckets():
    found = [bucket(2**53 + number) for number in range(20_000)]
    assert all(140 < found.count(number) < 260 for number in range(100))


def test_the_settings_make_the_first_version_until_a_version_is_set(make_stores):
    assert versions.current(make_stores(promote_at=50, demote_at=40)).promote_at == 50
    assert versions.current(make_stores(promote_at=70, demote_at=40)).promote_at == 70
    set_threshold(make_stores(promote_at=70, demote_at=40), 30)
    later = make_stores(promote_at=99, demote_at=99)
    assert [
        (info.version, info.promote_at) for info in versions.history(later, None, 10).items
    ] == [(2, 30), (1, 70)]


def test_a_change_made_from_an_old_version_is_refused(stores):
    assert set_threshold(stores, 5, if_match=1).version == 2
    with pytest.raises(StaleVersion):
        set_threshold(stores, 6, if_match=1)
    assert set_threshold(stores, 6, if_match=None).version == 3


def test_demote_at_above_promote_at_is_refused(stores):
    with pytest.raises(Invalid):
        set_threshold(stores, 5, 6)
    assert versions.current(stores).version == 1


def test_a_rollback_is_a_new_version_equal_to_an_old_one(stores):
    first = versions.current(stores)
    set_threshold(stores, 5)
    back = rollback(stores, version=1, reason="back", changed_by="test", if_match=2)
    assert (back.version, back.promote_at, back.demote_at) == (3, first.promote_at, first.demote_at)
    with pytest.raises(Invalid):
        rollback(stores, version=9, reason="back", changed_by="test", if_match=None)


def test_the_history_comes_in_pages(stores):
    for line in range(2, 7):
        set_threshold(stores, line)
    found, cursor = [], None
    while True:
        page = versions.history(stores, cursor, 2)
        found += [info.version for info in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == [6, 5, 4, 3, 2, 1]


def test_an_upload_follows_a_change_at_once_and_stores_its_policy_version(world):
    from feedsvc.fanout import status

    world.add_followers(9, [1, 2, 3])
    pushed = world.post(9)
    set_threshold(world.stores, 3)
    pulled = world.post(9)
    assert [
        (found.route, found.policy_version)
        for found in (status.status(world.stores, post) for post in (pushed, pulled))
    ] == [
        ("push", 1),
        ("pull", 2),
    ]


def test_accounts_outside_a_rollout_follow_the_settled_version(world):
    world.add_followers(9, [1, 2, 3])
    set_threshold(world.stores, 2, rollout_percent=0)
    assert pins.route_of(world.stores, 9).policy_version == 1
    set_threshold(world.stores, 2)
    assert pins.route_of(world.stores, 9).route == "pull"
    set_threshold(world.stores, 50, rollout_percent=0)
    assert pins.route_of(world.stores, 9).policy_version == 3, (
        "version 3 is the last one that was rolled out to all accounts"
    )


def test_an_account_between_the_thresholds_keeps_the_route_of_its_last_post(world):
    world.add_followers(9, [1, 2, 3])
    set_threshold(world.stores, 3)
    world.post(9)
    set_threshold(world.stores, 5, 2)
    assert pins.route_of(world.stores, 9).route == "pull"


def test_a_pin_stands_until_it_expires_or_is_removed(world):
    world.add_followers(9, [1])
    soon = now() + dt.timedelta(hours=1)
    pins.pin(world.stores, 9, route="pull", reason="test", expires_at=soon, pinned_by="test")
    assert pins.route_of(world.stores, 9).route == "pull"
    assert [pin.account_id for pin in pins.pins(world.stores, None, 10).items] == [9]
    pins.pin(
        world.stores,
        9,
        route="pull",
        reason="test",
        expires_at=now() - dt.timedelta(seconds=1),
        pinned_by="test",
    )
    assert pins.route_of(world.stores, 9).route == "push"
    assert pins.pins(world.stores, None, 10).items == []
    pins.pin(world.stores, 9, route="pull", reason="test", expires_at=None, pinned_by="test")
    pins.unpin(world.stores, 9)
    assert pins.route_of(world.stores, 9).pin is None
    with pytest.raises(NotFound):
        pins.pin(world.stores, 77, route="pull", reason="test", expires_at=None, pinned_by="test")
