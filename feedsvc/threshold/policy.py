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
class Decision:
    """A route, in whose name it was chosen, and why, in words for people."""

    route: Route
    policy_version: int
    why: str


def bucket(account: int) -> int:
    """A stable number 0..99 of an account, which tells when a gradual rollout reaches it."""
    return zlib.crc32(str(account).encode()) % 100


def governing(account: int, latest: Thresholds, settled: Thresholds) -> Thresholds:
    """The version that an account follows: the latest if the rollout has reached it, else the last one that was rolled out fully."""
    return latest if bucket(account) < latest.rollout_percent else settled


def decide(followers: int, last_route: Route | None, policy: Thresholds, pinned: Route | None) -> Decision:
    """The route of an account's next post.

    The two lines differ so that an account near them does not flap: between them it keeps its route, at first push.
    """
    if pinned is not None:
        return Decision(pinned, policy.version, "pinned by an operator")
    if followers >= policy.promote_at:
        return Decision("pull", policy.version, f"{followers} followers reach promote_at {policy.promote_at}")
    if followers < policy.demote_at:
        return Decision("push", policy.version, f"{followers} followers are below demote_at {policy.demote_at}")
    between = f"{followers} followers are between demote_at {policy.demote_at} and promote_at {policy.promote_at}"
    return Decision(last_route or "push", policy.version, f"{between}: the account keeps its route")
