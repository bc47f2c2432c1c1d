"""Why a post is in a feed or is not, from the facts alone. Pure: `inspection/explain.py` gathers them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from feedsvc.store.redis import keys

if TYPE_CHECKING:
    import datetime as dt

ListState = Literal["absent", "building", "valid"]
Source = Literal["celebrity list", "home feed", "database"]


@dataclass(frozen=True)
class StoredList:
    """A home feed or celebrity list as it was before the read. `floor`: None unless it is valid."""

    state: ListState
    floor: int | None
    holds_post: bool

    @property
    def gives_post(self) -> bool:
        """Whether a reader finds the post on it: one that is being built is not read."""
        return self.state == "valid" and self.holds_post


@dataclass(frozen=True)
class FanoutFacts:
    """How far the fan-out is, and where in it the viewer is.

    `batch` counts from 1 among the author's followers of today; None for a pulled post, or for who does not follow. `batches` have
    run. `has_passed`: the viewer's batch has run, or for the author the first one; None where there is none.
    """

    state: str
    batch: int | None
    batches: int
    has_passed: bool | None


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """A post, a viewer, and all that decides whether the one is in the feed of the other.

    `followed_since` is None if it was not recorded, or `follows` is not so. `hidden_by`: of "mute", "block", "blocked by author".
    `served` is whether the reader shows it; `horizon`, at and below which it asked the database.
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
        """Whether the viewer posted it."""
        return self.viewer == self.author_id

    @property
    def in_feed(self) -> bool:
        """Whether it belongs in the feed."""
        return _obstacle(self) is None

    @property
    def source(self) -> Source | None:
        """Where the reader took it from. A list that was not stored is read from the database, and stored."""
        if not self.served:
            return None
        if self.post_id <= self.horizon:
            return "database"
        if self.home.gives_post:
            return "home feed"
        return "celebrity list" if self.celebrity_list.gives_post else "database"

    @property
    def why(self) -> str:
        """One sentence for people: the first reason that applies, or what to do if the feed is not what it should be."""
        obstacle = _obstacle(self)
        if obstacle is None:
            return (
                f"in the feed: {_how(self)}"
                if self.served
                else f"should be in the feed but is not served: {_remedy(self)}"
            )
        return (
            f"should not be in the feed but is served ({obstacle}): {_remedy(self)}"
            if self.served
            else f"not in the feed: {obstacle}"
        )


def _obstacle(facts: Explanation) -> str | None:
    """What keeps the post out of the feed. A block comes before the follow that it has ended."""
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


def _how(facts: Explanation) -> str:
    """How the post got into the feed that was read."""
    if facts.post_id <= facts.horizon:
        return "at or below the floor, read from the database"
    if facts.source == "celebrity list":
        return f"{_why_listed(facts)}, read from the celebrity list of {facts.author_id}"
    if facts.source == "home feed":
        return f"{_why_pushed(facts)}, above the feed's floor"
    is_home = facts.route == "push" and facts.home.state != "valid"
    missing = "home feed" if is_home else f"celebrity list of {facts.author_id}"
    return f"the {missing} was not stored, read from the database"


def _why_listed(facts: Explanation) -> str:
    if facts.route == "pull":
        return "pulled"
    return f"{_batch(facts)} of the fan-out has {'run, but not into this feed' if facts.fanout.has_passed else 'not run yet'}"


def _why_pushed(facts: Explanation) -> str:
    if (
        facts.pushed_at is not None
        and facts.followed_since is not None
        and facts.followed_since > facts.pushed_at
    ):
        return "stored by a rebuild of the feed after the follow, which is younger than the fan-out"
    if facts.fanout.has_passed:
        return f"pushed in {_batch(facts)} of the fan-out"
    return f"stored by a rebuild of the feed before {_batch(facts)} of the fan-out"


def _batch(facts: Explanation) -> str:
    """The author's own feed goes with the first batch."""
    return f"batch {facts.fanout.batch or 1}"


def _remedy(facts: Explanation) -> str:
    """What makes the views that are wrong anew."""
    if facts.deleted_at is not None:
        return f"delete {keys.post(facts.post_id)} in Redis, which the next read makes again"
    rebuild = f"run feed rebuild {facts.viewer}"
    if facts.served or facts.route == "push":
        return rebuild
    listed = f"{keys.celebrity_posts(facts.author_id)}, {keys.CELEBRITIES} and {keys.RECENT}"
    return f"{rebuild}, and delete {listed} in Redis, which the next read makes again"
