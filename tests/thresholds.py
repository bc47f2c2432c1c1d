"""Set the threshold and the guardrails in one line, for tests."""

from __future__ import annotations

import datetime as dt

import sqlalchemy as sa

from feedsvc.planning.change import change
from feedsvc.routing import guardrails
from feedsvc.routing.guardrails import Guardrails
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Policy


def set_threshold(stores, promote_at, demote_at=None, **more):
    """Change the threshold and return the new version. By default both thresholds are equal."""
    values = {
        "promote_at": promote_at,
        "demote_at": demote_at or promote_at,
        "rollout_percent": 100,
        "reason": "test",
        "changed_by": "test",
        "if_match": None,
    }
    return change(stores, **values | more)


def set_limits(stores, **limits):
    """Set these guardrails and no others, and return their new version."""
    return guardrails.change(
        stores, Guardrails(**limits), reason="test", changed_by="test", if_match=None
    )


def backdate(stores, version, *, ago_seconds):
    """Move the time at which a version was set into the past."""
    with stores.sql.writing() as connection:
        at = now() - dt.timedelta(seconds=ago_seconds)
        connection.execute(sa.update(Policy).where(Policy.version == version).values(changed_at=at))
