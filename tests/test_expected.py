"""What the cost model expects of a change: judged by the guardrails, and kept in the record as it was told."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from feedsvc.errors import Refused
from feedsvc.planning import forecast, guard
from feedsvc.planning.change import change, rollback
from feedsvc.planning.preview import preview
from feedsvc.planning.survey import survey
from feedsvc.routing import guardrails, versions
from feedsvc.routing.guardrails import Guardrails
from tests.test_studio import everybody_counts, few_are_enough, town  # noqa: F401 -- fixtures

HEADERS = {"If-Match": "*"}


@pytest.fixture
def known(town):  # noqa: F811 -- a fixture
    """Everybody is pushed, and the cost model has looked: nine posts nine times a window, to nine followers, and so on down."""
    survey.refresh(town.stores)
    return town.stores


def ask(stores, promote_at, **more):
    asked = {
        "promote_at": promote_at,
        "demote_at": promote_at,
        "rollout_percent": 100,
        "reason": "test",
        "changed_by": "test",
        **more,
    }
    return change(stores, **asked, if_match=None)


def guard_with(stores, **set_limits):
    guardrails.change(stores, Guardrails(**set_limits), reason="x", changed_by="x", if_match=None)


def test_without_figures_a_change_is_recorded_without(stores):
    assert ask(stores, 5).predicted is None


def test_the_record_keeps_what_the_preview_said(known, client, auth):
    path, read = "/v1/admin/threshold", auth(1, "admin:read")
    told = client.get(f"{path}/preview?promote_at=9&demote_at=9", headers=read).json
    body = {"promote_at": 9, "demote_at": 9, "reason": "x"}
    assert (
        client.put(path, json=body, headers={**auth(1, "admin:write"), **HEADERS}).json["predicted"]
        == told
    )
    assert client.get(f"{path}/history", headers=read).json["data"][0]["predicted"] == told
    assert told["to_pull"]["largest"][0]["account_id"] == "9"


def test_the_share_that_moves_is_of_all_deliveries_both_ways(known):
    everybody = forecast.forecast(preview(known, 1, 1))
    assert everybody.moved_percent == pytest.approx(100)
    nobody = forecast.forecast(preview(known, 1000, 1000))
    assert nobody.moved_percent == 0
    ask(known, 1)
    back = forecast.forecast(preview(known, 1000, 1000))
    assert back.moved_percent == 100, "none are delivered today: all that will be are new"


def test_a_change_that_moves_too_much_is_refused_with_the_numbers(known):
    guard_with(known, max_moved_percent=20)
    with pytest.raises(Refused, match=r"% of a day's deliveries moved, the limit is 20"):
        ask(known, 5)
    forced = ask(known, 5, force=True)
    assert (forced.forced, forced.predicted["proposed"]) == (
        True,
        {"promote_at": 5, "demote_at": 5},
    )
    assert (
        rollback(known, version=1, reason="back", changed_by="x", if_match=None).predicted[
            "to_push"
        ]["accounts"]
        > 0
    )


def test_a_limit_on_lists_refuses_what_merges_more_than_today(known):
    guard_with(known, max_lists_per_read=0)
    with pytest.raises(Refused, match="lists merged a read, the limit is 0"):
        ask(known, 5)
    assert ask(known, 900).version == 2


def test_a_figure_without_bound_is_infinite(known):
    seen = preview(known, 5, 5)
    endless = replace(
        seen, seconds_to_last_follower=replace(seen.seconds_to_last_follower, proposed=None)
    )
    assert forecast.forecast(endless).then.delivery_seconds == math.inf


def test_a_look_of_the_guard_changes_nothing_that_nobody_asked_for(known):
    guard.look(known)
    assert versions.current(known).version == 1
