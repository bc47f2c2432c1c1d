"""Home feeds are exact before, during and after any fan-out, from any state of Redis."""

from __future__ import annotations

import pytest
import redis

from feedsvc import post_ids
from feedsvc.cache import post_bodies
from feedsvc.errors import BadCursor, NotFound
from feedsvc.feed import profile, reader
from feedsvc.paging import Kind, Newer, encode
from feedsvc.planning import change
from feedsvc.posts import read
from feedsvc.store.redis import keys, lists
from feedsvc.store.redis.round_trip import RoundTrip
from feedsvc.store.watermark import Watermark
from tests.cluster import single_server
from tests.world import post_id

BIG = 2**62


def pull_from(stores, followers):
    change.change(
        stores,
        promote_at=followers,
        demote_at=followers,
        rollout_percent=100,
        reason="test",
        changed_by="test",
        if_match=None,
    )


def test_a_post_is_in_every_followers_feed_before_any_worker_has_run(world):
    world.add_followers(BIG, range(1, 6))
    assert world.is_exact(*range(1, 6), BIG)
    world.post(BIG)
    assert world.read(1) == world.oracle.feed(1) != []
    assert world.is_exact(*range(1, 6), BIG)


def test_a_post_is_in_every_followers_feed_while_it_is_pushed_and_after(world):
    world.add_followers(9, range(1, 8))
    world.is_exact(*range(1, 8), 9)
    world.post(9)
    while world.queue:
        world.run_link()
        assert world.is_exact(*range(1, 8), 9)
    world.sweep()
    assert not world.stores.redis.zscore(keys.CELEBRITIES, "9")
    assert lists.read(world.stores.redis, keys.celebrity_posts(9)).ids == []
    assert world.is_exact(*range(1, 8), 9)


def test_pulled_and_pushed_posts_of_one_account_are_merged_in_order(world):
    world.add_followers(9, range(1, 4))
    for _ in range(3):
        world.post(9)
        world.drain()
        world.sweep()
        pull_from(world.stores, 2)
        world.post(9)
        assert not world.queue
        pull_from(world.stores, 100)
    assert world.is_exact(1, 2, 3, 9)


def test_a_feed_goes_on_in_sql_below_its_horizon_to_the_very_first_post(world):
    world.add_followers(9, [1])
    for _ in range(35):
        world.post(9)
    world.drain()
    world.sweep()
    for _ in range(15):
        world.post(9)
    assert len(world.read(1)) == 50
    assert world.is_exact(1, 9)


@pytest.mark.parametrize("lost", ["everything", "each key"])
def test_a_lost_redis_costs_no_post(world, lost):
    world.add_followers(9, range(1, 6))
    world.is_exact(1, 2)
    for _ in range(4):
        world.post(9)
    world.run_link()
    if lost == "everything":
        world.stores.redis.flushdb()
        assert world.is_exact(*range(1, 6), 9)
    else:
        for key in world.stores.redis.keys("*"):
            world.stores.redis.delete(key)
            assert world.is_exact(*range(1, 6), 9)
    world.drain()
    world.sweep()
    world.drain()
    assert world.is_exact(*range(1, 6), 9)


def test_old_posts_appear_at_once_after_a_follow_and_vanish_after_an_unfollow(world):
    world.people(1, 9)
    for _ in range(12):
        world.post(9)
    world.drain()
    world.sweep()
    assert world.read(1) == []
    world.follow(1, 9)
    assert len(world.read(1)) == 12
    world.unfollow(1, 9)
    assert world.read(1) == []


def test_hidden_means_hidden_and_pages_stay_full(world):
    world.people(1)
    for author in (7, 8, 9):
        world.add_followers(author, [1])
    world.is_exact(1)
    for _ in range(6):
        for author in (7, 8, 9):
            world.post(author)
    world.drain()
    world.mute(1, 8)
    assert world.is_exact(1)
    world.block(9, 1)
    assert world.is_exact(1, 9)
    world.unmute(1, 8)
    world.unblock(9, 1)
    assert world.is_exact(1, 9), "an unblock does not restore the follow"


def test_a_deleted_post_is_gone_from_every_feed_even_during_its_fan_out(world):
    world.add_followers(9, range(1, 8))
    world.is_exact(*range(1, 8))
    other, gone = world.post(9), world.post(9)
    world.run_link()
    world.run_link()
    world.delete(9, gone)
    assert world.is_exact(*range(1, 8), 9)
    world.drain()
    assert world.read(7) == [other]


def test_a_post_whose_id_was_read_before_it_existed_is_in_every_feed(world, monkeypatch):
    world.add_followers(9, [1])
    world.post(9)
    coming = post_ids.make(2_000_000_000_000, 7)
    assert read.many(world.stores, 1, [coming]) == []
    monkeypatch.setattr(post_ids, "draw", lambda *_: coming)
    assert world.post(9) == coming
    assert world.is_exact(1, 9)


def test_a_rebuild_keeps_posts_that_are_pushed_meanwhile(world, monkeypatch):
    world.add_followers(9, [1])
    world.people(8)
    from feedsvc.cache import feed_queries

    real = feed_queries.pushed

    def meanwhile(*args):
        monkeypatch.setattr(feed_queries, "pushed", real)
        rows = real(*args)
        world.post(9)
        world.drain()
        world.sweep()
        world.follow(1, 8)
        world.post(8)
        return rows

    monkeypatch.setattr(feed_queries, "pushed", meanwhile)
    reader.home_page(world.stores, 1, None, 10)
    world.stores = world.stores.with_empty_near_cache()  # a process that has learnt of neither post
    assert world.is_exact(1)


def test_a_post_that_moves_between_the_two_reads_is_seen(world, monkeypatch):
    """A post is pushed before it leaves the celebrity list, and the home list is read last."""
    world.add_followers(9, [1])
    world.is_exact(1)
    world.post(9)
    trips = []

    class Moving(RoundTrip):
        """Moves the post after the first trip."""

        def run(self):
            trips.append(self)
            super().run()
            if len(trips) == 1:
                world.drain()
                world.sweep()

    monkeypatch.setattr(reader, "RoundTrip", Moving)
    assert world.read(1) == world.oracle.feed(1)


@single_server
@pytest.mark.parametrize(
    ("posts", "limit"), [(4, 20), (10, 2)], ids=["a short list", "the head of a long one"]
)
@pytest.mark.parametrize("are_moved", [True, False])
def test_a_first_page_is_one_round_trip_and_no_sql(
    world, monkeypatch, everything_is_settled, are_moved, posts, limit
):
    world.add_followers(9, [1])
    for _ in range(posts):
        world.post(9)
    if are_moved:
        world.drain()
        world.sweep()
    world.is_exact(1)
    world.is_exact(1)
    reader.home_page(world.stores, 1, None, limit)
    trips = []
    connection = redis.UnixDomainSocketConnection
    send = connection.send_packed_command

    def counted(self, command, check_health=True):
        trips.append(command)
        return send(self, command, check_health)

    monkeypatch.setattr(connection, "send_packed_command", counted)
    monkeypatch.setattr(type(world.stores.sql), "reading", lambda _: pytest.fail("asked SQL"))
    assert len(reader.home_page(world.stores, 1, None, limit).items) == min(posts, limit)
    assert len(trips) == 1


def test_an_unknown_viewer_and_a_foreign_cursor_are_refused(world):
    with pytest.raises(NotFound):
        reader.home_page(world.stores, 1, None, 10)
    world.people(1)
    with pytest.raises(BadCursor):
        reader.home_page(world.stores, 1, encode(Kind.PROFILE, Newer(1)), 10)


@pytest.fixture
def stand_still(world, monkeypatch):
    """Return a function that keeps the watermark at an id."""

    def keep(post_id):
        world.stores.watermark.value = post_id
        monkeypatch.setattr(Watermark, "rise", lambda *_: False)

    return keep


def test_polling_returns_each_new_post_once_even_with_a_lower_id(world, stand_still, monkeypatch):
    """The watermark stands still below the posts, because their uploads were open together."""
    world.add_followers(9, [1])
    first = world.post(9)
    stand_still(first - 10)
    page = reader.home_page(world.stores, 1, None, 2)
    seen = [post_id(body) for body in page.items]
    draw = post_ids.draw
    for number in range(7):
        lower = min(seen) - 1
        monkeypatch.setattr(
            post_ids, "draw", (lambda *_, lower=lower: lower) if number == 3 else draw
        )
        world.post(9)
        if number % 2:
            page = reader.home_page(world.stores, 1, page.prev_cursor, 2)
            seen += [post_id(body) for body in page.items]
    while page.items:
        page = reader.home_page(world.stores, 1, page.prev_cursor, 2)
        seen += [post_id(body) for body in page.items]
    assert sorted(seen) == sorted(world.oracle.feed(1))


@pytest.mark.parametrize("step", ["below", "above"])
def test_polling_a_profile_misses_no_post_that_commits_while_a_page_is_made(
    world, monkeypatch, stand_still, step
):
    """The post commits between the page and its cursor, with a lower id than the page shows."""
    world.people(1, 9)
    early = world.post(9)
    stand_still(early - 10)
    page = profile.profile_page(world.stores, 1, 9, None, 5)
    if step == "above":
        world.post(9)
    read_page = getattr(profile._Profile, step)

    def commits_late(self, *args):
        found = read_page(self, *args)
        monkeypatch.undo()
        monkeypatch.setattr(post_ids, "draw", lambda *_: early - 1)
        world.post(9)
        return found

    monkeypatch.setattr(profile._Profile, step, commits_late)
    page = profile.profile_page(
        world.stores, 1, 9, page.prev_cursor if step == "above" else None, 5
    )
    page = profile.profile_page(world.stores, 1, 9, page.prev_cursor, 5)
    assert [post_id(body) for body in page.items] == [early - 1]


def test_an_empty_feed_has_a_cursor_to_poll_with(world):
    world.add_followers(9, [1])
    page = reader.home_page(world.stores, 1, None, 2)
    assert page.items == []
    assert page.next_cursor is None
    made = world.post(9)
    page = reader.home_page(world.stores, 1, page.prev_cursor, 2)
    assert [post_id(body) for body in page.items] == [made]


def test_a_page_reached_upwards_leads_down_again(world):
    world.add_followers(9, [1])
    for _ in range(7):
        world.post(9)
    first = reader.home_page(world.stores, 1, None, 3)
    second = reader.home_page(world.stores, 1, first.next_cursor, 3)
    back = reader.home_page(world.stores, 1, second.prev_cursor, 3)
    assert back.items == first.items
    assert reader.home_page(world.stores, 1, back.next_cursor, 3).items == second.items


def test_a_profile_lists_one_accounts_posts_in_pages(world):
    world.people(1, 9)
    made = [world.post(9) for _ in range(5)]
    world.post(1)
    ids, cursor = [], None
    while True:
        page = profile.profile_page(world.stores, 1, 9, cursor, 2)
        ids += [post_id(body) for body in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert ids == made[::-1]
    world.block(9, 1)
    with pytest.raises(NotFound):
        profile.profile_page(world.stores, 1, 9, None, 2)


@pytest.mark.parametrize("direction", ["down", "up"])
def test_a_profile_page_is_full_although_posts_are_deleted_while_it_is_made(
    world, monkeypatch, direction
):
    """The posts are deleted after the page has read their ids, and before it reads the posts."""
    world.people(1, 9)
    first = world.post(9)
    cursor = None
    if direction == "up":
        cursor = profile.profile_page(world.stores, 1, 9, None, 2).prev_cursor
    made = [world.post(9) for _ in range(8)]
    nearest_first = made[::-1] if direction == "down" else made
    read_bodies = post_bodies.read

    def delete_then_read(stores, ids):
        monkeypatch.undo()
        for post in nearest_first[:2]:
            world.delete(9, post)
        return read_bodies(stores, ids)

    monkeypatch.setattr(post_bodies, "read", delete_then_read)
    page = profile.profile_page(world.stores, 1, 9, cursor, 3)
    shown = [post_id(body) for body in page.items]
    assert shown == sorted(nearest_first[2:5], reverse=True)
    assert page.next_cursor is not None
    if direction == "down":
        older = profile.profile_page(world.stores, 1, 9, page.next_cursor, 5)
        assert [post_id(body) for body in older.items] == [*made[2::-1], first]
        assert older.next_cursor is None
