"""What is known of the system, to be looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from feedsvc.planning import calibrated
from feedsvc.planning.survey import stored

if TYPE_CHECKING:
    import datetime as dt

    from feedsvc.planning.calibrated import Calibrated
    from feedsvc.planning.survey.aggregates import Survey
    from feedsvc.store import Stores


@dataclass(frozen=True)
class SurveySummary:
    """What the figures rest on."""

    taken_at: dt.datetime
    window_seconds: float
    accounts: int
    largest: int
    posts_per_day: float
    reads_per_day: float
    viewers_sampled: int
    materialised_share: float
    assumed: list[str]


@dataclass(frozen=True)
class AtLeast:
    """How many accounts have so many followers, or more."""

    followers: int
    accounts: int


@dataclass(frozen=True)
class Overview:
    """The last look, the unit costs, and the distribution of followers."""

    inputs: SurveySummary
    costs: Calibrated
    distribution: list[AtLeast]


def look(stores: Stores) -> Overview:
    """What was kept. Raises `NoSurvey`."""
    inputs = stored.survey(stores)
    return Overview(basis(inputs), calibrated.calibrated(stores), distribution(inputs))


def distribution(inputs: Survey) -> list[AtLeast]:
    """Accounts by followers, each point including all that have more."""
    cells = [*inputs.cells, *(named.cell() for named in inputs.singles())]
    points = [each.promote_at for each in inputs.lists]
    return [
        AtLeast(point, sum(cell.accounts for cell in cells if cell.low >= point))
        for point in points
    ]


def basis(inputs: Survey) -> SurveySummary:
    """What the inputs say of themselves."""
    return SurveySummary(
        taken_at=inputs.taken_at,
        window_seconds=inputs.window_seconds,
        accounts=inputs.accounts,
        largest=inputs.largest,
        posts_per_day=inputs.posts,
        reads_per_day=inputs.reads,
        viewers_sampled=inputs.viewers_sampled,
        materialised_share=inputs.materialised_share,
        assumed=inputs.assumed,
    )
