"""Decide between push and pull. Pure.

The route is decided once, at the upload, and stored with the post. A read never uses the threshold.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import datetime as dt

Route = Literal["push", "pull"]


@dataclass(frozen=True)
class Thresholds:
    """One version of the policy: the follower counts at which an account changes its route."""

    version: int
    promote_at: int
    demote_at: int
    rollout_percent: int = 100


@dataclass(frozen=True)
class LoadShedding:
    """Pull accounts with at least `pull_from` followers while fan-outs are late.

    `delivery_seconds` is the age of the oldest unfinished fan-out at the last check. Load shedding
    began at `since`.
    """

    pull_from: int
    delivery_seconds: float
    since: dt.datetime


@dataclass(frozen=True)
class Decision:
    """A route, the policy version that the account follows, and the reason as a sentence."""

    route: Route
    policy_version: int
    why: str
    # True if load shedding chose the route. It is then not stored as the account's last route.
    for_now: bool = False


def demote_at_in_ratio(promote_at: int, of_promote_at: int, of_demote_at: int) -> int:
    """Return the lower threshold for `promote_at`, in the ratio of another pair of thresholds.

    The result is rounded, at least 1 and at most `promote_at`.
    """
    return max(1, min(promote_at, round(promote_at * of_demote_at / of_promote_at)))


def bucket(account: int) -> int:
    """Return the account's rollout bucket, a number from 0 to 99 that never changes."""
    return zlib.crc32(str(account).encode()) % 100


def governing(account: int, latest: Thresholds, settled: Thresholds) -> Thresholds:
    """Return the version that the account follows.

    `latest` governs the accounts that its rollout has reached. `settled`, the last version that was
    rolled out to all accounts, governs the others.
    """
    return latest if bucket(account) < latest.rollout_percent else settled


def decide(
    followers: int,
    last_route: Route | None,
    policy: Thresholds,
    pinned: Route | None,
    shedding: LoadShedding | None = None,
) -> Decision:
    """Decide the route of an account's next post.

    A pin comes first, then the threshold. Load shedding may pull a post that the threshold would
    push; it never overrules a pin.
    """
    if pinned is not None:
        return Decision(pinned, policy.version, "pinned by an operator")
    usual = _by_threshold(followers, last_route, policy)
    if shedding is None or usual.route == "pull" or followers < shedding.pull_from:
        return usual
    why = (
        f"the oldest unfinished fan-out is {shedding.delivery_seconds:.3g} s old: accounts with "
        f"{shedding.pull_from} followers or more are pulled until delivery has recovered"
    )
    return Decision("pull", policy.version, why, for_now=True)


def next_shedding_line(
    line: int | None, delivery_seconds: float, limit_seconds: float, *, least: int, promote_at: int
) -> int | None:
    """Return the follower count from which load shedding pulls accounts next.

    `line` is the present count. None stands for no load shedding, in `line` and in the result.
    `delivery_seconds` above the limit halve the count, down to `least`. Less than half the limit
    doubles the count, and load shedding ends when the count reaches `promote_at`. Between half the
    limit and the limit, the count stays.
    """
    at = promote_at if line is None else line
    if delivery_seconds > limit_seconds:
        at = max(least, at // 2)
    elif delivery_seconds < limit_seconds / 2:
        at *= 2
    return at if at < promote_at else None


def _by_threshold(followers: int, last_route: Route | None, policy: Thresholds) -> Decision:
    """Decide by follower count. An account between the two thresholds keeps its last route.

    The thresholds differ so that an account near them does not change its route again and again.
    An account without a last route is pushed.
    """
    above, below = policy.promote_at, policy.demote_at
    count = f"{followers} followers"
    if followers >= above:
        return Decision("pull", policy.version, f"{count} reach promote_at {above}")
    if followers < below:
        return Decision("push", policy.version, f"{count} are below demote_at {below}")
    between = f"{count} are between demote_at {below} and promote_at {above}"
    return Decision(last_route or "push", policy.version, f"{between}: the account keeps its route")
