"""Guardrails: no limit applies until it is set; then a change that breaks it is refused with the numbers, unless it is forced."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedsvc.errors import Invalid, Refused, StaleVersion
from feedsvc.planning import forecast
from feedsvc.planning.change import change, rollback
from feedsvc.planning.guardrail_check import Expected, Forecast, broken
from feedsvc.routing import guardrails, versions
from feedsvc.routing.guardrails import Guardrails

lines = st.integers(1, 10**9)
figures = st.builds(Expected, *[st.floats(0, 1e12)] * 3)
forecasts = st.none() | st.builds(Forecast, st.floats(0, 1e6), figures, figures)

EXPECTED = {
    "max_delivery_seconds": "delivery_seconds",
    "max_lists_per_read": "lists_per_read",
    "max_memory_bytes": "memory_bytes",
}


def ask(stores, promote_at, demote_at=None, *, force=False):
    asked = {
        "promote_at": promote_at,
        "demote_at": demote_at or promote_at,
        "rollout_percent": 100,
        "force": force,
    }
    return change(stores, **asked, reason="test", changed_by="test", if_match=None)


def guard(stores, **set_limits):
    return guardrails.change(
        stores, Guardrails(**set_limits), reason="test", changed_by="test", if_match=None
    )


def names(found):
    return [each.guardrail for each in found]


@given(lines, lines, forecasts)
def test_nothing_is_refused_until_a_limit_is_set(one, other, forecast):
    assert broken(Guardrails(), max(one, other), min(one, other), forecast) == []


@given(lines, lines, lines, st.sampled_from(["promote_at", "demote_at"]))
def test_a_bound_is_broken_exactly_beyond_it(one, other, bound, line):
    at = {"promote_at": max(one, other), "demote_at": min(one, other)}
    assert names(broken(Guardrails(**{f"min_{line}": bound}), **at, forecast=None)) == [
        f"min_{line}"
    ] * (at[line] < bound)
    assert names(broken(Guardrails(**{f"max_{line}": bound}), **at, forecast=None)) == [
        f"max_{line}"
    ] * (at[line] > bound)


@given(lines, lines, st.integers(1, 100))
def test_the_lines_must_be_so_far_apart(one, other, percent):
    promote_at, demote_at = max(one, other), min(one, other)
    found = broken(Guardrails(max_demote_percent=percent), promote_at, demote_at, None)
    assert bool(found) == (demote_at * 100 > percent * promote_at)


@given(forecasts, st.sampled_from(sorted(EXPECTED)), st.floats(0, 1e12))
def test_an_expected_figure_is_refused_above_its_limit_unless_today_is_no_better(
    forecast, guardrail, limit
):
    found = broken(Guardrails(**{guardrail: limit}), 2, 1, forecast)
    if forecast is None:
        assert [(each.guardrail, each.value) for each in found] == [(guardrail, None)]
        return
    then, today = (getattr(each, EXPECTED[guardrail]) for each in (forecast.then, forecast.today))
    assert bool(found) == (then > limit and then > today)


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_share_of_deliveries_is_moved_and_no_more(moved, limit):
    none = Expected(0, 0, 0)
    assert names(
        broken(Guardrails(max_moved_percent=limit), 2, 1, Forecast(moved, none, none))
    ) == ["max_moved_percent"] * (moved > limit)


def test_a_figure_without_end_is_no_number():
    none = Expected(0, 0, 0)
    found = broken(
        Guardrails(max_delivery_seconds=5),
        2,
        1,
        Forecast(0, none, replace(none, delivery_seconds=math.inf)),
    )
    assert [(each.value, each.detail) for each in found] == [
        (None, "seconds to the last follower without end, the limit is 5")
    ]


def test_a_change_that_breaks_a_limit_changes_nothing_unless_it_is_forced(stores):
    guard(stores, max_promote_at=50)
    with pytest.raises(Refused, match="promote_at 60 is above its bound of 50"):
        ask(stores, 60)
    assert versions.current(stores).version == 1
    forced = ask(stores, 60, force=True)
    assert (forced.version, forced.promote_at, forced.forced) == (2, 60, True)
    assert not ask(stores, 40, force=True).forced, "it did not have to be"


def test_a_limit_on_figures_refuses_what_cannot_be_judged(stores, monkeypatch):
    monkeypatch.setattr(forecast, "of", lambda *_: (None, None))
    guard(stores, max_lists_per_read=3)
    with pytest.raises(Refused, match="no figures yet"):
        ask(stores, 60)


def test_a_rollback_is_never_refused(stores):
    ask(stores, 60)
    guard(stores, max_promote_at=50)
    back = rollback(stores, version=1, reason="back", changed_by="test", if_match=2)
    assert (back.promote_at, back.rolled_back_to, back.forced) == (1000, 1, False)


def test_a_stale_change_is_stale_before_it_is_judged(stores):
    guard(stores, max_promote_at=50)
    with pytest.raises(StaleVersion):
        change(
            stores,
            promote_at=60,
            demote_at=60,
            rollout_percent=100,
            reason="x",
            changed_by="x",
            if_match=7,
        )


def test_lines_out_of_order_cannot_be_forced(stores):
    with pytest.raises(Invalid):
        ask(stores, 5, 6, force=True)


def test_the_guardrails_have_versions_of_their_own(stores):
    assert (guardrails.current(stores).version, guardrails.current(stores).guardrails) == (
        1,
        Guardrails(),
    )
    assert guard(stores, max_promote_at=50).version == 2
    with pytest.raises(StaleVersion, match="guardrails have changed"):
        guardrails.change(stores, Guardrails(), reason="x", changed_by="x", if_match=1)
    assert guardrails.current(stores).guardrails == Guardrails(max_promote_at=50)


# Over HTTP

PATH = "/v1/admin/threshold/guardrails"


@pytest.fixture
def write(auth):
    return {**auth(1, "admin:write"), "If-Match": "*"}


def test_limits_are_set_all_at_once_and_shown_with_an_etag(client, auth, write):
    read = auth(1, "admin:read")
    none = client.get(PATH, headers=read)
    assert (
        none.json["version"],
        none.headers["ETag"],
        none.json["max_promote_at"],
        none.json["relief"],
    ) == (1, '"1"', None, None)
    body = {"max_promote_at": 50, "max_moved_percent": 12.5, "reason": "x"}
    for headers, status in (
        ({}, 428),
        ({"If-Match": '"7"'}, 412),
        ({"If-Match": "x"}, 412),
        ({"If-Match": '"1"'}, 200),
    ):
        given = client.put(PATH, json=body, headers={**auth(1, "admin:write"), **headers})
        assert given.status_code == status
    assert (given.json["version"], given.json["max_moved_percent"], given.json["changed_by"]) == (
        2,
        12.5,
        "1",
    )
    client.put(PATH, json={"min_demote_at": 2, "reason": "y"}, headers=write)
    left = client.get(PATH, headers=read).json
    assert (left["version"], left["max_promote_at"], left["min_demote_at"], left["reason"]) == (
        3,
        None,
        2,
        "y",
    )
    assert client.put(PATH, json=body, headers={**read, "If-Match": "*"}).status_code == 403


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"reason": ""},
        {"reason": "x", "more": 1},
        {"reason": "x", "max_promote_at": 0},
        {"reason": "x", "max_promote_at": 1.5},
        {"reason": "x", "max_promote_at": "5"},
        {"reason": "x", "max_demote_percent": 101},
        {"reason": "x", "max_moved_percent": True},
        {"reason": "x", "max_moved_percent": "5"},
        {"reason": "x", "max_moved_percent": -1},
        {"reason": "x", "max_memory_bytes": 10**400},
        {"reason": "x", "relief_delivery_seconds": 0},
        {"reason": "x", "min_promote_at": 9, "max_promote_at": 8},
    ],
)
def test_bad_limits_are_refused_and_change_nothing(client, auth, write, body):
    assert client.put(PATH, json=body, headers=write).status_code == 422
    assert client.get(PATH, headers=auth(1, "admin:read")).json["version"] == 1


def test_a_refused_change_says_which_limits_with_the_numbers(client, write):
    client.put(
        PATH, json={"max_promote_at": 50, "max_demote_percent": 80, "reason": "x"}, headers=write
    )
    body = {"promote_at": 60, "demote_at": 60, "reason": "x"}
    refused = client.put("/v1/admin/threshold", json=body, headers=write)
    assert (refused.status_code, refused.content_type) == (409, "application/problem+json")
    assert [
        (each["guardrail"], each["limit"], each["value"]) for each in refused.json["broken"]
    ] == [
        ("max_promote_at", 50, 60),
        ("max_demote_percent", 80, 100.0),
    ]
    assert "above its bound" in refused.json["detail"]
    assert (
        client.put("/v1/admin/threshold", json={**body, "force": 1}, headers=write).status_code
        == 422
    )
    forced = client.put("/v1/admin/threshold", json={**body, "force": True}, headers=write)
    assert (forced.status_code, forced.json["forced"]) == (200, True)
