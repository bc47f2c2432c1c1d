"""Measure a graph under a mix: rounds of runs, one for each threshold."""

from __future__ import annotations

import random
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click
from tqdm import tqdm

from benchmarks import by_rates, compared, history, sweep
from benchmarks.graphs import SEED
from benchmarks.processor import Speed
from benchmarks.recording import PULL, PUSH, Recording, Round, Run, Service
from benchmarks.service import opened, workers
from benchmarks.state import Rule, State
from feedsvc.planning import learning
from feedsvc.planning.costs import Batches
from feedsvc.planning.survey import survey

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.graphs import Graph
    from benchmarks.mixes import Mix, Operation
    from benchmarks.service import Pool

_CAP = 100


@dataclass(frozen=True)
class Plan:
    """How each graph is measured.

    `thresholds`: their number between pure pull and pure push. `lowest`: the lowest of them.
    `operations`: of each run; None for the mix's usual number, times `scale`. `by_rates`: also run
    the rule by rates.
    """

    rounds: int
    thresholds: int = 5
    lowest: int = 10
    operations: int | None = None
    scale: float = 1.0
    by_rates: bool = False

    def thresholds_for(self, largest: int) -> list[int]:
        """Return pure pull, thresholds at equal ratios up to half the largest, and pure push."""
        factor = (largest / 2 / self.lowest) ** (1 / max(1, self.thresholds - 1))
        inner = {max(2, round(self.lowest * factor**each)) for each in range(self.thresholds)}
        return [PULL, *sorted(inner), PUSH]

    def operations_of(self, mix: Mix) -> int:
        """Return the number of operations of a run."""
        return self.operations or max(200, round(mix.operations * self.scale))


def load(graph: Graph, folder: Path) -> Path:
    """Load a graph into a database of its own, from which each mix gets a copy; return its file."""
    began, path = time.monotonic(), folder / f"{graph.name}.db"
    with opened(database_url=f"sqlite:///{path}") as bench:
        graph.load(bench.stores)
    click.echo(f"{graph.name}: loaded in {time.monotonic() - began:.0f} s", err=True)
    return path


def measure(graph: Graph, database: Path, mix: Mix, plan: Plan) -> Recording:
    """Measure a loaded graph in a service of its own. Says on stderr what it does."""
    copy = database.with_suffix(f".{mix.name}.db")
    shutil.copy(database, copy)
    with opened(database_url=f"sqlite:///{copy}", feed_cap=_CAP, **graph.settings) as bench:
        sizes = history.follower_counts(bench.stores)
        # The graph's own seed would draw accounts in the order in which they got their activity.
        source = random.Random(f"{mix.name} {SEED}")
        population = mix.population(sizes, source)
        count = max(1, round(len(sizes) * graph.posts_per_account))
        posts = history.make_posts(bench.stores, population.posting, count, source)
        history.make_reads(bench.stores, population.active, count * mix.reads_per_post, source)
        state = State(bench, sizes, posts)
        state.materialise(population.active)
        largest = max(sizes.values())
        described = f"{graph.name}: {len(sizes):,} accounts, the largest with {largest:,} followers"
        click.echo(f"{described}; {mix.name}", err=True)
        operations = plan.operations_of(mix)
        rounds = [mix.draw(population, operations, source) for _ in range(plan.rounds)]
        limits = bench.stores.limits
        service = Service(
            mix.reads_per_post,
            Batches(batch=limits.fanout_batch, small=limits.fanout_slice),
            limits.near_cache_bytes,
        )
        with workers(bench, beat=False) as pool:
            measured = _Rounds(state, pool, service, plan).run(
                rounds, plan.thresholds_for(largest), title=f"{graph.name} {mix.name}"
            )
    copy.unlink()
    return Recording(
        graph=graph.name,
        mix=mix.name,
        service=service,
        server=bench.server.name,
        settings={"graph": described, "operations": operations, "cap": _CAP},
        rounds=measured,
    )


class _Rounds:
    """The rounds of a loaded graph."""

    def __init__(self, state: State, pool: Pool, service: Service, plan: Plan) -> None:
        self._state, self._pool, self._service, self._plan = state, pool, service, plan
        self._speed = Speed()

    def run(
        self, rounds: Sequence[Sequence[Operation]], thresholds: list[int], title: str
    ) -> list[Round]:
        """Do the operations of each round under every threshold.

        Each round begins with another threshold. The threshold that is recommended after the first
        round, and the rule by rates if it is in the plan, are run in all rounds.
        """
        done, rates_rule = list[Round](), None
        each_round = len(thresholds) + 1 + self._plan.by_rates
        bar = tqdm(
            total=len(rounds) * each_round, desc=title, unit=" runs", leave=False, disable=None
        )
        for number, operations in enumerate(rounds):
            first, runs = number % len(thresholds), dict[int, Run]()
            idle = sweep.idle(self._state.bench, self._pool)
            for promote_at in thresholds[first:] + thresholds[:first]:
                runs[promote_at] = self._run(self._state.threshold(promote_at), operations)
                bar.update()
            if number == 0:
                recommended, rates_rule = self._choose()
                if recommended not in runs:
                    rule = self._state.threshold(recommended)
                    runs[recommended] = self._run(rule, operations)
                    thresholds = sorted(runs)
            rates_run = self._run(rates_rule, operations) if rates_rule else None
            found = survey.refresh(self._state.bench.stores)
            done.append(Round(found, idle, runs, rates_run))
            bar.update(1 + self._plan.by_rates)
            click.echo(f"{title}: round {number + 1} of {len(rounds)} done", err=True)
        bar.close()
        return done

    def _run(self, rule: Rule, operations: Sequence[Operation]) -> Run:
        return sweep.run(self._state, self._pool, rule, operations, self._speed)

    def _choose(self) -> tuple[int, Rule | None]:
        """Return the threshold of least cost, and the rule by rates if it is in the plan.

        Both are predicted from what the service has counted until now.
        """
        found = survey.refresh(self._state.bench.stores)
        at = compared.situation(self._service, found, learning.fit(found.work).costs)
        recommended = compared.cheapest(at, (lists.promote_at for lists in found.lists))
        if not self._plan.by_rates:
            return recommended, None
        pulled = by_rates.cheaper_pulled(at, self._state.posts, self._state.sizes)
        return recommended, Rule(PUSH, 1, pulled.__contains__)
