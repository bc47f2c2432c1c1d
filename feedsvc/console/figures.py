"""Write a preview for people: as sentences, a table and charts. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from feedsvc.formats import UNKNOWN, counted, duration, number, signed, size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from feedsvc.planning.inputs import AtLeast
    from feedsvc.planning.preview import Figure, Preview
    from feedsvc.planning.recommendation import Recommendation

    Write = Callable[[float | None], str]

# A change by a smaller share of today's value is written as "as today".
_NOTICEABLE = 0.005


@dataclass(frozen=True)
class PreviewRow:
    """One figure of a preview, written for people."""

    name: str
    today: str
    proposed: str
    margin: str
    change: str


def rows(preview: Preview) -> list[PreviewRow]:
    """Return the rows of the table, the most asked for first."""
    seconds, lists = preview.processor_seconds_per_day, preview.lists_per_read
    return [
        _row("Deliveries a day", preview.deliveries_per_day, number),
        _row(
            "Upload to last follower",
            preview.seconds_to_last_follower,
            duration,
            unbounded="the workers cannot keep up",
        ),
        _row("Lists merged a read, mean", lists.mean, number),
        _row("… median", lists.p50, number),
        _row("… 99th percentile", lists.p99, number),
        _row("… largest", lists.max, number),
        _row("Processor time a day, pushing", seconds.push, duration),
        _row("… pulling", seconds.pull, duration),
        _row("… all together", seconds.total, duration),
        _row("Redis memory", preview.redis_bytes, size),
    ]


def sides(preview: Preview) -> str:
    """Return a sentence with the number of accounts that change to pull and to push."""
    moved = [
        f"{counted(round(side.accounts), 'account changes', 'accounts change')} to {route}"
        for side, route in ((preview.to_pull, "pull"), (preview.to_push, "push"))
        if side.accounts
    ]
    return f"{' and '.join(moved)}." if moved else "No account changes its route."


def effects(preview: Preview) -> str:
    """Return a sentence with the changes of deliveries, reads and processor time, in per cent."""
    changes = (
        f"Deliveries {_share(preview.deliveries_per_day)}",
        f"lists merged a read {_share(preview.lists_per_read.mean)}",
        f"processor time {_share(preview.processor_seconds_per_day.total)}",
    )
    return f"{', '.join(changes)}."


def doubts(preview: Preview) -> Iterator[str]:
    """Yield a sentence for each input that is assumed, not measured."""
    if preview.inputs.assumed:
        assumed = " and ".join(preview.inputs.assumed)
        yield f"Too few {assumed} were counted so far: those rates are assumed."
    if preview.costs.is_default:
        yield (
            "Too few reads and fan-outs were counted so far: some unit costs are documented "
            "defaults. Run feedsvc threshold calibrate to learn them on this machine."
        )


def charts(distribution: Sequence[AtLeast], advice: Recommendation) -> dict[str, Any]:
    """Return the columns of both charts, and their texts.

    The curve holds the processor seconds a day that the threshold decides: pushing and pulling.
    """
    curve = advice.curve
    return {
        "distribution": {
            "followers": [at.followers for at in distribution],
            "accounts": [at.accounts for at in distribution],
        },
        "curve": {
            "promote_at": [point.promote_at for point in curve],
            "push": [point.push for point in curve],
            "pull": [point.pull for point in curve],
            "total": [point.push + point.pull for point in curve],
        },
        "beside": duration(advice.today.base),
        "today": advice.today.promote_at,
        "recommended": advice.recommended.promote_at,
        "keep": advice.keep,
        "why": " ".join(filter(None, (advice.why, advice.near_cache))),
        "fits_from": advice.lists_fit_from,
    }


def _row(name: str, figure: Figure, write: Write, unbounded: str = UNKNOWN) -> PreviewRow:
    today, proposed = (
        unbounded if value is None else write(value) for value in (figure.today, figure.proposed)
    )
    margin = f"± {write(figure.margin)}" if figure.margin else ""
    change = UNKNOWN if figure.change is None else signed(figure.change, write)
    return PreviewRow(name, today, proposed, margin, change)


def _share(figure: Figure) -> str:
    if figure.change is None or figure.today is None or figure.proposed is None:
        return "without bound"
    if figure.change and not figure.today:
        return f"{number(figure.proposed)} instead of none"
    share = figure.change / figure.today if figure.today else 0.0
    return "as today" if abs(share) < _NOTICEABLE else f"{signed(round(share * 100))} %"
