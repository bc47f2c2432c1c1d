"""The decision between push and pull. Pure: nothing here touches a store.

Whether a post is pushed is decided once, at its upload, and written on the post; reading never asks what the threshold says today.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Literal

Route = Literal["push", "pull"]


@dataclass(frozen=True)
class Thresholds:
    """One version of the policy: follower counts at which an account changes its route."""

    version: int
    promote_at: int
    demote_at: int
    rollout_percent: int = 100


@dataclass(frozen=True)
class LoadShedding:
    """While delivery lags: accounts from `pull_from` followers on are pulled. `delivery_seconds`: the lag last measured."""

    pull_from: int
    delivery_seconds: float


@dataclass(frozen=True)
class Decision:
    """A route, in whose name it was chosen, and why, in words for people."""

    route: Route
    policy_version: int
    why: str
    # The route is for this post only: an account that keeps its route keeps the one it had.
    for_now: bool = False


def demote_at_in_ratio(promote_at: int, of_promote_at: int, of_demote_at: int) -> int:
    """Return the lower threshold that has the same ratio to `promote_at` as another pair has.

    The result is rounded, at least 1 and at most `promote_at`.
    """
    return max(1, min(promote_at, round(promote_at * of_demote_at / of_promote_at)))


def bucket(account: int) -> int:
    """A stable number 0..99 of an account, which tells when a gradual rollout reaches it."""
    return zlib.crc32(str(account).encode()) % 100


def governing(account: int, latest: Thresholds, settled: Thresholds) -> Thresholds:
    """The version that an account follows: the latest if the rollout has reached it, else the last one that was rolled out fully."""
    return latest if bucket(account) < latest.rollout_percent else settled


def decide(
    followers: int,
    last_route: Route | None,
    policy: Thresholds,
    pinned: Route | None,
    relief: LoadShedding | None = None,
) -> Decision:
    """The route of an account's next post: a pin decides, then the threshold, and what it would push, relief may pull."""
    if pinned is not None:
        return Decision(pinned, policy.version, "pinned by an operator")
    usual = _by_the_lines(followers, last_route, policy)
    if relief is None or usual.route == "pull" or followers < relief.pull_from:
        return usual
    late = f"delivery is {relief.delivery_seconds:.3g} s late"
    why = f"{late}: accounts with {relief.pull_from} followers or more are pulled until it has recovered"
    return Decision("pull", policy.version, why, for_now=True)


def next_shedding_line(
    line: int | None, delivery_seconds: float, limit_seconds: float, *, least: int, promote_at: int
) -> int | None:
    """The follower count from which on accounts are pulled next, given the one that holds; None: the threshold alone decides.

    Above its limit the delivery lag halves the line, down to `least`; below half the limit it doubles it, until promote_at is
    reached and it is gone; in between it stays.
    """
    at = promote_at if line is None else line
    if delivery_seconds > limit_seconds:
        at = max(least, at // 2)
    elif delivery_seconds < limit_seconds / 2:
        at *= 2
    return at if at < promote_at else None


def _by_the_lines(followers: int, last_route: Route | None, policy: Thresholds) -> Decision:
    """The two lines differ so that an account near them does not flap: between them it keeps its route, at first push."""
    if followers >= policy.promote_at:
        return Decision(
            "pull", policy.version, f"{followers} followers reach promote_at {policy.promote_at}"
        )
    if followers < policy.demote_at:
        return Decision(
            "push", policy.version, f"{followers} followers are below demote_at {policy.demote_at}"
        )
    between = f"{followers} followers are between demote_at {policy.demote_at} and promote_at {policy.promote_at}"
    return Decision(last_route or "push", policy.version, f"{between}: the account keeps its route")
