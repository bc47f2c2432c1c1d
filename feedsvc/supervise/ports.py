"""Find the port to listen on."""

from __future__ import annotations

import socket

from feedsvc.errors import FeedsvcError


class PortTaken(FeedsvcError):
    """Another program listens on the port."""

    def __init__(self, host: str, port: int, error: OSError) -> None:
        super().__init__(
            f"cannot listen on {host}:{port} ({error.strerror}); "
            "give another --port, or --port 0 for a free one"
        )


def free_port(host: str, port: int) -> int:
    """Return the port if it is free, and a free one for port 0. Raises `PortTaken`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen()
        except OSError as error:
            raise PortTaken(host, port, error) from None
        return int(probe.getsockname()[1])
