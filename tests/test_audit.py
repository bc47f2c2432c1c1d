"""The audit finds what is wrong with a stored feed, repairs it, and takes nothing that is under way for wrong."""

from __future__ import annotations

import itertools
from array import array
from dataclasses import asdict

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from feedsvc import outbox, post_ids
from feedsvc.feed import reader, walk
from feedsvc.graph import sample
from feedsvc.inspection import audit as auditing
from feedsvc.inspection import compare
from feedsvc.metrics import Metrics
from feedsvc.planning import change
from feedsvc.store.redis import keys
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Mute, OutboxRow
from feedsvc.tasks import make_celery
from tests.test_exact import ACCOUNTS, Chaos
from tests.test_lists import build
from tests.world import World

AUTHOR, VIEWER = 9, 5


@pytest.fixture
def audit(stores):
    return lambda: auditing.audit(stores, None)


@pytest.fixture
def crowd(world, everything_is_settled):
    """Seven followers, with stored feeds."""
    world.crowd(AUTHOR, range(1, 8))
    assert world.is_exact(*range(1, 8), AUTHOR)
    return world


@pytest.fixture
def pushed(crowd):
    """A post that every feed has, and that has left the celebrity list."""
    post = crowd.post(AUTHOR)
    crowd.drain()
    crowd.sweep()
    assert crowd.is_exact(*range(1, 8))
    assert auditing.audit(crowd.stores, None).differences == []
    return post


def named(differences):
    return [(each.viewer, each.post_id, each.kind) for each in differences]


def plant_relations(stores, viewer, *accounts):
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
def test_whatever_happens_in_a_busy_world_is_no_difference(
    world, audit, everything_is_settled, seed
):
    world.people(*ACCOUNTS)
    chaos = Chaos(world, seed)
    for _ in range(90):
        chaos.step()
        assert audit().differences == []
    assert world.is_exact(*ACCOUNTS)


def test_a_post_that_links_have_half_delivered_is_no_difference(crowd, audit):
    crowd.post(AUTHOR)
    while crowd.queue:
        assert audit().differences == []
        crowd.run_link()
    assert audit().differences == []
    crowd.sweep()
    assert (audit().stored, audit().differences) == (8, [])


def test_a_hole_is_found_named_and_repaired(crowd, pushed, audit, stores):
    stores.redis.lrem(stores.keys.homefeed(VIEWER), 0, str(pushed))
    assert crowd.read(VIEWER) == []
    found = audit()
    [hole] = found.missing
    assert named([hole]) == [(VIEWER, pushed, "missing")]
    assert (hole.author_id, hole.route, hole.policy_version, hole.state, hole.batch) == (
        AUTHOR,
        "push",
        1,
        "done",
        2,
    )
    assert (found.extra, found.repaired) == ([], [VIEWER])
    assert crowd.is_exact(VIEWER)
    assert audit().differences == []


@pytest.mark.parametrize(("viewer", "batch"), [(1, 1), (3, 1), (4, 2), (6, 2), (7, 3), (AUTHOR, 1)])
def test_the_batch_is_the_one_that_carries_the_viewer(pushed, audit, stores, viewer, batch):
    stores.redis.lrem(stores.keys.homefeed(viewer), 0, str(pushed))
    assert [hole.batch for hole in audit().missing] == [batch]


def test_a_difference_is_logged_with_all_that_is_known(pushed, audit, stores):
    stores.redis.lrem(stores.keys.homefeed(VIEWER), 0, str(pushed))
    with capture_logs() as logs:
        [hole] = audit().missing
    assert {"event": "feed.audit_difference", "log_level": "error", **asdict(hole)} in logs


def test_a_hole_that_a_mute_hides_from_readers_is_found_all_the_same(crowd, pushed, audit, stores):
    crowd.mute(VIEWER, AUTHOR)
    stores.redis.lrem(stores.keys.homefeed(VIEWER), 0, str(pushed))
    assert named(audit().missing) == [(VIEWER, pushed, "missing")]


@pytest.mark.parametrize("lose", [keys.celebrity_posts, lambda _: keys.CELEBRITIES])
def test_a_hole_in_a_celebrity_list_is_found_and_repaired(crowd, audit, stores, lose):
    pull_from_now_on(stores)
    kept, lost = crowd.post(AUTHOR), crowd.post(AUTHOR)
    assert crowd.read(VIEWER) == [lost, kept]
    if lose is keys.celebrity_posts:
        stores.redis.lrem(lose(AUTHOR), 0, str(lost))
    else:
        stores.redis.zrem(keys.CELEBRITIES, str(AUTHOR))
    found = audit().missing
    assert (1, lost, "missing") in named(found)
    assert {(hole.route, hole.policy_version, hole.batch) for hole in found} == {("pull", 2, None)}
    assert crowd.is_exact(*range(1, 8))
    assert audit().differences == []


def test_a_stale_relations_view_is_found_and_repaired(crowd, pushed, audit, stores):
    crowd.unfollow(VIEWER, AUTHOR)
    plant_relations(stores, VIEWER, VIEWER, AUTHOR)
    found = audit()
    assert named(found.extra) == [(VIEWER, pushed, "extra")]
    assert (found.missing, found.repaired, found.extra[0].batch) == ([], [VIEWER], None)
    assert crowd.is_exact(VIEWER)
    assert audit().differences == []


def test_a_relations_view_that_lacks_a_followee_is_found_and_repaired(crowd, pushed, audit, stores):
    plant_relations(stores, VIEWER, VIEWER)
    assert named(audit().missing) == [(VIEWER, pushed, "missing")]
    assert crowd.is_exact(VIEWER)


def test_the_stale_bytes_of_a_deleted_post_are_found_and_repaired(crowd, pushed, audit, stores):
    stale = stores.redis.get(keys.post(pushed))
    crowd.delete(AUTHOR, pushed)
    stores.redis.set(keys.post(pushed), stale)
    assert {each.kind for each in audit().differences} == {"extra"}
    assert crowd.is_exact(*range(1, 8))
    assert audit().differences == []


def test_a_repeat_is_counted_and_repaired_and_is_no_difference(crowd, pushed, audit, stores):
    stores.redis.lpush(stores.keys.homefeed(VIEWER), pushed)
    found = audit()
    assert (found.twice, found.differences, found.repaired) == (1, [], [VIEWER])
    assert crowd.is_exact(VIEWER)
    assert audit().twice == 0


def test_what_is_not_settled_is_left(world, audit, stores):
    world.crowd(AUTHOR, [VIEWER])
    assert world.is_exact(VIEWER)
    post = world.post(AUTHOR)
    world.drain()
    world.sweep()
    stores.redis.lrem(stores.keys.homefeed(VIEWER), 0, str(post))
    assert audit().differences == []


@pytest.mark.parametrize("concerned", [[VIEWER], [AUTHOR, 77], [AUTHOR], []])
def test_what_a_pending_change_concerns_is_left(pushed, audit, stores, concerned):
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


def test_a_mute_whose_effect_is_still_owed_is_no_difference(pushed, audit, stores):
    with stores.sql.writing() as connection:
        connection.execute(sa.insert(Mute).values(account_id=VIEWER, muted_id=AUTHOR))
        connection.execute(
            sa.insert(OutboxRow).values(kind="relations", ids=[VIEWER], made_at=now())
        )
    assert audit().differences == []


def test_a_difference_that_the_second_look_does_not_find_is_none(
    pushed, audit, stores, monkeypatch
):
    looked = []

    def first_look_is_wrong(stores, viewer):
        looked.append(viewer)
        found = compare.compare(stores, viewer)
        return found if looked.count(viewer) > 1 else compare.Found(missing=frozenset({pushed}))

    monkeypatch.setattr(auditing, "compare", first_look_is_wrong)
    assert (audit().differences, looked.count(VIEWER)) == ([], 2)


def test_a_feed_that_changes_all_the_time_is_left(pushed, audit, stores, monkeypatch):
    real, floors = compare._served_wrong, itertools.count(1)

    def trimmed_meanwhile(stores, viewer, settled):
        stores.redis.delete(stores.keys.homefeed(VIEWER))
        stores.redis.rpush(stores.keys.homefeed(VIEWER), f"f{next(floors)}")
        return real(stores, viewer, settled)

    monkeypatch.setattr(compare, "_served_wrong", trimmed_meanwhile)
    assert audit().differences == []


def test_an_audit_keeps_no_feed_alive(pushed, audit, stores):
    stores.redis.expire(stores.keys.homefeed(VIEWER), 100)
    assert audit().differences == []
    assert stores.redis.ttl(stores.keys.homefeed(VIEWER)) <= 100


def test_a_feed_that_is_not_stored_is_not_made(pushed, audit, stores):
    stores.redis.delete(stores.keys.homefeed(VIEWER))
    assert audit().stored == 7
    assert not stores.redis.exists(stores.keys.homefeed(VIEWER))


def test_an_account_that_is_gone_is_left(pushed, stores, monkeypatch):
    monkeypatch.setattr(sample, "draw", lambda *_: [12345])
    stores.redis.rpush(stores.keys.homefeed(12345), "f0")
    assert auditing.audit(stores, 1).stored == 0


def test_the_periodic_task_counts(crowd, pushed, stores, broker_url):
    stores.redis.lrem(stores.keys.homefeed(VIEWER), 0, str(pushed))
    stores.redis.lpush(stores.keys.homefeed(1), pushed)
    crowd.unfollow(2, AUTHOR)
    plant_relations(stores, 2, 2, AUTHOR)
    mine, another = Metrics(), Metrics()
    apps = [
        make_celery(stores, broker_url, metrics) for metrics in (another, mine)
    ]  # the one made first shares nothing
    apps[0].finalize()
    apps[1].tasks["feedsvc.audit"].apply(throw=True)
    assert counts(mine) == [8, 1, 1, 1]
    assert counts(another) == [0, 0, 0, 0]
    for app in apps:
        app.close()


def test_the_audit_runs_once_a_minute(stores, broker_url):
    app = make_celery(stores, broker_url, Metrics())
    audit = app.conf.beat_schedule["audit"]
    assert (audit["task"], audit["schedule"], audit["options"]["expires"]) == (
        "feedsvc.audit",
        60,
        60,
    )
    assert app.conf.task_routes["feedsvc.audit"] == {"queue": "feedsvc.sweep"}
    app.close()


def test_a_note_that_lies_is_found(make_stores, everything_is_settled, monkeypatch):
    monkeypatch.setattr(post_ids, "watermark", lambda: walk.TOP)
    world = World(make_stores(feed_cap=100))
    world.crowd(AUTHOR, [VIEWER])
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
        "the highest one is behind the first few, and not looked for"
    )
    assert [each.post_id for each in auditing.audit(stores, None).differences] == [made[19]]
    assert world.is_exact(VIEWER)
