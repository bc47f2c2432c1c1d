"""Read and summarise the inputs of the cost model: the latest survey and the unit costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from feedsvc.errors import FeedsvcError
from feedsvc.planning import calibrated
from feedsvc.planning.survey.aggregates import Survey
from feedsvc.store.sql.tables import StoredSurvey

if TYPE_CHECKING:
    import datetime as dt

    from feedsvc.planning.calibrated import CalibratedCosts
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
    costs: CalibratedCosts
    distribution: list[AtLeast]


def overview(stores: Stores) -> Overview:
    """Return the latest survey and calibration. Raises `NoSurvey`."""
    survey = latest_survey(stores)
    return Overview(summary(survey), calibrated.latest(stores), distribution(survey))


def latest_survey(stores: Stores) -> Survey:
    """Return the latest survey. Raises `NoSurvey`."""
    latest = select(StoredSurvey.data).order_by(StoredSurvey.id.desc()).limit(1)
    with stores.sql.reading() as connection:
        data = connection.scalar(latest)
    if data is None:
        raise NoSurvey
    return Survey.from_json(data)


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
        assumed=survey.assumed,
    )
