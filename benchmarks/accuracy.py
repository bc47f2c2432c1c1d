"""Is the cost model right? The mix W1 at a sweep of thresholds, measured, beside what the model says of the same posts and reads.

Two graphs: G2, who retweeted whom on Twitter (its file is named by FEEDSVC_HIGGS_GRAPH), and G4, generated. Unit costs are calibrated in
each round; inputs are gathered from the same system; the threshold that is recommended is one of those that are run.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from benchmarks import compared, history, sweep, verdicts, w1
from benchmarks.compared import PULL, PUSH, Found, Round
from benchmarks.service import WORKERS, opened, running
from benchmarks.speed import Speed
from benchmarks.state import State
from feedsvc.feed import reader
from feedsvc.graph import generate, importer
from feedsvc.planning import recommendation
from feedsvc.planning.calibration.calibrate import calibrate
from feedsvc.planning.survey import stored, survey

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.options import Options
    from benchmarks.service import Bench, Pool
    from benchmarks.w1 import Operation
    from feedsvc.planning.costs import UnitCosts
    from feedsvc.planning.survey.aggregates import Survey
    from feedsvc.store import Stores

_SEED = 1
_CAP = 100
_ACTIVE_SHARE = 0.7
_ACCOUNTS = 1_000_000
_POSTS_AN_ACCOUNT = 0.1
_OPERATIONS = 18_560  # 160 posts and 16,000 reads, about
_LOWEST, _THRESHOLDS = 10, 5
# How often the machine's speed is looked at after each round of a calibration. Before each time so many pages are read: done at once again,
# the piece of work takes a fourteenth less than between pages, where the sweep does it.
_SAMPLES, _PAGES = 20, 50
_HIGGS = Path(os.environ.get("FEEDSVC_HIGGS_GRAPH", "../shared/data/higgs-retweets.txt.gz"))


def measure(options: Options) -> dict[str, Any]:
    """Measured and predicted, for both graphs; below a scale of 1 for the generated one only, unless the other's file is there."""
    graphs: dict[str, Callable[[Stores, Options], object]] = {"G2": _higgs, "G4": _generated}
    if not _HIGGS.exists():
        if options.scale == 1:
            sys.exit(
                f"error: {_HIGGS} is not there: name the Higgs retweet graph's file in FEEDSVC_HIGGS_GRAPH"
            )
        del graphs["G2"]
    found = {name: _swept(name, load, options) for name, load in graphs.items()}
    return verdicts.result(found) | {
        "graph": "; ".join(
            f"{name}: {each.inputs.accounts:,} accounts, the largest with {each.inputs.largest:,} followers"
            for name, each in found.items()
        ),
        "settings": {
            "operations a run": options.scaled(_OPERATIONS, 200),
            "cap": _CAP,
            "workers": WORKERS,
            "database": "sqlite",
        },
    }


def _higgs(stores: Stores, _: Options) -> None:
    importer.import_graph(stores, _HIGGS, skip_malformed=False)


def _generated(stores: Stores, options: Options) -> None:
    generate.load(stores, options.scaled(_ACCOUNTS, 2_000), _SEED)


def _swept(name: str, load: Callable[[Stores, Options], object], options: Options) -> Found:
    """All rounds on one graph."""
    with opened(feed_cap=_CAP) as bench:
        load(bench.stores, options)
        sizes = history.follower_counts(bench.stores)
        state = State(
            bench,
            sizes,
            history.make_posts(bench.stores, sizes, round(len(sizes) * _POSTS_AN_ACCOUNT), _SEED),
        )
        source = random.Random(
            f"W1 {_SEED}"
        )  # the graph's own seed would draw accounts in the order in which it dealt out activity
        active = source.sample(sorted(sizes), round(len(sizes) * _ACTIVE_SHARE))
        state.materialise(active)
        count = options.scaled(_OPERATIONS, 200)
        rounds = [w1.draw(sizes, active, count, source) for _ in range(options.rounds)]
        with running(
            bench,
            [
                ["feedsvc.supervise.celery_process", "worker", f"bench-{number}"]
                for number in range(WORKERS)
            ],
        ) as workers:
            return _rounds(name, state, workers, rounds)


def _rounds(name: str, state: State, workers: Pool, rounds: Sequence[Sequence[Operation]]) -> Found:
    """The sweep in every round; the threshold that is recommended after the first is run with the others."""
    bench, thresholds, done = state.bench, _thresholds(max(state.sizes.values())), list[Round]()
    recommended, speed = 0, Speed()
    bar = tqdm(
        total=len(rounds) * (len(thresholds) + 1),
        desc=name,
        unit=" runs",
        leave=False,
        disable=None,
    )
    for number, operations in enumerate(rounds):
        costs, pace = _calibrated(bench, speed, operations)
        done.append(Round(costs, {}))
        turned = thresholds[number % len(thresholds) :] + thresholds[: number % len(thresholds)]
        while turned:
            promote_at = turned.pop(0)
            done[-1].runs[promote_at] = sweep.run(
                state, workers, promote_at, operations, speed
            ).at_pace(pace)
            bar.update()
            if not turned and not recommended:
                recommended = _recommended(bench)
                turned = [recommended] if recommended not in thresholds else []
                thresholds = sorted({*thresholds, recommended})
    bar.close()
    return Found(_inputs(bench), bench.stores.limits, recommended, done, bench.server.name)


def _calibrated(
    bench: Bench, speed: Speed, operations: Sequence[Operation]
) -> tuple[UnitCosts, float]:
    """Unit costs, and what the piece of work of `speed` took when they were measured."""
    viewers = [each.account for each in operations if each.what == "read"][:_PAGES]

    def progress() -> None:
        for _ in range(_SAMPLES):
            for viewer in viewers:
                reader.home_page(bench.stores, viewer, None, 20)
            speed.sample()

    return calibrate(bench.stores, bench.services.celery, progress).costs, speed.take()


def _thresholds(largest: int) -> list[int]:
    """Pure pull, a few that are apart by one factor, and pure push."""
    factor = (largest / 2 / _LOWEST) ** (1 / (_THRESHOLDS - 1))
    return [
        PULL,
        *sorted({max(2, round(_LOWEST * factor**number)) for number in range(_THRESHOLDS)}),
        PUSH,
    ]


def _inputs(bench: Bench) -> Survey:
    return survey.refresh(bench.stores)


def _recommended(bench: Bench) -> int:
    """The threshold of least cost, for a day with as many reads for each post as the mix has."""
    stored.save_survey(bench.stores, compared.as_mixed(_inputs(bench)))
    return min(
        recommendation.recommendation(bench.stores, recommendation.RecommendationLimits()).curve,
        key=_total,
    ).promote_at


def _total(point: recommendation.Point) -> float:
    return point.total
