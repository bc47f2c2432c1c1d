"""The shapes of bodies, queries and answers."""

from __future__ import annotations

import datetime as dt
from typing import Any

from marshmallow import (
    RAISE,
    Schema,
    ValidationError,
    fields,
    post_dump,
    validate,
    validates_schema,
)

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
    """Input. An unknown field is an error."""

    error_messages = {"type": "Must be a JSON object."}  # noqa: RUF012 -- as its base class

    class Meta:
        unknown = RAISE


class OrderedLines(Strict):
    """Input with the two lines of a threshold. `demote_at` must not exceed `promote_at`."""

    @validates_schema
    def _in_order(self, data: dict[str, Any], **_: Any) -> None:
        if (data["demote_at"] or 1) > data["promote_at"]:
            raise ValidationError("Must be at most promote_at.", "demote_at")


class NoQuery(Strict):
    """The query of an operation without parameters."""


class PageQuery(Strict):
    """The page of a list."""

    limit = Limit(
        load_default=DEFAULT_LIMIT,
        metadata={"description": f"Items a page, 1 to {MAX_LIMIT}.", "example": 20},
    )
    cursor = fields.String(
        load_default=None,
        metadata={"description": "An opaque cursor from an earlier page of this list."},
    )


class IdsQuery(Strict):
    """The posts to get."""

    ids = IdList(
        required=True,
        metadata={
            "description": "Up to 100 post ids, separated by commas.",
            "example": "12059062272,12059062273",
        },
    )


class ExplainQuery(Strict):
    """A post and the viewer of a feed."""

    viewer = Id(
        required=True,
        metadata={"description": "The account that reads the feed.", "example": "9007199254740993"},
    )
    post = Id(
        required=True,
        metadata={"description": "The post; it may be deleted.", "example": "12059062272"},
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
    """The fields of a post that can be changed."""

    description = Text(
        required=True, validate=validate.Length(max=2_200), metadata={"example": "Sunset, at last"}
    )


class FollowItem(Strict):
    """One follow or unfollow of a batch."""

    follower = Id(required=True)
    followee = Id(required=True)
    action = fields.String(required=True, validate=validate.OneOf(["follow", "unfollow"]))


class ThresholdBody(OrderedLines):
    """A threshold.

    From `promote_at` followers on an account is pulled, below `demote_at` it is pushed. It applies
    to `rollout_percent` of all accounts.
    """

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


class RollbackBody(Strict):
    """The version to return to."""

    version = StrictInteger(required=True, validate=validate.Range(min=1, max=2**31 - 1))
    reason = Text(required=True, validate=validate.Length(min=1, max=500))


class PinBody(Strict):
    """A fixed route."""

    route = fields.String(required=True, validate=_ROUTE)
    reason = Text(required=True, validate=validate.Length(min=1, max=500))
    expires_at = Moment(
        load_default=None,
        allow_none=True,
        metadata={"description": "The end of the pin; without it the pin stays."},
    )

    @validates_schema
    def _in_future(self, data: dict[str, Any], **_: Any) -> None:
        expires_at = data.get("expires_at")
        if expires_at is not None and expires_at <= dt.datetime.now(dt.UTC):
            raise ValidationError("Must be in the future.", "expires_at")


class AccountAnswer(Schema):
    """An account. In a list, counts and route are null if it blocks the viewer or is blocked."""

    id = Id()
    follower_count = fields.Integer(allow_none=True)
    following_count = fields.Integer(allow_none=True)
    route = fields.String(
        validate=_ROUTE,
        allow_none=True,
        metadata={"description": "The route of its next post."},
    )
    deleting = fields.Boolean(metadata={"description": "Present and true during its deletion."})

    @post_dump
    def _leave_out(self, account: dict[str, Any], **_: Any) -> dict[str, Any]:
        if not account["deleting"]:
            del account["deleting"]
        return account


class FollowResult(Schema):
    """The result of one follow or unfollow of a batch."""

    follower = Id()
    followee = Id()
    action = fields.String()
    status = fields.String(validate=validate.OneOf(["ok", "error"]))
    detail = fields.String(allow_none=True)


class FollowsAnswer(Schema):
    """The results of a batch, in the order of its items."""

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
    """The route of an account's next post, and the reason."""

    account_id = Id()
    route = fields.String(validate=_ROUTE)
    why = fields.String()
    follower_count = fields.Integer()
    policy_version = fields.Integer()
    pin = fields.Nested(PinAnswer, allow_none=True)


class FanoutAnswer(Schema):
    """The progress of a fan-out."""

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
    """The state of a stored list before the read."""

    state = fields.String(
        validate=validate.OneOf(["absent", "building", "valid"]), metadata={"example": "valid"}
    )
    floor = fields.String(
        allow_none=True,
        metadata={"description": "Complete above this id; null unless valid.", "example": "0"},
    )
    holds_post = fields.Boolean(metadata={"example": True})


class FanoutPositionAnswer(Schema):
    """The progress of a fan-out, and the place of the viewer in it."""

    state = fields.String(
        validate=validate.OneOf(["pending", "running", "done"]), metadata={"example": "running"}
    )
    batch = fields.Integer(
        allow_none=True,
        metadata={
            "description": "The viewer's batch, from 1; null if pulled or not followed.",
            "example": 3,
        },
    )
    batches = fields.Integer(metadata={"description": "Batches that have run.", "example": 4})
    has_passed = fields.Boolean(
        allow_none=True,
        metadata={
            "description": "The viewer's batch has run; for the author, the first batch.",
            "example": True,
        },
    )


class ExplanationAnswer(Schema):
    """Whether a post is in a feed, and the reason."""

    viewer = Id(metadata={"example": "9007199254740993"})
    post_id = Id(metadata={"example": "12059062272"})
    author_id = Id(metadata={"example": "9007199254740995"})
    in_feed = fields.Boolean(
        metadata={"description": "The database says that the post belongs there.", "example": True}
    )
    served = fields.Boolean(metadata={"description": "A read shows the post.", "example": True})
    why = fields.String(
        metadata={
            "example": (
                "in the feed: read from the home feed, because batch 3 of the fan-out "
                "pushed it there"
            )
        }
    )
    source = fields.String(
        allow_none=True,
        validate=validate.OneOf(["celebrity list", "home feed", "database"]),
        metadata={
            "description": "The place that the reader takes it from; null if not served.",
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
        metadata={"description": "The version of the threshold that set the route.", "example": 1}
    )
    pushed_at = Moment(
        allow_none=True,
        metadata={"description": "The time at which the last feed had it.", "example": None},
    )
    fanout = fields.Nested(FanoutPositionAnswer)
    home = fields.Nested(StoredListAnswer, metadata={"description": "The viewer's home feed."})
    celebrity_list = fields.Nested(
        StoredListAnswer, metadata={"description": "The author's celebrity list."}
    )
    horizon = fields.String(
        metadata={
            "description": "At and below this id SQL answers; 0 if nowhere.",
            "example": "0",
        }
    )
