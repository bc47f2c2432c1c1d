"""How a link shares the store with readers.

A post is in every feed before it is pushed, and pushing it only makes later reads cheaper. So a fan-out that is young is pushed as
fast as it goes, and one that has waited, because the workers have more than they can do, lets every reader by between two small
slices, or small posts (docs/decisions/0013 has what that buys, and costs).
"""

from __future__ import annotations

import time

from feedsvc import post_ids

YOUNG_SECONDS = 1.0
# How much smaller a slice is that lets readers by.
_PART = 4


def is_young(post_id: int) -> bool:
    """Whether the post is so young that its pushes go first."""
    return time.time() - post_ids.seconds_of(post_id) < YOUNG_SECONDS


def slice_of(post_id: int, longest: int) -> int:
    """How many followers a slice of this post has now."""
    return longest if is_young(post_id) else max(1, longest // _PART)
