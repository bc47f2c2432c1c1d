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
    """Nothing is known of the system yet."""

    status = 409
    title = "Conflict"

    def __init__(self) -> None:
        super().__init__(
            "Nothing is known about accounts, posts and reads yet. A worker takes the first look within a minute of the start; "
            "python -m feedsvc threshold inputs takes one now."
        )


def survey(stores: Stores) -> Survey:
    """The inputs as they were found at the last look. Raises `NoSurvey`."""
    with stores.sql.reading() as connection:
        data = connection.scalar(
            select(StoredSurvey.data).order_by(StoredSurvey.id.desc()).limit(1)
        )
    if data is None:
        raise NoSurvey
    return Survey.from_json(data)


def survey_taken_at(stores: Stores) -> dt.datetime | None:
    """When the last look was taken; None if never."""
    with stores.sql.reading() as connection:
        return connection.scalar(
            select(StoredSurvey.taken_at).order_by(StoredSurvey.id.desc()).limit(1)
        )


def save_survey(stores: Stores, found: Survey) -> None:
    """Keep these in place of the last ones."""
    with stores.sql.writing() as connection:
        row = {"taken_at": found.taken_at, "data": found.to_json()}
        kept = connection.scalar(insert(StoredSurvey).returning(StoredSurvey.id), row)
        connection.execute(delete(StoredSurvey).where(StoredSurvey.id < kept))
