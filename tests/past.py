"""Past fan-outs and past reads, for tests of delivery lag, outcomes and watches."""

from __future__ import annotations

import datetime as dt
import time

import sqlalchemy as sa

from feedsvc import post_ids
from feedsvc.store.redis import usage
from feedsvc.store.sql.database import now
from feedsvc.store.sql.tables import Account, Fanout, Post


def fan_outs(stores, lags, *, ago_seconds, author=9, delivered=1, pulled=False):
    """Store a post for each lag in seconds, all uploaded `ago_seconds` ago.

    A lag of None makes a fan-out that is not done.
    """
    at_ms = int((now().timestamp() - ago_seconds) * 1000)
    uploaded = dt.datetime.fromtimestamp(at_ms / 1000, dt.UTC)
    with stores.sql.writing() as connection:
        if connection.scalar(sa.select(Account.id).where(Account.id == author)) is None:
            connection.execute(sa.insert(Account), {"id": author})
        for number, lag in enumerate(lags):
            post = post_ids.make(at_ms, number)
            route = "pull" if pulled else "push"
            connection.execute(
                sa.insert(Post),
                {
                    "id": post,
                    "author_id": author,
                    "photo_url": "x",
                    "route": route,
                    "policy_version": 1,
                },
            )
            connection.execute(
                sa.insert(Fanout),
                {
                    "post_id": post,
                    "author_id": author,
                    **_outcome(uploaded, lag, delivered, pulled),
                },
            )


def count_pages(stores, count, seconds, *, minutes_ago=1):
    """Count pages of one duration in a minute that is over."""
    minute = int(time.time()) // 60 - minutes_ago
    stores.redis.hincrby(f"figures:{minute}", str(usage.bucket(seconds)), count)


def _outcome(uploaded, lag, delivered, pulled):
    if lag is None:
        return {
            "state": "running",
            "followers": delivered,
            "started_at": uploaded,
            "finished_at": None,
            "next_look_at": now(),
        }
    done = {
        "state": "done",
        "followers": delivered,
        "finished_at": uploaded + dt.timedelta(seconds=lag),
        "next_look_at": None,
    }
    return {
        **done,
        "started_at": None if pulled else uploaded,
        "delivered": 0 if pulled else delivered,
    }
