"""Resolve a host name and bind sockets to its addresses. The web processes listen on them."""

from __future__ import annotations

import socket

from feedsvc.errors import FeedsvcError


class UnknownHost(FeedsvcError):
    """The host has no address."""

    def __init__(self, host: str, error: OSError) -> None:
        super().__init__(
            f"cannot find an address of the host {host!r} ({error.strerror}); "
            "give another --host, such as 127.0.0.1 or 0.0.0.0"
        )


class PortTaken(FeedsvcError):
    """Another program listens on the port, or the address is not one of this machine."""

    def __init__(self, host: str, port: int, error: OSError) -> None:
        super().__init__(
            f"cannot listen on {host}:{port} ({error.strerror}); "
            "give another --port, or --port 0 for a free one"
        )


def bind_for_each(processes: int, host: str, port: int) -> list[list[socket.socket]]:
    """Return what `bind` returns, once for each process.

    The kernel spreads new connections over the sockets on which a process listens.
    """
    listeners = [bind(host, port)]
    port = listeners[0][0].getsockname()[1]
    return listeners + [bind(host, port, is_shared=True) for _ in range(processes - 1)]


def bind(host: str, port: int, *, is_shared: bool = False) -> list[socket.socket]:
    """Return a socket for each address of the host, all on one port.

    Port 0 takes a free one. A shared port is one that `bind` has returned before. Raises
    `UnknownHost` and `PortTaken`.
    """
    try:
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_ADDRCONFIG
        )
    except OSError as error:
        raise UnknownHost(host, error) from None
    listeners: list[socket.socket] = []
    # IPv4 first: for port 0 it chooses the port.
    for family, _, _, _, address in sorted(found, key=lambda each: each[0] != socket.AF_INET):
        port = listeners[0].getsockname()[1] if listeners else port
        try:
            listeners.append(_listener(family, str(address[0]), port, is_shared))
        except OSError as error:
            for listener in listeners:
                listener.close()
            raise PortTaken(host, port, error) from None
    return listeners


def free_port(host: str, port: int) -> int:
    """Return the port if it is free, and a free one for port 0. Raises as `bind`."""
    listeners = bind(host, port)
    port = int(listeners[0].getsockname()[1])
    for listener in listeners:
        listener.close()
    return port


def _listener(family: int, address: str, port: int, is_shared: bool) -> socket.socket:
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # An accepted connection inherits this: an answer never waits for an acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # The first socket does not share the port until it has it, so that no other program does.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, is_shared)
        listener.bind((address, port))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener
