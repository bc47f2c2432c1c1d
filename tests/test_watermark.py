"""Polling returns every post once, whatever clocks, late puts and fail-overs do."""

from __future__ import annotations

import random
import threading

import pytest
import sqlalchemy as sa

from feedsvc import outbox, post_ids
from feedsvc.feed import reader
from feedsvc.graph import deletion
from feedsvc.outbox import PostPublished
from feedsvc.store import watermark
from feedsvc.store.redis.keys import POST_IDS
from feedsvc.store.sql import highest_id
from feedsvc.store.sql.tables import Fanout, OutboxRow, Post
from tests.engines import wait_until
from tests.world import World, post_id

AUTHOR, OTHER, VIEWER = 9, 8, 1


@pytest.fixture(autouse=True)
def every_page_may_look(monkeypatch):
    monkeypatch.setattr(watermark, "_LOOK_EVERY_SECONDS", 0.0)


@pytest.fixture
def set_back(monkeypatch):
    """Return a function that sets the clock of the database back."""
    read = highest_id.clock_and_highest

    def by(seconds):
        def behind(connection):
            clock_ms, highest = read(connection)
            return clock_ms - int(seconds * 1000), highest

        monkeypatch.setattr(highest_id, "clock_and_highest", behind)

    return by


class Polling:
    """A client that reads a first page, and polls."""

    def __init__(self, stores, limit=5):
        self.stores, self.limit = stores, limit
        page = reader.home_page(stores, VIEWER, None, limit)
        self.cursor, self.shown = page.prev_cursor, [post_id(body) for body in page.items]

    def poll(self):
        """Poll until nothing new comes. Return the new ids."""
        found = []
        while True:
            page = reader.home_page(self.stores, VIEWER, self.cursor, self.limit)
            assert len(page.prev_cursor) <= 512
            self.cursor = page.prev_cursor
            if not page.items:
                break
            found += [post_id(body) for body in page.items]
        self.shown += found
        assert len(set(self.shown)) == len(self.shown), "a post twice"
        return found


@pytest.fixture
def followed(world):
    world.people(VIEWER, AUTHOR, OTHER)
    world.follow(VIEWER, AUTHOR)
    world.follow(VIEWER, OTHER)
    world.post(AUTHOR)
    return world


@pytest.fixture
def put_late(monkeypatch):
    """Return a function that uploads a post whose process dies before the put."""

    def late(world, author):
        def dies(*_):
            raise ConnectionResetError

        with monkeypatch.context() as patch:
            patch.setattr(PostPublished, "apply", dies)
            with pytest.raises(ConnectionResetError):
                world.post(author)
        monkeypatch.setattr(outbox, "_GRACE", -outbox._GRACE)
        with world.stores.sql.reading() as connection:
            return connection.scalar(sa.select(sa.func.max(Post.id)))

    return late


class NoticingLock:
    """A lock that counts who asked for it."""

    def __init__(self):
        self.asked, self._lock = 0, threading.Lock()
        self.release = self._lock.release

    def acquire(self, **how):
        self.asked += 1
        return self._lock.acquire(**how)


def lose_post(stores, *post_ids):
    """Remove posts as a fail-over does that loses the last commits."""
    with stores.sql.writing() as connection:
        connection.execute(sa.delete(OutboxRow))
        connection.execute(sa.delete(Fanout).where(Fanout.post_id.in_(post_ids)))
        connection.execute(sa.delete(Post).where(Post.id.in_(post_ids)))


def test_a_poll_returns_a_post_whose_put_was_late_and_a_newer_one_once_each(followed, put_late):
    client = Polling(followed.stores)
    late = put_late(followed, AUTHOR)
    newer = followed.post(OTHER)
    assert client.poll() == [newer]
    assert client.poll() == []
    followed.sweep()
    assert client.poll() == [late]
    assert client.poll() == []


def test_the_watermark_waits_below_a_post_in_the_outbox(followed, put_late):
    late = put_late(followed, AUTHOR)
    followed.post(OTHER)
    stores = followed.stores
    rise(stores)
    assert stores.watermark.value == late - 1
    followed.sweep()
    newest = followed.post(OTHER)
    rise(stores)
    assert stores.watermark.value == newest


def test_polling_is_exact_after_the_clock_of_the_database_was_set_back(followed, set_back):
    client = Polling(followed.stores)
    before = followed.post(AUTHOR)
    assert client.poll() == [before]
    set_back(seconds=60)
    after = [followed.post(author) for author in (OTHER, AUTHOR, OTHER)]
    assert sorted(after) == after
    assert client.poll() == after[::-1]
    assert followed.is_exact(VIEWER)


def test_no_id_is_drawn_again_after_the_account_with_the_highest_was_deleted(
    followed, set_back, make_stores
):
    client = Polling(followed.stores)
    highest = followed.post(AUTHOR)
    assert client.poll() == [highest]
    deletion.delete(followed.stores, AUTHOR)
    set_back(seconds=60)
    followed.stores.redis.flushall()
    other_process = World(make_stores())
    after = other_process.post(OTHER)
    assert after > highest
    assert client.poll() == [after]


def test_ids_ascend_after_a_fail_over_that_lost_commits(followed, set_back, make_stores):
    client = Polling(followed.stores)
    lost = [followed.post(AUTHOR) for _ in range(3)]
    assert client.poll() == lost[::-1]
    lose_post(followed.stores, *lost)
    set_back(seconds=60)
    after = World(make_stores()).post(OTHER)
    assert after > max(lost)
    assert client.poll() == [after]


def test_the_id_of_an_upload_goes_on_record(followed):
    assert followed.post(AUTHOR) == on_record(followed.stores)


def test_a_late_put_goes_on_record_too(followed, put_late):
    late = put_late(followed, AUTHOR)
    assert on_record(followed.stores) < late
    followed.sweep()
    assert on_record(followed.stores) == late


def test_a_starting_process_takes_the_watermark_of_another(followed, make_stores, monkeypatch):
    newest = followed.post(AUTHOR)
    rise(followed.stores)
    assert followed.stores.watermark.value == newest
    other = make_stores()
    monkeypatch.setattr(watermark.Watermark, "_look", lambda *_: None)
    rise(other)
    assert other.watermark.value == newest


def test_a_request_waits_for_the_first_look_of_another_one(
    followed, put_late, make_stores, monkeypatch
):
    """Without the wait its cursor would stand above the post whose put is late."""
    Polling(followed.stores)  # stores the lists, which then lack the late post
    late, newest = put_late(followed, AUTHOR), followed.post(OTHER)
    followed.stores.redis.delete(POST_IDS)
    monkeypatch.setattr(watermark, "_LOOK_EVERY_SECONDS", 60.0)
    monkeypatch.setattr(watermark, "_WAIT_SECONDS", 30.0)
    starting = make_stores()
    lock = starting.watermark._lock = NoticingLock()
    looking, may_look, clients = threading.Event(), threading.Event(), []
    look = watermark.Watermark._look

    def look_later(*args):
        looking.set()
        assert may_look.wait(30)
        look(*args)

    monkeypatch.setattr(watermark.Watermark, "_look", look_later)
    first = threading.Thread(target=rise, args=(starting,))
    first.start()
    assert looking.wait(10)
    second = threading.Thread(target=lambda: clients.append(Polling(starting, limit=1)))
    second.start()
    wait_until(lambda: lock.asked > 1 or not second.is_alive())
    may_look.set()
    first.join(10)
    second.join(10)
    [client] = clients
    assert client.shown == [newest]
    followed.sweep()
    assert client.poll() == [late]


def test_a_process_looks_at_most_once_a_second_and_only_for_young_posts(followed, monkeypatch):
    clock, looks = [1000.0], []
    monkeypatch.setattr(watermark, "_LOOK_EVERY_SECONDS", 1.0)
    monkeypatch.setattr(watermark.time, "monotonic", lambda: clock[0])
    look = watermark.Watermark._look
    monkeypatch.setattr(
        watermark.Watermark, "_look", lambda *args: looks.append(clock[0]) or look(*args)
    )
    client = Polling(followed.stores)
    for _ in range(3):
        followed.post(AUTHOR)
        client.poll()
    assert set(looks) == {1000.0}
    clock[0] += 1
    client.poll()
    looks_before = len(looks)
    clock[0] += 1
    client.poll()
    assert len(looks) == looks_before, "a poll without young posts has looked"


def test_a_burst_is_polled_within_cursors_of_512_characters(followed, monkeypatch):
    """The watermark stands still, so that the cursors have to list everything."""
    stores = followed.stores
    rise(stores)
    client = Polling(stores, limit=100)
    with monkeypatch.context() as patch:
        patch.setattr(watermark.Watermark, "rise", lambda *_: False)
        posts = [followed.post(dice) for dice in random.Random(1).choices([AUTHOR, OTHER], k=250)]
        early = client.poll()
        assert 50 < len(early) < 250
        assert client.poll() == []
    client.poll()
    assert sorted(client.shown)[1:] == posts


def test_a_first_page_in_a_burst_has_a_cursor_of_512_characters(followed, monkeypatch):
    """A poll may repeat what walking on shows. It repeats nothing of the page."""
    stores = followed.stores
    rise(stores)
    with monkeypatch.context() as patch:
        patch.setattr(watermark.Watermark, "rise", lambda *_: False)
        for _ in range(250):
            followed.post(AUTHOR)
        client = Polling(stores, limit=20)
        assert len(client.cursor) <= 512
        new = followed.post(OTHER)
    assert new in client.poll()


def test_an_id_is_above_the_highest_and_not_before_the_clock():
    now_ms = post_ids.EPOCH_MS + 10_000
    assert post_ids.ms_of(post_ids.draw(now_ms, 0)) == now_ms
    for highest_ms in (now_ms - 1, now_ms, now_ms + 60_000):
        for number in (0, 2048, 4095):
            highest = post_ids.make(highest_ms, number)
            drawn = post_ids.draw(now_ms, highest)
            assert drawn > highest
            assert now_ms <= post_ids.ms_of(drawn) <= max(now_ms, highest_ms + 1)
    assert post_ids.draw(0, 0) > 0, "a clock of 1970"


def rise(stores):
    """Raise the watermark until a look is decided. Another test may write to the same server."""

    def is_decided():
        stores.watermark.rise(stores.sql, stores.redis)
        return stores.watermark._undecided is None

    wait_until(is_decided)


def on_record(stores):
    return int(stores.redis.hget(POST_IDS, "highest") or 0)
