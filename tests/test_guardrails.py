"""Guardrails: a change that breaks a limit that was set is refused, unless it is forced."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedsvc.errors import Invalid, Refused, StaleVersion
from feedsvc.planning import change as changing
from feedsvc.planning.change import broken_guardrails, change, rollback
from feedsvc.planning.preview import Figure, ListsPerRead, Preview, Side
from feedsvc.routing import guardrails, versions
from feedsvc.routing.guardrails import Guardrails
from tests.thresholds import set_limits, set_threshold

lines = st.integers(1, 10**9)
amounts = st.floats(0, 1e12)
figures = st.builds(Figure, st.none() | amounts, st.none() | amounts, st.none(), st.none())
FIGURES = {
    "max_delivery_seconds": lambda preview: preview.seconds_to_last_follower,
    "max_lists_per_read": lambda preview: preview.lists_per_read.p99,
    "max_memory_bytes": lambda preview: preview.redis_bytes,
}
NONE = Figure(0, 0, 0, 0)
# The preview of a change without any effect. Guardrails do not read the fields that are None.
UNREAD: Any = None
NO_EFFECT = Preview(
    current=UNREAD,
    proposed=UNREAD,
    inputs=UNREAD,
    costs=UNREAD,
    processes=UNREAD,
    to_pull=Side(0, 0, []),
    to_push=Side(0, 0, []),
    deliveries_per_day=NONE,
    lists_per_read=ListsPerRead(NONE, NONE, NONE, NONE),
    processor_seconds_per_day=UNREAD,
    redis_bytes=NONE,
    redis_bytes_per_day=NONE,
    seconds_to_last_follower=NONE,
)


@st.composite
def previews(draw):
    return replace(
        NO_EFFECT,
        to_pull=Side(1, draw(amounts), []),
        to_push=Side(1, draw(amounts), []),
        deliveries_per_day=draw(figures),
        lists_per_read=replace(NO_EFFECT.lists_per_read, p99=draw(figures)),
        redis_bytes=draw(figures),
        seconds_to_last_follower=draw(figures),
    )


forecasts = st.none() | previews()


def names(found):
    return [each.guardrail for each in found]


@given(lines, lines, forecasts)
def test_nothing_is_refused_until_a_limit_is_set(one, other, preview):
    assert broken_guardrails(Guardrails(), max(one, other), min(one, other), preview) == []


@given(lines, lines, lines, st.sampled_from(["promote_at", "demote_at"]))
def test_a_threshold_beyond_its_bound_breaks_it(one, other, bound, line):
    at = {"promote_at": max(one, other), "demote_at": min(one, other)}
    assert names(broken_guardrails(Guardrails(**{f"min_{line}": bound}), **at, expected=None)) == [
        f"min_{line}"
    ] * (at[line] < bound)
    assert names(broken_guardrails(Guardrails(**{f"max_{line}": bound}), **at, expected=None)) == [
        f"max_{line}"
    ] * (at[line] > bound)


@given(lines, lines, st.integers(1, 100))
def test_a_demote_at_too_near_to_promote_at_breaks_its_limit(one, other, percent):
    promote_at, demote_at = max(one, other), min(one, other)
    found = broken_guardrails(Guardrails(max_demote_percent=percent), promote_at, demote_at, None)
    assert bool(found) == (demote_at * 100 > percent * promote_at)


@given(forecasts, st.sampled_from(sorted(FIGURES)), st.floats(0, 1e12))
def test_a_figure_above_its_limit_is_refused_unless_it_improves(preview, guardrail, limit):
    found = broken_guardrails(Guardrails(**{guardrail: limit}), 2, 1, preview)
    if preview is None:
        assert [(each.guardrail, each.value) for each in found] == [(guardrail, None)]
        return
    figure = FIGURES[guardrail](preview)
    today, proposed = (
        math.inf if value is None else value for value in (figure.today, figure.proposed)
    )
    assert bool(found) == (proposed > limit and proposed > today)


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 1000))
def test_a_change_that_moves_more_deliveries_than_the_limit_is_refused(saved, added, limit):
    preview = replace(
        NO_EFFECT,
        to_pull=Side(1, saved, []),
        to_push=Side(1, added, []),
        deliveries_per_day=replace(NONE, today=100),
    )
    found = broken_guardrails(Guardrails(max_moved_percent=limit), 2, 1, preview)
    assert names(found) == ["max_moved_percent"] * (saved + added > limit)


def test_a_figure_without_bound_breaks_its_limit_without_a_value():
    endless = replace(NO_EFFECT, seconds_to_last_follower=replace(NONE, proposed=None))
    found = broken_guardrails(Guardrails(max_delivery_seconds=5), 2, 1, endless)
    assert [(each.value, each.detail) for each in found] == [
        (None, "seconds to the last follower without end, the limit is 5")
    ]


def test_a_change_that_breaks_a_limit_changes_nothing_unless_it_is_forced(stores):
    set_limits(stores, max_promote_at=50)
    with pytest.raises(Refused, match="promote_at 60 is above its bound of 50"):
        set_threshold(stores, 60)
    assert versions.current(stores).version == 1
    forced = set_threshold(stores, 60, force=True)
    assert (forced.version, forced.promote_at, forced.forced) == (2, 60, True)
    assert not set_threshold(stores, 40, force=True).forced, "this change breaks no limit"


def test_a_limit_on_a_figure_refuses_a_change_without_a_forecast(stores, monkeypatch):
    monkeypatch.setattr(changing, "forecast", lambda *_: None)
    set_limits(stores, max_lists_per_read=3)
    with pytest.raises(Refused, match="no figures yet"):
        set_threshold(stores, 60)


def test_a_rollback_is_never_refused(stores):
    set_threshold(stores, 60)
    set_limits(stores, max_promote_at=50)
    back = rollback(stores, version=1, reason="back", changed_by="test", if_match=2)
    assert (back.promote_at, back.rolled_back_to, back.forced) == (1000, 1, False)


def test_a_change_from_an_old_version_is_stale_before_the_guardrails_judge_it(stores):
    set_limits(stores, max_promote_at=50)
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


def test_demote_at_above_promote_at_cannot_be_forced(stores):
    with pytest.raises(Invalid):
        set_threshold(stores, 5, 6, force=True)


def test_guardrails_have_their_own_versions(stores):
    assert (guardrails.current(stores).version, guardrails.current(stores).guardrails) == (
        1,
        Guardrails(),
    )
    assert set_limits(stores, max_promote_at=50).version == 2
    with pytest.raises(StaleVersion, match="guardrails have changed"):
        guardrails.change(stores, Guardrails(), reason="x", changed_by="x", if_match=1)
    assert guardrails.current(stores).guardrails == Guardrails(max_promote_at=50)


# Over HTTP

PATH = "/v1/admin/threshold/guardrails"


@pytest.fixture
def write(auth):
    return {**auth(1, "admin:write"), "If-Match": "*"}


def test_a_put_sets_all_limits_at_once_and_answers_with_an_etag(client, auth, write):
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


def test_a_refused_change_names_the_broken_limits_with_their_numbers(client, write):
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
