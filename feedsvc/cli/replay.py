"""`threshold simulate`: what posts and reads would meet under other thresholds, before any change."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from feedsvc.cli.output import json_option, opened, show
from feedsvc.cli.replay_events import Events, Wanted, bar, events
from feedsvc.cli.replay_table import table
from feedsvc.fanout import done, lanes
from feedsvc.fanout.queues import LARGE
from feedsvc.formats import MAX_ID
from feedsvc.planning import calibrated as calibration_store
from feedsvc.planning.replay import loading as crowds
from feedsvc.planning.replay import routes
from feedsvc.planning.replay.deployment import Deployment
from feedsvc.planning.replay.generated import READS_A_POST, Rates
from feedsvc.planning.replay.recorded import RecordingMalformed, RecordingUnreadable
from feedsvc.planning.replay.simulation import simulate
from feedsvc.routing import next_route

if TYPE_CHECKING:
    from feedsvc.planning.costs import UnitCosts
    from feedsvc.planning.replay.follow_graph import FollowGraph
    from feedsvc.routing.policy import Thresholds
    from feedsvc.settings import Settings
    from feedsvc.store import Stores

_EVENTS = 1_000_000
_DAY_SECONDS = 86_400
# A post that is done leaves its author's list at the next sweep: half a second later, on average.
_KEPT_SECONDS = done.TAKE_OFF_AFTER.total_seconds() + 0.5
_rate = click.FloatRange(0, 1e6, min_open=True)


@click.command(name="simulate")
@click.option(
    "--promote-at",
    multiple=True,
    type=click.IntRange(1, MAX_ID),
    help="A threshold to compare with today's; repeatable.",
)
@click.option(
    "--recorded",
    type=click.Path(path_type=Path),
    help="Replay a file of lines `seconds post|read account`, .gz too.",
)
@click.option(
    "--days",
    type=click.IntRange(1, 365),
    help="Replay the posts of the last days, as the database has them.",
)
@click.option(
    "--events",
    "count",
    type=click.IntRange(1, 10**9),
    help=f"How many events to generate.  [default: {_EVENTS}]",
)
@click.option("--posts-per-second", type=_rate, help="Generated posts.  [default: 1]")
@click.option(
    "--reads-per-second",
    type=_rate,
    help=f"Generated reads.  [default: {READS_A_POST:g} for each post]",
)
@click.option(
    "--workers", type=click.IntRange(1, 10_000), help="Fan-out workers.  [default: as calibrated]"
)
@click.option(
    "--seed", default=1, show_default=True, type=int, help="The same seed draws the same events."
)
@json_option
def simulate_command(
    promote_at: tuple[int, ...], workers: int | None, as_json: bool, **wanted: Any
) -> None:
    """Replay posts and reads against today's threshold and others, and compare delivery lag, reads and processor time."""
    asked = _wanted(**wanted)
    with opened() as services:
        stores = services.stores
        crowd = _crowd(stores)
        try:
            found = events(stores, crowd, asked)
        except (RecordingMalformed, RecordingUnreadable) as error:
            raise click.BadParameter(error.detail, param_hint="--recorded") from None
        calibrated = calibration_store.calibrated(stores)
        plant = deployment_of(stores.limits, workers or calibrated.workers, calibrated.costs)
        rows = _compare(stores, crowd, found, plant, promote_at)
    about = {**found.about, "workers": plant.workers, "costs_are_default": calibrated.is_default}
    show({**about, "thresholds": rows}, as_json, lambda: table(about, rows))


def _wanted(
    recorded: Path | None,
    days: int | None,
    count: int | None,
    posts_per_second: float | None,
    reads_per_second: float | None,
    seed: int,
) -> Wanted:
    """What was asked for; misuse if it contradicts itself."""
    sources = [recorded, days, count or posts_per_second or reads_per_second]
    if sum(source is not None for source in sources) > 1:
        raise click.UsageError("Give one of --recorded, --days, or what is to be generated.")
    posts = posts_per_second or 1.0
    rates = Rates(posts, reads_per_second or posts * READS_A_POST)
    return Wanted(recorded, days * _DAY_SECONDS if days else None, count or _EVENTS, rates, seed)


def _crowd(stores: Stores) -> FollowGraph:
    with bar(" follows", "graph") as shown:

        def progress(done: int, of: int) -> None:
            shown.total = of
            shown.update(done - shown.n)

        return crowds.load(stores, progress)


def deployment_of(limits: Settings, workers: int, costs: UnitCosts) -> Deployment:
    """The service as it is set up, with so many workers."""
    return Deployment(
        workers=workers,
        batch=limits.fanout_batch,
        slice=limits.fanout_slice,
        large=LARGE,
        lanes=lambda followers: lanes.count(followers, limits.fanout_batch),
        kept_seconds=_KEPT_SECONDS,
        cap=limits.feed_cap,
        costs=costs,
    )


def _compare(
    stores: Stores,
    crowd: FollowGraph,
    found: Events,
    plant: Deployment,
    promote_at: tuple[int, ...],
) -> list[dict[str, Any]]:
    """An answer for each threshold, ascending, today's among them."""
    with stores.sql.reading() as connection:
        latest, settled = next_route.latest_and_settled(stores, connection)
        pinned = next_route.pinned_routes(connection)
    others = {
        each: routes.lines_at(each, latest) for each in promote_at if each != latest.promote_at
    }
    pairs = sorted(
        [(latest, settled), *((lines, lines) for lines in others.values())],
        key=lambda pair: pair[0].promote_at,
    )
    rows = []
    with bar(" events", "replay", len(pairs) * len(found.workload)) as shown:
        for lines, rest in pairs:
            outcome = simulate(
                crowd,
                found.workload,
                routes.pulled(crowd, lines, rest, pinned),
                plant,
                shown.update,
            )
            rows.append({**_about(lines, is_today=lines is latest), **asdict(outcome)})
    return rows


def _about(lines: Thresholds, *, is_today: bool) -> dict[str, Any]:
    return {"promote_at": lines.promote_at, "demote_at": lines.demote_at, "is_today": is_today}
