"""The forecast of a change: judged by the guardrails, and stored in the record of versions."""

from __future__ import annotations

import pytest

from feedsvc.errors import Refused
from feedsvc.planning.change import moved_percent, roll_back_if_broken, rollback
from feedsvc.planning.preview import preview
from feedsvc.planning.survey import survey
from feedsvc.routing import versions
from tests.test_planning import all_viewers_count, one_is_enough, town  # noqa: F401 -- fixtures
from tests.thresholds import set_limits, set_threshold

HEADERS = {"If-Match": "*"}


@pytest.fixture
def surveyed(town):  # noqa: F811 -- a fixture
    """Return the stores of a town after its survey. The threshold pushes every post."""
    survey.refresh(town.stores)
    return town.stores


def test_a_change_without_a_survey_is_recorded_without_a_forecast(stores):
    assert set_threshold(stores, 5).predicted is None


def test_the_record_stores_the_preview_as_it_was_answered(surveyed, client, auth):
    path, read = "/v1/admin/threshold", auth(1, "admin:read")
    shown = client.get(f"{path}/preview?promote_at=9&demote_at=9", headers=read).json
    body = {"promote_at": 9, "demote_at": 9, "reason": "x"}
    assert (
        client.put(path, json=body, headers={**auth(1, "admin:write"), **HEADERS}).json["predicted"]
        == shown
    )
    assert client.get(f"{path}/history", headers=read).json["data"][0]["predicted"] == shown
    assert shown["to_pull"]["largest"][0]["account_id"] == "9"


def test_the_moved_share_counts_deliveries_that_a_change_saves_or_adds(surveyed):
    assert moved_percent(preview(surveyed, 1, 1)).proposed == pytest.approx(100)
    assert moved_percent(preview(surveyed, 1000, 1000)).proposed == 0
    set_threshold(surveyed, 1)
    back = moved_percent(preview(surveyed, 1000, 1000))
    assert back.proposed == 100, "nothing is delivered today, so every delivery is new"


def test_a_change_that_moves_too_many_deliveries_is_refused_with_its_share(surveyed):
    set_limits(surveyed, max_moved_percent=20)
    with pytest.raises(Refused, match=r"% of a day's deliveries moved, the limit is 20"):
        set_threshold(surveyed, 5)
    forced = set_threshold(surveyed, 5, force=True)
    assert (forced.forced, forced.predicted["proposed"]) == (
        True,
        {"promote_at": 5, "demote_at": 5},
    )
    assert (
        rollback(surveyed, version=1, reason="back", changed_by="x", if_match=None).predicted[
            "to_push"
        ]["accounts"]
        > 0
    )


def test_a_limit_on_lists_refuses_a_change_that_merges_more_than_today(surveyed):
    set_limits(surveyed, max_lists_per_read=0)
    with pytest.raises(Refused, match="lists merged a read, the limit is 0"):
        set_threshold(surveyed, 5)
    assert set_threshold(surveyed, 900).version == 2


def test_an_unwatched_version_is_not_rolled_back(surveyed):
    assert not roll_back_if_broken(surveyed)
    assert versions.current(surveyed).version == 1
