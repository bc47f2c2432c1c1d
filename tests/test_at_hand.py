"""Connections kept at hand: whatever becomes of one, the next trip has its own answers."""

from __future__ import annotations

import pytest
from redis.connection import AbstractConnection

from feedsvc.store.redis.client import connect
from feedsvc.store.redis.scripts import in_one_trip
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
    return in_one_trip(client, lambda pipe: pipe.echo(text))


def test_trips_one_after_the_other_share_a_connection(client):
    for text in (b"one", b"two"):
        assert echo(client, text) == [text]
    assert len(client.client_list()) == 2  # the one at hand, and the pool's that asks


def test_after_a_restart_the_first_trip_succeeds_and_no_dead_connection_stays_at_hand(
    client, server
):
    pool = client.connection_pool
    several = [pool.take() for _ in range(3)]
    for connection in several:
        connection.connect()
        pool.put_back(connection)
    server.restart()
    for text in (b"one", b"two", b"three"):
        assert echo(client, text) == [text]


def test_answers_that_were_not_read_are_nobody_elses(client):
    echo(client, b"first")
    connection = client.connection_pool.take()
    client.connection_pool.put_back(connection)

    def dies():
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection, "read_response", lambda *_, **__: dies())
        with pytest.raises(KeyboardInterrupt):
            echo(client, b"lost")
    assert echo(client, b"next") == [b"next"]


def test_a_child_leaves_its_parents_connections_alone(client):
    echo(client, b"first")
    parents = client.connection_pool.take()
    client.connection_pool.put_back(parents)
    parents.pid -= 1  # as if this process had been forked since
    assert client.connection_pool.take() is not parents


def test_closing_the_client_closes_what_is_at_hand(client):
    echo(client, b"first")
    connection = client.connection_pool.take()
    client.connection_pool.put_back(connection)
    client.close()
    assert not connection.is_connected


def test_a_connection_whose_check_was_cut_short_is_checked_before_it_is_used(
    client, server, monkeypatch
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
    assert echo(client, b"next") == [b"next"]
    assert client.exists("run-id")
