"""The threshold: decided once at upload, changed at run time, recorded."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedsvc.errors import Invalid, NotFound, StaleVersion
from feedsvc.planning import change as changing
from feedsvc.routing import pins, versions
from feedsvc.routing.policy import Thresholds, bucket, decide, governing
from feedsvc.store.sql.database import now

counts = st.integers(0, 10**9)
routes = st.sampled_from([None, "push", "pull"])


def change(stores, promote_at, demote_at=None, *, rollout_percent=100, if_match=None):
    return changing.change(
        stores,
        promote_at=promote_at,
        demote_at=demote_at or promote_at,
        rollout_percent=rollout_percent,
        reason="test",
        changed_by="test",
        if_match=if_match,
    )


@given(counts, counts, counts, routes)
def test_the_two_lines_decide_and_between_them_a_route_is_kept(followers, one, other, last_route):
    policy = Thresholds(1, max(one, other), min(one, other))
    route = decide(followers, last_route, policy, None).route
    if followers >= policy.promote_at:
        assert route == "pull"
    elif followers < policy.demote_at:
        assert route == "push"
    else:
        assert route == (last_route or "push")


@given(counts, routes, st.sampled_from(["push", "pull"]))
def test_a_pin_decides(followers, last_route, pinned):
    assert decide(followers, last_route, Thresholds(1, 5, 5), pinned).route == pinned


@given(st.integers(1, 2**63 - 1), st.integers(0, 100), st.integers(0, 100))
def test_a_rollout_only_adds_accounts(account, one, other):
    settled, narrow, wide = (
        Thresholds(1, 9, 9),
        Thresholds(2, 5, 5, min(one, other)),
        Thresholds(2, 5, 5, max(one, other)),
    )
    if governing(account, narrow, settled) is narrow:
        assert governing(account, wide, settled) is wide


def test_buckets_are_even():
    found = [bucket(2**53 + number) for number in range(20_000)]
    assert all(140 < found.count(number) < 260 for number in range(100))


def test_the_first_policy_is_the_settings_until_one_is_set(make_stores):
    assert versions.current(make_stores(promote_at=50, demote_at=40)).promote_at == 50
    assert versions.current(make_stores(promote_at=70, demote_at=40)).promote_at == 70
    change(make_stores(promote_at=70, demote_at=40), 30)
    later = make_stores(promote_at=99, demote_at=99)
    assert [
        (info.version, info.promote_at) for info in versions.history(later, None, 10).items
    ] == [(2, 30), (1, 70)]


def test_a_change_that_has_seen_another_version_is_refused(stores):
    assert change(stores, 5, if_match=1).version == 2
    with pytest.raises(StaleVersion):
        change(stores, 6, if_match=1)
    assert change(stores, 6, if_match=None).version == 3


def test_the_lines_must_be_in_order(stores):
    with pytest.raises(Invalid):
        change(stores, 5, 6)
    assert versions.current(stores).version == 1


def test_a_rollback_is_a_new_version_equal_to_an_old_one(stores):
    first = versions.current(stores)
    change(stores, 5)
    back = changing.rollback(stores, version=1, reason="back", changed_by="test", if_match=2)
    assert (back.version, back.promote_at, back.demote_at) == (3, first.promote_at, first.demote_at)
    with pytest.raises(Invalid):
        changing.rollback(stores, version=9, reason="back", changed_by="test", if_match=None)


def test_the_history_comes_in_pages(stores):
    for line in range(2, 7):
        change(stores, line)
    found, cursor = [], None
    while True:
        page = versions.history(stores, cursor, 2)
        found += [info.version for info in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == [6, 5, 4, 3, 2, 1]


def test_uploads_follow_a_change_at_once_and_say_which_version_chose(world):
    from feedsvc.fanout import status

    world.crowd(9, [1, 2, 3])
    pushed = world.post(9)
    change(world.stores, 3)
    pulled = world.post(9)
    assert [
        (found.route, found.policy_version)
        for found in (status.status(world.stores, post) for post in (pushed, pulled))
    ] == [
        ("push", 1),
        ("pull", 2),
    ]


def test_a_rollout_of_nought_percent_leaves_the_settled_version(world):
    world.crowd(9, [1, 2, 3])
    change(world.stores, 2, rollout_percent=0)
    assert pins.route_of(world.stores, 9).policy_version == 1
    change(world.stores, 2)
    assert pins.route_of(world.stores, 9).route == "pull"
    change(world.stores, 50, rollout_percent=0)
    assert pins.route_of(world.stores, 9).policy_version == 3, (
        "the last one that was rolled out fully"
    )


def test_an_account_between_the_lines_keeps_its_route(world):
    world.crowd(9, [1, 2, 3])
    change(world.stores, 3)
    world.post(9)
    change(world.stores, 5, 2)
    assert pins.route_of(world.stores, 9).route == "pull"


def test_a_pin_holds_until_it_expires_or_is_taken_away(world):
    world.crowd(9, [1])
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
