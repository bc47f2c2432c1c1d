"""The numbers of a preview in sentences, for people who decide. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feedsvc.formats import amount, seconds_or_ms, size, whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from feedsvc.planning.preview import Figure, Preview


def in_words(preview: Preview) -> list[str]:
    """What would change, most visible first."""
    seconds = preview.processor_seconds_per_day
    lists = preview.lists_per_read
    push, pull, total = (
        _beside(part, amount) for part in (seconds.push, seconds.pull, seconds.total)
    )
    lines = [
        _sides(preview),
        f"Deliveries a day: {_beside(preview.deliveries_per_day, whole)}.",
        f"Lists merged per read, on average: {_beside(lists.mean, amount)}; at p99: {_beside(lists.p99, amount)}.",
        f"Processor seconds a day: {total} (push {push}; pull {pull}).",
        f"Redis memory for feeds and lists: {_beside(preview.redis_bytes, size)}.",
        f"Upload to last follower: {_beside(preview.seconds_to_last_follower, seconds_or_ms)}.",
    ]
    if preview.inputs.assumed:
        lines.append(
            f"Too few {' and '.join(preview.inputs.assumed)} were counted yet: those figures rest on assumptions."
        )
    if preview.costs.is_default:
        lines.append(
            "Unit costs are documented defaults: threshold calibrate measures this system's."
        )
    return lines


def _sides(preview: Preview) -> str:
    moved = [
        f"{whole(side.accounts)} {'account changes' if side.accounts == 1 else 'accounts change'} to {route}"
        for side, route in ((preview.to_pull, "pull"), (preview.to_push, "push"))
        if side.accounts
    ]
    return f"{' and '.join(moved)}." if moved else "No account changes its route."


def _beside(figure: Figure, written: Callable[[float], str]) -> str:
    today, proposed = (
        written(value) if value is not None else "without end"
        for value in (figure.today, figure.proposed)
    )
    margin = f" ± {written(figure.margin)}" if figure.margin else ""
    return f"{proposed}{margin}, today {today}"
