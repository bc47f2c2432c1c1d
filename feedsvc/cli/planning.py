"""The commands that help to choose the threshold: preview, recommend, inputs and calibrate."""

from __future__ import annotations

from typing import Any

import click
from tqdm import tqdm

from feedsvc.api.planning_schemas import (
    InputsAnswer,
    PreviewAnswer,
    RecommendationAnswer,
    UnitCostsAnswer,
)
from feedsvc.cli.output import json_option, opened, show
from feedsvc.formats import MAX_ID, amount, seconds_or_ms, size, whole
from feedsvc.planning import calibrate as calibrating
from feedsvc.planning import unit_costs
from feedsvc.planning.inputs import overview
from feedsvc.planning.preview import in_words, preview
from feedsvc.planning.recommendation import recommendation
from feedsvc.planning.survey import survey
from feedsvc.routing.guardrails import Guardrails

_count = click.IntRange(1, MAX_ID)
_COLUMNS = ("push s/day", "pull s/day", "all s/day", "lists p99", "to last", "memory")
_processes_option = click.option(
    "--processes",
    type=click.IntRange(1, 100_000),
    help="The number of processes that read feeds.  [default: as many as run]",
)
_above_0 = click.FloatRange(min=0, min_open=True)


@click.command(name="preview")
@click.option(
    "--promote-at",
    required=True,
    type=_count,
    help="Accounts with this number of followers or more are pulled.",
)
@click.option(
    "--demote-at",
    type=_count,
    help="Accounts with fewer followers are pushed.  [default: in today's ratio to promote_at]",
)
@_processes_option
@json_option
def preview_command(
    promote_at: int, demote_at: int | None, processes: int | None, as_json: bool
) -> None:
    """Compare a change of the thresholds with today."""
    if demote_at is not None and demote_at > promote_at:
        raise click.BadParameter("must be at most --promote-at", param_hint="--demote-at")
    with opened() as services:
        found = preview(services.stores, promote_at, demote_at, processes)
    show(PreviewAnswer().dump(found), as_json, lambda: in_words(found))


@click.command()
@click.option(
    "--max-delivery-seconds",
    type=_above_0,
    help="Time from upload to the last follower, for the largest pushed account.",
)
@click.option(
    "--max-lists-per-read", type=_above_0, help="Celebrity lists that a read merges (p99)."
)
@click.option(
    "--max-memory-bytes", type=_above_0, help="Redis memory of home feeds and celebrity lists."
)
@_processes_option
@json_option
def recommend(processes: int | None, as_json: bool, **limits: Any) -> None:
    """Recommend the threshold of least cost that keeps the limits."""
    with opened() as services:
        found = recommendation(services.stores, Guardrails(**limits), processes)
    answer = RecommendationAnswer().dump(found)
    show(answer, as_json, lambda: _recommendation_lines(answer))


@click.command()
@json_option
def inputs(as_json: bool) -> None:
    """Survey the system now: accounts, posts, reads and home feeds."""
    with opened() as services:
        with tqdm(total=survey.STEPS, desc="survey", disable=None, leave=False) as bar:
            survey.refresh(services.stores, lambda _: bar.update())
        answer = InputsAnswer().dump(overview(services.stores))
    show(answer, as_json, lambda: _inputs_lines(answer))


@click.command()
@json_option
def calibrate(as_json: bool) -> None:
    """Learn the unit costs of this machine.

    A unit is a push, a read, a merged list and so on. Takes less than a minute, on stores of its
    own. A service with traffic learns them by itself.
    """
    with opened() as services:
        with tqdm(total=calibrating.ROUNDS, desc="calibrate", disable=None, leave=False) as bar:
            calibrating.calibrate(services.stores, bar.update)
        counted = unit_costs.counted(services.stores)
        answer = UnitCostsAnswer().dump(unit_costs.learnt(services.stores, counted))
    show(answer, as_json, lambda: _unit_cost_lines(answer))


def _unit_cost_lines(answer: dict[str, Any]) -> list[str]:
    margins = answer["margins"]
    return [
        f"{answer['machine']}: {_observed(answer['observations'])}",
        *(
            f"{name:<18} {amount(value):>10} ± {amount(margins[name])}"
            for name, value in answer["costs"].items()
        ),
    ]


def _observed(observations: dict[str, int]) -> str:
    fan_outs = observations.get("link", 0) + observations.get("micro-batch", 0)
    reads = observations.get("read", 0)
    return f"unit costs learnt from {whole(reads)} reads and {whole(fan_outs)} fan-outs"


def _recommendation_lines(answer: dict[str, Any]) -> list[str]:
    by_rates = answer["per_account"]
    return [
        answer["why"],
        *([answer["near_cache"]] if answer["near_cache"] else []),
        f"{'promote_at':>12} {' '.join(f'{text:>10}' for text in _COLUMNS)}",
        *(_point_line(point, answer) for point in answer["curve"]),
        (
            "A rule for each account by its own rates would save "
            f"{amount(by_rates['saves_per_day'])} s/day more ({by_rates['saves_share']:.1%})."
        ),
        *map(_misfit_line, answer["large_but_silent"] + answer["small_but_talkative"]),
    ]


def _misfit_line(misfit: dict[str, Any]) -> str:
    return (
        f"Pin {misfit['account_id']} to {misfit['pin']}: "
        f"{whole(misfit['follower_count'])} followers, "
        f"{amount(misfit['posts_per_day'])} posts a day; "
        f"saves {amount(misfit['saves_per_day'])} s/day"
    )


def _point_line(point: dict[str, Any], answer: dict[str, Any]) -> str:
    seconds = point["seconds_to_last_follower"]
    columns = [
        *map(amount, (point["push"], point["pull"], point["total"], point["lists_per_read_p99"])),
        "never" if seconds is None else seconds_or_ms(seconds),
        size(point["redis_bytes"]),
    ]
    marks = [
        name
        for name in ("recommended", "runner_up")
        if answer[name] and answer[name]["promote_at"] == point["promote_at"]
    ]
    figures = " ".join(f"{text:>10}" for text in columns)
    return f"{point['promote_at']:>12,} {figures}  {' '.join(marks + point['breaks'])}".rstrip()


def _inputs_lines(answer: dict[str, Any]) -> list[str]:
    found, costs = answer["inputs"], answer["costs"]
    assumed = f"; assumed: {', '.join(found['assumed'])}" if found["assumed"] else ""
    return [
        (
            f"{whole(found['accounts'])} accounts, "
            f"the largest with {whole(found['largest'])} followers"
        ),
        (
            f"{amount(found['posts_per_day'])} posts and "
            f"{amount(found['reads_per_day'])} reads a day{assumed}"
        ),
        (
            f"{whole(found['viewers_sampled'])} viewers sampled; "
            f"{found['materialised_share']:.0%} of follows have a home feed"
        ),
        (
            f"{whole(found['reading_processes'])} processes read, "
            f"{whole(found['working_processes'])} fan out"
        ),
        _observed(costs["observations"])
        + (", so some are defaults" if costs["is_default"] else ""),
    ]
