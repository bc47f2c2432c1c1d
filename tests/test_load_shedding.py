"""Load shedding: above the limit on delivery lag, the largest accounts are pulled."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedsvc.fanout import status
from feedsvc.routing import load_shedding, pins
from feedsvc.routing.policy import LoadShedding, Thresholds, decide, next_shedding_line
from feedsvc.store.sql.tables import Fanout
from tests import past
from tests.thresholds import set_limits, set_threshold

NOON = dt.datetime(2026, 11, 25, 12, tzinfo=dt.UTC)

counts = st.integers(0, 10**9)
routes = st.sampled_from([None, "push", "pull"])


@given(
    counts, counts, counts, routes, st.sampled_from([None, "push", "pull"]), st.integers(1, 10**9)
)
def test_load_shedding_pulls_the_largest_pushed_accounts_except_pinned_ones(
    followers, one, other, last, pinned, pull_from
):
    policy = Thresholds(1, max(one, other), min(one, other))
    usual = decide(followers, last, policy, pinned)
    shed = decide(followers, last, policy, pinned, LoadShedding(pull_from, 9.0, NOON))
    moved = pinned is None and usual.route == "push" and followers >= pull_from
    assert shed.for_now == moved
    if moved:
        assert (shed.route, str(pull_from) in shed.why) == ("pull", True)
    else:
        assert shed == usual


@given(
    st.none() | st.integers(1, 10**6),
    st.floats(0, 1e6),
    st.floats(0.1, 1e6),
    st.integers(1, 10**4),
    st.integers(1, 10**6),
)
def test_the_line_falls_while_delivery_is_late_and_rises_otherwise_within_its_bounds(
    line, seconds, limit, least, promote_at
):
    moved = next_shedding_line(line, seconds, limit, least=least, promote_at=promote_at)
    assert moved is None or moved < promote_at
    at, to = (promote_at if each is None else min(each, promote_at) for each in (line, moved))
    if seconds > limit:
        assert to <= max(at, least)
        assert moved is None or moved >= least
    else:
        assert to >= at


@given(st.integers(2, 10**6), st.integers(1, 10**4))
def test_lasting_overload_reaches_the_lowest_line_and_recovery_ends_load_shedding(
    promote_at, least
):
    line = None
    for _ in range(40):
        line = next_shedding_line(line, 2.0, 1.0, least=least, promote_at=promote_at)
    assert line == (least if least < promote_at else None)
    for _ in range(40):
        line = next_shedding_line(line, 0.0, 1.0, least=least, promote_at=promote_at)
    assert line is None


@pytest.fixture
def overloaded(world):
    """Return a world in which a fan-out has waited for a minute, and the limit is a second.

    Account 9 has four followers. The threshold is 32 followers.
    """
    world.add_followers(9, [1, 2, 3, 4])
    set_threshold(world.stores, 32)
    set_limits(world.stores, relief_delivery_seconds=1)
    past.fan_outs(world.stores, [None], ago_seconds=60, author=8)
    return world


def finish_all_fanouts(world):
    with world.stores.sql.writing() as connection:
        connection.execute(Fanout.__table__.update().values(state="done", next_look_at=None))


def test_without_a_limit_no_load_is_shed(stores):
    past.fan_outs(stores, [None], ago_seconds=3600)
    load_shedding.adjust(stores)
    assert load_shedding.current(stores) is None


def test_each_check_pulls_more_accounts_until_delivery_recovers(overloaded):
    stores = overloaded.stores
    lines = []
    for _ in range(5):
        load_shedding.adjust(stores)
        lines.append(load_shedding.current(stores).pull_from)
    assert lines == [16, 8, 4, 2, 2], "a slice is two followers, and the line falls no lower"
    finish_all_fanouts(overloaded)
    for line in (4, 8, 16, None):
        load_shedding.adjust(stores)
        current = load_shedding.current(stores)
        assert (current and current.pull_from) == line


def test_a_shed_post_is_visible_and_explained_and_forgotten(
    overloaded,
):
    world = overloaded
    for _ in range(3):
        load_shedding.adjust(world.stores)
    pulled = world.post(9)
    found = status.status(world.stores, pulled)
    assert (found.route, found.state, found.policy_version) == ("pull", "done", 2)
    assert "until delivery has recovered" in pins.route_of(world.stores, 9).why
    finish_all_fanouts(world)
    for _ in range(4):
        load_shedding.adjust(world.stores)
    set_threshold(world.stores, 9, 2)
    assert pins.route_of(world.stores, 9).route == "push", (
        "an account between the thresholds keeps the route from before load shedding"
    )
    world.post(9)
    world.drain()
    assert world.is_exact(1, 2, 3, 4, 9)


def test_a_small_installation_sheds_load_too(make_stores):
    stores = make_stores(promote_at=32, demote_at=32, fanout_slice=1000)
    set_limits(stores, relief_delivery_seconds=1)
    past.fan_outs(stores, [None], ago_seconds=60)
    for _ in range(6):
        load_shedding.adjust(stores)
    assert load_shedding.current(stores).pull_from == 2


def test_a_pinned_account_is_pushed_during_load_shedding(overloaded):
    pins.pin(overloaded.stores, 9, route="push", reason="x", expires_at=None, pinned_by="x")
    for _ in range(4):
        load_shedding.adjust(overloaded.stores)
    assert pins.route_of(overloaded.stores, 9).route == "push"


def test_load_shedding_ends_when_its_limit_is_removed(overloaded):
    load_shedding.adjust(overloaded.stores)
    set_limits(overloaded.stores)
    load_shedding.adjust(overloaded.stores)
    assert load_shedding.current(overloaded.stores) is None


def test_checks_at_the_same_time_move_the_line_one_step(overloaded):
    stores = overloaded.stores
    load_shedding.adjust(stores)
    moved = load_shedding.current(stores)
    assert not load_shedding._replace(stores, None, 4, 9.0), (
        "this check read the line before the other check moved it"
    )
    assert load_shedding.current(stores) == moved


def test_the_guardrails_answer_shows_load_shedding(client, auth, app):
    stores = app.extensions["feedsvc"].stores
    set_limits(stores, relief_delivery_seconds=1)
    past.fan_outs(stores, [None], ago_seconds=60)
    load_shedding.adjust(stores)
    shown = client.get("/v1/admin/threshold/guardrails", headers=auth(1, "admin:read")).json[
        "relief"
    ]
    assert (shown["pull_from"], shown["delivery_seconds"] > 59) == (500, True)
