"""A preview as people read it: a sentence, what it rests on, and each figure beside today's. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from feedsvc.formats import UNKNOWN, counted, duration, number, signed, size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from feedsvc.planning.overview import AtLeast
    from feedsvc.planning.preview import Figure, Preview
    from feedsvc.planning.recommendation import Recommendation

    Spelled = Callable[[float | None], str]

# What changes by less than this share of today's is not worth a word.
_NOTICED = 0.005


@dataclass(frozen=True)
class PreviewRow:
    """One figure, spelled."""

    name: str
    today: str
    proposed: str
    margin: str
    change: str


def rows(preview: Preview) -> list[PreviewRow]:
    """Every figure, most asked for first."""
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
    """Which accounts change side."""
    moved = [
        f"{counted(round(side.accounts), 'account changes', 'accounts change')} to {route}"
        for side, route in ((preview.to_pull, "pull"), (preview.to_push, "push"))
        if side.accounts
    ]
    return f"{' and '.join(moved)}." if moved else "No account changes its route."


def effects(preview: Preview) -> str:
    """What becomes of deliveries, reads and processor time, in shares of today's."""
    told = (
        ("deliveries", preview.deliveries_per_day),
        ("lists merged a read", preview.lists_per_read.mean),
        ("processor time", preview.processor_seconds_per_day.total),
    )
    text = ", ".join(f"{name} {_share(figure)}" for name, figure in told)
    return f"{text[0].upper()}{text[1:]}."


def doubts(preview: Preview) -> Iterator[str]:
    """What the figures do not rest on yet."""
    if preview.inputs.assumed:
        yield f"Too few {' and '.join(preview.inputs.assumed)} were counted so far: those rates are assumed."
    if preview.costs.is_default:
        yield "Unit costs are documented defaults: python -m feedsvc threshold calibrate measures this system's, in a minute."


def _row(name: str, figure: Figure, spell: Spelled, unbounded: str = UNKNOWN) -> PreviewRow:
    today, proposed = (
        unbounded if value is None else spell(value) for value in (figure.today, figure.proposed)
    )
    margin = f"± {spell(figure.margin)}" if figure.margin else ""
    return PreviewRow(
        name,
        today,
        proposed,
        margin,
        UNKNOWN if figure.change is None else signed(figure.change, spell),
    )


def _share(figure: Figure) -> str:
    if figure.change is None or figure.today is None or figure.proposed is None:
        return "without bound"
    if figure.change and not figure.today:
        return f"{number(figure.proposed)} instead of none"
    share = figure.change / figure.today if figure.today else 0.0
    return "as today" if abs(share) < _NOTICED else f"{signed(round(share * 100))} %"


def charts(distribution: Sequence[AtLeast], advice: Recommendation) -> dict[str, Any]:
    """Columns for the charts: accounts by followers, and the processor seconds a day that a threshold decides; what comes beside them."""
    curve = advice.curve
    decided = [point.push + point.pull for point in curve]
    return {
        "distribution": {
            "followers": [at.followers for at in distribution],
            "accounts": [at.accounts for at in distribution],
        },
        "curve": {
            name: [getattr(point, name) for point in curve]
            for name in ("promote_at", "push", "pull")
        }
        | {"total": decided},
        "beside": duration(advice.today.base),
        "today": advice.today.promote_at,
        "recommended": advice.recommended.promote_at,
        "keep": advice.keep,
        "why": advice.why,
    }
