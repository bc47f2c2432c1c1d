"""The shapes of bodies, queries and answers."""

from __future__ import annotations

import datetime as dt
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, validate, validates_schema

from feedsvc.api.fields import (
    MAX_LIMIT,
    Flag,
    HttpUrl,
    Id,
    IdList,
    Limit,
    Moment,
    StrictInteger,
    Text,
)
from feedsvc.formats import MAX_ID
from feedsvc.paging import DEFAULT_LIMIT

_COUNT = validate.Range(min=1, max=MAX_ID)
_PER_CENT = validate.Range(min=0, max=100)
_ROUTE = validate.OneOf(["push", "pull"])


class Strict(Schema):
    """What comes in: a field that is not known is an error."""

    class Meta:
        unknown = RAISE


class NoQuery(Strict):
    """Takes no query."""


class PageQuery(Strict):
    """Which page of a list."""

    limit = Limit(
        load_default=DEFAULT_LIMIT,
        metadata={"description": f"Items a page, 1 to {MAX_LIMIT}.", "example": 20},
    )
    cursor = fields.String(
        load_default=None,
        metadata={"description": "An opaque cursor from an earlier page of this list."},
    )


class IdsQuery(Strict):
    """Which posts."""

    ids = IdList(
        required=True,
        metadata={
            "description": "Up to 100 post ids, separated by commas.",
            "example": "12059062272,12059062273",
        },
    )


class ExplainQuery(Strict):
    """Which post, in whose feed."""

    viewer = Id(
        required=True,
        metadata={"description": "The account whose feed it is.", "example": "9007199254740993"},
    )
    post = Id(
        required=True,
        metadata={"description": "The post, deleted or not.", "example": "12059062272"},
    )


class PostBody(Strict):
    """An upload."""

    photo_url = HttpUrl(
        required=True,
        metadata={
            "description": "An absolute http(s) URL.",
            "example": "https://img.example/1.jpg",
        },
    )
    description = Text(
        load_default="", validate=validate.Length(max=2_200), metadata={"example": "Sunset"}
    )


class EditBody(Strict):
    """What can be changed of a post."""

    description = Text(
        required=True, validate=validate.Length(max=2_200), metadata={"example": "Sunset, at last"}
    )


class FollowItem(Strict):
    """One line of a batch."""

    follower = Id(required=True)
    followee = Id(required=True)
    action = fields.String(required=True, validate=validate.OneOf(["follow", "unfollow"]))


class ThresholdBody(Strict):
    """From promote_at followers on an account is pulled, below demote_at it is pushed; rollout_percent of all accounts follow."""

    promote_at = StrictInteger(required=True, validate=_COUNT, metadata={"example": 100_000})
    demote_at = StrictInteger(required=True, validate=_COUNT, metadata={"example": 80_000})
    rollout_percent = StrictInteger(load_default=100, validate=_PER_CENT)
    reason = Text(
        required=True,
        validate=validate.Length(min=1, max=500),
        metadata={"example": "Queue lag at peak"},
    )
    force = Flag(
        load_default=False,
        metadata={"description": "Change it although a guardrail refuses.", "example": False},
    )

    @validates_schema
    def _in_order(self, data: dict[str, Any], **_: Any) -> None:
        if data["demote_at"] > data["promote_at"]:
            raise ValidationError("Must be at most promote_at.", "demote_at")


class RollbackBody(Strict):
    """Which version to go back to."""

    version = StrictInteger(required=True, validate=validate.Range(min=1, max=2**31 - 1))
    reason = Text(required=True, validate=validate.Length(min=1, max=500))


class PinBody(Strict):
    """A fixed route."""

    route = fields.String(required=True, validate=_ROUTE)
    reason = Text(required=True, validate=validate.Length(min=1, max=500))
    expires_at = Moment(
        load_default=None,
        allow_none=True,
        metadata={"description": "When the pin ends; never, if left out."},
    )

    @validates_schema
    def _in_future(self, data: dict[str, Any], **_: Any) -> None:
        expires_at = data.get("expires_at")
        if expires_at is not None and expires_at <= dt.datetime.now(dt.UTC):
            raise ValidationError("Must be in the future.", "expires_at")


class AccountAnswer(Schema):
    """An account."""

    id = Id()
    follower_count = fields.Integer()
    following_count = fields.Integer()
    route = fields.String(
        validate=_ROUTE, metadata={"description": "What becomes of its next post."}
    )


class FollowResult(Schema):
    """What became of one line of a batch."""

    follower = Id()
    followee = Id()
    action = fields.String()
    status = fields.String(validate=validate.OneOf(["ok", "error"]))
    detail = fields.String(allow_none=True)


class FollowsAnswer(Schema):
    """A result for each line, in order."""

    data = fields.List(fields.Nested(FollowResult))


class PinAnswer(Schema):
    """A pin."""

    account_id = Id()
    route = fields.String(validate=_ROUTE)
    reason = fields.String()
    expires_at = Moment(allow_none=True)
    pinned_by = fields.String()
    pinned_at = Moment()


class RouteAnswer(Schema):
    """The route of an account's next post, and why."""

    account_id = Id()
    route = fields.String(validate=_ROUTE)
    why = fields.String()
    follower_count = fields.Integer()
    policy_version = fields.Integer()
    pin = fields.Nested(PinAnswer, allow_none=True)


class FanoutAnswer(Schema):
    """How far a fan-out is."""

    post_id = Id()
    route = fields.String(validate=_ROUTE)
    policy_version = fields.Integer()
    state = fields.String(validate=validate.OneOf(["pending", "running", "done"]))
    followers = fields.Integer()
    delivered = fields.Integer(metadata={"description": "Feeds that took the id."})
    skipped = fields.Integer(metadata={"description": "Followers without a materialised feed."})
    batches = fields.Integer()
    started_at = Moment(allow_none=True)
    finished_at = Moment(allow_none=True)


class StoredListAnswer(Schema):
    """A stored list as it was before the read."""

    state = fields.String(
        validate=validate.OneOf(["absent", "building", "valid"]), metadata={"example": "valid"}
    )
    floor = fields.String(
        allow_none=True,
        metadata={"description": "Complete above this id; null unless valid.", "example": "0"},
    )
    holds_post = fields.Boolean(metadata={"example": True})


class FanoutPositionAnswer(Schema):
    """How far the fan-out is, and where in it the viewer is."""

    state = fields.String(
        validate=validate.OneOf(["pending", "running", "done"]), metadata={"example": "running"}
    )
    batch = fields.Integer(
        allow_none=True,
        metadata={
            "description": "The viewer's, from 1; null if pulled or not followed.",
            "example": 3,
        },
    )
    batches = fields.Integer(metadata={"description": "Batches that have run.", "example": 4})
    has_passed = fields.Boolean(
        allow_none=True,
        metadata={
            "description": "The viewer's batch has run; for the author, the first.",
            "example": True,
        },
    )


class ExplanationAnswer(Schema):
    """Whether a post is in a feed, and why."""

    viewer = Id(metadata={"example": "9007199254740993"})
    post_id = Id(metadata={"example": "12059062272"})
    author_id = Id(metadata={"example": "9007199254740995"})
    in_feed = fields.Boolean(
        metadata={"description": "Whether it belongs there, by the database.", "example": True}
    )
    served = fields.Boolean(metadata={"description": "Whether a read shows it.", "example": True})
    why = fields.String(
        metadata={
            "example": (
                "in the feed: read from the home feed, because batch 3 of the fan-out pushed it there"
            )
        }
    )
    source = fields.String(
        allow_none=True,
        validate=validate.OneOf(["celebrity list", "home feed", "database"]),
        metadata={
            "description": "Where the reader takes it from; null if it is not served.",
            "example": "home feed",
        },
    )
    is_own = fields.Boolean(metadata={"example": False})
    follows = fields.Boolean(metadata={"example": True})
    followed_since = Moment(
        allow_none=True,
        metadata={
            "description": "Null if not recorded, or not followed.",
            "example": "2026-11-23T22:00:00.000Z",
        },
    )
    hidden_by = fields.List(
        fields.String(validate=validate.OneOf(["mute", "block", "blocked by author"])),
        metadata={"example": []},
    )
    deleted_at = Moment(allow_none=True, metadata={"example": None})
    route = fields.String(validate=_ROUTE, metadata={"example": "push"})
    policy_version = fields.Integer(
        metadata={"description": "The threshold that gave the route.", "example": 1}
    )
    pushed_at = Moment(
        allow_none=True, metadata={"description": "When the last feed had it.", "example": None}
    )
    fanout = fields.Nested(FanoutPositionAnswer)
    home = fields.Nested(StoredListAnswer, metadata={"description": "The viewer's home feed."})
    celebrity_list = fields.Nested(
        StoredListAnswer, metadata={"description": "The author's celebrity list."}
    )
    horizon = fields.String(
        metadata={
            "description": "At and below this id the reader asks the database; 0: nowhere.",
            "example": "0",
        }
    )
