"""The accuracy of the cost model: the mix W1 at a sweep of thresholds, measured and predicted.

Two graphs: G2, the Higgs retweet graph of Twitter (FEEDSVC_HIGGS_GRAPH names its file), and G4,
generated. Unit costs are calibrated in each round. The survey is taken from the same system. The
recommended threshold is one of the measured thresholds.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from benchmarks import compared, history, sweep, verdicts, w1
from benchmarks.compared import PULL, PUSH, GraphRounds, Round
from benchmarks.processor import Speed
from benchmarks.service import WORKERS, opened, running
from benchmarks.state import State
from feedsvc.feed import reader
from feedsvc.graph import generate, importer
from feedsvc.planning import recommendation
from feedsvc.planning.calibration.calibrate import calibrate
from feedsvc.planning.survey import survey
from feedsvc.routing.guardrails import Guardrails

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.results import Options
    from benchmarks.service import Bench, Pool
    from benchmarks.w1 import Operation
    from feedsvc.planning.costs import UnitCosts
    from feedsvc.store import Stores

_SEED = 1
_CAP = 100
_ACTIVE_SHARE = 0.7
_ACCOUNTS = 1_000_000
_POSTS_AN_ACCOUNT = 0.1
_OPERATIONS = 18_560  # about 160 posts and 16,000 reads
_LOWEST, _THRESHOLDS = 10, 5
# Samples of the machine's speed after each round of a calibration, and pages read before each
# sample. The sweep samples between pages. Without pages in between, a sample takes 1/14 less time.
_SAMPLES, _PAGES = 20, 50
_HIGGS = Path(os.environ.get("FEEDSVC_HIGGS_GRAPH", "../shared/data/higgs-retweets.txt.gz"))


def measure(options: Options) -> dict[str, Any]:
    """Measure and predict on both graphs.

    Below a scale of 1 without the file of G2, only G4 is measured.
    """
    graphs: dict[str, Callable[[Stores, Options], object]] = {"G2": _higgs, "G4": _generated}
    if not _HIGGS.exists():
        if options.scale == 1:
            sys.exit(
                f"error: {_HIGGS} does not exist; "
                "set FEEDSVC_HIGGS_GRAPH to the file of the Higgs retweet graph"
            )
        del graphs["G2"]
    measured = {name: _measure_graph(name, load, options) for name, load in graphs.items()}
    return verdicts.result(measured) | {
        "graph": "; ".join(
            f"{name}: {graph.inputs.accounts:,} accounts, "
            f"the largest with {graph.inputs.largest:,} followers"
            for name, graph in measured.items()
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


def _measure_graph(
    name: str, load: Callable[[Stores, Options], object], options: Options
) -> GraphRounds:
    with opened(feed_cap=_CAP) as bench:
        load(bench.stores, options)
        sizes = history.follower_counts(bench.stores)
        posts = history.make_posts(
            bench.stores, sizes, round(len(sizes) * _POSTS_AN_ACCOUNT), _SEED
        )
        state = State(bench, sizes, posts)
        # The graph's own seed would draw accounts in the order in which they got their activity.
        source = random.Random(f"W1 {_SEED}")
        active = source.sample(sorted(sizes), round(len(sizes) * _ACTIVE_SHARE))
        state.materialise(active)
        count = options.scaled(_OPERATIONS, 200)
        rounds = [w1.draw(sizes, active, count, source) for _ in range(options.rounds)]
        names = [f"bench-{number}" for number in range(WORKERS)]
        commands = [["feedsvc", "worker", "--name", name] for name in names]
        with running(bench, commands) as workers:
            return _measure_rounds(name, state, workers, rounds)


def _measure_rounds(
    name: str, state: State, workers: Pool, rounds: Sequence[Sequence[Operation]]
) -> GraphRounds:
    """Run the mix at every threshold in every round.

    Each round begins with another threshold. The threshold that is recommended in the first round
    is run in all rounds.
    """
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
        first = number % len(thresholds)
        waiting = thresholds[first:] + thresholds[:first]
        while waiting:
            promote_at = waiting.pop(0)
            run = sweep.run(state, workers, promote_at, operations, speed)
            done[-1].runs[promote_at] = run.at_pace(pace)
            bar.update()
            if not waiting and not recommended:
                recommended = _recommend(bench)
                waiting = [recommended] if recommended not in thresholds else []
                thresholds = sorted({*thresholds, recommended})
    bar.close()
    inputs = survey.refresh(bench.stores)
    return GraphRounds(inputs, bench.stores.limits, recommended, done, bench.server.name)


def _calibrated(
    bench: Bench, speed: Speed, operations: Sequence[Operation]
) -> tuple[UnitCosts, float]:
    """Return calibrated unit costs, and the pace of the machine meanwhile (see `Speed`)."""
    viewers = [each.account for each in operations if each.kind == "read"][:_PAGES]

    def progress() -> None:
        for _ in range(_SAMPLES):
            for viewer in viewers:
                reader.home_page(bench.stores, viewer, None, 20)
            speed.sample()

    return calibrate(bench.stores, bench.services.celery, progress).costs, speed.take()


def _thresholds(largest: int) -> list[int]:
    """Return pure pull, a few thresholds at equal ratios, and pure push."""
    factor = (largest / 2 / _LOWEST) ** (1 / (_THRESHOLDS - 1))
    return [
        PULL,
        *sorted({max(2, round(_LOWEST * factor**number)) for number in range(_THRESHOLDS)}),
        PUSH,
    ]


def _recommend(bench: Bench) -> int:
    """Return the threshold of least cost for as many reads for each post as the mix has."""
    inputs = compared.with_reads_of_mix(survey.refresh(bench.stores))
    survey.save_survey(bench.stores, inputs)
    curve = recommendation.recommendation(bench.stores, Guardrails()).curve
    return min(curve, key=lambda point: point.total).promote_at
