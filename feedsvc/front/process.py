"""What the connections of one web process share."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from wsgiref.types import WSGIApplication

    from feedsvc.front.pool import Pool


@dataclass
class Process:
    """The application, the threads and the counts of one web process.

    `body_bytes` is at least the size of all unfinished bodies. `make_room` is called, soon, when it
    is above `most_body_bytes`.
    """

    app: WSGIApplication
    address: tuple[str, int]
    max_body_bytes: int
    most_body_bytes: int
    pool: Pool
    loop: asyncio.AbstractEventLoop
    make_room: Callable[[], None]
    is_draining: bool = False
    body_bytes: int = 0
    refusals: Counter[int] = field(default_factory=Counter)

    def soon(self, call: Callable[[], None]) -> None:
        """Run a call on the loop; for request threads."""
        self.loop.call_soon_threadsafe(call)

    def bodies_grew(self, added_bytes: int) -> None:
        """Note that an unfinished body has grown."""
        self.body_bytes += added_bytes
        if self.body_bytes > self.most_body_bytes:
            self.body_bytes = 0  # `make_room` counts again
            self.loop.call_soon(self.make_room)
