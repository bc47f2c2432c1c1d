"""Surveys, previews and recommendations on real stores, over HTTP and from the command line."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import sqlalchemy as sa

from feedsvc.feed import reader
from feedsvc.graph import generate
from feedsvc.planning import unit_costs
from feedsvc.planning.inputs import NoSurvey
from feedsvc.planning.learning import DEFAULTS
from feedsvc.planning.preview import in_words, preview
from feedsvc.planning.recommendation import recommendation
from feedsvc.planning.survey import survey
from feedsvc.planning.survey.aggregates import grid
from feedsvc.routing import pins
from feedsvc.routing.guardrails import Guardrails
from feedsvc.store.redis import usage
from feedsvc.store.redis.round_trip import RoundTrip
from feedsvc.store.sql.tables import Account, Follow
from tests.test_cli import run  # noqa: F401 -- a fixture
from tests.thresholds import set_threshold

PATH = "/v1/admin/threshold"


@pytest.fixture
def all_viewers_count(monkeypatch):
    monkeypatch.setattr(usage, "SAMPLE_ONE_IN", 1)


@pytest.fixture
def one_is_enough(monkeypatch, all_viewers_count):
    monkeypatch.setattr(survey, "_FEW", 1)


@pytest.fixture
def town(world, one_is_enough, monkeypatch):
    """Return a world in which account n has n followers, for n from 1 to 9.

    Accounts with an odd number n post n times. Viewer 9 + n reads n times.
    """
    world.people(*range(1, 31))
    for followee in range(1, 10):
        for follower in range(10, 10 + followee):
            world.follow(follower, followee)
        for _ in range(followee if followee % 2 else 0):
            world.post(followee)
    world.drain()
    for viewer in range(10, 19):
        for _ in range(viewer - 9):
            reader.home_page(world.stores, viewer, None, 3)
    monkeypatch.setattr(usage, "_HAND_OVER_SECONDS", 0)
    trip = RoundTrip(world.stores.redis)
    world.stores.usage.add(trip)
    trip.run()
    return world


def merged(world, viewer, promote_at):
    """Return how many lists a read of this viewer would merge, from SQL."""
    followee = sa.select(Account.id).join(Follow, Follow.followee_id == Account.id)
    query = followee.where(
        Follow.follower_id == viewer,
        Account.follower_count >= promote_at,
        Account.last_route.is_not(None),
    )
    with world.stores.sql.reading() as connection:
        return len(connection.scalars(query).all())


def test_a_survey_finds_how_many_lists_reads_merge_under_each_threshold(town):
    found = survey.refresh(town.stores)
    weights = {viewer: viewer - 9 for viewer in range(10, 19)}
    for at in found.lists:
        counts = {viewer: merged(town, viewer, at.promote_at) for viewer in weights}
        mean = sum(counts[viewer] * weight for viewer, weight in weights.items()) / sum(
            weights.values()
        )
        assert at.mean == pytest.approx(mean)
        assert at.largest == max(counts.values())
        merging = sum(weight for viewer, weight in weights.items() if counts[viewer])
        assert 1 - at.shares[0] == pytest.approx(merging / sum(weights.values()))
        assert at.mean_of(lambda count: count) == pytest.approx(mean)


def test_a_survey_counts_posts_reads_and_materialised_feeds(town):
    found = survey.refresh(town.stores)
    assert (found.accounts, found.largest, found.viewers_sampled, found.assumed) == (30, 9, 9, [])
    # The window is an hour at least, so a new service counts as one that has run for an hour.
    assert found.posts == pytest.approx(24 * (1 + 3 + 5 + 7 + 9))
    assert found.reads == pytest.approx(24 * sum(range(1, 10)))
    assert found.materialised_feeds == 9
    assert found.materialised_share == 1
    assert [at.promote_at for at in found.lists] == grid(9)
    assert {
        named.account_id: named.follower_count for named in found.named if named.follower_count
    } == {n: n for n in range(1, 10)}


def test_a_survey_without_posts_and_reads_names_its_assumptions(stores):
    generate.load(stores, 300, 1)
    found = survey.refresh(stores)
    assert found.assumed == ["posts", "reads"]
    assert found.posts > 0
    assert found.viewers_sampled == 300
    assert any("assumptions" in line for line in in_words(preview(stores, 10)))


def test_cells_and_named_accounts_cover_each_account_once(stores, monkeypatch):
    monkeypatch.setattr("feedsvc.planning.survey.authors._LARGEST", 5)
    generate.load(stores, 300, 1)
    with stores.sql.reading() as connection:
        counts = {
            row.id: row.follower_count
            for row in connection.execute(sa.select(Account.id, Account.follower_count))
        }
    smallest = min(counts, key=counts.get)
    for account in (smallest, max(counts, key=counts.get)):
        pins.pin(stores, account, route="pull", reason="test", expires_at=None, pinned_by="test")
    found = survey.refresh(stores)
    singles = list(found.singles())
    assert sum(cell.accounts for cell in found.cells) + len(singles) == 300
    assert sum(cell.followers for cell in found.cells) + sum(
        each.follower_count for each in singles
    ) == sum(counts.values())
    for promote_at in grid(max(counts.values())):
        cells = sum(cell.accounts * cell.share_from(promote_at) for cell in found.cells)
        assert cells + sum(each.follower_count >= promote_at for each in singles) == pytest.approx(
            sum(count >= promote_at for count in counts.values())
        )


def test_a_pin_counts_under_every_threshold(town):
    pins.pin(town.stores, 9, route="pull", reason="test", expires_at=None, pinned_by="test")
    pins.pin(town.stores, 7, route="push", reason="test", expires_at=None, pinned_by="test")
    found = survey.refresh(town.stores)
    assert found.lists[-1].mean > 0
    assert found.lists[-1].largest == 1
    shown = preview(town.stores, 5)
    assert [account.account_id for account in shown.to_pull.largest] == [8, 6, 5]


def test_a_survey_is_repeated_only_when_the_last_one_is_old(stores):
    assert survey.refresh_if_old(stores)
    first = survey.survey_taken_at(stores)
    assert not survey.refresh_if_old(stores)
    survey.refresh(stores)
    assert survey.survey_taken_at(stores) > first


def test_only_reads_of_the_sampled_viewers_are_counted(world, monkeypatch):
    world.people(*range(1, 65))
    for viewer in range(1, 65):
        reader.home_page(world.stores, viewer, None, 3)
        reader.read_feed(world.stores, viewer)
    found = usage.sampled_reads(world.stores)
    assert found.by_viewer == {viewer: 1 for viewer in range(1, 65) if usage.is_in_sample(viewer)}
    assert found.seconds < 60


def test_accounts_with_a_home_feed_join_a_small_sample_of_viewers(world, monkeypatch):
    monkeypatch.setattr(survey, "_FEW", 1)
    world.people(*range(1, 81))
    for viewer in range(1, 65):
        reader.home_page(world.stores, viewer, None, 3)
    counted = [viewer for viewer in range(1, 65) if usage.is_in_sample(viewer)]
    found = survey.refresh(world.stores)
    assert 0 < len(counted) < 64
    assert (found.viewers_sampled, found.assumed) == (64, ["posts"])
    monkeypatch.setattr(survey, "_ENOUGH_VIEWERS", len(counted))
    assert survey.refresh(world.stores).viewers_sampled == len(counted)


def test_one_viewer_in_sixteen_is_sampled():
    counted = sum(usage.is_in_sample(2**53 + number) for number in range(64_000))
    assert 3_600 < counted < 4_400


def test_without_a_survey_there_is_no_preview_and_no_recommendation(stores):
    with pytest.raises(NoSurvey):
        preview(stores, 5)
    with pytest.raises(NoSurvey):
        recommendation(stores, Guardrails())


def test_a_preview_names_the_accounts_that_change_route_and_counts_their_deliveries(town):
    survey.refresh(town.stores)
    shown = preview(town.stores, 6, 6)
    assert (shown.to_pull.accounts, shown.to_push.accounts) == (4, 0)
    assert [account.account_id for account in shown.to_pull.largest] == [9, 8, 7, 6]
    assert shown.to_pull.deliveries_per_day == pytest.approx(24 * (9 * 9 + 7 * 7))
    assert shown.deliveries_per_day.today == pytest.approx(24 * (81 + 49 + 25 + 9 + 1))
    assert shown.deliveries_per_day.change == pytest.approx(-24 * (81 + 49))
    assert shown.lists_per_read.mean.today == 0
    assert shown.lists_per_read.max.proposed == 2


def test_in_a_preview_accounts_between_the_thresholds_keep_their_route(town):
    survey.refresh(town.stores)
    assert preview(town.stores, 1000, 2).to_pull.accounts == 0
    set_threshold(town.stores, 5)
    shown = preview(town.stores, 9, 2)
    assert (shown.to_pull.accounts, shown.to_push.accounts) == (0, 0)
    assert preview(town.stores, 9, 9).to_push.accounts == 4


def test_the_curve_of_a_recommendation_ends_where_no_account_is_pulled(town):
    survey.refresh(town.stores)
    advice = recommendation(town.stores, Guardrails(max_lists_per_read=1))
    assert [point.promote_at for point in advice.curve] == grid(9)
    assert advice.curve[-1].pull == advice.curve[-1].lists_per_read_mean == 0
    assert advice.recommended.lists_per_read_p99 <= 1
    assert "max_lists_per_read" in advice.curve[0].breaks


def test_a_recommendation_says_at_which_thresholds_the_lists_exceed_the_near_cache(town):
    survey.refresh(town.stores)
    usual = recommendation(town.stores, Guardrails())
    assert (usual.lists_fit_from, usual.near_cache) == (1, None)
    # Room for two lists: those of the accounts with 7 and 9 followers.
    limits = replace(town.stores.limits, near_cache_bytes=1_700)
    advice = recommendation(replace(town.stores, limits=limits), Guardrails())
    fits = {point.promote_at: point.fits_near_cache for point in advice.curve}
    assert advice.lists_fit_from == min(at for at, is_fit in fits.items() if is_fit) == 6
    assert all(
        (point.missed_lists_per_read > 0) == (not point.fits_near_cache) for point in advice.curve
    )
    assert "exceed the near cache of a process" in advice.near_cache


def test_more_processes_make_each_post_cost_more(town):
    survey.refresh(town.stores)
    few, many = (
        preview(town.stores, 5, processes=count).processor_seconds_per_day for count in (1, 200)
    )
    assert many.base.proposed > few.base.proposed
    assert many.push.proposed > few.push.proposed
    assert many.pull.proposed == few.pull.proposed


# HTTP


def test_preview_recommendation_and_inputs_need_a_scope_and_a_survey(client, auth, town):
    for path in ("/preview?promote_at=5", "/recommendation", "/inputs"):
        assert client.get(PATH + path, headers=auth(1)).status_code == 403
        assert client.get(PATH + path, headers=auth(1, "admin:read")).status_code == 409
    survey.refresh(town.stores)
    headers = auth(1, "admin:read")
    shown = client.get(f"{PATH}/preview?promote_at=6&demote_at=6", headers=headers).json
    assert shown["to_pull"]["largest"][0] == {
        "account_id": "9",
        "follower_count": 9,
        "posts_per_day": pytest.approx(216),
    }
    assert shown["costs"] == {
        "calibrated_at": None,
        "machine": None,
        "observations": shown["costs"]["observations"],
        "is_default": True,
    }
    assert shown["costs"]["observations"]["upload"] == 25
    assert shown["processes"]["reading"] == 1
    assert shown["current"] == {"version": 1, "promote_at": 1000, "demote_at": 1000}
    advice = client.get(
        f"{PATH}/recommendation?max_lists_per_read=1&max_delivery_seconds=0.5", headers=headers
    ).json
    assert advice["keeps_limits"] is True
    inputs = client.get(f"{PATH}/inputs", headers=headers).json
    assert inputs["distribution"][0] == {"followers": 1, "accounts": 9}
    assert inputs["costs"]["costs"]["learn_us"] > 0


@pytest.mark.parametrize(
    "query",
    [
        "preview",
        "preview?promote_at=0",
        "preview?promote_at=5&demote_at=6",
        "preview?promote_at=1e3",
        "preview?promote_at=9223372036854775808",
        "preview?promote_at=5&more=1",
        "preview?promote_at=5&processes=0",
        "recommendation?processes=x",
        "recommendation?max_delivery_seconds=0",
        "recommendation?max_delivery_seconds=-1",
        "recommendation?max_lists_per_read=nan",
        "recommendation?max_memory_bytes=",
        "inputs?limit=1",
    ],
)
def test_a_malformed_query_is_refused(client, auth, query):
    answer = client.get(f"{PATH}/{query}", headers=auth(1, "admin:read"))
    assert answer.status_code == 422
    assert answer.json["errors"]["query"]


def test_no_answer_has_a_number_that_json_cannot_write(client, auth, town, monkeypatch):
    slow = replace(DEFAULTS, costs=DEFAULTS.costs.share(1e6))
    monkeypatch.setattr(unit_costs, "learnt", lambda *_: slow)
    survey.refresh(town.stores)
    for query in ("preview?promote_at=5", "recommendation", "inputs"):
        text = client.get(f"{PATH}/{query}", headers=auth(1, "admin:read")).text
        assert "Infinity" not in text
        assert "NaN" not in text
    assert (
        client.get(f"{PATH}/preview?promote_at=5", headers=auth(1, "admin:read")).json[
            "seconds_to_last_follower"
        ]["today"]
        is None
    )


# Commands


def test_the_commands_print_the_same_figures_as_the_http_answers(run, town):  # noqa: F811
    code, _, err = run("threshold", "preview", "--promote-at", "5")
    assert (code, err.count("\n")) == (1, 1)
    code, out, _ = run("threshold", "inputs", "--json")
    assert (code, json.loads(out)["inputs"]["accounts"]) == (0, 30)
    code, out, _ = run("threshold", "preview", "--promote-at", "6", "--demote-at", "6", "--json")
    assert (code, json.loads(out)["to_pull"]["accounts"]) == (0, 4)
    code, out, _ = run("threshold", "recommend")
    assert code == 0
    assert "promote_at" in out
    for misuse in (
        ("preview",),
        ("preview", "--promote-at", "5", "--demote-at", "6"),
        ("recommend", "--max-lists-per-read", "0"),
    ):
        code, _, err = run("threshold", *misuse)
        assert (code, err.count("\n")) == (2, 1)
