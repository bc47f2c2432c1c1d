"""`threshold simulate`: replay posts and reads against other thresholds, before any change."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from tqdm import tqdm

from feedsvc.cli.output import json_option, opened, show
from feedsvc.formats import MAX_ID, amount, seconds_or_ms, whole
from feedsvc.planning import unit_costs
from feedsvc.planning.replay import follow_graph, observed
from feedsvc.planning.replay.simulation import pulled_accounts, simulate, thresholds_at
from feedsvc.planning.replay.workload import READS_PER_POST, Rates, generate
from feedsvc.planning.replay.write_path import Deployment, deployment_of
from feedsvc.routing import next_route
from feedsvc.store.redis import usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from feedsvc.planning.replay.follow_graph import FollowGraph
    from feedsvc.planning.replay.workload import Workload
    from feedsvc.store import Stores

_EVENTS = 1_000_000
_DAY_SECONDS = 86_400
_POINTS = ("p50", "p90", "p99", "max")
_LABEL_WIDTH = 34
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
    "recording",
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
    type=click.IntRange(1, 10**9),
    help=f"How many events to generate.  [default: {_EVENTS}]",
)
@click.option("--posts-per-second", type=_rate, help="Generated posts.  [default: 1]")
@click.option(
    "--reads-per-second",
    type=_rate,
    help=f"Generated reads.  [default: {READS_PER_POST:g} for each post]",
)
@click.option(
    "--workers", type=click.IntRange(1, 10_000), help="Fan-out workers.  [default: those that run]"
)
@click.option(
    "--processes", type=click.IntRange(1, 10_000), help="Web processes.  [default: those that run]"
)
@click.option(
    "--seed", default=1, show_default=True, type=int, help="The same seed draws the same events."
)
@json_option
def simulate_command(
    promote_at: tuple[int, ...],
    recording: Path | None,
    days: int | None,
    events: int | None,
    posts_per_second: float | None,
    reads_per_second: float | None,
    workers: int | None,
    processes: int | None,
    seed: int,
    as_json: bool,
) -> None:
    """Replay posts and reads against today's threshold and others.

    Compares delivery lag, reads and processor time.
    """
    sources = [recording, days, events or posts_per_second or reads_per_second]
    if sum(source is not None for source in sources) > 1:
        raise click.UsageError(
            "Give only one of --recorded, --days, and the options of generated events "
            "(--events, --posts-per-second, --reads-per-second)."
        )
    posts = posts_per_second or 1.0
    rates = Rates(posts, reads_per_second or posts * READS_PER_POST)
    with opened() as services:
        stores = services.stores
        with _bar(" follows", "graph") as bar:
            graph = follow_graph.load(stores, partial(_progress, bar))
        if recording is not None:
            workload, about = _recorded(recording, graph)
        elif days is not None:
            workload, about = _recent(stores, graph, days, seed)
        else:
            with _bar(" events", "events", events or _EVENTS) as bar:
                workload = generate(graph, events or _EVENTS, rates, seed, bar.update)
            about = {"source": "generated", "seed": seed}
        costs = unit_costs.learnt(stores, unit_costs.counted(stores))
        running = usage.processes(stores.redis)
        deployment = deployment_of(
            stores.limits, workers or running.working, processes or running.reading, costs.costs
        )
        rows = _compare(stores, graph, workload, deployment, promote_at)
    about = {
        "accounts": len(graph),
        "seconds": workload.end_seconds - workload.start_seconds,
        **about,
        "workers": deployment.workers,
        "processes": deployment.readers,
        "costs_are_default": costs.is_default,
    }
    show({**about, "thresholds": rows}, as_json, lambda: _table(about, rows))


def _recorded(path: Path, graph: FollowGraph) -> tuple[Workload, dict[str, Any]]:
    size = path.stat().st_size if path.is_file() else None
    with _bar("B", "events", size) as bar:
        try:
            recording = observed.read_recording(path, graph, lambda at: bar.update(at - bar.n))
        except observed.BadRecording as error:
            raise click.BadParameter(str(error), param_hint="--recorded") from None
    return recording.workload, {"source": "recorded", "of_unknown_accounts": recording.unknown}


def _recent(
    stores: Stores, graph: FollowGraph, days: int, seed: int
) -> tuple[Workload, dict[str, Any]]:
    with _bar(" reads", "events") as bar:
        recent = observed.recent_days(
            stores, graph, days * _DAY_SECONDS, seed, partial(_progress, bar)
        )
    assumed = {"reads_are_assumed": recent.reads_are_assumed}
    return recent.workload, {"source": "database", "seed": seed, **assumed}


def _compare(
    stores: Stores,
    graph: FollowGraph,
    workload: Workload,
    deployment: Deployment,
    promote_at: tuple[int, ...],
) -> list[dict[str, Any]]:
    """Return the result for each threshold in ascending order, today's among them."""
    with stores.sql.reading() as connection:
        latest, settled = next_route.latest_and_settled(stores, connection)
        pinned = next_route.pinned_routes(connection)
    pairs = {latest.promote_at: (latest, settled)}
    for at in promote_at:
        other = thresholds_at(at, latest)
        pairs.setdefault(at, (other, other))
    rows = []
    with _bar(" events", "replay", len(pairs) * len(workload)) as bar:
        for at, pair in sorted(pairs.items()):
            pulled = pulled_accounts(graph, *pair, pinned)
            result = simulate(graph, workload, pulled, deployment, bar.update)
            rows.append(
                {
                    "promote_at": at,
                    "demote_at": pair[0].demote_at,
                    "is_today": pair[0] is latest,
                    **asdict(result),
                }
            )
    return rows


def _bar(unit: str, what: str, total: int | None = None) -> tqdm[Any]:
    """Return a progress bar, which shows on a terminal only."""
    return tqdm(total=total, unit=unit, unit_scale=True, desc=what, disable=None, leave=False)


def _progress(bar: tqdm[Any], more: int, total: int) -> None:
    bar.total = total
    bar.update(more)


def _table(about: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    """Return a summary of the events, then a line for each figure.

    Each threshold has a column, and today's is marked. `rows` has a `ReplayResult` as
    a dictionary for each threshold, with the threshold.
    """
    cells = [
        [label, *(write(row) for row in rows)]
        for label, write in [("promote_at", _heading), *_figures()]
    ]
    width = max(len(cell) for line in cells for cell in line[1:]) + 2
    return [
        *_summary(about, rows[0]),
        "",
        *(
            label.ljust(_LABEL_WIDTH) + "".join(cell.rjust(width) for cell in line)
            for label, *line in cells
        ),
    ]


def _summary(about: dict[str, Any], first: dict[str, Any]) -> Iterator[str]:
    events = f"{first['posts']:,} posts and {first['reads']:,} reads ({about['source']})"
    where = f"{about['accounts']:,} accounts in {about['seconds']:,.0f} s"
    processes = f"{about['workers']} workers, {about['processes']} web processes"
    yield f"{events} of {where}, {processes}"
    if about.get("of_unknown_accounts"):
        left_out = f"{about['of_unknown_accounts']:,}"
        yield f"events left out, because their accounts are not in the database: {left_out}"
    if about.get("reads_are_assumed"):
        yield (
            "too few reads have been counted yet: "
            "a hundred for each post are assumed, by 70 % of the accounts"
        )
    if about["costs_are_default"]:
        yield (
            "some unit costs are defaults, because too few reads and fan-outs were counted; "
            "run threshold calibrate"
        )


def _heading(row: dict[str, Any]) -> str:
    return f"{row['promote_at']:,}{' (today)' if row['is_today'] else ''}"


def _figures() -> Iterator[tuple[str, Callable[[dict[str, Any]], str]]]:
    """Yield the label of each line, and the function that writes its value of a row."""
    yield "accounts pulled", lambda row: f"{row['pulled_accounts']:,} ({row['pulled_share']:.3%})"
    yield "posts pushed", lambda row: whole(row["pushed_posts"])
    yield "deliveries", lambda row: whole(row["deliveries"])
    yield from _distribution("time to last follower", "seconds_to_last_follower", seconds_or_ms)
    yield from _distribution("a task waits for a worker", "wait_seconds", seconds_or_ms)
    yield "workers busy", lambda row: f"{row['workers_busy']:.2%}"
    yield "fan-outs unfinished at the end", lambda row: whole(row["unfinished"])
    yield from _distribution("lists merged per read", "lists_per_read", amount)
    yield from _distribution("processor time of a read", "read_seconds", seconds_or_ms)
    for part in ("push", "pull", "base", "total"):
        yield f"processor seconds: {part}", _cell("processor_seconds", part, amount)


def _distribution(
    label: str, name: str, write: Callable[[float], str]
) -> Iterator[tuple[str, Callable[[dict[str, Any]], str]]]:
    yield f"{label}: mean", _cell(name, "mean", write)
    for point in _POINTS:
        yield f"  {point}", _cell(name, point, write)


def _cell(name: str, part: str, write: Callable[[float], str]) -> Callable[[dict[str, Any]], str]:
    return lambda row: write(row[name][part])
