"""Read and summarise the inputs of the cost model: the latest survey and the unit costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from feedsvc.errors import FeedsvcError
from feedsvc.planning import unit_costs
from feedsvc.planning.survey.aggregates import Survey
from feedsvc.store.sql.tables import StoredSurvey

if TYPE_CHECKING:
    import datetime as dt

    from feedsvc.planning.learning import Learnt
    from feedsvc.store import Stores


class NoSurvey(FeedsvcError):
    """No survey has been taken yet."""

    status = 409

    def __init__(self) -> None:
        super().__init__(
            "There is no survey of accounts, posts and reads yet. "
            "A worker takes the first survey within a minute of the start; "
            "feedsvc threshold inputs takes one now."
        )


@dataclass(frozen=True)
class SurveySummary:
    """The size of the system and of the sample that all figures rest on."""

    taken_at: dt.datetime
    window_seconds: float
    accounts: int
    largest: int
    posts_per_day: float
    reads_per_day: float
    viewers_sampled: int
    materialised_share: float
    reading_processes: int
    working_processes: int
    assumed: list[str]


@dataclass(frozen=True)
class AtLeast:
    """The number of accounts with at least `followers` followers."""

    followers: int
    accounts: int


@dataclass(frozen=True)
class Overview:
    """The latest survey, the unit costs, and the distribution of followers."""

    inputs: SurveySummary
    costs: Learnt
    distribution: list[AtLeast]


def overview(stores: Stores) -> Overview:
    """Return the latest survey and the unit costs. Raises `NoSurvey`."""
    survey = latest_survey(stores)
    costs = unit_costs.learnt(stores, survey.work)
    return Overview(summary(survey), costs, distribution(survey))


def latest_survey(stores: Stores) -> Survey:
    """Return the latest survey. Raises `NoSurvey`."""
    latest = select(StoredSurvey.data).order_by(StoredSurvey.id.desc()).limit(1)
    with stores.sql.reading() as connection:
        data = connection.scalar(latest)
    found = None if data is None else Survey.from_json(data)
    if found is None:
        raise NoSurvey
    return found


def distribution(survey: Survey) -> list[AtLeast]:
    """Return how many accounts reach each threshold of the survey's grid."""
    cells = [*survey.cells, *(named.cell() for named in survey.singles())]
    return [
        AtLeast(threshold, sum(cell.accounts for cell in cells if cell.low >= threshold))
        for threshold in (lists.promote_at for lists in survey.lists)
    ]


def summary(survey: Survey) -> SurveySummary:
    """Return the summary of a survey."""
    return SurveySummary(
        taken_at=survey.taken_at,
        window_seconds=survey.window_seconds,
        accounts=survey.accounts,
        largest=survey.largest,
        posts_per_day=survey.posts,
        reads_per_day=survey.reads,
        viewers_sampled=survey.viewers_sampled,
        materialised_share=survey.materialised_share,
        reading_processes=survey.reading_processes,
        working_processes=survey.working_processes,
        assumed=survey.assumed,
    )
