"""Audits find and repair wrong stored feeds, and leave changes in progress alone."""

from __future__ import annotations

import itertools
from array import array
from dataclasses import asdict

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from feedsvc import outbox
from feedsvc.feed import reader
from feedsvc.graph import sample
from feedsvc.inspection import audit as auditing
from feedsvc.inspection import compare
from feedsvc.metrics import Metrics
from feedsvc.planning import change
from feedsvc.store.redis import keys
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Mute, OutboxRow
from feedsvc.tasks import make_celery
from tests.test_exact import ACCOUNTS, RandomRun
from tests.test_lists import build
from tests.world import World

AUTHOR, VIEWER = 9, 5


@pytest.fixture
def audit(stores):
    return lambda: auditing.audit(stores, None)


@pytest.fixture
def small_world(world, everything_is_settled):
    """Return a world in which AUTHOR has seven followers, all with stored feeds."""
    world.add_followers(AUTHOR, range(1, 8))
    assert world.is_exact(*range(1, 8), AUTHOR)
    return world


@pytest.fixture
def pushed(small_world):
    """Publish a post that is in every home feed and no longer on the celebrity list."""
    post = small_world.post(AUTHOR)
    small_world.drain()
    small_world.sweep()
    assert small_world.is_exact(*range(1, 8))
    assert auditing.audit(small_world.stores, None).differences == []
    return post


def named(differences):
    return [(each.viewer, each.post_id, each.kind) for each in differences]


def store_relations(stores, viewer, *accounts):
    stores.redis.set(stores.keys.relations(viewer), b"=" + array("q", accounts).tobytes())


def counts(metrics):
    return [
        metrics.registry.get_sample_value(f"feedsvc_audit_{name}_total")
        for name in ("feeds", "missing", "extra", "twice")
    ]


def pull_from_now_on(stores):
    asked = {"rollout_percent": 100, "reason": "a test", "changed_by": "test", "if_match": None}
    change.change(stores, promote_at=1, demote_at=1, **asked)


@pytest.mark.parametrize("seed", range(3))
def test_random_changes_by_many_accounts_are_not_differences(
    world, audit, everything_is_settled, seed
):
    world.people(*ACCOUNTS)
    run = RandomRun(world, seed)
    for _ in range(90):
        run.step()
        assert audit().differences == []
    assert world.is_exact(*ACCOUNTS)


def test_a_post_in_the_middle_of_its_fan_out_is_not_a_difference(small_world, audit):
    small_world.post(AUTHOR)
    while small_world.queue:
        assert audit().differences == []
        small_world.run_link()
    assert audit().differences == []
    small_world.sweep()
    assert (audit().stored, audit().differences) == (8, [])


def test_a_missing_post_is_found_and_repaired(small_world, pushed, audit, stores):
    stores.redis.lrem(stores.keys.homefeed(VIEWER), 0, str(pushed))
    assert small_world.read(VIEWER) == []
    found = audit()
    [difference] = found.missing
    assert asdict(difference) == {
        "viewer": VIEWER,
        "post_id": pushed,
        "kind": "missing",
        "author_id": AUTHOR,
        "route": "push",
        "policy_version": 1,
        "state": "done",
        "batch": 2,
    }
    assert (found.extra, found.repaired) == ([], [VIEWER])
    assert small_world.is_exact(VIEWER)
    assert audit().differences == []


@pytest.mark.parametrize(("viewer", "batch"), [(1, 1), (3, 1), (4, 2), (6, 2), (7, 3), (AUTHOR, 1)])
def test_the_batch_is_the_one_that_carries_the_viewer(pushed, audit, stores, viewer, batch):
    stores.redis.lrem(stores.keys.homefeed(viewer), 0, str(pushed))
    assert [difference.batch for difference in audit().missing] == [batch]


def test_a_difference_is_logged_with_all_its_fields(pushed, audit, stores):
    stores.redis.lrem(stores.keys.homefeed(VIEWER), 0, str(pushed))
    with capture_logs() as logs:
        [difference] = audit().missing
    assert {"event": "feed.audit_difference", "log_level": "error", **asdict(difference)} in logs


def test_a_missing_post_of_a_muted_author_is_found(small_world, pushed, audit, stores):
    small_world.mute(VIEWER, AUTHOR)
    stores.redis.lrem(stores.keys.homefeed(VIEWER), 0, str(pushed))
    assert named(audit().missing) == [(VIEWER, pushed, "missing")]


@pytest.mark.parametrize("lose", [keys.celebrity_posts, lambda _: keys.CELEBRITIES])
def test_a_post_missing_from_a_celebrity_list_is_found_and_repaired(
    small_world, audit, stores, lose
):
    pull_from_now_on(stores)
    older, lost = small_world.post(AUTHOR), small_world.post(AUTHOR)
    assert small_world.read(VIEWER) == [lost, older]
    if lose is keys.celebrity_posts:
        stores.redis.lrem(lose(AUTHOR), 0, str(lost))
    else:
        stores.redis.zrem(keys.CELEBRITIES, str(AUTHOR))
    found = audit().missing
    assert (1, lost, "missing") in named(found)
    assert {(each.route, each.policy_version, each.batch) for each in found} == {("pull", 2, None)}
    assert small_world.is_exact(*range(1, 8))
    assert audit().differences == []


def test_a_stale_relations_view_is_found_and_repaired(small_world, pushed, audit, stores):
    small_world.unfollow(VIEWER, AUTHOR)
    store_relations(stores, VIEWER, VIEWER, AUTHOR)
    found = audit()
    assert named(found.extra) == [(VIEWER, pushed, "extra")]
    assert (found.missing, found.repaired, found.extra[0].batch) == ([], [VIEWER], None)
    assert small_world.is_exact(VIEWER)
    assert audit().differences == []


def test_a_relations_view_that_lacks_a_followee_is_found_and_repaired(
    small_world, pushed, audit, stores
):
    store_relations(stores, VIEWER, VIEWER)
    assert named(audit().missing) == [(VIEWER, pushed, "missing")]
    assert small_world.is_exact(VIEWER)


def test_the_stale_bytes_of_a_deleted_post_are_found_and_repaired(
    small_world, pushed, audit, stores
):
    stale = stores.redis.get(keys.post(pushed))
    small_world.delete(AUTHOR, pushed)
    stores.redis.set(keys.post(pushed), stale)
    assert {each.kind for each in audit().differences} == {"extra"}
    assert small_world.is_exact(*range(1, 8))
    assert audit().differences == []


def test_a_repeated_id_is_counted_and_repaired_but_is_not_a_difference(
    small_world, pushed, audit, stores
):
    stores.redis.lpush(stores.keys.homefeed(VIEWER), pushed)
    found = audit()
    assert (found.twice, found.differences, found.repaired) == (1, [], [VIEWER])
    assert small_world.is_exact(VIEWER)
    assert audit().twice == 0


def test_posts_above_the_watermark_are_left_to_a_later_audit(world, audit, stores):
    world.add_followers(AUTHOR, [VIEWER])
    assert world.is_exact(VIEWER)
    post = world.post(AUTHOR)
    world.drain()
    world.sweep()
    stores.redis.lrem(stores.keys.homefeed(VIEWER), 0, str(post))
    assert audit().differences == []


@pytest.mark.parametrize("concerned", [[VIEWER], [AUTHOR, 77], [AUTHOR], []])
def test_feeds_and_posts_that_a_pending_outbox_row_concerns_are_left(
    pushed, audit, stores, concerned
):
    stores.redis.lrem(stores.keys.homefeed(VIEWER), 0, str(pushed))
    kind = "relations" if concerned else "flush"
    with stores.sql.writing() as connection:
        [row] = connection.scalars(
            sa.insert(OutboxRow).returning(OutboxRow.id),
            [{"kind": kind, "ids": concerned, "made_at": now()}],
        )
    assert audit().differences == []
    outbox._delete(stores, [row])
    assert len(audit().differences) == 1


def test_a_mute_whose_effect_is_pending_is_not_a_difference(pushed, audit, stores):
    with stores.sql.writing() as connection:
        connection.execute(sa.insert(Mute).values(account_id=VIEWER, muted_id=AUTHOR))
        connection.execute(
            sa.insert(OutboxRow).values(kind="relations", ids=[VIEWER], made_at=now())
        )
    assert audit().differences == []


def test_a_difference_that_the_second_comparison_does_not_find_is_dropped(
    pushed, audit, stores, monkeypatch
):
    compared = []

    def first_comparison_is_wrong(stores, viewer, floor):
        compared.append(viewer)
        found = compare.compare(stores, viewer, floor)
        is_first = compared.count(viewer) == 1
        return compare.Comparison(missing=frozenset({pushed})) if is_first else found

    monkeypatch.setattr(auditing, "compare", first_comparison_is_wrong)
    assert (audit().differences, compared.count(VIEWER)) == ([], 2)


def test_a_feed_that_changes_during_every_comparison_is_left(pushed, audit, stores, monkeypatch):
    wrongly_served, floors = compare._wrongly_served, itertools.count(1)

    def trim_then_compare(stores, viewer, watermark):
        stores.redis.delete(stores.keys.homefeed(VIEWER))
        stores.redis.rpush(stores.keys.homefeed(VIEWER), f"f{next(floors)}")
        return wrongly_served(stores, viewer, watermark)

    monkeypatch.setattr(compare, "_wrongly_served", trim_then_compare)
    assert audit().differences == []


def test_an_audit_does_not_extend_the_life_of_a_feed(pushed, audit, stores):
    stores.redis.expire(stores.keys.homefeed(VIEWER), 100)
    assert audit().differences == []
    assert stores.redis.ttl(stores.keys.homefeed(VIEWER)) <= 100


def test_a_feed_that_is_not_stored_is_not_built(pushed, audit, stores):
    stores.redis.delete(stores.keys.homefeed(VIEWER))
    assert audit().stored == 7
    assert not stores.redis.exists(stores.keys.homefeed(VIEWER))


def test_an_account_that_was_deleted_meanwhile_is_left(pushed, stores, monkeypatch):
    monkeypatch.setattr(sample, "draw", lambda *_: [12345])
    stores.redis.rpush(stores.keys.homefeed(12345), "f0")
    assert auditing.audit(stores, 1).stored == 0


def test_the_periodic_task_counts_feeds_and_differences(small_world, pushed, stores, broker_url):
    stores.redis.lrem(stores.keys.homefeed(VIEWER), 0, str(pushed))
    stores.redis.lpush(stores.keys.homefeed(1), pushed)
    small_world.unfollow(2, AUTHOR)
    store_relations(stores, 2, 2, AUTHOR)
    mine, another = Metrics(), Metrics()
    # Two Celery applications in one process count apart.
    apps = [make_celery(broker_url, lambda: stores, metrics) for metrics in (another, mine)]
    apps[0].finalize()
    apps[1].tasks["feedsvc.audit"].apply(throw=True)
    assert counts(mine) == [8, 1, 1, 1]
    assert counts(another) == [0, 0, 0, 0]
    for app in apps:
        app.close()


def test_the_audit_runs_once_a_minute(stores, broker_url):
    app = make_celery(broker_url, lambda: stores, Metrics())
    audit = app.conf.beat_schedule["audit"]
    assert audit == {"task": "feedsvc.audit", "schedule": 60}
    assert app.conf.task_routes["feedsvc.audit"] == {"queue": "feedsvc.sweep"}
    app.close()


def test_a_false_tail_hint_is_found_and_repaired(make_stores, everything_is_settled):
    world = World(make_stores(feed_cap=100))
    world.add_followers(AUTHOR, [VIEWER])
    made = [world.post(AUTHOR) for _ in range(20)]
    world.drain()
    world.sweep()
    stores, key = world.stores, world.stores.keys.homefeed(VIEWER)
    stores.redis.delete(key)
    build(stores, VIEWER, [*made[5:19][::-1], made[19], *made[:5][::-1]])
    floor, token = stores.redis.lindex(key, -1).split(b":")[:2]
    stores.redis.lset(key, -1, b"%s:%s:%d:%d" % (floor, token, 18, made[15]))
    page = reader.home_page(stores, VIEWER, None, 2).items
    assert f'"id":"{made[19]}"' not in page[0].decode(), (
        "the highest id is behind the head, and the false hint hides it"
    )
    assert [each.post_id for each in auditing.audit(stores, None).differences] == [made[19]]
    assert world.is_exact(VIEWER)
