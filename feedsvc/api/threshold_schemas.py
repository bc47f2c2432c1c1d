"""The shapes of the threshold's record and of its guardrails."""

from __future__ import annotations

from dataclasses import fields as fields_of
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from feedsvc.api.fields import Moment, StrictInteger, StrictNumber, Text
from feedsvc.api.schemas import Strict
from feedsvc.formats import MAX_ID
from feedsvc.routing.guardrails import WATCHED_SECONDS, Guardrails

_LINE = validate.Range(min=1, max=MAX_ID)
_ABOVE_0 = validate.Range(min=0, min_inclusive=False)
_NOT_NEGATIVE = validate.Range(min=0)

# An extract. The whole is the answer of `GET /v1/admin/threshold/preview`.
_PREDICTED = {
    "promote_at": 50_000,
    "demote_at": 40_000,
    "lists_per_read": {"mean": {"today": 2.1, "proposed": 3.4, "margin": 0.1}},
    "words": ["57 accounts change to pull, with 31 % of all deliveries."],
}


class LinesAnswer(Schema):
    """The threshold that a version replaced."""

    promote_at = fields.Integer(metadata={"example": 100_000})
    demote_at = fields.Integer(metadata={"example": 80_000})
    rollout_percent = fields.Integer(metadata={"example": 100})


class WatchAnswer(Schema):
    """The 99th percentiles above which the version is rolled back automatically.

    Null means not watched.
    """

    until = Moment(metadata={"example": "2026-11-24T23:00:00.000Z"})
    delivery_seconds = fields.Float(allow_none=True, metadata={"example": 30.0})
    read_p99_seconds = fields.Float(allow_none=True, metadata={"example": 0.25})


class MeasuredAnswer(Schema):
    """Measurements while a version was in force, over at most a day.

    Null means not measured.
    """

    since = fields.String(metadata={"format": "date-time", "example": "2026-11-24T22:00:00.000Z"})
    until = fields.String(metadata={"format": "date-time", "example": "2026-11-25T22:00:00.000Z"})
    posts = fields.Integer(metadata={"example": 120_000})
    deliveries = fields.Integer(
        metadata={"description": "Feeds that took an id.", "example": 48_000_000}
    )
    delivery_p50_seconds = fields.Float(
        allow_none=True,
        metadata={"description": "From the upload to the last feed.", "example": 0.08},
    )
    delivery_p99_seconds = fields.Float(allow_none=True, metadata={"example": 4.1})
    reads = fields.Integer(metadata={"description": "Pages of home feeds.", "example": 2_400_000})
    lists_per_read = fields.Float(
        allow_none=True,
        metadata={"description": "Celebrity lists merged, on average.", "example": 3.2},
    )
    read_p50_seconds = fields.Float(allow_none=True, metadata={"example": 0.002})
    read_p99_seconds = fields.Float(allow_none=True, metadata={"example": 0.011})
    processor_seconds = fields.Float(
        allow_none=True,
        metadata={"description": "Of web processes and workers.", "example": 5_100.0},
    )


class ThresholdAnswer(Schema):
    """One version of the threshold, with its part of the record."""

    version = fields.Integer(metadata={"example": 3})
    promote_at = fields.Integer(metadata={"example": 50_000})
    demote_at = fields.Integer(metadata={"example": 40_000})
    rollout_percent = fields.Integer(metadata={"example": 100})
    reason = fields.String(metadata={"example": "Queue lag at peak"})
    changed_by = fields.String(
        metadata={
            "description": "An account, `command line`, `settings` or `guardrail`.",
            "example": "9007199254740993",
        }
    )
    changed_at = Moment(metadata={"example": "2026-11-24T22:00:00.000Z"})
    previous = fields.Nested(
        LinesAnswer,
        data_key="from",
        allow_none=True,
        metadata={"description": "The lines that it replaced; null for the first version."},
    )
    rolled_back_to = fields.Integer(
        allow_none=True, metadata={"description": "The version that it repeats.", "example": None}
    )
    forced = fields.Boolean(
        metadata={"description": "Set although a guardrail refused it.", "example": False}
    )
    predicted = fields.Dict(
        allow_none=True,
        metadata={
            "description": "The preview when it was set; null without figures.",
            "example": _PREDICTED,
        },
    )
    watch = fields.Nested(WatchAnswer, allow_none=True)
    measured = fields.Nested(
        MeasuredAnswer,
        allow_none=True,
        metadata={"description": "Null until a day is over or it was replaced."},
    )


class GuardrailsBody(Strict):
    """The limits. A limit that is null or left out does not apply."""

    min_promote_at = StrictInteger(
        allow_none=True,
        validate=_LINE,
        metadata={"description": "The lowest promote_at.", "example": 1_000},
    )
    max_promote_at = StrictInteger(
        allow_none=True,
        validate=_LINE,
        metadata={"description": "The highest promote_at.", "example": 1_000_000},
    )
    min_demote_at = StrictInteger(
        allow_none=True,
        validate=_LINE,
        metadata={"description": "The lowest demote_at.", "example": 500},
    )
    max_demote_at = StrictInteger(
        allow_none=True,
        validate=_LINE,
        metadata={"description": "The highest demote_at.", "example": 900_000},
    )
    max_demote_percent = StrictInteger(
        allow_none=True,
        validate=validate.Range(min=1, max=100),
        metadata={"description": "Hysteresis: demote_at in per cent of promote_at.", "example": 90},
    )
    max_moved_percent = StrictNumber(
        allow_none=True,
        validate=_NOT_NEGATIVE,
        metadata={
            "description": "Deliveries that a change adds and saves, in % of today's.",
            "example": 20.0,
        },
    )
    max_delivery_seconds = StrictNumber(
        allow_none=True,
        validate=_ABOVE_0,
        metadata={"description": "Predicted seconds to the last follower.", "example": 30.0},
    )
    max_lists_per_read = StrictNumber(
        allow_none=True,
        validate=_NOT_NEGATIVE,
        metadata={"description": "Predicted lists merged a read, p99.", "example": 50.0},
    )
    max_memory_bytes = StrictNumber(
        allow_none=True,
        validate=_ABOVE_0,
        metadata={"description": "Predicted bytes of Redis.", "example": 8_000_000_000.0},
    )
    roll_back_delivery_seconds = StrictNumber(
        allow_none=True,
        validate=_ABOVE_0,
        metadata={
            "description": "Measured delivery lag, p99, that rolls a change back.",
            "example": 60.0,
        },
    )
    roll_back_read_p99_seconds = StrictNumber(
        allow_none=True,
        validate=_ABOVE_0,
        metadata={"description": "Measured read p99 that rolls a change back.", "example": 0.25},
    )
    roll_back_within_seconds = StrictInteger(
        allow_none=True,
        validate=validate.Range(min=1, max=30 * 86_400),
        metadata={
            "description": f"How long a change is watched; {WATCHED_SECONDS:,} if not set.",
            "example": WATCHED_SECONDS,
        },
    )
    relief_delivery_seconds = StrictNumber(
        allow_none=True,
        validate=_ABOVE_0,
        metadata={
            "description": "Load shedding starts when the oldest fan-out is this old.",
            "example": 120.0,
        },
    )
    reason = Text(
        required=True,
        validate=validate.Length(min=1, max=500),
        metadata={"example": "No large step without asking"},
    )

    @validates_schema
    def _in_order(self, data: dict[str, Any], **_: Any) -> None:
        for line in ("promote_at", "demote_at"):
            least, most = data.get(f"min_{line}"), data.get(f"max_{line}")
            if least is not None and most is not None and least > most:
                raise ValidationError(f"Must be at most max_{line} ({most}).", f"min_{line}")


class ReliefAnswer(Schema):
    """Load shedding: the accounts that are pulled while delivery lags."""

    pull_from = fields.Integer(
        metadata={
            "description": "Accounts with at least this many followers, unless pinned.",
            "example": 25_000,
        }
    )
    delivery_seconds = fields.Float(
        metadata={"description": "The lag last measured.", "example": 140.0}
    )
    since = Moment(metadata={"example": "2026-11-24T22:00:00.000Z"})


_LIMITS = {field.name: GuardrailsBody().fields[field.name] for field in fields_of(Guardrails)}


class GuardrailsAnswer(Schema):
    """The limits on changes of the threshold. Null means not set."""

    class Meta:
        include = _LIMITS

    version = fields.Integer(metadata={"example": 2})
    reason = fields.String(metadata={"example": "No large step without asking"})
    changed_by = fields.String(metadata={"example": "9007199254740993"})
    changed_at = Moment(metadata={"example": "2026-11-24T22:00:00.000Z"})
    relief = fields.Nested(ReliefAnswer, allow_none=True)
