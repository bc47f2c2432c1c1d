"""Relief from overload: above the limit on delivery lag the largest accounts are pulled, until it has recovered."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedsvc.fanout import status
from feedsvc.planning import guard
from feedsvc.planning.change import change
from feedsvc.routing import guardrails, load_shedding, pins
from feedsvc.routing.guardrails import Guardrails
from feedsvc.routing.policy import LoadShedding, Thresholds, decide, next_shedding_line
from tests import past

NOON = dt.datetime(2026, 11, 25, 12, tzinfo=dt.UTC)

counts = st.integers(0, 10**9)
routes = st.sampled_from([None, "push", "pull"])


@given(
    counts, counts, counts, routes, st.sampled_from([None, "push", "pull"]), st.integers(1, 10**9)
)
def test_relief_pulls_the_largest_of_those_that_would_be_pushed_and_no_pinned_one(
    followers, one, other, last, pinned, pull_from
):
    policy = Thresholds(1, max(one, other), min(one, other))
    usual, relieving = (
        decide(followers, last, policy, pinned),
        decide(followers, last, policy, pinned, LoadShedding(pull_from, 9.0, NOON)),
    )
    moved = pinned is None and usual.route == "push" and followers >= pull_from
    assert relieving.for_now == moved
    if moved:
        assert (relieving.route, str(pull_from) in relieving.why) == ("pull", True)
    else:
        assert relieving == usual


@given(
    st.none() | st.integers(1, 10**6),
    st.floats(0, 1e6),
    st.floats(0.1, 1e6),
    st.integers(1, 10**4),
    st.integers(1, 10**6),
)
def test_the_line_moves_the_right_way_and_stays_in_its_bounds(
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
def test_lasting_overload_reaches_the_least_and_recovery_ends_it(promote_at, least):
    line = None
    for _ in range(40):
        line = next_shedding_line(line, 2.0, 1.0, least=least, promote_at=promote_at)
    assert line == (least if least < promote_at else None)
    for _ in range(40):
        line = next_shedding_line(line, 0.0, 1.0, least=least, promote_at=promote_at)
    assert line is None


@pytest.fixture
def overloaded(world):
    """Account 9 has four followers, accounts are pulled from 32 on, and a fan-out waits for a minute, where a second is allowed."""
    world.crowd(9, [1, 2, 3, 4])
    settings = {"promote_at": 32, "demote_at": 32, "rollout_percent": 100}
    change(world.stores, **settings, reason="test", changed_by="test", if_match=None)
    guardrails.change(
        world.stores,
        Guardrails(relief_delivery_seconds=1),
        reason="x",
        changed_by="x",
        if_match=None,
    )
    past.fan_outs(world.stores, [None], ago_seconds=60, author=8)
    return world


def recovers(world):
    from feedsvc.store.sql.tables import Fanout

    with world.stores.sql.writing() as connection:
        connection.execute(Fanout.__table__.update().values(state="done", next_look_at=None))


def test_without_a_limit_nothing_is_relieved(stores):
    past.fan_outs(stores, [None], ago_seconds=3600)
    guard.look(stores)
    assert load_shedding.current(stores) is None


def test_each_look_pulls_more_accounts_until_the_queue_is_short_again(overloaded):
    stores = overloaded.stores
    lines = []
    for _ in range(5):
        load_shedding.adjust(stores)
        lines.append(load_shedding.current(stores).pull_from)
    assert lines == [16, 8, 4, 2, 2], "a slice is two followers: fewer are not worth it"
    recovers(overloaded)
    for line in (4, 8, 16, None):
        load_shedding.adjust(stores)
        now_at = load_shedding.current(stores)
        assert (now_at and now_at.pull_from) == line


def test_a_relieved_upload_is_pulled_visible_explained_and_forgotten(overloaded):
    world = overloaded
    for _ in range(3):
        load_shedding.adjust(world.stores)
    pulled = world.post(9)
    found = status.status(world.stores, pulled)
    assert (found.route, found.state, found.policy_version) == ("pull", "done", 2)
    assert "until it has recovered" in pins.route_of(world.stores, 9).why
    recovers(world)
    for _ in range(4):
        load_shedding.adjust(world.stores)
    change(
        world.stores,
        promote_at=9,
        demote_at=2,
        rollout_percent=100,
        reason="test",
        changed_by="test",
        if_match=None,
    )
    assert pins.route_of(world.stores, 9).route == "push", (
        "between the lines it keeps the route that it had before"
    )
    world.post(9)
    world.drain()
    assert world.is_exact(1, 2, 3, 4, 9)


def test_a_small_installation_is_relieved_too(make_stores):
    stores = make_stores(promote_at=32, demote_at=32, fanout_slice=1000)
    guardrails.change(
        stores, Guardrails(relief_delivery_seconds=1), reason="x", changed_by="x", if_match=None
    )
    past.fan_outs(stores, [None], ago_seconds=60)
    for _ in range(6):
        load_shedding.adjust(stores)
    assert load_shedding.current(stores).pull_from == 2


def test_a_pinned_account_is_pushed_all_the_same(overloaded):
    pins.pin(overloaded.stores, 9, route="push", reason="x", expires_at=None, pinned_by="x")
    for _ in range(4):
        load_shedding.adjust(overloaded.stores)
    assert pins.route_of(overloaded.stores, 9).route == "push"


def test_relief_ends_when_its_limit_is_taken_away(overloaded):
    load_shedding.adjust(overloaded.stores)
    guardrails.change(overloaded.stores, Guardrails(), reason="x", changed_by="x", if_match=None)
    load_shedding.adjust(overloaded.stores)
    assert load_shedding.current(overloaded.stores) is None


def test_looks_at_once_move_the_line_one_step(overloaded):
    stores = overloaded.stores
    load_shedding.adjust(stores)
    moved = load_shedding.current(stores)
    assert not load_shedding._replace(stores, None, 4, 9.0), (
        "it looked before the other had moved the line"
    )
    assert load_shedding.current(stores) == moved


def test_the_console_and_the_operator_see_the_relief(client, auth, app):
    stores = app.extensions["feedsvc"].stores
    guardrails.change(
        stores, Guardrails(relief_delivery_seconds=1), reason="x", changed_by="x", if_match=None
    )
    past.fan_outs(stores, [None], ago_seconds=60)
    load_shedding.adjust(stores)
    shown = client.get("/v1/admin/threshold/guardrails", headers=auth(1, "admin:read")).json[
        "relief"
    ]
    assert (shown["pull_from"], shown["delivery_seconds"] > 59) == (500, True)
