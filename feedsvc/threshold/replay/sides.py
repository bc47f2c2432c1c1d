"""Who is pulled under which lines. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feedsvc.threshold.policy import Thresholds, decide, governing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from feedsvc.threshold.policy import Route
    from feedsvc.threshold.replay.crowd import Crowd


def pulled(crowd: Crowd, latest: Thresholds, settled: Thresholds, pinned: Mapping[int, Route]) -> bytearray:
    """1 for each account whose posts are pulled, by its number. `pinned`: account -> route. See `governing` for the two versions."""
    lowest = min(latest.demote_at, settled.demote_at)
    found = bytearray(len(crowd))
    for number, ident in enumerate(crowd.ids):
        followers = crowd.follower_count(number)
        if followers >= lowest or ident in pinned:
            policy = governing(ident, latest, settled)
            found[number] = decide(followers, crowd.last_routes[number], policy, pinned.get(ident)).route == "pull"
    return found


def lines_at(promote_at: int, today: Thresholds) -> Thresholds:
    """Lines with this upper one, and a lower one as far from it as today's."""
    return Thresholds(today.version, promote_at, max(1, promote_at * today.demote_at // today.promote_at))
