"""Explain from the facts why a post is, or is not, in a feed. Pure.

`inspection/explain.py` gathers the facts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from feedsvc.store.redis import keys

if TYPE_CHECKING:
    import datetime as dt


@dataclass(frozen=True)
class StoredList:
    """A home feed or a celebrity list as it was stored before the reader ran.

    `floor` is None unless the list is valid.
    """

    state: Literal["absent", "building", "valid"]
    floor: int | None
    holds_post: bool

    @property
    def gives_post(self) -> bool:
        """Return whether a reader finds the post on the list. A list being built is not read."""
        return self.state == "valid" and self.holds_post


@dataclass(frozen=True)
class FanoutFacts:
    """The progress of a post's fan-out, and the viewer's place in it.

    `batch`: the number of the viewer's batch, from 1, among the author's followers of today; None
    for a pulled post, and for a viewer that does not follow the author.
    `batches`: how many batches have run.
    `has_passed`: whether the viewer's batch has run, or for the author the first batch; None where
    there is no such batch.
    """

    state: str
    batch: int | None
    batches: int
    has_passed: bool | None


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """All facts that decide whether a post is in a viewer's feed.

    `followed_since`: None if the viewer does not follow the author, or if no time was recorded.
    `hidden_by`: any of "mute", "block", "blocked by author".
    `served`: whether the reader shows the post.
    `horizon`: the reader asks the database for posts at or below this id.
    """

    viewer: int
    post_id: int
    author_id: int
    served: bool
    follows: bool
    followed_since: dt.datetime | None
    hidden_by: list[str]
    deleted_at: dt.datetime | None
    route: str
    policy_version: int
    pushed_at: dt.datetime | None
    fanout: FanoutFacts
    home: StoredList
    celebrity_list: StoredList
    horizon: int

    @property
    def is_own(self) -> bool:
        """Return whether the viewer is the post's author."""
        return self.viewer == self.author_id

    @property
    def in_feed(self) -> bool:
        """Return whether the post belongs in the feed."""
        return _obstacle(self) is None

    @property
    def source(self) -> Literal["celebrity list", "home feed", "database"] | None:
        """Return where the reader took the post from; None if it did not serve the post.

        The reader takes a list that was not stored from the database, and stores the list.
        """
        if not self.served:
            return None
        if self.post_id <= self.horizon:
            return "database"
        if self.home.gives_post:
            return "home feed"
        return "celebrity list" if self.celebrity_list.gives_post else "database"

    @property
    def why(self) -> str:
        """Return one sentence for people, with the first reason that applies.

        If the reader disagrees with SQL, the sentence says how to repair the feed.
        """
        obstacle = _obstacle(self)
        if obstacle is None and self.served:
            return f"in the feed: {_how_served(self)}"
        if obstacle is None:
            return f"should be in the feed but is not served: {_remedy(self)}"
        if self.served:
            return f"should not be in the feed but is served ({obstacle}): {_remedy(self)}"
        return f"not in the feed: {obstacle}"


def _obstacle(facts: Explanation) -> str | None:
    """Return what keeps the post out of the feed; None if nothing does.

    A block ends follows, so it is named before a missing follow.
    """
    viewer, author = facts.viewer, facts.author_id
    if facts.deleted_at is not None:
        return f"the post was deleted at {facts.deleted_at:%Y-%m-%dT%H:%M:%SZ}"
    if "block" in facts.hidden_by:
        return f"{viewer} blocks {author}"
    if "blocked by author" in facts.hidden_by:
        return f"{author} blocks {viewer}"
    if not (facts.is_own or facts.follows):
        return f"{viewer} does not follow {author}"
    return f"{viewer} has muted {author}" if "mute" in facts.hidden_by else None


def _how_served(facts: Explanation) -> str:
    """Return where the reader took the post from, and why from there."""
    celebrity_list = f"the celebrity list of {facts.author_id}"
    if facts.post_id <= facts.horizon:
        return "read from the database, because it is at or below the horizon of the stored lists"
    if facts.source == "celebrity list":
        return f"read from {celebrity_list}, because {_why_listed(facts)}"
    if facts.source == "home feed":
        return f"read from the home feed, because {_why_pushed(facts)}"
    is_home = facts.route == "push" and facts.home.state != "valid"
    return (
        f"read from the database, because {'the home feed' if is_home else celebrity_list} "
        "was not stored"
    )


def _why_listed(facts: Explanation) -> str:
    if facts.route == "pull":
        return "the post is pulled"
    has_run = "has run, but not into this feed" if facts.fanout.has_passed else "has not run yet"
    return f"{_batch(facts)} {has_run}"


def _why_pushed(facts: Explanation) -> str:
    is_younger_follow = (
        facts.pushed_at is not None
        and facts.followed_since is not None
        and facts.followed_since > facts.pushed_at
    )
    if is_younger_follow:
        return "a rebuild stored it there after the follow, which is younger than the fan-out"
    if facts.fanout.has_passed:
        return f"{_batch(facts)} pushed it there"
    return f"a rebuild stored it there before {_batch(facts)}"


def _batch(facts: Explanation) -> str:
    """Name the viewer's batch. The first batch carries the author's own feed."""
    return f"batch {facts.fanout.batch or 1} of the fan-out"


def _remedy(facts: Explanation) -> str:
    """Return what to run or delete so that the wrong views are built again."""
    if facts.deleted_at is not None:
        return f"delete {keys.post(facts.post_id)} in Redis; the next read stores it again"
    rebuild = f"run feedsvc feed rebuild {facts.viewer}"
    if facts.served or facts.route == "push":
        return rebuild
    views = (
        f"{keys.celebrity_posts(facts.author_id)}, {keys.CELEBRITIES} and {keys.INVALIDATION_LOG}"
    )
    return f"{rebuild}, and delete {views} in Redis; the next read stores them again"
