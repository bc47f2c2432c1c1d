"""The events of a replay, from wherever they were asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from feedsvc.planning.replay import generated, recorded
from feedsvc.planning.replay.recent_days import lately

if TYPE_CHECKING:
    from pathlib import Path

    from feedsvc.planning.replay.follow_graph import FollowGraph
    from feedsvc.planning.replay.generated import Rates
    from feedsvc.planning.replay.workload import Workload
    from feedsvc.store import Stores


@dataclass(frozen=True)
class Wanted:
    """Which events: of a file, of the last so many seconds, or so many generated at these rates."""

    recorded: Path | None
    last_seconds: float | None
    count: int
    rates: Rates
    seed: int


@dataclass(frozen=True)
class Events:
    """The events, and what is to be said about them."""

    workload: Workload
    about: dict[str, Any]


def events(stores: Stores, crowd: FollowGraph, wanted: Wanted) -> Events:
    """What was asked for, with a progress bar. Raises what `recorded.read` raises."""
    if wanted.recorded is not None:
        workload, about = _recorded(wanted.recorded, crowd)
    elif wanted.last_seconds is not None:
        workload, about = _lately(stores, crowd, wanted.last_seconds, wanted.seed)
    else:
        workload, about = _generated(crowd, wanted)
    seconds = workload.end_seconds - workload.start_seconds
    return Events(workload, {"accounts": len(crowd), "seconds": seconds, **about})


def bar(unit: str, what: str, total: int | None = None) -> tqdm[Any]:
    """A progress bar, on a terminal."""
    return tqdm(total=total, unit=unit, unit_scale=True, desc=what, disable=None, leave=False)


def _recorded(path: Path, crowd: FollowGraph) -> tuple[Workload, dict[str, Any]]:
    with bar("B", "events", path.stat().st_size if path.is_file() else None) as shown:
        recording = recorded.read(path, crowd, lambda position: shown.update(position - shown.n))
    return recording.workload, {"source": "recorded", "of_unknown_accounts": recording.unknown}


def _lately(
    stores: Stores, crowd: FollowGraph, seconds: float, seed: int
) -> tuple[Workload, dict[str, Any]]:
    with bar(" reads", "events") as shown:

        def progress(done: int, of: int) -> None:
            shown.total = of
            shown.update(done - shown.n)

        found = lately(stores, crowd, seconds, seed, progress)
    return found.workload, {
        "source": "database",
        "seed": seed,
        "reads_are_assumed": found.reads_are_assumed,
    }


def _generated(crowd: FollowGraph, wanted: Wanted) -> tuple[Workload, dict[str, Any]]:
    with bar(" events", "events", wanted.count) as shown:
        workload = generated.generate(crowd, wanted.count, wanted.rates, wanted.seed, shown.update)
    return workload, {"source": "generated", "seed": wanted.seed}
