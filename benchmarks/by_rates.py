"""The rule by rates: each author on its cheaper route, measured beside the thresholds.

The rule is that of *Feeding Frenzy* (Silberstein et al., SIGMOD 2010). `rates.account_seconds` says
what an author costs on either route, by its posts and its followers.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.compared import total
from feedsvc.formats import amount, size, weighted_percentile
from feedsvc.planning import rates
from feedsvc.planning.survey.aggregates import DAY_SECONDS, Cell

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.recording import Recording, Run
    from feedsvc.planning.situation import Situation

_TITLES = (
    "| | total, s: best threshold | by rates | saves | lists per read p99 | by rates | "
    "Redis | by rates | pulled | by rates |"
)


def cheaper_pulled(
    situation: Situation, posts: Mapping[int, Sequence[int]], sizes: Mapping[int, int]
) -> frozenset[int]:
    """Return the authors that cost less if they are pulled; `posts` by author, `sizes`: followers.

    Authors with as many posts and as many followers cost the same.
    """
    per_day = DAY_SECONDS / situation.survey.window_seconds
    decided: dict[tuple[int, int], bool] = {}
    for author, own in posts.items():
        alike = sizes[author], len(own)
        if alike not in decided:
            decided[alike] = _is_cheaper_pulled(situation, sizes[author], len(own) * per_day)
    return frozenset(author for author, own in posts.items() if decided[sizes[author], len(own)])


def _is_cheaper_pulled(situation: Situation, followers: int, posts: float) -> bool:
    cell = Cell(
        low=followers,
        high=followers + 1,
        accounts=1,
        posted=1,
        followers=followers,
        posts=posts,
        follower_ids=followers * posts,
    )
    push, pull = rates.account_seconds(situation, situation.group(cell))
    return pull <= push


def compared(recordings: Sequence[Recording]) -> list[dict[str, Any]]:
    """Return the rule beside the best threshold, for each recording that has both."""
    return [_compared(each) for each in recordings if all(one.by_rates for one in each.rounds)]


def table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the rows of `compared` as a table in Markdown."""
    yield _TITLES
    yield "|---" * 10 + "|"
    for row in rows:
        best, other = row["best"], row["by rates"]
        cells = [f"{row['graph']} {row['mix']}, at {row['promote_at']:,}"]
        cells += [amount(best["total"]), amount(other["total"]), f"{row['saves']:+.1%}"]
        cells += [f"{each['lists p99']:,}" for each in (best, other)]
        cells += [size(each["redis bytes"]) for each in (best, other)]
        cells += [f"{each['pulled']:,}" for each in (best, other)]
        yield f"| {' | '.join(cells)} |"


def _compared(recording: Recording) -> dict[str, Any]:
    totals = {
        promote_at: median(
            total(each, each.runs[promote_at])
            for each in recording.rounds
            if promote_at in each.runs
        )
        for promote_at in recording.thresholds
    }
    best = min(totals, key=lambda promote_at: totals[promote_at])
    rounds = [each for each in recording.rounds if each.by_rates is not None]
    ratios = [total(each, each.by_rates) / total(each, each.runs[best]) for each in rounds]
    return {
        "graph": recording.graph,
        "mix": recording.mix,
        "promote_at": best,
        "saves": 1 - median(ratios),
        "best": _figures(totals[best], rounds[-1].runs[best]),
        "by rates": _figures(
            median(total(each, each.by_rates) for each in rounds), rounds[-1].by_rates
        ),
    }


def _figures(total_seconds: float, run: Run) -> dict[str, Any]:
    counts = [(lists, reads) for lists, (reads, _, _) in sorted(run.by_lists.items())]
    reads = sum(each for _, each in counts)
    return {
        "total": total_seconds,
        "lists p99": weighted_percentile(counts, reads, 99),
        "redis bytes": run.redis_bytes,
        "pulled": run.pulled,
    }
