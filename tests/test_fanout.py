"""Fan-outs deliver each post to each feed exactly once, despite crashes, repeats and races."""

from __future__ import annotations

import datetime as dt
import threading

import pytest
import sqlalchemy as sa

from feedsvc.fanout import chain, done, lanes, micro_batches, queues, slices, status, sweep
from feedsvc.routing import pins
from feedsvc.store.redis import delivery, lists
from feedsvc.store.redis.delivery import END
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Fanout

FOLLOWERS = range(1, 8)


@pytest.fixture(params=[60.0, 0.0], ids=["young", "waiting"])
def followed(world, request, monkeypatch):
    """Account 9 with seven materialised followers: batches of three, three and one.

    Each test runs with young posts, and with posts that have waited.
    """
    monkeypatch.setattr(slices, "YOUNG_SECONDS", request.param)
    world.add_followers(9, FOLLOWERS)
    assert world.is_exact(*FOLLOWERS, 9)
    return world


def pushed(world, account):
    """The ids on the stored home list of an account, with repeats."""
    return lists.read(world.stores.redis, world.stores.keys.homefeed(account)).ids


def counts(world, post):
    found = status.status(world.stores, post)
    return found.state, found.followers, found.delivered, found.skipped, found.batches


def test_each_link_delivers_a_batch_and_enqueues_the_next_with_its_cursor(followed):
    post = followed.post(9)
    assert followed.queue == [(post, 0, "0")]
    followed.run_link()
    assert followed.queue == [(post, 0, "3")]
    assert counts(followed, post)[0] == "running"
    followed.run_link()
    assert followed.queue == [(post, 0, "6")]
    followed.run_link()
    assert followed.queue == []
    assert counts(followed, post) == ("done", 7, 7, 0, 3)
    assert all(pushed(followed, account) == [post] for account in (*FOLLOWERS, 9))


def test_feeds_that_are_not_materialised_are_skipped_and_counted(world):
    world.add_followers(9, FOLLOWERS)
    world.is_exact(1, 5)
    post = world.post(9)
    world.drain()
    assert counts(world, post) == ("done", 7, 2, 5, 3)


def test_every_batch_delivered_twice_is_delivered_once(followed):
    post = followed.post(9)
    while followed.queue:
        link = followed.queue[0]
        followed.run_link(keep=True)
        followed.queue.pop(0)
        chain.run_link(followed.stores, followed.enqueue, *link)
    assert counts(followed, post)[:4] == ("done", 7, 7, 0)
    assert all(pushed(followed, account) == [post] for account in (*FOLLOWERS, 9))


def test_two_workers_on_one_link_at_once_deliver_each_feed_once(followed, make_stores):
    for _ in range(5):
        post = followed.post(9)
        [link] = followed.queue
        followed.queue.clear()
        barrier = threading.Barrier(4)

        def work(stores, link=link, barrier=barrier):
            barrier.wait()
            chain.run_link(stores, followed.enqueue, *link)

        threads = [threading.Thread(target=work, args=(make_stores(),)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        followed.drain()
        assert counts(followed, post)[:4] == ("done", 7, 7, 0)
        assert all(pushed(followed, account).count(post) == 1 for account in (*FOLLOWERS, 9))


@pytest.mark.parametrize("delivered", [0, 1, 2])
def test_a_worker_that_dies_in_the_middle_of_a_batch_is_resumed_from_the_cursor(
    followed, monkeypatch, delivered
):
    """Only the first slices of the batch were delivered, and no next link was enqueued."""
    post = followed.post(9)
    followed.run_link()
    real = delivery.deliver

    def dying(stores, post_id, author, batch, *more, **options):
        if delivered:
            real(stores, post_id, author, batch[:delivered], *more, **options)
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(delivery, "deliver", dying)
        with pytest.raises(SystemExit):
            followed.run_link()
    assert followed.is_exact(*FOLLOWERS, 9)
    assert followed.sweep().redriven == 1
    followed.drain()
    assert counts(followed, post)[:4] == ("done", 7, 7, 0)
    assert all(pushed(followed, account) == [post] for account in (*FOLLOWERS, 9))


def test_the_sweep_finishes_a_fan_out_whose_worker_died_before_writing_done(followed, monkeypatch):
    post = followed.post(9)
    monkeypatch.setattr(done, "write", lambda _, fanouts, *__: {post: [] for post in fanouts})
    followed.drain()
    monkeypatch.undo()
    assert followed.sweep().redriven == 1
    assert followed.queue == [(post, 1, END)]
    followed.drain()
    assert counts(followed, post) == ("done", 7, 7, 0, 3)


def test_a_lost_message_is_sent_again(followed):
    post = followed.post(9)
    followed.queue.clear()
    assert followed.sweep().redriven == 1
    followed.drain()
    assert counts(followed, post)[:4] == ("done", 7, 7, 0)


def test_an_older_link_delivers_its_batch_and_enqueues_nothing(followed):
    post = followed.post(9)
    followed.sweep()
    assert followed.queue == [(post, 0, "0"), (post, 1, "0")]
    followed.run_link()
    assert followed.queue == [(post, 1, "0")]
    followed.drain()
    assert counts(followed, post)[:4] == ("done", 7, 7, 0)
    assert all(pushed(followed, account) == [post] for account in FOLLOWERS)


def test_concurrent_sweeps_re_drive_a_fan_out_once(followed, make_stores):
    followed.post(9)
    followed.queue.clear()
    followed.time_passes()
    threads = [
        threading.Thread(target=sweep.sweep, args=(make_stores(), followed.enqueue))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(followed.queue) == 1


def test_a_redis_lost_in_the_middle_of_a_chain_starts_the_chain_again(followed):
    post = followed.post(9)
    followed.run_link()
    followed.stores.redis.flushdb()
    followed.is_exact(2, 5)
    followed.drain()
    assert followed.is_exact(*FOLLOWERS, 9)
    assert counts(followed, post)[:4] == ("done", 7, 2, 5)


def test_a_redis_lost_before_done_is_written_starts_the_fan_out_again(followed, monkeypatch):
    """The last link knows only a copy of the cursor: `done` needs the cursor itself."""
    post = followed.post(9)
    monkeypatch.setattr(done, "write", lambda _, fanouts, *__: {post: [] for post in fanouts})
    followed.drain()
    monkeypatch.undo()
    followed.sweep()
    assert followed.queue == [(post, 1, END)]
    followed.stores.redis.flushdb()
    followed.is_exact(2, 5)
    followed.drain()
    assert counts(followed, post) == ("done", 7, 2, 5, 3)


def test_followers_that_come_and_go_during_a_fan_out_have_exact_feeds(followed):
    followed.people(20, 21)
    followed.is_exact(20, 21)
    followed.post(9)
    followed.run_link()
    followed.follow(20, 9)
    followed.unfollow(2, 9)
    followed.unfollow(6, 9)
    followed.run_link()
    followed.follow(21, 9)
    followed.follow(2, 9)
    followed.drain()
    followed.sweep()
    assert followed.is_exact(*FOLLOWERS, 9, 20, 21)


def test_a_pulled_post_is_done_at_once_and_pushes_nothing(followed):
    pins.pin(followed.stores, 9, route="pull", reason="test", expires_at=None, pinned_by="test")
    post = followed.post(9)
    assert followed.queue == []
    assert counts(followed, post)[0] == "done"
    assert followed.sweep().taken_off == 0
    assert followed.is_exact(*FOLLOWERS, 9)


def test_the_fan_out_of_a_deleted_post_ends(followed):
    post = followed.post(9)
    followed.run_link()
    followed.delete(9, post)
    followed.run_link()
    assert followed.queue == []
    assert counts(followed, post)[0] == "done"


def test_a_link_of_an_unknown_post_is_a_success(stores):
    chain.run_link(stores, None, 12345, 0, "0")


def test_the_sweep_mends_a_crash_between_commit_and_put(world, monkeypatch):
    from feedsvc import outbox

    world.add_followers(9, [1])
    world.is_exact(1)
    monkeypatch.setattr(outbox.PostPublished, "apply", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        world.post(9)
    monkeypatch.undo()
    assert world.read(1) == []
    monkeypatch.setattr(outbox, "_GRACE", -outbox._GRACE)
    assert world.sweep().changes == 1
    assert len(world.read(1)) == 1
    assert world.sweep().changes == 0


def test_a_fan_out_that_was_lost_many_times_is_soon_checked_again(followed):
    """Found by `make chaos`: with growing waits a fan-out stood still for minutes after a fault."""
    followed.post(9)
    for _ in range(6):
        followed.queue.clear()
        followed.sweep()
    with followed.stores.sql.reading() as connection:
        next_look_at = connection.scalar(sa.select(Fanout.next_look_at))
    assert next_look_at - now() < dt.timedelta(seconds=20)
    followed.drain()
    assert followed.is_exact(*range(1, 5))


def test_concurrent_fan_outs_each_reach_every_feed(followed):
    posts = [followed.post(9) for _ in range(3)]
    while followed.queue:
        followed.run_link()  # each enqueues its next link behind the links of the others
    for post in posts:
        assert counts(followed, post) == ("done", 7, 7, 0, 3)
    for follower in FOLLOWERS:
        assert sorted(pushed(followed, follower)) == posts


@pytest.fixture
def large(world, monkeypatch):
    """Account 9 with fourteen materialised followers in two lanes of seven: three batches each."""
    monkeypatch.setattr(lanes, "BATCHES_A_LANE", 2)
    world.add_followers(9, LARGE)
    assert world.is_exact(*LARGE, 9)
    return world


LARGE = range(11, 25)


def test_a_large_fan_out_is_divided_into_lanes_that_each_have_a_chain(large):
    post = large.post(9)
    large.run_link()
    assert sorted(large.queue) == [(post, 0, "13"), (post, 0, "17")]
    large.drain()
    assert counts(large, post) == ("done", 14, 14, 0, 6)
    assert all(pushed(large, account) == [post] for account in (*LARGE, 9))


def test_lanes_that_run_concurrently_and_twice_push_into_each_feed_once(large):
    posts = [large.post(9) for _ in range(2)]
    while large.queue:
        large.run_link(-1, keep=True)
        large.run_link(-1)
        large.run_link(0)
    assert all(counts(large, post)[:4] == ("done", 14, 14, 0) for post in posts)
    assert all(sorted(pushed(large, account)) == posts for account in (*LARGE, 9))


def test_each_lane_whose_message_was_lost_is_sent_again_from_its_own_cursor(large):
    post = large.post(9)
    large.run_link()
    large.run_link(0)
    assert len(large.queue) == 2
    large.queue.clear()
    assert large.sweep().redriven == 1
    assert sorted(cursor for _, _, cursor in large.queue) == ["13", "20"]
    large.drain()
    assert counts(large, post) == ("done", 14, 14, 0, 6)


def test_a_fan_out_is_done_only_when_all_its_lanes_are(large):
    post = large.post(9)
    large.run_link()
    while any(int(cursor) >= 17 for _, _, cursor in large.queue):
        large.run_link(next(at for at, link in enumerate(large.queue) if int(link[2]) >= 17))
    assert counts(large, post)[0] == "running"
    assert large.queue == [(post, 0, "13")]
    large.drain()
    assert counts(large, post) == ("done", 14, 14, 0, 6)


def test_a_redis_lost_under_lanes_starts_each_lane_again(large):
    post = large.post(9)
    large.run_link()
    large.run_link(0)
    large.stores.redis.flushdb()
    large.is_exact(12, 24)
    while large.queue or counts(large, post)[0] != "done":
        large.drain()
        large.sweep()
    assert counts(large, post)[:4] == ("done", 14, 2, 12)
    assert large.is_exact(*LARGE, 9)


def test_concurrent_links_that_divide_a_fan_out_choose_its_bounds_once(large, make_stores):
    post = large.post(9)
    [link] = large.queue
    large.queue.clear()
    threads = [
        threading.Thread(target=chain.run_link, args=(make_stores(), large.enqueue, *link))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    large.drain()
    large.sweep()
    large.drain()
    assert counts(large, post) == ("done", 14, 14, 0, 6)
    assert all(pushed(large, account) == [post] for account in (*LARGE, 9))


def test_a_micro_batch_delivers_all_waiting_small_fan_outs(world, monkeypatch):
    world.add_followers(9, [1, 2])
    world.add_followers(8, [1])
    world.people(7)
    assert world.is_exact(1, 2, 7, 8, 9)
    posts = [world.post(author) for author in (9, 8, 7)]
    world.queue.clear()
    while micro_batches.run(world.stores):
        pass
    assert [counts(world, post) for post in posts] == [
        ("done", 2, 2, 0, 1),
        ("done", 1, 1, 0, 1),
        ("done", 0, 0, 0, 1),
    ]
    assert sorted(pushed(world, 1)) == posts[:2]
    assert pushed(world, 7) == posts[2:]
    monkeypatch.setattr(sweep, "_ROWS", 2)
    assert world.sweep().taken_off == 3
    assert world.is_exact(1, 2, 7, 8, 9)


def test_a_micro_batch_takes_at_most_a_batch_of_followers_and_no_large_fan_out(world):
    world.add_followers(9, [1, 2])
    world.add_followers(8, FOLLOWERS)
    large_post, *posts = [world.post(author) for author in (8, 9, 9)]
    assert micro_batches.run(world.stores)
    assert sorted(counts(world, post)[0] for post in posts) == ["done", "pending"]
    assert not micro_batches.run(world.stores)
    assert [counts(world, post)[0] for post in posts] == ["done", "done"]
    assert not micro_batches.run(world.stores)
    assert counts(world, large_post)[0] == "pending"


def test_concurrent_micro_batches_and_links_of_the_same_posts_push_into_each_feed_once(
    world, make_stores
):
    world.add_followers(9, [1, 2])
    assert world.is_exact(1, 2, 9)
    posts = [world.post(9) for _ in range(5)]

    def work(stores):
        while micro_batches.run(stores):
            pass

    threads = [threading.Thread(target=work, args=(make_stores(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    world.drain()
    for thread in threads:
        thread.join()
    assert all(counts(world, post)[:4] == ("done", 2, 2, 0) for post in posts)
    assert all(sorted(pushed(world, account)) == posts for account in (1, 2, 9))


def test_the_sweep_makes_up_for_a_lost_micro_batch(world, monkeypatch):
    world.add_followers(9, [1, 2])
    assert world.is_exact(1, 2)
    post = world.post(9)
    world.queue.clear()
    monkeypatch.setattr(micro_batches.delivery, "deliver_whole", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        micro_batches.run(world.stores)
    monkeypatch.undo()
    assert not micro_batches.run(world.stores)
    assert world.sweep().redriven == 1
    world.drain()
    assert counts(world, post) == ("done", 2, 2, 0, 1)


def test_a_micro_batch_is_requested_once_until_it_begins(stores):
    assert queues.request_micro_batch(stores)
    assert not queues.request_micro_batch(stores)
    micro_batches.run(stores)
    assert queues.request_micro_batch(stores)


@pytest.mark.parametrize(("before", "after"), [(3, 100), (8, 3)])
def test_a_fan_out_whose_batch_size_changes_on_the_way_reaches_every_feed(
    large, make_stores, before, after
):
    large.stores = make_stores(fanout_batch=before)
    post = large.post(9)
    large.run_link()
    large.queue.sort(key=lambda link: int(link[2]))
    while large.queue and int(large.queue[0][2]) < 17:  # the first lane, to its end
        large.run_link()
        large.queue.sort(key=lambda link: int(link[2]))
    large.queue.clear()
    large.stores = make_stores(fanout_batch=after)
    large.sweep()
    for _ in range(len(large.queue) + 10):
        if large.queue:
            large.run_link()
    assert counts(large, post)[:4] == ("done", 14, 14, 0)
    assert all(set(pushed(large, account)) == {post} for account in (*LARGE, 9))


def test_a_sweep_fills_a_short_queue_and_sends_nothing_into_a_long_one(followed):
    """Found by `make chaos` on a busy machine: first messages waited for ever behind repeats."""
    posts = [followed.post(9) for _ in range(5)]
    followed.queue.clear()
    followed.time_passes()
    assert sweep.sweep(followed.stores, followed.enqueue, lambda: sweep.QUEUED).redriven == 0
    assert sweep.sweep(followed.stores, followed.enqueue, lambda: sweep.QUEUED - 2).redriven == 2
    assert sweep.sweep(followed.stores, followed.enqueue).redriven == 3
    assert sorted(post for post, _, _ in followed.queue) == posts
