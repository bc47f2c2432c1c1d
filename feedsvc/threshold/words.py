"""The numbers of a preview in sentences, for people who decide. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from feedsvc.threshold.advice import Choice, Limits
    from feedsvc.threshold.model import Prediction
    from feedsvc.threshold.preview import Figure, Preview

_BYTES = ("B", "kB", "MB", "GB", "TB")


def in_words(preview: Preview) -> list[str]:
    """What would change, most visible first."""
    seconds = preview.processor_seconds_per_day
    lists = preview.lists_per_read
    push, pull, total = (_beside(part, amount) for part in (seconds.push, seconds.pull, seconds.total))
    lines = [
        _sides(preview),
        f"Deliveries a day: {_beside(preview.deliveries_per_day, count)}.",
        f"Lists merged per read, on average: {_beside(lists.mean, amount)}; at p99: {_beside(lists.p99, amount)}.",
        f"Processor seconds a day: {total} (push {push}; pull {pull}).",
        f"Redis memory for feeds and lists: {_beside(preview.redis_bytes, size)}.",
        f"Upload to last follower: {_beside(preview.seconds_to_last_follower, duration)}.",
    ]
    if preview.inputs.assumed:
        lines.append(f"Too few {' and '.join(preview.inputs.assumed)} were counted yet: those figures rest on assumptions.")
    if preview.costs.is_default:
        lines.append("Unit costs are documented defaults: threshold calibrate measures this system's.")
    return lines


def why_keep(choice: Choice, today: Prediction) -> str:
    """Why today's threshold stays."""
    if choice.best is today or choice.best.lines == today.lines or choice.saves.value <= 0:
        return f"No other threshold costs less than today's {count(today.lines.promote_at)}."
    saves, margin = amount(choice.saves.value), amount(choice.saves.margin)
    best = count(choice.best.lines.promote_at)
    return f"Keep today's: {best} would save {saves} ± {margin} processor seconds a day, which is within the noise."


def why_move(choice: Choice, today: Prediction, limits: Limits) -> str:
    """Why another threshold is better than today's."""
    best = count(choice.best.lines.promote_at)
    if not choice.keeps_limits:
        return f"No threshold keeps the limits; {best} comes nearest to keeping {choice.binding}."
    reasons = []
    broken = limits.broken_by(today)
    if broken:
        reasons.append(f"today's {count(today.lines.promote_at)} breaks {' and '.join(broken)}")
    if choice.saves.value > 0:
        reasons.append(f"it saves {amount(choice.saves.value)} ± {amount(choice.saves.margin)} processor seconds a day")
    else:
        reasons.append(f"it costs {amount(-choice.saves.value)} processor seconds a day more")
    least = f"{best} costs least of the thresholds that keep the limits" if choice.binding else f"{best} costs least"
    bound = f" A cheaper one would break {choice.binding}." if choice.binding else ""
    return f"{least}: {', and '.join(reasons)}.{bound}"


def count(value: float) -> str:
    """A whole number."""
    return f"{value:,.0f}"


def amount(value: float) -> str:
    """A number to three digits or to the unit."""
    return count(value) if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004 -- three digits


def size(value: float) -> str:
    """An amount of memory."""
    power = 0
    while abs(value) >= 1000 and power < len(_BYTES) - 1:  # noqa: PLR2004 -- kilo
        value /= 1000
        power += 1
    return f"{value:.3g} {_BYTES[power]}"


def duration(value: float) -> str:
    """A time."""
    return f"{amount(value)} s" if value >= 1 else f"{value * 1000:.3g} ms"


def _sides(preview: Preview) -> str:
    moved = [
        f"{count(side.accounts)} {'account changes' if side.accounts == 1 else 'accounts change'} to {route}"
        for side, route in ((preview.to_pull, "pull"), (preview.to_push, "push"))
        if side.accounts
    ]
    return f"{' and '.join(moved)}." if moved else "No account changes its route."


def _beside(figure: Figure, written: Callable[[float], str]) -> str:
    today, proposed = (written(value) if value is not None else "without end" for value in (figure.today, figure.proposed))
    margin = f" ± {written(figure.margin)}" if figure.margin else ""
    return f"{proposed}{margin}, today {today}"
