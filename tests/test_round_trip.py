"""Round trips: every answer reaches its question, even if a connection or the scripts are lost."""

from __future__ import annotations

import pytest
from redis.connection import AbstractConnection
from redis.exceptions import ResponseError

from feedsvc.store.redis.client import connect
from feedsvc.store.redis.round_trip import RoundTrip, read_strings
from feedsvc.store.redis.scripts import OPEN_LIST
from tests.engines import Valkey


@pytest.fixture
def server():
    made = Valkey()
    yield made
    made.close()


@pytest.fixture
def client(server):
    made = connect(server.url)
    yield made
    made.close()


def echo(client, text):
    trip = RoundTrip(client)
    answer = trip.ask("ECHO", text)
    trip.run()
    return answer.value


def idle_connections(client):
    return client.connection_pool._available_connections


def test_each_question_gets_its_own_answer_across_stages(stores):
    trip = RoundTrip(stores.redis)
    trip.ask("SET", "a", "1")
    trip.ask("ZADD", "b", 7, "x")
    trip.then()
    number = trip.ask("GET", "a", parse=int)
    pairs = trip.ask("ZRANGE", "b", 0, -1, "WITHSCORES", withscores=True)
    trip.run()
    assert number.value == 1
    assert [(name, score) for name, score in pairs.value] == [(b"x", 7.0)]


def test_an_answer_has_no_value_before_its_trip_has_run(stores):
    answer = RoundTrip(stores.redis).ask("GET", "a")
    with pytest.raises(AttributeError):
        _ = answer.value


def test_a_trip_without_questions_sends_nothing(stores):
    RoundTrip(stores.redis).run()


def test_strings_are_read_in_the_order_of_their_keys(stores):
    stores.redis.set("a", "1")
    stores.redis.set("c", "3")
    assert read_strings(stores.redis, ["c", "b", "a"]) == [b"3", None, b"1"]


def test_a_server_that_lost_its_scripts_gets_them_again(stores):
    stores.redis.script_flush()
    trip = RoundTrip(stores.redis)
    marker = trip.script(OPEN_LIST, ["homefeed:1"], "btoken", 60)
    trip.run()
    assert marker.value == b"btoken"


def test_trips_one_after_the_other_share_a_connection(client):
    for text in (b"one", b"two"):
        assert echo(client, text) == text
    assert len(client.client_list()) == 1


def test_after_a_restart_the_first_trip_succeeds(client, server):
    pool = client.connection_pool
    several = [pool.get_connection() for _ in range(3)]
    for connection in several:
        pool.release(connection)
    server.restart()
    for text in (b"one", b"two", b"three"):
        assert echo(client, text) == text


def test_a_connection_that_breaks_in_the_middle_of_a_trip_is_replaced_once(client, monkeypatch):
    echo(client, b"first")
    send, broken = AbstractConnection.send_packed_command, []

    def breaks_once(connection, *args, **more):
        send(connection, *args, **more)
        if not broken:
            broken.append(connection)
            connection.disconnect()

    monkeypatch.setattr(AbstractConnection, "send_packed_command", breaks_once)
    assert echo(client, b"next") == b"next"
    assert broken


def test_an_answer_that_was_not_read_goes_to_no_other_trip(client):
    echo(client, b"first")
    [connection] = idle_connections(client)

    def dies():
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection, "read_response", lambda *_, **__: dies())
        with pytest.raises(KeyboardInterrupt):
            echo(client, b"lost")
    assert echo(client, b"next") == b"next"


def test_a_child_process_does_not_use_its_parents_connections(client, monkeypatch):
    echo(client, b"first")
    [parents] = idle_connections(client)
    client.connection_pool.pid -= 1  # as if this were a forked child
    monkeypatch.setattr(
        parents, "send_packed_command", lambda *_, **__: pytest.fail("used the parent's")
    )
    assert echo(client, b"next") == b"next"
    parents.disconnect()


def test_closing_the_client_closes_its_idle_connections(client):
    echo(client, b"first")
    [connection] = idle_connections(client)
    client.close()
    assert not connection.is_connected


def test_a_connection_whose_run_check_was_cut_short_is_checked_before_it_is_used(
    client, monkeypatch
):
    send = AbstractConnection.send_command

    def cut_short(connection, *args, **more):
        if args[0] == "EVAL":
            raise KeyboardInterrupt
        send(connection, *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(AbstractConnection, "send_command", cut_short)
        with pytest.raises(KeyboardInterrupt):
            client.get("any")
    assert echo(client, b"next") == b"next"
    assert client.exists("run-id")


def test_a_stage_that_fails_keeps_the_stages_after_it_from_running(stores):
    trip = RoundTrip(stores.redis, stop_on_error=True)
    trip.ask("SET", "a", "1")
    trip.then()
    trip.ask("LPUSHX", "a")  # too few arguments
    trip.then()
    trip.ask("SET", "b", "2")
    with pytest.raises(ResponseError):
        trip.run()
    assert stores.redis.get("b") is None


def test_a_trip_that_stops_on_errors_gives_each_question_its_answer(stores):
    stores.redis.script_flush()
    trip = RoundTrip(stores.redis, stop_on_error=True)
    marker = trip.script(OPEN_LIST, ["homefeed:1"], "btoken", 60)
    trip.then()
    length = trip.ask("LLEN", "homefeed:1")
    trip.run()
    assert (marker.value, length.value) == (b"btoken", 1)


def test_an_error_in_the_middle_of_a_transaction_is_raised(stores):
    stores.redis.set("{a}text", "1")
    trip = RoundTrip(stores.redis, stop_on_error=True)
    trip.ask("LPUSH", "{a}text", "1")
    with pytest.raises(ResponseError):
        trip.run()
