"""What a change of the threshold must not do, by the limits that operators have set. Pure: nothing here touches a store.

No limit applies until it is set. A change that breaks one is refused unless it is forced; a rollback is never judged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from feedsvc.routing.guardrails import Guardrails


@dataclass(frozen=True)
class Expected:
    """What the cost model expects under one threshold: to the last follower (infinite: never), lists merged a read, bytes of Redis."""

    delivery_seconds: float
    lists_per_read: float
    memory_bytes: float


@dataclass(frozen=True)
class Forecast:
    """What the cost model expects of a change. `moved_percent`: deliveries a day added and saved, of today's."""

    moved_percent: float
    today: Expected
    then: Expected


@dataclass(frozen=True)
class Broken:
    """A limit that a change would break. `value` is None where the cost model has no figures, or sees no end."""

    guardrail: str
    limit: float
    value: float | None
    detail: str


def broken(
    guardrails: Guardrails, promote_at: int, demote_at: int, forecast: Forecast | None
) -> list[Broken]:
    """The limits that a change to these two lines would break, in the order of `Guardrails`."""
    return [
        *_bounds(guardrails, promote_at, demote_at),
        *_hysteresis(guardrails, promote_at, demote_at),
        *_expected(guardrails, forecast),
    ]


def _bounds(guardrails: Guardrails, promote_at: int, demote_at: int) -> Iterator[Broken]:
    for line, value in (("promote_at", promote_at), ("demote_at", demote_at)):
        least, most = getattr(guardrails, f"min_{line}"), getattr(guardrails, f"max_{line}")
        if least is not None and value < least:
            yield Broken(
                f"min_{line}", least, value, f"{line} {value} is below its bound of {least}"
            )
        if most is not None and value > most:
            yield Broken(f"max_{line}", most, value, f"{line} {value} is above its bound of {most}")


def _hysteresis(guardrails: Guardrails, promote_at: int, demote_at: int) -> Iterator[Broken]:
    most = guardrails.max_demote_percent
    if most is not None and demote_at * 100 > most * promote_at:
        percent = demote_at * 100 / promote_at
        yield Broken(
            "max_demote_percent",
            most,
            percent,
            f"demote_at is {percent:.6g} % of promote_at, the limit is {most} %",
        )


# limit, the figure of the cost model that it is on, and its words
_EXPECTED = (
    ("max_delivery_seconds", "delivery_seconds", "seconds to the last follower"),
    ("max_lists_per_read", "lists_per_read", "lists merged a read"),
    ("max_memory_bytes", "memory_bytes", "bytes of memory"),
)


def _expected(guardrails: Guardrails, forecast: Forecast | None) -> Iterator[Broken]:
    most, moved = guardrails.max_moved_percent, forecast.moved_percent if forecast else None
    if most is not None and (moved is None or moved > most):
        yield _judged("max_moved_percent", most, moved, "% of a day's deliveries moved")
    for guardrail, figure, words in _EXPECTED:
        limit = getattr(guardrails, guardrail)
        if limit is None:
            continue
        then = None if forecast is None else getattr(forecast.then, figure)
        # What is above its limit today may still be improved.
        if then is None or then > max(limit, getattr(forecast.today, figure)):  # type: ignore[union-attr]
            yield _judged(guardrail, limit, then, words)


def _judged(guardrail: str, limit: float, value: float | None, words: str) -> Broken:
    if value is None:
        return Broken(
            guardrail,
            limit,
            None,
            f"{words}: at most {limit:.6g}, and the cost model has no figures yet to judge by",
        )
    if value == math.inf:
        return Broken(guardrail, limit, None, f"{words} without end, the limit is {limit:.6g}")
    return Broken(guardrail, limit, value, f"{value:.6g} {words}, the limit is {limit:.6g}")
