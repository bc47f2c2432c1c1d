"""The write path: chained batches, each delivered exactly once, whoever dies, repeats or overtakes."""

from __future__ import annotations

import threading

import pytest

from feedsvc.fanout import chain, status
from feedsvc.fanout.chain import slices
from feedsvc.store.redis import keys, lists
from feedsvc.store.redis.lists import END
from feedsvc.threshold import pins

FOLLOWERS = range(1, 8)


@pytest.fixture
def crowd(world):
    """Seven materialised followers of account 9: three batches of three, three and one."""
    world.crowd(9, FOLLOWERS)
    assert world.is_exact(*FOLLOWERS, 9)
    return world


def pushed(world, account):
    """How often each id is on the stored list."""
    return lists.read(world.stores.redis, keys.homefeed(account)).ids


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
def test_a_worker_that_dies_in_the_middle_of_a_batch_is_resumed_from_the_cursor(crowd, monkeypatch, kept):
    """The first slices of its batch were delivered, the others not, and no next link was enqueued."""
    post = crowd.post(9)
    crowd.run_link()
    real = lists.deliver

    def dying(redis, post_id, author, batch, limits):
        if kept:
            real(redis, post_id, author, batch[:kept], limits)
        raise SystemExit

    monkeypatch.setattr(lists, "deliver", dying)
    with pytest.raises(SystemExit):
        crowd.run_link()
    monkeypatch.undo()
    assert crowd.is_exact(*FOLLOWERS, 9)
    assert crowd.sweep().redriven == 1
    crowd.drain()
    assert counts(crowd, post)[:4] == ("done", 7, 7, 0)
    assert all(pushed(crowd, account) == [post] for account in (*FOLLOWERS, 9))


def test_a_worker_that_dies_before_done_is_written_is_finished_by_the_sweep(crowd, monkeypatch):
    post = crowd.post(9)
    monkeypatch.setattr(chain, "_finish", lambda *_: END)
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
    from feedsvc.fanout import sweep

    threads = [threading.Thread(target=sweep.sweep, args=(make_stores(), crowd.enqueue)) for _ in range(4)]
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


def test_a_batch_is_cut_into_slices_that_join():
    parts = list(slices(["1", "2", "3", "4", "5"], "0", 2, last=True))
    assert [(part.start, part.end, list(part.followers)) for part in parts] == [
        ("0", "2", ["1", "2"]),
        ("2", "4", ["3", "4"]),
        ("4", END, ["5"]),
    ]
    assert [part.end for part in slices(["1", "2"], "0", 2, last=False)] == ["2"]
    assert [(part.start, part.end) for part in slices([], "7", 2, last=True)] == [("7", END)]


def test_a_crash_between_commit_and_put_is_mended_by_the_sweep(world, monkeypatch):
    from feedsvc import changes

    world.crowd(9, [1])
    world.is_exact(1)
    monkeypatch.setitem(changes.EFFECTS, "posted", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        world.post(9)
    monkeypatch.undo()
    assert world.read(1) == []
    monkeypatch.setattr(changes, "_GRACE", -changes._GRACE)
    assert world.sweep().changes == 1
    assert len(world.read(1)) == 1
    assert world.sweep().changes == 0
