"""Measure a graph under a mix: rounds of runs, one for each threshold."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click
from tqdm import tqdm

from benchmarks import history, sweep
from benchmarks.compared import with_reads
from benchmarks.graphs import SEED
from benchmarks.processor import Speed
from benchmarks.recording import PULL, PUSH, Recording, Round, Run
from benchmarks.service import opened, workers
from benchmarks.state import State
from feedsvc.feed import reader
from feedsvc.planning import recommendation, unit_costs
from feedsvc.planning.calibrate import calibrate
from feedsvc.planning.costs import Batches
from feedsvc.planning.survey import survey
from feedsvc.routing.guardrails import Guardrails

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.graphs import Graph
    from benchmarks.mixes import Mix, Operation
    from benchmarks.service import Bench, Pool
    from feedsvc.planning.costs import UnitCosts

_CAP = 100
# Samples of the machine's speed after each round of a calibration, and pages read before each
# sample. The sweep samples between pages. Without pages in between, a sample takes 1/14 less time.
_SAMPLES, _PAGES = 20, 50


@dataclass(frozen=True)
class Plan:
    """How each graph is measured.

    `thresholds`: their number between pure pull and pure push. `lowest`: the lowest of them.
    `operations`: of each run; None for the mix's usual number, times `scale`.
    """

    rounds: int
    thresholds: int = 5
    lowest: int = 10
    operations: int | None = None
    scale: float = 1.0

    def thresholds_for(self, largest: int) -> list[int]:
        """Return pure pull, thresholds at equal ratios up to half the largest, and pure push."""
        factor = (largest / 2 / self.lowest) ** (1 / max(1, self.thresholds - 1))
        inner = {max(2, round(self.lowest * factor**each)) for each in range(self.thresholds)}
        return [PULL, *sorted(inner), PUSH]

    def operations_of(self, mix: Mix) -> int:
        """Return the number of operations of a run."""
        return self.operations or max(200, round(mix.operations * self.scale))


def measure(graph: Graph, mix: Mix, plan: Plan) -> Recording:
    """Load a graph into a service of its own, and measure it. Says on stderr what it does."""
    with opened(feed_cap=_CAP, **graph.settings) as bench:
        began = time.monotonic()
        graph.load(bench.stores)
        sizes = history.follower_counts(bench.stores)
        # The graph's own seed would draw accounts in the order in which they got their activity.
        source = random.Random(f"{mix.name} {SEED}")
        population = mix.population(sizes, source)
        count = round(len(sizes) * graph.posts_per_account)
        posts = history.make_posts(bench.stores, population.posting, count, source)
        state = State(bench, sizes, posts)
        state.materialise(population.active)
        largest = max(sizes.values())
        described = f"{graph.name}: {len(sizes):,} accounts, the largest with {largest:,} followers"
        click.echo(
            f"{described}; {mix.name} (loaded in {time.monotonic() - began:.0f} s)", err=True
        )
        operations = plan.operations_of(mix)
        rounds = [mix.draw(population, operations, source) for _ in range(plan.rounds)]
        with workers(bench, beat=False) as pool:
            measurement = _Measurement(state, pool, mix, plan.thresholds_for(largest))
            measurement.run(rounds, title=f"{graph.name} {mix.name}")
    limits = bench.stores.limits
    return Recording(
        graph=graph.name,
        mix=mix.name,
        reads_per_post=mix.reads_per_post,
        recommended=measurement.recommended,
        batches=Batches(batch=limits.fanout_batch, small=limits.fanout_slice),
        server=bench.server.name,
        settings={"graph": described, "operations": operations, "cap": _CAP},
        rounds=measurement.rounds,
    )


class _Measurement:
    """The rounds of a graph. `recommended`: the service's own choice, run in all rounds."""

    def __init__(self, state: State, pool: Pool, mix: Mix, thresholds: list[int]) -> None:
        self._state, self._pool, self._mix = state, pool, mix
        self._thresholds, self._speed = thresholds, Speed()
        self.recommended = 0
        self.rounds: list[Round] = []

    def run(self, rounds: Sequence[Sequence[Operation]], title: str) -> None:
        """Do the operations of each round under every threshold.

        Each round begins with another threshold. The threshold that is recommended at the end of
        the first round is run in all rounds.
        """
        bar = tqdm(
            total=len(rounds) * (len(self._thresholds) + 1),
            desc=title,
            unit=" runs",
            leave=False,
            disable=None,
        )
        bench = self._state.bench
        for number, operations in enumerate(rounds):
            costs, pace = _calibrated(bench, self._speed, operations)
            first, runs = number % len(self._thresholds), dict[int, Run]()
            for promote_at in self._thresholds[first:] + self._thresholds[:first]:
                runs[promote_at] = self._run(promote_at, operations, pace)
                bar.update()
            if not self.recommended:
                self.recommended = self._recommend()
                if self.recommended not in runs:
                    runs[self.recommended] = self._run(self.recommended, operations, pace)
                    self._thresholds = sorted(runs)
                bar.update()
            self.rounds.append(Round(survey.refresh(bench.stores), costs, runs))
            click.echo(f"{title}: round {number + 1} of {len(rounds)} done", err=True)
        bar.close()

    def _run(self, promote_at: int, operations: Sequence[Operation], pace: float) -> Run:
        run = sweep.run(self._state, self._pool, promote_at, operations, self._speed)
        return run.at_pace(pace)

    def _recommend(self) -> int:
        """Return the threshold of least cost for as many reads for each post as the mix has."""
        stores = self._state.bench.stores
        found = survey.refresh(stores)
        survey.save_survey(stores, with_reads(found, found.posts * self._mix.reads_per_post))
        curve = recommendation.recommendation(stores, Guardrails()).curve
        return min(curve, key=lambda point: point.total).promote_at


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

    calibrate(bench.stores, progress)
    return unit_costs.learnt(bench.stores, {}).costs, speed.take()
