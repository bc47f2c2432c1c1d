"""The write path: chained batches, each delivered exactly once, whoever dies, repeats or overtakes."""

from __future__ import annotations

import datetime as dt
import threading

import pytest
import sqlalchemy as sa

from feedsvc.fanout import chain, done, lanes, micro_batches, pace, status, sweep
from feedsvc.routing import pins
from feedsvc.store.redis import delivery, lists
from feedsvc.store.redis.delivery import END
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Fanout

FOLLOWERS = range(1, 8)


@pytest.fixture(params=[60.0, 0.0], ids=["young", "waiting"])
def crowd(world, request, monkeypatch):
    """Seven materialised followers of account 9: three batches of three, three and one, of posts that are young, or have waited."""
    monkeypatch.setattr(pace, "YOUNG_SECONDS", request.param)
    world.crowd(9, FOLLOWERS)
    assert world.is_exact(*FOLLOWERS, 9)
    return world


def pushed(world, account):
    """How often each id is on the stored list."""
    return lists.read(world.stores.redis, world.stores.keys.homefeed(account)).ids


def counts(world, post):
    found = status.status(world.stores, post)
    return found.state, found.followers, found.delivered, found.skipped, found.batches


def test_each_link_delivers_a_batch_and_enqueues_the_next_with_its_cursor(crowd):
    post = crowd.post(9)
    assert crowd.queue == [(post, 0, "0")]
    crowd.run_link()
    assert crowd.queue == [(post, 0, "3")]
    assert counts(crowd, post)[0] == "running"
    crowd.run_link()
    assert crowd.queue == [(post, 0, "6")]
    crowd.run_link()
    assert crowd.queue == []
    assert counts(crowd, post) == ("done", 7, 7, 0, 3)
    assert all(pushed(crowd, account) == [post] for account in (*FOLLOWERS, 9))


def test_feeds_that_nobody_reads_are_skipped_and_counted(world):
    world.crowd(9, FOLLOWERS)
    world.is_exact(1, 5)
    post = world.post(9)
    world.drain()
    assert counts(world, post) == ("done", 7, 2, 5, 3)


def test_every_batch_delivered_twice_is_delivered_once(crowd):
    post = crowd.post(9)
    while crowd.queue:
        link = crowd.queue[0]
        crowd.run_link(keep=True)
        crowd.queue.pop(0)
        chain.run_link(crowd.stores, crowd.enqueue, *link)
    assert counts(crowd, post)[:4] == ("done", 7, 7, 0)
    assert all(pushed(crowd, account) == [post] for account in (*FOLLOWERS, 9))


def test_two_workers_on_one_link_at_once_deliver_each_feed_once(crowd, make_stores):
    for _ in range(5):
        post = crowd.post(9)
        [link] = crowd.queue
        crowd.queue.clear()
        barrier = threading.Barrier(4)

        def work(stores, link=link, barrier=barrier):
            barrier.wait()
            chain.run_link(stores, crowd.enqueue, *link)

        threads = [threading.Thread(target=work, args=(make_stores(),)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        crowd.drain()
        assert counts(crowd, post)[:4] == ("done", 7, 7, 0)
        assert all(pushed(crowd, account).count(post) == 1 for account in (*FOLLOWERS, 9))


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_a_worker_that_dies_in_the_middle_of_a_batch_is_resumed_from_the_cursor(
    crowd, monkeypatch, kept
):
    """The first slices of its batch were delivered, the others not, and no next link was enqueued."""
    post = crowd.post(9)
    crowd.run_link()
    real = delivery.deliver

    def dying(stores, post_id, author, batch, *more, **pace):
        if kept:
            real(stores, post_id, author, batch[:kept], *more, **pace)
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(delivery, "deliver", dying)
        with pytest.raises(SystemExit):
            crowd.run_link()
    assert crowd.is_exact(*FOLLOWERS, 9)
    assert crowd.sweep().redriven == 1
    crowd.drain()
    assert counts(crowd, post)[:4] == ("done", 7, 7, 0)
    assert all(pushed(crowd, account) == [post] for account in (*FOLLOWERS, 9))


def test_a_worker_that_dies_before_done_is_written_is_finished_by_the_sweep(crowd, monkeypatch):
    post = crowd.post(9)
    monkeypatch.setattr(done, "write", lambda _, fanouts, *__: {post: [] for post in fanouts})
    crowd.drain()
    monkeypatch.undo()
    assert crowd.sweep().redriven == 1
    assert crowd.queue == [(post, 1, END)]
    crowd.drain()
    assert counts(crowd, post) == ("done", 7, 7, 0, 3)


def test_a_lost_message_is_sent_again(crowd):
    post = crowd.post(9)
    crowd.queue.clear()
    assert crowd.sweep().redriven == 1
    crowd.drain()
    assert counts(crowd, post)[:4] == ("done", 7, 7, 0)


def test_an_older_link_delivers_its_batch_and_enqueues_nothing(crowd):
    post = crowd.post(9)
    crowd.sweep()
    assert crowd.queue == [(post, 0, "0"), (post, 1, "0")]
    crowd.run_link()
    assert crowd.queue == [(post, 1, "0")]
    crowd.drain()
    assert counts(crowd, post)[:4] == ("done", 7, 7, 0)
    assert all(pushed(crowd, account) == [post] for account in FOLLOWERS)


def test_sweeps_at_once_re_drive_a_fan_out_once(crowd, make_stores):
    crowd.post(9)
    crowd.queue.clear()
    crowd.time_passes()
    threads = [
        threading.Thread(target=sweep.sweep, args=(make_stores(), crowd.enqueue)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(crowd.queue) == 1


def test_redis_lost_in_the_middle_of_a_chain_starts_it_again(crowd):
    post = crowd.post(9)
    crowd.run_link()
    crowd.stores.redis.flushdb()
    crowd.is_exact(2, 5)
    crowd.drain()
    assert crowd.is_exact(*FOLLOWERS, 9)
    assert counts(crowd, post)[:4] == ("done", 7, 2, 5)


def test_redis_lost_before_done_is_written_starts_the_fan_out_again(crowd, monkeypatch):
    """What the last link says is a copy: `done` is written only after a look at the cursor itself."""
    post = crowd.post(9)
    monkeypatch.setattr(done, "write", lambda _, fanouts, *__: {post: [] for post in fanouts})
    crowd.drain()
    monkeypatch.undo()
    crowd.sweep()
    assert crowd.queue == [(post, 1, END)]
    crowd.stores.redis.flushdb()
    crowd.is_exact(2, 5)
    crowd.drain()
    assert counts(crowd, post) == ("done", 7, 2, 5, 3)


def test_followers_who_come_and_go_meanwhile_have_what_they_should(crowd):
    crowd.people(20, 21)
    crowd.is_exact(20, 21)
    crowd.post(9)
    crowd.run_link()
    crowd.follow(20, 9)
    crowd.unfollow(2, 9)
    crowd.unfollow(6, 9)
    crowd.run_link()
    crowd.follow(21, 9)
    crowd.follow(2, 9)
    crowd.drain()
    crowd.sweep()
    assert crowd.is_exact(*FOLLOWERS, 9, 20, 21)


def test_a_pulled_post_is_done_at_once_and_pushes_nothing(crowd):
    pins.pin(crowd.stores, 9, route="pull", reason="test", expires_at=None, pinned_by="test")
    post = crowd.post(9)
    assert crowd.queue == []
    assert counts(crowd, post)[0] == "done"
    assert crowd.sweep().taken_off == 0
    assert crowd.is_exact(*FOLLOWERS, 9)


def test_the_fan_out_of_a_deleted_post_ends(crowd):
    post = crowd.post(9)
    crowd.run_link()
    crowd.delete(9, post)
    crowd.run_link()
    assert crowd.queue == []
    assert counts(crowd, post)[0] == "done"


def test_a_link_of_a_post_that_never_was_is_a_success(stores):
    chain.run_link(stores, None, 12345, 0, "0")


def test_a_crash_between_commit_and_put_is_mended_by_the_sweep(world, monkeypatch):
    from feedsvc import outbox

    world.crowd(9, [1])
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


def test_a_fan_out_that_was_lost_many_times_is_looked_at_again_soon(crowd):
    """Found by `make chaos`: looks that were ever further apart left it standing for minutes after the last fault."""
    crowd.post(9)
    for _ in range(6):
        crowd.queue.clear()
        crowd.sweep()
    with crowd.stores.sql.reading() as connection:
        next_look_at = connection.scalar(sa.select(Fanout.next_look_at))
    assert next_look_at - now() < dt.timedelta(seconds=20)
    crowd.drain()
    assert crowd.is_exact(*range(1, 5))


def test_fan_outs_that_run_at_once_each_reach_every_feed(crowd):
    posts = [crowd.post(9) for _ in range(3)]
    while crowd.queue:
        crowd.run_link()  # each enqueues its next behind those of the others: they take turns
    for post in posts:
        assert counts(crowd, post) == ("done", 7, 7, 0, 3)
    for follower in FOLLOWERS:
        assert sorted(pushed(crowd, follower)) == posts


@pytest.fixture
def large(world, monkeypatch):
    """Fourteen materialised followers of account 9, in two lanes of seven: three batches of three each at most."""
    monkeypatch.setattr(lanes, "BATCHES_A_LANE", 2)
    world.crowd(9, LARGE)
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


def test_lanes_that_run_at_once_and_twice_push_into_each_feed_once(large):
    posts = [large.post(9) for _ in range(2)]
    while large.queue:
        large.run_link(-1, keep=True)
        large.run_link(-1)
        large.run_link(0)
    assert all(counts(large, post)[:4] == ("done", 14, 14, 0) for post in posts)
    assert all(sorted(pushed(large, account)) == posts for account in (*LARGE, 9))


def test_lanes_whose_messages_are_lost_are_sent_again_each_from_its_own_cursor(large):
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


def test_redis_lost_under_lanes_starts_each_again(large):
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


def test_two_links_that_divide_a_fan_out_at_once_draw_its_bounds_once(large, make_stores):
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


def test_a_round_delivers_all_small_fan_outs_that_wait(world, monkeypatch):
    world.crowd(9, [1, 2])
    world.crowd(8, [1])
    world.people(7)
    assert world.is_exact(1, 2, 7, 8, 9)
    posts = [world.post(author) for author in (9, 8, 7)]
    world.queue.clear()
    while micro_batches.run_round(world.stores):
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


def test_a_round_takes_no_more_followers_than_a_batch_and_leaves_large_fan_outs_alone(world):
    world.crowd(9, [1, 2])
    world.crowd(8, FOLLOWERS)
    large_post, *posts = [world.post(author) for author in (8, 9, 9)]
    assert micro_batches.run_round(world.stores)
    assert sorted(counts(world, post)[0] for post in posts) == ["done", "pending"]
    assert not micro_batches.run_round(world.stores)
    assert [counts(world, post)[0] for post in posts] == ["done", "done"]
    assert not micro_batches.run_round(world.stores)
    assert counts(world, large_post)[0] == "pending"


def test_rounds_at_once_and_links_of_the_same_posts_push_into_each_feed_once(world, make_stores):
    world.crowd(9, [1, 2])
    assert world.is_exact(1, 2, 9)
    posts = [world.post(9) for _ in range(5)]

    def work(stores):
        while micro_batches.run_round(stores):
            pass

    threads = [threading.Thread(target=work, args=(make_stores(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    world.drain()
    for thread in threads:
        thread.join()
    assert all(counts(world, post)[:4] == ("done", 2, 2, 0) for post in posts)
    assert all(sorted(pushed(world, account)) == posts for account in (1, 2, 9))


def test_a_round_that_was_lost_is_made_up_for_by_the_sweep(world, monkeypatch):
    world.crowd(9, [1, 2])
    assert world.is_exact(1, 2)
    post = world.post(9)
    world.queue.clear()
    monkeypatch.setattr(micro_batches.delivery, "deliver_whole", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        micro_batches.run_round(world.stores)
    monkeypatch.undo()
    assert not micro_batches.run_round(world.stores)
    assert world.sweep().redriven == 1
    world.drain()
    assert counts(world, post) == ("done", 2, 2, 0, 1)


def test_a_round_is_asked_for_once_until_it_begins(stores):
    assert micro_batches.ask(stores)
    assert not micro_batches.ask(stores)
    micro_batches.run_round(stores)
    assert micro_batches.ask(stores)


@pytest.mark.parametrize(("before", "after"), [(3, 100), (8, 3)])
def test_a_fan_out_under_way_ends_under_another_batch_size_in_every_feed(
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


def test_a_sweep_fills_a_queue_up_and_sends_nothing_into_a_long_one(crowd):
    """Found by `make chaos` on a busy machine: repeats that workers cannot keep up with kept first messages waiting for ever."""
    posts = [crowd.post(9) for _ in range(5)]
    crowd.queue.clear()
    crowd.time_passes()
    assert sweep.sweep(crowd.stores, crowd.enqueue, lambda: sweep.QUEUED).redriven == 0
    assert sweep.sweep(crowd.stores, crowd.enqueue, lambda: sweep.QUEUED - 2).redriven == 2
    assert sweep.sweep(crowd.stores, crowd.enqueue).redriven == 3
    assert sorted(post for post, _, _ in crowd.queue) == posts
