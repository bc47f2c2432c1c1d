"""The shapes of the queries and answers of the threshold studio."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, validate

from feedsvc.api.fields import Id, Moment, QueryAmount, QueryCount
from feedsvc.api.schemas import OrderedLines, Strict
from feedsvc.planning.preview import in_words

_ROUTE = validate.OneOf(["push", "pull"])
_LIMIT = validate.OneOf(["max_delivery_seconds", "max_lists_per_read", "max_memory_bytes"])


def _number(
    example: float | None, description: str | None = None, *, allow_none: bool = False
) -> fields.Float:
    metadata: dict[str, Any] = {"example": example} | (
        {"description": description} if description else {}
    )
    return fields.Float(allow_none=allow_none, metadata=metadata)


def _whole(example: int, description: str | None = None) -> fields.Integer:
    return fields.Integer(
        metadata={"example": example} | ({"description": description} if description else {})
    )


def _processes() -> QueryCount:
    return QueryCount(
        load_default=None,
        metadata={
            "description": "Processes that read feeds. Default: those that run.",
            "example": 2,
        },
    )


class PreviewQuery(OrderedLines):
    """The threshold to preview."""

    promote_at = QueryCount(
        required=True,
        metadata={
            "description": "Followers from which on an account is pulled.",
            "example": 50_000,
        },
    )
    demote_at = QueryCount(
        load_default=None,
        metadata={
            "description": "Followers below which it is pushed. Default: the ratio of today.",
            "example": 40_000,
        },
    )
    processes = _processes()


class RecommendationQuery(Strict):
    """The limits that the threshold must respect; each may be left out."""

    max_delivery_seconds = QueryAmount(
        load_default=None,
        metadata={
            "description": "From an upload of the largest pushed account to its last feed.",
            "example": 5,
        },
    )
    max_lists_per_read = QueryAmount(
        load_default=None,
        metadata={"description": "Lists that a read merges, at p99.", "example": 50},
    )
    max_memory_bytes = QueryAmount(
        load_default=None,
        metadata={"description": "Memory of feeds and lists.", "example": 8_000_000_000},
    )
    processes = _processes()


class FigureAnswer(Schema):
    """A value today and as proposed.

    The true value is within `margin` of the proposed one with 95 % confidence.
    """

    today = _number(
        184.2, "Null: without bound, because the workers cannot keep up.", allow_none=True
    )
    proposed = _number(151.7, allow_none=True)
    change = _number(-32.5, allow_none=True)
    margin = _number(
        12.9, "Half the width of the 95 % interval; null without an interval.", allow_none=True
    )


class PairAnswer(Schema):
    """The two lines of a threshold."""

    promote_at = _whole(50_000)
    demote_at = _whole(40_000)


class CurrentPairAnswer(PairAnswer):
    """The lines of the current version."""

    version = _whole(3)


class BasisAnswer(Schema):
    """The survey behind the figures."""

    taken_at = Moment(metadata={"example": "2026-11-25T13:00:00.000Z"})
    window_seconds = _number(604_800.0, "The time over which posts and reads were counted.")
    accounts = _whole(1_000_000)
    largest = _whole(70_000, "Followers of the largest account.")
    posts_per_day = _number(24_000.0)
    reads_per_day = _number(2_400_000.0)
    viewers_sampled = _whole(10_000)
    materialised_share = _number(0.7, "The share of follows whose follower has a feed in Redis.")
    reading_processes = _whole(2, "Processes that read feeds, counted in the last minutes.")
    working_processes = _whole(2, "Processes that fan out, counted in the last minutes.")
    assumed = fields.List(
        fields.String(validate=validate.OneOf(["posts", "reads"])),
        metadata={
            "description": "Rates that were too low to measure, and are assumed.",
            "example": [],
        },
    )


class CostsAnswer(Schema):
    """The origin of the unit costs."""

    observations = fields.Dict(
        fields.String(),
        fields.Integer(),
        metadata={
            "description": "The pieces of work that they were learnt from, by kind.",
            "example": {"read": 151_000, "merge": 151_000, "link": 420, "micro-batch": 22_000},
        },
    )
    is_default = fields.Boolean(
        metadata={
            "description": "Too little work was counted: some are documented defaults.",
            "example": False,
        }
    )
    calibrated_at = Moment(
        allow_none=True,
        metadata={
            "description": "The calibration whose work is among it.",
            "example": "2026-11-25T12:00:00.000Z",
        },
    )
    machine = fields.String(
        allow_none=True,
        metadata={
            "description": "Where it was calibrated.",
            "example": "2 cores, x86_64, Python 3.11.7",
        },
    )


class UnitCostsAnswer(CostsAnswer):
    """The unit costs in µs, each with the half-width of its 95 % interval."""

    costs = fields.Function(
        lambda found: vars(found.costs),
        metadata={"type": "object", "example": {"push_us": 2.6, "list_us": 12.0}},
    )
    margins = fields.Function(
        lambda found: vars(found.margins),
        metadata={"type": "object", "example": {"push_us": 0.2, "list_us": 1.0}},
    )


class ProcessesAnswer(Schema):
    """The processes that the figures are about."""

    working = _whole(2, "Processes that fan out.")
    reading = _whole(2, "Processes that read feeds.")
    near_cache_bytes = _whole(67_108_864, "The near cache of each process that reads.")


class NamedAccountAnswer(Schema):
    """An account with its followers and its rate of posts."""

    account_id = Id(metadata={"example": "9007199254740993"})
    follower_count = _whole(68_000)
    posts_per_day = _number(1.5)


class SideAnswer(Schema):
    """The accounts that change to one route."""

    accounts = _whole(12)
    deliveries_per_day = _number(91_000.0, "Saved by a change to pull, added by a change to push.")
    largest = fields.List(fields.Nested(NamedAccountAnswer))


class ListsPerReadAnswer(Schema):
    """The number of celebrity lists that a read merges."""

    mean = fields.Nested(FigureAnswer)
    p50 = fields.Nested(FigureAnswer)
    p99 = fields.Nested(FigureAnswer)
    max = fields.Nested(FigureAnswer)


class ProcessorSecondsAnswer(Schema):
    """Processor seconds a day, by cause."""

    push = fields.Nested(FigureAnswer)
    pull = fields.Nested(FigureAnswer)
    base = fields.Nested(
        FigureAnswer,
        metadata={"description": "Uploads and reads: equal under every threshold; without HTTP."},
    )
    total = fields.Nested(FigureAnswer)


class PreviewAnswer(Schema):
    """The effects of a change of the threshold."""

    current = fields.Nested(CurrentPairAnswer)
    proposed = fields.Nested(PairAnswer)
    inputs = fields.Nested(BasisAnswer)
    costs = fields.Nested(CostsAnswer)
    processes = fields.Nested(ProcessesAnswer)
    to_pull = fields.Nested(SideAnswer)
    to_push = fields.Nested(SideAnswer)
    deliveries_per_day = fields.Nested(FigureAnswer)
    lists_per_read = fields.Nested(ListsPerReadAnswer)
    processor_seconds_per_day = fields.Nested(ProcessorSecondsAnswer)
    redis_bytes = fields.Nested(
        FigureAnswer, metadata={"description": "Memory of feeds and celebrity lists."}
    )
    redis_bytes_per_day = fields.Nested(
        FigureAnswer, metadata={"description": "Bytes of entries written into them."}
    )
    seconds_to_last_follower = fields.Nested(
        FigureAnswer, metadata={"description": "Of the largest account that is pushed, on average."}
    )
    words = fields.Function(
        in_words,
        metadata={
            "type": "array",
            "items": {"type": "string"},
            "example": ["12 accounts change to pull.", "Deliveries a day: 409,000, today 500,000."],
        },
    )


class PointAnswer(PairAnswer):
    """The effects of one threshold, in processor seconds a day."""

    push = _number(91.0)
    pull = _number(60.7)
    base = _number(1_500.0)
    total = _number(1_651.7)
    deliveries_per_day = _number(409_000.0)
    lists_per_read_mean = _number(3.1)
    lists_per_read_p99 = _number(17.0)
    seconds_to_last_follower = _number(0.4, allow_none=True)
    redis_bytes = _number(8.1e9)
    fits_near_cache = fields.Boolean(
        metadata={
            "description": "All celebrity lists fit into the near cache of a process.",
            "example": True,
        }
    )
    missed_lists_per_read = _number(0.0, "Lists that a read fetches: the near cache lacks them.")
    accounts_pulled = _whole(12)
    breaks = fields.List(
        fields.String(validate=_LIMIT),
        metadata={"description": "The limits that it breaks.", "example": []},
    )


class SavesAnswer(Schema):
    """The saving of the recommended threshold over today's."""

    processor_seconds_per_day = _number(32.5)
    margin = _number(8.0)


class PerAccountAnswer(Schema):
    """The cost of a rule that decides for each account by its rates, and its saving.

    The saving is over the best threshold. The rule is that of Feeding Frenzy (Silberstein et al.,
    SIGMOD 2010).
    """

    processor_seconds_per_day = _number(1_590.0)
    saves_per_day = _number(61.7)
    saves_share = _number(0.037)


class MisfitAnswer(NamedAccountAnswer):
    """An account that would cost less on the other route."""

    route = fields.String(validate=_ROUTE, metadata={"example": "pull"})
    pin = fields.String(
        validate=_ROUTE, metadata={"description": "The route to pin it to.", "example": "push"}
    )
    saves_per_day = _number(0.8, "Processor seconds.")


class RecommendationAnswer(Schema):
    """The threshold of least cost that respects the limits."""

    current = fields.Nested(CurrentPairAnswer)
    inputs = fields.Nested(BasisAnswer)
    costs = fields.Nested(CostsAnswer)
    processes = fields.Nested(ProcessesAnswer)
    keep = fields.Boolean(
        metadata={
            "description": "Today's threshold stays: another one saves less than the noise.",
            "example": False,
        }
    )
    keeps_limits = fields.Boolean(
        metadata={
            "description": "False: no threshold respects them, this one comes nearest.",
            "example": True,
        }
    )
    recommended = fields.Nested(PointAnswer)
    runner_up = fields.Nested(PointAnswer, allow_none=True)
    today = fields.Nested(PointAnswer)
    binding_limit = fields.String(
        allow_none=True,
        validate=_LIMIT,
        metadata={
            "description": "The limit without which another threshold would win.",
            "example": None,
        },
    )
    saves = fields.Nested(SavesAnswer)
    why = fields.String(
        metadata={"example": "50,000 costs least: it saves 32.5 ± 8 processor seconds a day."}
    )
    lists_fit_from = _whole(
        34, "From this threshold of the curve on all lists fit into the near cache of a process."
    )
    near_cache = fields.String(
        allow_none=True,
        metadata={
            "description": "A sentence if the recommended threshold is below that, or near it.",
            "example": None,
        },
    )
    curve = fields.List(
        fields.Nested(PointAnswer),
        metadata={
            "description": "By promote_at, ascending; under the last one no account is pulled."
        },
    )
    per_account = fields.Nested(PerAccountAnswer)
    large_but_silent = fields.List(fields.Nested(MisfitAnswer))
    small_but_talkative = fields.List(fields.Nested(MisfitAnswer))


class AtLeastAnswer(Schema):
    """The number of accounts that have at least this number of followers."""

    followers = _whole(1_000)
    accounts = _whole(4_100)


class InputsAnswer(Schema):
    """The survey, the unit costs and the follower distribution."""

    inputs = fields.Nested(BasisAnswer)
    costs = fields.Nested(UnitCostsAnswer)
    distribution = fields.List(
        fields.Nested(AtLeastAnswer),
        metadata={"description": "By followers, ascending, on the curve's grid."},
    )
