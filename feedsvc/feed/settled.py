"""The settled mark: the highest id below which no upload can still commit."""

from __future__ import annotations

import time

from feedsvc.posts.ids import lowest_of
from feedsvc.posts.publish import GIVE_UP_SECONDS

# Beyond the time in which an upload is given up: what a commit itself may take, and what clocks may differ by.
_MARGIN_SECONDS = 3.0


def settled_mark() -> int:
    """The mark, to be taken before anything is read."""
    return lowest_of(int((time.time() - GIVE_UP_SECONDS - _MARGIN_SECONDS) * 1000))
