"""The latest survey, stored as one row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select

from feedsvc.errors import FeedsvcError
from feedsvc.planning.survey.aggregates import Survey
from feedsvc.store.sql.tables import StoredSurvey

if TYPE_CHECKING:
    import datetime as dt

    from feedsvc.store import Stores


class NoSurvey(FeedsvcError):
    """No survey has been taken yet."""

    status = 409

    def __init__(self) -> None:
        super().__init__(
            "Nothing is known about accounts, posts and reads yet. "
            "A worker takes the first survey within a minute of the start; "
            "python -m feedsvc threshold inputs takes one now."
        )


def survey(stores: Stores) -> Survey:
    """Return the latest survey. Raises `NoSurvey`."""
    latest = select(StoredSurvey.data).order_by(StoredSurvey.id.desc()).limit(1)
    with stores.sql.reading() as connection:
        data = connection.scalar(latest)
    if data is None:
        raise NoSurvey
    return Survey.from_json(data)


def survey_taken_at(stores: Stores) -> dt.datetime | None:
    """Return the time of the latest survey; None without a survey."""
    latest = select(StoredSurvey.taken_at).order_by(StoredSurvey.id.desc()).limit(1)
    with stores.sql.reading() as connection:
        return connection.scalar(latest)


def save_survey(stores: Stores, survey: Survey) -> None:
    """Store a survey in place of the earlier ones."""
    row = {"taken_at": survey.taken_at, "data": survey.to_json()}
    with stores.sql.writing() as connection:
        stored = connection.scalar(insert(StoredSurvey).returning(StoredSurvey.id), row)
        connection.execute(delete(StoredSurvey).where(StoredSurvey.id < stored))
