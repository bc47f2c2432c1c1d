"""The round trips and SQL statements of a page, whatever happened to some of its posts."""

from __future__ import annotations

import pytest
import redis

from feedsvc.cache import home_lists
from feedsvc.feed import reader
from feedsvc.store.redis import lists
from feedsvc.store.redis.faults import WriteRefused
from tests.cluster import single_server
from tests.world import World, post_id

VIEWER, SOME, OTHERS = 1, 8, 9
PAGE = 2


class Costs:
    """Reads pages, and counts the round trips and SQL transactions of each."""

    def __init__(self, world, monkeypatch):
        self.world, self.trips, self.sql = world, [], []
        connection = redis.UnixDomainSocketConnection
        send, reading = connection.send_packed_command, type(world.stores.sql).reading

        def sent(connection, command, check_health=True):
            self.trips[-1] += 1
            return send(connection, command, check_health)

        def asked(database):
            self.sql[-1] += 1
            return reading(database)

        self.patches = [
            (connection, "send_packed_command", sent),
            (type(world.stores.sql), "reading", asked),
        ]
        self.monkeypatch = monkeypatch

    def page(self, limit=PAGE, cursor=None):
        self.trips.append(0)
        self.sql.append(0)
        with self.monkeypatch.context() as patched:
            for patch in self.patches:
                patched.setattr(*patch)
            return reader.home_page(self.world.stores, VIEWER, cursor, limit)


@pytest.fixture
def world(make_stores):
    """Forty posts of two accounts are on the viewer's list."""
    found = World(make_stores(feed_cap=100))
    for author in (SOME, OTHERS):
        found.add_followers(author, [VIEWER])
    for number in range(40):
        found.post(OTHERS if number % 2 else SOME)
    found.drain()
    found.sweep()
    for _ in range(2):
        assert found.is_exact(VIEWER)
    return found


@pytest.fixture
def costs(world, monkeypatch):
    return Costs(world, monkeypatch)


@single_server
def test_a_first_page_is_one_round_trip(costs, everything_is_settled):
    for _ in range(3):
        costs.page()
    assert costs.trips[1:] == [1, 1]


@single_server
def test_a_second_page_is_one_round_trip(costs, everything_is_settled):
    for _ in range(2):
        costs.page(cursor=costs.page().next_cursor)
    assert costs.trips[2:] == [1, 1]


@single_server
def test_a_page_of_newer_posts_is_one_round_trip(costs, everything_is_settled):
    for _ in range(2):
        costs.page(cursor=costs.page().prev_cursor)
    assert costs.trips[2:] == [1, 1]


@single_server
def test_pages_of_two_sizes_use_one_tail_hint(costs, everything_is_settled):
    for _ in range(2):
        for limit in (1, 2, 20):
            costs.page(limit)
    assert costs.trips[3:] == [1, 1, 1]


@single_server
def test_a_deleted_post_near_the_top_costs_no_trip(world, costs, everything_is_settled):
    world.delete(OTHERS, world.read(VIEWER)[0])
    for _ in range(3):
        costs.page()
    assert costs.trips[1:] == [1, 1]
    assert costs.sql[1:] == [0, 0]


@pytest.mark.parametrize(
    "hide", [lambda world: world.mute(VIEWER, OTHERS), lambda world: world.unfollow(VIEWER, OTHERS)]
)
def test_the_posts_of_a_hidden_account_cost_no_sql(world, costs, everything_is_settled, hide):
    hide(world)
    assert world.is_exact(VIEWER)
    for _ in range(3):
        costs.page()
    assert costs.sql == [0, 0, 0]


def test_posts_of_the_last_seconds_cost_no_sql(costs):
    for _ in range(3):
        costs.page()
    assert costs.sql == [0, 0, 0]


@single_server
def test_a_page_beyond_the_head_reads_the_whole_home_list_and_no_sql(
    world, costs, everything_is_settled, monkeypatch
):
    costs.page()
    monkeypatch.setattr(lists, "HEAD_PAGE", 20)  # so that a page of 9 begins with a head of 8 ids
    costs.page(9)
    page = costs.page(9)
    assert [post_id(body) for body in page.items] == world.oracle.feed(VIEWER)[:9]
    assert costs.trips[-1] == 2, "the head, and the whole list"
    assert costs.sql[-1] == 0


@pytest.mark.parametrize("happening", ["a move", "a trim", "a rebuild"])
def test_a_home_list_that_changes_after_its_head_was_read_costs_no_post(
    world, everything_is_settled, monkeypatch, happening
):
    """The whole list is read later than the head and the celebrity lists."""
    monkeypatch.setattr(lists, "HEAD_PAGE", 20)
    reader.home_page(world.stores, VIEWER, None, PAGE)  # stores the tail hint
    world.post(SOME)
    real = home_lists.read_whole

    def changes_first(stores, viewer):
        monkeypatch.setattr(home_lists, "read_whole", real)
        if happening == "a rebuild":
            stores.redis.delete(stores.keys.homefeed(viewer))
        world.drain()
        world.sweep()
        if happening == "a trim":
            for _ in range(stores.limits.feed_slack + 1):
                world.post(OTHERS)
            world.drain()
            world.sweep()
        return real(stores, viewer)

    monkeypatch.setattr(home_lists, "read_whole", changes_first)
    page = reader.home_page(world.stores, VIEWER, None, 9)
    assert home_lists.read_whole is real, "the page needs more than the head"
    assert [post_id(body) for body in page.items] == world.oracle.feed(VIEWER)[:9]


def test_a_page_does_not_fail_if_its_tail_hint_cannot_be_stored(world, costs, monkeypatch):
    class Full:
        def run(self, *_):
            raise WriteRefused("its memory is full (OOM)")

    world.stores.redis.delete(world.stores.keys.homefeed(VIEWER))
    costs.page()
    monkeypatch.setattr(lists, "STORE_TAIL_HINT", Full())
    assert len(costs.page().items) == PAGE
