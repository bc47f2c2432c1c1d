"""The servers of this folder: a proxy that swallows packets does what its name says."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest

from tests.environments.proxy import Proxy


def test_a_swallowed_connection_stays_open_and_silent_while_a_new_one_works(redis_server):
    with closing(Proxy(redis_server.port)) as proxy, _connected(proxy) as old:
        assert _ping(old) == b"+PONG\r\n"
        proxy.swallow_existing()
        with _connected(proxy) as new:
            assert _ping(new) == b"+PONG\r\n"
        old.settimeout(0.2)
        with pytest.raises(TimeoutError):
            _ping(old)


def _connected(proxy):
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=5)


def _ping(connection):
    connection.sendall(b"PING\r\n")
    return connection.recv(100)
